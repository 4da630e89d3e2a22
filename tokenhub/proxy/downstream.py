"""The client's side of an exchange: one whole reply, or a stream whose end is written last.

Bytes are formatted here and written to the transport in one piece, which costs a fraction
of a ``web.Response`` (``docs/performance.md``); aiohttp is told by :class:`Sent` that the
reply is out. Header values are checked, because a control byte in one would split the reply.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp.web_request import BaseRequest

from tokenhub.errors import HubError
from tokenhub.wire.chat import frames as chat_frames
from tokenhub.wire.surface import JSON, Surface

_AT_ONCE = struct.pack("ii", 1, 0)
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class ClientGone(Exception):
    """The client has left, or was cut off because it did not read."""


class Sent:
    """What aiohttp gets for a reply that was written already."""

    __slots__ = ("keep_alive",)
    status = 200
    prepared = True

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: BaseRequest) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


def render_refusal(
    error: HubError, request_id: str = "", headers: Mapping[str, str] | None = None
) -> tuple[bytes, bytes]:
    """Render an error reply that ends its connection: head and body."""
    body = orjson.dumps(chat_frames.render_error(error, request_id))
    extra = dict(headers or {})
    if error.retry_after_s is not None:
        extra["Retry-After"] = str(error.retry_after_s)
    return _head(error.status, JSON, extra, f"Content-Length: {len(body)}\r\nConnection: close\r\n"), body


def _head(status: int, content_type: str, headers: Mapping[str, str], framing: str) -> bytes:
    values = "".join(headers.values())
    if not (values.isascii() and values.isprintable()):
        headers = {name: ascii(value)[1:-1].replace("\\", "?") for name, value in headers.items()}
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"{_STATUS_LINES[status]}Content-Type: {content_type}\r\n{lines}{framing}\r\n".encode("ascii")


def break_off(transport: asyncio.Transport) -> None:
    """Reset a connection: after an orderly end a reply that only that end frames (HTTP/1.0) would pass for whole."""
    if not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


class Downstream:
    """Writes one reply to one client.

    A stream may be opened early, by a keep-alive comment, before its first content is known
    (after ``silence_s`` without a byte); from then on failures are events in the stream.
    """

    __slots__ = (
        "_chunked",
        "_content",
        "_head_only",
        "_keep_alive",
        "_loop",
        "_protocol",
        "_silence_s",
        "_surface",
        "_tick",
        "_transport",
        "_version_10",
        "_written_at",
        "ended",
        "headers",
        "opened",
    )

    def __init__(self, request: BaseRequest, *, silence_s: float, surface: Surface) -> None:
        transport = request.transport
        if transport is None:
            raise ClientGone
        self._transport = transport
        self._protocol = request.protocol
        self._content = request.content
        self._loop = asyncio.get_running_loop()
        self._version_10 = request.version < (1, 1)
        self._keep_alive = request.keep_alive
        self._chunked = not self._version_10
        self._head_only = request.method == "HEAD"
        self._silence_s = silence_s
        self._written_at = 0.0
        self._tick: asyncio.TimerHandle | None = None
        self._surface = surface
        self.headers: dict[str, str] = {}
        """Headers of the reply to come; fixed once it is opened."""
        self.opened = False
        self.ended = False

    @property
    def is_gone(self) -> bool:
        """Whether the client has left."""
        return self._transport.is_closing()

    def send(self, status: int, body: bytes, content_type: str = JSON, *, close: bool = False) -> Sent:
        """Write a whole reply; it is the connection's last if the request's body was not read to its end."""
        self.stop_keep_alive()
        keep_alive = self._may_stay() and not close and self._content.is_eof()
        framing = f"Content-Length: {len(body)}\r\n"
        if not keep_alive:
            framing += "Connection: close\r\n"
        elif self._version_10:
            framing += "Connection: keep-alive\r\n"
        if self._transport.is_closing():
            raise ClientGone
        self.opened = self.ended = True
        head = _head(status, content_type, self.headers, framing)
        self._transport.write(head if self._head_only else head + body)
        return Sent(keep_alive=keep_alive)

    def send_json(self, status: int, value: Any) -> Sent:
        """Write a whole reply from a JSON value."""
        return self.send(status, orjson.dumps(value))

    def send_error(self, error: HubError, request_id: str) -> Sent:
        """Write an error as a whole reply, or as the last event of a stream that is open already.

        A stream that has no place for an error (sound) is broken off, so that nobody takes its half for the whole.
        """
        if self.opened:
            frame = self._surface.error_frame(error, request_id)
            if not frame:
                return self.abort()
            self.write_now(frame)
            return self.end()
        if error.retry_after_s is not None:
            self.headers["Retry-After"] = str(error.retry_after_s)
        return self.send(
            error.status,
            orjson.dumps(self._surface.error(error, request_id)),
            close=error.status in (408, 413, 505),
        )

    def open_stream(self, content_type: str = "") -> None:
        """Write the head of a stream, once; without a content type, of the surface's own."""
        if self.opened:
            return
        self.opened = True
        framing = "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
        framing += "Transfer-Encoding: chunked\r\n" if self._chunked else "Connection: close\r\n"
        if self._chunked and not self._may_stay():
            framing += "Connection: close\r\n"
        self._put(_head(200, content_type or self._surface.stream_type, self.headers, framing))

    def _may_stay(self) -> bool:
        """Whether the client may ask again here: not once the server takes no more requests."""
        return self._keep_alive and not self._protocol._close

    def write_now(self, data: bytes) -> None:
        """Write stream bytes without waiting for the client to take them; nothing is not written: an empty chunk would end the body."""
        if not data:
            return
        if not self.opened:
            self.open_stream()
        self._written_at = self._loop.time()
        self._put(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def write(self, data: bytes) -> None:
        """Write stream bytes; waits while the client's buffers are full."""
        self.write_now(data)
        if self._protocol.writing_paused:
            await self.wait()

    @property
    def must_wait(self) -> bool:
        """Whether the client's buffers are full: then ``wait`` before writing more."""
        return self._protocol.writing_paused

    async def wait(self) -> None:
        """Wait until the client has read; past the write deadline its connection is cut, and it is gone (T62)."""
        try:
            await self._protocol._drain_helper()
        except ConnectionError:
            raise ClientGone from None

    def end(self) -> Sent:
        """End the stream as HTTP frames it; what the stream says of its own end is written before. One that said nothing is opened here."""
        self.stop_keep_alive()
        self.open_stream()
        self.ended = True
        if self._chunked:
            self._put(b"0\r\n\r\n")
        return Sent(keep_alive=self._keep_alive and self._chunked)

    def abort(self) -> Sent:
        """Break the connection off: for an end whose truth is not known."""
        self.stop_keep_alive()
        self.ended = True
        break_off(self._transport)
        return Sent(keep_alive=False)

    def start_keep_alive(self) -> None:
        """From now on a comment is written whenever the stream has been silent for ``silence_s``, if its surface has any."""
        if not self._surface.keep_alive:
            return
        self._written_at = self._loop.time()
        self._tick = self._loop.call_later(self._silence_s, self._on_tick)

    def stop_keep_alive(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _on_tick(self) -> None:
        silent_s = self._loop.time() - self._written_at
        if silent_s >= self._silence_s - 0.01:
            if self._transport.is_closing():
                return
            if not self._protocol.writing_paused:
                self.write_now(self._surface.keep_alive)
            silent_s = 0.0
        self._tick = self._loop.call_later(self._silence_s - silent_s, self._on_tick)

    def _put(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ClientGone
        self._transport.write(data)
