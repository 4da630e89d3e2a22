"""How a routing decision is shown: one row for each deployment that was considered.

What is shown is the compact record that is kept with each request, so that a decision made an
hour ago reads like one that is made now.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from tokenhub import clock
from tokenhub.cli import render, tables
from tokenhub.cli.tables import Column

Record = Mapping[str, Any]

ORDERS: Final = {
    "session": "by session: its place in a draw weighted by price and by your weights",
    "order": "by the order that was set, then by session",
    "sort:price": "by price, the cheapest first",
    "sort:latency": "by the time to the first content of late, the quickest first",
    "sort:throughput": "by tokens a second of late, the quickest first",
    "pin": "held where this session's tool loop is, then by session",
    "last_resort": "nothing is well; the last one inside the boundaries is tried once",
}
RULES: Final = {
    "region_not_allowed": "region not allowed",
    "region_denied": "region denied",
    "provider_not_allowed": "provider not allowed",
    "provider_denied": "provider denied",
    "model_not_allowed": "model not allowed",
    "model_denied": "model denied",
    "data_policy": "data policy",
    "price_above_max": "above the highest price",
    "context_too_short": "context too short",
    "modality": "modality",
    "tools": "no tools",
    "json_schema": "no JSON schema",
    "key_models": "not a model of this key",
    "circuit_open": "circuit open",
    "half_open": "circuit half open",
    "cooling_down": "cooling down",
    "credential_failed": "credential refused",
}
VERDICTS: Final = {"try": "tried", "spare": "spare", "unavailable": "out at present", "excluded": "left out"}
COLUMNS: Final = (
    Column("deployment", "Deployment"),
    Column("verdict", "Verdict"),
    Column("rule", "Because"),
    Column("detail", "That is"),
    Column("set_on", "Set on", spare=True),
    Column("score", "Score", right=True, spare=True),
)


def rows(
    record: Record, accounts: Mapping[str, str], now_ms: int, tried: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Return a record's deployments, first to last of the plan, then the others; ``accounts`` are their names by id.

    ``tried``: those that a request which has ended did try; a plan goes on behind the one that answered.
    """
    return [_row(one, accounts, now_ms, tried) for one in record["d"]]


def _row(one: Record, accounts: Mapping[str, str], now_ms: int, tried: Collection[str] | None) -> dict[str, Any]:
    verdict = VERDICTS.get(one["v"], one["v"])
    place = f" {ordinal(one['n'])}" if "n" in one else ""
    if one["v"] == "try" and tried is not None and one["id"] not in tried:
        verdict, place = "planned", f"{place}, not tried"
    return {
        "deployment": one["id"],
        "state": one["v"],
        "place": one.get("n"),
        "verdict": f"{verdict}{place}",
        "rule": rule(one.get("code", "")) or None,
        "detail": one.get("why") or again(one.get("at"), now_ms),
        "set_on": where(one, accounts),
        "score": one.get("s"),
    }


def rule(code: str) -> str:
    """Return what a reason's code means in words."""
    if code.startswith("parameter:"):
        return f"does not take {code.removeprefix('parameter:')}"
    return RULES.get(code, code)


def where(one: Record, accounts: Mapping[str, str]) -> str | None:
    """Say where the rule is set that left a deployment out; None: it cannot do what is asked, whoever asks."""
    scope, subject = one.get("scope", ""), one.get("sub", "")
    if not scope:
        return None
    if scope == "key" and not subject:
        return "this key"
    if scope == "account":
        return f"account {accounts.get(subject, subject)}"
    return f"{scope} {subject}".strip()


def again(at_ms: int | None, now_ms: int) -> str | None:
    """Say when a deployment may be tried again."""
    if not at_ms:
        return None
    if 0 <= at_ms - now_ms < 600_000:
        return f"again in {-(-(at_ms - now_ms) // 1000)} s"
    return f"until {render.moment(clock.iso(at_ms))} UTC"


def ordinal(number: int) -> str:
    """Return ``1st``, ``2nd``, ``3rd``."""
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")


def order(record: Record) -> str:
    """Say in words what ordered the deployments."""
    return str(ORDERS.get(record["by"], record["by"]))


def most(record: Record) -> str:
    """Say how many attempts there may be, and who says so."""
    why = record.get("why_max", "")
    said = {"": "", "failover_off": ", failover is off", "request": ", as this request asks"}
    return f"at most {render.counted(record['max'], 'attempt')}{said.get(why, f', as set on the {why}')}"


def print_decision(record: Record, accounts: Mapping[str, str], now_ms: int, tried: Collection[str]) -> None:
    """Write the decision of a request that has ended in one table, with what ordered it above."""
    render.print_title(f"Routing: ordered {order(record)}; {most(record)}")
    found = rows(record, accounts, now_ms, tried)
    tables.print_table(found, tables.used(found, COLUMNS))
