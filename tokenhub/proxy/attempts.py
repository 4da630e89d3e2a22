"""Deployments in order until one answers: at most three attempts, each on another, before content only.

A fault of the request itself ends the search, because every deployment would refuse it too.
All others move on inside the route: to a deployment that is well always, to one that has just
failed others too only within the retry budget (T80, decision 13). An attempt that fails is the
operator's cost, never the client's (T5, T6).
"""

from dataclasses import dataclass
from functools import partial
from math import ceil

from tokenhub import clock, failpoints
from tokenhub.errors import HubError, InvalidRequest
from tokenhub.observability import log
from tokenhub.operations import planning
from tokenhub.providers import failures
from tokenhub.providers.client import UpstreamResponse
from tokenhub.proxy import failed, pending, sessions
from tokenhub.proxy.availability import WITHDRAWN
from tokenhub.proxy.downstream import ClientGone
from tokenhub.proxy.exchange_state import Attempt, Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.routing.route import Candidate, NoProviderAvailable
from tokenhub.wire import words
from tokenhub.wire.faults import CLIENT_FAULTS, Failure, FaultKind, UpstreamFault
from tokenhub.wire.replies import Reply, StreamReader


@dataclass(slots=True)
class Answer:
    """What the first deployment to answer sent: a whole reply, or a stream that has shown its first content."""

    candidate: Candidate
    native: bool
    """It is in the wire of the client's own surface."""
    reply: Reply | None = None
    upstream: UpstreamResponse | None = None
    reader: StreamReader | None = None
    first: bytes = b""
    """The stream's frames up to the first content."""

    @property
    def served_model(self) -> str | None:
        """What the upstream calls the model that answers (T85)."""
        found = self.reply.served_model if self.reply else self.reader.facts.served_model if self.reader else None
        return words.model_name(found)


async def first_to_answer(exchange: Exchange, runtime: Runtime) -> Answer:
    """Try the route's candidates in order; raises a HubError when none answers, ClientGone when nobody waits for one more attempt."""
    assert exchange.route is not None
    assert exchange.call is not None
    if exchange.call.stream:
        exchange.downstream.start_keep_alive()
    impossible: InvalidRequest | None = None
    candidates = exchange.route.candidates
    for number, candidate in enumerate(candidates):
        again = bool(exchange.attempts)
        if again and clock.monotonic_s() - exchange.started_s >= runtime.settings.upstream_total_s:
            break
        if again and exchange.downstream.is_gone:
            raise ClientGone
        doubtful = again and not runtime.watch.is_well(candidate.deployment)
        if doubtful and not runtime.may_retry():
            continue
        # Taken before anything is awaited: requests that fail together must see each other's retries.
        runtime.retrying += doubtful
        try:
            if again:
                now = await still_allowed(exchange, candidate, runtime, made=len(exchange.attempts))
                if now is None:
                    continue
                candidate = now
            # What has gone down since it was planned is left out; the very last one is tried all the same (T81).
            alone = not again and number == len(candidates) - 1
            if not await runtime.watch.may_try(candidate.deployment, alone=alone):
                continue
            outcome = await _attempt(exchange, candidate, runtime)
        finally:
            runtime.retrying -= doubtful
        if isinstance(outcome, Answer):
            return outcome
        impossible = outcome or impossible
    if not exchange.attempts:
        raise _none_left(exchange, runtime)
    if impossible is not None and all(one.failure and one.failure.kind in CLIENT_FAULTS for one in exchange.attempts):
        try:
            raise impossible
        finally:
            impossible = outcome = None  # an error that its own frame holds is garbage, with the whole request
    raise failed.all_failed(exchange, runtime)


def _none_left(exchange: Exchange, runtime: Runtime) -> NoProviderAvailable:
    """Say that all that was planned has gone down between the plan and the first attempt."""
    assert exchange.route is not None
    assert exchange.call is not None
    now_ms = clock.now_ms()
    planned = [one.deployment for one in exchange.route.candidates]
    standings = [runtime.availability.state(one.id, one.credential.id, now_ms) for one in planned]
    waits_ms = [one.retry_at_ms - now_ms for one in standings if one.retry_at_ms]
    return NoProviderAvailable(
        f"Every deployment of {exchange.call.model!r} inside the boundaries of this request is out at present; try again.",
        exchange.route.decision,
        max(1, ceil(min(waits_ms, default=0) / 1000)),
    )


async def still_allowed(exchange: Exchange, candidate: Candidate, runtime: Runtime, *, made: int) -> Candidate | None:
    """Read the versions once more and return the candidate as it is now (T35, T108).

    A revoked key stops the request; None: the deployment is gone, or outside by now. ``made``: how many attempts came before.
    """
    snapshot = await runtime.fresh()
    caller = await runtime.caller(exchange.digest)
    assert exchange.call is not None
    return planning.still_inside(
        snapshot, caller, exchange.call, exchange.hints, candidate, exchange.body, exchange.native, made=made
    )


async def check_resend(exchange: Exchange, candidate: Candidate, runtime: Runtime) -> None:
    """Raise UpstreamFault when the attempt under way may not be sent a second time."""
    now = await still_allowed(exchange, candidate, runtime, made=len(exchange.attempts) - 1)
    if now is None or now.deployment.destination != candidate.deployment.destination:
        raise UpstreamFault(Failure(FaultKind.CONNECT, code=WITHDRAWN))


async def _attempt(exchange: Exchange, candidate: Candidate, runtime: Runtime) -> Answer | InvalidRequest | None:
    """Try one deployment. Returns its answer, what it can never do (another one may), or None when it failed.

    Raises InvalidRequest when the upstream finds the client's request at fault.
    """
    attempt, deployment, watch = Attempt(candidate, clock.monotonic_s()), candidate.deployment, runtime.watch
    exchange.attempts.append(attempt)
    try:
        answer = await _try(exchange, candidate, runtime)
        attempt.served_model = answer.served_model
        took_ms = (clock.monotonic_s() - attempt.started_s) * 1000
        watch.answered(deployment, took_ms)
        if answer.reply is not None:
            watch.completed(deployment, answer.reply.usage, took_ms)
        return answer
    except InvalidRequest as error:
        watch.let_go(deployment)
        attempt.failure = Failure(FaultKind.BAD_REQUEST, code=error.code)
        return error
    except UpstreamFault as fault:
        attempt.failure = fault.failure
        watch.failed(deployment, fault.failure)
        _log_failed(exchange, candidate, fault.failure)
        if fault.failure.kind not in CLIENT_FAULTS:
            return None
        if fault.failure.kind is FaultKind.TOO_LARGE:
            return client_fault(fault.failure, candidate)
        raise client_fault(fault.failure, candidate) from None
    except BaseException:
        watch.let_go(deployment)
        raise
    finally:
        attempt.duration_ms = int((clock.monotonic_s() - attempt.started_s) * 1000)


async def _try(exchange: Exchange, candidate: Candidate, runtime: Runtime) -> Answer:
    call, hold = exchange.call, exchange.hold
    assert call is not None
    assert hold is not None
    assert exchange.bound is not None
    adapter = runtime.snapshot.adapter(candidate.deployment, call)
    assert adapter is not None, "a route holds nothing that cannot be called"
    native = adapter.wire is call.wire
    limit = hold.output_limit or (exchange.bound.output_wanted if exchange.bound.send_limit else None)
    hints = sessions.cache_hints(exchange, candidate.deployment, runtime)
    sent, dropped = sessions.with_own_cache(exchange.native if native else exchange.body, exchange, runtime)
    request = adapter.request(call, sent, candidate.deployment, limit, hints)
    exchange.dropped = tuple(dict.fromkeys((*exchange.dropped, *dropped, *request.dropped)))

    again = partial(check_resend, exchange, candidate, runtime)
    spent_s = clock.monotonic_s() - exchange.started_s
    upstream = await runtime.client.send(
        request, stream=call.stream and not request.comes_whole, hop=exchange.hop, spent_s=spent_s, before_resend=again
    )
    failpoints.hit("attempt.sent")
    try:
        if not upstream.ok:
            body = await upstream.error_body()
            try:
                failure = adapter.failure(upstream.status, upstream.headers, body)
            except Exception as error:
                raise _unreadable(exchange, error) from None
            raise UpstreamFault(failure)
        if not call.stream:
            body = await upstream.read()
            try:
                found = adapter.reply(call, candidate.deployment, upstream.status, upstream.headers, body)
            except (UpstreamFault, HubError):
                raise
            except Exception as error:
                raise _unreadable(exchange, error) from None
            return Answer(candidate, native, reply=await pending.followed(found, exchange, runtime))
        return await _to_first_content(
            exchange, Answer(candidate, native, upstream=upstream, reader=adapter.stream(call, candidate.deployment))
        )
    except UpstreamFault as fault:
        upstream.abort()
        raise UpstreamFault(failures.believed(fault.failure, request.pieces)) from None
    except BaseException:
        upstream.abort()
        raise


async def _to_first_content(exchange: Exchange, answer: Answer) -> Answer:
    """Read a stream up to its first content, or its end: what comes before may still be thrown away."""
    upstream, reader = answer.upstream, answer.reader
    assert upstream is not None
    assert reader is not None
    facts, held = reader.facts, []
    while not facts.content and not facts.complete and facts.failure is None:
        data = await upstream.next()
        if not data:
            reader.close()
            break
        try:
            held.append(reader.feed(data))
        except Exception as error:
            raise _unreadable(exchange, error) from None
    if facts.failure is not None:
        raise UpstreamFault(facts.failure)
    exchange.first_content_ms = int((clock.monotonic_s() - exchange.started_s) * 1000)
    answer.first = b"".join(held)
    return answer


def _unreadable(exchange: Exchange, error: Exception) -> UpstreamFault:
    """Take a reply of a shape that nobody thought of for what it is: the upstream's fault, so that another is asked."""
    log.failure("reply_unreadable", error, request_id=exchange.id)
    return UpstreamFault(Failure(FaultKind.PROTOCOL, code=f"unreadable_{type(error).__name__}"))


def _log_failed(exchange: Exchange, candidate: Candidate, failure: Failure) -> None:
    """Log a failed attempt; as a warning when only the operator can mend it."""
    deployment = candidate.deployment
    level = "warning" if failure.kind in _OPERATORS_FAULTS else "info"
    log.event(
        "attempt_failed",
        level=level,
        request_id=exchange.id,
        deployment=deployment.id,
        kind=failure.kind.value,
        status=failure.status,
        code=failure.code,
    )


_OPERATORS_FAULTS = frozenset({FaultKind.AUTH, FaultKind.BILLING, FaultKind.GEO, FaultKind.MODEL_GONE})

_CLIENT_CODES = {
    FaultKind.CONTEXT: "context_length_exceeded",
    FaultKind.TOO_LARGE: "context_length_exceeded",
    FaultKind.FILTER: "content_filter",
    FaultKind.BAD_REQUEST: None,
}


def client_fault(failure: Failure, candidate: Candidate) -> InvalidRequest:
    """Return what a client is told whose request an upstream found at fault."""
    provider = candidate.deployment.provider.id
    return InvalidRequest(
        failure.message or f"{provider} refused this request as not valid.",
        code=_CLIENT_CODES[failure.kind],
        param=failure.param,
        metadata={"provider": provider},
    )
