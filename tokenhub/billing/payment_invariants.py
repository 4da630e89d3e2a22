"""I10: a payment makes one lot, of what it bought; what goes back is what was taken, and never more than was paid.

A row here is a top-up, a refund or a dispute, with what the ledger says of it beside.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tokenhub.billing.discrepancies import Discrepancy, differences

_WITH_LOT = ("paid", "review")
_TAKEN = ("requested", "pending", "succeeded")
"""The states of a refund in which its credit is out of its lot."""


@dataclass(frozen=True, slots=True)
class PostedLot:
    """The lot that a top-up names."""

    kind: str
    ref: str
    account_id: int
    granted: int
    frozen: int


@dataclass(frozen=True, slots=True)
class TopupSums:
    """``paid_total``, ``refunded``: minor units; the other amounts: nano-USD."""

    id: str
    state: str
    account_id: int
    payment_intent: str | None
    bought: int | None
    """What the amount that was paid buys at the top-up's rate; None: nothing was paid."""
    paid_total: int | None
    lot: PostedLot | None
    refunded: int
    """Sum of its refunds that stand."""
    refunded_credit: int
    disputed_credit: int
    """Sum of what lost disputes have taken."""
    frozen: int
    """Sum of what open disputes have frozen."""


@dataclass(frozen=True, slots=True)
class RefundSums:
    id: str
    state: str
    credit: int
    entries: int
    """Sum of its journal entries."""


@dataclass(frozen=True, slots=True)
class DisputeSums:
    id: str
    taken: int
    entries: int


@dataclass(frozen=True, slots=True)
class StraySums:
    """Something of a payment in the ledger that no top-up, refund or dispute has made."""

    subject: str
    amount: int


def check_topup(topup: TopupSums) -> Iterator[Discrepancy]:
    """Return what is wrong with a top-up."""
    subject, lot = f"top-up {topup.id}", topup.lot
    if lot is None:
        if topup.state == "paid":
            yield Discrepancy("I10", subject, "is paid, yet has no lot")
        return
    if topup.state not in _WITH_LOT:
        yield Discrepancy("I10", subject, f"is {topup.state}, yet has a lot")
    yield from differences(
        "I10",
        subject,
        {
            "kind of its lot": ("topup", lot.kind),
            "payment and its lot": (topup.payment_intent, lot.ref),
            "account and its lot": (topup.account_id, lot.account_id),
            "bought and its lot": (topup.bought, lot.granted),
            "frozen by disputes and in its lot": (topup.frozen, lot.frozen),
        },
    )
    if topup.refunded > (topup.paid_total or 0):
        yield Discrepancy("I10", subject, f"{topup.refunded} is refunded of {topup.paid_total} that was paid")
    back = topup.refunded_credit + topup.disputed_credit
    if back > lot.granted:
        yield Discrepancy("I10", subject, f"{back} is taken back of {lot.granted} that was granted")


def check_refund(refund: RefundSums) -> Iterator[Discrepancy]:
    """Return what is wrong with a refund."""
    away = -refund.credit if refund.state in _TAKEN else 0
    return differences("I10", f"refund {refund.id}", {"credit and its entries": (away, refund.entries)})


def check_dispute(dispute: DisputeSums) -> Iterator[Discrepancy]:
    """Return what is wrong with a dispute."""
    return differences("I10", f"dispute {dispute.id}", {"credit and its entries": (-dispute.taken, dispute.entries)})


def check_stray(stray: StraySums) -> Iterator[Discrepancy]:
    """Return that nothing accounts for the row."""
    yield Discrepancy("I10", stray.subject, f"{stray.amount} of a payment that is not there")
