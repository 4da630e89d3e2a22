"""Who calls: the installation, plans, accounts, keys."""

from peewee import BigAutoField, BigIntegerField, BlobField, Check, ForeignKeyField, TextField

from tokenhub.store.schema.rows import AMOUNT, Row


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
