"""All that Stripe has since a moment, compared with the rows here: what was missed is mended.

The last resort, when no webhook came and events were not read for longer than Stripe keeps
them, and what ``tokenhub topups reconcile`` does. Run twice, it finds nothing the second time.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tokenhub import clock, failpoints
from tokenhub.billing.payments import DisputeFacts, PaymentFacts, RefundFacts, SessionFacts
from tokenhub.billing.periods import DAY_MS
from tokenhub.billing.topups import INSTANCE, TOPUP, Topup, TopupState
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import connection, disputes, finding, refunds
from tokenhub.operations.payments.finding import Found
from tokenhub.operations.payments.stripe_api import StripeApi
from tokenhub.store import revision, stripe_events, topups

DAILY_MS: Final = DAY_MS
LOOKBACK_MS: Final = 7 * DAY_MS
"""How long before the last comparison the next one begins: what was made then may have been paid since."""
_RETRY_MS: Final = 600_000
Reversal = RefundFacts | DisputeFacts
_AWAITED: Final = frozenset({TopupState.NEW, TopupState.OPEN, TopupState.PROCESSING})


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that was not here as Stripe has it, and is now."""

    kind: str
    """topup, refund, dispute."""
    subject: str
    """The id that it is known by."""
    message: str


def reconcile_since(hub: Hub, since_ms: int, api: StripeApi | None = None) -> list[Repair]:
    """Compare sessions, payments, refunds and disputes made since a moment; mend, and say what was mended.

    Raises SetupError without Stripe, and StripeError when it cannot be read to the end: what
    was mended by then stays mended.
    """
    api = api or connection.connect(hub)
    repairs: list[Repair] = []
    for session in api.sessions(since_ms):
        if _is_ours(hub, session.metadata) and _differs(hub, session):
            repairs += _mended(hub, api, session, finding.of_session)
    for payment in api.payments(since_ms):
        if _is_ours(hub, payment.metadata) and _is_missed(hub, payment):
            repairs += _mended(hub, api, payment, finding.of_payment)
    repairs += _reversals(
        hub,
        "refund",
        api.refunds(since_ms),
        refunds.of_topup,
        lambda _, payment_intent: refunds.reconcile_payment(hub, api, payment_intent),
    )
    repairs += _reversals(
        hub,
        "dispute",
        api.disputes(since_ms),
        disputes.of_topup,
        lambda facts, _: disputes.reconcile(hub, api, facts.id),
    )
    return list(dict.fromkeys(repairs))


def sweep(hub: Hub, api: StripeApi, now_ms: int) -> list[Repair]:
    """Compare everything, if it is due: daily, and after :func:`soon`. A comparison that fails is due again in ten minutes."""
    seen = stripe_events.sweeps(hub.database)
    if seen is None or now_ms < seen.objects_due_at_ms:
        return []
    if not stripe_events.claim_objects(hub.database, seen, now_ms + _RETRY_MS):
        return []
    from_ms = seen.objects_from_ms or revision.created_at_ms(hub.database)
    repairs = reconcile_since(hub, max(0, from_ms - LOOKBACK_MS), api)
    failpoints.hit("objects.compared")
    stripe_events.compared(hub.database, now_ms, now_ms + DAILY_MS)
    return repairs


def is_current(hub: Hub, now_ms: int) -> bool:
    """Whether a comparison of everything has ended since a gateway last started, and none is due or under way."""
    seen = stripe_events.sweeps(hub.database)
    return seen is not None and now_ms < seen.objects_due_at_ms == seen.objects_from_ms + DAILY_MS


def soon(hub: Hub) -> None:
    """Make the comparison of everything due: a gateway has started, which may have been away for long."""
    stripe_events.compare_soon(hub.database, clock.now_ms())


def _is_ours(hub: Hub, metadata: Mapping[str, str]) -> bool:
    return metadata.get(INSTANCE) == hub.instance


def _differs(hub: Hub, session: SessionFacts) -> bool:
    """Whether a session says something that its top-up does not know; without asking more."""
    topup = topups.by_session(hub.database, session.id)
    if topup is None:
        return True
    if topup.lot_id is not None or topup.state == TopupState.REVIEW:
        return False
    if session.status == "complete":
        return session.payment_status != "unpaid" or topup.state != TopupState.PROCESSING
    return session.status == "expired" and topup.state in _AWAITED


def _is_missed(hub: Hub, payment: PaymentFacts) -> bool:
    topup = topups.by_payment(hub.database, payment.id) or topups.find(hub.database, payment.metadata.get(TOPUP, ""))
    if topup is None:
        return payment.status in ("succeeded", "processing")
    return payment.status == "succeeded" and topup.lot_id is None


def _mended(
    hub: Hub, api: StripeApi, facts: SessionFacts | PaymentFacts, find: Callable[[Hub, StripeApi, str], Found]
) -> list[Repair]:
    """Mend a top-up and say what has changed of it."""
    topup_id = facts.metadata.get(TOPUP, "")
    before = topups.find(hub.database, topup_id)
    found = find(hub, api, facts.id)
    if found.trouble:
        return [Repair("topup", topup_id or facts.id, f"Needs a look: {found.trouble}.")]
    after = found.topup
    if after is None or (before is not None and _seen(before) == _seen(after)):
        return []
    made = "Was missing here" if before is None else f"Was {before.state} here"
    credited = ", and is credited" if after.lot_id is not None and (before is None or before.lot_id is None) else ""
    return [Repair("topup", after.id, f"{made}; is {after.state} now{credited}.")]


def _seen(topup: Topup) -> tuple[str, str | None, int | None]:
    return topup.state, topup.session_id, topup.lot_id


def _reversals(
    hub: Hub,
    kind: str,
    listed: Iterable[Reversal],
    read: Callable[[Hub, str], Any],
    mend: Callable[[Reversal, str], object],
) -> list[Repair]:
    """Reconcile the refunds or disputes of every top-up that has some, and say which have changed."""
    repairs: list[Repair] = []
    for facts in listed:
        topup = _paid_by(hub, facts)
        if topup is None or topup.payment_intent is None:
            continue
        before = _states(read(hub, topup.id))
        mend(facts, topup.payment_intent)
        repairs += [
            Repair(kind, one, f"Was {before.get(one, 'missing')} here; is {state} now (top-up {topup.id}).")
            for one, state in _states(read(hub, topup.id)).items()
            if before.get(one) != state
        ]
    return repairs


def _paid_by(hub: Hub, facts: Reversal) -> Topup | None:
    if facts.payment_intent:
        return topups.by_payment(hub.database, facts.payment_intent)
    return topups.by_charge(hub.database, facts.charge) if facts.charge else None


def _states(rows: Any) -> dict[str, str]:
    return {row.id: str(row.state) for row in rows}
