"""Days in the database: closing one, and deleting the requests of closed ones.

Requests are added up in a read, the lines (``billing/daily.py``) are written as drafts, a few
at a time, and one short transaction makes them count by moving ``installation.closed_until``.
From then on no request ends in that day: the hot path dates what it writes at ``closed_until``
or later. Requests are looked up by account and moment, which has an index.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

from tokenhub import failpoints
from tokenhub.billing import daily
from tokenhub.billing.daily import DailyLine, DayBook, Group
from tokenhub.billing.periods import DAY_MS
from tokenhub.store.bulk import Bulk
from tokenhub.store.database import Database

LINE: Final = (
    "day",
    "account_id",
    "key_id",
    "model",
    "provider",
    "kind",
    "lot_id",
    "amount",
    "requests",
    "shortfall",
)
_LINE: Final = ", ".join(LINE)

CLOSED: Final = "day < (SELECT closed_until FROM installation)"
"""Which days and lines count; those of a day that is being closed are drafts."""

CHUNK: Final = 1_000
"""Lines written in one transaction: some 10 ms."""

PAUSE_S: Final = 0.02
"""Between two of them other writers get their turn."""

_ACCOUNTS: Final = """
WITH RECURSIVE found(id) AS (
    SELECT MIN(account_id) FROM requests
    UNION ALL
    SELECT (SELECT MIN(account_id) FROM requests WHERE account_id > found.id) FROM found WHERE found.id IS NOT NULL
)
"""
"""Whoever has requests, one step through the index for each: accounts, and 0 for ends that belong to nobody."""

_IN_DAY: Final = "account_id = ? AND ended_at >= ? AND ended_at < ?"

_BY_ONE_LOT: Final = f"""
SELECT key_id, model, COALESCE(provider, ''), CASE WHEN charged > 0 THEN lot_id ELSE {daily.NO_LOT} END,
       SUM(model_fee), SUM(service_fee), COUNT(*), SUM(shortfall)
FROM requests WHERE {_IN_DAY} AND (charged = 0 OR lot_id IS NOT NULL) GROUP BY 1, 2, 3, 4
"""

_BY_SEVERAL_LOTS: Final = """
SELECT r.id, r.key_id, r.model, COALESCE(r.provider, ''), r.model_fee, r.service_fee, r.shortfall, p.lot_id, p.amount
FROM requests r LEFT JOIN request_lots p ON p.request_id = r.id
WHERE r.account_id = ? AND r.ended_at >= ? AND r.ended_at < ? AND r.charged > 0 AND r.lot_id IS NULL
ORDER BY r.id, p.id
"""

_COUNT: Final = f"""{_ACCOUNTS}
SELECT COALESCE(SUM((SELECT COUNT(*) FROM requests r WHERE r.account_id = found.id AND r.ended_at >= ? AND r.ended_at < ?)), 0)
FROM found WHERE found.id IS NOT NULL
"""

_FIRST_OPEN: Final = f"""{_ACCOUNTS}
SELECT MIN((SELECT MIN(r.ended_at) FROM requests r WHERE r.account_id = found.id AND r.ended_at >= ?)) FROM found
"""


class DayMoved(Exception):
    """Another request ended in the day, or another process closed it, while it was added up: add it up again."""


def day_of(moment_ms: int) -> int:
    """Return the first millisecond of a moment's UTC day."""
    return moment_ms - moment_ms % DAY_MS


def closed_until(database: Database) -> int:
    """Return the first millisecond of the first day that is not closed; 0 when none is."""
    row = database.row("SELECT closed_until FROM installation")
    return 0 if row is None else int(row[0])


def first_open(database: Database) -> int | None:
    """Return the first day with requests that is not closed; days without any need no closing."""
    row = database.row(_FIRST_OPEN, (closed_until(database),))
    assert row is not None
    return None if row[0] is None else day_of(row[0])


def open_days(database: Database, until_ms: int) -> Iterator[int]:
    """Return the days with requests that are not closed, up to a moment, inside the caller's read."""
    since_ms = closed_until(database)
    while True:
        row = database.row(_FIRST_OPEN, (since_ms,))
        assert row is not None
        if row[0] is None or row[0] >= until_ms:
            return
        yield day_of(row[0])
        since_ms = day_of(row[0]) + DAY_MS


def add_up(database: Database, day_ms: int, account_id: int | None = None) -> Iterator[DailyLine]:
    """Return the lines of a day, made from its requests, sorted; account by account, so that memory stays flat."""
    for account in [account_id] if account_id is not None else _accounts(database):
        yield from _of_account(database, day_ms, (account, day_ms, day_ms + DAY_MS))


def _accounts(database: Database) -> list[int]:
    return [row[0] for row in database.rows(f"{_ACCOUNTS} SELECT id FROM found WHERE id IS NOT NULL ORDER BY id")]


def _of_account(database: Database, day_ms: int, span: tuple[int, int, int]) -> list[DailyLine]:
    book = DayBook(day_ms)
    account_id = span[0]
    for key_id, model, provider, lot_id, model_fee, service_fee, requests, shortfall in database.rows(
        _BY_ONE_LOT, span
    ):
        group, whole = Group(account_id, key_id, model, provider), (lot_id, model_fee + service_fee)
        book.add(group, model_fee, service_fee, [whole], requests=requests, shortfall=shortfall)
    for group, fees, shortfall, paid in _by_request(account_id, database.rows(_BY_SEVERAL_LOTS, span)):
        book.add(group, *fees, paid, shortfall=shortfall)
    return book.lines()


def _by_request(
    account_id: int, rows: list[tuple[Any, ...]]
) -> Iterator[tuple[Group, tuple[int, int], int, tuple[tuple[int, int], ...]]]:
    """Put the parts of each request together; its rows follow each other."""
    position = 0
    while position < len(rows):
        request_id, key_id, model, provider, model_fee, service_fee, shortfall, *_ = rows[position]
        paid = []
        while position < len(rows) and rows[position][0] == request_id:
            lot_id, amount = rows[position][-2:]
            if lot_id is not None:
                paid.append((lot_id, amount))
            position += 1
        yield Group(account_id, key_id, model, provider), (model_fee, service_fee), shortfall, tuple(paid)


def count(database: Database, day_ms: int) -> int:
    """Return how many requests ended in a day; the index alone is read."""
    row = database.row(_COUNT, (day_ms, day_ms + DAY_MS))
    assert row is not None
    return int(row[0])


def close(database: Database, day_ms: int, lines: list[DailyLine], now_ms: int) -> None:
    """Write a day's lines, a few in each transaction, then close it, with all days before it.

    Until the last transaction the lines are drafts: a crash leaves some, which the next to close
    the day throws away. Raises DayMoved when a request has ended in it since it was added up, or
    it is closed already.
    """
    _throw_away_drafts(database, day_ms, now_ms)
    insert = Bulk(database).insert("daily_lines", LINE)
    for start in range(0, len(lines), CHUNK):
        with database.write():
            _check_open(database, day_ms)
            insert([_values(line) for line in lines[start : start + CHUNK]])
        failpoints.hit("day.drafted")
        time.sleep(PAUSE_S)
    with database.write():
        _check_open(database, day_ms)
        kept = database.row("SELECT COUNT(*) FROM daily_lines WHERE day = ?", (day_ms,))
        requests = daily.requests_in(lines)
        if kept != (len(lines),) or count(database, day_ms) != requests:
            raise DayMoved
        database.execute(
            "UPDATE closed_days SET requests = ?, charged = ?, closed_at = ? WHERE day = ?",
            (requests, daily.charged_in(lines), now_ms, day_ms),
        )
        database.execute("UPDATE installation SET closed_until = ?", (day_ms + DAY_MS,))


def _throw_away_drafts(database: Database, day_ms: int, now_ms: int) -> None:
    """Begin to close a day: with its row, and without lines of an earlier attempt."""
    sql = f"DELETE FROM daily_lines WHERE id IN (SELECT id FROM daily_lines WHERE day = ? LIMIT {CHUNK})"
    left = CHUNK
    while left == CHUNK:
        with database.write():
            _check_open(database, day_ms)
            database.execute(
                "INSERT INTO closed_days (day, requests, charged, closed_at) VALUES (?, 0, 0, ?) ON CONFLICT (day) DO NOTHING",
                (day_ms, now_ms),
            )
            left = database.execute(sql, (day_ms,)).rowcount


def _check_open(database: Database, day_ms: int) -> None:
    """Lock the installation's row, so that one process closes at a time, and see that the day is not closed."""
    row = database.row(f"SELECT closed_until FROM installation{database.lock_clause}")
    if row is None or row[0] > day_ms:
        raise DayMoved


def _values(line: DailyLine) -> tuple[Any, ...]:
    return tuple(getattr(line, name) for name in DailyLine.__slots__)


def closed_days(database: Database) -> list[int]:
    """Return the closed days that had requests, in order."""
    sql = f"SELECT day FROM closed_days WHERE {CLOSED} ORDER BY day"
    return [row[0] for row in database.rows(sql)]


def lines_of(database: Database, day_ms: int, account_id: int | None = None) -> list[DailyLine]:
    """Return the lines of a closed day as they were written."""
    narrow, params = ("", ()) if account_id is None else (" AND account_id = ?", (account_id,))
    sql = f"SELECT {_LINE} FROM daily_lines WHERE day = ? AND {CLOSED}{narrow} ORDER BY id"
    return [DailyLine(*row) for row in database.rows(sql, (day_ms, *params))]


# Deleting


def purge_due(database: Database, before_ms: int) -> list[tuple[int, int | None]]:
    """Return the closed days that began before a moment and are not wiped yet, each with the start of its purge."""
    sql = f"SELECT day, purged_at FROM closed_days WHERE wiped_at IS NULL AND day < ? AND {CLOSED} ORDER BY day"
    return [(day, purged_at) for day, purged_at in database.rows(sql, (before_ms,))]


def agrees(database: Database, day_ms: int) -> bool:
    """Tell whether a closed day's lines are still what its requests add up to."""
    with database.read():
        return lines_of(database, day_ms) == list(add_up(database, day_ms))


def begin_purge(database: Database, day_ms: int, now_ms: int) -> None:
    """Note that a day's requests are being deleted: from now on they are no measure of its lines."""
    with database.write():
        database.execute(
            f"UPDATE closed_days SET purged_at = ? WHERE day = ? AND purged_at IS NULL AND {CLOSED}",
            (now_ms, day_ms),
        )


def doomed(database: Database, day_ms: int, until_ms: int, limit: int) -> list[str]:
    """Return the ids of up to ``limit`` requests that ended in a day and before a moment."""
    end_ms = min(day_ms + DAY_MS, until_ms)
    found: list[str] = []
    with database.read():
        for account in _accounts(database):
            if len(found) == limit:
                break
            sql = f"SELECT id FROM requests WHERE {_IN_DAY} ORDER BY ended_at LIMIT ?"
            found += [row[0] for row in database.rows(sql, (account, day_ms, end_ms, limit - len(found)))]
    return found


def delete(database: Database, request_ids: list[str]) -> int:
    """Delete requests and what several lots paid for them, in one transaction; return how many there were."""
    bulk = Bulk(database)
    with database.write():
        bulk.delete("request_lots", "request_id")(request_ids)
        return bulk.delete("requests", "id")(request_ids)


def wiped(database: Database, day_ms: int, now_ms: int) -> None:
    """Note that nothing of a day's requests is left."""
    with database.write():
        database.execute("UPDATE closed_days SET wiped_at = ? WHERE day = ?", (now_ms, day_ms))


def kept_since(database: Database) -> int:
    """Return the moment since when the metadata of requests is whole; 0 when nothing was deleted yet."""
    row = database.row("SELECT MAX(day) FROM closed_days WHERE purged_at IS NOT NULL")
    return 0 if row is None or row[0] is None else int(row[0]) + DAY_MS
