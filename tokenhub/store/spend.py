"""What a key or an account has spent, for the reads that key holders make."""

from dataclasses import dataclass

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
    """An account's credit in nano-USD. granted = available + held + frozen + used + the expired, returned and repaid rest."""

    granted: int
    used: int
    frozen: int
    available: int
    """Less debt."""
    held: int
    debt: int
    next_expiry_ms: int | None


@dataclass(frozen=True, slots=True)
class LimitState:
    """What a key's spend limit counts in its current period, and its rate windows as stored."""

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
        "SELECT COALESCE(SUM(granted), 0), COALESCE(SUM(spent), 0), COALESCE(SUM(frozen), 0) FROM lots WHERE account_id = ?",
        (account_id,),
    )
    account = database.row("SELECT available, held, debt, next_expiry FROM accounts WHERE id = ?", (account_id,))
    assert lots is not None
    assert account is not None
    granted, used, frozen = lots
    available, held, debt, next_expiry_ms = account
    return Credits(
        granted=granted,
        used=used,
        frozen=frozen,
        available=available,
        held=held,
        debt=debt,
        next_expiry_ms=next_expiry_ms,
    )


def limit_state(database: Database, key_id: str) -> LimitState:
    """Read a key's period counters, and the rate windows of the key and of its account."""
    row = database.row(
        "SELECT k.period_start, k.period_spent, k.period_held, k.rate_window, a.rate_window "
        "FROM keys k JOIN accounts a ON a.id = k.account_id WHERE k.id = ?",
        (key_id,),
    )
    assert row is not None
    return LimitState(*row)
