"""Jobs at providers as they are told: to their callers, and to the operator. What is done with them is in ``job_work.py``."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from tokenhub.billing.pricing import Charge, Split
from tokenhub.errors import NotFound
from tokenhub.operations.hub import Hub
from tokenhub.store import jobs as store
from tokenhub.store import requests
from tokenhub.store.database import Database
from tokenhub.store.jobs import Job as Job
from tokenhub.store.jobs import JobState
from tokenhub.wire.videos import request as videos

OVERDUE_S: Final = 600
MANY_MISSES: Final = 5
_NOT_MADE: Final = (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)
"""OpenAI has one word for all of these: failed; the error's code says which."""


def shown(database: Database, job: Job) -> dict[str, Any]:
    """Return a job as its caller sees it, in the caller's read: OpenAI's Video object; what it cost, once it is charged."""
    asked = orjson.loads(job.asked)
    failed = job.state in _NOT_MADE
    row = requests.one(database, job.id, account_id=job.account_id) if job.state is JobState.COMPLETED else None
    return videos.video_object(
        video_id(job.id),
        model=job.model,
        status="failed" if failed else job.state.value,
        progress=job.progress,
        created_s=job.created_at // 1000,
        completed_s=job.ended_at // 1000 if job.state is JobState.COMPLETED and job.ended_at else None,
        expires_s=job.content_until // 1000 if job.content_until else None,
        asked=asked,
        error={"code": job.error_code or job.state.value, "message": job.reason} if failed else None,
        usage=None if row is None else _usage(row),
    )


def _usage(row: requests.EndedRequest) -> dict[str, Any]:
    charge = Charge(row.model_fee, row.service_fee, Split(0, row.model_fee))
    return {"units": orjson.loads(row.units) if row.units else [], **charge.shown(estimated=row.estimated)}


def find(hub: Hub, job_id: str) -> Job:
    """Return a job by its id or the video's; raises NotFound."""
    job = store.find(hub.database, request_id(job_id))
    if job is None:
        raise NotFound(f"There is no video {job_id!r}; they are kept for {hub.settings.retention_days} days.")
    return job


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a job holds while it is open, and what it was charged once it has ended."""

    held_nano: int | None
    charged_nano: int | None


def amounts(hub: Hub, job: Job) -> Amounts:
    """Return what a job holds, or what it cost; neither is known of one whose request is no longer kept."""
    with hub.database.read():
        if job.ended_at is None:
            return Amounts(store.held(hub.database, job.id), None)
        row = requests.one(hub.database, job.id, account_id=job.account_id)
    return Amounts(None, row.charged if row else None)


@dataclass(frozen=True, slots=True)
class Standing:
    """How the jobs under way are doing."""

    open: int
    overdue: int
    """That nobody has looked at when it was time."""
    unanswered: int
    """Whose provider has not answered for ``MANY_MISSES`` looks."""
    codes: tuple[str, ...]
    """Why not."""


def standing(hub: Hub, now_ms: int) -> Standing:
    """Return how the jobs under way are doing."""
    found = store.under_way(hub.database)
    silent = [job for job in found if job.misses >= MANY_MISSES]
    late_ms = now_ms - OVERDUE_S * 1000
    return Standing(
        len(found),
        sum(job.next_poll_at is None or job.next_poll_at < late_ms for job in found),
        len(silent),
        tuple(sorted({job.error_code or "no_answer" for job in silent})),
    )


def listing(hub: Hub, *, account_id: int | None = None, only_open: bool = False, limit: int = 20) -> list[Job]:
    """Return jobs, the newest first."""
    return store.page(hub.database, account_id, limit=limit, only_open=only_open)


def video_id(job_id: str) -> str:
    """Return a video's id as its caller knows it: the request's with another head."""
    return f"video_{job_id.partition('_')[2]}"


def request_id(shown: str) -> str:
    """Return the id of the request, and of the hold, that a video's id names."""
    head, _, rest = shown.partition("_")
    return f"req_{rest}" if head == "video" else shown
