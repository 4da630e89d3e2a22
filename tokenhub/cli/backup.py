"""``tokenhub backup``: copy an installation into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from tokenhub import clock
from tokenhub.cli import render
from tokenhub.cli.context import FAILED, Door, command, end_tidily, verb

app = verb("backup")


@command(
    app,
    "backup",
    examples=[
        "tokenhub backup /var/backups/tokenhub/2026-11-23",
        "tokenhub backup ~/moving --whole && tokenhub restore ~/moving --home /srv/tokenhub --master-key master.key",
    ],
)
def backup(
    door: Door,
    place: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an empty one, on a local disk.")],
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Also all that is kept of single requests for a few days: to move, not to keep."),
    ] = False,
) -> None:
    """Copy this installation into a folder: its database as it is at this moment, and its settings.

    The gateway need not stop. The copy is opened again, and its books are proved; exit code 1 says that
    they do not add up. The master key is no part of it: keep that elsewhere. From PostgreSQL too a
    backup is an SQLite file, so it is the way from one to the other.
    """
    from tokenhub.operations import backups, gateways

    end_tidily()
    made = backups.back_up(door.hub, place, whole=whole, now_ms=clock.now_ms())
    row = {
        "backup": str(made.path),
        "instance": made.instance,
        "latest_at": clock.iso(made.latest_ms) if made.latest_ms else None,
        "bytes": made.size,
        "requests_left_out": made.left_out,
        "ok": made.is_sound,
    }
    messages = [f"A backup is at {made.path} ({made.size / 1e6:.1f} MB)."]
    if made.is_sound:
        messages[0] += " Every lot, account, key, hold and request in it adds up."
    if made.left_out:
        left_out = render.counted(made.left_out, "request")
        messages.append(f"{left_out} of closed days left out: their charges stand in the books.")
    if whole and gateways.seen(door.hub).runs:
        messages.append("A gateway is at work: what it books from now on is not in the copy.")
    door.done(row, *messages, "The master key is not in it: keep a copy of that elsewhere.")
    if not made.is_sound:
        wrong = len(made.discrepancies) + len(made.orphans)
        door.complain(
            f"The books of this installation do not add up ({render.counted(wrong, 'row')}), nor do those of the copy: tokenhub ledger verify"
        )
        raise typer.Exit(FAILED)
