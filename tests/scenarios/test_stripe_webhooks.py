"""Stripe's webhooks over HTTP to a gateway that runs: signed ones credit once, everything else leaves nothing behind."""

import json
import os
import threading
import time
from typing import Any

import pytest

from tests.conftest import BACKENDS
from tests.fakes.shop import SECRET, USD, Shop
from tests.fakes.stripe import webhooks
from tokenhub.operations import secrets

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
SECOND = "whsec_second00000000000"


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


@pytest.mark.parametrize("backend", BACKENDS if SOAK else ["sqlite"], indirect=True)
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
    assert shop.post(live) == 200
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


KILLS = ("event.stored", "event.claimed", "topup.read", "topup.crediting", "topup.credited", "event.processed")


@pytest.mark.soak
def test_t24_a_gateway_that_dies_over_a_webhook_credits_once_when_it_is_back(shop: Shop) -> None:
    """Stripe repeats what was not answered; what was answered is in the inbox (§9 7)."""
    shop.set("stripe.webhook_secret", SECRET)
    credited = 0
    for failpoint in KILLS:
        shop.restart(failpoint)
        shop.stripe.pay(shop.open())
        event = shop.last("checkout.session.completed")
        shop.post(event)
        shop.await_(lambda: shop.gateway.is_dead)
        assert shop.gateway.process.wait() == -9
        shop.restart()
        assert shop.post(event) == 200
        credited += 20 * USD
        shop.await_balance(credited)
