"""``tokenhub status`` of a store in which things have happened: what people see, what programs read, and --watch."""

import json
import signal

import pytest

from tests.cli.program import run
from tests.conftest import process_environment
from tests.forked import Piped, program
from tokenhub import clock
from tokenhub.operations import availability, credentials, providers
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.operations.own_models import OwnModel
from tokenhub.operations.providers import OwnProvider
from tokenhub.routing.circuit import Circuit, State
from tokenhub.routing.health import MINUTE_MS, Tally
from tokenhub.store import circuits, health, leases


@pytest.fixture
def environment(hub: Hub) -> dict[str, str]:
    """The environment of a command on a hub where alpha is well, beta fails and gamma refuses its key."""
    now_ms = clock.now_ms()
    for name in ("alpha", "beta", "gamma"):
        model = OwnModel("shared-model", "m", {"input": "1", "output": "2"})
        providers.add(hub, OwnProvider(name, f"https://{name}.example/v1", [model]))
        credentials.add(hub, NewCredential(name, f"sk-{name}-000000000000001", label=f"{name}'s"))
    with hub.database.write():
        minute = now_ms - now_ms % MINUTE_MS
        health.add(
            hub.database,
            {
                ("alpha/shared-model@default#1", minute): Tally(200, 1, {200: 150, 1200: 50}, {50: 199}),
                ("beta/shared-model@default#2", minute): Tally(40, 30, {200: 10}),
            },
        )
        opened = Circuit(State.OPEN, 9, 30_000, now_ms + 30_000, 0, "timeout", now_ms)
        circuits.put(hub.database, "beta/shared-model@default#2", opened)
    availability.take_out(hub, 3, "auth (401 invalid_api_key)")
    return process_environment(hub.settings, hub.home)


def test_people_see_providers_then_deployments_then_what_to_mend(environment: dict[str, str]) -> None:
    shown = run(None, "status", more=environment)
    assert shown.code == 0
    lines = shown.out.splitlines()
    alpha, beta, gamma = (next(line for line in lines if line.startswith(name)) for name in ("alpha", "beta", "gamma"))
    assert alpha.split()[:5] == ["alpha", "default", "unknown", "ok", "99.5"]
    assert "DOWN" in beta
    assert "KEY REFUSED" in gamma
    row = next(line for line in lines if line.startswith("beta/shared-model@default#2"))
    assert "timeout" in row
    assert 20 <= int(row.split()[-1]) <= 30
    assert any("auth (401 invalid_api_key)" in line for line in lines)
    assert "tokenhub credentials rotate" in shown.err


def test_it_is_said_that_no_gateway_runs_and_since_when(hub: Hub, environment: dict[str, str]) -> None:
    assert "No gateway has run here yet" in run(None, "status", more=environment).err
    now_ms = clock.now_ms()
    lease = leases.acquire(hub.database, hub.home, 15, now_ms)
    assert "No gateway" not in run(None, "status", more=environment).err
    with hub.database.write():
        hub.database.execute("UPDATE leases SET renewed_at = ?", (now_ms - 185_000,))
    assert "No gateway has been seen for 3 min: nothing is served now" in run(None, "status", more=environment).err
    leases.end(hub.database, lease)
    found = json.loads(run(None, "status", "--json", more=environment).out)["gateway"]
    assert found == {"running": False, "seen_at": clock.iso(now_ms - 185_000)}


def test_programs_read_the_same_under_stable_names(environment: dict[str, str]) -> None:
    found = json.loads(run(None, "status", "--json", "--all", more=environment).out)
    assert {one["provider"]: one["state"] for one in found["providers"]} == {
        "alpha": "ok",
        "beta": "open",
        "gamma": "failed",
    }
    alpha = found["deployments"][0]
    assert (alpha["success_bp"], alpha["attempts"], alpha["failures"]) == (9950, 200, 1)
    assert alpha["p50_ms"] <= 200 < alpha["p95_ms"] <= 1200
    assert found["credentials"][0]["reason"] == "auth (401 invalid_api_key)"
    assert found["hidden"] == 0


def test_watching_goes_on_until_it_is_stopped(environment: dict[str, str]) -> None:
    with Piped(program, "--json", "status", "--watch", environment=environment) as process:
        pages = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert pages[0]["at"] < pages[1]["at"]
    assert len(pages[0]["deployments"]) == 3
