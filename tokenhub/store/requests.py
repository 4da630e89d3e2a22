"""Ended requests, as long as they are kept: one by its id, and lists. What they add up to is in ``usage.py``.

Those that were refused before anything was held stand among them here, and are counted nowhere.
"""

from dataclasses import dataclass
from typing import Any, Final

from tokenhub.billing.holds import End
from tokenhub.store import refusals
from tokenhub.store.database import Database


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
    decision: str
    session: bytes | None
    saved: int
    units: str

    @property
    def prompt_total(self) -> int:
        """All prompt tokens, as the reply's usage told them."""
        cached = self.cache_read_tokens + self.cache_write_tokens + self.cache_write_1h_tokens
        return self.input_tokens + cached + self.audio_input_tokens + self.image_input_tokens

    @property
    def completion_total(self) -> int:
        """All generated tokens, as the reply's usage told them: with those in buckets TokenHub does not know."""
        return self.output_tokens + self.image_output_tokens + self.unknown_tokens


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
NEWEST: Final = 2000

_OF_NO_HOLD: Final = (
    {"end": f"'{End.RELEASED.value}'", "attempts": "'[]'", "units": "''"}
    | dict.fromkeys(("provider", "region", "upstream_id", "finish_reason"), "CAST(NULL AS TEXT)")
    | dict.fromkeys(("native_finish_reason", "price_version"), "CAST(NULL AS TEXT)")
    | dict.fromkeys(("credential_id", "lot_id", "first_content_ms"), "CAST(NULL AS BIGINT)")
)
"""What the other columns are of a request that was refused before anything was held; those not named are 0."""
_REFUSALS: Final = "(SELECT {} FROM refusals) AS refused".format(
    ", ".join(
        f'"{name}"' if name in refusals.COLUMNS else f'{_OF_NO_HOLD.get(name, "0")} AS "{name}"'
        for name in EndedRequest.__slots__
    )
)


def one(database: Database, request_id: str, account_id: int | None = None) -> EndedRequest | None:
    """Return a request by its id, or the newest by its id at the provider; None when there is none in the account.

    Ids at providers have no index, so only the newest ``NEWEST`` requests are searched for one:
    who asks by it asks for a reply that has just come.
    """
    where, params = _where(RequestFilter(account_id=account_id), ["id = ?"], [request_id])
    for table in ("requests", _REFUSALS):
        row = database.row(f"SELECT {_COLUMNS} FROM {table} WHERE {where}", params)
        if row is not None:
            break
    else:
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
    ended, refused = (f"SELECT {_COLUMNS} FROM {table} WHERE {where}" for table in ("requests", _REFUSALS))
    sql = f"{ended} UNION ALL {refused} ORDER BY id DESC LIMIT ?"
    return [_request(row) for row in database.rows(sql, [*params, *params, limit])]


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
