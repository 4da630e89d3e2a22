"""What several scenarios share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import process_environment
from tests.fakes.payment_story import Story
from tests.fakes.shop import Shop
from tests.fakes.stripe import FakeStripe
from tokenhub import clock
from tokenhub.operations.hub import Hub


@pytest.fixture
def shop(paying_hub: Hub, stripe: FakeStripe, tmp_path: Path) -> Iterator[Shop]:
    """A gateway that runs, and takes payments by ``stripe``."""
    made = Shop(paying_hub, stripe, tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def story(paying_hub: Hub, stripe: FakeStripe) -> Iterator[Story]:
    """An account's life with ``stripe``, told by processes that may die."""
    environment = process_environment(paying_hub.settings, paying_hub.home)
    made = Story(paying_hub, stripe, environment, clock.now_ms())
    yield made
    made.stop()
