"""A finished video on its way from its provider to the client, piece by piece; nothing of it is kept.

Its address is asked for anew each time, since the address alone would open it. Only what the
provider's own data allows is fetched, also after a redirect (``providers/results.py``).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urljoin

from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.accounts.accounts import Caller
from tokenhub.call import Capability
from tokenhub.catalog import resolve
from tokenhub.catalog.models import Catalog, Deployment, Lifecycle, Model, Offering
from tokenhub.catalog.prices import PriceSchedule
from tokenhub.errors import (
    HubError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from tokenhub.observability import log
from tokenhub.operations import job_work
from tokenhub.operations.job_work import Known
from tokenhub.operations.jobs import Job
from tokenhub.providers.client import UpstreamResponse, tasks
from tokenhub.providers.jobs import JobAdapter, JobAt, Phase
from tokenhub.providers.results import ADDRESS_REFUSED
from tokenhub.proxy import admission
from tokenhub.proxy.downstream import ClientGone, Downstream, Sent
from tokenhub.proxy.runtime import Runtime
from tokenhub.routing import survey
from tokenhub.routing.boundaries import Exclusion
from tokenhub.store.jobs import JobState
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault

MAX_BYTES: Final = 4 * 1024**3
REDIRECTS: Final = 2
AT_ONCE: Final = 64
"""Results that one process passes on at the same time."""
AT_ONCE_OF_ONE: Final = 16
"""Of these, for one account."""
_RETRY_S: Final = 5
_TYPES: Final = ("video/", "image/")
_UNTYPED: Final = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/mp4"})
"""What servers of files call a video too."""

Mine = Callable[[Caller], Awaitable[Job]]


async def send(downstream: Downstream, request: BaseRequest, runtime: Runtime, mine: Mine) -> Sent:
    """Pass a finished video on; raises HubError as long as nothing was sent, and breaks the connection off after that."""
    await runtime.fresh()
    _, caller = await admission.authenticate(request, runtime)
    job = await mine(caller)
    variant = request.query.get("variant", "video")
    if variant not in ("video", "thumbnail"):
        raise InvalidRequest("variant must be video or thumbnail.", param="variant")
    _check_ready(job)
    _check_room(runtime.contents, job.account_id)
    runtime.contents[job.account_id] += 1
    try:
        upstream = await _open(job, variant, caller, runtime)
        try:
            return await _pass_on(downstream, upstream)
        finally:
            upstream.abort()
    except UpstreamFault as fault:
        raise _failed(job, fault.failure) from None
    finally:
        runtime.contents[job.account_id] -= 1
        runtime.contents += Counter()  # forgets accounts that fetch nothing any more


def _check_room(under_way: Counter[int], account_id: int) -> None:
    """Refuse a result beyond what one process passes on at once: of all accounts, and of one, which must not keep the others out."""
    if under_way[account_id] >= AT_ONCE_OF_ONE:
        raise RateLimited(
            f"This account fetches {AT_ONCE_OF_ONE} videos already; try again when one has ended.",
            code="too_many_concurrent",
            retry_after_s=_RETRY_S,
        )
    if under_way.total() >= AT_ONCE:
        raise Unavailable("Too many videos are being fetched; try again.", code="overloaded", retry_after_s=_RETRY_S)


def _check_ready(job: Job) -> None:
    if job.state is JobState.COMPLETED:
        if job.content_until is not None and job.content_until <= clock.now_ms():
            raise _gone()
        return
    if job.is_open:
        raise NotFound("The video is not ready yet; ask GET /v1/videos/{id} how it is.", code="video_not_ready")
    raise NotFound("There is no video: it was not made.", code="video_not_made")


async def located(job: Job, caller: Caller, runtime: Runtime) -> tuple[JobAdapter, JobAt]:
    """Return how a job's provider is asked for a caller, with the credential that made it; nothing is sent yet.

    Raises UpstreamFault, and PermissionDenied where the job lies outside the caller's boundaries
    as they are now, however wide they were when it was begun.
    """
    snapshot = runtime.snapshot
    known = Known(snapshot.revision, snapshot.catalog, snapshot.adapters)
    adapter, at = await runtime.read(lambda _: job_work.locate(runtime.hub, job, known))
    scope = resolve.scope_of(snapshot.catalog, caller.plan, caller.key.models)
    outside = survey.outside(_deployment(job, at, snapshot.catalog), (*snapshot.chain, *caller.chain), scope)
    if outside is not None:
        raise _not_allowed(job, outside)
    return adapter, at


def _deployment(job: Job, at: JobAt, catalog: Catalog) -> Deployment:
    """Return where a job is made, whether or not that is offered still; its prices have nothing to do with it any more."""
    name, region = job.model, at.provider.regions[job.region or ""]
    model = catalog.models.get(name) or Model(name, name, Capability(job.capability), Lifecycle.RETIRED, ())
    offering = Offering(at.provider.id, (region.id,), at.upstream_model, None, Lifecycle.RETIRED, None, None)
    return Deployment(model, at.provider, region, offering, at.credential, PriceSchedule(()))


def _not_allowed(job: Job, outside: Exclusion) -> PermissionDenied:
    later = " The gateway looks at it until it ends; it can be deleted after that." if job.is_open else ""
    told = {"model": job.model, "provider": job.provider, "region": job.region, "reason": outside.code}
    return PermissionDenied(
        f"{job.model} at {job.provider}, which this video was asked of, is outside the boundaries of this key now,"
        f" so nothing is asked there: {outside.detail}.{later}",
        code="no_eligible_provider",
        metadata={"excluded": [{**told, "scope": outside.scope, "detail": outside.detail}]},
    )


async def _open(job: Job, variant: str, caller: Caller, runtime: Runtime) -> UpstreamResponse:
    """Ask for the result's address and open it, through as many redirects as there may be."""
    adapter, at = await located(job, caller, runtime)
    report = await tasks.ask(runtime.client, adapter, at)
    url = report.url if variant == "video" else report.thumbnail
    if report.code == ADDRESS_REFUSED:
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, None, ADDRESS_REFUSED))
    if report.phase is not Phase.COMPLETE:
        raise _gone()
    if not url:
        raise InvalidRequest("This provider makes no thumbnails.", param="variant")
    for _ in range(REDIRECTS + 1):
        upstream = await runtime.client.send(adapter.content(at, url), stream=True, redirects=True)
        if upstream.ok:
            upstream.allow(MAX_BYTES)
            return upstream
        location = upstream.headers.get("location", "")
        if not 300 <= upstream.status < 400 or not location:
            status = upstream.status
            upstream.abort()
            if status in (403, 404, 410):  # signed addresses that have run out are refused
                raise _gone()
            raise UpstreamFault(Failure(FaultKind.SERVER, status, "no_content"))
        upstream.abort()
        url = _joined(url, location)
    raise UpstreamFault(Failure(FaultKind.PROTOCOL, None, "redirect"))


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, None, "redirect")) from None


async def _pass_on(downstream: Downstream, upstream: UpstreamResponse) -> Sent:
    stated = upstream.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_typed = stated.startswith(_TYPES) and stated.isascii() and stated.isprintable()
    if not is_typed and stated not in _UNTYPED:
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, upstream.status, "not_a_video"))
    kind = stated if is_typed else "video/mp4"
    data = await upstream.next()
    if not data:
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, upstream.status, "empty_result"))
    try:
        downstream.open_stream(kind)
        while data:
            await downstream.write(data)
            data = await upstream.next()
        return downstream.end()
    except UpstreamFault as fault:
        log.event("video_cut", level="warning", code=fault.failure.code)
        return downstream.abort()
    except (ClientGone, asyncio.CancelledError):
        downstream.abort()
        raise


def _gone() -> NotFound:
    return NotFound("The provider no longer keeps this video.", code="video_expired")


def _failed(job: Job, failure: Failure) -> HubError:
    metadata = {"provider": job.provider, "reason": failure.kind.value, "code": failure.code}
    if failure.kind is FaultKind.TIMEOUT:
        return UpstreamTimeout(f"{job.provider} did not send the video in time; try again.", metadata=metadata)
    if failure.code == ADDRESS_REFUSED:
        return UpstreamFailed(f"{job.provider} names no place that the video may be fetched from.", metadata=metadata)
    return UpstreamFailed(f"{job.provider} did not send the video; try again.", metadata=metadata)
