"""Price cards: tiers, dated changes, weekday windows, multipliers, defaults of missing buckets."""

from datetime import UTC, datetime

import pytest

from tokenhub.call import Capability
from tokenhub.catalog.fields import Fields
from tokenhub.catalog.price_tables import schedule
from tokenhub.catalog.prices import PriceSchedule
from tokenhub.errors import SetupError
from tokenhub.money import InvalidAmount

HOLIDAYS = {"holidays": frozenset({"2026-10-01"})}


def parsed(capability: Capability = Capability.CHAT, **tables: object) -> PriceSchedule | None:
    return schedule(Fields(tables, "offering"), capability, HOLIDAYS)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_bucket_without_a_price_costs_what_its_kind_costs():
    rates = parsed(price={"input": "2", "output": "8"}).at(0).rates
    assert rates.input == 2 * 10**12
    assert {rates.cache_read, rates.cache_write, rates.cache_write_1h, rates.audio_input, rates.image_input} == {
        rates.input
    }
    assert {rates.image_output, rates.output_thinking} == {rates.output}


def test_one_hour_cache_write_without_a_price_costs_what_a_short_one_does():
    rates = parsed(price={"input": "2", "cache_write": "2.5", "output": "8"}).at(0).rates
    assert rates.cache_write_1h == rates.cache_write == 25 * 10**11


def test_t14_offering_without_a_price_has_no_schedule():
    assert parsed() is None


def test_t14_explicit_zero_is_a_price():
    assert parsed(price={"input": "0", "output": "0"}).at(0).rates.output == 0


@pytest.mark.parametrize("price", [{"input": "1"}, {"output": "1"}, {}])
def test_chat_price_without_input_or_output_is_refused(price):
    with pytest.raises(SetupError, match="is missing"):
        parsed(price=price)


def test_embeddings_need_no_output_price():
    assert parsed(Capability.EMBEDDINGS, price={"input": "0.02"}).at(0).rates.output == 0


@pytest.mark.parametrize("amount", [1, 1.5, "1e3", "-1", "1,5", " 1", "", "0.0000000000001", "１"])
def test_price_that_is_no_plain_decimal_text_is_refused(amount):
    with pytest.raises(SetupError):
        parsed(price={"input": amount, "output": "1"})


@pytest.mark.parametrize(("prompt", "rate"), [(0, 1), (999, 1), (1000, 1), (1001, 2), (4999, 2), (5000, 2), (5001, 3)])
def test_t13_whole_request_is_billed_at_the_tier_its_prompt_exceeds(prompt, rate):
    card = parsed(
        price={"input": "1", "output": "1"},
        price_tiers=[
            {"above_prompt_tokens": 1000, "input": "2", "output": "2"},
            {"above_prompt_tokens": 5000, "input": "3", "output": "3"},
        ],
    ).at(0)
    rates = card.rates_for(prompt)
    assert (rates.input, rates.output, rates.cache_write_1h) == (rate * 10**12,) * 3
    assert card.dearest(prompt) == (rate * 10**12, rate * 10**12)


def test_dearest_rates_are_those_of_every_tier_in_reach_and_of_every_bucket():
    card = parsed(
        price={"input": "5", "output": "9", "cache_write_1h": "10"},
        price_tiers=[{"above_prompt_tokens": 1000, "input": "6", "output": "7", "output_thinking": "20"}],
    ).at(0)
    assert card.dearest(1000) == (10 * 10**12, 9 * 10**12)
    assert card.dearest(1001) == (10 * 10**12, 20 * 10**12)


def test_tiers_and_dated_prices_must_ascend():
    tier = {"above_prompt_tokens": 1000, "input": "2", "output": "2"}
    with pytest.raises(SetupError, match="ascend"):
        parsed(price={"input": "1", "output": "1"}, price_tiers=[tier, tier])
    dated = {"effective_from": "2026-12-01", "input": "2", "output": "2"}
    with pytest.raises(SetupError, match="ascend"):
        parsed(price={"input": "1", "output": "1"}, scheduled_prices=[dated, dated])


def test_dated_price_holds_from_its_first_millisecond_on():
    prices = parsed(
        price={"input": "1", "output": "1"},
        scheduled_prices=[{"effective_from": "2026-12-01", "input": "2", "output": "2"}],
    )
    change = ms("2026-12-01")
    assert [prices.at(at).rates.input for at in (0, change - 1, change)] == [10**12, 10**12, 2 * 10**12]


def windowed() -> PriceSchedule:
    return parsed(
        price={"input": "1", "output": "1"},
        price_windows=[
            {
                "label": "peak",
                "weekdays_utc": [1, 2, 3, 4, 5],
                "utc": ["01:00-04:00", "06:00-10:00"],
                "excluded": "holidays",
                "input": "2",
                "output": "2",
            }
        ],
    )


@pytest.mark.parametrize(
    ("moment", "peak"),
    [
        ("2026-11-20T00:59:59", False),
        ("2026-11-20T01:00:00", True),
        ("2026-11-20T03:59:59", True),
        ("2026-11-20T04:00:00", False),
        ("2026-11-20T06:00:00", True),
        ("2026-11-20T10:00:00", False),
        ("2026-11-21T07:00:00", False),
        ("2026-11-22T07:00:00", False),
        ("2026-10-01T07:00:00", False),
        ("2026-10-02T07:00:00", True),
    ],
)
def test_window_opens_on_its_weekdays_and_hours_but_not_on_holidays(moment, peak):
    assert windowed().at(ms(moment)).rates.input == (2 if peak else 1) * 10**12


def test_multiplier_reaches_every_rate_of_every_card():
    prices = parsed(
        price={"input": "1", "cached_input": "0.1", "output": "1"},
        price_tiers=[{"above_prompt_tokens": 10, "input": "2", "output": "2"}],
        scheduled_prices=[{"effective_from": "2026-12-01", "input": "4", "output": "4"}],
    ).multiplied("1.1")
    first, later = prices.at(0), prices.at(ms("2026-12-01"))
    assert (first.rates.input, first.rates.cache_read) == (11 * 10**11, 11 * 10**10)
    assert (first.rates_for(11).output, later.rates.input) == (22 * 10**11, 44 * 10**11)


def test_multiplier_that_is_not_exact_is_refused():
    prices = parsed(price={"input": "0.000000000001", "output": "1"})
    with pytest.raises(InvalidAmount, match="whole"):
        prices.multiplied("1.1")


def test_version_names_the_prices_and_nothing_else():
    one, same = (parsed(price={"input": "1", "output": "2"}).at(0) for _ in range(2))
    other = parsed(price={"input": "1", "output": "2", "cached_input": "0.5"}).at(0)
    assert one.version == same.version != other.version
    assert len(one.version) == 12


def test_prices_of_images_and_seconds_are_kept_by_resolution():
    card = parsed(Capability.VIDEOS, per_second={"720p": "0.40", "4k": "0.60"}, per_video="0.143266").at(0)
    assert card.units == {"second 720p": 4 * 10**17, "second 4k": 6 * 10**17, "video": 143266 * 10**12}
    assert card.unit_price("second", "4K") == card.unit_price("second", "8k") == card.unit_price("second") == 6 * 10**17
    assert card.unit_price("second", "720P") == 4 * 10**17
    assert card.has_unit("video")
    assert not card.has_unit("image")
    assert card.unit_price("image", "high") == 0


def test_variant_without_a_price_costs_the_general_one_where_there_is_one():
    card = parsed(Capability.IMAGES, per_image={"": "0.02", "high": "0.08"}).at(0)
    assert [card.unit_price("image", variant) for variant in ("high", "low", "")] == [
        8 * 10**16,
        2 * 10**16,
        2 * 10**16,
    ]


def test_variant_of_several_words_is_priced_by_those_the_card_names():
    card = parsed(Capability.IMAGES, per_image={"hd": "0.08", "1024x1792": "0.10", "hd 1024x1792": "0.12"}).at(0)
    price = {
        one: card.unit_price("image", one) * 100 // 10**18 for one in ("HD 1024x1024", "sd 1024x1792", "hd 1024x1792")
    }
    assert price == {"HD 1024x1024": 8, "sd 1024x1792": 10, "hd 1024x1792": 12}


def test_most_of_a_unit_is_the_dearest_until_its_variant_is_known():
    card = parsed(Capability.IMAGES, per_image={"": "0.02", "hd": "0.08", "hd 4k": "0.20"}).at(0)
    most = {one: card.unit_price_most("image", one) * 100 // 10**18 for one in ("", "hd", "hd 4k", "sd 1k")}
    assert most == {"": 20, "hd": 8, "hd 4k": 20, "sd 1k": 2}
    assert card.unit_price_most("second") == 0


def test_offerings_of_one_model_are_compared_by_tokens_and_units_alike():
    cheap, dear = (parsed(Capability.IMAGES, per_image={"": price, "hd": "0.09"}).at(0) for price in ("0.02", "0.04"))
    assert cheap.compared == dear.compared == 9 * 10**16
    assert parsed(Capability.IMAGES, per_image="0.02").at(0).compared == 2 * 10**16
    assert parsed(price={"input": "1", "output": "2"}).at(0).compared == 5 * 10**12


def test_characters_are_priced_by_the_million_and_searches_each():
    card = parsed(Capability.SPEECH, per_million_characters="15", per_search="0.002").at(0)
    assert card.units == {"character": 15 * 10**12, "search": 2 * 10**15}


def test_later_prices_and_windows_keep_the_units_that_they_do_not_name():
    prices = parsed(
        Capability.IMAGES,
        per_image="0.04",
        scheduled_prices=[
            {"effective_from": "2027-01-01", "per_image": "0.05"},
            {"effective_from": "2027-02-01", "input": "1", "image_output": "30"},
        ],
        price_windows=[{"label": "peak", "weekdays_utc": [5], "utc": ["10:00-12:00"], "per_image": "0.08"}],
    )
    at = [prices.at(ms(day)) for day in ("2026-11-20T11:00:00", "2026-11-21", "2027-01-01", "2027-02-01")]
    assert [card.unit_price("image") for card in at] == [8 * 10**16, 4 * 10**16, 5 * 10**16, 5 * 10**16]
    assert [card.rates.image_output for card in at] == [0, 0, 0, 30 * 10**12]


@pytest.mark.parametrize("stated", ["free", 0.04, {"high": "4e-2"}])
def test_unit_price_that_is_no_decimal_in_quotes_is_refused(stated):
    with pytest.raises(SetupError, match="per_image"):
        parsed(Capability.IMAGES, per_image=stated)
