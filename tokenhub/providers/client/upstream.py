"""All connections of one process, and the way a request takes over them."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from tokenhub.providers.adapter import UpstreamRequest
from tokenhub.providers.addresses import HOP_HEADER
from tokenhub.providers.client.bounds import Limits, Timeouts
from tokenhub.providers.client.channel import Channel
from tokenhub.providers.client.connections import Origin
from tokenhub.providers.client.response import Stale, UpstreamResponse
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault

MAX_TARGETS: Final = 4096
"""URLs remembered as split; they come from the catalogue, so there are few."""


class UpstreamClient:
    """Sends requests to upstreams. Made and used inside one event loop."""

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
        spent_s: float = 0.0,
        before_resend: Callable[[], Awaitable[None]] | None = None,
        redirects: bool = False,
    ) -> UpstreamResponse:
        """Send a request and return the reply once its head is there; raises UpstreamFault.

        A kept connection that breaks before any byte came back is replaced by a fresh one,
        once and at once; ``before_resend`` is awaited first and may forbid it by raising
        (T78). ``spent_s`` is what earlier attempts have used up of the total time (T80). 3xx, compressed and malformed replies are PROTOCOL faults, never followed;
        with ``redirects`` a 3xx is returned, for a caller that has rules for where it may lead.
        """
        origin, target = self._targets.get(request.url) or self._target(request.url)
        head = _head(origin, target, request, hop or self._hop)
        first_byte_s = self.timeouts.first_byte_s if stream else self.timeouts.whole_reply_s
        channel = origin.take()
        if channel is not None:
            kept = self._watched(origin, channel, first_byte_s, spent_s, reused=True, redirects=redirects)
            try:
                await kept.start(head, request.pieces)
            except Stale:
                if before_resend is not None:
                    await before_resend()
            else:
                return kept
        fresh = self._watched(origin, await origin.connect(), first_byte_s, spent_s, reused=False, redirects=redirects)
        await fresh.start(head, request.pieces)
        return fresh

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

    def _watched(
        self,
        origin: Origin,
        channel: Channel,
        first_byte_s: float,
        spent_s: float,
        *,
        reused: bool,
        redirects: bool,
    ) -> UpstreamResponse:
        response = UpstreamResponse(
            origin,
            channel,
            reused=reused,
            first_byte_s=first_byte_s,
            spent_s=spent_s,
            redirects=redirects,
            forget=self._open.discard,
        )
        self._open.add(response)
        if self._timer is None:
            self._timer = self.loop.call_later(self.timeouts.tick_s, self._tick)
        return response

    def _target(self, url: str) -> tuple[Origin, str]:
        """Split a URL once; all later requests to it find it split."""
        parts = urlsplit(url)
        key = (parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        origin = self._origins.get(key)
        if origin is None:
            origin = Origin(*key, timeouts=self.timeouts, limits=self.limits, tls=self.tls_context)
            self._origins[key] = origin
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if len(self._targets) >= MAX_TARGETS:
            self._targets.clear()
        self._targets[url] = origin, target
        return origin, target

    def _tick(self) -> None:
        """Look at all deadlines; goes on for as long as there is anything to look at."""
        now = self.loop.time()
        for response in tuple(self._open):
            response.check(now)
        for origin in self._origins.values():
            origin.sweep(now - self.timeouts.keep_idle_s)
        busy = self._open or any(origin.parked for origin in self._origins.values())
        self._timer = self.loop.call_later(self.timeouts.tick_s, self._tick) if busy else None


def _head(origin: Origin, target: str, request: UpstreamRequest, hop: str) -> bytes:
    """Render the request line and headers; a line break smuggled into one is refused."""
    fixed = f"{origin.fixed_headers}{HOP_HEADER}: {hop}\r\ncontent-length: {request.size_bytes}"
    lines = [f"{request.method} {target} HTTP/1.1\r\n{fixed}"]
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
