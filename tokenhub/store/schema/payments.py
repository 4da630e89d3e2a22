"""Purchases of credit through Stripe and what is taken back."""

from peewee import BigIntegerField, Check, ForeignKeyField, TextField

from tokenhub.store.schema.accounts import AccountRow
from tokenhub.store.schema.ledger import LotRow
from tokenhub.store.schema.rows import Row


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
