"""Names: three forms, aliases, snapshots, regions, plans' own names; everything else is no name (T52, T106)."""

from types import SimpleNamespace

import pytest

from tokenhub.call import Capability
from tokenhub.catalog import load, plans, resolve
from tokenhub.catalog.models import Catalog, Credential, Deployment
from tokenhub.errors import InvalidRequest, ModelNotFound, PermissionDenied

PLACES = (
    ("openai", "global"),
    ("openai", "eu"),
    ("anthropic", "global"),
    ("google", "global"),
    ("deepseek", "cn"),
    ("alibaba", "cn-beijing"),
    ("siliconflow-cn", "default"),
    ("openrouter", "default"),
    ("zhipu", "intl"),
    ("moonshot", "intl"),
)
CREDENTIALS = tuple(Credential(i, provider, region, "", f"secret-{i}") for i, (provider, region) in enumerate(PLACES))


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load.load()


def found(catalog: Catalog, name: str, plan: object = None, credentials: object = CREDENTIALS) -> resolve.Resolution:
    return resolve.resolve(catalog, name, plan, credentials)


def places(group: tuple[Deployment, ...]) -> list[str]:
    return [f"{one.provider.id}@{one.region.id}" for one in group]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gpt-4o", "gpt-4o"),
        ("claude-sonnet-4-5", "claude-sonnet-4.5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4.5"),
        ("claude-opus-5-5", "claude-opus-5.5"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("claude-3.5-haiku", "claude-3-5-haiku"),
        ("kimi-128k", "moonshot-v1-128k"),
        ("qwen-2.5-72b", "qwen2.5-72b-instruct"),
        ("glm4.5", "glm-4.5"),
        ("deepseek-chat", "deepseek-v3"),
        ("deepseek-reasoner", "deepseek-r1"),
        ("moonshotai/kimi-k2.6", "kimi-k2.6"),
        ("z-ai/glm-4.5", "glm-4.5"),
        ("deepseek-ai/DeepSeek-V3.2", "deepseek-v3.2"),
    ],
)
def test_model_name_dated_id_and_vendors_spelling_mean_the_same_model(catalog, name, model):
    resolution = found(catalog, name)
    assert [one.id for one in resolution.models] == [model]
    assert not resolution.pinned


def test_model_name_means_every_provider_with_a_credential(catalog):
    (group,) = found(catalog, "deepseek-v3.2").groups
    assert set(places(group)) == {"alibaba@cn-beijing", "siliconflow-cn@default", "openrouter@default"}


@pytest.mark.parametrize("name", ["alibaba/deepseek-v3.2", "siliconflow-cn/deepseek-ai/DeepSeek-V3.2"])
def test_provider_in_the_name_pins_it(catalog, name):
    resolution = found(catalog, name)
    assert resolution.pinned
    assert {one.provider.id for one in resolution.groups[0]} == {name.partition("/")[0]}


def test_region_in_the_name_pins_it_too(catalog):
    (group,) = found(catalog, "openai/gpt-5.4@eu").groups
    assert places(group) == ["openai@eu"]
    assert group[0].prices.at(0).rates.input == 275 * 10**10


def test_region_uplift_is_not_for_models_from_before_it(catalog):
    (group,) = found(catalog, "openai/gpt-4o@eu").groups
    assert group[0].prices.at(0).rates.input == 25 * 10**11


def test_dated_snapshot_is_sent_upstream_as_it_was_asked_for(catalog):
    (group,) = found(catalog, "gpt-4o-2024-11-20").groups
    assert {one.upstream_id for one in group} == {"gpt-4o-2024-11-20"}
    assert {one.model.id for one in group} == {"gpt-4o"}
    (pinned,) = found(catalog, "openai/gpt-4o-2024-08-06@eu").groups
    assert [one.upstream_id for one in pinned] == ["gpt-4o-2024-08-06"]


def test_retired_model_is_attempted_when_asked_for_by_name(catalog):
    (group,) = found(catalog, "claude-3-5-sonnet").groups
    assert [one.upstream_id for one in group] == ["claude-3-5-sonnet-20241022"]
    (pinned,) = found(catalog, "deepseek/deepseek-v3").groups
    assert places(pinned) == ["deepseek@cn"]


def test_retired_offering_is_left_out_while_others_live(catalog):
    (group,) = found(catalog, "deepseek-v3").groups
    assert set(places(group)) == {"alibaba@cn-beijing", "siliconflow-cn@default"}


def test_model_without_a_credential_has_an_empty_group(catalog):
    resolution = found(catalog, "gpt-4o", credentials=())
    assert resolution.groups == ((),)


def test_deployments_come_by_the_operators_weight_then_by_price(catalog):
    heavy = [Credential(9, "siliconflow-cn", "default", "", "s", weight=5), *CREDENTIALS[:6], CREDENTIALS[7]]
    (group,) = found(catalog, "deepseek-v3.2", credentials=heavy).groups
    assert [one.provider.id for one in group] == ["siliconflow-cn", "openrouter", "alibaba"]
    assert found(catalog, "deepseek-v3.2", credentials=heavy[::-1]).groups == (group,)


def test_t105_deployment_carries_its_own_credential_region_and_price(catalog):
    for group in found(catalog, "glm-4.5").groups:
        for one in group:
            assert (one.credential.provider, one.credential.region) == (one.provider.id, one.region.id)
            assert one.prices == one.offering.prices.multiplied("1")
            assert "secret" not in repr(one)


TRICKS = [
    "",
    " gpt-4o",
    "gpt-4o ",
    "GPT-4O",
    "gpt-4o\n",
    "gpt-4o\x00",
    "gpt-4o\x1b[2J",
    "*",
    "gpt-*",
    "gpt-4?",
    "gpt-4o#x",
    "gpt-4o?key=x",
    "gpt-4o%2f",
    "../gpt-4o",
    "openai/../gpt-4o",
    "openai//gpt-4o",
    "/gpt-4o",
    "openai/",
    "gpt-4o@eu",
    "gpt-4o@evil",
    "openai/gpt-4o@",
    "openai/gpt-4o@mars",
    "openai/gpt-4o@eu@us",
    "OpenAI/gpt-4o",
    "openai /gpt-4o",
    "anthropic/gpt-4o",
    "evil/gpt-4o",
    "openai/openai/gpt-4o",
    "google/gemini-2.5-pro:generateContent",
    "models/gemini-2.5-pro",
    "gpt-4o" * 1700,
    "ｇｐｔ-4o",
]


@pytest.mark.parametrize("name", TRICKS)
def test_t52_t106_spelling_that_is_not_exact_means_nothing(catalog, name):
    with pytest.raises(ModelNotFound) as refused:
        found(catalog, name)
    assert all(character.isprintable() for character in refused.value.message)
    assert len(refused.value.message) < 300
    assert refused.value.status == 404


def test_t52_addresses_are_built_from_the_catalogue_alone(catalog):
    upstream_ids = {
        id_
        for model in catalog.models.values()
        for offering in model.offerings
        for id_ in (offering.upstream_id, *offering.snapshots)
    }
    assert all(not set(id_) & set("?#%\\ \r\n") and ".." not in id_ for id_ in upstream_ids)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("gpt-4o-mimi", "gpt-4o-mini"),
        ("evil/gpt-4o", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("deepseek-v32", "deepseek-v3.2"),
    ],
)
def test_unknown_name_is_answered_with_the_closest_that_can_be_called(catalog, name, suggestion):
    with pytest.raises(ModelNotFound, match="Did you mean") as refused:
        found(catalog, name)
    assert suggestion in refused.value.metadata["suggestions"]


def test_suggestions_name_only_what_can_be_called(catalog):
    with pytest.raises(ModelNotFound) as refused:
        found(catalog, "claude-sonnet-5.6", credentials=CREDENTIALS[:1])
    assert not any(one.startswith("claude") for one in refused.value.metadata["suggestions"])


PLAN = SimpleNamespace(
    model_names={"starter/fast": ("gpt-4o-mini", "alibaba/deepseek-v3.2"), "gone": ("no-such-model",)}
)


def test_plans_model_name_means_its_models_in_order(catalog):
    resolution = found(catalog, "starter/fast", PLAN)
    assert [one.id for one in resolution.models] == ["gpt-4o-mini", "deepseek-v3.2"]
    assert [set(places(group)) for group in resolution.groups] == [
        {"openai@global", "openai@eu"},
        {"alibaba@cn-beijing"},
    ]
    assert not resolution.pinned


def test_plans_model_name_means_nothing_to_another_plan(catalog):
    with pytest.raises(ModelNotFound):
        found(catalog, "starter/fast")
    with pytest.raises(ModelNotFound):
        found(catalog, "gone", PLAN)


@pytest.mark.parametrize(
    "model_names",
    [
        {"gpt-4o": ["gpt-4o-mini"]},
        {"openai/fast": ["gpt-4o-mini"]},
        {"fast": []},
        {"fast": ["gpt-4o", "gpt-4o"]},
        {"fast": ["no-such-model"]},
        {"fast": ["fast"]},
        {"fast": ["quick"], "quick": ["fast"]},
        {"fast": ["*"]},
        {"fa st": ["gpt-4o"]},
        {"fast\n": ["gpt-4o"]},
        {"f" * 129: ["gpt-4o"]},
    ],
)
def test_t106_plans_name_that_hides_another_or_loops_is_refused(catalog, model_names):
    with pytest.raises(InvalidRequest, match="plan's model name"):
        plans.check(catalog, model_names)


def test_plans_names_that_mean_what_they_say_are_taken(catalog):
    plans.check(catalog, {"starter/fast": ["gpt-4o-mini", "alibaba/deepseek-v3.2"], "code": ["openai/gpt-5.4@eu"]})


@pytest.mark.parametrize(
    ("allowed", "name", "left"),
    [
        (None, "gpt-4o", {"openai@global", "openai@eu"}),
        (["gpt-4o"], "gpt-4o", {"openai@global", "openai@eu"}),
        (["gpt-4o"], "openai/gpt-4o", {"openai@global", "openai@eu"}),
        (["gpt-4o"], "gpt-4o-2024-11-20", {"openai@global", "openai@eu"}),
        (["openai/gpt-4o@eu"], "gpt-4o", {"openai@eu"}),
        (["alibaba/deepseek-v3.2"], "deepseek-v3.2", {"alibaba@cn-beijing"}),
        (["starter/fast"], "deepseek-v3.2", {"alibaba@cn-beijing"}),
    ],
)
def test_keys_list_leaves_only_what_it_names(catalog, allowed, name, left):
    scope = resolve.scope_of(catalog, PLAN, allowed)
    kept = found(catalog, name, PLAN).within(scope)
    assert set(places(kept.groups[0])) == left
    assert all(resolve.may_call(catalog, PLAN, allowed, one) for one in kept.groups[0])


@pytest.mark.parametrize(
    ("allowed", "name"),
    [
        ([], "gpt-4o"),
        (["gpt-4o"], "gpt-4o-mini"),
        (["*"], "gpt-4o"),
        (["GPT-4o"], "gpt-4o"),
        (["openai/gpt-4o@eu"], "openai/gpt-4o@global"),
        (["siliconflow-cn/deepseek-v3.2"], "alibaba/deepseek-v3.2"),
        (["gpt-4o-2024-11-20"], "gpt-4o"),
    ],
)
def test_key_may_not_call_what_its_list_does_not_name(catalog, allowed, name):
    resolution = found(catalog, name)
    with pytest.raises(PermissionDenied) as refused:
        resolution.within(resolve.scope_of(catalog, None, allowed))
    assert refused.value.status == 403


def test_who_may_not_call_a_name_is_told_the_names_that_do_mean_what_it_may_call(catalog):
    allowed = ["gpt-4o-2024-11-20", "openai/gpt-4o@eu", "openai/gpt-4o-2024-08-06@eu", "alibaba/deepseek-v3.2"]
    with pytest.raises(PermissionDenied, match="may not call openai/gpt-4o@global; it may call ") as refused:
        found(catalog, "openai/gpt-4o@global").within(resolve.scope_of(catalog, None, allowed))
    told = refused.value.message.partition("it may call ")[2].rstrip(".")
    assert told.split(", ") == sorted(allowed)


def test_keys_list_with_a_name_that_means_nothing_is_refused(catalog):
    resolve.check_names(catalog, PLAN, ["gpt-4o", "openai/gpt-4o@eu", "starter/fast"])
    with pytest.raises(ModelNotFound):
        resolve.check_names(catalog, PLAN, ["gpt-4o", "gpt-*"])


def test_model_of_another_kind_is_refused_for_the_endpoint(catalog):
    found(catalog, "gpt-4o").require(Capability.CHAT)
    with pytest.raises(InvalidRequest, match="is a model for images"):
        found(catalog, "gpt-image-2").require(Capability.CHAT)
