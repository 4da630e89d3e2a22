"""What was used and charged, added up by the database: closed days by their lines, others by their requests.

``installation.closed_until`` is the seam between the two, so each request is counted once,
whenever it is closed or deleted. Tokens are known only of requests that are still kept.
"""

from dataclasses import dataclass, fields
from datetime import date
from typing import Any, Final, Literal

from tokenhub.billing.daily import NO_LOT, FeeKind
from tokenhub.billing.periods import DAY_MS
from tokenhub.store import days
from tokenhub.store.database import Database

By = Literal["day", "model", "key", "provider", "account", "session"]


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What one group used and was charged. Shortfalls are the operator's and no part of the total."""

    group: str
    requests: int
    charged: int
    """Requests that cost something."""
    prompt_tokens: int | None
    """Of the requests that are still kept; None when none is."""
    output_tokens: int | None
    model_fee_nano: int
    service_fee_nano: int
    total_nano: int
    shortfall_nano: int
    cached_tokens: int | None = None
    """Prompt tokens that were read from a provider's cache; like ``saved_nano``, of the requests that are still kept."""
    saved_nano: int | None = None
    """What these would have cost more as fresh input, in model fees."""


@dataclass(slots=True)
class _Sums:
    """The sums of a group while they are made, in the order of the queries."""

    requests: int = 0
    charged: int = 0
    model_fee: int = 0
    service_fee: int = 0
    shortfall: int = 0
    kept: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    saved: int = 0

    def add(self, amounts: list[int]) -> None:
        for field, amount in zip(fields(self), amounts, strict=False):
            setattr(self, field.name, getattr(self, field.name) + amount)


_GROUPS: Final[dict[By, str]] = {
    "day": f"{{moment}} / {DAY_MS}",
    "model": "model",
    "key": "key_id",
    "provider": "COALESCE(provider, '')",
    "account": "account_id",
    "session": "session",
}
_PROMPT: Final = "input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens + audio_input_tokens + image_input_tokens"
_OUTPUT: Final = "output_tokens + image_output_tokens + unknown_tokens"
_EPOCH: Final = date(1970, 1, 1).toordinal()

_OF_LINES: Final = (
    f"SUM(requests), SUM(CASE WHEN lot_id <> {NO_LOT} THEN requests ELSE 0 END), "
    f"SUM(CASE WHEN kind = '{FeeKind.MODEL.value}' THEN amount ELSE 0 END), "
    f"SUM(CASE WHEN kind = '{FeeKind.SERVICE.value}' THEN amount ELSE 0 END), SUM(shortfall)"
)
_OF_REQUESTS: Final = (
    "SUM(is_open), SUM(CASE WHEN charged > 0 THEN is_open ELSE 0 END), SUM(is_open * model_fee), "
    "SUM(is_open * service_fee), SUM(is_open * shortfall), "
    f"SUM(is_kept), SUM(is_kept * ({_PROMPT})), SUM(is_kept * ({_OUTPUT})), "
    "SUM(is_kept * cache_read_tokens), SUM(is_kept * saved)"
)


def usage(
    database: Database, by: By, *, account_id: int | None = None, since_ms: int = 0, until_ms: int | None = None
) -> list[UsageLine]:
    """Add up requests by UTC day (``2026-11-22``), model, key id, provider, account id or session, in that order.

    A session is the hex of its MAC, or nothing where a request had none; it is known, with all of its sums, only
    of requests that are still kept.

    ``since_ms`` counts from the start of its day, ``until_ms`` ends at the start of its day: lines are
    of whole days. Requests that were refused before they had a hold are in no line, whether they are kept or not.
    """
    since_ms = days.day_of(since_ms)
    groups: dict[Any, _Sums] = {}
    with database.read():
        found = [] if by == "session" else _of_lines(database, by, account_id, since_ms, until_ms)
        found += _of_requests(database, by, account_id, since_ms, until_ms)
    for group, *amounts in found:
        if by == "session":
            group = bytes(group or b"").hex()
        groups.setdefault(group, _Sums()).add(amounts)
    return [_line(by, group, sums) for group, sums in sorted(groups.items()) if sums.requests]


def _of_lines(
    database: Database, by: By, account_id: int | None, since_ms: int, until_ms: int | None
) -> list[tuple[Any, ...]]:
    group = _GROUPS[by].format(moment="day")
    where, params = _span("day", account_id, since_ms, until_ms)
    return database.rows(
        f"SELECT {group}, {_OF_LINES} FROM daily_lines WHERE {where} AND {days.CLOSED} GROUP BY 1", params
    )


def _of_requests(
    database: Database, by: By, account_id: int | None, since_ms: int, until_ms: int | None
) -> list[tuple[Any, ...]]:
    """Add up open days whole, and the tokens of closed ones that are still there; sessions are in no line."""
    kept_ms = days.kept_since(database)
    open_ms = kept_ms if by == "session" else days.closed_until(database)
    group = _GROUPS[by].format(moment="ended_at")
    where, params = _span("ended_at", account_id, max(since_ms, min(open_ms, kept_ms)), until_ms)
    marked = (
        "SELECT *, CASE WHEN ended_at >= ? THEN 1 ELSE 0 END AS is_open, "
        f"CASE WHEN ended_at >= ? THEN 1 ELSE 0 END AS is_kept FROM requests WHERE {where}"
    )
    sql = f"SELECT {group}, {_OF_REQUESTS} FROM ({marked}) AS marked GROUP BY 1"
    return database.rows(sql, (open_ms, kept_ms, *params))


def _span(moment: str, account_id: int | None, since_ms: int, until_ms: int | None) -> tuple[str, list[int]]:
    """Return the condition for a time and an account, or for all accounts: ends that belong to nobody are left out."""
    conditions, params = [f"{moment} >= ?"], [since_ms]
    if until_ms is not None:
        conditions.append(f"{moment} < ?")
        params.append(until_ms)
    if account_id is None:
        conditions.append("account_id > 0")
    else:
        conditions.append("account_id = ?")
        params.append(account_id)
    return " AND ".join(conditions), params


def _line(by: By, group: Any, sums: _Sums) -> UsageLine:
    return UsageLine(
        date.fromordinal(_EPOCH + group).isoformat() if by == "day" else str(group),
        sums.requests,
        sums.charged,
        sums.prompt_tokens if sums.kept else None,
        sums.output_tokens if sums.kept else None,
        sums.model_fee,
        sums.service_fee,
        sums.model_fee + sums.service_fee,
        sums.shortfall,
        sums.cached_tokens if sums.kept else None,
        sums.saved if sums.kept else None,
    )


def tokens_since(database: Database) -> int:
    """Return the moment since when tokens are known; 0 when of all requests."""
    with database.read():
        return days.kept_since(database)
