"""Top-ups: made, looked at again, listed.

``reconcile`` is the one place where all who hear of a payment end: the command that waits, the
gateway's polls, webhooks and sweeps. It asks Stripe how things are and lets ``crediting``
decide; told again, it changes nothing.
"""

import json
from collections.abc import Sequence
from typing import Final

from tokenhub import clock, failpoints
from tokenhub.billing.payments import PaymentFacts, SessionFacts
from tokenhub.billing.polling import KEY_LIFE_MS
from tokenhub.billing.topups import CHECKOUT, INSTANCE, TopupState, next_poll_ms
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.operations import accounts
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import checkout, connection, crediting, recharges
from tokenhub.operations.payments.checkout import check as check
from tokenhub.operations.payments.stripe_api import (
    StripeApi,
    StripeAuth,
    StripeError,
    StripeLimited,
    StripeNotFound,
    StripeRefused,
    StripeUnknown,
)
from tokenhub.store import topups as store
from tokenhub.store.topups import Topup as Topup

_SLACK_MS: Final = 300_000
"""How far this clock and Stripe's may be apart when what was made since a moment is looked for."""


def create(
    hub: Hub,
    account_id: int,
    amount_minor: int,
    currency: str,
    methods: Sequence[str] = (),
    *,
    save_card: bool = False,
) -> Topup:
    """Open a link where an account's credit can be paid: ``amount_minor`` cents or fen, at today's rate.

    ``methods`` names the ways to pay; all of them must be offered, or nothing is left open and
    InvalidRequest says what is. Without an answer of Stripe's the top-up is returned as ``new``,
    and the gateway goes on asking. Raises InvalidRequest and NotFound before anything is
    written or asked, SetupError without Stripe, and StripeError for a definite no.
    """
    order = checkout.check(hub, amount_minor, currency, methods, save_card=save_card)
    accounts.the_account(hub, str(account_id))
    owner = accounts.state(hub, account_id)
    api = connection.connect(hub)
    customer = recharges.customer_for(hub, api, account_id) if save_card else None
    try:
        topup = _begin(hub, api, checkout.intent(hub, owner, order, customer, clock.now_ms()))
    except StripeNotFound as error:
        if customer is None or error.param != "customer":
            raise
        customer = recharges.customer_for(hub, api, account_id, gone=customer)
        topup = _begin(hub, api, checkout.intent(hub, owner, order, customer, clock.now_ms()))
    if topup.session_id is not None and topup.url is None and topup.reason:
        raise InvalidRequest(
            f"Stripe does not offer this for the account and currency ({topup.reason}); "
            f"it offers {', '.join(topup.offered) or 'nothing'}. Nothing is left open.",
            param="method",
        )
    return topup


def reconcile(hub: Hub, api: StripeApi, topup_id: str) -> Topup:
    """Ask Stripe how a top-up stands and bring it there; return it as it is then.

    Raises NotFound, and StripeError when Stripe could not be asked: nothing has changed then.
    """
    topup = store.get(hub.database, topup_id)
    if topup.kind != CHECKOUT:
        recharges.reconcile(hub, api, topup_id)
        return store.get(hub.database, topup_id)
    if topup.lot_id is not None:
        return _finish(hub, api, topup, None)
    if topup.session_id is not None:
        return see(hub, api, topup, api.session(topup.session_id))
    if topup.state == TopupState.NEW:
        return _resume(hub, api, topup)
    return topup


def see(hub: Hub, api: StripeApi, topup: Topup, session: SessionFacts) -> Topup:
    """Bring a top-up to what a session of its name says; one without a session takes it for its own."""
    payment = api.payment(session.payment_intent) if session.payment_intent else None
    topup = crediting.settle(hub, topup.id, session=session, payment=payment)
    if topup.state == TopupState.OPEN and topup.url is None:
        topup = _withdraw(hub, api, topup)
    return _finish(hub, api, topup, payment)


def get(hub: Hub, topup_id: str) -> Topup:
    """Return a top-up by its id or an unmistakable start of it. Raises NotFound, InvalidRequest."""
    found = store.find(hub.database, topup_id)
    if found is not None:
        return found
    found_ones = store.starting_with(hub.database, topup_id) if topup_id.startswith("topup_") else []
    if not found_ones:
        raise NotFound(f"There is no top-up {topup_id[:60]!r}. See: tokenhub topups list", param="topup")
    if len(found_ones) > 1:
        raise InvalidRequest(f"Several top-ups begin with {topup_id[:60]!r}: give more of the id.", param="topup")
    return found_ones[0]


def listing(hub: Hub, account_id: int | None = None, limit: int = 100) -> list[Topup]:
    """Return top-ups of one account or of all, the newest first."""
    return store.listing(hub.database, account_id, limit=limit)


# Making the session


def _begin(hub: Hub, api: StripeApi, intended: Topup) -> Topup:
    """Write down what is wanted, then ask for it."""
    with hub.database.write():
        store.insert(hub.database, intended)
    failpoints.hit("topup.intent")
    return _post(hub, api, intended, first=True)


def _post(hub: Hub, api: StripeApi, topup: Topup, *, first: bool) -> Topup:
    """Ask for the session; the key makes it one, however often it is asked for.

    What an earlier request may have done is never taken for undone because a later one could
    not get in: only the first may be given up for a key that is not accepted.
    """
    key = f"th:{hub.instance}:{topup.id}:s{topup.attempt}"
    try:
        session = api.create_session(json.loads(topup.params), key)
    except StripeRefused as error:
        _end(hub, topup, TopupState.REJECTED, error.reason)
        raise
    except StripeAuth:
        if first:
            _end(hub, topup, TopupState.REJECTED, "the secret key was not accepted")
        raise
    except StripeUnknown:
        return _look_for(hub, api, topup)
    except StripeLimited:
        return _later(hub, topup, "Stripe takes no more requests for now")
    failpoints.hit("topup.posted")
    topup = see(hub, api, topup, session)
    failpoints.hit("topup.stored")
    return topup


def _resume(hub: Hub, api: StripeApi, topup: Topup) -> Topup:
    """Go on with a top-up of which nothing is known but its intent."""
    if clock.now_ms() - topup.created_at_ms < KEY_LIFE_MS:
        return _post(hub, api, topup, first=False)
    session = _session_of(hub, api, topup)
    if session is not None:
        return see(hub, api, topup, session)
    return _end(hub, topup, TopupState.ABANDONED, "Stripe never answered, and has no session of it")


def _look_for(hub: Hub, api: StripeApi, topup: Topup) -> Topup:
    """After a POST without an answer: take the session if it was made after all, else try again later."""
    try:
        session = _session_of(hub, api, topup)
    except StripeError:
        session = None
    if session is None:
        return _later(hub, topup, "Stripe has not answered yet")
    return see(hub, api, topup, session)


def _session_of(hub: Hub, api: StripeApi, topup: Topup) -> SessionFacts | None:
    for session in api.sessions(topup.created_at_ms - _SLACK_MS):
        if session.client_reference_id == topup.id and session.metadata.get(INSTANCE) == hub.instance:
            return session
    return None


def _end(hub: Hub, topup: Topup, state: TopupState, reason: str) -> Topup:
    return _change(hub, topup, state.value, reason, None)


def _later(hub: Hub, topup: Topup, reason: str) -> Topup:
    now_ms = clock.now_ms()
    poll_ms = next_poll_ms(topup.state, topup.created_at_ms, topup.session_expires_at_ms, now_ms)
    return _change(hub, topup, topup.state, reason, poll_ms)


def _change(hub: Hub, topup: Topup, state: str, reason: str, poll_ms: int | None) -> Topup:
    """Write what became of a POST, unless the session was found by somebody else meanwhile."""
    with hub.database.write():
        kept = store.locked(hub.database, topup.id)
        if kept.session_id is not None or kept.state != TopupState.NEW:
            return kept
        changes = {"state": state, "reason": reason, "next_poll_at": poll_ms}
        store.update(hub.database, topup.id, clock.now_ms(), changes)
        return store.get(hub.database, topup.id)


# After the session is made


def _withdraw(hub: Hub, api: StripeApi, topup: Topup) -> Topup:
    """Close a session that does not offer what was asked for; its link was given to nobody."""
    session_id = topup.session_id
    assert session_id is not None
    try:
        session = api.expire_session(session_id)
    except StripeRefused:
        session = api.session(session_id)
    failpoints.hit("topup.withdrawn")
    return crediting.settle(hub, topup.id, session=session)


def _finish(hub: Hub, api: StripeApi, topup: Topup, payment: PaymentFacts | None) -> Topup:
    """Do what is left to do for a top-up that is credited: keep the card that was to be saved."""
    if topup.lot_id is None or topup.next_poll_at_ms is None or topup.payment_intent is None:
        return topup
    payment = payment or api.payment(topup.payment_intent)
    recharges.keep_card(hub, payment)
    failpoints.hit("topup.kept_card")
    with hub.database.write():
        store.update(hub.database, topup.id, clock.now_ms(), {"next_poll_at": None})
    return store.get(hub.database, topup.id)
