"""Ended requests: one by its id, lists, and what was used and charged, added up by the database."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

from tokenhub.billing.holds import End
from tokenhub.billing.periods import DAY_MS
from tokenhub.store.database import Database

By = Literal["day", "model", "key", "provider", "account"]


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """A row of ``requests``: how a request ended, what it cost, and the metadata kept of it. Amounts are nano-USD."""

    id: str
    account_id: int
    key_id: str
    end: End
    started_at: int
    ended_at: int
    capability: str
    model: str
    provider: str | None
    region: str | None
    credential_id: int | None
    upstream_id: str | None
    streamed: bool
    status: int
    error_code: str | None
    finish_reason: str | None
    native_finish_reason: str | None
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    audio_input_tokens: int
    image_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    image_output_tokens: int
    unknown_tokens: int
    estimated: bool
    cancelled: bool
    held: int
    model_fee: int
    service_fee: int
    charged: int
    shortfall: int
    lot_id: int | None
    fee_bp: int
    price_version: str | None
    first_content_ms: int | None
    duration_ms: int
    attempts: str


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests are meant; None leaves a question open. Moments are those at which requests ended."""

    account_id: int | None = None
    key_id: str | None = None
    model: str | None = None
    provider: str | None = None
    end: End | None = None
    failed: bool | None = None
    """Whether the caller was told an error."""
    since_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What one group used and was charged. Shortfalls are the operator's and no part of the total."""

    group: str
    requests: int
    settled: int
    prompt_tokens: int
    output_tokens: int
    model_fee_nano: int
    service_fee_nano: int
    total_nano: int
    shortfall_nano: int


_COLUMNS: Final = ", ".join(f'"{name}"' for name in EndedRequest.__slots__)
_CONDITIONS: Final = {
    "account_id": "account_id = ?",
    "key_id": "key_id = ?",
    "model": "model = ?",
    "provider": "provider = ?",
    "end": '"end" = ?',
    "since_ms": "ended_at >= ?",
    "until_ms": "ended_at < ?",
}
_GROUPS: Final[dict[By, str]] = {
    "day": f"ended_at / {DAY_MS}",
    "model": "model",
    "key": "key_id",
    "provider": "COALESCE(provider, '')",
    "account": "account_id",
}
_PROMPT: Final = "input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens + audio_input_tokens + image_input_tokens"
NEWEST: Final = 2000
_EPOCH: Final = date(1970, 1, 1).toordinal()


def one(database: Database, request_id: str, account_id: int | None = None) -> EndedRequest | None:
    """Return a request by its id, or the newest by its id at the provider; None when there is none in the account.

    Ids at providers have no index, so only the newest ``NEWEST`` requests are searched for one:
    who asks by it asks for a reply that has just come.
    """
    where, params = _where(RequestFilter(account_id=account_id), ["id = ?"], [request_id])
    row = database.row(f"SELECT {_COLUMNS} FROM requests WHERE {where}", params)
    if row is None:
        where, params = _where(RequestFilter(account_id=account_id), [], [])
        newest = f"SELECT {_COLUMNS} FROM requests WHERE {where} ORDER BY ended_at DESC, id DESC LIMIT {NEWEST}"
        row = database.row(f"SELECT * FROM ({newest}) AS newest WHERE upstream_id = ? LIMIT 1", [*params, request_id])
    return None if row is None else _request(row)


def listing(
    database: Database, wanted: RequestFilter, *, before: str | None = None, limit: int = 50
) -> list[EndedRequest]:
    """Return requests, the newest first; ``before`` is the id at which the page before ended.

    Ids sort by the moment their request began.
    """
    where, params = _where(wanted, ["id < ?"] if before else [], [before] if before else [])
    sql = f"SELECT {_COLUMNS} FROM requests WHERE {where} ORDER BY id DESC LIMIT ?"
    return [_request(row) for row in database.rows(sql, [*params, limit])]


def usage(database: Database, by: By, wanted: RequestFilter) -> list[UsageLine]:
    """Add up requests by UTC day (``2026-11-22``), model, key id, provider or account id, in that order.

    Requests that were refused before they had a hold are in no line: they left no row.
    """
    where, params = _where(wanted, ["account_id > 0"], [])
    group = _GROUPS[by]
    sql = (
        f"SELECT {group}, COUNT(*), SUM(CASE WHEN \"end\" = 'settled' THEN 1 ELSE 0 END), SUM({_PROMPT}), "
        "SUM(output_tokens + image_output_tokens), SUM(model_fee), SUM(service_fee), SUM(charged), SUM(shortfall) "
        f"FROM requests WHERE {where} GROUP BY {group} ORDER BY {group}"
    )
    return [UsageLine(_group_name(by, name), *sums) for name, *sums in database.rows(sql, params)]


def _group_name(by: By, value: Any) -> str:
    return date.fromordinal(_EPOCH + value).isoformat() if by == "day" else str(value)


def _where(wanted: RequestFilter, conditions: list[str], params: list[Any]) -> tuple[str, list[Any]]:
    """Return the conditions of a filter, after those given, and their values."""
    for name, condition in _CONDITIONS.items():
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(condition)
            params.append(value)
    if wanted.failed is not None:
        conditions.append("error_code IS NOT NULL" if wanted.failed else "error_code IS NULL")
    return " AND ".join(conditions or ["1 = 1"]), params


def _request(row: tuple[Any, ...]) -> EndedRequest:
    values = dict(zip(EndedRequest.__slots__, row, strict=True))
    flags = {name: bool(values[name]) for name in ("streamed", "estimated", "cancelled")}
    return EndedRequest(**(values | flags | {"end": End(values["end"])}))
