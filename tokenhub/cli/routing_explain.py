"""``tokenhub routing explain``: stage by stage, why a request would go where it would go."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokenhub.cli import decision, model_rows, render, tables
from tokenhub.cli.context import Door
from tokenhub.cli.tables import Column
from tokenhub.errors import InvalidRequest

if TYPE_CHECKING:
    from tokenhub.operations.explain import Explanation

EXAMPLES: Final = (
    "tokenhub routing explain deepseek-v3.2",
    "tokenhub routing explain starter/fast --account acme --session user-17",
    "tokenhub routing explain claude-sonnet-5 --key key_019acb3f --body request.json --json",
)
MAX_BODY_BYTES: Final = 2**26

_OUTSIDE: Final = (
    Column("deployment", "Deployment"),
    Column("rule", "Rule"),
    Column("detail", "That is"),
    Column("set_on", "Set on"),
)
_AWAY: Final = (Column("deployment", "Deployment"), Column("rule", "State"), Column("detail", "Again"))
_ORDERED: Final = (
    Column("verdict", "Place"),
    Column("deployment", "Deployment"),
    Column("score", "Score", right=True, spare=True),
    Column("share_bp", "Share", right=True, spare=True),
    Column("input_price", "Input, $/M", right=True),
    Column("output_price", "Output, $/M", right=True),
    Column("rule", "State"),
)
_POLICY: Final = (Column("data_policy", "Data policy"), Column("data_policy_by", "Stated by"))


def explain(
    door: Door,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Any name a client may ask for: deepseek-v3.2, alibaba/deepseek-v3.2@us, starter/fast.")],
    account: Annotated[str | None, typer.Option("--account", metavar="NAME", help="Whose request it is; not needed while there is only one account.", show_default=False)] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="ID", help="With the restrictions of this key. Else as a key that has none.", show_default=False)] = None,
    body: Annotated[Path | None, typer.Option("--body", metavar="FILE", help="A request body as a client sends it; - is stdin. Else one that says hello.", show_default=False)] = None,
    session: Annotated[str | None, typer.Option("--session", metavar="S", help="The session, as a client names it in x-session-id.", show_default=False)] = None,
) -> None:  # fmt: skip
    """Explain, stage by stage, where a request would go now, and why not elsewhere. Nothing is sent.

    This is the gateway's own planning, on the boundaries, circuits and cool-downs of this
    moment. Exit code 1: the request would be refused.
    """
    from tokenhub.operations import explain as operation

    found = operation.explain(
        door.hub, operation.Question(model, account, key, None if body is None else _read(body), session)
    )
    if door.as_json:
        render.print_line(render.as_json(row(found)))
    else:
        _print(found)
    if found.refusal is not None:
        raise typer.Exit(1)


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(MAX_BODY_BYTES)
        with file.open("rb") as opened:
            return opened.read(MAX_BODY_BYTES)
    except OSError as error:
        raise InvalidRequest(f"{str(file)!r} cannot be read: {error.strerror}.", param="body") from None


# As JSON -------------------------------------------------------------------------------------------


def row(found: "Explanation") -> dict[str, Any]:
    """Return an explanation as plain JSON; ``decision`` is what is kept with a request that goes this way."""
    caller, refusal = found.caller, found.refusal
    return {
        "model": found.asked,
        "account": caller.account.name,
        "plan": caller.plan.id,
        "key": caller.key.id if found.has_key else None,
        "session": _session(found),
        "pinned": found.pinned,
        "boundaries": [
            {"scope": one.scope, "subject": _subject(one.scope, one.subject, found), "set": one.preferences.dump()}
            for one in found.chain
        ],
        "decision": None if found.decision is None else found.decision.record(),
        "would_try": _would_try(found),
        "deployments": _deployments(found),
        "refusal": None
        if refusal is None
        else {"status": refusal.status, "code": refusal.code, "message": refusal.message},
        "instead": [{"model": one.model.id, "because": one.relation.value} for one in found.instead],
    }


def _would_try(found: "Explanation") -> list[str]:
    """The deployments that would be tried, first to last: none when the request is refused."""
    if found.decision is None or found.refusal is not None:
        return []
    return [one["id"] for one in found.decision.record()["d"] if one["v"] == "try"]


def _session(found: "Explanation") -> dict[str, Any] | None:
    told = found.session
    if told is None:
        return None
    return {"from": "name" if told.is_named else "fingerprint", "in_tool_loop": told.is_bound}


def _subject(scope: str, subject: str, found: "Explanation") -> str:
    return found.caller.account.name if scope == "account" else subject


def _deployments(found: "Explanation") -> list[dict[str, Any]]:
    if found.decision is None:
        return []
    names = {str(found.caller.account.id): found.caller.account.name}
    rows = decision.rows(found.decision.record(), names, found.now_ms)
    for one in rows:
        card = found.cards.get(one["deployment"])
        share = found.shares.get(one["deployment"])
        one["input_price"] = None if card is None else model_rows.per_million(card.rates.input)
        one["output_price"] = None if card is None else model_rows.per_million(card.rates.output)
        one["share_bp"] = None if share is None else round(10_000 * share)
        policy = found.policies[one["deployment"]]
        one["data_policy"], one["data_policy_by"] = policy.policy, policy.by
    return rows


# For people ----------------------------------------------------------------------------------------


def _print(found: "Explanation") -> None:
    rows = _deployments(found)
    by_state = {state: [one for one in rows if one["state"] == state] for state in decision.VERDICTS}
    outside, away = by_state["excluded"], by_state["unavailable"]
    inside = [*by_state["try"], *by_state["spare"]]
    render.print_title(f"{found.asked} for {_who(found)}")
    if found.decision is not None:
        record = found.decision.record()
        _stage("1 Names", _names(found.asked, record, len(rows)))
        _stage("2 Boundaries", _scopes(found), f"{len(outside)} of {len(rows)} left out." if outside else "All inside.")
        _table(outside, _OUTSIDE)
        left = len(rows) - len(outside)
        if left:
            _stage("3 Availability", f"{len(away)} of {left} out at present." if away else "All available.")
            _table(away, _AWAY)
        if inside:
            _stage("4 Order", f"{decision.order(record)[0].upper()}{decision.order(record)[1:]}.", _told(found))
            asked = any(one.preferences.data_policy is not None for one in found.chain)
            _table(inside, (*_ORDERED, *_POLICY) if asked else _ORDERED)
    _stage("5 Tried", _outcome(found))
    if found.instead:
        names = ", ".join(one.model.id for one in found.instead)
        render.print_line(render.inert(f"  Inside these boundaries instead: {names}."))


def _who(found: "Explanation") -> str:
    caller = found.caller
    key = f"key {caller.key.id}" + (f" ({caller.key.name})" if caller.key.name else "")
    whose = f"account {caller.account.name} on plan {caller.plan.id}"
    return f"{key} of {whose}" if found.has_key else f"{whose}, as a key without restrictions of its own"


def _stage(title: str, *words: str) -> None:
    render.print_blank()
    said = " ".join(word for word in words if word)
    render.print_title(f"{title}:", said)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    if rows:
        tables.print_table(rows, tables.used(rows, columns))


def _names(asked: str, record: Mapping[str, Any], count: int) -> str:
    means = "" if record["models"] == [asked] else f"{asked} means {', then '.join(record['models'])}. "
    return f"{means}{render.counted(count, 'deployment')} behind your credentials."


def _scopes(found: "Explanation") -> str:
    """Say what each scope sets; nothing of the request's own text but names."""
    if not found.chain:
        return "None set."
    stated = []
    for one in found.chain:
        subject = _subject(one.scope, one.subject, found)
        members = "; ".join(
            f"{name.replace('_', ' ')} {_value(value)}" for name, value in one.preferences.dump().items()
        )
        stated.append(f"{one.scope}{' ' + subject if subject else ''} ({members})")
    return f"{', '.join(stated)}."


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(str(part) for part in value) or "none"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _told(found: "Explanation") -> str:
    told = found.session
    if told is None:
        return "No session is told: every request draws anew."
    named = "The session has a name" if told.is_named else "The session is told by how the conversation begins"
    if found.pinned is None:
        return f"{named}."
    return f"{named}; its tool loop is held at {found.pinned}."


def _outcome(found: "Explanation") -> str:
    refusal = found.refusal
    if refusal is not None:
        wait = f" (Retry-After {refusal.retry_after_s} s)" if refusal.retry_after_s else ""
        return f"nothing. The client is told {refusal.status} {refusal.code}{wait}: {refusal.message}"
    assert found.decision is not None
    return f"{', then '.join(_would_try(found))}; {decision.most(found.decision.record())}."
