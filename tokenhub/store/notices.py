"""The outbox: notices that wait to be sent, one row for each way of telling one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tokenhub.store.database import Database, clean_text

Channel = Literal["email", "webhook"]

_COLUMNS: Final = "id, kind, ref, channel, target, account_id, body, tries, created_at"
_REASON_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice that is not sent yet. ``body`` is JSON, as it was told."""

    id: int
    kind: str
    ref: str
    channel: Channel
    target: str
    account_id: int | None
    body: str
    tries: int
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class FallenAccount:
    """An account whose balance is below its threshold, which nobody has been told yet. Nano-USD."""

    id: int
    name: str
    posted_nano: int
    threshold_nano: int


@dataclass(frozen=True, slots=True)
class Troubles:
    """Notices that do not get out: given up, and tried at least once but not given up. ``reason`` is the newest."""

    failed: int
    waiting: int
    reason: str


def insert(
    database: Database,
    kind: str,
    ref: str,
    channel: Channel,
    target: str,
    account_id: int | None,
    body: str,
    now_ms: int,
) -> bool:
    """Queue a notice, due at once, inside the caller's write; False when it was told already."""
    cursor = database.execute(
        "INSERT INTO notices (kind, ref, channel, target, account_id, body, state, tries, reason, next_try_at, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, 'new', 0, '', ?, ?) ON CONFLICT (kind, ref, channel, target) DO NOTHING",
        (kind, ref, channel, target, account_id, body, now_ms, now_ms),
    )
    return bool(cursor.rowcount == 1)


def due(database: Database, now_ms: int, limit: int) -> list[Notice]:
    """Return notices to be sent now, the longest due first."""
    rows = database.rows(
        f"SELECT {_COLUMNS} FROM notices WHERE next_try_at <= ? ORDER BY next_try_at, id LIMIT ?", (now_ms, limit)
    )
    return [Notice(*row) for row in rows]


def latest(database: Database, kinds: Sequence[str]) -> Notice | None:
    """Return the newest notice of these kinds, whatever became of it."""
    marks = ", ".join("?" * len(kinds))
    row = database.row(f"SELECT {_COLUMNS} FROM notices WHERE kind IN ({marks}) ORDER BY id DESC LIMIT 1", tuple(kinds))
    return None if row is None else Notice(*row)


def sent(database: Database, notice_id: int) -> None:
    """Note that a notice was taken."""
    with database.write():
        database.execute(
            "UPDATE notices SET state = 'sent', tries = tries + 1, reason = '', next_try_at = NULL WHERE id = ?",
            (notice_id,),
        )


def postpone(database: Database, notice_ids: Sequence[int], reason: str, next_try_at_ms: int) -> None:
    """Note that notices could not be sent, and when to try again."""
    with database.write():
        database.executemany(
            "UPDATE notices SET tries = tries + 1, reason = ?, next_try_at = ? WHERE id = ?",
            [(clean_text(reason, _REASON_LENGTH), next_try_at_ms, one) for one in notice_ids],
        )


def give_up(database: Database, notice_ids: Sequence[int], reason: str) -> None:
    """Note that notices will not be tried again."""
    with database.write():
        database.executemany(
            "UPDATE notices SET state = 'failed', tries = tries + 1, reason = ?, next_try_at = NULL WHERE id = ?",
            [(clean_text(reason, _REASON_LENGTH), one) for one in notice_ids],
        )


def troubles(database: Database, since_ms: int) -> Troubles:
    """Count the notices since a moment that did not get out."""
    row = database.row(
        "SELECT COALESCE(SUM(CASE WHEN state = 'failed' THEN 1 ELSE 0 END), 0), "
        "COALESCE(SUM(CASE WHEN state = 'new' THEN 1 ELSE 0 END), 0) "
        "FROM notices WHERE state <> 'sent' AND tries > 0 AND created_at >= ?",
        (since_ms,),
    )
    newest = database.row(
        "SELECT reason FROM notices WHERE state <> 'sent' AND tries > 0 AND created_at >= ? ORDER BY id DESC LIMIT 1",
        (since_ms,),
    )
    assert row is not None
    return Troubles(row[0], row[1], newest[0] if newest else "")


def addressee(database: Database, account_id: int) -> tuple[str, str | None]:
    """Return an account's name and e-mail address; the account must exist."""
    row = database.row("SELECT name, email FROM accounts WHERE id = ?", (account_id,))
    if row is None:
        raise LookupError(f"account {account_id}")
    return row[0], row[1]


# A balance is low when available + held is below the threshold: what requests under way have set
# aside is not spent yet, and counting it would tell of falls that are none.


def fallen(database: Database, limit: int) -> list[FallenAccount]:
    """Return accounts below their threshold that nobody has been told of."""
    rows = database.rows(
        "SELECT id, name, available + held, low_balance FROM accounts "
        "WHERE low_balance IS NOT NULL AND low_since IS NULL AND available + held < low_balance ORDER BY id LIMIT ?",
        (limit,),
    )
    return [FallenAccount(*row) for row in rows]


def mark_fallen(database: Database, account_id: int, now_ms: int) -> bool:
    """Note, in the caller's write, that an account's fall is told; False when it is not low any more, or was told."""
    cursor = database.execute(
        "UPDATE accounts SET low_since = ? WHERE id = ? AND low_balance IS NOT NULL AND low_since IS NULL "
        "AND available + held < low_balance",
        (now_ms, account_id),
    )
    return bool(cursor.rowcount == 1)


_RISEN: Final = "low_since IS NOT NULL AND (low_balance IS NULL OR available + held >= low_balance)"


def has_risen(database: Database) -> bool:
    """Whether an account that was told of is above its threshold again, or has none any more."""
    return database.row(f"SELECT 1 FROM accounts WHERE {_RISEN} LIMIT 1") is not None


def rearm(database: Database) -> None:
    """Let the next fall of accounts that are above their threshold again be told."""
    if has_risen(database):
        with database.write():
            database.execute(f"UPDATE accounts SET low_since = NULL WHERE {_RISEN}")
