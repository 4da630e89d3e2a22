"""``tokenhub grant``: credit given by the operator."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock, money
from tokenhub.cli import render, values
from tokenhub.cli.context import AccountName, Door, command, verb

if TYPE_CHECKING:
    from tokenhub.billing.lots import Lot

app = verb("grant")


@command(
    app,
    "grant",
    examples=[
        "tokenhub grant 25 --account acme",
        "tokenhub grant 5.50 --expires 30d --note 'for the outage of 3 May'",
        "tokenhub grant 1000 --account internal --expires never",
    ],
)
def grant(
    door: Door,
    amount: Annotated[
        Any,
        typer.Argument(metavar="USD", parser=values.usd, help="How much, such as 25 or 0.50; at most nine decimals."),
    ],
    account: AccountName = None,
    expires: Annotated[
        Any,
        typer.Option(
            "--expires",
            metavar="DATE|never",
            parser=values.future_or_never,
            help=f"Last day it can be spent, such as {values.ENDS}, or never. Else twelve months.",
            show_default=False,
        ),
    ] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why, for the ledger.", show_default=False)] = "",
    ref: Annotated[
        str | None,
        typer.Option(
            "--ref",
            metavar="REF",
            help="A name for this grant. The same one is never booked twice, so a command can be repeated safely.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Give an account credit. It is a lot like any other: it can be spent until it expires."""
    from tokenhub.operations import accounts, grants

    owner = accounts.the_account(door.hub, account)
    now_ms = clock.now_ms()
    until = {None: grants.default_expiry_ms(now_ms), "never": None}.get(expires, expires)
    lot = grants.grant(door.hub, owner.id, amount, expires_at_ms=until, note=note, ref=ref)
    available = accounts.state(door.hub, owner.id).available_nano
    booked_before = lot.created_at_ms < now_ms
    door.done(
        {
            "lot": lot.id,
            "ref": lot.ref,
            "account": owner.name,
            "amount_usd": money.exact(lot.granted_nano),
            "expires_at": clock.iso_or_none(lot.expires_at_ms),
            "note": lot.note,
            "available_usd": money.exact(available),
            "booked_before": booked_before,
        },
        _told(owner.name, lot, available, booked_before=booked_before),
    )


def _told(name: str, lot: "Lot", available_nano: int, *, booked_before: bool) -> str:
    """Say what a grant has changed: nothing, where its reference was booked before."""
    amount, available = money.exact(lot.granted_nano), money.exact(available_nano)
    if booked_before:
        day = clock.iso(lot.created_at_ms)[:10]
        return f"Grant {lot.ref!r} of {amount} USD was booked before, on {day}: nothing was changed. {name} has {available} USD in all."
    ends = "never expires" if lot.expires_at_ms is None else render.expires(clock.iso(lot.expires_at_ms))
    return f"{name} has {amount} USD more, {available} USD in all; the new credit {ends}."
