"""Where the UTC periods of spend limits begin."""

from datetime import UTC, datetime

import pytest

from tokenhub.accounts.accounts import SpendPeriod
from tokenhub.billing.periods import period_start_ms


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("period", "now", "start"),
    [
        ("day", "2026-11-22T23:59:59.999", "2026-11-22"),
        ("day", "2026-11-22T00:00:00", "2026-11-22"),
        ("week", "2026-11-22T23:59:59", "2026-11-16"),
        ("week", "2026-11-23T00:00:00", "2026-11-23"),
        ("week", "2024-02-29T12:00:00", "2024-02-26"),
        ("month", "2024-02-29T12:00:00", "2024-02-01"),
        ("month", "2026-09-30T23:59:59.999", "2026-09-01"),
        ("month", "2026-10-01T00:00:00", "2026-10-01"),
        ("month", "2026-12-31T23:59:59", "2026-12-01"),
        ("total", "2026-12-31T23:59:59", "1970-01-01"),
    ],
)
def test_spend_period_begins_at_its_utc_boundary(period, now, start):
    assert period_start_ms(SpendPeriod(period), ms(now)) == ms(start)
