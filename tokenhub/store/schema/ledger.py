"""Credit and what is charged: lots, the journal, holds, requests, closed days."""

from peewee import BigAutoField, BigIntegerField, BlobField, Check, ForeignKeyField, TextField

from tokenhub.money import MAX_NANO
from tokenhub.store.schema.accounts import AccountRow, KeyRow
from tokenhub.store.schema.rows import AMOUNT, Row


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
    units = TextField(default="")
    """JSON: what it used that is not a token (images, seconds); empty: nothing."""

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
