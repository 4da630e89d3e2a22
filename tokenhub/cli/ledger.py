"""``tokenhub ledger``: lots, entries, and the proof that they add up."""

import shutil
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock, money
from tokenhub.cli import render, tables, values
from tokenhub.cli.context import FAILED, AccountName, Door, OnlyAccount, command, noun
from tokenhub.cli.tables import Column

if TYPE_CHECKING:
    from tokenhub.operations.ledger import EntryLine, Lot

app = noun("ledger")

FORMATS = ("csv", "json", "beancount")

BALANCE_COLUMNS = (
    Column("account", "Account"),
    Column("available_usd", "Available"),
    Column("held_usd", "Held by open requests"),
    Column("frozen_usd", "Frozen by disputes"),
    Column("debt_usd", "Owed"),
    Column("open_requests", "Open requests"),
)
LOT_COLUMNS = (
    Column("id", "Lot", right=True),
    Column("kind", "Kind"),
    Column("granted_usd", "Granted", right=True),
    Column("available_usd", "Available", right=True),
    Column("held_usd", "Held", right=True),
    Column("frozen_usd", "Frozen", right=True),
    Column("spent_usd", "Spent", right=True),
    Column("expired_usd", "Expired", right=True),
    Column("returned_usd", "Returned", right=True),
    Column("repaid_usd", "Repaid", right=True),
    Column("expires_at", "Expires (UTC)"),
    Column("note", "Note", spare=True),
)
ENTRY_COLUMNS = (
    Column("id", "Entry", right=True),
    Column("created_at", "Booked (UTC)"),
    Column("kind", "Kind"),
    Column("amount_usd", "Amount", right=True),
    Column("lot", "Lot", right=True),
    Column("ref", "Reference", spare=True),
    Column("note", "Note", spare=True),
)
FAULT_COLUMNS = (Column("invariant", "Rule"), Column("subject", "Row"), Column("message", "What does not add up"))


def lot_row(lot: "Lot") -> dict[str, Any]:
    """Return a lot as it is shown."""
    amounts = ("granted", "available", "held", "frozen", "spent", "expired", "returned", "repaid")
    return {
        "id": lot.id,
        "kind": lot.kind,
        "ref": lot.ref,
        **{f"{name}_usd": money.exact(getattr(lot, f"{name}_nano")) for name in amounts},
        "expires_at": clock.iso_or_none(lot.expires_at_ms),
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

    Charges stand in 'tokenhub usage' and 'tokenhub statement'; the lots carry their sum as spent.
    """
    from tokenhub.operations import accounts, ledger

    owner = accounts.the_account(door.hub, account)
    found = ledger.statement(door.hub, owner.id, limit=limit)
    summary = {
        "account": owner.name,
        "available_usd": money.exact(accounts.state(door.hub, owner.id).available_nano),
        "held_usd": money.exact(found.balances.held_nano),
        "frozen_usd": money.exact(found.balances.frozen_nano),
        "debt_usd": money.exact(found.balances.debt_nano),
        "open_requests": found.balances.open_holds,
    }
    lots, entries = [lot_row(lot) for lot in found.lots], [entry_row(entry) for entry in found.entries]
    if door.as_json:
        door.record({**summary, "lots": lots, "entries": entries}, ())
        return
    tables.print_record(summary, BALANCE_COLUMNS)
    tables.print_below(lots, LOT_COLUMNS)
    tables.print_below(entries, ENTRY_COLUMNS)


@command(app, examples=["tokenhub ledger verify", "tokenhub ledger verify --json || mail -s 'books' ops@example.com"])
def verify(door: Door) -> None:
    """Prove the books, lot by lot, to the nano-dollar. Exit code 1, with the exact rows, when they do not add up."""
    from tokenhub.operations import ledger

    found = ledger.verify(door.hub)
    rows = [{"invariant": one.invariant, "subject": one.subject, "message": one.message} for one in found]
    if door.as_json:
        render.print_line(render.as_json({"ok": not rows, "discrepancies": rows}))
    elif rows:
        tables.print_table(rows, FAULT_COLUMNS)
        door.complain(
            f"{render.counted(len(rows), 'row')} do not add up. Keep the database as it is, stop serving, and ask for help with this output."
        )
    else:
        render.say("Every lot, account, key, hold and request adds up.")
    if rows:
        raise typer.Exit(FAILED)


@command(app, examples=["tokenhub ledger expire"])
def expire(door: Door) -> None:
    """Book the expiry of all credit whose time has passed. The gateway does so every minute by itself."""
    from tokenhub.operations import ledger

    lots = ledger.expire(door.hub)
    found = f"Credit of {render.counted(lots, 'lot')} has expired." if lots else "No credit is due to expire."
    door.done({"expired_lots": lots}, found)


@command(
    app,
    examples=[
        "tokenhub ledger export > books.csv",
        "tokenhub ledger export --format beancount > books.beancount && bean-check books.beancount",
        "tokenhub ledger export --since 2026-11-01 --account acme --json",
    ],
)
def export(
    door: Door,
    form: Annotated[
        Any,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            parser=values.one_of(*FORMATS),
            help="csv for spreadsheets, json for programs, beancount for double-entry book-keeping.",
        ),
    ] = "csv",
    since: Annotated[
        Any,
        typer.Option(
            "--since",
            metavar="DATE",
            parser=values.past,
            help="First day (UTC), or a duration such as 30d. Else from the beginning.",
            show_default=False,
        ),
    ] = None,
    account: OnlyAccount = None,
) -> None:
    """Print the books: every entry of the journal, then every day's charges by account, key, model, provider, fee and lot.

    All of it is one moment's view. Days that are not closed yet are added up as they are now.
    """
    from tokenhub.operations import accounts, exports

    only = accounts.id_of(door.hub, account)
    chosen: exports.Format = "json" if door.as_json else form
    with exports.export(door.hub, chosen, since_ms=since or 0, account_id=only, cell=render.cell) as file:
        shutil.copyfileobj(file, sys.stdout)
