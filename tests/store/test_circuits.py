"""Circuits, cool-downs and health at rest, on both databases, as several processes write them (T118)."""

import threading

import pytest

from tokenhub.operations import credentials
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.routing import circuit as rules
from tokenhub.routing.availability import Cooldown
from tokenhub.routing.circuit import Circuit, State
from tokenhub.routing.health import Tally
from tokenhub.store import catalog as store_catalog
from tokenhub.store import circuits, health
from tokenhub.store.database import Database

T0 = 1_800_000_000_000
NAME = "openai/gpt-4o@global#1"
OPEN = Circuit(State.OPEN, 5, 1000, T0 + 900, 0, "timeout", T0)


def put(database: Database, name: str, circuit: Circuit) -> None:
    with database.write():
        circuits.put(database, name, circuit)


def credential(hub: Hub, secret: str = "sk-canary-0123456789-abcdefghij") -> int:
    return credentials.add(hub, NewCredential("openai", secret)).id


def test_a_circuit_is_read_as_it_was_put(database: Database) -> None:
    put(database, NAME, OPEN)
    put(database, "other", Circuit(State.HALF_OPEN, 1, 2000, T0, T0 + 5, "server", T0 + 1))
    found = circuits.read(database).circuits
    assert found == {NAME: OPEN, "other": Circuit(State.HALF_OPEN, 1, 2000, T0, T0 + 5, "server", T0 + 1)}
    put(database, NAME, rules.answered(OPEN, T0 + 7))
    assert circuits.read(database).circuits[NAME] == Circuit(State.CLOSED, 0, 1000, 0, 0, "timeout", T0 + 7)


def test_one_of_many_processes_gets_the_probe(database: Database) -> None:
    put(database, NAME, OPEN)
    now_ms = OPEN.open_until_ms
    probing, won = rules.claimed(OPEN, now_ms), []
    ready = threading.Barrier(6)

    def claim() -> None:
        ready.wait()
        with database.write():
            won.append(circuits.swap(database, NAME, OPEN, probing))
        database.close()

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(won) == [False] * 5 + [True]
    assert circuits.read(database).circuits[NAME] == probing


def test_a_probe_that_died_can_be_claimed_again_and_a_changed_circuit_cannot(database: Database) -> None:
    put(database, NAME, OPEN)
    probing = rules.claimed(OPEN, T0 + 900)
    late = rules.claimed(probing, probing.probe_until_ms)
    with database.write():
        assert circuits.swap(database, NAME, OPEN, probing)
        assert circuits.swap(database, NAME, probing, late)
        assert not circuits.swap(database, NAME, probing, late)
        assert not circuits.swap(database, "unknown", OPEN, probing)


def test_a_cooldown_only_gets_longer_and_needs_its_credential(hub: Hub) -> None:
    database, number = hub.database, credential(hub)
    with database.write():
        for until in (T0 + 5_000, T0 + 30_000, T0 + 10_000):
            circuits.put_cooldown(database, number, Cooldown(until, 1000, "rate"), T0)
        circuits.put_cooldown(database, number + 40, Cooldown(T0 + 5_000, 1000), T0)
    assert circuits.read(database).cooldowns == {number: Cooldown(T0 + 30_000, 1000, "rate")}
    credentials.remove(hub, number)
    assert circuits.read(database).cooldowns == {}


def test_failed_credentials_are_read_with_their_reason(hub: Hub) -> None:
    number, other = credential(hub), credential(hub, "sk-another-secret-of-some-length")
    credentials.set_status(hub, other, store_catalog.DISABLED)
    store_catalog.mark_credential(hub.database, number, store_catalog.FAILED, "auth")
    assert circuits.read(hub.database).failed == {number: "auth"}


def test_mending_a_credential_forgets_what_was_wrong_with_it_alone(hub: Hub) -> None:
    database, number = hub.database, credential(hub)
    other = f"openai/gpt-4o@global#1{number}"
    put(database, f"openai/gpt-4o@global#{number}", OPEN)
    put(database, other, OPEN)
    with database.write():
        circuits.put_cooldown(database, number, Cooldown(T0 + 5_000, 1000), T0)
        assert circuits.mended(database, number)
        assert not circuits.mended(database, number)
    found = circuits.read(database)
    assert (set(found.circuits), found.cooldowns) == ({other}, {})


def test_what_says_nothing_any_more_is_pruned(hub: Hub) -> None:
    database, number = hub.database, credential(hub)
    put(database, NAME, OPEN)
    put(database, "newer", Circuit(State.CLOSED, 0, 1000, 0, 0, "", T0 + 9))
    with database.write():
        circuits.put_cooldown(database, number, Cooldown(T0, 1000), T0)
    circuits.prune(database, T0 + 3_600_000)
    assert set(circuits.read(database).cooldowns) == {number}
    circuits.prune(database, T0 + circuits.KEPT_MS + 1)
    found = circuits.read(database)
    assert (set(found.circuits), found.cooldowns) == ({"newer"}, {})


# ---- health


def test_minutes_add_up_over_processes(database: Database) -> None:
    minute = T0 - T0 % 60_000

    def count() -> None:
        for _ in range(10):
            tally = Tally(3, 1, {200: 2, 1200: 1}, {50: 2})
            with database.write():
                health.add(database, {(NAME, minute): tally, ("other", minute): Tally(1)})
        database.close()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = health.since(database, minute)
    assert found == {NAME: Tally(120, 40, {200: 80, 1200: 40}, {50: 80}), "other": Tally(40)}


@pytest.mark.parametrize(("from_minute", "attempts"), [(0, 6), (1, 5), (2, 3), (3, None)])
def test_only_whole_minutes_since_a_moment_count(database: Database, from_minute: int, attempts: int | None) -> None:
    with database.write():
        health.add(database, {(NAME, T0 + n * 60_000): Tally(n + 1) for n in range(3)})
    found = health.since(database, T0 + from_minute * 60_000)
    assert (found[NAME].attempts if found else None) == attempts
    assert health.last_attempts(database) == {NAME: T0 + 120_000}


def test_some_deployments_are_added_up_alone(database: Database) -> None:
    with database.write():
        for n in range(3):
            health.add(database, {(name, T0 + n * 60_000): Tally(2, 1, {50: 2}) for name in (NAME, "other", "third")})
    assert health.of(database, ["other", NAME], T0 + 60_000) == {
        NAME: Tally(4, 2, {50: 4}),
        "other": Tally(4, 2, {50: 4}),
    }
    assert health.counts(database, ["third", "none"], T0) == {"third": Tally(6, 3)}


def test_a_day_of_minutes_is_kept(database: Database) -> None:
    with database.write():
        health.add(database, {(NAME, T0): Tally(1), (NAME, T0 + 60_000): Tally(1)})
    health.prune(database, T0 + 24 * 3_600_000)
    assert health.since(database, 0)[NAME].attempts == 2
    health.prune(database, T0 + 24 * 3_600_000 + 1)
    assert health.since(database, 0)[NAME].attempts == 1
