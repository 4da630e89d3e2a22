"""What TokenHub itself writes in OpenAI's form: chunks, the usage frame, the end, errors.

Everything is JSON on one line, so no text of a model or of an error can end a frame or
forge ``[DONE]`` (T60).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tokenhub.errors import HubError
from tokenhub.wire import sse
from tokenhub.wire.chat.parts import calls_of, choices_of

_GROWING = ("annotations", "images", "reasoning_details", "thinking_blocks")
"""Members of a delta that grow entry by entry. OpenAI's Python SDK puts lists together by the ``index`` of
their entries, as those of ``tool_calls`` have one, and raises where there is none (3.54, ``accumulate_delta``)."""


class ChunkWriter:
    """Writes the chunks of one translated stream; what is the same in all of them is encoded once."""

    def __init__(self, id: str, created: int, model: str) -> None:
        self.id, self.created, self.model = id, created, model
        head = orjson.dumps({"id": id, "object": "chat.completion.chunk", "created": created, "model": model})
        self._head = b"data: " + head[:-1] + b',"choices":[{"index":'
        self._first = self._head + b'0,"delta":'
        self._entries: dict[tuple[int, str], int] = {}
        """How many entries each choice has of what grows."""

    def delta(self, delta: Mapping[str, Any], index: int = 0, *, logprobs: Mapping[str, Any] | None = None) -> bytes:
        """Return a chunk with this delta, and the log probabilities of its tokens where there are any."""
        beside = b"" if logprobs is None else b',"logprobs":' + orjson.dumps(logprobs)
        told = orjson.dumps(self._numbered(delta, index))
        return b'%b%d,"delta":%b%b,"finish_reason":null}]}\n\n' % (self._head, index, told, beside)

    def _numbered(self, delta: Mapping[str, Any], index: int) -> Mapping[str, Any]:
        """Return a delta whose entries have the places that they have in the whole message."""
        told = dict(delta)
        for name in _GROWING:
            if entries := delta.get(name):
                known = self._entries.get((index, name), 0)
                told[name] = [{**entry, "index": place} for place, entry in enumerate(entries, known)]
                self._entries[index, name] = known + len(entries)
        return told

    def text(self, text: str) -> bytes:
        """Return a chunk with a piece of text: the most common one, so the cheapest."""
        return b'%b{"content":%b},"finish_reason":null}]}\n\n' % (self._first, orjson.dumps(text))

    def texts(self, literals: Sequence[bytes]) -> bytes:
        """Return a chunk for each piece of text; ``literals`` are JSON strings without their quotes."""
        head, close = self._first + b'{"content":"', b'"},"finish_reason":null}]}\n\n'
        return b"%b%b%b" % (head, (close + head).join(literals), close)

    def reasoning(self, text: str) -> bytes:
        """Return a chunk with a piece of reasoning."""
        return b'%b{"reasoning_content":%b},"finish_reason":null}]}\n\n' % (self._first, orjson.dumps(text))

    def tool_arguments(self, position: int, piece: str) -> bytes:
        """Return a chunk with a piece of a tool call's arguments."""
        return b'%b{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]},"finish_reason":null}]}\n\n' % (
            self._first,
            position,
            orjson.dumps(piece),
        )

    def finish(self, reason: str, index: int = 0) -> bytes:
        """Return the chunk that says why a choice ended."""
        return b'%b%d,"delta":{},"finish_reason":%b}]}\n\n' % (self._head, index, orjson.dumps(reason))


def frames_of_reply(body: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return a whole reply as frames: its content, and its end.

    For an upstream that answers ``stream: true`` with a whole reply (T74).
    """
    shared = {name: value for name, value in body.items() if name not in ("choices", "usage", "object")}
    shared["object"] = "chat.completion.chunk"
    content, end = [], []
    for position, choice in enumerate(choices_of(body)):
        index = choice.get("index", position)
        delta = {name: value for name, value in choice["message"].items() if value is not None}
        if "tool_calls" in delta:
            delta["tool_calls"] = [{**call, "index": place} for place, call in enumerate(calls_of(delta))]
        first = {"index": index, "delta": delta, "logprobs": choice.get("logprobs"), "finish_reason": None}
        last = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}
        content.append(sse.encode(orjson.dumps({**shared, "choices": [first]})))
        end.append(sse.encode(orjson.dumps({**shared, "choices": [last]})))
    return b"".join(content), b"".join(end)


def usage_frame(id: str, created: int, model: str, usage: Mapping[str, Any]) -> bytes:
    """Return the closing frame for a client that asked for usage: no choices, as OpenAI sends it.

    ``choices`` must be there, as an empty list: four client libraries break without it.
    """
    chunk = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model}
    return sse.encode(orjson.dumps({**chunk, "choices": [], "usage": usage}))


def render_error(error: HubError, request_id: str) -> dict[str, Any]:
    """Return the error body: OpenAI's four fields, ``metadata`` where there is any, and the request id."""
    fields: dict[str, Any] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    if error.metadata:
        fields["metadata"] = error.metadata
    return {"error": {**fields, "request_id": request_id}}


def error_frame(error: HubError, request_id: str, created: int, model: str) -> bytes:
    """Return the frame that ends a stream which failed; no ``[DONE]`` follows it.

    ``error`` beside a choice that finishes with ``error``: OpenAI's SDKs raise on the first,
    OpenRouter's clients read the second.
    """
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    chunk = {"id": request_id, "object": "chat.completion.chunk", "created": created, "model": model}
    return sse.encode(orjson.dumps({**render_error(error, request_id), **chunk, "choices": [choice]}))
