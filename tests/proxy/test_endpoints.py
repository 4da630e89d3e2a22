"""``GET /v1/models/{id}/endpoints``: where a key may call a model, how well it is served there, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.chains import Chain, open_chain
from tests.fakes.upstream import json_reply, openai_error
from tokenhub import clock
from tokenhub.routing.health import MINUTE_MS, Tally
from tokenhub.store import health

DOWN = json_reply(openai_error("down", type="server_error"), 500)
FIELDS = {
    "name", "model_id", "model_name", "context_length", "pricing", "provider_name", "tag", "quantization",
    "max_completion_tokens", "max_prompt_tokens", "supported_parameters", "supports_implicit_caching", "region",
    "data_region", "lifecycle", "status", "uptime_last_5m", "uptime_last_30m", "uptime_last_1d", "latency_last_30m",
    "throughput_last_30m",
}  # fmt: skip


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with open_chain(tmp_path_factory.mktemp("endpoints")) as opened:
        yield opened


def endpoints(chain: Chain, name: str = "shared-model", key: str | None = None) -> list[dict[str, object]]:
    headers = {"Authorization": f"Bearer {key or chain.gateway.key}"}
    answer = chain.gateway.call("GET", f"/v1/models/{name}/endpoints", headers=headers)
    assert answer.status == 200, answer.body
    data = answer.json()["data"]
    assert set(data) == {"id", "name", "created", "description", "architecture", "endpoints"}
    assert data["id"] == name
    return list(data["endpoints"])


def test_every_place_is_shown_once_with_its_price(chain: Chain) -> None:
    found = endpoints(chain)
    assert {one["tag"] for one in found} == {"alpha@default", "beta@default", "gamma@default"}
    assert all(set(one) == FIELDS for one in found)
    prices = {one["tag"]: one["pricing"] for one in found}
    assert prices["beta@default"]["prompt"] == "0.000002"  # type: ignore[index]
    assert {one["status"] for one in found} == {0}
    assert {one["uptime_last_30m"] for one in found} == {None}


def test_a_key_sees_only_what_it_may_call(chain: Chain) -> None:
    narrow = chain.gateway.add_key(models=("beta/shared-model",))
    assert [one["tag"] for one in endpoints(chain, key=narrow)] == ["beta@default"]
    assert [one["tag"] for one in endpoints(chain, "alpha/shared-model")] == ["alpha@default"]
    hidden = chain.gateway.call(
        "GET", "/v1/models/alpha/shared-model/endpoints", headers={"Authorization": f"Bearer {narrow}"}
    )
    assert (hidden.status, hidden.json()["error"]["code"]) == (404, "model_not_found")
    assert chain.gateway.call("GET", "/v1/models/none-such/endpoints").status == 404
    assert chain.gateway.call("GET", "/v1/models/shared-model/endpoints", headers={}).status == 401


def test_what_is_down_is_shown_as_down(chain: Chain) -> None:
    chain.play(DOWN)
    for _ in range(6):
        chain.ask()
    statuses = {one["tag"]: one["status"] for one in endpoints(chain)}
    assert statuses == {"alpha@default": -5, "beta@default": 0, "gamma@default": 0}
    chain.gateway.forget_faults()


def test_rates_and_times_are_those_of_the_last_minutes(chain: Chain) -> None:
    now_ms, name = clock.now_ms(), f"gamma/shared-model@default#{chain.credential_ids['gamma']}"
    minutes = {
        now_ms - 2 * MINUTE_MS: Tally(10, 9, {200: 1}, {50: 1}),
        now_ms - 20 * MINUTE_MS: Tally(30, 1, {200: 29}, {50: 29}),
        now_ms - 600 * MINUTE_MS: Tally(60, 0, {25_600: 60}),
    }
    with chain.gateway.hub.database.write():
        health.add(chain.gateway.hub.database, {(name, minute): tally for minute, tally in minutes.items()})
    found = next(one for one in endpoints(chain) if one["tag"] == "gamma@default")
    assert (found["uptime_last_5m"], found["uptime_last_30m"], found["uptime_last_1d"]) == (10.0, 75.0, 90.0)
    assert found["status"] == -2
    latency, throughput = found["latency_last_30m"], found["throughput_last_30m"]
    assert 150 < latency["p50"] < latency["p99"] <= 200  # type: ignore[index]
    assert 35 <= throughput["p99"] < throughput["p50"] <= 50  # type: ignore[index]


def test_the_path_of_a_model_itself_is_what_it_was(chain: Chain) -> None:
    answer = chain.gateway.call("GET", "/v1/models/shared-model")
    assert (answer.status, answer.json()["id"]) == (200, "shared-model")
    assert chain.gateway.call("POST", "/v1/models/shared-model/endpoints", {}).status == 405


def test_the_page_costs_no_more_than_a_day_of_its_own_minutes(tmp_path: Path) -> None:
    """A day of another model's minutes is not read: key holders can ask as often as they like."""
    with open_chain(tmp_path, names=("alpha",)) as chain:
        database, now_ms = chain.gateway.hub.database, clock.now_ms()
        plan = database.rows(
            "EXPLAIN QUERY PLAN SELECT deployment, SUM(attempts) FROM health_minutes WHERE deployment IN ('a', 'b') "
            f"AND minute >= {now_ms} GROUP BY deployment"
        )
        assert "health_minutes_deployment_minute" in str(plan)
