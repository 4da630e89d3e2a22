"""Periodic work of a serving process, in a thread of its own.

Every process looks for holders that have died; what only one process needs to do for all
runs under a named lease.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tokenhub import clock
from tokenhub.errors import HubError
from tokenhub.observability import log
from tokenhub.operations.hub import Hub
from tokenhub.store import leases, ledger
from tokenhub.store.holds import release_holds_of
from tokenhub.store.leases import Lease, Reaper

REAPS_PER_LEASE = 3
EXPIRY_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """Something done every ``every_s`` seconds."""

    name: str
    every_s: float
    work: Callable[[], None]


class Background:
    """Runs the jobs of this process until it is stopped."""

    def __init__(self, hub: Hub, lease: Lease) -> None:
        self._database = hub.database
        self._lease = lease
        self._reaper = Reaper(hub.home, hub.settings.database_lease_s)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenhub-background")
        self._jobs = (
            Job("reap", hub.settings.database_lease_s / REAPS_PER_LEASE, self._reap),
            Job("expire", EXPIRY_EVERY_S, self._expire),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start every job's loop."""
        self._tasks = [asyncio.get_running_loop().create_task(self._repeat(job)) for job in self._jobs]

    async def stop(self) -> None:
        """Stop after the run under way, if any."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.submit(self._database.close)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    async def _repeat(self, job: Job) -> None:
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, job.work)
            except HubError as error:
                log.event("job_failed", level="warning", job=job.name, code=error.code)
            except Exception as error:
                log.failure("job_failed", error, job=job.name)
            await asyncio.sleep(job.every_s)

    def _reap(self) -> None:
        """Release the holds of processes that have died (T20, T21)."""
        now_ms = clock.now_ms()
        for lease_id in self._reaper.reap(self._database, now_ms):
            released = release_holds_of(self._database, lease_id, now_ms)
            log.event("holds_released", level="warning", lease=lease_id, holds=released)

    def _expire(self) -> None:
        now_ms = clock.now_ms()
        if leases.try_take(self._database, "expire", self._lease, now_ms):
            ledger.expire_due(self._database, now_ms)
