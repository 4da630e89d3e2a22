"""Stand-ins: what the catalogue names, then the family, then the price class; only what is offered (P5, P18)."""

import pytest

from tokenhub import clock
from tokenhub.catalog import load, siblings
from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Catalog, Credential, Deployment, Lifecycle
from tokenhub.catalog.siblings import Prices, Relation

NOW = clock.now_ms()
CATALOG = load.load()
ALL = tuple(
    Credential(number, provider.id, region, "", "secret", "https://upstream.example/v1")
    for number, provider in enumerate(CATALOG.providers.values())
    for region in provider.regions
)


def closest(
    name: str, *, catalog: Catalog = CATALOG, credentials: tuple[Credential, ...] = ALL, but: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    def offered(model: str) -> list[Deployment]:
        return [] if model in but else catalog.deployments(model, credentials)

    found = siblings.closest(catalog, catalog.models[name], offered, NOW)
    return [(one.model.id, one.relation.value) for one in found]


@pytest.mark.parametrize(
    ("name", "sibling"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("claude-3-5-sonnet", "claude-sonnet-5.5"),
        ("claude-3-5-haiku", "claude-haiku-5.5"),
        ("gemini-2.0-flash", "gemini-2.5-flash-lite"),
        ("deepseek-r1", "deepseek-v4-pro"),
    ],
)
def test_the_sibling_that_the_catalogue_names_comes_first(name: str, sibling: str) -> None:
    assert closest(name)[0] == (sibling, "family")


def test_the_retired_sibling_of_a_promise_is_named_when_nothing_that_lives_may_be_called() -> None:
    living = tuple(one.id for one in CATALOG.models.values() if one.lifecycle is not Lifecycle.RETIRED)
    assert closest("claude-3-5-sonnet", but=living) == [("claude-3-5-haiku", "family")]


@pytest.mark.parametrize("name", CATALOG.models)
def test_every_stand_in_does_the_same_and_lives_and_the_family_goes_before_the_price(name: str) -> None:
    model = CATALOG.models[name]
    found = closest(name)
    assert len(found) <= siblings.MOST
    assert name not in [one for one, _ in found]
    for one, relation in found:
        other = CATALOG.models[one]
        assert other.capability is model.capability
        assert other.lifecycle is not Lifecycle.RETIRED
        assert (relation == Relation.FAMILY) == (other.family == model.family and other.family != "")
    relations = [relation for _, relation in found]
    assert relations in ([], ["family"] * len(found), ["price_class"] * len(found))


def test_a_model_of_no_callable_family_is_replaced_by_one_of_its_price_class() -> None:
    gpt = tuple(one.id for one in CATALOG.models.values() if one.family == "gpt")
    prices = Prices(CATALOG, NOW)
    found = closest("gpt-4o", but=gpt)
    assert found
    for one, relation in found:
        assert relation == "price_class"
        assert prices.class_of(CATALOG.models[one]) == prices.class_of(CATALOG.models["gpt-4o"])


def test_nothing_of_another_family_stands_in_for_an_embedding_model() -> None:
    assert closest("text-embedding-3-small") == []


def test_nothing_is_named_that_no_credential_opens() -> None:
    anthropic = tuple(one for one in ALL if one.provider == "anthropic")
    assert {one.split("-")[0] for one, _ in closest("gpt-4o", credentials=anthropic)} == {"claude"}
    assert closest("gpt-4o", credentials=()) == []


def test_what_a_maker_will_end_is_named_after_what_stays() -> None:
    kin = siblings.family(CATALOG, CATALOG.models["claude-sonnet-5"], Prices(CATALOG, NOW))
    ends = [one.lifecycle is Lifecycle.DEPRECATED for one in kin]
    assert any(ends)
    assert ends == sorted(ends)


def test_the_price_decides_within_a_family_that_names_nobody() -> None:
    def model(price: str) -> dict[str, object]:
        offering = {
            "provider": "openai",
            "regions": ["global"],
            "upstream_id": "m",
            "price": {"input": price, "output": price},
        }
        return {"family": "mine", "offerings": [offering]}  # fmt: skip

    prices = {"mine-1": "1", "mine-9": "9", "mine-2": "2", "mine-50": "50"}
    catalog = load.load([Override("model", name, model(price)) for name, price in prices.items()])
    assert [one for one, _ in closest("mine-1", catalog=catalog)] == ["mine-2", "mine-9", "mine-50"]
    assert [one for one, _ in closest("mine-50", catalog=catalog)] == ["mine-9", "mine-2", "mine-1"]


def test_price_classes_are_data_of_the_catalogue() -> None:
    borders = [one.up_to_atto for one in CATALOG.price_classes]
    assert borders == sorted(borders)
    assert len(borders) == len({one.id for one in CATALOG.price_classes}) > 2
    prices = Prices(CATALOG, NOW)
    classes = [prices.class_of(CATALOG.models[name]) for name in ("gpt-4o-mini", "gpt-4o", "gpt-6-astra")]
    assert classes == sorted(classes)
    assert len(set(classes)) == 3
