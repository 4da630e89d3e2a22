"""One connection to an upstream, and the replies that are read from it."""

import asyncio
from typing import Any, Final, cast

from httptools import HttpParserError, HttpResponseParser

MAX_INFORMATIONAL: Final = 8
"""1xx replies taken before the real one (103 early hints, a stray 100)."""
MAX_HEADERS: Final = 100
MAX_LINE_BYTES: Final = 8190
MAX_HEAD_BYTES: Final = 128 * 1024
READ_AHEAD_BYTES: Final = 128 * 1024
"""A reply is read ahead of its consumer by about this much; then the socket is left unread."""

_LENIENT: Final = {
    "lenient_headers": True,
    "lenient_optional_cr_before_lf": True,
    "lenient_spaces_after_chunk_size": True,
}
"""What clients commonly let pass in replies; aiohttp's does the same."""


class MalformedReply(Exception):
    """What came is no HTTP reply, or is beyond its bounds."""


class Channel(asyncio.Protocol):
    """One connection. ``reads`` counts what arrived; nothing may arrive while it is parked (T79).

    Between :meth:`begin` and ``complete`` it belongs to one exchange, which waits with :meth:`wait` and takes
    what has come with :meth:`take`. The parser (llhttp) puts pieces of the body straight into
    a list: a chunk costs no call into Python.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: asyncio.Transport | None = None
        self.reads = 0
        self.parked_at: float | None = None
        self.status = 0
        """Of the reply, once its head is whole; 0 before."""
        self.headers: dict[str, str] = {}
        """By lower-case names; those sent twice are joined by commas."""
        self.parts: list[bytes] = []
        """What has come of the body and was not taken yet."""
        self.complete = True
        """The reply has come to its end."""
        self.error: Exception | None = None
        """Why the reply will not come to its end."""
        self.on_body = self.parts.append
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._unread = self._head_bytes = self._informational = 0
        self._paused = self._spoiled = self._keeps_alive = self._ends_with_close = False
        self._fields: list[tuple[bytes, bytes]] = []
        self._parser: Any = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**_LENIENT)

    # The exchange's side

    def begin(self) -> None:
        """Expect a reply."""
        self.status = self._unread = self._head_bytes = self._informational = 0
        self.headers, self.error, self.complete = {}, None, False

    async def wait(self) -> None:
        """Wait until something has happened. A cancelled wait leaves everything as it is."""
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def take(self) -> bytes:
        """Return what has come of the body, and let more come."""
        parts = self.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._unread = 0
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return data

    def abort(self) -> None:
        """Close the connection at once, and wake who waits."""
        if self.transport is not None:
            self.transport.abort()
        self._spoiled = True
        self._wake()

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self.transport is not None and not self.transport.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent: all of the last one has gone out, all of its reply has come in."""
        if self.transport is None or self._spoiled or not (self.complete and self._keeps_alive and self.connected):
            return False
        # An answer that came early leaves the rest of its request in the buffer.
        return not self.transport.get_write_buffer_size()

    # The socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket; a parked connection on which some come is torn down."""
        self.reads += 1
        if self.parked_at is not None or self._parser is None:
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._spoil(error)
        self._unread += len(data)
        if not self.status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._spoil(MalformedReply("head"))
        if self._unread > READ_AHEAD_BYTES and not self._paused and not self.complete and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end: a reply without a length ends with its connection, unless that was reset."""
        self.transport = self._parser = None
        self._spoiled = True
        if not self.complete and self.error is None:
            if exc is None and self.status and self._ends_with_close:
                self.complete = True
            else:
                self.error = exc or ConnectionResetError("cut")
        self._wake()

    # The parser's side

    def on_message_begin(self) -> None:
        """A reply begins; one that nobody asked for ends the connection."""
        if self.complete:
            raise MalformedReply("unasked")
        self._fields.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, within bounds."""
        if len(self._fields) >= MAX_HEADERS or len(name) + len(value) > MAX_LINE_BYTES or 0 in value:
            raise MalformedReply("headers")
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Take the head, unless it is one of an informational reply."""
        parser = self._parser
        status = parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return
        if not parser.get_http_version().startswith("1."):
            raise MalformedReply("version")
        headers = self.headers
        for name, value in self._fields:
            key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        framed = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
        self._ends_with_close = not framed
        self.status = status

    def on_message_complete(self) -> None:
        """The reply is whole; or it was an informational one."""
        if not self.status:
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise MalformedReply("informational")
            return
        self.complete = True
        self._keeps_alive = self._parser.should_keep_alive()

    def _spoil(self, error: Exception) -> None:
        """Use the connection no more; the reply, if it is not whole yet, is malformed."""
        self._spoiled = True
        if not self.complete and self.error is None:
            self.error = MalformedReply(str(error))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
