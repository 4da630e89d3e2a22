"""A credited top-up and all that has been taken back for it, read under its account's lock.

Refunds and disputes of a top-up share one limit: together they take back what it bought, and no
more. So both decide on what they read here, in the transaction in which they change it.
"""

from dataclasses import dataclass, replace

from tokenhub.billing import refunds as rules
from tokenhub.billing.disputes import DisputeState
from tokenhub.billing.journal import EntryKind
from tokenhub.billing.lots import Lot
from tokenhub.billing.refunds import Purchase
from tokenhub.billing.topups import Topup
from tokenhub.store import disputes, ledger, refunds, topups
from tokenhub.store.database import Database
from tokenhub.store.disputes import Dispute
from tokenhub.store.refunds import Refund


@dataclass(frozen=True, slots=True)
class Position:
    """Where a credited top-up stands."""

    topup: Topup
    lot: Lot
    balance_nano: int
    """What the account can draw."""
    returned: refunds.Returned
    disputes: tuple[Dispute, ...]

    @property
    def paid_total(self) -> int:
        return self.topup.paid_total_minor or self.topup.amount_minor

    @property
    def open_disputes(self) -> tuple[Dispute, ...]:
        """Those that keep credit frozen."""
        return tuple(one for one in self.disputes if one.state is DisputeState.FROZEN)

    def reversed_nano(self, *, but_for: str = "") -> int:
        """Return the credit that stands taken back; ``but_for``: leave this dispute out."""
        return self.returned.credit_nano + sum(one.taken_nano for one in self.disputes if one.id != but_for)

    def gone_nano(self, now_ms: int, *, but_for: str = "") -> int:
        """Return the credit that stands taken back, and what its lot has lost by expiry, or is about to lose."""
        is_due = self.lot.expires_at_ms is not None and self.lot.expires_at_ms <= now_ms
        expired_nano = self.lot.expired_nano + (self.lot.available_nano if is_due else 0)
        return self.reversed_nano(but_for=but_for) + expired_nano

    def contested_nano(self, amount_minor: int, now_ms: int, *, but_for: str = "") -> int:
        """Return the credit to take back for so much money: at most what is not gone already."""
        gone_nano = self.gone_nano(now_ms, but_for=but_for)
        return rules.claw_nano(amount_minor, self.paid_total, self.lot.granted_nano, gone_nano)

    def freezable_nano(self, amount_minor: int, now_ms: int, *, but_for: str) -> int:
        """Return the credit that a dispute of so much money freezes: with what others keep frozen at most what is not gone."""
        frozen_nano = sum(one.frozen_nano for one in self.open_disputes if one.id != but_for)
        gone_nano = self.gone_nano(now_ms, but_for=but_for) + frozen_nano
        return rules.claw_nano(amount_minor, self.paid_total, self.lot.granted_nano, gone_nano)

    def purchase(self) -> Purchase:
        """Return what the rules of refunds want to know."""
        return Purchase(
            paid_at_ms=self.topup.paid_at_ms or self.topup.created_at_ms,
            paid_total=self.paid_total,
            granted_nano=self.lot.granted_nano,
            free_nano=self.lot.available_nano,
            balance_nano=self.balance_nano,
            returned_minor=self.returned.amount_minor,
            reversed_nano=self.reversed_nano(),
            disputed=bool(self.open_disputes),
        )


def locked(database: Database, topup_id: str) -> Position | None:
    """Lock the account of a top-up in the caller's write and say how it stands; None while it has no credit."""
    return read(database, topups.locked(database, topup_id))


def read(database: Database, topup: Topup) -> Position | None:
    """Say how a top-up stands; None while it has no credit. Without a lock it is a view, not a decision."""
    if topup.lot_id is None:
        return None
    return Position(
        topup,
        ledger.lot(database, topup.lot_id),
        ledger.balances(database, topup.account_id).available_nano,
        refunds.returned(database, topup.id),
        tuple(disputes.of_topup(database, topup.id)),
    )


def claim_returned(database: Database, topup_id: str, event: str, now_ms: int) -> None:
    """Let what takes back a top-up's credit have, of credit that came back by an event, what it did not get.

    A refund made at Stripe takes it, and so does a dispute that is lost; one that is open freezes
    it. What one of them got is no other's. To be called in the caller's write.
    """
    for refund in refunds.of_topup(database, topup_id):
        if refund.origin == "stripe" and refund.state in rules.COUNTED:
            _claim_for_refund(database, refund, event, now_ms)
    for dispute in disputes.of_topup(database, topup_id):
        _claim_for_dispute(database, topup_id, dispute.id, event, now_ms)


def _claim_for_refund(database: Database, refund: Refund, event: str, now_ms: int) -> None:
    position = locked(database, refund.topup_id)
    assert position is not None
    assert refund.stripe_id is not None
    short = rules.credit_of(refund.amount_minor, position.paid_total, position.lot.granted_nano) - refund.credit_nano
    more = min(short, position.contested_nano(refund.amount_minor, now_ms))
    if more > 0:
        _claw(database, position, more, refund.stripe_id, now_ms, EntryKind.CLAWBACK, event)
        refunds.update(database, replace(refund, credit_nano=refund.credit_nano + more))


def _claim_for_dispute(database: Database, topup_id: str, dispute_id: str, event: str, now_ms: int) -> None:
    position, dispute = locked(database, topup_id), disputes.find(database, dispute_id)
    assert position is not None
    assert dispute is not None
    if dispute.state is DisputeState.FROZEN:
        more = position.freezable_nano(dispute.amount_minor, now_ms, but_for=dispute_id) - dispute.frozen_nano
        if more > 0:
            frozen = ledger.freeze(database, position.lot.id, more, now_ms)
            disputes.save(database, replace(dispute, frozen_nano=dispute.frozen_nano + frozen))
    elif dispute.state is DisputeState.LOST:
        more = position.contested_nano(dispute.amount_minor, now_ms, but_for=dispute_id) - dispute.taken_nano
        if more > 0:
            _claw(database, position, more, dispute_id, now_ms, EntryKind.DISPUTE, event)
            disputes.save(database, replace(dispute, taken_nano=dispute.taken_nano + more))


def _claw(
    database: Database, position: Position, amount_nano: int, ref: str, now_ms: int, kind: EntryKind, event: str
) -> None:
    thawed = thaw_for(database, position, amount_nano, now_ms)
    ledger.claw(database, position.lot.id, amount_nano, ref, now_ms, kind, frozen_nano=thawed, after=event)


def thaw_for(
    database: Database, position: Position, amount_nano: int, now_ms: int, *, dispute_id: str = "", own_nano: int = 0
) -> int:
    """Return how much of what is frozen is to go when so much more is taken back, and note it on the disputes.

    What money has gone back for cannot be contested as well, nor what has expired. ``dispute_id``:
    the dispute that takes it, of what it has frozen itself (``own_nano``) first, which is not thawed here.
    """
    others = [one for one in position.open_disputes if one.id != dispute_id]
    left = position.lot.granted_nano - position.gone_nano(now_ms) - amount_nano
    excess = thawed = min(max(0, sum(one.frozen_nano for one in others) - left), amount_nano - own_nano)
    for dispute in others:
        part = min(excess, dispute.frozen_nano)
        if part:
            disputes.save(database, replace(dispute, frozen_nano=dispute.frozen_nano - part))
            excess -= part
    return thawed
