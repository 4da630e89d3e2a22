"""Loading: the shipped data, the operator's overrides, and twenty-odd broken ones refused whole (T111)."""

import copy

import pytest

from tokenhub.catalog import load, resolve
from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Catalog, Credential
from tokenhub.errors import ModelNotFound, SetupError

PRICE = {"input": "0.5", "output": "1.5"}
ACME = {"name": "Acme", "regions": [{"base_url": "https://llm.acme.example/v1", "data_region": "eu"}]}
ROCKET = {"name": "Rocket", "offerings": [{"provider": "acme", "upstream_id": "rocket-1", "price": PRICE}]}


def acme(**changes: object) -> list[Override]:
    return [Override("provider", "acme", ACME), Override("model", "rocket", {**ROCKET, **changes})]


def offering(**changes: object) -> dict[str, object]:
    return {**ROCKET["offerings"][0], **changes}


def credential(provider: str, region: str = "default", base_url: str | None = None) -> Credential:
    return Credential(1, provider, region, "", "secret", base_url)


def test_operators_provider_and_model_need_no_code():
    catalog = load.load(acme())
    found = resolve.resolve(catalog, "acme/rocket", None, [credential("acme")])
    (deployment,) = found.groups[0]
    assert deployment.base_url == "https://llm.acme.example/v1"
    assert deployment.region.data_region == "eu"
    assert deployment.provider.custom
    assert deployment.provider.quirks["max_tokens_field"] == "max_tokens"
    assert deployment.prices.at(0).rates.output == 15 * 10**11


def test_override_changes_only_what_it_names_of_a_shipped_model():
    shipped = load.load().models["gpt-4o"]
    changed = load.load([Override("model", "gpt-4o", {"name": "My GPT", "aliases": ["house-model"]})]).models["gpt-4o"]
    assert (changed.name, changed.aliases) == ("My GPT", (*shipped.aliases, "house-model"))
    assert changed.offerings == shipped.offerings
    assert load.load().models["gpt-4o"] == shipped


def test_override_adds_an_offering_beside_the_shipped_ones():
    changes = {"offerings": [offering(upstream_id="gpt-4o-copy")]}
    catalog = load.load([Override("provider", "acme", ACME), Override("model", "gpt-4o", changes)])
    assert {one.provider for one in catalog.models["gpt-4o"].offerings} == {"openai", "acme"}


def test_override_of_a_region_keeps_the_others():
    own = {"regions": [{"id": "eu", "base_url": "https://proxy.example/v1", "data_region": "eu"}]}
    regions = load.load([Override("provider", "openai", own)]).providers["openai"].regions
    assert regions["eu"].base_url == "https://proxy.example/v1"
    assert regions["us"].price_multiplier == "1.1"


CHANGES = {
    "nothing": [],
    "an own provider and model": acme(),
    "a region": [Override("provider", "openai", {"regions": [{"id": "eu", "base_url": "https://proxy.example/v1"}]})],
    "a name": [Override("model", "gpt-4o", {"name": "My GPT"})],
    "a price": [Override("price", "openai/gpt-4o@eu", {"price": PRICE})],
}


@pytest.mark.parametrize("overrides", CHANGES.values(), ids=CHANGES)
def test_what_is_read_once_for_all_is_what_would_be_read_anew(overrides):
    anew = load._read(load._with_overrides(load._shipped(), overrides), Catalog({}, {}, {}, {}, {}))
    assert load.load(overrides) == anew
    assert load.load(overrides).models["gpt-4o-mini"] is load.load().models["gpt-4o-mini"]


def test_price_override_replaces_all_prices_of_one_region_only():
    catalog = load.load([Override("price", "openai/gpt-5.4@eu", {"price": PRICE})])
    cards = {one.region.id: one.prices.at(0) for one in catalog.endpoints["gpt-5.4"]}
    assert cards["eu"].rates.input == 55 * 10**10
    assert cards["eu"].tiers == ()
    assert cards["us"].rates.input == 275 * 10**10
    assert set(cards) == {"global", "us", "eu", "jp", "in", "au", "ae"}


def test_t14_withdrawn_price_takes_the_model_off_the_list():
    catalog = load.load([Override("price", "openai/gpt-4o", {})])
    with pytest.raises(ModelNotFound, match="not offered"):
        resolve.resolve(catalog, "gpt-4o", None, [credential("openai", "global")])


def test_t14_shipped_offering_without_a_price_is_not_offered():
    catalog = load.load()
    assert {one.provider.id for one in catalog.endpoints["deepseek-v3.2"]}.isdisjoint({"volcengine"})
    with pytest.raises(ModelNotFound, match="not offered"):
        resolve.resolve(catalog, "volcengine/deepseek-v3.2", None, [credential("volcengine")])


def test_order_of_overrides_does_not_matter():
    overrides = [*acme(), Override("price", "acme/rocket", {"price": {"input": "9", "output": "9"}})]
    assert load.load(overrides) == load.load(overrides[::-1])


BROKEN = {
    "unknown kind": Override("discount", "x", {}),
    "data is no table": Override("model", "rocket", ["x"]),
    "provider without regions": Override("provider", "new", {"name": "New"}),
    "region without an address": Override("provider", "new", {"name": "New", "regions": [{"id": "eu"}]}),
    "address that is no URL": Override("provider", "new", {"name": "N", "regions": [{"base_url": "ftp://x"}]}),
    "address with a query": Override("provider", "new", {"name": "N", "regions": [{"base_url": "https://x/v1?a=b"}]}),
    "region twice": Override("provider", "new", {"name": "N", "regions": 2 * [{"base_url": "https://x"}, {"base_url": "https://y"}], "auth": "x"}),
    "data region in words": Override("provider", "acme", {"regions": [{"base_url": "https://x", "data_region": "Europe"}]}),
    "unknown adapter": Override("provider", "acme", {"adapter": "soap"}),
    "unknown key of a provider": Override("provider", "acme", {"colour": "red"}),
    "unknown quirk": Override("provider", "acme", {"quirks": {"max_token_field": "max_tokens"}}),
    "quirk of the wrong type": Override("provider", "acme", {"quirks": {"choices_max": "1"}}),
    "quirk word that is not allowed": Override("provider", "acme", {"quirks": {"stream": "maybe"}}),
    "id differs from the name": Override("model", "rocket", {**ROCKET, "id": "racket"}),
    "unknown provider": Override("model", "rocket", {"offerings": [offering(provider="nobody")]}),
    "unknown region": Override("model", "rocket", {"offerings": [offering(regions=["mars"])]}),
    "no region": Override("model", "rocket", {"offerings": [offering(regions=[])]}),
    "upstream id with a path": Override("model", "rocket", {"offerings": [offering(upstream_id="../../v1/files")]}),
    "upstream id with a query": Override("model", "rocket", {"offerings": [offering(upstream_id="m?key=x")]}),
    "price as a number": Override("model", "rocket", {"offerings": [offering(price={"input": 0.5, "output": 1.5})]}),
    "negative price": Override("model", "rocket", {"offerings": [offering(price={"input": "-1", "output": "1"})]}),
    "unknown price": Override("model", "rocket", {"offerings": [offering(price={**PRICE, "ouput": "1"})]}),
    "tier without a threshold": Override("model", "rocket", {"offerings": [offering(price_tiers=[PRICE])]}),
    "tiers without a price": Override("model", "rocket", {"offerings": [{"provider": "acme", "upstream_id": "r", "price_tiers": [{**PRICE, "above_prompt_tokens": 9}]}]}),
    "window without hours": Override("model", "rocket", {"offerings": [offering(price_windows=[{**PRICE, "label": "x", "weekdays_utc": [1], "utc": ["7-9"]}])]}),
    "window of an eighth weekday": Override("model", "rocket", {"offerings": [offering(price_windows=[{**PRICE, "label": "x", "weekdays_utc": [8], "utc": ["07:00-09:00"]}])]}),
    "day that does not exist": Override("model", "rocket", {**ROCKET, "retire_date": "2026-02-30"}),
    "context of zero": Override("model", "rocket", {**ROCKET, "context": 0}),
    "context as true": Override("model", "rocket", {**ROCKET, "context": True}),
    "unknown trait": Override("model", "rocket", {**ROCKET, "traits": {"clever": True}}),
    "unknown capability": Override("model", "rocket", {**ROCKET, "capability": "telepathy"}),
    "alias of two models": Override("model", "rocket", {**ROCKET, "aliases": ["gpt-4o-mini"]}),
    "alias of itself": Override("model", "rocket", {**ROCKET, "aliases": ["rocket"]}),
    "alias that pins a provider": Override("model", "rocket", {**ROCKET, "aliases": ["openai/gpt-4o"]}),
    "alias with a control character": Override("model", "rocket", {**ROCKET, "aliases": ["rocket\r\n"]}),
    "alias too long": Override("model", "rocket", {**ROCKET, "aliases": ["r" * 129]}),
    "model id that pins a provider": Override("model", "acme/rocket", ROCKET),
    "sibling of another family": Override("model", "rocket", {**ROCKET, "family": "rockets", "siblings": ["gpt-4o"]}),
    "price of an unknown model": Override("price", "acme/comet", {"price": PRICE}),
    "price at an unknown provider": Override("price", "anthropic/gpt-4o", {"price": PRICE}),
    "price in an unknown region": Override("price", "openai/gpt-4o@mars", {"price": PRICE}),
    "price with another key": Override("price", "openai/gpt-4o", {"price": PRICE, "context": 1}),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_t111_broken_override_is_refused_with_its_place(fault):
    before = copy.deepcopy(BROKEN[fault].data)
    overrides = [*(one for one in acme() if one.name != BROKEN[fault].name or one.kind != BROKEN[fault].kind)]
    if BROKEN[fault].kind == "provider" and BROKEN[fault].name == "acme":
        overrides = [Override("provider", "acme", {**ACME, **BROKEN[fault].data})]
    else:
        overrides.append(BROKEN[fault])
    with pytest.raises(SetupError, match="The catalogue cannot be used: ") as refused:
        load.load(overrides)
    assert refused.value.code == "catalog_invalid"
    assert BROKEN[fault].data == before
    assert "gpt-4o" in load.load().models


@pytest.mark.parametrize(
    "text",
    [
        "[[models]",
        "models = 1",
        '[[models]]\nid = "a"\n[[models]]\nid = "a"',
        "unknown = 1",
        '[[providers]]\nid = "a"\n[[providers]]\nid = "a"',
    ],
)
def test_t111_broken_file_is_refused_with_its_name(text):
    with pytest.raises(SetupError, match=r"broken\.toml"):
        load.parse({"broken.toml": text})


def test_t106_alias_of_an_alias_cannot_be_said():
    chain = [*acme(aliases=["first"]), Override("model", "first", {"offerings": [offering()], "aliases": ["rocket"]})]
    with pytest.raises(SetupError, match="is a name of"):
        load.load(chain)


def test_address_with_a_place_to_fill_in_needs_a_credential_that_brings_its_own():
    changes = {"offerings": [offering(provider="alibaba", regions=["eu-central-1"])]}
    catalog = load.load([Override("model", "qwen3.8-max", changes)])
    bare, own = credential("alibaba", "eu-central-1"), credential("alibaba", "eu-central-1", "https://ws.example/v1")
    assert catalog.deployments("qwen3.8-max", [bare]) == []
    assert [one.base_url for one in catalog.deployments("qwen3.8-max", [own])] == ["https://ws.example/v1"]
