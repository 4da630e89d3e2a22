"""Top-ups, refunds, disputes, automatic recharges, notices and closed days; lots gain credit that is frozen or repaid."""

from typing import Any

SQLITE = {
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "int": "INTEGER",
    "blob": "BLOB",
    "table": "STRICT",
}
POSTGRES = {
    "serial": "BIGSERIAL PRIMARY KEY",
    "int": "BIGINT",
    "blob": "BYTEA",
    "table": "",
}

COLUMNS = """
ALTER TABLE installation ADD COLUMN closed_until {int} NOT NULL DEFAULT 0;
ALTER TABLE plans ADD COLUMN compliance TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN debt {int} NOT NULL DEFAULT 0 CHECK (debt >= 0);
ALTER TABLE accounts ADD COLUMN low_balance {int} CHECK (low_balance >= 0);
ALTER TABLE accounts ADD COLUMN low_since {int};
"""

SQLITE_LOTS = """
CREATE TABLE new_lots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE RESTRICT,
    kind TEXT NOT NULL,
    ref TEXT NOT NULL,
    granted INTEGER NOT NULL CHECK (granted BETWEEN 1 AND 4611686018427387904),
    available INTEGER NOT NULL CHECK (available >= 0),
    held INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0),
    frozen INTEGER NOT NULL DEFAULT 0 CHECK (frozen >= 0),
    spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
    expired INTEGER NOT NULL DEFAULT 0 CHECK (expired >= 0),
    returned INTEGER NOT NULL DEFAULT 0 CHECK (returned >= 0),
    repaid INTEGER NOT NULL DEFAULT 0 CHECK (repaid >= 0),
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    note TEXT NOT NULL DEFAULT '',
    CHECK (granted = available + held + frozen + spent + expired + returned + repaid)
) STRICT;
INSERT INTO new_lots (id, account_id, kind, ref, granted, available, held, spent, expired, returned, expires_at, created_at, note)
SELECT id, account_id, kind, ref, granted, available, held, spent, expired, returned, expires_at, created_at, note FROM lots;
DROP TABLE lots;
ALTER TABLE new_lots RENAME TO lots;
CREATE UNIQUE INDEX lots_kind_ref ON lots (kind, ref);
CREATE INDEX lots_account_id_expires_at ON lots (account_id, expires_at);
"""

POSTGRES_LOTS = """
ALTER TABLE lots ADD COLUMN frozen BIGINT NOT NULL DEFAULT 0 CHECK (frozen >= 0);
ALTER TABLE lots ADD COLUMN repaid BIGINT NOT NULL DEFAULT 0 CHECK (repaid >= 0);
ALTER TABLE lots DROP CONSTRAINT lots_check;
ALTER TABLE lots ADD CONSTRAINT lots_check CHECK (granted = available + held + frozen + spent + expired + returned + repaid);
"""

TABLES = """
CREATE TABLE customers (
    account_id {int} NOT NULL PRIMARY KEY REFERENCES accounts (id) ON DELETE RESTRICT,
    customer TEXT NOT NULL,
    payment_method TEXT,
    card TEXT NOT NULL DEFAULT '',
    created_at {int} NOT NULL
) {table};
CREATE UNIQUE INDEX customers_customer ON customers (customer);

CREATE TABLE recharges (
    account_id {int} NOT NULL PRIMARY KEY REFERENCES accounts (id) ON DELETE RESTRICT,
    state TEXT NOT NULL DEFAULT 'on' CHECK (state IN ('on', 'off', 'suspended')),
    amount {int} NOT NULL CHECK (amount > 0),
    below {int} NOT NULL CHECK (below >= 0),
    monthly_cap {int} NOT NULL CHECK (monthly_cap > 0),
    reason TEXT NOT NULL DEFAULT '',
    declines {int} NOT NULL DEFAULT 0 CHECK (declines >= 0),
    month_start {int} NOT NULL DEFAULT 0,
    month_total {int} NOT NULL DEFAULT 0 CHECK (month_total >= 0),
    attempted_at {int},
    created_at {int} NOT NULL
) {table};

CREATE TABLE topups (
    id TEXT NOT NULL PRIMARY KEY,
    account_id {int} NOT NULL REFERENCES accounts (id) ON DELETE RESTRICT,
    kind TEXT NOT NULL CHECK (kind IN ('checkout', 'recharge')),
    state TEXT NOT NULL CHECK (state IN ('new', 'open', 'processing', 'paid', 'review', 'expired', 'failed', 'rejected', 'abandoned')),
    currency TEXT NOT NULL CHECK (currency IN ('usd', 'cny')),
    amount {int} NOT NULL CHECK (amount BETWEEN 1 AND 99999999),
    rate {int} NOT NULL CHECK (rate > 0),
    credit {int} NOT NULL CHECK (credit > 0),
    livemode {int} NOT NULL CHECK (livemode IN (0, 1)),
    attempt {int} NOT NULL DEFAULT 1,
    params TEXT NOT NULL,
    session_id TEXT,
    payment_intent TEXT,
    charge_id TEXT,
    customer TEXT,
    url TEXT,
    offered TEXT NOT NULL DEFAULT '[]',
    paid_amount {int},
    paid_total {int},
    paid_at {int},
    lot_id {int} REFERENCES lots (id) ON DELETE RESTRICT,
    recharge_of {int},
    reason TEXT NOT NULL DEFAULT '',
    session_expires_at {int},
    next_poll_at {int},
    created_at {int} NOT NULL,
    updated_at {int} NOT NULL
) {table};
CREATE UNIQUE INDEX topups_session_id ON topups (session_id);
CREATE UNIQUE INDEX topups_payment_intent ON topups (payment_intent);
CREATE UNIQUE INDEX topups_lot_id ON topups (lot_id);
CREATE UNIQUE INDEX topups_recharge_of ON topups (recharge_of);
CREATE INDEX topups_charge_id ON topups (charge_id);
CREATE INDEX topups_account_id_created_at ON topups (account_id, created_at);
CREATE INDEX topups_next_poll_at ON topups (next_poll_at);

CREATE TABLE refunds (
    id TEXT NOT NULL PRIMARY KEY,
    topup_id TEXT NOT NULL REFERENCES topups (id) ON DELETE RESTRICT,
    state TEXT NOT NULL CHECK (state IN ('requested', 'pending', 'succeeded', 'failed', 'rejected')),
    origin TEXT NOT NULL CHECK (origin IN ('tokenhub', 'stripe')),
    amount {int} NOT NULL CHECK (amount BETWEEN 1 AND 99999999),
    credit {int} NOT NULL CHECK (credit >= 0),
    stripe_id TEXT,
    attempt {int} NOT NULL DEFAULT 1,
    reason TEXT NOT NULL DEFAULT '',
    next_poll_at {int},
    created_at {int} NOT NULL,
    updated_at {int} NOT NULL
) {table};
CREATE UNIQUE INDEX refunds_stripe_id ON refunds (stripe_id);
CREATE INDEX refunds_topup_id ON refunds (topup_id);
CREATE INDEX refunds_next_poll_at ON refunds (next_poll_at);

CREATE TABLE disputes (
    id TEXT NOT NULL PRIMARY KEY,
    topup_id TEXT NOT NULL REFERENCES topups (id) ON DELETE RESTRICT,
    state TEXT NOT NULL CHECK (state IN ('flagged', 'frozen', 'won', 'lost')),
    status TEXT NOT NULL,
    amount {int} NOT NULL CHECK (amount >= 0),
    frozen {int} NOT NULL DEFAULT 0 CHECK (frozen >= 0),
    taken {int} NOT NULL DEFAULT 0 CHECK (taken >= 0),
    next_poll_at {int},
    created_at {int} NOT NULL,
    updated_at {int} NOT NULL
) {table};
CREATE INDEX disputes_topup_id ON disputes (topup_id);
CREATE INDEX disputes_next_poll_at ON disputes (next_poll_at);

CREATE TABLE stripe_events (
    id TEXT NOT NULL PRIMARY KEY,
    type TEXT NOT NULL,
    object_id TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('webhook', 'sweep')),
    state TEXT NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'done', 'ignored', 'review')),
    reason TEXT NOT NULL DEFAULT '',
    tries {int} NOT NULL DEFAULT 0,
    next_try_at {int},
    received_at {int} NOT NULL
) {table};
CREATE INDEX stripe_events_next_try_at ON stripe_events (next_try_at);

CREATE TABLE stripe (
    id {int} NOT NULL PRIMARY KEY CHECK (id = 1),
    livemode {int} NOT NULL CHECK (livemode IN (0, 1)),
    event_cursor {int} NOT NULL DEFAULT 0,
    swept_at {int} NOT NULL DEFAULT 0,
    objects_from {int} NOT NULL DEFAULT 0,
    objects_due_at {int} NOT NULL DEFAULT 0
) {table};

CREATE TABLE secrets (
    name TEXT NOT NULL PRIMARY KEY,
    sealed {blob} NOT NULL,
    hint TEXT NOT NULL DEFAULT '',
    created_at {int} NOT NULL
) {table};

CREATE TABLE notices (
    id {serial},
    kind TEXT NOT NULL,
    ref TEXT NOT NULL,
    channel TEXT NOT NULL CHECK (channel IN ('email', 'webhook')),
    target TEXT NOT NULL,
    account_id {int} REFERENCES accounts (id) ON DELETE CASCADE,
    body TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'sent', 'failed')),
    tries {int} NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    next_try_at {int},
    created_at {int} NOT NULL
) {table};
CREATE UNIQUE INDEX notices_kind_ref_channel_target ON notices (kind, ref, channel, target);
CREATE INDEX notices_account_id ON notices (account_id);
CREATE INDEX notices_next_try_at ON notices (next_try_at);

CREATE TABLE closed_days (
    day {int} NOT NULL PRIMARY KEY,
    requests {int} NOT NULL CHECK (requests >= 0),
    charged {int} NOT NULL CHECK (charged >= 0),
    closed_at {int} NOT NULL,
    purged_at {int},
    wiped_at {int}
) {table};

CREATE TABLE daily_lines (
    id {serial},
    day {int} NOT NULL REFERENCES closed_days (day) ON DELETE RESTRICT,
    account_id {int} NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('model_fee', 'service_fee')),
    lot_id {int} NOT NULL,
    amount {int} NOT NULL CHECK (amount BETWEEN 0 AND 4611686018427387904),
    requests {int} NOT NULL CHECK (requests >= 0),
    shortfall {int} NOT NULL DEFAULT 0 CHECK (shortfall >= 0)
) {table};
CREATE UNIQUE INDEX daily_lines_day_account_id_key_id_model_provider_kind_lot_id
    ON daily_lines (day, account_id, key_id, model, provider, kind, lot_id);
CREATE INDEX daily_lines_lot_id ON daily_lines (lot_id);
CREATE INDEX daily_lines_account_id_day ON daily_lines (account_id, day);
"""

SQLITE_TRIGGERS = (
    """
CREATE TRIGGER daily_lines_are_not_updated BEFORE UPDATE ON daily_lines
BEGIN SELECT RAISE(ABORT, 'the lines of a closed day are never changed'); END
""",
    """
CREATE TRIGGER daily_lines_are_not_deleted BEFORE DELETE ON daily_lines
WHEN OLD.day < (SELECT closed_until FROM installation)
BEGIN SELECT RAISE(ABORT, 'the lines of a closed day are never deleted'); END
""",
)

POSTGRES_TRIGGERS = (
    """
CREATE FUNCTION refuse_closed_day_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.day < (SELECT closed_until FROM installation) THEN
        RAISE EXCEPTION 'the lines of a closed day are never deleted' USING ERRCODE = 'check_violation';
    END IF;
    RETURN OLD;
END
$$
""",
    """
CREATE TRIGGER daily_lines_are_not_updated BEFORE UPDATE ON daily_lines
FOR EACH ROW EXECUTE FUNCTION refuse_journal_change()
""",
    """
CREATE TRIGGER daily_lines_are_not_deleted BEFORE DELETE ON daily_lines
FOR EACH ROW EXECUTE FUNCTION refuse_closed_day_change()
""",
    """
CREATE TRIGGER daily_lines_are_not_truncated BEFORE TRUNCATE ON daily_lines
FOR EACH STATEMENT EXECUTE FUNCTION refuse_journal_change()
""",
)


def up(_migrator: object, db: Any) -> None:
    """Widen the lots, whose CHECK SQLite can only change by making the table anew, and make the new tables."""
    postgres = db.kind == "postgres"
    words, triggers = (POSTGRES, POSTGRES_TRIGGERS) if postgres else (SQLITE, SQLITE_TRIGGERS)
    for script in (COLUMNS.format(**words), POSTGRES_LOTS if postgres else SQLITE_LOTS, TABLES.format(**words)):
        for statement in script.split(";"):
            if statement.strip():
                db.execute_sql(statement)
    for trigger in triggers:
        db.execute_sql(trigger)
