"""Rate windows against a log of every request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.accounts.limits import BUCKETS, TOLERANCE_S, RateState, RateWindow

TAG = b"thisboot"


def at(window: RateWindow, now_s: int) -> RateWindow:
    """The window as another process reads it from the row at a later second."""
    return RateWindow.load(window.dump(), TAG, now_s)


@given(
    limit=st.integers(1, 5),
    pauses=st.lists(st.sampled_from([0, 1, 3, 4, 60, 200, 236, 240, 243, 244, 300]), max_size=60),
)
def test_t37_never_more_than_the_limit_in_any_sixty_seconds_and_at_most_one_second_too_strict(limit, pauses):
    """Times are in quarters of a second, so that requests fall anywhere inside one."""
    window, now, admitted = RateWindow(TAG, 0), 0, []
    for pause in pauses:
        now += pause
        window = at(window, now // 4)
        wait_s = window.wait_s(limit)
        taken = window.admit(limit)
        assert taken == (wait_s == 0)
        if taken:
            admitted.append(now)
            assert sum(moment > now - 60 * 4 for moment in admitted) <= limit
        else:
            assert sum(moment > now - 61 * 4 for moment in admitted) >= limit
            assert at(window, now // 4 + wait_s).wait_s(limit) == 0, "Retry-After is long enough"
            assert at(window, now // 4 + wait_s - 1).wait_s(limit) == 1, "and not too long"


def test_window_survives_its_blob_unchanged():
    window = RateWindow(TAG, 1000)
    window.count()
    assert at(window, 1000).dump() == window.dump()
    assert len(window.dump()) == 16 + 4 * BUCKETS


@pytest.mark.parametrize("blob", [None, b"", b"short", b"x" * 260])
def test_window_that_is_missing_or_of_another_clock_starts_empty(blob):
    assert RateWindow.load(blob, TAG, 5).state(60) == RateState(60, 60, 0)


def test_state_tells_what_remains_and_when_all_is_free_again():
    window = RateWindow(TAG, 100)
    window.count()
    window.count()
    assert window.state(60) == RateState(60, 58, 61)
    assert at(window, 130).state(60) == RateState(60, 58, 31)
    assert at(window, 161).state(60) == RateState(60, 60, 0)


def test_lowered_limit_waits_until_enough_old_requests_are_gone():
    window = RateWindow(TAG, 100)
    window.count()
    window = at(window, 110)
    window.count()
    assert window.wait_s(2) == 51
    assert window.wait_s(1) == 61
    assert window.state(1).remaining == 0


def test_t99_late_reader_counts_in_the_second_the_window_has_reached():
    window = RateWindow(TAG, 100)
    window.count()
    late = at(window, 98)
    assert late.wait_s(1) == 63
    late.count()
    assert at(late, 160).wait_s(1) == 1
    assert at(late, 161).wait_s(1) == 0


@pytest.mark.parametrize("back_s", [TOLERANCE_S + 1, 3600])
def test_t99_clock_set_back_neither_empties_nor_freezes_a_window(back_s):
    window = RateWindow(TAG, 10_000)
    window.count()
    window = at(window, 10_030)
    window.count()
    behind = at(window, 10_030 - back_s)
    assert behind.state(2) == RateState(2, 0, 61)
    assert behind.wait_s(2) == 31
    assert at(behind, 10_030 - back_s + 31).wait_s(2) == 0


def test_t99_clock_set_forward_empties_a_window():
    window = RateWindow(TAG, 10_000)
    window.count()
    assert at(window, 13_600).state(1) == RateState(1, 1, 0)
