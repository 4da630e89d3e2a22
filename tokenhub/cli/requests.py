"""``tokenhub requests``: single requests, as they ended."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock, money
from tokenhub.cli import decision, render, tables, values
from tokenhub.cli.context import Door, OnlyAccount, command, noun
from tokenhub.cli.tables import Column

if TYPE_CHECKING:
    from tokenhub.operations.requests import EndedRequest, RequestFilter

app = noun("requests")

COLUMNS = (
    Column("ended_at", "Ended (UTC)", spare=True),
    Column("id", "Request"),
    Column("account", "Account", spare=True),
    Column("model", "Model"),
    Column("provider", "Provider", spare=True),
    Column("status", "HTTP", right=True),
    Column("end", "End", spare=True),
    Column("prompt_tokens", "Prompt", right=True, spare=True),
    Column("output_tokens", "Output", right=True, spare=True),
    Column("charged_usd", "Charged", right=True),
    Column("duration_ms", "ms", right=True, spare=True),
)
FIELDS = (
    Column("id", "Request"),
    Column("account", "Account"),
    Column("key", "Key"),
    Column("started_at", "Started (UTC)"),
    Column("ended_at", "Ended (UTC)"),
    Column("capability", "Capability"),
    Column("asked_model", "Asked for"),
    Column("model", "Model"),
    Column("provider", "Served by"),
    Column("region", "In region"),
    Column("credential", "With credential"),
    Column("upstream_id", "Provider's id"),
    Column("streamed", "Streamed"),
    Column("status", "HTTP status"),
    Column("error_code", "Error"),
    Column("finish_reason", "Finish reason"),
    Column("native_finish_reason", "Provider's word for it"),
    Column("first_content_ms", "First content, ms"),
    Column("duration_ms", "Duration, ms"),
    Column("end", "End"),
    Column("held_usd", "Held"),
    Column("model_fee_usd", "Model fee"),
    Column("service_fee_usd", "Service fee"),
    Column("fee_bp", "Service fee rate"),
    Column("charged_usd", "Charged"),
    Column("shortfall_usd", "Shortfall"),
    Column("price_version", "Price version"),
    Column("estimated", "Usage estimated"),
    Column("cancelled", "Client left"),
)
ATTEMPT_COLUMNS = (
    Column("deployment", "Attempt"),
    Column("outcome", "Outcome"),
    Column("status", "HTTP", right=True),
    Column("ms", "ms", right=True, spare=True),
)
_COUNTS = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "image_input",
    "output",
    "reasoning",
    "image_output",
    "unknown",
)


def row(request: "EndedRequest", accounts: dict[str, str]) -> dict[str, Any]:
    """Return a request as it is shown."""
    counts = {f"{name}_tokens": getattr(request, f"{name}_tokens") for name in _COUNTS}
    same = (
        "id", "capability", "model", "provider", "region", "upstream_id", "streamed", "status", "error_code", "finish_reason",
        "native_finish_reason", "first_content_ms", "duration_ms", "price_version", "fee_bp", "estimated", "cancelled",
    )  # fmt: skip
    decided = json.loads(request.decision) if request.decision else None
    return {
        **{name: getattr(request, name) for name in same},
        "asked_model": _asked(decided),
        "account": accounts.get(str(request.account_id)),
        "key": request.key_id,
        "credential": request.credential_id,
        "started_at": clock.iso(request.started_at),
        "ended_at": clock.iso(request.ended_at),
        "end": request.end.value,
        "prompt_tokens": request.prompt_total,
        **counts,
        "units": json.loads(request.units) if request.units else [],
        **{
            f"{name}_usd": money.exact(getattr(request, name))
            for name in ("held", "model_fee", "service_fee", "charged", "shortfall")
        },
        "attempts": json.loads(request.attempts),
        "decision": decided,
    }


def _asked(decided: dict[str, Any] | None) -> str | None:
    """Return the model, or the models, that a request named, as it named them; None when it is not known any more."""
    asked = (decided or {}).get("asked")
    return ", ".join(asked) if isinstance(asked, list) else asked or None


@command(
    app,
    "list",
    examples=[
        "tokenhub requests list",
        "tokenhub requests list --account acme --failed --since 1d",
        "tokenhub requests list --follow",
    ],
)
def list_(
    door: Door,
    account: OnlyAccount = None,
    key: Annotated[str | None, typer.Option("--key", metavar="ID", help="Only those of this key.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="M", help="Only those for this model.", show_default=False)] = None,
    provider: Annotated[str | None, typer.Option("--provider", metavar="P", help="Only those served by this provider.", show_default=False)] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that were answered with an error.")] = False,
    since: Annotated[
        Any, typer.Option("--since", metavar="DATE", parser=values.past, help="Those that ended since a day (UTC), or 7d, 1h.", show_default=False)
    ] = None,
    limit: Annotated[Any, typer.Option("--limit", metavar="N", parser=values.whole(1, 100_000), help="How many of the newest.")] = "20",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing requests as they end, until Ctrl-C.")] = False,
) -> None:  # fmt: skip
    """List requests that ended, the newest first; with --follow the newest last."""
    from tokenhub.operations import accounts, keys, requests

    asked = requests.RequestFilter(
        account_id=accounts.id_of(door.hub, account),
        key_id=keys.find(door.hub, key).key.id if key is not None else None,
        model=model,
        provider=provider,
        failed=True if failed else None,
        since_ms=since,
    )
    wanted = requests.checked(door.hub, asked)
    if follow:
        _follow(door, wanted, limit)
    else:
        names = accounts.names_by_id(door.hub)
        rows = [row(request, names) for request in requests.listing(door.hub, wanted, limit=limit)]
        is_all = wanted == requests.RequestFilter()
        door.rows(rows, COLUMNS, empty="No request has ended yet." if is_all else "No request matches.")


def _follow(door: Door, wanted: "RequestFilter", limit: int) -> None:
    """Show requests one a line as they end: JSON lines, or a table that goes on."""
    from tokenhub.operations import accounts, requests

    columns = [] if door.as_json else tables.print_heading(COLUMNS)
    names = accounts.names_by_id(door.hub)
    for request in requests.follow(door.hub, wanted, limit=limit):
        if str(request.account_id) not in names:
            names = accounts.names_by_id(door.hub)
        shown = row(request, names)
        if door.as_json:
            render.print_line(render.as_json(shown, indent=None))
        elif columns:
            tables.print_row(shown, columns)
        else:
            tables.print_record(shown, COLUMNS)
            render.print_blank()


def _awaited(door: Door, id: str) -> "EndedRequest":
    """Return a request that has ended, or will: that it is waited for is said."""
    from tokenhub.operations import requests

    if (found := requests.ended(door.hub, id)) is not None:
        return found
    door.say(f"Waiting for request {id} to end (Ctrl-C to leave) …")
    return requests.wait_for(door.hub, id)


@command(app, examples=["tokenhub requests show req_019acb3f2b", "tokenhub requests show chatcmpl-9xYz --json"])
def show(
    door: Door,
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="The request's id (x-request-id) or how it begins, or the provider's id of its reply."
        ),
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for it to end.")] = False,
) -> None:
    """Show one request: what served it and why, every attempt, usage and cost. Prompts and answers are not kept."""
    from tokenhub.operations import accounts, requests

    found = _awaited(door, id) if follow else requests.find(door.hub, id)
    names = accounts.names_by_id(door.hub)
    shown = row(found, names)
    counts = tuple(
        Column(f"{name}_tokens", f"{name.replace('_', ' ')} tokens") for name in _COUNTS if shown[f"{name}_tokens"]
    )
    door.record(shown, (*FIELDS, *counts))
    if door.as_json:
        return
    tables.print_below(shown["attempts"], ATTEMPT_COLUMNS)
    if shown["decision"]:
        render.print_blank()
        tried = {attempt["deployment"] for attempt in shown["attempts"]}
        decision.print_decision(shown["decision"], names, found.started_at, tried)
