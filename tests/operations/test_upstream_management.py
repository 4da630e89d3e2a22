"""Credentials, providers, models and prices as the operator manages them."""

import json
from pathlib import Path

import pytest

from tests.fakes.upstream import FakeUpstream, json_reply, openai_chat, openai_error
from tokenhub.call import Capability
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.operations import credentials, models, preferences, probe, providers
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.operations.own_models import OwnModel
from tokenhub.operations.preferences import Subject
from tokenhub.operations.providers import OwnProvider
from tokenhub.store import accounts as accounts_store
from tokenhub.store import catalog as store

SECRET = "sk-canary-0123456789-abcdefghij"
FREE = {"input": "0", "output": "0"}


def own(id: str = "lab", *names: str, base_url: str = "https://lab.example/v1", **options: object) -> OwnProvider:
    made = [OwnModel(name, f"org/{name}", FREE) for name in names or ("tiny",)]
    return OwnProvider(id, base_url, made, **options)  # type: ignore[arg-type]


def snapshot(hub: Hub) -> list[object]:
    return [
        *store.overrides(hub.database),
        *store.credential_states(hub.database),
        accounts_store.versions(hub.database),
    ]


# --- credentials ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["", " ", "two words", "line\nbreak", "ümlaut", "x" * 4097, "tab\t", "nul\x00"])
def test_what_is_no_key_is_refused(hub: Hub, secret: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        credentials.add(hub, NewCredential("openai", secret))
    assert not secret.strip() or secret not in refused.value.message
    assert credentials.listing(hub) == []


def test_a_region_is_named_where_keys_belong_to_one(hub: Hub) -> None:
    assert credentials.add(hub, NewCredential("openai", SECRET)).region == "global"
    assert credentials.add(hub, NewCredential("deepseek", SECRET)).region == "cn"
    with pytest.raises(InvalidRequest, match="intl"):
        credentials.add(hub, NewCredential("moonshot", SECRET))
    assert credentials.add(hub, NewCredential("moonshot", SECRET, "intl")).region == "intl"
    with pytest.raises(NotFound, match="no region"):
        credentials.add(hub, NewCredential("moonshot", SECRET, "mars"))
    with pytest.raises(NotFound, match="no provider"):
        credentials.add(hub, NewCredential("nobody", SECRET))


def test_a_host_of_each_customers_own_must_be_given(hub: Hub) -> None:
    with pytest.raises(InvalidRequest, match="--base-url"):
        credentials.add(hub, NewCredential("alibaba", SECRET, "eu-central-1"))
    url = "https://ws1.eu-central-1.maas.aliyuncs.com/compatible-mode/v1"
    assert credentials.add(hub, NewCredential("alibaba", SECRET, "eu-central-1", url)).base_url == url


@pytest.mark.parametrize(
    "url",
    ["http://api.example/v1", "https://user:pw@api.example/v1", "https://api.example/v1?key=1", "https://169.254.169.254/v1", "https://2852039166/",
     "https://[fe80::1]/v1", "https://[fd00:ec2::254]/", "ftp://api.example", "file:///etc/passwd", "https://0x7f.1/", "api.example"],
)  # fmt: skip
def test_t84_a_base_url_that_must_not_be_called_is_refused(hub: Hub, url: str) -> None:
    with pytest.raises(InvalidRequest):
        credentials.add(hub, NewCredential("openai", SECRET, base_url=url))
    with pytest.raises(InvalidRequest):
        providers.add(hub, own(base_url=url))
    assert credentials.listing(hub) == []


def test_a_server_without_keys_needs_no_secret(hub: Hub) -> None:
    assert not credentials.takes_secret(hub, "ollama")
    state = credentials.add(hub, NewCredential("ollama", ""))
    assert store.credential(hub.database, hub.vault, state.id).secret == ""


def test_a_credential_is_switched_off_and_on_rotated_and_removed(hub: Hub) -> None:
    made = credentials.add(hub, NewCredential("openai", SECRET, weight=3, label="main"))
    assert credentials.set_status(hub, made.id, store.DISABLED).status == store.DISABLED
    rotated = credentials.rotate(hub, made.id, "sk-another-secret-of-length-wxyz")
    assert (rotated.status, rotated.hint, rotated.weight, rotated.label) == (store.ACTIVE, "wxyz", 3, "main")
    assert store.credential(hub.database, hub.vault, made.id).secret == "sk-another-secret-of-length-wxyz"
    assert credentials.remove(hub, made.id).id == made.id
    with pytest.raises(NotFound):
        credentials.rotate(hub, made.id, SECRET)
    assert credentials.listing(hub) == []


def test_keys_of_the_environment_are_found_and_not_taken(hub: Hub) -> None:
    environment = {
        "OPENAI_API_KEY": SECRET,
        "GEMINI_API_KEY": "gemini-secret-0123456789",
        "GOOGLE_API_KEY": "gemini-secret-0123456789",
        "ZAI_API_KEY": "zai-secret-0123456789",
        "ANTHROPIC_API_KEY": "",
        "MISTRAL_API_KEY": "not a key",
        "HOME": "/nowhere",
    }
    found = credentials.found_in_environment(hub, environment)
    assert [(one.variable, one.provider, one.region) for one in found] == [
        ("OPENAI_API_KEY", "openai", "global"),
        ("GEMINI_API_KEY", "google", "global"),
        ("ZAI_API_KEY", "zhipu", "intl"),
    ]
    assert SECRET not in repr(found)
    assert credentials.listing(hub) == []
    credentials.import_found(hub, found[:1])
    assert [one.variable for one in credentials.found_in_environment(hub, environment)] == [
        "GEMINI_API_KEY",
        "ZAI_API_KEY",
    ]


def test_every_variable_names_a_provider_and_a_region_of_the_catalogue(hub: Hub) -> None:
    environment = {variable: f"secret-of-{variable}-0123456789" for variable, _, _ in credentials._VARIABLES}
    assert len(credentials.found_in_environment(hub, environment)) == len(credentials._VARIABLES)


def test_a_credential_is_tested_with_the_list_of_models(hub: Hub) -> None:
    with FakeUpstream([json_reply({"object": "list", "data": []})]) as upstream:
        made = credentials.add(hub, NewCredential("openai", SECRET, base_url=upstream.url))
        found = probe.probe(hub, made.id)
    assert (found.ok, found.asked, found.status, found.kind) == (True, "models", 200, "")
    assert upstream.received[0].path.endswith("/models")
    assert upstream.received[0].header("authorization") == f"Bearer {SECRET}"


def test_a_credential_is_tested_with_a_few_tokens_of_the_cheapest_model(hub: Hub) -> None:
    with FakeUpstream([json_reply(openai_chat("hi"))]) as upstream:
        made = credentials.add(hub, NewCredential("openai", SECRET, base_url=upstream.url))
        found = probe.probe(hub, made.id, chat=True)
    body = json.loads(upstream.received[0].body)
    assert found.ok
    assert body["model"] == found.asked
    assert probe.TOKENS in (body.get("max_tokens"), body.get("max_completion_tokens"))


def test_t103_a_test_asks_no_model_that_the_installation_rules_out(hub: Hub) -> None:
    with FakeUpstream(lambda _: json_reply(openai_chat("hi"))) as upstream:
        made = credentials.add(hub, NewCredential("openai", SECRET, base_url=upstream.url))
        preferences.change(hub, Subject(), {"models": ["gpt-4o"]})
        assert probe.probe(hub, made.id, chat=True).asked == "gpt-4o"
        preferences.change(hub, Subject(), {"deny_providers": ["openai"]})
        with pytest.raises(
            NotFound,
            match="OpenAI has no priced model to ask something short inside the installation's boundaries in",
        ):
            probe.probe(hub, made.id, chat=True)
        assert [one.json()["model"] for one in upstream.received] == ["gpt-4o"]
        # An operator's own word: no model is asked, and no data of anybody is in it.
        assert probe.probe(hub, made.id).ok


def test_a_provider_without_a_list_and_without_chat_is_asked_for_something_short(hub: Hub) -> None:
    ranked = {"results": [{"index": 0, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 1}}}
    with FakeUpstream([json_reply(ranked)]) as upstream:
        made = credentials.add(hub, NewCredential("cohere", SECRET, base_url=upstream.url))
        found = probe.probe(hub, made.id)
    assert (found.ok, found.asked) == (True, "rerank-v3.5")
    assert upstream.received[0].path.endswith("/rerank")
    assert upstream.received[0].json()["documents"] == ["Hello"]


def test_every_provider_of_the_catalogue_can_be_tested(hub: Hub) -> None:
    """Each is called, whatever it answers; but for one of which the catalogue has no model, only prices of the operator's."""
    known = models.catalog(hub.database).providers
    with FakeUpstream(lambda _: json_reply({}, 404)) as upstream:
        for provider in known.values():
            if provider.id == models.LOCAL:
                continue
            region = next(iter(provider.regions))
            made = credentials.add(hub, NewCredential(provider.id, SECRET, region=region, base_url=upstream.url))
            if provider.id == "jina":
                with pytest.raises(NotFound, match="Jina AI has no priced model to ask something short in"):
                    probe.probe(hub, made.id)
            else:
                assert probe.probe(hub, made.id).status == 404
    assert len(upstream.received) == len(known) - 2


def test_a_test_of_a_provider_with_nothing_to_ask_says_so(hub: Hub) -> None:
    made = credentials.add(hub, NewCredential("cohere", SECRET))
    preferences.change(hub, Subject(), {"deny_models": ["rerank-v3.5", "rerank-4-pro"]})
    with pytest.raises(NotFound, match="Cohere has no priced model to ask something short inside"):
        probe.probe(hub, made.id)


def test_a_credential_that_failed_is_used_again_once_it_works(hub: Hub) -> None:
    refusal = json_reply(openai_error("Incorrect API key provided: sk-canary", code="invalid_api_key"), status=401)
    with FakeUpstream([refusal, json_reply({"object": "list", "data": []})]) as upstream:
        made = credentials.add(hub, NewCredential("openai", SECRET, base_url=upstream.url))
        store.mark_credential(hub.database, made.id, store.FAILED, "auth 401")
        found = probe.probe(hub, made.id)
        assert (found.ok, found.status, found.kind, found.code) == (False, 401, "auth", "invalid_api_key")
        assert credentials.find(hub, made.id).status == store.FAILED
        assert probe.probe(hub, made.id).ok
        assert credentials.find(hub, made.id).status == store.ACTIVE


def test_a_provider_that_is_not_there_is_a_fault_and_no_crash(hub: Hub) -> None:
    with FakeUpstream([]) as upstream:
        url = upstream.url
    made = credentials.add(hub, NewCredential("openai", SECRET, base_url=url))
    found = probe.probe(hub, made.id)
    assert (found.ok, found.status, found.kind) == (False, None, "connect")


# --- providers ------------------------------------------------------------------------------------------------


def test_an_own_provider_is_callable_at_once_and_leaves_nothing_behind(hub: Hub) -> None:
    before = models.catalog(hub.database)
    state = providers.add(hub, own("lab", "tiny", "gpt-4o-mini", takes_key=False, data_region="self-hosted"))
    assert (state.models, state.credentials, state.provider.custom) == (2, 1, True)
    found = models.catalog(hub.database)
    assert found.models["gpt-4o-mini"].name == before.models["gpt-4o-mini"].name
    assert {offering.provider for offering in found.models["gpt-4o-mini"].offerings} >= {"lab", "openai"}
    offered = found.offered(store.credentials(hub.database, hub.vault))
    assert {name: [one.upstream_id for one in places] for name, places in offered.items()} == {
        "tiny": ["org/tiny"],
        "gpt-4o-mini": ["org/gpt-4o-mini"],
    }
    assert providers.remove(hub, "lab") == (2, 1)
    assert models.catalog(hub.database) == before
    assert store.overrides(hub.database) == []
    assert credentials.listing(hub) == []


def test_two_own_providers_share_a_model(hub: Hub) -> None:
    providers.add(hub, own("one", "tiny"))
    providers.add(hub, own("two", "tiny"))
    assert [offering.provider for offering in models.show(hub, "tiny").model.offerings] == ["one", "two"]
    providers.remove(hub, "one")
    assert [offering.provider for offering in models.show(hub, "tiny").model.offerings] == ["two"]
    providers.remove(hub, "two")
    with pytest.raises(NotFound):
        models.show(hub, "tiny")


def test_an_offering_under_an_alias_is_added_to_the_model(hub: Hub) -> None:
    alias = next(iter(models.catalog(hub.database).models["gpt-4o"].aliases), None) or "gpt-4o"
    providers.add(hub, own("lab", alias))
    assert "lab" in {offering.provider for offering in models.show(hub, "gpt-4o").model.offerings}


@pytest.mark.parametrize(
    "broken",
    [
        own("openai"),
        own("Lab"),
        own("lab", "a b"),
        own("lab", "../x"),
        OwnProvider("lab", "https://lab.example/v1", [OwnModel("tiny", "tiny", {"input": "1e3", "output": "1"})]),
        OwnProvider("lab", "https://lab.example/v1", [OwnModel("tiny", "tiny", {"input": "1"})]),
        OwnProvider("lab", "https://lab.example/v1", [OwnModel("tiny", "tiny", FREE, capability="dreams")]),
        OwnProvider("lab", "https://lab.example/v1", []),
        OwnProvider("lab", "https://lab.example/v1", [OwnModel("tiny", "tiny", FREE)], data_region="Atlantis"),
    ],
)
def test_t111_a_provider_that_breaks_the_catalogue_changes_nothing(hub: Hub, broken: OwnProvider) -> None:
    before = snapshot(hub)
    with pytest.raises((InvalidRequest, Conflict)):
        providers.add(hub, broken)
    assert snapshot(hub) == before


def test_providers_are_added_from_a_file(hub: Hub) -> None:
    text = """
        [[providers]]
        id = "lab"
        name = "The lab"
        [[providers.regions]]
        id = "eu"
        base_url = "https://eu.lab.example/v1"
        data_region = "eu"
        [[models]]
        id = "tiny"
        context = 4096
        [[models.offerings]]
        provider = "lab"
        regions = ["eu"]
        upstream_id = "org/tiny"
        price = {input = "0.10", output = "0.40"}
    """
    (state,) = providers.add_from_file(hub, text, "provider.toml")
    assert (state.provider.name, state.models) == ("The lab", 1)
    assert models.show(hub, "tiny").model.context == 4096
    assert models.show(hub, "lab/tiny@eu").places[0].card.rates.output == 4 * 10**11


@pytest.mark.parametrize(
    "text",
    ["", "not toml", "[[providers]]\nid = 'lab'\n", "[[models]]\nid = 'x'\n", "providers = 3", "[[providers]]\nid = 1"],
)
def test_t111_a_broken_file_changes_nothing(hub: Hub, text: str) -> None:
    before = snapshot(hub)
    with pytest.raises(InvalidRequest):
        providers.add_from_file(hub, text, "provider.toml")
    assert snapshot(hub) == before


def test_the_example_file_can_be_added(hub: Hub) -> None:
    example = Path(__file__).parents[2] / "examples" / "provider.toml"
    assert providers.add_from_file(hub, example.read_text(encoding="utf-8"), example.name)


def test_a_shipped_provider_stays(hub: Hub) -> None:
    with pytest.raises(InvalidRequest, match="shipped"):
        providers.remove(hub, "openai")
    with pytest.raises(NotFound):
        providers.remove(hub, "nobody")


# --- models and prices ----------------------------------------------------------------------------------------


def test_only_what_a_credential_opens_is_listed_unless_all_is_asked_for(hub: Hub) -> None:
    assert models.listing(hub) == []
    credentials.add(hub, NewCredential("anthropic", SECRET))
    listed = models.listing(hub)
    assert listed
    assert all(state.model.id.startswith("claude") for state in listed)
    every = {state.model.id for state in models.listing(hub, every=True)}
    assert {"claude-3-5-sonnet", "gpt-4o", "deepseek-r1"} <= every | set(models.catalog(hub.database).names)
    chats = models.listing(hub, every=True, capability=Capability.EMBEDDINGS, provider="openai")
    assert {state.model.capability for state in chats} == {Capability.EMBEDDINGS}
    with pytest.raises(NotFound):
        models.listing(hub, provider="nobody")


def test_an_own_price_replaces_the_shipped_one_until_it_is_taken_back(hub: Hub) -> None:
    shipped = models.show(hub, "gpt-4o").places
    catalog = accounts_store.versions(hub.database)[1]
    state = models.price(hub, "gpt-4o", {"input": "1.5", "output": "0"}, provider="openai")
    assert {(place.card.rates.input, place.card.rates.output) for place in state.places} == {(15 * 10**11, 0)} | {
        (place.card.rates.input, 0) for place in state.places
    }
    assert accounts_store.versions(hub.database)[1] == catalog + 1
    assert models.reset_price(hub, "gpt-4o", provider="openai").places == shipped
    with pytest.raises(NotFound):
        models.reset_price(hub, "gpt-4o", provider="openai")


def test_a_price_for_one_region_leaves_the_others(hub: Hub) -> None:
    before = {place.endpoint.region.id: place.card.rates.input for place in models.show(hub, "openai/gpt-4o").places}
    models.price(hub, "openai/gpt-4o", {"input": "1", "output": "2"}, provider=None, region="eu")
    after = {place.endpoint.region.id: place.card.rates.input for place in models.show(hub, "openai/gpt-4o").places}
    assert {region for region in before if after[region] != before[region]} == {"eu"}


@pytest.mark.parametrize(
    "prices",
    [{}, {"output": "1"}, {"input": "1"}, {"input": "-1", "output": "1"}, {"input": "1", "output": "1", "tea": "1"}],
)
def test_t111_a_price_that_breaks_the_catalogue_changes_nothing(hub: Hub, prices: dict[str, str]) -> None:
    before = snapshot(hub)
    with pytest.raises(InvalidRequest):
        models.price(hub, "gpt-4o", prices, provider="openai")
    assert snapshot(hub) == before
