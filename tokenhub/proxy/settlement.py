"""The charge, decided by the billing table and committed before the client sees the end."""

from dataclasses import replace
from typing import Any

import orjson

from tokenhub import clock, failpoints
from tokenhub.billing import pricing
from tokenhub.billing.holds import End, Ended, Release, RequestRecord, Settle
from tokenhub.call import Capability
from tokenhub.errors import HubError, Unavailable
from tokenhub.proxy import sessions
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.routing.route import Candidate
from tokenhub.usage import Usage
from tokenhub.values import value
from tokenhub.wire import estimate, words


@value
class Result:
    """What a complete reply came to, whatever its wire."""

    candidate: Candidate
    usage: Usage | None
    """None: the upstream reported none, or nonsense; an estimate is charged (T7, T9)."""
    has_content: bool
    output_bytes: int
    finish_reason: str | None
    native_finish_reason: str | None
    upstream_id: str | None
    binds: bool = False
    """It has a tool call or a signature: the session's next request belongs to the same deployment."""
    estimated: bool = False
    """``usage`` is the wire's own estimate."""
    told: Usage | None = None
    """What was counted before the count broke off, if anything: an estimate begins there."""


@value
class Bill:
    """The charge of one exchange, as the client is shown it."""

    usage: Usage
    charge: pricing.Charge
    estimated: bool

    def cost(self) -> dict[str, Any]:
        """What a usage object says of the cost."""
        return self.charge.shown(estimated=self.estimated)


_MADE = frozenset({Capability.IMAGES, Capability.SPEECH})
"""Where nothing but the thing itself is a result: tokens alone, which elsewhere may be reasoning, are none."""


def is_billable(result: Result, usage: Usage, capability: Capability) -> bool:
    """The billing table's rows for a complete reply: an empty or wholly filtered one is free."""
    if result.has_content or capability in _MADE:
        return result.has_content
    return usage.output_total > 0 and result.finish_reason != "content_filter"


async def settle(exchange: Exchange, runtime: Runtime, result: Result) -> Bill:
    """Charge what the billing table says; returns when it is committed.

    Raises Unavailable when the charge could not be booked: nothing was charged then, and the
    client must be told that the reply failed.
    """
    assert exchange.caller is not None
    usage, estimated = result.usage, result.estimated
    if usage is None:
        usage, estimated = _estimate(exchange, result), True
    charge = pricing.charge_for(usage, result.candidate.card, exchange.caller.fee_bp)
    assert exchange.call is not None
    billable = is_billable(result, usage, exchange.call.capability)
    saved_nano = pricing.saved_by_cache(usage, result.candidate.card) if billable else 0
    record = _record(exchange, result.candidate, result=result, usage=usage, estimated=estimated, saved_nano=saved_nano)
    pin = sessions.pin(exchange, result.candidate.deployment, runtime) if result.binds else None
    failpoints.hit("settle.before")
    exchange.ended = True
    if not billable:
        runtime.writer.post(Release(exchange.id, record))
        return Bill(usage, pricing.FREE, estimated)
    outcome = await runtime.writer.submit(
        Settle(exchange.id, charge.model_fee_nano, charge.service_fee_nano, record, pin)
    )
    failpoints.hit("settle.committed")
    if not isinstance(outcome, Ended) or outcome.end is not End.SETTLED:
        raise Unavailable(
            "The reply could not be booked, so it was not charged and is withheld; try again.",
            code="ledger_unavailable",
            retry_after_s=5,
        )
    exchange.charged = True
    booked = charge
    if outcome.charged_nano != charge.total_nano:
        booked = charge.cut(outcome.model_fee_nano, outcome.service_fee_nano)
    return Bill(usage, booked, estimated)


def _estimate(exchange: Exchange, result: Result) -> Usage:
    """Return the usage of a reply whose whole count never came.

    The prompt is what was told of it, if anything was, and the output no less than was told. Of a
    reply without content nothing is believed: what is counted at its beginning made nothing.
    """
    told = (result.told if result.has_content else None) or Usage()
    made = estimate.of_bytes(max(result.output_bytes, int(result.has_content)))
    output = _most(exchange, max(made, told.output))
    if not told.prompt_whole:
        told = replace(told, input=estimate.of_prompt(exchange.body))
    return replace(told, output=output, reasoning=min(told.reasoning, output))


def _most(exchange: Exchange, tokens: int) -> int:
    """Return an estimate, at most what the reply was allowed to be."""
    call, hold = exchange.call, exchange.hold
    assert call is not None
    limits = [limit for limit in (call.max_output, hold.output_limit if hold else None) if limit is not None]
    return min(tokens, min(limits) * call.choices) if limits else tokens


def release(exchange: Exchange, runtime: Runtime, error: HubError) -> None:
    """Give the hold back, if one was asked for and it has no end yet. Queued: nobody waits for it."""
    if not exchange.asked or exchange.ended:
        return
    exchange.ended = True
    if exchange.hold is None and getattr(error, "decision", None) is not None:
        return  # routing refused when it planned again: nothing was held
    runtime.writer.post(Release(exchange.id, record_of(exchange, error)))


def record_of(exchange: Exchange, error: HubError) -> RequestRecord:
    """Return what is kept of an exchange that ends with an error."""
    return _record(exchange, exchange.attempts[-1].candidate if exchange.attempts else None, error=error)


def _record(
    exchange: Exchange,
    candidate: Candidate | None,
    *,
    result: Result | None = None,
    usage: Usage | None = None,
    estimated: bool = False,
    saved_nano: int = 0,
    error: HubError | None = None,
) -> RequestRecord:
    caller, call, route = exchange.caller, exchange.call, exchange.route
    assert caller is not None
    assert call is not None
    assert route is not None
    deployment = candidate.deployment if candidate else None
    return RequestRecord(
        account_id=caller.account.id,
        key_id=caller.key.id,
        started_at_ms=exchange.started_at_ms,
        capability=call.capability.value,
        model=(deployment or route.candidates[0].deployment).model.id,
        provider=deployment.provider.id if deployment else None,
        region=deployment.region.id if deployment else None,
        credential_id=deployment.credential.id if deployment else None,
        upstream_id=words.id_of(result.upstream_id) if result else None,
        streamed=call.stream,
        status=error.status if error else 200,
        error_code=error.code if error else None,
        finish_reason=(words.code_word(result.finish_reason) or None) if result else None,
        native_finish_reason=(words.code_word(result.native_finish_reason) or None) if result else None,
        usage=usage or Usage(),
        estimated=estimated,
        cancelled=exchange.client_left,
        price_version=candidate.card.version if candidate else None,
        fee_bp=caller.fee_bp,
        first_content_ms=exchange.first_content_ms,
        duration_ms=int((clock.monotonic_s() - exchange.started_s) * 1000),
        attempts=attempts_json(exchange),
        decision=route.decision.dump(),
        session=exchange.session.id if exchange.session else None,
        saved_nano=saved_nano,
    )


def attempts_json(exchange: Exchange) -> str:
    """Return the attempts of an exchange as its receipt keeps them."""
    return orjson.dumps(
        [
            {
                "deployment": attempt.candidate.deployment.id,
                "outcome": attempt.failure.kind.value if attempt.failure else "answered",
                "status": attempt.failure.status if attempt.failure else 200,
                "code": attempt.failure.code if attempt.failure else "",
                "served_model": attempt.served_model,
                "ms": attempt.duration_ms,
            }
            for attempt in exchange.attempts
        ]
    ).decode()
