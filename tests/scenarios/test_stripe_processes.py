"""Two processes that see the same payment at the same moment: one of them credits (T24)."""

import os
from collections.abc import Iterator

import pytest

from tests.conftest import process_environment
from tests.fakes.payment_process import PaymentProcess
from tests.fakes.payment_story import NANO_PER_CENT, SECRET, Story
from tests.fakes.stripe import FakeStripe, webhooks
from tokenhub import clock
from tokenhub.operations import accounts, secrets
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import topups
from tokenhub.store import audit, ledger

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
PAYMENTS = 100 if SOAK else 8
STORIES = 20 if SOAK else 1
PROCESSES = 2


@pytest.fixture
def environment(paying_hub: Hub, stripe: FakeStripe) -> dict[str, str]:
    secrets.set(paying_hub, "stripe.webhook_secret", SECRET)
    return process_environment(paying_hub.settings, paying_hub.home) | {"TOKENHUB_STRIPE_API_BASE": stripe.url}


@pytest.fixture
def processes(environment: dict[str, str]) -> Iterator[list[PaymentProcess]]:
    made = [PaymentProcess(environment) for _ in range(PROCESSES)]
    yield made
    for one in made:
        assert one.end() == 0


@pytest.mark.soak
def test_t24_two_processes_that_credit_at_once_credit_once(
    paying_hub: Hub, stripe: FakeStripe, processes: list[PaymentProcess]
) -> None:
    """One takes the webhook and works it, the other asks for the same top-up, and then both do what is due."""
    account_id = accounts.create(paying_hub, "acme").account.id
    for number in range(PAYMENTS):
        opened = topups.create(paying_hub, account_id, 1000 + number, "usd")
        assert opened.session_id is not None
        stripe.pay(opened.session_id)
        payload = webhooks.body(stripe.events[-1])
        first, second = processes if number % 2 else processes[::-1]
        first.tell("webhook", 0, body=payload.decode(), signature=webhooks.signature(payload, SECRET))
        first.tell("work", 0)
        second.tell("reconcile", 0, topup=opened.id)
        second.tell("work", 0)
        answers = [one.answer() for one in (first, first, second, second)]
        assert not any("refused" in one for one in answers), answers
        expected = sum(1000 + paid for paid in range(number + 1)) * NANO_PER_CENT
        assert ledger.balances(paying_hub.database, account_id).available_nano == expected
    assert len(ledger.lots_of(paying_hub.database, account_id)) == PAYMENTS
    assert audit.verify(paying_hub.database) == []


@pytest.mark.soak
def test_t24_a_story_that_two_processes_work_on_ends_as_told(
    paying_hub: Hub, stripe: FakeStripe, environment: dict[str, str]
) -> None:
    """Refunds, recharges and disputes too: every look of the gateway is taken by both at once."""
    story = Story(paying_hub, stripe, environment, clock.now_ms(), partners=PROCESSES - 1)
    try:
        for number in range(STORIES):
            story.begin(f"shared-{number}")
            story.tell()
    finally:
        story.stop()
    assert story.deaths == 0
