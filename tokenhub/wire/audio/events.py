"""Streams of sound and of transcripts, as OpenAI sends them: events that end with one that has the usage.

``speech.audio.delta`` … ``speech.audio.done``, ``transcript.text.delta`` … ``transcript.text.done``
(OpenAI's API reference and recordings, 2026-11). Frames pass as they came; from the done event on
they are kept back, and only that one is written again, with what it cost.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import orjson

from tokenhub.wire import json_text, sse
from tokenhub.wire.chat.parts import text_of
from tokenhub.wire.chat.reply import Classify, error_in, unclassified
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.frame_reader import FrameReader

Event = dict[str, Any]


class EventReader(FrameReader):
    """A StreamReader for events. ``done`` is the type of the last; a subclass says what the others hold."""

    done: ClassVar[str]

    def __init__(self, *, classify: Classify = unclassified, limit_bytes: int = sse.FRAME_LIMIT_BYTES) -> None:
        super().__init__(classify=classify, limit_bytes=limit_bytes)
        self._is_done = False

    @abstractmethod
    def shows(self, event: Event) -> bool:
        """Say whether an event holds content."""

    @abstractmethod
    def ends(self, event: Event) -> None:
        """Note what the done event says of the whole."""

    def takes_whole(self, _payload: Event) -> Event:
        """Return the done event that a whole reply in place of the stream comes to; raises UpstreamFault if it is none."""
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="not_an_event_stream"))

    def _take(self, frame: bytes) -> bytes:
        """Read one frame; return what can go to the client now."""
        if self._over:
            return b""
        if frame.startswith((b"{", b"<")):
            return self._take_stray(frame)
        name, data = sse.parse(frame)
        if data is None:
            return b""
        if data == b"[DONE]":
            return self._take_end()
        event = json_text.object_of(data)
        if event is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="malformed_frame"))
        if name == "error" or event.get("type") == "error" or error_in(event):
            return self._fail(self._classify(event))
        return self._take_event(event, frame + b"\n\n")

    def _take_event(self, event: Event, whole: bytes) -> bytes:
        self.facts.served_model = self.facts.served_model or text_of(event.get("model"))
        if event.get("type") == self.done:
            self.ends(event)
            self._is_done = True
            return self._gate.keep(whole)
        if self._is_done:
            return self._gate.keep(whole)
        released = b""
        if self.shows(event) and not self.facts.content:
            self.facts.content = True
            released = self._gate.open()
        return released + self._gate.put(whole)

    def _take_stray(self, body: bytes) -> bytes:
        """Take what is no event: a whole reply or an error in place of the stream, a web page (T74)."""
        payload = json_text.object_of(body)
        if payload is not None and error_in(payload):
            return self._fail(self._classify(payload))
        try:
            if payload is None or self.facts.content:
                raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="not_an_event_stream"))
            event = self.takes_whole(payload)
        except UpstreamFault as fault:
            return self._fail(fault.failure)
        self._take_event(event, sse.encode(orjson.dumps(event)))
        self._complete()
        return b""

    def _take_end(self) -> bytes:
        if not self._is_done:
            return self._fail(Failure(FaultKind.PROTOCOL, code="stream_cut"))
        self._complete()
        return b""

    def _may_end(self) -> bool:
        return self._is_done


def told(frames: bytes, done: str, usage_of: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> bytes:
    """Return the frames of an end with the usage of the done event rewritten from its own; all others stay as they are."""
    shown = []
    for frame in sse.frames_of(frames):
        _, data = sse.parse(frame)
        event = json_text.object_of(data) if data is not None else None
        if event is None or event.get("type") != done:
            shown.append(frame + b"\n\n")
            continue
        own = event.get("usage")
        event["usage"] = usage_of(own if isinstance(own, dict) else {})
        shown.append(sse.encode(orjson.dumps(event)))
    return b"".join(shown)
