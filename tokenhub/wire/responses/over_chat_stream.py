"""A chat reply told as a response: whole, or event by event.

Both ways go through one ``Output``, so that a stream and a whole reply of the same words
have the same items. The events are those of OpenAI's own streams, each with the members that
client libraries were seen to need (``notes`` of 22 clients, 2026-11): ``item_id``, ``output_index``,
``content_index``, an item's beginning and end.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.errors import HubError
from tokenhub.wire import json_text, sse
from tokenhub.wire.chat.parts import blocks_of, calls_of, choices_of, index_of, items_of, text_of
from tokenhub.wire.chat.text_frames import text_alone
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.responses.common import status_of
from tokenhub.wire.responses.opaque import MEMBERS
from tokenhub.wire.responses.output import Output
from tokenhub.wire.responses.tools import Tools
from tokenhub.wire.text_frames import TextFrames, Texts

_ECHOED: Mapping[str, Any] = {
    "background": False,
    "completed_at": None,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, and what it says where the request said nothing."""
_OPAQUE = tuple(name for name, kind in MEMBERS.items() if kind is list)
_ERROR_CODES = frozenset({"rate_limit_exceeded", "invalid_prompt", "invalid_image"})


class ResponseWriter:
    """Writes one response. ``asked`` is the request as it came, ``id``, ``created`` and ``model`` what the reply says of itself."""

    def __init__(self, asked: Mapping[str, Any], tools: Tools, id: str, created: int, model: str) -> None:
        self.id = id if id.startswith("resp_") else f"resp_{id}"
        self.output = Output(self.id, tools)
        self._finish: str | None = None
        echoed = {name: asked[name] if asked.get(name) is not None else value for name, value in _ECHOED.items()}
        echoed["tools"] = [_completed(tool) for tool in items_of(echoed["tools"])]
        head = {"id": self.id, "object": "response", "created_at": created, "model": model, **echoed, "store": False}
        self._head = orjson.dumps(head)[:-1]

    def begin(self) -> bytes:
        """Return the events that open a stream."""
        begun = self._response("in_progress", None, None)
        return self._event("response.created", begun) + self._event("response.in_progress", begun)

    def choice(self, choice: Mapping[str, Any], part: Mapping[str, Any]) -> bytes:
        """Take what a choice says: the delta of a chunk, or the message of a whole reply."""
        output, events = self.output, b""
        self._finish = text_of(choice.get("finish_reason")) or self._finish
        content = part.get("content")
        if len(part) == 1 and isinstance(content, str) and content:
            return output.text(content, _logprobs(choice))
        reasoning = part.get("reasoning_content") or part.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            events += output.reasoning(reasoning)
        for name in _OPAQUE:
            if blocks := blocks_of(part, name):
                events += output.opaque(name, blocks)
        if isinstance(content, str) and content:
            events += output.text(content, _logprobs(choice))
        refusal = part.get("refusal")
        if isinstance(refusal, str) and refusal:
            events += output.refusal(refusal)
        events += b"".join([output.annotate(one) for one in items_of(part.get("annotations"))])
        events += b"".join([output.call(piece) for piece in calls_of(part)])
        events += b"".join([output.image(image.get("image_url")) for image in items_of(part.get("images"))])
        signature = part.get("extra_content")
        if isinstance(signature, dict):
            output.sign(signature)
        return events

    def whole(self) -> bytes:
        """End a whole reply and return it, but for its usage."""
        status, details = status_of(self._finish)
        self.output.close(status)
        return self._response(status, None, details, usage=None)

    def end(self, usage: bytes) -> bytes:
        """Return the events that end a stream; ``usage`` is JSON."""
        status, details = status_of(self._finish)
        closed = self.output.close(status)
        return closed + self._event(f"response.{status}", self._response(status, None, details, usage=usage))

    def failed(self, error: HubError) -> bytes:
        """Return the event of a response that failed; what was open stays so."""
        told = {"code": error.code if error.code in _ERROR_CODES else "server_error", "message": error.message}
        return self._event("response.failed", self._response("failed", told, None))

    def _response(self, status: str, error: Any, details: Any, usage: bytes | None = b"null") -> bytes:
        rest = {"status": status, "error": error, "incomplete_details": details, "output": self.output.items}
        body = b"%b,%b" % (self._head, orjson.dumps(rest)[1:])
        return body if usage is None else b'%b,"usage":%b}' % (body[:-1], usage)

    def _event(self, kind: str, response: bytes) -> bytes:
        output = self.output
        number, output.sequence = output.sequence, output.sequence + 1
        name = kind.encode()
        return b'event: %b\ndata: {"type":"%b","response":%b,"sequence_number":%d}\n\n' % (name, name, response, number)


class ChatToResponse:
    """Turns a chat stream's frames into a response's events."""

    def __init__(self, asked: Mapping[str, Any], tools: Tools) -> None:
        self._asked, self._tools = asked, tools
        self._text_frames = TextFrames("content")
        self.writer: ResponseWriter | None = None

    def feed(self, frames: bytes) -> bytes:
        """Take whole frames; raises UpstreamFault for one that cannot be read."""
        return self._text_frames.read(frames, self._take, self._texts)

    def begun(self, id: str, created: int, model: str) -> ResponseWriter:
        """Return the writer, made now if no frame has come."""
        if self.writer is None:
            self.writer = ResponseWriter(self._asked, self._tools, id, created, model)
        return self.writer

    def _take(self, frame: bytes) -> bytes:
        _, data = sse.parse(frame)
        if data is None:
            return b""
        try:
            chunk = json_text.loads(data)
        except orjson.JSONDecodeError:
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_frame")) from None
        if not isinstance(chunk, dict):
            return b""
        events: list[bytes] = []
        if self.writer is None:
            id, created, model = (chunk.get(name) for name in ("id", "created", "model"))
            begun = self.begun(str(id or ""), created if isinstance(created, int) else 0, str(model or ""))
            events.append(begun.begin())
        writer = self.writer
        assert writer is not None
        for choice in choices_of(chunk):
            delta = choice.get("delta")
            if index_of(choice) == 0 and isinstance(delta, dict):
                events.append(writer.choice(choice, delta))
                if (content := delta.get("content")) and isinstance(content, str):
                    self._text_frames.learn(frame, content, text_alone)
        return b"".join(events)

    def _texts(self, texts: Texts) -> bytes:
        assert self.writer is not None, "no frame is known before one was read"
        return self.writer.output.texts(texts)


def _completed(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool as a response repeats it: a function's two optional members are said."""
    return {"parameters": None, "strict": False, **tool} if tool.get("type") == "function" else tool


def _logprobs(choice: Mapping[str, Any]) -> list[Any] | None:
    found = choice.get("logprobs")
    return items_of(found.get("content")) if isinstance(found, dict) else None
