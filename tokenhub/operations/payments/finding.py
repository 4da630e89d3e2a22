"""Whose payment is it: from Stripe's ids to a top-up, which is credited on the way if it is paid.

What is not known here is looked at: without this installation's name in its metadata it belongs
to another program on the same Stripe account and is left alone; with it, a top-up that this
database does not have (an old backup was restored) is made again from what the metadata says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tokenhub import clock
from tokenhub.billing import credits
from tokenhub.billing.notices import NoticeKind
from tokenhub.billing.payments import PaymentFacts, SessionFacts
from tokenhub.billing.topups import (
    ACCOUNT,
    ACCOUNT_SINCE,
    CHECKOUT,
    CREDIT,
    INSTANCE,
    RATE,
    RECHARGE,
    TOPUP,
    Topup,
    intended,
)
from tokenhub.operations import notices
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import charging, connection, crediting, topups
from tokenhub.operations.payments.stripe_api import StripeApi, StripeNotFound
from tokenhub.store import accounts
from tokenhub.store import topups as store

_TOPUP_ID = re.compile(r"topup_[0-9a-f]{32}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Found:
    """What an object of Stripe's belongs to. Neither a top-up nor trouble: nothing of ours."""

    topup: Topup | None = None
    trouble: str = ""
    """Why a person should look at it."""


NOT_OURS = Found()


def of_session(hub: Hub, api: StripeApi, session_id: str) -> Found:
    """Find the top-up of a Checkout Session, and reconcile it."""
    kept = store.by_session(hub.database, session_id)
    if kept is not None:
        return Found(topups.reconcile(hub, api, kept.id))
    return of_unknown_session(hub, api, api.session(session_id))


def of_unknown_session(hub: Hub, api: StripeApi, session: SessionFacts) -> Found:
    """Find the top-up of a session that no row names."""
    if session.metadata.get(INSTANCE) != hub.instance:
        return NOT_OURS
    topup = store.find(hub.database, session.metadata.get(TOPUP, ""))
    if topup is None:
        found = _rebuilt(hub, session, session.amount_subtotal or 0, CHECKOUT)
        if found.topup is None:
            return found
        topup = found.topup
    if topup.kind == CHECKOUT and topup.session_id in (None, session.id):
        return Found(topups.see(hub, api, topup, session))
    trouble = f"another session names {topup.id}: {session.id}"
    return _troubled(hub, crediting.settle(hub, topup.id, session=session), trouble)


def of_payment(hub: Hub, api: StripeApi, payment_intent: str) -> Found:
    """Find the top-up that a PaymentIntent pays, and reconcile it."""
    kept = store.by_payment(hub.database, payment_intent)
    if kept is not None:
        return Found(topups.reconcile(hub, api, kept.id))
    payment = api.payment(payment_intent)
    if payment.metadata.get(INSTANCE) != hub.instance:
        return NOT_OURS
    session = api.session_of_payment(payment_intent)
    if session is not None:
        return of_session(hub, api, session.id)
    return _of_unknown_payment(hub, api, payment)


def _of_unknown_payment(hub: Hub, api: StripeApi, payment: PaymentFacts) -> Found:
    """Find the top-up of a payment without a session: an automatic recharge."""
    topup = store.find(hub.database, payment.metadata.get(TOPUP, ""))
    if topup is None:
        found = _rebuilt(hub, payment, payment.amount, RECHARGE)
        if found.topup is None:
            return found
        topup = found.topup
    if topup.payment_intent is None and topup.kind != CHECKOUT:
        topup = crediting.settle(hub, topup.id, payment=payment)
    topup = topups.reconcile(hub, api, topup.id)
    if topup.payment_intent == payment.id or payment.status != "succeeded":
        return Found(topup)
    return _troubled(hub, topup, f"another payment names {topup.id}: {payment.id}")


def of_charge(hub: Hub, api: StripeApi, charge_id: str) -> Found:
    """Find the top-up that a charge pays, and reconcile it."""
    kept = store.by_charge(hub.database, charge_id)
    if kept is not None:
        return Found(topups.reconcile(hub, api, kept.id))
    payment_intent = api.payment_of_charge(charge_id)
    return of_payment(hub, api, payment_intent) if payment_intent else NOT_OURS


def of_either(hub: Hub, api: StripeApi, payment_intent: str | None, charge_id: str | None) -> Found:
    """Find the top-up of an object that names a payment, a charge, or neither."""
    try:
        if payment_intent:
            return of_payment(hub, api, payment_intent)
        return of_charge(hub, api, charge_id) if charge_id else NOT_OURS
    except StripeNotFound:
        return NOT_OURS


def _troubled(hub: Hub, topup: Topup, trouble: str) -> Found:
    notices.tell(hub, NoticeKind.TOPUP_REVIEW, trouble[:200], topup.account_id, {"topup": topup.id, "reason": trouble})
    return Found(topup, trouble)


# Making a top-up again


def _rebuilt(hub: Hub, facts: SessionFacts | PaymentFacts, asked_minor: int, kind: str) -> Found:
    """Write the row of a top-up that this database does not have; trouble when its metadata are not ours."""
    topup = _from_metadata(facts, asked_minor, kind)
    if topup is None:
        return Found(trouble=f"{facts.id} names this installation, but no top-up that it could have made")
    if topup.livemode is not connection.livemode(hub):
        return Found(trouble=f"{facts.id} is of the other mode")
    with hub.database.write():
        account = accounts.account_by_id(hub.database, topup.account_id)
        if account is None or not _is_same_account(hub, topup.account_id, facts.metadata):
            return Found(trouble=f"{facts.id} was for account {topup.account_id}, which this database does not have")
        if store.find(hub.database, topup.id) is None:
            if kind == RECHARGE:
                charging.remember(hub, topup)
            else:
                store.insert(hub.database, topup)
        return Found(store.get(hub.database, topup.id))


def _is_same_account(hub: Hub, account_id: int, metadata: Mapping[str, str]) -> bool:
    created_at_ms = accounts.account_state(hub.database, account_id, clock.now_ms()).created_at_ms
    return metadata.get(ACCOUNT_SINCE) in (None, str(created_at_ms))


def _from_metadata(facts: SessionFacts | PaymentFacts, asked_minor: int, kind: str) -> Topup | None:
    topup_id, currency = facts.metadata.get(TOPUP, ""), facts.currency or ""
    texts = [facts.metadata.get(name, "") for name in (ACCOUNT, RATE, CREDIT)]
    if _TOPUP_ID.fullmatch(topup_id) is None or not all(_NUMBER.fullmatch(text) for text in texts):
        return None
    account_id, rate, credit_micro = map(int, texts)
    fits = currency in credits.DECIMALS and 0 < asked_minor <= credits.LARGEST_MINOR and rate > 0
    if not fits or credits.bought_nano(asked_minor, rate) != credit_micro * 1000 or not credit_micro:
        return None
    session = facts if isinstance(facts, SessionFacts) else None
    return intended(
        topup_id,
        account_id,
        kind,
        currency=currency,
        amount_minor=asked_minor,
        rate_micro=rate,
        credit_nano=credit_micro * 1000,
        livemode=facts.livemode,
        params="{}",
        customer=facts.customer,
        now_ms=facts.created_at_ms,
        next_poll_at_ms=facts.created_at_ms,
        session_id=session.id if session else None,
        session_expires_at_ms=session.expires_at_ms if session else None,
        payment_intent=None if session else facts.id,
    )
