"""The HTTP server below the routes: aiohttp's, with what it leaves open closed.

Measured with aiohttp 3.14.5: a request head that never ends lives as long as a kept-alive
connection (3 630 s by default), a malformed head is echoed into the reply and into an error
log with its traceback, a client that does not read keeps its answer in memory for ever,
nothing bounds the number of connections, and a server that is stopping leaves idle connections
open but reads nothing from them, nor the rest of a body (T48, T55, T58, T62, T65, T67).
"""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from aiohttp import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_server import Server

from tokenhub.errors import HubError, InternalError, InvalidRequest, Unavailable
from tokenhub.proxy.downstream import Sent, break_off, render_refusal

Handler = Callable[[BaseRequest], Awaitable[Any]]

_SILENT = logging.getLogger("tokenhub.http")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

LEAST_READ_BYTES: Final = 64 * 1024
"""A client that takes less than this within a write deadline does not read (T62)."""
RESERVED_DESCRIPTORS: Final = 64
"""For the store, the log and the listeners; what is left is two for each client: its own and its upstream's."""
SPARE_DESCRIPTORS: Final = 16
"""Of these, kept free whatever takes them. Without any, libuv tries to accept without a pause until one is closed (uvloop 0.23)."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What a client may take, in seconds."""

    header_s: float
    """For a request head, from its first byte."""
    idle_s: float
    """Between two requests."""
    write_s: float
    """To take what was written to it."""


class GatewayProtocol(RequestHandler):
    """One client connection: a deadline for every request head and every answer, fixed words for a malformed head."""

    __slots__ = ("_deadlines", "_header_deadline", "_last_body", "_unsent", "_wire", "_write_deadline")

    def __init__(self, server: "GatewayServer", deadlines: Deadlines) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=deadlines.idle_s,
            logger=_SILENT,
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
            lingering_time=2.0,
            max_line_size=16384,
            max_field_size=16384,
        )
        self._deadlines = deadlines
        self._header_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._last_body: StreamReader = EMPTY_PAYLOAD
        """Of the newest request: until its end has come, what comes is no head."""
        self._unsent = 0
        self._wire: asyncio.Transport | None = None
        """The transport until it is gone; aiohttp's own forgets one that is closing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = wire = cast(asyncio.Transport, transport)
        super().connection_made(transport)
        manager = self._manager
        if isinstance(manager, GatewayServer) and manager.is_full(wire):
            head, body = render_refusal(
                Unavailable(
                    "The gateway has too many open connections; try again shortly.", code="overloaded", retry_after_s=1
                )
            )
            wire.write(head + body)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._wire = None
        # It knows this connection, and neither would be freed before the collector comes.
        self._last_body = EMPTY_PAYLOAD
        self._head_complete()
        self._taken()
        super().connection_lost(exc)

    async def start(self) -> None:
        """Serve this connection; what it is closed with unsent must still be taken in time."""
        try:
            if self._close and self._wire is not None:
                self._wire.close()
            else:
                await super().start()
        finally:
            if self._wire is not None and self._wire.get_write_buffer_size():
                self._expect_taking()

    def close(self) -> None:
        """Take no more requests: a connection that waits for one ends now, any other with its answer (T67)."""
        waits = self._waiter is not None and not self._waiter.done()
        super().close()
        if waits and self._wire is not None:
            self._wire.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_taking()

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading; aiohttp asks for it after every read, and where nothing was paused there is nothing to do."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _expect_taking(self) -> None:
        """Give the client the write deadline to take what waits for it; whole replies and ends of streams too."""
        if self._wire is not None and self._write_deadline is None:
            self._unsent = self._wire.get_write_buffer_size()
            self._write_deadline = self._loop.call_later(self._deadlines.write_s, self._not_taken)

    def _taken(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _not_taken(self) -> None:
        """Break off a client that does not read; one that reads slowly gets another deadline."""
        self._write_deadline = None
        if self._wire is None:
            return
        if self._unsent - self._wire.get_write_buffer_size() >= LEAST_READ_BYTES:
            self._expect_taking()
        else:
            break_off(self._wire)

    def data_received(self, data: bytes) -> None:
        count, inside_body = self._request_count, not self._last_body.is_eof()
        if inside_body and self._close:
            self._close = False  # aiohttp would drop the rest of a body that it waits for
            super().data_received(data)
            self._close = True
        else:
            super().data_received(data)
        if self._request_count != count:
            self._last_body = self._messages[-1][1]
            self._head_complete()
        elif data and not inside_body and self._header_deadline is None:
            self._header_deadline = self._loop.call_later(self._deadlines.header_s, self._head_too_slow)

    def _head_complete(self) -> None:
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _head_too_slow(self) -> None:
        self._header_deadline = None
        if self._waiter is not None and not self._waiter.done():
            self.force_close()

    def handle_error(  # type: ignore[override]
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 (its text quotes the request)
        message: str | None = None,  # noqa: ARG002
    ) -> Sent:
        """Answer a malformed request in our words: the parser's quote the offending bytes (T58)."""
        self._close = True
        error: HubError = InternalError("The gateway failed to answer this request.")
        if status == 400:
            error = InvalidRequest("This is not a well-formed HTTP/1.1 request.", code="malformed_request")
        if request.transport is None:
            raise ConnectionResetError
        head, body = render_refusal(error)
        request.transport.write(head + body)
        return Sent(keep_alive=False)


class GatewayServer(Server):
    """Makes a :class:`GatewayProtocol` for each connection; handlers are cancelled when their client leaves."""

    def __init__(self, handler: Handler, *, max_connections: int, deadlines: Deadlines) -> None:
        super().__init__(handler, handler_cancellation=True)
        self.max_connections = within_descriptors(max_connections)
        self._deadlines = deadlines

    def is_full(self, newest: asyncio.Transport) -> bool:
        """Whether the newest connection is one too many: for the limit, or for the descriptors, whose lowest is taken first."""
        if len(self._connections) > self.max_connections:
            return True
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken: int = newest.get_extra_info("socket").fileno()
        return soft != resource.RLIM_INFINITY and taken >= soft - SPARE_DESCRIPTORS

    def __call__(self) -> GatewayProtocol:
        return GatewayProtocol(self, self._deadlines)


def within_descriptors(connections: int) -> int:
    """Return how many connections there can be at most, after asking the system for the descriptors they need (T65)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + RESERVED_DESCRIPTORS
    if soft < wanted and soft != resource.RLIM_INFINITY:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(connections, (soft - RESERVED_DESCRIPTORS) // 2))
    return connections
