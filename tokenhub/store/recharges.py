"""Customers at Stripe with their saved cards, and the recharges of accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenhub.billing.periods import month_start_ms
from tokenhub.billing.recharges import COOLDOWN_MS, LASTING, Recharge, RechargeState
from tokenhub.store.database import Database

_COLUMNS: Final = "state, amount, below, monthly_cap, reason, declines, month_start, month_total, attempted_at"


@dataclass(frozen=True, slots=True)
class Customer:
    """An account's customer at Stripe. ``payment_method``: the card that may be charged without the person."""

    account_id: int
    customer: str
    payment_method: str | None
    card: str
    """Brand and last four digits; "" without a card."""


def customer_of(database: Database, account_id: int) -> Customer | None:
    """Return an account's customer."""
    return _customer(database, "account_id = ?", account_id)


def by_customer(database: Database, customer: str) -> Customer | None:
    """Return the customer that Stripe calls so."""
    return _customer(database, "customer = ?", customer)


def by_card(database: Database, payment_method: str) -> Customer | None:
    """Return the customer whose saved card it is."""
    return _customer(database, "payment_method = ?", payment_method)


def _customer(database: Database, condition: str, value: Any) -> Customer | None:
    sql = f"SELECT account_id, customer, payment_method, card FROM customers WHERE {condition}"
    row = database.row(sql, (value,))
    return None if row is None else Customer(*row)


def add_customer(database: Database, account_id: int, customer: str, now_ms: int, *, instead_of: str = "") -> None:
    """Keep an account's customer; the first one stays, but for the one whose place this takes."""
    with database.write():
        database.execute("DELETE FROM customers WHERE account_id = ? AND customer = ?", (account_id, instead_of))
        sql = "INSERT INTO customers (account_id, customer, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        database.execute(sql, (account_id, customer, now_ms))


def set_card(database: Database, account_id: int, payment_method: str | None, card: str) -> None:
    """Keep an account's card, or none, in the caller's write."""
    sql = "UPDATE customers SET payment_method = ?, card = ? WHERE account_id = ?"
    database.execute(sql, (payment_method, card, account_id))


def get(database: Database, account_id: int) -> Recharge | None:
    """Return an account's recharge settings; None when it never had any."""
    row = database.row(f"SELECT {_COLUMNS} FROM recharges WHERE account_id = ?", (account_id,))
    return None if row is None else _recharge(row)


def save(database: Database, account_id: int, recharge: Recharge, now_ms: int) -> None:
    """Write an account's recharge settings, new or not, in the caller's write."""
    names = [name.strip() for name in _COLUMNS.split(",")]
    changed = ", ".join(f"{name} = excluded.{name}" for name in names)
    database.execute(
        f"INSERT INTO recharges (account_id, created_at, {_COLUMNS}) VALUES (?, ?, {', '.join('?' * len(names))}) "
        f"ON CONFLICT (account_id) DO UPDATE SET {changed}",
        [account_id, now_ms, *(getattr(recharge, name) for name in Recharge.__slots__)],
    )


def suspend(database: Database, account_id: int, reason: str) -> bool:
    """Suspend a recharge that is on, in the caller's write; False when there is none that is on.

    A dispute and a warning suspend one that is suspended already too: whatever ends a suspension about the card must
    not end these. One that is off keeps them for when it is turned on.
    """
    states, to = "'on'", "'suspended'"
    if reason in LASTING:
        states, to = "'on', 'suspended', 'off'", "CASE state WHEN 'off' THEN 'off' ELSE 'suspended' END"
    sql = f"UPDATE recharges SET state = {to}, reason = ? WHERE account_id = ? AND state IN ({states})"
    return bool(database.execute(sql, (reason, account_id)).rowcount)


def cleared_by_topup(database: Database, account_id: int) -> bool:
    """End a suspension about the card, in the caller's write: a person has paid, or saved another card."""
    sql = (
        "UPDATE recharges SET state = 'on', reason = '', declines = 0 "
        f"WHERE account_id = ? AND state = 'suspended' AND reason NOT IN ({', '.join('?' * len(LASTING))})"
    )
    return bool(database.execute(sql, (account_id, *LASTING)).rowcount)


def cleared_of(database: Database, account_id: int, reason: str) -> bool:
    """End a suspension for one reason, in the caller's write: what led to it has come to nothing."""
    sql = "UPDATE recharges SET state = 'on', reason = '' WHERE account_id = ? AND state = 'suspended' AND reason = ?"
    return bool(database.execute(sql, (account_id, reason)).rowcount)


def candidates(database: Database, now_ms: int, limit: int) -> list[int]:
    """Return accounts whose balance calls for a recharge; the claim decides, on locked rows."""
    rows = database.rows(
        "SELECT r.account_id FROM recharges r JOIN accounts a ON a.id = r.account_id "
        "JOIN customers c ON c.account_id = r.account_id WHERE r.state = 'on' AND a.status = 'active' "
        "AND a.available + a.held < r.below AND c.payment_method IS NOT NULL AND COALESCE(r.attempted_at, 0) <= ? "
        "AND CASE WHEN r.month_start = ? THEN r.month_total ELSE 0 END + r.amount <= r.monthly_cap "
        "AND NOT EXISTS (SELECT 1 FROM topups t WHERE t.recharge_of = r.account_id) "
        "ORDER BY COALESCE(r.attempted_at, 0), r.account_id LIMIT ?",
        (now_ms - COOLDOWN_MS, month_start_ms(now_ms), limit),
    )
    return [row[0] for row in rows]


def under_way(database: Database, account_id: int) -> str | None:
    """Return the top-up that is the account's recharge under way."""
    row = database.row("SELECT id FROM topups WHERE recharge_of = ?", (account_id,))
    return None if row is None else str(row[0])


def locked_balance(database: Database, account_id: int) -> tuple[int, bool]:
    """Lock an account in the caller's write; return what it has not spent, and whether it is active.

    What open requests hold counts as not spent: most of it comes back, and a burst of requests
    must not charge a card.
    """
    sql = f"SELECT available + held, status FROM accounts WHERE id = ?{database.lock_clause}"
    row = database.row(sql, (account_id,))
    return (row[0], row[1] == "active") if row else (0, False)


def _recharge(row: Sequence[Any]) -> Recharge:
    return Recharge(RechargeState(row[0]), *row[1:])
