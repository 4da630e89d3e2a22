"""``tokenhub notify``: who is told of outages, refused credentials, low balances and the like."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock
from tokenhub.billing.notices import EVENTS
from tokenhub.cli import values
from tokenhub.cli.context import FAILED, Door, command, noun
from tokenhub.cli.tables import Column

if TYPE_CHECKING:
    from tokenhub.operations.subscriptions import Subscription

app = noun("notify")

Id = Annotated[
    Any,
    typer.Argument(metavar="ID", parser=values.whole(1), help="The subscription's number in 'tokenhub notify list'."),
]

COLUMNS = (
    Column("id", "Id", right=True),
    Column("channel", "By"),
    Column("target", "To"),
    Column("events", "Events"),
    Column("created_at", "Since (UTC)", spare=True),
)
_WAYS = {"email": "mail", "webhook": "webhook"}


def row(one: "Subscription") -> dict[str, Any]:
    """Return a subscription as it is shown; no events: all of them."""
    return {
        "id": one.id,
        "channel": _WAYS[one.channel],
        "target": one.target,
        "events": list(one.events) or ["all"],
        "created_at": clock.iso(one.created_at_ms),
    }


def _events(text: str) -> list[str]:
    named = [one.strip() for one in text.split(",") if one.strip()]
    if not named:
        raise ValueError("no event is named. Leave the option out for all of them.")
    return named


@command(
    app,
    examples=[
        "tokenhub notify add mail ops@example.com",
        "tokenhub notify add webhook https://ops.example.com/tokenhub --events outage,recovered,credential",
    ],
)
def add(
    door: Door,
    channel: Annotated[
        Any, typer.Argument(metavar="mail|webhook", parser=values.one_of("mail", "webhook"), help="How to tell.")
    ],
    target: Annotated[str, typer.Argument(metavar="ADDRESS", help="A mail address, or a URL that takes JSON.")],
    events: Annotated[
        Any,
        typer.Option(
            "--events",
            metavar="A,B",
            parser=_events,
            help=f"Only these events: {', '.join(EVENTS)}. Else all.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Tell an address of events from now on. An address that is told already gets these events instead."""
    from tokenhub.operations import subscriptions

    found = subscriptions.add(door.hub, channel, target, events or [])
    missing = subscriptions.missing(door.hub, found.channel)
    door.done(
        row(found),
        f"{found.target} is told of {', '.join(found.events) or 'all events'}. Try it: tokenhub notify test {found.id}",
        *([missing] if missing else []),
    )


@command(app, "list", examples=["tokenhub notify list"])
def list_(door: Door) -> None:
    """List who is told of what."""
    from tokenhub.operations import subscriptions

    door.rows(
        [row(one) for one in subscriptions.listing(door.hub)],
        COLUMNS,
        empty="Nobody has subscribed. For example: tokenhub notify add mail ops@example.com",
    )


@command(app, examples=["tokenhub notify remove 2"])
def remove(door: Door, id: Id) -> None:
    """Tell an address nothing any more."""
    from tokenhub.operations import subscriptions

    found = subscriptions.remove(door.hub, id)
    door.done(row(found), f"{found.target} is told nothing any more.")


@command(app, "test", examples=["tokenhub notify test", "tokenhub notify test 2"])
def try_out(
    door: Door,
    id: Annotated[
        Any,
        typer.Argument(
            metavar="ID",
            parser=values.whole(1),
            help="The subscription's number. Else all are tried, and the addresses of the settings.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Send a test notice now. Exit code 1 when one does not arrive."""
    from tokenhub.operations import subscriptions

    sent = subscriptions.test(door.hub, id)
    rows = [
        {
            "id": one.number,
            "channel": _WAYS[one.channel],
            "target": one.target,
            "ok": not one.reason,
            "reason": one.reason,
        }
        for one in sent
    ]
    door.rows(rows, TEST_COLUMNS, empty="Nobody has subscribed. For example: tokenhub notify add mail ops@example.com")
    if any(one.reason for one in sent):
        if any(one.reason and one.channel == "email" for one in sent):
            door.say("How mail goes out: tokenhub config list")
        raise typer.Exit(FAILED)


TEST_COLUMNS = (
    Column("id", "Id", right=True),
    Column("channel", "By"),
    Column("target", "To"),
    Column("ok", "Arrived"),
    Column("reason", "Why not"),
)
