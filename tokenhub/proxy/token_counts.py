"""How many tokens a prompt has: asked of the provider that would answer it, else estimated here.

It is free, so nothing is held, and it does not count against the rate windows; but it is for
key holders within their limits and boundaries, and goes no further than a reply would.
"""

import asyncio
from functools import partial

import orjson
from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.errors import InvalidRequest, RateLimited
from tokenhub.ids import new_id
from tokenhub.operations import receipts
from tokenhub.providers.adapter import TokenCounter
from tokenhub.proxy import admission, attempts, exchange
from tokenhub.proxy.downstream import Downstream, Sent
from tokenhub.proxy.exchange_state import Attempt, Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.routing.route import Candidate
from tokenhub.wire import estimate
from tokenhub.wire.faults import CLIENT_FAULTS, UpstreamFault
from tokenhub.wire.messages.surface import MessagesSurface
from tokenhub.wire.surface import Surface

HEADER = "x-tokenhub-token-count"
"""Who counted: ``upstream``, or ``estimate`` by the rule of ``wire/estimate.py``."""
WAIT_S = 10.0
"""For the provider's own count; after that the estimate must do."""


async def messages(downstream: Downstream, request: BaseRequest, runtime: Runtime) -> Sent:
    """``POST /v1/messages/count_tokens``."""
    surface = MessagesSurface(exchange.arrival_of(request, clock.now_ms()))
    tokens = await of_prompt(request, downstream, runtime, surface)
    return downstream.send(200, orjson.dumps({"input_tokens": tokens}))


async def of_prompt(request: BaseRequest, downstream: Downstream, runtime: Runtime, surface: Surface) -> int:
    """Return how many tokens the prompt of a request has, and say in a header who counted.

    Raises what the same request for a reply would be refused with, but for what it costs.
    """
    await runtime.fresh()
    now_ms = clock.now_ms()
    asked = Exchange(new_id("req", now_ms), surface, downstream, clock.monotonic_s(), now_ms)
    await admission.admit(request, asked, runtime)
    await _check_rates(asked, runtime)
    admission.plan(asked, runtime.snapshot, runtime)
    assert asked.route is not None
    for candidate in asked.route.candidates:
        # No write decides on the boundaries here, and the body may have come slowly: the first is looked at again too.
        now = await attempts.still_allowed(asked, candidate, runtime, made=len(asked.attempts))
        if now is None:
            continue
        tokens = await _counted_by(now, asked, runtime)
        if tokens is not None:
            downstream.headers["x-tokenhub-provider"] = candidate.deployment.provider.id
            downstream.headers[HEADER] = "upstream"
            return tokens
    downstream.headers[HEADER] = "estimate"
    return estimate.of_prompt(asked.body)


async def _check_rates(asked: Exchange, runtime: Runtime) -> None:
    """Show the windows, and refuse a caller who has used up one of them."""
    caller = asked.caller
    assert caller is not None
    key, account = await runtime.read(lambda database: receipts.windows(database, caller))
    admission.tell_rates(asked.downstream.headers, key.state(caller.key_rpm), account.state(caller.account_rpm))
    wait_s = max(key.wait_s(caller.key_rpm), account.wait_s(caller.account_rpm))
    if wait_s:
        raise RateLimited(f"The rate limit is reached; try again in {wait_s} s.", retry_after_s=wait_s)


async def _counted_by(candidate: Candidate, asked: Exchange, runtime: Runtime) -> int | None:
    """Ask one provider; None where it cannot tell. Raises InvalidRequest when it finds the request at fault."""
    call, deployment = asked.call, candidate.deployment
    assert call is not None
    adapter = runtime.snapshot.adapter(deployment, call)
    if adapter is None or adapter.wire is not call.wire or not isinstance(adapter, TokenCounter):
        return None
    try:
        request = adapter.count_request(call, asked.native, deployment)
        if request is None:
            return None
        asked.attempts.append(Attempt(candidate, clock.monotonic_s()))
        again = partial(attempts.check_resend, asked, candidate, runtime)
        async with asyncio.timeout(WAIT_S):
            upstream = await runtime.client.send(request, stream=False, hop=asked.hop, before_resend=again)
            try:
                if upstream.ok:
                    return adapter.count(await upstream.read())
                failure = adapter.failure(upstream.status, upstream.headers, await upstream.error_body())
                raise UpstreamFault(failure)
            except BaseException:
                upstream.abort()
                raise
    except UpstreamFault as fault:
        if fault.failure.kind in CLIENT_FAULTS:
            raise attempts.client_fault(fault.failure, candidate) from None
        return None
    except (InvalidRequest, TimeoutError):
        return None
