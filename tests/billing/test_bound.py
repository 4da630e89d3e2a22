"""The bound covers every legal usage at every deployment of a route, and every limit the write may choose (T3, T4)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import at_least
from tokenhub.accounts.accounts import AccountStatus, KeyStatus, SpendPeriod, Versions
from tokenhub.billing import bound as bounds
from tokenhub.billing import pricing, rules
from tokenhub.billing.batch import AccountState, Batch, KeyState
from tokenhub.billing.bound import OUTPUT_FLOOR, OUTPUT_UNSTATED, Bound, bound
from tokenhub.billing.holds import Place, Placed
from tokenhub.billing.lots import LotState
from tokenhub.call import Call, Capability
from tokenhub.catalog import load
from tokenhub.catalog.models import Credential, Deployment
from tokenhub.catalog.prices import PriceCard
from tokenhub.usage import Units, Usage

CATALOG = load.load()
CREDENTIALS = [
    Credential(i, provider.id, region, "", "secret", "https://filled.example/v1")
    for i, provider in enumerate(CATALOG.providers.values())
    for region in provider.regions
]
DEPLOYMENTS = [
    deployment
    for model, deployments in CATALOG.offered(CREDENTIALS).items()
    if CATALOG.models[model].capability is Capability.CHAT
    for deployment in deployments
]
NOON, PEAK = 1_795_176_000_000, 1_795_158_000_000
"""2026-11-20, a Friday, at 12:00 and at 07:00 UTC: inside DeepSeek's peak."""

calls = st.builds(
    Call,
    capability=st.just(Capability.CHAT),
    model=st.just("any"),
    input_bytes=st.one_of(st.integers(2, 400), st.integers(2, 4_000_000)),
    messages=st.integers(1, 200),
    images=st.integers(0, 4),
    audio_parts=st.integers(0, 1),
    files=st.sampled_from([0, 0, 0, 1, 2]),
    choices=st.integers(1, 4),
    max_output=st.one_of(st.none(), st.integers(1, 500_000)),
    uses_tools=st.booleans(),
)
routes = st.lists(st.sampled_from(DEPLOYMENTS), min_size=1, max_size=3).flatmap(
    lambda ones: st.sampled_from([NOON, PEAK]).map(lambda at: [(one, one.prices.at(at)) for one in ones])
)
PROMPT = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input")


@st.composite
def legal_usage(draw: st.DrawFn, call: Call, deployment: Deployment, limit: int) -> Usage:
    """Any split of at most the most prompt and output tokens; often the most itself, in one bucket."""
    prompt = draw(st.one_of(st.just(1.0), st.floats(0, 1)))
    prompt_tokens = int(bounds.prompt_most(call, deployment) * prompt)
    dearest = draw(st.sampled_from(PROMPT))
    other = draw(st.sampled_from(PROMPT))
    part = draw(st.integers(0, prompt_tokens))
    split = dict.fromkeys(PROMPT, 0)
    split[dearest] += prompt_tokens - part
    split[other] += part
    most = min(limit, bounds.output_most(call, deployment)) + bounds.reasoning_most(deployment)
    output = draw(st.one_of(st.just(most * call.choices), st.integers(0, most * call.choices)))
    return Usage(**split, output=output, reasoning=draw(st.sampled_from([0, output])))


def held(limits: Bound, balance_nano: int) -> tuple[int, int]:
    """Hold and output limit as the rule book decides them for an account with this balance."""
    account = AccountState(1, 1, AccountStatus.ACTIVE, "starter", balance_nano, 0, 0, None, None)
    account.lots = [LotState(1, 1, balance_nano, 0, 0, 0, NOON + 1, 0)] if balance_nano else []
    key = KeyState("key", 1, 1, KeyStatus.ACTIVE, None, None, SpendPeriod.TOTAL, 0, 0, 0, None)
    batch = Batch(NOON, 1, bytes(8), 1, 1, {"starter": 1}, {1: account}, {"key": key}, {}, {}, {})
    (placed,) = rules.decide(
        batch,
        [
            Place(
                request_id="req",
                key_id="key",
                account_id=1,
                versions=Versions(1, 1, 1, 1, 1),
                wanted_nano=limits.wanted_nano,
                minimum_nano=limits.minimum_nano,
                output_token_atto=limits.output_token_atto,
                output_wanted=limits.output_wanted,
                output_minimum=limits.output_minimum,
                key_rpm=60,
                account_rpm=60,
                concurrency=1,
                price_version="v",
            )
        ],
    )
    assert isinstance(placed, Placed), placed
    return placed.amount_nano, limits.output_wanted if placed.output_limit is None else placed.output_limit


@at_least(600)
@given(st.data())
def test_t3_every_legal_usage_costs_at_most_what_is_wanted(data):
    call, route, fee_bp = data.draw(calls), data.draw(routes), data.draw(st.integers(0, 10_000))
    limits = bound(call, route, fee_bp)
    for deployment, card in route:
        usage = data.draw(legal_usage(call, deployment, limits.output_wanted))
        assert pricing.charge_for(usage, card, fee_bp).total_nano <= limits.wanted_nano


@at_least(600)
@given(st.data())
def test_t3_lowered_output_limit_is_covered_by_the_hold_that_is_placed(data):
    call, route, fee_bp = data.draw(calls), data.draw(routes), data.draw(st.integers(0, 10_000))
    limits = bound(call, route, fee_bp)
    room = data.draw(st.integers(limits.minimum_nano, max(limits.minimum_nano, limits.wanted_nano)))
    hold, limit = held(limits, room)
    assert limits.output_minimum <= limit <= limits.output_wanted
    for deployment, card in route:
        usage = data.draw(legal_usage(call, deployment, limit))
        assert pricing.charge_for(usage, card, fee_bp).total_nano <= hold


@pytest.mark.parametrize("fee_bp", [0, 300, 333, 10_000])
def test_t3_dearest_usage_there_can_be_is_covered_at_every_deployment_and_tier(fee_bp):
    for deployment in DEPLOYMENTS:
        card = deployment.prices.at(PEAK)
        for above in (1143, *(above for above, _ in card.tiers)):
            asked = call(input_bytes=above + 1 - 144, max_output=977)
            hold = bound(asked, [(deployment, card)], fee_bp).wanted_nano
            prompt = bounds.prompt_most(asked, deployment)
            output = bounds.output_most(asked, deployment) + bounds.reasoning_most(deployment)
            for bucket in PROMPT:
                for reasoning in (0, 1):
                    usage = Usage(**{bucket: prompt}, output=output, reasoning=reasoning)
                    assert pricing.charge_for(usage, card, fee_bp).total_nano <= hold


@at_least(300)
@given(calls, routes, st.integers(0, 10_000))
def test_minimum_is_never_more_than_wanted_and_a_client_with_a_limit_gets_it_whole(call, route, fee_bp):
    limits = bound(call, route, fee_bp)
    assert 0 <= limits.minimum_nano <= limits.wanted_nano
    if call.max_output is not None:
        assert (limits.minimum_nano, limits.output_minimum) == (limits.wanted_nano, limits.output_wanted)
        assert not limits.send_limit
    else:
        assert limits.output_minimum == min(OUTPUT_FLOOR, limits.output_wanted)


def deployed(name: str) -> tuple[Deployment, PriceCard]:
    found = next(one for one in DEPLOYMENTS if one.id.startswith(name + "#"))
    return found, found.prices.at(NOON)


def call(**facts: object) -> Call:
    return Call(**{"capability": Capability.CHAT, "model": "any", "input_bytes": 1000, "messages": 1, **facts})


def test_t4_hold_covers_the_dearest_of_the_route_whatever_comes_first():
    free, dear = deployed("local/smollm2-135m@local"), deployed("anthropic/claude-opus-5@global")
    assert bound(call(), [free], 300) == Bound(0, 0, 0, 3072, 1024, False)
    assert bound(call(), [free, dear], 300).wanted_nano == bound(call(), [dear], 300).wanted_nano > 10**9


def test_client_without_a_limit_holds_the_models_maximum_and_sends_none():
    limits = bound(call(), [deployed("openai/gpt-4o@global")], 0)
    assert (limits.output_wanted, limits.send_limit) == (16_384, False)


def test_limit_is_sent_where_the_upstream_has_no_maximum_of_its_own():
    limits = bound(call(), [deployed("moonshot/kimi-k3.1-pro@intl")], 0)
    assert (limits.output_wanted, limits.send_limit) == (OUTPUT_UNSTATED, True)


def test_t3_choices_multiply_the_output_and_not_the_prompt():
    route = [deployed("openai/gpt-4o@global")]
    one, three = (bound(call(choices=n, max_output=1000), route, 0).wanted_nano for n in (1, 3))
    assert three - one == 2 * 1000 * 10_000


def test_t3_tier_in_reach_of_the_prompt_is_the_one_that_is_held():
    route = [deployed("anthropic/claude-haiku-5.5@global")]
    below, above = (bound(call(input_bytes=size, max_output=100), route, 0) for size in (90_000, 100_001))
    assert above.output_token_atto == 5 * below.output_token_atto


def test_t3_peak_price_is_held_in_the_peak():
    deployment, _ = deployed("deepseek/deepseek-v4-pro@cn")
    off_peak, peak = (bound(call(), [(deployment, deployment.prices.at(at))], 0) for at in (NOON, PEAK))
    assert peak.output_token_atto == 2 * off_peak.output_token_atto


OTHERS = [
    deployment
    for model, deployments in CATALOG.offered(CREDENTIALS).items()
    if CATALOG.models[model].capability in (Capability.IMAGES, Capability.VIDEOS)
    for deployment in deployments
]


@at_least(300)
@given(st.data())
def test_t3_units_and_image_tokens_cost_at_most_what_is_wanted(data):
    draw, fee_bp = data.draw, data.draw(st.integers(0, 10_000))
    route = [(one, one.prices.at(NOON)) for one in draw(st.lists(st.sampled_from(OTHERS), min_size=1, max_size=3))]
    count, kind = draw(st.integers(1, 10)), draw(st.sampled_from(["image", "second", "video"]))
    variant = draw(st.sampled_from(["", "720p", "1080P", "high 1024x1024", "unheard of"]))
    asked = call(
        capability=Capability.IMAGES,
        choices=count,
        output_beyond=100,
        units=(Units(kind, count, variant),),
        images=2,
        image_scale=3,
    )
    limits = bound(asked, route, fee_bp)
    assert (limits.minimum_nano, limits.send_limit) == (limits.wanted_nano, False)
    for deployment, card in route:
        image = bounds.image_most(asked, deployment)
        text = bounds.output_most(asked, deployment)
        usage = Usage(
            image_input=bounds.prompt_most(asked, deployment),
            output=count * text if image else 0,
            image_output=count * ((image or text) + 100),
            units=(
                Units(
                    kind,
                    draw(st.integers(0, count)),
                    variant or draw(st.sampled_from(["720p", "1080p", "low 512x512"])),
                ),
            ),
        )
        assert pricing.charge_for(usage, card, fee_bp).total_nano <= limits.wanted_nano


def test_t3_reasoning_that_the_limit_leaves_out_is_held_too():
    deployment, card = deployed("alibaba/qwen3.8-flash@cn-beijing")
    limits = bound(call(max_output=10), [(deployment, card)], 0)
    usage = Usage(input=1000, output=10 + 81_920, reasoning=81_920)
    assert pricing.charge_for(usage, card, 0).model_fee_nano <= limits.wanted_nano


@pytest.mark.parametrize(
    ("facts", "tokens"),
    [
        ({}, 1144),
        ({"images": 2}, 4144),
        ({"uses_tools": True}, 2168),
        ({"files": 1}, 128_000),
        ({"input_bytes": 10**6}, 128_000),
    ],
)
def test_prompt_is_bounded_by_bytes_images_tools_files_and_the_context(facts, tokens):
    deployment, _ = deployed("openai/gpt-4o@global")
    assert bounds.prompt_most(call(**facts), deployment) == tokens


def test_embeddings_hold_their_prompt_and_nothing_else():
    found = CATALOG.offered(CREDENTIALS)["text-embedding-3-small"][0]
    asked = call(capability=Capability.EMBEDDINGS, messages=0, input_bytes=872)
    limits = bound(asked, [(found, found.prices.at(NOON))], 0)
    assert limits.wanted_nano == limits.minimum_nano == 1000 * 20 + bounds.ROUNDING_NANO
    assert (limits.output_wanted, limits.output_token_atto, limits.send_limit) == (0, 0, False)


def test_t3_context_of_embeddings_is_that_of_each_input():
    found = CATALOG.offered(CREDENTIALS)["text-embedding-3-small"][0]
    asked = call(capability=Capability.EMBEDDINGS, messages=100, input_bytes=800_000)
    assert bounds.prompt_most(asked, found) == 800_000 + bounds.CALL_TOKENS + 100 * bounds.MESSAGE_TOKENS
    assert (
        bounds.prompt_most(call(capability=Capability.EMBEDDINGS, messages=2, input_bytes=800_000), found) == 2 * 8192
    )


def test_t3_rerank_and_recordings_are_read_in_pieces_that_no_context_bounds():
    found = replace(
        CATALOG.offered(CREDENTIALS)["qwen3-rerank"][0], model=replace(CATALOG.models["qwen3-rerank"], context=4_000)
    )
    assert (
        bounds.prompt_most(call(capability=Capability.RERANK, messages=500, input_bytes=2_000_000), found) > 2_000_000
    )
    limits = bound(call(capability=Capability.RERANK, input_bytes=9), [(found, found.prices.at(NOON))], 0)
    assert (limits.output_wanted, limits.send_limit) == (0, False)


AUDIO = [
    deployment
    for model, deployments in CATALOG.offered(CREDENTIALS).items()
    if CATALOG.models[model].capability in (Capability.SPEECH, Capability.TRANSCRIPTIONS)
    for deployment in deployments
]


@at_least(300)
@given(st.sampled_from(AUDIO), st.integers(0, 10_000), st.integers(1, 100_000), st.floats(0, 1), st.floats(0, 1))
def test_t3_sound_costs_at_most_what_is_wanted(deployment, fee_bp, count, read, made):
    capability = deployment.model.capability
    kind = "character" if capability is Capability.SPEECH else "second"
    asked = call(
        capability=capability, input_bytes=count * 25, max_output=count * 48, messages=1, units=(Units(kind, count),)
    )
    card = deployment.prices.at(NOON)
    limits = bound(asked, [(deployment, card)], fee_bp)
    assert (limits.minimum_nano, limits.send_limit) == (limits.wanted_nano, False)
    prompt, output = int(bounds.prompt_most(asked, deployment) * read), int(count * 48 * made)
    for usage in (
        Usage(audio_input=prompt, output=output, units=(Units(kind, count),)),
        Usage(input=prompt, output=output),
    ):
        assert pricing.charge_for(usage, card, fee_bp).total_nano <= limits.wanted_nano
