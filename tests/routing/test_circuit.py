"""The circuit as tables of steps, and as random walks that must keep its promises."""

import random
from dataclasses import replace

import pytest

from tokenhub.routing import circuit
from tokenhub.routing.circuit import Circuit, State, Window

T0 = 1_800_000_000_000
MIDDLE = 0.5
"""The draw whose pause is the back-off itself."""

TABLES = {
    "five failures in a row open it, for a second": """
        fail x4    closed    4
        +50
        fail       open      1000
        +999 due?  no
        +1 due?    yes
    """,
    "a reply that ended between them starts the row anew": """
        fail x4    closed    4
        end        closed    0
        fail x4    closed    4
    """,
    "content alone does not: the reply may still break": """
        fail x4    closed    4
        answer     closed    4
        fail       open      1000
    """,
    "the pause doubles with each probe that fails, to half a minute": """
        fail x5    open      1000
        +1000 probe half_open
        fail       open      2000
        +2000 probe half_open
        fail       open      4000
        +4000 probe half_open
        fail       open      8000
        +8000 probe half_open
        fail       open      16000
        +16000 probe half_open
        fail       open      30000
        +30000 probe half_open
        fail       open      30000
    """,
    "a probe that is answered closes it": """
        fail x5    open      1000
        +1000 probe half_open
        answer     closed    0
    """,
    "what flaps opens sooner and for longer": """
        fail x5    open      1000
        +1000 probe half_open
        answer     closed    0
        fail       closed    1
        fail       open      2000
        +2000 probe half_open
        answer     closed    0
        end        closed    0
        fail x2    open      4000
    """,
    "after two quiet minutes it is trusted as before": """
        fail x5    open      1000
        +1000 probe half_open
        answer     closed    0
        +120000
        fail x4    closed    4
        fail       open      1000
    """,
    "those who try the last one that is left do not lengthen its pause": """
        fail x5    open      1000
        fail x50   open      1000
        +1000 due? yes
    """,
    "a late answer closes an open circuit": """
        fail x5    open      1000
        answer     closed    0
    """,
    "a probe whose client left is the next one's turn at once": """
        fail x5    open      1000
        +1000 probe half_open
        due?       no
        leave      open
        due?       yes
        probe      half_open
        fail       open      2000
    """,
    "a probe that says nothing for a minute is another one's turn": """
        fail x5    open      1000
        +1000 probe half_open
        +59999 due? no
        +1 due?    yes
        probe      half_open
    """,
    "a lasting fault opens at once, for ten minutes, then for hours": """
        lasting    open      600000
        +600000 probe half_open
        lasting    open      1200000
        +1200000 probe half_open
        lasting    open      2400000
        +2400000 probe half_open
        lasting    open      4800000
        +4800000 probe half_open
        lasting    open      9600000
        +9600000 probe half_open
        lasting    open      19200000
        +19200000 probe half_open
        lasting    open      21600000
    """,
    "too many failures of a minute open it without a row": """
        often      open      1000
    """,
    "a clock set back makes no pause longer": """
        fail x5    open      1000
        -3600000 due? yes
        +3601000 probe half_open
        -3600000 due? yes
    """,
    "a process whose clock is behind sends no second probe": """
        fail x5    open      1000
        +1000 probe half_open
        -900 due?  no
        -1200 due? yes
    """,
    "a process whose clock is behind trusts no sooner": """
        fail x5    open      1000
        +1000 probe half_open
        answer     closed    0
        -900
        fail       closed    1
        fail       open      2000
    """,
}


def play(table: str) -> None:
    """Do a table's steps; what stands behind a step is the state then, and its failures or the rest of its pause."""
    one, now_ms = Circuit(), T0
    for line in filter(None, (line.strip() for line in table.splitlines())):
        words = line.split()
        if words[0][0] in "+-":
            now_ms += int(words.pop(0))
        if not words:
            continue
        step = words.pop(0)
        if step == "due?":
            assert ("yes" if one.is_due(now_ms) else "no") == words[0], line
            continue
        times = int(words.pop(0)[1:]) if words[0].startswith("x") else 1
        for _ in range(times):
            one = after(one, step, now_ms)
        assert one.state.value == words[0], line
        if len(words) > 1:
            shown = one.failures if one.state is State.CLOSED else one.open_until_ms - now_ms
            assert shown == int(words[1]), (line, one)


def after(one: Circuit, step: str, now_ms: int) -> Circuit:
    match step:
        case "fail" | "lasting" | "often":
            return circuit.failed(one, step, now_ms, MIDDLE, lasting=step == "lasting", often=step == "often")
        case "answer":
            return circuit.answered(one, now_ms)
        case "end":
            return circuit.completed(one)
        case "probe":
            assert one.is_due(now_ms), (one, now_ms)
            return circuit.claimed(one, now_ms)
        case "leave":
            return circuit.let_go(one, now_ms)
    raise AssertionError(step)


@pytest.mark.parametrize("table", TABLES)
def test_circuit_step_by_step(table: str) -> None:
    play(TABLES[table])


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.999])
def test_a_pause_is_a_quarter_shorter_or_longer(draw: float) -> None:
    one = Circuit()
    for _ in range(circuit.FAILURES_TO_OPEN):
        one = circuit.failed(one, "server", T0, draw)
    pause_ms = one.open_until_ms - T0
    assert pause_ms == int(1000 * (0.75 + 0.5 * draw))
    assert not one.is_due(one.open_until_ms - 1)
    assert one.is_due(one.open_until_ms)


def test_random_walks_keep_what_the_circuit_promises() -> None:
    """10 000 steps of anything, in any order: pauses stay bounded, states stay whole, and it can always come back."""
    chance = random.Random(404)
    for _ in range(100):
        one, now_ms = Circuit(), T0
        for _ in range(100):
            now_ms += chance.choice([0, 1, 300, 5_000, 40_000, 700_000])
            before = one
            step = chance.choice(["fail", "fail", "fail", "lasting", "often", "answer", "end", "probe", "leave"])
            if step == "probe" and not one.is_due(now_ms):
                continue
            one = after(one, step, now_ms)
            check(before, step, one, now_ms)
        if one.state is not State.CLOSED:
            now_ms = max(now_ms, one.retry_at_ms)
            assert one.is_due(now_ms)
            one = circuit.answered(circuit.claimed(one, now_ms), now_ms)
        assert one.state is State.CLOSED
        assert one.failures == 0 or one.failures < circuit.FAILURES_TO_OPEN


def check(before: Circuit, step: str, one: Circuit, now_ms: int) -> None:
    assert one.backoff_ms <= circuit.LONGEST_LASTING_BACKOFF_MS
    assert one.open_until_ms - now_ms <= circuit.LONGEST_LASTING_BACKOFF_MS * (1 + circuit.JITTER)
    assert (one.probe_until_ms > 0) == (one.state is State.HALF_OPEN)
    if one.state is State.CLOSED:
        assert one.retry_at_ms == 0
        assert not one.is_due(now_ms)
        assert one.failures < circuit.FAILURES_TO_OPEN
    if before.state is State.OPEN and step in ("fail", "lasting", "often"):
        assert one.open_until_ms == before.open_until_ms
    if before.state is State.HALF_OPEN and step in ("fail", "lasting", "often"):
        assert one.state is State.OPEN
        assert one.backoff_ms >= min(2 * before.backoff_ms, circuit.LONGEST_BACKOFF_MS)
    if before.state is State.CLOSED and one.state is State.OPEN and step == "fail":
        assert before.failures + 1 >= circuit.FAILURES_TO_REOPEN


def test_nothing_but_a_verdict_changes_a_circuit() -> None:
    well = Circuit()
    assert circuit.completed(well) is well
    assert circuit.answered(well, T0) is well
    assert not circuit.ends(well, T0)
    assert circuit.let_go(well, T0) is well


def test_the_reason_is_kept_after_closing_for_people_who_look_later() -> None:
    one = Circuit()
    for _ in range(5):
        one = circuit.failed(one, "timeout", T0, MIDDLE)
    assert circuit.answered(one, T0 + 1).last_error == "timeout"
    assert replace(one, last_error="").retry_at_ms == T0 + 1000


# ---- the window


def test_half_of_twenty_attempts_in_a_minute_are_too_many() -> None:
    window = Window()
    for number in range(20):
        window.attempt(T0)
        assert not window.is_bad(T0)
        if number % 2 == 0 and number < 18:
            window.failure(T0)
    assert not window.is_bad(T0)  # 9 of 20
    window.failure(T0)
    assert window.is_bad(T0)


def test_one_failure_of_twenty_attempts_is_hardly_any() -> None:
    window = Window()
    assert window.is_good(T0)
    window.attempt(T0)
    window.failure(T0)
    assert not window.is_good(T0)
    for _ in range(19):
        assert not window.is_good(T0)
        window.attempt(T0)
    assert window.is_good(T0)
    window.failure(T0)
    assert not window.is_good(T0)
    assert window.is_good(T0 + 60_000)


def test_few_attempts_say_nothing() -> None:
    window = Window()
    for _ in range(19):
        window.attempt(T0)
        window.failure(T0)
    assert not window.is_bad(T0)


@pytest.mark.parametrize(
    ("later_ms", "bad"), [(0, True), (49_000, True), (60_000, False), (10**9, False), (-10_000, False)]
)
def test_the_window_forgets_what_is_a_minute_old_or_of_another_clock(later_ms: int, bad: bool) -> None:
    window = Window()
    for _ in range(30):
        window.attempt(T0)
        window.failure(T0)
    assert window.is_bad(T0 + later_ms) is bad


def test_the_window_agrees_with_a_list_of_everything() -> None:
    """5 000 random attempts against the plain way of counting, slot by slot."""
    chance = random.Random(7)
    window, now_ms = Window(), T0
    events: list[tuple[int, bool]] = []
    verdicts = set()
    for _ in range(5_000):
        now_ms += chance.choice([0, 20, 900, 4_000])
        failed = chance.random() < (0.6 if now_ms // 300_000 % 2 else 0.2)
        window.attempt(now_ms)
        if failed:
            window.failure(now_ms)
        events.append((now_ms // 10_000, failed))
        kept = [bad for slot, bad in events if slot > now_ms // 10_000 - circuit.WINDOW_SLOTS]
        expected = len(kept) >= circuit.WINDOW_ATTEMPTS and sum(kept) >= len(kept) / 2
        assert window.is_bad(now_ms) is expected
        verdicts.add(expected)
    assert verdicts == {True, False}


def test_a_window_that_was_cleared_holds_nothing() -> None:
    window = Window()
    for _ in range(30):
        window.attempt(T0)
        window.failure(T0)
    window.clear()
    assert not window.is_bad(T0)


@pytest.mark.parametrize("state", [State.OPEN, State.HALF_OPEN])
def test_t81_an_answer_ends_only_the_state_in_which_its_attempt_began(state: State) -> None:
    one = Circuit(state, 5, 1_000, T0 + 1_000, 0, "server", T0)
    assert circuit.ends(one, T0)
    assert circuit.ends(one, T0 - 0.9), "clocks are read in whole milliseconds"
    assert not circuit.ends(one, T0 - 5)
