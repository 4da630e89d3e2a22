"""Two numbers that a check-up asks of the store."""

from tokenhub.store.database import Database

_MOMENTS = (
    ("requests", "ended_at"),
    ("entries", "created_at"),
    ("keys", "created_at"),
    ("accounts", "created_at"),
    ("closed_days", "closed_at"),
)


def ended_requests(database: Database) -> int:
    """Return how many ended requests there are."""
    row = database.row("SELECT COUNT(*) FROM requests")
    assert row is not None
    return int(row[0])


def latest_moment_ms(database: Database) -> int:
    """Return the latest moment that anything says it was written at, in milliseconds since 1970; 0 when nothing was."""
    parts = " UNION ALL ".join(f"SELECT MAX({column}) AS moment FROM {table}" for table, column in _MOMENTS)
    row = database.row(f"SELECT COALESCE(MAX(moment), 0) FROM ({parts}) AS moments")
    assert row is not None
    return int(row[0])
