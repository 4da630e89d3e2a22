"""How a deployment stands: circuits, cool-downs, failed credentials."""

import pytest

from tokenhub.routing.availability import Cooldown, Observed, Speed, cooled
from tokenhub.routing.circuit import Circuit, State
from tokenhub.routing.standing import WELL, Availability

T0 = 1_800_000_000_000
MIDDLE = 0.5
NAME = "openai/gpt-4o@global#1"


def test_nothing_known_is_well() -> None:
    view: Availability = Observed()
    assert view.state(NAME, 1, T0) is WELL


@pytest.mark.parametrize(
    ("circuit", "available", "code", "retry_ms"),
    [
        (Circuit(State.CLOSED, failures=3), True, "", 0),
        (Circuit(State.OPEN, 5, 1000, T0 + 800), False, "circuit_open", 800),
        (Circuit(State.OPEN, 5, 1000, T0), True, "half_open", None),
        (Circuit(State.HALF_OPEN, 5, 1000, T0, T0 + 50_000), False, "half_open", 50_000),
        (Circuit(State.HALF_OPEN, 5, 1000, T0, T0 - 1), True, "half_open", None),
    ],
)
def test_a_circuit_decides(circuit: Circuit, available: bool, code: str, retry_ms: int | None) -> None:
    standing = Observed({NAME: circuit}).state(NAME, 1, T0)
    assert (standing.available, standing.code) == (available, code)
    assert standing.retry_at_ms == (T0 + retry_ms if retry_ms else 0)


def test_a_credential_counts_for_all_its_deployments_and_before_any_circuit() -> None:
    view = Observed({NAME: Circuit(State.OPEN, 5, 1000, T0)}, {1: Cooldown(T0 + 500, 1000)}, {2})
    assert view.state(NAME, 1, T0).code == "cooling_down"
    assert view.state("openai/other@global#1", 1, T0).code == "cooling_down"
    assert view.state("openai/other@global#1", 1, T0 + 500).available
    assert view.state("openai/other@global#2", 2, T0).code == "credential_failed"
    assert view.state("openai/other@global#3", 3, T0).available


def test_speeds_are_told_with_the_standing_whatever_it_is() -> None:
    view = Observed({NAME: Circuit(State.OPEN, 5, 1000, T0 + 800)})
    view.know_speeds({NAME: Speed(250, 41.5), "other": Speed(90)})
    assert (view.state(NAME, 1, T0).latency_ms, view.state(NAME, 1, T0).throughput) == (250, 41.5)
    assert view.state("other", 1, T0).latency_ms == 90
    assert view.state("third", 1, T0).latency_ms is None


# ---- cool-downs


def test_the_provider_s_word_counts_within_a_second_and_a_day() -> None:
    assert cooled(None, T0, MIDDLE, asked_ms=17_000).until_ms == T0 + 17_000
    assert cooled(None, T0, MIDDLE, asked_ms=0).until_ms == T0 + 1_000
    assert cooled(None, T0, MIDDLE, asked_ms=10**12).until_ms == T0 + 86_400_000


def test_without_a_word_the_pause_doubles_from_one_to_sixty_seconds() -> None:
    one, now_ms, pauses = None, T0, []
    for _ in range(8):
        one = cooled(one, now_ms, MIDDLE, asked_ms=None)
        pauses.append((one.until_ms - now_ms) // 1000)
        now_ms = one.until_ms + 5
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert cooled(one, one.until_ms + 60_000, MIDDLE, asked_ms=None).backoff_ms == 1_000


def test_requests_that_are_throttled_together_count_once() -> None:
    one = cooled(None, T0, MIDDLE, asked_ms=None)
    assert cooled(one, T0 + 10, MIDDLE, asked_ms=None) is one
    assert cooled(one, T0 + 10, MIDDLE, asked_ms=1_000).until_ms == T0 + 1_010
    longer = cooled(one, T0 + 10, MIDDLE, asked_ms=30_000)
    assert longer.until_ms == T0 + 30_010
    assert cooled(longer, T0 + 20, MIDDLE, asked_ms=2_000) is longer


def test_a_clock_set_back_ends_a_cooldown() -> None:
    one = cooled(None, T0, MIDDLE, asked_ms=30_000)
    assert not one.is_over(T0 + 29_999)
    assert one.is_over(T0 - 3_600_000)
