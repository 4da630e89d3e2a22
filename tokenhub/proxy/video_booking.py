"""A new video's way from a request's hold to a job of its own.

``begin`` writes the job down, then a provider is asked as for any request, and ``deliver``
makes the hold the job's, all in an application task: whether the client waits or not, a job that
a provider has taken is kept or its hold released.
"""

import asyncio
from typing import Final

import orjson

from tokenhub import clock, failpoints
from tokenhub.billing.holds import Release
from tokenhub.catalog import card_json
from tokenhub.errors import Unavailable
from tokenhub.observability import log
from tokenhub.operations import jobs
from tokenhub.providers.adapter import Adapter
from tokenhub.providers.client import tasks
from tokenhub.providers.jobs import JobAdapter, JobAt
from tokenhub.proxy import relay, settlement
from tokenhub.proxy.attempts import Answer
from tokenhub.proxy.downstream import ClientGone, Sent
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.store import jobs as store
from tokenhub.store.database import CommitUnknown, Database
from tokenhub.store.holds import LeaseLost
from tokenhub.store.jobs import JobState, Taken
from tokenhub.store.writer import OutcomeUnknown
from tokenhub.wire.videos import request as videos

BOOKING_S: Final = 10.0
"""How long it is tried to book a job that a provider has taken, while the database does not answer."""
BOOKING_PAUSE_S: Final = 0.1


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
