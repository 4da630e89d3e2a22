"""The journal: one immutable row per event that adds credit to a lot or takes it out, other than by use.

An entry is unique by its kind and its *ref*, the name of the event: writing it twice is
refused by the database, so an event that is told twice counts once. What requests cost is
not here but in their own rows, until their day is closed.
"""

from dataclasses import dataclass
from enum import StrEnum


class EntryKind(StrEnum):
    """What happened. Lots are named by the kind of the entry that made them."""

    GRANT = "grant"
    """Credit given by the operator."""
    EXPIRY = "expiry"
    """Credit that was left in a lot when it expired (breakage)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event. ``amount_nano`` is signed: positive adds credit."""

    account_id: int
    lot_id: int
    kind: EntryKind
    ref: str
    amount_nano: int
    created_at_ms: int
    note: str = ""


def expiry_entry(account_id: int, lot_id: int, amount_nano: int, expired_nano: int, now_ms: int) -> Entry:
    """Return the entry for credit that a lot has lost by expiry.

    A lot may lose some when it expires and more whenever a hold ends later. The ref says how
    much it has lost in all (``expired_nano``, this amount included), which no two of its
    entries share.
    """
    return Entry(account_id, lot_id, EntryKind.EXPIRY, f"lot-{lot_id}-{expired_nano}", -amount_nano, now_ms)
