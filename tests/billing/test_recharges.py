"""When an account buys credit by itself: the brakes one by one, and what a refused card leads to."""

from dataclasses import replace

import pytest

from tokenhub.billing.recharges import (
    COOLDOWN_MS,
    Claim,
    Decline,
    Recharge,
    RechargeState,
    Wait,
    claim,
    why_suspended,
    with_attempt,
)

MONTH = 1_788_220_800_000
"""1 September 2026."""
NOW = 1_790_000_000_000
"""21 September 2026."""
OCTOBER = 1_790_812_800_000
USD = 10**9
SET = Recharge(RechargeState.ON, 2000, 5 * USD, 5000)


def due(recharge=SET, available=4 * USD, *, has_card=True, under_way=False, now_ms=NOW):
    return claim(recharge, available, has_card=has_card, under_way=under_way, now_ms=now_ms)


def test_a_balance_below_the_threshold_is_recharged():
    assert due() == Claim(2000, MONTH, 2000)
    assert due(available=5 * USD - 1) == Claim(2000, MONTH, 2000)
    assert due(available=-3 * USD) == Claim(2000, MONTH, 2000)


def test_settings_that_are_new_have_counted_nothing():
    assert (SET.declines, SET.month_total_minor, SET.attempted_at_ms) == (0, 0, None)


@pytest.mark.parametrize(
    ("changes", "arguments", "wait"),
    [
        ({"state": RechargeState.OFF}, {}, Wait.NOT_ON),
        ({"state": RechargeState.SUSPENDED}, {}, Wait.NOT_ON),
        ({}, {"has_card": False}, Wait.NO_CARD),
        ({}, {"available": 5 * USD}, Wait.ENOUGH),
        ({}, {"under_way": True}, Wait.UNDER_WAY),
        ({"attempted_at_ms": NOW - COOLDOWN_MS + 1}, {}, Wait.COOLDOWN),
        ({"attempted_at_ms": NOW}, {}, Wait.COOLDOWN),
        ({"month_start_ms": MONTH, "month_total_minor": 3001}, {}, Wait.CAP),
    ],
)
def test_each_brake_alone_holds_it(changes, arguments, wait):
    assert due(replace(SET, **changes), **arguments) is wait


def test_a_months_attempts_may_reach_its_cap():
    assert due(replace(SET, month_start_ms=MONTH, month_total_minor=3000)) == Claim(2000, MONTH, 5000)


def test_the_next_attempt_may_be_made_an_hour_after_the_last():
    assert due(replace(SET, attempted_at_ms=NOW - 3_599_999)) is Wait.COOLDOWN
    assert due(replace(SET, attempted_at_ms=NOW - 3_600_000)) == Claim(2000, MONTH, 2000)


def test_s35_a_cap_of_50_allows_two_recharges_of_20_in_a_month_and_two_in_the_next():
    recharge, made = SET, []
    for now_ms in (
        NOW,
        NOW + COOLDOWN_MS,
        NOW + 2 * COOLDOWN_MS,
        OCTOBER,
        OCTOBER + COOLDOWN_MS,
        OCTOBER + 5 * COOLDOWN_MS,
    ):
        found = due(recharge, now_ms=now_ms)
        made.append(isinstance(found, Claim))
        if isinstance(found, Claim):
            recharge = replace(
                recharge,
                attempted_at_ms=now_ms,
                month_start_ms=found.month_start_ms,
                month_total_minor=found.month_total_minor,
            )
    assert made == [True, True, False, True, True, False]


def test_an_attempt_that_is_known_only_now_counts_in_the_month_it_was_made_in():
    september = replace(SET, month_start_ms=MONTH, month_total_minor=2000)
    found = with_attempt(september, 1500, NOW, NOW + 1)
    assert (found.month_start_ms, found.month_total_minor, found.attempted_at_ms) == (MONTH, 3500, NOW)
    late = with_attempt(september, 1500, OCTOBER - 1, OCTOBER)
    assert (late.month_start_ms, late.month_total_minor, late.attempted_at_ms) == (OCTOBER, 0, OCTOBER - 1)
    new = with_attempt(september, 1500, OCTOBER, OCTOBER)
    assert (new.month_start_ms, new.month_total_minor, new.attempted_at_ms) == (OCTOBER, 1500, OCTOBER)


def test_an_attempt_that_is_known_only_now_never_moves_the_last_one_back():
    assert with_attempt(replace(SET, attempted_at_ms=NOW), 1, NOW - 1, NOW).attempted_at_ms == NOW
    assert with_attempt(replace(SET, attempted_at_ms=NOW - 1), 1, NOW, NOW).attempted_at_ms == NOW


@pytest.mark.parametrize("word", ["authentication_required", "lost_card", "stolen_card", "fraudulent"])
def test_s35_a_card_that_must_not_be_tried_again_suspends_at_once(word):
    by_code = why_suspended(Decline(word), 1)
    by_decline = why_suspended(Decline("card_declined", word, "try_again_later"), 1)
    assert by_code == by_decline == f"the card was refused: {word}"


def test_s35_the_banks_advice_suspends_at_once():
    advised = why_suspended(Decline("card_declined", "generic_decline", "do_not_try_again"), 1)
    assert advised == "the card was refused: generic_decline"


@pytest.mark.parametrize(
    ("in_a_row", "decline", "reason"),
    [
        (1, Decline("card_declined", None, "do_not_try_again"), "the card was refused: card_declined"),
        (1, Decline(None, None, "do_not_try_again"), "the card was refused: do_not_try_again"),
        (3, Decline("card_declined", "expired_card"), "the card was refused 3 times: expired_card"),
        (3, Decline("card_declined"), "the card was refused 3 times: card_declined"),
        (3, Decline(), "the card was refused 3 times: declined"),
        (1, Decline("lost_card", suspends="the card was removed"), "the card was removed"),
    ],
)
def test_a_suspension_says_the_most_that_is_known_of_the_decline(in_a_row, decline, reason):
    assert why_suspended(decline, in_a_row) == reason


def test_s35_three_other_declines_in_a_row_suspend():
    decline = Decline("card_declined", "insufficient_funds")
    assert [bool(why_suspended(decline, in_a_row)) for in_a_row in (1, 2, 3)] == [False, False, True]
