"""Disputes as they are kept, by Stripe's ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenhub.billing.disputes import DisputeState
from tokenhub.billing.journal import EntryKind
from tokenhub.store.database import Database

_COLUMNS: Final = "id, topup_id, state, status, amount, frozen, taken, next_poll_at, created_at, updated_at"


@dataclass(frozen=True, slots=True)
class Dispute:
    """A payment that its payer contests: minor units of the top-up's currency, nano-USD of its credit."""

    id: str
    topup_id: str
    state: DisputeState
    status: str
    """Stripe's own word, as last read."""
    amount_minor: int
    frozen_nano: int
    """Frozen for it now."""
    taken_nano: int
    """Taken for it, while it is lost."""
    next_poll_at_ms: int | None
    created_at_ms: int
    updated_at_ms: int


def save(database: Database, dispute: Dispute) -> None:
    """Write a dispute as it is now, new or not, in the caller's write."""
    names = [name.strip() for name in _COLUMNS.split(",")]
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name not in ("id", "topup_id", "created_at"))
    database.execute(
        f"INSERT INTO disputes ({_COLUMNS}) VALUES ({', '.join('?' * len(names))}) ON CONFLICT (id) DO UPDATE SET {changed}",
        [getattr(dispute, name) for name in Dispute.__slots__],
    )


def postpone(database: Database, dispute_id: str, next_poll_at_ms: int) -> None:
    """Look at a dispute again later."""
    with database.write():
        sql = "UPDATE disputes SET next_poll_at = ? WHERE id = ? AND next_poll_at IS NOT NULL"
        database.execute(sql, (next_poll_at_ms, dispute_id))


def find(database: Database, dispute_id: str) -> Dispute | None:
    """Return a dispute; None when it was never seen."""
    row = database.row(f"SELECT {_COLUMNS} FROM disputes WHERE id = ?", (dispute_id,))
    return None if row is None else _dispute(row)


def of_topup(database: Database, topup_id: str) -> list[Dispute]:
    """Return a top-up's disputes, the oldest first."""
    rows = database.rows(f"SELECT {_COLUMNS} FROM disputes WHERE topup_id = ? ORDER BY created_at, id", (topup_id,))
    return [_dispute(row) for row in rows]


def listing(database: Database, account_id: int | None = None, *, limit: int = 100) -> list[Dispute]:
    """Return disputes of one account or of all, the newest first."""
    where, params = "", [limit]
    if account_id is not None:
        where, params = "WHERE topup_id IN (SELECT id FROM topups WHERE account_id = ?)", [account_id, limit]
    rows = database.rows(f"SELECT {_COLUMNS} FROM disputes {where} ORDER BY created_at DESC, id DESC LIMIT ?", params)
    return [_dispute(row) for row in rows]


def is_open(database: Database, account_id: int) -> bool:
    """Whether one of an account's payments is disputed."""
    sql = "SELECT 1 FROM disputes d JOIN topups t ON t.id = d.topup_id WHERE t.account_id = ? AND d.state = ? LIMIT 1"
    return database.row(sql, (account_id, DisputeState.FROZEN.value)) is not None


def due(database: Database, now_ms: int, limit: int) -> list[str]:
    """Return the ids of disputes to be looked at now, the longest due first."""
    sql = "SELECT id FROM disputes WHERE next_poll_at <= ? ORDER BY next_poll_at, id LIMIT ?"
    return [row[0] for row in database.rows(sql, (now_ms, limit))]


def times_returned(database: Database, dispute_id: str) -> int:
    """Return how many entries have given back what was taken for it: names what it takes, or frees, the next time."""
    head = f"{dispute_id}/"
    sql = "SELECT COUNT(*) FROM entries WHERE kind = ? AND (ref = ? OR substr(ref, 1, CAST(? AS INTEGER)) = ?)"
    row = database.row(sql, (EntryKind.DISPUTE_RETURN.value, dispute_id, len(head), head))
    assert row is not None
    return int(row[0])


def _dispute(row: Sequence[Any]) -> Dispute:
    dispute_id, topup_id, state, *rest = row
    return Dispute(dispute_id, topup_id, DisputeState(state), *rest)
