"""Stripe's events: kept first, worked afterwards, swept for those that were never delivered.

An event says only that something happened to an object. What it was is read from the object, so
order, repetition and age of events do not matter: each ends in a ``reconcile``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tokenhub import clock, failpoints
from tokenhub.billing.notices import NoticeKind
from tokenhub.billing.payments import EVENT_TYPES, EventFacts
from tokenhub.errors import HubError
from tokenhub.observability import log
from tokenhub.operations import notices
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import disputes, finding, recharges, refunds
from tokenhub.operations.payments.finding import Found
from tokenhub.operations.payments.stripe_api import StripeApi, StripeAuth, StripeLimited, StripeNotFound, StripeUnknown
from tokenhub.store import stripe_events as store
from tokenhub.store.database import CommitUnknown, StoreError
from tokenhub.store.stripe_events import Event

BATCH: Final = 100
SWEEP_MS: Final = 10_000
OVERLAP_MS: Final = 300_000
"""Stripe may list an event a while after it was made; so far back is read again each time."""
_CLAIM_MS: Final = 120_000
_FIRST_PAUSE_MS: Final = 5_000
_LONGEST_PAUSE_MS: Final = 3_600_000
_MOST_TRIES: Final = 200
"""More than a week of trying; then a person should look."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an event."""

    state: str = store.DONE
    reason: str = ""


def receive(hub: Hub, event: EventFacts, source: str) -> bool:
    """Keep an event to be worked, once; False for one that is of no interest, of the other mode, or kept already.

    One of the other mode (a live payment told to a test installation) is kept for review and
    never worked. ``source``: webhook or sweep. Raises what the store raises when it cannot keep it.
    """
    if event.type not in EVENT_TYPES or store.known(hub.database, event.id):
        return False
    review = "" if event.livemode in (None, store.livemode(hub.database)) else "it is of the other mode"
    kept = store.insert(hub.database, event.id, event.type, event.object_id, source, clock.now_ms(), review=review)
    failpoints.hit("event.stored")
    return kept and not review


def work_inbox(hub: Hub, api: StripeApi, now_ms: int | None = None) -> int:
    """Work the events that are due; return how many were begun. One that fails waits, longer each time.

    When Stripe does not answer the round is over, and the next one begins with the others.
    Raises StripeLimited and StripeAuth, with which none would succeed, and what the store raises.
    """
    begun = 0
    for event in store.due(hub.database, clock.now_ms() if now_ms is None else now_ms, BATCH):
        if store.claim(hub.database, event, clock.now_ms() + _CLAIM_MS):
            failpoints.hit("event.claimed")
            begun += 1
            if not _work(hub, api, event):
                break
    return begun


def _work(hub: Hub, api: StripeApi, event: Event) -> bool:
    """Work one event; False when Stripe does not answer."""
    try:
        outcome = _outcome(hub, api, event)
        failpoints.hit("event.processed")
        store.finish(hub.database, event.id, outcome.state, outcome.reason)
    except (StoreError, CommitUnknown):
        raise
    except (StripeLimited, StripeAuth) as error:
        _postpone(hub, event, error)
        raise
    except Exception as error:
        _postpone(hub, event, error)
        return not isinstance(error, StripeUnknown)
    return True


def _postpone(hub: Hub, event: Event, error: Exception) -> None:
    reason = str(error) if isinstance(error, HubError) else type(error).__name__
    if not isinstance(error, HubError):
        log.failure("stripe_event_failed", error, id=event.id, type=event.type)
    if event.tries + 1 >= _MOST_TRIES:
        store.finish(hub.database, event.id, store.REVIEW, reason)
        return
    pause_ms = min(_FIRST_PAUSE_MS << min(event.tries, 20), _LONGEST_PAUSE_MS)
    store.postpone(hub.database, event.id, reason, clock.now_ms() + pause_ms)


def sweep(hub: Hub, api: StripeApi, now_ms: int | None = None) -> int:
    """Read the events since the last sweep, if one is due; return how many were new.

    What was read is kept before the cursor moves, and it moves only when all was read.
    """
    now_ms = clock.now_ms() if now_ms is None else now_ms
    seen = store.sweeps(hub.database)
    # One that another process has swept is as fresh a little after this process's "now" as before it.
    if seen is None or abs(now_ms - seen.swept_at_ms) < SWEEP_MS:
        return 0
    failpoints.hit("sweep.due")
    if not store.claim_sweep(hub.database, seen, now_ms):
        return 0
    found, newest_ms = 0, seen.event_cursor_ms
    for event in api.events(EVENT_TYPES, seen.event_cursor_ms - OVERLAP_MS):
        found += receive(hub, event, "sweep")
        newest_ms = max(newest_ms, min(event.created_at_ms, now_ms))
    failpoints.hit("sweep.stored")
    if newest_ms > seen.event_cursor_ms:
        store.advance(hub.database, newest_ms)
    failpoints.hit("sweep.advanced")
    return found


# What each event leads to


def _outcome(hub: Hub, api: StripeApi, event: Event) -> Outcome:
    handle = next(handle for prefix, handle in _HANDLERS.items() if event.type.startswith(prefix))
    try:
        return handle(hub, api, event.object_id)
    except StripeNotFound:
        return Outcome(store.IGNORED, "Stripe has no such object")


def _of(found: Found) -> Outcome:
    if found.trouble:
        log.event("stripe_event_needs_a_look", level="warning", reason=found.trouble)
        return Outcome(store.REVIEW, found.trouble)
    return Outcome() if found.topup is not None else Outcome(store.IGNORED, "nothing of this installation")


def _session(hub: Hub, api: StripeApi, session_id: str) -> Outcome:
    return _of(finding.of_session(hub, api, session_id))


def _payment(hub: Hub, api: StripeApi, payment_intent: str) -> Outcome:
    return _of(finding.of_payment(hub, api, payment_intent))


def _refunded_charge(hub: Hub, api: StripeApi, charge_id: str) -> Outcome:
    return _refunds_of(hub, api, finding.of_charge(hub, api, charge_id))


def _refund(hub: Hub, api: StripeApi, refund_id: str) -> Outcome:
    refund = api.refund(refund_id)
    return _refunds_of(hub, api, finding.of_either(hub, api, refund.payment_intent, refund.charge))


def _refunds_of(hub: Hub, api: StripeApi, found: Found) -> Outcome:
    if found.topup is not None and found.topup.payment_intent is not None and not found.trouble:
        refunds.reconcile_payment(hub, api, found.topup.payment_intent)
    return _of(found)


def _dispute(hub: Hub, api: StripeApi, dispute_id: str) -> Outcome:
    dispute = api.dispute(dispute_id)
    found = finding.of_either(hub, api, dispute.payment_intent, dispute.charge)
    if found.topup is not None and not found.trouble:
        disputes.reconcile(hub, api, dispute_id)
    return _of(found)


def _detached(hub: Hub, _: StripeApi, payment_method: str) -> Outcome:
    recharges.card_detached(hub, payment_method)
    return Outcome()


def _fraud_warning(hub: Hub, api: StripeApi, object_id: str) -> Outcome:
    """Tell of a payment that will probably be disputed: sending it back now costs less. Its card is charged no more."""
    by_payment = object_id.startswith("pi_")
    found = finding.of_either(hub, api, object_id if by_payment else None, None if by_payment else object_id)
    if found.topup is not None:
        body = {"topup": found.topup.id, "reason": "the card's issuer suspects fraud; a dispute may follow"}
        with hub.database.write():
            recharges.suspend_for_fraud(hub, found.topup.account_id)
            notices.tell(hub, NoticeKind.TOPUP_REVIEW, f"fraud:{object_id}", found.topup.account_id, body)
    return _of(found)


_HANDLERS: Final[Mapping[str, Callable[[Hub, StripeApi, str], Outcome]]] = {
    "checkout.session.": _session,
    "payment_intent.": _payment,
    "charge.refunded": _refunded_charge,
    "charge.refund.updated": _refund,
    "refund.": _refund,
    "charge.dispute.": _dispute,
    "payment_method.detached": _detached,
    "radar.": _fraud_warning,
}
"""By the beginning of the event's type."""
