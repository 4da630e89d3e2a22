"""``tokenhub doctor``: a check-up."""

import typer

from tokenhub.cli import render, tables
from tokenhub.cli.context import FAILED, Door, command, verb
from tokenhub.cli.tables import Column

app = verb("doctor")

COLUMNS = (Column("health", "Health"), Column("check", "Check"), Column("message", "Found"), Column("remedy", "To do"))


@command(app, "doctor", examples=["tokenhub doctor", "tokenhub doctor --json"])
def doctor(door: Door) -> None:
    """Check home, settings, database, master key, credentials, ledger, clock, disk and port.

    Each finding comes with what to do about it. Exit code 1 when a check has failed.
    """
    from tokenhub.operations import doctor as checks

    found = checks.examine(door.home)
    rows = [
        {
            "check": one.check,
            "health": one.health.value,
            "message": door.told(one.message),
            "remedy": door.told(one.remedy),
        }
        for one in found
    ]
    if door.as_json:
        render.print_line(render.as_json({"ok": all(row["health"] != "failed" for row in rows), "findings": rows}))
    else:
        tables.print_table(rows, COLUMNS)
    if any(row["health"] == "failed" for row in rows):
        raise typer.Exit(FAILED)
