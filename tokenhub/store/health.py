"""How deployments did in each of the last minutes, added up over all processes; kept for a day."""

from collections.abc import Mapping, Sequence

from tokenhub.routing import health
from tokenhub.routing.health import Tally
from tokenhub.store.database import Database

Minutes = Mapping[tuple[str, int], Tally]
"""By deployment id and the minute's first millisecond."""


def add(database: Database, minutes: Minutes) -> None:
    """Add what a process has counted to the minutes' rows, inside the caller's write; rows in a fixed order."""
    for (deployment, minute), tally in sorted(minutes.items()):
        # First the row, then its lock: two processes that count the same new minute must not both find none.
        database.execute(
            "INSERT INTO health_minutes (deployment, minute, attempts, failures) VALUES (?, ?, 0, 0) "
            "ON CONFLICT (deployment, minute) DO NOTHING",
            (deployment, minute),
        )
        row = database.row(
            "SELECT attempts, failures, latencies FROM health_minutes WHERE deployment = ? AND minute = ?"
            f"{database.lock_clause}",
            (deployment, minute),
        )
        assert row is not None
        whole = health.load(*row)
        whole.add(tally)
        database.execute(
            "UPDATE health_minutes SET attempts = ?, failures = ?, latencies = ? WHERE deployment = ? AND minute = ?",
            (whole.attempts, whole.failures, whole.dump(), deployment, minute),
        )


def since(database: Database, from_ms: int) -> dict[str, Tally]:
    """Return what each deployment did since a moment, whole minutes only."""
    found: dict[str, Tally] = {}
    for deployment, attempts, failures, latencies in database.rows(
        "SELECT deployment, attempts, failures, latencies FROM health_minutes WHERE minute >= ?", (from_ms,)
    ):
        found.setdefault(deployment, Tally()).add(health.load(attempts, failures, latencies))
    return found


def of(database: Database, deployments: Sequence[str], from_ms: int) -> dict[str, Tally]:
    """Return what some deployments did since a moment, whole minutes only."""
    marks = ", ".join("?" * len(deployments))
    found: dict[str, Tally] = {}
    for deployment, attempts, failures, latencies in database.rows(
        f"SELECT deployment, attempts, failures, latencies FROM health_minutes WHERE deployment IN ({marks}) AND minute >= ?",
        (*deployments, from_ms),
    ):
        found.setdefault(deployment, Tally()).add(health.load(attempts, failures, latencies))
    return found


def counts(database: Database, deployments: Sequence[str], from_ms: int) -> dict[str, Tally]:
    """Return attempts and failures alone, which the database adds up itself: for long times."""
    marks = ", ".join("?" * len(deployments))
    rows = database.rows(
        "SELECT deployment, CAST(SUM(attempts) AS BIGINT), CAST(SUM(failures) AS BIGINT) FROM health_minutes "
        f"WHERE deployment IN ({marks}) AND minute >= ? GROUP BY deployment",
        (*deployments, from_ms),
    )
    return {deployment: Tally(attempts, failures) for deployment, attempts, failures in rows}


def last_attempts(database: Database) -> dict[str, int]:
    """Return the first millisecond of the last minute in which each deployment was tried."""
    return dict(database.rows("SELECT deployment, MAX(minute) FROM health_minutes GROUP BY deployment"))


def prune(database: Database, now_ms: int) -> None:
    """Delete minutes that are more than a day old."""
    before = (now_ms - health.KEPT_MS,)
    if database.row("SELECT 1 FROM health_minutes WHERE minute < ? LIMIT 1", before):
        with database.write():
            database.execute("DELETE FROM health_minutes WHERE minute < ?", before)
