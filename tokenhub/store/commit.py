"""One batch, committed: what becomes of its operations when the database does, and does not, as it is told.

in the way          another transaction: they are left, to be tried again after a moment
away                they are left, until the database is back
commit unknown      the server is asked what became of it; if it cannot say, they are left, and
                    find out when they are tried again, being idempotent by id (T96)
refused             the batch is halved until the one bad operation fails alone (T98)
lease lost          this process is fenced: all of them are refused, but for ends that may be written
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tokenhub import failpoints
from tokenhub.billing.holds import (
    Operation,
    Outcome,
    Place,
    Refusal,
    Refused,
    Release,
    RequestRecord,
    Settle,
)
from tokenhub.errors import InternalError, Unavailable
from tokenhub.observability import log
from tokenhub.store.database import (
    CommitUnknown,
    Database,
    StoreBusy,
    StoreError,
    StoreRejected,
    StoreUnavailable,
    TransactionStatus,
)
from tokenhub.store.holds import Holds, LeaseLost
from tokenhub.store.leases import Lease

UNIQUE_RETRIES: Final = 3
"""How often an operation that met its own row, just written by another process, looks again."""
ASK_PAUSE_S: Final = 0.02
ASKS: Final = 25
"""How often a server that is still at a commit is asked for its outcome."""


class OutcomeUnknown(Exception):
    """A settle or release may or may not have been committed, and the database cannot be asked.

    Close the caller's connection without an end. The writer finds out when it can, and
    releases the hold if it is still open.
    """


@dataclass(slots=True, eq=False)
class Item:
    """An operation on its way, and who waits for its outcome; nobody when ``waiter`` is None."""

    operation: Operation
    waiter: Any = None
    since_s: float | None = None
    """When it was first left, on the process's stop-watch."""
    unknown: bool = False
    """Whether a commit with it had no answer."""
    refusals: int = 0
    tried: bool = False
    """Whether it was in a batch before, so that there may be something of it in the store."""


Answer = Outcome | BaseException


@dataclass(slots=True)
class Result:
    """Who is answered what, and which operations are left because of ``error``."""

    answers: list[tuple[Item, Answer]] = field(default_factory=list)
    left: list[Item] = field(default_factory=list)
    error: Unavailable | None = None
    fenced: bool = False

    def then(self, later: "Result") -> "Result":
        """Return this and what followed it as one."""
        return Result(
            self.answers + later.answers,
            self.left + later.left,
            self.error or later.error,
            self.fenced or later.fenced,
        )


class Committer:
    """Writes batches for one lease. Belongs to one thread."""

    def __init__(self, database: Database, lease: Lease, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._lease = lease
        self._now_ms = now_ms
        self._holds = Holds(database)
        self._decided: list[Outcome] = []

    def commit(self, items: Sequence[Item]) -> Result:
        """Write a batch; an empty one renews the lease."""
        fresh = {one.operation.request_id for one in items if isinstance(one.operation, Place) and not one.tried}
        for item in items:
            item.tried = True
        try:
            outcomes = self._write([item.operation for item in items], fresh)
        except LeaseLost:
            return Result([(item, _fenced(item)) for item in items], fenced=True)
        except StoreError as error:
            return Result(left=list(items), error=error)
        except CommitUnknown as error:
            return self._resolve(items, error)
        except Exception as error:
            return self._apart(items, error)
        return Result(list(zip(items, outcomes, strict=True)))

    def apply(self, operation: Operation) -> Outcome:
        """Decide one operation in a write that the caller has open."""
        try:
            (outcome,) = self._holds.apply([operation], self._lease, self._now_ms())
        except LeaseLost:
            return Refused(Refusal.FENCED)
        return outcome

    def release_unknown(self, is_known: Callable[[str], bool]) -> int:
        """Release the holds in this process's name that it does not know, and return how many."""
        return self._holds.release_all(self._lease.id, self._now_ms(), reason="hold_unknown", keep=is_known)

    def _write(self, operations: Sequence[Operation], fresh: Collection[str]) -> list[Outcome]:
        with self._database.write(durable=any(map(_must_be_durable, operations))):
            self._decided = self._holds.apply(operations, self._lease, self._now_ms(), fresh=fresh)
            failpoints.hit("batch.written")
        failpoints.hit("batch.committed")
        return self._decided

    def _resolve(self, items: Sequence[Item], error: CommitUnknown) -> Result:
        """Find out what became of a commit that had no answer.

        After a commit that holds, refusals are answered as decided; whatever left a row is
        asked for by its id, since a server that crashed may have lost what it says it has. Where
        that has no answer either it stays unknown: it was written, as far as anybody knows.
        """
        was_unknown = any(item.unknown for item in items)
        status = None if was_unknown else self._status_of(error.transaction)
        if status is TransactionStatus.ABORTED:
            return Result(left=list(items), error=StoreBusy("the database lost a transaction; try again"))
        if status is TransactionStatus.COMMITTED:
            decided = list(zip(items, self._decided, strict=True))
            refused: list[tuple[Item, Answer]] = [pair for pair in decided if isinstance(pair[1], Refused)]
            rest = [item for item, outcome in decided if not isinstance(outcome, Refused)]
            for item in rest:
                item.unknown = True
            return Result(refused).then(self.commit(rest))
        for item in items:
            item.unknown = True
        return Result(left=list(items), error=error)

    def _status_of(self, transaction: str) -> TransactionStatus | None:
        """Ask the server what became of a transaction; None when it cannot be asked, or has not ended it."""
        for _ in range(ASKS):
            try:
                status = self._database.transaction_status(transaction)
            except StoreError:
                return None
            if status is not TransactionStatus.IN_PROGRESS:
                return status
            time.sleep(ASK_PAUSE_S)
        return None

    def _apart(self, items: Sequence[Item], error: Exception) -> Result:
        """Write the halves of a batch that was refused, each alone, so that only the bad operation fails."""
        if not items:
            log.failure("lease_not_renewed", error)
            return Result(error=StoreUnavailable("the lease could not be renewed", retry_after_s=5))
        if len(items) == 1:
            return self._alone(items[0], error)
        middle = len(items) // 2
        first = self.commit(items[:middle])
        if first.error is not None:
            return first.then(Result(left=list(items[middle:])))
        return first.then(self.commit(items[middle:]))

    def _alone(self, item: Item, error: Exception) -> Result:
        """Write what can be written of an operation that was refused alone: a hold at least is given back."""
        if isinstance(error, StoreRejected) and error.reason == "unique" and item.refusals < UNIQUE_RETRIES:
            item.refusals += 1
            return self.commit([item])
        operation = item.operation
        why = error.reason if isinstance(error, StoreRejected) else ""
        kind = type(operation).__name__
        log.failure("operation_refused", error, reason=why, operation=kind, request_id=operation.request_id)
        plainer = _plainer(item.operation)
        if plainer is None:
            return Result([(item, InternalError("The ledger refused this operation."))])
        item.operation = plainer
        return self.commit([item])


def _fenced(item: Item) -> Answer:
    """Refuse what another process ends by now; an end whose commit had no answer may have been written before."""
    if item.unknown and not isinstance(item.operation, Place):
        return OutcomeUnknown()
    return Refused(Refusal.FENCED)


def _must_be_durable(operation: Operation) -> bool:
    """Say whether losing this to a failing machine would lose more than requests that died with it (decision 10).

    A hold without its request frees the money it kept; a release that is lost is made again with the lease.
    """
    return isinstance(operation, Settle)


def _plainer(operation: Operation) -> Operation | None:
    """Return the operation that ends the same request and writes less, if there is one."""
    match operation:
        case Settle(request_id, record=record):
            plain = RequestRecord(
                record.account_id, record.key_id, record.started_at_ms, "", "", status=500, error_code="internal_error"
            )
            return Release(request_id, plain)
        case Release(request_id, record=record) if record is not None:
            return Release(request_id)
        case Place() | Release():
            return None
