"""Which refusals before a hold are kept as requests, so that ``requests show`` and ``/v1/generation`` explain them.

Routing refuses before the rate windows are looked at, and a full window refuses without counting,
so nothing else bounds how often a caller is refused: here a bucket for each account and one for
the process do. What goes beyond them is logged and counted, not kept.
"""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

from tokenhub import clock
from tokenhub.errors import HubError, InsufficientCredits, RateLimited, Unavailable
from tokenhub.observability import log
from tokenhub.routing.decision import Decision
from tokenhub.store import refusals as store
from tokenhub.store.database import Database
from tokenhub.store.refusals import RefusedRequest

if TYPE_CHECKING:
    from tokenhub.proxy.exchange_state import Exchange

ACCOUNT_BURST: Final = 20
ACCOUNT_EVERY_S: Final = 10.0
"""An account's first refusals are kept, then one in this time."""
ALL_BURST: Final = 100
ALL_EVERY_S: Final = 1.0
"""The same for all accounts together, in each process: at most some 200 MB a day of the longest decisions."""
TELL_EVERY_S: Final = 60.0
_BY_HOLD: Final = (InsufficientCredits, RateLimited)
"""Refusals of the write that would have placed the hold; of a key or account that may not call at all nothing is kept."""


def decision_of(error: HubError, exchange: "Exchange") -> Decision | None:
    """Return the routing decision behind a refusal that was made before anything was held; None for any other error."""
    decision: Decision | None = getattr(error, "decision", None)
    if decision is not None:
        return decision
    if isinstance(error, _BY_HOLD) and exchange.hold is None and exchange.route is not None:
        return exchange.route.decision
    return None


def refused_request(error: HubError, exchange: "Exchange", decision: Decision, now_ms: int) -> RefusedRequest:
    """Return what is kept of a refused request: metadata and reasons, as of one that ended."""
    caller, call = exchange.caller, exchange.call
    assert caller is not None
    assert call is not None
    return RefusedRequest(
        id=exchange.id,
        account_id=caller.account.id,
        key_id=caller.key.id,
        started_at=exchange.started_at_ms,
        ended_at=now_ms,
        capability=call.capability.value,
        model=decision.models[0] if decision.models else "",
        streamed=call.stream,
        status=error.status,
        error_code=error.code,
        duration_ms=int((clock.monotonic_s() - exchange.started_s) * 1000),
        decision=decision.dump(),
        session=exchange.session.id if exchange.session else None,
    )


class Runs(Protocol):
    """What of the writer is needed."""

    def run(self, write: Callable[[Database], None]) -> "Future[None]": ...


class Refusals:
    """What one process keeps of its refusals: never more than the buckets let through, and nobody waits for it.

    ``kept`` and ``dropped`` are for metrics.
    """

    def __init__(self, writer: Runs, now_s: Callable[[], float] = clock.monotonic_s) -> None:
        self._writer = writer
        self._now_s = now_s
        self._full_s = 0.0
        self._accounts_full_s: dict[int, float] = {}
        """When the bucket of all, and each account's, is full again, on the process's stop-watch."""
        self._waiting: list[RefusedRequest] | None = None
        """What the queued write will take with it; None: none is queued."""
        self._lock = Lock()
        self.kept = 0
        self.dropped = 0
        self._untold = 0
        self._told_s: float | None = None

    def has_room(self, account_id: int) -> bool:
        """Take a place for one more refusal of this account; False, and counted, when there is none."""
        now_s = self._now_s()
        account_s = max(self._accounts_full_s.get(account_id, 0.0), now_s)
        all_s = max(self._full_s, now_s)
        if account_s - now_s > (ACCOUNT_BURST - 1) * ACCOUNT_EVERY_S or all_s - now_s > (ALL_BURST - 1) * ALL_EVERY_S:
            self._drop()
            return False
        if len(self._accounts_full_s) >= 2 * ALL_BURST:
            self._accounts_full_s = {one: full_s for one, full_s in self._accounts_full_s.items() if full_s > now_s}
        self._accounts_full_s[account_id] = account_s + ACCOUNT_EVERY_S
        self._full_s = all_s + ALL_EVERY_S
        self.kept += 1
        return True

    def _drop(self) -> None:
        now_s = self._now_s()
        self.dropped += 1
        self._untold += 1
        if self._told_s is None or now_s - self._told_s >= TELL_EVERY_S:
            log.event("refusals_not_kept", level="warning", refusals=self._untold)
            self._untold, self._told_s = 0, now_s

    def keep(self, one: RefusedRequest) -> None:
        """Queue a row to the writer; those that come before it is written go with it, in one transaction."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.append(one)
                return
            taken = self._waiting = [one]

        def write(database: Database) -> None:
            self._close(taken)
            store.add(database, taken)

        def written(done: Future[None]) -> None:
            self._close(taken)
            if (error := done.exception()) is not None:
                log.failure("refusals_not_written", error, refusals=len(taken))

        try:
            self._writer.run(write).add_done_callback(written)
        except Unavailable:  # closing, or more to do than it can take
            self._close(taken)
            self.kept -= 1
            self._drop()

    def _close(self, taken: list[RefusedRequest]) -> None:
        """Let nothing more be added to what a write takes: it has begun, or it will never be done."""
        with self._lock:
            if self._waiting is taken:
                self._waiting = None
