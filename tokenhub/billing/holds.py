"""Holds: credit set aside before an upstream call, then settled or released, once.

The operations below are what the proxy asks for and the outcomes what it is told. Between
them stands one rule book, ``rules.decide``, which works on the rows of ``batch.py`` that the
store has read and locked in the same transaction, in the order the operations arrived. It
does no I/O, so the same rules run in property tests, on SQLite and on PostgreSQL.
"""

from dataclasses import field
from enum import StrEnum

from tokenhub.accounts.accounts import Versions
from tokenhub.accounts.limits import RateState as RateState
from tokenhub.usage import Usage
from tokenhub.values import value


@value
class Place:
    """Ask for a hold; the write decides.

    ``wanted_nano`` covers the call's bound at the dearest deployment of its route.
    ``minimum_nano`` is what must be covered at least: equal to ``wanted_nano`` when the
    client set an output limit, else the bound at the floor of 1 024 output tokens.
    ``output_token_atto`` is the price, fee included, of one token of output limit in between.
    """

    request_id: str
    key_id: str
    account_id: int
    versions: Versions
    wanted_nano: int
    minimum_nano: int
    output_token_atto: int
    output_wanted: int
    """The output limit, in tokens, that ``wanted_nano`` covers."""
    output_minimum: int
    """The output limit that ``minimum_nano`` covers."""
    key_rpm: int
    account_rpm: int
    concurrency: int
    price_version: str


@value
class Settle:
    """Charge a hold: at most its amount; the rest goes back to the lots it came from.

    Fees above the hold are cut, the service fee first, and the cut is written down as the
    request's shortfall.
    """

    request_id: str
    model_fee_nano: int
    service_fee_nano: int
    record: "RequestRecord"
    pin: "Pin | None" = None


@value
class Pin:
    """Which deployment a session's next request belongs to, written with the settle of a reply that binds it there."""

    key: bytes
    """A MAC of the session and the model asked for."""
    deployment: str
    expires_at_ms: int


@value
class Release:
    """Give a hold back whole. Releasing an unknown id leaves a tombstone, so a hold that arrives later is refused."""

    request_id: str
    record: "RequestRecord | None" = None


Operation = Place | Settle | Release


@value
class Placed:
    amount_nano: int
    output_limit: int | None
    """Set when the balance covers less output than wanted: the limit that must be sent upstream."""
    key_rate: RateState
    account_rate: RateState


class Refusal(StrEnum):
    STALE = "stale"
    """The plan was made from older rows: load them again and plan again."""
    KEY_INVALID = "key_invalid"
    """Unknown, revoked or expired."""
    ACCOUNT_DISABLED = "account_disabled"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_CONCURRENT = "too_many_concurrent"
    INSUFFICIENT = "insufficient"
    IN_FLIGHT = "in_flight"
    """The balance would do, but for the account's own open holds."""
    KEY_LIMIT = "key_limit"
    """The key's spend limit cannot cover the hold in this period."""
    ENDED = "ended"
    """This request id has already been settled or released (tombstone)."""
    FENCED = "fenced"
    """This process's lease is lost: it must stop its work."""


@value
class Refused:
    reason: Refusal
    retry_after_s: int | None = None
    required_nano: int = 0
    available_nano: int = 0
    scope: str = ""
    """``key`` or ``account``: whose rate window is full."""
    key_rate: RateState | None = None
    account_rate: RateState | None = None


class End(StrEnum):
    SETTLED = "settled"
    RELEASED = "released"


@value
class Ended:
    """How a request has ended; the same answer for every later settle or release of it (T22)."""

    end: End
    charged_nano: int
    model_fee_nano: int
    service_fee_nano: int
    first: bool
    """False when this operation found the request ended already."""


Outcome = Placed | Refused | Ended


@value
class RequestRecord:
    """The metadata kept for a request: never its content (T112)."""

    account_id: int
    key_id: str
    started_at_ms: int
    capability: str
    model: str
    """The catalogue's model id; what the client wrote is not kept."""
    provider: str | None = None
    region: str | None = None
    credential_id: int | None = None
    upstream_id: str | None = None
    """The id of the reply at the provider."""
    streamed: bool = False
    status: int = 200
    error_code: str | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    estimated: bool = False
    cancelled: bool = False
    price_version: str | None = None
    fee_bp: int = 0
    shortfall_nano: int = 0
    """What the reply cost above its hold, as far as the caller of the settle has cut it itself; the write adds its own cut."""
    first_content_ms: int | None = None
    duration_ms: int = 0
    attempts: str = "[]"
    """JSON list of {deployment, outcome, status, ms}; codes only."""
    decision: str = ""
    """Compact JSON of the route's decision."""
    session: bytes | None = None
    """An HMAC that names the session."""
    saved_nano: int = 0
    """What cached input saved."""
