"""Closing the books of a day, and deleting what is kept only for a while.

A day is closed when it has been over for an hour. What is known of a single request is deleted
``retention.days`` days after it ended: its fees stand in the day's lines, which stay. A day
whose lines are not what its requests add up to is never deleted from; it is refused, reported,
and ``tokenhub ledger verify`` names the rows.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tokenhub import clock, failpoints
from tokenhub.billing.periods import DAY_MS
from tokenhub.operations.hub import Hub
from tokenhub.store import affinities, aged, days, jobs, refusals
from tokenhub.store.database import Database

SETTLING_MS: Final = 3_600_000
"""How long a day must be over before it is closed: what is written late has its own time."""

BATCH: Final = 100
"""Requests deleted in one transaction."""

BATCHES: Final = 100
"""Transactions of one call: other periodic work waits for it."""

TRIES: Final = 3
"""How often a day is added up when requests go on to end in it."""

EVENTS_KEPT_DAYS: Final = 35
"""Stripe tells events for 30 days; one that is told again later must still be known."""

PAUSE_AFTER_STEP_MS: Final = 3_600_000
"""How long nothing is closed or deleted after the clock was set."""

STEP_MS: Final = 60_000
"""A clock that moved this far against the time since the machine started was set."""


@dataclass(slots=True)
class Work:
    """What was done. Days are named by their first millisecond."""

    closed: list[int] = field(default_factory=list)
    deleted: int = 0
    """Requests."""
    wiped: list[int] = field(default_factory=list)
    """Days of which nothing but their lines is left."""
    refused: list[int] = field(default_factory=list)
    """Days whose lines do not agree with their requests, which therefore stay."""
    more: bool = False
    """Whether there is more to do at once."""


class Clockwatch:
    """Notices that the wall clock was set (T99): nothing is closed or deleted for a while after that."""

    def __init__(self, now_ms: Callable[[], int] = clock.now_ms, boot_ms: Callable[[], int] = clock.boot_ms) -> None:
        self._now_ms = now_ms
        self._boot_ms = boot_ms
        self._offset = now_ms() - boot_ms()
        self._resume_at: int | None = None

    def steady(self) -> bool:
        """Tell whether the clock has not been set lately; ask regularly."""
        boot_ms = self._boot_ms()
        offset = self._now_ms() - boot_ms
        if abs(offset - self._offset) > STEP_MS:
            self._resume_at = boot_ms + PAUSE_AFTER_STEP_MS
        self._offset = offset
        return self._resume_at is None or boot_ms >= self._resume_at


def work(hub: Hub, now_ms: int) -> Work:
    """Do a part of what is due: close a day, delete requests, forget old events and notices.

    Called every minute by one process. No write transaction is long, and writers get their turn
    between two of them.
    """
    done = Work()
    _close(hub.database, now_ms, done)
    _purge(hub.database, now_ms, hub.settings.retention_days * DAY_MS, done)
    aged.forget(hub.database, now_ms - EVENTS_KEPT_DAYS * DAY_MS)
    affinities.forget(hub.database, now_ms)
    return done


def _close(database: Database, now_ms: int, done: Work) -> None:
    day = days.first_open(database)
    if day is None or now_ms < day + DAY_MS + SETTLING_MS:
        return
    for _ in range(TRIES):
        with database.read():
            lines = list(days.add_up(database, day))
        failpoints.hit("day.added")
        try:
            days.close(database, day, lines, now_ms)
        except days.DayMoved:
            continue
        failpoints.hit("day.closed")
        done.closed.append(day)
        break
    done.more = True


def _purge(database: Database, now_ms: int, kept_ms: int, done: Work) -> None:
    before_ms, left = now_ms - kept_ms, BATCHES
    empty: list[int] = []
    for day, purged_at in days.purge_due(database, before_ms):
        if purged_at is None and not _begun(database, day, now_ms):
            done.refused.append(day)
            continue
        while left and (found := days.doomed(database, day, before_ms, BATCH)):
            done.deleted += _deleted(database, found)
            left -= 1
        if not left:
            done.more = True
            break
        if before_ms >= day + DAY_MS:
            empty.append(day)
    forgotten, refused = jobs.forget(database, before_ms), refusals.forget(database, before_ms)
    done.more = done.more or forgotten == jobs.FORGET_BATCH or refused == refusals.FORGET_BATCH
    if (done.deleted or empty or forgotten or refused) and _scrubbed(database, whole=bool(empty)):
        failpoints.hit("purge.scrubbed")
        for day in empty:
            days.wiped(database, day, now_ms)
            done.wiped.append(day)


def _begun(database: Database, day: int, now_ms: int) -> bool:
    """Begin to delete a day's requests, if its lines agree with them."""
    if not days.agrees(database, day):
        return False
    days.begin_purge(database, day, now_ms)
    failpoints.hit("purge.begun")
    return True


def _deleted(database: Database, request_ids: list[str]) -> int:
    """Delete requests, then let others write for as long as it took, and twice that."""
    began_s = clock.monotonic_s()
    count = days.delete(database, request_ids)
    failpoints.hit("purge.deleted")
    time.sleep(2 * (clock.monotonic_s() - began_s))
    return count


def _scrubbed(database: Database, *, whole: bool) -> bool:
    """Empty the log; a vacuum, which reads whole tables, only when a whole day is gone."""
    if database.kind == "postgres" and not whole:
        return True
    return database.scrub("requests", "request_lots", "jobs", "refusals")
