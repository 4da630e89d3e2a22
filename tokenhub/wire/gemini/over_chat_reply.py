"""A chat completion as a GenerateContentResponse, for clients that speak Gemini.

``gemini/reply.py`` is the reverse. Whole replies and streams share the parts; calls are whole
in both, as Google sends them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tokenhub.wire import json_text
from tokenhub.wire.chat.parts import calls_of, choices_of, text_of
from tokenhub.wire.gemini import signatures as gemini_signatures

Part = dict[str, Any]

FINISH_REASONS: Mapping[str, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "function_call": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
"""OpenAI's finish reason to Google's; another one is OTHER."""


def response(body: Mapping[str, Any], *, thoughts: bool) -> dict[str, Any]:
    """Return a whole reply, without its usage; ``thoughts``: the client wants to see them."""
    made: dict[str, Any] = {
        "candidates": [_candidate(choice, place, thoughts) for place, choice in enumerate(choices_of(body))]
    }
    for name, known_as in (("model", "modelVersion"), ("id", "responseId")):
        if (value := text_of(body.get(name))) is not None:
            made[known_as] = value
    return made


def _candidate(choice: Mapping[str, Any], place: int, thoughts: bool) -> dict[str, Any]:
    message = choice.get("message")
    message = message if isinstance(message, Mapping) else {}
    called = [_whole_call(call).part() for call in calls_of(message)]
    calls = [part for part in called if part is not None]
    sign(calls, message)
    made: dict[str, Any] = {
        "content": content([*said(message, thoughts=thoughts), *calls]),
        "finishReason": finish_reason(choice.get("finish_reason"), lost=len(calls) < len(called)),
        "index": choice.get("index", place),
    }
    found = logprobs(choice.get("logprobs"))
    if found is not None:
        made["logprobsResult"] = found
    return made


def content(parts: list[Part]) -> dict[str, Any]:
    """Return a candidate's content; one without a part is no turn to Google's SDKs, which forget it with all before it."""
    return {"parts": parts or [{"text": ""}], "role": "model"}


def finish_reason(reason: Any, *, lost: bool = False) -> str:
    """Return Google's word for an end; ``lost``: a call had arguments that are no JSON object, and is not there."""
    if lost and reason != "length":
        return "MALFORMED_FUNCTION_CALL"
    return FINISH_REASONS.get(reason, "OTHER") if isinstance(reason, str) else "STOP"


# Parts -------------------------------------------------------------------------------------------


def said(message: Mapping[str, Any], *, thoughts: bool) -> Iterable[Part]:
    """Return the parts of a message or delta, but for its calls."""
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if thoughts and isinstance(reasoning, str) and reasoning:
        yield {"text": reasoning, "thought": True}
    for name in ("content", "refusal"):
        text = message.get(name)
        if isinstance(text, str) and text:
            yield {"text": text} | _signature(message)
        elif isinstance(text, list):
            yield from ({"text": part["text"]} for part in text if isinstance(part, dict) and text_of(part.get("text")))
    for image in message.get("images") or ():
        yield from _image(image)
    audio = message.get("audio")
    if isinstance(audio, Mapping) and isinstance(audio.get("data"), str):
        yield {"inlineData": {"mimeType": "audio/wav", "data": audio["data"]}}


def _image(image: Any) -> Iterable[Part]:
    url = image.get("image_url") if isinstance(image, Mapping) else None
    address = url.get("url") if isinstance(url, Mapping) else url
    if not isinstance(address, str):
        return
    head, comma, data = address.partition(";base64,")
    if comma and head.startswith("data:"):
        yield {"inlineData": {"mimeType": head[5:], "data": data}} | _signature(image)
    else:
        yield {"fileData": {"fileUri": address}}


def _signature(holder: Mapping[str, Any]) -> Part:
    """Return Google's own signature where a member carries it."""
    value: Any = holder
    for name in ("extra_content", "google", "thought_signature"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return {"thoughtSignature": value} if isinstance(value, str) and value else {}


class CallMaker:
    """One tool call: whole, or as its pieces come."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._name = ""
        self._arguments: list[str] = []
        self._signature: Part = {}

    def add(self, call: Mapping[str, Any]) -> None:
        """Take a call or the next piece of one."""
        function, custom = call.get("function"), call.get("custom")
        holder: Mapping[str, Any] = (
            function if isinstance(function, Mapping) else custom if isinstance(custom, Mapping) else {}
        )
        if isinstance(call.get("id"), str):
            self._id = self._id or call["id"]
        self._name = self._name or text_of(holder.get("name")) or ""
        piece = holder.get("arguments", holder.get("input"))
        if isinstance(piece, str):
            self._arguments.append(piece)
        self._signature = self._signature or _signature(call)

    def part(self) -> Part | None:
        """Return the call as Google has it; None when its arguments are no JSON object (they were cut)."""
        text = "".join(self._arguments)
        args = json_text.object_of(text) if text.strip() else {}
        if args is None or not self._name:
            return None
        named = {"id": self._id} if self._id else {}
        return {"functionCall": {**named, "name": self._name, "args": args}} | self._signature


def _whole_call(call: Mapping[str, Any]) -> CallMaker:
    made = CallMaker()
    made.add(call)
    return made


def sign(calls: list[Part], message: Mapping[str, Any]) -> None:
    """Put what another provider signed onto the first of a turn's calls, where Google has its own signature."""
    if calls and "thoughtSignature" not in calls[0] and any(message.get(name) for name in gemini_signatures.MEMBERS):
        calls[0]["thoughtSignature"] = gemini_signatures.packed(message)


def logprobs(given: Any) -> dict[str, Any] | None:
    """Return OpenAI's log probabilities as ``logprobsResult``; None when there are none."""
    tokens = given.get("content") if isinstance(given, Mapping) else None
    if not isinstance(tokens, list) or not tokens:
        return None
    found = [token for token in tokens if isinstance(token, Mapping)]
    tops = [[_token(one) for one in token.get("top_logprobs") or () if isinstance(one, Mapping)] for token in found]
    made: dict[str, Any] = {"chosenCandidates": [_token(token) for token in found]}
    if any(tops):
        made["topCandidates"] = [{"candidates": top} for top in tops]
    return made


def _token(token: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": token.get("token", ""), "logProbability": token.get("logprob", 0.0)}
