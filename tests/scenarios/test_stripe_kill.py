"""kill -9 between every two steps of a payment, its refund, its dispute: the ledger ends as Stripe's books do (T24 to T27)."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.conftest import process_environment
from tests.fakes.payment_story import Story
from tests.fakes.stripe import FakeStripe
from tokenhub import clock
from tokenhub.failpoints import PAYMENT_FAILPOINTS
from tokenhub.operations.hub import Hub

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
ROUNDS = 2 if SOAK else 1
RANDOM_STORIES = 15 if SOAK else 1
DEATHS = 30 if SOAK else 2
"""At least so many in each story with random deaths: in a soak 2 stores × 15 × 30 = 900, and 98 at failpoints; seen: 40 each."""


@pytest.fixture
def story(paying_hub: Hub, stripe: FakeStripe) -> Iterator[Story]:
    environment = process_environment(paying_hub.settings, paying_hub.home)
    made = Story(paying_hub, stripe, environment, clock.now_ms())
    yield made
    made.stop()


def test_the_story_without_a_death_ends_as_told(story: Story) -> None:
    story.begin("acme")
    story.tell()
    story.end()
    assert story.deaths == 0


@pytest.mark.soak
@pytest.mark.timeout(0 if SOAK else 900)
def test_t24_a_process_killed_at_every_step_of_a_payment_loses_nothing_and_credits_nothing_twice(story: Story) -> None:
    """In a soak every failpoint twice on each store, at its first and its second passage; by default each once."""
    kind = story.hub.database.kind
    mine = PAYMENT_FAILPOINTS if SOAK else PAYMENT_FAILPOINTS[kind == "postgres" :: 2]
    for number in range(ROUNDS):
        for failpoint in mine:
            before = story.deaths
            story.begin(f"{failpoint}-{number}", failpoint=f"{failpoint}:{number + 1}")
            story.tell()
            story.end()
            assert number or story.deaths == before + 1, f"{failpoint} was not reached"
    print(f"{kind}: {story.deaths} kills, {story.looks} times added up")


@pytest.mark.soak
@pytest.mark.parametrize("failpoint", ["topup.posted", "refund.posted", "recharge.posted"])
def test_t27_a_process_killed_after_a_post_asks_again_where_no_event_tells_of_it(story: Story, failpoint: str) -> None:
    """What the idempotency key alone protects."""
    story.stripe.hides_events = True
    story.begin(failpoint, failpoint=failpoint)
    story.tell()
    assert story.deaths == 1


@pytest.mark.soak
def test_t24_a_process_killed_at_random_moments_loses_nothing_and_credits_nothing_twice(story: Story) -> None:
    """In a soak about 1 200 kills on both stores together."""
    for seed in range(RANDOM_STORIES):
        before = story.deaths
        story.begin(f"random-{seed}", chance=random.Random(seed), deadliness=0.45 if SOAK else 0.12)
        story.tell()
        story.end()
        assert story.deaths >= before + DEATHS
    print(f"{story.hub.database.kind}: {story.deaths} kills, {story.looks} times added up")
