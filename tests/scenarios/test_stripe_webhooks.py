"""Stripe's webhooks over HTTP to a gateway that runs: signed ones credit once, everything else leaves nothing behind."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import process_environment
from tests.fakes.stripe import FakeStripe, webhooks
from tests.fakes.stripe.objects import Object
from tests.serving import Serving
from tokenhub.operations import accounts, secrets
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import topups
from tokenhub.store import audit, ledger

SECRET, SECOND = "whsec_first000000000000", "whsec_second00000000000"
USD = 10**9
WITHIN_S = 15.0
"""How soon after a payment its credit must be there (T26)."""


class Shop:
    """An installation with a gateway that runs, an account, and Stripe behind it."""

    def __init__(self, hub: Hub, stripe: FakeStripe, folder: Path) -> None:
        self.hub = hub
        self.stripe = stripe
        self.account_id = accounts.create(hub, "acme").account.id
        self.log = folder / "gateway.log"
        environment = process_environment(hub.settings, hub.home) | {"TOKENHUB_STRIPE_API_BASE": stripe.url}
        self.gateway = Serving(environment, self.log)
        self.url = f"http://127.0.0.1:{self.gateway.port}/stripe/webhook"

    def set(self, name: str, value: str) -> None:
        secrets.set(self.hub, name, value)

    def open(self, minor: int = 2000, currency: str = "usd", **options: Any) -> str:
        """Open a top-up; return its session."""
        made = topups.create(self.hub, self.account_id, minor, currency, (), **options)
        assert made.session_id is not None
        return made.session_id

    def post(self, event: Object, secret: str = SECRET, *, at_s: int | None = None, thin: bool = False) -> int:
        payload = webhooks.thin(event) if thin else webhooks.body(event)
        return webhooks.post(self.url, payload, webhooks.signature(payload, secret, at_s))

    def last(self, kind: str) -> Object:
        return next(one for one in reversed(self.stripe.events) if one["type"] == kind)

    def available(self) -> int:
        return ledger.balances(self.hub.database, self.account_id).available_nano

    def frozen(self) -> int:
        return ledger.balances(self.hub.database, self.account_id).frozen_nano

    def await_(self, says: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Wait until something is so."""
        deadline_s = time.monotonic() + within_s
        while not says():
            assert time.monotonic() < deadline_s, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def await_balance(self, nano: int) -> None:
        self.await_(lambda: self.available() == nano)

    def events_kept(self) -> int:
        found = self.hub.database.row("SELECT COUNT(*) FROM stripe_events")
        assert found is not None
        return int(found[0])

    def await_calm(self) -> None:
        """Wait until no event waits to be worked."""

        def is_calm() -> bool:
            return self.hub.database.row("SELECT COUNT(*) FROM stripe_events WHERE state = 'new'") == (0,)

        self.await_(is_calm)


@pytest.fixture
def shop(paying_hub: Hub, stripe: FakeStripe, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(paying_hub, stripe, tmp_path)
    yield made
    assert made.gateway.stop() == 0
    wrong = audit.verify(paying_hub.database)
    made.gateway.close()
    assert not wrong, "\n".join(str(one) for one in wrong)
    assert "Traceback" not in made.log.read_text()
    assert '"level":"error"' not in made.log.read_text()


def signed(payload: bytes, **changes: Any) -> tuple[bytes, str]:
    return payload, webhooks.signature(payload, **{"secrets": SECRET, **changes})


def test_without_a_secret_webhooks_are_refused_as_not_set_up(shop: Shop) -> None:
    event = shop.stripe.emit("checkout.session.completed", shop.stripe.foreign_session())
    assert shop.post(event) == 503
    payload, blank = signed(webhooks.body(event), secrets="")
    assert webhooks.post(shop.url, payload, blank) == 503
    shop.set("stripe.webhook_secret", SECRET)
    shop.await_(lambda: shop.post(event) == 200)


def test_t23_every_malformed_webhook_is_refused_and_leaves_nothing_behind(shop: Shop) -> None:
    shop.set("stripe.webhook_secret", SECRET)
    shop.stripe.pay(shop.stripe.foreign_session(metadata={"shop": "mugs"}))
    event = {**shop.last("checkout.session.completed"), "id": "evt_posted_here_alone"}
    good = webhooks.body(event)
    now_s = int(time.time())
    shop.await_(lambda: shop.post({**event, "id": "evt_first"}) == 200)
    header = webhooks.signature(good, SECRET)
    malformed: dict[str, tuple[bytes, str | None]] = {
        "no signature": (good, None),
        "an empty signature": (good, ""),
        "another secret": (good, webhooks.signature(good, "whsec_another000000000")),
        "a secret with a line end": (good, webhooks.signature(good, SECRET + "\n")),
        "a blank secret": (good, webhooks.signature(good, "")),
        "too old": (good, webhooks.signature(good, SECRET, now_s - 301)),
        "from the future": (good, webhooks.signature(good, SECRET, now_s + 400)),
        "no time": (good, header.partition(",")[2]),
        "a time that is none": (good, header.replace("t=", "t=x")),
        "another scheme": (good, header.replace("v1=", "v0=")),
        "a changed body": (good.replace(b"2000", b"9999"), header),
        "a signature that is no ASCII": (good, header + "é"),
        "a body that is no UTF-8": signed(b'{"id": "evt_\xff\xfe"}'),
        "no JSON": signed(b"amount=2000"),
        "nothing": signed(b""),
        "a JSON list": signed(b"[" + good + b"]"),
        "a JSON text": signed(b'"evt_1"'),
        "null": signed(b"null"),
        "no event": signed(json.dumps(event["data"]["object"]).encode()),
        "no id": signed(json.dumps({**event, "id": None}).encode()),
        "an id that is a list": signed(json.dumps({**event, "id": ["evt_1"]}).encode()),
        "a very long id": signed(json.dumps({**event, "id": "evt_" + "x" * 1000}).encode()),
        "no type": signed(json.dumps({**event, "type": None}).encode()),
        "no data": signed(json.dumps({**event, "data": None}).encode()),
        "an object without an id": signed(json.dumps({**event, "data": {"object": {}}}).encode()),
        "deep": signed(b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
    }
    for name, (payload, sent) in malformed.items():
        assert webhooks.post(shop.url, payload, sent) == 400, name
    large = b'{"id": "' + b"x" * 5_000_000 + b'"}'
    assert webhooks.post(shop.url, *signed(large)) == 413
    assert webhooks.post(shop.url, large, None) in (400, 413)
    ids = {row[0] for row in shop.hub.database.rows("SELECT id FROM stripe_events")}
    assert ids <= {"evt_first", *(one["id"] for one in shop.stripe.events)}
    assert shop.post(event) == 200
    assert shop.hub.database.row("SELECT source FROM stripe_events WHERE id = ?", (event["id"],)) == ("webhook",)


def test_t24_the_same_event_five_times_at_once_credits_once(shop: Shop) -> None:
    """Beside the gateway's own poll and sweep, and every other event of the payment (§9 1 and 3)."""
    shop.set("stripe.webhook_secret", SECRET)
    hooks = shop.stripe.webhooks(shop.url, SECRET, copies=5, reorder=1)
    shop.stripe.pay(shop.open())
    hooks.wait()
    shop.await_balance(20 * USD)
    assert {one.status for one in hooks.deliveries} == {200}
    for kind in (
        "payment_intent.succeeded",
        "checkout.session.completed",
        "charge.succeeded",
        "payment_intent.created",
    ):
        assert shop.post(shop.last(kind)) == 200
    assert shop.post(shop.last("checkout.session.completed"), thin=True) == 200
    shop.await_calm()
    assert shop.available() == 20 * USD
    shop.await_calm()
    kept = shop.events_kept()
    assert shop.post(shop.last("checkout.session.completed"), at_s=int(time.time()) - 301) == 400
    assert shop.events_kept() == kept


def test_t25_events_in_any_order_end_in_the_same_balance(shop: Shop) -> None:
    """Paid in two steps, refunded in the dashboard, disputed: posted backwards (§9 4, 5 and 6)."""
    shop.set("stripe.webhook_secret", SECRET)
    first = shop.open()
    shop.stripe.pay_pending(first)
    assert shop.post(shop.last("checkout.session.completed")) == 200
    shop.await_calm()
    assert shop.available() == 0
    payment = shop.stripe.succeed_pending(first)
    refunded, disputed = shop.open(), shop.open()
    for session in (refunded, disputed):
        payment = shop.stripe.pay(session)
        if session == refunded:
            shop.stripe.refund_in_dashboard(payment)
        else:
            shop.stripe.dispute(payment)
    for event in reversed(shop.stripe.events):
        assert shop.post(event) == 200
    shop.await_(lambda: (shop.available(), shop.frozen()) == (20 * USD, 20 * USD))
    shop.stripe.emit("checkout.session.async_payment_failed", shop.stripe.find(first, "checkout.session"))
    assert shop.post(shop.last("checkout.session.async_payment_failed")) == 200
    shop.await_calm()
    assert (shop.available(), shop.frozen()) == (20 * USD, 20 * USD)


def test_t26_payments_are_credited_in_time_without_any_webhook(shop: Shop) -> None:
    """Checkout and dashboard refund are found by the poll and the sweep (§9 13 and 16)."""
    shop.await_(lambda: any(one.path == "/v1/disputes" for one in shop.stripe.asked))
    time.sleep(1.0)  # what a gateway compares when it starts is over: from here on it is the poll and the sweep
    session = shop.open()
    begun_s = time.monotonic()
    payment = shop.stripe.pay(session)
    shop.await_balance(20 * USD)
    credited_s = time.monotonic() - begun_s
    shop.stripe.refund_in_dashboard(payment, 500)
    shop.await_balance(15 * USD)
    kind = shop.hub.database.kind
    print(f"{kind}: credited {credited_s:.1f} s and clawed back {time.monotonic() - begun_s:.1f} s after the payment")


def test_both_secrets_are_taken_while_one_is_replaced(shop: Shop) -> None:
    shop.stripe.pay(shop.stripe.foreign_session())
    event = shop.last("checkout.session.completed")
    shop.set("stripe.webhook_secret", SECRET)
    shop.await_(lambda: shop.post(event, SECRET) == 200)
    assert shop.post(event, SECOND) == 400
    shop.set("stripe.webhook_secret_2", SECOND)
    shop.await_(lambda: shop.post(event, SECOND) == 200)
    payload = webhooks.body(event)
    assert webhooks.post(shop.url, payload, webhooks.signature(payload, ["whsec_old0000000000", SECRET])) == 200
    shop.set("stripe.webhook_secret", SECOND)
    secrets.remove(shop.hub, "stripe.webhook_secret_2")
    shop.await_(lambda: shop.post(event, SECRET) == 400)
    assert shop.post(event, SECOND) == 200


def test_old_thin_foreign_and_live_events(shop: Shop) -> None:
    """§9 15 and 36: an old API version and a thin event credit, the other mode and other shops do not."""
    shop.set("stripe.webhook_secret", SECRET)
    shop.stripe.api_version = "2024-06-20"
    shop.stripe.pay(shop.open(1000))
    shop.await_(lambda: shop.post(shop.last("checkout.session.completed")) == 200)
    shop.await_balance(10 * USD)
    shop.stripe.pay(shop.open(500))
    assert shop.post(shop.last("checkout.session.completed"), thin=True) == 200
    shop.await_balance(15 * USD)
    live = {**shop.last("checkout.session.completed"), "id": "evt_live", "livemode": True}
    kept = shop.events_kept()
    assert shop.post(live) == 200
    assert shop.events_kept() == kept
    for metadata, reference in (
        ({}, None),
        ({"tokenhub_instance": "inst_other", "tokenhub_topup": "topup_x"}, "topup_x"),
    ):
        shop.stripe.pay(shop.stripe.foreign_session(metadata=metadata, reference=reference))
        assert shop.post(shop.last("checkout.session.completed")) == 200
    shop.await_calm()
    assert shop.available() == 15 * USD


def test_a_redirect_is_never_answered_and_only_posts_are_taken(shop: Shop) -> None:
    shop.set("stripe.webhook_secret", SECRET)
    for method in ("GET", "PUT", "DELETE"):
        assert shop.gateway.call(method, "/stripe/webhook").status in (404, 405)


def test_many_payments_at_once_are_all_credited(shop: Shop) -> None:
    """Webhooks doubled, out of order, and some types missing: each payment once."""
    shop.set("stripe.webhook_secret", SECRET)
    sessions = [shop.open(1000 + number) for number in range(12)]
    hooks = shop.stripe.webhooks(shop.url, SECRET, copies=2, reorder=3, missing={"checkout.session.completed"})
    payers = [threading.Thread(target=shop.stripe.pay, args=(session,)) for session in sessions]
    for payer in payers:
        payer.start()
    for payer in payers:
        payer.join()
    shop.await_balance(sum(1000 + number for number in range(12)) * USD // 100)
    hooks.wait()
    shop.await_calm()
    assert shop.available() == sum(1000 + number for number in range(12)) * USD // 100
