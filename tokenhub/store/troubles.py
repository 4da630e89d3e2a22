"""What of payments waits for a person to look at it."""

from dataclasses import dataclass
from typing import Any, Final

from tokenhub.store.database import Database

LIMIT: Final = 20
"""Rows of each kind; a check-up that says more is not read."""
STUCK_TRIES: Final = 5
"""Tries after which an event that cannot be worked is worth a look."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One row that waits: a top-up, a refund, a dispute, or an account's recharge. ``words``: its state, or why."""

    subject: str
    words: str


@dataclass(frozen=True, slots=True)
class Debts:
    """Accounts that owe, and what in all, in nano-USD."""

    accounts: int
    total_nano: int


def topups(database: Database, reviewed_since_ms: int, stuck_before_ms: int) -> list[Trouble]:
    """Return top-ups in review since a moment, and those whose link was asked for before another and never came."""
    return _found(
        database,
        "SELECT id, CASE WHEN reason = '' THEN state ELSE reason END FROM topups "
        "WHERE (state = 'review' AND updated_at >= ?) OR (state = 'new' AND created_at < ?) ORDER BY created_at DESC, id LIMIT ?",
        (reviewed_since_ms, stuck_before_ms, LIMIT),
    )


def refunds(database: Database, asked_before_ms: int) -> list[Trouble]:
    """Return refunds that were asked for before a moment and that Stripe has not answered."""
    return _found(
        database,
        "SELECT id, reason FROM refunds WHERE state = 'requested' AND created_at < ? ORDER BY created_at, id LIMIT ?",
        (asked_before_ms, LIMIT),
    )


def disputes(database: Database) -> list[Trouble]:
    """Return disputes that are open."""
    return _found(
        database,
        "SELECT id, status FROM disputes WHERE state IN ('flagged', 'frozen') ORDER BY created_at, id LIMIT ?",
        (LIMIT,),
    )


def suspended_recharges(database: Database) -> list[Trouble]:
    """Return the names of accounts whose automatic recharge is suspended."""
    return _found(
        database,
        "SELECT a.name, r.reason FROM recharges r JOIN accounts a ON a.id = r.account_id "
        "WHERE r.state = 'suspended' ORDER BY a.id LIMIT ?",
        (LIMIT,),
    )


def events(database: Database, since_ms: int) -> list[Trouble]:
    """Return events since a moment that were put aside, or that could not be worked again and again."""
    return _found(
        database,
        "SELECT id, type || CASE WHEN reason = '' THEN '' ELSE ': ' || reason END FROM stripe_events "
        "WHERE received_at >= ? AND (state = 'review' OR (state = 'new' AND tries >= ?)) ORDER BY received_at DESC, id LIMIT ?",
        (since_ms, STUCK_TRIES, LIMIT),
    )


def debts(database: Database) -> Debts:
    """Add up what accounts owe."""
    row = database.row("SELECT COUNT(*), COALESCE(SUM(debt), 0) FROM accounts WHERE debt > 0")
    assert row is not None
    return Debts(row[0], int(row[1]))


def _found(database: Database, sql: str, params: tuple[Any, ...]) -> list[Trouble]:
    return [Trouble(*row) for row in database.rows(sql, params)]
