"""I9: what stands in the lines of a closed day is what its requests were charged.

A row here is a group of requests, with what the day's lines say of it beside what the requests
themselves say, as long as they are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from tokenhub.billing.discrepancies import Discrepancy, differences


@dataclass(frozen=True, slots=True)
class DaySums:
    """A closed day and its lines."""

    day_ms: int
    closed: bool
    """Whether it lies before the first day that is open."""
    requests: int
    charged: int
    lines_requests: int
    lines_amount: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What a group of requests comes to."""

    requests: int
    model_fee: int
    service_fee: int
    shortfall: int


@dataclass(frozen=True, slots=True)
class LineSums:
    """The requests that share a day's lines: of one key, model and provider."""

    day_ms: int
    account_id: int
    key_id: str
    model: str
    provider: str
    lines: Counts
    requests: Counts


@dataclass(frozen=True, slots=True)
class LotDaySums:
    """What one lot paid on a day."""

    day_ms: int
    lot_id: int
    account_id: int
    lines: int
    requests: int


def check_day(day: DaySums) -> Iterator[Discrepancy]:
    """Return what is wrong with a closed day."""
    subject = f"day {_date(day.day_ms)}"
    yield from differences(
        "I9",
        subject,
        {
            "requests and its lines": (day.requests, day.lines_requests),
            "charged and its lines": (day.charged, day.lines_amount),
        },
    )
    if not day.closed:
        yield Discrepancy("I9", subject, "has lines although it is not closed")


def check_line(line: LineSums) -> Iterator[Discrepancy]:
    """Return how the lines of a group differ from its requests."""
    who = f"account {line.account_id}, key {line.key_id or '-'}, {line.model or '-'} at {line.provider or '-'}"
    said, summed = line.lines, line.requests
    return differences(
        "I9",
        f"day {_date(line.day_ms)}: {who}",
        {
            "number of requests and requests": (said.requests, summed.requests),
            "model fees and requests": (said.model_fee, summed.model_fee),
            "service fees and requests": (said.service_fee, summed.service_fee),
            "shortfalls and requests": (said.shortfall, summed.shortfall),
        },
    )


def check_lot_day(lot: LotDaySums) -> Iterator[Discrepancy]:
    """Return how the lines of a lot differ from what requests took from it."""
    subject = f"day {_date(lot.day_ms)}: lot {lot.lot_id} of account {lot.account_id}"
    return differences("I9", subject, {"lines and charges": (lot.lines, lot.requests)})


def _date(day_ms: int) -> str:
    return datetime.fromtimestamp(day_ms / 1000, UTC).date().isoformat()
