"""``/v1/messages`` as Anthropic's clients speak it: events, pings and errors in Anthropic's form."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import orjson

from tokenhub.call import Call, Wire
from tokenhub.errors import HubError, InvalidRequest
from tokenhub.usage import Usage
from tokenhub.wire import estimate, sse
from tokenhub.wire.chat import request as chat
from tokenhub.wire.json_body import parse_object
from tokenhub.wire.messages import native_stream as messages_native_stream
from tokenhub.wire.messages import over_chat as messages_over_chat
from tokenhub.wire.messages import over_chat_reply as messages_over_chat_reply
from tokenhub.wire.messages.over_chat_stream import PING, EventWriter
from tokenhub.wire.messages.tool_ids import NewIds
from tokenhub.wire.replies import Reply
from tokenhub.wire.surface import Arrival, End, JsonSurface, Rendered

BETA_HEADER = "anthropic-beta"
_STRIPPED = frozenset({"fallbacks"})
"""What is no gateway's field here but Anthropic's own: it is left out (``billing/features.py``)."""

_THREAD = "thread"
_UNTHREADED = {"error_code": "thread_unsupported_request", "unsupported": [_THREAD]}
"""By which Anthropic's SDKs know that they must send a conversation whole: their tool runner asks for a thread first
(anthropic 2.12.0, ``lib/threads``)."""

ERROR_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Anthropic's word for each status (platform.claude.com, errors, 2026-11); every other is ``invalid_request_error``."""


class MessagesSurface(JsonSurface):
    """Bodies travel inside as chat and, to an upstream that speaks Messages, as they are."""

    wire: ClassVar[Wire] = Wire.MESSAGES
    id_headers: ClassVar[tuple[str, ...]] = ("x-request-id", "request-id")
    """The second is where Anthropic's SDKs look for what to quote to an operator."""

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self.keep_alive = PING
        self._inside: dict[str, Any] = {}
        self._shows_thinking = False
        self._writer: EventWriter | None = None

    def parse(self, raw: bytes) -> dict[str, Any]:
        return parse_object(raw)

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        chat.refuse_control_fields(body, _STRIPPED)
        refuse_stored_files(body)
        _refuse_thread(body)
        self._inside = messages_over_chat.request(body)
        self._shows_thinking = messages_over_chat.shows_thinking(body)
        call = chat.parse_call(self._inside, size_bytes, self.arrival.now_s)
        return replace(call, wire=Wire.MESSAGES, betas=_betas(self.arrival.headers)), self._inside

    def reply(self, reply: Reply) -> Rendered:
        if self.native:
            message = {name: value for name, value in reply.body.items() if name != "usage"}
        else:
            message = messages_over_chat_reply.message_of(
                reply.body, shows_thinking=self._shows_thinking, ids=self._new_ids()
            )
        return Rendered(orjson.dumps(message), "usage")

    def usage(self, usage: Usage, cost: Mapping[str, Any], reply: Reply | None) -> Mapping[str, Any]:
        own = reply.body.get("usage") if self.native and reply is not None and reply.usage is not None else None
        return {**(own if isinstance(own, dict) else messages_over_chat_reply.render_usage(usage)), **cost}

    def feed(self, frames: bytes) -> bytes:
        return frames if self.native else self._events().feed(frames)

    def hold_back(self, frames: bytes) -> bytes:
        return frames if self.native else self._events().hold_back(frames)

    def ending(self, held: bytes, end: End) -> bytes:
        if self.native:
            usage = messages_over_chat_reply.render_usage(end.usage)
            return messages_native_stream.with_usage(held, usage, end.cost, estimated=end.facts.usage is None)
        id = end.facts.upstream_id or end.request_id
        return held + self._events().ending(self.usage(end.usage, end.cost, None), id, end.facts.finish_reason)

    def error(self, error: HubError, request_id: str) -> Mapping[str, Any]:
        fields: dict[str, Any] = {
            "type": ERROR_TYPES.get(error.status, "invalid_request_error"),
            "message": error.message,
            "code": error.code,
            "param": error.param,
        }
        if error.metadata:
            fields["metadata"] = error.metadata
        if error.param == _THREAD:
            fields["details"] = _UNTHREADED
        return {"type": "error", "error": fields, "request_id": request_id}

    def error_frame(self, error: HubError, request_id: str) -> bytes:
        return sse.encode(orjson.dumps(self.error(error, request_id)), "error")

    def _events(self) -> EventWriter:
        if self._writer is None:
            self._writer = EventWriter(
                shows_thinking=self._shows_thinking,
                input_tokens=partial(estimate.of_prompt, self._inside),
                model=str(self._inside.get("model")),
                ids=self._new_ids(),
            )
        return self._writer

    def _new_ids(self) -> NewIds:
        return NewIds(self._inside.get("messages", ()))


def _refuse_thread(body: Mapping[str, Any]) -> None:
    """Refuse a conversation that Anthropic would keep, in its operator's account."""
    if body.get(_THREAD) is not None:
        raise InvalidRequest(
            "thread is not supported, because nothing is stored here: send the whole conversation as messages.",
            code="unsupported_parameter",
            param=_THREAD,
        )


def refuse_stored_files(body: Mapping[str, Any]) -> None:
    """Refuse files by id: they lie in the operator's own store at a provider, where everybody's would be within reach."""
    waiting: list[tuple[Any, str]] = [(body.get("messages"), "messages"), (body.get("system"), "system")]
    while waiting:
        item, place = waiting.pop()
        if isinstance(item, list):
            waiting += [(one, f"{place}[{position}]") for position, one in enumerate(item) if isinstance(one, dict)]
        elif isinstance(item, dict):
            source = item.get("source")
            if item.get("type") == "container_upload" or (isinstance(source, dict) and source.get("type") == "file"):
                raise InvalidRequest(
                    f"{place} names a file stored at a provider, which cannot be used here; send its data.", param=place
                )
            waiting += [(item.get("content"), f"{place}.content"), (source, f"{place}.source")]


def _betas(headers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for one in headers.get(BETA_HEADER, "").split(",") if (name := one.strip()))
