"""An account's money as the slow verbs change it: credit that comes, expires, is taken back and returned.

The store locks the account's row, reads a purse, lets the functions below change it in place,
and writes back what was touched. Whatever is done, two things hold afterwards: nothing that has
expired is available, and an account that owes something has nothing available. So what a
request can draw is ``available``, and a debt is repaid by the first credit that comes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tokenhub.billing import lots
from tokenhub.billing.journal import RETURN_OF, Entry, EntryKind, expiry_entry, part_ref, repayment_entries
from tokenhub.billing.lots import LotState


@dataclass(frozen=True, slots=True)
class Taken:
    """Where credit that had to be taken back came from, in nano-USD."""

    own_nano: int
    """From the lot that the event is about."""
    others_nano: int
    """From the account's other lots."""
    debt_nano: int
    """From nowhere yet: the account owes it."""


@dataclass(slots=True)
class Purse:
    """An account's debt and those of its lots that have credit available, or that a change is about."""

    account_id: int
    now_ms: int
    debt: int
    lots: dict[int, LotState]
    repayments: dict[int, int]
    """How often each lot that was read has repaid a debt, or been given it back: names the next time."""
    entries: list[Entry] = field(default_factory=list)

    @property
    def available(self) -> int:
        """What the account can draw; below 0 it is what the account owes."""
        return sum(lot.available for lot in self.lots.values()) - self.debt

    @property
    def next_expiry_ms(self) -> int | None:
        """When the first credit that is available expires; None for never."""
        return lots.next_expiry_ms(self.in_draw_order())

    def in_draw_order(self) -> list[LotState]:
        """Return the lots as they are drawn."""
        return sorted(self.lots.values(), key=lots.draw_order)


def tidy(purse: Purse) -> int:
    """Repay what is owed, then take out what has expired; return how many lots lost some."""
    lost = 0
    for lot in purse.in_draw_order():
        _repay(purse, lot)
        if lot.available and lot.expires_at_ms <= purse.now_ms:
            amount = lots.expire(lot)
            purse.entries.append(expiry_entry(purse.account_id, lot.id, amount, lot.expired, purse.now_ms))
            lost += 1
    return lost


def _repay(purse: Purse, lot: LotState) -> None:
    amount = min(purse.debt, lot.available)
    if amount:
        lots.repay(lot, amount)
        _book_repayment(purse, lot, amount)


def _book_repayment(purse: Purse, lot: LotState, amount: int) -> None:
    """Write down that a lot repaid debt, or, below 0, that a debt which was none gave it back."""
    number = purse.repayments.get(lot.id, 0) + 1
    purse.repayments[lot.id] = number
    purse.debt -= amount
    ref = f"lot-{lot.id}/{number}"
    purse.entries += repayment_entries(purse.account_id, lot.id, amount, ref, purse.now_ms)


def take(purse: Purse, lot: LotState, amount: int, ref: str, kind: EntryKind, *, frozen: int = 0) -> Taken:
    """Take credit back: what is frozen of it, what its lot has, what other lots have, and the rest as debt."""
    frozen = min(frozen, lot.frozen, amount)
    own = min(amount, frozen + lot.available)
    if own:
        lots.take_back(lot, own, frozen=frozen)
        purse.entries.append(Entry(purse.account_id, lot.id, kind, ref, -own, purse.now_ms))
    left = amount - own
    for other in purse.in_draw_order():
        part = min(left, other.available)
        if part:
            lots.take_back(other, part)
            purse.entries.append(Entry(purse.account_id, other.id, kind, part_ref(ref, other.id), -part, purse.now_ms))
            left -= part
    if left:
        purse.debt += left
        purse.entries.append(Entry(purse.account_id, None, kind, part_ref(ref, None), -left, purse.now_ms))
    return Taken(own, amount - own - left, left)


def put_back(purse: Purse, taken: Sequence[Entry]) -> int:
    """Undo what one :func:`take` has written down, and return how much that is.

    Debt that has been repaid meanwhile is given back to lots that repaid debt, those that last
    longest first.
    """
    for entry in taken:
        back = -entry.amount_nano
        if entry.lot_id is None:
            purse.debt -= back
        else:
            lots.give_back(purse.lots[entry.lot_id], back, purse.now_ms)
        purse.entries.append(
            Entry(purse.account_id, entry.lot_id, RETURN_OF[entry.kind], entry.ref, back, purse.now_ms)
        )
    _unrepay(purse)
    return -sum(entry.amount_nano for entry in taken)


def _unrepay(purse: Purse) -> None:
    """Give lots back what was repaid too much, if the debt has been undone below 0."""
    for lot in reversed(purse.in_draw_order()):
        amount = min(-purse.debt, lot.repaid)
        if amount > 0:
            lots.unrepay(lot, amount, purse.now_ms)
            _book_repayment(purse, lot, -amount)


def taken_of(entries: Iterable[Entry], lot_id: int) -> Taken:
    """Return what entries of one :func:`take` say it took; ``lot_id`` is the lot it was about."""
    own = others = debt = 0
    for entry in entries:
        if entry.lot_id is None:
            debt -= entry.amount_nano
        elif entry.lot_id == lot_id:
            own -= entry.amount_nano
        else:
            others -= entry.amount_nano
    return Taken(own, others, debt)
