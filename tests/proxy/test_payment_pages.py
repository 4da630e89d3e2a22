"""The short link in a QR code, and the pages that a payment ends on."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.stripe import FakeStripe
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub import clock
from tokenhub.operations import secrets
from tokenhub.operations.payments import links, topups
from tokenhub.proxy import background


@pytest.fixture
def gateway(tmp_path: Path, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningGateway]:
    monkeypatch.setattr(background, "PAYMENTS_EVERY_S", 0.2)
    running = start_gateway(
        temporary_home(tmp_path), {"stripe.api_base": stripe.url, "server.public_url": "https://hub.example.com/"}
    )
    secrets.set(running.hub, "stripe.secret_key", stripe.secret_key)
    yield running
    running.stop()


def open_link(gateway: RunningGateway) -> tuple[str, str]:
    """Open a top-up; return its token and the address of its page at Stripe."""
    topup = topups.create(gateway.hub, gateway.account_id, 2000, "usd", ())
    assert topup.url is not None
    return links.token(gateway.hub, topup.id), topup.url


def get(gateway: RunningGateway, path: str) -> Answer:
    return gateway.call("GET", path, None, {})


def test_a_short_link_leads_to_the_payment_page(gateway: RunningGateway) -> None:
    token, url = open_link(gateway)
    answer = get(gateway, f"/t/{token}")
    assert (answer.status, answer.headers["location"]) == (303, url)
    assert gateway.call("HEAD", f"/t/{token}", None, {}).status == 303


def test_the_short_link_is_short_and_begins_with_the_public_address(gateway: RunningGateway) -> None:
    topup = topups.create(gateway.hub, gateway.account_id, 2000, "usd", ())
    link = links.short_link(gateway.hub, topup.id)
    assert link == f"https://hub.example.com/t/{links.token(gateway.hub, topup.id)}"
    assert len(link) < 70
    without = replace(gateway.hub, settings=replace(gateway.hub.settings, server_public_url=""))
    assert links.short_link(without, topup.id) is None


def test_a_link_that_was_paid_says_so_and_leads_nowhere(gateway: RunningGateway, stripe: FakeStripe) -> None:
    token, _ = open_link(gateway)
    (session,) = stripe.sessions()
    stripe.pay(session["id"])
    topup_id = links.find(gateway.hub, token)
    assert topup_id is not None
    for _ in range(200):
        if topups.get(gateway.hub, topup_id).state == "paid":
            break
        clock.time.sleep(0.05)
    answer = get(gateway, f"/t/{token}")
    assert answer.status == 410
    assert b"has been paid" in answer.body
    assert "location" not in answer.headers


def test_a_token_is_no_id_and_cannot_be_made_from_one(gateway: RunningGateway) -> None:
    token, _ = open_link(gateway)
    topup_id = links.find(gateway.hub, token) or ""
    tried = [
        topup_id,
        topup_id.removeprefix("topup_"),
        token[:-1],
        f"{token}A",
        token[:-1] + ("A" if token[-1] != "A" else "B"),
    ]
    tried += ["", ".", "..", "%2e%2e", "a" * 36, "é" * 36, token.upper(), token + "/", "x" * 10_000]
    for place in range(len(token)):
        tried.append(token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :])
    for one in tried:
        assert links.find(gateway.hub, one) is None, one
    for path in ("/t/", "/t/x", f"/t/{'a' * 36}", f"/t/{token[:-1]}%41", "/t"):
        assert get(gateway, path).status == 404, path


def test_tokens_of_two_installations_differ(gateway: RunningGateway, tmp_path: Path) -> None:
    token, _ = open_link(gateway)
    other = start_gateway(temporary_home(tmp_path / "other"))
    try:
        assert links.find(other.hub, token) is None
        assert get(other, f"/t/{token}").status == 404
    finally:
        other.stop()


@pytest.mark.parametrize("path", ["/topup/done", "/topup/cancelled", "/t/nothing"])
def test_a_page_is_whole_in_itself_and_loads_nothing(gateway: RunningGateway, path: str) -> None:
    answer = get(gateway, path)
    page = answer.body.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "<title>" in page
    assert not re.search(r"<script|<img|<link|<iframe|src=|href=|url\(|https?:", page)


def test_coming_back_from_stripe_books_nothing(gateway: RunningGateway) -> None:
    before = gateway.balance()
    assert get(gateway, "/topup/done?session_id=cs_test_1").status == 200
    assert gateway.call("POST", "/topup/done", b"", {}).status == 405
    assert gateway.balance() == before
