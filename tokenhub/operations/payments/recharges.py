"""Automatic recharges: an account whose balance runs low buys credit with the card that it has saved.

Here they are set, and looked at when they are due; one attempt is in ``charging.py``, cards are
in ``cards.py``, and the brakes in ``billing/recharges.py``.
"""

from dataclasses import dataclass, replace
from typing import Final

from tokenhub import clock, failpoints
from tokenhub.billing import credits
from tokenhub.billing import recharges as rules
from tokenhub.billing.payments import PaymentFacts
from tokenhub.billing.periods import month_start_ms
from tokenhub.billing.polling import KEY_LIFE_MS
from tokenhub.billing.recharges import Recharge, RechargeState
from tokenhub.billing.topups import RECHARGE, TOPUP, Topup, TopupState
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.money import NANO_PER_USD
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import charging, checkout, rounds
from tokenhub.operations.payments.cards import card_detached as card_detached
from tokenhub.operations.payments.cards import customer_for as customer_for
from tokenhub.operations.payments.cards import keep_card as keep_card
from tokenhub.operations.payments.stripe_api import StripeApi
from tokenhub.store import disputes, topups
from tokenhub.store import recharges as store

_BATCH: Final = 100
_SEARCHED_MS: Final = 600_000
"""How much before an attempt its payment is searched for: clocks differ."""
_IN_FLIGHT_MS: Final = 3_600_000
"""After so long a charge that Stripe does not know has never arrived."""


@dataclass(frozen=True, slots=True)
class State:
    """An account's automatic recharge. ``_minor`` are US cents."""

    state: RechargeState
    amount_minor: int
    below_nano: int
    monthly_cap_minor: int
    month_total_minor: int
    """Of this month, what is under way included."""
    reason: str
    """Why it is suspended, or will be once it is turned on."""
    declines: int
    """In a row."""
    attempted_at_ms: int | None
    card: str
    """Brand and last four digits; "" while no card is saved."""
    payment_method: str | None
    under_way: str | None
    """The top-up that is being paid."""


def state(hub: Hub, account_id: int) -> State | None:
    """Return an account's automatic recharge; None when it never had one."""
    with hub.database.read():
        recharge = store.get(hub.database, account_id)
        customer = store.customer_of(hub.database, account_id)
        under_way = store.under_way(hub.database, account_id)
    if recharge is None:
        return None
    is_this_month = recharge.month_start_ms == month_start_ms(clock.now_ms())
    return State(
        recharge.state, recharge.amount_minor, recharge.below_nano, recharge.monthly_cap_minor,
        recharge.month_total_minor if is_this_month else 0, recharge.reason, recharge.declines, recharge.attempted_at_ms,
        customer.card if customer else "", customer.payment_method if customer else None, under_way,
    )  # fmt: skip


def card(hub: Hub, account_id: int) -> str:
    """Return the name of the card that is kept for an account; empty without one."""
    customer = store.customer_of(hub.database, account_id)
    return customer.card if customer else ""


def configure(hub: Hub, account_id: int, amount_minor: int, below_nano: int, cap_minor: int) -> State:
    """Let an account buy credit by itself, or change how; a suspension stays until it is resumed.

    One that is turned on while a payment is disputed, or after a dispute or a warning that nobody
    has resumed from, is suspended, as one that was on is. Raises InvalidRequest for amounts that
    cannot be: the amount must be one that can be topped up by hand, and the month's cap at least
    that.
    """
    checkout.check(hub, amount_minor, charging.CURRENCY, ("card",))
    if type(below_nano) is not int or not 0 < below_nano <= 10**6 * NANO_PER_USD:
        raise InvalidRequest("The balance to recharge below must be above 0 and at most 1000000 USD.", param="below")
    if type(cap_minor) is not int or not amount_minor <= cap_minor <= credits.LARGEST_MINOR:
        raise InvalidRequest("The monthly cap must be at least the amount of one recharge.", param="monthly_cap")
    with hub.database.write():
        store.locked_balance(hub.database, account_id)
        known = store.get(hub.database, account_id) or Recharge(RechargeState.OFF, 0, 0, 0)
        if known.state is RechargeState.OFF:
            reason = known.reason or (rules.DISPUTED if disputes.is_open(hub.database, account_id) else "")
            known = replace(known, state=RechargeState.SUSPENDED if reason else RechargeState.ON, reason=reason)
        wanted = replace(
            known,
            amount_minor=amount_minor,
            below_nano=below_nano,
            monthly_cap_minor=cap_minor,
        )
        store.save(hub.database, account_id, wanted, clock.now_ms())
    return _existing(hub, account_id)


def off(hub: Hub, account_id: int) -> State:
    """Stop buying by itself; what is under way is brought to its end. Raises NotFound where there is no recharge.

    A dispute or a warning is not forgotten by it.
    """
    return _switched(hub, account_id, RechargeState.OFF)


def resume(hub: Hub, account_id: int) -> State:
    """Go on after a suspension, or after ``off``. Raises NotFound where there is no recharge."""
    return _switched(hub, account_id, RechargeState.ON)


def suspend_for_fraud(hub: Hub, account_id: int) -> None:
    """Charge a card no more of whose payments one is suspected of fraud, until a person resumes; in the caller's write."""
    store.locked_balance(hub.database, account_id)
    store.suspend(hub.database, account_id, rules.SUSPECTED)


def _switched(hub: Hub, account_id: int, to: RechargeState) -> State:
    with hub.database.write():
        store.locked_balance(hub.database, account_id)
        known = store.get(hub.database, account_id)
        if known is None:
            raise _none_there()
        reason = known.reason if to is RechargeState.OFF and known.reason in rules.LASTING else ""
        store.save(hub.database, account_id, replace(known, state=to, reason=reason, declines=0), clock.now_ms())
    return _existing(hub, account_id)


def _existing(hub: Hub, account_id: int) -> State:
    found = state(hub, account_id)
    if found is None:
        raise _none_there()
    return found


def _none_there() -> NotFound:
    return NotFound(
        "This account has no automatic recharge. Set one: tokenhub accounts set NAME --auto-recharge AMOUNT --below AMOUNT --monthly-cap AMOUNT"
    )


# --- buying --------------------------------------------------------------------------------------------------


def work(hub: Hub, api: StripeApi, now_ms: int) -> None:
    """Bring what is under way to its end."""
    due = [topup.id for topup in topups.due(hub.database, now_ms, _BATCH, kind=RECHARGE)]
    rounds.each("recharge", due, lambda topup_id: reconcile(hub, api, topup_id), lambda one: charging.wait(hub, one))


def begin(hub: Hub, api: StripeApi, now_ms: int) -> None:
    """Begin what is due."""
    waiting = store.candidates(hub.database, now_ms, _BATCH)
    rounds.each("recharge", waiting, lambda account_id: attempt(hub, api, account_id), lambda _: None)


def attempt(hub: Hub, api: StripeApi, account_id: int) -> Topup | None:
    """Recharge an account, if that is due; None when it is not."""
    topup = charging.claim(hub, account_id)
    if topup is None:
        return None
    failpoints.hit("recharge.claimed")
    return charging.charge(hub, api, topup)


def reconcile(hub: Hub, api: StripeApi, topup_id: str) -> Topup:
    """Bring a recharge up to date with Stripe; twice is as good as once.

    One whose answer was lost is asked for again with its own key, as long as it would still be
    begun; else, or when the key is too old, its payment is searched for instead.
    """
    topup = topups.get(hub.database, topup_id)
    if topup.lot_id is not None:
        return topup if topup.next_poll_at_ms is None else charging.wait(hub, topup.id)
    if topup.payment_intent is not None:
        return charging.settle(hub, topup, api.payment(topup.payment_intent))
    may_repeat = _may_repeat(hub, topup)
    found = None if may_repeat else _search(api, topup)
    if found is not None:
        return charging.settle(hub, topup, found)
    if topup.state != TopupState.NEW:
        return topup
    if may_repeat:
        return charging.charge(hub, api, topup)
    if clock.now_ms() - topup.created_at_ms < _IN_FLIGHT_MS:
        return charging.wait(hub, topup.id)
    return charging.end(hub, topup.id, TopupState.ABANDONED, "Stripe never had it", None)


def _may_repeat(hub: Hub, topup: Topup) -> bool:
    is_known_key = clock.now_ms() - topup.created_at_ms < KEY_LIFE_MS
    return topup.state == TopupState.NEW and is_known_key and charging.is_wanted(hub, topup)


def _search(api: StripeApi, topup: Topup) -> PaymentFacts | None:
    made = api.payments(topup.created_at_ms - _SEARCHED_MS)
    return next((payment for payment in made if payment.metadata.get(TOPUP) == topup.id), None)
