"""Our prices against the genai-prices package: every offering it covers, and a reason for each difference."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price

from tokenhub.billing import pricing
from tokenhub.call import Capability
from tokenhub.catalog import load
from tokenhub.catalog.models import Endpoint
from tokenhub.money import ATTO_PER_USD
from tokenhub.usage import Units, Usage

THEIR_PROVIDER = {
    ("openai", "global"): "openai",
    ("anthropic", "global"): "anthropic",
    ("google", "global"): "google",
    ("deepseek", "cn"): "deepseek",
    ("moonshot", "intl"): "moonshotai",
    ("zhipu", "intl"): "zai",
    ("zhipu", "cn"): "zhipuai",
    ("openrouter", "default"): "openrouter",
}
"""Hosts that genai-prices knows; it has no regional uplifts, no Alibaba, SiliconFlow, Volcengine or Moonshot in CNY."""

MOMENTS = {
    "off-peak": datetime(2026, 11, 20, 12, tzinfo=UTC),
    "peak": datetime(2026, 11, 20, 7, tzinfo=UTC),
    "weekend": datetime(2026, 11, 21, 7, tzinfo=UTC),
    "december": datetime(2026, 12, 2, 12, tzinfo=UTC),
    "2027": datetime(2027, 1, 4, 12, tzinfo=UTC),
}
SIZES = (1_000, 32_001, 100_001, 128_001, 200_001, 256_001, 272_001)
"""Prompts above every tier's threshold that either side knows."""

FX = "genai-prices converts the CNY list at 7.25, cheapest tier; the catalogue at 6.98 with its tiers"
UNKNOWN = "genai-prices does not have it"
REUSED_ID = "the id deepseek-chat meant V3.2 until 2026-07-24; genai-prices keeps the price of V3"
ENDED_TIER = "genai-prices keeps a tier above 200k that ended with the 1M beta on 2026-04-30; such prompts are refused"
WEEKDAY = "genai-prices has no weekdays: it counts weekends as peak"

DIFFERENCES = {
    **{(f"zhipu/{model}@cn", moment): FX for model in ("glm-5.3", "glm-5.3-flash", "glm-5.2", "glm-4.7", "glm-4.5-air") for moment in MOMENTS},
    **{(f"zhipu/{model}@cn", moment): UNKNOWN for model in ("glm-4.5", "glm-4.6", "glm-4.7-flash", "embedding-3") for moment in MOMENTS},
    **{("zhipu/glm-4.7-flash@intl", moment): UNKNOWN for moment in MOMENTS},
    **{("deepseek/deepseek-v3.2@cn", moment): REUSED_ID for moment in MOMENTS},
    **{("anthropic/claude-sonnet-4.5@global", moment): ENDED_TIER for moment in MOMENTS},
    ("deepseek/deepseek-v4.1-flash@cn", "weekend"): WEEKDAY,
    ("deepseek/deepseek-v4-pro@cn", "weekend"): WEEKDAY,
}  # fmt: skip


def usages(size: int) -> list[tuple[Usage, dict[str, int]]]:
    """The same usage in our buckets and in theirs, whose parts lie inside their totals."""
    return [
        (Usage(input=size), {"input_tokens": size}),
        (Usage(cache_read=size), {"input_tokens": size, "cache_read_tokens": size}),
        (Usage(cache_write=size), {"input_tokens": size, "cache_write_tokens": size}),
        (Usage(cache_write_1h=size), {"input_tokens": size, "cache_write_tokens": size, "cache_write_1h_tokens": size}),
        (Usage(audio_input=size), {"input_tokens": size, "input_audio_tokens": size}),
        (Usage(input=size, output=777), {"input_tokens": size, "output_tokens": 777}),
    ]


def covered() -> list[Endpoint]:
    catalog = load.load()
    return [
        endpoint
        for endpoints in catalog.endpoints.values()
        for endpoint in endpoints
        if (endpoint.provider.id, endpoint.region.id) in THEIR_PROVIDER
        and endpoint.model.capability in (Capability.CHAT, Capability.EMBEDDINGS)
    ]


def place(endpoint: Endpoint) -> str:
    return f"{endpoint.provider.id}/{endpoint.model.id}@{endpoint.region.id}"


def agrees(endpoint: Endpoint, moment: datetime) -> bool:
    card = endpoint.prices.at(int(moment.timestamp() * 1000))
    provider = THEIR_PROVIDER[endpoint.provider.id, endpoint.region.id]
    for size in SIZES:
        rates = card.rates_for(size)
        for ours, theirs in usages(size):
            if endpoint.model.capability is Capability.EMBEDDINGS and (ours.output or not ours.input):
                continue
            try:
                found = calc_price(
                    TheirUsage(**theirs),
                    endpoint.offering.upstream_id,
                    provider_id=provider,
                    genai_request_timestamp=moment,
                )
            except LookupError:
                return False
            cost = Fraction(pricing.prompt_atto(ours, rates) + pricing.completion_atto(ours, rates), ATTO_PER_USD)
            if cost != Fraction(found.total_price):
                return False
    return True


@pytest.mark.parametrize("moment", MOMENTS)
def test_our_prices_differ_from_genai_prices_only_where_a_reason_is_given(moment):
    differing = {place(one) for one in covered() if not agrees(one, MOMENTS[moment])}
    assert differing == {where for where, at in DIFFERENCES if at == moment}


def test_most_of_the_shipped_makers_prices_are_compared():
    assert len(covered()) > 60


BY_UNIT = {
    "second": (3600, lambda count: {"audio_seconds": count}),
    "character": (10**6, lambda count: {"input_characters": count}),
}
"""What is sold by the second or the character: so many in our words and in theirs. An hour's price that no atto-USD divides is rounded up."""
ROUNDING = Fraction(3600, ATTO_PER_USD)


def test_our_prices_of_sound_are_those_of_genai_prices():
    checked = set()
    for endpoints in load.load().endpoints.values():
        for one in endpoints:
            known = {**THEIR_PROVIDER, ("groq", "default"): "groq"}.get((one.provider.id, one.region.id))
            if known is None or one.model.capability not in (Capability.SPEECH, Capability.TRANSCRIPTIONS):
                continue
            checked.add(place(one))
            card = one.prices.at(int(MOMENTS["off-peak"].timestamp() * 1000))
            kinds = [kind for kind in BY_UNIT if card.has_unit(kind)]
            for kind in kinds:
                count, said = BY_UNIT[kind]
                theirs = Fraction(
                    calc_price(TheirUsage(**said(count)), one.offering.upstream_id, provider_id=known).total_price
                )
                ours = Fraction(pricing.units_atto((Units(kind, count),), card), ATTO_PER_USD)
                assert 0 <= ours - theirs < ROUNDING, place(one)
            if not kinds:
                theirs = calc_price(
                    TheirUsage(input_tokens=1000, input_audio_tokens=400, output_tokens=50)
                    if one.model.capability is Capability.TRANSCRIPTIONS
                    else TheirUsage(input_tokens=1000, output_tokens=50),
                    one.offering.upstream_id,
                    provider_id=known,
                )
                usage = Usage(input=600, audio_input=400, output=50)
                if one.model.capability is Capability.SPEECH:
                    usage = Usage(input=1000, output=50)
                atto = pricing.prompt_atto(usage, card.rates) + pricing.completion_atto(usage, card.rates)
                assert Fraction(atto, ATTO_PER_USD) == Fraction(theirs.total_price), place(one)
    assert len(checked) >= 9
