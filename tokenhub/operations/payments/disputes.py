"""Disputes: what a payer contests is frozen while the bank decides, then given back or taken.

Events only say that something happened; what holds is read from the dispute as Stripe has it.
"""

from dataclasses import replace
from typing import Final

from tokenhub import clock, failpoints
from tokenhub.billing import credits
from tokenhub.billing import disputes as rules
from tokenhub.billing.disputes import Change, DisputeState
from tokenhub.billing.journal import EntryKind
from tokenhub.billing.notices import NoticeKind
from tokenhub.billing.payments import DisputeFacts
from tokenhub.billing.polling import ended_poll_ms
from tokenhub.billing.recharges import DISPUTED, RechargeState
from tokenhub.money import exact
from tokenhub.observability import log
from tokenhub.operations import notices
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import finding, purchases, rounds
from tokenhub.operations.payments.purchases import Position
from tokenhub.operations.payments.stripe_api import StripeApi
from tokenhub.store import disputes as store
from tokenhub.store import ledger, recharges
from tokenhub.store.disputes import Dispute as Dispute

_BATCH: Final = 100
_PAUSE_MS: Final = 300_000
"""How long a dispute waits that could not be read."""
_STATUS_LENGTH: Final = 60


def of_topup(hub: Hub, topup_id: str) -> list[Dispute]:
    """Return a top-up's disputes, the oldest first."""
    return store.of_topup(hub.database, topup_id)


def listing(hub: Hub, account_id: int | None = None, *, limit: int = 100) -> list[Dispute]:
    """Return disputes of one account or of all, the newest first."""
    return store.listing(hub.database, account_id, limit=limit)


def reconcile(hub: Hub, api: StripeApi, dispute_id: str) -> Dispute | None:
    """Bring one dispute up to date with Stripe; twice is as good as once. None: its payment is none of ours.

    A payment whose top-up is not credited yet is credited first.
    """
    read_at_ms = clock.now_ms()
    return _reconciled(hub, api, api.dispute(dispute_id), read_at_ms)


def reconcile_payment(hub: Hub, api: StripeApi, payment_intent: str) -> None:
    """Bring all disputes of a payment up to date."""
    read_at_ms = clock.now_ms()
    for facts in api.disputes_of(payment_intent):
        _reconciled(hub, api, facts, read_at_ms)


def work(hub: Hub, api: StripeApi, now_ms: int) -> None:
    """Look at the disputes that are due."""
    due = store.due(hub.database, now_ms, _BATCH)
    later_ms = now_ms + _PAUSE_MS
    rounds.each(
        "dispute",
        due,
        lambda one: reconcile(hub, api, one),
        lambda one: store.postpone(hub.database, one, later_ms),
    )


def _reconciled(hub: Hub, api: StripeApi, facts: DisputeFacts, read_at_ms: int) -> Dispute | None:
    topup = finding.of_either(hub, api, facts.payment_intent, facts.charge).topup
    if topup is None or topup.lot_id is None:
        return None
    failpoints.hit("dispute.read")
    with hub.database.write():
        position = purchases.locked(hub.database, topup.id)
        assert position is not None
        recorded = _record(hub, position, facts, read_at_ms)
    failpoints.hit("dispute.recorded")
    return recorded


def _record(hub: Hub, position: Position, facts: DisputeFacts, read_at_ms: int) -> Dispute:
    """Write down what Stripe says of a dispute, and do to the credit what follows; in the caller's write."""
    now_ms = clock.now_ms()
    known = store.find(hub.database, facts.id)
    if known is not None and known.updated_at_ms > read_at_ms:
        return known  # somebody has read it later and was here first
    was = None if known is None else known.state
    to = rules.following(was, rules.state_of(facts.status, facts.balance_total), facts.status)
    amount = facts.amount if facts.currency == position.topup.currency else position.paid_total
    before = known or Dispute(
        facts.id, position.topup.id, to, "", amount, frozen_nano=0, taken_nano=0, next_poll_at_ms=None,
        created_at_ms=now_ms, updated_at_ms=now_ms,
    )  # fmt: skip
    reckon = position.freezable_nano if to is DisputeState.FROZEN else position.contested_nano
    contested = reckon(amount, hub.database.now_ms(), but_for=facts.id)
    frozen, taken = _change(hub, position, before, rules.change(was, to, before.frozen_nano, contested))
    failpoints.hit("dispute.recording")
    after = replace(
        before,
        state=to,
        status=facts.status[:_STATUS_LENGTH],
        amount_minor=amount,
        frozen_nano=frozen,
        taken_nano=taken,
        next_poll_at_ms=_next_poll_ms(
            to, before.created_at_ms, now_ms, awaits_holds=frozen < contested and position.lot.held_nano > 0
        ),
        updated_at_ms=now_ms,
    )
    store.save(hub.database, after)
    if to is DisputeState.WON and was in (DisputeState.FROZEN, DisputeState.LOST):
        event = f"{facts.id}-{store.times_returned(hub.database, facts.id)}"
        purchases.claim_returned(hub.database, position.topup.id, event, hub.database.now_ms())
    _tell(hub, position, was, after)
    return after


def _change(hub: Hub, position: Position, before: Dispute, change: Change) -> tuple[int, int]:
    """Move credit; return what is frozen and what is taken for the dispute afterwards."""
    frozen, taken = before.frozen_nano, before.taken_nano
    lot_id, now_ms = position.lot.id, hub.database.now_ms()
    if change.freeze_nano > 0:
        frozen += ledger.freeze(hub.database, lot_id, change.freeze_nano, now_ms)
    elif change.freeze_nano < 0:
        ledger.unfreeze(hub.database, lot_id, -change.freeze_nano, now_ms)
        frozen += change.freeze_nano
    if change.take_nano:
        thawed = purchases.thaw_for(
            hub.database, position, change.take_nano, now_ms, dispute_id=before.id, own_nano=frozen
        )
        returned = store.times_returned(hub.database, before.id)
        took = ledger.claw(
            hub.database, lot_id, change.take_nano, before.id, now_ms, EntryKind.DISPUTE,
            frozen_nano=frozen + thawed, after=f"again-{returned}" if returned else "",
        )  # fmt: skip
        frozen, taken = 0, took.own_nano + took.others_nano + took.debt_nano
    if change.give_back:
        taken -= ledger.return_claw(hub.database, EntryKind.DISPUTE, before.id, now_ms)
    return frozen, taken


def _next_poll_ms(state: DisputeState, created_at_ms: int, now_ms: int, *, awaits_holds: bool) -> int | None:
    if state in rules.ENDED:
        return ended_poll_ms(created_at_ms, now_ms)
    return rules.next_poll_ms(created_at_ms, now_ms, awaits_holds=awaits_holds and state is DisputeState.FROZEN)


def _tell(hub: Hub, position: Position, was: DisputeState | None, dispute: Dispute) -> None:
    """Stop automatic recharges and tell people, when a dispute opens, and when Stripe says what we do not know."""
    unknown = not rules.is_known(dispute.status)
    opened = dispute.state is not was and dispute.state is not DisputeState.WON
    account_id = position.topup.account_id
    if opened and dispute.state is not DisputeState.FLAGGED:
        recharges.suspend(hub.database, account_id, DISPUTED)
    if unknown:
        log.event("dispute_status_unknown", level="warning", dispute=dispute.id, status=dispute.status)
    if not (opened or unknown):
        return
    body = {
        "dispute": dispute.id,
        "topup": position.topup.id,
        "amount": credits.major(dispute.amount_minor, position.topup.currency),
        "currency": position.topup.currency,
        "status": dispute.status,
        "frozen": exact(dispute.frozen_nano),
    }
    recharge = recharges.get(hub.database, account_id)
    if recharge is not None and recharge.state is RechargeState.SUSPENDED and recharge.reason == DISPUTED:
        body["recharge"] = recharge.state
    returned = store.times_returned(hub.database, dispute.id)
    ref = f"{dispute.id}-{dispute.status}" + (f"-{returned}" if returned else "")
    notices.tell(hub, NoticeKind.DISPUTE_OPENED, ref, account_id, body)
