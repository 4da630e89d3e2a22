"""Secrets: sealed, never shown, and Stripe's never of both modes."""

import pytest

from tests.fakes.stripe import FakeStripe
from tokenhub.errors import Conflict, HubError, InvalidRequest, NotFound, SetupError
from tokenhub.operations import secrets
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import connection
from tokenhub.operations.payments.stripe_api import StripeAuth, StripeUnknown

WEBHOOK = "whsec_0123456789abcdef0123"


def test_a_secret_is_sealed_and_shown_by_its_end(hub: Hub) -> None:
    state = secrets.set(hub, "stripe.webhook_secret", f"  {WEBHOOK}\n")
    assert (state.name, state.hint) == ("stripe.webhook_secret", "0123")
    assert secrets.get(hub, "stripe.webhook_secret") == WEBHOOK
    assert secrets.listing(hub) == [state]
    ((sealed,),) = hub.database.rows("SELECT sealed FROM secrets")
    assert WEBHOOK.encode() not in bytes(sealed)


def test_a_short_secret_shows_nothing(hub: Hub) -> None:
    assert secrets.set(hub, "smtp.password", "pass word").hint == ""


def test_a_secret_is_replaced_and_forgotten(hub: Hub) -> None:
    secrets.set(hub, "smtp.password", "one")
    secrets.set(hub, "smtp.password", "two")
    assert secrets.get(hub, "smtp.password") == "two"
    assert secrets.remove(hub, "smtp.password")
    assert not secrets.remove(hub, "smtp.password")
    assert secrets.get(hub, "smtp.password") is None


def test_a_secret_that_is_moved_to_another_name_does_not_open(hub: Hub) -> None:
    secrets.set(hub, "stripe.webhook_secret", WEBHOOK)
    with hub.database.write():
        hub.database.execute("UPDATE secrets SET name = 'stripe.webhook_secret_2'")
    with pytest.raises(SetupError, match=r"config set stripe\.webhook_secret_2"):
        secrets.get(hub, "stripe.webhook_secret_2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stripe.secret_key", "pk_test_0123456789abcdef"),
        ("stripe.secret_key", "sk_test_short"),
        ("stripe.secret_key", "sk_test_0123456789 abcdef"),
        ("stripe.webhook_secret", ""),
        ("stripe.webhook_secret", "sk_test_0123456789abcdef"),
        ("stripe.webhook_secret_2", "whsec_short"),
        ("smtp.password", "two\nlines"),
        ("smtp.password", ""),
        ("notices.webhook_secret", "too short"),
    ],
)
def test_a_secret_of_another_form_is_refused_and_not_quoted(hub: Hub, name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        secrets.set(hub, name, value)
    assert not value or value not in refused.value.message
    assert secrets.listing(hub) == []


def test_a_secret_that_is_too_short_is_told_how_long_it_is(hub: Hub) -> None:
    with pytest.raises(InvalidRequest, match="whsec_ and 8 to 250 characters more"):
        secrets.set(hub, "stripe.webhook_secret", "whsec_abc")


def test_an_unknown_name_is_refused(hub: Hub) -> None:
    for ask in (lambda: secrets.set(hub, "x", "y"), lambda: secrets.get(hub, "x"), lambda: secrets.remove(hub, "x")):
        with pytest.raises(NotFound, match=r"stripe\.secret_key"):
            ask()


def test_the_mode_of_the_first_key_stays(paying_hub: Hub, stripe: FakeStripe) -> None:
    assert connection.livemode(paying_hub) is False
    secrets.remove(paying_hub, "stripe.secret_key")
    assert not connection.is_configured(paying_hub)
    before = len(stripe.asked)
    with pytest.raises(Conflict, match="works in Stripe's test mode"):
        secrets.set(paying_hub, "stripe.secret_key", "rk_live_0123456789abcdef")
    assert len(stripe.asked) == before
    secrets.set(paying_hub, "stripe.secret_key", stripe.secret_key)
    assert connection.is_configured(paying_hub)


def test_a_key_whose_words_and_mode_differ_is_not_kept(hub: Hub) -> None:
    from dataclasses import replace

    with FakeStripe.start(livemode=True, secret_key="sk_test_51FakeStripe0000000000") as live:
        over_there = replace(hub, settings=replace(hub.settings, stripe_api_base=live.url))
        with pytest.raises(Conflict, match="not of the mode"):
            secrets.set(over_there, "stripe.secret_key", live.secret_key)
    assert connection.livemode(hub) is None
    assert secrets.listing(hub) == []


@pytest.mark.parametrize(("fault", "error"), [("401", StripeAuth), ("403", StripeAuth), ("500", StripeUnknown)])
def test_a_key_that_cannot_be_tried_is_not_kept(
    paying_hub: Hub, stripe: FakeStripe, fault: str, error: type[HubError]
) -> None:
    before = secrets.listing(paying_hub)
    stripe.fault(fault, "/v1/balance", times=3)
    with pytest.raises(error, match=r"^The key was not kept\.") as refused:
        secrets.set(paying_hub, "stripe.secret_key", "sk_test_another0123456789")
    assert "asked again" not in refused.value.message
    assert (error is StripeUnknown) == ("Try again" in refused.value.message)
    assert secrets.listing(paying_hub) == before


def test_a_vault_and_a_database_of_two_modes_do_not_work_together(paying_hub: Hub) -> None:
    with paying_hub.database.write():
        paying_hub.database.execute("UPDATE stripe SET livemode = 1")
    with pytest.raises(SetupError, match="mode"):
        connection.connect(paying_hub)


@pytest.mark.parametrize(
    "base", ["http://example.com", "ftp://127.0.0.1", "http://127.0.0.1.example.com", "https://x/v1"]
)
def test_the_key_is_sent_in_the_clear_to_this_machine_only(paying_hub: Hub, base: str) -> None:
    from dataclasses import replace

    hub = replace(paying_hub, settings=replace(paying_hub.settings, stripe_api_base=base))
    with pytest.raises(InvalidRequest, match="api_base"):
        connection.connect(hub)
