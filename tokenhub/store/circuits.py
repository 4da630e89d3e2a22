"""What all processes know of upstreams that are down: circuits, cool-downs, failed credentials.

Written at once when something changes, read every second. No version is bumped: what is down
changes what is tried next and never what is allowed.
"""

from dataclasses import dataclass
from typing import Any, Final

from tokenhub.routing.availability import Cooldown
from tokenhub.routing.circuit import Circuit, State
from tokenhub.store.database import Database, clean_text

_REASON_LENGTH: Final = 60
KEPT_MS: Final = 24 * 3_600_000
"""Circuits that have not changed for so long are forgotten: their deployment is gone, or well."""
COOLDOWN_KEPT_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Stored:
    """All that is down, as the store has it."""

    circuits: dict[str, Circuit]
    """By deployment id."""
    cooldowns: dict[int, Cooldown]
    """By credential id; those that are over included, for the length of the next one."""
    failed: dict[int, str]
    """Credentials out of use because a provider refuses them, with the reason."""


# One statement: every process asks it every second.
_ALL: Final = (
    "SELECT 'circuit', deployment, state, failures, backoff_ms, open_until, probe_until, last_error, changed_at FROM circuits "
    "UNION ALL SELECT 'cooldown', CAST(credential_id AS TEXT), '', 0, backoff_ms, until, NULL, reason, changed_at FROM cooldowns "
    "UNION ALL SELECT 'failed', CAST(id AS TEXT), '', 0, 0, NULL, NULL, status_reason, 0 FROM credentials WHERE status = 'failed'"
)


def read(database: Database) -> Stored:
    """Return everything in one query."""
    found = Stored({}, {}, {})
    for row in database.rows(_ALL):
        _take(found, *row)
    return found


def _take(found: Stored, what: str, name: str, state: str, failures: int, backoff_ms: int, *rest: Any) -> None:
    until, probe_until, reason, changed_at = rest
    if what == "circuit":
        found.circuits[name] = Circuit(
            State(state), failures, backoff_ms, until or 0, probe_until or 0, reason, changed_at
        )
    elif what == "cooldown":
        found.cooldowns[int(name)] = Cooldown(until, backoff_ms, reason)
    else:
        found.failed[int(name)] = reason


def put(database: Database, deployment: str, circuit: Circuit) -> None:
    """Keep a circuit's new state, inside the caller's write."""
    database.execute(
        "INSERT INTO circuits (deployment, state, failures, backoff_ms, open_until, probe_until, last_error, changed_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (deployment) DO UPDATE SET state = excluded.state, "
        "failures = excluded.failures, backoff_ms = excluded.backoff_ms, open_until = excluded.open_until, "
        "probe_until = excluded.probe_until, last_error = excluded.last_error, changed_at = excluded.changed_at",
        (
            deployment,
            circuit.state.value,
            circuit.failures,
            circuit.backoff_ms,
            circuit.open_until_ms or None,
            circuit.probe_until_ms or None,
            clean_text(circuit.last_error, _REASON_LENGTH),
            circuit.changed_at_ms,
        ),
    )


def swap(database: Database, deployment: str, seen: Circuit, new: Circuit) -> bool:
    """Replace a circuit that is still as it was seen, inside the caller's write; False when another process was first.

    This is how one process among all gets to send the one probe.
    """
    cursor = database.execute(
        "UPDATE circuits SET state = ?, open_until = ?, probe_until = ?, changed_at = ? WHERE deployment = ? "
        "AND state = ? AND COALESCE(open_until, 0) = ? AND COALESCE(probe_until, 0) = ?",
        (
            new.state.value,
            new.open_until_ms or None,
            new.probe_until_ms or None,
            new.changed_at_ms,
            deployment,
            seen.state.value,
            seen.open_until_ms,
            seen.probe_until_ms,
        ),
    )
    return bool(cursor.rowcount == 1)


def put_cooldown(database: Database, credential_id: int, cooldown: Cooldown, now_ms: int) -> None:
    """Keep a cool-down, inside the caller's write, unless a longer one is there or the credential is gone."""
    database.execute(
        "INSERT INTO cooldowns (credential_id, until, backoff_ms, reason, changed_at) "
        "SELECT id, CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS BIGINT) FROM credentials WHERE id = ? "
        "ON CONFLICT (credential_id) DO UPDATE SET until = excluded.until, backoff_ms = excluded.backoff_ms, "
        "reason = excluded.reason, changed_at = excluded.changed_at WHERE excluded.until > cooldowns.until",
        (cooldown.until_ms, cooldown.backoff_ms, clean_text(cooldown.reason, _REASON_LENGTH), now_ms, credential_id),
    )


def mended(database: Database, credential_id: int) -> bool:
    """Forget what was wrong with a credential and its deployments, inside the caller's write; False when nothing was."""
    cooled = database.execute("DELETE FROM cooldowns WHERE credential_id = ?", (credential_id,)).rowcount
    # A deployment's id ends in '#' and its credential's number.
    opened = database.execute("DELETE FROM circuits WHERE deployment LIKE ?", (f"%#{credential_id}",)).rowcount
    return bool(cooled + opened)


def prune(database: Database, now_ms: int) -> None:
    """Forget circuits and cool-downs that say nothing any more."""
    old = (now_ms - KEPT_MS, now_ms - COOLDOWN_KEPT_MS)
    if database.row(
        "SELECT 1 FROM circuits WHERE changed_at < ? UNION ALL SELECT 1 FROM cooldowns WHERE until < ? LIMIT 1", old
    ):
        with database.write():
            database.execute("DELETE FROM circuits WHERE changed_at < ?", old[:1])
            database.execute("DELETE FROM cooldowns WHERE until < ?", old[1:])
