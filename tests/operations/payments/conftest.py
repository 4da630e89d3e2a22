"""What the tests of money from outside share: an account, Stripe's API, and a clock that can be moved."""

from collections.abc import Callable

import pytest

from tests.fakes.stripe import FakeStripe
from tokenhub import clock
from tokenhub.operations import accounts
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import connection
from tokenhub.operations.payments.stripe_api import StripeApi
from tokenhub.store.database import Database


@pytest.fixture
def account_id(paying_hub: Hub) -> int:
    return accounts.create(paying_hub, "acme").account.id


@pytest.fixture
def api(paying_hub: Hub) -> StripeApi:
    return connection.connect(paying_hub)


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch, stripe: FakeStripe) -> Callable[[int], None]:
    """Move the clock, here, at the database server and at Stripe, by so many milliseconds."""
    real, moved = clock.now_ms, 0

    def go(step_ms: int) -> None:
        nonlocal moved
        moved += step_ms
        monkeypatch.setattr(clock, "now_ms", lambda: real() + moved)
        monkeypatch.setattr(Database, "now_ms", lambda _: clock.now_ms())

    return go
