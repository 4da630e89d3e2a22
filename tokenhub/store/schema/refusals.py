"""Requests that were refused before anything was held: no part of the ledger, and no part of any count."""

from peewee import BigIntegerField, BlobField, Check, TextField

from tokenhub.store.schema.rows import Row


class RefusalRow(Row):
    """A request that routing or its hold refused, with the reasons; its columns are those of ``requests``."""

    id = TextField(primary_key=True)
    account_id = BigIntegerField()
    key_id = TextField()
    started_at = BigIntegerField()
    ended_at = BigIntegerField(index=True)
    capability = TextField()
    model = TextField()
    """The catalogue's id of what was asked for."""
    streamed = BigIntegerField(constraints=[Check("streamed IN (0, 1)")])
    status = BigIntegerField()
    error_code = TextField()
    duration_ms = BigIntegerField()
    decision = TextField()
    session = BlobField(null=True)

    class Meta:
        table_name = "refusals"
        without_rowid = True
