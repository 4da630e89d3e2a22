"""Top-ups as they are kept: the intent, then what became of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tokenhub.billing.topups import CHECKOUT
from tokenhub.billing.topups import Topup as Topup
from tokenhub.errors import NotFound
from tokenhub.store import purses
from tokenhub.store.database import Database

_COLUMNS: Final = (
    "id, account_id, kind, state, currency, amount, rate, credit, livemode, attempt, params, session_id, payment_intent, "
    "charge_id, customer, url, offered, paid_amount, paid_total, paid_at, lot_id, recharge_of, reason, session_expires_at, "
    "next_poll_at, created_at, updated_at"
)
_NAMES: Final = tuple(name.strip() for name in _COLUMNS.split(","))
_CHANGEABLE: Final = frozenset(_NAMES[_NAMES.index("attempt") :]) | {"state", "credit"}
_MARKS: Final = ", ".join("?" * len(_NAMES))


def insert(database: Database, topup: Topup) -> None:
    """Write a new top-up, in the caller's write."""
    database.execute(f"INSERT INTO topups ({_COLUMNS}) VALUES ({_MARKS})", _values(topup))


def get(database: Database, topup_id: str) -> Topup:
    """Return a top-up. Raises NotFound."""
    found = find(database, topup_id)
    if found is None:
        raise NotFound(f"There is no top-up {topup_id[:60]!r}. See: tokenhub topups list", param="topup")
    return found


def find(database: Database, topup_id: str) -> Topup | None:
    """Return a top-up; None when there is none."""
    return _one(database, "id = ?", topup_id)


def locked(database: Database, topup_id: str) -> Topup:
    """Lock a top-up's account in the caller's write and return the top-up as it is then. Raises NotFound."""
    purses.lock(database, get(database, topup_id).account_id)
    return get(database, topup_id)


def starting_with(database: Database, start: str) -> list[Topup]:
    """Return up to two top-ups whose ids begin so, in whatever order the database sorts texts: one is unmistakable."""
    rows = database.rows(
        f"SELECT {_COLUMNS} FROM topups WHERE substr(id, 1, CAST(? AS INTEGER)) = ? ORDER BY id LIMIT 2",
        (len(start), start),
    )
    return [_topup(row) for row in rows]


def by_session(database: Database, session_id: str) -> Topup | None:
    """Return the top-up of a Checkout Session."""
    return _one(database, "session_id = ?", session_id)


def by_payment(database: Database, payment_intent: str) -> Topup | None:
    """Return the top-up that a PaymentIntent pays."""
    return _one(database, "payment_intent = ?", payment_intent)


def by_charge(database: Database, charge_id: str) -> Topup | None:
    """Return the top-up that a charge pays."""
    return _one(database, "charge_id = ?", charge_id)


def saves_card_since(database: Database, account_id: int, paid_at_ms: int) -> bool:
    """Whether an account has a top-up with which a card was to be saved and that was paid after a moment."""
    sql = "SELECT 1 FROM topups WHERE account_id = ? AND kind = ? AND customer IS NOT NULL AND paid_at > ? LIMIT 1"
    return database.row(sql, (account_id, CHECKOUT, paid_at_ms)) is not None


def due(database: Database, now_ms: int, limit: int, *, kind: str = CHECKOUT) -> list[Topup]:
    """Return top-ups to be looked at now, the longest due first."""
    rows = database.rows(
        f"SELECT {_COLUMNS} FROM topups WHERE next_poll_at <= ? AND kind = ? ORDER BY next_poll_at, id LIMIT ?",
        (now_ms, kind, limit),
    )
    return [_topup(row) for row in rows]


def claim(database: Database, topup: Topup, until_ms: int) -> bool:
    """Take the look at a top-up that is due, until a moment; False when another process has taken it."""
    with database.write():
        sql = "UPDATE topups SET next_poll_at = ? WHERE id = ? AND next_poll_at = ?"
        return bool(database.execute(sql, (until_ms, topup.id, topup.next_poll_at_ms)).rowcount == 1)


def listing(database: Database, account_id: int | None = None, *, limit: int = 100) -> list[Topup]:
    """Return top-ups of one account or of all, the newest first."""
    where, params = ("WHERE account_id = ?", [account_id]) if account_id is not None else ("", [])
    sql = f"SELECT {_COLUMNS} FROM topups {where} ORDER BY created_at DESC, id DESC LIMIT ?"
    return [_topup(row) for row in database.rows(sql, (*params, limit))]


def update(database: Database, topup_id: str, now_ms: int, changes: Mapping[str, Any]) -> None:
    """Change columns of a top-up, by their names in the table, in the caller's write."""
    unknown = changes.keys() - _CHANGEABLE
    if unknown:
        raise ValueError(f"no columns that change: {sorted(unknown)}")
    assignments = ", ".join(f"{name} = ?" for name in changes)
    values = [json.dumps(list(value)) if name == "offered" else value for name, value in changes.items()]
    database.execute(f"UPDATE topups SET {assignments}, updated_at = ? WHERE id = ?", (*values, now_ms, topup_id))


def _one(database: Database, condition: str, value: str) -> Topup | None:
    row = database.row(f"SELECT {_COLUMNS} FROM topups WHERE {condition}", (value,))
    return None if row is None else _topup(row)


def _topup(row: Sequence[Any]) -> Topup:
    values = dict(zip(_NAMES, row, strict=True))
    return Topup(*(_READ[name](value) if name in _READ else value for name, value in values.items()))


_READ: Final[Mapping[str, Any]] = {"livemode": bool, "offered": lambda text: tuple(json.loads(text))}


def _values(topup: Topup) -> list[Any]:
    values = [getattr(topup, name) for name in Topup.__slots__]
    return [
        json.dumps(list(value)) if isinstance(value, tuple) else int(value) if isinstance(value, bool) else value
        for value in values
    ]
