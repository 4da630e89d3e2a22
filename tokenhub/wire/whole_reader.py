"""A stream over an upstream that answers whole: nothing comes until all is there, then its events at once."""

from collections.abc import Callable

from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.replies import Reply, StreamFacts


class WholeReader:
    """A :class:`StreamReader` that reads the body as a reply, and gives the events that tell it."""

    def __init__(self, read: Callable[[bytes], Reply], events: Callable[[Reply], bytes]) -> None:
        self.facts = StreamFacts()
        self._read, self._events = read, events
        self._body = bytearray()
        self._ending = b""

    def feed(self, data: bytes) -> bytes:
        self._body += data
        return b""

    def close(self) -> None:
        try:
            reply = self._read(bytes(self._body))
        except UpstreamFault as fault:
            self.facts.failure = fault.failure
            return
        self._body.clear()
        self._ending = self._events(reply)
        self.facts.take(reply)
        self.facts.complete = True

    def ending(self) -> bytes:
        return self._ending
