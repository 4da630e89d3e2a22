"""Customers at Stripe and the cards that they have saved: one customer for an account, one card for recharges."""

import json
from hashlib import sha256
from typing import Final

from tokenhub import clock
from tokenhub.billing import recharges as rules
from tokenhub.billing.notices import NoticeKind
from tokenhub.billing.payments import PaymentFacts
from tokenhub.billing.topups import ACCOUNT, INSTANCE, Topup
from tokenhub.errors import Conflict
from tokenhub.operations import notices
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments.stripe_api import StripeApi
from tokenhub.store import accounts, refunds, topups
from tokenhub.store import recharges as store

_HOUR_MS: Final = 3_600_000


def customer_for(hub: Hub, api: StripeApi, account_id: int, *, gone: str = "") -> str:
    """Return an account's customer at Stripe, made now if there is none yet: one, however many ask.

    ``gone`` is one that Stripe does not have any more: another takes its place, without a card, and the account's
    recharge is suspended as with any card that is gone.
    """
    known = store.customer_of(hub.database, account_id)
    if known is not None and known.customer != gone:
        return known.customer
    name = accounts.account_state(hub.database, account_id, clock.now_ms()).account.name
    params = {"name": name, "metadata": {INSTANCE: hub.instance, ACCOUNT: str(account_id)}}
    now_ms = clock.now_ms()
    # Stripe replays a stored 500 for a day: the hour ends that, at the price of a second customer that nobody uses.
    key = sha256(json.dumps([params, now_ms // _HOUR_MS, gone]).encode()).hexdigest()[:16]
    customer = api.create_customer(params, f"th:{hub.instance}:account-{account_id}:{key}")
    with hub.database.write():
        store.locked_balance(hub.database, account_id)
        before = store.customer_of(hub.database, account_id)
        store.add_customer(hub.database, account_id, customer, now_ms, instead_of=gone)
        if before is not None and before.customer == gone and before.payment_method is not None:
            _suspend(hub, account_id, before.card, before.payment_method)
        kept = store.customer_of(hub.database, account_id)
    if kept is None:
        raise Conflict(f"Stripe's customer {customer} is another account's.", param="account")
    return kept.customer


def keep_card(hub: Hub, payment: PaymentFacts) -> None:
    """Keep the card that paid, for recharges of its customer's account; another card ends a suspension about the last.

    Nothing is kept of a payment by no card, or by nobody's customer here, or when another was saved since.
    """
    if not (payment.customer and payment.payment_method and payment.card):
        return
    customer = store.by_customer(hub.database, payment.customer)
    if customer is None:
        return
    with hub.database.write():
        store.locked_balance(hub.database, customer.account_id)
        before = store.customer_of(hub.database, customer.account_id)
        is_older = topups.saves_card_since(hub.database, customer.account_id, payment.paid_at_ms or clock.now_ms())
        if is_older and before is not None and before.payment_method is not None:
            return
        store.set_card(hub.database, customer.account_id, payment.payment_method, payment.card)
        if before is None or before.payment_method != payment.payment_method:
            store.cleared_by_topup(hub.database, customer.account_id)


def card_detached(hub: Hub, payment_method: str) -> None:
    """Forget a card that was removed at Stripe; its account's recharge is suspended."""
    customer = store.by_card(hub.database, payment_method)
    if customer is None:
        return
    with hub.database.write():
        store.locked_balance(hub.database, customer.account_id)
        current = store.customer_of(hub.database, customer.account_id)
        if current is None or current.payment_method != payment_method:
            return
        store.set_card(hub.database, customer.account_id, None, "")
        _suspend(hub, customer.account_id, current.card, payment_method)


def _suspend(hub: Hub, account_id: int, card: str, payment_method: str) -> None:
    """Stop the recharge of an account whose card is gone; in the caller's write."""
    if store.suspend(hub.database, account_id, rules.CARD_GONE):
        tell_suspended(hub, account_id, rules.CARD_GONE, card, payment_method)


def suspend_after_refund(hub: Hub, topup: Topup, ref: str) -> None:
    """Stop a recharge that would charge the card for what a refund takes out of the account; in the caller's write."""
    balance_nano, _ = store.locked_balance(hub.database, topup.account_id)
    recharge = store.get(hub.database, topup.account_id)
    if recharge is None or balance_nano >= recharge.below_nano:
        return
    if store.suspend(hub.database, topup.account_id, rules.REFUNDED):
        customer = store.customer_of(hub.database, topup.account_id)
        tell_suspended(hub, topup.account_id, rules.REFUNDED, customer.card if customer else "", ref, topup)


def resume_after_refund(hub: Hub, account_id: int) -> None:
    """Go on with a recharge that a refund had stopped, when its credit has come back; in the caller's write.

    Not while the balance is low and another refund stands that may have stopped it too.
    """
    balance_nano, _ = store.locked_balance(hub.database, account_id)
    recharge = store.get(hub.database, account_id)
    if recharge is None:
        return
    if balance_nano >= recharge.below_nano or not refunds.stands_since_topup(hub.database, account_id):
        store.cleared_of(hub.database, account_id, rules.REFUNDED)


def tell_suspended(hub: Hub, account_id: int, reason: str, card: str, ref: str, topup: Topup | None = None) -> None:
    """Tell people that an account is not recharged any more; in the caller's write."""
    body = {"reason": reason, "card": card} | ({"topup": topup.id} if topup else {})
    notices.tell(hub, NoticeKind.RECHARGE_SUSPENDED, ref, account_id, body)
