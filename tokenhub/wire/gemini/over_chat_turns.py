"""A Gemini conversation as OpenAI's messages.

``gemini/contents.py`` is the reverse. Turns of one role in a row become one message where they
are the model's: SDKs keep each piece of a stream as a turn of its own. Calls and answers find
each other by id where there is one, else by name, in order. What is not known is left out.
"""

import base64
import binascii
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tokenhub.errors import InvalidRequest
from tokenhub.wire import opaque
from tokenhub.wire.gemini import parts as gemini_parts
from tokenhub.wire.gemini import signatures as gemini_signatures
from tokenhub.wire.gemini.media import kind_of, parts_of

Message = dict[str, Any]

_TOLD = ("content", "reasoning_content")
_AUDIO_FORMATS = {
    **{kind: form for form, kind in gemini_parts.AUDIO_FORMATS.items()},
    "audio/mpeg": "mp3",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
}


def messages(system: Any, contents: Any) -> list[Message]:
    """Return the messages of a request's ``systemInstruction`` and ``contents``; raises InvalidRequest."""
    conversation = _Conversation()
    if system is not None:
        conversation.instruct(system if isinstance(system, Mapping) else {"parts": system}, "systemInstruction")
    given = contents if isinstance(contents, list) else [contents]
    for position, content in enumerate(given):
        conversation.add(content, f"contents[{position}]")
    if not conversation.messages or all(one["role"] == "system" for one in conversation.messages):
        raise InvalidRequest("contents must hold at least one turn with something in it.", param="contents")
    return [_joined(message) if message["role"] == "assistant" else message for message in conversation.messages]


@dataclass(slots=True)
class _Call:
    id: str
    answered: bool = False


@dataclass(slots=True)
class _Conversation:
    messages: list[Message] = field(default_factory=list)
    by_id: dict[str, deque[_Call]] = field(default_factory=dict)
    """The calls that no answer was found for by their id, in order; one that was answered by its name leaves when it is met."""
    by_name: dict[str, deque[_Call]] = field(default_factory=dict)
    calls: int = 0

    def add(self, content: Any, place: str) -> None:
        """Add one Content."""
        if isinstance(content, str):
            content = {"parts": [{"text": content}]}
        if not isinstance(content, Mapping):
            raise InvalidRequest(f"{place} must be an object with parts.", param=place)
        role = content.get("role")
        if role == "model":
            self._say(content, f"{place}.parts")
        elif role == "system":
            self.instruct(content, place)
        else:
            self._hear(content, f"{place}.parts")

    def instruct(self, content: Mapping[str, Any], place: str) -> None:
        """Add instructions: their texts, one below the other."""
        texts = [part["text"] for part in parts_of(content, f"{place}.parts") if isinstance(part.get("text"), str)]
        if any(texts):
            self.messages.append({"role": "system", "content": "\n".join(texts)})

    # The user, and what tools answered ------------------------------------------------------------

    def _hear(self, content: Mapping[str, Any], place: str) -> None:
        said: list[Message] = []
        for position, part in enumerate(parts_of(content, place)):
            answer = part.get("functionResponse")
            if isinstance(answer, Mapping):
                said += self._answer(answer, f"{place}[{position}].functionResponse")
            elif (made := _content_part(part)) is not None:
                said.append(made)
        if said:
            only = said[0] if len(said) == 1 else {}
            plain = only.get("type") == "text"
            self.messages.append({"role": "user", "content": only["text"] if plain else said})

    def _answer(self, answer: Mapping[str, Any], place: str) -> list[Message]:
        """Add what a tool answered; return what came beside its text, which OpenAI's form lets only the user show."""
        name, given = answer.get("name"), answer.get("id")
        name = name if isinstance(name, str) else ""
        id, known = self._answered(given if isinstance(given, str) else "", name)
        message: Message = {"role": "tool", "tool_call_id": id, "content": _answer_text(answer.get("response"))}
        if name and not known:
            message["name"] = name
        self.messages.append(message)
        parts = [_content_part(part) for part in parts_of(answer, f"{place}.parts")]
        files = [part for part in parts if part is not None]
        return [{"type": "text", "text": f"[returned by the tool call {id}]"}, *files] if files else []

    def _answered(self, id: str, name: str) -> tuple[str, bool]:
        """Return the id of the call that an answer is for, taken from those that wait, and whether there was one."""
        waiting = self.by_id.get(id) if id else self.by_name.get(name)
        while waiting:
            call = waiting.popleft()
            if not call.answered:
                call.answered = True
                return call.id, True
        return id or self._new_id(), False

    # The model -----------------------------------------------------------------------------------

    def _say(self, content: Mapping[str, Any], place: str) -> None:
        goes_on = bool(self.messages) and self.messages[-1]["role"] == "assistant"
        message = self.messages[-1] if goes_on else {"role": "assistant", "content": None}
        for position, part in enumerate(parts_of(content, place)):
            self._say_part(message, part, f"{place}[{position}]")
        if not goes_on and (message["content"] is not None or len(message) > 2):
            self.messages.append(message)

    def _say_part(self, message: Message, part: Mapping[str, Any], place: str) -> None:
        text, call, blob = part.get("text"), part.get("functionCall"), part.get("inlineData")
        signature = part.get("thoughtSignature")
        signed = gemini_signatures.unpacked(signature)
        message |= signed
        extra = {} if signed or opaque.is_packed(signature) else _extra(signature)
        if isinstance(call, Mapping):
            message.setdefault("tool_calls", []).append(self._call(call, place) | extra)
        elif isinstance(text, str):
            name = "reasoning_content" if part.get("thought") is True else "content"
            if text:
                _tell(message, name, text)
            message |= extra
        elif isinstance(blob, Mapping) and kind_of(blob).startswith("image/"):
            image = {"type": "image_url", "image_url": {"url": _data_url(blob)}}
            message.setdefault("images", []).append(image | extra)
        elif (shown := _code(part)) is not None:
            _tell(message, "content", shown)

    def _call(self, call: Mapping[str, Any], place: str) -> Message:
        name, given, args = call.get("name"), call.get("id"), call.get("args")
        if not isinstance(name, str) or not name:
            raise InvalidRequest(f"{place}.functionCall must have a name.", param=f"{place}.functionCall.name")
        id = given if isinstance(given, str) and given else self._new_id()
        made = _Call(id)
        self.by_id.setdefault(id, deque()).append(made)
        self.by_name.setdefault(name, deque()).append(made)
        arguments = orjson.dumps(args if isinstance(args, dict) else {}).decode()
        return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}

    def _new_id(self) -> str:
        """Return an id for a call that has none: the same each time the conversation is read, so that caches hold."""
        self.calls += 1
        return f"call_{self.calls}"


def _tell(message: Message, name: str, text: str) -> None:
    """Add a piece to a text of the model's; ``_joined`` puts them together at the end, because each joining copies the whole."""
    if message.get(name) is None:
        message[name] = []
    message[name].append(text)


def _joined(message: Message) -> Message:
    return message | {name: "".join(message[name]) for name in _TOLD if message.get(name) is not None}


# Parts -------------------------------------------------------------------------------------------


def _content_part(part: Mapping[str, Any]) -> Message | None:
    """Return a part as OpenAI's content part; None for an empty one or a kind that OpenAI's form has no word for."""
    text, blob, file = part.get("text"), part.get("inlineData"), part.get("fileData")
    if isinstance(text, str):
        return {"type": "text", "text": text} if text else None
    if isinstance(blob, Mapping):
        return _media(kind_of(blob), _data_url(blob), blob.get("data"))
    if isinstance(file, Mapping):
        return _media(kind_of(file), str(file.get("fileUri") or ""), None)
    code = _code(part)
    return None if code is None else {"type": "text", "text": code}


def _media(kind: str, url: str, data: Any) -> Message:
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    if kind.startswith("audio/") and isinstance(data, str):
        form = _AUDIO_FORMATS.get(kind.partition(";")[0], kind.partition("/")[2])
        return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
    if kind.startswith("video/") or (not kind and data is None):  # an address without a type is YouTube's
        return {"type": "video_url", "video_url": {"url": url}}
    text = _text_of(data) if kind.startswith("text/") else None
    if text is not None:
        return {"type": "text", "text": text}
    name = "document." + (kind.partition("/")[2].partition(";")[0] or "bin")
    return {"type": "file", "file": {"filename": name, "file_data": url}}


def _text_of(data: Any) -> str | None:
    """Return the text of an inline text file, which every model can read; None where it is none."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (TypeError, ValueError, binascii.Error):
        return None


def _code(part: Mapping[str, Any]) -> str | None:
    """Return code that a provider ran, or what came of it, as text: it is part of the conversation."""
    code, result = part.get("executableCode"), part.get("codeExecutionResult")
    if isinstance(code, Mapping) and isinstance(code.get("code"), str):
        return f"```\n{code['code']}\n```\n"
    if isinstance(result, Mapping) and isinstance(result.get("output"), str):
        return f"```\n{result['output']}\n```\n"
    return None


def _data_url(blob: Mapping[str, Any]) -> str:
    return f"data:{kind_of(blob) or 'application/octet-stream'};base64,{blob.get('data') or ''}"


def _extra(signature: Any) -> dict[str, Any]:
    if not isinstance(signature, str) or not signature:
        return {}
    return {"extra_content": {"google": {"thought_signature": signature}}}


def _answer_text(response: Any) -> str:
    """Return what a tool answered: the text that Google's SDKs wrap, anything else, an error too, as JSON."""
    if isinstance(response, Mapping) and len(response) == 1:
        ((name, value),) = response.items()
        if name in ("output", "result") and isinstance(value, str):
            return value
    return orjson.dumps({} if response is None else response).decode()
