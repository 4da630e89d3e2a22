"""Dates and durations as operators write them."""

from datetime import UTC, datetime

import pytest

from tokenhub.operations import dates
from tokenhub.operations.dates import InvalidDate


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW = ms("2026-11-22T06:00:00")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30d", "2026-12-22T06:00:00"),
        ("90s", "2026-11-22T06:01:30"),
        ("15m", "2026-11-22T06:15:00"),
        ("1h", "2026-11-22T07:00:00"),
        ("2w", "2026-12-06T06:00:00"),
        ("2026-11-22", "2026-11-23T00:00:00"),
        ("2027-01-31", "2027-02-01T00:00:00"),
        ("2027-01-31T12:30Z", "2027-01-31T12:30:00"),
        ("2027-01-31T12:30:15Z", "2027-01-31T12:30:15"),
    ],
)
def test_a_moment_to_come_is_read(text: str, moment: str) -> None:
    assert dates.parse_future(text, NOW) == ms(moment)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7d", "2026-11-15T06:00:00"),
        ("2026-11-01", "2026-11-01T00:00:00"),
        ("2026-11-22T05:59:59Z", "2026-11-22T05:59:59"),
    ],
)
def test_a_moment_gone_by_is_read(text: str, moment: str) -> None:
    assert dates.parse_past(text, NOW) == ms(moment)


@pytest.mark.parametrize(
    "text",
    ["", "0d", "0s", "-1d", "1_0d", " 5d", "5 d", "٣d", "1.5h", "1e3s", "d", "5y", "2020-01-01", "2026-11-21", "2027-02-30", "2027-13-01",
     "27-01-01", "2027-1-1", "2027-01-31T12:30", "2027-01-31T12:30:00+01:00", "2027-01-31 12:30", "tomorrow", "9999-12-31", "999999999w", "२०२७-०१-३१"],
)  # fmt: skip
def test_t122_what_is_no_moment_to_come_is_refused(text: str) -> None:
    with pytest.raises(InvalidDate):
        dates.parse_future(text, NOW)


@pytest.mark.parametrize("text", ["2026-11-23", "2026-11-22T06:00:01Z", "yesterday", "1_0d", ""])
def test_t122_what_is_no_moment_gone_by_is_refused(text: str) -> None:
    with pytest.raises(InvalidDate):
        dates.parse_past(text, NOW)


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ("2026-11-22T06:00:00", 12, "2027-11-22T06:00:00"),
        ("2024-02-29T23:59:59", 12, "2025-02-28T23:59:59"),
        ("2026-01-31T00:00:00", 1, "2026-02-28T00:00:00"),
        ("2026-12-31T12:00:00", 2, "2027-02-28T12:00:00"),
        ("2027-12-15T12:00:00", 1, "2028-01-15T12:00:00"),
    ],
)
def test_calendar_months_keep_the_day_or_take_the_months_last(start: str, months: int, end: str) -> None:
    assert dates.months_later(ms(start), months) == ms(end)
