"""Who is told of which events (``tokenhub notify``)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tokenhub.store.database import Database
from tokenhub.store.notices import Channel


@dataclass(frozen=True, slots=True)
class Subscription:
    """An address, and what it is told of; no events: everything."""

    id: int
    channel: Channel
    target: str
    events: tuple[str, ...]
    created_at_ms: int


def listing(database: Database) -> list[Subscription]:
    """Return every subscription, the oldest first."""
    rows = database.rows("SELECT id, channel, target, events, created_at FROM subscriptions ORDER BY id")
    return [
        Subscription(number, channel, target, tuple(json.loads(events)), at)
        for number, channel, target, events, at in rows
    ]


def put(database: Database, channel: Channel, target: str, events: Sequence[str], now_ms: int) -> None:
    """Keep a subscription, inside the caller's write; one of the same address takes the new events."""
    database.execute(
        "INSERT INTO subscriptions (channel, target, events, created_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (channel, target) DO UPDATE SET events = excluded.events",
        (channel, target, json.dumps(list(events)), now_ms),
    )


def delete(database: Database, number: int) -> bool:
    """Forget a subscription, inside the caller's write; False when there is none."""
    return bool(database.execute("DELETE FROM subscriptions WHERE id = ?", (number,)).rowcount)
