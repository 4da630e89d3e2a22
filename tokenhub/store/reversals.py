"""Credit that is taken back with its money, and given back when that comes to nothing: refunds and disputes.

Each joins the caller's write, locks the account first, and has its effect once for each kind
and ref, which name the event: a refund's own id, a dispute's. A ref has no ``/``.
"""

from tokenhub.billing import lots, purse
from tokenhub.billing.journal import RETURN_OF, Entry, EntryKind
from tokenhub.billing.purse import Taken, taken_of
from tokenhub.errors import Conflict, NotFound
from tokenhub.money import exact
from tokenhub.store import purses
from tokenhub.store.database import Database


def take_refund(database: Database, lot_id: int, amount_nano: int, ref: str, now_ms: int) -> None:
    """Take credit out of a lot before its money is sent back.

    Raises Conflict when the lot has less available, and for a ref that took another amount or
    was undone.
    """
    _check(amount_nano, ref)
    with database.write():
        account_id = _account_of(database, lot_id)
        with purses.opened(database, account_id, now_ms, lots=[lot_id]) as opened:
            before = _before(database, account_id, EntryKind.REFUND, ref)
            if before and taken_of(before, lot_id) != Taken(amount_nano, 0, 0):
                raise Conflict(f"The reference {ref!r} names another refund.", param="ref")
            if before:
                return
            lot = opened.lots[lot_id]
            if lot.available < amount_nano:
                raise Conflict(
                    f"Lot {lot_id} has {exact(lot.available)} USD available, less than the {exact(amount_nano)} USD to be refunded.",
                    param="amount",
                )
            purse.take(opened, lot, amount_nano, ref, EntryKind.REFUND)


def return_refund(database: Database, ref: str, now_ms: int) -> int:
    """Give back what a refund that failed had taken, and return how much; 0 when there is nothing (more) to give.

    The lot lasts at least 30 days from now.
    """
    return _put_back(database, EntryKind.REFUND, ref, now_ms)


def claw(
    database: Database,
    lot_id: int,
    amount_nano: int,
    ref: str,
    now_ms: int,
    kind: EntryKind,
    *,
    frozen_nano: int = 0,
    after: str = "",
) -> Taken:
    """Take credit back whose money is gone, whatever is left of it, and return where it came from.

    ``kind`` is CLAWBACK or DISPUTE. Up to ``frozen_nano`` comes from what is frozen in the lot,
    then from what it has available, from the account's other lots as they are drawn, and the
    rest is debt. The same kind and ref again change nothing and return the same; once undone,
    they raise Conflict. ``after`` names another event, such as a refund that failed, by which the
    first has to take more, or again: that part is undone with it.
    """
    _check(amount_nano, ref)
    event = f"{ref}/{after}" if after else ref
    with database.write():
        account_id = _account_of(database, lot_id)
        with purses.opened(database, account_id, now_ms, lots=[lot_id]) as opened:
            before = _before(database, account_id, kind, event)
            if before:
                return taken_of(before, lot_id)
            return purse.take(opened, opened.lots[lot_id], amount_nano, event, kind, frozen=frozen_nano)


def return_claw(database: Database, kind: EntryKind, ref: str, now_ms: int) -> int:
    """Undo a :func:`claw` and return how much it was; 0 when there is nothing (more) to undo.

    Its lots last at least 30 days from now. Debt that has been repaid meanwhile goes back to
    lots that repaid it.
    """
    return _put_back(database, kind, ref, now_ms)


def freeze(database: Database, lot_id: int, amount_nano: int, now_ms: int) -> int:
    """Keep back up to an amount of what a lot has available, while its payment is disputed; return how much."""
    _check_amount(amount_nano)
    with database.write():
        account_id = _account_of(database, lot_id)
        with purses.opened(database, account_id, now_ms, lots=[lot_id]) as opened:
            return lots.freeze(opened.lots[lot_id], amount_nano)


def unfreeze(database: Database, lot_id: int, amount_nano: int, now_ms: int) -> None:
    """Make frozen credit available again; a lot whose time has passed meanwhile lasts 30 days from now.

    Raises Conflict when less is frozen.
    """
    with database.write():
        account_id = _account_of(database, lot_id)
        with purses.opened(database, account_id, now_ms, lots=[lot_id]) as opened:
            lot = opened.lots[lot_id]
            if not 0 <= amount_nano <= lot.frozen:
                raise Conflict(f"Lot {lot_id} has {exact(lot.frozen)} USD frozen.", param="amount")
            if amount_nano:
                lots.unfreeze(lot, amount_nano, now_ms)


def _before(database: Database, account_id: int, kind: EntryKind, ref: str) -> list[Entry]:
    """Return what the event has written down already."""
    found = purses.entries_of(database, account_id, kind, ref)
    if found and purses.entries_of(database, account_id, RETURN_OF[kind], ref):
        raise Conflict(f"The {kind} {ref!r} was undone: it cannot be booked again.", param="ref")
    return found


def _put_back(database: Database, kind: EntryKind, ref: str, now_ms: int) -> int:
    with database.write():
        account_id = _account_of_event(database, kind, ref)
        if account_id is None:
            return 0
        taken = purses.entries_of(database, account_id, kind, ref)
        touched = {entry.lot_id for entry in taken if entry.lot_id is not None}
        with purses.opened(database, account_id, now_ms, lots=touched, repaid=True) as opened:
            undone = {entry.ref for entry in purses.entries_of(database, account_id, RETURN_OF[kind], ref)}
            return purse.put_back(opened, [entry for entry in taken if entry.ref not in undone])


def _check_amount(amount_nano: int) -> None:
    if type(amount_nano) is not int or amount_nano < 0:
        raise ValueError(f"{amount_nano!r} is not an amount to take back")


def _check(amount_nano: int, ref: str) -> None:
    _check_amount(amount_nano)
    if not ref or "/" in ref:
        raise ValueError(f"{ref!r} cannot name an event")


def _account_of(database: Database, lot_id: int) -> int:
    row = database.row("SELECT account_id FROM lots WHERE id = ?", (lot_id,))
    if row is None:
        raise NotFound(f"There is no lot {lot_id}.", param="lot")
    return int(row[0])


def _account_of_event(database: Database, kind: EntryKind, ref: str) -> int | None:
    """Return whose credit an event took; its first entry may be one of its parts."""
    head = f"{ref}/"
    row = database.row(
        "SELECT account_id FROM entries WHERE kind = ? AND (ref = ? OR substr(ref, 1, CAST(? AS INTEGER)) = ?) LIMIT 1",
        (kind.value, ref, len(head), head),
    )
    return None if row is None else int(row[0])
