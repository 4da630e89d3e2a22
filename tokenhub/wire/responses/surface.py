"""``/v1/responses`` as OpenAI's clients speak it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import orjson

from tokenhub.call import Call, Wire
from tokenhub.errors import HubError
from tokenhub.usage import Usage
from tokenhub.wire.chat import request as chat
from tokenhub.wire.chat.parts import choices_of
from tokenhub.wire.openai_surfaces import OpenAISurface
from tokenhub.wire.replies import Reply
from tokenhub.wire.responses import common as responses
from tokenhub.wire.responses import native as responses_native
from tokenhub.wire.responses import over_chat as responses_over_chat
from tokenhub.wire.responses.over_chat_stream import ChatToResponse, ResponseWriter
from tokenhub.wire.responses.tools import Tools
from tokenhub.wire.surface import Arrival, End, Rendered

_NUMBER = re.compile(rb'"sequence_number": ?(\d{1,15})\b')


class ResponsesSurface(OpenAISurface):
    """A response: told from a chat reply, or passed on from an upstream that makes responses itself."""

    wire: ClassVar[Wire] = Wire.RESPONSES

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self._asked: Mapping[str, Any] = {}
        self._tools = Tools()
        self._told = ChatToResponse(self._asked, self._tools)
        self._passed = b""
        self._own_usage: Mapping[str, Any] = {}

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        translated = responses_over_chat.request(body)
        inside = chat.parse_call(translated.body, size_bytes, self.arrival.now_s)
        counts = responses.count_parts(body.get("input"))
        most = {fact: max(number, getattr(inside, fact)) for fact, number in counts.items()}
        call = replace(inside, wire=self.wire, **most)
        self._asked, self._tools = body, translated.tools
        self._told = ChatToResponse(body, translated.tools)
        self.name(call)
        return call, translated.body

    def reply(self, reply: Reply) -> Rendered:
        if self.native:
            given = reply.body.pop("usage", None)
            self._own_usage = given if isinstance(given, dict) else {}
            return Rendered(orjson.dumps(reply.body), "usage")
        body = reply.body
        writer = ResponseWriter(
            self._asked,
            self._tools,
            str(body.get("id") or ""),
            body.get("created") or self._created,
            str(body.get("model") or self._model),
        )
        for choice in choices_of(body)[:1]:
            writer.choice(choice, choice["message"])
        return Rendered(writer.whole(), "usage")

    def usage(self, usage: Usage, cost: Mapping[str, Any], _reply: Reply | None) -> Mapping[str, Any]:
        return {**responses.render_usage(usage), **self._own_usage, **cost}

    def feed(self, frames: bytes) -> bytes:
        if self.native:
            self._passed = frames
            return frames
        return self._told.feed(frames)

    def hold_back(self, frames: bytes) -> bytes:
        return frames if self.native else self._told.feed(frames)

    def ending(self, held: bytes, end: End) -> bytes:
        if self.native:
            return responses_native.with_usage(
                held, lambda own: {**responses.render_usage(end.usage), **own, **end.cost}
            )
        writer = self._begun(end.facts.upstream_id or end.request_id)
        return held + writer.end(orjson.dumps(self.usage(end.usage, end.cost, None)))

    def error_frame(self, error: HubError, request_id: str) -> bytes:
        """An error as OpenAI's streams tell it: an event with its words, then the response that failed.

        OpenAI's SDKs read the first (its words stand inside ``error`` in real streams, beside it in the
        schema: here in both places), Codex reads the second.
        """
        writer = self._begun(request_id)
        self._resume(writer)
        told = {**self.error(error, request_id)["error"]}
        flat = {"code": told["code"], "message": told["message"], "param": told["param"]}
        return writer.output.event("error", **flat, error=told) + writer.failed(error)

    def _begun(self, id: str) -> ResponseWriter:
        return self._told.begun(id, self._created, self._model)

    def _resume(self, writer: ResponseWriter) -> None:
        """Go on counting where the events that were passed on have ended."""
        numbers = _NUMBER.findall(self._passed)
        if numbers:
            writer.output.sequence = int(numbers[-1]) + 1
