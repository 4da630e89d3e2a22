"""``tokenhub topups``: purchases of credit, and what became of them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock, money
from tokenhub.billing import credits
from tokenhub.cli import tables, values
from tokenhub.cli.context import Door, OnlyAccount, command, noun, whose
from tokenhub.cli.tables import Column

if TYPE_CHECKING:
    from tokenhub.operations.payments.disputes import Dispute
    from tokenhub.operations.payments.refunds import Refund
    from tokenhub.operations.payments.topups import Topup

app = noun("topups")

COLUMNS = (
    Column("id", "Id"),
    Column("account", "Account", spare=True),
    Column("state", "State"),
    Column("amount", "Amount", right=True),
    Column("currency", "Currency"),
    Column("credit_usd", "Credit", right=True),
    Column("created_at", "Created (UTC)", spare=True),
    Column("paid_at", "Paid (UTC)", spare=True),
)
FIELDS = (
    Column("id", "Id"),
    Column("account", "Account"),
    Column("kind", "Kind"),
    Column("state", "State"),
    Column("reason", "Why"),
    Column("amount", "Amount"),
    Column("currency", "Currency"),
    Column("rate", "Currency for 1 USD"),
    Column("credit_usd", "Credit"),
    Column("paid_total", "Paid in all"),
    Column("paid_at", "Paid (UTC)"),
    Column("lot", "Lot"),
    Column("offered", "Ways to pay"),
    Column("url", "Link"),
    Column("open_until_at", "Link open until (UTC)"),
    Column("livemode", "Real money"),
    Column("session", "Stripe session"),
    Column("payment", "Stripe payment"),
    Column("created_at", "Created (UTC)"),
)
_LINK_FIELDS = ("offered", "url", "open_until_at")
"""Shown to people while the link can be paid."""

REFUND_COLUMNS = (
    Column("id", "Refund"),
    Column("state", "State"),
    Column("origin", "Made in", spare=True),
    Column("amount", "Amount", right=True),
    Column("credit_usd", "Credit", right=True),
    Column("stripe_id", "Stripe refund", spare=True),
    Column("reason", "Why", spare=True),
    Column("created_at", "Created (UTC)", spare=True),
)
DISPUTE_COLUMNS = (
    Column("id", "Dispute"),
    Column("state", "State"),
    Column("status", "At Stripe", spare=True),
    Column("amount", "Amount", right=True),
    Column("frozen_usd", "Frozen", right=True),
    Column("taken_usd", "Taken back", right=True),
    Column("created_at", "Created (UTC)", spare=True),
)
REPAIR_COLUMNS = (Column("kind", "What"), Column("subject", "Id"), Column("message", "Mended"))


def rate(topup: "Topup") -> str:
    """Return how much of the paid currency one USD of credit costs."""
    return money.exact(topup.rate_micro * 1000)


def row(topup: "Topup", account: str) -> dict[str, Any]:
    """Return a top-up as it is shown; amounts are in its currency, credit in US dollars."""
    return {
        "id": topup.id,
        "account": account,
        "kind": topup.kind,
        "state": topup.state,
        "reason": topup.reason,
        "amount": credits.major(topup.amount_minor, topup.currency),
        "currency": topup.currency,
        "rate": rate(topup),
        "credit_usd": money.exact(topup.credit_nano),
        "paid_total": None if topup.paid_total_minor is None else credits.major(topup.paid_total_minor, topup.currency),
        "paid_at": clock.iso_or_none(topup.paid_at_ms),
        "lot": topup.lot_id,
        "offered": list(topup.offered),
        "url": topup.url,
        "open_until_at": clock.iso_or_none(topup.session_expires_at_ms),
        "livemode": topup.livemode,
        "session": topup.session_id,
        "payment": topup.payment_intent,
        "created_at": clock.iso(topup.created_at_ms),
    }


def refund_row(refund: "Refund", currency: str) -> dict[str, Any]:
    """Return a refund as it is shown."""
    return {
        "id": refund.id,
        "topup": refund.topup_id,
        "state": refund.state,
        "origin": refund.origin,
        "amount": credits.major(refund.amount_minor, currency),
        "currency": currency,
        "credit_usd": money.exact(refund.credit_nano),
        "stripe_id": refund.stripe_id,
        "reason": refund.reason,
        "created_at": clock.iso(refund.created_at_ms),
    }


def dispute_row(dispute: "Dispute", currency: str) -> dict[str, Any]:
    """Return a dispute as it is shown."""
    return {
        "id": dispute.id,
        "state": dispute.state,
        "status": dispute.status,
        "amount": credits.major(dispute.amount_minor, currency),
        "currency": currency,
        "frozen_usd": money.exact(dispute.frozen_nano),
        "taken_usd": money.exact(dispute.taken_nano),
        "created_at": clock.iso(dispute.created_at_ms),
    }


@command(app, "list", examples=["tokenhub topups list", "tokenhub topups list --account acme --json"])
def list_(
    door: Door,
    account: OnlyAccount = None,
    limit: Annotated[
        Any, typer.Option("--limit", metavar="N", parser=values.whole(1, 100_000), help="How many of the newest.")
    ] = "20",
) -> None:
    """List top-ups, the newest first."""
    from tokenhub.operations import accounts
    from tokenhub.operations.payments import topups

    names = accounts.names_by_id(door.hub)
    only = accounts.id_of(door.hub, account)
    rows = [row(topup, names[str(topup.account_id)]) for topup in topups.listing(door.hub, only, limit=limit)]
    door.rows(rows, COLUMNS, empty=f"There is no top-up yet. Make one: tokenhub topup 20{whose(account, names)}")


@command(app, examples=["tokenhub topups show topup_019a", "tokenhub topups show topup_019a --json"])
def show(
    door: Door,
    id: Annotated[str, typer.Argument(metavar="ID", help="The top-up's id, or an unmistakable start of it.")],
) -> None:
    """Show one top-up as last seen, with its refunds and disputes."""
    from tokenhub.operations import accounts
    from tokenhub.operations.payments import disputes, refunds, topups

    found = topups.get(door.hub, id)
    account = accounts.state(door.hub, found.account_id).account.name
    sent_back = [refund_row(refund, found.currency) for refund in refunds.of_topup(door.hub, found.id)]
    contested = [dispute_row(dispute, found.currency) for dispute in disputes.of_topup(door.hub, found.id)]
    if door.as_json:
        door.record({**row(found, account), "refunds": sent_back, "disputes": contested}, ())
        return
    fields = [column for column in FIELDS if column.field not in _LINK_FIELDS or found.state in ("new", "open")]
    tables.print_record(row(found, account), fields)
    tables.print_below(sent_back, REFUND_COLUMNS)
    tables.print_below(contested, DISPUTE_COLUMNS)


@command(app, examples=["tokenhub topups reconcile", "tokenhub topups reconcile --since 2026-11-01 --json"])
def reconcile(
    door: Door,
    since: Annotated[
        Any,
        typer.Option(
            "--since", metavar="DATE", parser=values.past, help="Compare what was made since a day (UTC), or 7d, 48h."
        ),
    ] = "30d",
) -> None:
    """Compare top-ups, payments, refunds and disputes with Stripe, and mend what is missing here.

    Nothing is booked twice, however often it is run. The gateway does the same by itself, at its start and daily.
    """
    from tokenhub.observability import log
    from tokenhub.operations.payments import comparison

    with log.only("error"):
        repairs = comparison.reconcile_since(door.hub, since)
    rows = [{"kind": repair.kind, "subject": repair.subject, "message": repair.message} for repair in repairs]
    door.rows(rows, REPAIR_COLUMNS, empty=f"Nothing was missing: all since {clock.iso(since)} is as Stripe has it.")
