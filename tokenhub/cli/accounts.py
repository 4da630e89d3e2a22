"""``tokenhub accounts``: customers."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub.cli import account_rows, values
from tokenhub.cli.account_rows import COLUMNS, FIELDS, row
from tokenhub.cli.context import Door, command, noun
from tokenhub.errors import InvalidRequest

if TYPE_CHECKING:
    from tokenhub.accounts.accounts import Plan

app = noun("accounts")

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", help="The account's name or id; not needed while there is only one.", show_default=False
    ),
]
_HOW = "its NAME"
_OWN = "an agreement of this account's own; 'default' goes back to the plan's"


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
    """Show one account: balance, next expiry, automatic recharge, plan, limits."""
    from tokenhub.operations import accounts

    account = accounts.the_account(door.hub, name, how=_HOW)
    shown = account_rows.whole(door.hub, account.id, _plans(door))
    if not door.as_json:
        shown["recharge"] = account_rows.recharge_text(shown["recharge"])
        shown["agreed"] = account_rows.agreed_text(shown["agreed"])
    door.record(shown, FIELDS)


@command(
    app,
    "set",
    examples=[
        "tokenhub accounts set acme --plan enterprise --fee-bp 50",
        "tokenhub accounts set acme --rpm 120 --account-rpm 1200 --concurrency 100",
        "tokenhub accounts set acme --fee-bp default",
        "tokenhub accounts set acme --low-balance 5 --email ops@acme.example",
        "tokenhub accounts set acme --auto-recharge 20 --below 5 --monthly-cap 100",
        "tokenhub accounts set acme --auto-recharge off",
    ],
)
def set_(
    door: Door,
    name: Name = None,
    plan: Annotated[str | None, typer.Option("--plan", metavar="PLAN", help="Move to this plan.", show_default=False)] = None,
    email: Annotated[
        Any, typer.Option("--email", metavar="E", parser=values.or_default(str), help="Where to reach them; 'default' forgets it.", show_default=False)
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
    low_balance: Annotated[
        Any,
        typer.Option(
            "--low-balance", metavar="USD|off", parser=values.or_off(values.usd), show_default=False,
            help="Send a notice when the balance falls below this, once for each fall.",
        ),
    ] = None,
    auto_recharge: Annotated[
        Any,
        typer.Option(
            "--auto-recharge", metavar="USD|off", parser=values.or_off(values.minor), show_default=False,
            help="Buy so much credit with the saved card, by itself, when the balance falls below --below.",
        ),
    ] = None,
    below: Annotated[
        Any,
        typer.Option("--below", metavar="USD", parser=values.usd, show_default=False, help="When to recharge."),
    ] = None,
    monthly_cap: Annotated[
        Any,
        typer.Option(
            "--monthly-cap", metavar="USD", parser=values.minor, show_default=False,
            help="The most that recharges may charge to the card in a calendar month (UTC).",
        ),
    ] = None,
    resume_recharge: Annotated[
        bool, typer.Option("--resume-recharge", help="Go on with an automatic recharge that was suspended.")
    ] = False,
) -> None:  # fmt: skip
    """Change an account; binds its next request."""
    from tokenhub.operations import accounts

    account = accounts.the_account(door.hub, name, how=_HOW)
    low = {} if low_balance is None else {"low_balance": None if low_balance == values.OFF else low_balance}
    changes = low | values.changes(
        plan=plan, email=email, fee_bp=fee_bp, key_rpm=rpm, account_rpm=account_rpm, concurrency=concurrency
    )
    with door.hub.database.write():
        recharge = _set_recharge(door, account.id, auto_recharge, below, monthly_cap, resume=resume_recharge)
        if changes or not recharge:
            accounts.change(door.hub, account.id, changes)
    shown = account_rows.whole(door.hub, account.id, _plans(door))
    options = sorted(f"--{'rpm' if name == 'key_rpm' else name.replace('_', '-')}" for name in changes)
    said = [f"Account {account.name} is changed: {', '.join(options)}."] if changes else []
    door.done(shown, *said, *(_recharge_said(shown) if recharge else ()))


def _set_recharge(
    door: Door, account_id: int, amount: Any, below: int | None, monthly_cap: int | None, *, resume: bool
) -> bool:
    """Change what was asked for of an account's automatic recharge; tell whether anything was."""
    from tokenhub.operations.payments import recharges

    off = amount == values.OFF
    wanted = (None if off else amount, below, monthly_cap)
    is_configured = any(value is not None for value in wanted)
    if off + resume + is_configured > 1:
        raise InvalidRequest("--auto-recharge off, --resume-recharge and new amounts exclude each other.")
    if off:
        recharges.off(door.hub, account_id)
    elif resume:
        recharges.resume(door.hub, account_id)
    elif is_configured:
        _configure_recharge(door, account_id, wanted)
    return off or resume or is_configured


def _configure_recharge(door: Door, account_id: int, wanted: tuple[int | None, int | None, int | None]) -> None:
    """Set an automatic recharge; what is not given stays as it is."""
    from tokenhub.operations.payments import recharges

    state = recharges.state(door.hub, account_id)
    kept = (None,) * 3 if state is None else (state.amount_minor, state.below_nano, state.monthly_cap_minor)
    amount, below, cap = (old if new is None else new for new, old in zip(wanted, kept, strict=True))
    if amount is None or below is None or cap is None:
        raise InvalidRequest("An automatic recharge needs --auto-recharge USD, --below USD and --monthly-cap USD.")
    recharges.configure(door.hub, account_id, amount, below, cap)


def _recharge_said(shown: dict[str, Any]) -> list[str]:
    said = [f"Automatic recharge: {account_rows.recharge_text(shown['recharge'])}."]
    if shown["recharge"]["state"] == "on" and shown["card"] is None:
        typed = shlex.quote(shown["name"])
        said.append(f"No card is saved yet: tokenhub topup 20 --method card --save-card --account {typed}")
    return said


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
