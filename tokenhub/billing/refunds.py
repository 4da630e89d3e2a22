"""What a refund is worth, who may have it, and what becomes of it.

Money goes back in the minor units that were paid (cents, fen), credit leaves in nano-USD, in
the proportion in which the top-up bought it; what is left of a lot to the last cent goes with
its fraction, which is worth less than a cent. All that was taken back for a top-up, by refunds,
disputes or Stripe's dashboard, is never more than it had bought.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tokenhub.billing import polling
from tokenhub.billing.periods import DAY_MS
from tokenhub.money import ceil_div

WINDOW_MS: Final = 7 * DAY_MS
"""How long after its payment a top-up can be refunded; its last millisecond is inside."""


class RefundState(StrEnum):
    """Where a refund is; the last three are ends, but money that arrived may still come back (failed)."""

    REQUESTED = "requested"
    """Credit is taken, and Stripe has not said yes yet."""
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Credit is back."""
    REJECTED = "rejected"
    """Stripe said no: credit is back."""


COUNTED: Final = (RefundState.REQUESTED, RefundState.PENDING, RefundState.SUCCEEDED)
"""The states in which a refund's credit is away."""

_READ: Final = {
    "pending": RefundState.PENDING,
    "requires_action": RefundState.PENDING,
    "succeeded": RefundState.SUCCEEDED,
    "failed": RefundState.FAILED,
    "canceled": RefundState.FAILED,
}

_RANK: Final = {
    RefundState.REQUESTED: 0,
    RefundState.PENDING: 1,
    RefundState.SUCCEEDED: 2,
    RefundState.FAILED: 3,
    RefundState.REJECTED: 3,
}


def state_of(status: str) -> RefundState:
    """Return what Stripe's word means; one that is not known is on its way."""
    return _READ.get(status, RefundState.PENDING)


def following(state: RefundState, read: RefundState) -> RefundState:
    """Return where a refund is after it was read at Stripe: only forward, so that an older reading changes nothing.

    What succeeded can still fail; what failed, or was rejected, is never alive again.
    """
    return read if _RANK[read] > _RANK[state] else state


class Refusal(StrEnum):
    """Why a top-up is not refunded."""

    TOO_LATE = "too_late"
    DISPUTED = "disputed"
    NOTHING_LEFT = "nothing_left"
    TOO_MUCH = "too_much"


@dataclass(frozen=True, slots=True)
class Purchase:
    """A paid top-up as its refund sees it: minor units of what was paid, nano-USD of credit."""

    paid_at_ms: int
    paid_total: int
    """Minor units, tax included."""
    granted_nano: int
    free_nano: int
    """What its lot has available."""
    balance_nano: int
    """What its account has available: less than the lots have while there is a debt."""
    returned_minor: int
    """Of refunds that stand."""
    reversed_nano: int
    """Credit taken back by refunds and disputes that stand."""
    disputed: bool
    """A dispute is open."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What a refund sends back and takes."""

    amount_minor: int
    credit_nano: int


def credit_of(amount_minor: int, paid_total: int, granted_nano: int) -> int:
    """Return the credit, in nano-USD, that an amount of what was paid had bought, rounded up."""
    return ceil_div(amount_minor * granted_nano, paid_total)


def quote(purchase: Purchase, amount_minor: int | None, now_ms: int) -> Quote | Refusal:
    """Return what a refund of this amount (None: all that is unused) is, or why there is none."""
    if now_ms > purchase.paid_at_ms + WINDOW_MS:
        return Refusal.TOO_LATE
    if purchase.disputed:
        return Refusal.DISPUTED
    free = free_nano(purchase)
    unused = purchase.paid_total * free // purchase.granted_nano
    most = min(unused, purchase.paid_total - purchase.returned_minor)
    if most <= 0:
        return Refusal.NOTHING_LEFT
    if amount_minor is None and most == unused:
        return Quote(most, free)
    amount = most if amount_minor is None else amount_minor
    if amount > most:
        return Refusal.TOO_MUCH
    return Quote(amount, credit_of(amount, purchase.paid_total, purchase.granted_nano))


def free_nano(purchase: Purchase) -> int:
    """Return the credit that a refund may take: what is unused, is not owed, and was not taken back already."""
    left = purchase.granted_nano - purchase.reversed_nano
    return max(0, min(purchase.free_nano, purchase.balance_nano, left))


def claw_nano(amount_minor: int, paid_total: int, granted_nano: int, gone_nano: int) -> int:
    """Return the credit to take back for money that went back without us: at most what is not gone already.

    Gone is what was taken back, and what expired: nobody has had that.
    """
    return max(0, min(credit_of(amount_minor, paid_total, granted_nano), granted_nano - gone_nano))


def next_poll_ms(state: RefundState, created_at_ms: int, now_ms: int) -> int | None:
    """Return when to ask Stripe again; None: never. The older the refund, the rarer.

    Money that arrived is watched for half a year, since a bank may send it back.
    """
    if state in (RefundState.FAILED, RefundState.REJECTED):
        return None
    if state is RefundState.SUCCEEDED:
        return polling.ended_poll_ms(created_at_ms, now_ms)
    return polling.next_poll_ms(created_at_ms, now_ms)
