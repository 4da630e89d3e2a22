"""The shipped catalogue: what users are promised, and that the data agree with themselves."""

import tomllib
from decimal import Decimal
from importlib import resources
from pathlib import Path

import pytest

from tokenhub.call import Capability
from tokenhub.catalog import load, quirks
from tokenhub.catalog.models import Lifecycle

FIRST_CATALOGUE = {
    "claude-3-5-sonnet": "anthropic",
    "claude-3-5-haiku": "anthropic",
    "gpt-4o": "openai",
    "gpt-4o-mini": "openai",
    "gemini-2.0-flash": "google",
    "deepseek-v3": "deepseek",
    "deepseek-r1": "deepseek",
    "moonshot-v1-128k": "moonshot",
    "qwen2.5-72b-instruct": "alibaba",
    "glm-4.5": "zhipu",
}
"""P1."""

CATALOG = load.load()
FILES = [file for file in resources.files("tokenhub.catalog").joinpath("data").iterdir() if file.name.endswith(".toml")]


@pytest.mark.parametrize("model", FIRST_CATALOGUE)
def test_p1_model_of_the_first_catalogue_is_offered_by_its_maker_with_a_price(model):
    assert FIRST_CATALOGUE[model] in {one.provider.id for one in CATALOG.endpoints[model]}


def test_retired_model_says_since_when_and_who_can_stand_in():
    retired = [one for one in CATALOG.models.values() if one.lifecycle is Lifecycle.RETIRED]
    assert {"claude-3-5-sonnet", "gemini-2.0-flash", "deepseek-v3", "sora-2"} <= {one.id for one in retired}
    assert all(one.retire_date for one in retired)
    assert all(one.siblings or one.capability is not Capability.CHAT for one in retired if one.id != "sora-2")


def test_every_offering_says_where_its_price_comes_from_and_when_it_was_checked():
    offerings = [offering for model in CATALOG.models.values() for offering in model.offerings]
    assert all(one.source and one.source_date for one in offerings)


def test_every_quirk_and_trait_is_there_for_every_provider_and_model():
    assert all(provider.quirks.keys() == quirks.QUIRKS.keys() for provider in CATALOG.providers.values())
    assert all(model.traits.keys() == quirks.TRAITS.keys() for model in CATALOG.models.values())


def test_every_quirk_trait_and_price_is_explained_in_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text(encoding="utf-8")
    for name, key in {**quirks.QUIRKS, **quirks.TRAITS}.items():
        assert f"| `{name}` | {key.meaning} |" in text
    assert all(f"`{name}`" in text for name in load.PRICE_KEYS)


def test_t104_data_regions_are_codes_and_storage_alone_is_no_region():
    regions = {
        (provider.id, region.id): region.data_region
        for provider in CATALOG.providers.values()
        for region in provider.regions.values()
    }
    assert set(regions.values()) <= {"us", "eu", "jp", "in", "au", "cn", "global", "unknown", "self-hosted"}
    assert regions["openai", "eu"] == "eu"
    for provider, region in (("alibaba", "ap-southeast-1"), ("alibaba", "eu-central-1"), ("moonshot", "intl")):
        assert regions[provider, region] in ("global", "unknown")


def test_region_uplift_is_only_for_models_that_have_it():
    with_uplift = {one for one, model in CATALOG.models.items() if model.traits["regional_uplift"]}
    assert {"gpt-5.4", "gpt-6-luna", "claude-opus-4.6", "claude-sonnet-4.6"} <= with_uplift
    assert with_uplift.isdisjoint({"gpt-4o", "gpt-5", "gpt-4.1", "claude-haiku-4.5", "claude-sonnet-4.5"})


def test_anthropic_us_region_is_only_for_models_that_take_inference_geo():
    in_us = {
        one
        for one, endpoints in CATALOG.endpoints.items()
        if any((e.provider.id, e.region.id) == ("anthropic", "us") for e in endpoints)
    }
    assert in_us.isdisjoint({"claude-haiku-4.5", "claude-sonnet-4.5", "claude-3-5-sonnet", "claude-3-5-haiku"})
    assert all(CATALOG.models[one].traits["regional_uplift"] for one in in_us)
    (price,) = {e.prices.at(0).rates.input for e in CATALOG.endpoints["claude-opus-4.6"] if e.region.id == "us"}
    assert price == 55 * 10**11


def test_prices_converted_from_cny_are_the_list_price_at_the_stated_rate():
    fx = Decimal(_common()["fx"]["cny_per_usd"])
    checked = 0
    for file in FILES:
        for model in tomllib.loads(file.read_text(encoding="utf-8")).get("models", ()):
            for offering in model["offerings"]:
                cny = offering.get("price_cny", {})
                if offering["provider"] == "deepseek" or not cny:
                    continue  # DeepSeek has a USD list of its own
                usd = {
                    **offering.get("price", {}),
                    **{name[4:]: offering[name] for name in offering if name.startswith("per_")},
                }
                for name, amount in cny.items():
                    assert abs(Decimal(usd[name]) - Decimal(amount) / fx) < Decimal("0.000001"), (model["id"], name)
                    checked += 1
    assert checked > 80


def _common() -> dict[str, dict[str, str]]:
    return tomllib.loads(next(file for file in FILES if file.name == "common.toml").read_text(encoding="utf-8"))


def test_holidays_are_days_of_the_years_they_claim():
    days = _common()["calendars"]["china_public_holidays"]
    assert len(set(days)) == len(days) == 33 + 13
    assert {day[:4] for day in days} == {"2026", "2027"}


def test_embedded_model_is_a_provider_like_any_other_and_free():
    chat, embeddings = CATALOG.endpoints["smollm2-135m"], CATALOG.endpoints["smollm2-135m-embed"]
    assert {one.region.data_region for one in (*chat, *embeddings)} == {"self-hosted"}
    assert all(one.prices.at(0).rates.prompt_dearest == 0 for one in (*chat, *embeddings))
    assert embeddings[0].model.traits["dimensions"] == 576


def test_images_and_videos_keep_their_prices():
    units = {one: CATALOG.endpoints[one][0].prices.at(0).units for one in ("qwen-image-2.0", "veo-3.1-generate-001")}
    assert units["qwen-image-2.0"]["image"] == 28653 * 10**12
    assert units["veo-3.1-generate-001"]["second 4k"] == 6 * 10**17
    assert "qwen-image-3.0" in CATALOG.models
    assert not CATALOG.endpoints["qwen-image-3.0"]
