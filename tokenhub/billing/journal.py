"""The journal: one immutable row per event that adds credit to a lot or takes it out, other than by use.

An entry is unique by its kind and its *ref*, the name of the event: writing it twice is
refused by the database, so an event that is told twice counts once. What requests cost is
not here but in their own rows, until their day is closed.
"""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256


class EntryKind(StrEnum):
    """What happened. Lots are named by the kind of the entry that made them."""

    GRANT = "grant"
    """Credit given by the operator."""
    TOPUP = "topup"
    """Credit that was paid for."""
    EXPIRY = "expiry"
    """Credit that was left in a lot when it expired (breakage)."""
    REFUND = "refund"
    """Credit taken out of a top-up's lot so that its money can be sent back."""
    REFUND_RETURN = "refund_return"
    """A refund that came to nothing."""
    CLAWBACK = "clawback"
    """Credit whose money was sent back without asking the ledger first (a refund made at Stripe)."""
    CLAWBACK_RETURN = "clawback_return"
    DISPUTE = "dispute"
    """Credit whose money a payer got back by a dispute."""
    DISPUTE_RETURN = "dispute_return"
    REPAYMENT = "repayment"
    """Credit of a lot that went into the account's debt: one entry for the lot, one for the debt. Undone with
    the signs turned round, when the debt turns out not to have been one."""


RETURN_OF = {
    EntryKind.REFUND: EntryKind.REFUND_RETURN,
    EntryKind.CLAWBACK: EntryKind.CLAWBACK_RETURN,
    EntryKind.DISPUTE: EntryKind.DISPUTE_RETURN,
}
"""What undoes what."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event. ``amount_nano`` is signed: positive adds credit.

    Without a lot it changes what the account owes: a negative amount is new debt.
    """

    account_id: int
    lot_id: int | None
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


def part_ref(ref: str, lot_id: int | None) -> str:
    """Return the ref of what an event does to another lot than its own, or to the debt (None)."""
    return f"{ref}/debt" if lot_id is None else f"{ref}/lot-{lot_id}"


def repayment_ref(lot_id: int, request_id: str) -> str:
    """Return the ref of what a lot repaid when a request ended.

    A digest, because journal entries are kept and request ids are not: once a request is
    purged, it cannot be told which it was.
    """
    return f"lot-{lot_id}/{sha256(request_id.encode()).hexdigest()[:24]}"


def repayment_entries(account_id: int, lot_id: int, amount_nano: int, ref: str, now_ms: int) -> tuple[Entry, Entry]:
    """Return the entries for a lot's credit that repays debt, or, below 0, is given back by it."""
    return (
        Entry(account_id, lot_id, EntryKind.REPAYMENT, ref, -amount_nano, now_ms),
        Entry(account_id, None, EntryKind.REPAYMENT, part_ref(ref, None), amount_nano, now_ms),
    )
