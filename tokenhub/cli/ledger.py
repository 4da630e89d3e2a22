"""``tokenhub ledger``: lots, entries, and the proof that they add up."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock, money
from tokenhub.cli import render, values
from tokenhub.cli.context import FAILED, AccountName, Door, command, noun
from tokenhub.cli.render import Column

if TYPE_CHECKING:
    from tokenhub.operations.ledger import EntryLine, Lot

app = noun("ledger")

BALANCE_COLUMNS = (
    Column("account", "Account"),
    Column("available_usd", "Available"),
    Column("held_usd", "Held by open requests"),
    Column("open_requests", "Open requests"),
)
LOT_COLUMNS = (
    Column("id", "Lot", right=True),
    Column("kind", "Kind"),
    Column("granted_usd", "Granted", right=True),
    Column("available_usd", "Available", right=True),
    Column("held_usd", "Held", right=True),
    Column("spent_usd", "Spent", right=True),
    Column("expired_usd", "Expired", right=True),
    Column("returned_usd", "Returned", right=True),
    Column("expires_at", "Expires (UTC)"),
    Column("note", "Note"),
)
ENTRY_COLUMNS = (
    Column("id", "Entry", right=True),
    Column("created_at", "Booked (UTC)"),
    Column("kind", "Kind"),
    Column("amount_usd", "Amount", right=True),
    Column("lot", "Lot", right=True),
    Column("ref", "Reference"),
    Column("note", "Note"),
)
FAULT_COLUMNS = (Column("invariant", "Rule"), Column("subject", "Row"), Column("message", "What does not add up"))


def lot_row(lot: "Lot") -> dict[str, Any]:
    """Return a lot as it is shown."""
    amounts = ("granted", "available", "held", "spent", "expired", "returned")
    return {
        "id": lot.id,
        "kind": lot.kind,
        "ref": lot.ref,
        **{f"{name}_usd": money.exact(getattr(lot, f"{name}_nano")) for name in amounts},
        "expires_at": None if lot.expires_at_ms is None else clock.iso(lot.expires_at_ms),
        "created_at": clock.iso(lot.created_at_ms),
        "note": lot.note,
    }


def entry_row(entry: "EntryLine") -> dict[str, Any]:
    """Return a journal entry as it is shown."""
    return {
        "id": entry.id,
        "created_at": clock.iso(entry.created_at_ms),
        "kind": entry.kind,
        "amount_usd": money.exact(entry.amount_nano),
        "lot": entry.lot_id,
        "ref": entry.ref,
        "note": entry.note,
    }


@command(app, examples=["tokenhub ledger show", "tokenhub ledger show --account acme --json"])
def show(
    door: Door,
    account: AccountName = None,
    limit: Annotated[
        Any,
        typer.Option("--limit", metavar="N", parser=values.whole(1, 100_000), help="How many of the newest entries."),
    ] = "50",
) -> None:
    """Show an account's balance, its lots in the order they are spent, and the journal.

    Charges of single requests stand in 'tokenhub requests list'; the lots carry their sum as spent.
    """
    from tokenhub.operations import accounts, ledger

    owner = accounts.the_account(door.hub, account)
    found = ledger.statement(door.hub, owner.id, limit=limit)
    summary = {
        "account": owner.name,
        "available_usd": money.exact(accounts.state(door.hub, owner.id).available_nano),
        "held_usd": money.exact(found.balances.held_nano),
        "open_requests": found.balances.open_holds,
    }
    lots, entries = [lot_row(lot) for lot in found.lots], [entry_row(entry) for entry in found.entries]
    if door.as_json:
        door.record({**summary, "lots": lots, "entries": entries}, ())
        return
    render.print_record(summary, BALANCE_COLUMNS)
    for rows, columns in ((lots, LOT_COLUMNS), (entries, ENTRY_COLUMNS)):
        if rows:
            render.print_blank()
            render.print_table(rows, columns)


@command(app, examples=["tokenhub ledger verify", "tokenhub ledger verify --json || mail -s 'books' ops@example.com"])
def verify(door: Door) -> None:
    """Prove the books, lot by lot, to the nano-dollar. Exit code 1, with the exact rows, when they do not add up."""
    from tokenhub.operations import ledger

    found = ledger.verify(door.hub)
    rows = [{"invariant": one.invariant, "subject": one.subject, "message": one.message} for one in found]
    if door.as_json:
        render.print_line(render.as_json({"ok": not rows, "discrepancies": rows}))
    elif rows:
        render.print_table(rows, FAULT_COLUMNS)
        render.complain(
            f"{render.counted(len(rows), 'row')} do not add up. Keep the database as it is, stop serving, and ask for help with this output."
        )
    else:
        render.say("Every lot, account, key, hold and request adds up.")
    if rows:
        raise typer.Exit(FAILED)
