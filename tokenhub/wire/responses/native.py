"""Responses of an upstream that makes them itself: read for what must be known, passed on as they are.

A stream's frames pass byte for byte. Until the first content each is read; from then on a
block is only searched for the marks of events that matter, as ``chat/relay.py`` does for chat.
The last event holds the whole response, so that what passed unread is known in the end.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tokenhub.call import Call
from tokenhub.wire import json_text, sse
from tokenhub.wire.chat.parts import items_of, text_of
from tokenhub.wire.chat.reply import Classify, unclassified
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.frame_reader import FrameReader
from tokenhub.wire.replies import Reply
from tokenhub.wire.responses import common as responses
from tokenhub.wire.responses import whole as responses_whole

_ENDS = ("response.completed", "response.incomplete")
FAILED = ("response.failed", "response.cancelled", "error")
_MARKS = (b"response.completed", b"response.incomplete", b"response.failed", b"response.cancelled", b'"error"')
_TYPE = b'"type":"response.'
"""In every event once, and never inside a text, where quotes are escaped. A stream spaced otherwise is read frame by frame."""
_DELTA = re.compile(rb'"delta": ?"([^"\\]*(?:\\.[^"\\]*)*)"')
_FAILED_STATES = ("failed", "cancelled", "queued", "in_progress")
"""A reply that was waited for and is in one of these is no reply."""


def failure_of(payload: Mapping[str, Any], classify: Classify) -> Failure:
    """Sort an error event, a failed response, or a body that is an error."""
    response = payload.get("response")
    held = response.get("error") if isinstance(response, Mapping) else None
    error = held or payload.get("error") or {name: payload.get(name) for name in ("code", "message", "param")}
    return classify({"error": error})


def reply(raw: dict[str, Any], _call: Call, *, classify: Classify = unclassified) -> Reply:
    """Read a whole response; its body passes as it is. Raises UpstreamFault for one that failed (T74)."""
    if raw.get("error") or raw.get("status") in _FAILED_STATES:
        raise UpstreamFault(failure_of(raw, classify))
    output = raw.get("output")
    if not isinstance(output, list):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="no_output"))
    items = items_of(output)
    usage = responses.parse_usage(raw.get("usage"))
    reason, native = responses.finish_of(raw)
    return Reply(
        body=raw,
        usage=usage,
        finish_reason=reason,
        native_finish_reason=native,
        upstream_id=text_of(raw.get("id")),
        has_content=any(map(responses.shows, items)),
        output_bytes=responses.text_bytes(items) if usage is None else 0,
        served_model=text_of(raw.get("model")),
        bound=responses.binds(items),
    )


class NativeResponses(FrameReader):
    """A StreamReader whose frames stay responses' events; complete at ``response.completed`` or ``.incomplete``."""

    def _take_block(self, block: bytes) -> bytes:
        if self._gate.is_open and _is_plain(block):
            self._count(block)
            return block
        return super()._take_block(block)

    def _count(self, block: bytes) -> None:
        """Count the text that passes, for a reply whose end is never seen."""
        self.facts.output_bytes += sum(map(len, _DELTA.findall(block)))

    def _take(self, frame: bytes) -> bytes:
        if self._over:
            return b""
        whole = frame + b"\n\n"
        _, data = sse.parse(frame)
        if data is None:
            stray = frame.startswith((b"{", b"<"))
            return self._take_stray(frame) if stray else self._gate.put(whole)
        if data == b"[DONE]":
            return b""
        event = json_text.object_of(data)
        if event is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="malformed_frame"))
        kind = event.get("type")
        if kind in FAILED or (kind is None and event.get("error")):
            return self._fail(failure_of(event, self._classify))
        self._note(event)
        if kind in _ENDS:
            return self._end(event, whole)
        self._count(whole)
        if self._gate.is_open or not _has_content(event):
            return self._gate.put(whole)
        self.facts.content = True
        return self._gate.open() + whole

    def _note(self, event: Mapping[str, Any]) -> None:
        """Note what the response says of itself."""
        response = event.get("response")
        if not isinstance(response, Mapping):
            return
        facts = self.facts
        facts.upstream_id = facts.upstream_id or text_of(response.get("id"))
        facts.served_model = facts.served_model or text_of(response.get("model"))
        facts.created = facts.created or responses.created_of(response)

    def _end(self, event: Mapping[str, Any], whole: bytes) -> bytes:
        ended = event.get("response")
        if not isinstance(ended, Mapping):
            return self._fail(Failure(FaultKind.PROTOCOL, code="no_response"))
        items, facts = items_of(ended.get("output")), self.facts
        facts.usage = responses.parse_usage(ended.get("usage"))
        facts.finish_reason, facts.native_finish_reason = responses.finish_of(ended)
        facts.content = facts.content or any(map(responses.shows, items))
        facts.output_bytes = responses.text_bytes(items) or facts.output_bytes
        facts.binds = responses.binds(items)
        self._complete()
        return self._gate.keep(whole)

    def _told(self, reply: dict[str, Any]) -> bytes:
        return responses_whole.events_of(reply)


def with_usage(frames: bytes, told: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> bytes:
    """Return a stream's last frames with another usage in the response that ends it; all others stay as they are."""
    written = []
    for frame in sse.frames_of(frames):
        name, data = sse.parse(frame)
        event = json_text.object_of(data) if data is not None else None
        response = event.get("response") if event is not None and event.get("type") in _ENDS else None
        if event is None or not isinstance(response, dict):
            written.append(frame + b"\n\n")
            continue
        own = response.get("usage")
        response["usage"] = told(own if isinstance(own, dict) else {})
        written.append(sse.encode(orjson.dumps(event), name))
    return b"".join(written)


def _is_plain(block: bytes) -> bool:
    """Return whether a block is nothing but events in the middle of a reply."""
    return block.count(b"\n\n") == block.count(_TYPE) and all(block.find(mark) < 0 for mark in _MARKS)


def _has_content(event: Mapping[str, Any]) -> bool:
    """Return whether an event shows something: a piece of text or reasoning, a call, a whole item."""
    if event.get("delta"):
        return True
    item = event.get("item")
    if not isinstance(item, Mapping):
        return False
    if event.get("type") == "response.output_item.added":
        return item.get("type") not in ("message", "reasoning")
    return event.get("type") == "response.output_item.done" and responses.shows(item)
