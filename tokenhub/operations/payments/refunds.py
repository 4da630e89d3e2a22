"""Refunds: asked for here, answered by Stripe in its own time, or made in Stripe's dashboard.

The credit leaves in the transaction that decides the refund, before Stripe is asked; what Stripe
then says moves the row on, and gives the credit back if no money went. An answer that is lost
is looked for among the payment's refunds, then asked for again with the same idempotency key, so
that one refund has one effect; another key is used only after the 23 hours that one is good for.
"""

from typing import Any, Final

from tokenhub import clock, failpoints
from tokenhub.billing import credits
from tokenhub.billing import refunds as rules
from tokenhub.billing.polling import KEY_LIFE_MS
from tokenhub.billing.refunds import Quote, RefundState, Refusal
from tokenhub.billing.topups import INSTANCE, TOPUP, Topup
from tokenhub.errors import Conflict, InvalidRequest
from tokenhub.ids import new_id
from tokenhub.observability import log
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import cards, connection, disputes, finding, purchases, refund_records, rounds, topups
from tokenhub.operations.payments.purchases import Position
from tokenhub.operations.payments.refund_records import REFUND as REFUND
from tokenhub.operations.payments.stripe_api import StripeApi, StripeError, StripeRefused
from tokenhub.store import ledger
from tokenhub.store import refunds as store
from tokenhub.store import topups as topup_store
from tokenhub.store.refunds import Refund as Refund

_BATCH: Final = 100
_FIRST_LOOK_MS: Final = 60_000
"""How long the one who asked for a refund has it alone, before the gateway asks again."""
_REASON_LENGTH: Final = 200


def quote(hub: Hub, topup_id: str, amount_minor: int | None) -> Quote:
    """Return what a refund would send back and take; changes nothing. Raises Conflict saying why there is none."""
    topup = topups.get(hub, topup_id)
    with hub.database.read():
        position = purchases.read(hub.database, topup)
    return _decided(topup, position, amount_minor, clock.now_ms())


def request(hub: Hub, topup_id: str, amount_minor: int | None = None) -> Refund:
    """Send back an amount, in minor units of what was paid, or (None) all that is unused.

    Returns the refund as far as it is known: ``requested`` while Stripe's answer is missing;
    the gateway goes on asking. Raises Conflict when there is nothing to refund, and SetupError
    when Stripe is not set up; then nothing was taken.
    """
    api = connection.connect(hub)
    refund = _take(hub, topups.get(hub, topup_id).id, amount_minor)
    failpoints.hit("refund.taken")
    try:
        return _send(hub, api, refund)
    except StripeError as error:
        return _postpone(hub, refund.id, error.message)


def of_topup(hub: Hub, topup_id: str) -> list[Refund]:
    """Return a top-up's refunds, the oldest first."""
    return store.of_topup(hub.database, topup_id)


def listing(hub: Hub, account_id: int | None = None, *, limit: int = 100) -> list[Refund]:
    """Return refunds of one account or of all, the newest first."""
    return store.listing(hub.database, account_id, limit=limit)


def reconcile(hub: Hub, api: StripeApi, refund_id: str) -> Refund:
    """Bring one refund up to date with Stripe; twice is as good as once."""
    refund = store.get(hub.database, refund_id)
    if refund.stripe_id is not None:
        return refund_records.record(hub, refund.id, api.refund(refund.stripe_id))
    if refund.state is not RefundState.REQUESTED:
        return refund
    found = refund_records.ours(api.refunds_of(_payment_of(hub, refund)), refund.id)
    if found is not None:
        return refund_records.record(hub, refund.id, found)
    if clock.now_ms() - refund.updated_at_ms >= KEY_LIFE_MS:
        refund = refund_records.next_attempt(hub, refund)
    return _send(hub, api, refund) if refund.state is RefundState.REQUESTED else refund


def reconcile_payment(hub: Hub, api: StripeApi, payment_intent: str) -> list[Refund]:
    """Bring all refunds of a payment up to date, those made at Stripe too; return the top-up's.

    A payment whose top-up is not credited yet is credited first, so that what went back is
    taken from it. A payment that is none of ours is left alone.
    """
    found = api.refunds_of(payment_intent)
    if not found:
        return []
    topup = finding.of_payment(hub, api, payment_intent).topup
    if topup is None or topup.lot_id is None:
        return []
    failpoints.hit("refund.found")
    refund_records.reject_what_cannot_be(hub, topup, found)
    for facts in reversed(found):
        refund_records.record_found(hub, topup, facts)
    return store.of_topup(hub.database, topup.id)


def work(hub: Hub, api: StripeApi, now_ms: int) -> None:
    """Look at the refunds that are due."""
    due = store.due(hub.database, now_ms, _BATCH)
    rounds.each("refund", due, lambda one: reconcile(hub, api, one), lambda one: _postpone(hub, one))


# --- asking --------------------------------------------------------------------------------------------------


def _take(hub: Hub, topup_id: str, amount_minor: int | None) -> Refund:
    """Decide a refund and take its credit, in one transaction."""
    now_ms = clock.now_ms()
    with hub.database.write():
        position = purchases.locked(hub.database, topup_id)
        topup = topup_store.get(hub.database, topup_id)
        offer = _decided(topup, position, amount_minor, now_ms)
        assert position is not None
        refund = Refund(
            new_id("refund", now_ms), topup_id, RefundState.REQUESTED, "tokenhub", offer.amount_minor, offer.credit_nano,
            stripe_id=None, attempt=1, reason="", next_poll_at_ms=now_ms + _FIRST_LOOK_MS, created_at_ms=now_ms, updated_at_ms=now_ms,
        )  # fmt: skip
        ledger.take_refund(hub.database, position.lot.id, refund.credit_nano, refund.id, hub.database.now_ms())
        failpoints.hit("refund.taking")
        store.insert(hub.database, refund)
        cards.suspend_after_refund(hub, topup, refund.id)
    return refund


def _decided(topup: Topup, position: Position | None, amount_minor: int | None, now_ms: int) -> Quote:
    if amount_minor is not None and (type(amount_minor) is not int or amount_minor <= 0):
        raise InvalidRequest("A refund must be above 0.", param="amount")
    if position is None:
        raise Conflict(f"Top-up {topup.id} is {topup.state} and has no credit to refund.", param="topup")
    purchase = position.purchase()
    found = rules.quote(purchase, amount_minor, now_ms)
    if isinstance(found, Quote):
        return found
    most = rules.quote(purchase, None, now_ms)
    raise Conflict(_WORDS[found].format(
        topup=topup.id,
        until=clock.iso(purchase.paid_at_ms + rules.WINDOW_MS),
        most=credits.major(most.amount_minor, topup.currency) if isinstance(most, Quote) else "0",
        currency=topup.currency.upper(),
    ), code=f"refund_{found.value}", param="amount" if found is Refusal.TOO_MUCH else "topup")  # fmt: skip


_WORDS: Final = {
    Refusal.TOO_LATE: "Top-up {topup} could be refunded until {until}, seven days after its payment.",
    Refusal.DISPUTED: "The payment of top-up {topup} is disputed: it is not refunded while the dispute is open.",
    Refusal.NOTHING_LEFT: "Nothing of top-up {topup} is left to refund: its credit is used, set aside by open requests, owed, or was refunded.",
    Refusal.TOO_MUCH: "At most {most} {currency} of top-up {topup} can be refunded: the rest of its credit is used or was refunded.",
}


def _send(hub: Hub, api: StripeApi, refund: Refund) -> Refund:
    """Ask Stripe for a refund whose credit is taken; the same attempt again has the same effect."""
    params: dict[str, Any] = {
        "payment_intent": _payment_of(hub, refund),
        "amount": refund.amount_minor,
        "reason": "requested_by_customer",
        "metadata": {REFUND: refund.id, TOPUP: refund.topup_id, INSTANCE: hub.instance},
    }
    try:
        facts = api.create_refund(params, f"th:{hub.instance}:{refund.id}:a{refund.attempt}")
    except StripeRefused as error:
        return _refused(hub, api, refund, error)
    failpoints.hit("refund.posted")
    return refund_records.record(hub, refund.id, facts)


def _refused(hub: Hub, api: StripeApi, refund: Refund, error: StripeRefused) -> Refund:
    """End a refund to which Stripe said no, unless an earlier attempt turns out to have succeeded.

    Why it said no may be a refund or a dispute that is not known here yet: both are looked for.
    """
    payment_intent = _payment_of(hub, refund)
    found = refund_records.ours(api.refunds_of(payment_intent), refund.id)
    if found is not None:
        return refund_records.record(hub, refund.id, found)
    ended = refund_records.reject(hub, refund, error.reason)
    failpoints.hit("refund.failed")
    try:
        reconcile_payment(hub, api, payment_intent)
        disputes.reconcile_payment(hub, api, payment_intent)
    except StripeError as unknown:
        log.event("refund_not_explained", level="warning", refund=refund.id, code=unknown.code)
    return ended


def _postpone(hub: Hub, refund_id: str, reason: str | None = None) -> Refund:
    now_ms = clock.now_ms()
    refund = store.get(hub.database, refund_id)
    next_ms = rules.next_poll_ms(refund.state, refund.updated_at_ms, now_ms)
    if next_ms is not None:
        store.postpone(hub.database, refund_id, next_ms, reason[:_REASON_LENGTH] if reason else None)
    return store.get(hub.database, refund_id)


def _payment_of(hub: Hub, refund: Refund) -> str:
    payment_intent = topup_store.get(hub.database, refund.topup_id).payment_intent
    if payment_intent is None:
        raise Conflict(f"Top-up {refund.topup_id} has no payment.", param="topup")
    return payment_intent
