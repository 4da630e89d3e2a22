"""What is shown on a statement adds up, whatever the amounts beneath."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenhub.billing.statements import NANO_PER_CENT, Line, Section, Statement, apportion, shown

CENT = NANO_PER_CENT
AMOUNT = st.integers(-(10**13), 10**13)


@pytest.mark.parametrize(
    ("amounts", "total", "cents"),
    [
        ([], 0, []),
        ([2_500 * CENT], 2_500, [2_500]),
        ([CENT // 3, CENT // 3, CENT // 3 + 1], 1, [0, 0, 1]),
        ([CENT // 2, CENT // 2], 1, [1, 0]),
        ([-1, -1, -1], -1, [0, 0, -1]),
        ([-1, -1, -1], 0, [0, 0, 0]),
        ([2_500 * CENT, -CENT - 1], 2_498, [2_500, -2]),
        ([2_500 * CENT, -CENT - 1], 2_499, [2_500, -1]),
    ],
)
def test_amounts_are_rounded_by_largest_remainder(amounts, total, cents):
    assert apportion(amounts, total) == cents


@pytest.mark.parametrize(("amounts", "total"), [([], 1), ([CENT], 2), ([CENT], 0), ([CENT - 1], -1), ([1, 1], 3)])
def test_total_that_is_not_that_of_the_amounts_is_refused(amounts, total):
    with pytest.raises(ArithmeticError):
        apportion(amounts, total)


def made(opening: int, amounts: list[int], fees: list[tuple[int, int]]) -> Statement:
    lines = [Line(Section.OTHER, "x", amount) for amount in amounts]
    for model_fee, service_fee in fees:
        fee = -model_fee - service_fee
        lines.append(
            Line(Section.USAGE, "m", fee, model_fee_nano=-model_fee, service_fee_nano=-service_fee, requests=1)
        )
    closing = opening + sum(line.amount_nano for line in lines)
    return Statement("acme", "2026-11", 0, 1, True, opening, closing, 0, lines)


def is_within_a_cent(cents: int, amount_nano: int) -> bool:
    """Whether an amount that is shown apart is less than a cent from what it is, and exact where it is whole cents."""
    return abs(amount_nano - cents * CENT) < CENT and (amount_nano % CENT != 0 or cents * CENT == amount_nano)


@example(opening=-1, amounts=[1], fees=[(2, 69_999_998)])
@given(
    AMOUNT, st.lists(AMOUNT, max_size=8), st.lists(st.tuples(st.integers(0, 10**11), st.integers(0, 10**9)), max_size=5)
)
def test_shown_cents_lead_from_the_opening_to_the_closing_balance(opening, amounts, fees):
    found = shown(made(opening, amounts, fees))
    assert found.opening_cents + sum(line.cents for line in found.lines) == found.closing_cents
    assert found.opening_cents == opening // CENT
    for line in found.lines:
        if line.model_fee_nano is None:
            assert line.model_fee_cents is line.service_fee_cents is None
            assert is_within_a_cent(line.cents, line.amount_nano)
        else:
            assert is_within_a_cent(line.model_fee_cents, line.model_fee_nano)
            assert is_within_a_cent(line.service_fee_cents, line.service_fee_nano)
            assert line.cents == line.model_fee_cents + line.service_fee_cents
            assert line.model_fee_cents <= 0
            assert line.service_fee_cents <= 0


def test_lines_that_do_not_lead_to_the_closing_balance_are_refused():
    with pytest.raises(ArithmeticError, match="acme"):
        shown(Statement("acme", "2026-11", 0, 1, True, 5, 7, 0, [Line(Section.GRANTS, "x", 1)]))
