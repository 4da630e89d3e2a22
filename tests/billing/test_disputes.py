"""What a dispute does to credit, as a table of steps: from, what Stripe says, to, and what is frozen, given free, taken."""

import pytest

from tokenhub.billing.disputes import Change, DisputeState, change, following, is_known, next_poll_ms, state_of

STEPS = """
-       warning_needs_response        flagged
-       warning_under_review          flagged
-       needs_response                frozen   freeze=20
-       under_review                  frozen   freeze=20
-       appeal_needs_response         frozen   freeze=20
-       appeal_under_review           frozen   freeze=20
-       some_new_word                 frozen   freeze=20
-       won                           won
-       warning_closed                won
-       lost                          lost     take=20
-       prevented,-2000               lost     take=20
-       prevented,0                   won
flagged warning_under_review          flagged
flagged needs_response                frozen   freeze=20
flagged warning_closed                won
flagged lost                          lost     take=20
frozen  needs_response                frozen   freeze=8
frozen  warning_needs_response        frozen   freeze=8
frozen  won                           won      freeze=-12
frozen  prevented,0                   won      freeze=-12
frozen  lost                          lost     take=20
frozen  prevented,-2000               lost     take=20
won     needs_response                won
won     under_review                  won
won     warning_needs_response        won
won     some_new_word                 won
won     won                           won
won     lost                          lost     take=20
won     appeal_needs_response         frozen   freeze=20
lost    needs_response                lost
lost    under_review                  lost
lost    warning_under_review          lost
lost    some_new_word                 lost
lost    appeal_needs_response         lost
lost    appeal_under_review           lost
lost    lost                          lost
lost    won                           won      back
"""
"""Twenty are contested; of a dispute that is frozen, twelve are frozen already."""


@pytest.mark.parametrize("step", STEPS.split("\n")[1:-1], ids=lambda step: "-".join(step.split()[:2]))
def test_s25_to_s29_a_dispute_follows_its_table(step):
    start, status, end, *effects = step.split()
    status, _, moved = status.partition(",")
    state = None if start == "-" else DisputeState(start)
    told = dict(effect.partition("=")[::2] for effect in effects)
    expected = Change(int(told.get("freeze", 0)), int(told.get("take", 0)), "back" in told)

    to = following(state, state_of(status, int(moved or 0)), status)

    assert to == end
    frozen = 12 if state is DisputeState.FROZEN else 0
    if state is to and to in (DisputeState.WON, DisputeState.LOST):
        assert change(state, to, 0, 20) == Change()
    else:
        assert change(state, to, frozen, 20) == expected


def test_what_is_frozen_beyond_what_is_still_contested_is_given_free():
    assert change(DisputeState.FROZEN, DisputeState.FROZEN, 20, 15) == Change(freeze_nano=-5)
    assert change(DisputeState.FROZEN, DisputeState.LOST, 20, 15) == Change(freeze_nano=-5, take_nano=15)


def test_only_words_that_are_not_known_need_a_person():
    assert not is_known("some_new_word")
    assert all(is_known(word) for word in ("won", "lost", "prevented", "warning_closed", "under_review"))


def test_an_open_dispute_is_asked_after_for_as_long_as_it_is_open():
    assert next_poll_ms(0, 0) == 30_000
    assert next_poll_ms(0, 3_600_000) == 3_600_000 + 900_000
    assert next_poll_ms(0, 90 * 86_400_000) == 90 * 86_400_000 + 6 * 3_600_000
    assert next_poll_ms(1_000_000, 4_600_000) == 4_600_000 + 900_000
    assert next_poll_ms(0, 3_600_000, awaits_holds=True) == 3_600_000 + 30_000
