"""The inbox of Stripe's events, and how far they were read.

An event is kept by its id, so one that is delivered ten times is worked once. *Seen* is not
*done*: the row is done only after its effect is committed, and until then it is taken again.
"""

from dataclasses import dataclass
from typing import Final

from tokenhub.store.database import Database, clean_text

NEW: Final = "new"
DONE: Final = "done"
IGNORED: Final = "ignored"
REVIEW: Final = "review"

_REASON_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Event:
    """An event that is to be worked."""

    id: str
    type: str
    object_id: str
    tries: int
    next_try_at_ms: int


@dataclass(frozen=True, slots=True)
class Sweeps:
    """How far Stripe was read. All milliseconds."""

    event_cursor_ms: int
    """When the newest event that was read was made."""
    swept_at_ms: int
    """When events were last asked for."""
    objects_from_ms: int
    """When the last complete comparison of all objects began; 0: never."""
    objects_due_at_ms: int
    """When the next one is due."""


def insert(
    database: Database, event_id: str, type: str, object_id: str, source: str, now_ms: int, *, review: str = ""
) -> bool:
    """Keep an event to be worked at once; False when it was kept before.

    ``review`` says why it is kept for a person to look at, and is never worked.
    """
    state, next_try_ms = (REVIEW, None) if review else (NEW, now_ms)
    with database.write():
        cursor = database.execute(
            "INSERT INTO stripe_events (id, type, object_id, source, state, reason, tries, next_try_at, received_at) "
            "VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT (id) DO NOTHING",
            (event_id, type, object_id, source, state, review, next_try_ms, now_ms),
        )
        return bool(cursor.rowcount == 1)


def known(database: Database, event_id: str) -> bool:
    """Tell whether an event is kept."""
    return database.row("SELECT 1 FROM stripe_events WHERE id = ?", (event_id,)) is not None


def due(database: Database, now_ms: int, limit: int) -> list[Event]:
    """Return events to be worked now, the longest due first."""
    rows = database.rows(
        "SELECT id, type, object_id, tries, next_try_at FROM stripe_events "
        "WHERE next_try_at <= ? ORDER BY next_try_at, received_at, id LIMIT ?",
        (now_ms, limit),
    )
    return [Event(*row) for row in rows]


def claim(database: Database, event: Event, until_ms: int) -> bool:
    """Take an event for this process until a moment; False when another one has it."""
    with database.write():
        cursor = database.execute(
            "UPDATE stripe_events SET tries = tries + 1, next_try_at = ? WHERE id = ? AND next_try_at = ?",
            (until_ms, event.id, event.next_try_at_ms),
        )
        return bool(cursor.rowcount == 1)


def finish(database: Database, event_id: str, state: str, reason: str = "") -> None:
    """Note what became of an event; it is not worked again."""
    with database.write():
        database.execute(
            "UPDATE stripe_events SET state = ?, reason = ?, next_try_at = NULL WHERE id = ?",
            (state, clean_text(reason, _REASON_LENGTH), event_id),
        )


def postpone(database: Database, event_id: str, reason: str, next_try_at_ms: int) -> None:
    """Note why an event could not be worked, and when it is tried again."""
    with database.write():
        database.execute(
            "UPDATE stripe_events SET reason = ?, next_try_at = ? WHERE id = ? AND state = 'new'",
            (clean_text(reason, _REASON_LENGTH), next_try_at_ms, event_id),
        )


def count(database: Database, state: str) -> int:
    """Count the events in a state."""
    row = database.row("SELECT COUNT(*) FROM stripe_events WHERE state = ?", (state,))
    assert row is not None
    return int(row[0])


# --- the row of Stripe itself ---------------------------------------------------------------------------------


def livemode(database: Database) -> bool | None:
    """Return whether this installation moves real money; None before Stripe is set up."""
    row = database.row("SELECT livemode FROM stripe WHERE id = 1")
    return None if row is None else bool(row[0])


def set_up(database: Database, live: bool, now_ms: int) -> bool:
    """Fix the mode, in the caller's write, and return the one that holds: it is never changed.

    Events from before this moment are none of ours; objects are compared from the beginning.
    """
    database.execute(
        "INSERT INTO stripe (id, livemode, event_cursor, swept_at, objects_from, objects_due_at) "
        "VALUES (1, ?, ?, 0, 0, 0) ON CONFLICT (id) DO NOTHING",
        (int(live), now_ms),
    )
    row = database.row("SELECT livemode FROM stripe WHERE id = 1")
    assert row is not None
    return bool(row[0])


def sweeps(database: Database) -> Sweeps | None:
    """Return how far Stripe was read; None before it is set up."""
    row = database.row("SELECT event_cursor, swept_at, objects_from, objects_due_at FROM stripe WHERE id = 1")
    return None if row is None else Sweeps(*row)


def claim_sweep(database: Database, seen: Sweeps, now_ms: int) -> bool:
    """Take the sweep of events that is due; False when another process has taken it."""
    with database.write():
        sql = "UPDATE stripe SET swept_at = ? WHERE id = 1 AND swept_at = ?"
        return bool(database.execute(sql, (now_ms, seen.swept_at_ms)).rowcount == 1)


def advance(database: Database, cursor_ms: int) -> None:
    """Note that all events up to a moment were read; never goes back."""
    with database.write():
        sql = "UPDATE stripe SET event_cursor = ? WHERE id = 1 AND event_cursor < ?"
        database.execute(sql, (cursor_ms, cursor_ms))


def claim_objects(database: Database, seen: Sweeps, until_ms: int) -> bool:
    """Take the comparison of all objects that is due, until a moment; False when another process has taken it."""
    with database.write():
        sql = "UPDATE stripe SET objects_due_at = ? WHERE id = 1 AND objects_due_at = ?"
        return bool(database.execute(sql, (until_ms, seen.objects_due_at_ms)).rowcount == 1)


def compared(database: Database, began_ms: int, due_at_ms: int) -> None:
    """Note that all objects were compared, by a comparison that began at a moment, and when the next is due."""
    with database.write():
        database.execute("UPDATE stripe SET objects_from = ?, objects_due_at = ? WHERE id = 1", (began_ms, due_at_ms))


def compare_soon(database: Database, now_ms: int) -> None:
    """Make the comparison of all objects due now."""
    with database.write():
        database.execute("UPDATE stripe SET objects_due_at = ? WHERE id = 1 AND objects_due_at > ?", (now_ms, now_ms))
