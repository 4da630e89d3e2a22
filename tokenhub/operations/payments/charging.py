"""One attempt to recharge an account: claimed, charged, brought to its end.

The claim is one transaction under the account's lock, before anybody is asked, so whoever else
notices the low balance finds it under way. The charge has a key of its own: asked for again, it
has the same effect.
"""

import json
from dataclasses import replace
from typing import Any, Final

from tokenhub import clock, failpoints
from tokenhub.accounts.accounts import AccountStatus
from tokenhub.billing import credits, polling
from tokenhub.billing import recharges as rules
from tokenhub.billing.notices import NoticeKind
from tokenhub.billing.payments import PaymentFacts
from tokenhub.billing.periods import month_start_ms
from tokenhub.billing.recharges import Claim, Decline
from tokenhub.billing.topups import RECHARGE, Topup, TopupState, intended, payment_metadata
from tokenhub.ids import new_id
from tokenhub.money import exact
from tokenhub.operations import notices
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import cards, connection, crediting
from tokenhub.operations.payments.stripe_api import StripeApi, StripeNotFound, StripeRefused
from tokenhub.store import accounts, topups
from tokenhub.store import recharges as store

CURRENCY: Final = "usd"

_FIRST_LOOK_MS: Final = 60_000
"""How long the one who claimed an attempt has it alone."""
_CARD_REFUSED: Final = 402
_OPEN: Final = (TopupState.NEW, TopupState.PROCESSING)
_FAILED: Final = ("requires_payment_method", "requires_action", "requires_confirmation", "canceled")
"""A charge without its payer that stands so got no money, and gets none by itself."""


def claim(hub: Hub, account_id: int) -> Topup | None:
    """Decide on locked rows whether a recharge is due, and write it down before anybody is asked."""
    now_ms = clock.now_ms()
    with hub.database.write():
        posted_nano, is_active = store.locked_balance(hub.database, account_id)
        recharge = store.get(hub.database, account_id)
        customer = store.customer_of(hub.database, account_id)
        if recharge is None or not is_active:
            return None
        found = rules.claim(
            recharge,
            posted_nano,
            has_card=customer is not None and customer.payment_method is not None,
            under_way=store.under_way(hub.database, account_id) is not None,
            now_ms=now_ms,
        )
        if not isinstance(found, Claim) or customer is None:
            return None
        topup = _intent(hub, account_id, found.amount_minor, customer, now_ms)
        topups.insert(hub.database, topup)
        failpoints.hit("recharge.claiming")
        claimed = replace(
            recharge,
            month_start_ms=found.month_start_ms,
            month_total_minor=found.month_total_minor,
            attempted_at_ms=now_ms,
        )
        store.save(hub.database, account_id, claimed, now_ms)
    return topup


def _intent(hub: Hub, account_id: int, amount_minor: int, customer: store.Customer, now_ms: int) -> Topup:
    livemode = connection.livemode(hub)
    assert livemode is not None
    topup_id = new_id("topup", now_ms)
    credit_nano = credits.bought_nano(amount_minor, credits.RATE_UNIT)
    since_ms = accounts.account_state(hub.database, account_id, now_ms).created_at_ms
    params: dict[str, Any] = {
        "amount": amount_minor,
        "currency": CURRENCY,
        "customer": customer.customer,
        "payment_method": customer.payment_method,
        "off_session": True,
        "confirm": True,
        "error_on_requires_action": True,
        "allowed_payment_method_types": ["card"],
        "description": f"TokenHub credit, {exact(credit_nano)} USD",
        "metadata": payment_metadata(
            hub.instance,
            topup_id,
            account_id,
            since_ms,
            credit_nano=credit_nano,
            rate_micro=credits.RATE_UNIT,
        ),
    }
    return intended(
        topup_id,
        account_id,
        RECHARGE,
        currency=CURRENCY,
        amount_minor=amount_minor,
        rate_micro=credits.RATE_UNIT,
        credit_nano=credit_nano,
        livemode=livemode,
        params=json.dumps(params, ensure_ascii=True),
        customer=customer.customer,
        now_ms=now_ms,
        next_poll_at_ms=now_ms + _FIRST_LOOK_MS,
        offered=("card",),
        recharge_of=account_id,
    )


def is_wanted(hub: Hub, topup: Topup) -> bool:
    """Whether an attempt of which nothing is known but its claim would still be made: for this account, with this card.

    What has changed since may be that a person has paid, has another card, or is no customer any more.
    """
    with hub.database.read():
        recharge = store.get(hub.database, topup.account_id)
        customer = store.customer_of(hub.database, topup.account_id)
        owner = accounts.account_state(hub.database, topup.account_id, clock.now_ms())
    if recharge is None or customer is None or owner.account.status is not AccountStatus.ACTIVE:
        return False
    has_card = customer.payment_method == json.loads(topup.params).get("payment_method")
    return rules.why_unwanted(recharge, owner.available_nano + owner.held_nano, has_card=has_card) is None


def remember(hub: Hub, topup: Topup) -> None:
    """Write down, in the caller's write, an attempt that this database does not have: it counts as if it had been made here."""
    now_ms = clock.now_ms()
    store.locked_balance(hub.database, topup.account_id)
    is_alone = store.under_way(hub.database, topup.account_id) is None
    topups.insert(hub.database, replace(topup, recharge_of=topup.account_id if is_alone else None))
    recharge = store.get(hub.database, topup.account_id)
    if recharge is not None:
        known = rules.with_attempt(recharge, topup.amount_minor, topup.created_at_ms, now_ms)
        store.save(hub.database, topup.account_id, known, now_ms)


def charge(hub: Hub, api: StripeApi, topup: Topup) -> Topup:
    """Ask Stripe for the money of a claimed attempt; the same attempt again has the same effect."""
    try:
        payment = api.create_payment(json.loads(topup.params), f"th:{hub.instance}:{topup.id}:pi")
    except StripeRefused as error:
        return _refused(hub, topup, error)
    failpoints.hit("recharge.posted")
    return settle(hub, topup, payment)


def _refused(hub: Hub, topup: Topup, error: StripeRefused) -> Topup:
    decline = Decline(error.refusal, error.decline_code, error.advice_code)
    if error.http_status == _CARD_REFUSED:
        return end(hub, topup.id, TopupState.FAILED, error.reason, decline, error.payment_intent)
    why = rules.CARD_GONE if isinstance(error, StripeNotFound) else f"Stripe refused the charge: {error.refusal}"
    return end(hub, topup.id, TopupState.REJECTED, error.reason, replace(decline, suspends=why))


def settle(hub: Hub, topup: Topup, payment: PaymentFacts) -> Topup:
    """Write down what Stripe says of a payment: credit it, wait on, or end the attempt."""
    with hub.database.write():
        settled = crediting.settle(hub, topup.id, payment=payment)
        if settled.lot_id is not None:
            _succeeded(hub, settled)
            return settled
        if settled.state == TopupState.REVIEW or payment.status not in _FAILED or settled.recharge_of is None:
            return wait(hub, settled.id)
        decline = Decline(payment.error_code or payment.status, payment.decline_code, payment.advice_code)
        if payment.status == "requires_action":
            decline = replace(decline, code="authentication_required")
        return end(hub, topup.id, TopupState.FAILED, decline.text, decline, payment.id)


def wait(hub: Hub, topup_id: str) -> Topup:
    """Look again later at an attempt that is open; one that has ended is nobody's recharge any more."""
    with hub.database.write():
        topup = topups.locked(hub.database, topup_id)
        now_ms = clock.now_ms()
        changes: dict[str, Any] = {"next_poll_at": polling.next_poll_ms(topup.created_at_ms, now_ms)}
        if topup.state not in _OPEN:
            changes = {"next_poll_at": None, "recharge_of": None}
        topups.update(hub.database, topup_id, now_ms, changes)
    return topups.get(hub.database, topup_id)


def _succeeded(hub: Hub, topup: Topup) -> None:
    recharge = store.get(hub.database, topup.account_id)
    if recharge is not None and recharge.declines:
        store.save(hub.database, topup.account_id, replace(recharge, declines=0), clock.now_ms())


def end(
    hub: Hub, topup_id: str, to: TopupState, reason: str, decline: Decline | None, payment_intent: str | None = None
) -> Topup:
    """End an attempt that got no money, once: its share of the month's cap is free again, and its refusal counts.

    ``decline`` None: nobody refused anything.
    """
    now_ms = clock.now_ms()
    with hub.database.write():
        topup = topups.get(hub.database, topup_id)
        store.locked_balance(hub.database, topup.account_id)
        topup = topups.get(hub.database, topup_id)
        if topup.lot_id is not None or topup.recharge_of is None:
            return topup
        changes: dict[str, Any] = {"state": to.value, "reason": reason, "recharge_of": None, "next_poll_at": None}
        if payment_intent is not None:
            changes["payment_intent"] = payment_intent
        topups.update(hub.database, topup_id, now_ms, changes)
        _count(hub, topup, reason, decline, now_ms)
    failpoints.hit("recharge.ended")
    return topups.get(hub.database, topup_id)


def _count(hub: Hub, topup: Topup, reason: str, decline: Decline | None, now_ms: int) -> None:
    recharge = store.get(hub.database, topup.account_id)
    if recharge is None:
        return
    if recharge.month_start_ms == month_start_ms(topup.created_at_ms):
        left = max(0, recharge.month_total_minor - topup.amount_minor)
        recharge = replace(recharge, month_total_minor=left)
    suspends = ""
    if decline is not None:
        recharge = replace(recharge, declines=recharge.declines + 1)
        suspends = rules.why_suspended(decline, recharge.declines)
    store.save(hub.database, topup.account_id, recharge, now_ms)
    customer = store.customer_of(hub.database, topup.account_id)
    card = customer.card if customer else ""
    if suspends and store.suspend(hub.database, topup.account_id, suspends):
        cards.tell_suspended(hub, topup.account_id, suspends, card, topup.id, topup)
    elif decline is not None:
        body = {
            "topup": topup.id,
            "amount": credits.major(topup.amount_minor, topup.currency),
            "currency": topup.currency,
            "reason": reason,
            "card": card,
        }
        notices.tell(hub, NoticeKind.CARD_DECLINED, topup.id, topup.account_id, body)
