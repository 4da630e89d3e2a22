"""``tokenhub restore``: make a home of a backup."""

from pathlib import Path
from typing import Annotated

import typer

from tokenhub import clock
from tokenhub.cli import render
from tokenhub.cli.context import FAILED, Door, command, end_tidily, verb

app = verb("restore")


@command(
    app,
    "restore",
    examples=[
        "tokenhub restore /var/backups/tokenhub/2026-11-23 --home /srv/tokenhub --master-key /media/safe/master.key",
        "tokenhub restore ~/moving",
    ],
)
def restore(
    door: Door,
    place: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that tokenhub backup made.")],
    master_key: Annotated[
        Path | None,
        typer.Option(
            "--master-key",
            metavar="FILE",
            help="Take the master key from here. Else it must lie in the home already, or in TOKENHUB_MASTER_KEY.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a home of a backup, which stays as it is. The home must have no database yet.

    With TOKENHUB_DATABASE_URL in the environment, or database.url in the home's config.toml, it is
    written into that PostgreSQL database, which must be empty. Stop the old gateway first: two copies of
    one installation would each make every charge at Stripe.
    """
    from tokenhub.operations import backups

    end_tidily()
    made = backups.restore(door.home, place, master_key=master_key, now_ms=clock.now_ms())
    moment = clock.iso(made.latest_ms) if made.latest_ms else None
    kind = {"sqlite": "SQLite", "postgres": "PostgreSQL"}[made.kind]
    row = {
        "home": str(made.home),
        "database": made.kind,
        "instance": made.instance,
        "latest_at": moment,
        "holds_released": made.released,
        "ok": not made.discrepancies,
    }
    messages = [f"The home {made.home} is ready, on {kind}; the newest of what is in it is of {moment or 'no moment'}."]
    if made.released:
        messages.append(f"{render.counted(made.released, 'open hold')} of requests that never ended given back.")
    messages.append(
        "What came after the backup is not in it: look at the keys that were revoked, the accounts that were disabled, "
        "and the automatic recharges that were turned off since, before you start."
    )
    door.done(row, *messages, "Next: tokenhub doctor, then tokenhub serve")
    if made.discrepancies:
        door.complain(
            f"The books do not add up ({render.counted(len(made.discrepancies), 'row')}): tokenhub ledger verify"
        )
        raise typer.Exit(FAILED)
