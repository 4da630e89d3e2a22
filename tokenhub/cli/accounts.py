"""``tokenhub accounts``: customers."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock, money
from tokenhub.cli import values
from tokenhub.cli.context import Door, command, noun
from tokenhub.cli.render import Column

if TYPE_CHECKING:
    from tokenhub.accounts.accounts import Plan
    from tokenhub.operations.accounts import AccountState

app = noun("accounts")

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", help="The account's name or id; not needed while there is only one.", show_default=False
    ),
]
_OWN = "an agreement of this account's own; 'default' goes back to the plan's"

COLUMNS = (
    Column("name", "Name"),
    Column("status", "Status"),
    Column("plan", "Plan"),
    Column("available_usd", "Available", right=True),
    Column("held_usd", "Held", right=True),
    Column("keys", "Keys", right=True),
    Column("email", "E-mail"),
)
FIELDS = (
    Column("id", "Id"),
    *COLUMNS,
    Column("fee_bp", "Service fee"),
    Column("key_rpm", "Requests/min per key"),
    Column("account_rpm", "Requests/min in all"),
    Column("concurrency", "At once"),
    Column("agreed", "Agreed apart from the plan"),
    Column("created_at", "Created (UTC)"),
)


def row(state: "AccountState", plans: "Mapping[str, Plan]") -> dict[str, Any]:
    """Return an account as it is shown."""
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
        "open_requests": state.open_holds,
        "keys": state.active_keys,
        **{name: getattr(terms, name) for name in names},
        "agreed": {name: getattr(account, name) for name in names if getattr(account, name) is not None},
        "created_at": clock.iso(state.created_at_ms),
    }


def _plans(door: Door) -> "dict[str, Plan]":
    from tokenhub.operations import plans

    return {plan.id: plan for plan in plans.listing(door.hub)}


@command(
    app, examples=["tokenhub accounts create acme", "tokenhub accounts create acme --plan pro --email ops@acme.example"]
)
def create(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that you will recognise.")],
    plan: Annotated[
        str, typer.Option("--plan", metavar="PLAN", help="starter, pro, enterprise or a plan of your own.")
    ] = "starter",
    email: Annotated[
        str | None, typer.Option("--email", metavar="E", help="Where to reach them.", show_default=False)
    ] = None,
) -> None:
    """Add an account."""
    from tokenhub.operations import accounts

    state = accounts.create(door.hub, name, plan=plan, email=email)
    typed = shlex.quote(name)
    door.done(
        row(state, _plans(door)),
        f"Account {name} is there, on plan {plan}.",
        f"Next: tokenhub grant 10 --account {typed}; tokenhub keys create --account {typed}",
    )


@command(app, "list", examples=["tokenhub accounts list", "tokenhub accounts list --json | jq '.[].name'"])
def list_(door: Door) -> None:
    """List every account with its balance."""
    from tokenhub.operations import accounts

    plans = _plans(door)
    rows = [row(state, plans) for state in accounts.listing(door.hub)]
    door.rows(rows, COLUMNS, empty="There is no account yet. Create one: tokenhub accounts create NAME")


@command(app, examples=["tokenhub accounts show acme"])
def show(door: Door, name: Name = None) -> None:
    """Show one account: balance, plan, limits."""
    from tokenhub.operations import accounts

    account = accounts.the_account(door.hub, name)
    door.record(row(accounts.state(door.hub, account.id), _plans(door)), FIELDS)


@command(
    app,
    "set",
    examples=[
        "tokenhub accounts set acme --plan enterprise --fee-bp 50",
        "tokenhub accounts set acme --rpm 120 --account-rpm 1200 --concurrency 100",
        "tokenhub accounts set acme --fee-bp default",
    ],
)
def set_(
    door: Door,
    name: Name = None,
    plan: Annotated[str | None, typer.Option("--plan", metavar="PLAN", help="Move to this plan.", show_default=False)] = None,
    email: Annotated[
        Any, typer.Option("--email", metavar="E", parser=str, help="Where to reach them; 'default' forgets it.", show_default=False)
    ] = None,
    fee_bp: Annotated[
        Any,
        typer.Option(
            "--fee-bp", metavar="BP", parser=values.or_default(values.whole(0, 10_000)), show_default=False,
            help=f"Service fee in hundredths of a per cent (300 = 3 %): {_OWN}.",
        ),
    ] = None,
    rpm: Annotated[
        Any,
        typer.Option(
            "--rpm", metavar="N", parser=values.or_default(values.whole(1)), show_default=False,
            help=f"Requests a minute for each key: {_OWN}.",
        ),
    ] = None,
    account_rpm: Annotated[
        Any,
        typer.Option(
            "--account-rpm", metavar="N", parser=values.or_default(values.whole(1)), show_default=False,
            help=f"Requests a minute for all keys together: {_OWN}.",
        ),
    ] = None,
    concurrency: Annotated[
        Any,
        typer.Option(
            "--concurrency", metavar="N", parser=values.or_default(values.whole(1)), show_default=False,
            help=f"Requests that may run at once: {_OWN}.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Change an account; binds its next request."""
    from tokenhub.operations import accounts

    account = accounts.the_account(door.hub, name)
    changes = values.changes(
        plan=plan, email=email, fee_bp=fee_bp, key_rpm=rpm, account_rpm=account_rpm, concurrency=concurrency
    )
    state = accounts.change(door.hub, account.id, changes)
    door.done(row(state, _plans(door)), f"Account {account.name} is changed: {', '.join(sorted(changes))}.")


@command(app, examples=["tokenhub accounts disable acme"])
def disable(door: Door, name: Annotated[str, typer.Argument(metavar="NAME", help="The account's name or id.")]) -> None:
    """Refuse every request of an account from now on (403); running ones end as they would."""
    _set_status(door, name, "disabled")


@command(app, examples=["tokenhub accounts enable acme"])
def enable(door: Door, name: Annotated[str, typer.Argument(metavar="NAME", help="The account's name or id.")]) -> None:
    """Serve a disabled account again."""
    _set_status(door, name, "active")


def _set_status(door: Door, name: str, word: str) -> None:
    from tokenhub.accounts.accounts import AccountStatus
    from tokenhub.operations import accounts

    account = accounts.the_account(door.hub, name)
    state = accounts.set_status(door.hub, account.id, AccountStatus(word))
    door.done(row(state, _plans(door)), f"Account {account.name} is {word}.")
