"""What a reply waits for inside one request: a task that is polled, a result that is fetched.

The adapter says what to send and reads what comes (``providers/adapter.Pending``); here is
the waiting and the sending, within the time that a whole reply may take. A client that leaves
ends it at once: the handler's task is cancelled, and nothing was charged yet.
"""

import asyncio

from tokenhub import clock
from tokenhub.providers.adapter import Pending
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.replies import Reply

RETRY_S = 0.5
"""Waited before a request is sent again that got no answer."""


async def followed(found: Reply | Pending, exchange: Exchange, runtime: Runtime) -> Reply:
    """Return the reply, whatever it takes to get it; raises UpstreamFault (TIMEOUT, ``total``) when that takes too long."""
    deadline_s = clock.monotonic_s() + runtime.client.timeouts.whole_reply_s
    while isinstance(found, Pending):
        found = await _next(found, deadline_s, exchange, runtime)
    return found


async def _next(pending: Pending, deadline_s: float, exchange: Exchange, runtime: Runtime) -> Reply | Pending:
    wait_s = pending.wait_s
    for left in range(pending.retries, -1, -1):
        await _wait(wait_s, deadline_s)
        try:
            answer = await _ask(pending, exchange, runtime)
        except UpstreamFault:
            if not left:
                raise
            wait_s = max(pending.wait_s, RETRY_S)
        else:
            return pending.read(*answer)
    raise AssertionError("the last try returns or raises")


async def _wait(wait_s: float, deadline_s: float) -> None:
    if clock.monotonic_s() + wait_s >= deadline_s:
        raise UpstreamFault(Failure(FaultKind.TIMEOUT, code="total"))
    await asyncio.sleep(wait_s)


async def _ask(pending: Pending, exchange: Exchange, runtime: Runtime) -> tuple[int, dict[str, str], bytes]:
    """Send the request once; return status, headers and body."""
    spent_s = clock.monotonic_s() - exchange.started_s
    upstream = await runtime.client.send(pending.request, stream=False, hop=exchange.hop, spent_s=spent_s)
    try:
        body = await upstream.read() if upstream.ok else await upstream.error_body()
    except BaseException:
        upstream.abort()
        raise
    return upstream.status, dict(upstream.headers), body
