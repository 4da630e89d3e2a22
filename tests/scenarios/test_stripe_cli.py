"""The official Stripe CLI, from npm, delivers a payment's events to a gateway that runs (``stripe listen --forward-to``)."""

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import npm
from tests.fakes.shop import USD, Shop
from tests.fakes.stripe import FakeStripe
from tests.fakes.stripe_cli import CommandLine

FOLDER = Path(__file__).parents[1] / "node" / "stripe_cli"
SECRET = "whsec_of_the_command_line"

pytestmark = pytest.mark.skipif(
    npm.NODE is None or npm.NPM is None, reason="no Node.js: node and npm are not on the PATH"
)


@pytest.fixture(scope="module")
def binary() -> Path:
    """The program of the package that the lock file pins: the one for Linux on x86-64."""
    npm.install(FOLDER)
    found = FOLDER / "node_modules/@stripe/cli-linux-x64/bin/stripe"
    if not found.exists():
        pytest.skip(f"npm has no Stripe CLI for this machine ({platform.system()} on {platform.machine()})")
    return found


@pytest.fixture
def listening(shop: Shop, stripe: FakeStripe, binary: Path, tmp_path: Path) -> Iterator[CommandLine]:
    with CommandLine(stripe, binary, tmp_path, shop.url, SECRET) as command_line:
        shop.set("stripe.webhook_secret", SECRET)
        yield command_line


def test_the_stripe_cli_forwards_a_payment_that_is_then_credited(
    shop: Shop, stripe: FakeStripe, listening: CommandLine
) -> None:
    session = shop.open()
    payment = stripe.pay(session)
    shop.await_balance(20 * USD)
    event = shop.last("checkout.session.completed")

    def is_forwarded() -> bool:
        return len(listening.relay.statuses()) >= 2

    shop.await_(is_forwarded)
    assert set(listening.relay.statuses()) == {200}, listening.log.read_text()
    count = len(listening.relay.statuses())
    assert event["id"] in listening.run("events", "resend", event["id"])
    shop.await_(lambda: len(listening.relay.statuses()) > count)
    listening.run("refunds", "create", "--payment-intent", payment["id"], "--amount", "500")
    shop.await_balance(15 * USD)
    assert listening.relay.statuses()[-1] == 200
