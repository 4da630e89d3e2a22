"""Who is told that providers fail or refuse a credential: subscriptions, batches, pauses, and what ends up in the outbox."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.mail_server import MailServer
from tests.fakes.upstream import FakeUpstream, json_reply
from tokenhub import clock
from tokenhub.billing.notices import EVENTS, NoticeKind
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.operations import accounts, availability, credentials, notices, outages, subscriptions
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.operations.outages import Told
from tokenhub.routing import circuit as rules
from tokenhub.routing.circuit import Circuit, State
from tokenhub.store import circuits

T0 = clock.now_ms()
HOOK = "https://ops.example/hook"


@pytest.fixture
def taker() -> Iterator[FakeUpstream]:
    with FakeUpstream(lambda _request: json_reply({})) as server:
        yield server


def put(hub: Hub, name: str, circuit: Circuit) -> None:
    with hub.database.write():
        circuits.put(hub.database, name, circuit)


def opened(backoff_ms: int = 8_000, error: str = "timeout") -> Circuit:
    return Circuit(State.OPEN, 9, backoff_ms, T0 + backoff_ms, 0, error, T0)


def outbox(hub: Hub) -> list[tuple[str, str, dict[str, Any]]]:
    rows = hub.database.rows("SELECT kind, target, body FROM notices ORDER BY id")
    return [(kind, target, json.loads(body)) for kind, target, body in rows]


# ---- subscriptions


def test_a_subscription_is_kept_changed_listed_and_removed(hub: Hub) -> None:
    first = subscriptions.add(hub, "webhook", HOOK, ["outage", "credential", "outage"])
    assert (first.channel, first.target, first.events) == ("webhook", HOOK, ("outage", "credential"))
    second = subscriptions.add(hub, "mail", "ops@hub.example", [])
    assert second.events == ()
    assert subscriptions.add(hub, "webhook", HOOK, ["recovered"]).id == first.id
    assert [(one.id, one.events) for one in subscriptions.listing(hub)] == [(first.id, ("recovered",)), (second.id, ())]
    assert subscriptions.remove(hub, first.id).target == HOOK
    assert [one.id for one in subscriptions.listing(hub)] == [second.id]
    with pytest.raises(NotFound):
        subscriptions.remove(hub, first.id)


@pytest.mark.parametrize(
    ("way", "target", "events"),
    [
        ("pigeon", "x@y.example", []),
        ("mail", "no address", []),
        ("mail", "two@a.example,three@b.example", []),
        ("mail", "x@y.example\r\nBcc: z@w.example", []),
        ("webhook", "ftp://ops.example/", []),
        ("webhook", "https://user:secret@ops.example/", []),
        ("webhook", "https://ops.example/a b", []),
        ("webhook", HOOK, ["outage", "everything"]),
    ],
)
def test_what_cannot_be_told_is_refused(hub: Hub, way: str, target: str, events: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        subscriptions.add(hub, way, target, events)
    assert subscriptions.listing(hub) == []


def test_an_address_is_told_of_what_it_asked_for(hub: Hub) -> None:
    hub = replace(hub, settings=replace(hub.settings, smtp_host="mail.example", notices_email="ops@hub.example"))
    subscriptions.add(hub, "webhook", HOOK, ["outage"])
    subscriptions.add(hub, "mail", "money@hub.example", ["low-balance"])
    subscriptions.add(hub, "mail", "ops@hub.example", [])
    assert notices.receivers(hub, NoticeKind.OUTAGE) == [("webhook", HOOK), ("email", "ops@hub.example")]
    assert notices.receivers(hub, NoticeKind.CREDENTIAL) == [("email", "ops@hub.example")]
    assert notices.receivers(hub, NoticeKind.LOW_BALANCE, "pay@acme.example") == [
        ("email", "ops@hub.example"),
        ("email", "pay@acme.example"),
        ("email", "money@hub.example"),
    ]


def test_customers_notices_reach_subscribers_too(hub: Hub) -> None:
    subscriptions.add(hub, "webhook", HOOK, ["card-declined"])
    account = accounts.create(hub, "acme").account.id
    facts = {"topup": "topup_1", "amount": "20.00", "currency": "usd", "reason": "declined"}
    assert notices.tell(hub, NoticeKind.CARD_DECLINED, "topup_1", account, facts) == 1
    assert notices.tell(hub, NoticeKind.REFUND_FAILED, "re_1", account, facts) == 0


def test_every_kind_but_the_test_is_an_event_with_words() -> None:
    from tokenhub.billing.notices import words

    assert set(EVENTS) == {kind.value.replace("_", "-") for kind in NoticeKind} - {"test"}
    assert len({words(kind.value, "", {}).subject for kind in NoticeKind}) == len(NoticeKind)


def test_a_test_is_sent_at_once_and_says_what_went_wrong(hub: Hub, taker: FakeUpstream) -> None:
    with MailServer() as server:
        options = {"smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_security": "none"}
        hub = replace(hub, settings=replace(hub.settings, **options))
        good = subscriptions.add(hub, "webhook", f"{taker.origin}/hook", [])
        mail = subscriptions.add(hub, "mail", "ops@hub.example", [])
        bad = subscriptions.add(hub, "webhook", "http://127.0.0.1:9/", [])
        reasons = {one.number: one.reason for one in subscriptions.test(hub, None)}
    assert (reasons[good.id], reasons[mail.id]) == ("", "")
    assert "cannot be reached" in reasons[bad.id]
    assert taker.received[0].json()["kind"] == "test"
    assert subscriptions.test(hub, good.id)[0].reason == ""
    assert outbox(hub) == []


def test_a_test_goes_to_the_addresses_of_the_settings_too_once_to_each(hub: Hub, taker: FakeUpstream) -> None:
    with MailServer() as server:
        options = {"smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_security": "none"}
        own = {"notices_email": "ops@hub.example", "notices_webhook_url": f"{taker.origin}/hook"}
        hub = replace(hub, settings=replace(hub.settings, **options, **own))
        mail = subscriptions.add(hub, "mail", "ops@hub.example", [])
        sent = subscriptions.test(hub, None)
    assert [(one.number, one.channel, one.reason) for one in sent] == [(mail.id, "email", ""), (None, "webhook", "")]
    assert [one.json()["kind"] for one in taker.received] == ["test"]


# ---- outages


def test_a_circuit_that_probes_could_not_close_is_told_of_once(hub: Hub) -> None:
    subscriptions.add(hub, "webhook", HOOK, ["outage", "recovered"])
    put(hub, "a/m@r#1", opened(1_000))
    assert outages.watch(hub, Told(), T0) == Told()
    put(hub, "a/m@r#1", opened(4_000))
    put(hub, "b/m@r#2", opened(error="geo"))
    told = outages.watch(hub, Told(), T0)
    assert told == Told(frozenset({"a/m@r#1", "b/m@r#2"}), T0)
    assert outages.watch(hub, told, T0 + 600_000) == told
    ((kind, target, body),) = outbox(hub)
    assert (kind, target) == ("outage", HOOK)
    assert "a/m@r#1: timeout" in body["down"]
    assert "b/m@r#2: geo" in body["down"]


def test_what_is_back_is_told_and_not_sooner_than_a_minute_later(hub: Hub) -> None:
    subscriptions.add(hub, "webhook", HOOK, [])
    put(hub, "a/m@r#1", opened())
    put(hub, "b/m@r#2", opened())
    told = outages.watch(hub, Told(), T0)
    put(hub, "a/m@r#1", rules.answered(opened(), T0 + 5_000))
    assert outages.watch(hub, told, T0 + 59_999) == told
    later = outages.watch(hub, told, T0 + 60_000)
    assert later == Told(frozenset({"b/m@r#2"}), T0 + 60_000)
    kind, _, body = outbox(hub)[-1]
    assert (kind, body["recovered"].strip(), body["still"].split(":")[0].strip()) == ("recovered", "a/m@r#1", "b/m@r#2")


def test_a_flapping_provider_makes_a_notice_a_minute_at_most(hub: Hub) -> None:
    subscriptions.add(hub, "webhook", HOOK, [])
    told = Told()
    for second in range(0, 300, 5):
        flapping = opened() if second % 20 < 10 else rules.answered(opened(), T0)
        put(hub, "a/m@r#1", flapping)
        told = outages.watch(hub, told, T0 + second * 1000)
    assert 2 <= len(outbox(hub)) <= 5


def test_many_deployments_are_one_notice_that_stays_short(hub: Hub) -> None:
    subscriptions.add(hub, "webhook", HOOK, [])
    for number in range(50):
        put(hub, f"a/m{number:02}@r#1", opened())
    outages.watch(hub, Told(), T0)
    ((_, _, body),) = outbox(hub)
    assert len(body["down"].splitlines()) == 21
    assert body["down"].endswith("and 30 more")


def test_another_process_goes_on_where_the_first_one_ended(hub: Hub) -> None:
    assert outages.recall(hub) == Told()
    subscriptions.add(hub, "webhook", HOOK, [])
    put(hub, "a/m@r#1", opened())
    told = outages.watch(hub, Told(), T0)
    recalled = outages.recall(hub)
    assert recalled.names == told.names
    assert outages.watch(hub, recalled, T0 + 600_000).names == told.names
    assert len(outbox(hub)) == 1


def test_a_deployment_that_is_gone_is_not_called_recovered(hub: Hub) -> None:
    subscriptions.add(hub, "webhook", HOOK, [])
    assert outages.watch(hub, Told(frozenset({"a/m@r#1"}), T0), T0 + 600_000) == Told(frozenset(), T0)
    assert outbox(hub) == []


# ---- credentials


def test_a_credential_is_taken_out_and_told_of_once(hub: Hub) -> None:
    subscriptions.add(hub, "webhook", HOOK, ["credential"])
    number = credentials.add(hub, NewCredential("openai", "sk-canary-0123456789-abcdefghij", label="main")).id
    before = hub.database.row("SELECT revision, catalog_version FROM installation")
    assert availability.take_out(hub, number, "billing (402 x)")
    assert not availability.take_out(hub, number, "billing (402 x)")
    after = hub.database.row("SELECT revision, catalog_version FROM installation")
    assert before is not None
    assert after == (before[0] + 1, before[1] + 1)
    ((kind, _, body),) = outbox(hub)
    assert (kind, body["provider"], body["label"], body["reason"]) == (
        "credential",
        "openai",
        "main",
        "billing (402 x)",
    )
    assert "canary" not in json.dumps(body)
    state = credentials.find(hub, number)
    assert (state.status, state.status_reason) == ("failed", "billing (402 x)")
    credentials.rotate(hub, number, "sk-another-0123456789-abcdefghij")
    assert credentials.find(hub, number).status == "active"
    assert availability.take_out(hub, number, "auth")


def test_what_the_operator_disabled_stays_so(hub: Hub) -> None:
    number = credentials.add(hub, NewCredential("openai", "sk-canary-0123456789-abcdefghij")).id
    credentials.set_status(hub, number, "disabled")
    assert not availability.take_out(hub, number, "auth")
    assert not availability.take_out(hub, number + 7, "auth")
    assert credentials.find(hub, number).status == "disabled"
