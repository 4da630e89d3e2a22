"""Chat chunks as Anthropic's events: blocks one after another, each with a beginning and an end.

A Messages stream has one open block at a time, while chat chunks may go back and forth between
text, reasoning and several tool calls. A call that another interrupts before its arguments are
whole keeps its block; what comes meanwhile waits until the end. No upstream that was recorded does
that, but none promises not to.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tokenhub.wire import json_text, opaque, sse
from tokenhub.wire.chat.parts import blocks_of, calls_of, choices_of, text_of
from tokenhub.wire.chat.text_frames import text_alone
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.messages import carry as messages_carry
from tokenhub.wire.messages.over_chat_reply import own_id, reasoning_of, stop_reason
from tokenhub.wire.messages.tool_ids import NewIds
from tokenhub.wire.text_frames import TextFrames, Texts

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
"""What Anthropic writes into a silent stream; clients ignore it."""

Delta = Mapping[str, Any]
Place = str | int
"""``text``, ``thinking``, or the index of a tool call."""

_STOP = sse.encode(b'{"type":"message_stop"}', "message_stop")


class EventWriter:
    """Writes one translated stream.

    ``input_tokens`` is asked once, when the stream begins: Messages clients are told the size of
    their prompt first, before any upstream has counted it. ``model`` stands in where chunks name none.
    """

    def __init__(self, *, shows_thinking: bool, input_tokens: Callable[[], int], model: str, ids: NewIds) -> None:
        self._shows_thinking = shows_thinking
        self._ids = ids
        self._input_tokens = input_tokens
        self._model = model
        self._text_frames = TextFrames("content")
        self._begun = False
        self._open: Place | None = None
        self._head = b""
        """What every delta of the open block begins with."""
        self._index = -1
        self._signature = ""
        self._arguments: list[str] = []
        """Of the open tool call."""
        self._closed: set[Place] = set()
        self._waiting: dict[Place, list[Delta]] = {}
        self._details: list[Any] = []
        self._unseen: list[str] = []
        """Reasoning that is not shown: a call carries it."""
        self._reason: Any = None
        self._calls_tool = self._refused = self._ending = False

    def feed(self, frames: bytes) -> bytes:
        """Return the events of whole chat frames; raises UpstreamFault for one that is no chunk."""
        return self._text_frames.read(frames, self._take, self._texts)

    def hold_back(self, frames: bytes) -> bytes:
        """Return the events of the frames kept back; the answer is whole, so what comes too late is left out."""
        self._ending = True
        return self.feed(frames)

    def ending(self, usage: Mapping[str, Any], id: str, reason: str | None) -> bytes:
        """Return the last events: what has waited, the usage, the end.

        ``id`` and ``reason`` stand in where no frame names any.
        """
        events = [] if self._begun else [self._begin({"id": id})]
        events.append(self._flush())
        word = stop_reason(self._reason or reason, calls_tool=self._calls_tool, refused=self._refused)
        end = {"type": "message_delta", "delta": {"stop_reason": word, "stop_sequence": None}, "usage": usage}
        events.append(sse.encode(orjson.dumps(end), "message_delta"))
        return b"".join([*events, _STOP])

    def _take(self, frame: bytes) -> bytes:
        data = frame[6:] if frame.startswith(b"data: ") else sse.parse(frame)[1]
        if data is None:
            return b""
        try:
            payload = json_text.loads(data)
            choices = choices_of(payload)
        except (ValueError, AttributeError):
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_frame")) from None
        if not choices:
            return b""
        choice = choices[0]
        given, reason = choice.get("delta"), choice.get("finish_reason")
        delta = given if isinstance(given, dict) else {}
        if choice.get("index"):  # nobody asked for a second choice
            return b""
        if reason is not None:
            self._reason = reason
        begun = b"" if self._begun else self._begin(payload)
        events = begun + self._take_delta(delta)
        if (content := delta.get("content")) and isinstance(content, str):
            self._text_frames.learn(frame, content, text_alone)
        return events

    def _begin(self, chunk: Mapping[str, Any]) -> bytes:
        self._begun = True
        counted = {"input_tokens": self._input_tokens(), "output_tokens": 0}
        message: dict[str, Any] = {
            "id": text_of(chunk.get("id")) or own_id(),
            "type": "message",
            "role": "assistant",
            "model": text_of(chunk.get("model")) or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**counted, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
        }
        return sse.encode(orjson.dumps({"type": "message_start", "message": message}), "message_start")

    def _take_delta(self, delta: Delta) -> bytes:
        content = delta.get("content")
        if content and len(delta) == 1 and isinstance(content, str):
            return self._text(content)
        events = b""
        if self._shows_thinking:
            events += self._reason_pieces(delta)
        elif piece := reasoning_of(delta):
            self._unseen.append(piece)
        if isinstance(delta.get("reasoning_details"), list):
            self._details += delta["reasoning_details"]
        if isinstance(content, str) and content:
            events += self._text(content)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._refused = True
            events += self._text(refusal)
        if isinstance(delta.get("extra_content"), dict):
            events += self._carry({"extra_content": delta["extra_content"]})
        return events + b"".join([self._call(call) for call in calls_of(delta)])

    # Text and thinking ---------------------------------------------------------------------------

    def _text(self, text: str) -> bytes:
        if self._open != "text":
            if self._must_wait("text"):
                return self._wait("text", {"content": text})
            opening = self._start("text", b'{"type":"text","text":""}', b'{"type":"text_delta","text":')
            return b"%b%b%b}}\n\n" % (opening, self._head, orjson.dumps(text))
        return b"%b%b}}\n\n" % (self._head, orjson.dumps(text))

    def _texts(self, texts: Texts) -> bytes:
        """Take what many frames say, each in an event of its own."""
        if self._open != "text":
            return b"".join(map(self._text, texts))
        between = b'"}}\n\n%b"' % self._head
        return b'%b"%b"}}\n\n' % (self._head, between.join(texts.literals))

    def _reason_pieces(self, delta: Delta) -> bytes:
        """Take reasoning: pieces of text, then, from Anthropic's own models, the whole blocks with their signatures."""
        text = reasoning_of(delta)
        events = [self._think(text)] if text else []
        for block in blocks_of(delta, "thinking_blocks"):
            if block.get("type") == "redacted_thinking":
                events.append(self._whole(block))
            elif self._open == "thinking":
                self._signature = str(block.get("signature") or "")
                events.append(self._close())
            elif block.get("signature"):
                events.append(self._whole(block))
        return b"".join(events)

    def _think(self, text: str) -> bytes:
        events = b""
        if self._open != "thinking":
            if self._must_wait("thinking"):
                return self._wait("thinking", {"reasoning_content": text})
            block = b'{"type":"thinking","thinking":"","signature":""}'
            events = self._start("thinking", block, b'{"type":"thinking_delta","thinking":')
        return b"%b%b%b}}\n\n" % (events, self._head, orjson.dumps(text))

    # Tool calls ----------------------------------------------------------------------------------

    def _call(self, call: Mapping[str, Any]) -> bytes:
        index = call.get("index")
        place = index if isinstance(index, int) else 0
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        events = b""
        if self._open != place:
            if place in self._closed:
                if self._ending:
                    return b""
                raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="call_after_its_end"))
            if self._must_wait(place):
                return self._wait(place, {"tool_calls": [call]})
            events = self._start_call(place, call, function)
        piece = function.get("arguments")
        if not isinstance(piece, str) or not piece:
            return events
        self._arguments.append(piece)
        return b"%b%b%b}}\n\n" % (events, self._head, orjson.dumps(piece))

    def _start_call(self, place: int, call: Mapping[str, Any], function: Mapping[str, Any]) -> bytes:
        self._calls_tool = True
        id = self._ids.of(call.get("id"))
        carried: dict[str, Any] = {}
        if self._details:
            carried["reasoning_details"], self._details = self._details, []
        if self._unseen:
            carried["reasoning_content"], self._unseen = "".join(self._unseen), []
        if call.get("extra_content"):
            carried["calls"] = {str(id): call["extra_content"]}
        events = self._whole(messages_carry.sealed(carried)) if carried else b""
        block: dict[str, Any] = {"type": "tool_use", "id": id, "name": function.get("name"), "input": {}}
        events += self._start(place, orjson.dumps(block), b'{"type":"input_json_delta","partial_json":')
        self._arguments = []
        return events

    # Blocks --------------------------------------------------------------------------------------

    def _must_wait(self, place: Place) -> bool:
        """Return whether the open block is a tool call that has not got all its arguments."""
        if place in self._waiting or self._waiting:
            return True
        return isinstance(self._open, int) and not _is_whole("".join(self._arguments))

    def _wait(self, place: Place, delta: Delta) -> bytes:
        self._waiting.setdefault(place, []).append(delta)
        return b""

    def _start(self, place: Place, block: bytes, delta: bytes) -> bytes:
        """Open a block, closing the one before; ``delta`` is how each of its deltas begins."""
        closed = self._close()
        self._open = place
        self._index += 1
        self._head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b' % (
            self._index,
            delta,
        )
        return closed + self._event("content_block_start", b'"content_block":' + block)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        signed = b""
        if self._open == "thinking":
            mark = orjson.dumps(self._signature or opaque.MARK)
            signed = self._event("content_block_delta", b'"delta":{"type":"signature_delta","signature":%b}' % mark)
            self._signature = ""
        if isinstance(self._open, int):
            self._closed.add(self._open)
        self._open = None
        return signed + self._event("content_block_stop")

    def _whole(self, block: Mapping[str, Any]) -> bytes:
        """Return a block that comes in one piece."""
        closed = self._close()
        self._index += 1
        begun = self._event("content_block_start", b'"content_block":' + orjson.dumps(block))
        return closed + begun + self._event("content_block_stop")

    def _carry(self, members: Mapping[str, Any]) -> bytes:
        if isinstance(self._open, int):
            return self._wait("thinking", members)
        return self._whole(messages_carry.sealed(members))

    def _event(self, kind: str, rest: bytes = b"") -> bytes:
        name = kind.encode()
        more = b"," + rest if rest else b""
        return b'event: %b\ndata: {"type":"%b","index":%d%b}\n\n' % (name, name, self._index, more)

    def _flush(self) -> bytes:
        """Close what is open, and write what has waited, each place at a time."""
        events = [self._close()]
        waiting, self._waiting = self._waiting, {}
        for deltas in waiting.values():
            events += [self._take_delta(delta) for delta in deltas]
            events.append(self._close())
        if self._details and self._shows_thinking:
            events.append(self._whole(messages_carry.sealed({"reasoning_details": self._details})))
        return b"".join(events)


def _is_whole(arguments: str) -> bool:
    """Return whether a call's arguments are complete: an object. With none at all nobody knows whether any will come."""
    try:
        return isinstance(orjson.loads(arguments), dict)
    except orjson.JSONDecodeError:
        return False
