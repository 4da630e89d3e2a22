"""Refunds as they are kept: asked for here, or found at Stripe."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from tokenhub.billing.refunds import COUNTED, RefundState
from tokenhub.errors import NotFound
from tokenhub.store.database import Database

Origin = Literal["tokenhub", "stripe"]

_COLUMNS: Final = (
    "id, topup_id, state, origin, amount, credit, stripe_id, attempt, reason, next_poll_at, created_at, updated_at"
)
_COUNTED: Final = ", ".join(f"'{state}'" for state in COUNTED)


@dataclass(frozen=True, slots=True)
class Refund:
    """Money sent back for a top-up: minor units of its currency, and the nano-USD of credit that left for it."""

    id: str
    topup_id: str
    state: RefundState
    origin: Origin
    """``tokenhub``: asked for here; ``stripe``: made at Stripe, credit was taken afterwards."""
    amount_minor: int
    credit_nano: int
    stripe_id: str | None
    """None until Stripe has answered."""
    attempt: int
    """Part of the idempotency key."""
    reason: str
    next_poll_at_ms: int | None
    created_at_ms: int
    updated_at_ms: int
    """When it last changed its state; of one that is requested, when its attempt began."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What a top-up's refunds that stand add up to."""

    amount_minor: int
    credit_nano: int


def insert(database: Database, refund: Refund) -> None:
    """Write a new refund, in the caller's write."""
    marks = ", ".join("?" * len(Refund.__slots__))
    values = [getattr(refund, name) for name in Refund.__slots__]
    database.execute(f"INSERT INTO refunds ({_COLUMNS}) VALUES ({marks})", values)


def update(database: Database, refund: Refund) -> None:
    """Write what has become of a refund, in the caller's write."""
    database.execute(
        "UPDATE refunds SET state = ?, credit = ?, stripe_id = ?, attempt = ?, reason = ?, next_poll_at = ?, updated_at = ? WHERE id = ?",
        (
            refund.state,
            refund.credit_nano,
            refund.stripe_id,
            refund.attempt,
            refund.reason,
            refund.next_poll_at_ms,
            refund.updated_at_ms,
            refund.id,
        ),
    )


def postpone(database: Database, refund_id: str, next_poll_at_ms: int, reason: str | None = None) -> None:
    """Look at a refund again later; its state and its attempt stay as they are."""
    with database.write():
        sql = "UPDATE refunds SET next_poll_at = ?, reason = COALESCE(?, reason) WHERE id = ? AND next_poll_at IS NOT NULL"
        database.execute(sql, (next_poll_at_ms, reason, refund_id))


def get(database: Database, refund_id: str) -> Refund:
    """Return a refund. Raises NotFound."""
    row = database.row(f"SELECT {_COLUMNS} FROM refunds WHERE id = ?", (refund_id,))
    if row is None:
        raise NotFound(f"There is no refund {refund_id[:60]!r}.", param="refund")
    return _refund(row)


def by_stripe_id(database: Database, stripe_id: str) -> Refund | None:
    """Return the refund that Stripe calls so."""
    row = database.row(f"SELECT {_COLUMNS} FROM refunds WHERE stripe_id = ?", (stripe_id,))
    return None if row is None else _refund(row)


def of_topup(database: Database, topup_id: str) -> list[Refund]:
    """Return a top-up's refunds, the oldest first."""
    rows = database.rows(f"SELECT {_COLUMNS} FROM refunds WHERE topup_id = ? ORDER BY created_at, id", (topup_id,))
    return [_refund(row) for row in rows]


def listing(database: Database, account_id: int | None = None, *, limit: int = 100) -> list[Refund]:
    """Return refunds of one account or of all, the newest first."""
    where, params = "", [limit]
    if account_id is not None:
        where, params = "WHERE topup_id IN (SELECT id FROM topups WHERE account_id = ?)", [account_id, limit]
    rows = database.rows(f"SELECT {_COLUMNS} FROM refunds {where} ORDER BY created_at DESC, id DESC LIMIT ?", params)
    return [_refund(row) for row in rows]


def due(database: Database, now_ms: int, limit: int) -> list[str]:
    """Return the ids of refunds to be looked at now, the longest due first."""
    sql = "SELECT id FROM refunds WHERE next_poll_at <= ? ORDER BY next_poll_at, id LIMIT ?"
    return [row[0] for row in database.rows(sql, (now_ms, limit))]


def returned(database: Database, topup_id: str) -> Returned:
    """Add up the refunds of a top-up whose credit is away."""
    sql = f"SELECT amount, credit FROM refunds WHERE topup_id = ? AND state IN ({_COUNTED})"
    rows = database.rows(sql, (topup_id,))
    return Returned(sum(amount for amount, _ in rows), sum(credit for _, credit in rows))


def stands_since_topup(database: Database, account_id: int) -> bool:
    """Whether a refund stands that was made after the last payment of its account."""
    sql = (
        "SELECT 1 FROM refunds r JOIN topups t ON t.id = r.topup_id WHERE t.account_id = ? "
        f"AND r.state IN ({_COUNTED}) AND NOT EXISTS "
        "(SELECT 1 FROM topups later WHERE later.account_id = t.account_id AND later.paid_at > r.created_at) LIMIT 1"
    )
    return database.row(sql, (account_id,)) is not None


def _refund(row: Sequence[Any]) -> Refund:
    refund_id, topup_id, state, *rest = row
    return Refund(refund_id, topup_id, RefundState(state), *rest)
