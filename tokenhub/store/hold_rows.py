"""The rows of a batch: their columns, rows to the states that are decided on, and what was decided to rows."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from tokenhub.accounts.accounts import AccountStatus, KeyStatus, SpendPeriod
from tokenhub.billing.batch import AccountState, Ending, HoldState, KeyState
from tokenhub.billing.holds import End, Ended
from tokenhub.billing.journal import Entry
from tokenhub.billing.lots import NEVER_MS, LotState, Part
from tokenhub.store.database import clean_text
from tokenhub.store.requests import EndedRequest
from tokenhub.usage import Units, units_to_data

TEXT_CHARS: Final = 2_000
"""How much is kept of a text; most are words, some are what an upstream wrote."""

ACCOUNT_MONEY: Final = ("available", "held", "open_holds", "next_expiry", "rate_window", "debt")
ACCOUNT: Final = ("id", "version", "status", "plan_id", *ACCOUNT_MONEY)
PLAN: Final = ACCOUNT.index("plan_id")
KEY_SPEND: Final = ("period_start", "period_spent", "period_held", "rate_window")
KEY: Final = (
    "id",
    "account_id",
    "version",
    "status",
    "expires_at",
    "spend_limit",
    "spend_period",
    *KEY_SPEND,
    "replaced_by",
)
LOT_PLACES: Final = ("available", "held", "spent", "expired", "repaid")
LOT: Final = ("id", "account_id", *LOT_PLACES, "expires_at", "created_at")
HOLD: Final = ("request_id", "account_id", "key_id", "amount", "lot_id", "period_start", "placed_at")
NEW_HOLD: Final = (*HOLD, "price_version", "lease_id", "owner")
ENDED: Final = ("id", "end", "charged", "model_fee", "service_fee")
REQUEST: Final[tuple[str, ...]] = tuple(EndedRequest.__slots__)
PART: Final = ("request_id", "lot_id", "amount")
ENTRY: Final = ("account_id", "lot_id", "kind", "ref", "amount", "created_at", "note")

_ACCOUNT_STATUS: Final = {status.value: status for status in AccountStatus}
_KEY_STATUS: Final = {status.value: status for status in KeyStatus}
_SPEND_PERIOD: Final = {period.value: period for period in SpendPeriod}


def account_state(row: Sequence[Any]) -> AccountState:
    """Return an account's row, in the order of ``ACCOUNT``, as its state."""
    account_id, version, status, *rest = row
    return AccountState(account_id, version, _ACCOUNT_STATUS[status], *rest)


def key_state(row: Sequence[Any]) -> KeyState:
    """Return a key's row, in the order of ``KEY``, as its state."""
    key_id, account_id, version, status, expires_at, limit, period, *rest = row
    return KeyState(key_id, account_id, version, _KEY_STATUS[status], expires_at, limit, _SPEND_PERIOD[period], *rest)


def lot_state(row: Sequence[Any]) -> LotState:
    """Return a lot's row, in the order of ``LOT``, as its state."""
    lot_id, account_id, available, held, spent, expired, repaid, expires_at, created_at = row
    expires_at_ms = NEVER_MS if expires_at is None else expires_at
    return LotState(lot_id, account_id, available, held, spent, expired, expires_at_ms, created_at, repaid)


def hold_state(row: Sequence[Any]) -> HoldState:
    """Return a hold's row, in the order of ``HOLD``, as its state; parts over several lots are added by the reader."""
    request_id, account_id, key_id, amount, lot_id, period_start, placed_at = row
    parts = () if lot_id is None else ((lot_id, amount),)
    return HoldState(request_id, account_id, key_id, amount, parts, period_start, placed_at)


def ended(row: Sequence[Any]) -> Ended:
    """Return how a request has ended, from a row in the order of ``ENDED``."""
    _, end, charged, model_fee, service_fee = row
    return Ended(End(end), charged, model_fee, service_fee, first=False)


def account_row(account: AccountState) -> tuple[Any, ...]:
    """Return what a batch sets in an account's row: its id, then ``ACCOUNT_MONEY``."""
    blob = account.rate_blob if account.window is None else account.window.dump()
    return account.id, account.available, account.held, account.open_holds, account.next_expiry_ms, blob, account.debt


def key_row(key: KeyState) -> tuple[Any, ...]:
    """Return what a batch sets in a key's row: its id, then ``KEY_SPEND``."""
    blob = key.rate_blob if key.window is None else key.window.dump()
    return key.id, key.period_start_ms, key.period_spent, key.period_held, blob


def lot_row(lot: LotState) -> tuple[Any, ...]:
    """Return what a batch sets in a lot's row: its id, then ``LOT_PLACES``."""
    return lot.id, lot.available, lot.held, lot.spent, lot.expired, lot.repaid


def hold_row(hold: HoldState, lease_id: int) -> tuple[Any, ...]:
    """Return the row of a new hold: a request's, which ends with the lease until it is made a job's."""
    assert hold.place is not None
    return (
        hold.request_id,
        hold.account_id,
        hold.key_id,
        hold.amount,
        _only_lot(hold.parts),
        hold.period_start_ms,
        hold.placed_at_ms,
        *_storable(hold.place.price_version),
        lease_id,
        "request",
    )


def part_rows(owners: Iterable[tuple[str, Sequence[Part]]]) -> list[tuple[str, int, int]]:
    """Return the parts of what spans several lots; what lies in one names it in its own row."""
    return [(request_id, lot_id, part) for request_id, parts in owners if len(parts) > 1 for lot_id, part in parts]


def entry_row(entry: Entry) -> tuple[Any, ...]:
    """Return an entry's row, in the order of ``ENTRY``."""
    return (
        entry.account_id,
        entry.lot_id,
        entry.kind.value,
        entry.ref,
        entry.amount_nano,
        entry.created_at_ms,
        entry.note,
    )


def request_row(ending: Ending, now_ms: int) -> tuple[Any, ...]:
    """Return the row of a request's end, in the order of :class:`EndedRequest`."""
    record, usage = ending.record, ending.record.usage
    (
        capability,
        model,
        provider,
        region,
        upstream_id,
        error,
        finish,
        native_finish,
        price_version,
        attempts,
        decision,
    ) = _storable(
        record.capability,
        record.model,
        record.provider,
        record.region,
        record.upstream_id,
        record.error_code,
        record.finish_reason,
        record.native_finish_reason,
        record.price_version,
        record.attempts,
        record.decision,
    )
    return (
        ending.request_id,
        ending.account_id,
        ending.key_id,
        ending.end.value,
        record.started_at_ms,
        now_ms,
        capability,
        model,
        provider,
        region,
        record.credential_id,
        upstream_id,
        int(record.streamed),
        record.status,
        error,
        finish,
        native_finish,
        usage.input,
        usage.cache_read,
        usage.cache_write,
        usage.cache_write_1h,
        usage.audio_input,
        usage.image_input,
        usage.output,
        usage.reasoning,
        usage.image_output,
        usage.unknown,
        int(record.estimated),
        int(record.cancelled),
        ending.held,
        ending.model_fee,
        ending.service_fee,
        ending.model_fee + ending.service_fee,
        record.shortfall_nano + ending.shortfall,
        _only_lot(ending.paid),
        record.fee_bp,
        price_version,
        record.first_content_ms,
        record.duration_ms,
        attempts,
        decision,
        record.session,
        min(record.saved_nano, ending.held),
        _units_json(usage.units),
    )


def _units_json(units: tuple[Units, ...]) -> str:
    return orjson.dumps(units_to_data(units)).decode() if units else ""


def _only_lot(parts: Sequence[Part]) -> int | None:
    return parts[0][0] if len(parts) == 1 else None


def _storable(*texts: str | None) -> Sequence[str | None]:
    """Return texts in a form that every database takes, whatever an upstream wrote (T98)."""
    together = "".join(filter(None, texts))
    if len(together) <= TEXT_CHARS and together.isascii() and "\0" not in together:
        return texts
    return [text and clean_text(text, TEXT_CHARS) for text in texts]
