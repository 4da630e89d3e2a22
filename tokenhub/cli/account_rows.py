"""An account as commands show it: plan and limits, money and its lots' next expiry, automatic recharge."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tokenhub import clock, money
from tokenhub.cli import render
from tokenhub.cli.tables import Column

if TYPE_CHECKING:
    from tokenhub.accounts.accounts import Plan
    from tokenhub.operations.accounts import AccountState
    from tokenhub.operations.hub import Hub
    from tokenhub.operations.payments.recharges import State

COLUMNS = (
    Column("name", "Name"),
    Column("status", "Status"),
    Column("plan", "Plan"),
    Column("available_usd", "Available", right=True),
    Column("held_usd", "Held", right=True),
    Column("keys", "Keys", right=True, spare=True),
    Column("email", "E-mail", spare=True),
)
FIELDS = (
    Column("id", "Id"),
    Column("name", "Name"),
    Column("status", "Status"),
    Column("plan", "Plan"),
    Column("available_usd", "Available"),
    Column("held_usd", "Held by open requests"),
    Column("frozen_usd", "Frozen by disputes"),
    Column("debt_usd", "Owed"),
    Column("next_expiry_usd", "Next to expire"),
    Column("next_expiry_at", "Expires (UTC)"),
    Column("low_balance_usd", "Notice below"),
    Column("recharge", "Automatic recharge"),
    Column("card", "Saved card"),
    Column("keys", "Keys"),
    Column("email", "E-mail"),
    Column("fee_bp", "Service fee"),
    Column("key_rpm", "Requests/min per key"),
    Column("account_rpm", "Requests/min in all"),
    Column("concurrency", "At once"),
    Column("agreed", "Agreed apart from the plan"),
    Column("created_at", "Created (UTC)"),
)

_NANO_PER_CENT: Final = money.NANO_PER_USD // 100


def row(state: "AccountState", plans: "Mapping[str, Plan]") -> dict[str, Any]:
    """Return an account as a list shows it."""
    from tokenhub.operations import accounts

    account = state.account
    terms = accounts.terms_of(account, plans[account.plan])
    names = ("fee_bp", "key_rpm", "account_rpm", "concurrency")
    return {
        "id": account.id,
        "name": account.name,
        "status": account.status.value,
        "plan": account.plan,
        "email": account.email,
        "available_usd": money.exact(state.available_nano),
        "held_usd": money.exact(state.held_nano),
        "debt_usd": money.exact(state.debt_nano),
        "open_requests": state.open_holds,
        "low_balance_usd": money.exact_or_none(state.low_balance_nano),
        "keys": state.active_keys,
        **{name: getattr(terms, name) for name in names},
        "agreed": {name: getattr(account, name) for name in names if getattr(account, name) is not None},
        "created_at": clock.iso(state.created_at_ms),
    }


def whole(hub: "Hub", account_id: int, plans: "Mapping[str, Plan]") -> dict[str, Any]:
    """Return an account with all that is known of its money."""
    from tokenhub.operations import accounts, ledger
    from tokenhub.operations.payments import recharges

    shown = row(accounts.state(hub, account_id), plans)
    found = ledger.balances(hub, account_id)
    first = next((lot for lot in found.lots if lot.available_nano and (lot.expires_at_ms or 0) > clock.now_ms()), None)
    recharge = recharges.state(hub, account_id)
    return {
        **shown,
        "frozen_usd": money.exact(found.frozen_nano),
        "next_expiry_usd": None if first is None else money.exact(first.available_nano),
        "next_expiry_at": None if first is None else clock.iso(first.expires_at_ms or 0),
        "recharge": None if recharge is None else recharge_row(recharge),
        "card": recharges.card(hub, account_id) or None,
    }


def recharge_row(state: "State") -> dict[str, Any]:
    """Return an automatic recharge as it is shown; amounts are US dollars."""
    return {
        "state": state.state,
        "reason": state.reason,
        "amount_usd": _dollars(state.amount_minor),
        "below_usd": money.exact(state.below_nano),
        "monthly_cap_usd": _dollars(state.monthly_cap_minor),
        "month_total_usd": _dollars(state.month_total_minor),
        "under_way": state.under_way,
        "attempted_at": clock.iso_or_none(state.attempted_at_ms),
    }


def _dollars(cents: int) -> str:
    return money.exact(cents * _NANO_PER_CENT)


def agreed_text(agreed: Mapping[str, Any]) -> dict[str, str]:
    """Return what was agreed on apart from the plan under the titles that a person sees."""
    return {
        column.title: render.shown(column.field, agreed[column.field]) for column in FIELDS if column.field in agreed
    }


def recharge_text(recharge: Mapping[str, Any] | None) -> str | None:
    """Return an automatic recharge in words, for a person."""
    if recharge is None:
        return None
    terms = (
        f"{recharge['amount_usd']} USD below {recharge['below_usd']} USD, at most {recharge['monthly_cap_usd']} USD a month "
        f"({recharge['month_total_usd']} USD this month)"
    )
    why = f": {recharge['reason']}" if recharge["reason"] else ""
    return f"{recharge['state']}{why}; {terms}"
