"""What becomes of a refund's row and its credit: each change one transaction, under the account's lock.

``refunds.py`` asks Stripe; what it hears is written down here. Credit comes back when no money
went, and is taken when money went without us.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from tokenhub import clock, failpoints
from tokenhub.billing import credits
from tokenhub.billing import refunds as rules
from tokenhub.billing.journal import EntryKind
from tokenhub.billing.notices import NoticeKind
from tokenhub.billing.payments import RefundFacts
from tokenhub.billing.refunds import RefundState
from tokenhub.billing.topups import INSTANCE, Topup
from tokenhub.ids import new_id
from tokenhub.observability import log
from tokenhub.operations import notices
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import cards, purchases
from tokenhub.operations.payments.purchases import Position
from tokenhub.store import ledger
from tokenhub.store import refunds as store
from tokenhub.store import topups as topup_store
from tokenhub.store.refunds import Refund

REFUND: Final = "tokenhub_refund"
"""Names the refund in the metadata of Stripe's."""

_REASON_LENGTH: Final = 200


def ours(found: Iterable[RefundFacts], refund_id: str) -> RefundFacts | None:
    """Return the one of Stripe's refunds that is this one of ours."""
    return next((facts for facts in found if facts.metadata.get(REFUND) == refund_id), None)


def record(hub: Hub, refund_id: str, facts: RefundFacts) -> Refund:
    """Write down what Stripe says of a refund; credit comes back when it failed."""
    with hub.database.write():
        purchases.locked(hub.database, store.get(hub.database, refund_id).topup_id)
        recorded = _recorded(hub, store.get(hub.database, refund_id), facts)
    failpoints.hit("refund.recorded")
    return recorded


def _recorded(hub: Hub, refund: Refund, facts: RefundFacts) -> Refund:
    if refund.state in (RefundState.FAILED, RefundState.REJECTED):
        return refund
    now_ms = clock.now_ms()
    state = rules.following(refund.state, rules.state_of(facts.status or ""))
    moved = replace(
        refund,
        state=state,
        stripe_id=facts.id,
        reason=(facts.failure_reason or facts.status or "") if state is RefundState.FAILED else "",
        next_poll_at_ms=rules.next_poll_ms(state, refund.created_at_ms, now_ms),
        updated_at_ms=refund.updated_at_ms if state is refund.state else now_ms,
    )
    store.update(hub.database, moved)
    if state is RefundState.FAILED:
        _give_back(hub, moved)
    return moved


def _give_back(hub: Hub, refund: Refund) -> None:
    now_ms = hub.database.now_ms()
    if refund.origin == "tokenhub":
        ledger.return_refund(hub.database, refund.id, now_ms)
    else:
        assert refund.stripe_id is not None
        ledger.return_claw(hub.database, EntryKind.CLAWBACK, refund.stripe_id, now_ms)
    purchases.claim_returned(hub.database, refund.topup_id, refund.id, now_ms)
    topup = topup_store.get(hub.database, refund.topup_id)
    cards.resume_after_refund(hub, topup.account_id)
    body = {
        "refund": refund.id,
        "topup": refund.topup_id,
        "amount": credits.major(refund.amount_minor, topup.currency),
        "currency": topup.currency,
        "reason": refund.reason,
    }
    notices.tell(hub, NoticeKind.REFUND_FAILED, refund.id, topup.account_id, body)


def record_found(hub: Hub, topup: Topup, facts: RefundFacts) -> None:
    """Write down one refund of a payment, whoever made it."""
    with hub.database.write():
        position = purchases.locked(hub.database, topup.id)
        assert position is not None
        known = store.by_stripe_id(hub.database, facts.id) or _requested(hub, topup.id, facts)
        if known is not None:
            _recorded(hub, known, facts)
        elif rules.state_of(facts.status or "") is not RefundState.FAILED:
            _claw(hub, position, facts)
    failpoints.hit("refund.clawed")


def _requested(hub: Hub, topup_id: str, facts: RefundFacts) -> Refund | None:
    """Return the refund that this one is the answer to; one that was ended here is not answered any more."""
    name = facts.metadata.get(REFUND) if facts.metadata.get(INSTANCE) == hub.instance else None
    waiting = (one for one in store.of_topup(hub.database, topup_id) if one.state is RefundState.REQUESTED)
    return next((one for one in waiting if one.id == name), None)


def _claw(hub: Hub, position: Position, facts: RefundFacts) -> None:
    """Take the credit back for a refund that was made without us."""
    now_ms, booked_ms = clock.now_ms(), hub.database.now_ms()
    state = rules.state_of(facts.status or "")
    credit_nano = position.contested_nano(facts.amount, booked_ms)
    refund = Refund(
        new_id("refund", now_ms), position.topup.id, state, "stripe", facts.amount, credit_nano, facts.id, attempt=1, reason="",
        next_poll_at_ms=rules.next_poll_ms(state, now_ms, now_ms), created_at_ms=now_ms, updated_at_ms=now_ms,
    )  # fmt: skip
    store.insert(hub.database, refund)
    failpoints.hit("refund.clawing")
    if credit_nano:
        thawed = purchases.thaw_for(hub.database, position, credit_nano, booked_ms)
        ledger.claw(
            hub.database, position.lot.id, credit_nano, facts.id, booked_ms, EntryKind.CLAWBACK, frozen_nano=thawed
        )
        cards.suspend_after_refund(hub, position.topup, refund.id)
    log.event("refund_made_at_stripe", refund=refund.id, topup=position.topup.id)


def reject_what_cannot_be(hub: Hub, topup: Topup, found: Sequence[RefundFacts]) -> None:
    """End refunds of ours that Stripe never had, and would refuse now: so much went back without us.

    Their credit has to be there when what did go back is taken. A request that is still on its
    way, and arrives after all, counts as made at Stripe.
    """
    gone_minor = sum(facts.amount for facts in found if rules.state_of(facts.status or "") in rules.COUNTED)
    for refund in store.of_topup(hub.database, topup.id):
        is_waiting = refund.state is RefundState.REQUESTED and ours(found, refund.id) is None
        if is_waiting and refund.amount_minor + gone_minor > (topup.paid_total_minor or 0):
            reject(hub, refund, "so much was refunded at Stripe")


def reject(hub: Hub, refund: Refund, reason: str) -> Refund:
    """End a refund that Stripe does not have, unless it has moved on meanwhile; its credit comes back."""
    now_ms = clock.now_ms()
    with hub.database.write():
        position = purchases.locked(hub.database, refund.topup_id)
        current = store.get(hub.database, refund.id)
        if position is None or current.state is not RefundState.REQUESTED or current.attempt != refund.attempt:
            return current
        ended = replace(
            current,
            state=RefundState.REJECTED,
            reason=reason[:_REASON_LENGTH],
            next_poll_at_ms=None,
            updated_at_ms=now_ms,
        )
        store.update(hub.database, ended)
        booked_ms = hub.database.now_ms()
        ledger.return_refund(hub.database, refund.id, booked_ms)
        purchases.claim_returned(hub.database, refund.topup_id, refund.id, booked_ms)
        cards.resume_after_refund(hub, position.topup.account_id)
    return ended


def next_attempt(hub: Hub, refund: Refund) -> Refund:
    """Begin another attempt, with a key of its own: Stripe knows nothing of the last one."""
    now_ms = clock.now_ms()
    with hub.database.write():
        purchases.locked(hub.database, refund.topup_id)
        current = store.get(hub.database, refund.id)
        if current.state is RefundState.REQUESTED and current.attempt == refund.attempt:
            current = replace(current, attempt=refund.attempt + 1, updated_at_ms=now_ms)
            store.update(hub.database, current)
    return current
