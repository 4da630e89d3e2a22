"""The first schema: every table, index and trigger, in the words of either database."""

from typing import Any

SQLITE = {
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "int": "INTEGER",
    "blob": "BLOB",
    "table": "STRICT",
    "keyed": "STRICT, WITHOUT ROWID",
}
POSTGRES = {
    "serial": "BIGSERIAL PRIMARY KEY",
    "int": "BIGINT",
    "blob": "BYTEA",
    "table": "",
    "keyed": "",
}
# AUTOINCREMENT: an id is never used twice, so what once named a row never names another.
# 4611686018427387904 = 2**62, the largest amount.

TABLES = """
CREATE TABLE installation (
    id {int} NOT NULL PRIMARY KEY CHECK (id = 1),
    instance TEXT NOT NULL,
    created_at {int} NOT NULL,
    version {int} NOT NULL DEFAULT 1,
    catalog_version {int} NOT NULL DEFAULT 1,
    revision {int} NOT NULL DEFAULT 1,
    key_check {blob} NOT NULL
) {table};

CREATE TABLE plans (
    id TEXT NOT NULL PRIMARY KEY,
    version {int} NOT NULL DEFAULT 1,
    fee_bp {int} NOT NULL CHECK (fee_bp BETWEEN 0 AND 10000),
    key_rpm {int} NOT NULL CHECK (key_rpm > 0),
    account_rpm {int} NOT NULL CHECK (account_rpm > 0),
    concurrency {int} NOT NULL CHECK (concurrency > 0),
    model_names TEXT NOT NULL DEFAULT '{{}}',
    support TEXT NOT NULL DEFAULT '',
    sla TEXT NOT NULL DEFAULT ''
) {table};

CREATE TABLE accounts (
    id {serial},
    name TEXT NOT NULL,
    version {int} NOT NULL DEFAULT 1,
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    plan_id TEXT NOT NULL REFERENCES plans (id) ON DELETE RESTRICT,
    email TEXT,
    fee_bp {int} CHECK (fee_bp BETWEEN 0 AND 10000),
    key_rpm {int} CHECK (key_rpm > 0),
    account_rpm {int} CHECK (account_rpm > 0),
    concurrency {int} CHECK (concurrency > 0),
    available {int} NOT NULL DEFAULT 0
        CHECK (available BETWEEN -4611686018427387904 AND 4611686018427387904),
    held {int} NOT NULL DEFAULT 0 CHECK (held >= 0),
    open_holds {int} NOT NULL DEFAULT 0 CHECK (open_holds >= 0),
    next_expiry {int},
    rate_window {blob},
    created_at {int} NOT NULL
) {table};
CREATE UNIQUE INDEX accounts_name ON accounts (name);
CREATE INDEX accounts_plan_id ON accounts (plan_id);

CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    account_id {int} NOT NULL REFERENCES accounts (id) ON DELETE RESTRICT,
    version {int} NOT NULL DEFAULT 1,
    name TEXT NOT NULL DEFAULT '',
    prefix TEXT NOT NULL,
    digest {blob} NOT NULL,
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    expires_at {int},
    rpm {int} CHECK (rpm > 0),
    spend_limit {int} CHECK (spend_limit >= 0),
    spend_period TEXT NOT NULL DEFAULT 'total'
        CHECK (spend_period IN ('day', 'week', 'month', 'total')),
    period_start {int} NOT NULL DEFAULT 0,
    period_spent {int} NOT NULL DEFAULT 0 CHECK (period_spent >= 0),
    period_held {int} NOT NULL DEFAULT 0 CHECK (period_held >= 0),
    models TEXT,
    rate_window {blob},
    replaced_by TEXT,
    created_at {int} NOT NULL,
    revoked_at {int}
) {table};
CREATE INDEX keys_account_id ON keys (account_id);
CREATE UNIQUE INDEX keys_digest ON keys (digest);

CREATE TABLE lots (
    id {serial},
    account_id {int} NOT NULL REFERENCES accounts (id) ON DELETE RESTRICT,
    kind TEXT NOT NULL,
    ref TEXT NOT NULL,
    granted {int} NOT NULL CHECK (granted BETWEEN 1 AND 4611686018427387904),
    available {int} NOT NULL CHECK (available >= 0),
    held {int} NOT NULL DEFAULT 0 CHECK (held >= 0),
    spent {int} NOT NULL DEFAULT 0 CHECK (spent >= 0),
    expired {int} NOT NULL DEFAULT 0 CHECK (expired >= 0),
    returned {int} NOT NULL DEFAULT 0 CHECK (returned >= 0),
    expires_at {int},
    created_at {int} NOT NULL,
    note TEXT NOT NULL DEFAULT '',
    CHECK (granted = available + held + spent + expired + returned)
) {table};
CREATE UNIQUE INDEX lots_kind_ref ON lots (kind, ref);
CREATE INDEX lots_account_id_expires_at ON lots (account_id, expires_at);

CREATE TABLE entries (
    id {serial},
    account_id {int} NOT NULL REFERENCES accounts (id) ON DELETE RESTRICT,
    lot_id {int} REFERENCES lots (id) ON DELETE RESTRICT,
    kind TEXT NOT NULL,
    ref TEXT NOT NULL,
    amount {int} NOT NULL CHECK (amount BETWEEN -4611686018427387904 AND 4611686018427387904),
    created_at {int} NOT NULL,
    note TEXT NOT NULL DEFAULT ''
) {table};
CREATE INDEX entries_lot_id ON entries (lot_id);
CREATE UNIQUE INDEX entries_kind_ref ON entries (kind, ref);
CREATE INDEX entries_account_id_id ON entries (account_id, id);

CREATE TABLE leases (
    id {serial},
    epoch {int} NOT NULL DEFAULT 1,
    state TEXT NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'ended')),
    host TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    pid {int} NOT NULL,
    started_at {int} NOT NULL,
    renewed_at {int} NOT NULL
) {table};

CREATE TABLE named_leases (
    name TEXT NOT NULL PRIMARY KEY,
    lease_id {int} NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
    renewed_at {int} NOT NULL
) {table};
CREATE INDEX named_leases_lease_id ON named_leases (lease_id);

CREATE TABLE holds (
    request_id TEXT NOT NULL PRIMARY KEY,
    account_id {int} NOT NULL REFERENCES accounts (id) ON DELETE RESTRICT,
    key_id TEXT NOT NULL REFERENCES keys (id) ON DELETE RESTRICT,
    lease_id {int},
    owner TEXT NOT NULL DEFAULT 'request' CHECK (owner IN ('request', 'job')),
    amount {int} NOT NULL CHECK (amount BETWEEN 0 AND 4611686018427387904),
    lot_id {int},
    period_start {int} NOT NULL DEFAULT 0,
    price_version TEXT NOT NULL,
    placed_at {int} NOT NULL
) {keyed};

CREATE TABLE hold_lots (
    id {serial},
    request_id TEXT NOT NULL,
    lot_id {int} NOT NULL,
    amount {int} NOT NULL CHECK (amount > 0)
) {table};
CREATE INDEX hold_lots_request_id ON hold_lots (request_id);

CREATE TABLE requests (
    id TEXT NOT NULL PRIMARY KEY,
    account_id {int} NOT NULL,
    key_id TEXT NOT NULL,
    "end" TEXT NOT NULL CHECK ("end" IN ('settled', 'released')),
    started_at {int} NOT NULL,
    ended_at {int} NOT NULL,
    capability TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    provider TEXT,
    region TEXT,
    credential_id {int},
    upstream_id TEXT,
    streamed {int} NOT NULL DEFAULT 0 CHECK (streamed IN (0, 1)),
    status {int} NOT NULL DEFAULT 0,
    error_code TEXT,
    finish_reason TEXT,
    native_finish_reason TEXT,
    input_tokens {int} NOT NULL DEFAULT 0,
    cache_read_tokens {int} NOT NULL DEFAULT 0,
    cache_write_tokens {int} NOT NULL DEFAULT 0,
    cache_write_1h_tokens {int} NOT NULL DEFAULT 0,
    audio_input_tokens {int} NOT NULL DEFAULT 0,
    image_input_tokens {int} NOT NULL DEFAULT 0,
    output_tokens {int} NOT NULL DEFAULT 0,
    reasoning_tokens {int} NOT NULL DEFAULT 0,
    image_output_tokens {int} NOT NULL DEFAULT 0,
    unknown_tokens {int} NOT NULL DEFAULT 0,
    estimated {int} NOT NULL DEFAULT 0 CHECK (estimated IN (0, 1)),
    cancelled {int} NOT NULL DEFAULT 0 CHECK (cancelled IN (0, 1)),
    held {int} NOT NULL DEFAULT 0,
    model_fee {int} NOT NULL DEFAULT 0 CHECK (model_fee >= 0),
    service_fee {int} NOT NULL DEFAULT 0 CHECK (service_fee >= 0),
    charged {int} NOT NULL DEFAULT 0,
    shortfall {int} NOT NULL DEFAULT 0 CHECK (shortfall >= 0),
    lot_id {int},
    fee_bp {int} NOT NULL DEFAULT 0,
    price_version TEXT,
    first_content_ms {int},
    duration_ms {int} NOT NULL DEFAULT 0,
    attempts TEXT NOT NULL DEFAULT '[]',
    CHECK (charged = model_fee + service_fee),
    CHECK (charged <= held)
) {keyed};
CREATE INDEX requests_account_id_ended_at ON requests (account_id, ended_at);

CREATE TABLE request_lots (
    id {serial},
    request_id TEXT NOT NULL,
    lot_id {int} NOT NULL,
    amount {int} NOT NULL CHECK (amount > 0)
) {table};
CREATE INDEX request_lots_request_id ON request_lots (request_id);

CREATE TABLE credentials (
    id {serial},
    provider TEXT NOT NULL,
    region TEXT NOT NULL,
    label TEXT NOT NULL DEFAULT '',
    base_url TEXT,
    insecure_http {int} NOT NULL DEFAULT 0 CHECK (insecure_http IN (0, 1)),
    sealed {blob} NOT NULL,
    hint TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled', 'failed')),
    status_reason TEXT NOT NULL DEFAULT '',
    weight {int} NOT NULL DEFAULT 1 CHECK (weight > 0),
    created_at {int} NOT NULL
) {table};

CREATE TABLE catalog_overrides (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    created_at {int} NOT NULL
) {table};
CREATE UNIQUE INDEX catalog_overrides_kind_name ON catalog_overrides (kind, name);
"""

SQLITE_TRIGGERS = (
    """
CREATE TRIGGER entries_are_not_updated BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'journal entries are never changed'); END
""",
    """
CREATE TRIGGER entries_are_not_deleted BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'journal entries are never deleted'); END
""",
)

POSTGRES_TRIGGERS = (
    """
CREATE FUNCTION refuse_journal_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'journal entries are never changed or deleted' USING ERRCODE = 'check_violation'; END $$
""",
    """
CREATE TRIGGER entries_are_not_changed BEFORE UPDATE OR DELETE ON entries
FOR EACH ROW EXECUTE FUNCTION refuse_journal_change()
""",
    """
CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_journal_change()
""",
)


def up(_migrator: object, db: Any) -> None:
    """Make everything; ``playhouse.migrations`` calls it with its migrator and the database."""
    words, triggers = (POSTGRES, POSTGRES_TRIGGERS) if db.kind == "postgres" else (SQLITE, SQLITE_TRIGGERS)
    for statement in (*TABLES.format(**words).split(";"), *triggers):
        if statement.strip():
            db.execute_sql(statement)
