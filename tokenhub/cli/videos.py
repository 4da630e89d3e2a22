"""``tokenhub videos``: what is being made at providers, what became of it, and giving one up."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub import clock, money
from tokenhub.cli import values
from tokenhub.cli.context import Door, OnlyAccount, command, noun
from tokenhub.cli.tables import Column

if TYPE_CHECKING:
    from tokenhub.operations.jobs import Job

app = noun("videos")

COLUMNS = (
    Column("id", "Id"),
    Column("account", "Account", spare=True),
    Column("model", "Model"),
    Column("provider", "Provider", spare=True),
    Column("state", "State"),
    Column("seconds", "Seconds", right=True, spare=True),
    Column("size", "Size", spare=True),
    Column("amount_usd", "Held or charged", right=True),
    Column("created_at", "Created (UTC)", spare=True),
)
FIELDS = (
    Column("id", "Id"),
    Column("request", "Request"),
    Column("account", "Account"),
    Column("key", "Key"),
    Column("state", "State"),
    Column("error_code", "Error"),
    Column("reason", "Why"),
    Column("model", "Model"),
    Column("provider", "Provider"),
    Column("region", "In region"),
    Column("credential", "With credential"),
    Column("upstream_id", "Provider's id"),
    Column("seconds", "Seconds"),
    Column("size", "Size"),
    Column("progress", "Progress, %"),
    Column("held_usd", "Held"),
    Column("charged_usd", "Charged"),
    Column("polls", "Looks"),
    Column("misses", "Looks without an answer"),
    Column("created_at", "Created (UTC)"),
    Column("ended_at", "Ended (UTC)"),
    Column("gives_up_at", "Given up at (UTC)"),
    Column("kept_until", "Kept by the provider until (UTC)"),
)


def row(door: Door, job: "Job", accounts: dict[str, str]) -> dict[str, Any]:
    """Return a video as it is shown. Neither its prompt nor its address is known here."""
    from tokenhub.operations import jobs

    asked, amounts = json.loads(job.asked), jobs.amounts(door.hub, job)
    return {
        "id": jobs.video_id(job.id),
        "request": job.id,
        "account": accounts.get(str(job.account_id)),
        "key": job.key_id,
        "state": job.state.value,
        "error_code": job.error_code,
        "reason": job.reason or None,
        "model": job.model,
        "provider": job.provider,
        "region": job.region,
        "credential": job.credential_id,
        "upstream_id": job.upstream_id,
        "seconds": asked.get("seconds"),
        "size": asked.get("size"),
        "progress": job.progress,
        "held_usd": money.exact_or_none(amounts.held_nano),
        "charged_usd": money.exact_or_none(amounts.charged_nano),
        "amount_usd": money.exact(amounts.held_nano or amounts.charged_nano or 0),
        "polls": job.polls,
        "misses": job.misses,
        "created_at": clock.iso(job.created_at),
        "ended_at": clock.iso_or_none(job.ended_at),
        "gives_up_at": clock.iso(job.expires_at) if job.is_open else None,
        "kept_until": clock.iso_or_none(job.content_until),
    }


@command(
    app, "list", examples=["tokenhub videos list", "tokenhub videos list --open", "tokenhub videos list --account acme"]
)
def list_(
    door: Door,
    account: OnlyAccount = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are being made.")] = False,
    limit: Annotated[Any, typer.Option("--limit", metavar="N", parser=values.whole(1, 100_000), help="How many of the newest.")] = "20",
) -> None:  # fmt: skip
    """List videos, the newest first; they are kept as long as requests are."""
    from tokenhub.operations import accounts, jobs

    account_id = accounts.id_of(door.hub, account)
    names = accounts.names_by_id(door.hub)
    found = jobs.listing(door.hub, account_id=account_id, only_open=only_open, limit=limit)
    door.rows([row(door, job, names) for job in found], COLUMNS, empty="No video has been made yet.")


@command(app, examples=["tokenhub videos show video_019acb3f"])
def show(
    door: Door,
    id: Annotated[str, typer.Argument(metavar="ID", help="The video's id, or its request's.")],
) -> None:
    """Show one video: where it is made, how it is, what it holds or cost."""
    from tokenhub.operations import accounts, jobs

    door.record(row(door, jobs.find(door.hub, id), accounts.names_by_id(door.hub)), FIELDS)


@command(app, examples=["tokenhub videos cancel video_019acb3f"])
def cancel(
    door: Door,
    id: Annotated[str, typer.Argument(metavar="ID", help="The video's id, or its request's.")],
) -> None:
    """Give a video up: its hold goes back to the account. One that its provider calls complete is charged instead."""
    from tokenhub.operations import accounts, job_work

    job = job_work.cancel_here(door.hub, id)
    door.record(row(door, job, accounts.names_by_id(door.hub)), FIELDS)
