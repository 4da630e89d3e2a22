"""The books as a file: the journal, then every day's charges, for spreadsheets, programs and beancount.

A day that is still open is added up as it would be closed now. All is read from one snapshot
and written to a temporary file, line by line, so that memory stays flat and nobody who reads
slowly keeps the snapshot open (T92).
"""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final, Literal

from tokenhub import clock
from tokenhub.billing.daily import DailyLine
from tokenhub.money import exact
from tokenhub.operations import beancount
from tokenhub.operations.hub import Hub
from tokenhub.store import accounts, books, days
from tokenhub.store.books import BookEntry
from tokenhub.store.database import Database

Format = Literal["csv", "json", "beancount"]

FIELDS: Final = (
    "type",
    "id",
    "at",
    "account",
    "lot",
    "kind",
    "ref",
    "key",
    "model",
    "provider",
    "requests",
    "amount_usd",
    "note",
)
"""What a line has; ``type`` is entry or charge. Amounts are exact, and add up to the balances."""


@contextmanager
def export(
    hub: Hub,
    form: Format,
    *,
    since_ms: int = 0,
    account_id: int | None = None,
    cell: Callable[[Any], Any] = lambda value: value,
) -> Iterator[IO[str]]:
    """Give the export as an open file, read from its start; it is gone when it is closed.

    ``since_ms`` counts from the start of its day. ``cell`` makes a value safe for a spreadsheet.
    """
    since_ms = days.day_of(since_ms)
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as file:
        with hub.database.read():
            for text in _FORMS[form](hub, since_ms, account_id, cell):
                file.write(text)
        file.seek(0)
        yield file


def _rows(database: Database, since_ms: int, account_id: int | None) -> Iterator[dict[str, Any]]:
    names = accounts.names_by_id(database)
    for entry in books.entries(database, account_id, since_ms=since_ms):
        yield _entry_row(entry, names)
    for line in books.lines(database, account_id, since_ms=since_ms):
        if line.account_id:
            yield _line_row(line, names)


def _entry_row(entry: BookEntry, names: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "entry",
        "id": entry.id,
        "at": clock.iso(entry.created_at_ms),
        "account": names[str(entry.account_id)],
        "lot": entry.lot_id,
        "kind": entry.kind,
        "ref": entry.ref,
        "key": None,
        "model": None,
        "provider": None,
        "requests": None,
        "amount_usd": exact(entry.amount_nano),
        "note": entry.note,
    }


def _line_row(line: DailyLine, names: dict[str, str]) -> dict[str, Any]:
    """Return a line's row; what is charged leaves the account, so its amount is below 0."""
    return {
        "type": "charge",
        "id": None,
        "at": clock.iso(line.day_ms)[:10],
        "account": names.get(str(line.account_id), str(line.account_id)),
        "lot": line.lot_id or None,
        "kind": line.kind,
        "ref": None,
        "key": line.key_id,
        "model": line.model,
        "provider": line.provider or None,
        "requests": line.requests,
        "amount_usd": exact(-line.amount_nano),
        "note": "",
    }


def _csv(hub: Hub, since_ms: int, account_id: int | None, cell: Callable[[Any], Any]) -> Iterator[str]:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in _rows(hub.database, since_ms, account_id):
        writer.writerow([cell(row[name]) for name in FIELDS])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _json(hub: Hub, since_ms: int, account_id: int | None, cell: Callable[[Any], Any]) -> Iterator[str]:  # noqa: ARG001
    """Return one array, an object on each line."""
    yield "["
    before = "\n"
    for row in _rows(hub.database, since_ms, account_id):
        yield before + json.dumps(row, ensure_ascii=True)
        before = ",\n"
    yield "\n]\n"


def _beancount(hub: Hub, since_ms: int, account_id: int | None, cell: Callable[[Any], Any]) -> Iterator[str]:  # noqa: ARG001
    return beancount.file(hub.database, since_ms, account_id, clock.now_ms())


_FORMS: Final = {"csv": _csv, "json": _json, "beancount": _beancount}
