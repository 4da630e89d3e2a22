"""What a key or an account has spent: for the reads that key holders make, and added up anew for a spend limit."""

from dataclasses import dataclass
from typing import Final

from tokenhub.accounts.accounts import ApiKey, SpendPeriod
from tokenhub.billing.periods import period_start_ms
from tokenhub.store import days
from tokenhub.store.database import Database


@dataclass(frozen=True, slots=True)
class KeySpend:
    """Charges of one key, in nano-USD: ever, and since the start of the UTC day, week and month."""

    total: int
    day: int
    week: int
    month: int


@dataclass(frozen=True, slots=True)
class Credits:
    """An account's credit in nano-USD: what was spent of it, and what is left."""

    used: int
    frozen: int
    available: int
    """Less debt."""
    held: int
    debt: int
    next_expiry_ms: int | None

    @property
    def total(self) -> int:
        """What was given and did not expire or go back: spent, or left."""
        return self.used + self.available + self.held + self.frozen


@dataclass(frozen=True, slots=True)
class LimitState:
    """A key's spend limit and what it counts in its current period, and its rate windows as stored.

    Of a key that was rotated they are the limit and the counters of the newest one, which both share.
    """

    spend_limit: int | None
    spend_period: SpendPeriod
    period_start: int
    period_spent: int
    period_held: int
    key_window: bytes | None
    account_window: bytes | None


def of_key(database: Database, account_id: int, key_id: str, *, day_ms: int, week_ms: int, month_ms: int) -> KeySpend:
    """Add up a key's charges since each moment, the start of a UTC day: of closed days by their lines, of others by requests."""
    spans = (day_ms, week_ms, month_ms)
    closed_until = days.closed_until(database)
    closed = _since(database, "amount", "day", f"daily_lines WHERE {days.CLOSED}", spans, (account_id, key_id))
    still_open = _since(
        database, "charged", "ended_at", f"requests WHERE ended_at >= {closed_until}", spans, (account_id, key_id)
    )
    return KeySpend(*map(sum, zip(closed, still_open, strict=True)))


def _since(
    database: Database, amount: str, moment: str, rows: str, spans: tuple[int, ...], whose: tuple[int, str]
) -> tuple[int, ...]:
    """Add up a key's amounts: all, and since each moment."""
    sums = "".join(f", COALESCE(SUM(CASE WHEN {moment} >= ? THEN {amount} ELSE 0 END), 0)" for _ in spans)
    sql = f"SELECT COALESCE(SUM({amount}), 0){sums} FROM {rows} AND account_id = ? AND key_id = ?"
    row = database.row(sql, (*spans, *whose))
    assert row is not None
    return row


def credits_of(database: Database, account_id: int) -> Credits:
    """Add up an account's lots."""
    lots = database.row(
        "SELECT COALESCE(SUM(spent), 0), COALESCE(SUM(frozen), 0) FROM lots WHERE account_id = ?",
        (account_id,),
    )
    account = database.row("SELECT available, held, debt, next_expiry FROM accounts WHERE id = ?", (account_id,))
    assert lots is not None
    assert account is not None
    used, frozen = lots
    available, held, debt, next_expiry_ms = account
    return Credits(
        used=used,
        frozen=frozen,
        available=available,
        held=held,
        debt=debt,
        next_expiry_ms=next_expiry_ms,
    )


_NEWEST: Final = """
WITH RECURSIVE rotated(id, next) AS (
    SELECT id, replaced_by FROM keys WHERE id = ?
    UNION ALL
    SELECT k.id, k.replaced_by FROM rotated r JOIN keys k ON k.id = r.next
)
"""


def limit_state(database: Database, key_id: str) -> LimitState:
    """Read the spend limit that binds a key and its counters, and the rate windows of the key and of its account."""
    row = database.row(
        f"{_NEWEST}SELECT n.spend_limit, n.spend_period, n.period_start, n.period_spent, n.period_held, "
        "k.rate_window, a.rate_window FROM keys k JOIN accounts a ON a.id = k.account_id "
        "JOIN keys n ON n.id = (SELECT id FROM rotated WHERE next IS NULL) WHERE k.id = ?",
        (key_id, key_id),
    )
    assert row is not None
    limit, period, *rest = row
    return LimitState(limit, SpendPeriod(period), *rest)


_MINE: Final = """
WITH RECURSIVE mine(id) AS (
    SELECT id FROM keys WHERE id = ?
    UNION ALL
    SELECT k.id FROM mine m JOIN keys k ON k.replaced_by = m.id AND k.account_id = ?
)
"""
"""A key and all that were rotated to it."""


def recount(database: Database, key: ApiKey, now_ms: int) -> None:
    """Count a key's spend limit anew, in the caller's write under the account's lock: its period is another one now.

    What the key, and those it has replaced, were charged since the period's start is spent of it; all that they hold
    belongs to it from now on.
    """
    closed_until = days.closed_until(database)
    start_ms = period_start_ms(key.spend_period, max(now_ms, closed_until))
    mine = (key.id, key.account_id)
    database.execute(
        f"{_MINE}UPDATE holds SET period_start = ? WHERE key_id IN (SELECT id FROM mine)", (*mine, start_ms)
    )
    held = _sum(database, "amount", "holds WHERE period_start = ?", mine, start_ms)
    spent = _sum(database, "amount", f"daily_lines WHERE {days.CLOSED} AND day >= ?", mine, start_ms)
    spent += _sum(database, "charged", "requests WHERE ended_at >= ?", mine, max(start_ms, closed_until))
    sql = "UPDATE keys SET period_start = ?, period_spent = ?, period_held = ? WHERE id = ?"
    database.execute(sql, (start_ms, spent, held, key.id))


def _sum(database: Database, amount: str, rows: str, mine: tuple[str, int], since_ms: int) -> int:
    sql = f"{_MINE}SELECT COALESCE(SUM({amount}), 0) FROM {rows} AND account_id = ? AND key_id IN (SELECT id FROM mine)"
    row = database.row(sql, (*mine, since_ms, mine[1]))
    assert row is not None
    return int(row[0])
