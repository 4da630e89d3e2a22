"""What several scenarios share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.shop import Shop
from tests.fakes.stripe import FakeStripe
from tokenhub.operations.hub import Hub


@pytest.fixture
def shop(paying_hub: Hub, stripe: FakeStripe, tmp_path: Path) -> Iterator[Shop]:
    """A gateway that runs, and takes payments by ``stripe``."""
    made = Shop(paying_hub, stripe, tmp_path)
    try:
        yield made
    finally:
        made.close()
