"""What a key or an account has spent, for the reads that key holders make."""

from dataclasses import dataclass

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
    """An account's credit in nano-USD. granted = available + held + used + the expired and returned rest."""

    granted: int
    used: int
    available: int
    held: int
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
    """Add up a key's charges since each moment."""
    row = database.row(
        "SELECT COALESCE(SUM(charged), 0), COALESCE(SUM(CASE WHEN ended_at >= ? THEN charged ELSE 0 END), 0), "
        "COALESCE(SUM(CASE WHEN ended_at >= ? THEN charged ELSE 0 END), 0), "
        "COALESCE(SUM(CASE WHEN ended_at >= ? THEN charged ELSE 0 END), 0) "
        "FROM requests WHERE account_id = ? AND key_id = ?",
        (day_ms, week_ms, month_ms, account_id, key_id),
    )
    assert row is not None
    return KeySpend(*row)


def credits_of(database: Database, account_id: int) -> Credits:
    """Add up an account's lots."""
    lots = database.row(
        "SELECT COALESCE(SUM(granted), 0), COALESCE(SUM(spent), 0) FROM lots WHERE account_id = ?", (account_id,)
    )
    account = database.row("SELECT available, held, next_expiry FROM accounts WHERE id = ?", (account_id,))
    assert lots is not None
    assert account is not None
    return Credits(lots[0], lots[1], account[0], account[1], account[2])


def limit_state(database: Database, key_id: str) -> LimitState:
    """Read a key's period counters, and the rate windows of the key and of its account."""
    row = database.row(
        "SELECT k.period_start, k.period_spent, k.period_held, k.rate_window, a.rate_window "
        "FROM keys k JOIN accounts a ON a.id = k.account_id WHERE k.id = ?",
        (key_id,),
    )
    assert row is not None
    return LimitState(*row)
