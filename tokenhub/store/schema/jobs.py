"""Work that goes on at a provider after its request was answered: videos."""

from peewee import BigIntegerField, Check, ForeignKeyField, TextField

from tokenhub.store.schema.accounts import AccountRow
from tokenhub.store.schema.rows import Row


class JobRow(Row):
    """A job at a provider. It has the id of the request that asked for it, and so of its hold.

    The money is in the hold and in the request that ends it; this row says where the job is and
    what its caller is shown of it. Nothing of its content, and no address of a result, is kept.
    """

    id = TextField(primary_key=True)
    account = ForeignKeyField(AccountRow, column_name="account_id", on_delete="RESTRICT", index=False)
    key_id = TextField()
    capability = TextField()
    state = TextField(
        constraints=[
            Check("state IN ('creating', 'queued', 'in_progress', 'completed', 'failed', 'cancelled', 'expired')")
        ]
    )
    """*creating*: the hold is still a request's, and no provider has answered."""
    model = TextField(default="")
    asked = TextField(default="{}")
    """JSON: what of the request the caller is shown again (seconds, size), never the prompt."""
    provider = TextField(null=True)
    region = TextField(null=True)
    credential_id = BigIntegerField(null=True)
    """The key that made it: no other can ask for it."""
    deployment = TextField(null=True)
    upstream_model = TextField(null=True)
    upstream_id = TextField(null=True)
    card = TextField(default="{}")
    """JSON: the prices of the moment at which its hold was placed."""
    price_version = TextField(null=True)
    fee_bp = BigIntegerField(default=0)
    attempts = TextField(default="[]")
    decision = TextField(default="")
    progress = BigIntegerField(default=0, constraints=[Check("progress BETWEEN 0 AND 100")])
    error_code = TextField(null=True)
    reason = TextField(default="")
    """Why it failed, in words for its caller."""
    polls = BigIntegerField(default=0)
    misses = BigIntegerField(default=0)
    """Polls in a row that brought no answer."""
    next_poll_at = BigIntegerField(null=True, index=True)
    """When the provider is asked next; NULL: never again."""
    expires_at = BigIntegerField()
    """When it is given up, and its hold given back."""
    content_until = BigIntegerField(null=True)
    """Until when the provider keeps its result."""
    created_at = BigIntegerField()
    ended_at = BigIntegerField(null=True, index=True)

    class Meta:
        table_name = "jobs"
        indexes = ((("account_id", "id"), False),)
