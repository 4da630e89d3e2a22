"""What the check-up asks of payments and notices: is Stripe reached, and what waits for a person."""

import shlex
from collections.abc import Callable, Iterator
from typing import Final

from tokenhub import clock, money
from tokenhub.billing.periods import DAY_MS
from tokenhub.operations.findings import Finding, Health
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import connection, webhooks
from tokenhub.operations.payments.stripe_api import StripeAuth, StripeError
from tokenhub.store import stripe_events, troubles
from tokenhub.store.troubles import Trouble

REVIEWS_DAYS: Final = 30
STUCK_MS: Final = 3_600_000
EVENTS_READ_DAYS: Final = 25
"""Stripe tells its events of the last 30 days; what is older has to be compared object by object."""

Check = Callable[[Hub], Iterator[Finding]]


def stripe(hub: Hub) -> Iterator[Finding]:
    """Tell whether payments can be taken: the key, its mode, the webhook, how far events were read."""
    has_secret = bool(webhooks.known_secrets(hub))
    if not connection.is_configured(hub):
        if has_secret:
            yield Finding(
                "stripe", Health.WARNING, "There is a webhook secret but no secret key, so nothing it tells is looked into.",
                "tokenhub config set stripe.secret_key",
            )  # fmt: skip
        else:
            yield Finding("stripe", Health.OK, "Not set up: credit is given by grant alone.")
        return
    yield _key(hub)
    told = (
        "by its webhook, and by asking it" if has_secret else "by asking Stripe every few seconds; there is no webhook"
    )
    yield Finding("stripe", Health.OK, f"Payments are noticed {told}.")
    yield from _sweep(hub)


def _key(hub: Hub) -> Finding:
    mode = "live" if connection.livemode(hub) else "test"
    try:
        connection.connect(hub).livemode()
    except StripeAuth as error:
        return Finding("stripe", Health.FAILED, error.message, "tokenhub config set stripe.secret_key")
    except StripeError as error:
        return Finding(
            "stripe", Health.WARNING, f"Stripe does not answer: {error.message}",
            "Top-ups wait and go on by themselves. See whether this machine reaches Stripe, and status.stripe.com.",
        )  # fmt: skip
    return Finding("stripe", Health.OK, f"Its key is accepted, in {mode} mode.")


def _sweep(hub: Hub) -> Iterator[Finding]:
    found = stripe_events.sweeps(hub.database)
    days = 0 if found is None or not found.swept_at_ms else (clock.now_ms() - found.swept_at_ms) // DAY_MS
    if days >= EVENTS_READ_DAYS:
        yield Finding(
            "stripe", Health.WARNING, f"Stripe's events were last read {days} days ago.",
            "Run the gateway, or compare with Stripe: tokenhub topups reconcile",
        )  # fmt: skip


def waiting(hub: Hub) -> Iterator[Finding]:
    """Name the top-ups, refunds, disputes, recharges and events that do not go on by themselves."""
    now_ms = clock.now_ms()
    since_ms = now_ms - REVIEWS_DAYS * DAY_MS
    found = [
        *_each("top-up", troubles.topups(hub.database, since_ms, now_ms - STUCK_MS), lambda one: f"tokenhub topups show {one}"),
        *_each("refund", troubles.refunds(hub.database, now_ms - DAY_MS), lambda _: "tokenhub topups reconcile"),
        *_each("dispute", troubles.disputes(hub.database), lambda _: "Answer it in the Stripe Dashboard."),
        *_each("recharge of", troubles.suspended_recharges(hub.database), _resume),
        *_each("event", troubles.events(hub.database, since_ms), lambda _: "Look it up in the Stripe Dashboard, under Events."),
    ]  # fmt: skip
    yield from found
    debts = troubles.debts(hub.database)
    if debts.accounts:
        yield Finding(
            "debts", Health.WARNING,
            f"Accounts that owe after refunds or disputes: {debts.accounts}, {money.exact(debts.total_nano)} USD in all.",
            "The next top-up pays it first. See: tokenhub accounts list",
        )  # fmt: skip
    if not found and not debts.accounts:
        yield Finding("payments", Health.OK, "No top-up, refund, dispute or recharge waits for you.")


def _each(kind: str, found: list[Trouble], remedy: Callable[[str], str]) -> Iterator[Finding]:
    for one in found:
        words = f": {one.words}" if one.words else ""
        yield Finding(
            "payments", Health.WARNING, f"The {kind} {one.subject} waits for you{words}.", remedy(one.subject)
        )


def _resume(name: str) -> str:
    return f"tokenhub accounts set {shlex.quote(name)} --resume-recharge"


CHECKS: Final[tuple[Check, ...]] = (stripe, waiting)
