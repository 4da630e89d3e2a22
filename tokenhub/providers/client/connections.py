"""Connections to one origin: opened where it is allowed, kept while nothing comes on them."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from tokenhub.providers import addresses
from tokenhub.providers.client.bounds import Limits, Timeouts
from tokenhub.providers.client.channel import Channel
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault

USER_AGENT = "tokenhub"
DNS_TTL_S = 10.0
HAPPY_EYEBALLS_S = 0.25
"""A second address family is tried after so long (RFC 8305 section 8)."""
ALIVE: Final = {
    "TCP_KEEPIDLE": 30,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 60_000,
}
"""What a connection is set to, where the system knows it: a host that has gone without a word is noticed after a minute,
and routers that forget silent connections do not forget one that waits minutes for a reply."""


class Origin:
    """One scheme, host and port: its addresses and its idle connections."""

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int,
        *,
        timeouts: Timeouts,
        limits: Limits,
        tls: Callable[[], ssl.SSLContext],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.timeouts = timeouts
        self.limits = limits
        self.parked: deque[Channel] = deque()
        self._tls = tls if scheme == "https" else None
        self._host, self._port = host, port
        self._loopback = addresses.is_loopback(host)
        self._literal = addresses.is_address(host)
        self._known: Sequence[AddrInfoType] = ()
        self._known_until = 0.0
        self._lookup: asyncio.Task[Sequence[AddrInfoType]] | None = None
        shown = f"[{host}]" if ":" in host else host
        named = shown if port == (443 if self._tls else 80) else f"{shown}:{port}"
        self.fixed_headers = f"host: {named}\r\nuser-agent: {USER_AGENT}\r\naccept-encoding: identity\r\n"

    def take(self) -> Channel | None:
        """Return the connection that was used last and is still good, or None."""
        while self.parked:
            channel = self.parked.pop()
            channel.parked_at = None
            if channel.reusable:
                return channel
            channel.abort()
        return None

    def park(self, channel: Channel) -> None:
        """Keep a connection whose exchange ended cleanly."""
        channel.parked_at = self.loop.time()
        self.parked.append(channel)
        if len(self.parked) > self.limits.idle_connections:
            self.parked.popleft().abort()

    def sweep(self, before: float) -> None:
        """Close the connections that have been idle since before this time."""
        while self.parked and ((self.parked[0].parked_at or 0.0) < before or not self.parked[0].connected):
            self.parked.popleft().abort()

    async def connect(self) -> Channel:
        """Open a connection; raises UpstreamFault (CONNECT, or TIMEOUT with code ``connect``)."""
        try:
            async with asyncio.timeout(self.timeouts.connect_s):
                found = list(await self._addresses())
                sock = await aiohappyeyeballs.start_connection(
                    found, happy_eyeballs_delay=HAPPY_EYEBALLS_S, loop=self.loop
                )
                return await self._wrap(sock)
        except TimeoutError:
            raise UpstreamFault(Failure(FaultKind.TIMEOUT, code="connect")) from None
        except OSError as error:
            raise UpstreamFault(Failure(FaultKind.CONNECT, code=_code(error))) from None

    async def _wrap(self, sock: socket.socket) -> Channel:
        tls = self._tls() if self._tls else None
        name = self._host.rstrip(".") if tls else None
        try:
            _keep_alive(sock)
            _, channel = await self.loop.create_connection(
                partial(Channel, self.loop), sock=sock, ssl=tls, server_hostname=name
            )
        except BaseException:
            sock.close()
            raise
        return channel

    async def _addresses(self) -> Sequence[AddrInfoType]:
        if self.loop.time() < self._known_until:
            return self._known
        if self._lookup is None:
            self._lookup = self.loop.create_task(self._look_up())
            self._lookup.add_done_callback(self._looked_up)
        # Shared by all who wait for this name, so that one who leaves does not end it.
        return await asyncio.shield(self._lookup)

    async def _look_up(self) -> Sequence[AddrInfoType]:
        # AI_ADDRCONFIG counts no loopback address: where the others are of one family, it would find no localhost of the other.
        own = 0 if self._loopback else socket.AI_ADDRCONFIG
        flags = socket.AI_NUMERICHOST if self._literal else own
        found = await self.loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=flags)
        allowed = [info for info in found if not addresses.refused(str(info[4][0]), loopback=self._loopback)]
        if not allowed:
            raise AddressRefused
        self._known, self._known_until = allowed, self.loop.time() + DNS_TTL_S
        return self._known

    def _looked_up(self, task: asyncio.Task[Any]) -> None:
        self._lookup = None
        if not task.cancelled():
            task.exception()  # seen, even if all who waited have left


class AddressRefused(OSError):
    """A name has no address but such as are never called (T84)."""


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in ALIVE.items():
        with suppress(AttributeError, OSError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


_CODES: tuple[tuple[type[OSError], str], ...] = (
    (AddressRefused, "address_refused"),
    (socket.gaierror, "name_not_found"),
    (ssl.SSLCertVerificationError, "certificate_refused"),
    (ssl.SSLError, "tls_failed"),
    (ConnectionRefusedError, "connection_refused"),
)


def _code(error: OSError) -> str:
    return next((code for kind, code in _CODES if isinstance(error, kind)), "unreachable")
