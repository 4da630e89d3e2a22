"""Relays a Messages stream to a Messages client: bytes in, the same bytes out, its end kept back.

Frames are read until the first content; from then on a block of nothing but content events passes
unread. The end is kept from ``message_delta`` on, which bears the usage and is the one frame that is
written anew, with the cost in it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tokenhub.wire import json_text, sse
from tokenhub.wire.chat.parts import members_of, text_of
from tokenhub.wire.chat.reply import Classify
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.frame_reader import FrameReader
from tokenhub.wire.messages import common as messages
from tokenhub.wire.messages import native as messages_native
from tokenhub.wire.messages import reply as messages_reply
from tokenhub.wire.messages import whole as messages_whole
from tokenhub.wire.messages.common import InputCount

_PLAIN_EVENT = b"event: content_block_"
_PLAIN_DATA = b'\ndata: {"type":"content_block_'
_CALL, _SIGNATURE, _SEALED = b'"tool_use"', b'"signature_delta"', b'"redacted_thinking"'
"""Inside a JSON text every quote is escaped, so these cannot be the model's own words."""
_TEXT = re.compile(rb'"(?:text|thinking|partial_json|name)": ?"([^"\\]*(?:\\.[^"\\]*)*)"')
"""What of a content event the model has written."""


class NativeMessagesReader(FrameReader):
    """A StreamReader for a Messages upstream and a Messages client; complete at ``message_stop``."""

    def __init__(
        self,
        *,
        classify: Classify = messages.classify_error,
        limit_bytes: int = sse.FRAME_LIMIT_BYTES,
        input_count: InputCount = InputCount.WITHOUT_CACHE,
    ) -> None:
        super().__init__(classify=classify, limit_bytes=limit_bytes)
        self._input_count = input_count
        self._usage: dict[str, Any] = {}
        self._calls_tool = self._begun = False

    def _take_block(self, block: bytes) -> bytes:
        if self._gate.is_open and self._is_plain(block):
            return block
        return super()._take_block(block)

    def _is_plain(self, block: bytes) -> bool:
        """Return whether a block is nothing but content events, two lines each, as Anthropic writes them."""
        frames = block.count(b"\n\n")
        if (
            block.count(b"\n") != 3 * frames
            or block.count(_PLAIN_DATA) != frames
            or block.count(_PLAIN_EVENT) != frames
            or not block.startswith(_PLAIN_EVENT)
        ):
            return False
        facts = self.facts
        facts.output_bytes += sum(map(len, _TEXT.findall(block)))
        if not self._calls_tool:
            self._calls_tool = block.find(_CALL) >= 0
            facts.binds = facts.binds or self._calls_tool or block.find(_SIGNATURE) >= 0 or block.find(_SEALED) >= 0
        return True

    def _take(self, frame: bytes) -> bytes:
        """Read one frame; return what can go to the client now."""
        if self._over:
            return b""
        whole = frame + b"\n\n"
        if self._gate.is_open and self._is_plain(whole):
            return whole
        if frame.startswith((b"{", b"<")):
            return self._take_stray(frame)
        data = sse.parse(frame)[1]
        if data is None:
            return whole if self._gate.is_open and frame.startswith(b":") else b""
        event = json_text.object_of(data)
        if event is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="malformed_frame"))
        kind = event.get("type")
        if kind == "error" or "error" in event:
            return self._fail(self._classify(event))
        if not self._begun and kind not in ("message_start", "ping"):
            return self._fail(Failure(FaultKind.PROTOCOL, code="no_message_start"))
        note = _EVENTS.get(kind) if isinstance(kind, str) else None
        whole = _named(whole, kind)
        return self._gate.put(whole) if note is None else note(self, event, whole)

    def _told(self, reply: dict[str, Any]) -> bytes:
        return messages_whole.events_of(reply)

    def _start(self, event: Mapping[str, Any], whole: bytes) -> bytes:
        self._begun = True
        message = members_of(event.get("message"))
        self.facts.upstream_id, self.facts.served_model = text_of(message.get("id")), text_of(message.get("model"))
        self._note_usage(message.get("usage"))
        return self._gate.put(whole)

    def _start_block(self, event: Mapping[str, Any], whole: bytes) -> bytes:
        block = members_of(event.get("content_block"))
        self._calls_tool |= messages_native.calls_tool(block)
        self.facts.binds |= messages_native.calls_tool(block) or block.get("type") == "redacted_thinking"
        self.facts.output_bytes += messages_native.size_bytes(block)
        return self._show(whole, messages_native.shows(block))

    def _add_delta(self, event: Mapping[str, Any], whole: bytes) -> bytes:
        delta = members_of(event.get("delta"))
        piece = delta.get("text") or delta.get("thinking") or delta.get("partial_json")
        self.facts.output_bytes += len(piece.encode("utf-8", "replace")) if isinstance(piece, str) else 0
        signs = delta.get("type") == "signature_delta" and bool(delta.get("signature"))
        self.facts.binds |= signs
        return self._show(whole, bool(piece) or signs)

    def _end(self, event: Mapping[str, Any], whole: bytes) -> bytes:
        """Take the end: its counts are cumulative and replace the earlier ones (SDK, MessageDeltaUsage)."""
        self._note_usage(event.get("usage"))
        if messages.counts_output(event.get("usage")):
            self.facts.usage = messages.parse_end(self._usage, self.facts.told, self._input_count)
        native = text_of(members_of(event.get("delta")).get("stop_reason"))
        if native is not None:
            self.facts.native_finish_reason = native
            self.facts.finish_reason = messages_reply.finish_reason(native, calls_tool=self._calls_tool)
        return self._gate.keep(whole)

    def _stop(self, _event: Mapping[str, Any], whole: bytes) -> bytes:
        if self.facts.finish_reason is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="no_stop_reason"))
        kept = self._gate.keep(whole)
        self._complete()
        return kept

    def _show(self, whole: bytes, content: bool) -> bytes:
        """Let a frame pass; the first one with content commits. What follows the end stays behind it, uncounted (T10)."""
        if content:
            self.facts.usage = None
        if not content or self.facts.content:
            return self._gate.put(whole)
        self.facts.content = True
        return self._gate.open() + whole

    def _note_usage(self, usage: Any) -> None:
        self._usage.update({name: value for name, value in members_of(usage).items() if value is not None})
        self.facts.tell(messages.parse_told(self._usage, self._input_count))


_EVENTS: Mapping[str, Callable[[NativeMessagesReader, Mapping[str, Any], bytes], bytes]] = {
    "message_start": NativeMessagesReader._start,
    "content_block_start": NativeMessagesReader._start_block,
    "content_block_delta": NativeMessagesReader._add_delta,
    "message_delta": NativeMessagesReader._end,
    "message_stop": NativeMessagesReader._stop,
}


def with_usage(frames: bytes, usage: Mapping[str, Any], cost: Mapping[str, Any], *, estimated: bool) -> bytes:
    """Return the end of a stream with what it cost.

    ``usage`` is ours, which stands where the upstream gave none that makes sense (``estimated``).
    """
    found = sse.frames_of(frames)
    places = [place for place, frame in enumerate(found) if b"message_delta" in frame]
    if places:
        event = json_text.object_of(sse.parse(found[places[-1]])[1] or b"") or {}
        event["usage"] = {**(usage if estimated else members_of(event.get("usage")) or usage), **cost}
        found[places[-1]] = sse.encode(orjson.dumps(event), "message_delta")[:-2]
    return b"".join([frame + b"\n\n" for frame in found])


def _named(whole: bytes, kind: Any) -> bytes:
    """Return a frame with the event's name, where the upstream left it out: both of Anthropic's SDKs drop it without (2026-11)."""
    if whole.startswith(b"event:") or b"\nevent:" in whole or not isinstance(kind, str):
        return whole
    return b"event: %b\n%b" % (kind.encode(), whole)
