"""Rows of a query a few at a time, so that memory stays flat however many there are."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any, Final

from tokenhub.store.database import Database

FETCH: Final = 500
"""Rows read at a time."""


def stream(database: Database, sql: str, params: Sequence[Any] = ()) -> Generator[tuple[Any, ...]]:
    """Return a query's rows, inside the caller's transaction; several such queries may be read side by side.

    PostgreSQL would send all rows at once without a cursor of its own. One that is not read to
    its end lasts until the transaction does.
    """
    if database.kind == "sqlite":
        with closing(database.execute(sql, params)) as cursor:
            while rows := cursor.fetchmany(FETCH):
                yield from rows
        return
    mine = object()
    name = f"stream_{id(mine)}"
    database.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}", params)
    rows = database.rows(f"FETCH {FETCH} FROM {name}")
    while rows:
        yield from rows
        rows = database.rows(f"FETCH {FETCH} FROM {name}") if len(rows) == FETCH else []
    database.execute(f"CLOSE {name}")
