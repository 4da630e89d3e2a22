"""Content to the client as it comes, its end kept back until the charge is committed.

A stream is relayed as bytes where nothing needs changing. From the frame with the last
finish reason on, frames wait: first the settle, then those frames, the usage frame if the
client asked for it, and ``[DONE]``. A client that leaves after content does not end the
work: the stream is read on, within bounds, so that what was used is what is charged (T17).
"""

import asyncio

import orjson

from tokenhub import clock, failpoints
from tokenhub.errors import Unavailable
from tokenhub.observability import log
from tokenhub.providers import failures
from tokenhub.proxy import failed, settlement
from tokenhub.proxy.attempts import Answer
from tokenhub.proxy.downstream import ClientGone, Sent
from tokenhub.proxy.exchange_state import Exchange
from tokenhub.proxy.runtime import Runtime
from tokenhub.routing.short import listed
from tokenhub.store.writer import OutcomeUnknown
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.surface import End

MOST_NAME_CHARS = 100
"""Of a field that was left out: its name is the client's."""


async def relay(answer: Answer, exchange: Exchange, runtime: Runtime) -> Sent:
    """Give the answer to the client, whole or streamed, and settle before its end."""
    name_the_server(answer, exchange)
    exchange.surface.native = answer.native
    if answer.reply is not None:
        return await _relay_whole(answer, exchange, runtime)
    return await _relay_stream(answer, exchange, runtime)


async def _relay_whole(answer: Answer, exchange: Exchange, runtime: Runtime) -> Sent:
    reply = answer.reply
    assert reply is not None
    result = settlement.Result(
        answer.candidate,
        reply.usage,
        reply.has_content,
        reply.output_bytes,
        reply.finish_reason,
        reply.native_finish_reason,
        reply.upstream_id,
        reply.binds,
        reply.estimated,
    )
    surface = exchange.surface
    # Rendered first: a reply that could not be sent must fail before it is charged.
    rendered = surface.reply(reply)
    bill = await settlement.settle(exchange, runtime, result)
    cost = bill.cost()
    exchange.downstream.headers["x-tokenhub-cost"] = cost["cost_details"]["total"]
    failpoints.hit("finish.before")
    usage = orjson.dumps(surface.usage(bill.usage, cost, reply))
    sent = exchange.downstream.send(200, rendered.with_usage(usage), rendered.content_type)
    failpoints.hit("finish.sent")
    return sent


async def _relay_stream(answer: Answer, exchange: Exchange, runtime: Runtime) -> Sent:
    downstream, reader, upstream = exchange.downstream, answer.reader, answer.upstream
    assert reader is not None
    assert upstream is not None
    facts, surface = reader.facts, exchange.surface
    try:
        if answer.first:
            await downstream.write(surface.feed(answer.first))
            failpoints.hit("relay.first")
        while not facts.complete and facts.failure is None:
            data = await upstream.next()
            if not data:
                reader.close()
                break
            if (frames := reader.feed(data)) and (given := surface.feed(frames)):
                downstream.write_now(given)
                if downstream.must_wait:
                    await downstream.wait()
        held = surface.hold_back(reader.ending()) if facts.failure is None else b""
    except UpstreamFault as fault:
        facts.failure = fault.failure
    except (ClientGone, asyncio.CancelledError) as gone:
        if exchange.stopped is None:
            _read_on(answer, exchange, runtime)
        else:
            upstream.abort()
        if isinstance(gone, asyncio.CancelledError):
            raise
        return Sent(keep_alive=False)
    except BaseException:
        upstream.abort()
        raise
    _tell_end(answer, exchange, runtime)
    if facts.failure is not None:
        upstream.abort()
        raise failed.broken(exchange, runtime, answer.candidate, facts.failure)
    upstream.release()
    bill = await settlement.settle(exchange, runtime, _result(answer))
    failpoints.hit("finish.before")
    downstream.write_now(surface.ending(held, End(exchange.id, bill.usage, bill.cost(), facts)))
    sent = downstream.end()
    failpoints.hit("finish.sent")
    return sent


def _tell_end(answer: Answer, exchange: Exchange, runtime: Runtime) -> None:
    """Let availability know how a stream that has shown content ended; one that was left unread says nothing."""
    assert answer.reader is not None
    facts, deployment = answer.reader.facts, answer.candidate.deployment
    if facts.failure is not None:
        if facts.failure.evidence:
            facts.failure = failures.believed(facts.failure, [orjson.dumps(exchange.native, default=str)])
        runtime.watch.failed(deployment, facts.failure, answered=True)
    elif facts.complete:
        took_ms = (clock.monotonic_s() - exchange.attempts[-1].started_s) * 1000
        runtime.watch.completed(deployment, facts.usage, took_ms)


def _result(answer: Answer) -> settlement.Result:
    assert answer.reader is not None
    facts = answer.reader.facts
    return settlement.Result(
        answer.candidate,
        facts.usage,
        facts.content,
        facts.output_bytes,
        facts.finish_reason,
        facts.native_finish_reason,
        facts.upstream_id,
        facts.binds or facts.finish_reason == "tool_calls",
        facts.estimated,
        facts.told,
    )


def name_the_server(answer: Answer, exchange: Exchange) -> None:
    """Tell in headers which deployment answered, unless the reply's head is out already."""
    deployment, headers = answer.candidate.deployment, exchange.downstream.headers
    headers["x-generation-id"] = exchange.id
    headers["x-tokenhub-provider"] = deployment.provider.id
    headers["x-tokenhub-model"] = deployment.model.id
    headers["x-tokenhub-region"] = deployment.region.id
    headers["x-tokenhub-attempts"] = str(len(exchange.attempts))
    if exchange.dropped:
        headers["x-tokenhub-dropped"] = listed(map(_as_header, exchange.dropped))


def _as_header(name: str) -> str:
    return name[:MOST_NAME_CHARS].encode("ascii", "replace").decode()


def _read_on(answer: Answer, exchange: Exchange, runtime: Runtime) -> None:
    """Hand the stream of a client that has left to a task of the application; it is read on if there is room for one more."""
    exchange.client_left = True
    has_room = len(runtime.drains) < runtime.settings.server_drains
    task = runtime.spawn(_drain(answer, exchange, runtime, runtime.settings.server_drain_bytes if has_room else 0))
    runtime.drains[exchange.id] = task
    task.add_done_callback(lambda done: _drained(done, answer, exchange, runtime))


def _drained(task: "asyncio.Task[None]", answer: Answer, exchange: Exchange, runtime: Runtime) -> None:
    """Leave nothing open, however the drain ended: it may have been cancelled before its first step."""
    assert answer.upstream is not None
    if not task.cancelled() and (error := task.exception()) is not None:
        log.failure("drain", error, request_id=exchange.id)
    answer.upstream.abort()
    settlement.release(exchange, runtime, Unavailable("The stream was not read on.", code="client_left"))
    runtime.drains.pop(exchange.id, None)


async def _drain(answer: Answer, exchange: Exchange, runtime: Runtime, room_bytes: int) -> None:
    """Read a stream on to its usage, bounded in time and by ``room_bytes``; then charge it.

    Within the bounds the charge is the real usage; over them it is the estimate of what was
    received. A stream that its upstream breaks is released.
    """
    upstream, reader = answer.upstream, answer.reader
    assert upstream is not None
    assert reader is not None
    facts = reader.facts
    try:
        async with asyncio.timeout(runtime.settings.server_drain_s):
            while not facts.complete and facts.failure is None and room_bytes > 0:
                data = await upstream.next()
                if not data:
                    reader.close()
                    break
                room_bytes -= len(data)
                reader.feed(data)
    except UpstreamFault as fault:
        facts.failure = fault.failure
    except (TimeoutError, asyncio.CancelledError):
        pass  # what was received so far is charged, by estimate
    _tell_end(answer, exchange, runtime)
    if facts.failure is not None:
        settlement.release(exchange, runtime, failed.broken(exchange, runtime, answer.candidate, facts.failure))
        return
    upstream.release()
    try:
        await settlement.settle(exchange, runtime, _result(answer))
    except (Unavailable, OutcomeUnknown) as error:
        log.event("drain_not_booked", request_id=exchange.id, error=type(error).__name__)
