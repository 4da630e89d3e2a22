"""Reports of what was used and charged."""

from dataclasses import dataclass

from tokenhub.operations.hub import Hub
from tokenhub.store import accounts as accounts_store
from tokenhub.store import requests as store
from tokenhub.store.requests import By, RequestFilter
from tokenhub.store.requests import UsageLine as UsageLine


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a report. ``name`` is what people call the group: a key's name, an account's name."""

    name: str
    sums: UsageLine


def report(hub: Hub, by: By, *, since_ms: int | None, account_id: int | None = None) -> list[Line]:
    """Add up requests that ended since a moment, by UTC day, model, key, provider or account."""
    with hub.database.read():
        lines = store.usage(hub.database, by, RequestFilter(account_id=account_id, since_ms=since_ms))
        names = _names(hub, by)
    return [Line(names.get(line.group, line.group), line) for line in lines]


def _names(hub: Hub, by: By) -> dict[str, str]:
    if by == "account":
        return accounts_store.names_by_id(hub.database)
    if by == "key":
        return {state.key.id: state.key.name for state in accounts_store.key_states(hub.database)}
    return {}


def total(lines: list[Line]) -> UsageLine:
    """Return the sum of a report's lines."""
    sums = [line.sums for line in lines]
    return UsageLine(
        "total",
        *(sum(getattr(line, name) for line in sums) for name in UsageLine.__slots__ if name != "group"),
    )
