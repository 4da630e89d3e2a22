"""OpenAI's own surfaces whose bodies travel inside as they are: chat completions and embeddings."""

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from tokenhub.call import Call, Wire
from tokenhub.errors import HubError
from tokenhub.usage import Usage
from tokenhub.wire import sse
from tokenhub.wire.chat import frames as chat_frames
from tokenhub.wire.chat import request as chat
from tokenhub.wire.chat import usage as chat_usage
from tokenhub.wire.embeddings import request as embeddings
from tokenhub.wire.json_body import parse_object
from tokenhub.wire.replies import Reply
from tokenhub.wire.surface import Arrival, End, JsonSurface, Rendered


class OpenAISurface(JsonSurface):
    """What OpenAI's surfaces share: errors, and replies that pass as they are with our usage."""

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self._created, self._model = 0, ""
        self._include_usage = False

    def parse(self, raw: bytes) -> dict[str, Any]:
        return parse_object(raw)

    def reply(self, reply: Reply) -> Rendered:
        reply.body.pop("usage", None)
        return Rendered(orjson.dumps(reply.body), "usage")

    def feed(self, frames: bytes) -> bytes:
        return frames

    def ending(self, held: bytes, end: End) -> bytes:
        if self._include_usage:
            held += chat_frames.usage_frame(
                end.facts.shown_id or end.facts.upstream_id or end.request_id,
                end.facts.created or self._created,
                end.facts.served_model or self._model,
                self.usage(end.usage, end.cost, None),
            )
        return held + sse.DONE

    def usage(self, usage: Usage, cost: Mapping[str, Any], _reply: Reply | None) -> Mapping[str, Any]:
        return {**chat_usage.render_usage(usage), **cost}

    def error(self, error: HubError, request_id: str) -> Mapping[str, Any]:
        return chat_frames.render_error(error, request_id)

    def error_frame(self, error: HubError, request_id: str) -> bytes:
        return chat_frames.error_frame(error, request_id, self._created, self._model)

    def name(self, call: Call) -> None:
        """Keep what a stream says of itself where its upstream says nothing."""
        self._created, self._model, self._include_usage = call.created_s, call.model, call.include_usage


class ChatSurface(OpenAISurface):
    """``/v1/chat/completions``."""

    wire: ClassVar[Wire] = Wire.CHAT

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        call = chat.parse_call(body, size_bytes, self.arrival.now_s)
        self.name(call)
        return call, body


class EmbeddingsSurface(OpenAISurface):
    """``/v1/embeddings``."""

    wire: ClassVar[Wire] = Wire.EMBEDDINGS

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        call = embeddings.parse_call(body, size_bytes, self.arrival.now_s)
        self.name(call)
        return call, body

    def usage(self, usage: Usage, cost: Mapping[str, Any], _reply: Reply | None) -> Mapping[str, Any]:
        return {**embeddings.render_usage(usage), **cost}
