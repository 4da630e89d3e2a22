"""The ledger in the database: credit that comes and expires, balances and the journal.

What takes credit back is in ``reversals.py``, the proof that all adds up in ``audit.py``; their
verbs are called through here.
"""

from dataclasses import dataclass
from typing import Any, Final

from tokenhub.billing import lots
from tokenhub.billing.journal import Entry, EntryKind
from tokenhub.billing.lots import Lot, LotState
from tokenhub.billing.purse import Taken as Taken
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.money import MAX_NANO, exact
from tokenhub.store import purses
from tokenhub.store.audit import verify as verify
from tokenhub.store.audit import verify_fast as verify_fast
from tokenhub.store.database import Database
from tokenhub.store.reversals import claw as claw
from tokenhub.store.reversals import freeze as freeze
from tokenhub.store.reversals import return_claw as return_claw
from tokenhub.store.reversals import return_refund as return_refund
from tokenhub.store.reversals import take_refund as take_refund
from tokenhub.store.reversals import unfreeze as unfreeze

_LOT: Final = "id, account_id, kind, ref, granted, available, held, frozen, spent, expired, returned, repaid, expires_at, created_at, note"


@dataclass(frozen=True, slots=True)
class Balances:
    """An account's balances, in nano-USD, and the lots that have credit available, held or frozen."""

    posted_nano: int
    """available + held."""
    held_nano: int
    frozen_nano: int
    """Kept back while payments are disputed."""
    debt_nano: int
    """What is owed; the next credit repays it first."""
    available_nano: int
    """What can be drawn; below 0 when something is owed."""
    open_holds: int
    next_expiry_ms: int | None
    lots: tuple[Lot, ...]


@dataclass(frozen=True, slots=True)
class EntryLine:
    """A journal entry as it stands in the ledger."""

    id: int
    account_id: int
    lot_id: int | None
    """None: it changed what the account owes."""
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


def lock(database: Database, account_id: int) -> None:
    """Lock an account in the caller's write: nothing changes its money until that ends. Raises NotFound."""
    purses.lock(database, account_id)


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

    What the account owes is repaid of it first. Joins the caller's write if there is one.
    Raises NotFound for an unknown account, Conflict for a ref that another grant has used, and
    InvalidRequest for an amount that is not positive or more than an account can hold, or an
    expiry that has passed (T16, T29).
    """
    if expires_at_ms is not None and expires_at_ms <= now_ms:
        raise InvalidRequest("A grant must expire in the future.", param="expires")
    return _add_lot(database, EntryKind.GRANT, account_id, amount_nano, ref, expires_at_ms, note, now_ms)


def post_topup(
    database: Database,
    account_id: int,
    amount_nano: int,
    ref: str,
    expires_at_ms: int,
    now_ms: int,
    note: str = "",
) -> Lot:
    """Post credit that was paid for; ``ref`` is the payment, which makes one lot whatever happens.

    As :func:`grant`, but for an expiry that has passed: such a lot repays what is owed, and the
    rest is lost.
    """
    return _add_lot(database, EntryKind.TOPUP, account_id, amount_nano, ref, expires_at_ms, note, now_ms)


def _add_lot(
    database: Database,
    kind: EntryKind,
    account_id: int,
    amount_nano: int,
    ref: str,
    expires_at_ms: int | None,
    note: str,
    now_ms: int,
) -> Lot:
    if type(amount_nano) is not int or not 0 < amount_nano <= MAX_NANO:
        raise InvalidRequest(f"An amount must be above 0 and at most {exact(MAX_NANO)} USD.", param="amount")
    with database.write():
        with purses.opened(database, account_id, now_ms) as purse:
            kept = database.row(f"SELECT {_LOT} FROM lots WHERE kind = ? AND ref = ?", (kind.value, ref))
            if kept is not None:
                return _same(Lot(*kept), account_id, amount_nano)
            if purse.available + amount_nano > MAX_NANO:
                raise InvalidRequest(f"The account would hold more than {exact(MAX_NANO)} USD.", param="amount")
            row = database.row(
                "INSERT INTO lots (account_id, kind, ref, granted, available, expires_at, created_at, note) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (account_id, kind.value, ref, amount_nano, amount_nano, expires_at_ms, now_ms, note),
            )
            assert row is not None
            lasts_ms = lots.NEVER_MS if expires_at_ms is None else expires_at_ms
            purse.lots[row[0]] = LotState(row[0], account_id, amount_nano, 0, 0, 0, lasts_ms, now_ms)
            purse.entries.append(Entry(account_id, row[0], kind, ref, amount_nano, now_ms, note))
        return lot(database, row[0])


def _same(lot: Lot, account_id: int, amount_nano: int) -> Lot:
    if (lot.account_id, lot.granted_nano) != (account_id, amount_nano):
        raise Conflict(f"The reference {lot.ref!r} names another {lot.kind}.", param="ref")
    return lot


def expire_due(database: Database, now_ms: int, limit: int = 100) -> int:
    """Take expired credit out of up to ``limit`` accounts, a transaction each; return how many lots lost some.

    The write that places a hold does the same for its account, so a balance never shows
    credit that a request cannot use; this is for accounts that nobody calls with. What is held
    or frozen waits. An account that owes something repays it first.
    """
    due = database.rows("SELECT id FROM accounts WHERE next_expiry <= ? ORDER BY next_expiry LIMIT ?", (now_ms, limit))
    return sum(_expire_account(database, account_id, now_ms) for (account_id,) in due)


def _expire_account(database: Database, account_id: int, now_ms: int) -> int:
    with database.write(), purses.opened(database, account_id, now_ms) as purse:
        return sum(entry.kind is EntryKind.EXPIRY for entry in purse.entries)


# Reading


def balances(database: Database, account_id: int) -> Balances:
    """Return what an account has. Raises NotFound."""
    with database.read():
        sql = "SELECT available, held, debt, open_holds, next_expiry FROM accounts WHERE id = ?"
        row = database.row(sql, (account_id,))
        if row is None:
            raise NotFound(f"There is no account {account_id}.", param="account")
        found = lots_of(database, account_id, only_open=True)
    available, held, debt, open_holds, next_expiry = row
    frozen = sum(lot.frozen_nano for lot in found)
    return Balances(available + held, held, frozen, debt, available, open_holds, next_expiry, tuple(found))


def lot(database: Database, lot_id: int) -> Lot:
    """Return a lot. Raises NotFound."""
    row = database.row(f"SELECT {_LOT} FROM lots WHERE id = ?", (lot_id,))
    if row is None:
        raise NotFound(f"There is no lot {lot_id}.", param="lot")
    return Lot(*row)


def lots_of(database: Database, account_id: int, *, only_open: bool = False) -> list[Lot]:
    """Return an account's lots in the order in which they are drawn."""
    condition = " AND available + held + frozen > 0" if only_open else ""
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
