"""A Gemini candidate as it becomes a choice in OpenAI's form.

A part becomes a *delta*, the piece of a message that OpenAI's streams carry: a stream sends
the deltas (``gemini/stream.py``), a whole reply joins them (``gemini/reply.py``). Thought signatures
are opaque and have no place in OpenAI's form: they travel where Google's own compatible
surface puts them, in ``tool_calls[].extra_content.google.thought_signature``
(``extra_content`` of the message for a text part, of the image for an image part), and
``gemini/contents.py`` takes them back.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.gemini import common as gemini
from tokenhub.wire.gemini.arguments import MalformedArguments, PartialArguments
from tokenhub.wire.words import code_word

Delta = dict[str, Any]

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,28}")


def response_id(raw: Mapping[str, Any]) -> str | None:
    """Return Google's id of a response; old models and Google's mocks send none."""
    value = raw.get("responseId")
    return value if isinstance(value, str) and value else None


def own_id(upstream_id: str | None) -> str:
    """Return what ids of this reply are made of: Google's id where it is plain, else random digits.

    Made of a response's id, the ids of its function calls are the same each time it is read
    and differ from those of every other response of the conversation.
    """
    return upstream_id if upstream_id and _PLAIN_ID.fullmatch(upstream_id) else f"{random.getrandbits(12 * 8):x}"


def blocked(raw: Mapping[str, Any]) -> str | None:
    """Return the reason why the prompt was blocked, if it was."""
    feedback = raw.get("promptFeedback")
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    return reason if isinstance(reason, str) and reason else None


def parts_of(candidate: Mapping[str, Any]) -> list[Any]:
    """Return a candidate's parts; content and parts may each be missing."""
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    return parts if isinstance(parts, list) else []


class Choice:
    """One candidate as it becomes a choice: turns its parts into deltas and remembers its end."""

    def __init__(self, index: int, ids: str, *, one_call: bool) -> None:
        self.index = index
        self.native: str | None = None
        """Google's finish reason, the last one seen."""
        self.started = False
        """A chunk of it has been written (streams)."""
        self.has_content = False
        self.calls = 0
        self.blocked = False
        """The prompt was blocked: there is no candidate, and ``native`` is the reason."""
        self._ids = ids
        self._one_call = one_call
        self._open: PartialArguments | None = None

    @property
    def finish_reason(self) -> str:
        """Why the choice ended, in OpenAI's word."""
        if self.blocked:
            return "content_filter"
        return gemini.finish_reason(self.native or "", has_calls=self.calls > 0)

    def take(self, candidate: Mapping[str, Any]) -> Iterator[Delta]:
        """Return the deltas of a candidate's next parts; raises MalformedArguments."""
        for part in parts_of(candidate):
            if isinstance(part, dict):
                yield from self._take(part)
        native = candidate.get("finishReason")
        if native is not None:
            self.native = native if isinstance(native, str) else str(native)
            yield from self._close_call()

    def _take(self, part: Mapping[str, Any]) -> Iterator[Delta]:
        call, text, blob = part.get("functionCall"), part.get("text"), part.get("inlineData")
        if isinstance(call, dict):
            yield from self._call(call, part)
        elif isinstance(text, str):
            yield from self._seen(_text(text, part))
        elif isinstance(blob, dict):
            yield from self._seen(_media(blob, part, f"audio_{self._ids}"))

    def _seen(self, delta: Delta) -> Iterator[Delta]:
        if delta:
            self.has_content = self.has_content or chat_reply.has_content(delta)
            yield delta

    def _call(self, call: Mapping[str, Any], part: Mapping[str, Any]) -> Iterator[Delta]:
        """Take a function call: whole, the start of one, or (without a name) more of the one that is open."""
        name, goes_on = call.get("name"), call.get("willContinue") is True
        if isinstance(name, str) and name:
            yield from self._close_call()
            if self._one_call and self.calls:
                return
            arguments = "" if goes_on or "partialArgs" in call else _arguments(call.get("args"))
            yield from self._seen({"tool_calls": [self._opened(name, arguments, call, part)]})
            self._open = None if arguments else PartialArguments()
        if self._open is not None:
            self._open.add(call.get("partialArgs"))
            if not goes_on:
                yield from self._close_call()

    def _opened(self, name: str, arguments: str, call: Mapping[str, Any], part: Mapping[str, Any]) -> Delta:
        given, index = call.get("id"), self.calls
        self.calls += 1
        suffix = f"{self.index}_{index}" if self.index else str(index)
        opened: Delta = {
            "index": index,
            "id": given if isinstance(given, str) and given else f"call_{self._ids}_{suffix}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        return opened | _signature(part)

    def _close_call(self) -> Iterator[Delta]:
        """End a call that came in pieces. Its end may never come (once in the recordings): the turn's end is its."""
        if self._open is not None:
            arguments, self._open = self._open.render(), None
            yield {"tool_calls": [{"index": self.calls - 1, "function": {"arguments": arguments}}]}


def _text(text: str, part: Mapping[str, Any]) -> Delta:
    delta = {"reasoning_content" if part.get("thought") is True else "content": text} if text else {}
    return delta | _signature(part)


def _arguments(args: object) -> str:
    """Return arguments as JSON text; missing ones (36 of 632 recordings) are an empty object."""
    try:
        return orjson.dumps(args if isinstance(args, dict) else {}).decode()
    except TypeError:
        raise MalformedArguments from None  # nested deeper than anything writes


def _signature(part: Mapping[str, Any]) -> Delta:
    signature = part.get("thoughtSignature")
    if not isinstance(signature, str) or not signature:
        return {}
    return {"extra_content": {"google": {"thought_signature": signature}}}


def _media(blob: Mapping[str, Any], part: Mapping[str, Any], audio_id: str) -> Delta:
    """Return a generated image as OpenRouter's ``images`` do it, audio as OpenAI's ``audio``."""
    kind, data = blob.get("mimeType"), blob.get("data")
    if not isinstance(kind, str) or not isinstance(data, str):
        return {}
    if kind.startswith("image/"):
        url = {"url": f"data:{kind};base64,{data}"}
        return {"images": [{"type": "image_url", "image_url": url} | _signature(part)]}
    if kind.startswith("audio/"):
        return {"audio": {"id": audio_id, "data": data, "expires_at": 0, "transcript": ""}} | _signature(part)
    return {}


def logprobs_of(candidate: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return ``logprobsResult`` as OpenAI's ``logprobs``; None when there is none."""
    result = candidate.get("logprobsResult")
    chosen = result.get("chosenCandidates") if isinstance(result, dict) else None
    if not isinstance(chosen, list):
        return None
    tops = result.get("topCandidates") if isinstance(result, dict) else None
    content = []
    for place, token in enumerate(chosen):
        top = tops[place] if isinstance(tops, list) and place < len(tops) else None
        others = top.get("candidates") if isinstance(top, dict) else None
        ranked = [_logprob(other) for other in others] if isinstance(others, list) else []
        content.append(_logprob(token) | {"top_logprobs": ranked})
    return {"content": content, "refusal": None}


def _logprob(token: object) -> dict[str, Any]:
    members = token if isinstance(token, dict) else {}
    text, probability = members.get("token"), members.get("logProbability")
    text = text if isinstance(text, str) else ""
    return {
        "token": text,
        "logprob": probability if isinstance(probability, (int, float)) else 0.0,
        "bytes": list(text.encode("utf-8", "surrogatepass")),
    }


def index_of(candidate: Mapping[str, Any], position: int) -> int:
    """Return a candidate's index; a single one often has none."""
    index = candidate.get("index")
    return index if type(index) is int and 0 <= index < 128 else position


def blocked_choice(reason: str, ids: str) -> Choice:
    """Return the empty choice that stands for a blocked prompt."""
    choice = Choice(0, ids, one_call=False)
    choice.native, choice.blocked = reason, True
    return choice


def failure(choices: Iterable[Choice]) -> Failure | None:
    """Return the failure that finish reasons amount to when no choice shows anything or ended well."""
    choices = list(choices)
    if any(choice.has_content or choice.blocked or choice.native in gemini.FINISH_REASONS for choice in choices):
        return None
    native = next((choice.native for choice in choices if choice.native), "no_candidates")
    return Failure(FaultKind.SERVER, code=code_word(native))
