"""Periodic work of a serving process, in threads beside its event loop.

Several, so that nothing slow holds up what cannot wait: *keeping* (dead holders, expiry),
*jobs* (videos), *payments* (Stripe), *chores* (outages, notices, books), *probes* (idle
providers, if that is wanted). Every process looks for holders that have died; what only one
process needs to do for all runs under a named lease. All of it can be killed at any moment and
done again: at shutdown a thread that waits for a network is not waited for long.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenhub import clock
from tokenhub.billing.invariants import Discrepancy
from tokenhub.billing.notices import NoticeKind
from tokenhub.errors import HubError
from tokenhub.observability import log
from tokenhub.operations import job_work, notices, outages, probing, retention
from tokenhub.operations.hub import Hub
from tokenhub.operations.outages import Told
from tokenhub.operations.payments import connection
from tokenhub.operations.payments import work as payments
from tokenhub.proxy import memory
from tokenhub.store import audit, circuits, health, leases, ledger
from tokenhub.store import jobs as job_rows
from tokenhub.store.holds import Holds, LeaseLost, release_holds_of
from tokenhub.store.leases import Lease, Reaper

REAPS_PER_LEASE = 3
EXPIRY_EVERY_S = 60.0
EXPIRED_AT_ONCE = 25
"""Accounts whose expired credit is booked before other work has its turn."""
PAYMENTS_EVERY_S = 2.0
NOTICES_EVERY_S = 5.0
BOOKS_EVERY_S = 60.0
MEMORY_EVERY_S = 60.0
PROBES_EVERY_S = 10.0
JOBS_EVERY_S = 1.0
STOP_S = 5.0
"""What runs when the process stops gets so long to end."""
TELL_AGAIN_S = 300.0
TOLD_DISCREPANCIES = 20


@dataclass(frozen=True, slots=True)
class Job:
    """Something done every ``every_s`` seconds; None: once. Work that returns True has more to do, and goes on soon."""

    name: str
    every_s: float | None
    work: Callable[[], bool | None]


class Crew:
    """A thread that does its jobs, each when it is due, one after the other."""

    def __init__(self, name: str, jobs: Sequence[Job], close: Callable[[], None]) -> None:
        self._jobs = jobs
        self._close = close
        self._due_s = {job.name: 0.0 for job in jobs}
        self._told: dict[str, tuple[str, float]] = {}
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._run, name=f"tokenhub-{name}", daemon=True)

    def start(self) -> None:
        """Begin with every job at once."""
        self._thread.start()

    def wake(self) -> None:
        """Do every job now, or again when it has ended; never waits."""
        with self._changed:
            self._due_s = dict.fromkeys(self._due_s, 0.0)
            self._changed.notify()

    def end(self) -> None:
        """Begin no other job."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Wait until the job under way has ended; False if it has not in this time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                began_s = clock.monotonic_s()
                if self._do(job):
                    self._go_on(job, 2 * (clock.monotonic_s() - began_s))
        finally:
            self._close()

    def _do(self, job: Job) -> bool:
        try:
            return bool(job.work())
        except HubError as error:
            if self._is_news(job, error.code):
                log.event("job_failed", level="warning", job=job.name, code=error.code)
        except Exception as error:
            if self._is_news(job, type(error).__name__):
                log.failure("job_failed", error, job=job.name)
        return False

    def _go_on(self, job: Job, pause_s: float) -> None:
        """Do a job again after a pause, in which others can write."""
        with self._changed:
            self._due_s[job.name] = min(self._due_s[job.name], clock.monotonic_s() + pause_s)

    def _is_news(self, job: Job, failure: str) -> bool:
        """Whether a failure is to be logged: another one than last, or the same a while ago; some jobs run every two seconds."""
        now_s = clock.monotonic_s()
        known, told_s = self._told.get(job.name, ("", 0.0))
        if known == failure and now_s - told_s < TELL_AGAIN_S:
            return False
        self._told[job.name] = (failure, now_s)
        return True

    def _next(self) -> Job | None:
        """Wait for the next job that is due, and plan its next turn; None when there is no other."""
        with self._changed:
            while not self._over:
                now_s = clock.monotonic_s()
                job = min(self._jobs, key=lambda one: self._due_s[one.name])
                if (left_s := self._due_s[job.name] - now_s) <= 0:
                    self._due_s[job.name] = float("inf") if job.every_s is None else now_s + job.every_s
                    return job
                self._changed.wait(min(left_s, threading.TIMEOUT_MAX))
        return None


class Background:
    """Runs the jobs of this process until it is stopped."""

    def __init__(self, hub: Hub, lease: Lease) -> None:
        self._hub = hub
        self._database = hub.database
        self._lease = lease
        self._reaper = Reaper(hub.home, hub.settings.database_lease_s)
        self._clock = retention.Clockwatch(hub.database.now_ms)
        self._payments_begun = False
        self._holds = Holds(hub.database)
        self._known: job_work.Known | None = None
        """The catalogue, while it is this process that looks at jobs."""
        self._told: Told | None = None
        """What people were told of outages, while it is this process that tells them."""
        self.discrepancies: Sequence[Discrepancy] = ()
        """What did not add up when this process looked, at its start."""
        reap_s = hub.settings.database_lease_s / REAPS_PER_LEASE
        keeping = Job("reap", reap_s, self._reap), Job("expire", EXPIRY_EVERY_S, self._expire)
        chores = (
            Job("verify", None, self._verify),
            Job("outages", NOTICES_EVERY_S, self._tell_outages),
            Job("notices", NOTICES_EVERY_S, self._send_notices),
            Job("books", BOOKS_EVERY_S, self._keep_books),
            Job("memory", MEMORY_EVERY_S, memory.give_back),
        )
        close = self._database.close
        self._payments = Crew("payments", (Job("payments", PAYMENTS_EVERY_S, self._work_payments),), close)
        jobs_every_s = min(JOBS_EVERY_S, hub.settings.jobs_poll_s)
        self._crews: tuple[Crew, ...] = (
            Crew("keeping", keeping, close),
            Crew("jobs", (Job("jobs", jobs_every_s, self._look_at_jobs),), close),
            self._payments,
            Crew("chores", chores, close),
        )
        if hub.settings.routing_probe_s:
            self._crews += (Crew("probes", (Job("probes", PROBES_EVERY_S, self._probe),), close),)

    def start(self) -> None:
        """Start every thread."""
        for crew in self._crews:
            crew.start()

    def wake_payments(self) -> None:
        """Look at payments now: an event has come. From any thread."""
        self._payments.wake()

    async def stop(self) -> None:
        """Stop after the jobs under way; one that does not end in time is left behind, as a crash would leave it."""
        for crew in self._crews:
            crew.end()
        until_s = clock.monotonic_s() + STOP_S
        for crew in self._crews:
            left_s = max(0.0, until_s - clock.monotonic_s())
            if not await asyncio.get_running_loop().run_in_executor(None, crew.join, left_s):
                log.event("job_left_behind", level="warning")

    def _is_mine(self, job: str) -> bool:
        """Whether this process is the one among all that does a job."""
        has = leases.has(self._database, job, self._lease)
        return has or leases.try_take(self._database, job, self._lease, self._database.now_ms())

    def _reap(self) -> None:
        """Release the holds of processes that have died (T20, T21)."""
        now_ms = self._database.now_ms()
        for lease_id in self._reaper.reap(self._database, now_ms):
            released = release_holds_of(self._database, lease_id, now_ms)
            log.event("holds_released", level="warning", lease=lease_id, holds=released)

    def _expire(self) -> bool:
        """Book what has expired; tell whether there may be more."""
        now_ms = self._database.now_ms()
        return self._is_mine("expire") and ledger.expire_due(self._database, now_ms, EXPIRED_AT_ONCE) > 0

    def _look_at_jobs(self) -> None:
        """Ask providers about the videos they make, and end those that have an end."""
        now_ms = self._database.now_ms()
        if not job_rows.is_due(self._database, now_ms) or not self._is_mine("jobs"):
            return
        self._known = job_work.known(self._database, self._known)
        try:
            for job, state in job_work.work(self._hub, self._lease, self._holds, self._known, now_ms):
                log.event("job_ended", request_id=job.id, state=state.value, provider=job.provider)
        except LeaseLost:
            return  # the writer finds out too, and says so

    def _work_payments(self) -> None:
        """Do what is due at Stripe, as soon as there is a key for it; noticed without a restart."""
        now_ms = clock.now_ms()
        if not connection.is_configured(self._hub) or not self._is_mine("payments"):
            return
        if not self._payments_begun:
            payments.started(self._hub)
            self._payments_begun = True
        payments.tick(self._hub, now_ms)

    def _send_notices(self) -> None:
        now_ms = clock.now_ms()
        if notices.is_due(self._hub, now_ms) and self._is_mine("notices"):
            notices.watch_balances(self._hub, now_ms)
            notices.work(self._hub, now_ms)

    def _tell_outages(self) -> None:
        """Tell subscribers what fails and what is back."""
        now_ms = clock.now_ms()
        if not notices.receivers(self._hub, NoticeKind.OUTAGE) + notices.receivers(self._hub, NoticeKind.RECOVERED):
            return
        if not self._is_mine("notices"):
            self._told = None
            return
        self._told = outages.watch(self._hub, self._told or outages.recall(self._hub), now_ms)

    def _probe(self) -> None:
        """Look at providers that nobody has asked for a while."""
        now_ms = clock.now_ms()
        if self._is_mine("probes"):
            for one in probing.look(self._hub, self._hub.settings.routing_probe_s, now_ms):
                if not one.ok:
                    log.event(
                        "probe_failed", level="warning", credential=one.credential_id, kind=one.kind, code=one.code
                    )

    def _keep_books(self) -> None:
        """Close days and delete what is past its time; nothing of that for a while after the clock was set (T99)."""
        now_ms = self._database.now_ms()
        if not self._clock.steady() or not self._is_mine("books"):
            return
        circuits.prune(self._database, now_ms)
        health.prune(self._database, now_ms)
        done = retention.work(self._hub, now_ms)
        if done.closed or done.deleted:
            log.event("books_kept", days_closed=len(done.closed), requests_deleted=done.deleted)
        for day in done.refused:
            log.event("day_not_deleted", level="error", day=clock.iso(day)[:10], see="tokenhub ledger verify")

    def _verify(self) -> None:
        """Add the ledger up once, without its requests, and say loudly what does not agree.

        Serving goes on: every write decides on its own rows, whose own sums the database
        checks, and an outage for all would be a worse answer than a row to look at.
        """
        self.discrepancies = tuple(audit.verify_fast(self._database))
        for one in self.discrepancies[:TOLD_DISCREPANCIES]:
            log.event("ledger_does_not_add_up", level="error", row=one.subject)
        if self.discrepancies:
            log.event("ledger_verified", level="error", rows=len(self.discrepancies), see="tokenhub ledger verify")
