"""A model as clients of OpenAI and of OpenRouter read it."""

from decimal import Decimal

import pytest

from tokenhub.catalog import listing, load
from tokenhub.catalog.models import Credential

CATALOG = load.load()
NOW_MS = 1_795_327_200_000


def described(model: str, *places: tuple[str, str]) -> dict:
    credentials = [Credential(i, provider, region, "", "secret") for i, (provider, region) in enumerate(places)]
    return listing.describe(CATALOG.models[model], CATALOG.deployments(model, credentials), NOW_MS)


def test_openais_four_fields_are_there_with_their_types():
    shown = described("gpt-4o", ("openai", "global"))
    assert {name: shown[name] for name in ("id", "object", "owned_by")} == {
        "id": "gpt-4o",
        "object": "model",
        "owned_by": "openai",
    }
    assert type(shown["created"]) is int


def test_prices_are_exact_decimals_per_token():
    pricing = described("claude-sonnet-4.6", ("anthropic", "global"))["pricing"]
    assert pricing == {
        "prompt": "0.000003",
        "completion": "0.000015",
        "input_cache_read": "0.0000003",
        "input_cache_write": "0.00000375",
        "input_cache_write_1h": "0.000006",
    }


def test_tiers_are_shown_from_the_first_prompt_size_they_hold_for():
    (tier,) = described("claude-haiku-5.5", ("anthropic", "global"))["pricing"]["overrides"]
    assert tier["min_prompt_tokens"] == 100_001
    assert Decimal(tier["prompt"]) == Decimal("0.0000005")


def test_price_is_that_of_the_cheapest_and_every_provider_is_listed_with_its_region():
    shown = described("glm-4.5", ("zhipu", "intl"), ("openrouter", "default"), ("zhipu", "cn"))
    assert shown["pricing"]["prompt"] == "0.000000429799"
    assert [(one["provider"], one["region"], one["data_region"]) for one in shown["providers"]] == [
        ("zhipu", "intl", "unknown"),
        ("zhipu", "cn", "cn"),
        ("openrouter", "default", "global"),
    ]


def test_two_credentials_of_one_place_are_one_provider():
    assert len(described("gpt-4o", ("openai", "eu"), ("openai", "eu"))["providers"]) == 1


def test_lifecycle_and_end_date_are_shown():
    shown = described("claude-3-5-sonnet", ("anthropic", "global"))
    assert (shown["lifecycle"], shown["expiration_date"]) == ("retired", "2025-10-28")


@pytest.mark.parametrize(
    ("model", "place", "given", "missing"),
    [
        ("gpt-4o", ("openai", "global"), {"tools", "structured_outputs", "temperature"}, {"reasoning_effort"}),
        ("claude-opus-5.5", ("anthropic", "global"), {"reasoning_effort", "tools"}, {"temperature"}),
        ("deepseek-v4-pro", ("deepseek", "cn"), {"response_format"}, {"structured_outputs"}),
        ("text-embedding-3-small", ("openai", "global"), {"dimensions", "encoding_format"}, {"tools"}),
    ],
)
def test_supported_parameters_follow_traits_and_quirks(model, place, given, missing):
    supported = set(described(model, place)["supported_parameters"])
    assert given <= supported
    assert not missing & supported


def test_every_model_of_the_catalogue_can_be_described():
    credentials = [
        Credential(i, provider.id, region, "", "secret", "https://filled.example/v1")
        for i, provider in enumerate(CATALOG.providers.values())
        for region in provider.regions
    ]
    offered = CATALOG.offered(credentials)
    assert offered.keys() == {model for model, endpoints in CATALOG.endpoints.items() if endpoints}
    for model, deployments in offered.items():
        shown = listing.describe(CATALOG.models[model], deployments, NOW_MS)
        prices = [shown["pricing"], *(one["pricing"] for one in shown["providers"])]
        assert all(Decimal(price["prompt"]) >= 0 and Decimal(price["completion"]) >= 0 for price in prices)
        assert "secret" not in str(shown)
