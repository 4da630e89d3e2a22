"""One statement for many rows, in each database's own way.

SQLite runs a prepared statement per row; PostgreSQL gets a whole column as one array
(``unnest``), so that a batch costs one round trip however many rows it has. Statements are
made once from fixed names; their texts never depend on data, but for the length of SQLite's IN
lists, which is padded to a power of two so that there are few of them to prepare.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from tokenhub.store import schema
from tokenhub.store.database import Database

Rows = Collection[Sequence[Any]]
Keys = Collection[Any]
MAX_KEYS = 512
"""Longest IN list; more keys are asked for in parts."""

_TYPES = {"BIGINT": "bigint", "BIGAUTO": "bigint", "TEXT": "text", "BLOB": "bytea"}


class Bulk:
    """Makes the statements for one database. Each is built once and called inside a write, or a read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._postgres = database.kind == "postgres"

    def insert(self, table: str, columns: Sequence[str]) -> Callable[[Rows], int]:
        """Return a function that inserts rows, each a tuple in the order of the columns."""
        names = ", ".join(map(_quoted, columns))
        if self._postgres:
            sql = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({self._arrays(table, columns)})"
            return self._by_columns(sql)
        return self._by_rows(f"INSERT INTO {table} ({names}) VALUES ({_marks(len(columns))})")

    def update(self, table: str, key: str, columns: Sequence[str]) -> Callable[[Rows], int]:
        """Return a function that sets the columns of the rows with these keys; a row is ``(key, *values)``.

        A key stands in at most one row. The rows were locked in order by :meth:`select`.
        """
        if not self._postgres:
            assignments = ", ".join(f"{_quoted(column)} = ?{place}" for place, column in enumerate(columns, 2))
            return self._by_rows(f"UPDATE {table} SET {assignments} WHERE {_quoted(key)} = ?1")
        assignments = ", ".join(f"{_quoted(column)} = new.{_quoted(column)}" for column in columns)
        names = ", ".join(map(_quoted, (key, *columns)))
        arrays = self._arrays(table, (key, *columns))
        return self._by_columns(
            f"UPDATE {table} AS old SET {assignments} FROM unnest({arrays}) AS new ({names}) WHERE old.{_quoted(key)} = new.{_quoted(key)}"
        )

    def upsert(self, table: str, key: str, columns: Sequence[str]) -> Callable[[Rows], int]:
        """Return a function that inserts rows ``(key, *values)``, or sets the values of those that are there.

        A key stands in at most one row; rows in the order of their keys wait for no other batch in a circle (T95).
        """
        names = ", ".join(map(_quoted, (key, *columns)))
        values = ", ".join(f"{_quoted(column)} = excluded.{_quoted(column)}" for column in columns)
        tail = f"ON CONFLICT ({_quoted(key)}) DO UPDATE SET {values}"
        if self._postgres:
            arrays = self._arrays(table, (key, *columns))
            return self._by_columns(f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) {tail}")
        return self._by_rows(f"INSERT INTO {table} ({names}) VALUES ({_marks(len(columns) + 1)}) {tail}")

    def delete(self, table: str, key: str) -> Callable[[Keys], int]:
        """Return a function that deletes the rows with these keys and says how many there were."""
        if self._postgres:
            one_array = self._by_columns(
                f"DELETE FROM {table} WHERE {_quoted(key)} = ANY({self._arrays(table, (key,))})"
            )
            return lambda keys: one_array([(value,) for value in keys])
        each = self._by_rows(f"DELETE FROM {table} WHERE {_quoted(key)} = ?")
        return lambda keys: each([(value,) for value in keys])

    def select(
        self, table: str, columns: Sequence[str], key: str, *, also: str = "", lock: bool = False
    ) -> Callable[[Keys], list[tuple[Any, ...]]]:
        """Return a function that reads the rows with these keys, in the order of the primary key.

        ``lock`` locks them in that order, the same in every process (T95); ``also`` is one more
        column, in SQL.
        """
        names = [*map(_quoted, columns), *([also] if also else [])]
        head = f"SELECT {', '.join(names)} FROM {table} WHERE {_quoted(key)}"
        tail = f" ORDER BY {_primary_key(table)}{self._database.lock_clause if lock else ''}"
        if self._postgres:
            sql = f"{head} = ANY({self._arrays(table, (key,))}){tail}"
            return lambda keys: self._database.rows(sql, (list(keys),)) if keys else []
        return self._in_parts(head, lambda _: tail)

    def select_few(
        self, table: str, columns: Sequence[str], key: str, *, where: str, each: int
    ) -> Callable[[Keys], list[tuple[Any, ...]]]:
        """Return a function that reads the rows with these keys, up to ``MAX_KEYS``, in no order.

        ``where`` is fixed SQL that narrows them. More than ``each`` for each key say that there are
        too many, of which some are not read.
        """
        head = f"SELECT {', '.join(map(_quoted, columns))} FROM {table} WHERE ({where}) AND {_quoted(key)}"
        if self._postgres:
            sql = f"{head} = ANY({self._arrays(table, (key,))}) LIMIT ?"
            return lambda keys: self._database.rows(sql, (list(keys), each * len(keys) + 1)) if keys else []
        return self._in_parts(head, lambda size: f" LIMIT {each * size + 1}")

    def _in_parts(self, head: str, tail: Callable[[int], str]) -> Callable[[Keys], list[tuple[Any, ...]]]:
        texts = {size: f"{head} IN ({_marks(size)}){tail(size)}" for size in _powers_of_two(MAX_KEYS)}

        def read(keys: Keys) -> list[tuple[Any, ...]]:
            if not keys:
                return []
            distinct = list(dict.fromkeys(keys))
            if len(distinct) > MAX_KEYS:
                return read(distinct[:MAX_KEYS]) + read(distinct[MAX_KEYS:])
            size = 1 << (len(distinct) - 1).bit_length()
            return self._database.rows(texts[size], distinct + distinct[-1:] * (size - len(distinct)))

        return read

    def _by_rows(self, sql: str) -> Callable[[Rows], int]:
        return lambda rows: self._database.executemany(sql, rows) if rows else 0

    def _by_columns(self, sql: str) -> Callable[[Rows], int]:
        return lambda rows: (
            self._database.execute(sql, [list(column) for column in zip(*rows, strict=True)]).rowcount if rows else 0
        )

    def _arrays(self, table: str, columns: Sequence[str]) -> str:
        return ", ".join(f"CAST(? AS {_type_of(table, column)}[])" for column in columns)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _powers_of_two(limit: int) -> list[int]:
    return [1 << power for power in range(limit.bit_length())]


def _type_of(table: str, column: str) -> str:
    field = _model(table)._meta.columns[column]
    while field.field_type not in _TYPES:
        field = field.rel_field
    return _TYPES[field.field_type]


def _primary_key(table: str) -> str:
    return _quoted(_model(table)._meta.primary_key.column_name)


def _model(table: str) -> Any:
    return next(model for model in schema.TABLES if model._meta.table_name == table)
