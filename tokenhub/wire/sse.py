"""Server-sent events: bytes to frames and back, across every border of a read.

A *frame* is one event as it stands in the stream, without the blank line that ends it; a
*block* is a run of whole frames with their blank lines. Line ends become LF on the way in
(CR, LF and CRLF are equal by the WHATWG rules), a byte order mark is dropped, and where the
network cut the stream never shows (T59). Everything here is a few passes over the bytes in C:
a stream is relayed in blocks, and only frames that matter are looked into. They are searched with ``find``:
``in`` takes bytes for a number first, and makes an exception of it each time (CPython 3.11).
"""

FRAME_LIMIT_BYTES = 8 * 1024 * 1024
"""The largest frame taken; an upstream that sends a larger one has failed (T59, T71)."""

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: clients ignore it, proxies on the way see a live connection."""

_BOM = b"\xef\xbb\xbf"


class FrameTooLarge(ValueError):
    """An upstream sent a frame above the byte cap."""


class BlockSplitter:
    """Cuts a stream of bytes into blocks of whole frames."""

    def __init__(self, limit_bytes: int = FRAME_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._tail = bytearray()
        self._head: bytes | None = b""
        self._after_cr = False

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes and return the frames they complete, as one block; often empty.

        Bytes of an unfinished frame wait for the next call, up to ``limit_bytes``; beyond it
        FrameTooLarge is raised.
        """
        if self._head is not None:
            data = self._without_bom(self._head + data)
        if self._after_cr or data.find(b"\r") >= 0:
            data = self._with_lf(data)
        tail = self._tail
        if not tail:
            if data.endswith(b"\n\n"):
                return self._checked(data)
            end = data.rfind(b"\n\n") + 2
            if end == 1:
                tail += data
                block = b""
            else:
                tail += data[end:]
                block = data[:end]
        else:
            start = len(tail) - 1
            tail += data
            end = tail.rfind(b"\n\n", start) + 2
            if end == 1:
                block = b""
            else:
                block = bytes(tail[:end])
                del tail[:end]
        if len(tail) > self._limit:
            raise FrameTooLarge
        return self._checked(block)

    def rest(self) -> bytes:
        """Return what is left when the stream has ended: a last frame without its blank line, or nothing."""
        left = (self._head or b"") + bytes(self._tail)
        self._head, self._tail = None, bytearray()
        return left.strip(b"\n")

    def _checked(self, block: bytes) -> bytes:
        if len(block) > self._limit and any(len(frame) > self._limit for frame in block.split(b"\n\n")):
            raise FrameTooLarge
        return block

    def _without_bom(self, data: bytes) -> bytes:
        """Drop a byte order mark from the first bytes; fewer than three wait for the rest of it."""
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._head = data
            return b""
        self._head = None
        return data.removeprefix(_BOM)

    def _with_lf(self, data: bytes) -> bytes:
        """End every line with LF. A CR at a border ends its line at once; an LF that follows it is dropped."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class FrameSplitter:
    """Cuts a stream of bytes into frames."""

    def __init__(self, limit_bytes: int = FRAME_LIMIT_BYTES) -> None:
        self._blocks = BlockSplitter(limit_bytes)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return the frames they complete, without their blank lines."""
        return frames_of(self._blocks.feed(data))

    def rest(self) -> list[bytes]:
        """Return the last frame when the stream ended without its blank line."""
        return frames_of(self._blocks.rest())


def frames_of(block: bytes) -> list[bytes]:
    """Return the frames of a block; blank lines in a row make no empty frames."""
    return [frame.lstrip(b"\n") for frame in block.split(b"\n\n") if frame and frame != b"\n"]


def parse(frame: bytes) -> tuple[str | None, bytes | None]:
    """Return the event's name and its data; None where the frame has no such line.

    Comments and unknown fields are skipped; several data lines are joined by LF.
    """
    if frame.startswith(b"data: ") and b"\n" not in frame:
        return None, frame[6:]
    event: str | None = None
    data: list[bytes] = []
    for line in frame.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            event = value.removeprefix(b" ").decode("utf-8", "replace")
    return event, b"\n".join(data) if data else None


def encode(data: bytes, event: str | None = None) -> bytes:
    """Return one frame with its blank line. ``data`` is JSON on one line: JSON escapes every line end (T60)."""
    if event is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)
