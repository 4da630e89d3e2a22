"""The gate between an upstream's stream and the client: shut until content, shut again at the end.

Frames before the first content wait, so that a provider which fails early can be replaced
without the client seeing it (T74). Frames from the end on are kept back until the charge is
committed.
"""

from tokenhub.wire import sse


class Gate:
    """Lets frames pass, wait, or be kept back; what it holds is bounded."""

    def __init__(self, limit_bytes: int = sse.FRAME_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._waiting: list[bytes] = []
        self._kept: list[bytes] = []
        self._held_bytes = 0
        self.is_open = False
        """Content was seen and the end was not: frames pass."""

    @property
    def is_untouched(self) -> bool:
        """Whether nothing has come yet."""
        return not self.is_open and not self._held_bytes

    @property
    def keeps(self) -> bool:
        """Whether the end has begun."""
        return bool(self._kept)

    def put(self, frame: bytes) -> bytes:
        """Return the frame if it may pass now; else hold it and return nothing."""
        if self.is_open:
            return frame
        return self._hold(self._kept if self._kept else self._waiting, frame)

    def open(self) -> bytes:
        """Return everything held so far: the first content has come, or the end was none after all."""
        released = self.ending()
        self._waiting, self._kept, self._held_bytes = [], [], 0
        self.is_open = True
        return released

    def keep(self, frame: bytes) -> bytes:
        """Keep this frame and all that follow for the end; returns nothing, as a frame kept back does."""
        self.is_open = False
        return self._hold(self._kept, frame)

    def take_back(self, released: bytes) -> None:
        """Hold what was just released, before everything that is kept: its stream has ended, so only the end is left."""
        self._hold(self._waiting, released)

    def ending(self) -> bytes:
        """Return what is held."""
        return b"".join([*self._waiting, *self._kept])

    def _hold(self, where: list[bytes], frame: bytes) -> bytes:
        self._held_bytes += len(frame)
        if self._held_bytes > self._limit:
            raise sse.FrameTooLarge
        where.append(frame)
        return b""
