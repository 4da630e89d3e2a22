"""The real client against a Stripe that goes wrong: what each failure means."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.fakes.stripe import FakeStripe
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import topups
from tokenhub.operations.payments.stripe_api import (
    StripeApi,
    StripeAuth,
    StripeError,
    StripeLimited,
    StripeNotFound,
    StripeRefused,
    StripeUnknown,
)

BALANCE = "/v1/balance"


@pytest.fixture
def bare(stripe: FakeStripe) -> StripeApi:
    return StripeApi(stripe.secret_key, stripe.url)


@pytest.mark.parametrize(
    ("fault", "error", "requests"),
    [
        ("drop_before", StripeUnknown, 3),
        ("drop_after", StripeUnknown, 3),
        ("truncate", StripeUnknown, 3),
        ("500", StripeUnknown, 3),
        ("409", StripeUnknown, 3),
        ("garbage", StripeUnknown, 1),
        ("empty", StripeUnknown, 1),
        ("429", StripeLimited, 1),
        ("401", StripeAuth, 1),
        ("403", StripeAuth, 1),
    ],
)
def test_each_failure_has_one_meaning(
    bare: StripeApi, stripe: FakeStripe, fault: str, error: type[StripeError], requests: int
) -> None:
    stripe.fault(fault, BALANCE, times=10)
    with pytest.raises(error) as raised:
        bare.livemode()
    assert type(raised.value) is error
    assert len(stripe.asked) == requests
    assert stripe.secret_key not in raised.value.message


@pytest.mark.parametrize("fault", ["drop_before", "truncate", "500", "409"])
def test_what_fails_twice_is_asked_a_third_time(bare: StripeApi, stripe: FakeStripe, fault: str) -> None:
    stripe.fault(fault, BALANCE, times=2)
    assert bare.livemode() is False
    assert len(stripe.asked) == 3


def test_the_key_of_a_repeated_post_is_the_same(paying_hub: Hub, account_id: int, stripe: FakeStripe) -> None:
    stripe.fault("truncate", "/v1/checkout/sessions", times=2)
    topups.create(paying_hub, account_id, 2000, "usd")
    posts = [one for one in stripe.asked if one.method == "POST"]
    assert (len(posts), len({one.key for one in posts}), stripe.effects()) == (3, 1, 1)


def test_another_request_with_a_used_key_decides_nothing(bare: StripeApi, stripe: FakeStripe) -> None:
    bare.create_customer({"name": "one"}, "key-1")
    with pytest.raises(StripeUnknown):
        bare.create_customer({"name": "two"}, "key-1")
    assert stripe.effects("/v1/customers") == 1


def test_what_is_not_there_is_not_found(bare: StripeApi) -> None:
    for ask in (bare.session, bare.payment, bare.refund, bare.dispute, bare.payment_of_charge):
        with pytest.raises(StripeNotFound):
            ask("none_such")


def test_an_empty_id_asks_nothing(bare: StripeApi, stripe: FakeStripe) -> None:
    for ask in (bare.session, bare.payment, bare.refund, bare.dispute, bare.payment_of_charge, bare.expire_session):
        with pytest.raises(StripeNotFound):
            ask("")
    assert stripe.asked == []


def test_a_parameter_that_stripe_does_not_know_is_a_definite_no(bare: StripeApi, stripe: FakeStripe) -> None:
    with pytest.raises(StripeRefused) as refused:
        bare.create_customer({"no_such_thing": "x"}, "key-1")
    assert (refused.value.refusal, refused.value.param, refused.value.http_status) == (
        "parameter_unknown",
        "no_such_thing",
        400,
    )
    stripe.broken.clear()


def test_lists_are_read_to_their_end(bare: StripeApi, stripe: FakeStripe) -> None:
    made = [stripe.foreign_session(metadata={"n": str(number)})["id"] for number in range(120)]
    assert sorted(one.id for one in bare.sessions(0)) == sorted(made)
    assert len([one for one in stripe.asked if one.path == "/v1/checkout/sessions"]) == 2
    assert bare.session_of_payment("pi_none") is None


def test_a_list_that_breaks_off_says_so(bare: StripeApi, stripe: FakeStripe) -> None:
    for number in range(120):
        stripe.foreign_session(metadata={"n": str(number)})
    stripe.fault("garbage", "/v1/checkout/sessions", skip=1)
    with pytest.raises(StripeUnknown):
        list(bare.sessions(0))


class _Elsewhere(BaseHTTPRequestHandler):
    """Sends whoever comes to another host."""

    target = ""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_no_redirect_is_followed(stripe: FakeStripe) -> None:
    handler = type("Handler", (_Elsewhere,), {"target": stripe.url + BALANCE})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(StripeUnknown):
            StripeApi(stripe.secret_key, f"http://127.0.0.1:{server.server_port}").livemode()
        server.shutdown()
    assert stripe.asked == []


def test_no_proxy_of_the_environment_is_used(bare: StripeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert bare.livemode() is False


def test_it_writes_nothing_outside_the_home(bare: StripeApi, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert bare.livemode() is False
    assert list(tmp_path.rglob("*telemetry*")) == []
