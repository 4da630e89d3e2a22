"""What a refund is worth and when it is refused: the amounts of notes on payments, section 9, by their numbers."""

from itertools import pairwise

import pytest

from tokenhub.billing.refunds import (
    WINDOW_MS,
    Purchase,
    Quote,
    RefundState,
    Refusal,
    claw_nano,
    credit_of,
    following,
    free_nano,
    next_poll_ms,
    quote,
    state_of,
)

MICRO = 1000
PAID_AT = 1_790_000_000_000
DAY = 86_400_000

L20 = (2000, 20_000_000)
LC = (14200, 20_000_000)
CNY20 = (2000, 2_807_648)
"""CNY 20.00 at 7.1234."""
TAXED = (2400, 20_000_000)
"""USD 20.00 and 4.00 of tax."""


def purchase(paid_total: int, granted: int, **changes: int | bool) -> Purchase:
    """A top-up of so many micro-USD of credit; other amounts are micro-USD too."""
    spent = changes.pop("spent", 0)
    values = {"free_nano": (granted - spent) * MICRO, "balance_nano": (granted - spent) * MICRO}
    values |= {name: value * MICRO if name.endswith("_nano") else value for name, value in changes.items()}
    return Purchase(
        **{
            "paid_at_ms": PAID_AT,
            "paid_total": paid_total,
            "granted_nano": granted * MICRO,
            "returned_minor": 0,
            "reversed_nano": 0,
            "disputed": False,
            **values,
        }
    )


@pytest.mark.parametrize(
    ("scenario", "bought", "spent", "minor", "credit"),
    [
        ("s17", LC, 0, 14200, 20_000_000),
        ("s17", LC, 7_500_000, 8875, 12_500_000),
        ("s18", CNY20, 1, 1999, 2_807_647),
        ("s18", CNY20, 1_000_000, 1287, 1_807_648),
        ("s18", L20, 3_333_333, 1666, 16_666_667),
        ("s19", L20, 5_000_000, 1500, 15_000_000),
        ("s37", TAXED, 0, 2400, 20_000_000),
        ("s37", TAXED, 10_000_000, 1200, 10_000_000),
    ],
)
def test_the_unused_part_goes_back_in_the_paid_currency(scenario, bought, spent, minor, credit):
    assert quote(purchase(*bought, spent=spent), None, PAID_AT) == Quote(minor, credit * MICRO)


@pytest.mark.parametrize(
    ("bought", "minor", "nano"),
    [
        (L20, 1, 10_000_000),
        (L20, 180, 1_800_000_000),
        (LC, 1, 1_408_451),
        (LC, 14200, 20_000_000_000),
        (CNY20, 1, 1_403_824),
        (CNY20, 1999, 2_806_244_176),
        (TAXED, 1, 8_333_334),
    ],
)
def test_an_amount_takes_what_it_had_bought_rounded_up(bought, minor, nano):
    assert quote(purchase(*bought), minor, PAID_AT) == Quote(minor, nano)
    assert credit_of(minor, bought[0], bought[1] * MICRO) == nano


def test_no_amount_that_is_allowed_takes_more_than_is_free():
    for bought in (L20, LC, CNY20, TAXED):
        for spent in (0, 1, 999_999, 1_807_648, bought[1] // 3, bought[1] - 1):
            left = purchase(*bought, spent=min(spent, bought[1] - 1))
            whole = quote(left, None, PAID_AT)
            if isinstance(whole, Quote):
                part = quote(left, whole.amount_minor, PAID_AT)
                assert isinstance(part, Quote)
                assert part.credit_nano <= whole.credit_nano == left.free_nano
                assert quote(left, whole.amount_minor + 1, PAID_AT) is Refusal.TOO_MUCH


@pytest.mark.parametrize(
    ("changes", "after_ms", "refusal"),
    [
        ({}, WINDOW_MS + 1, Refusal.TOO_LATE),
        ({"disputed": True}, 0, Refusal.DISPUTED),
        ({"spent": 20_000_000}, 0, Refusal.NOTHING_LEFT),
        ({"spent": 19_999_999}, 0, Refusal.NOTHING_LEFT),
        ({"balance_nano": 0}, 0, Refusal.NOTHING_LEFT),
        ({"balance_nano": -5}, 0, Refusal.NOTHING_LEFT),
        ({"reversed_nano": 20_000_000, "returned_minor": 2000}, 0, Refusal.NOTHING_LEFT),
    ],
)
def test_s22_s23_what_is_not_refunded_and_why(changes, after_ms, refusal):
    assert quote(purchase(*L20, **changes), None, PAID_AT + after_ms) is refusal


def test_s22_a_refund_is_allowed_through_the_last_moment_of_its_seven_days():
    assert WINDOW_MS == 7 * DAY
    assert quote(purchase(*L20), None, PAID_AT + 7 * DAY - 1000) == Quote(2000, 20_000_000_000)
    assert quote(purchase(*L20), None, PAID_AT + 7 * DAY) == Quote(2000, 20_000_000_000)
    assert quote(purchase(*L20), None, PAID_AT + 7 * DAY + 1000) is Refusal.TOO_LATE


def test_credit_that_is_spent_or_owed_or_was_taken_back_is_not_refunded():
    assert free_nano(purchase(*L20, balance_nano=-5)) == 0
    assert free_nano(purchase(*L20, reversed_nano=20_000_001)) == 0
    assert quote(purchase(*L20, free_nano=7_000_000), None, PAID_AT) == Quote(700, 7_000_000_000)
    assert quote(purchase(*L20, balance_nano=7_000_000), None, PAID_AT) == Quote(700, 7_000_000_000)
    assert quote(purchase(*L20, reversed_nano=15_000_000), None, PAID_AT) == Quote(500, 5_000_000_000)
    assert quote(purchase(*L20, returned_minor=1999), None, PAID_AT) == Quote(1, 10_000_000)


@pytest.mark.parametrize(
    ("scenario", "bought", "minor", "reversed_micro", "claw_micro"),
    [
        ("s5", L20, 2000, 0, 20_000_000),
        ("s24", L20, 500, 0, 5_000_000),
        ("s26", L20, 1200, 0, 12_000_000),
        ("s27", L20, 2000, 5_000_000, 15_000_000),
        ("s28", L20, 2000, 20_000_000, 0),
        ("s30", LC, 14200, 0, 20_000_000),
        ("more than was paid", L20, 99_999_999, 0, 20_000_000),
        ("more was taken back than bought", L20, 2000, 21_000_000, 0),
    ],
)
def test_what_went_back_without_us_is_taken_back_once(scenario, bought, minor, reversed_micro, claw_micro):
    assert claw_nano(minor, bought[0], bought[1] * MICRO, reversed_micro * MICRO) == claw_micro * MICRO


def test_refunds_of_any_parts_add_up_to_what_was_bought_and_no_more():
    for paid_total, granted in (L20, LC, CNY20, TAXED):
        for parts in ((666, 667, 667), (1, paid_total - 1), (paid_total, paid_total), (paid_total - 2, 1, 1)):
            taken = 0
            for minor in parts:
                taken += claw_nano(minor, paid_total, granted * MICRO, taken)
            assert taken <= granted * MICRO
            assert taken == granted * MICRO or sum(parts) < paid_total


STEPS = """
requested -> pending -> pending
requested -> requires_action -> pending
requested -> succeeded -> succeeded
requested -> failed -> failed
requested -> canceled -> failed
requested -> new_word -> pending
pending -> succeeded -> succeeded
pending -> failed -> failed
pending -> canceled -> failed
pending -> new_word -> pending
succeeded -> pending -> succeeded
succeeded -> requires_action -> succeeded
succeeded -> failed -> failed
succeeded -> canceled -> failed
failed -> pending -> failed
failed -> succeeded -> failed
failed -> canceled -> failed
rejected -> succeeded -> rejected
rejected -> failed -> rejected
"""


@pytest.mark.parametrize("step", STEPS.split("\n")[1:-1])
def test_s21_a_refund_only_goes_forward(step):
    state, status, after = step.split(" -> ")
    assert following(RefundState(state), state_of(status)) == after


def test_a_refund_is_asked_after_ever_more_rarely_and_watched_for_half_a_year():
    asked = [PAID_AT]
    while (when := next_poll_ms(RefundState.PENDING, PAID_AT, asked[-1])) is not None and when < PAID_AT + 3 * DAY:
        asked.append(when)
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert gaps == sorted(gaps)
    assert gaps[0] == 15_000
    assert max(gaps) == DAY // 4
    assert next_poll_ms(RefundState.PENDING, PAID_AT, PAID_AT + DAY // 2) == PAID_AT + DAY // 2 + DAY // 8
    assert next_poll_ms(RefundState.SUCCEEDED, PAID_AT, PAID_AT) == PAID_AT + DAY
    assert next_poll_ms(RefundState.SUCCEEDED, PAID_AT, PAID_AT + 10 * DAY) == PAID_AT + 20 * DAY
    assert next_poll_ms(RefundState.FAILED, PAID_AT, PAID_AT) is None
    assert next_poll_ms(RefundState.REJECTED, PAID_AT, PAID_AT) is None
