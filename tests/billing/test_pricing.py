"""What a reply costs, against exact rational arithmetic and golden vectors."""

import os
import random
from fractions import Fraction
from math import ceil

import pytest

from tokenhub.billing import pricing
from tokenhub.catalog import load
from tokenhub.catalog.models import Endpoint
from tokenhub.catalog.prices import PriceCard, Rates
from tokenhub.money import exact, parse_price_per_million
from tokenhub.usage import Units, Usage
from tokenhub.wire.chat.usage import parse_usage

CHARGES = 1_000_000 if os.environ.get("TOKENHUB_SOAK") else 40_000
CATALOG = load.load()


def rates(**per_million: str) -> Rates:
    given = {bucket: parse_price_per_million(text) for bucket, text in per_million.items()}
    defaults = dict.fromkeys(Rates.__slots__, given["input"])
    output = dict.fromkeys(("output", "image_output", "output_thinking"), given["output"])
    return Rates(**{**defaults, **output, **given})


SONNET = PriceCard(rates(input="3", cache_read="0.3", cache_write="3.75", cache_write_1h="6", output="15"))


def endpoint(model: str, place: str) -> Endpoint:
    provider, _, region = place.partition("@")
    return next(one for one in CATALOG.endpoints[model] if (one.provider.id, one.region.id) == (provider, region))


UNITS = ("image", "image high", "second 720p", "character")


def random_card(dice: random.Random) -> PriceCard:
    def some() -> Rates:
        return Rates(*(dice.choice((0, dice.randrange(10**6), dice.randrange(10**14))) for _ in Rates.__slots__))

    thresholds = sorted(dice.sample(range(1, 300_000), dice.randrange(3)))
    units = {name: dice.choice((0, dice.randrange(10**18))) for name in UNITS}
    return PriceCard(some(), tuple((above, some()) for above in thresholds), units)


def random_usage(dice: random.Random) -> Usage:
    size = 10 ** dice.randrange(1, 8)
    tokens = {
        name: dice.choice((0, dice.randrange(size)))
        for name in Usage.__slots__
        if name not in ("units", "unknown_input")
    }
    tokens["unknown_input"] = dice.randrange(tokens["unknown"] + 1)
    units = [Units(name.partition(" ")[0], dice.randrange(100), name.partition(" ")[2]) for name in UNITS]
    return Usage(**tokens, units=tuple(dice.sample(units, dice.randrange(3))))


def exact_nano(usage: Usage, card: PriceCard) -> Fraction:
    """The same in rational arithmetic, written down from the definition."""
    tier = card.rates
    for above, dearer in card.tiers:
        if usage.prompt_total + usage.unknown_input > above:
            tier = dearer
    buckets = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input", "image_output")
    total = sum(Fraction(getattr(usage, name)) * getattr(tier, name) for name in buckets)
    total += Fraction(usage.output) * (tier.output_thinking if usage.reasoning > 0 else tier.output)
    total += Fraction(usage.unknown) * max(tier.input, tier.output)
    total += sum(Fraction(one.count) * card.units[f"{one.kind} {one.variant}".strip()] for one in usage.units)
    return total / 10**9


@pytest.mark.soak
def test_t16_random_charges_equal_exact_rational_arithmetic():
    dice = random.Random(16)
    for _ in range(CHARGES // 50):
        card = random_card(dice)
        for _ in range(50):
            usage, fee_bp = random_usage(dice), dice.randrange(0, 10_001)
            charge = pricing.charge_for(usage, card, fee_bp)
            model_fee = ceil(exact_nano(usage, card))
            assert charge.model_fee_nano == model_fee
            assert charge.service_fee_nano == ceil(Fraction(model_fee * fee_bp, 10_000))
            assert charge.split.prompt_nano + charge.split.completion_nano == model_fee
            assert charge.split.prompt_nano >= 0 <= charge.split.completion_nano


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(input=200, cache_read=2000, cache_write=400), "0.0027"),
        (Usage(cache_read=2600), "0.00078"),
        (Usage(input=200, cache_read=2000, cache_write_1h=400), "0.0036"),
        (Usage(input=1000, output=500, reasoning=400), "0.0105"),
        (Usage(input=1000, output=500), "0.0105"),
        (Usage(unknown=1000), "0.015"),
        (Usage(), "0"),
    ],
)
def test_t12_each_bucket_has_its_own_price_and_reasoning_is_output(usage, usd):
    assert exact(pricing.charge_for(usage, SONNET, 0).model_fee_nano) == usd


@pytest.mark.parametrize(
    ("reported", "usd"),
    [
        (
            {"prompt_tokens": 2600, "completion_tokens": 0, "total_tokens": 2600, "prompt_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 400}},
            "0.0027",
        ),
        ({"prompt_tokens": 2600, "completion_tokens": 0, "total_tokens": 2600, "prompt_tokens_details": {"cached_tokens": 2600}}, "0.00078"),
        ({"prompt_tokens": 2600, "completion_tokens": 0, "total_tokens": 2600, "prompt_cache_hit_tokens": 2000, "prompt_cache_miss_tokens": 600}, "0.0024"),
    ],
)  # fmt: skip
def test_t12_usage_as_providers_report_it_is_priced_by_bucket(reported, usd):
    usage = parse_usage(reported)
    assert usage is not None
    assert exact(pricing.charge_for(usage, SONNET, 0).model_fee_nano) == usd


BUCKETS = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input")


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize(("beyond", "scale"), [(-1, 1), (0, 1), (1, 10)])
def test_t13_threshold_is_crossed_by_the_whole_prompt_whatever_its_bucket(bucket, beyond, scale):
    base = rates(input="1", output="1")
    card = PriceCard(base, ((1000, base.times(10, 1)),))
    usage = Usage(**{bucket: 1000 + beyond}, output=7, image_output=3)
    assert pricing.charge_for(usage, card, 0).model_fee_nano == scale * (1010 + beyond) * 1000


def test_t13_tiers_of_the_shipped_catalogue_hold_for_every_bucket():
    for endpoints in CATALOG.endpoints.values():
        for one in endpoints:
            card = one.prices.at(0)
            for above, dearer in card.tiers:
                below = card.rates_for(above)
                assert card.rates_for(above + 1) == dearer != below
                assert dearer.input > below.input
                assert dearer.output > below.output


def test_t15_card_taken_with_the_hold_outlives_a_price_change():
    prices = endpoint("gemini-4-argon", "google@global").prices
    before, after = prices.at(1_796_083_199_999), prices.at(1_796_083_200_000)
    usage = Usage(input=1000, output=100)
    assert pricing.charge_for(usage, before, 0).model_fee_nano * 2 == pricing.charge_for(usage, after, 0).model_fee_nano
    assert before.version != after.version


def test_t30_tiny_charge_is_rounded_up_to_a_nano_usd_and_never_to_nothing():
    card = PriceCard(rates(input="0.0075", output="0"))
    charges = [pricing.charge_for(Usage(input=1), card, 300) for _ in range(1000)]
    assert {(one.model_fee_nano, one.service_fee_nano) for one in charges} == {(8, 1)}
    assert sum(one.total_nano for one in charges) == 9000


def test_reply_that_reasoned_is_billed_at_the_thinking_rate_whole():
    card = endpoint("qwen-plus", "alibaba@ap-southeast-1").prices.at(0)
    assert exact(pricing.charge_for(Usage(input=1000, output=1000, reasoning=1), card, 0).model_fee_nano) == "0.0044"
    assert exact(pricing.charge_for(Usage(input=1000, output=1000), card, 0).model_fee_nano) == "0.0016"


def test_explicit_zero_costs_nothing():
    card = endpoint("smollm2-135m", "local@local").prices.at(0)
    assert pricing.charge_for(Usage(input=10**6, output=10**6), card, 300).total_nano == 0
    assert pricing.FREE.total_nano == 0
    assert pricing.FREE.split == pricing.Split(0, 0)


def test_fee_of_three_percent_is_a_line_of_its_own():
    charge = pricing.charge_for(Usage(input=1000, output=100), SONNET, 300)
    assert (exact(charge.model_fee_nano), exact(charge.service_fee_nano)) == ("0.0045", "0.000135")
    assert exact(charge.split.prompt_nano) == "0.003"
    assert exact(charge.split.completion_nano) == "0.0015"


def test_cache_saves_what_its_tokens_would_have_cost_more_as_fresh_input_rounded_down():
    assert pricing.saved_by_cache(Usage(input=100, cache_read=1000, output=50), SONNET) == 2_700_000
    assert pricing.saved_by_cache(Usage(input=100, cache_write=1000, output=50), SONNET) == 0
    tiny = PriceCard(rates(input="0.0015", cache_read="0.0004", output="1"))
    assert pricing.saved_by_cache(Usage(cache_read=1), tiny) == 1
    dearer_read = PriceCard(rates(input="1", cache_read="2", output="1"))
    assert pricing.saved_by_cache(Usage(cache_read=10**9), dearer_read) == 0
    dice = random.Random(17)
    for _ in range(2000):
        card, used = random_card(dice), random_usage(dice)
        tier = card.rates_for(used.prompt_whole)
        saved = Fraction(used.cache_read * max(0, tier.input - tier.cache_read), 10**9)
        assert 0 <= saved - pricing.saved_by_cache(used, card) < 1


def test_saved_amount_is_of_the_tier_of_the_whole_prompt():
    card = PriceCard(
        rates(input="1", cache_read="0.1", output="5"), ((1000, rates(input="2", cache_read="0.2", output="9")),)
    )
    assert pricing.saved_by_cache(Usage(input=100, cache_read=900), card) == 900 * 900
    assert pricing.saved_by_cache(Usage(input=101, cache_read=900), card) == 900 * 1800


def test_a_charge_that_is_cut_is_shown_in_parts_that_add_up():
    whole = pricing.charge_for(Usage(input=1000, output=100), SONNET, 300)
    for model_fee in (0, 1, whole.split.prompt_nano, whole.split.prompt_nano + 1, whole.model_fee_nano):
        cut = whole.cut(model_fee, 7)
        assert (cut.model_fee_nano, cut.service_fee_nano) == (model_fee, 7)
        assert cut.split.prompt_nano + cut.split.completion_nano == model_fee
        assert min(cut.split.prompt_nano, cut.split.completion_nano) >= 0


def test_of_a_charge_that_is_cut_the_completions_part_gives_way_first():
    whole = pricing.charge_for(Usage(input=1000, output=100), SONNET, 300)
    assert whole.split == pricing.Split(3_000_000, 1_500_000)
    assert whole.cut(4_000_000, 0).split == pricing.Split(3_000_000, 1_000_000)
    assert whole.cut(2_000_000, 0).split == pricing.Split(2_000_000, 0)


def test_a_fee_for_the_prompt_alone_is_shown_as_the_prompts_whole():
    card = PriceCard(rates(input="0.0075", output="0.0075"))
    assert pricing.charge_for(Usage(input=1), card, 0).split == pricing.Split(8, 0)
    assert pricing.charge_for(Usage(input=1, output=1), card, 0).split == pricing.Split(7, 8)


def test_t13_prompt_tokens_of_an_unknown_kind_count_for_the_tier():
    card = PriceCard(rates(input="1", output="2"), ((200_000, rates(input="3", output="4")),))
    details = {"smell_tokens": 150_000}
    raw = {"prompt_tokens": 250_000, "completion_tokens": 10, "prompt_tokens_details": details}
    usage = parse_usage(raw)
    assert usage is not None
    assert pricing.charge_for(usage, card, 0).model_fee_nano == 100_000 * 3_000 + 150_000 * 4_000 + 10 * 4_000
    spoken = parse_usage({**raw, "prompt_tokens": 200_000, "prompt_tokens_details": None, "completion_tokens_details": {"smell_tokens": 5}})  # fmt: skip
    assert spoken is not None
    assert pricing.charge_for(spoken, card, 0).model_fee_nano == 200_000 * 1_000 + 10 * 2_000
