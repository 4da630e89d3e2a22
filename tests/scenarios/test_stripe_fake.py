"""The fake Stripe under Stripe's own client: that what the money tests stand on behaves, and fails, as Stripe does."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import stripe as sdk

from tests.fakes.stripe import FakeStripe, spec, webhooks

SECRET = "whsec_of_the_test"
SESSIONS = "/v1/checkout/sessions"
EXPIRES_AT = int(time.time()) + 6 * 3600  # one for all, as a repeat is the same request
NEEDS_SPEC = pytest.mark.skipif(not spec.is_there(), reason="Stripe's description (../shared/specs) is not here")


@pytest.fixture
def client(stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> Iterator[sdk.StripeClient]:
    monkeypatch.setattr(sdk, "enable_telemetry", False)
    monkeypatch.setattr(sdk.HTTPClient, "INITIAL_DELAY", 0.01)
    wire = sdk.RequestsClient(timeout=(3, 10))
    yield sdk.StripeClient(
        stripe.secret_key, base_addresses={"api": stripe.url}, max_network_retries=2, http_client=wire
    )
    wire.close()


def params(**changes: Any) -> Any:
    """A Checkout Session as a top-up asks for one."""
    price = {"currency": "usd", "unit_amount": 2000, "product_data": {"name": "Credit"}}
    about = {"tokenhub_topup": "topup_1"}
    return {
        "mode": "payment",
        "client_reference_id": "topup_1",
        "line_items": [{"quantity": 1, "price_data": price}],
        "allowed_payment_method_types": ["card", "alipay", "wechat_pay"],
        "payment_method_options": {"wechat_pay": {"client": "web"}},
        "adaptive_pricing": {"enabled": False},
        "metadata": about,
        "payment_intent_data": {"metadata": about},
        "expires_at": EXPIRES_AT,
        "success_url": "http://127.0.0.1/done",
        "cancel_url": "http://127.0.0.1/cancelled",
        **changes,
    }


def opened(client: sdk.StripeClient, key: str = "k1", **changes: Any) -> Any:
    return client.v1.checkout.sessions.create(params(**changes), {"idempotency_key": key})


@NEEDS_SPEC
def test_every_official_sample_fits_and_a_spoilt_one_does_not() -> None:
    samples = json.loads((spec.SPEC.parent / "stripe-fixtures.json").read_text())["resources"]
    assert len(samples) > 10
    for name, sample in samples.items():
        assert spec.faults(name, sample) == []
    spoilt = samples["refund"] | {"amount": "100", "surprise": 1}
    del spoilt["charge"]
    wrong = spec.faults("refund", spoilt)
    assert len(wrong) == 3
    assert "surprise" in "".join(wrong)
    assert spec.faults("dispute", samples["dispute"] | {"status": "a_word_of_tomorrow"}) == []


def test_a_session_is_opened_paid_refunded_and_disputed(stripe: FakeStripe, client: sdk.StripeClient) -> None:
    session = opened(client)
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    paid = stripe.pay(session.id)
    seen = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge", "line_items"]})
    assert (seen.status, seen.payment_status, seen.amount_total) == ("complete", "paid", 2000)
    assert seen.payment_intent.metadata["tokenhub_topup"] == "topup_1"
    assert seen.payment_intent.latest_charge.amount == 2000
    assert seen.line_items.data[0].amount_total == 2000
    refund = client.v1.refunds.create({"payment_intent": paid["id"], "amount": 500, "metadata": {"a": "b"}})
    assert (refund.status, refund.metadata["a"]) == ("succeeded", "b")
    stripe.settle_refund(refund.id, "failed")
    assert client.v1.refunds.retrieve(refund.id).failure_reason == "expired_or_canceled_card"
    dispute = stripe.dispute(paid["id"], 1500)
    with pytest.raises(sdk.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": paid["id"]})
    assert refused.value.code == "charge_disputed"
    stripe.set_dispute(dispute, "lost")
    lines = client.v1.disputes.retrieve(dispute["id"]).balance_transactions
    assert [line.amount for line in lines] == [-1500]
    assert stripe.events[-1]["type"] == "charge.dispute.closed"


def test_wallets_pay_later_and_their_refunds_wait(stripe: FakeStripe, client: sdk.StripeClient) -> None:
    session = opened(client)
    stripe.pay_pending(session.id, method="alipay")
    seen = client.v1.checkout.sessions.retrieve(session.id)
    assert (seen.status, seen.payment_status) == ("complete", "unpaid")
    paid = stripe.succeed_pending(session.id)
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"
    refund = client.v1.refunds.create({"payment_intent": paid["id"]})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    other = opened(client, "k2")
    stripe.pay_pending(other.id, method="wechat_pay")
    stripe.fail_pending(other.id)
    seen = client.v1.checkout.sessions.retrieve(other.id, {"expand": ["payment_intent"]})
    assert (seen.payment_status, seen.payment_intent.status) == ("unpaid", "requires_payment_method")


def test_a_saved_card_is_charged_off_session_or_declined(stripe: FakeStripe, client: sdk.StripeClient) -> None:
    owner = client.v1.customers.create({"email": "ops@acme.example", "metadata": {"account": "1"}})
    options = {"card": {"setup_future_usage": "off_session"}}
    session = opened(client, customer=owner.id, payment_method_options=options, allowed_payment_method_types=["card"])
    card = stripe.pay(session.id)["payment_method"]
    assert client.v1.payment_methods.retrieve(card).customer == owner.id

    def charge(key: str) -> Any:
        return client.v1.payment_intents.create(
            {
                "amount": 2000,
                "currency": "usd",
                "customer": owner.id,
                "payment_method": card,
                "off_session": True,
                "confirm": True,
                "error_on_requires_action": True,
                "allowed_payment_method_types": ["card"],
                "metadata": {"tokenhub_topup": "topup_2"},
            },
            {"idempotency_key": key},
        )

    assert charge("p1").status == "succeeded"
    stripe.decline_next("card_declined", "lost_card", "do_not_try_again")
    for _ in range(2):  # the second time it is the stored answer
        with pytest.raises(sdk.CardError) as declined:
            charge("p2")
        error: Any = declined.value.error
        assert (error.code, error.decline_code, error.advice_code) == ("card_declined", "lost_card", "do_not_try_again")
        assert error.payment_intent.status == "requires_payment_method"
    assert stripe.effects("/v1/payment_intents") == 2
    stripe.detach_card(card)
    with pytest.raises(sdk.InvalidRequestError):
        charge("p3")


@NEEDS_SPEC
@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"foo": "1"}, "parameter_unknown", "foo"),
        ({"adaptive_pricing": {"on": True}}, "parameter_unknown", "adaptive_pricing[on]"),
        ({"payment_method_types": ["card"]}, "payment_method_types_no_longer_supported", "payment_method_types"),
        ({"ui_mode": "hosted"}, None, "ui_mode"),
        ({"client_reference_id": "x" * 201}, None, "client_reference_id"),
        ({"expires_at": 20.5}, None, "expires_at"),
        ({"payment_method_options": {"alipay": {"setup_future_usage": "off_session"}}}, None, None),
    ],
)
def test_a_request_that_does_not_fit_is_refused_and_noted(
    stripe: FakeStripe, client: sdk.StripeClient, change: Any, code: str | None, param: str | None
) -> None:
    with pytest.raises(sdk.InvalidRequestError) as refused:
        opened(client, **change)
    assert refused.value.code == code
    assert param is None or refused.value.param == param
    assert len(stripe.broken) == 1
    assert stripe.effects() == 0
    stripe.broken.clear()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"expires_at": 1}, None),
        ({"customer": "cus_of_nobody"}, "resource_missing"),
        ({"line_items": []}, "parameter_missing"),
        ({"unit_amount": 49}, "amount_too_small"),
        ({"unit_amount": 100_000_000}, "amount_too_large"),
    ],
)
def test_what_stripe_would_refuse_is_refused(
    stripe: FakeStripe, client: sdk.StripeClient, change: Any, code: str | None
) -> None:
    if amount := change.pop("unit_amount", None):
        price = {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Credit"}}
        change = {"line_items": [{"quantity": 1, "price_data": price}]}
    with pytest.raises(sdk.InvalidRequestError) as refused:
        opened(client, **change)
    assert refused.value.code == code
    assert stripe.effects() == 0


def test_a_key_answers_once_and_is_forgotten_after_a_day(stripe: FakeStripe, client: sdk.StripeClient) -> None:
    at_ms = stripe.clock_ms
    stripe.clock_ms = at_ms
    first = opened(client)
    stripe.clock_ms = at_ms + 23 * 3_600_000
    again = opened(client)
    assert again.id == first.id
    assert again.status == "open", "the first answer is given again, although the session has expired since"
    assert client.v1.checkout.sessions.retrieve(first.id).status == "expired"
    with pytest.raises(sdk.IdempotencyError):
        opened(client, client_reference_id="another")
    assert (stripe.posts(SESSIONS), stripe.effects(SESSIONS)) == (3, 1)
    stripe.clock_ms = at_ms + 24 * 3_600_000
    late = opened(client, expires_at=at_ms // 1000 + 25 * 3600)
    assert late.id != first.id


def test_a_key_that_is_in_use_is_refused(stripe: FakeStripe, client: sdk.StripeClient) -> None:
    stripe.fault("slow", SESSIONS, seconds=0.0)
    made: list[str] = []
    inside = threading.Event()
    go_on = threading.Event()
    perform = stripe._perform

    def slowly(*arguments: Any) -> Any:
        inside.set()
        go_on.wait(10)
        return perform(*arguments)

    stripe._perform = slowly  # type: ignore[method-assign]
    first = threading.Thread(target=lambda: made.append(opened(client).id))
    first.start()
    assert inside.wait(10)
    key = {"idempotency_key": "k1", "max_network_retries": 0}
    with pytest.raises(sdk.APIError) as busy:
        client.v1.checkout.sessions.create(params(), key)  # type: ignore[arg-type]
    error: Any = busy.value.error
    assert (busy.value.http_status, error.code) == (409, "idempotency_key_in_use")
    go_on.set()
    first.join()
    assert opened(client).id == made[0]
    assert stripe.effects(SESSIONS) == 1


@pytest.mark.parametrize(
    ("kind", "error", "effects", "heals"),
    [
        ("drop_before", sdk.APIConnectionError, 0, True),
        ("drop_after", sdk.APIConnectionError, 1, True),
        ("truncate", sdk.APIConnectionError, 1, True),
        ("garbage", sdk.APIError, 1, True),
        ("empty", sdk.APIError, 1, True),
        ("500", sdk.APIError, 0, True),
        ("stored_500", sdk.APIError, 1, False),
        ("stored_500_empty", sdk.APIError, 0, False),
        ("409", sdk.APIError, 0, True),
        ("429", sdk.RateLimitError, 0, True),
        ("401", sdk.AuthenticationError, 0, True),
        ("403", sdk.PermissionError, 0, True),
    ],
)
def test_each_fault_shows_as_it_does_at_stripe(
    stripe: FakeStripe, client: sdk.StripeClient, kind: str, error: type[Exception], effects: int, heals: bool
) -> None:
    stripe.fault(kind, SESSIONS, times=3)
    with pytest.raises(error):
        opened(client)
    assert stripe.effects(SESSIONS) == effects
    stripe.heal()
    if not heals:
        with pytest.raises(sdk.APIError):
            opened(client)
        assert len(client.v1.checkout.sessions.list().data) == effects
        return
    session = opened(client)
    assert stripe.effects(SESSIONS) == 1
    assert [one.id for one in client.v1.checkout.sessions.list().data] == [session.id]


def test_lists_are_paged_and_filtered(stripe: FakeStripe, client: sdk.StripeClient) -> None:
    at_ms = stripe.clock_ms
    made = []
    for number in range(7):
        stripe.clock_ms = at_ms + number * 1000
        made.append(opened(client, f"k{number}", expires_at=at_ms // 1000 + 7200).id)
    newest_first = made[::-1]
    listed = client.v1.checkout.sessions.list({"limit": 3}).auto_paging_iter()
    assert [one.id for one in listed] == newest_first
    since = {"created": {"gte": at_ms // 1000 + 4}}
    assert [one.id for one in client.v1.checkout.sessions.list(since).data] == newest_first[:3]  # type: ignore[arg-type]
    paid = stripe.pay(made[0])
    by_payment = client.v1.checkout.sessions.list({"payment_intent": paid["id"]}).data
    assert [one.id for one in by_payment] == [made[0]]
    stripe.expire(made[1])
    wanted = {"types": ["checkout.session.completed", "checkout.session.expired"]}
    assert [one.type for one in client.v1.events.list(wanted).data] == wanted["types"][::-1]  # type: ignore[arg-type]
    stripe.clock_ms = at_ms + 31 * 86_400_000
    assert client.v1.events.list({"types": ["checkout.session.completed"]}).data == []


def test_keys_of_the_other_mode_are_refused() -> None:
    with FakeStripe.start(livemode=True) as live:
        assert live.secret_key.startswith("sk_live_")
        wire = sdk.RequestsClient(timeout=10)
        for key, welcome in ((live.secret_key, True), ("sk_test_x", False)):
            client = sdk.StripeClient(key, base_addresses={"api": live.url}, http_client=wire)
            if welcome:
                assert client.v1.balance.retrieve().livemode is True
            else:
                with pytest.raises(sdk.AuthenticationError):
                    client.v1.balance.retrieve()
        wire.close()
        assert live.broken == []


# ---- deliveries ------------------------------------------------------------------------------


class Endpoint:
    """Takes deliveries, and checks them with Stripe's own code."""

    def __init__(self, statuses: Callable[[int], int]) -> None:
        self.taken: list[dict[str, Any]] = []
        self.invalid: list[str] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                payload = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    sdk.WebhookSignature.verify_header(payload.decode(), self.headers["Stripe-Signature"], SECRET, 300)
                except sdk.SignatureVerificationError as error:
                    endpoint.invalid.append(str(error))
                endpoint.taken.append(json.loads(payload))
                self.send_response(statuses(len(endpoint.taken)))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def endpoint() -> Iterator[Callable[[Callable[[int], int]], Endpoint]]:
    made: list[Endpoint] = []

    def make(statuses: Callable[[int], int] = lambda count: 200) -> Endpoint:
        made.append(Endpoint(statuses))
        return made[-1]

    yield make
    for one in made:
        one.stop()


ORDER = ["payment_intent.succeeded", "checkout.session.completed"]


def test_deliveries_are_signed_and_repeated_until_they_are_taken(
    stripe: FakeStripe, client: sdk.StripeClient, endpoint: Any
) -> None:
    there = endpoint(lambda count: 500 if count < 3 else 200)
    hooks = stripe.webhooks(there.url, SECRET)
    stripe.pay(opened(client).id)
    hooks.wait()
    assert [one["type"] for one in there.taken] == [ORDER[0]] * 3 + [ORDER[1]]
    assert there.invalid == []
    old = webhooks.body(there.taken[0])
    for header in (webhooks.signature(old, SECRET, int(time.time()) - 301), webhooks.signature(old, "whsec_x")):
        webhooks.post(there.url, old, header)
    assert len(there.invalid) == 2


def test_deliveries_come_twice_in_any_order_or_not_at_all(
    stripe: FakeStripe, client: sdk.StripeClient, endpoint: Any
) -> None:
    there = endpoint()
    hooks = stripe.webhooks(there.url, SECRET, copies=2, missing={ORDER[0]})
    stripe.pay(opened(client).id)
    hooks.wait()
    assert [one["type"] for one in there.taken] == [ORDER[1]] * 2
    assert len({one["id"] for one in there.taken}) == 1
    hooks.hold()
    seen = set()
    for seed in range(5):
        elsewhere = endpoint()
        mixed = stripe.webhooks(elsewhere.url, SECRET, reorder=seed)
        stripe.pay(opened(client, f"k{seed + 2}").id)
        mixed.wait()
        seen.add(tuple(one["type"] for one in elsewhere.taken))
        mixed.hold()
    assert seen == {tuple(ORDER), tuple(ORDER[::-1])}
    assert hooks.drop() == 5
    hooks.release()
    hooks.wait()
    assert len(there.taken) == 2


def test_thin_events_name_their_object(stripe: FakeStripe, client: sdk.StripeClient, endpoint: Any) -> None:
    there = endpoint()
    hooks = stripe.webhooks(there.url, SECRET, as_thin=True)
    session = opened(client)
    stripe.pay(session.id)
    hooks.wait()
    last = there.taken[-1]
    assert (last["object"], last["type"]) == ("v2.core.event", "v1.checkout.session.completed")
    assert last["related_object"]["id"] == session.id
    assert "data" not in last


def test_a_client_that_is_killed_while_it_asks_has_asked_nothing(stripe: FakeStripe) -> None:
    host, _, port = stripe.url.rpartition("/")[2].partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"POST /v1/payment_intents HTTP/1.1\r\nHost: stripe\r\nContent-Length: 30\r\n\r\namount=")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert stripe.asked == []
