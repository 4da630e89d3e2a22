"""``tokenhub status`` and optional probes: what is shown of each deployment, and what a look at an idle provider changes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.upstream import Cut, FakeUpstream, Received, Reply, json_reply, openai_chat, openai_error
from tokenhub import clock
from tokenhub.operations import availability, credentials, gateways, preferences, probing, providers, status
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.operations.own_models import OwnModel
from tokenhub.operations.providers import OwnProvider
from tokenhub.routing.availability import Cooldown
from tokenhub.routing.circuit import Circuit, State
from tokenhub.routing.health import MINUTE_MS, Tally
from tokenhub.store import circuits, health, leases

MODELS = json_reply({"object": "list", "data": [{"id": "one", "object": "model"}]})


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    with FakeUpstream(lambda _request: MODELS) as server:
        yield server


def sell(hub: Hub, fake: FakeUpstream, name: str = "alpha", models: int = 1) -> int:
    own = [OwnModel(f"model-{number}", "m", {"input": "1", "output": "2"}) for number in range(models)]
    providers.add(hub, OwnProvider(name, fake.url, own))
    return credentials.add(hub, NewCredential(name, "sk-upstream-000000000001")).id


def put(hub: Hub, name: str, circuit: Circuit) -> None:
    with hub.database.write():
        circuits.put(hub.database, name, circuit)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_t99_a_gateway_that_runs_is_seen_where_the_clock_is_ahead(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    leases.acquire(hub.database, hub.home, hub.settings.database_lease_s, hub.database.now_ms())
    machine_ms = clock.now_ms
    monkeypatch.setattr(clock, "now_ms", lambda: machine_ms() + 3_600_000)
    assert gateways.seen(hub).runs


def served(hub: Hub, name: str, tally: Tally, minutes_ago: int = 1) -> None:
    with hub.database.write():
        health.add(hub.database, {(name, clock.now_ms() - minutes_ago * MINUTE_MS): tally})


def words(hub: Hub, *, minutes: int = 15) -> dict[str, str]:
    found = status.read(hub, minutes=minutes, everything=True)
    return {one.deployment: one.word for one in found.deployments}


def test_each_deployment_has_a_word(hub: Hub, fake: FakeUpstream) -> None:
    first, now_ms = sell(hub, fake, models=6), clock.now_ms()
    names = [f"alpha/model-{number}@default#{first}" for number in range(6)]
    served(hub, names[0], Tally(100, 1))
    served(hub, names[1], Tally(100, 30))
    put(hub, names[2], Circuit(State.OPEN, 5, 30_000, now_ms + 25_000, 0, "timeout", now_ms))
    put(hub, names[3], Circuit(State.OPEN, 5, 1_000, now_ms - 1, 0, "server", now_ms))
    put(hub, names[4], Circuit(State.HALF_OPEN, 5, 1_000, now_ms, now_ms + 50_000, "server", now_ms))
    assert words(hub) == dict(zip(names, ["ok", "shaky", "open", "due", "probing", "idle"], strict=True))
    found = {one.deployment: one for one in status.read(hub, minutes=15).deployments}
    assert set(found) == set(names[:5])
    assert (found[names[2]].last_error, found[names[2]].until_ms) == ("timeout", now_ms + 25_000)
    assert status.read(hub, minutes=15).hidden == 1


def test_a_credential_that_is_out_shows_on_its_deployments_and_by_itself(hub: Hub, fake: FakeUpstream) -> None:
    first, second = sell(hub, fake), sell(hub, fake, "beta")
    third = sell(hub, fake, "gamma")
    now_ms = clock.now_ms()
    availability.take_out(hub, first, "auth (401 invalid_api_key)")
    with hub.database.write():
        circuits.put_cooldown(hub.database, second, Cooldown(now_ms + 20_000, 20_000, "rate"), now_ms)
    credentials.set_status(hub, third, "disabled")
    assert words(hub) == {
        f"alpha/model-0@default#{first}": "failed",
        f"beta/model-0@default#{second}": "cooling",
    }
    found = status.read(hub, minutes=15)
    assert [(one.id, one.status_reason) for one in found.credentials] == [(first, "auth (401 invalid_api_key)")]
    assert not found.is_well


def test_only_the_minutes_that_were_asked_for_count(hub: Hub, fake: FakeUpstream) -> None:
    name = f"alpha/model-0@default#{sell(hub, fake)}"
    served(hub, name, Tally(10, 10), minutes_ago=40)
    served(hub, name, Tally(10, 0), minutes_ago=2)
    assert status.read(hub, minutes=15).deployments[0].tally == Tally(10, 0)
    assert status.read(hub, minutes=60).deployments[0].tally == Tally(20, 10)
    assert status.read(hub, minutes=15).is_well


def test_what_explain_plans_on_is_what_the_store_has(hub: Hub, fake: FakeUpstream) -> None:
    number, now_ms = sell(hub, fake), clock.now_ms()
    name = f"alpha/model-0@default#{number}"
    put(hub, name, Circuit(State.OPEN, 5, 30_000, now_ms + 25_000, 0, "timeout", now_ms))
    served(hub, name, Tally(2, 1, {300: 1}, {50: 1}))
    standing = availability.read(hub.database).state(name, number, now_ms)
    assert (standing.available, standing.code) == (False, "circuit_open")
    assert standing.latency_ms is not None
    assert standing.throughput is not None
    availability.take_out(hub, number, "auth")
    assert availability.read(hub.database).state(name, number, now_ms).code == "credential_failed"


# ---- probes


def look(hub: Hub) -> list[bool]:
    return [one.ok for one in probing.look(hub, 60.0, clock.now_ms())]


def test_only_an_idle_credential_is_looked_at(hub: Hub, fake: FakeUpstream) -> None:
    name = f"alpha/model-0@default#{sell(hub, fake)}"
    served(hub, name, Tally(1), minutes_ago=0)
    assert look(hub) == []
    assert len(fake.received) == 0
    with hub.database.write():
        hub.database.execute("UPDATE health_minutes SET minute = minute - 300000")
    assert look(hub) == [True]
    assert [(one.method, one.path) for one in fake.received] == [("GET", "/v1/models")]


def test_whose_look_comes_first_is_left_to_chance(
    hub: Hub, fake: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more than fit into a round, each has its turn in the end: here one has it once in three rounds, on average."""
    monkeypatch.setattr(probing, "MOST_AT_ONCE", 3)
    made = {sell(hub, fake, f"house-{number}") for number in range(3 * probing.MOST_AT_ONCE)}
    seen: set[int] = set()
    for _ in range(100):
        found = [one.credential_id for one in probing.look(hub, 60.0, clock.now_ms())]
        assert len(set(found)) == probing.MOST_AT_ONCE
        if made <= (seen := seen | set(found)):
            return
    pytest.fail(f"{len(made - seen)} never had a turn")


def test_a_good_look_ends_a_pause_but_closes_nothing(hub: Hub, fake: FakeUpstream) -> None:
    number, now_ms = sell(hub, fake, models=2), clock.now_ms()
    passing, lasting = (f"alpha/model-{one}@default#{number}" for one in range(2))
    put(hub, passing, Circuit(State.OPEN, 5, 30_000, now_ms + 25_000, 0, "timeout", now_ms))
    gone = Circuit(State.OPEN, 1, 600_000, now_ms + 500_000, 0, "model_gone", now_ms)
    put(hub, lasting, gone)
    assert look(hub) == [True]
    found = circuits.read(hub.database).circuits
    assert found[passing].is_due(clock.now_ms())
    assert found[passing].state is State.OPEN
    assert found[lasting] == gone


REPLIES: dict[str, Reply] = {
    "failed": json_reply(openai_error("no", type="authentication_error", code="invalid_api_key"), 401),
    "cooling": json_reply(openai_error("slow", code="rate_limit_exceeded"), 429),
    "open": [Cut()],
}


@pytest.mark.parametrize("word", REPLIES)
def test_a_bad_look_counts_as_a_bad_request_would(hub: Hub, fake: FakeUpstream, word: str) -> None:
    name = f"alpha/model-0@default#{sell(hub, fake)}"
    served(hub, name, Tally(1), minutes_ago=30)
    fake.script = lambda _request: REPLIES[word]
    assert look(hub) == [False]
    assert words(hub) == {name: word}


def test_t103_a_place_that_the_installation_rules_out_is_not_looked_at(hub: Hub, fake: FakeUpstream) -> None:
    sell(hub, fake)
    preferences.change(hub, preferences.Subject(), {"deny_providers": ["alpha"]})
    assert look(hub) == []
    assert len(fake.received) == 0
    preferences.reset(hub, preferences.Subject())
    assert look(hub) == [True]


@pytest.mark.parametrize(
    "members",
    [
        {"deny_regions": ["us"]},
        {"models": ["gpt-4o-mini"]},
        {"data_policy": "no_retention"},
        {"max_price": {"prompt": "0.5", "completion": "1"}},
    ],
    ids=str,
)
def test_t103_no_rule_of_the_installation_is_broken_for_a_look(
    hub: Hub, fake: FakeUpstream, members: dict[str, Any]
) -> None:
    sell(hub, fake)
    preferences.change(hub, preferences.Subject(), members)
    assert look(hub) == []
    assert fake.connections == 0


def test_t103_a_look_asks_no_model_that_the_installation_rules_out(hub: Hub, fake: FakeUpstream) -> None:
    """Zhipu has no list of models, so a look asks its cheapest; the next one when that is denied."""
    credentials.add(hub, NewCredential("zhipu", "sk-upstream-000000000002", base_url=fake.url, region="cn"))
    fake.script = lambda _request: json_reply(openai_chat("hi"))
    asked: list[str] = []
    for _ in range(3):
        assert look(hub) == [True]
        asked.append(fake.received[-1].json()["model"])
        preferences.change(hub, preferences.Subject(), {"deny_models": asked})
    assert len(set(asked)) == 3
    preferences.change(hub, preferences.Subject(), {"models": ["cogvideox-3"], "deny_models": []})
    assert look(hub) == []
    assert len(fake.received) == 3


def test_t108_a_boundary_that_is_narrowed_during_a_round_binds_its_next_look(hub: Hub, fake: FakeUpstream) -> None:
    sell(hub, fake)
    sell(hub, fake, "beta")

    def narrows(_request: Received) -> Reply:
        preferences.change(hub, preferences.Subject(), {"regions": ["eu"]})
        return MODELS

    fake.script = narrows
    assert look(hub) == [True]
    assert len(fake.received) == 1


def test_a_credential_with_nothing_to_ask_keeps_no_other_from_being_looked_at(hub: Hub, fake: FakeUpstream) -> None:
    """Cohere and Jina have neither a list of models nor a chat model; not even many of them fill a round."""
    for number in range(probing.MOST_AT_ONCE):
        name = ("cohere", "jina")[number % 2]
        new = NewCredential(name, f"sk-upstream-{number:012}", label=f"{number}", base_url=fake.origin)
        credentials.add(hub, new)
    number = sell(hub, fake)
    assert [(one.credential_id, one.ok) for one in probing.look(hub, 60.0, clock.now_ms())] == [(number, True)]
    assert [one.path for one in fake.received] == ["/v1/models"]


def test_probes_are_off_unless_they_are_wanted(hub: Hub) -> None:
    assert hub.settings.routing_probe_s == 0
    assert replace(hub.settings, routing_probe_s=60.0).routing_probe_s == 60
