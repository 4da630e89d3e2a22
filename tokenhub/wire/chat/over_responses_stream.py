"""Reads a stream of responses' events and gives it back as chat-completion chunks.

Calls are told apart by ``output_index``. Unknown events are skipped; the last event holds the
whole response, and its usage.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.call import Call
from tokenhub.wire import json_text, sse
from tokenhub.wire.chat import over_responses_reply as chat_over_responses_reply
from tokenhub.wire.chat.frames import ChunkWriter
from tokenhub.wire.chat.parts import items_of, members_of, text_of
from tokenhub.wire.chat.reply import Classify, unclassified
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.frame_reader import FrameReader
from tokenhub.wire.responses import common as responses
from tokenhub.wire.responses import native as responses_native
from tokenhub.wire.responses import whole as responses_whole


class ResponsesReader(FrameReader):
    """A StreamReader for OpenAI's Responses; complete at ``response.completed`` or ``.incomplete``."""

    def __init__(
        self, call: Call, *, classify: Classify = unclassified, limit_bytes: int = sse.FRAME_LIMIT_BYTES
    ) -> None:
        super().__init__(classify=classify, limit_bytes=limit_bytes)
        self._call = call
        self._writer: ChunkWriter | None = None
        self._calls: dict[int | None, int] = {}
        self._with_arguments: set[int | None] = set()
        self._summaries = 0

    def _take(self, frame: bytes) -> bytes:
        if self._over:
            return b""
        if frame.startswith((b"{", b"<")):
            return self._take_stray(frame)
        _, data = sse.parse(frame)
        if data is None or data == b"[DONE]":
            return b""
        event = json_text.object_of(data)
        if event is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="malformed_frame"))
        kind = event.get("type")
        if kind in responses_native.FAILED or (kind is None and event.get("error")):
            return self._fail(responses_native.failure_of(event, self._classify))
        handler = _EVENTS.get(kind) if isinstance(kind, str) else None
        return handler(self, event) if handler is not None else b""

    def _told(self, reply: dict[str, Any]) -> bytes:
        return responses_whole.events_of(reply)

    def _start(self, event: Mapping[str, Any]) -> bytes:
        response = members_of(event.get("response"))
        facts = self.facts
        facts.upstream_id, facts.served_model = text_of(response.get("id")), text_of(response.get("model"))
        facts.created = responses.created_of(response) or self._call.created_s
        self._writer = ChunkWriter(facts.upstream_id or "", facts.created, facts.served_model or self._call.model)
        return self._gate.put(self._writer.delta({"role": "assistant", "content": ""}))

    @property
    def _chunks(self) -> ChunkWriter:
        if self._writer is None:
            self._start({})
        assert self._writer is not None
        return self._writer

    def _add_text(self, event: Mapping[str, Any]) -> bytes:
        text = _delta(event)
        if not text:
            return b""
        logprobs = items_of(event.get("logprobs"))
        if logprobs:
            return self._show(self._chunks.delta({"content": text}, logprobs={"content": logprobs}), text)
        return self._show(self._chunks.text(text), text)

    def _add_refusal(self, event: Mapping[str, Any]) -> bytes:
        text = _delta(event)
        return self._show(self._chunks.delta({"refusal": text}), text) if text else b""

    def _add_reasoning(self, event: Mapping[str, Any]) -> bytes:
        text = _delta(event)
        return self._show(self._chunks.reasoning(text), text) if text else b""

    def _add_summary(self, _event: Mapping[str, Any]) -> bytes:
        """Set the parts of a summary apart, as a whole reply does."""
        self._summaries += 1
        return self._show(self._chunks.reasoning("\n\n"), "") if self._summaries > 1 else b""

    def _add_item(self, event: Mapping[str, Any]) -> bytes:
        item = members_of(event.get("item"))
        if item.get("type") not in responses.CALLS:
            return b""
        position = self._calls[_place(event)] = len(self._calls)
        self.facts.binds = True
        call = chat_over_responses_reply.call_of({**item, "arguments": "", "input": ""})
        return self._show(self._chunks.delta({"tool_calls": [{"index": position, **call}]}), str(item.get("name")))

    def _add_arguments(self, event: Mapping[str, Any]) -> bytes:
        place, piece = _place(event), _delta(event)
        position = self._calls.get(place)
        if position is None or not piece:
            return b""
        self._with_arguments.add(place)
        return self._show(self._chunks.tool_arguments(position, piece), piece)

    def _add_input(self, event: Mapping[str, Any]) -> bytes:
        place, piece = _place(event), _delta(event)
        position = self._calls.get(place)
        if position is None or not piece:
            return b""
        self._with_arguments.add(place)
        return self._show(self._chunks.delta({"tool_calls": [{"index": position, "custom": {"input": piece}}]}), piece)

    def _end_item(self, event: Mapping[str, Any]) -> bytes:
        """Take a whole item: reasoning comes out to be given back, and arguments that came in no pieces."""
        item, place = members_of(event.get("item")), _place(event)
        if item.get("type") == "reasoning":
            details = chat_over_responses_reply.details_of(item)
            self.facts.binds = self.facts.binds or bool(details)
            return self._show(self._chunks.delta({"reasoning_details": details}), "") if details else b""
        if place in self._calls and place not in self._with_arguments:
            return self._whole_call(item, self._calls[place])
        return b""

    def _whole_call(self, item: Mapping[str, Any], position: int) -> bytes:
        arguments, text = text_of(item.get("arguments")), text_of(item.get("input"))
        if arguments:
            return self._show(self._chunks.tool_arguments(position, arguments), arguments)
        call = {"index": position, "custom": {"input": text}}
        return self._show(self._chunks.delta({"tool_calls": [call]}), text) if text else b""

    def _annotate(self, event: Mapping[str, Any]) -> bytes:
        note = chat_over_responses_reply.annotation_of(members_of(event.get("annotation")))
        return self._gate.put(self._chunks.delta({"annotations": [note]})) if note else b""

    def _end(self, event: Mapping[str, Any]) -> bytes:
        response, facts = event.get("response"), self.facts
        if not isinstance(response, dict):
            return self._fail(Failure(FaultKind.PROTOCOL, code="no_response"))
        facts.usage = responses.parse_usage(response.get("usage"))
        facts.finish_reason, facts.native_finish_reason = responses.finish_of(response)
        if self._calls and facts.finish_reason == "stop":
            facts.finish_reason = "tool_calls"
        kept = self._gate.keep(self._chunks.finish(facts.finish_reason))
        self._complete()
        return kept

    def _show(self, frame: bytes, text: str) -> bytes:
        """Let a frame with content pass; the first one commits."""
        self.facts.output_bytes += len(text.encode("utf-8", "replace"))
        if self.facts.content:
            return self._gate.put(frame)
        self.facts.content = True
        return self._gate.open() + frame


_EVENTS: Mapping[str, Callable[[ResponsesReader, Mapping[str, Any]], bytes]] = {
    "response.created": ResponsesReader._start,
    "response.output_text.delta": ResponsesReader._add_text,
    "response.refusal.delta": ResponsesReader._add_refusal,
    "response.reasoning_text.delta": ResponsesReader._add_reasoning,
    "response.reasoning_summary_part.added": ResponsesReader._add_summary,
    "response.reasoning_summary_text.delta": ResponsesReader._add_reasoning,
    "response.output_item.added": ResponsesReader._add_item,
    "response.function_call_arguments.delta": ResponsesReader._add_arguments,
    "response.custom_tool_call_input.delta": ResponsesReader._add_input,
    "response.output_item.done": ResponsesReader._end_item,
    "response.output_text.annotation.added": ResponsesReader._annotate,
    "response.completed": ResponsesReader._end,
    "response.incomplete": ResponsesReader._end,
}


def _place(event: Mapping[str, Any]) -> int | None:
    """Return which item an event is about."""
    index = event.get("output_index")
    return index if isinstance(index, int) else None


def _delta(event: Mapping[str, Any]) -> str:
    delta = event.get("delta")
    return delta if isinstance(delta, str) else ""
