"""Lots: credit of one origin and one expiry.

A lot's credit is in one of five places, and their sum is what was granted, always:
*available* (may be drawn), *held* (set aside by open holds), *spent*, *expired*, *returned*.
The functions below are the only moves between the first four. Accounts are drawn down in
the order in which their lots expire, so that as little as possible expires unused.
"""

from collections.abc import Iterable
from dataclasses import dataclass

NEVER_MS = 2**63 - 1
"""Sorts a lot that never expires behind all that do."""

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
    spent_nano: int
    expired_nano: int
    returned_nano: int
    expires_at_ms: int | None
    """None: never."""
    created_at_ms: int
    note: str = ""


@dataclass(slots=True)
class LotState:
    """The moving part of a lot's row, while a batch is decided. ``expires_at_ms`` is ``NEVER_MS`` for never."""

    id: int
    account_id: int
    available: int
    held: int
    spent: int
    expired: int
    expires_at_ms: int
    created_at_ms: int
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


def close(lot: LotState, part: int, spent: int, now_ms: int) -> int:
    """End a hold's part in this lot: some of it is spent, the rest goes back.

    Returns what went back and can be drawn again; in a lot that has expired meanwhile the
    rest is lost instead (``lot.expired`` grows) and 0 is returned.
    """
    left = part - spent
    lot.held -= part
    lot.spent += spent
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


def next_expiry_ms(lots: Iterable[LotState]) -> int | None:
    """Return when the first of the lots, in draw order, that has credit available expires; None for never."""
    for lot in lots:
        if lot.available:
            return None if lot.expires_at_ms == NEVER_MS else lot.expires_at_ms
    return None
