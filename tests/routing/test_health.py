"""Counts of attempts and times: adding up, percentiles, the kept form."""

import random
import statistics

import pytest

from tokenhub.routing import health
from tokenhub.routing.health import BOUNDS_MS, Tally


def test_a_percentile_is_right_to_a_quarter() -> None:
    chance = random.Random(3)
    tally, times = Tally(), []
    for _ in range(5_000):
        time_ms = chance.lognormvariate(6.5, 0.8)
        tally.took(time_ms)
        times.append(time_ms)
    cuts = statistics.quantiles(times, n=100)
    for share in (0.5, 0.75, 0.95, 0.99):
        found = tally.percentile_ms(share)
        assert found == pytest.approx(cuts[round(share * 100) - 1], rel=0.25)


def test_without_a_reply_there_is_no_percentile_rate_or_throughput() -> None:
    empty = Tally()
    assert (empty.percentile_ms(0.5), empty.success_rate, empty.throughput()) == (None, None, None)


@pytest.mark.parametrize("time_ms", [0, 0.4, 25, 26, 10**9])
def test_every_time_has_a_bucket(time_ms: float) -> None:
    tally = Tally()
    tally.took(time_ms)
    (bound,) = tally.latencies
    assert bound in BOUNDS_MS
    assert time_ms <= bound or bound == BOUNDS_MS[-1]
    assert tally.percentile_ms(1.0) == bound


def test_tallies_add_up_and_survive_being_kept() -> None:
    chance, parts = random.Random(5), []
    for _ in range(20):
        part = Tally(chance.randrange(50), chance.randrange(10), {}, {})
        for _ in range(part.attempts):
            part.took(chance.uniform(1, 20_000))
            part.made(chance.randrange(1, 900), chance.uniform(1, 20_000))
        parts.append(part)
    whole = health.together(parts)
    assert whole.attempts == sum(part.attempts for part in parts)
    assert sum(whole.latencies.values()) == sum(whole.speeds.values()) == whole.attempts
    assert health.load(whole.attempts, whole.failures, whole.dump()) == whole
    assert health.load(3, 1, "{}") == Tally(3, 1)


def test_rates() -> None:
    assert Tally(10, 3).success_rate == pytest.approx(0.7)
    assert Tally(1, 2).success_rate == 0.0  # an attempt that showed content and broke in another minute


def test_a_throughput_is_what_a_share_of_the_replies_reaches() -> None:
    tally = Tally()
    for speed in (10, 20, 30, 60, 90):
        tally.made(speed * 3, 3_000)
    tally.made(0, 5)
    assert sum(tally.speeds.values()) == 5
    found = [tally.throughput(share) or 0 for share in (0.01, 0.5, 0.99)]
    assert found == sorted(found, reverse=True)
    assert 8 <= found[2] <= 12
    assert 25 <= found[1] <= 35
