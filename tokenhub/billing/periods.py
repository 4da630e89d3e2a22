"""The UTC periods in which spending is counted: a day, a week from Monday, a month, or all time."""

from datetime import date

from tokenhub.accounts.accounts import SpendPeriod

DAY_MS = 86_400_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_EPOCH_WEEKDAY = date(1970, 1, 1).weekday()


def period_start_ms(period: SpendPeriod, now_ms: int) -> int:
    """Return when the UTC period of a spend limit began: midnight, Monday, the first of the month; 0 for total."""
    return _PERIODS[period](now_ms)


def counted_from_ms(period: SpendPeriod, start_ms: int, now_ms: int) -> int:
    """Return from when a spend limit counts that has counted from ``start_ms``; a clock set back starts no period anew."""
    return max(start_ms, period_start_ms(period, now_ms))


def _total_start(_now_ms: int) -> int:
    return 0


def _day_start(now_ms: int) -> int:
    return now_ms - now_ms % DAY_MS


def _week_start(now_ms: int) -> int:
    days = now_ms // DAY_MS
    return (days - (days + _EPOCH_WEEKDAY) % 7) * DAY_MS


def month_start_ms(now_ms: int) -> int:
    """Return the first millisecond of the UTC month."""
    today = date.fromordinal(_EPOCH_ORDINAL + now_ms // DAY_MS)
    return (today.replace(day=1).toordinal() - _EPOCH_ORDINAL) * DAY_MS


_PERIODS = {
    SpendPeriod.TOTAL: _total_start,
    SpendPeriod.DAY: _day_start,
    SpendPeriod.WEEK: _week_start,
    SpendPeriod.MONTH: month_start_ms,
}
