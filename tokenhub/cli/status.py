"""``tokenhub status``: how providers do now, from what the gateways see of real traffic."""

import sys
import time
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokenhub import clock
from tokenhub.cli import render, tables, values
from tokenhub.cli.context import Door, command, verb
from tokenhub.cli.tables import Column
from tokenhub.errors import Unavailable

if TYPE_CHECKING:
    from tokenhub.operations.status import DeploymentStatus, Status

app = verb("status")

EVERY_S: Final = 2.0
_WORDS: Final = {
    "ok": "ok",
    "shaky": "shaky",
    "open": "DOWN",
    "due": "DOWN, next request tries",
    "probing": "DOWN, being tried",
    "cooling": "throttled",
    "failed": "KEY REFUSED",
    "idle": "idle",
}
_WORST: Final = ("failed", "open", "probing", "due", "cooling", "shaky", "ok", "idle")

_NUMBERS: Final = (
    Column("state", "State"),
    Column("success_bp", "Success", right=True),
    Column("attempts", "Attempts", right=True, spare=True),
    Column("p50_ms", "p50 ms", right=True, spare=True),
    Column("p95_ms", "p95 ms", right=True, spare=True),
)
PLACES: Final = (
    Column("provider", "Provider"),
    Column("region", "Region"),
    Column("data_region", "Data in", spare=True),
    *_NUMBERS,
)
DEPLOYMENTS: Final = (
    Column("deployment", "Deployment"),
    *_NUMBERS,
    Column("tokens_per_s", "Tokens/s", right=True, spare=True),
    Column("last_error", "Last fault"),
    Column("retry_s", "Again in, s", right=True, spare=True),
)
CREDENTIALS: Final = (
    Column("id", "Credential", right=True),
    Column("provider", "Provider"),
    Column("region", "Region", spare=True),
    Column("label", "Label", spare=True),
    Column("reason", "Refused because of"),
)


@command(
    app,
    examples=[
        "tokenhub status",
        "tokenhub status --watch",
        "tokenhub status --all --minutes 60",
        "tokenhub status --json",
    ],
)
def status(
    door: Door,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every two seconds until Ctrl-C.")] = False,
    minutes: Annotated[
        Any,
        typer.Option(
            "--minutes", metavar="N", parser=values.whole(1, 1440), help="Count the last N minutes, at most a day."
        ),
    ] = "15",
    everything: Annotated[
        bool, typer.Option("--all", help="Also what was not asked and is not known to be down.")
    ] = False,
) -> None:
    """Show how providers, regions and deployments do: circuit, success rate, time to first content, last fault."""
    from tokenhub.operations import status as operation

    while True:
        try:
            found = operation.read(door.hub, minutes=minutes, everything=everything)
        except Unavailable as error:
            if not watch:
                raise
            door.say(str(error))
            time.sleep(EVERY_S)
            continue
        if watch and not door.as_json:
            _begin_page()
        _show(door, found, one_line=watch)
        if not watch:
            return
        time.sleep(EVERY_S)


def _begin_page() -> None:
    """Start at the top of an empty terminal; in a pipe, pages follow each other."""
    if sys.stdout.isatty():
        print("\x1b[H\x1b[J", end="", flush=True)
    else:
        render.print_blank()


def _show(door: Door, found: "Status", *, one_line: bool) -> None:
    if door.as_json:
        render.print_line(render.as_json(as_json(found), indent=None if one_line else 2))
        return
    shown = as_json(found)
    if not found.gateway.runs:
        door.say(f"{found.gateway.words}: nothing is served now. Start one: tokenhub serve")
    if found.deployments:
        tables.print_table([_told(one) for one in shown["providers"]], PLACES)
        tables.print_below([_told(one) for one in shown["deployments"]], DEPLOYMENTS)
    if found.credentials:
        tables.print_below(shown["credentials"], CREDENTIALS)
        door.say("Mend one: tokenhub credentials rotate ID, or test it: tokenhub credentials test ID --chat")
    if found.hidden:
        door.say(
            f"{render.counted(found.hidden, 'deployment')} without a request in {found.minutes} min: tokenhub status --all"
        )
    if not found.deployments and not found.hidden:
        door.say("There is nothing to call yet. Add a credential: tokenhub credentials add PROVIDER")


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "state": _WORDS[row["state"]]}


def as_json(found: "Status") -> dict[str, Any]:
    """Return everything under stable names."""
    places = groupby(found.deployments, lambda one: (one.provider, one.region))
    return {
        "at": clock.iso(found.at_ms),
        "minutes": found.minutes,
        "gateway": {
            "running": found.gateway.runs,
            "seen_at": clock.iso(found.gateway.at_ms) if found.gateway.at_ms else None,
        },
        "providers": [_place_row(list(ones)) for _, ones in places],
        "deployments": [_row(one, found.at_ms) for one in found.deployments],
        "credentials": [
            {
                "id": one.id,
                "provider": one.provider,
                "region": one.region,
                "label": one.label,
                "reason": one.status_reason,
            }
            for one in found.credentials
        ],
        "hidden": found.hidden,
    }


def _place_row(ones: "list[DeploymentStatus]") -> dict[str, Any]:
    """Add up a provider's deployments in one region; its state is the worst of theirs."""
    from tokenhub.routing import health

    words = {one.word for one in ones}
    return {
        "provider": ones[0].provider,
        "region": ones[0].region,
        "data_region": ones[0].data_region,
        "state": next(word for word in _WORST if word in words),
        **_numbers(health.together(one.tally for one in ones)),
    }


def _row(one: "DeploymentStatus", now_ms: int) -> dict[str, Any]:
    speed = one.tally.throughput()
    return {
        "deployment": one.deployment,
        "provider": one.provider,
        "region": one.region,
        "data_region": one.data_region,
        "model": one.model,
        "credential": one.credential_id,
        "state": one.word,
        **_numbers(one.tally),
        "tokens_per_s": None if speed is None else round(speed),
        "last_error": one.last_error,
        "retry_at": clock.iso(one.until_ms) if one.until_ms else None,
        "retry_s": max(0, round((one.until_ms - now_ms) / 1000)) if one.until_ms else None,
    }


def _numbers(tally: Any) -> dict[str, Any]:
    rate = tally.success_rate
    return {
        "success_bp": None if rate is None else round(rate * 10_000),
        "attempts": tally.attempts,
        "failures": tally.failures,
        "p50_ms": tally.percentile_ms(0.5),
        "p95_ms": tally.percentile_ms(0.95),
    }
