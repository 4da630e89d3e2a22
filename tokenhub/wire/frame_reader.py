"""What readers of event streams share: bytes to frames, a gate, and the two ways a stream is over.

A subclass takes frame by frame what its wire means, or lets whole blocks pass unread. It ends with ``_complete`` at the wire's
terminal marker or with ``_fail``; a stream that closes before either was cut (T72).
"""

from abc import ABC, abstractmethod
from typing import Any

from tokenhub.wire import json_text, sse
from tokenhub.wire.chat.reply import Classify, error_in, unclassified
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.gate import Gate
from tokenhub.wire.replies import StreamFacts


class FrameReader(ABC):
    """A StreamReader. ``classify`` sorts an error inside the stream."""

    def __init__(self, *, classify: Classify = unclassified, limit_bytes: int = sse.FRAME_LIMIT_BYTES) -> None:
        self.facts = StreamFacts()
        self._splitter = sse.BlockSplitter(limit_bytes)
        self._gate = Gate(limit_bytes)
        self._classify = classify
        self._over = False

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the stream; return the frames that can go to the client."""
        try:
            block = self._splitter.feed(data)
            return self._take_block(block) if block else block
        except sse.FrameTooLarge:
            return self._fail(Failure(FaultKind.PROTOCOL, code="frame_too_large"))

    def close(self) -> None:
        """The upstream has ended: read what is left, and decide whether the reply is whole."""
        try:
            for frame in sse.frames_of(self._splitter.rest()):
                self._gate.take_back(self._take(frame))
        except sse.FrameTooLarge:
            self._fail(Failure(FaultKind.PROTOCOL, code="frame_too_large"))
        if self._over:
            return
        if self._may_end():
            self._complete()
        else:
            self._fail(Failure(FaultKind.PROTOCOL, code="stream_cut"))

    def ending(self) -> bytes:
        """Return the frames that were kept back."""
        return self._gate.ending()

    def _take_block(self, block: bytes) -> bytes:
        """Read whole frames; return what can go to the client now."""
        return b"".join([self._take(frame) for frame in sse.frames_of(block)])

    @abstractmethod
    def _take(self, frame: bytes) -> bytes:
        """Read one frame; return what can go to the client now, which is nothing once the stream is over."""

    def _take_stray(self, body: bytes) -> bytes:
        """Take what is no event: a whole reply in place of the stream, an error, a web page (T74)."""
        payload = json_text.object_of(body)
        if payload is not None and error_in(payload):
            return self._fail(self._classify(payload))
        told = self._told(payload) if payload is not None and self._gate.is_untouched else b""
        if not told:
            return self._fail(Failure(FaultKind.PROTOCOL, code="not_an_event_stream"))
        return b"".join([self._take(frame) for frame in sse.frames_of(told)])

    def _told(self, _reply: dict[str, Any]) -> bytes:
        """Return the frames that tell a whole reply, of an upstream that ignores ``stream: true``; none of what is no reply."""
        return b""

    def _may_end(self) -> bool:
        """Say whether the reply is whole although its terminal marker is missing."""
        return False

    def _complete(self) -> None:
        self.facts.complete = self._over = True
        self._gate.is_open = False

    def _fail(self, failure: Failure) -> bytes:
        self.facts.failure = self.facts.failure or failure
        self._over = True
        self._gate.is_open = False
        return b""
