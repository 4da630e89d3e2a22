"""Where sessions are bound: written with a settle, read before the next request of a tool loop is planned.

A row is a MAC, a deployment and a moment: nothing of a request is in it (T118).
"""

from collections.abc import Callable, Iterable
from typing import Final

from tokenhub.billing.holds import Pin
from tokenhub.store.bulk import Bulk
from tokenhub.store.database import Database

LIMIT: Final = 500
"""Rows deleted in one transaction."""
ROUNDS: Final = 20
"""Transactions of one call."""


def writer(bulk: Bulk) -> Callable[[Iterable[Pin]], int]:
    """Return what writes pins in an open write: one row a key, the last pin of a batch wins."""
    write = bulk.upsert("affinities", "session", ("deployment", "expires_at"))

    def keep(pins: Iterable[Pin]) -> int:
        latest = {pin.key: pin for pin in pins}
        return write([(pin.key, pin.deployment, pin.expires_at_ms) for _, pin in sorted(latest.items())])

    return keep


def find(database: Database, key: bytes, now_ms: int) -> str | None:
    """Return the deployment a session is bound to; None when it is bound to none, or was too long ago."""
    row = database.row("SELECT deployment FROM affinities WHERE session = ? AND expires_at > ?", (key, now_ms))
    return None if row is None else str(row[0])


def forget(database: Database, now_ms: int) -> int:
    """Delete what has expired, in short transactions; return how many rows that were."""
    expired = f"SELECT session FROM affinities WHERE expires_at <= ? LIMIT {LIMIT}"
    total = 0
    for _ in range(ROUNDS):
        if database.row(expired, (now_ms,)) is None:
            break
        with database.write():
            total += int(database.execute(f"DELETE FROM affinities WHERE session IN ({expired})", (now_ms,)).rowcount)
    return total
