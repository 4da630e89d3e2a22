"""``POST /stripe/webhook``: what is believed, what is refused, and that nothing is answered before it is kept."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Databases
from tests.fakes.cut_socket import CutSocket
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub import clock
from tokenhub.billing import signatures
from tokenhub.operations import secrets
from tokenhub.proxy import webhooks
from tokenhub.store import stripe_events

SECRET, OTHER, UNKNOWN = ("whsec_" + letter * 32 for letter in "abc")
PATH = "/stripe/webhook"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway that knows one webhook secret and Stripe's mode, but has no key: nothing is worked here."""
    running = start_gateway(temporary_home(tmp_path_factory.mktemp("gateway")))
    set_up(running)
    yield running
    running.stop()


def set_up(running: RunningGateway) -> None:
    secrets.set(running.hub, "stripe.webhook_secret", SECRET)
    with running.hub.database.write():
        stripe_events.set_up(running.hub.database, False, clock.now_ms())


@pytest.fixture
def inbox(gateway: RunningGateway) -> RunningGateway:
    """The same, with an empty inbox and one secret."""
    with gateway.hub.database.write():
        gateway.hub.database.execute("DELETE FROM stripe_events")
        gateway.hub.database.execute("DELETE FROM secrets WHERE name = 'stripe.webhook_secret_2'")
    return gateway


def snapshot(event_id: str = "evt_1", **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": event_id,
        "object": "event",
        "type": "checkout.session.completed",
        "created": 1_800_000_000,
        "livemode": False,
        "api_version": "2024-06-20",
        "data": {"object": {"id": "cs_test_1", "object": "checkout.session"}},
    }
    return {name: value for name, value in (made | changes).items() if value is not ...}


def thin(event_id: str = "evt_2", **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": event_id,
        "object": "v2.core.event",
        "type": "v1.checkout.session.completed",
        "created": "2027-01-15T08:00:00.000Z",
        "livemode": False,
        "related_object": {"id": "cs_test_2", "type": "checkout.session", "url": "/v1/checkout/sessions/cs_test_2"},
    }
    return {name: value for name, value in (made | changes).items() if value is not ...}


def post(
    gateway: RunningGateway, body: bytes, *, secret: str = SECRET, header: str | None = None, **more: str
) -> Answer:
    signed = signatures.sign(secret, body, clock.now_ms() // 1000) if header is None else header
    return gateway.call("POST", PATH, body, {"Stripe-Signature": signed, **more})


def send(gateway: RunningGateway, event: Any, **options: Any) -> Answer:
    return post(gateway, json.dumps(event).encode(), **options)


def kept(gateway: RunningGateway) -> list[tuple[str, str, str]]:
    rows = gateway.rows("SELECT id, type, object_id FROM stripe_events ORDER BY id")
    return [(row["id"], row["type"], row["object_id"]) for row in rows]


# ---- what is believed


def test_a_signed_event_is_kept_and_answered(inbox: RunningGateway) -> None:
    answer = send(inbox, snapshot())
    assert (answer.status, answer.json()) == (200, {"received": True})
    assert kept(inbox) == [("evt_1", "checkout.session.completed", "cs_test_1")]


def test_a_thin_event_is_kept_as_the_snapshot_would_be(inbox: RunningGateway) -> None:
    assert send(inbox, thin()).status == 200
    assert kept(inbox) == [("evt_2", "checkout.session.completed", "cs_test_2")]


def test_t24_the_same_event_at_once_is_kept_once_and_answered_each_time(inbox: RunningGateway) -> None:
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(send(inbox, snapshot()).status)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20
    assert len(kept(inbox)) == 1


def test_during_a_rotation_both_secrets_hold_and_afterwards_one(inbox: RunningGateway) -> None:
    assert send(inbox, snapshot("evt_1"), secret=OTHER).status == 400
    secrets.set(inbox.hub, "stripe.webhook_secret_2", OTHER)
    assert send(inbox, snapshot("evt_2"), secret=OTHER).status == 200
    assert send(inbox, snapshot("evt_3"), secret=SECRET).status == 200
    secrets.remove(inbox.hub, "stripe.webhook_secret_2")
    assert send(inbox, snapshot("evt_4"), secret=OTHER).status == 400
    assert [row[0] for row in kept(inbox)] == ["evt_2", "evt_3"]


def test_t25_what_means_nothing_here_is_answered_and_forgotten(inbox: RunningGateway) -> None:
    events = [
        snapshot(type="invoice.paid"),
        snapshot(type="balance.available", data={"object": {"object": "balance"}}),
        thin(type="v1.billing.meter.error_report_triggered", related_object=...),
    ]
    assert [send(inbox, event).status for event in events] == [200] * len(events)
    assert kept(inbox) == []


def test_t25_an_event_of_the_other_mode_waits_for_a_look(inbox: RunningGateway) -> None:
    events = [snapshot("evt_1", livemode=True), thin("evt_2", livemode=True)]
    assert [send(inbox, event).status for event in events] == [200, 200]
    rows = inbox.hub.database.rows("SELECT id, state, next_try_at FROM stripe_events ORDER BY id")
    assert rows == [("evt_1", "review", None), ("evt_2", "review", None)]


# ---- what is refused


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"7",
        b'"event"',
        b"[]",
        b'[{"object": "event"}]',
        b"\xff\xfe{}",
        b'{"object": "event", "id": "\xe9"}',
        b'{"object": "event", "object": "event"}',
        b'{"object": "event", "n": NaN}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"\x00" * 100,
    ],
    ids=lambda body: body[:12].decode("latin-1").encode("unicode_escape").decode() or "empty",
)
def test_a_signed_body_that_is_no_json_object_is_a_400_without_a_row(inbox: RunningGateway, body: bytes) -> None:
    assert post(inbox, body).status == 400
    assert kept(inbox) == []


@pytest.mark.parametrize(
    "event",
    [
        {},
        snapshot(object="charge"),
        snapshot(object=...),
        snapshot(object=["event"]),
        snapshot(type=7),
        snapshot(type=...),
        snapshot(id=...),
        snapshot(id=7),
        snapshot(id=""),
        snapshot(id="evt_1\u0000"),
        snapshot(id="evt/../1"),
        snapshot(id="e" * 300),
        snapshot(data=...),
        snapshot(data={"object": []}),
        snapshot(data={"object": {}}),
        snapshot(data={"object": {"id": "cs_test_1?expand=x"}}),
        snapshot(data={"object": {"id": {"id": "cs"}}}),
        snapshot(created="yesterday"),
        snapshot(livemode="false"),
        snapshot(livemode=...),
        snapshot(type="radar.early_fraud_warning.created", data={"object": {"id": "issfr_1", "charge": 7}}),
        thin(related_object=...),
        thin(related_object=None),
        thin(related_object={"id": ""}),
        thin(id=None),
    ],
    ids=str,
)
def test_a_signed_object_that_is_no_event_is_a_400_without_a_row(inbox: RunningGateway, event: Any) -> None:
    assert send(inbox, event).status == 400
    assert kept(inbox) == []


def stamped(age_s: int, body: bytes, secret: str = SECRET) -> str:
    return signatures.sign(secret, body, clock.now_ms() // 1000 - age_s)


BODY = json.dumps(snapshot()).encode()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=1",
        "v1=abc",
        "nonsense",
        "t=now,v1=abc",
        f"t={'9' * 30},v1=abc",
        lambda: stamped(0, BODY).replace("v1", "v0"),
        lambda: stamped(0, BODY + b" "),
        lambda: stamped(0, BODY, UNKNOWN),
        lambda: stamped(0, BODY, ""),
        lambda: stamped(400, BODY),
        lambda: stamped(-400, BODY),
    ],
    ids=["empty", "time", "signature", "nonsense", "words", "far", "v0", "body", "secret", "blank", "old", "future"],
)
def test_t23_a_signature_that_does_not_hold_is_a_400_without_a_row(
    inbox: RunningGateway, header: str | Callable[[], str]
) -> None:
    answer = post(inbox, BODY, header=header if isinstance(header, str) else header())
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_signature")
    assert kept(inbox) == []


@pytest.mark.parametrize(
    "headers", [[], [b"a", b"b"], [b"t=1,v1=\xe9\xff"], [stamped(0, BODY).encode(), stamped(0, BODY).encode()]]
)
def test_a_missing_a_repeated_and_a_non_ascii_signature_are_400(inbox: RunningGateway, headers: list[bytes]) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", inbox.port, timeout=10)) as connection:
        connection.putrequest("POST", PATH)
        for value in headers:
            connection.putheader("Stripe-Signature", value)
        connection.putheader("Content-Length", str(len(BODY)))
        connection.endheaders(BODY)
        reply = connection.getresponse()
        assert reply.status == 400
        assert b"Traceback" not in reply.read()
    assert kept(inbox) == []


def test_t23_a_body_changed_by_a_byte_is_refused(inbox: RunningGateway) -> None:
    header = stamped(0, BODY)
    for place in range(0, len(BODY), 17):
        changed = BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :]
        assert post(inbox, changed, header=header).status == 400
    assert kept(inbox) == []


def test_a_body_that_is_too_large_is_a_413_declared_or_not(inbox: RunningGateway) -> None:
    large = b"x" * (5 * 2**20)
    with closing(http.client.HTTPConnection("127.0.0.1", inbox.port, timeout=10)) as connection:
        connection.putrequest("POST", PATH)
        connection.putheader("Stripe-Signature", stamped(0, large))
        connection.putheader("Content-Length", str(len(large)))
        connection.endheaders()
        assert connection.getresponse().status == 413
    with closing(http.client.HTTPConnection("127.0.0.1", inbox.port, timeout=10)) as connection:
        chunks = (large[at : at + 65536] for at in range(0, webhooks.MAX_BYTES + 65536, 65536))
        try:
            connection.request("POST", PATH, chunks, {"Stripe-Signature": "t=1,v1=a"}, encode_chunked=True)
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            assert connection.getresponse().status == 413
    assert kept(inbox) == []


def test_other_methods_are_405_and_no_redirect_is_ever_sent(inbox: RunningGateway) -> None:
    for method in ("GET", "PUT", "HEAD", "DELETE"):
        assert inbox.call(method, PATH, None, {}).status == 405
    for path in (f"{PATH}/", "/stripe//webhook", "/stripe/webhook%2f"):
        assert inbox.call("POST", path, b"{}", {}).status == 404


def test_a_key_of_an_account_is_no_signature(inbox: RunningGateway) -> None:
    assert inbox.call("POST", PATH, BODY).status == 400


def test_too_many_at_once_are_sent_away_and_come_again(inbox: RunningGateway) -> None:
    """Bodies that nobody vouches for yet take a bounded part of the memory."""
    started = []
    try:
        for _ in range(webhooks.AT_ONCE):
            connection = http.client.HTTPConnection("127.0.0.1", inbox.port, timeout=10)
            connection.putrequest("POST", PATH)
            connection.putheader("Stripe-Signature", stamped(0, BODY))
            connection.putheader("Content-Length", str(len(BODY)))
            connection.endheaders(BODY[:10])
            started.append(connection)
        assert inbox.gateway is not None
        desk = inbox.gateway.runtime.webhook_desk
        until_s = time.monotonic() + 5
        while desk.under_way < webhooks.AT_ONCE and time.monotonic() < until_s:
            time.sleep(0.01)
        refused = send(inbox, snapshot("evt_late"))
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert inbox.call("GET", "/v1/key").status == 200
        for connection in started:
            connection.send(BODY[10:])
            assert connection.getresponse().status == 200
    finally:
        for connection in started:
            connection.close()
    assert send(inbox, snapshot("evt_late")).status == 200
    assert [row[0] for row in kept(inbox)] == ["evt_1", "evt_late"]


# ---- without a secret, without a store


def test_t23_without_a_secret_nothing_is_believed(tmp_path: Path) -> None:
    running = start_gateway(temporary_home(tmp_path))
    try:
        for secret in ("", SECRET):
            answer = send(running, snapshot(), secret=secret)
            assert (answer.status, answer.json()["error"]["code"]) == (503, "webhook_not_set_up")
        assert kept(running) == []
    finally:
        running.stop()


def test_t26_an_event_that_cannot_be_kept_is_a_500_and_the_next_delivery_keeps_it(
    databases: Databases, tmp_path: Path
) -> None:
    url = databases.empty()
    with CutSocket(url, tmp_path) as way:
        running = start_gateway(temporary_home(tmp_path), {"database.url": way.url})
        try:
            set_up(running)
            assert send(running, snapshot("evt_1")).status == 200
            way.refuse = True
            way.cut_now()
            assert [send(running, snapshot("evt_2")).status for _ in range(2)] == [500, 500]
            way.refuse = False
            assert send(running, snapshot("evt_2")).status == 200
            running.hub.database.close()
            assert [row[0] for row in kept(running)] == ["evt_1", "evt_2"]
        finally:
            way.refuse = False
            running.stop()
    databases.drop(url)
