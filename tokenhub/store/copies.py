"""One store written into another, whichever databases they are: for backups, and to move.

All is read from one moment's snapshot, a few rows at a time, while gateways go on; all is written
in the transaction that makes the other store's tables, so that a copy is whole or is none.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from tokenhub import failpoints
from tokenhub.store import schema
from tokenhub.store.bulk import Bulk
from tokenhub.store.database import Database
from tokenhub.store.streaming import stream

CHUNK: Final = 500
"""Rows written by one statement."""

_OPEN: Final = "ended_at >= (SELECT closed_until FROM installation)"

_LEFT_OUT: Final = frozenset({"refusals", "affinities", "named_leases", "circuits", "cooldowns", "health_minutes"})
"""What is told of single requests, and how providers did just then: no part of a backup."""

_NARROWED: Final = {
    "requests": _OPEN,
    "request_lots": f"request_id IN (SELECT id FROM requests WHERE {_OPEN})",
}
"""Requests of closed days are left out of a backup: their fees stand in the days' lines."""

_EMPTIED: Final = frozenset(
    {
        ("requests", column)
        for column in (
            "upstream_id",
            "error_code",
            "finish_reason",
            "native_finish_reason",
            "first_content_ms",
            "duration_ms",
            "attempts",
            "decision",
            "session",
        )
    }
)
"""Of requests of days that are still open a backup has what the books need, and not these."""


def fill(target: Database, source: Database, *, whole: bool, now_ms: int) -> None:
    """Copy a store's rows into tables that were just made, inside the write that makes them.

    ``whole``: every row as it is, to move. Otherwise what a backup holds: all but what is kept of
    single requests for a few days only, and days whose requests are left out say so.
    """
    with source.read():
        for model in schema.TABLES:
            if whole or model._meta.table_name not in _LEFT_OUT:
                _copy(target, source, model, whole=whole, now_ms=now_ms)
        _set_last_ids(target, dict(_last_ids(source)))
    failpoints.hit("copy.filled")


def left_out(source: Database) -> int:
    """Return how many requests a backup leaves out."""
    row = source.row(f"SELECT COUNT(*) FROM requests WHERE NOT ({_OPEN})")
    assert row is not None
    return int(row[0])


def faults(database: Database) -> list[str]:
    """Say what is wrong with an SQLite file: pages that do not fit together, rows without what they refer to."""
    found = [str(text) for (text,) in database.rows("PRAGMA integrity_check") if text != "ok"]
    return found + [f"a row of {row[0]} has lost its {row[2]}" for row in database.rows("PRAGMA foreign_key_check")]


def _copy(target: Database, source: Database, model: Any, *, whole: bool, now_ms: int) -> None:
    table, columns = model._meta.table_name, list(model._meta.columns)
    insert = Bulk(target).insert(table, columns)
    shown = ", ".join(
        f'"{column}"' if whole else _shown(table, model._meta.columns[column], now_ms) for column in columns
    )
    narrowed = "" if whole or table not in _NARROWED else f" WHERE {_NARROWED[table]}"
    rows = stream(source, f"SELECT {shown} FROM {table}{narrowed}")
    while part := list(islice(rows, CHUNK)):
        insert(part)


def _shown(table: str, field: Any, now_ms: int) -> str:
    """Return the SQL of a column as a backup has it."""
    column = field.column_name
    if (table, column) in _EMPTIED:
        return "NULL" if field.null else f"'{field.default}'" if isinstance(field.default, str) else str(field.default)
    if table == "closed_days" and column in ("purged_at", "wiped_at"):
        return f"CASE WHEN day < (SELECT closed_until FROM installation) THEN COALESCE({column}, {now_ms}) ELSE {column} END"
    return f'"{column}"'


def _counted() -> list[str]:
    """Return the tables that number their rows, where a number is never used twice."""
    return [model._meta.table_name for model in schema.TABLES if _numbers(model)]


def _numbers(model: Any) -> bool:
    key = model._meta.primary_key
    return bool(key) and key.field_type == "BIGAUTO"


def _last_ids(source: Database) -> Iterator[tuple[str, int]]:
    """Return the last number that each table gave, also where that row is gone."""
    for table in _counted():
        if source.kind == "sqlite":
            row = source.row("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
        else:
            row = source.row(
                "SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence(?, 'id') AS regclass))", (table,)
            )
        if row is not None and row[0]:
            yield table, int(row[0])


def _set_last_ids(target: Database, last: dict[str, int]) -> None:
    for table, number in last.items():
        if target.kind == "sqlite":
            target.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            target.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))
        else:
            target.row("SELECT setval(pg_get_serial_sequence(?, 'id'), ?)", (table, number))
