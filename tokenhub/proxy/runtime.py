"""What one serving process holds: the store's threads, the snapshot, the upstream client, the work under way."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from tokenhub import clock
from tokenhub.accounts.accounts import Caller
from tokenhub.accounts.directory import Directory
from tokenhub.catalog.models import Credential
from tokenhub.errors import HubError, Unavailable
from tokenhub.observability import log
from tokenhub.operations import availability, callers, snapshots
from tokenhub.operations.hub import Hub
from tokenhub.operations.snapshots import Snapshot
from tokenhub.providers.client import UpstreamClient
from tokenhub.proxy.availability import Watch
from tokenhub.proxy.desk import Desk
from tokenhub.proxy.refusals import Refusals
from tokenhub.routing import session
from tokenhub.routing.standing import Availability
from tokenhub.settings import Settings
from tokenhub.store import accounts, circuits
from tokenhub.store.database import Database, StoreError
from tokenhub.store.leases import Lease
from tokenhub.store.writer import Writer

if TYPE_CHECKING:
    from tokenhub.proxy.exchange_state import Exchange

T = TypeVar("T")

AWAY_TOLD_EVERY_S = 10.0
"""How often a store that does not answer is logged: whatever asks meets it, and once a second the process itself."""


class Runtime:
    """Everything a request needs from its process. One per process, made by ``app.start``."""

    def __init__(self, hub: Hub, writer: Writer, client: UpstreamClient, instance: str) -> None:
        self.hub = hub
        self.settings: Settings = hub.settings
        self.database: Database = hub.database
        self.writer = writer
        self.client = client
        self.instance = instance
        """Names this installation in the hop header, so that a loop is seen (T66)."""
        self.own_credentials: tuple[Credential, ...] = ()
        """Credentials that live with the process: the embedded model's."""
        self.session_key = hub.vault.derive(session.KEY_PURPOSE)
        self.lease: Lease
        """This process's own."""
        self.snapshot: Snapshot
        self.directory = Directory()
        self.watch = Watch(writer, self._take_out, self.spawn)
        """Told of every attempt's end; shared with other processes."""
        self.availability: Availability = self.watch.view
        """How every deployment stands: what planning asks."""
        self.exchanges: dict[str, Exchange] = {}
        self.drains: dict[str, asyncio.Task[None]] = {}
        self.retrying = 0
        self.bodies: Counter[int] = Counter()
        """Bytes that have come of request bodies on their way, by account."""
        self.contents: Counter[int] = Counter()
        """Results that are being passed on from where their providers keep them, by account."""
        self.refusing: HubError | None = None
        """Set while no new request is taken: shutting down, or fenced."""
        self.webhook_desk = Desk()
        self.refusals = Refusals(writer)
        self.wake_payments: Callable[[], None] = lambda: None
        """Tells this process's payments thread that there is something to do."""
        self.ledger_adds_up: Callable[[], bool] = lambda: True
        """Whether the look at the ledger when this process started found nothing."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reader = ThreadPoolExecutor(1, "tokenhub-reader", self.database.hurry)
        self._verbs = ThreadPoolExecutor(1, "tokenhub-verbs", self.database.hurry)
        self._away_told_s = float("-inf")
        self._looked_up: dict[bytes, asyncio.Future[Caller | None]] = {}
        self._reading_snapshot: asyncio.Future[Snapshot] | None = None

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work that outlives the request it came from; kept until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def read(self, query: Callable[[Database], T]) -> T:
        """Run a query in the reader thread; raises Unavailable when the store does not answer."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, query, self.database)
        except StoreError as error:
            if (now_s := clock.monotonic_s()) - self._away_told_s >= AWAY_TOLD_EVERY_S:
                self._away_told_s = now_s
                log.failure("store_read", error, reason=str(error))
            raise Unavailable(
                "The ledger does not answer; try again.", code="ledger_unavailable", retry_after_s=2
            ) from None

    async def change(self, verb: Callable[[Hub], T]) -> T:
        """Run a verb that writes, in a thread of its own: reads never wait behind it. Raises what the verb raises."""
        return await asyncio.get_running_loop().run_in_executor(self._verbs, verb, self.hub)

    async def caller(self, digest: bytes) -> Caller:
        """Return the caller of a key that is accepted now, from the directory if it may plan, else from the store.

        Lookups that come together are one query: an unknown key costs a point read, however
        often it is sent. Raises AuthenticationFailed or PermissionDenied (``callers.accepted``).
        """
        known = self.directory.find(digest, clock.now_ms())
        if known is not None:
            return known
        waiting = self._looked_up.get(digest)
        if waiting is None:
            if not self._looked_up:
                self.spawn(self._look_up())
            waiting = self._looked_up[digest] = asyncio.get_running_loop().create_future()
        return callers.accepted(await asyncio.shield(waiting), clock.now_ms())

    async def _look_up(self) -> None:
        await asyncio.sleep(0)
        asked, self._looked_up = self._looked_up, {}
        try:
            found = await self.read(lambda database: accounts.callers(database, list(asked)))
        except Exception as error:
            for waiter in asked.values():
                if not waiter.done():
                    waiter.set_exception(error)
                    waiter.exception()
            return
        for digest, waiter in asked.items():
            caller = found.get(digest)
            if caller is not None:
                self.directory.keep(digest, caller)
            if not waiter.done():
                waiter.set_result(caller)

    async def fresh(self) -> Snapshot:
        """Return a snapshot that is not older than this call: for answers that no write decides."""
        _, _, revision = await self.read(accounts.versions)
        if revision != self.snapshot.revision:
            await self.reload()
        return self.snapshot

    async def reload(self) -> None:
        """Read the snapshot anew, once for all who ask at the same time, and ask the store for every caller again."""
        if self._reading_snapshot is None or self._reading_snapshot.done():
            self._reading_snapshot = asyncio.ensure_future(self._read_snapshot())
        reading = self._reading_snapshot
        try:
            snapshot = await asyncio.shield(reading)
        finally:
            if self._reading_snapshot is reading and reading.done():
                self._reading_snapshot = None
        if snapshot.revision >= self.snapshot.revision:
            self.snapshot = snapshot
        self.directory.clear()

    async def _read_snapshot(self) -> Snapshot:
        """Read the snapshot and what is down: a credential that was mended is used from then on."""
        vault, own, began = self.hub.vault, self.own_credentials, self.watch.mark()
        snapshot, down = await self.read(
            lambda database: (snapshots.read(database, vault, own), circuits.read(database))
        )
        self.watch.absorb(down, began)
        return snapshot

    async def _take_out(self, credential_id: int, reason: str) -> bool:
        return await self.change(lambda hub: availability.take_out(hub, credential_id, reason))

    def may_retry(self) -> bool:
        """Whether one more attempt after a failed one, at a deployment that is not well, fits the retry budget: a share of the requests under way (T80)."""
        return self.retrying < max(3, int(len(self.exchanges) * self.settings.upstream_retry_budget))

    def stop_all(self, reason: HubError) -> None:
        """End every exchange under way with this error; used at the shutdown deadline and when the lease is lost."""
        for exchange in list(self.exchanges.values()):
            exchange.stop(reason)

    async def close(self) -> None:
        """Tell the last counts, cancel what is still running and stop the threads of reads and verbs."""
        self.watch.flush()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._reader.shutdown(wait=True)
        self._verbs.shutdown(wait=True)
