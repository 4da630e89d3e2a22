"""``tokenhub keys``: the secrets that accounts call with."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock, money
from tokenhub.cli import render, values
from tokenhub.cli.context import AccountName, Door, OnlyAccount, Yes, command, noun, whose
from tokenhub.cli.tables import Column
from tokenhub.errors import HubError

if TYPE_CHECKING:
    from tokenhub.operations.keys import KeyState, NewKey

app = noun("keys")

Id = Annotated[
    str, typer.Argument(metavar="ID", help="The key's id, an unmistakable start of it, or the key's first characters.")
]
PERIODS = ("day", "week", "month")

COLUMNS = (
    Column("id", "Id"),
    Column("account", "Account"),
    Column("name", "Name", spare=True),
    Column("prefix", "Key", spare=True),
    Column("status", "Status"),
    Column("expires_at", "Expires (UTC)"),
    Column("rpm", "Requests/min", right=True, spare=True),
    Column("spend_limit_usd", "Limit", right=True),
    Column("spend_period", "Per", spare=True),
)
FIELDS = (
    *COLUMNS,
    Column("spent_usd", "Spent of the limit"),
    Column("held_usd", "Held of the limit"),
    Column("models", "Models"),
    Column("replaced_by", "Replaced by"),
    Column("created_at", "Created (UTC)"),
    Column("revoked_at", "Revoked (UTC)"),
)


def row(state: "KeyState", account: str) -> dict[str, Any]:
    """Return a key as it is shown: never itself."""
    key = state.key
    limited = key.spend_limit_nano is not None
    counted = limited and state.replaced_by is None
    return {
        "id": key.id,
        "account": account,
        "name": key.name,
        "prefix": f"{key.prefix}…",
        "status": _status(state),
        "expires_at": clock.iso_or_none(key.expires_at_ms),
        "rpm": key.rpm,
        "spend_limit_usd": money.exact_or_none(key.spend_limit_nano),
        "spend_period": key.spend_period.value if limited else None,
        "spent_usd": money.exact(state.period_spent_nano) if counted else None,
        "held_usd": money.exact(state.period_held_nano) if counted else None,
        "models": None if key.models is None else list(key.models),
        "replaced_by": state.replaced_by,
        "created_at": clock.iso(state.created_at_ms),
        "revoked_at": clock.iso_or_none(state.revoked_at_ms),
    }


def _status(state: "KeyState") -> str:
    expires_at_ms = state.key.expires_at_ms
    if state.key.status.value == "active" and expires_at_ms is not None and expires_at_ms <= clock.now_ms():
        return "expired"
    return state.key.status.value


def _account_name(door: Door, state: "KeyState") -> str:
    from tokenhub.operations import accounts

    return accounts.state(door.hub, state.key.account_id).account.name


def show_new(door: Door, made: "NewKey", account: str, *messages: str) -> None:
    """Show a key, this once: on stdout alone, so that a script can catch it."""
    try:
        door.done({"key": made.secret, **row(made.state, account)}, *messages, data=made.secret)
    except OSError as error:
        key_id = made.state.key.id
        raise HubError(
            f"Key {key_id} is made, but could not be shown ({error.strerror}), and nothing else knows it. "
            f"Revoke it and make another: tokenhub keys revoke {key_id}"
        ) from error


@command(
    app,
    examples=[
        "tokenhub keys create",
        "tokenhub keys create --account acme --name ci --expires 90d --rpm 30",
        "tokenhub keys create --spend-limit 25 --per month --models gpt-4o-mini,local/smollm2-135m",
        "KEY=$(tokenhub keys create)",
    ],
)
def create(
    door: Door,
    account: AccountName = None,
    name: Annotated[str, typer.Option("--name", metavar="N", help="What it is for.", show_default=False)] = "",
    expires: Annotated[
        Any,
        typer.Option(
            "--expires", metavar="DATE|never", parser=values.future_or_never, show_default=False,
            help=f"Last day it works, such as {values.ENDS}, or never. Else never.",
        ),
    ] = None,
    rpm: Annotated[
        Any,
        typer.Option(
            "--rpm", metavar="N", parser=values.whole(1), show_default=False, help="Requests a minute. Else the account's limit for a key."
        ),
    ] = None,
    spend_limit: Annotated[
        Any,
        typer.Option("--spend-limit", metavar="USD", parser=values.usd, show_default=False, help="The most it may spend."),
    ] = None,
    per: Annotated[
        Any,
        typer.Option(
            "--per", metavar="|".join(PERIODS), parser=values.one_of(*PERIODS), show_default=False,
            help="The limit starts anew each UTC day, week (Monday) or month. Else it is for good.",
        ),
    ] = None,
    models: Annotated[
        Any,
        typer.Option(
            "--models", metavar="A,B", parser=values.names, show_default=False,
            help="Only these models: names as in 'tokenhub models list', provider/model, or the plan's own names.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Make a key. It is shown once, on stdout, and kept only as a digest."""
    from tokenhub.accounts.accounts import SpendPeriod
    from tokenhub.operations import accounts, keys

    owner = accounts.the_account(door.hub, account)
    period = SpendPeriod(per) if per else SpendPeriod.TOTAL
    until = None if expires == values.NEVER else expires
    made = keys.create(door.hub, owner.id, keys.KeyTerms(name, until, rpm, spend_limit, period, models))
    show_new(
        door, made, owner.name, f"Key {made.state.key.id} of account {owner.name}. This is the only time it is shown:"
    )


@command(app, "list", examples=["tokenhub keys list", "tokenhub keys list --account acme --json"])
def list_(
    door: Door,
    account: OnlyAccount = None,
) -> None:
    """List keys: of one account, or of all."""
    from tokenhub.operations import accounts, keys

    names = accounts.names_by_id(door.hub)
    only = accounts.id_of(door.hub, account)
    rows = [row(state, names[str(state.key.account_id)]) for state in keys.listing(door.hub, only)]
    door.rows(rows, COLUMNS, empty=f"There is no key yet. Make one: tokenhub keys create{whose(account, names)}")


@command(app, examples=["tokenhub keys show key_019a", "tokenhub keys show th-Ab12Cd"])
def show(door: Door, id: Id) -> None:
    """Show one key: its terms and what it has spent of its limit."""
    from tokenhub.operations import keys

    state = keys.find(door.hub, id)
    door.record(row(state, _account_name(door, state)), FIELDS)


@command(
    app,
    "set",
    examples=[
        "tokenhub keys set key_019a --rpm 10",
        "tokenhub keys set key_019a --spend-limit 50 --per month --models default",
    ],
)
def set_(
    door: Door,
    id: Id,
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="What it is for.", show_default=False)] = None,
    expires: Annotated[
        Any,
        typer.Option(
            "--expires", metavar="DATE|never", parser=values.or_default(values.future_or_never), show_default=False,
            help=f"Last day it works, such as {values.ENDS}, or never ('default' is never too).",
        ),
    ] = None,
    rpm: Annotated[
        Any,
        typer.Option(
            "--rpm", metavar="N", parser=values.or_default(values.whole(1)), show_default=False,
            help="Requests a minute; 'default': the account's limit for a key.",
        ),
    ] = None,
    spend_limit: Annotated[
        Any,
        typer.Option(
            "--spend-limit", metavar="USD", parser=values.or_default(values.usd), show_default=False,
            help="The most it may spend; 'default': no limit of its own.",
        ),
    ] = None,
    per: Annotated[
        Any,
        typer.Option(
            "--per", metavar="|".join((*PERIODS, "total")), parser=values.one_of(*PERIODS, "total"), show_default=False,
            help="When the limit starts anew (UTC); total: never.",
        ),
    ] = None,
    models: Annotated[
        Any,
        typer.Option(
            "--models", metavar="A,B", parser=values.or_default(values.names), show_default=False,
            help="Only these models; 'default': all.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Change what a key may do; binds its next request."""
    from tokenhub.accounts.accounts import SpendPeriod
    from tokenhub.operations import keys

    found = keys.find(door.hub, id)
    terms = values.changes(
        name=name,
        expires_at_ms=values.DEFAULT if expires == values.NEVER else expires,
        rpm=rpm,
        spend_limit_nano=spend_limit,
        spend_period=SpendPeriod(per) if per else None,
        models=models,
    )
    state = keys.change(door.hub, found.key.id, terms)
    door.done(row(state, _account_name(door, state)), f"Key {state.key.id} is changed.")


@command(
    app,
    examples=[
        "tokenhub keys rotate key_019a",
        "tokenhub keys rotate key_019a --grace 7d",
        "tokenhub keys rotate key_019a --grace 0s --yes",
    ],
)
def rotate(
    door: Door,
    id: Id,
    grace: Annotated[
        Any,
        typer.Option(
            "--grace",
            metavar="DURATION",
            parser=values.duration,
            help="How long the old key still works, such as 1h or 7d; 90d at most.",
        ),
    ] = "1h",
    yes: Yes = False,
) -> None:
    """Make a key on the same terms; the old one works on for the grace."""
    from tokenhub.operations import keys

    found = keys.find(door.hub, id)
    if grace == 0:
        door.confirm(f"Revoke key {found.key.id} ({found.key.prefix}…) at once?", yes=yes)
    made = keys.rotate(door.hub, found.key.id, grace)
    old = made.replaced.key if made.replaced else found.key
    until = f"works until {render.moment(clock.iso(old.expires_at_ms or 0))} UTC" if grace else "is revoked"
    show_new(
        door, made, _account_name(door, found),
        f"Key {made.state.key.id} replaces {old.id}, which {until}. This is the only time it is shown:",
    )  # fmt: skip


@command(app, examples=["tokenhub keys revoke key_019a", "tokenhub keys revoke key_019a --yes"])
def revoke(door: Door, id: Id, yes: Yes = False) -> None:
    """End a key at once, in every process; it cannot be brought back."""
    from tokenhub.operations import keys

    found = keys.find(door.hub, id)
    account = _account_name(door, found)
    door.confirm(
        f"Revoke key {found.key.id} ({found.key.prefix}…, {found.key.name or 'without a name'}) of account {account}?",
        yes=yes,
    )
    state = keys.revoke(door.hub, found.key.id)
    door.done(row(state, account), f"Key {state.key.id} is revoked.")
