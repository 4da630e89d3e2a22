"""Where requests go: credentials, the operator's catalogue, preferences, and how each deployment does."""

from peewee import BigAutoField, BigIntegerField, BlobField, Check, ForeignKeyField, TextField

from tokenhub.store.schema.rows import Row


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
    data_policy = TextField(null=True, constraints=[Check("data_policy IN ('no_training', 'no_retention', 'unknown')")])
    """What the operator's own agreement says of the data of requests; NULL: what the provider states."""

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
