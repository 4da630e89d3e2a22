"""Lots: credit of one origin and one expiry.

A lot's credit is in one of seven places, and their sum is what was granted, always:
*available* (may be drawn), *held* (set aside by open holds), *frozen* (kept back while its
payment is disputed), *spent*, *expired*, *returned* (taken back with its money), *repaid* (used
up by what the account owed). The functions below are the only moves between them. Accounts are
drawn down in the order in which their lots expire, so that as little as possible expires unused.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tokenhub.billing.periods import DAY_MS

NEVER_MS = 2**63 - 1
"""Sorts a lot that never expires behind all that do."""

VALID_MONTHS = 12
"""How long credit is valid when nothing else is said: calendar months from the payment, or the grant (P7)."""

GRACE_MS = 30 * DAY_MS
"""How long credit can be used at least that comes, or comes back, after its time."""

Part = tuple[int, int]
"""A lot's id and the nano-USD that a hold or a charge takes of it."""


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot as the ledger shows it."""

    id: int
    account_id: int
    kind: str
    ref: str
    granted_nano: int
    available_nano: int
    held_nano: int
    frozen_nano: int
    spent_nano: int
    expired_nano: int
    returned_nano: int
    repaid_nano: int
    expires_at_ms: int | None
    """None: never."""
    created_at_ms: int
    note: str = ""


@dataclass(slots=True)
class LotState:
    """The moving part of a lot's row, while a change is decided. ``expires_at_ms`` is ``NEVER_MS`` for never.

    Holds neither read nor change what is frozen and returned: there the two are 0.
    """

    id: int
    account_id: int
    available: int
    held: int
    spent: int
    expired: int
    expires_at_ms: int
    created_at_ms: int
    repaid: int = 0
    frozen: int = 0
    returned: int = 0
    touched: bool = False


def draw_order(lot: LotState) -> tuple[int, int, int]:
    """Return the key that sorts lots as they are drawn: first to expire, then oldest."""
    return lot.expires_at_ms, lot.created_at_ms, lot.id


def draw(lots: Iterable[LotState], amount: int) -> tuple[Part, ...]:
    """Set an amount aside from lots in draw order and return the parts; the lots must cover it."""
    parts = []
    for lot in lots:
        if not amount:
            break
        part = min(lot.available, amount)
        if part:
            lot.available -= part
            lot.held += part
            lot.touched = True
            amount -= part
            parts.append((lot.id, part))
    if amount:
        raise ArithmeticError(f"the lots are {amount} nano-USD short of their account's balance")
    return tuple(parts)


def close(lot: LotState, part: int, spent: int, now_ms: int, owed: int = 0) -> int:
    """End a hold's part in this lot: some of it is spent, some may repay what is owed, the rest goes back.

    Returns what went back and can be drawn again; in a lot that has expired meanwhile the
    rest is lost instead (``lot.expired`` grows) and 0 is returned.
    """
    left = part - spent - owed
    lot.held -= part
    lot.spent += spent
    lot.repaid += owed
    lot.touched = True
    if lot.expires_at_ms <= now_ms:
        lot.expired += left
        return 0
    lot.available += left
    return left


def expire(lot: LotState) -> int:
    """Take what is available out of a lot that is due, and return it."""
    lost = lot.available
    lot.available = 0
    lot.expired += lost
    lot.touched = True
    return lost


def repay(lot: LotState, amount: int) -> None:
    """Use available credit for what the account owes."""
    _move(lot, available=-amount)
    lot.repaid += amount


def unrepay(lot: LotState, amount: int, now_ms: int) -> None:
    """Give back what repaid a debt that is none any more."""
    _move(lot, available=amount)
    lot.repaid -= amount
    _extend(lot, now_ms)


def take_back(lot: LotState, amount: int, *, frozen: int = 0) -> None:
    """Take credit out because its money went back: so much of what is frozen, the rest of what is available."""
    _move(lot, available=frozen - amount, frozen=-frozen)
    lot.returned += amount


def give_back(lot: LotState, amount: int, now_ms: int) -> None:
    """Undo :func:`take_back`: the credit can be used for at least ``GRACE_MS`` from now."""
    _move(lot, available=amount)
    lot.returned -= amount
    _extend(lot, now_ms)


def freeze(lot: LotState, amount: int) -> int:
    """Keep back up to an amount of what is available; return how much that is."""
    frozen = min(lot.available, amount)
    _move(lot, available=-frozen, frozen=frozen)
    return frozen


def unfreeze(lot: LotState, amount: int, now_ms: int) -> None:
    """Make frozen credit available; for ``GRACE_MS`` from now, if its lot's time has passed meanwhile."""
    _move(lot, available=amount, frozen=-amount)
    if lot.expires_at_ms <= now_ms:
        _extend(lot, now_ms)


def _move(lot: LotState, *, available: int, frozen: int = 0) -> None:
    if lot.available + available < 0 or lot.frozen + frozen < 0:
        raise ArithmeticError(f"lot {lot.id} has {lot.available} available and {lot.frozen} frozen nano-USD")
    lot.available += available
    lot.frozen += frozen
    lot.touched = True


def _extend(lot: LotState, now_ms: int) -> None:
    lot.expires_at_ms = max(lot.expires_at_ms, now_ms + GRACE_MS)


def next_expiry_ms(lots: Iterable[LotState]) -> int | None:
    """Return when the first of the lots, in draw order, that has credit available expires; None for never."""
    for lot in lots:
        if lot.available:
            return None if lot.expires_at_ms == NEVER_MS else lot.expires_at_ms
    return None
