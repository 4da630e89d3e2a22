"""What money buys."""

import pytest

from tokenhub.billing import credits


@pytest.mark.parametrize(
    ("minor", "rate", "nano"),
    [
        (2000, 1_000_000, 20_000_000_000),
        (14200, 7_100_000, 20_000_000_000),
        (2000, 7_123_400, 2_807_648_000),
        (1, 1_000_000, 10_000_000),
        (1, 99_999_999_999, 0),
        (99_999_999, 1_000_000, 999_999_990_000_000),
    ],
)
def test_s10_an_amount_buys_whole_micro_usd_rounded_down(minor: int, rate: int, nano: int) -> None:
    assert credits.bought_nano(minor, rate) == nano
    assert nano % 1000 == 0


@pytest.mark.parametrize(
    ("setting", "rate"), [(7.1, 7_100_000), (7.1234, 7_123_400), (0.1 + 0.2, 300_000), (7, 7_000_000)]
)
def test_the_rate_is_what_was_written(setting: float, rate: int) -> None:
    assert credits.rate_micro("cny", setting) == rate


def test_a_dollar_costs_a_dollar() -> None:
    assert credits.rate_micro("usd", 7.1) == credits.RATE_UNIT


def test_minor_units_are_shown_as_people_write_them() -> None:
    assert [credits.major(minor, "usd") for minor in (5, 50, 2000)] == ["0.05", "0.50", "20.00"]
    assert [credits.major(minor, "cny") for minor in (5, 14200)] == ["0.05", "142.00"]


def test_half_a_dollar_and_ten_yuan_are_the_least_that_is_taken() -> None:
    least = {currency: credits.major(minor, currency) for currency, minor in credits.SMALLEST_MINOR.items()}
    assert least == {"usd": "0.50", "cny": "10.00"}
    assert set(credits.DECIMALS) == set(credits.SMALLEST_MINOR)


def test_the_most_that_is_taken_is_the_largest_number_of_eight_digits() -> None:
    assert [len(str(minor)) for minor in (credits.LARGEST_MINOR, credits.LARGEST_MINOR + 1)] == [8, 9]
