"""The order within the boundaries: wishes, weights, models one after the other, other providers first, and the pin."""

from collections import Counter
from typing import Any

import orjson
import pytest

from tests.routing.made import CALL, NOW_MS, Standings, chain, deployment, model, planned, provider, surveyed
from tokenhub.routing import preferences, route
from tokenhub.routing.availability import Observed
from tokenhub.routing.standing import Standing

ONE, TWO = model("one"), model("two")
GROUP = [
    deployment(provider("alpha"), "eu", ONE, credential=1, price=(3, 9)),
    deployment(provider("beta"), "us", ONE, credential=2, price=(1, 3)),
    deployment(provider("gamma"), "cn", ONE, credential=3, price=(2, 6)),
]


def only(**members: Any) -> preferences.Preferences:
    return preferences.parse(members)


def providers_of(found: route.Route) -> list[str]:
    return [one.deployment.provider.id for one in found.candidates]


def test_a_sort_by_price_puts_the_cheapest_first() -> None:
    assert providers_of(planned([GROUP], chain(account=only(sort="price")))) == ["beta", "gamma", "alpha"]


@pytest.mark.parametrize(
    ("sort", "first"), [("latency", ["gamma", "alpha", "beta"]), ("throughput", ["alpha", "gamma", "beta"])]
)
def test_a_sort_by_speed_goes_by_what_was_measured_and_puts_the_unknown_last(sort: str, first: list[str]) -> None:
    known = {
        GROUP[0].id: Standing(latency_ms=300.0, throughput=90.0),
        GROUP[2].id: Standing(latency_ms=200.0, throughput=30.0),
    }
    assert providers_of(planned([GROUP], chain(key=only(sort=sort)), availability=Standings(known))) == first


def test_the_innermost_scope_that_wishes_decides_the_order() -> None:
    around = chain(installation=only(order=["alpha"]), account=only(sort="price"))
    assert providers_of(planned([GROUP], around))[0] == "beta"
    assert providers_of(planned([GROUP], around, request=only(order=["gamma@cn", "alpha"]))) == [
        "gamma",
        "alpha",
        "beta",
    ]


def test_the_fewest_attempts_of_any_scope_hold_and_the_decision_says_whose() -> None:
    around = chain(plan=only(max_attempts=2), key=only(max_attempts=3))
    found = planned([GROUP], around)
    assert (len(found.candidates), found.decision.max_attempts, found.decision.why_max) == (2, 2, "plan")
    off = planned([GROUP], around, request=only(failover=False))
    assert (len(off.candidates), off.decision.why_max) == (1, "request")
    on = planned([GROUP], chain(account=only(failover=False)), request=only(failover=True))
    assert len(on.candidates) == 1
    assert planned([GROUP], max_attempts=1).decision.why_max == "failover_off"


def test_all_deployments_of_a_model_come_before_the_next_model() -> None:
    second = [deployment(provider("alpha"), "eu", TWO, credential=9, price=(0, 0))]
    found = planned([GROUP, second], chain(account=only(order=["alpha"])))
    assert [one.deployment.model.id for one in found.candidates] == ["one", "one", "one"]
    assert [one.id for one in found.decision.considered if one.verdict == "spare"] == [second[0].id]


def test_a_providers_second_credential_waits_for_the_other_providers() -> None:
    twice = [*GROUP[:2], deployment(provider("beta"), "us", ONE, credential=8, price=(1, 3))]
    for seed in range(30):
        assert len(set(providers_of(planned([twice], seed=bytes([seed])))[:2])) == 2


ALPHA_TWICE = [*GROUP[:2], deployment(provider("alpha"), "us", ONE, credential=8, price=(2, 6))]


@pytest.mark.parametrize(
    ("wish", "first"),
    [
        ({"order": ["alpha@eu", "alpha@us"]}, ["alpha@eu", "alpha@us", "beta@us"]),
        ({"order": ["alpha@us", "alpha@eu", "beta"]}, ["alpha@us", "alpha@eu", "beta@us"]),
        ({"sort": "price"}, ["beta@us", "alpha@us", "alpha@eu"]),
    ],
)
def test_a_wish_is_kept_where_it_names_a_provider_twice(wish: dict[str, Any], first: list[str]) -> None:
    for seed in range(10):
        found = planned([ALPHA_TWICE], request=only(**wish), seed=bytes([seed]))
        assert [f"{one.deployment.provider.id}@{one.deployment.region.id}" for one in found.candidates] == first


def test_a_cheaper_second_deployment_of_a_provider_is_not_put_behind_a_dearer_provider() -> None:
    cheap = [deployment(provider("alpha"), "eu", ONE, credential=7, price=(1, 3)), ALPHA_TWICE[2], GROUP[0]]
    group = [*cheap, deployment(provider("beta"), "us", ONE, credential=2, price=(9, 27))]
    assert providers_of(planned([group], request=only(sort="price"))) == ["alpha", "alpha", "alpha"]


def test_between_those_whom_a_wish_leaves_equal_other_providers_come_first() -> None:
    for seed in range(20):
        found = planned([[*ALPHA_TWICE, GROUP[2]]], request=only(order=["gamma"]), seed=bytes([seed]))
        assert providers_of(found)[0] == "gamma"
        assert set(providers_of(found)[1:]) == {"alpha", "beta"}


def test_a_dearer_deployment_gets_the_share_of_its_price() -> None:
    firsts = Counter(providers_of(planned([GROUP], seed=number.to_bytes(4, "big")))[0] for number in range(4_000))
    weights = {"alpha": 1 / 9, "beta": 1.0, "gamma": 1 / 4}
    for name, weight in weights.items():
        assert abs(firsts[name] / 4_000 - weight / sum(weights.values())) < 0.04


def test_a_pinned_deployment_goes_first_before_any_wish_and_any_other_model() -> None:
    second = [deployment(provider("delta"), "eu", TWO, credential=9)]
    found = planned([GROUP, second], request=only(order=["beta"]), pinned=second[0].id)
    assert (providers_of(found)[0], found.decision.by) == ("delta", "pin")
    gone = planned([GROUP, second], request=only(order=["beta"], deny_providers=["delta"]), pinned=second[0].id)
    assert (providers_of(gone)[0], gone.decision.by) == ("beta", "order")


def test_a_name_that_comes_twice_is_considered_once() -> None:
    surveys = [surveyed([GROUP], name="one"), surveyed([GROUP[:1], GROUP[1:]], name="plan/one")]
    found = route.plan(CALL, surveys, availability=Observed(), seed=b"s", now_ms=NOW_MS, max_attempts=3)
    assert len(found.decision.considered) == 3
    assert found.decision.asked == ("one", "plan/one")


def test_the_record_of_a_decision_is_compact_and_whole() -> None:
    away = Standings({GROUP[1].id: Standing(False, "cooling_down", NOW_MS + 500)})
    found = planned([GROUP], chain(account=only(deny_regions=["cn"])), availability=away)
    record = orjson.loads(found.decision.dump())
    score = record["d"][0].pop("s")
    assert score > 0
    assert record["d"][1].pop("s") > 0
    assert record == {
        "v": 1, "asked": "asked", "models": ["one"], "by": "session", "max": 3,
        "d": [
            {"id": "alpha/one@eu#1", "v": "try", "n": 1},
            {"id": "beta/one@us#2", "v": "unavailable", "code": "cooling_down", "at": NOW_MS + 500},
            {
                "id": "gamma/one@cn#3", "v": "excluded", "code": "region_denied", "scope": "account", "sub": "a",
                "why": "runs in cn; denied: cn",
            },
        ],
    }  # fmt: skip
