"""A top-up's life: which state follows from what Stripe says.

    new ──session made──> open ──paid──> paid
     │                     │ └──complete, unpaid──> processing ──failed, canceled──> failed
     │                     └──expired──> expired
     ├──definite no──> rejected
     └──never answered, nothing found──> abandoned

From every state without credit, a payment that succeeded leads to ``paid``; what does not fit
together (currency, mode, installation, session) leads to ``review`` without credit, and a
payment of another amount than was asked for to ``review`` with the credit that was paid for.
A top-up that has its lot is never changed again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tokenhub.billing import credits
from tokenhub.billing.payments import PaymentFacts, SessionFacts
from tokenhub.billing.periods import DAY_MS

CHECKOUT: Final = "checkout"
"""A top-up that a person pays at a link."""
RECHARGE: Final = "recharge"
"""One that the gateway charges to a saved card."""

TOPUP: Final = "tokenhub_topup"
INSTANCE: Final = "tokenhub_instance"
ACCOUNT: Final = "tokenhub_account"
ACCOUNT_SINCE: Final = "tokenhub_account_since"
"""When the account was made: a restored database may give its number to another."""
CREDIT: Final = "credit_micro"
RATE: Final = "rate"
WANTED: Final = "tokenhub_methods"
"""The payment methods that were asked for by name; all of them must be offered."""

_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000
WATCHED_MS: Final = 2 * DAY_MS
"""How long after its session's end a top-up is still looked at by itself."""


class TopupState(StrEnum):
    """Where a top-up is."""

    NEW = "new"
    """The intent; what Stripe made of it is not known."""
    OPEN = "open"
    PROCESSING = "processing"
    PAID = "paid"
    REVIEW = "review"
    EXPIRED = "expired"
    FAILED = "failed"
    REJECTED = "rejected"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Topup:
    """A top-up. Amounts ``_minor`` are minor units of ``currency``, ``rate_micro`` its millionths for one USD."""

    id: str
    account_id: int
    kind: str
    """``CHECKOUT`` or ``RECHARGE``."""
    state: str
    currency: str
    amount_minor: int
    rate_micro: int
    credit_nano: int
    """What the amount buys; once paid, what was bought."""
    livemode: bool
    attempt: int
    params: str
    """JSON: exactly what is posted."""
    session_id: str | None
    payment_intent: str | None
    charge_id: str | None
    customer: str | None
    url: str | None
    offered: tuple[str, ...]
    paid_amount_minor: int | None
    """Without tax: what buys the credit."""
    paid_total_minor: int | None
    paid_at_ms: int | None
    lot_id: int | None
    recharge_of: int | None
    reason: str
    session_expires_at_ms: int | None
    next_poll_at_ms: int | None
    created_at_ms: int
    updated_at_ms: int


def payment_metadata(
    instance: str, topup_id: str, account_id: int, since_ms: int, *, credit_nano: int, rate_micro: int
) -> dict[str, str]:
    """Return what Stripe keeps of a top-up with its payment: enough to make its row again (``payments/finding.py``)."""
    return {
        TOPUP: topup_id,
        INSTANCE: instance,
        ACCOUNT: str(account_id),
        ACCOUNT_SINCE: str(since_ms),
        CREDIT: str(credit_nano // 1000),
        RATE: str(rate_micro),
    }


def intended(
    topup_id: str,
    account_id: int,
    kind: str,
    *,
    currency: str,
    amount_minor: int,
    rate_micro: int,
    credit_nano: int,
    livemode: bool,
    params: str,
    customer: str | None,
    now_ms: int,
    next_poll_at_ms: int,
    session_id: str | None = None,
    session_expires_at_ms: int | None = None,
    payment_intent: str | None = None,
    offered: tuple[str, ...] = (),
    recharge_of: int | None = None,
) -> Topup:
    """Return a top-up that is asked for: nothing of it is paid, and what Stripe made of it is not known."""
    return Topup(
        id=topup_id,
        account_id=account_id,
        kind=kind,
        state=TopupState.NEW.value,
        currency=currency,
        amount_minor=amount_minor,
        rate_micro=rate_micro,
        credit_nano=credit_nano,
        livemode=livemode,
        attempt=1,
        params=params,
        session_id=session_id,
        payment_intent=payment_intent,
        charge_id=None,
        customer=customer,
        url=None,
        offered=offered,
        paid_amount_minor=None,
        paid_total_minor=None,
        paid_at_ms=None,
        lot_id=None,
        recharge_of=recharge_of,
        reason="",
        session_expires_at_ms=session_expires_at_ms,
        next_poll_at_ms=next_poll_at_ms,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )


@dataclass(frozen=True, slots=True)
class Paid:
    """Money that came, and the credit it buys."""

    payment_intent: str
    amount_minor: int
    total_minor: int
    credit_nano: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with a top-up: its next state, and what to credit, if anything."""

    state: TopupState
    reason: str = ""
    paid: Paid | None = None


def decide(
    topup: Topup, instance: str, session: SessionFacts | None = None, payment: PaymentFacts | None = None
) -> Verdict | None:
    """Say what follows for a top-up from its session and payment, as Stripe has them now; None: nothing.

    ``session`` is None for an automatic recharge. Calling it again with the same facts on the
    top-up that came of it gives None, or the same state without credit.
    """
    if topup.lot_id is not None:
        return None
    fault = next(_faults(topup, instance, session, payment), None)
    if fault is not None:
        return Verdict(TopupState.REVIEW, fault)
    if session is not None and session.payment_status == "no_payment_required":
        return Verdict(TopupState.REVIEW, "no payment was required")
    if _is_paid(session, payment):
        return _paid(topup, session, payment)
    state = _unpaid(TopupState(topup.state), session, payment)
    missing = missing_methods(session) if session is not None and state is TopupState.OPEN else ()
    if missing:
        return Verdict(state, f"not offered: {', '.join(missing)}")
    return Verdict(state, topup.reason if state in (topup.state, TopupState.EXPIRED) else "")


def missing_methods(session: SessionFacts) -> tuple[str, ...]:
    """Return the payment methods that were asked for by name and are not offered: nobody may pay another way."""
    wanted = filter(None, session.metadata.get(WANTED, "").split(","))
    return tuple(method for method in wanted if method not in session.offered)


def _faults(topup: Topup, instance: str, session: SessionFacts | None, payment: PaymentFacts | None) -> Iterator[str]:
    """Name whatever does not belong to this top-up."""
    if session is not None:
        if topup.session_id not in (None, session.id):
            yield f"another session names it: {session.id}"
        if session.client_reference_id != topup.id:
            yield "the session names another top-up"
        if payment is not None and session.payment_intent != payment.id:
            yield f"another payment than the session's: {payment.id}"
    if payment is not None and topup.payment_intent not in (None, payment.id):
        yield f"another payment names it: {payment.id}"
    for name, facts in (("session", session), ("payment", payment)):
        if facts is None:
            continue
        if facts.metadata.get(TOPUP) != topup.id:
            yield f"the {name} names another top-up"
        if facts.metadata.get(INSTANCE) != instance:
            yield f"the {name} names another installation"
        if facts.livemode is not topup.livemode:
            yield f"the {name} is of the other mode"
        if facts.currency != topup.currency:
            yield f"the {name} is in {facts.currency}, not {topup.currency}"


def _is_paid(session: SessionFacts | None, payment: PaymentFacts | None) -> bool:
    if payment is not None and payment.status == "succeeded":
        return True
    return session is not None and session.status == "complete" and session.payment_status == "paid"


def _paid(topup: Topup, session: SessionFacts | None, payment: PaymentFacts | None) -> Verdict:
    payment_intent = payment.id if payment else session.payment_intent if session else None
    total = _total(session, payment)
    amount = (
        total
        if session is None or session.amount_subtotal is None
        else session.amount_subtotal - session.amount_discount
    )
    amount = min(amount, total)
    bought = credits.bought_nano(amount, topup.rate_micro)
    if payment_intent is None or bought <= 0:
        return Verdict(TopupState.REVIEW, "paid, but by no payment that could be credited")
    paid = Paid(payment_intent, amount, total, bought)
    if amount == topup.amount_minor:
        return Verdict(TopupState.PAID, "", paid)
    asked, came = (credits.major(minor, topup.currency) for minor in (topup.amount_minor, amount))
    return Verdict(TopupState.REVIEW, f"{came} of {asked} {topup.currency.upper()} was paid", paid)


def _total(session: SessionFacts | None, payment: PaymentFacts | None) -> int:
    """Return what was paid in all: what the payment received, or the session's total while that is not known."""
    if payment is not None and payment.status == "succeeded":
        return payment.amount_received
    return (session.amount_total if session is not None else None) or 0


def _unpaid(state: TopupState, session: SessionFacts | None, payment: PaymentFacts | None) -> TopupState:
    if state is TopupState.REVIEW:
        return state
    gave_up = payment is not None and payment.status == "canceled"
    if session is None:
        declined = payment is not None and payment.status == "requires_payment_method"
        return TopupState.FAILED if gave_up or declined else TopupState.PROCESSING
    if session.status == "expired":
        return TopupState.EXPIRED
    if session.status == "complete":
        failed = gave_up or (payment is not None and payment.status == "requires_payment_method")
        return TopupState.FAILED if failed else TopupState.PROCESSING
    return TopupState.OPEN


_STEPS: Final = ((2 * _MINUTE_MS, 5 * _SECOND_MS), (15 * _MINUTE_MS, 15 * _SECOND_MS))
"""A link is looked at every 5 s for 2 min, every 15 s to 15 min, then every minute."""


def next_poll_ms(state: str, created_at_ms: int, session_expires_at_ms: int | None, now_ms: int) -> int | None:
    """Return when a top-up without credit is looked at next; None: only when an event or a sweep names it."""
    age_ms = now_ms - created_at_ms
    over_ms = (session_expires_at_ms or created_at_ms + DAY_MS) + WATCHED_MS
    match state:
        case TopupState.NEW:
            return now_ms + (_MINUTE_MS if age_ms < _HOUR_MS else 15 * _MINUTE_MS)
        case TopupState.OPEN if now_ms < over_ms:
            return now_ms + next((pause for until, pause in _STEPS if age_ms < until), _MINUTE_MS)
        case TopupState.PROCESSING if age_ms < 90 * DAY_MS:
            return now_ms + (_MINUTE_MS if age_ms < DAY_MS else _HOUR_MS)
        case TopupState.EXPIRED if now_ms < over_ms:
            return now_ms + 10 * _MINUTE_MS
        case TopupState.REVIEW | TopupState.FAILED if now_ms < over_ms:
            return now_ms + _HOUR_MS
    return None
