"""T64: a request is cancelled at every place where it waits; afterwards there is one end, and nothing is left."""

import asyncio
import io
import json
import os
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest

from tests.fakes.raw_client import RawClient, eventually, post
from tests.fakes.upstream import (
    FakeUpstream,
    Pause,
    Received,
    Reply,
    json_reply,
    openai_chat,
    openai_error,
    openai_stream,
    openai_usage,
    sse_reply,
)
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.errors import Unavailable
from tokenhub.observability import log
from tokenhub.proxy import exchange
from tokenhub.store import ledger

SOAK = os.environ.get("TOKENHUB_SOAK") == "1"
MODEL = "gpt-4o-mini"
USAGE = openai_usage(1000, 100)
COST = 216_300

Running = tuple[RunningGateway, FakeUpstream]


class CancelAt:
    """Runs a coroutine and calls ``act`` where it waits for the k-th time; counts how often it waited."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, act: Callable[[], object]) -> None:
        self._work, self._at, self._act = work, at, act
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        step = self._work.send
        value: Any = None
        while True:
            try:
                future = step(value)
            except StopIteration as end:
                return end.value
            self.waits += 1
            if self.waits == self._at:
                self._act()
            try:
                value = yield future
                step = self._work.send
            except BaseException as error:
                step, value = self._work.throw, error


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("cancel")), {"server.keep_alive_s": 0.05})
    with FakeUpstream([]) as fake:
        gateway.add_credential("openai", fake.url)
        gateway.add_credential("openai", fake.url, label="second")
        yield gateway, fake
        gateway.stop()


def streamed(_: Received) -> Reply:
    """A stream that comes in pieces, so that it is waited for often."""
    return sse_reply(
        [step for frame in openai_stream(["One ", "two ", "three"], usage=USAGE) for step in (frame, Pause(0.004))]
    )


def plain(_: Received) -> Reply:
    whole = b"".join(step for step in json_reply(openai_chat("x" * 200, usage=USAGE)) if isinstance(step, bytes))
    return [step for start in range(0, len(whole), 200) for step in (whole[start : start + 200], Pause(0.004))]


def failing_first(request: Received) -> Reply:
    return json_reply(openai_error("no"), 500) if request.number % 2 else streamed(request)


def broken(_: Received) -> Reply:
    return sse_reply(
        [*openai_stream(["One "])[:2], Pause(0.01), b'data: {"error": {"message": "x", "type": "server_error"}}\n\n']
    )


def no_usage(_: Received) -> Reply:
    return sse_reply([step for frame in openai_stream(["One ", "two "], usage={}) for step in (frame, Pause(0.004))])


def carried_out(gateway: RunningGateway, streaming: bool, at: int, act: Callable[[], object]) -> tuple[int, bytes]:
    """Ask once, with ``act`` done where the handler waits for the ``at``-th time; return how often it waited, and all that came."""
    gateway.forget_faults()
    waits: list[CancelAt] = []
    real = exchange.carry

    async def carry(*arguments: Any) -> Any:
        waits.append(CancelAt(real(*arguments), at, act))
        return await waits[-1]

    exchange.carry = carry
    try:
        body = {"model": MODEL, "stream": streaming, "messages": [{"role": "user", "content": "Hello"}]}
        with RawClient(gateway.port) as client:
            request = post(gateway.key, body, "Connection: close")
            client.send(request[:-20])  # the body is waited for as well
            assert eventually(lambda: waits)
            client.send(request[-20:])
            answer = client.rest()
    finally:
        exchange.carry = real
    return waits[0].waits, answer


def ends(gateway: RunningGateway, before: int) -> list[dict]:
    """The requests that ended since, when all work is done and the ledger adds up."""
    assert gateway.gateway is not None
    runtime = gateway.gateway.runtime
    assert eventually(lambda: not runtime.exchanges and not runtime.drains), (runtime.exchanges, runtime.drains)
    runtime.writer.run(lambda _: None).result(5)  # behind everything that was queued
    assert gateway.rows("SELECT * FROM holds") == []
    assert eventually(lambda: not runtime.client._open)
    assert runtime.retrying == 0
    assert ledger.verify(gateway.hub.database) == []
    return gateway.rows("SELECT * FROM requests ORDER BY id")[before:]


def count(gateway: RunningGateway) -> int:
    return int(gateway.rows("SELECT COUNT(*) AS n FROM requests")[0]["n"])


SHAPES = {
    "plain": (plain, False),
    "streamed": (streamed, True),
    "failing first": (failing_first, True),
    "broken": (broken, True),
    "without usage": (no_usage, True),
}


def cancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@pytest.mark.soak
@pytest.mark.parametrize("shape", SHAPES)
def test_t64_a_request_cancelled_anywhere_has_one_end(running: Running, shape: str) -> None:
    gateway, fake = running
    reply, streaming = SHAPES[shape]
    fake.script = reply
    at, seen = 1, set()
    for _ in range(4 if SOAK else 1):
        at = 1
        while True:
            before, balance = count(gateway), gateway.balance()
            waited, answer = carried_out(gateway, streaming, at, cancel)
            rows = ends(gateway, before)
            assert len(rows) <= 1
            charged = sum(row["charged"] for row in rows)
            assert gateway.balance() == balance - charged
            complete = answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") or (
                not streaming and answer.startswith(b"HTTP/1.1 200")
            )
            if complete:
                assert rows[0]["end"] == "settled"
            if b"One" not in answer and streaming:
                assert charged in (0, COST), "charged only if the end was already being written"
            seen |= {row["end"] for row in rows}
            if waited < at:
                break
            at += 1
    assert at > 6, "it waits that often at least"
    assert "released" in seen


@pytest.mark.parametrize("shape", SHAPES)
def test_t67_a_request_stopped_anywhere_tells_the_truth(running: Running, shape: str) -> None:
    """At the shutdown deadline a client is told that nothing was charged only if nothing is."""
    gateway, fake = running
    reply, streaming = SHAPES[shape]
    fake.script = reply
    assert gateway.gateway is not None
    runtime = gateway.gateway.runtime
    stopping = Unavailable("The gateway is stopping; nothing was charged.", code="overloaded", retry_after_s=1)
    at = 1
    while True:
        before, balance = count(gateway), gateway.balance()
        waited, answer = carried_out(gateway, streaming, at, lambda: runtime.stop_all(stopping))
        rows = ends(gateway, before)
        assert len(rows) <= 1
        charged = sum(row["charged"] for row in rows)
        assert gateway.balance() == balance - charged
        assert answer.startswith(b"HTTP/1.1 "), "whoever is there is told"
        if b'"code":"overloaded"' in answer:
            assert charged == 0
            assert b"[DONE]" not in answer
        else:
            assert shape == "broken" or answer.endswith((b"[DONE]\n\n\r\n0\r\n\r\n", b"}}}"))
        if waited < at:
            break
        at += 1
    assert at > 6


async def out_of_its_mind() -> None:
    raise LookupError("a reader that nobody thought of")


@pytest.mark.parametrize("fate", ["cancelled before its first step", "failed"])
def test_t64_a_drain_that_comes_to_nothing_releases_its_hold_and_a_failure_is_logged(
    running: Running, fate: str
) -> None:
    gateway, fake = running
    fake.script = streamed
    assert gateway.gateway is not None
    runtime = gateway.gateway.runtime
    real: Callable[..., Any] = runtime.spawn

    def spawn(work: Coroutine[Any, Any, None]) -> Awaitable[None]:
        if work.__name__ == "_drain" and fate == "failed":
            work.close()
            work = out_of_its_mind()
        task = real(work)
        if work.__name__ == "_drain":
            task.cancel()
        return task  # type: ignore[no-any-return]

    before, balance = count(gateway), gateway.balance()
    runtime.spawn = spawn  # type: ignore[method-assign, assignment]
    logged = io.StringIO()
    try:
        with log.only("info", logged), RawClient(gateway.port) as client:
            client.send(
                post(gateway.key, {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "x"}]})
            )
            client.until(b"One")
            client.reset()
            (row,) = ends_within(gateway, before)
    finally:
        del runtime.spawn
    assert (row["end"], gateway.balance()) == ("released", balance)
    found = [line for line in map(json.loads, logged.getvalue().splitlines()) if line["event"] == "drain"]
    assert [(line["error"], line["request_id"]) for line in found] == [("LookupError", row["id"])] * (fate == "failed")


def ends_within(gateway: RunningGateway, before: int) -> list[dict]:
    assert eventually(lambda: count(gateway) > before)
    return ends(gateway, before)


def test_the_wrapper_counts_what_it_should() -> None:
    async def work() -> str:
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "cancelled"
        return "done"

    async def main() -> tuple[str, int]:
        wrapped = CancelAt(work(), 4, cancel)
        return await wrapped, wrapped.waits

    assert asyncio.run(main()) == ("cancelled", 4)
