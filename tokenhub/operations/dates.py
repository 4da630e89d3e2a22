"""Dates and durations as operators write them: ``2027-01-31``, ``2027-01-31T12:00:00Z``, ``30d``.

Everything is UTC. A date alone means its whole day: what expires on it is valid through it,
what is asked for since it includes it.
"""

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from tokenhub.billing.periods import DAY_MS

_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS}
_DURATION = re.compile(r"(0|[1-9][0-9]{0,8})([smhdw])", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z", re.ASCII)
_LATEST_MS: Final = 32_503_680_000_000
"""The year 3000: anything later is a slip of the finger."""


class InvalidDate(ValueError):
    """A text that is no date, moment or duration as TokenHub accepts it; the message says why."""


def parse_duration(text: str) -> int:
    """Return the milliseconds in a whole number with a unit: ``90s``, ``15m``, ``1h``, ``30d``, ``2w``."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidDate(f"{text[:40]!r} is not a duration such as 90s, 15m, 1h, 30d or 2w.")
    return int(match[1]) * _UNIT_MS[match[2]]


def parse_future(text: str, now_ms: int) -> int:
    """Return a moment to come: the end of a date, a moment, or a duration from now."""
    if _DURATION.fullmatch(text):
        moment_ms = now_ms + parse_duration(text)
    else:
        moment_ms = _parse_moment(text) + (DAY_MS if _DATE.fullmatch(text) else 0)
    if moment_ms <= now_ms:
        raise InvalidDate(f"{text[:40]!r} is not in the future.")
    if moment_ms > _LATEST_MS:
        raise InvalidDate(f"{text[:40]!r} is beyond the year 3000.")
    return moment_ms


def parse_past(text: str, now_ms: int) -> int:
    """Return a moment gone by: the start of a date, a moment, or a duration before now."""
    if _DURATION.fullmatch(text):
        return max(0, now_ms - parse_duration(text))
    moment_ms = _parse_moment(text)
    if moment_ms > now_ms:
        raise InvalidDate(f"{text[:40]!r} is in the future.")
    return moment_ms


def _parse_moment(text: str) -> int:
    if not (_DATE.fullmatch(text) or _MOMENT.fullmatch(text)):
        raise InvalidDate(
            f"{text[:40]!r} is not a date such as 2027-01-31 or 2027-01-31T12:00:00Z, or a duration such as 30d."
        )
    try:
        moment = datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidDate(f"{text[:40]!r} is not in the calendar: {error}.") from error
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def months_later(moment_ms: int, months: int) -> int:
    """Return the same day and time some calendar months on; the last day of a shorter month."""
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    index = moment.year * 12 + moment.month - 1 + months
    year, month = index // 12, index % 12 + 1
    day = min(moment.day, calendar.monthrange(year, month)[1])
    later = moment.replace(year=year, month=month, day=day)
    return moment_ms + (later - moment) // timedelta(milliseconds=1)
