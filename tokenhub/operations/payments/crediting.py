"""The one transaction in which a top-up changes and its credit is posted, whoever noticed the payment."""

from typing import Any

from tokenhub import clock, failpoints
from tokenhub.billing import lots
from tokenhub.billing.notices import NoticeKind
from tokenhub.billing.payments import PaymentFacts, SessionFacts
from tokenhub.billing.topups import CHECKOUT, Paid, Topup, TopupState, Verdict, decide, missing_methods, next_poll_ms
from tokenhub.operations import dates, notices
from tokenhub.operations.hub import Hub
from tokenhub.store import ledger, recharges, topups


def settle(
    hub: Hub, topup_id: str, *, session: SessionFacts | None = None, payment: PaymentFacts | None = None
) -> Topup:
    """Bring a top-up to what Stripe says now, and credit it if it is paid; return it as it is then.

    The decision is made on the row that is read under the account's lock, so however many
    processes have the same news, one of them credits. Without news nothing is locked or written,
    for links are looked at often. Raises NotFound for an unknown top-up.
    """
    failpoints.hit("topup.read")
    topup = topups.get(hub.database, topup_id)
    if _is_no_news(topup, decide(topup, hub.instance, session, payment), session, payment):
        return topup
    with hub.database.write():
        topup = topups.locked(hub.database, topup_id)
        verdict = decide(topup, hub.instance, session, payment)
        if verdict is None:
            return topup
        now_ms = clock.now_ms()
        if verdict.paid is not None:
            changes = _credited(hub, topup, verdict, verdict.paid, payment, now_ms)
        else:
            changes = _seen(topup, verdict, session, payment, now_ms)
        if session is not None and (verdict.paid is not None or verdict.state is not TopupState.REVIEW):
            changes["session_id"] = session.id
        topups.update(hub.database, topup_id, now_ms, changes)
        if verdict.state is TopupState.REVIEW:
            _tell(hub, topup, verdict.reason)
        failpoints.hit("topup.crediting")
    failpoints.hit("topup.credited")
    return topups.get(hub.database, topup_id)


def _is_no_news(
    topup: Topup, verdict: Verdict | None, session: SessionFacts | None, payment: PaymentFacts | None
) -> bool:
    """Whether a row already says all that there is to say, and when it is looked at next."""
    if verdict is None or verdict.paid is not None:
        return verdict is None
    now_ms = clock.now_ms()
    changes = _seen(topup, verdict, session, payment, now_ms)
    next_ms = changes.pop("next_poll_at", topup.next_poll_at_ms)
    awaits_look = topup.next_poll_at_ms is None if next_ms is None else (topup.next_poll_at_ms or 0) > now_ms
    known = {
        "state": topup.state,
        "reason": topup.reason,
        "url": topup.url,
        "offered": topup.offered,
        "session_expires_at": topup.session_expires_at_ms,
        "payment_intent": topup.payment_intent,
        "charge_id": topup.charge_id,
    }
    return awaits_look and all(known[name] == value for name, value in changes.items())


def _credited(
    hub: Hub, topup: Topup, verdict: Verdict, paid: Paid, payment: PaymentFacts | None, now_ms: int
) -> dict[str, Any]:
    """Post the credit, in the caller's write, and return what changes in the row."""
    paid_at_ms = min(payment.paid_at_ms or now_ms, now_ms) if payment else now_ms
    expires_at_ms = max(dates.months_later(paid_at_ms, lots.VALID_MONTHS), now_ms + lots.GRACE_MS)
    lot = ledger.post_topup(
        hub.database,
        topup.account_id,
        paid.credit_nano,
        paid.payment_intent,
        expires_at_ms,
        hub.database.now_ms(),
        topup.id,
    )
    if topup.kind == CHECKOUT:
        recharges.cleared_by_topup(hub.database, topup.account_id)
    saves_card = topup.kind == CHECKOUT and topup.customer is not None
    return {
        "state": verdict.state.value,
        "reason": verdict.reason,
        "url": None,
        "payment_intent": paid.payment_intent,
        "charge_id": payment.charge if payment else None,
        "credit": paid.credit_nano,
        "paid_amount": paid.amount_minor,
        "paid_total": paid.total_minor,
        "paid_at": paid_at_ms,
        "lot_id": lot.id,
        "recharge_of": None,
        "next_poll_at": now_ms if saves_card else None,
    }


def _seen(
    topup: Topup, verdict: Verdict, session: SessionFacts | None, payment: PaymentFacts | None, now_ms: int
) -> dict[str, Any]:
    """Return what changes in the row of a top-up that is not paid."""
    changes: dict[str, Any] = {"state": verdict.state.value, "reason": verdict.reason}
    ends_ms = topup.session_expires_at_ms
    if verdict.state is not TopupState.REVIEW and session is not None:
        ends_ms = session.expires_at_ms
        url = None if missing_methods(session) else session.url
        changes |= {"url": url, "offered": session.offered, "session_expires_at": ends_ms}
    if verdict.state is not TopupState.REVIEW and payment is not None:
        changes |= {"payment_intent": payment.id, "charge_id": payment.charge}
    if topup.kind == CHECKOUT:
        changes["next_poll_at"] = next_poll_ms(verdict.state, topup.created_at_ms, ends_ms, now_ms)
    return changes


def _tell(hub: Hub, topup: Topup, reason: str) -> None:
    """Tell the operator of a top-up that needs a look, once for each reason."""
    if (topup.state, topup.reason) != (TopupState.REVIEW, reason):
        body = {"topup": topup.id, "reason": reason}
        notices.tell(hub, NoticeKind.TOPUP_REVIEW, f"{topup.id}:{reason}"[:200], topup.account_id, body)
