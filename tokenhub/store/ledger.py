"""The ledger in the database: grants, expiry, balances and the journal. The proof that it adds up is in ``audit.py``.

Every change of an account's money locks the account's row first, here as in ``holds.py``.
"""

from dataclasses import dataclass
from typing import Any, Final

from tokenhub.billing import lots
from tokenhub.billing.journal import Entry, EntryKind, expiry_entry
from tokenhub.billing.lots import Lot, LotState
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.money import MAX_NANO, exact
from tokenhub.store.audit import verify as verify
from tokenhub.store.database import Database

_LOT: Final = (
    "id, account_id, kind, ref, granted, available, held, spent, expired, returned, expires_at, created_at, note"
)


@dataclass(frozen=True, slots=True)
class Balances:
    """An account's three balances, in nano-USD, and the lots that have credit available or held."""

    posted_nano: int
    """available + held."""
    held_nano: int
    available_nano: int
    open_holds: int
    next_expiry_ms: int | None
    lots: tuple[Lot, ...]


@dataclass(frozen=True, slots=True)
class EntryLine:
    """A journal entry as it stands in the ledger."""

    id: int
    account_id: int
    lot_id: int | None
    kind: str
    ref: str
    amount_nano: int
    created_at_ms: int
    note: str


@dataclass(frozen=True, slots=True)
class Shortfalls:
    """Requests that cost more than their holds: the operator's loss."""

    requests: int
    total_nano: int


def grant(
    database: Database,
    account_id: int,
    amount_nano: int,
    ref: str,
    expires_at_ms: int | None,
    note: str,
    now_ms: int,
) -> Lot:
    """Give an account credit: a lot and its entry, in one transaction. The same ref again returns the first lot.

    Joins the caller's write if there is one. Raises NotFound for an unknown account,
    Conflict for a ref that another grant has used, and InvalidRequest for an amount that is
    not positive or more than an account can hold, or an expiry that has passed (T16, T29).
    """
    if type(amount_nano) is not int or not 0 < amount_nano <= MAX_NANO:
        raise InvalidRequest(f"An amount must be above 0 and at most {exact(MAX_NANO)} USD.", param="amount")
    if expires_at_ms is not None and expires_at_ms <= now_ms:
        raise InvalidRequest("A grant must expire in the future.", param="expires")
    with database.write():
        available, next_expiry = _locked_account(database, account_id)
        kept = database.row(f"SELECT {_LOT} FROM lots WHERE kind = ? AND ref = ?", (EntryKind.GRANT.value, ref))
        if kept is not None:
            return _same(Lot(*kept), account_id, amount_nano)
        if available + amount_nano > MAX_NANO:
            raise InvalidRequest(f"The account would hold more than {exact(MAX_NANO)} USD.", param="amount")
        row = database.row(
            "INSERT INTO lots (account_id, kind, ref, granted, available, held, spent, expired, returned, expires_at, created_at, note) "
            f"VALUES (?, ?, ?, ?, ?, 0, 0, 0, 0, ?, ?, ?) RETURNING {_LOT}",
            (account_id, EntryKind.GRANT.value, ref, amount_nano, amount_nano, expires_at_ms, now_ms, note),
        )
        assert row is not None
        lot = Lot(*row)
        _write_entry(database, Entry(account_id, lot.id, EntryKind.GRANT, ref, amount_nano, now_ms, note))
        first = min(filter(None, (next_expiry, expires_at_ms)), default=None)
        _set_account(database, account_id, available + amount_nano, first)
    return lot


def _same(lot: Lot, account_id: int, amount_nano: int) -> Lot:
    if (lot.account_id, lot.granted_nano) != (account_id, amount_nano):
        raise Conflict(f"The reference {lot.ref!r} names another grant.", param="ref")
    return lot


def expire_due(database: Database, now_ms: int, limit: int = 100) -> int:
    """Take expired credit out of up to ``limit`` accounts, a transaction each; return how many lots lost some.

    The write that places a hold does the same for its account, so a balance never shows
    credit that a request cannot use; this is for accounts that nobody calls with.
    """
    due = database.rows("SELECT id FROM accounts WHERE next_expiry <= ? ORDER BY next_expiry LIMIT ?", (now_ms, limit))
    return sum(_expire_account(database, account_id, now_ms) for (account_id,) in due)


def _expire_account(database: Database, account_id: int, now_ms: int) -> int:
    with database.write():
        available, _ = _locked_account(database, account_id)
        found = _open_lots(database, account_id)
        due = [lot for lot in found if lot.expires_at_ms <= now_ms]
        for lot in due:
            lost = lots.expire(lot)
            available -= lost
            database.execute("UPDATE lots SET available = 0, expired = ? WHERE id = ?", (lot.expired, lot.id))
            _write_entry(database, expiry_entry(account_id, lot.id, lost, lot.expired, now_ms))
        _set_account(database, account_id, available, lots.next_expiry_ms(found))
    return len(due)


def _open_lots(database: Database, account_id: int) -> list[LotState]:
    rows = database.rows(
        "SELECT id, account_id, available, held, spent, expired, COALESCE(expires_at, ?), created_at FROM lots "
        "WHERE account_id = ? AND available > 0",
        (lots.NEVER_MS, account_id),
    )
    return sorted((LotState(*row) for row in rows), key=lots.draw_order)


def _locked_account(database: Database, account_id: int) -> tuple[int, int | None]:
    row = database.row(
        f"SELECT available, next_expiry FROM accounts WHERE id = ?{database.lock_clause}",
        (account_id,),
    )
    if row is None:
        raise NotFound(f"There is no account {account_id}.", param="account")
    return row[0], row[1]


def _set_account(database: Database, account_id: int, available: int, next_expiry_ms: int | None) -> None:
    sql = "UPDATE accounts SET available = ?, next_expiry = ? WHERE id = ?"
    database.execute(sql, (available, next_expiry_ms, account_id))


def _write_entry(database: Database, entry: Entry) -> None:
    database.execute(
        "INSERT INTO entries (account_id, lot_id, kind, ref, amount, created_at, note) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            entry.account_id,
            entry.lot_id,
            entry.kind.value,
            entry.ref,
            entry.amount_nano,
            entry.created_at_ms,
            entry.note,
        ),
    )


# Reading


def balances(database: Database, account_id: int) -> Balances:
    """Return what an account has. Raises NotFound."""
    with database.read():
        row = database.row("SELECT available, held, open_holds, next_expiry FROM accounts WHERE id = ?", (account_id,))
        if row is None:
            raise NotFound(f"There is no account {account_id}.", param="account")
        found = lots_of(database, account_id, only_open=True)
    available, held, open_holds, next_expiry = row
    return Balances(available + held, held, available, open_holds, next_expiry, tuple(found))


def lots_of(database: Database, account_id: int, *, only_open: bool = False) -> list[Lot]:
    """Return an account's lots in the order in which they are drawn."""
    condition = " AND available + held > 0" if only_open else ""
    rows = database.rows(
        f"SELECT {_LOT} FROM lots WHERE account_id = ?{condition} ORDER BY COALESCE(expires_at, ?), created_at, id",
        (account_id, lots.NEVER_MS),
    )
    return [Lot(*row) for row in rows]


def entries(
    database: Database, account_id: int | None = None, *, before_id: int | None = None, limit: int = 100
) -> list[EntryLine]:
    """Return journal entries, the newest first: of one account or of all, a page at a time."""
    conditions = ["1 = 1"]
    params: list[Any] = []
    if account_id is not None:
        conditions.append("account_id = ?")
        params.append(account_id)
    if before_id is not None:
        conditions.append("id < ?")
        params.append(before_id)
    sql = (
        "SELECT id, account_id, lot_id, kind, ref, amount, created_at, note FROM entries "
        f"WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"
    )
    return [EntryLine(*row) for row in database.rows(sql, (*params, limit))]


def shortfalls(database: Database, since_ms: int) -> Shortfalls:
    """Add up what requests have cost above their holds since a moment."""
    sql = "SELECT COUNT(*), COALESCE(SUM(shortfall), 0) FROM requests WHERE shortfall > 0 AND ended_at >= ?"
    row = database.row(sql, (since_ms,))
    assert row is not None
    return Shortfalls(*row)
