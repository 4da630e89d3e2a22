"""One request from arrival to settlement. Read this first.

The steps stand in ``carry``, top to bottom. What each does is one module away: ``admission``
(who asks, for what, and the hold), ``attempts`` (deployments in order until one answers),
``relay`` (content to the client as it comes, the end kept back), ``settlement`` (the charge,
committed before the client sees the end).

The exchange runs in aiohttp's own handler task, which is cancelled when the client leaves; that of a
new video in a task of the application, as its provider makes it whoever waits.
Nothing that must happen depends on that task: ledger operations are queued at the writer
without waiting, and a stream whose client has left is read on by a task of the application.
"""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from aiohttp.web_request import BaseRequest

from tokenhub import clock, failpoints
from tokenhub.errors import HubError, InternalError, Unavailable
from tokenhub.ids import new_id
from tokenhub.observability import log
from tokenhub.proxy import admission, attempts, explanation, relay, settlement
from tokenhub.proxy.downstream import ClientGone, Downstream, Sent
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.store.writer import OutcomeUnknown
from tokenhub.wire.surface import Arrival, Surface

Speak = Callable[[Arrival], Surface]
Begin = Callable[[Exchange, Runtime], Awaitable[None]]
Deliver = Callable[[attempts.Answer, Exchange, Runtime], Awaitable[Sent]]


def arrival_of(request: BaseRequest, now_ms: int) -> Arrival:
    """Return what of a request is not its body."""
    path, _, query = request.raw_path.partition("?")
    return Arrival(
        path, dict(parse_qsl(query, keep_blank_values=True)) if query else {}, request.headers, now_ms // 1000
    )


async def carry(
    request: BaseRequest,
    runtime: Runtime,
    speak: Speak,
    *,
    begin: Begin | None = None,
    deliver: Deliver = relay.relay,
) -> Sent:
    """Carry one request from arrival to settlement, or to where ``deliver`` takes an answer.

    ``begin`` is done when the hold stands and no provider has been asked.
    """
    now_ms = clock.now_ms()
    surface = speak(arrival_of(request, now_ms))
    downstream = Downstream(request, silence_s=runtime.settings.server_keep_alive_s, surface=surface)
    exchange = Exchange(
        new_id("req", now_ms), surface, downstream, clock.monotonic_s(), now_ms, task=asyncio.current_task()
    )
    downstream.headers.update(dict.fromkeys(surface.id_headers, exchange.id))
    exchange.explain = explanation.is_asked(request)
    runtime.exchanges[exchange.id] = exchange
    try:
        await admission.admit(request, exchange, runtime)
        failpoints.hit("hold.before")
        await admission.place_hold(exchange, runtime)
        explanation.tell_route(exchange)
        failpoints.hit("hold.committed")
        if begin is not None:
            await begin(exchange, runtime)
        answer = await attempts.first_to_answer(exchange, runtime)
        return await deliver(answer, exchange, runtime)
    except HubError as error:
        return refuse(error, exchange, runtime)
    except ClientGone:
        return Sent(keep_alive=False)
    except OutcomeUnknown:
        # Neither "charged" nor "not charged" would be true for certain, so neither end is shown.
        return exchange.downstream.abort()
    except asyncio.CancelledError:
        if exchange.stopped is None:
            raise
        return refuse(exchange.stopped, exchange, runtime)
    except Exception as error:
        log.failure("exchange", error, request_id=exchange.id)
        if exchange.charged:
            return exchange.downstream.abort()
        return refuse(
            InternalError("The gateway failed to answer; nothing was charged. Quote the request id to the operator."),
            exchange,
            runtime,
        )
    finally:
        close(exchange, runtime)


def refuse(error: HubError, exchange: Exchange, runtime: Runtime) -> Sent:
    """Release the hold, if one was asked for, and tell the client why."""
    settlement.release(exchange, runtime, error)
    explanation.tell_refusal(error, exchange, runtime)
    try:
        return exchange.downstream.send_error(error, exchange.id)
    except ClientGone:
        return Sent(keep_alive=False)


def close(exchange: Exchange, runtime: Runtime) -> None:
    """Leave nothing behind: a hold still open is released, an id never seen leaves a tombstone."""
    exchange.downstream.stop_keep_alive()
    exchange.task = None
    if not exchange.ended and exchange.id not in runtime.drains:
        exchange.client_left = True
        settlement.release(exchange, runtime, Unavailable("The client left.", code="client_left"))
    runtime.exchanges.pop(exchange.id, None)
