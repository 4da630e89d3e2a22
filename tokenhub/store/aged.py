"""Rows that nobody needs any more: looked-into events of Stripe, told notices, processes that have ended."""

from typing import Final

from tokenhub.store.database import Database

LIMIT: Final = 500
"""Rows deleted in one transaction."""

_AGED: Final = (
    ("stripe_events", "id", "state IN ('done', 'ignored') AND received_at < ?"),
    ("notices", "id", "state IN ('sent', 'failed') AND created_at < ?"),
    (
        "leases",
        "id",
        "state = 'ended' AND renewed_at < ? AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.lease_id = leases.id)",
    ),
)


def forget(database: Database, before_ms: int) -> int:
    """Delete what was done with before a moment, some of each kind; return how many rows that were.

    Events that wait, or need a look, stay.
    """
    return sum(_forget(database, *kind, before_ms) for kind in _AGED)


def _forget(database: Database, table: str, key: str, condition: str, before_ms: int) -> int:
    aged = f"SELECT {key} FROM {table} WHERE {condition} LIMIT {LIMIT}"
    if database.row(aged, (before_ms,)) is None:
        return 0
    with database.write():
        return int(database.execute(f"DELETE FROM {table} WHERE {key} IN ({aged})", (before_ms,)).rowcount)
