"""``tokenhub routing``: where requests may go, in what order, and why one goes where it goes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tokenhub.cli import render, routing_explain, values
from tokenhub.cli.context import Door, command, noun
from tokenhub.cli.tables import Column
from tokenhub.errors import InvalidRequest
from tokenhub.routing.preferences import ATTEMPTS_MOST, DATA_POLICIES, SORTS

if TYPE_CHECKING:
    from tokenhub.operations.preferences import Effective, Subject
    from tokenhub.routing.boundaries import Scoped

app = noun("routing")

ANY: Final = "any"
"""Typed to give a rule up: nothing is set."""
ON_OFF: Final = {"on": True, "off": False}

Account = Annotated[str | None, typer.Option("--account", metavar="NAME", help="Of this account.", show_default=False)]
Key = Annotated[str | None, typer.Option("--key", metavar="ID", help="Of this key.", show_default=False)]
Plan = Annotated[
    str | None, typer.Option("--plan", metavar="P", help="Of every account on this plan.", show_default=False)
]

COLUMNS: Final = (Column("rule", "Rule"), Column("value", "Value"), Column("set_on", "Set on"))
_TITLES: Final[Mapping[str, str]] = {
    "regions": "Only regions",
    "deny_regions": "Never regions",
    "providers": "Only providers",
    "deny_providers": "Never providers",
    "models": "Only models",
    "deny_models": "Never models",
    "data_policy": "Data policy",
    "order": "First, in this order",
    "sort": "Sorted by",
    "max_price": "Highest price, $/M",
    "failover": "Failover",
    "max_attempts": "Attempts, at most",
    "prompt_cache": "Paid prompt cache",
    "require_parameters": "Every parameter taken",
}


def _names(metavar: str, words: str) -> Any:
    return typer.Option(metavar=metavar, parser=_or_any(values.names), help=words, show_default=False)


def _or_any(read: Any) -> Any:
    return lambda text: ANY if text == ANY else read(text)


def _switch(words: str) -> Any:
    return typer.Option(metavar="on|off|any", parser=values.one_of(*ON_OFF, ANY), help=words, show_default=False)


def _word(words: tuple[str, ...], text: str) -> Any:
    return typer.Option(metavar="|".join(words), parser=values.one_of(*words), help=text, show_default=False)


def _prices(text: str) -> dict[str, str]:
    """Read ``IN/OUT``: both, since a cap is replaced as a whole and half of one would be lost unseen."""
    prompt, _, completion = text.partition("/")
    if not (prompt and completion):
        raise ValueError(f"{text[:40]!r} is not of the form IN/OUT with both prices, such as 3/15.")
    return {"prompt": prompt, "completion": completion}


@command(
    app,
    examples=[
        "tokenhub routing show",
        "tokenhub routing show --account acme",
        "tokenhub routing show --key key_019a --json",
    ],
)
def show(door: Door, account: Account = None, key: Key = None, plan: Plan = None) -> None:
    """Show the rules that bind: of the installation, or of a plan, an account or a key with all around it."""
    from tokenhub.operations import preferences

    found = preferences.show(door.hub, _subject(door, account, key, plan))
    if door.as_json:
        render.print_line(render.as_json(row(door, found)))
        return
    rows = [one for scoped in found.chain for one in _rules(scoped, _set_on(door, scoped))]
    door.rows(
        rows, COLUMNS, empty=f"Nothing is set on {_of(door, found.subject)} or around it: any provider may serve."
    )


@command(
    app,
    "set",
    examples=[
        "tokenhub routing set --deny-regions cn",
        "tokenhub routing set --account acme --regions eu --data-policy no_training",
        "tokenhub routing set --key key_019a --models gpt-4o-mini,deepseek-v3.2 --max-price 1/4",
        "tokenhub routing set --plan pro --order openai,azure --max-attempts 2",
        "tokenhub routing set --account acme --regions any --failover off",
    ],
)
def set_(
    door: Door,
    account: Account = None,
    key: Key = None,
    plan: Plan = None,
    regions: Annotated[Any, _names("A,B", "Only where inference is known to run in one of these: eu, us, cn, self-hosted and so on.")] = None,
    deny_regions: Annotated[Any, _names("A,B", "Nowhere that runs, or may run, in one of these.")] = None,
    providers: Annotated[Any, _names("A,B", "Only these providers: openai, or openai@eu.")] = None,
    deny_providers: Annotated[Any, _names("A,B", "None of these providers.")] = None,
    models: Annotated[Any, _names("A,B", "Only these models: deepseek-v3.2, or alibaba/deepseek-v3.2.")] = None,
    deny_models: Annotated[Any, _names("A,B", "None of these models.")] = None,
    data_policy: Annotated[Any, _word((*DATA_POLICIES, ANY), "Only where this holds for the data of requests: the provider states it, or you have agreed on it.")] = None,
    order: Annotated[Any, _names("A,B", "Providers to try first, in this order.")] = None,
    sort: Annotated[Any, _word((*SORTS, ANY), "What goes first where no order is given.")] = None,
    max_price: Annotated[
        Any, typer.Option("--max-price", metavar="IN/OUT", parser=_or_any(_prices), help="The most that a million tokens of prompt and of output may cost, in USD, such as 3/15.", show_default=False)
    ] = None,
    failover: Annotated[Any, _switch("off: one attempt, then an error that names the provider.")] = None,
    max_attempts: Annotated[
        Any, typer.Option("--max-attempts", metavar=f"1..{ATTEMPTS_MOST}", parser=_or_any(values.whole(1, ATTEMPTS_MOST)), help="Deployments tried for one request.", show_default=False)
    ] = None,
    require_parameters: Annotated[Any, _switch("on: only deployments that take every field of a request as it is.")] = None,
    prompt_cache: Annotated[Any, _switch("on: prompts may be written to a cache where that costs extra (Anthropic).")] = None,
) -> None:  # fmt: skip
    """Set rules; "any" gives one up. Rules of all scopes hold at once: installation, plan, account, key, request."""
    from tokenhub.operations import preferences

    given = {
        "regions": regions, "deny_regions": deny_regions, "providers": providers, "deny_providers": deny_providers,
        "models": models, "deny_models": deny_models, "data_policy": data_policy, "order": order, "sort": sort,
        "max_price": max_price, "failover": failover, "max_attempts": max_attempts,
        "require_parameters": require_parameters, "prompt_cache": prompt_cache,
    }  # fmt: skip
    changes = {name: _plain(value) for name, value in given.items() if value is not None}
    found = preferences.change(door.hub, _subject(door, account, key, plan), changes)
    door.done(row(door, found), f"The rules of {_of(door, found.subject)} are changed; they bind the next request.")


@command(app, examples=["tokenhub routing reset --account acme", "tokenhub routing reset --yes"])
def reset(
    door: Door,
    account: Account = None,
    key: Key = None,
    plan: Plan = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Take back every rule of one scope; those of the others stay."""
    from tokenhub.operations import preferences

    subject = _subject(door, account, key, plan)
    door.confirm(f"Take back every routing rule of {_of(door, subject)}?", yes=yes)
    found = preferences.reset(door.hub, subject)
    door.done(row(door, found), f"No rule is set on {_of(door, found.subject)} any more.")


command(app, "explain", examples=routing_explain.EXAMPLES)(routing_explain.explain)


def _plain(value: Any) -> Any:
    """Return an option's value as preferences have it in JSON; None gives the rule up."""
    if isinstance(value, tuple):
        return list(value)
    return None if value == ANY else ON_OFF.get(value, value) if isinstance(value, str) else value


def _subject(door: Door, account: str | None, key: str | None, plan: str | None) -> "Subject":
    from tokenhub.operations import accounts, keys, preferences

    if sum(one is not None for one in (account, key, plan)) > 1:
        raise InvalidRequest("Give one of --account, --key and --plan; none means the whole installation.")
    if plan is not None:
        return preferences.plan(door.hub, plan)
    if key is not None:
        return preferences.key(keys.find(door.hub, key).key.id)
    if account is not None:
        return preferences.account(accounts.the_account(door.hub, account).id)
    return preferences.Subject()


# As shown --------------------------------------------------------------------------------------------


def row(door: Door, found: "Effective") -> dict[str, Any]:
    """Return the rules of a subject, and those around it, as plain JSON."""
    return {
        "scope": found.subject.scope,
        "subject": _name(door, found.subject.scope, found.subject.id),
        "own": found.own.dump(),
        "effective": [
            {"scope": one.scope, "subject": _name(door, one.scope, one.subject), **one.preferences.dump()}
            for one in found.chain
        ],
    }


def _rules(scoped: "Scoped", set_on: str) -> list[dict[str, Any]]:
    stated = scoped.preferences.dump()
    return [
        {"rule": _TITLES[name], "value": _text(stated[name]), "set_on": set_on} for name in _TITLES if name in stated
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {price}" for name, price in value.items())
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def _set_on(door: Door, scoped: "Scoped") -> str:
    return f"{scoped.scope} {_name(door, scoped.scope, scoped.subject)}".strip()


def _of(door: Door, subject: "Subject") -> str:
    return f"the {subject.scope} {_name(door, subject.scope, subject.id)}".strip()


def _name(door: Door, scope: str, subject: str) -> str:
    """Return a subject by the name that people know it by."""
    if scope != "account":
        return subject
    from tokenhub.operations import accounts

    return accounts.state(door.hub, int(subject)).account.name
