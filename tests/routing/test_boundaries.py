"""Boundaries: what each rule keeps out, that scopes only narrow, and that what is not known is outside."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from tests.routing.made import CALL, NOW_MS, Standings, chain, deployment, model, planned, provider
from tokenhub.call import Call, Capability
from tokenhub.catalog import regions
from tokenhub.catalog.models import Deployment
from tokenhub.catalog.prices import PriceCard
from tokenhub.routing import boundaries, preferences
from tokenhub.routing.boundaries import Exclusion
from tokenhub.routing.route import ContextTooLong, NoEligibleProvider, NoProviderAvailable
from tokenhub.routing.standing import Standing

ALPHA = provider("alpha")
ONE = model("one", aliases=("one-latest", "maker/one"))


def only(**members: Any) -> preferences.Preferences:
    return preferences.parse(members)


def outside(one: Deployment, call: Call = CALL, **members: Any) -> Exclusion | None:
    return boundaries.excluded(one, one.prices.at(NOW_MS), chain(account=only(**members)), call)


@pytest.mark.parametrize(
    ("data_region", "allowed", "inside"),
    [
        ("eu", ["eu"], True),
        ("de", ["eu"], True),
        ("eu", ["de"], False),
        ("us", ["eu"], False),
        ("us", ["eu", "us"], True),
        ("global", ["eu", "us", "cn"], False),
        ("unknown", ["eu", "us", "cn"], False),
        ("self-hosted", ["eu"], False),
        ("self-hosted", ["self-hosted"], True),
        ("eu", [], False),
    ],
)
def test_t104_an_allowed_region_holds_only_what_is_known_to_run_in_it(
    data_region: str, allowed: list[str], inside: bool
) -> None:
    found = outside(deployment(ALPHA, data_region, ONE), regions=allowed)
    assert (found is None) is inside
    assert found is None or found.code == "region_not_allowed"


@pytest.mark.parametrize(
    ("data_region", "denied", "inside"),
    [
        ("cn", ["cn"], False),
        ("eu", ["cn"], True),
        ("global", ["cn"], False),
        ("unknown", ["cn"], False),
        ("self-hosted", ["cn"], True),
        ("de", ["eu"], False),
        ("eu", ["de"], False),
        ("us", ["eu", "cn"], True),
    ],
)
def test_t104_a_denied_region_rules_out_what_may_run_in_it(data_region: str, denied: list[str], inside: bool) -> None:
    found = outside(deployment(ALPHA, data_region, ONE), deny_regions=denied)
    assert (found is None) is inside
    assert found is None or (found.code, found.scope, found.subject) == ("region_denied", "account", "a")


def test_no_region_is_nowhere() -> None:
    assert not any(
        regions.contains(region, nowhere) for region in (*regions.COUNTRIES, "eu") for nowhere in regions.NOWHERE
    )
    assert regions.EU < regions.COUNTRIES
    assert len(regions.EU) == 27
    assert len(regions.COUNTRIES) == 249


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"providers": ["beta"]}, "provider_not_allowed"),
        ({"providers": ["alpha@us"]}, "provider_not_allowed"),
        ({"providers": ["alpha@eu"]}, None),
        ({"deny_providers": ["alpha"]}, "provider_denied"),
        ({"deny_providers": ["alpha@eu"]}, "provider_denied"),
        ({"deny_providers": ["alpha@us"]}, None),
        ({"models": ["two"]}, "model_not_allowed"),
        ({"models": ["beta/one"]}, "model_not_allowed"),
        ({"models": ["one-latest"]}, None),
        ({"deny_models": ["one"]}, "model_denied"),
        ({"deny_models": ["maker/one"]}, "model_denied"),
        ({"deny_models": ["alpha/one-latest"]}, "model_denied"),
        ({"deny_models": ["beta/one"]}, None),
        ({"max_price": {"prompt": "0.999999999999"}}, "price_above_max"),
        ({"max_price": {"prompt": "1", "completion": "4"}}, None),
        ({"max_price": {"completion": "3.99"}}, "price_above_max"),
        ({"data_policy": "no_training"}, "data_policy"),
    ],
)
def test_t106_a_rule_means_what_it_names_and_an_alias_is_as_good_as_the_name(
    members: dict[str, Any], code: str | None
) -> None:
    found = outside(deployment(ALPHA, "eu", ONE), **members)
    assert (found and found.code) == code


RATES = deployment(ALPHA, "eu", ONE).prices.periods[0].card.rates
TIER = replace(RATES, input=3 * RATES.input, output=2 * RATES.output)
SEEN = replace(RATES, image_input=5 * RATES.input, audio_input=7 * RATES.input, image_output=9 * RATES.output)


@pytest.mark.parametrize(
    ("card", "outputs", "call", "price"),
    [
        (PriceCard(RATES), ("text",), CALL, (1, 4)),
        (PriceCard(RATES, ((2_000, TIER),)), ("text",), CALL, (1, 4)),
        (PriceCard(RATES, ((1_999, TIER),)), ("text",), CALL, (3, 8)),
        (PriceCard(RATES, ((200_000, TIER),)), ("text",), replace(CALL, files=1), (3, 8)),
        (PriceCard(RATES, ((200_000, TIER),)), ("text",), replace(CALL, audio_parts=1), (3, 8)),
        (PriceCard(SEEN), ("text",), CALL, (1, 4)),
        (PriceCard(SEEN), ("text",), replace(CALL, images=1), (5, 4)),
        (PriceCard(SEEN), ("text",), replace(CALL, audio_parts=1), (7, 4)),
        (PriceCard(SEEN), ("text", "image"), CALL, (1, 36)),
    ],
)
def test_a_highest_price_holds_for_every_token_that_a_call_can_be_charged(
    card: PriceCard, outputs: tuple[str, ...], call: Call, price: tuple[int, int]
) -> None:
    one = deployment(ALPHA, "eu", replace(ONE, output_modalities=outputs))

    def is_inside(prompt: float, completion: float) -> bool:
        limits = chain(account=only(max_price={"prompt": prompt, "completion": completion}))
        return boundaries.by_price(one, card, limits, call) is None

    prompt, completion = price
    assert is_inside(prompt, completion)
    assert not is_inside(prompt - 0.01, completion)
    assert not is_inside(prompt, completion - 0.01)


def test_a_price_above_the_highest_is_told_beside_it() -> None:
    found = outside(deployment(ALPHA, "eu", ONE), max_price={"prompt": "2", "completion": "3.99"})
    assert found is not None
    assert found.detail == "completion costs 4 USD per million tokens; at most 3.99"


@pytest.mark.parametrize(
    ("stated", "wanted", "inside"),
    [
        ("unknown", "no_training", False),
        ("no_training", "no_training", True),
        ("no_training", "no_retention", False),
        ("no_retention", "no_training", True),
        ("no_retention", "no_retention", True),
    ],
)
def test_t104_a_data_policy_that_is_not_stated_is_none(stated: str, wanted: str, inside: bool) -> None:
    assert (outside(deployment(provider("alpha", stated), "eu", ONE), data_policy=wanted) is None) is inside


@pytest.mark.parametrize(
    ("stated", "own", "base_url", "words"),
    [
        ("no_training", None, None, "alpha states no_training; asked for: no_retention"),
        ("unknown", None, None, "alpha has stated nothing of where it is called; asked for: no_retention"),
        ("no_retention", None, "https://proxy.example", "alpha has stated nothing of where it is called; asked for: no_retention"),
        ("no_retention", "unknown", None, "the operator's agreement with alpha says unknown; asked for: no_retention"),
        ("unknown", "no_retention", "https://proxy.example", None),
    ],
)  # fmt: skip
def test_t104_the_operators_agreement_goes_before_what_is_stated(
    stated: str, own: str | None, base_url: str | None, words: str | None
) -> None:
    made = deployment(provider("alpha", stated), "eu", ONE)
    made = replace(made, credential=replace(made.credential, data_policy=own, base_url=base_url))
    found = outside(made, data_policy="no_retention")
    assert (found and found.detail) == words


@pytest.mark.parametrize("narrow", list(product((False, True), repeat=3)))
def test_t107_all_intersections_of_account_key_and_request(narrow: tuple[bool, bool, bool]) -> None:
    """Each scope denies one provider of its own or none: what is left is exactly what no scope denies."""
    names = ("alpha", "beta", "gamma", "delta")
    group = [deployment(provider(name), "eu", ONE, credential=place) for place, name in enumerate(names)]
    scopes = {
        scope: only(deny_providers=[name])
        for scope, name, denies in zip(("account", "key"), names, narrow, strict=False)
        if denies
    }
    request = only(deny_providers=["gamma"]) if narrow[2] else None
    found = planned([group], chain(**scopes), request=request)
    considered = {one.deployment.provider.id: one for one in found.decision.considered}
    for name, denies, scope in zip(names, (*narrow, False), ("account", "key", "request", ""), strict=True):
        assert (considered[name].verdict == "excluded") is denies
        if denies:
            exclusion = considered[name].exclusion
            assert exclusion is not None
            assert (exclusion.code, exclusion.scope) == ("provider_denied", scope)


@pytest.mark.parametrize("stated", list(product((None, ["alpha", "beta"], ["beta", "gamma"]), repeat=3)))
def test_t107_a_request_can_never_widen(stated: tuple[list[str] | None, ...]) -> None:
    names = ("alpha", "beta", "gamma")
    group = [deployment(provider(name), "eu", ONE, credential=place) for place, name in enumerate(names)]
    scopes = {
        scope: only(providers=allowed)
        for scope, allowed in zip(("account", "key"), stated, strict=False)
        if allowed is not None
    }
    request = None if stated[2] is None else only(providers=stated[2])
    expected = set(names)
    for allowed in stated:
        expected &= set(allowed or names)
    found = planned([group], chain(**scopes), request=request)
    assert {one.deployment.provider.id for one in found.candidates} == expected


# Capability ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "made", "quirks", "code"),
    [
        ({"uses_tools": True}, {"tools": False}, {}, "tools"),
        ({"wants_json_schema": True}, {"json_schema": False}, {}, "json_schema"),
        ({"wants_json_schema": True}, {}, {"response_formats": ("text", "json_object")}, "json_schema"),
        ({"images": 1}, {}, {}, "modality"),
        ({"images": 1}, {"images": True}, {"images": "none"}, "modality"),
        ({"images": 1}, {"images": True}, {}, None),
        ({"files": 1}, {}, {"file_parts": False}, "modality"),
        ({"choices": 2}, {}, {"choices_max": 1}, "parameter:n"),
        ({"input_bytes": 16_001}, {"context": 1_000}, {}, "context_too_short"),
        ({"input_bytes": 16_000}, {"context": 1_000}, {}, None),
        ({"input_bytes": 99_000, "images": 1}, {"context": 1_000, "images": True}, {}, None),
        ({"input_bytes": 10**9}, {"context": None}, {}, None),
    ],
)
def test_what_a_deployment_cannot_do_keeps_it_out(
    facts: dict[str, Any], made: dict[str, Any], quirks: dict[str, Any], code: str | None
) -> None:
    one = deployment(provider("alpha", **quirks), "eu", model("one", **made))
    found = outside(one, Call(Capability.CHAT, "one", **facts))
    assert (found and found.code) == code
    assert found is None or found.scope == ""


def test_a_context_that_is_likely_too_short_is_tried_last() -> None:
    short = deployment(ALPHA, "eu", model("one", context=10_000), price=(1, 1))
    roomy = deployment(provider("beta"), "eu", model("one", context=200_000), credential=2, price=(5, 50))
    call = Call(Capability.CHAT, "one", input_bytes=60_000)
    for seed in range(20):
        found = planned([[short, roomy]], call=call, seed=bytes([seed]))
        assert [one.deployment.provider.id for one in found.candidates] == ["beta", "alpha"]


def test_required_parameters_are_asked_of_each_deployment() -> None:
    group = [deployment(ALPHA, "eu", ONE), deployment(provider("beta"), "eu", ONE, credential=2)]

    def refuses(one: Deployment) -> tuple[str, ...]:
        return ("seed", "logit_bias") if one.provider.id == "alpha" else ()

    found = planned([group], request=only(require_parameters=True), refuses=refuses)
    assert [one.deployment.provider.id for one in found.candidates] == ["beta"]
    assert found.decision.excluded[0]["reason"] == "parameter:seed"
    assert found.decision.excluded[0]["detail"] == "does not take logit_bias, seed as they are"
    assert len(planned([group], refuses=refuses).candidates) == 2


# Refusals --------------------------------------------------------------------------------------------


def test_t103_an_empty_set_is_a_403_with_each_ones_reason() -> None:
    group = [deployment(ALPHA, "us", ONE), deployment(provider("beta"), "global", ONE, credential=2)]
    with pytest.raises(NoEligibleProvider) as refused:
        planned([group], chain(installation=only(regions=["eu"])))
    error = refused.value
    assert (error.status, error.type, error.code) == (403, "permission_denied", "no_eligible_provider")
    assert error.metadata["excluded"] == [
        {
            "model": "one", "provider": "alpha", "region": "us", "reason": "region_not_allowed",
            "scope": "installation", "detail": "runs in us; allowed: eu",
        },
        {
            "model": "one", "provider": "beta", "region": "global", "reason": "region_not_allowed",
            "scope": "installation", "detail": "runs in no one region (global); allowed: eu",
        },
    ]  # fmt: skip


def test_only_too_long_is_the_clients_400() -> None:
    with pytest.raises(ContextTooLong) as refused:
        planned([[deployment(ALPHA, "us", model("one", context=10))]])
    assert (refused.value.status, refused.value.code) == (400, "context_length_exceeded")


def test_t80_nothing_available_is_a_503_until_the_first_is_back() -> None:
    group = [deployment(provider(f"p{n}"), "us", ONE, credential=n) for n in range(1, 4)]
    away = {
        group[0].id: Standing(False, "cooling_down", NOW_MS + 60_000),
        group[1].id: Standing(False, "cooling_down", NOW_MS + 9_001),
        group[2].id: Standing(False, "credential_failed"),
    }
    with pytest.raises(NoProviderAvailable) as refused:
        planned([group], availability=Standings(away))
    error = refused.value
    assert (error.status, error.code, error.retry_after_s) == (503, "no_provider_available", 10)
    reasons = [one["reason"] for one in error.metadata["excluded"]]
    assert sorted(reasons) == ["cooling_down", "cooling_down", "credential_failed"]


@pytest.mark.parametrize("code", ["circuit_open", "half_open"])
def test_t81_the_last_one_inside_is_tried_once_although_its_circuit_is_open(code: str) -> None:
    group = [
        deployment(ALPHA, "eu", ONE),
        deployment(provider("beta"), "eu", ONE, credential=2),
        deployment(provider("gamma"), "us", ONE, credential=3),
    ]
    away = {one.id: Standing(False, code, NOW_MS + 1_000) for one in group[:2]}
    found = planned([group], chain(account=only(regions=["eu"])), availability=Standings(away))
    assert len(found.candidates) == 1
    assert found.decision.by == "last_resort"
    assert found.candidates[0].deployment.region.data_region == "eu"
    both = planned([group], availability=Standings(away))
    assert [one.deployment.provider.id for one in both.candidates] == ["gamma"]
