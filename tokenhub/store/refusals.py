"""Requests that were refused before anything was held: written, and forgotten; ``requests.py`` reads them with the others.

They are in a table of their own: what held nothing is no part of the ledger, of a day's lines or
of a count, and only as many are kept as do no harm (``proxy/refusals.py``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tokenhub.store.bulk import Bulk
from tokenhub.store.database import Database

FORGET_BATCH: Final = 500
"""Rows deleted in one transaction."""


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A row of ``refusals``. Moments are milliseconds since 1970."""

    id: str
    account_id: int
    key_id: str
    started_at: int
    ended_at: int
    capability: str
    model: str
    """The catalogue's id of what was asked for."""
    streamed: bool
    status: int
    error_code: str
    duration_ms: int
    decision: str
    """Compact JSON of the reasons."""
    session: bytes | None
    """An HMAC that names the session."""


COLUMNS: Final[tuple[str, ...]] = tuple(RefusedRequest.__slots__)


def add(database: Database, refusals: Iterable[RefusedRequest]) -> None:
    """Write refusals, inside the caller's write."""
    rows = [tuple(getattr(one, name) for name in COLUMNS) for one in refusals]
    Bulk(database).insert("refusals", COLUMNS)(rows)


def forget(database: Database, before_ms: int) -> int:
    """Delete a part of those that ended before a moment, and return how many."""
    aged = f"SELECT id FROM refusals WHERE ended_at < ? ORDER BY ended_at LIMIT {FORGET_BATCH}"
    if database.row(aged, (before_ms,)) is None:
        return 0
    with database.write():
        return int(database.execute(f"DELETE FROM refusals WHERE id IN ({aged})", (before_ms,)).rowcount)
