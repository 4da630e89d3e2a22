"""Stripe failing in every way at any request of an account's life: the ledger ends as Stripe's books do (T26, T27)."""

import os
import random
from itertools import product

import pytest

from tests.conftest import BACKENDS
from tests.fakes.payment_story import Story
from tests.fakes.stripe.desk import FAULTS

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
EACH = 20 if SOAK else 1
"""Stories with each kind of fault, each at another request."""
REQUESTS = 90
"""A story makes some more."""


KINDS = sorted(FAULTS)
CASES = list(product(BACKENDS, KINDS)) if SOAK else [(BACKENDS[number % 2], kind) for number, kind in enumerate(KINDS)]
"""By default each kind on one of the stores."""


@pytest.mark.soak
@pytest.mark.parametrize(("backend", "kind"), CASES, indirect=["backend"])
def test_whatever_fails_at_whatever_request_nothing_is_lost_and_nothing_counts_twice(story: Story, kind: str) -> None:
    """A fault once, or so often that the client's own repeats are used up."""
    struck = 0
    for number in range(EACH):
        chance = random.Random(f"{kind}-{number}")
        story.begin(f"{kind}-{number}")
        times = chance.choice((1, 3, 12))
        story.stripe.fault(kind, times=times, skip=chance.randrange(REQUESTS), seconds=0.01)
        story.tell()
        struck += not story.stripe.faults_left
        story.stripe.heal()
    assert struck >= 0.8 * EACH, "most faults must be reached"
    print(f"{story.hub.database.kind}: {struck} faults struck, {len(story.stripe.asked)} requests")


PATHS = ("/v1/checkout/sessions", "/v1/refunds", "/v1/payment_intents", "/v1/customers")
TIMES = 3
"""At most: an answer that cannot be read is not asked for again at once."""
LOST = ("drop_after", "truncate", "garbage", "stored_500", "stored_500_empty", "409")
SAMPLE = [
    ("/v1/checkout/sessions", "stored_500_empty"),
    ("/v1/refunds", "stored_500"),
    ("/v1/payment_intents", "drop_after"),
    ("/v1/customers", "garbage"),
]
"""One of each by default, all in a soak."""


@pytest.mark.soak
@pytest.mark.parametrize(("path", "kind"), list(product(PATHS, LOST)) if SOAK else SAMPLE)
def test_a_post_whose_answer_is_lost_has_one_effect(story: Story, path: str, kind: str) -> None:
    """No event tells of it either: it is asked for again, or looked for."""
    story.begin("acme")
    story.stripe.hides_events = True
    story.stripe.fault(kind, path, times=TIMES, method="POST")
    story.tell()
    assert story.stripe.faults_left < TIMES
