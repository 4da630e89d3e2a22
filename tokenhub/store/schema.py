"""Every table, index and constraint on one page; no methods.

Amounts are nano-USD, times are milliseconds since 1970 UTC unless a name says otherwise.
SQLite tables are STRICT, PostgreSQL has the same columns as BIGINT, TEXT and BYTEA. The hot
path (``holds.py``) uses SQL on these tables; everything else uses these classes. Only the
files in ``migrations/`` create tables: a change here comes with the next of them, and a test
compares what they build with this page.
"""

from peewee import (
    BigAutoField,
    BigIntegerField,
    BlobField,
    Check,
    DatabaseProxy,
    ForeignKeyField,
    Model,
    TextField,
)

from tokenhub.money import MAX_NANO

proxy = DatabaseProxy()

AMOUNT = f"BETWEEN -{MAX_NANO} AND {MAX_NANO}"
"""Amounts stay far enough inside 64 bits that the sum of two cannot leave them (T16)."""


class Row(Model):
    class Meta:
        database = proxy
        strict_tables = True
        legacy_table_names = False


class InstallationRow(Row):
    """One row: this installation and the versions that every plan is compared with."""

    id = BigIntegerField(primary_key=True, constraints=[Check("id = 1")])
    instance = TextField()
    """Random id of this installation; names it to Stripe and in backups."""
    created_at = BigIntegerField()
    version = BigIntegerField(default=1)
    """Bumped by a change of installation-wide settings kept in the database."""
    catalog_version = BigIntegerField(default=1)
    """Bumped by a change of providers, models, prices or credentials."""
    revision = BigIntegerField(default=1)
    """Bumped by every management change: what other processes watch."""
    closed_until = BigIntegerField(default=0)
    """Start of the first UTC day that is not closed: what ended before it stands in ``daily_lines``."""
    key_check = BlobField()
    """Made from the master key: tells a wrong key apart before anything is sealed or opened with it."""

    class Meta:
        table_name = "installation"


class PlanRow(Row):
    id = TextField(primary_key=True)
    version = BigIntegerField(default=1)
    fee_bp = BigIntegerField(constraints=[Check("fee_bp BETWEEN 0 AND 10000")])
    key_rpm = BigIntegerField(constraints=[Check("key_rpm > 0")])
    account_rpm = BigIntegerField(constraints=[Check("account_rpm > 0")])
    concurrency = BigIntegerField(constraints=[Check("concurrency > 0")])
    model_names = TextField(default="{}")
    """JSON: plan model name to an ordered list of model or provider/model names."""
    support = TextField(default="")
    sla = TextField(default="")
    compliance = TextField(default="")
    """What the plan promises beyond the boundaries that are set: for people."""

    class Meta:
        table_name = "plans"


class AccountRow(Row):
    id = BigAutoField()
    name = TextField(unique=True)
    version = BigIntegerField(default=1)
    status = TextField(default="active", constraints=[Check("status IN ('active', 'disabled')")])
    plan = ForeignKeyField(PlanRow, column_name="plan_id", on_delete="RESTRICT")
    email = TextField(null=True)
    fee_bp = BigIntegerField(null=True, constraints=[Check("fee_bp BETWEEN 0 AND 10000")])
    key_rpm = BigIntegerField(null=True, constraints=[Check("key_rpm > 0")])
    account_rpm = BigIntegerField(null=True, constraints=[Check("account_rpm > 0")])
    concurrency = BigIntegerField(null=True, constraints=[Check("concurrency > 0")])
    available = BigIntegerField(default=0, constraints=[Check(f"available {AMOUNT}")])
    """Sum of the lots' available parts, less debt: what a hold may take."""
    debt = BigIntegerField(default=0, constraints=[Check("debt >= 0")])
    """What refunds and disputes took back beyond all lots; the next credit repays it first."""
    low_balance = BigIntegerField(null=True, constraints=[Check("low_balance >= 0")])
    """A notice is sent when ``available`` + ``held`` falls below this; NULL: none."""
    low_since = BigIntegerField(null=True)
    """Since when the balance is known to be low, so that one fall is told once."""
    held = BigIntegerField(default=0, constraints=[Check("held >= 0")])
    open_holds = BigIntegerField(default=0, constraints=[Check("open_holds >= 0")])
    next_expiry = BigIntegerField(null=True)
    """When the first lot with anything left expires; the write expires it first."""
    rate_window = BlobField(null=True)
    """Sixty-one one-second buckets; written by ``accounts/limits.py``."""
    created_at = BigIntegerField()

    class Meta:
        table_name = "accounts"


class KeyRow(Row):
    id = TextField(primary_key=True)
    account = ForeignKeyField(AccountRow, column_name="account_id", on_delete="RESTRICT")
    version = BigIntegerField(default=1)
    name = TextField(default="")
    prefix = TextField()
    digest = BlobField(unique=True)
    """SHA-256 of the key."""
    status = TextField(default="active", constraints=[Check("status IN ('active', 'revoked')")])
    expires_at = BigIntegerField(null=True)
    rpm = BigIntegerField(null=True, constraints=[Check("rpm > 0")])
    spend_limit = BigIntegerField(null=True, constraints=[Check("spend_limit >= 0")])
    spend_period = TextField(default="total", constraints=[Check("spend_period IN ('day', 'week', 'month', 'total')")])
    period_start = BigIntegerField(default=0)
    """Start of the UTC period that ``period_spent`` and ``period_held`` count; 0 for ``total``."""
    period_spent = BigIntegerField(default=0, constraints=[Check("period_spent >= 0")])
    period_held = BigIntegerField(default=0, constraints=[Check("period_held >= 0")])
    models = TextField(null=True)
    """JSON list of names this key may call; NULL: all."""
    rate_window = BlobField(null=True)
    replaced_by = TextField(null=True)
    created_at = BigIntegerField()
    revoked_at = BigIntegerField(null=True)

    class Meta:
        table_name = "keys"


class LotRow(Row):
    """Credit of one origin and expiry.

    granted = available + held + frozen + spent + expired + returned + repaid, always.
    """

    id = BigAutoField()
    account = ForeignKeyField(AccountRow, column_name="account_id", on_delete="RESTRICT", index=False)
    kind = TextField()
    """grant, topup."""
    ref = TextField()
    """Of a top-up: its PaymentIntent."""
    granted = BigIntegerField(constraints=[Check(f"granted BETWEEN 1 AND {MAX_NANO}")])
    available = BigIntegerField(constraints=[Check("available >= 0")])
    held = BigIntegerField(default=0, constraints=[Check("held >= 0")])
    frozen = BigIntegerField(default=0, constraints=[Check("frozen >= 0")])
    """Kept back while a dispute is open."""
    spent = BigIntegerField(default=0, constraints=[Check("spent >= 0")])
    expired = BigIntegerField(default=0, constraints=[Check("expired >= 0")])
    returned = BigIntegerField(default=0, constraints=[Check("returned >= 0")])
    """Taken back by refunds, disputes and adjustments."""
    repaid = BigIntegerField(default=0, constraints=[Check("repaid >= 0")])
    """Used up to repay the account's debt."""
    expires_at = BigIntegerField(null=True)
    """NULL: never (an operator's grant may say so)."""
    created_at = BigIntegerField()
    note = TextField(default="")

    class Meta:
        table_name = "lots"
        constraints = (Check("granted = available + held + frozen + spent + expired + returned + repaid"),)
        indexes = ((("kind", "ref"), True), (("account_id", "expires_at"), False))


class EntryRow(Row):
    """The journal: one immutable row per event (triggers refuse update and delete)."""

    id = BigAutoField()
    account = ForeignKeyField(AccountRow, column_name="account_id", on_delete="RESTRICT", index=False)
    lot = ForeignKeyField(LotRow, column_name="lot_id", null=True, on_delete="RESTRICT")
    """NULL: the entry changes the account's debt (negative amounts raise it)."""
    kind = TextField()
    """What happened: ``billing/journal.py`` names the kinds."""
    ref = TextField()
    amount = BigIntegerField(constraints=[Check(f"amount {AMOUNT}")])
    """Signed: positive adds credit."""
    created_at = BigIntegerField()
    note = TextField(default="")

    class Meta:
        table_name = "entries"
        indexes = ((("kind", "ref"), True), (("account_id", "id"), False))


class LeaseRow(Row):
    """A process that is, or was, at work. Its holds are released when it has ended."""

    id = BigAutoField()
    epoch = BigIntegerField(default=1)
    """Counts renewals: a reaper must have seen the same epoch across one full lease."""
    state = TextField(default="live", constraints=[Check("state IN ('live', 'ended')")])
    host = TextField()
    boot_id = TextField()
    pid = BigIntegerField()
    started_at = BigIntegerField()
    renewed_at = BigIntegerField()

    class Meta:
        table_name = "leases"


class NamedLeaseRow(Row):
    """Which process does a periodic job that must run once among all."""

    name = TextField(primary_key=True)
    lease = ForeignKeyField(LeaseRow, column_name="lease_id", on_delete="CASCADE")
    renewed_at = BigIntegerField()

    class Meta:
        table_name = "named_leases"


class HoldRow(Row):
    """Open holds only: settling or releasing one deletes it and writes its request row.

    It has no index but its key: the table is small, and every request writes it twice.
    """

    request_id = TextField(primary_key=True)
    account = ForeignKeyField(AccountRow, column_name="account_id", on_delete="RESTRICT", index=False)
    key = ForeignKeyField(KeyRow, column_name="key_id", on_delete="RESTRICT", index=False)
    lease_id = BigIntegerField(null=True)
    """NULL for a job's hold, which lives until the job ends."""
    owner = TextField(default="request", constraints=[Check("owner IN ('request', 'job')")])
    amount = BigIntegerField(constraints=[Check(f"amount BETWEEN 0 AND {MAX_NANO}")])
    lot_id = BigIntegerField(null=True)
    """The lot it draws on; NULL when it is free, or spans several (then ``hold_lots`` has them)."""
    period_start = BigIntegerField(default=0)
    price_version = TextField()
    placed_at = BigIntegerField()

    class Meta:
        table_name = "holds"
        without_rowid = True


class HoldLotRow(Row):
    """The parts of a hold that spans several lots."""

    id = BigAutoField()
    request_id = TextField(index=True)
    lot_id = BigIntegerField()
    amount = BigIntegerField(constraints=[Check("amount > 0")])

    class Meta:
        table_name = "hold_lots"


class RequestRow(Row):
    """One ended request: its charge and its metadata.

    Its ids ascend in time, so rows made together lie together. An index on the provider's id
    would dirty one more page with every request (a quarter of all that is written).
    """

    id = TextField(primary_key=True)
    account_id = BigIntegerField()
    key_id = TextField()
    end = TextField(constraints=[Check("\"end\" IN ('settled', 'released')")])
    started_at = BigIntegerField()
    ended_at = BigIntegerField()
    capability = TextField(default="")
    model = TextField(default="")
    provider = TextField(null=True)
    region = TextField(null=True)
    credential_id = BigIntegerField(null=True)
    upstream_id = TextField(null=True)
    streamed = BigIntegerField(default=0, constraints=[Check("streamed IN (0, 1)")])
    status = BigIntegerField(default=0)
    error_code = TextField(null=True)
    finish_reason = TextField(null=True)
    native_finish_reason = TextField(null=True)
    input_tokens = BigIntegerField(default=0)
    cache_read_tokens = BigIntegerField(default=0)
    cache_write_tokens = BigIntegerField(default=0)
    cache_write_1h_tokens = BigIntegerField(default=0)
    audio_input_tokens = BigIntegerField(default=0)
    image_input_tokens = BigIntegerField(default=0)
    output_tokens = BigIntegerField(default=0)
    reasoning_tokens = BigIntegerField(default=0)
    image_output_tokens = BigIntegerField(default=0)
    unknown_tokens = BigIntegerField(default=0)
    estimated = BigIntegerField(default=0, constraints=[Check("estimated IN (0, 1)")])
    cancelled = BigIntegerField(default=0, constraints=[Check("cancelled IN (0, 1)")])
    held = BigIntegerField(default=0)
    model_fee = BigIntegerField(default=0, constraints=[Check("model_fee >= 0")])
    service_fee = BigIntegerField(default=0, constraints=[Check("service_fee >= 0")])
    charged = BigIntegerField(default=0)
    """What the lots paid: model fee + service fee, at most the hold."""
    shortfall = BigIntegerField(default=0, constraints=[Check("shortfall >= 0")])
    lot_id = BigIntegerField(null=True)
    """The lot that paid; NULL when nothing was charged, or several paid (``request_lots``)."""
    fee_bp = BigIntegerField(default=0)
    price_version = TextField(null=True)
    first_content_ms = BigIntegerField(null=True)
    duration_ms = BigIntegerField(default=0)
    attempts = TextField(default="[]")
    decision = TextField(default="")
    """Compact JSON: why these deployments were tried in this order, and the others not."""
    session = BlobField(null=True)
    """An HMAC that names the caller's session."""
    saved = BigIntegerField(default=0)
    """Nano-USD that cached input saved."""

    class Meta:
        table_name = "requests"
        constraints = (
            Check("charged = model_fee + service_fee"),
            Check("charged <= held"),
        )
        without_rowid = True
        indexes = ((("account_id", "ended_at"), False),)


class RequestLotRow(Row):
    """The parts of a charge that several lots paid."""

    id = BigAutoField()
    request_id = TextField(index=True)
    lot_id = BigIntegerField()
    amount = BigIntegerField(constraints=[Check("amount > 0")])

    class Meta:
        table_name = "request_lots"


class CredentialRow(Row):
    """The hub's key at a provider, sealed (AES-GCM, bound to this row's id, provider and region)."""

    id = BigAutoField()
    provider = TextField()
    region = TextField()
    label = TextField(default="")
    base_url = TextField(null=True)
    insecure_http = BigIntegerField(default=0, constraints=[Check("insecure_http IN (0, 1)")])
    sealed = BlobField()
    hint = TextField(default="")
    """The last four characters, for people."""
    status = TextField(default="active", constraints=[Check("status IN ('active', 'disabled', 'failed')")])
    status_reason = TextField(default="")
    weight = BigIntegerField(default=1, constraints=[Check("weight > 0")])
    created_at = BigIntegerField()

    class Meta:
        table_name = "credentials"


class OverrideRow(Row):
    """What the operator adds to or changes in the shipped catalogue: providers, models, prices (JSON each)."""

    kind = TextField()
    """provider, model, price."""
    name = TextField()
    data = TextField()
    created_at = BigIntegerField()

    class Meta:
        table_name = "catalog_overrides"
        primary_key = False
        indexes = ((("kind", "name"), True),)


class CustomerRow(Row):
    """An account's customer at Stripe, and the card that may be charged without the person."""

    account = ForeignKeyField(AccountRow, column_name="account_id", primary_key=True, on_delete="RESTRICT")
    customer = TextField(unique=True)
    payment_method = TextField(null=True)
    card = TextField(default="")
    """Brand and last four digits, for people."""
    created_at = BigIntegerField()

    class Meta:
        table_name = "customers"


class RechargeRow(Row):
    """When an account buys credit by itself, and the brakes. ``amount``, ``monthly_cap``, ``month_total``: US cents."""

    account = ForeignKeyField(AccountRow, column_name="account_id", primary_key=True, on_delete="RESTRICT")
    state = TextField(default="on", constraints=[Check("state IN ('on', 'off', 'suspended')")])
    amount = BigIntegerField(constraints=[Check("amount > 0")])
    below = BigIntegerField(constraints=[Check("below >= 0")])
    """Nano-USD: recharge when the balance is less."""
    monthly_cap = BigIntegerField(constraints=[Check("monthly_cap > 0")])
    reason = TextField(default="")
    """Why it is suspended."""
    declines = BigIntegerField(default=0, constraints=[Check("declines >= 0")])
    month_start = BigIntegerField(default=0)
    month_total = BigIntegerField(default=0, constraints=[Check("month_total >= 0")])
    attempted_at = BigIntegerField(null=True)
    created_at = BigIntegerField()

    class Meta:
        table_name = "recharges"


class TopupRow(Row):
    """A purchase of credit: the intent before Stripe is asked, then what became of it.

    ``amount``, ``paid_amount`` and ``paid_total`` are minor units of ``currency`` (cents, fen).
    """

    id = TextField(primary_key=True)
    account = ForeignKeyField(AccountRow, column_name="account_id", on_delete="RESTRICT", index=False)
    kind = TextField(constraints=[Check("kind IN ('checkout', 'recharge')")])
    state = TextField(
        constraints=[
            Check(
                "state IN ('new', 'open', 'processing', 'paid', 'review', 'expired', 'failed', 'rejected', 'abandoned')"
            )
        ]
    )
    currency = TextField(constraints=[Check("currency IN ('usd', 'cny')")])
    amount = BigIntegerField(constraints=[Check("amount BETWEEN 1 AND 99999999")])
    rate = BigIntegerField(constraints=[Check("rate > 0")])
    """Millionths of ``currency`` for one USD, frozen when the top-up is made; 1 000 000 for USD."""
    credit = BigIntegerField(constraints=[Check("credit > 0")])
    """Nano-USD that the amount buys."""
    livemode = BigIntegerField(constraints=[Check("livemode IN (0, 1)")])
    attempt = BigIntegerField(default=1)
    """Part of the idempotency key."""
    params = TextField()
    """JSON: exactly what is posted, so that a repeat is the same request."""
    session_id = TextField(null=True, unique=True)
    payment_intent = TextField(null=True, unique=True)
    charge_id = TextField(null=True, index=True)
    customer = TextField(null=True)
    url = TextField(null=True)
    offered = TextField(default="[]")
    """JSON: the payment methods that Stripe offers for it."""
    paid_amount = BigIntegerField(null=True)
    """What was paid for the credit, without tax."""
    paid_total = BigIntegerField(null=True)
    """What was paid in all: what can be refunded."""
    paid_at = BigIntegerField(null=True)
    lot = ForeignKeyField(LotRow, column_name="lot_id", null=True, unique=True, on_delete="RESTRICT")
    recharge_of = BigIntegerField(null=True, unique=True)
    """The account, while this is its automatic recharge under way: there is one at a time."""
    reason = TextField(default="")
    """Why it failed or needs a look."""
    session_expires_at = BigIntegerField(null=True)
    next_poll_at = BigIntegerField(null=True, index=True)
    """When the gateway looks at it next; NULL: never again."""
    created_at = BigIntegerField()
    updated_at = BigIntegerField()

    class Meta:
        table_name = "topups"
        indexes = ((("account_id", "created_at"), False),)


class RefundRow(Row):
    """Money sent back for a top-up: asked for here (``tokenhub``), or made at Stripe (``stripe``). ``amount``: minor units."""

    id = TextField(primary_key=True)
    topup = ForeignKeyField(TopupRow, column_name="topup_id", on_delete="RESTRICT")
    state = TextField(constraints=[Check("state IN ('requested', 'pending', 'succeeded', 'failed', 'rejected')")])
    origin = TextField(constraints=[Check("origin IN ('tokenhub', 'stripe')")])
    amount = BigIntegerField(constraints=[Check("amount BETWEEN 1 AND 99999999")])
    credit = BigIntegerField(constraints=[Check("credit >= 0")])
    """Nano-USD that left the account for it."""
    stripe_id = TextField(null=True, unique=True)
    attempt = BigIntegerField(default=1)
    reason = TextField(default="")
    next_poll_at = BigIntegerField(null=True, index=True)
    created_at = BigIntegerField()
    updated_at = BigIntegerField()

    class Meta:
        table_name = "refunds"


class DisputeRow(Row):
    """A payment that its payer contests, by Stripe's id. ``amount``: minor units; ``frozen``, ``taken``: nano-USD."""

    id = TextField(primary_key=True)
    topup = ForeignKeyField(TopupRow, column_name="topup_id", on_delete="RESTRICT")
    state = TextField(constraints=[Check("state IN ('flagged', 'frozen', 'won', 'lost')")])
    status = TextField()
    """Stripe's own word, as last read."""
    amount = BigIntegerField(constraints=[Check("amount >= 0")])
    frozen = BigIntegerField(default=0, constraints=[Check("frozen >= 0")])
    taken = BigIntegerField(default=0, constraints=[Check("taken >= 0")])
    next_poll_at = BigIntegerField(null=True, index=True)
    created_at = BigIntegerField()
    updated_at = BigIntegerField()

    class Meta:
        table_name = "disputes"


class StripeEventRow(Row):
    """An event to be looked into: id and type only, for amounts are always read from the object."""

    id = TextField(primary_key=True)
    type = TextField()
    object_id = TextField()
    source = TextField(constraints=[Check("source IN ('webhook', 'sweep')")])
    state = TextField(default="new", constraints=[Check("state IN ('new', 'done', 'ignored', 'review')")])
    reason = TextField(default="")
    tries = BigIntegerField(default=0)
    next_try_at = BigIntegerField(null=True, index=True)
    received_at = BigIntegerField()

    class Meta:
        table_name = "stripe_events"


class StripeRow(Row):
    """One row, once Stripe is set up: test or live mode, for ever, and how far its events were read."""

    id = BigIntegerField(primary_key=True, constraints=[Check("id = 1")])
    livemode = BigIntegerField(constraints=[Check("livemode IN (0, 1)")])
    event_cursor = BigIntegerField(default=0)
    """When the newest event that was read was made."""
    swept_at = BigIntegerField(default=0)
    """When events were last asked for."""
    objects_from = BigIntegerField(default=0)
    """When the last complete comparison of Stripe's objects with these rows began."""
    objects_due_at = BigIntegerField(default=0)
    """When the next one is due."""

    class Meta:
        table_name = "stripe"


class SecretRow(Row):
    """The installation's own secrets, sealed (AES-GCM, bound to their names): Stripe's keys, the mail password."""

    name = TextField(primary_key=True)
    sealed = BlobField()
    hint = TextField(default="")
    created_at = BigIntegerField()

    class Meta:
        table_name = "secrets"


class NoticeRow(Row):
    """Something to be told, one row for each way of telling it; sent by the gateway, repeated until it is taken."""

    id = BigAutoField()
    kind = TextField()
    ref = TextField()
    channel = TextField(constraints=[Check("channel IN ('email', 'webhook')")])
    target = TextField()
    account = ForeignKeyField(AccountRow, column_name="account_id", null=True, on_delete="CASCADE")
    body = TextField()
    """JSON."""
    state = TextField(default="new", constraints=[Check("state IN ('new', 'sent', 'failed')")])
    tries = BigIntegerField(default=0)
    reason = TextField(default="")
    next_try_at = BigIntegerField(null=True, index=True)
    created_at = BigIntegerField()

    class Meta:
        table_name = "notices"
        indexes = ((("kind", "ref", "channel", "target"), True),)


class ClosedDayRow(Row):
    """A UTC day whose charges stand in ``daily_lines``; its requests may be deleted.

    A day from ``installation.closed_until`` on is being closed: its row and its lines are drafts, which count for nothing.
    """

    day = BigIntegerField(primary_key=True)
    """Its first millisecond."""
    requests = BigIntegerField(constraints=[Check("requests >= 0")])
    charged = BigIntegerField(constraints=[Check("charged >= 0")])
    closed_at = BigIntegerField()
    purged_at = BigIntegerField(null=True)
    """Since when its requests are being deleted, after its lines were compared with them once more."""
    wiped_at = BigIntegerField(null=True)
    """Since when nothing of its requests is left in the database's files."""

    class Meta:
        table_name = "closed_days"


class DailyLineRow(Row):
    """What one key's requests of one model at one provider cost on a closed day, by lot. Immutable, like the journal."""

    id = BigAutoField()
    day = ForeignKeyField(ClosedDayRow, column_name="day", on_delete="RESTRICT", index=False)
    account_id = BigIntegerField()
    key_id = TextField()
    model = TextField()
    provider = TextField()
    kind = TextField(constraints=[Check("kind IN ('model_fee', 'service_fee')")])
    lot_id = BigIntegerField(index=True)
    """0: nothing was charged."""
    amount = BigIntegerField(constraints=[Check(f"amount BETWEEN 0 AND {MAX_NANO}")])
    requests = BigIntegerField(constraints=[Check("requests >= 0")])
    """Each request counts once, on the model-fee line of the first lot that paid."""
    shortfall = BigIntegerField(default=0, constraints=[Check("shortfall >= 0")])
    """What the requests counted here cost above their holds: the operator's loss, and no part of ``amount``."""

    class Meta:
        table_name = "daily_lines"
        indexes = (
            (("day", "account_id", "key_id", "model", "provider", "kind", "lot_id"), True),
            (("account_id", "day"), False),
        )


class PreferencesRow(Row):
    """What one scope sets about routing: boundaries and wishes, as JSON (``routing/preferences.py``)."""

    scope = TextField(constraints=[Check("scope IN ('installation', 'plan', 'account', 'key')")])
    subject = TextField()
    """Plan id, account id, key id; empty for the installation."""
    data = TextField()
    updated_at = BigIntegerField()

    class Meta:
        table_name = "preferences"
        primary_key = False
        indexes = ((("scope", "subject"), True),)


class CircuitRow(Row):
    """Whether a deployment is tried, as all processes see it. No request data (T118)."""

    deployment = TextField(primary_key=True)
    state = TextField(constraints=[Check("state IN ('closed', 'open', 'half_open')")])
    failures = BigIntegerField(default=0)
    """In a row."""
    backoff_ms = BigIntegerField(default=0)
    open_until = BigIntegerField(null=True)
    probe_until = BigIntegerField(null=True)
    """One process probes until then."""
    last_error = TextField(default="")
    changed_at = BigIntegerField()

    class Meta:
        table_name = "circuits"


class CooldownRow(Row):
    """A credential that its provider throttles, left alone until then."""

    credential = ForeignKeyField(CredentialRow, column_name="credential_id", primary_key=True, on_delete="CASCADE")
    until = BigIntegerField()
    backoff_ms = BigIntegerField(default=0)
    reason = TextField(default="")
    changed_at = BigIntegerField()

    class Meta:
        table_name = "cooldowns"


class HealthMinuteRow(Row):
    """How a deployment did in one minute, added up over all processes."""

    deployment = TextField()
    minute = BigIntegerField()
    """Its first millisecond."""
    attempts = BigIntegerField()
    failures = BigIntegerField()
    latencies = TextField(default="{}")
    """JSON: upper bound of a bucket, ms to first content, to its count; after a ``t``, output tokens a second."""

    class Meta:
        table_name = "health_minutes"
        primary_key = False
        indexes = ((("deployment", "minute"), True), (("minute",), False))


class AffinityRow(Row):
    """Which deployment a session's tool loop is bound to; ``session`` is an HMAC."""

    session = BlobField(primary_key=True)
    deployment = TextField()
    expires_at = BigIntegerField(index=True)

    class Meta:
        table_name = "affinities"
        without_rowid = True


class SubscriptionRow(Row):
    """Who is told of which events (``tokenhub notify``)."""

    id = BigAutoField()
    channel = TextField(constraints=[Check("channel IN ('email', 'webhook')")])
    target = TextField()
    events = TextField(default="[]")
    """JSON list; empty: all."""
    created_at = BigIntegerField()

    class Meta:
        table_name = "subscriptions"
        indexes = ((("channel", "target"), True),)


TABLES = (
    InstallationRow,
    PlanRow,
    AccountRow,
    KeyRow,
    LotRow,
    EntryRow,
    LeaseRow,
    NamedLeaseRow,
    HoldRow,
    HoldLotRow,
    RequestRow,
    RequestLotRow,
    CredentialRow,
    OverrideRow,
    CustomerRow,
    RechargeRow,
    TopupRow,
    RefundRow,
    DisputeRow,
    StripeEventRow,
    StripeRow,
    SecretRow,
    NoticeRow,
    ClosedDayRow,
    DailyLineRow,
    PreferencesRow,
    CircuitRow,
    CooldownRow,
    HealthMinuteRow,
    AffinityRow,
    SubscriptionRow,
)
"""In the order in which they can be created."""
