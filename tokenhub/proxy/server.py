"""The HTTP server below the routes: aiohttp's, with what it leaves open closed.

Measured with aiohttp 3.14.5: a request head that never ends lives as long as a kept-alive
connection (3 630 s by default), a malformed head is echoed into the reply and into an error
log with its traceback, and nothing bounds the number of connections (T48, T55, T58, T65).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tokenhub.errors import HubError, InternalError, InvalidRequest, Unavailable
from tokenhub.proxy.downstream import Sent, refusal

Handler = Callable[[web.BaseRequest], Awaitable[Any]]

_SILENT = logging.getLogger("tokenhub.http")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class GatewayProtocol(RequestHandler):
    """One client connection: a deadline for every request head, fixed words for a malformed one."""

    __slots__ = ("_header_deadline", "_header_timeout_s")

    def __init__(self, server: "GatewayServer", header_timeout_s: float, keepalive_timeout_s: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=keepalive_timeout_s,
            logger=_SILENT,
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
            lingering_time=2.0,
            max_line_size=16384,
            max_field_size=16384,
        )
        self._header_timeout_s = header_timeout_s
        self._header_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        manager = self._manager
        if isinstance(manager, GatewayServer) and len(manager.connections) > manager.max_connections:
            head, body = refusal(
                Unavailable(
                    "The gateway has too many open connections; try again shortly.", code="overloaded", retry_after_s=1
                )
            )
            transport.write(head + body)  # type: ignore[attr-defined]
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_complete()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiter = self._waiter
        if waiter is None or waiter.done():
            self._head_complete()
        elif data and self._header_deadline is None:
            self._header_deadline = self._loop.call_later(self._header_timeout_s, self._head_too_slow)

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
        request: web.BaseRequest,
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
        head, body = refusal(error)
        request.transport.write(head + body)
        return Sent(keep_alive=False)


class GatewayServer(web.Server):
    """Makes a :class:`GatewayProtocol` for each connection; handlers are cancelled when their client leaves."""

    def __init__(
        self, handler: Handler, *, max_connections: int, header_timeout_s: float, keepalive_timeout_s: float
    ) -> None:
        super().__init__(handler, handler_cancellation=True)  # type: ignore[arg-type]
        self.max_connections = max_connections
        self._header_timeout_s = header_timeout_s
        self._keepalive_timeout_s = keepalive_timeout_s

    def __call__(self) -> GatewayProtocol:
        return GatewayProtocol(self, self._header_timeout_s, self._keepalive_timeout_s)
