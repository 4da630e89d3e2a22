"""``/v1/videos``: what holders ask of their videos, which are made long after their request was answered.

A request's hold becomes the job's in ``video_booking.py``; from then on ``operations/job_work.py``
looks at it, in one process among all.
"""

import asyncio
from functools import partial
from typing import Any, Final

from aiohttp.web_request import BaseRequest

from tokenhub import ids
from tokenhub.accounts.accounts import Caller
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.operations import job_work, jobs
from tokenhub.operations.jobs import Job
from tokenhub.providers.client import tasks
from tokenhub.providers.jobs import Report
from tokenhub.proxy import exchange, video_booking, video_content
from tokenhub.proxy.downstream import Downstream, Sent
from tokenhub.proxy.runtime import Runtime
from tokenhub.store import jobs as store
from tokenhub.store.database import Database
from tokenhub.store.jobs import JobState
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.videos.surface import VideosSurface

PATH: Final = "/v1/videos"
PREFIX: Final = "/v1/videos/"
PAGE_MOST: Final = 100
LAST_LOOK_S: Final = 20.0
_CONTENT: Final = "/content"


async def create(request: BaseRequest, runtime: Runtime) -> Sent:
    """``POST /v1/videos``. A provider that was asked makes the video, whether or not its client waits for the answer."""
    work = exchange.carry(request, runtime, VideosSurface, begin=video_booking.begin, deliver=video_booking.deliver)
    return await asyncio.shield(runtime.spawn(work))


async def listing(request: BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """``GET /v1/videos``: the account's videos, a page at a time."""
    query = request.query
    limit = query.get("limit", "20")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:6]) <= PAGE_MOST):
        raise InvalidRequest(f"limit must be a whole number from 1 to {PAGE_MOST}.", param="limit")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("order must be asc or desc.", param="order")
    after = query.get("after") or None
    if after is not None and not ids.may_be(after):
        raise InvalidRequest("after must be the id of a video.", param="after")
    count = int(limit)

    def read(database: Database) -> list[dict[str, Any]]:
        with database.read():
            found = store.page(
                database,
                caller.account.id,
                after=after and jobs.request_id(after),
                limit=count + 1,
                ascending=order == "asc",
            )
            return [jobs.shown(database, job) for job in found]

    found = await runtime.read(read)
    data = found[:count]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > count,
    }


async def one(request: BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """``GET /v1/videos/{id}``."""
    job_id = _id(request)

    def read(database: Database) -> dict[str, Any] | None:
        with database.read():
            job = _visible(store.find(database, job_id, caller.account.id))
            return None if job is None else jobs.shown(database, job)

    found = await runtime.read(read)
    if found is None:
        raise _unknown()
    return found


async def delete(request: BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """``DELETE /v1/videos/{id}``: forget a video; one that is being made is cancelled first, and charged only if it is complete.

    One that is being made outside the caller's boundaries is refused and goes on: unasked, its provider could
    not say whether it is to be charged. The gateway's own looks end it.
    """
    job = await _mine(request, runtime, caller)
    if job.is_open:
        report = await _last_look(job, caller, runtime)
        await runtime.change(lambda hub: job_work.cancel(hub, job, report))
    await runtime.change(lambda hub: store.delete(hub.database, job.id))
    return {"id": jobs.video_id(job.id), "object": "video.deleted", "deleted": True}


async def content(downstream: Downstream, request: BaseRequest, runtime: Runtime) -> Sent:
    """``GET /v1/videos/{id}/content``: the video itself, passed on from its provider as it comes."""
    return await video_content.send(downstream, request, runtime, partial(_mine, request, runtime))


def is_content(path: str) -> bool:
    """Whether a path below ``/v1/videos/`` names a video's content."""
    return path.endswith(_CONTENT)


async def _mine(request: BaseRequest, runtime: Runtime, caller: Caller) -> Job:
    job_id = _id(request)
    job = _visible(await runtime.read(lambda database: store.find(database, job_id, caller.account.id)))
    if job is None:
        raise _unknown()
    return job


def _id(request: BaseRequest) -> str:
    path = request.raw_path.partition("?")[0]
    return jobs.request_id(path[len(PREFIX) :].removesuffix(_CONTENT))


async def _last_look(job: Job, caller: Caller, runtime: Runtime) -> Report | None:
    """Ask a job's provider once more, and withdraw it there unless it is complete; None: it does not answer.

    Raises PermissionDenied, before anything is asked, where it lies outside the caller's boundaries.
    """
    try:
        adapter, at = await video_content.located(job, caller, runtime)
        async with asyncio.timeout(LAST_LOOK_S):
            return await tasks.look_and_withdraw(runtime.client, adapter, at)
    except (UpstreamFault, TimeoutError):
        return None


def _visible(job: Job | None) -> Job | None:
    """A job that no provider has taken yet has not been told to anybody."""
    return None if job is None or job.state is JobState.CREATING else job


def _unknown() -> NotFound:
    return NotFound("No video of this account has this id; GET /v1/videos lists them.", param="video_id")
