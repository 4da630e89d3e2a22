"""What is asked of providers about the jobs that they do, and what becomes of the holds by what they say.

Every open job is looked at until it has an end, whether its caller asks or not, with the
credential that made it. A complete one is charged by the prices of the moment its hold was
placed; one that failed, was cancelled, is unknown to its provider or past its time is not.
All of it can be killed between any two steps and done again: the hold ends once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from tokenhub import failpoints
from tokenhub.billing import pricing
from tokenhub.billing.holds import Ended, Release, RequestRecord, Settle
from tokenhub.call import INSIDE, Capability, Wire
from tokenhub.catalog import card_json, load
from tokenhub.catalog.models import Catalog
from tokenhub.errors import Conflict
from tokenhub.observability import log
from tokenhub.operations.hub import Hub
from tokenhub.operations.jobs import find
from tokenhub.providers.adapter import Adapter
from tokenhub.providers.client import tasks
from tokenhub.providers.client.tasks import Task
from tokenhub.providers.jobs import UNKNOWN_CODE, JobAdapter, JobAt, Phase, Report
from tokenhub.providers.registry import adapters_of
from tokenhub.store import accounts
from tokenhub.store import catalog as catalog_store
from tokenhub.store import jobs as store
from tokenhub.store.database import CommitUnknown, Database, StoreError
from tokenhub.store.holds import Holds, LeaseLost
from tokenhub.store.jobs import Job, JobEnd, JobState
from tokenhub.store.leases import Lease
from tokenhub.usage import Usage
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault

BATCH: Final = 64
"""Jobs looked at in one round."""
MISS_MOST_S: Final = 300.0
"""The longest pause after looks that brought no answer."""
LATER: Final = ((600, 1.0), (3600, 3.0), (float("inf"), 6.0))
"""Age of a job in seconds, up to which looks are so many times ``jobs.poll_s`` apart."""
UNKNOWN_LOOKS: Final = 3
"""How often in a row a provider must say that it knows no such job: a new one may not be everywhere yet."""
LOST_CODES: Final = ("lease_ended", "hold_unknown")
"""Ends of a hold of which its caller was told nothing: the process died."""
CONTENT_KEPT_S: Final[Mapping[str, int]] = {"google": 2 * 86_400}
"""How long a provider keeps results (Google: Gemini API's page on Veo, 2026-11); a day where nothing is said here."""
DAY_S: Final = 86_400

_UNBORN: Final = JobEnd(
    JobState.FAILED,
    "creation_unknown",
    "The gateway stopped while this was being made, so whether the provider took it is not known; nothing was charged.",
)
_EXPIRED: Final = JobEnd(JobState.EXPIRED, "expired", "It was not complete in time; nothing was charged.")
_CANCELLED: Final = JobEnd(JobState.CANCELLED, "cancelled", "It was cancelled; nothing was charged.")
_STATUS: Final = {JobState.CANCELLED: 499, JobState.EXPIRED: 504}


@dataclass(frozen=True, slots=True)
class Known:
    """The catalogue at one version, as far as jobs need it."""

    revision: int
    catalog: Catalog
    adapters: Mapping[tuple[str, Wire], Adapter]


def known(database: Database, before: Known | None = None) -> Known:
    """Return the catalogue as it is now; the one from before if nothing has changed."""
    with database.read():
        _, _, revision = accounts.versions(database)
        if before is not None and before.revision == revision:
            return before
        overrides = catalog_store.overrides(database)
    catalog = load.load(overrides)
    return Known(revision, catalog, adapters_of(catalog.providers))


def locate(hub: Hub, job: Job, at: Known) -> tuple[JobAdapter, JobAt]:
    """Return how a job's provider is asked, with the credential that made it; raises UpstreamFault when that is gone."""
    provider = at.catalog.providers.get(job.provider or "")
    adapter = at.adapters.get((job.provider or "", INSIDE[Capability(job.capability)]))
    region = provider.regions.get(job.region or "") if provider else None
    if provider is None or region is None or not isinstance(adapter, JobAdapter):
        raise UpstreamFault(Failure(FaultKind.MODEL_GONE, code="provider_gone"))
    try:
        credential = catalog_store.credential(hub.database, hub.vault, job.credential_id or 0)
    except LookupError:
        raise UpstreamFault(Failure(FaultKind.AUTH, code="credential_gone")) from None
    return adapter, JobAt(
        provider,
        credential.base_url or region.base_url,
        credential,
        job.upstream_model or "",
        job.upstream_id or "",
        orjson.loads(job.asked),
    )


# Rounds


def work(hub: Hub, lease: Lease, holds: Holds, at: Known, now_ms: int) -> list[tuple[Job, JobState]]:
    """Look once at every job that is due, and end those that have an end; return these.

    Called by one process among all, again and again. Nothing is held in the database while
    providers answer (T92). Raises LeaseLost when this process is not to act any more.
    """
    store.settle_unborn(hub.database, LOST_CODES, _UNBORN, now_ms, BATCH)
    found = store.due(hub.database, now_ms, BATCH, tasks.AT_ONCE)
    if not found:
        return []
    ended = []
    for job, answer in _answers(hub, found, at):
        failpoints.hit("job.polled")
        state = _applied(hub, lease, holds, job, answer, now_ms)
        if state is not None:
            ended.append((job, state))
    return ended


def _answers(hub: Hub, found: Sequence[Job], at: Known) -> Iterator[tuple[Job, Report | Failure]]:
    """Ask the providers of these jobs, and yield the answers as they come; one that cannot be asked any more does not answer."""
    asked: list[tuple[Job, Task]] = []
    for job in found:
        try:
            asked.append((job, locate(hub, job, at)))
        except UpstreamFault as fault:
            yield job, fault.failure
        except ValueError as error:
            log.failure("job_work", error, request_id=job.id)
            yield job, Failure(FaultKind.PROTOCOL, code="internal_error")
    for number, answer in tasks.ask_each(hub.instance, [task for _, task in asked]):
        yield asked[number][0], answer


def _applied(hub: Hub, lease: Lease, holds: Holds, job: Job, answer: Report | Failure, now_ms: int) -> JobState | None:
    """Apply an answer; return the state of a job that has ended by it.

    A job that cannot be ended as its provider says counts as one without an answer, so that it
    holds up no other and has its own end in time.
    """
    for one in (answer, Failure(FaultKind.PROTOCOL, code="internal_error")):
        try:
            return _apply(hub, lease, holds, job, one, now_ms)
        except (StoreError, CommitUnknown, LeaseLost):
            raise
        except Exception as error:
            log.failure("job_work", error, request_id=job.id)
    return None


def _apply(hub: Hub, lease: Lease, holds: Holds, job: Job, answer: Report | Failure, now_ms: int) -> JobState | None:
    """Do what an answer asks for; return the state of a job that has ended by it."""
    wanted = _end_by(job, answer, now_ms)
    if wanted is not None:
        usage = answer.usage if isinstance(answer, Report) else None
        outcome = store.end(hub.database, holds, lease, operation(job, wanted, usage, now_ms), wanted, now_ms)
        return wanted.state if outcome.first else None
    with hub.database.write():
        if isinstance(answer, Report) and answer.phase in (Phase.QUEUED, Phase.RUNNING):
            store.seen(
                hub.database,
                job.id,
                JobState(answer.phase.value),
                answer.progress,
                now_ms + _pause_ms(hub, job, now_ms),
            )
        else:
            code = answer.code or "no_answer"
            misses = _unknowns(job) + 1 if _is_unknown(answer) else job.misses + 1
            store.missed(hub.database, job.id, code, misses, now_ms + _miss_ms(hub, job))
    return None


def _is_unknown(answer: Report | Failure) -> bool:
    return isinstance(answer, Report) and answer.phase is Phase.UNKNOWN


def _unknowns(job: Job) -> int:
    """Return how often in a row its provider has said that it does not know a job: misses of other kinds begin the row anew."""
    return job.misses if job.error_code == UNKNOWN_CODE else 0


def _end_by(job: Job, answer: Report | Failure, now_ms: int) -> JobEnd | None:
    """Return the end that an answer means; None: the job goes on."""
    if isinstance(answer, Report):
        if answer.phase is Phase.COMPLETE:
            kept_s = CONTENT_KEPT_S.get(job.provider or "", DAY_S)
            return JobEnd(JobState.COMPLETED, content_until=now_ms + kept_s * 1000)
        if answer.phase is Phase.FAILED or (_is_unknown(answer) and _unknowns(job) + 1 >= UNKNOWN_LOOKS):
            return JobEnd(
                JobState.FAILED, answer.code or "upstream_failed", f"{answer.reason} Nothing was charged.".strip()
            )
    return _EXPIRED if now_ms >= job.expires_at else None


def _pause_ms(hub: Hub, job: Job, now_ms: int) -> int:
    age_s = (now_ms - job.created_at) / 1000
    times = next(times for up_to_s, times in LATER if age_s < up_to_s)
    return round(hub.settings.jobs_poll_s * times * 1000)


def _miss_ms(hub: Hub, job: Job) -> int:
    """Longer after each look without an answer."""
    poll_s = hub.settings.jobs_poll_s
    return round(min(poll_s * (1 << min(job.misses, 16)), max(MISS_MOST_S, poll_s)) * 1000)


def operation(job: Job, wanted: JobEnd, usage: Usage | None, now_ms: int) -> Settle | Release:
    """Return what ends a job's hold: a charge by the prices it was placed with, or its release."""
    if wanted.state is not JobState.COMPLETED:
        return Release(job.id, _record(job, now_ms, _STATUS.get(wanted.state, 502), wanted.error_code, Usage()))
    assert usage is not None, "a complete task has a usage"
    charge = pricing.charge_for(usage, card_json.load(job.card), job.fee_bp)
    return Settle(job.id, charge.model_fee_nano, charge.service_fee_nano, _record(job, now_ms, 200, None, usage))


def _record(job: Job, now_ms: int, status: int, error_code: str | None, usage: Usage) -> RequestRecord:
    return RequestRecord(
        account_id=job.account_id,
        key_id=job.key_id,
        started_at_ms=job.created_at,
        capability=job.capability,
        model=job.model,
        provider=job.provider,
        region=job.region,
        credential_id=job.credential_id,
        upstream_id=job.upstream_id,
        status=status,
        error_code=error_code,
        finish_reason="stop" if error_code is None else None,
        usage=usage,
        price_version=job.price_version,
        fee_bp=job.fee_bp,
        duration_ms=max(0, now_ms - job.created_at),
        attempts=job.attempts,
        decision=job.decision,
    )


# Cancelling


def cancel(hub: Hub, job: Job, report: Report | None) -> Ended:
    """End an open job for its caller or the operator: charged if its provider says that it is complete, else released.

    ``report``: what its provider has just said; None: nothing.
    """
    now_ms = hub.database.now_ms()
    complete = report is not None and report.phase is Phase.COMPLETE
    wanted = _end_by(job, report, now_ms) if complete and report is not None else _CANCELLED
    assert wanted is not None
    usage = report.usage if complete and report is not None else None
    done = operation(job, wanted, usage, now_ms)
    return store.end(hub.database, Holds(hub.database), None, done, wanted, now_ms)


def cancel_here(hub: Hub, job_id: str) -> Job:
    """Cancel a job from a command: ask its provider, withdraw it there, end it here; return it as it is then.

    Raises NotFound, and Conflict for one that has ended.
    """
    job = find(hub, job_id)
    if job.state is JobState.CREATING:
        raise Conflict(f"{job.id} is just being asked for; try again when its provider has taken it.")
    if not job.is_open:
        raise Conflict(f"{job.id} has ended: it is {job.state.value}.")
    try:
        report = tasks.withdraw_once(hub.instance, locate(hub, job, known(hub.database)))
    except UpstreamFault:
        report = None
    cancel(hub, job, report)
    return find(hub, job_id)
