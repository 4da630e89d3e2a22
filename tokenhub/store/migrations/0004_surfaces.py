"""Surfaces: work that goes on at a provider after its request was answered, and what requests used beside tokens."""

from typing import Any

SQLITE = {"int": "INTEGER", "table": "STRICT"}
POSTGRES = {"int": "BIGINT", "table": ""}

STATEMENTS = """
ALTER TABLE requests ADD COLUMN units TEXT NOT NULL DEFAULT '';

CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    account_id {int} NOT NULL REFERENCES accounts (id) ON DELETE RESTRICT,
    key_id TEXT NOT NULL,
    capability TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('creating', 'queued', 'in_progress', 'completed', 'failed', 'cancelled', 'expired')),
    model TEXT NOT NULL DEFAULT '',
    asked TEXT NOT NULL DEFAULT '{{}}',
    provider TEXT,
    region TEXT,
    credential_id {int},
    deployment TEXT,
    upstream_model TEXT,
    upstream_id TEXT,
    card TEXT NOT NULL DEFAULT '{{}}',
    price_version TEXT,
    fee_bp {int} NOT NULL DEFAULT 0,
    attempts TEXT NOT NULL DEFAULT '[]',
    decision TEXT NOT NULL DEFAULT '',
    progress {int} NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    error_code TEXT,
    reason TEXT NOT NULL DEFAULT '',
    polls {int} NOT NULL DEFAULT 0,
    misses {int} NOT NULL DEFAULT 0,
    next_poll_at {int},
    expires_at {int} NOT NULL,
    content_until {int},
    created_at {int} NOT NULL,
    ended_at {int}
) {table};
CREATE INDEX jobs_account_id_id ON jobs (account_id, id);
CREATE INDEX jobs_next_poll_at ON jobs (next_poll_at);
CREATE INDEX jobs_ended_at ON jobs (ended_at);
"""


def up(_migrator: object, db: Any) -> None:
    """Add the column and the table."""
    words = POSTGRES if db.kind == "postgres" else SQLITE
    for statement in STATEMENTS.format(**words).split(";"):
        if statement.strip():
            db.execute_sql(statement)
