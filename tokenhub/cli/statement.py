"""``tokenhub statement``: an account's month, for people, spreadsheets and printers."""

import csv
import html
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock, money
from tokenhub.cli import render, tables, values
from tokenhub.cli.context import AccountName, Door, command, verb
from tokenhub.cli.tables import Column

if TYPE_CHECKING:
    from tokenhub.billing.statements import Line, Statement

app = verb("statement")

FORMATS = ("text", "csv", "html")
_CSV = (
    "section",
    "date",
    "description",
    "note",
    "requests",
    "model_fee_usd",
    "service_fee_usd",
    "amount_usd",
    "model_fee",
    "service_fee",
    "amount",
)
"""Names that end in ``_usd`` are exact; the others are the cents that are shown."""
_COLUMNS = (
    Column("section", "Section", spare=True),
    Column("date", "Date (UTC)"),
    Column("description", "What"),
    Column("requests", "Requests", right=True, spare=True),
    Column("model_fee", "Model fee", right=True),
    Column("service_fee", "Service fee", right=True),
    Column("amount", "USD", right=True),
)
_NUMBERS = {column.field for column in _COLUMNS if column.right}
_STYLE = (
    "body{font:14px system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;padding:.3em .6em;border-bottom:1px solid #ddd}.n{text-align:right;font-variant-numeric:tabular-nums}"
    ".b{font-weight:bold}footer{color:#555;margin-top:1.5em}"
)


def _month(text: str) -> int:
    from tokenhub.operations import statements

    return statements.parse_month(text)


@command(
    app,
    "statement",
    examples=[
        "tokenhub statement --account acme",
        "tokenhub statement --account acme --month 2026-10 --format html > acme.html",
        "tokenhub statement --account acme --month 2026-10 --json",
    ],
)
def statement(
    door: Door,
    account: AccountName = None,
    month: Annotated[
        Any,
        typer.Option(
            "--month",
            metavar="YYYY-MM",
            parser=_month,
            help="Which month (UTC). Else the current one, so far.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Any,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            parser=values.one_of(*FORMATS),
            help="text for people, csv for spreadsheets, html for a browser or a printer.",
        ),
    ] = "text",
) -> None:
    """Show what moved an account's balance in a month: top-ups, grants, usage by model with both fees, expiry, refunds, disputes.

    What is shown adds up to the cent, and the exact amounts beneath to the nano-dollar: lines are rounded
    by largest remainder, balances down.
    """
    from tokenhub.operations import accounts, statements

    owner = accounts.the_account(door.hub, account)
    found = statements.statement(door.hub, owner.id, statements.this_month() if month is None else month)
    if door.as_json:
        render.print_line(render.as_json(_as_json(found)))
        return
    {"text": _print_text, "csv": _print_csv, "html": _print_html}[form](found)


def _as_json(found: "Statement") -> dict[str, Any]:
    return {
        "account": found.account,
        "month": found.month,
        "since": clock.iso(found.since_ms),
        "until": clock.iso(found.until_ms),
        "complete": found.is_complete,
        "opening_usd": money.exact(found.opening_nano),
        "opening": _cents(found.opening_cents),
        "lines": [_row(line) for line in found.lines],
        "closing_usd": money.exact(found.closing_nano),
        "closing": _cents(found.closing_cents),
        "debt_usd": money.exact(found.owed_nano),
    }


def _row(line: "Line") -> dict[str, Any]:
    """Return a line as it is shown."""
    return {
        "section": line.section.value,
        "date": None if line.at_ms is None else clock.iso(line.at_ms)[:10],
        "description": line.label,
        "note": line.note,
        "requests": line.requests,
        "model_fee_usd": money.exact_or_none(line.model_fee_nano),
        "service_fee_usd": money.exact_or_none(line.service_fee_nano),
        "amount_usd": money.exact(line.amount_nano),
        "model_fee": _cents(line.model_fee_cents),
        "service_fee": _cents(line.service_fee_cents),
        "amount": _cents(line.cents),
    }


def _balances(found: "Statement") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows of the opening and the closing balance."""
    opening = {"description": "opening balance", "amount_usd": money.exact(found.opening_nano)}
    closing = {"description": "closing balance", "amount_usd": money.exact(found.closing_nano)}
    return (
        {
            "section": "balance",
            "date": clock.iso(found.since_ms)[:10],
            **opening,
            "amount": _cents(found.opening_cents),
        },
        {
            "section": "balance",
            "date": clock.iso(found.until_ms)[:10],
            **closing,
            "amount": _cents(found.closing_cents),
        },
    )


def _cents(cents: int | None) -> str | None:
    """Return cents as dollars with two decimals."""
    if cents is None:
        return None
    whole, part = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{part:02d}"


def _rows(found: "Statement") -> Iterator[dict[str, Any]]:
    opening, closing = _balances(found)
    yield opening
    for line in found.lines:
        row = _row(line)
        yield row | {"description": f"{line.label} ({line.note})" if line.note else line.label}
    yield closing


def _notes(found: "Statement") -> Iterator[str]:
    if not found.is_complete:
        yield f"The month is not over: this is how it stands at {clock.iso(found.until_ms)}."
    if found.owed_nano:
        yield f"Of the closing balance, {money.exact(found.owed_nano)} USD are owed: refunds and disputes took back more than was left."
    yield "Lines are rounded by largest remainder so that they add up to the cent; balances are rounded down. Exact amounts: --format csv."


def _title(found: "Statement") -> str:
    return f"Statement of {found.account}, {found.month} (UTC), in US dollars"


def _print_text(found: "Statement") -> None:
    render.print_line(render.inert(_title(found)))
    render.print_blank()
    tables.print_table(_rows(found), _COLUMNS)
    for note in _notes(found):
        render.say(note)


def _print_csv(found: "Statement") -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_CSV)
    opening, closing = _balances(found)
    for row in (opening, *map(_row, found.lines), closing):
        writer.writerow([render.cell(row.get(name)) for name in _CSV])


def _print_html(found: "Statement") -> None:
    """Write a page that stands alone: no script, no font and no image from anywhere."""
    title = html.escape(render.inert(_title(found)))
    print(f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n<style>{_STYLE}</style>')
    print(f"<h1>{title}</h1>\n<table>\n<tr>{''.join(_cell('th', column, column.title) for column in _COLUMNS)}</tr>")
    for row in _rows(found):
        bold = ' class="b"' if row["section"] == "balance" else ""
        print(f"<tr{bold}>{''.join(_cell('td', column, row.get(column.field)) for column in _COLUMNS)}</tr>")
    print("</table>\n<footer>")
    for note in _notes(found):
        print(f"<p>{html.escape(render.inert(note))}</p>")
    print("</footer>\n</html>")


def _cell(tag: str, column: Column, value: Any) -> str:
    number = ' class="n"' if column.field in _NUMBERS else ""
    return f"<{tag}{number}>{'' if value is None else html.escape(render.inert(str(value)))}</{tag}>"
