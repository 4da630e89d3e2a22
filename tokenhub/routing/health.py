"""How deployments have done: attempts, failures and times, added up by the minute, without a word of any request (T118).

Times are kept as counts in buckets that grow by a third to a half, so that minutes and processes
can be added up and a percentile is right to about a fifth.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

MINUTE_MS: Final = 60_000
KEPT_MS: Final = 24 * 3_600_000
RECENT_MS: Final = 15 * MINUTE_MS
"""What counts as lately, for speeds and for ``tokenhub status``."""

BOUNDS_MS: Final = (
    *(25, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1_200, 1_600, 2_400, 3_200, 4_800, 6_400, 9_600, 12_800),
    *(19_200, 25_600, 38_400, 51_200, 76_800, 102_400, 153_600, 204_800, 409_600, 614_400, 1_800_000),
)
BOUNDS_PER_S: Final = (1, 2, 3, 5, 8, 12, 18, 25, 35, 50, 70, 100, 140, 200, 280, 400, 600, 1_000, 2_000, 10_000)
"""Of output tokens a second."""
_SPEED: Final = "t"
"""Before the bound of a speed, in the kept form."""


@dataclass(slots=True)
class Tally:
    """What was counted at one deployment in some time."""

    attempts: int = 0
    failures: int = 0
    latencies: dict[int, int] = field(default_factory=dict)
    """Upper bound of a bucket, ms until the first content (or a whole reply), to its count."""
    speeds: dict[int, int] = field(default_factory=dict)
    """Upper bound of a bucket, output tokens a second of a reply that ended, to its count."""

    def took(self, latency_ms: float) -> None:
        """Count how long one attempt took until its first content."""
        _count(self.latencies, BOUNDS_MS, latency_ms)

    def made(self, tokens: int, duration_ms: float) -> None:
        """Count how quick a reply that ended was."""
        if tokens > 0 and duration_ms > 0:
            _count(self.speeds, BOUNDS_PER_S, 1000 * tokens / duration_ms)

    def add(self, other: "Tally") -> None:
        """Add what another one holds."""
        self.attempts += other.attempts
        self.failures += other.failures
        for mine, others in ((self.latencies, other.latencies), (self.speeds, other.speeds)):
            for bound, count in others.items():
                mine[bound] = mine.get(bound, 0) + count

    @property
    def success_rate(self) -> float | None:
        """Attempts that did not fail, 0 to 1; None without an attempt."""
        return 1 - min(self.failures, self.attempts) / self.attempts if self.attempts else None

    def percentile_ms(self, share: float) -> int | None:
        """Return the time within which this share of attempts (0 to 1) had content; None when none had."""
        found = _percentile(self.latencies, BOUNDS_MS, share)
        return None if found is None else round(found)

    def throughput(self, share: float = 0.5) -> float | None:
        """Return the output tokens a second that this share of replies reached; None without a reply that ended."""
        found = _percentile(self.speeds, BOUNDS_PER_S, 1 - share)
        return None if found is None else round(found, 1)

    def dump(self) -> str:
        """Return latencies and speeds as the JSON that is kept."""
        kept = {str(bound): count for bound, count in sorted(self.latencies.items())}
        kept |= {f"{_SPEED}{bound}": count for bound, count in sorted(self.speeds.items())}
        return json.dumps(kept, separators=(",", ":"))


def load(attempts: int, failures: int, text: str) -> Tally:
    """Return a tally from its kept form."""
    kept: Mapping[str, int] = json.loads(text)
    speeds = {int(name[1:]): count for name, count in kept.items() if name.startswith(_SPEED)}
    latencies = {int(name): count for name, count in kept.items() if not name.startswith(_SPEED)}
    return Tally(attempts, failures, latencies, speeds)


def together(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    whole = Tally()
    for one in tallies:
        whole.add(one)
    return whole


def _count(counts: dict[int, int], bounds: Sequence[int], measured: float) -> None:
    bound = bounds[min(bisect_left(bounds, measured), len(bounds) - 1)]
    counts[bound] = counts.get(bound, 0) + 1


def _percentile(counts: Mapping[int, int], bounds: Sequence[int], share: float) -> float | None:
    """Return what this share of the counted is not above, evenly spread inside its bucket."""
    left = share * sum(counts.values())
    for bound in sorted(counts):
        count = counts[bound]
        if left <= count:
            place = bisect_left(bounds, bound)
            low = bounds[place - 1] if place else 0
            return low + (bound - low) * left / count
        left -= count
    return None
