"""One store written into another, whichever databases they are: for backups, and to move.

All is read from one moment's snapshot, a few rows at a time, while gateways go on; all is written
in the transaction that makes the other store's tables, so that a copy is whole or is none.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from tokenhub import failpoints
from tokenhub.errors import SetupError
from tokenhub.store import audit_requests, schema
from tokenhub.store.bulk import Bulk
from tokenhub.store.database import Database
from tokenhub.store.streaming import stream

CHUNK: Final = 500
"""Rows written by one statement."""

_OPEN: Final = "(SELECT closed_until FROM installation)"
_UNFINISHED: Final = "state IN ('creating', 'queued', 'in_progress')"

_LEFT_OUT: Final = frozenset({"refusals", "affinities", "named_leases", "circuits", "cooldowns", "health_minutes"})
"""What is told of single requests, and how providers did just then: no part of a backup."""

_EMPTIED: Final[Mapping[str, Collection[str]]] = {
    "requests": (
        "region",
        "credential_id",
        "upstream_id",
        "streamed",
        "cancelled",
        "finish_reason",
        "native_finish_reason",
        "first_content_ms",
        "duration_ms",
        "attempts",
        "decision",
        "session",
    ),
    "jobs": ("attempts", "decision"),
}
"""What a backup's requests are without, and jobs that have ended."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a store goes into its copy."""

    rows: Mapping[str, str]
    """Table to the SQL condition of its rows; a table that is not named goes whole."""
    columns: Mapping[tuple[str, str], str]
    """Table and column to the SQL of what is written for it."""
    left_out: Collection[str] = ()


_WHOLE: Final = _Shape({}, {})


def fill(target: Database, source: Database, *, whole: bool, now_ms: int) -> int:
    """Copy a store's rows into tables that were just made, inside the write that makes them.

    ``whole``: every row as it is, to move. Otherwise what a backup holds: all but what is kept of
    single requests for a few days only. Returns how many requests were left out.
    """
    with source.read():
        shape = _WHOLE if whole else _backup(source, now_ms)
        for model in schema.TABLES:
            if model._meta.table_name not in shape.left_out:
                _copy(target, source, model, shape)
        _set_last_ids(target, dict(_last_ids(source)))
        left_out = _count(source, f"WHERE NOT ({shape.rows['requests']})") if "requests" in shape.rows else 0
    failpoints.hit("copy.filled")
    return left_out


def orphans(database: Database) -> list[str]:
    """Name the rows of an SQLite store that have lost what they refer to, which its own checks never allow."""
    return [f"{row[0]} without its {row[2]}" for row in database.rows("PRAGMA foreign_key_check")]


def damage(database: Database) -> str:
    """Say what is wrong with the pages of an SQLite file; nothing, when they fit together."""
    found = [str(text) for (text,) in database.rows("PRAGMA integrity_check(1)")]
    return "" if found == ["ok"] else found[0]


def _backup(source: Database, now_ms: int) -> _Shape:
    """Return what a backup holds.

    Requests of closed days stand in the days' lines, which is why they are left out; the days say
    that theirs are being deleted, as retention says it. They stay where the lines are not what they
    add up to, and where a video that is being made may still be ended by one.
    """
    wrong = sorted({one.day_ms for one in audit_requests.differences(source, {})})
    differs = f" IN ({', '.join(map(str, wrong))})" if wrong else " IS NULL"
    of_job = f"IN (SELECT id FROM jobs WHERE {_UNFINISHED})"
    kept = f"ended_at >= {_OPEN} OR ended_at - ended_at % 86400000{differs}"
    rows = {
        "requests": f"{kept} OR id {of_job}",
        "request_lots": f"request_id {of_job} OR request_id IN (SELECT id FROM requests WHERE {kept})",
        "jobs": f"{_UNFINISHED} OR ended_at >= {_OPEN} OR content_until > {now_ms}",
    }
    is_left_out = f"day < {_OPEN} AND NOT (day{differs})"
    columns = {
        ("closed_days", "purged_at"): f"CASE WHEN {is_left_out} THEN COALESCE(purged_at, {now_ms}) ELSE purged_at END"
    }
    for model in schema.TABLES:
        table = model._meta.table_name
        for column in _EMPTIED.get(table, ()):
            nothing = _nothing(model._meta.columns[column])
            columns[table, column] = (
                f'CASE WHEN {_UNFINISHED} THEN "{column}" ELSE {nothing} END' if table == "jobs" else nothing
            )
    return _Shape(rows, columns, _LEFT_OUT)


def _nothing(field: Any) -> str:
    """Return the SQL of a column that was never written."""
    if field.null:
        return "NULL"
    return f"'{field.default}'" if isinstance(field.default, str) else str(field.default)


def _copy(target: Database, source: Database, model: Any, shape: _Shape) -> None:
    table, columns = model._meta.table_name, list(model._meta.columns)
    insert = Bulk(target).insert(table, columns)
    shown = ", ".join(shape.columns.get((table, column), f'"{column}"') for column in columns)
    condition = f" WHERE {shape.rows[table]}" if table in shape.rows else ""
    with closing(stream(source, f"SELECT {shown} FROM {table}{condition}")) as rows:
        while part := list(islice(rows, CHUNK)):
            insert(part)


def _count(source: Database, condition: str) -> int:
    row = source.row(f"SELECT COUNT(*) FROM requests {condition}")
    assert row is not None
    return int(row[0])


def _numbered() -> Iterator[str]:
    """Return the tables that number their rows, where a number is never used twice."""
    for model in schema.TABLES:
        key = model._meta.primary_key
        if key and key.field_type == "BIGAUTO":
            yield model._meta.table_name


def _last_ids(source: Database) -> Iterator[tuple[str, int]]:
    """Return the last number that each table gave, also where that row is gone."""
    for table in _numbered():
        if source.kind == "sqlite":
            row = source.row("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
        else:
            row = source.row(_LAST_OF_SEQUENCE, (table,))
            if row is not None and not row[1]:
                raise SetupError(
                    f"this PostgreSQL user may not read the numbers of {table}. Let it: GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO …"
                )
        if row is not None and row[0]:
            yield table, int(row[0])


_LAST_OF_SEQUENCE: Final = """
SELECT pg_sequence_last_value(s.name), has_sequence_privilege(s.name, 'SELECT')
FROM (SELECT CAST(pg_get_serial_sequence(?, 'id') AS regclass) AS name) s
"""


def _set_last_ids(target: Database, last: Mapping[str, int]) -> None:
    for table, number in last.items():
        if target.kind == "sqlite":
            target.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            target.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))
        else:
            target.row("SELECT setval(pg_get_serial_sequence(?, 'id'), ?)", (table, number))
