"""Word to those who subscribed that deployments fail, or are back: a few at a time, not one by one, not every second.

A circuit that opens for a second is no news. One that several probes could not close is, and so is
one that a lasting fault opened.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tokenhub import clock
from tokenhub.billing.notices import NoticeKind
from tokenhub.operations import notices
from tokenhub.operations.hub import Hub
from tokenhub.routing.circuit import Circuit, State
from tokenhub.store import circuits
from tokenhub.store import notices as store

NEWS_FROM_MS: Final = 4_000
"""The pause from which on an open circuit is told of: two probes have failed since it opened."""
NOT_MORE_OFTEN_MS: Final = 60_000
LINES: Final = 20
"""Deployments that a notice names; of more it tells how many."""


@dataclass(frozen=True, slots=True)
class Told:
    """Which deployments people believe to be failing, and when they were told last."""

    names: frozenset[str] = frozenset()
    at_ms: int = 0


def recall(hub: Hub) -> Told:
    """Return what was told last, from the outbox: for a process that begins to tell."""
    last = store.latest(hub.database, (NoticeKind.OUTAGE.value, NoticeKind.RECOVERED.value))
    if last is None:
        return Told()
    return Told(frozenset(json.loads(last.body).get("names", ())), last.created_at_ms)


def watch(hub: Hub, told: Told, now_ms: int) -> Told:
    """Tell what has changed since, if anything has and the last word is a minute old; return what is told now."""
    stored = circuits.read(hub.database).circuits
    new = {name for name, one in stored.items() if _is_news(one)} - told.names
    back = {name for name in told.names & stored.keys() if stored[name].state is State.CLOSED}
    still = told.names & stored.keys() - back
    if not new and not back:
        return Told(still, told.at_ms)
    if 0 <= now_ms - told.at_ms < NOT_MORE_OFTEN_MS:
        return told
    names = still | new
    body = {"down": _lines(new, stored), "recovered": _lines(back, {}), "still": _lines(still, stored)}
    kind = NoticeKind.OUTAGE if new else NoticeKind.RECOVERED
    facts = {name: text for name, text in body.items() if text} | {"names": sorted(names)}
    notices.tell_operators(hub, kind, str(now_ms), facts)
    return Told(frozenset(names), now_ms)


def _is_news(circuit: Circuit) -> bool:
    return circuit.state is not State.CLOSED and circuit.backoff_ms >= NEWS_FROM_MS


def _lines(names: set[str] | frozenset[str], stored: Mapping[str, Circuit]) -> str:
    shown = [f"  {name}{_why(stored.get(name))}" for name in sorted(names)[:LINES]]
    more = len(names) - LINES
    return "\n".join([*shown, f"  and {more} more"] if more > 0 else shown)


def _why(circuit: Circuit | None) -> str:
    return f": {circuit.last_error}, at {clock.iso(circuit.changed_at_ms)}" if circuit else ""
