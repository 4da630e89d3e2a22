"""``tokenhub usage``: what was used and charged."""

import csv
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock, money
from tokenhub.cli import render, values
from tokenhub.cli.context import Door, OnlyAccount, command, verb
from tokenhub.cli.tables import Column

if TYPE_CHECKING:
    from tokenhub.operations.usage import Line

app = verb("usage")

GROUPS = ("day", "model", "key", "provider", "account", "session")
SESSIONS_SHOWN = 40
"""Sessions in a table; the others are one line of it. JSON and CSV have all."""
_SUMS = (
    Column("requests", "Requests", right=True),
    Column("charged_requests", "Charged", right=True, spare=True),
    Column("prompt_tokens", "Prompt", right=True, spare=True),
    Column("cached", "Cached", right=True, spare=True),
    Column("output_tokens", "Output", right=True, spare=True),
    Column("model_fee_usd", "Model fee", right=True),
    Column("service_fee_usd", "Service fee", right=True),
    Column("total_usd", "Total", right=True),
    Column("saved_usd", "Saved", right=True),
)
_EMPTY = "No request has ended in this time."
_TITLES = {
    "day": "Day (UTC)",
    "model": "Model",
    "key": "Key",
    "provider": "Provider",
    "account": "Account",
    "session": "Session",
}


def _sums(line: "Line") -> dict[str, Any]:
    sums, rate = line.sums, line.cache_hit_rate
    return {
        "requests": sums.requests,
        "charged_requests": sums.charged,
        "prompt_tokens": sums.prompt_tokens,
        "output_tokens": sums.output_tokens,
        "model_fee_usd": money.exact(sums.model_fee_nano),
        "service_fee_usd": money.exact(sums.service_fee_nano),
        "total_usd": money.exact(sums.total_nano),
        "shortfall_usd": money.exact(sums.shortfall_nano),
        "cached_tokens": sums.cached_tokens,
        "cache_hit_rate": None if rate is None else round(rate, 4),
        "saved_usd": money.exact_or_none(sums.saved_nano),
    }


@command(
    app,
    "usage",
    examples=[
        "tokenhub usage",
        "tokenhub usage --by model --since 7d --account acme",
        "tokenhub usage --by session --account acme",
        "tokenhub usage --by key --since 2026-11-01 --csv > november.csv",
    ],
)
def usage(
    door: Door,
    by: Annotated[
        Any,
        typer.Option("--by", metavar="|".join(GROUPS), parser=values.one_of(*GROUPS), help="What each line adds up."),
    ] = "day",
    since: Annotated[
        Any,
        typer.Option("--since", metavar="DATE", parser=values.past, help="First day (UTC), or a duration such as 7d."),
    ] = "30d",
    account: OnlyAccount = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print comma-separated values, with exact amounts, for spreadsheets.")
    ] = False,
) -> None:
    """Show requests, tokens and charges, in US dollars.

    Requests and charges of all time are known; tokens, what caches saved, and sessions only while single requests are kept.
    Cached is the part of the prompt that providers read from their caches; saved is what that part would have cost more.
    """
    from tokenhub.operations import accounts
    from tokenhub.operations import usage as reports

    only = accounts.id_of(door.hub, account)
    found = reports.report(door.hub, by, since_ms=since, account_id=only)
    lines = found.lines
    rows = [_row(by, line) for line in lines]
    if as_csv and not door.as_json:
        _print_csv(rows, (by, f"{by}_name", *_sums(reports.total([]))))
        return
    if door.as_json:
        total = _sums(reports.total(lines))
        moments = {"since": clock.iso(found.since_ms), "tokens_since": clock.iso(found.tokens_since_ms)}
        render.print_line(render.as_json({"by": by, **moments, "lines": rows, "total": total}))
        return
    columns = (Column(f"{by}_name" if by in ("account", "day", "session") else by, _TITLES[by]), *_named(by), *_SUMS)
    if by == "session" and len(rows) > SESSIONS_SHOWN:
        rest = lines[SESSIONS_SHOWN:]
        rows[SESSIONS_SHOWN:] = [{"session_name": f"{len(rest)} others", **_sums(reports.total(rest))}]
    if rows:
        rows.append({by: "total", f"{by}_name": "total" if not _named(by) else "", **_sums(reports.total(lines))})
    door.rows([{**row, "cached": _percent(row["cache_hit_rate"])} for row in rows], columns, empty=_EMPTY)
    if rows and found.since_ms < found.tokens_since_ms:
        render.say(
            f"Tokens are counted since {clock.iso(found.tokens_since_ms)[:10]}: those of older requests are deleted."
        )


def _row(by: str, line: "Line") -> dict[str, Any]:
    return {by: line.sums.group, f"{by}_name": line.name, **_sums(line)}


def _percent(rate: float | None) -> str | None:
    return None if rate is None else f"{int(rate * 1000) / 10} %"


def _named(by: str) -> tuple[Column, ...]:
    return (Column("key_name", "Name", spare=True),) if by == "key" else ()


def _print_csv(rows: list[dict[str, Any]], header: tuple[str, ...]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([render.cell(row[name]) for name in header] for row in rows)
