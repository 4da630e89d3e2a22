"""What the tables of payments do not say of a purse: moves that are refused, names of entries, and that credit is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.billing import lots, purse
from tokenhub.billing.journal import Entry, EntryKind
from tokenhub.billing.lots import GRACE_MS, NEVER_MS, LotState
from tokenhub.billing.purse import Purse, Taken

NOW = 1_000


def lot(lot_id: int, available: int = 0, expires_at_ms: int = NEVER_MS, **places: int) -> LotState:
    return LotState(lot_id, 1, available, 0, 0, 0, expires_at_ms, 0, **places)


def filled(*found: LotState, debt: int = 0) -> Purse:
    return Purse(1, NOW, debt, {one.id: one for one in found}, {})


def whole(state: LotState) -> int:
    return state.available + state.held + state.frozen + state.spent + state.expired + state.returned + state.repaid


amounts = st.integers(0, 50)
places = st.builds(
    lambda available, frozen, repaid, returned, expires_at_ms: {
        "available": available,
        "frozen": frozen,
        "repaid": repaid,
        "returned": returned,
        "expires_at_ms": expires_at_ms,
    },
    amounts,
    amounts,
    amounts,
    amounts,
    st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + 9, NEVER_MS]),
)


@given(st.lists(places, min_size=1, max_size=5), st.integers(0, 120), amounts)
def test_what_is_taken_comes_back_and_nothing_is_made_or_lost(rows, amount, frozen):
    one = filled(*(lot(number, **row) for number, row in enumerate(rows)))
    before = [whole(state) for state in one.lots.values()]
    purse.tidy(one)
    credit = one.available + sum(state.frozen for state in one.lots.values())
    one.entries.clear()
    taken = purse.take(one, one.lots[0], amount, "du", EntryKind.DISPUTE, frozen=frozen)
    assert taken.own_nano + taken.others_nano + taken.debt_nano == amount
    assert one.debt == taken.debt_nano == -min(one.available, 0)
    assert purse.taken_of(one.entries, 0) == taken
    assert len({entry.ref for entry in one.entries}) == len(one.entries)
    assert purse.put_back(one, list(one.entries)) == amount
    assert all(entry.amount_nano for entry in one.entries)
    purse.tidy(one)
    assert one.debt == 0
    assert one.available + sum(state.frozen for state in one.lots.values()) == credit
    assert [whole(state) for state in one.lots.values()] == before


@given(st.lists(places, max_size=5), st.integers(0, 200))
def test_tidy_purse_has_nothing_that_has_expired_and_nothing_beside_a_debt(rows, debt):
    one = filled(*(lot(number, **row) for number, row in enumerate(rows)), debt=debt)
    assert one.available + debt == sum(row["available"] for row in rows)
    lost = purse.tidy(one)
    open_lots = [state for state in one.lots.values() if state.available]
    assert all(state.expires_at_ms > NOW for state in open_lots)
    assert not (one.debt and open_lots)
    assert lost == sum(entry.kind is EntryKind.EXPIRY for entry in one.entries)
    of_debt = [entry.amount_nano for entry in one.entries if entry.lot_id is None]
    assert sum(of_debt) == debt - one.debt
    assert all(entry.amount_nano for entry in one.entries)
    assert purse.tidy(one) == 0


def test_debt_is_repaid_by_the_lot_that_expires_first_under_a_new_name_each_time():
    early, late = lot(1, 5, NOW + 1), lot(2, 5, NOW + 2)
    one = filled(late, early, debt=3)
    purse.tidy(one)
    assert (early.repaid, late.repaid, one.debt) == (3, 0, 0)
    one.debt = 4
    purse.tidy(one)
    assert (early.repaid, late.repaid, one.debt) == (5, 2, 0)
    refs = [(entry.lot_id, entry.ref, entry.amount_nano) for entry in one.entries]
    assert refs == [
        (1, "lot-1/1", -3),
        (None, "lot-1/1/debt", 3),
        (1, "lot-1/2", -2),
        (None, "lot-1/2/debt", 2),
        (2, "lot-2/1", -2),
        (None, "lot-2/1/debt", 2),
    ]


def test_frozen_credit_is_taken_first_and_no_more_of_it_than_is_needed():
    one = filled(lot(1, 5, frozen=10), lot(2, 5))
    assert purse.take(one, one.lots[1], 7, "du", EntryKind.DISPUTE, frozen=10) == Taken(7, 0, 0)
    assert (one.lots[1].available, one.lots[1].frozen) == (5, 3)
    assert purse.take(one, one.lots[1], 9, "du2", EntryKind.DISPUTE, frozen=2) == Taken(7, 2, 0)
    assert (one.lots[1].available, one.lots[1].frozen, one.lots[2].available) == (0, 1, 3)


def test_frozen_credit_is_left_alone_by_what_is_not_its_dispute():
    one = filled(lot(1, 5, frozen=10))
    assert purse.take(one, one.lots[1], 7, "ru", EntryKind.REFUND) == Taken(5, 0, 2)
    assert (one.lots[1].available, one.lots[1].frozen, one.debt) == (0, 10, 2)


def test_next_expiry_is_that_of_the_first_lot_with_credit():
    assert filled(lot(1, 0, 5), lot(2, 3, NOW + 9), lot(3, 3)).next_expiry_ms == NOW + 9
    assert filled().next_expiry_ms is None


@pytest.mark.parametrize(("debt", "left", "given_back"), [(5, 2, {}), (3, 0, {}), (1, 0, {2: 2}), (0, 0, {2: 2, 1: 1})])
def test_a_debt_that_is_undone_gives_back_what_was_repaid_too_much_and_no_more(debt, left, given_back):
    one = filled(lot(1, repaid=4, expires_at_ms=NOW + 1), lot(2, repaid=2, expires_at_ms=NOW + 2), debt=debt)
    assert purse.put_back(one, [Entry(1, None, EntryKind.DISPUTE, "du/debt", -3, NOW)]) == 3
    assert one.debt == left
    assert {state.id: state.available for state in one.lots.values() if state.touched} == given_back
    back = [(entry.lot_id, entry.amount_nano) for entry in one.entries if entry.lot_id is not None]
    assert back == list(given_back.items())


@pytest.mark.parametrize(
    "move",
    [
        lambda one: lots.repay(one, 6),
        lambda one: lots.take_back(one, 6),
        lambda one: lots.take_back(one, 1, frozen=3),
        lambda one: lots.unfreeze(one, 3, NOW),
    ],
)
def test_no_move_takes_more_than_there_is(move):
    one = lot(1, 5, frozen=2)
    with pytest.raises(ArithmeticError, match="lot 1 has 5 available and 2 frozen"):
        move(one)
    assert (one.available, one.frozen, one.returned, one.repaid, one.touched) == (5, 2, 0, 0, False)


@pytest.mark.parametrize(
    ("expires_at_ms", "given_back", "thawed"),
    [
        (NOW - 5, NOW + GRACE_MS, NOW + GRACE_MS),
        (NOW, NOW + GRACE_MS, NOW + GRACE_MS),
        (NOW + 5, NOW + GRACE_MS, NOW + 5),
        (NOW + GRACE_MS + 5, NOW + GRACE_MS + 5, NOW + GRACE_MS + 5),
        (NEVER_MS, NEVER_MS, NEVER_MS),
    ],
)
def test_what_comes_back_lasts_a_while_and_what_was_only_frozen_its_own_time(expires_at_ms, given_back, thawed):
    returned, frozen = lot(1, 0, expires_at_ms, returned=5), lot(2, 0, expires_at_ms, frozen=5)
    repaid = lot(3, 0, expires_at_ms, repaid=5)
    lots.give_back(returned, 5, NOW)
    lots.unrepay(repaid, 5, NOW)
    lots.unfreeze(frozen, 5, NOW)
    assert (returned.expires_at_ms, repaid.expires_at_ms, frozen.expires_at_ms) == (given_back, given_back, thawed)
    assert (returned.available, repaid.available, frozen.available) == (5, 5, 5)
