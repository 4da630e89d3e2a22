"""What statements and exports read: the journal beside the charges, each up to any moment.

All inside the caller's read, so that one snapshot answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tokenhub.billing.daily import DailyLine
from tokenhub.billing.journal import EntryKind
from tokenhub.store import days
from tokenhub.store.database import Database
from tokenhub.store.ledger import EntryLine

PAGE: Final = 1_000
"""Journal entries read at a time."""


@dataclass(frozen=True, slots=True)
class BookEntry(EntryLine):
    """A journal entry, and what was paid for it if it is a top-up (minor units of its currency)."""

    currency: str | None
    paid_total: int | None


@dataclass(frozen=True, slots=True)
class Credit:
    """What an account has and owes now, in nano-USD."""

    account_id: int
    name: str
    kept: int
    """Available, held and frozen in its lots."""
    debt: int


_ENTRIES: Final = (
    "SELECT e.id, e.account_id, e.lot_id, e.kind, e.ref, e.amount, e.created_at, e.note, t.currency, t.paid_total "
    f"FROM entries e LEFT JOIN topups t ON t.lot_id = e.lot_id AND e.kind = '{EntryKind.TOPUP.value}' WHERE e.id > ?"
)


def entries(
    database: Database, account_id: int | None = None, *, since_ms: int = 0, until_ms: int | None = None
) -> Iterator[BookEntry]:
    """Return journal entries in the order in which they were written, a page at a time."""
    sql, params = f"{_ENTRIES} AND e.created_at >= ?", [since_ms]
    for condition, value in (("e.created_at < ?", until_ms), ("e.account_id = ?", account_id)):
        if value is not None:
            sql, params = f"{sql} AND {condition}", [*params, value]
    last = 0
    while page := database.rows(f"{sql} ORDER BY e.id LIMIT {PAGE}", (last, *params)):
        yield from (BookEntry(*row) for row in page)
        last = page[-1][0]


def lines(
    database: Database, account_id: int | None = None, *, since_ms: int = 0, until_ms: int | None = None
) -> Iterator[DailyLine]:
    """Return the lines of all days that began in a time, a day after the other: closed ones as written, others as they are now."""
    end_ms = 2**62 if until_ms is None else until_ms
    for day_ms in days.closed_days(database):
        if since_ms <= day_ms < end_ms:
            yield from days.lines_of(database, day_ms, account_id)
    for day_ms in days.open_days(database, end_ms):
        if since_ms <= day_ms:
            yield from days.add_up(database, day_ms, account_id)


def entered(database: Database, account_id: int, before_ms: int) -> int:
    """Add up an account's journal before a moment."""
    return _sum(
        database, "SELECT SUM(amount) FROM entries WHERE account_id = ? AND created_at < ?", account_id, before_ms
    )


def owed(database: Database, account_id: int, before_ms: int) -> int:
    """Return what an account owed just before a moment."""
    sql = "SELECT SUM(-amount) FROM entries WHERE account_id = ? AND created_at < ? AND lot_id IS NULL"
    return _sum(database, sql, account_id, before_ms)


def charged(database: Database, account_id: int, before_ms: int) -> int:
    """Add up what an account was charged on the days before the one that begins at a moment."""
    closed = f"SELECT SUM(amount) FROM daily_lines WHERE account_id = ? AND day < ? AND {days.CLOSED}"
    still_open = (
        "SELECT SUM(charged) FROM requests WHERE account_id = ? AND ended_at < ? "
        "AND ended_at >= (SELECT closed_until FROM installation)"
    )
    return _sum(database, closed, account_id, before_ms) + _sum(database, still_open, account_id, before_ms)


def _sum(database: Database, sql: str, *params: Any) -> int:
    row = database.row(sql, params)
    return 0 if row is None or row[0] is None else int(row[0])


def credits(database: Database, account_id: int | None = None) -> list[Credit]:
    """Return what every account, or one, has and owes now."""
    narrow, params = ("", ()) if account_id is None else ("WHERE a.id = ?", (account_id,))
    rows = database.rows(
        "SELECT a.id, a.name, COALESCE(l.kept, 0), a.debt FROM accounts a LEFT JOIN "
        "(SELECT account_id, SUM(available + held + frozen) AS kept FROM lots GROUP BY account_id) l ON l.account_id = a.id "
        f"{narrow} ORDER BY a.id",
        params,
    )
    return [Credit(*row) for row in rows]
