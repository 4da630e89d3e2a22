"""``/v1/videos``: a video is made long after its request was answered, so its hold outlives the request.

``begin`` writes the job down, then a provider is asked as for any request, and ``deliver``
makes the hold the job's, all in an application task: whether the client waits or not, a job that
a provider has taken is kept or its hold released. From then on ``operations/job_work.py`` looks
at it, in one process among all.
"""

import asyncio
from functools import partial
from typing import Any, Final

import orjson
from aiohttp.web_request import BaseRequest

from tokenhub import clock, failpoints, ids
from tokenhub.accounts.accounts import Caller
from tokenhub.billing.holds import Release
from tokenhub.catalog import card_json
from tokenhub.errors import InvalidRequest, NotFound, Unavailable
from tokenhub.observability import log
from tokenhub.operations import job_work, jobs
from tokenhub.operations.jobs import Job
from tokenhub.providers.adapter import Adapter
from tokenhub.providers.client import tasks
from tokenhub.providers.jobs import JobAdapter, JobAt, Report
from tokenhub.proxy import exchange, relay, settlement, video_content
from tokenhub.proxy.attempts import Answer
from tokenhub.proxy.downstream import ClientGone, Downstream, Sent
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.store import jobs as store
from tokenhub.store.database import CommitUnknown, Database
from tokenhub.store.holds import LeaseLost
from tokenhub.store.jobs import JobState, Taken
from tokenhub.store.writer import OutcomeUnknown
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.videos import request as videos
from tokenhub.wire.videos.surface import VideosSurface

PATH: Final = "/v1/videos"
PREFIX: Final = "/v1/videos/"
PAGE_MOST: Final = 100
BOOKING_S: Final = 10.0
"""How long it is tried to book a job that a provider has taken, while the database does not answer."""
BOOKING_PAUSE_S: Final = 0.1
LAST_LOOK_S: Final = 20.0
_CONTENT: Final = "/content"


async def create(request: BaseRequest, runtime: Runtime) -> Sent:
    """``POST /v1/videos``. A provider that was asked makes the video, whether or not its client waits for the answer."""
    work = exchange.carry(request, runtime, VideosSurface, begin=begin, deliver=deliver)
    return await asyncio.shield(runtime.spawn(work))


async def begin(exchange: Exchange, runtime: Runtime) -> None:
    """Write the job down before a provider is asked; raises ClientGone when nobody waits for it any more."""
    if exchange.downstream.is_gone:
        raise ClientGone
    caller, call = exchange.caller, exchange.call
    assert caller is not None
    assert call is not None
    expire_ms = round(runtime.settings.jobs_expire_s * 1000)

    def write(database: Database) -> None:
        now_ms, account_id, key_id = database.now_ms(), caller.account.id, caller.key.id
        store.begin(database, exchange.id, account_id, key_id, call.capability.value, now_ms, now_ms + expire_ms)

    await asyncio.wrap_future(runtime.writer.run(write))
    failpoints.hit("job.begun")


async def deliver(answer: Answer, exchange: Exchange, runtime: Runtime) -> Sent:
    """Answer with the job that a provider has taken, once its hold is the job's."""
    failpoints.hit("job.created")
    relay.name_the_server(answer, exchange)
    taken = _taken(answer, exchange, runtime)
    # From here on the booking answers for the hold, also when the gateway ends this exchange.
    exchange.ended = True
    booked = await asyncio.shield(runtime.spawn(_book(taken, exchange, runtime)))
    if not booked:
        raise Unavailable(
            "The video could not be booked, so it is not charged and was given up; try again.",
            code="ledger_unavailable",
            retry_after_s=5,
        )
    failpoints.hit("job.adopted")
    shown = videos.video_object(
        jobs.video_id(exchange.id),
        model=taken.model,
        status=JobState.QUEUED.value,
        progress=0,
        created_s=exchange.started_at_ms // 1000,
        completed_s=None,
        expires_s=None,
        asked=orjson.loads(taken.asked),
    )
    sent = exchange.downstream.send_json(200, shown)
    failpoints.hit("job.answered")
    return sent


def _taken(answer: Answer, exchange: Exchange, runtime: Runtime) -> Taken:
    candidate, reply, caller, route = answer.candidate, answer.reply, exchange.caller, exchange.route
    assert reply is not None
    assert reply.upstream_id is not None
    assert caller is not None
    assert route is not None
    assert exchange.call is not None
    deployment = candidate.deployment
    adapter = _job_adapter(runtime.snapshot.adapter(deployment, exchange.call))
    return Taken(
        model=deployment.model.id,
        asked=orjson.dumps(adapter.asked(exchange.body, deployment)).decode(),
        provider=deployment.provider.id,
        region=deployment.region.id,
        credential_id=deployment.credential.id,
        deployment=deployment.id,
        upstream_model=deployment.upstream_id,
        upstream_id=reply.upstream_id,
        card=card_json.dump(candidate.card),
        price_version=candidate.card.version,
        fee_bp=caller.fee_bp,
        attempts=settlement.attempts_json(exchange),
        decision=route.decision.dump(),
    )


def _job_adapter(adapter: Adapter | None) -> JobAdapter:
    assert isinstance(adapter, JobAdapter), "a video's deployment answers with tasks"
    return adapter


async def _book(taken: Taken, exchange: Exchange, runtime: Runtime) -> bool:
    """Make the hold the job's; if that cannot be, for whatever reason, release it and withdraw the job at its provider.

    A commit without an answer is tried again: done twice it changes nothing. Raises OutcomeUnknown
    if none of them was answered in time: the job may have been booked, and even have ended since.
    """
    is_unknown = False
    until_s = clock.monotonic_s() + BOOKING_S
    poll_ms = round(runtime.settings.jobs_poll_s * 1000)

    def write(database: Database) -> bool:
        now_ms = database.now_ms()
        return store.adopt(database, runtime.lease, exchange.id, taken, now_ms, now_ms + poll_ms)

    try:
        while True:
            try:
                booked = await asyncio.wrap_future(runtime.writer.hand_over(exchange.id, write))
                is_unknown = False
                break
            except (Unavailable, CommitUnknown) as error:
                is_unknown = is_unknown or isinstance(error, CommitUnknown)
                if clock.monotonic_s() >= until_s:
                    log.failure("job_not_booked", error, request_id=exchange.id)
                    booked = False
                    break
                await asyncio.sleep(BOOKING_PAUSE_S)
    except LeaseLost:
        booked = False
    except BaseException as error:
        _give_up(taken, exchange, runtime)
        if isinstance(error, asyncio.CancelledError):
            raise
        log.failure("job_not_booked", error, request_id=exchange.id)
        return False
    if not booked:
        _give_up(taken, exchange, runtime)
    if is_unknown:
        raise OutcomeUnknown
    return booked


def _give_up(taken: Taken, exchange: Exchange, runtime: Runtime) -> None:
    """Release the hold, whoever it is of by now; the ledger's end of this exchange is certain with that."""
    error = Unavailable("The video could not be booked.", code="job_not_booked")
    runtime.writer.post(Release(exchange.id, settlement.record_of(exchange, error)))
    runtime.spawn(_withdraw(taken, exchange, runtime))


async def _withdraw(taken: Taken, exchange: Exchange, runtime: Runtime) -> None:
    call = exchange.call
    assert call is not None
    tried = [one.candidate.deployment for one in exchange.attempts]
    deployment = next(one for one in tried if one.id == taken.deployment)
    adapter = _job_adapter(runtime.snapshot.adapter(deployment, call))
    at = JobAt(
        deployment.provider,
        deployment.base_url,
        deployment.credential,
        taken.upstream_model,
        taken.upstream_id,
        orjson.loads(taken.asked),
    )
    await tasks.withdraw(runtime.client, adapter, at)


# What holders ask of their videos


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
