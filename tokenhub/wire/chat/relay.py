"""Relays an OpenAI-compatible stream: bytes in, the same bytes out, its end kept back.

Until the first content every frame is read. From then on a block of frames is only searched
for the marks of a frame that matters (a finish reason, a usage object, an error, anything
that is no plain chunk); a block without any goes through untouched, which is what makes a
chunk cost less than a microsecond. Text cannot look like a mark: inside a JSON string every
quote is escaped, and a mark has a quote after its first word. One found by chance only costs
the reading of its frame.
"""

import re
from typing import Any

import orjson

from tokenhub.usage import count
from tokenhub.wire import json_text, sse
from tokenhub.wire.chat import frames as chat_frames
from tokenhub.wire.chat.mend import Mender
from tokenhub.wire.chat.parts import binds, choices_of, index_of, text_of
from tokenhub.wire.chat.reply import (
    FAILED_FINISHES,
    Classify,
    error_in,
    finish_reason,
    has_content,
    read_reply,
    take_usage,
    text_bytes,
    unclassified,
)
from tokenhub.wire.chat.usage import take_count
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.frame_reader import FrameReader
from tokenhub.wire.words import code_word

_PLAIN = b"data: {"
_NEXT_PLAIN = b"\n\n" + _PLAIN
_ERROR = b'"error":'
_STYLES = (
    (b'"finish_reason":null', b'"usage":{'),
    (b'"finish_reason": null', b'"usage": {'),
)
"""The marks, for both ways in which JSON is spaced. A stream spaced in any other way is read frame by frame.

Each search is one pass over all bytes, so there are few, for marks whose last byte is rare: CPython looks at that one first.
"""
_TEXT = re.compile(
    rb'("delta": ?\{[^}]*?"(?:content|reasoning_content|reasoning|refusal|arguments)": ?)"(?!")([^"\\]*+(?:\\.[^"\\]*+)*+)"'
)
"""The first text of a delta, and what stands before it, which is alike in all frames that go on with the same."""
_PEELED_BYTES = 4096
"""A block that is not longer is taken frame by frame from its front."""
_TAIL_FRAMES = 3
"""The finish reason, the usage and ``[DONE]``: what ends most streams."""


class ChatRelay(FrameReader):
    """A StreamReader for upstreams that speak OpenAI's wire.

    ``choices``: how many the client asked for; with several, every frame is read, since one
    frame may end some of them. ``ends_with_close``: a quirk; the stream is complete when it closes after every choice has
    finished, even without ``[DONE]``. ``mender``: for upstreams that leave members out; every
    frame is then read and completed. ``classify`` sorts an error inside the stream.
    """

    def __init__(
        self,
        *,
        choices: int = 1,
        ends_with_close: bool = False,
        classify: Classify = unclassified,
        mender: Mender | None = None,
        limit_bytes: int = sse.FRAME_LIMIT_BYTES,
    ) -> None:
        super().__init__(classify=classify, limit_bytes=limit_bytes)
        self._ends_with_close = ends_with_close
        self._mender = mender
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._style: tuple[bytes, bytes] | None = None
        self._may_pass_unread = mender is None and choices == 1
        self._opening = b""
        self._envelope_bytes = 0
        """How the frame that was read last begins its text, and how long it is without: those that pass unread are like it."""

    def _may_end(self) -> bool:
        return self._ends_with_close and bool(self._finished) and self._finished >= self._seen

    def _take_block(self, block: bytes) -> bytes:
        """Let a block pass whole if nothing in it matters; else take its halves, until what matters stands alone."""
        passed, waiting = [], self._without_tail(block)
        while waiting:
            block = waiting.pop().lstrip(b"\n")
            if self._gate.is_open and self._is_plain(block):
                passed.append(block)
            elif cut := self._cut(block):
                waiting += (block[cut:], block[:cut])
            elif frame := block.strip(b"\n"):
                passed.append(self._take(frame))
        return b"".join(passed)

    @staticmethod
    def _without_tail(block: bytes) -> list[bytes]:
        """Cut the frames that end a stream off its last block, so that the rest can pass at one look; the first part comes last."""
        if not block.endswith(sse.DONE):
            return [block]
        cut = len(block) - 2
        for _ in range(_TAIL_FRAMES):
            cut = max(block.rfind(b"\n\n", 0, cut), 0)
        return [block[cut + 2 :], block[: cut + 2]] if cut else [block]

    def _cut(self, block: bytes) -> int:
        """Return where to cut a block into two shorter ones, 0 for a single frame: behind the first until content, then in the middle.

        A long block is halved first, since what follows its first frame is copied for each. A block may end in more
        empty lines than its last frame needs.
        """
        halves = len(block) > _PEELED_BYTES or (self._gate.is_open and self._style is not None)
        middle = len(block) // 2 if halves else 0
        cut = block.find(b"\n\n", middle, -2)
        if cut < 0:
            cut = block.rfind(b"\n\n", 0, middle + 1)
        return cut + 2 if 0 <= cut < len(block) - 2 else 0

    def _is_plain(self, block: bytes) -> bool:
        """Return whether a block is nothing but chunks that can pass unread; counts their text if so.

        Every line end belongs to a frame that begins like a chunk, and each has one choice that
        goes on with what the last one read has begun: no other event, comment, flat error, end or
        ``[DONE]`` is among them.
        """
        if self._style is None:
            return False
        goes_on, usage = self._style
        lines = block.count(b"\n")
        if (
            lines != 2 * block.count(_NEXT_PLAIN) + 2
            or lines != 2 * block.count(goes_on)
            or lines != 2 * block.count(self._opening)
            or block.find(usage) >= 0
            or block.find(_ERROR) >= 0
            or not block.startswith(_PLAIN)
        ):
            return False
        self.facts.output_bytes += len(block) - (lines >> 1) * self._envelope_bytes
        self.facts.usage = None  # a count that more follows is none of all (T10)
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
        event, data = sse.parse(frame)
        if data is None:
            return b""
        if data == b"[DONE]":
            return self._take_done()
        payload = json_text.object_of(data)
        if payload is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="malformed_frame"))
        if event == "error" or error_in(payload):
            return self._fail(self._classify(payload))
        return self._take_chunk(payload, whole)

    def _take_stray(self, body: bytes) -> bytes:
        """Take what is no event: a whole reply or an error in place of the stream, a web page (T74)."""
        payload = json_text.object_of(body)
        if payload is not None and error_in(payload):
            return self._fail(self._classify(payload))
        if payload is None or self._seen:
            return self._fail(Failure(FaultKind.PROTOCOL, code="not_an_event_stream"))
        return self._take_whole(payload)

    def _take_whole(self, payload: dict[str, Any]) -> bytes:
        """Take a whole reply that stands in place of the stream: an upstream that ignores ``stream: true``."""
        try:
            reply = read_reply(payload, classify=self._classify, mender=self._mender)
        except UpstreamFault as fault:
            return self._fail(fault.failure)
        self.facts.take(reply)
        self.facts.created = count(payload.get("created")) or 0
        content, end = chat_frames.frames_of_reply(payload)
        released = self._gate.open() + content if reply.has_content else self._gate.put(content)
        self._gate.keep(end)
        self._complete()
        return released

    def _take_chunk(self, payload: dict[str, Any], whole: bytes) -> bytes:
        """Take a chunk: note its facts, take its usage out, and let it pass, wait, or be kept back."""
        changed = self._mender is not None and self._mender.chunk(payload)
        usage, choices = take_usage(payload), choices_of(payload)
        if any(has_content(choice.get("delta")) for choice in choices):
            self.facts.usage = None  # a count that more follows is none of all (T10)
        if usage is not None:
            take_count(self.facts, usage)
        if not choices:
            return b"" if usage is not None else self._gate.put(whole)
        self.facts.upstream_id = self.facts.upstream_id or text_of(payload.get("id"))
        self.facts.created = self.facts.created or count(payload.get("created")) or 0
        self.facts.served_model = self.facts.served_model or text_of(payload.get("model"))
        finished_before = frozenset(self._finished)
        renamed = self._note_ends(choices)
        if self._over:
            return b""
        if changed or renamed or usage is not None:
            whole = sse.encode(orjson.dumps(payload))
        released = b""
        if self._has_more(choices, finished_before) and not self._gate.is_open:
            released = self._gate.open()
        if self._gate.is_open:
            self.facts.content = True
            self._note_form(whole)
        self.facts.output_bytes += sum(text_bytes(choice.get("delta")) for choice in choices)
        self.facts.binds = self.facts.binds or any(binds(choice.get("delta")) for choice in choices)
        if self._finished > finished_before and self._finished >= self._seen:
            self._gate.keep(whole)
            return released
        return released + self._gate.put(whole)

    def _has_more(self, choices: list[dict[str, Any]], finished: frozenset[int]) -> bool:
        """Return whether a chunk brings content for a choice that has not finished.

        Content after its own finish reason stays with the end; content of another choice
        shows that the end has not come yet.
        """
        return any(has_content(choice.get("delta")) and index_of(choice) not in finished for choice in choices)

    def _note_ends(self, choices: list[dict[str, Any]]) -> bool:
        """Note which choices are there and which have finished; say whether a reason was put into OpenAI's words."""
        renamed = False
        for choice in choices:
            index = index_of(choice)
            self._seen.add(index)
            native = choice.get("finish_reason")
            reason = finish_reason(native)
            if reason is None:
                continue
            if native in FAILED_FINISHES:
                self._fail(Failure(FaultKind.SERVER, code=code_word(native)))
                return False
            self._finished.add(index)
            self.facts.finish_reason, self.facts.native_finish_reason = reason, native
            if reason != native:
                choice["finish_reason"] = reason
                renamed = True
        return renamed

    def _note_form(self, whole: bytes) -> None:
        """Past the commit point blocks may pass unread, where the upstream's JSON can be searched and its text be told from the rest."""
        found = _TEXT.search(whole) if self._may_pass_unread else None
        self._style = next((style for style in _STYLES if whole.find(style[0]) >= 0), None) if found else None
        self._opening, self._envelope_bytes = (found[1], len(whole) - len(found[2])) if found else (b"", 0)

    def _take_done(self) -> bytes:
        if not self._seen:
            return self._fail(Failure(FaultKind.PROTOCOL, code="no_choices"))
        if self._mender is not None:
            for index in sorted(self._seen - self._finished):
                self.facts.finish_reason = self._mender.missing_finish(index)
                self._gate.keep(self._mender.finish_frame(index))
        self._complete()
        return b""
