"""Credit moves between the places of a lot and is never made or lost."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenhub.billing import lots
from tokenhub.billing.lots import NEVER_MS, LotState


def lot(lot_id: int, available: int, expires_at_ms: int = NEVER_MS, created_at_ms: int = 0) -> LotState:
    return LotState(lot_id, 1, available, 0, 0, 0, expires_at_ms, created_at_ms)


def whole(state: LotState) -> int:
    return state.available + state.held + state.spent + state.expired


def test_lots_are_drawn_in_order_of_expiry_then_age_then_id():
    late, soon, never, old, twin = lot(1, 1, 20, 5), lot(2, 1, 10, 9), lot(3, 1), lot(4, 1, 20, 4), lot(5, 1, 20, 5)
    assert [one.id for one in sorted([late, soon, never, old, twin], key=lots.draw_order)] == [2, 4, 1, 5, 3]


@example([0, 5, 0, 7, 3], 9)
@given(st.lists(st.integers(0, 50), max_size=6), st.integers(0, 300))
def test_draw_takes_the_amount_from_the_first_lots_that_have_it(amounts, amount):
    states = [lot(number, available) for number, available in enumerate(amounts)]
    if amount > sum(amounts):
        with pytest.raises(ArithmeticError):
            lots.draw(states, amount)
        return
    parts = lots.draw(states, amount)
    assert sum(part for _, part in parts) == amount == sum(state.held for state in states)
    assert all(part > 0 and states[lot_id].held == part for lot_id, part in parts)
    drained = [state.available == 0 for state in states[: parts[-1][0]]] if parts else []
    assert all(drained), "no later lot is touched while an earlier one has credit"
    assert [whole(state) for state in states] == amounts
    assert [state.id for state in states if state.touched] == [lot_id for lot_id, _ in parts]


@pytest.mark.parametrize(("now_ms", "back", "lost"), [(9, 60, 0), (10, 0, 60), (11, 0, 60)])
def test_rest_of_a_part_goes_back_or_is_lost_with_its_expired_lot(now_ms, back, lost):
    state = lot(1, 100, expires_at_ms=10)
    lots.draw([state], 100)
    assert lots.close(state, 100, 40, now_ms) == back
    assert (state.available, state.held, state.spent, state.expired) == (back, 0, 40, lost)


def test_expiry_takes_what_is_available_and_nothing_that_is_held():
    state = lot(1, 100)
    lots.draw([state], 30)
    assert lots.expire(state) == 70
    assert (state.available, state.held, state.expired) == (0, 30, 70)


def test_next_expiry_is_that_of_the_first_lot_with_credit():
    assert lots.next_expiry_ms([lot(1, 0, 5), lot(2, 1, 7), lot(3, 1)]) == 7
    assert lots.next_expiry_ms([lot(1, 0, 5), lot(3, 1)]) is None
    assert lots.next_expiry_ms([]) is None
