"""Purses in the database: an account is locked and read, changed by ``billing/purse.py``, and written back.

Every change of an account's money locks the account's row first, here as in ``holds.py``.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

from tokenhub.billing.journal import Entry, EntryKind
from tokenhub.billing.lots import NEVER_MS, LotState
from tokenhub.billing.purse import Purse, tidy
from tokenhub.errors import NotFound
from tokenhub.store.database import Database
from tokenhub.store.hold_rows import ENTRY, entry_row

_STATE: Final = (
    "id, account_id, available, held, spent, expired, COALESCE(expires_at, ?), created_at, repaid, frozen, returned"
)
_ENTRY: Final = ", ".join(ENTRY)


def lock(database: Database, account_id: int) -> tuple[int, int]:
    """Lock an account's row until the caller's write ends; return what it has available and owes. Raises NotFound."""
    row = database.row(f"SELECT available, debt FROM accounts WHERE id = ?{database.lock_clause}", (account_id,))
    if row is None:
        raise NotFound(f"There is no account {account_id}.", param="account")
    return row[0], row[1]


@contextmanager
def opened(
    database: Database, account_id: int, now_ms: int, *, lots: Collection[int] = (), repaid: bool = False
) -> Iterator[Purse]:
    """Lock an account in the caller's write and give its purse, tidy; what the block changes is written back, tidy.

    ``lots`` are read whether or not they have credit, and with ``repaid`` all that ever repaid
    a debt. Raises NotFound.
    """
    available, debt = lock(database, account_id)
    purse = _read(database, account_id, now_ms, debt, lots, repaid=repaid)
    astray = available - purse.available
    tidy(purse)
    yield purse
    tidy(purse)
    # What was astray before stays so: `ledger verify` is to find it, not this to hide it.
    _save(database, purse, purse.available + astray)


def _read(
    database: Database, account_id: int, now_ms: int, debt: int, wanted: Collection[int], *, repaid: bool
) -> Purse:
    condition = "available > 0 OR repaid > 0" if repaid else "available > 0"
    rows = database.rows(f"SELECT {_STATE} FROM lots WHERE account_id = ? AND ({condition})", (NEVER_MS, account_id))
    found = {row[0]: LotState(*row) for row in rows}
    for lot_id in set(wanted) - found.keys():
        row = database.row(f"SELECT {_STATE} FROM lots WHERE id = ?", (NEVER_MS, lot_id))
        assert row is not None
        assert row[1] == account_id, f"lot {lot_id} is another account's"
        found[lot_id] = LotState(*row)
    return Purse(account_id, now_ms, debt, found, _repayments(database, account_id) if debt or repaid else {})


def _repayments(database: Database, account_id: int) -> dict[int, int]:
    sql = (
        "SELECT lot_id, COUNT(*) FROM entries WHERE account_id = ? AND kind = ? AND lot_id IS NOT NULL GROUP BY lot_id"
    )
    return dict(database.rows(sql, (account_id, EntryKind.REPAYMENT.value)))


def _save(database: Database, purse: Purse, available: int) -> None:
    for lot in purse.lots.values():
        if lot.touched:
            database.execute(
                "UPDATE lots SET available = ?, frozen = ?, expired = ?, returned = ?, repaid = ?, expires_at = ? WHERE id = ?",
                (
                    lot.available,
                    lot.frozen,
                    lot.expired,
                    lot.returned,
                    lot.repaid,
                    None if lot.expires_at_ms == NEVER_MS else lot.expires_at_ms,
                    lot.id,
                ),
            )
    add_entries(database, purse.entries)
    database.execute(
        "UPDATE accounts SET available = ?, debt = ?, next_expiry = ? WHERE id = ?",
        (available, purse.debt, purse.next_expiry_ms, purse.account_id),
    )


def add_entries(database: Database, entries: Collection[Entry]) -> None:
    """Write entries into the journal; one whose kind and ref are there already is refused by the database."""
    database.executemany(
        f"INSERT INTO entries ({_ENTRY}) VALUES (?, ?, ?, ?, ?, ?, ?)", [entry_row(entry) for entry in entries]
    )


def entries_of(database: Database, account_id: int, kind: EntryKind, ref: str) -> list[Entry]:
    """Return what one event has written down about an account: the entry of its ref and those of its parts."""
    head = f"{ref}/"
    rows = database.rows(
        f"SELECT {_ENTRY} FROM entries WHERE account_id = ? AND kind = ? AND (ref = ? OR substr(ref, 1, CAST(? AS INTEGER)) = ?) ORDER BY id",
        (account_id, kind.value, ref, len(head), head),
    )
    return [_entry(*row) for row in rows]


def _entry(account_id: int, lot_id: int | None, kind: str, *rest: Any) -> Entry:
    return Entry(account_id, lot_id, EntryKind(kind), *rest)
