"""One exchange: a request on its way, then the reply piece by piece."""

from collections.abc import Callable, Mapping, Sequence

from tokenhub.providers.client.channel import Channel, MalformedReply
from tokenhub.providers.client.connections import Origin
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault

DEADLINES = frozenset({"first_byte", "idle", "total"})


class Stale(Exception):
    """A connection that had been kept broke before any byte of a reply (T78)."""


class UpstreamResponse:
    """Status and headers of a reply, and its body piece by piece.

    The connection goes back to the origin once the body has been read to its end; ``abort``
    and every fault close it at once.
    """

    __slots__ = (
        "_channel",
        "_code",
        "_done",
        "_first_byte_s",
        "_forget",
        "_limit",
        "_origin",
        "_quiet_since",
        "_reads",
        "_redirects",
        "_spent_s",
        "_started",
        "_taken",
        "_waiting",
        "headers",
        "reused",
        "status",
    )

    headers: Mapping[str, str]

    def __init__(
        self,
        origin: Origin,
        channel: Channel,
        *,
        reused: bool,
        first_byte_s: float,
        spent_s: float,
        redirects: bool,
        forget: Callable[["UpstreamResponse"], None],
    ) -> None:
        self.status = 0
        self.reused = reused
        """The connection had served an exchange before."""
        self._origin = origin
        self._channel = channel
        self._first_byte_s = first_byte_s
        self._spent_s = spent_s
        self._redirects = redirects
        self._forget = forget
        self._taken = 0
        self._limit = origin.limits.reply_bytes
        self._started = self._quiet_since = origin.loop.time()
        self._reads = channel.reads
        self._waiting = True
        self._done = False
        self._code = ""
        """Why the exchange ended before its time; empty while it has not."""

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx; send() lets nothing below 200 and, unless asked to, no 3xx through."""
        return self.status < 300

    async def start(self, head: bytes, body: Sequence[bytes | memoryview]) -> None:
        """Send the request and take the head of the reply; raises UpstreamFault, or Stale."""
        channel = self._channel
        before = channel.reads
        try:
            channel.begin()
            assert channel.transport is not None
            channel.transport.writelines((head, *body))
            await self._take_head()
        except Exception as error:
            ended = self._code
            self.abort()
            channel.error = None  # it holds the frames it came through, and they hold the channel
            if ended or channel.reads != before or not isinstance(error, OSError):
                raise self._fault(error) from None
            if self.reused:
                raise Stale from None
            raise UpstreamFault(Failure(FaultKind.CONNECT, code="disconnected")) from None
        except BaseException:
            self.abort()
            raise
        self._waiting = False

    async def _take_head(self) -> None:
        channel = self._channel
        while not channel.status:
            if channel.error is not None:
                raise channel.error
            await channel.wait()
            if self._code:
                raise ConnectionAbortedError
        status = channel.status
        if 300 <= status < 400 and not self._redirects:
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, status, "redirect"))
        if not 200 <= status < 600:
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, status, "malformed_reply"))
        self.status, self.headers = status, channel.headers
        if channel.headers.get("content-encoding", "identity").lower() != "identity":
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, status, "content_encoding"))

    async def next(self) -> bytes:
        """Return the next bytes of the body, b"" after its end; raises UpstreamFault.

        A cancelled wait leaves the exchange as it is: who was reading may go, and another read on.
        """
        channel = self._channel
        if self._done:
            if self._code:
                raise self._fault(ConnectionAbortedError())
            return b""
        while not channel.parts:
            if channel.complete:
                self.release()
                return b""
            if channel.error is not None:
                try:
                    raise self._fault(channel.error)
                finally:
                    self.abort()
            self._waiting = True
            await channel.wait()
            if self._code:
                raise self._fault(ConnectionAbortedError())
        self._waiting = False
        data = channel.take()
        self._taken += len(data)
        if self._taken > self._limit:
            self.abort("reply_too_large")
            raise self._fault(ConnectionAbortedError())
        if channel.complete:
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
        if self._done:
            return data
        parts = [data]
        while data := await self.next():
            parts.append(data)
        return b"".join(parts)

    def allow(self, limit: int) -> None:
        """Let the body have this many bytes: a result that is passed on and never whole in memory may be larger than a reply."""
        self._limit = limit

    async def error_body(self) -> bytes:
        """Return the start of an error's body: what came of it, at most ``Limits.error_bytes``; raises nothing."""
        limit = self._origin.limits.error_bytes
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
        if self._done or not self._channel.complete:
            self.abort()
            return
        self._done = True
        self._forget(self)
        if self._channel.reusable:
            self._origin.park(self._channel)
        else:
            self._channel.abort()

    def abort(self, code: str = "aborted") -> None:
        """End the exchange and close its connection at once; who waits in ``next`` gets a fault. Safe to repeat."""
        if self._done:
            return
        self._done = True
        self._code = code
        self._forget(self)
        self._channel.abort()

    def check(self, now: float) -> None:
        """End the exchange if one of its deadlines has passed."""
        if self._channel.reads != self._reads:
            self._reads = self._channel.reads
            self._quiet_since = now
        elif not self._waiting:
            self._quiet_since = now  # the caller is slow, not the upstream
        timeouts = self._origin.timeouts
        if self._spent_s + now - self._started >= timeouts.total_s:
            self.abort("total")
        elif not self._taken and not self._channel.parts:
            if now - self._started >= self._first_byte_s:
                self.abort("first_byte")
        elif now - self._quiet_since >= timeouts.idle_s:
            self.abort("idle")

    def _fault(self, error: Exception) -> UpstreamFault:
        """Return the fault that an error of this exchange means; one that is no upstream's fault is raised again."""
        status = self.status or None
        if isinstance(error, UpstreamFault):
            return error
        if self._code:
            kind = FaultKind.TIMEOUT if self._code in DEADLINES else FaultKind.PROTOCOL
            return UpstreamFault(Failure(kind, status, self._code))
        if isinstance(error, MalformedReply):
            return UpstreamFault(Failure(FaultKind.PROTOCOL, status, "malformed_reply"))
        if isinstance(error, OSError):
            return UpstreamFault(Failure(FaultKind.PROTOCOL, status, "cut"))
        raise error
