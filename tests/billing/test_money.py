"""Amounts as text: what is read, what is written, and that what is written is read back as it was."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub import money
from tokenhub.money import MAX_NANO, InvalidAmount


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (10, "0.00000001"),
        (999_999_999, "0.999999999"),
        (10**9, "1"),
        (-(10**9), "-1"),
        (100 * 10**9, "100"),
        (12_500_000_000, "12.5"),
        (-12_340_000_000, "-12.34"),
        (MAX_NANO, "4611686018.427387904"),
    ],
)
def test_an_amount_is_written_exactly_and_without_trailing_zeros(nano, text):
    assert money.exact(nano) == text


@pytest.mark.parametrize(
    ("atto", "text"),
    [
        (0, "0"),
        (1, "0.000000000000000001"),
        (3 * 10**12, "0.000003"),
        (999_999_999_999_999_999, "0.999999999999999999"),
        (10**18, "1"),
        (20 * 10**18, "20"),
        (2_500_000_000_000_000_000, "2.5"),
    ],
)
def test_a_price_is_written_exactly_and_without_trailing_zeros(atto, text):
    assert money.exact_price(atto) == text


@given(st.integers(0, MAX_NANO))
def test_what_is_written_is_read_back_as_it_was(nano):
    assert money.parse_usd(money.exact(nano)) == nano
    assert money.parse_decimal(money.exact_price(nano), 18) == nano


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (9_999_999, "$0.00"),
        (10_000_000, "$0.01"),
        (19_999_999, "$0.01"),
        (999_999_999, "$0.99"),
        (1_234_567_890_000_000, "$1,234,567.89"),
        (-1, "-$0.01"),
        (-10_000_000, "-$0.01"),
        (-10_000_001, "-$0.02"),
        (-1_000_000_000, "-$1.00"),
    ],
)
def test_what_is_shown_never_promises_more_than_there_is(nano, text):
    assert money.shown(nano) == text


@pytest.mark.parametrize(
    ("text", "scale", "units"),
    [
        ("0", 9, 0),
        ("0.1", 1, 1),
        ("12.50", 1, 125),
        ("12.05", 2, 1205),
        ("999999999999999999", 9, 999_999_999_999_999_999 * 10**9),
        ("0.000000000000000001", 18, 1),
    ],
)
def test_a_decimal_is_read_exactly(text, scale, units):
    assert money.parse_decimal(text, scale) == units


@pytest.mark.parametrize(
    ("text", "scale"), [("0.01", 1), ("0.0000000001", 9), ("0.0000000000000000010", 18), ("1" * 19, 9)]
)
def test_a_decimal_of_too_many_digits_is_refused(text, scale):
    with pytest.raises(InvalidAmount):
        money.parse_decimal(text, scale)


def test_the_largest_amount_is_read_and_a_nano_dollar_more_is_not():
    assert money.parse_usd("4611686018.427387904") == MAX_NANO == 2**62
    with pytest.raises(InvalidAmount, match=r"more than TokenHub can hold \(4611686018\.427387904 USD\)"):
        money.parse_usd("4611686018.427387905")


def test_a_price_per_million_tokens_is_read_in_atto_usd_for_one():
    assert money.parse_price_per_million("3") == 3 * 10**12
    assert money.parse_price_per_million("0.000000000001") == 1


@given(st.integers(0, 10**30), st.integers(1, 10**20))
def test_a_quotient_is_rounded_up(numerator, denominator):
    assert 0 <= money.ceil_div(numerator, denominator) - Fraction(numerator, denominator) < 1
    assert 0 <= money.nano_from_atto(numerator) - Fraction(numerator, 10**9) < 1


@given(st.integers(0, MAX_NANO), st.integers(0, 10_000))
def test_a_fee_is_rounded_up_and_is_no_more_than_its_amount(amount, basis_points):
    assert 0 <= money.fee(amount, basis_points) - Fraction(amount * basis_points, 10_000) < 1
    assert money.fee(amount, basis_points) <= amount


def test_a_number_is_in_dollars():
    assert [money.number(nano) for nano in (0, 1, 1_500_000_000, -250_000_000)] == [0, 1e-9, 1.5, -0.25]
