"""Reports of what was used and charged."""

from dataclasses import dataclass
from typing import Final

from tokenhub.operations.hub import Hub
from tokenhub.store import accounts as accounts_store
from tokenhub.store import days
from tokenhub.store import usage as store
from tokenhub.store.usage import By
from tokenhub.store.usage import UsageLine as UsageLine

SESSION_CHARS: Final = 12
"""How much of a session's MAC people are shown."""
NO_SESSION: Final = "none"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a report. ``name`` is what people call the group: a key's name, an account's name, a session's beginning."""

    name: str
    sums: UsageLine

    @property
    def cache_hit_rate(self) -> float | None:
        """The part of the prompt tokens that came from caches, 0 to 1; None where no tokens are known."""
        prompt, cached = self.sums.prompt_tokens, self.sums.cached_tokens
        return cached / prompt if prompt and cached is not None else None


@dataclass(frozen=True, slots=True)
class Report:
    """What was used since a day, all read together."""

    since_ms: int
    """The start of the day that was asked for."""
    tokens_since_ms: int
    """Since when tokens are known: those of older requests were deleted with them. 0: all."""
    lines: list[Line]


def report(hub: Hub, by: By, *, since_ms: int | None, account_id: int | None = None) -> Report:
    """Add up requests that ended since the start of a moment's UTC day, by day, model, key, provider, account or session.

    Sessions come with the dearest first, the others in the order of their groups.
    """
    since_ms = days.day_of(since_ms or 0)
    with hub.database.read():
        lines = store.usage(hub.database, by, account_id=account_id, since_ms=since_ms)
        names = _names(hub, by)
        tokens_since_ms = store.tokens_since(hub.database)
    if by == "session":
        lines.sort(key=lambda line: (-line.total_nano, -line.requests, line.group))
        names = {line.group: line.group[:SESSION_CHARS] or NO_SESSION for line in lines}
    return Report(since_ms, tokens_since_ms, [Line(names.get(line.group, line.group), line) for line in lines])


def _names(hub: Hub, by: By) -> dict[str, str]:
    if by == "account":
        return accounts_store.names_by_id(hub.database)
    if by == "key":
        return {state.key.id: state.key.name for state in accounts_store.key_states(hub.database)}
    return {}


def total(lines: list[Line]) -> Line:
    """Return the sum of a report's lines; what is not known of a line is left out."""
    sums = [line.sums for line in lines]
    added = (sum(getattr(line, name) or 0 for line in sums) for name in UsageLine.__slots__ if name != "group")
    return Line("total", UsageLine("total", *added))
