"""Reads an Anthropic event stream and gives it back as chat-completion chunks.

One event becomes at most one chunk, but for the end of a block: a tool call that had no
input gets its ``{}``, and a thinking block comes out whole, with its signature. Unknown
events, blocks and deltas are skipped, as Anthropic's versioning asks
(platform.claude.com, streaming, 2026-11-22).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenhub.call import Call
from tokenhub.wire import json_text, sse
from tokenhub.wire.chat.frames import ChunkWriter
from tokenhub.wire.chat.parts import index_of, members_of
from tokenhub.wire.chat.reply import Classify
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.frame_reader import FrameReader
from tokenhub.wire.messages import common as messages
from tokenhub.wire.messages import reply as messages_reply
from tokenhub.wire.messages import whole as messages_whole
from tokenhub.wire.text_frames import TextFrames, Texts


@dataclass(slots=True)
class _Block:
    """A content block that is being streamed."""

    kind: str
    position: int = 0
    """Of a tool call among the tool calls."""
    begun: dict[str, Any] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    """Of a thinking block's text; for a tool call only whether there were any."""
    signature: str = ""
    start: int = 0
    """Characters of text that came before a text block."""
    citations: list[Any] = field(default_factory=list)


class MessagesReader(FrameReader):
    """A StreamReader for Anthropic's wire; complete at ``message_stop``."""

    def __init__(
        self,
        call: Call,
        *,
        classify: Classify = messages.classify_error,
        limit_bytes: int = sse.FRAME_LIMIT_BYTES,
    ) -> None:
        super().__init__(classify=classify, limit_bytes=limit_bytes)
        self._call = call
        self._writer: ChunkWriter | None = None
        self._blocks: dict[int, _Block] = {}
        self._tool_calls = 0
        self._shown_chars = 0
        self._usage: dict[str, Any] = {}
        self._text_frames = TextFrames("text")

    def _take_block(self, block: bytes) -> bytes:
        return self._text_frames.read(block, self._take, self._show_texts)

    def _take(self, frame: bytes) -> bytes:
        if self._over:
            return b""
        if frame.startswith((b"{", b"<")):
            return self._take_stray(frame)
        _, data = sse.parse(frame)
        if data is None:
            return b""
        event = json_text.object_of(data)
        if event is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="malformed_frame"))
        kind = event.get("type")
        if kind == "error" or "error" in event:
            return self._fail(self._classify(event))
        handler = _EVENTS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            return b""
        if self._writer is None and kind != "message_start":
            return self._fail(Failure(FaultKind.PROTOCOL, code="no_message_start"))
        made = handler(self, event)
        if (text := self._text_alone(event)) is not None:
            self._text_frames.learn(frame, text, self._text_alone)
        return made

    def _told(self, reply: dict[str, Any]) -> bytes:
        return messages_whole.events_of(reply)

    def _text_alone(self, event: Any) -> str | None:
        """Return the text of an event that adds one to a text block which is open; None for any other."""
        match event:
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str(text)}} if text:
                block = self._blocks.get(index_of(event))
                return text if block is not None and block.kind == "text" else None
        return None

    def _start(self, event: Mapping[str, Any]) -> bytes:
        message = members_of(event.get("message"))
        id, model = str(message.get("id") or ""), str(message.get("model") or self._call.model)
        self._writer = ChunkWriter(id, self._call.created_s, model)
        self.facts.upstream_id, self.facts.served_model, self.facts.created = id or None, model, self._call.created_s
        self._note_usage(message.get("usage"))
        return self._gate.put(self._writer.delta({"role": "assistant", "content": ""}))

    def _start_block(self, event: Mapping[str, Any]) -> bytes:
        begun = members_of(event.get("content_block"))
        kind = str(begun.get("type"))
        if kind == "tool_use" and begun.get("name") == messages.JSON_TOOL:
            kind = "json"
        block = self._blocks[index_of(event)] = _Block(kind, begun=begun)
        starter = _STARTS.get(kind)
        return starter(self, block) if starter is not None else b""

    def _start_text(self, block: _Block) -> bytes:
        block.start = self._shown_chars
        return self._show_text(str(block.begun.get("text") or ""))

    def _start_tool(self, block: _Block) -> bytes:
        block.position = self._tool_calls
        self.facts.binds = True
        self._tool_calls += 1
        function = {"name": block.begun.get("name"), "arguments": ""}
        call = {"index": block.position, "id": block.begun.get("id"), "type": "function", "function": function}
        self.facts.output_bytes += len(str(function["name"]))
        return self._show(self._chunks.delta({"tool_calls": [call]}))

    def _start_thinking(self, block: _Block) -> bytes:
        block.signature = str(block.begun.get("signature") or "")
        return self._think(block, str(block.begun.get("thinking") or ""))

    def _start_redacted(self, block: _Block) -> bytes:
        self.facts.binds = True
        return self._show(self._chunks.delta({"thinking_blocks": [block.begun]}))

    def _add_delta(self, event: Mapping[str, Any]) -> bytes:
        block = self._blocks.get(index_of(event))
        delta = members_of(event.get("delta"))
        adder = _DELTAS.get(str(delta.get("type")))
        return adder(self, block, delta) if adder is not None and block is not None else b""

    def _add_text(self, block: _Block, delta: Mapping[str, Any]) -> bytes:
        return self._show_text(str(delta.get("text") or "")) if block.kind == "text" else b""

    def _add_input(self, block: _Block, delta: Mapping[str, Any]) -> bytes:
        piece = str(delta.get("partial_json") or "")
        if not piece:
            return b""
        if block.kind == "json":
            block.pieces = [piece]
            return self._show_text(piece)
        return self._add_arguments(block, piece) if block.kind == "tool_use" else b""

    def _add_arguments(self, block: _Block, piece: str) -> bytes:
        block.pieces = [piece]
        self.facts.output_bytes += len(piece.encode())
        return self._show(self._chunks.tool_arguments(block.position, piece))

    def _add_thinking(self, block: _Block, delta: Mapping[str, Any]) -> bytes:
        return self._think(block, str(delta.get("thinking") or ""))

    def _add_signature(self, block: _Block, delta: Mapping[str, Any]) -> bytes:
        block.signature += str(delta.get("signature") or "")
        return b""

    def _add_citation(self, block: _Block, delta: Mapping[str, Any]) -> bytes:
        block.citations.append(delta.get("citation"))
        return b""

    def _stop_block(self, event: Mapping[str, Any]) -> bytes:
        block = self._blocks.pop(index_of(event), None)
        if block is None:
            return b""
        if block.kind == "thinking":
            return self._finish_thinking(block)
        if block.citations:
            return self._annotate(block)
        if block.kind in ("tool_use", "json") and not block.pieces:
            whole = messages_reply.arguments(block.begun.get("input"))
            return self._show_text(whole) if block.kind == "json" else self._add_arguments(block, whole)
        return b""

    def _annotate(self, block: _Block) -> bytes:
        notes = messages_reply.annotations_of(block.citations, block.start, self._shown_chars)
        return self._gate.put(self._chunks.delta({"annotations": notes})) if notes else b""

    def _finish_thinking(self, block: _Block) -> bytes:
        if not block.signature:
            return b""
        self.facts.binds = True
        whole = {"type": "thinking", "thinking": "".join(block.pieces), "signature": block.signature}
        return self._show(self._chunks.delta({"thinking_blocks": [whole]}))

    def _end(self, event: Mapping[str, Any]) -> bytes:
        """Take the end: its counts are cumulative and replace the earlier ones (SDK, MessageDeltaUsage)."""
        self._note_usage(event.get("usage"))
        if messages.counts_output(event.get("usage")):
            self.facts.usage = messages.parse_end(self._usage, self.facts.told)
        delta = members_of(event.get("delta"))
        native = delta.get("stop_reason")
        if not isinstance(native, str) or self.facts.finish_reason is not None:
            return b""
        self.facts.native_finish_reason = native
        refusal = messages_reply.refusal_text(delta)
        if refusal:
            self._gate.keep(self._chunks.delta({"refusal": refusal}))
        return self._finish(native)

    def _finish(self, native: str) -> bytes:
        reason = messages_reply.finish_reason(native, calls_tool=self._tool_calls > 0)
        self.facts.finish_reason = reason
        return self._gate.keep(self._chunks.finish(reason))

    def _stop(self, _event: Mapping[str, Any]) -> bytes:
        if self.facts.finish_reason is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="no_stop_reason"))
        self._complete()
        return b""

    def _think(self, block: _Block, text: str) -> bytes:
        if not text:
            return b""
        block.pieces.append(text)
        self.facts.output_bytes += len(text.encode())
        return self._show(self._chunks.reasoning(text))

    def _show_text(self, text: str) -> bytes:
        if not text:
            return b""
        self._shown_chars += len(text)
        self.facts.output_bytes += len(text.encode())
        return self._show(self._chunks.text(text))

    def _show_texts(self, texts: Texts) -> bytes:
        text = texts.joined()
        self._shown_chars += len(text)
        self.facts.output_bytes += len(text.encode())
        return self._show(self._chunks.texts(texts.literals))

    def _show(self, frame: bytes) -> bytes:
        """Let a frame with content pass; the first one commits. A count that comes before it does not count it (T10)."""
        self.facts.usage = None
        if self.facts.content:
            return self._gate.put(frame)
        self.facts.content = True
        return self._gate.open() + frame

    @property
    def _chunks(self) -> ChunkWriter:
        assert self._writer is not None, "every event but the first follows message_start"
        return self._writer

    def _note_usage(self, usage: Any) -> None:
        self._usage.update({name: value for name, value in members_of(usage).items() if value is not None})
        self.facts.tell(messages.parse_told(self._usage))


_EVENTS: Mapping[str, Callable[[MessagesReader, Mapping[str, Any]], bytes]] = {
    "message_start": MessagesReader._start,
    "content_block_start": MessagesReader._start_block,
    "content_block_delta": MessagesReader._add_delta,
    "content_block_stop": MessagesReader._stop_block,
    "message_delta": MessagesReader._end,
    "message_stop": MessagesReader._stop,
}

_STARTS: Mapping[str, Callable[[MessagesReader, _Block], bytes]] = {
    "text": MessagesReader._start_text,
    "tool_use": MessagesReader._start_tool,
    "thinking": MessagesReader._start_thinking,
    "redacted_thinking": MessagesReader._start_redacted,
}

_DELTAS: Mapping[str, Callable[[MessagesReader, _Block, Mapping[str, Any]], bytes]] = {
    "text_delta": MessagesReader._add_text,
    "input_json_delta": MessagesReader._add_input,
    "thinking_delta": MessagesReader._add_thinking,
    "signature_delta": MessagesReader._add_signature,
    "citations_delta": MessagesReader._add_citation,
}
