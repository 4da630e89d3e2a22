"""Refusals: requests that were refused before anything was held, with the reasons."""

from typing import Any

SQLITE = {"int": "INTEGER", "blob": "BLOB", "keyed": "STRICT, WITHOUT ROWID"}
POSTGRES = {"int": "BIGINT", "blob": "BYTEA", "keyed": ""}

STATEMENTS = """
CREATE TABLE refusals (
    id TEXT NOT NULL PRIMARY KEY,
    account_id {int} NOT NULL,
    key_id TEXT NOT NULL,
    started_at {int} NOT NULL,
    ended_at {int} NOT NULL,
    capability TEXT NOT NULL,
    model TEXT NOT NULL,
    streamed {int} NOT NULL CHECK (streamed IN (0, 1)),
    status {int} NOT NULL,
    error_code TEXT NOT NULL,
    duration_ms {int} NOT NULL,
    decision TEXT NOT NULL,
    session {blob}
) {keyed};
CREATE INDEX refusals_ended_at ON refusals (ended_at);
"""


def up(_migrator: object, db: Any) -> None:
    """Add the table."""
    words = POSTGRES if db.kind == "postgres" else SQLITE
    for statement in STATEMENTS.format(**words).split(";"):
        if statement.strip():
            db.execute_sql(statement)
