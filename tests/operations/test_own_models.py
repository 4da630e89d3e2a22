"""Models that the operator adds at providers of the catalogue and of their own."""

from pathlib import Path

import pytest

from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.operations import credentials, models, own_models, providers
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.operations.own_models import OwnModel
from tokenhub.operations.providers import OwnProvider

PRICES = {"input": "2", "output": "12", "cached_input": "0.2"}
FREE = {"input": "0", "output": "0"}


def places(hub: Hub, name: str) -> list[tuple[str, str, str]]:
    found = models.show(hub, name).places
    return sorted(
        (one.endpoint.provider.id, one.endpoint.region.id, one.endpoint.offering.upstream_id) for one in found
    )


def test_a_new_model_like_another_has_its_facts_its_regions_and_its_own_price(hub: Hub) -> None:
    credentials.add(hub, NewCredential("openai", "sk-canary-0123456789-abcdefghij"))
    like = models.show(hub, "gpt-5.4").model
    state = own_models.add(hub, "openai", OwnModel("gpt-next", "gpt-next-1", PRICES), like="gpt-5.4")
    made = state.model
    assert (made.context, made.max_output, made.traits) == (like.context, like.max_output, like.traits)
    assert (made.family, made.owner, made.input_modalities) == (like.family, like.owner, like.input_modalities)
    assert (made.name, made.aliases, made.siblings, made.retire_date) == ("gpt-next", (), (), like.retire_date)
    theirs = {region for provider, region, _ in places(hub, "gpt-5.4") if provider == "openai"}
    assert places(hub, "gpt-next") == sorted(("openai", region, "gpt-next-1") for region in theirs)
    (home,) = (place for place in state.places if place.usable)
    assert models.show(hub, "gpt-next").usable
    assert (home.card.rates.input, home.card.rates.cache_read) == (2 * 10**12, 2 * 10**11)


def test_a_provider_without_models_gets_one(hub: Hub) -> None:
    made = OwnModel("codestral", "codestral-2508", PRICES, context=256_000, max_output=8192)
    state = own_models.add(hub, "mistral", made)
    assert (state.model.capability.value, state.model.context, state.model.max_output) == ("chat", 256_000, 8192)
    assert places(hub, "codestral") == [("mistral", "default", "codestral-2508")]
    assert places(hub, "mistral/codestral") == places(hub, "codestral")


def test_a_known_model_keeps_its_facts_at_another_provider(hub: Hub) -> None:
    before = models.show(hub, "gpt-4o-mini")
    made = OwnModel("gpt-4o-mini", "mini", FREE, context=4096)
    own_models.add(hub, "vllm", made)
    after = models.show(hub, "gpt-4o-mini")
    assert after.model.context == before.model.context
    (mine,) = (place.endpoint for place in after.places if place.endpoint.provider.id == "vllm")
    assert (mine.offering.upstream_id, mine.offering.context) == ("mini", 4096)
    assert {place.endpoint.provider.id for place in before.places} < {
        place.endpoint.provider.id for place in after.places
    }
    assert own_models.remove(hub, "gpt-4o-mini") == ["vllm"]
    assert models.show(hub, "gpt-4o-mini") == before


def test_a_second_model_joins_a_provider_of_ones_own_and_the_first_stays(hub: Hub) -> None:
    one = OwnModel("tiny", "org/tiny", FREE)
    providers.add(hub, OwnProvider("lab", "https://lab.example/v1", [one], takes_key=False))
    own_models.add(hub, "lab", OwnModel("small", "org/small", PRICES))
    assert (places(hub, "tiny"), places(hub, "small")) == (
        [("lab", "default", "org/tiny")],
        [("lab", "default", "org/small")],
    )
    own_models.add(hub, "lab", OwnModel("small", "org/small-2", PRICES))
    assert places(hub, "small") == [("lab", "default", "org/small-2")]
    assert providers.remove(hub, "lab") == (2, 1)
    with pytest.raises(NotFound):
        models.show(hub, "small")


def test_it_is_taken_back_with_its_prices_and_comes_back_without_them(hub: Hub) -> None:
    own_models.add(hub, "ollama", OwnModel("tiny", "tiny", FREE))
    own_models.add(hub, "vllm", OwnModel("tiny", "tiny", FREE))
    models.price(hub, "tiny", PRICES, provider="ollama")
    models.price(hub, "tiny", PRICES, provider="vllm")
    assert own_models.remove(hub, "tiny", "ollama") == ["ollama"]
    assert places(hub, "tiny") == [("vllm", "default", "tiny")]
    own_models.add(hub, "ollama", OwnModel("tiny", "tiny", FREE))
    prices = {place.endpoint.provider.id: place.card.rates.input for place in models.show(hub, "tiny").places}
    assert prices == {"ollama": 0, "vllm": 2 * 10**12}
    assert own_models.remove(hub, "tiny") == ["ollama", "vllm"]
    with pytest.raises(NotFound, match="no model"):
        own_models.remove(hub, "tiny")


@pytest.mark.parametrize(
    ("provider", "made", "options", "says"),
    [
        ("nobody", OwnModel("x", "x", FREE), {}, "no provider"),
        ("openai", OwnModel("x", "x", FREE), {}, "--region where openai runs"),
        ("openai", OwnModel("x", "x", FREE), {"regions": ["mars"]}, "no region"),
        ("openai", OwnModel("gpt-4o", "x", FREE), {"regions": ["us"]}, "models price openai/gpt-4o"),
        ("openai", OwnModel("gpt-4o-2024-08-06", "x", FREE), {"regions": ["us"]}, "models price openai/gpt-4o"),
        ("vllm", OwnModel("gpt-4o", "x", FREE), {"like": "gpt-5.4"}, "keeps its facts"),
        ("vllm", OwnModel("x", "x", FREE), {"like": "no-such-model"}, "no model"),
        ("vllm", OwnModel("x", "x", {"input": "1"}), {}, "--output"),
        ("vllm", OwnModel("x", "x", {"input": "1e3", "output": "1"}), {}, "input"),
        ("vllm", OwnModel("a b", "x", FREE), {}, "not a name"),
        ("vllm", OwnModel("openai/x", "x", FREE), {}, "provider's id"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_changes_nothing(
    hub: Hub, provider: str, made: OwnModel, options: dict[str, object], says: str
) -> None:
    before = models.listing(hub, every=True)
    with pytest.raises((InvalidRequest, NotFound), match=says):
        own_models.add(hub, provider, made, **options)  # type: ignore[arg-type]
    assert models.listing(hub, every=True) == before


def test_what_the_catalogue_ships_is_not_taken_off(hub: Hub) -> None:
    with pytest.raises(NotFound, match="--deny-models gpt-4o"):
        own_models.remove(hub, "gpt-4o")
    own_models.add(hub, "vllm", OwnModel("gpt-4o", "x", FREE))
    with pytest.raises(NotFound, match="gpt-4o at openai is none of your own"):
        own_models.remove(hub, "gpt-4o", "openai")


FILE = """
[[models]]
id = "painter"
capability = "images"
output_modalities = ["image"]

[[models.offerings]]
provider = "vllm"
upstream_id = "painter-1"
per_image = "0.04"
"""


def test_a_file_states_what_is_sold_by_other_units(hub: Hub) -> None:
    (state,) = own_models.add_from_file(hub, FILE, "models.toml")
    assert (state.model.id, state.model.capability.value) == ("painter", "images")
    assert places(hub, "painter") == [("vllm", "default", "painter-1")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"no \[\[models\]\]"),
        ("[[providers]]\nid = 'lab'\n" + FILE, "providers add --file"),
        (FILE.replace("vllm", "nobody"), "no provider"),
        ("[[models", "models.toml"),
    ],
)
def test_a_file_that_is_none_is_refused(hub: Hub, text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        own_models.add_from_file(hub, text, "models.toml")


def test_the_example_file_is_a_providers(hub: Hub) -> None:
    example = Path(__file__).parents[2] / "examples" / "provider.toml"
    with pytest.raises(InvalidRequest, match="providers add --file"):
        own_models.add_from_file(hub, example.read_text(encoding="utf-8"), example.name)
