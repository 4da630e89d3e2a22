"""The bytes to and from upstreams: connections, deadlines, caps. The only part of the core that does I/O.

aiohttp reads the replies (its ``ResponseHandler`` and C parser); requests are written and
connections kept here, because what the gateway must know of a connection, aiohttp's pool
does not tell: whether it was used before, whether a byte has come back, whether anything
came while it lay idle. It is also half the CPU of ``ClientSession.post``
(``docs/performance.md``).

    UpstreamClient ── one ── Origin (scheme, host, port) ── many ── Channel (connection)
          └─ send() ─▶ UpstreamResponse: one exchange on one channel

Deadlines need no timer of their own: one tick looks at all open exchanges, so they cost an
exchange nothing and end it at most one tick late. No cookies, proxies, redirects or
decompression exist here. Every fault of the upstream is an ``UpstreamFault``.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohappyeyeballs
from aiohttp import ClientError, ClientPayloadError, StreamReader, hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from tokenhub.providers import addresses
from tokenhub.providers.adapter import UpstreamRequest
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault

USER_AGENT = "tokenhub"
MAX_INFORMATIONAL = 8
"""1xx replies taken before the real one (103 early hints, a stray 100)."""
MAX_HEADERS = 100
MAX_LINE_BYTES = 8190
READ_BYTES = 64 * 1024
"""A reply is read ahead of its consumer by at most twice this."""
MAX_TARGETS = 4096
DNS_TTL_S = 10.0
HAPPY_EYEBALLS_S = 0.25
"""A second address family is tried after so long (RFC 8305 section 8)."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an upstream may take, in seconds."""

    connect_s: float = 5.0
    """Name, TCP and TLS together."""
    first_byte_s: float = 120.0
    """From the request to the first byte of a streamed body."""
    whole_reply_s: float = 600.0
    """The same for a reply that is not streamed: nothing comes until all of it is made."""
    idle_s: float = 90.0
    """Between two reads of a body, while somebody waits for it."""
    total_s: float = 1800.0
    keep_idle_s: float = 60.0
    """How long an idle connection is kept for the next request."""

    @property
    def tick_s(self) -> float:
        return max(0.01, min(0.25, self.connect_s / 4, self.first_byte_s / 4, self.idle_s / 4, self.total_s / 4))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an upstream may send (T71)."""

    reply_bytes: int = 64 * 1024 * 1024
    error_bytes: int = 64 * 1024
    """Read of an error's body; the rest is not waited for."""
    idle_connections: int = 256
    """Kept per origin."""


class _Stale(Exception):
    """A connection that had been kept broke before any byte of a reply (T78)."""


class Channel(ResponseHandler):
    """One connection. ``reads`` counts what arrived; nothing may arrive while it is parked (T79)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.reads = 0
        self.parked_at: float | None = None

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        if self.parked_at is not None:
            self.abort()
            return
        ResponseHandler.data_received(self, data)

    def connection_lost(self, exc: BaseException | None) -> None:
        # aiohttp takes a reset for the end of a body that lasts until the connection closes.
        if exc is not None and self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(ClientPayloadError("reset"))
        super().connection_lost(exc)


class Origin:
    """One scheme, host and port: its addresses and its idle connections."""

    def __init__(self, client: "UpstreamClient", scheme: str, host: str, port: int) -> None:
        self._client = client
        self._loop = client.loop
        self.secure = scheme == "https"
        self.host = host
        self.port = port
        self.parked: deque[Channel] = deque()
        self._loopback = addresses.is_loopback(host)
        self._literal = addresses.is_address(host)
        self._known: Sequence[aiohappyeyeballs.AddrInfoType] = []
        self._known_until = 0.0
        self._lookup: asyncio.Task[Sequence[aiohappyeyeballs.AddrInfoType]] | None = None
        shown = f"[{host}]" if ":" in host else host
        named = shown if port == (443 if self.secure else 80) else f"{shown}:{port}"
        self.fixed_headers = f"host: {named}\r\nuser-agent: {USER_AGENT}\r\naccept-encoding: identity\r\n"

    def take(self) -> Channel | None:
        """Return the connection that was used last and is still good, or None."""
        while self.parked:
            channel = self.parked.pop()
            channel.parked_at = None
            if channel.is_connected() and not channel.should_close:
                return channel
            channel.abort()
        return None

    def park(self, channel: Channel, now: float) -> None:
        """Keep a connection whose exchange ended cleanly."""
        channel.parked_at = now
        self.parked.append(channel)
        if len(self.parked) > self._client.limits.idle_connections:
            self.parked.popleft().abort()

    def sweep(self, before: float) -> None:
        """Close the connections that have been idle since before this time."""
        while self.parked and ((self.parked[0].parked_at or 0.0) < before or not self.parked[0].is_connected()):
            self.parked.popleft().abort()

    async def connect(self) -> Channel:
        """Open a connection; raises UpstreamFault (CONNECT, or TIMEOUT with code ``connect``)."""
        try:
            async with asyncio.timeout(self._client.timeouts.connect_s):
                found = await self._addresses()
                sock = await aiohappyeyeballs.start_connection(
                    list(found), happy_eyeballs_delay=HAPPY_EYEBALLS_S, loop=self._loop
                )
                return await self._wrap(sock)
        except TimeoutError:
            raise UpstreamFault(Failure(FaultKind.TIMEOUT, code="connect")) from None
        except OSError as error:
            raise UpstreamFault(Failure(FaultKind.CONNECT, code=_connect_code(error))) from None

    async def _wrap(self, sock: socket.socket) -> Channel:
        tls = self._client.tls_context() if self.secure else None
        name = self.host.rstrip(".") if self.secure else None
        try:
            _, channel = await self._loop.create_connection(
                partial(Channel, self._loop), sock=sock, ssl=tls, server_hostname=name
            )
        except BaseException:
            sock.close()
            raise
        return channel

    async def _addresses(self) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        if self._loop.time() < self._known_until:
            return self._known
        if self._lookup is None:
            self._lookup = self._loop.create_task(self._look_up())
            self._lookup.add_done_callback(self._looked_up)
        # Shared by all who wait for this name, so that one who leaves does not end it.
        return await asyncio.shield(self._lookup)

    async def _look_up(self) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        flags = socket.AI_NUMERICHOST if self._literal else socket.AI_ADDRCONFIG
        found = await self._loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=flags)
        allowed = [info for info in found if not addresses.refused(str(info[4][0]), loopback=self._loopback)]
        if not allowed:
            raise PermissionError("address_refused")
        self._known, self._known_until = allowed, self._loop.time() + DNS_TTL_S
        return allowed

    def _looked_up(self, task: asyncio.Task[Any]) -> None:
        self._lookup = None
        if not task.cancelled():
            task.exception()


_CONNECT_CODES: tuple[tuple[type[OSError], str], ...] = (
    (socket.gaierror, "name_not_found"),
    (PermissionError, "address_refused"),
    (ssl.SSLCertVerificationError, "certificate_refused"),
    (ssl.SSLError, "tls_failed"),
    (ConnectionRefusedError, "connection_refused"),
)


def _connect_code(error: OSError) -> str:
    return next((code for kind, code in _CONNECT_CODES if isinstance(error, kind)), "unreachable")


class UpstreamResponse:
    """One exchange: its status and headers, and the body piece by piece.

    The connection goes back to the origin once the body has been read to its end; ``abort``
    and every fault close it at once.
    """

    __slots__ = (
        "_channel",
        "_client",
        "_done",
        "_expired",
        "_first_byte_s",
        "_limit",
        "_origin",
        "_payload",
        "_quiet_since",
        "_reads",
        "_started",
        "_waiting",
        "headers",
        "reused",
        "status",
    )

    headers: Mapping[str, str]

    def __init__(
        self, client: "UpstreamClient", origin: Origin, channel: Channel, first_byte_s: float, reused: bool
    ) -> None:
        self.status = 0
        self.reused = reused
        """The connection had served an exchange before."""
        self._client = client
        self._origin = origin
        self._channel = channel
        self._payload: StreamReader | None = None
        self._first_byte_s = first_byte_s
        self._limit = client.limits.reply_bytes
        self._started = self._quiet_since = client.loop.time()
        self._reads = channel.reads
        self._waiting = True
        self._done = False
        self._expired = ""

    @property
    def ok(self) -> bool:
        return self.status < 300

    async def next(self) -> bytes:
        """Return the next bytes of the body, b"" after its end; raises UpstreamFault.

        A cancelled wait leaves the exchange as it is: who was reading may go, and another read on.
        """
        payload = self._payload
        if self._done or payload is None:
            if self._expired:
                raise self._fault(TimeoutError())
            return b""
        self._waiting = True
        try:
            data = await payload.readany()
        except Exception as error:
            self.abort()
            raise self._fault(error) from None
        self._waiting = False
        if payload.total_bytes > self._limit:
            self.abort()
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, self.status, "reply_too_large"))
        if payload.at_eof():
            self.release()
        return data

    def __aiter__(self) -> "UpstreamResponse":
        return self

    async def __anext__(self) -> bytes:
        data = await self.next()
        if not data:
            raise StopAsyncIteration
        return data

    async def read(self, limit: int | None = None) -> bytes:
        """Return the whole body; one of more than ``limit`` bytes is a PROTOCOL fault (T71)."""
        if limit is not None:
            self._limit = min(limit, self._limit)
        data = await self.next()
        if not data or self._done:
            return data
        parts = [data]
        while data := await self.next():
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def error_body(self) -> bytes:
        """Return the start of an error's body: what came of it, at most ``Limits.error_bytes``; raises nothing."""
        limit = self._client.limits.error_bytes
        parts: list[bytes] = []
        size = 0
        try:
            while size < limit and (data := await self.next()):
                parts.append(data)
                size += len(data)
        except UpstreamFault:
            pass  # the status says enough
        self.release()
        return b"".join(parts)[:limit]

    def release(self) -> None:
        """End the exchange: keep its connection if it ended cleanly, else close it. Safe to repeat."""
        if self._done:
            return
        self._done = True
        self._client.forget(self)
        channel, payload = self._channel, self._payload
        clean = payload is not None and payload.is_eof() and payload.exception() is None and channel.is_connected()
        # An answer that came before the request was sent whole leaves the rest of it in the buffer.
        if (
            clean
            and not channel.should_close
            and channel.transport is not None
            and not channel.transport.get_write_buffer_size()
        ):
            self._origin.park(channel, self._client.loop.time())
        else:
            channel.abort()

    def abort(self) -> None:
        """End the exchange and close its connection at once; one who waits in ``next`` gets a fault. Safe to repeat."""
        if self._done:
            return
        self._done = True
        self._client.forget(self)
        ended = ConnectionAbortedError()
        if self._payload is None:
            self._channel.set_exception(ended)
        elif not self._payload.is_eof():
            self._payload.set_exception(ended)
        self._channel.abort()

    def check(self, now: float) -> None:
        """End the exchange if one of its deadlines has passed."""
        if self._channel.reads != self._reads:
            self._reads = self._channel.reads
            self._quiet_since = now
        elif not self._waiting:
            self._quiet_since = now  # the caller is slow, not the upstream
        timeouts = self._client.timeouts
        if now - self._started >= timeouts.total_s:
            self._expire("total")
        elif self._payload is None or not self._payload.total_bytes:
            if now - self._started >= self._first_byte_s:
                self._expire("first_byte")
        elif now - self._quiet_since >= timeouts.idle_s:
            self._expire("idle")

    def _expire(self, deadline: str) -> None:
        self._expired = deadline
        self.abort()

    async def start(self, head: bytes, body: bytes) -> None:
        """Send the request and take the head of the reply; raises UpstreamFault, or _Stale."""
        channel = self._channel
        before = channel.reads
        try:
            channel.set_response_params(
                read_until_eof=True,
                auto_decompress=False,
                read_bufsize=READ_BYTES,
                max_line_size=MAX_LINE_BYTES,
                max_field_size=MAX_LINE_BYTES,
                max_headers=MAX_HEADERS,
            )
            assert channel.transport is not None
            channel.transport.writelines((head, body))
            await self._take_head()
        except BaseException as error:
            self.abort()
            if not isinstance(error, Exception):
                raise
            broken = isinstance(error, (ClientError, OSError)) and channel.reads == before and not self._expired
            if broken and self.reused:
                raise _Stale from None
            if broken:
                raise UpstreamFault(Failure(FaultKind.CONNECT, code="disconnected")) from None
            raise self._fault(error) from None
        self._waiting = False

    async def _take_head(self) -> None:
        for _ in range(MAX_INFORMATIONAL + 1):
            message, payload = await self._channel.read()
            if not 100 <= message.code < 200 or message.code == 101:
                break
        status = message.code
        if 300 <= status < 400:
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, status, "redirect"))
        if not 200 <= status < 600 or message.version[0] != 1:
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, status, "malformed_reply"))
        self.status, self.headers, self._payload = status, message.headers, payload
        if message.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, status, "content_encoding"))

    def _fault(self, error: Exception) -> UpstreamFault:
        if self._expired:
            return UpstreamFault(Failure(FaultKind.TIMEOUT, self.status or None, self._expired))
        if isinstance(error, UpstreamFault):
            return error
        if isinstance(error, HttpProcessingError):
            return UpstreamFault(Failure(FaultKind.PROTOCOL, self.status or None, "malformed_reply"))
        if isinstance(error, ConnectionAbortedError):
            return UpstreamFault(Failure(FaultKind.PROTOCOL, self.status or None, "aborted"))
        if isinstance(error, (ClientError, OSError)):
            return UpstreamFault(Failure(FaultKind.PROTOCOL, self.status or None, "cut"))
        raise error


class UpstreamClient:
    """All connections of one process to all upstreams. Made and used inside one event loop."""

    def __init__(
        self,
        hop: str,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``hop`` is this instance's id (T66); ``tls`` replaces the system's trust store."""
        self.loop = asyncio.get_running_loop()
        self.timeouts = timeouts or Timeouts()
        self.limits = limits or Limits()
        self._hop = hop
        self._tls = tls
        self._origins: dict[tuple[str, str, int], Origin] = {}
        self._targets: dict[str, tuple[Origin, str]] = {}
        self._open: set[UpstreamResponse] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def send(
        self,
        request: UpstreamRequest,
        *,
        stream: bool,
        hop: str | None = None,
        before_resend: Callable[[], Awaitable[None]] | None = None,
    ) -> UpstreamResponse:
        """Send a request and return the reply once its head is there; raises UpstreamFault.

        A kept connection that breaks before any byte came back is replaced by a fresh one,
        once and at once; ``before_resend`` is awaited first and may forbid it by raising
        (T78). 3xx, compressed and malformed replies are PROTOCOL faults, never followed.
        """
        origin, target = self._targets.get(request.url) or self._target(request.url)
        head = _head(origin, target, request, hop or self._hop)
        first_byte_s = self.timeouts.first_byte_s if stream else self.timeouts.whole_reply_s
        channel = origin.take()
        if channel is not None:
            try:
                return await self._exchange(origin, channel, head, request.body, first_byte_s, True)
            except _Stale:
                if before_resend is not None:
                    await before_resend()
        channel = await origin.connect()
        return await self._exchange(origin, channel, head, request.body, first_byte_s, False)

    async def _exchange(
        self, origin: Origin, channel: Channel, head: bytes, body: bytes, first_byte_s: float, reused: bool
    ) -> UpstreamResponse:
        response = UpstreamResponse(self, origin, channel, first_byte_s, reused)
        self._open.add(response)
        if self._timer is None:
            self._timer = self.loop.call_later(self.timeouts.tick_s, self._tick)
        await response.start(head, body)
        return response

    def forget(self, response: UpstreamResponse) -> None:
        """Stop watching an exchange that has ended."""
        self._open.discard(response)

    def tls_context(self) -> ssl.SSLContext:
        """Return the context that checks upstreams' certificates; there is no way to switch that off (T82)."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    async def close(self) -> None:
        """End every open exchange and close every connection."""
        for response in tuple(self._open):
            response.abort()
        for origin in self._origins.values():
            origin.sweep(float("inf"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await asyncio.sleep(0)  # let the transports see their end

    def _target(self, url: str) -> tuple[Origin, str]:
        """Split a URL once; all later requests to it find it split."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        key = (parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80))
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = Origin(self, *key)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if len(self._targets) >= MAX_TARGETS:
            self._targets.clear()
        self._targets[url] = origin, target
        return origin, target

    def _tick(self) -> None:
        now = self.loop.time()
        for response in tuple(self._open):
            response.check(now)
        for origin in self._origins.values():
            origin.sweep(now - self.timeouts.keep_idle_s)
        busy = self._open or any(origin.parked for origin in self._origins.values())
        self._timer = self.loop.call_later(self.timeouts.tick_s, self._tick) if busy else None


def _head(origin: Origin, target: str, request: UpstreamRequest, hop: str) -> bytes:
    """Render the request line and headers; a line break smuggled into one is refused."""
    lines = [
        f"{request.method} {target} HTTP/1.1\r\n{origin.fixed_headers}{addresses.HOP_HEADER}: {hop}\r\ncontent-length: {len(request.body)}"
    ]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    text = "\r\n".join(lines) + "\r\n\r\n"
    breaks = len(request.headers) + 7
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text or not text.isascii():
        raise UpstreamFault(Failure(FaultKind.AUTH, code="malformed_secret"))
    return text.encode("ascii")


def call_once(request: UpstreamRequest, timeouts: Timeouts | None = None) -> tuple[int, Mapping[str, str], bytes]:
    """Send one request from outside an event loop; return status, headers and body, or raise UpstreamFault.

    For commands: a credential's test, the doctor. The hop marker says so.
    """

    async def once() -> tuple[int, Mapping[str, str], bytes]:
        client = UpstreamClient("command", timeouts)
        try:
            response = await client.send(request, stream=False)
            return response.status, response.headers, await response.read()
        finally:
            await client.close()

    return asyncio.run(once())
