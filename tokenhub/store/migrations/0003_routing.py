"""Routing: preferences of every scope, circuits, cool-downs, health, sessions, subscribers; each request's decision."""

from typing import Any

SQLITE = {
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "int": "INTEGER",
    "blob": "BLOB",
    "table": "STRICT",
    "keyed": "STRICT, WITHOUT ROWID",
}
POSTGRES = {"serial": "BIGSERIAL PRIMARY KEY", "int": "BIGINT", "blob": "BYTEA", "table": "", "keyed": ""}

STATEMENTS = """
ALTER TABLE requests ADD COLUMN decision TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN session {blob};
ALTER TABLE requests ADD COLUMN saved {int} NOT NULL DEFAULT 0;

CREATE TABLE preferences (
    scope TEXT NOT NULL CHECK (scope IN ('installation', 'plan', 'account', 'key')),
    subject TEXT NOT NULL,
    data TEXT NOT NULL,
    updated_at {int} NOT NULL
) {table};
CREATE UNIQUE INDEX preferences_scope_subject ON preferences (scope, subject);

CREATE TABLE circuits (
    deployment TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    failures {int} NOT NULL DEFAULT 0,
    backoff_ms {int} NOT NULL DEFAULT 0,
    open_until {int},
    probe_until {int},
    last_error TEXT NOT NULL DEFAULT '',
    changed_at {int} NOT NULL
) {table};

CREATE TABLE cooldowns (
    credential_id {int} NOT NULL PRIMARY KEY REFERENCES credentials (id) ON DELETE CASCADE,
    until {int} NOT NULL,
    backoff_ms {int} NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    changed_at {int} NOT NULL
) {table};

CREATE TABLE health_minutes (
    deployment TEXT NOT NULL,
    minute {int} NOT NULL,
    attempts {int} NOT NULL,
    failures {int} NOT NULL,
    latencies TEXT NOT NULL DEFAULT '{{}}'
) {table};
CREATE UNIQUE INDEX health_minutes_deployment_minute ON health_minutes (deployment, minute);
CREATE INDEX health_minutes_minute ON health_minutes (minute);

CREATE TABLE affinities (
    session {blob} NOT NULL PRIMARY KEY,
    deployment TEXT NOT NULL,
    expires_at {int} NOT NULL
) {keyed};
CREATE INDEX affinities_expires_at ON affinities (expires_at);

CREATE TABLE subscriptions (
    id {serial},
    channel TEXT NOT NULL CHECK (channel IN ('email', 'webhook')),
    target TEXT NOT NULL,
    events TEXT NOT NULL DEFAULT '[]',
    created_at {int} NOT NULL
) {table};
CREATE UNIQUE INDEX subscriptions_channel_target ON subscriptions (channel, target);
"""


def up(_migrator: object, db: Any) -> None:
    """Add the columns and tables."""
    words = POSTGRES if db.kind == "postgres" else SQLITE
    for statement in STATEMENTS.format(**words).split(";"):
        if statement.strip():
            db.execute_sql(statement)
