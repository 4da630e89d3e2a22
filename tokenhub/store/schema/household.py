"""What the program keeps for itself: its processes, its secrets, whom it tells what."""

from peewee import BigAutoField, BigIntegerField, BlobField, Check, ForeignKeyField, TextField

from tokenhub.store.schema.accounts import AccountRow
from tokenhub.store.schema.rows import Row


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
