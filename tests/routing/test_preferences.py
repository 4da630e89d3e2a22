"""What a scope may set, how it is read, and what is refused rather than ignored."""

from typing import Any

import pytest

from tokenhub.errors import InvalidRequest
from tokenhub.routing import preferences
from tokenhub.routing.preferences import NOTHING, MaxPrice, Preferences

WHOLE: dict[str, Any] = {
    "regions": ["eu", "us"],
    "deny_regions": ["cn"],
    "providers": ["azure", "openai@eu"],
    "deny_providers": ["openrouter"],
    "models": ["gpt-4o", "openai/gpt-5"],
    "deny_models": ["gpt-5-nano"],
    "data_policy": "no_training",
    "order": ["openai", "azure"],
    "sort": "latency",
    "max_price": {"prompt": "2.5", "completion": "10"},
    "failover": False,
    "max_attempts": 2,
    "prompt_cache": False,
    "require_parameters": True,
}


def test_every_member_survives_being_written_and_read() -> None:
    assert preferences.parse(WHOLE).dump() == WHOLE
    assert preferences.parse({}) == NOTHING
    assert NOTHING.dump() == {}


def test_an_empty_list_allows_nothing_and_denies_nothing() -> None:
    found = preferences.parse({"regions": [], "models": [], "providers": [], "deny_regions": [], "deny_models": []})
    assert found.dump() == {"regions": [], "models": [], "providers": []}
    assert preferences.parse(found.dump()) == found
    assert preferences.of_request({"provider": {"only": [], "ignore": []}}) == Preferences(providers=frozenset())


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("regions", ["EU"]),
        ("regions", ["uk"]),
        ("regions", ["global"]),
        ("regions", ["unknown"]),
        ("deny_regions", ["*"]),
        ("deny_regions", ["cn "]),
        ("deny_regions", "cn"),
        ("providers", ["OpenAI"]),
        ("deny_providers", ["open*"]),
        ("deny_providers", [" openai"]),
        ("deny_providers", [None]),
        ("providers", ["a"] * 65),
        ("order", ["openai/gpt-4o"]),
        ("sort", "random"),
        ("data_policy", "unknown"),
        ("max_price", "3"),
        ("max_price", {"prompt": -1}),
        ("max_price", {"prompt": "1e3"}),
        ("max_price", {"prompt": True}),
        ("max_price", {"prompt": float("nan")}),
        ("max_price", {"prompt": 1e300}),
        ("max_price", {"prompt": 0.1234567890123}),
        ("max_price", {"request": 1}),
        ("failover", 1),
        ("max_attempts", 4),
        ("max_attempts", 0),
        ("max_attempts", True),
        ("require_parameters", "yes"),
        ("unheard_of", 1),
    ],
)
def test_t106_what_cannot_mean_anything_is_refused(member: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        preferences.parse({member: value})
    assert (refused.value.param or "").startswith(member)


def test_a_request_is_read_as_openrouter_spells_it() -> None:
    given = {
        "only": ["openai", "azure"], "ignore": ["groq"], "order": ["azure"], "sort": "price", "allow_fallbacks": True,
        "require_parameters": True, "max_price": {"prompt": 2, "completion": 0.1}, "data_collection": "deny",
    }  # fmt: skip
    assert preferences.of_request({"provider": given}) == Preferences(
        providers=frozenset({"openai", "azure"}),
        deny_providers=frozenset({"groq"}),
        data_policy="no_retention",
        order=("azure",),
        sort="price",
        max_price=MaxPrice(2 * 10**12, 10**11),
        require_parameters=True,
    )


def test_null_is_as_good_as_absent() -> None:
    nothing = {
        "provider": {
            "only": None,
            "ignore": None,
            "order": None,
            "sort": None,
            "max_price": None,
            "allow_fallbacks": None,
        }
    }
    assert preferences.of_request(nothing) is None
    assert preferences.of_request({"provider": None}) is None
    assert preferences.of_request({"provider": {}}) is None
    assert preferences.fallbacks({"models": None}) == ()


def test_order_without_fallbacks_allows_only_what_is_in_it() -> None:
    found = preferences.of_request({"provider": {"order": ["openai", "azure"], "allow_fallbacks": False}})
    assert found is not None
    assert (found.providers, found.failover) == (frozenset({"openai", "azure"}), False)
    both = preferences.of_request({"provider": {"order": ["openai"], "only": ["azure"], "allow_fallbacks": False}})
    assert both is not None
    assert both.providers == frozenset()


@pytest.mark.parametrize(
    ("provider", "param"),
    [
        ({"quantizations": ["fp8"]}, "provider.quantizations"),
        ({"zdr": True}, "provider.zdr"),
        ({"Only": ["openai"]}, "provider.Only"),
        ({"max_price": {"image": 1}}, "provider.max_price.image"),
        ({"data_collection": "perhaps"}, "provider.data_collection"),
        ({"sort": {"by": "price"}}, "provider.sort"),
        ({"only": "openai"}, "provider.only"),
        (["openai"], "provider"),
        ("openai", "provider"),
    ],
)
def test_a_member_that_is_not_known_is_a_400_that_names_it(provider: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        preferences.of_request({"provider": provider})
    assert refused.value.param == param


def test_fallback_models_are_kept_once_and_without_the_model_itself() -> None:
    assert preferences.fallbacks({"model": "a", "models": ["a", "b", "c", "b"]}) == ("b", "c")
    for wrong in ("b", [1], [""], ["x"] * 65, [f"m{number}" for number in range(17)]):
        with pytest.raises(InvalidRequest):
            preferences.fallbacks({"model": "a", "models": wrong})
