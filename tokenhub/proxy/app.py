"""One serving process from start to stop: what is opened, in which order, and closed in the opposite one."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.catalog.models import Credential
from tokenhub.errors import Unavailable
from tokenhub.observability import log
from tokenhub.operations import snapshots
from tokenhub.operations.hub import Hub
from tokenhub.providers.client import Limits, Timeouts, UpstreamClient
from tokenhub.proxy import availability, memory, routes
from tokenhub.proxy.background import Background
from tokenhub.proxy.downstream import Sent
from tokenhub.proxy.runtime import Runtime
from tokenhub.proxy.server import Deadlines, GatewayServer
from tokenhub.settings import Settings
from tokenhub.store import leases, migrate, revision
from tokenhub.store.database import Database
from tokenhub.store.leases import Lease
from tokenhub.store.writer import Writer

_IDLE_CONNECTION_S = 75.0
_BACKLOG = 4096
_LAST_WRITES_S = 15.0
_ANSWER_S = 10.0
"""What a charge waits for a database, too."""


class Gateway:
    """A gateway that serves; made by :meth:`start`, ended by :meth:`stop`."""

    def __init__(
        self,
        runtime: Runtime,
        lease: Lease,
        server: GatewayServer,
        listeners: Sequence[asyncio.Server],
        background: Background,
    ) -> None:
        self.runtime = runtime
        self._lease = lease
        self._server = server
        self._listeners = listeners
        self._background = background

    @classmethod
    async def start(
        cls,
        hub: Hub,
        sockets: Sequence[socket.socket],
        own_credentials: Sequence[Credential] = (),
        *,
        on_lost: Callable[[], None] = lambda: None,
    ) -> "Gateway":
        """Open everything and listen on the sockets, which are bound already and become its own.

        ``on_lost`` is called, in this loop, when the process's lease is lost: the gateway
        refuses everything from then on and must be stopped. One that cannot start leaves nothing open.
        """
        with contextlib.ExitStack() as opened:
            for one in sockets:
                opened.callback(one.close)
            gateway = await cls._opened(hub, sockets, own_credentials, on_lost, opened)
            opened.pop_all()
        return gateway

    @classmethod
    async def _opened(
        cls,
        hub: Hub,
        sockets: Sequence[socket.socket],
        own_credentials: Sequence[Credential],
        on_lost: Callable[[], None],
        opened: contextlib.ExitStack,
    ) -> "Gateway":
        """Open everything; ``opened`` is told how to close what would be left behind."""
        loop, settings = asyncio.get_running_loop(), hub.settings
        hub.database.answer_s = _ANSWER_S
        hub.database.hurry()
        loop.set_exception_handler(_unforeseen)
        lease = _take_lease(hub)
        opened.callback(_end_lease, hub.database, lease)

        def on_fenced() -> None:
            loop.call_soon_threadsafe(_fenced, runtime, on_lost)

        writer = Writer(hub.database, lease, on_fenced=on_fenced)
        client = UpstreamClient(hub.instance, _timeouts(settings), _limits(settings))
        runtime = Runtime(hub, writer, client, hub.instance)
        runtime.lease = lease
        runtime.own_credentials = tuple(own_credentials)
        runtime.snapshot = snapshots.read(hub.database, hub.vault, runtime.own_credentials)
        background = Background(hub, lease)
        runtime.wake_payments = background.wake_payments
        runtime.ledger_adds_up = lambda: not background.discrepancies
        writer.start()
        opened.callback(writer.close, _LAST_WRITES_S)

        async def handle(request: BaseRequest) -> Sent:
            return await routes.handle(request, runtime)

        server = GatewayServer(
            handle,
            max_connections=settings.server_max_connections,
            deadlines=Deadlines(
                header_s=settings.server_header_timeout_s,
                idle_s=_IDLE_CONNECTION_S,
                write_s=settings.server_write_timeout_s,
            ),
        )
        listeners = []
        for one in sockets:
            listeners.append(await loop.create_server(server, sock=one, backlog=_BACKLOG))
            opened.callback(listeners[-1].close)
        background.start()
        runtime.spawn(availability.follow(runtime.watch, runtime.read))
        memory.quiet_collector()
        return cls(runtime, lease, server, listeners, background)

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Take no more, let what runs end until the shutdown deadline, then end it; every hold is ended before this returns (T67)."""
        runtime = self.runtime
        runtime.refusing = _stopping()
        for listener in self._listeners:
            listener.close()
        self._server.pre_shutdown()
        await self._quiet(runtime.settings.server_shutdown_s, hurry)
        runtime.stop_all(_stopping())
        for drain in list(runtime.drains.values()):
            drain.cancel()
        await self._quiet(2 * runtime.settings.server_write_timeout_s if runtime.drains else 2.0, None)
        await self._background.stop()
        await self._server.shutdown(1.0)
        await runtime.close()
        await runtime.client.close()
        if await asyncio.get_running_loop().run_in_executor(None, runtime.writer.close, _LAST_WRITES_S):
            _end_lease(runtime.database, self._lease)

    async def _quiet(self, seconds: float, hurry: asyncio.Event | None) -> None:
        """Wait until nothing is under way, at most so long, or until someone is in a hurry."""
        deadline = clock.monotonic_s() + seconds
        while (self.runtime.exchanges or self.runtime.drains) and clock.monotonic_s() < deadline:
            if hurry is not None and hurry.is_set():
                return
            await asyncio.sleep(0.02)


def _stopping() -> Unavailable:
    return Unavailable("The gateway is stopping; nothing was charged. Try again.", code="overloaded", retry_after_s=1)


def _take_lease(hub: Hub) -> Lease:
    """Say that this process is at work; raises Conflict or SetupError when the master key was replaced (T43), or the database upgraded, after it was opened."""
    with contextlib.ExitStack() as opened:
        with hub.database.write():
            revision.lock(hub.database)
            revision.refuse_other_key(hub.database, hub.vault)
            migrate.refuse_newer(migrate.applied(hub.database))
            lease = leases.acquire(hub.database, hub.home, hub.settings.database_lease_s, hub.database.now_ms())
            opened.callback(os.close, lease.lock)
        opened.pop_all()
    return lease


def _end_lease(database: Database, lease: Lease) -> None:
    """Say that this process has ended; if the store is away, others find out by themselves."""
    try:
        leases.end(database, lease)
    except Unavailable as error:
        log.event("lease_not_ended", level="warning", code=error.code)


def _unforeseen(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log what went wrong where nobody waits for it as all else is: the loop itself would write out texts and arguments."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        log.failure("unforeseen", error)
    else:
        log.event("unforeseen", level="error", reason=context.get("message"))


def _fenced(runtime: Runtime, on_lost: Callable[[], None]) -> None:
    """The lease is lost: another process has released this one's holds, so nothing may go on here."""
    log.event("lease_lost", level="error")
    runtime.refusing = _stopping()
    runtime.stop_all(_stopping())
    on_lost()


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        connect_s=settings.upstream_connect_s,
        first_byte_s=settings.upstream_first_byte_s,
        whole_reply_s=settings.upstream_whole_reply_s,
        idle_s=settings.upstream_idle_s,
        total_s=settings.upstream_total_s,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(reply_bytes=settings.upstream_max_reply_bytes)
