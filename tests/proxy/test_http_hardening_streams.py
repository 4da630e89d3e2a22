"""Streams over real sockets: what is written, when, and to whom; clients that read slowly, not at all, or half close."""

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.fakes.raw_client import RawClient, eventually, post
from tests.fakes.upstream import (
    DONE,
    FakeUpstream,
    Pause,
    Step,
    WaitFor,
    WaitForClientClose,
    anthropic_stream,
    chunk,
    gemini_stream,
    json_reply,
    openai_chat,
    openai_chunk,
    openai_error,
    openai_stream,
    openai_usage,
    sse,
    sse_reply,
)
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.proxy.downstream import Downstream
from tokenhub.proxy.server import GatewayProtocol
from tokenhub.store import ledger

SOAK = os.environ.get("TOKENHUB_SOAK") == "1"
MODEL = "gpt-4o-mini"
BODY = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
COST = 216_300
"""1000 x 150 + 100 x 600 nano-USD and 3 % of it."""
USAGE = openai_usage(1000, 100)

Running = tuple[RunningGateway, FakeUpstream]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    flags = {"server.keep_alive_s": 0.1, "server.write_timeout_s": 1.0}
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("streams")), flags)
    with FakeUpstream([]) as fake:
        for provider in ("openai", "anthropic", "google"):
            gateway.add_credential(provider, fake.url)
        yield gateway, fake
        gateway.stop()


@pytest.fixture(autouse=True)
def nothing_is_left(running: Running) -> Iterator[None]:
    """After each test: no hold, exchange, drain or upstream call is left, and the ledger adds up."""
    gateway, fake = running
    before = count(gateway)
    yield
    gateway.settled(before)
    assert gateway.gateway is not None
    runtime = gateway.gateway.runtime
    assert eventually(lambda: not runtime.exchanges and not runtime.drains)
    assert eventually(lambda: not runtime.client._open)
    assert ledger.verify(gateway.hub.database) == []
    fake.replies.clear()


def count(gateway: RunningGateway) -> int:
    return int(gateway.rows("SELECT COUNT(*) AS n FROM requests")[0]["n"])


def ask(gateway: RunningGateway, **fields: object) -> bytes:
    """Ask for a stream; return its body, framing undone."""
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, {**BODY, **fields}))
        reply = client.reply()
        assert reply.status == 200, reply
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        return reply.body


def frames(body: bytes) -> list[str]:
    """The data of each event; comments are left out."""
    assert body.endswith(b"\n\n")
    return [frame[6:] for frame in body.decode().split("\n\n")[:-1] if frame.startswith("data: ")]


def events(body: bytes) -> list[dict]:
    return [json.loads(frame) for frame in frames(body) if frame != "[DONE]"]


def text_of(body: bytes, index: int = 0) -> str:
    choices = [choice for event in events(body) for choice in event.get("choices", ()) if choice["index"] == index]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def last(gateway: RunningGateway, before: int) -> dict:
    return gateway.settled(before + 1)[-1]


# ---- what is written

NASTY = (
    "".join(map(chr, range(0x20))) + "\x7f\x85\u2028\u2029\ufeff\n\ndata: [DONE]\n\nevent: x\r\rid: 5\r\n\r\n: comment"
)


@pytest.mark.parametrize("model", [MODEL, "claude-sonnet-4-5", "gemini-2.5-flash"])
def test_t60_text_with_every_control_character_stays_text(running: Running, model: str) -> None:
    gateway, fake = running
    pieces = [NASTY, "x", NASTY]
    streams = {MODEL: openai_stream, "claude-sonnet-4-5": anthropic_stream, "gemini-2.5-flash": gemini_stream}
    fake.add(sse_reply(streams[model](pieces)))
    body = ask(gateway, model=model)
    assert text_of(body) == "".join(pieces)
    assert frames(body).count("[DONE]") == 1
    assert frames(body)[-1] == "[DONE]"


def test_t60_an_error_after_content_is_encoded_and_nothing_says_done(running: Running) -> None:
    gateway, fake = running
    failure = sse(openai_error("bad\n\ndata: [DONE]\n\n", code="server_error"))
    fake.add(sse_reply([*openai_stream(["Hi"])[:2], Pause(0.1), failure, DONE]))
    body = ask(gateway)
    assert "[DONE]" not in frames(body)
    assert events(body)[-1]["error"]["type"] == "upstream_error"
    assert events(body)[-1]["choices"][0]["finish_reason"] == "error"


def test_t61_each_frame_is_passed_on_as_it_comes(running: Running) -> None:
    gateway, fake = running
    sent: list[float] = []
    gate = [threading.Event() for _ in range(10)]
    stream = openai_stream([f"<{number}>" for number in range(10)])
    steps: list = [stream[0]]
    for number in range(10):
        steps += [WaitFor(gate[number]), stream[number + 1]]
    fake.add(sse_reply([*steps, *stream[11:]]))
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, BODY))
        late = []
        for number in range(10):
            time.sleep(0.03)
            sent.append(time.monotonic())
            gate[number].set()
            client.until(f"<{number}>".encode())
            late.append(time.monotonic() - sent[-1])
        client.until(b"[DONE]")
    assert sorted(late)[5] < 0.05, late


def test_t61_a_stream_tells_proxies_not_to_buffer_it(running: Running) -> None:
    gateway, fake = running
    fake.add(sse_reply(openai_stream()))
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, BODY, "Accept-Encoding: gzip, br, zstd"))
        reply = client.reply()
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["transfer-encoding"] == "chunked"
    assert "content-encoding" not in reply.headers


def test_comments_flow_while_nothing_else_does_and_are_no_content(running: Running) -> None:
    gateway, fake = running
    before = count(gateway)
    stream = openai_stream(["One ", "two"], usage=USAGE)
    fake.add([Pause(0.35), *sse_reply([stream[0], Pause(0.35), *stream[1:2], Pause(0.35), *stream[2:]])])
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, BODY))
        reply = client.reply()
    assert reply.body.startswith(b": keep-alive\n\n"), "the head did not wait for the upstream"
    assert "x-tokenhub-provider" not in reply.headers
    assert 6 <= reply.body.count(b": keep-alive\n\n") <= 12
    assert text_of(reply.body) == "One two"
    row = last(gateway, before)
    assert (row["end"], row["charged"]) == ("settled", COST)
    assert row["first_content_ms"] >= 650


def test_a_failure_after_a_comment_is_an_event_with_the_same_code(running: Running) -> None:
    gateway, fake = running
    before = count(gateway)
    fake.add([Pause(0.25), *json_reply(openai_error("no"), 500)])
    body = ask(gateway)
    assert body.startswith(b": keep-alive\n\n")
    (event,) = events(body)
    assert (event["error"]["code"], event["choices"][0]["finish_reason"]) == ("upstream_error", "error")
    assert "[DONE]" not in frames(body)
    assert last(gateway, before)["end"] == "released"


def test_a_plain_reply_gets_no_comment(running: Running) -> None:
    gateway, fake = running
    fake.add([Pause(0.25), *json_reply(openai_chat("Late"))])
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, {**BODY, "stream": False}))
        assert client.reply().json()["choices"][0]["message"]["content"] == "Late"


def test_t11_usage_is_waited_for_after_the_finish_reason(running: Running) -> None:
    gateway, fake = running
    *content, finish, usage, done = openai_stream(["Hi"], usage=USAGE)
    empty = openai_chunk({}, choices=[], usage=None)
    for steps in ([*content, finish, Pause(0.3), usage, done], [*content, finish, empty, Pause(0.3), usage, done]):
        before = count(gateway)
        fake.add(sse_reply(steps))
        body = ask(gateway)
        row = last(gateway, before)
        assert (row["charged"], row["estimated"]) == (COST, 0)
        assert frames(body)[-1] == "[DONE]"


def test_t10_usage_that_comes_more_than_once_is_not_summed(running: Running) -> None:
    gateway, fake = running
    before = count(gateway)
    partial = [openai_chunk({"content": "Hi"}, usage=openai_usage(1000, done)) for done in (1, 40, 99)]
    ending = [
        openai_chunk({}, "stop", usage=USAGE),
        openai_chunk({}, "stop", usage=USAGE),
        openai_chunk({}, choices=[], usage=USAGE),
    ]
    fake.add(sse_reply([*partial, *ending, DONE]))
    body = ask(gateway)
    assert text_of(body) == "HiHiHi"
    assert not [event for event in events(body) if event.get("usage")]
    assert last(gateway, before)["charged"] == COST


@pytest.mark.parametrize("asked", [True, False, None])
def test_the_usage_frame_is_for_who_asked_and_comes_last(running: Running, asked: bool | None) -> None:
    gateway, fake = running
    fake.add(sse_reply(openai_stream(["Hi"], usage=USAGE)))
    body = ask(gateway, **({} if asked is None else {"stream_options": {"include_usage": asked}}))
    with_usage = [number for number, event in enumerate(events(body)) if event.get("usage")]
    assert with_usage == ([len(events(body)) - 1] if asked else [])
    if asked:
        assert events(body)[-1]["choices"] == []
        assert events(body)[-1]["usage"]["cost_details"]["total"] == "0.0002163"


def test_a_stream_of_several_choices_ends_after_the_last_of_them(running: Running) -> None:
    gateway, fake = running
    before = count(gateway)

    def part(index: int, text: str | None, finish: str | None = None) -> bytes:
        delta = {"content": text} if text else {}
        return openai_chunk({}, choices=[{"index": index, "delta": delta, "finish_reason": finish}])

    stream = [
        part(0, "a"),
        part(1, "b"),
        part(2, "c"),
        part(1, None, "stop"),
        part(0, "A"),
        part(0, None, "stop"),
        part(2, "C"),
        part(2, None, "length"),
    ]
    fake.add(sse_reply([*stream, openai_chunk({}, choices=[], usage=USAGE), DONE]))
    body = ask(gateway, n=3)
    assert [text_of(body, index) for index in range(3)] == ["aA", "b", "cC"]
    reasons = [
        choice["finish_reason"] for event in events(body) for choice in event["choices"] if choice["finish_reason"]
    ]
    assert sorted(reasons) == ["length", "stop", "stop"]
    assert last(gateway, before)["charged"] == COST


def test_a_stream_without_content_is_released(running: Running) -> None:
    gateway, fake = running
    before, balance = count(gateway), gateway.balance()
    fake.add(sse_reply(openai_stream([], usage=openai_usage(1000, 0))))
    body = ask(gateway, stream_options={"include_usage": True})
    assert text_of(body) == ""
    assert frames(body)[-1] == "[DONE]"
    assert events(body)[-1]["usage"]["cost"] == 0
    assert (last(gateway, before)["end"], gateway.balance()) == ("released", balance)


def test_a_stream_of_nothing_at_all_is_a_failed_attempt(running: Running) -> None:
    gateway, fake = running
    before = count(gateway)
    for steps in ([], [b"\n\n"], [b": ping\n\n"], [DONE]):
        fake.add(sse_reply(steps))
        with RawClient(gateway.port) as client:
            client.send(post(gateway.key, BODY))
            reply = client.reply()
        if reply.status == 200:
            assert steps == [DONE], "only one that says it is complete may pass as empty"
        else:
            assert (reply.status, reply.code) == (502, "upstream_error")
    assert {row["end"] for row in gateway.settled(before + 4)[before:]} == {"released"}


def test_an_error_of_ours_inside_a_stream_is_told_released_and_leaves_no_call_open(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, fake = running
    before, balance = count(gateway), gateway.balance()
    real = Downstream.write_now

    def fails_once(self: Downstream, data: bytes) -> None:
        if b"two" in data:
            monkeypatch.setattr(Downstream, "write_now", real)
            raise RuntimeError("a defect")
        real(self, data)

    monkeypatch.setattr(Downstream, "write_now", fails_once)
    stream = openai_stream(["One ", "two", "three"], usage=USAGE)
    fake.add(sse_reply([*stream[:2], Pause(0.05), stream[2], WaitForClientClose()]))
    body = ask(gateway)
    assert events(body)[-1]["error"]["code"] == "internal_error"
    assert b"a defect" not in body
    assert "[DONE]" not in frames(body)
    assert fake.received[-1].gone.wait(1.0)
    assert (last(gateway, before)["end"], gateway.balance()) == ("released", balance)


# ---- clients that do not read

BIG = openai_chunk({"content": "x" * 60_000})


def memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def big_stream(megabytes: int) -> Sequence[Step]:
    """A stream made of one chunk many times, so that it costs its sender no memory."""
    start, *ending = sse_reply(openai_stream([], usage=USAGE)[1:])
    return [start, *[chunk(BIG)] * (megabytes * 16), *ending]


def test_a_big_stream_passes_in_little_memory(running: Running) -> None:
    gateway, fake = running
    size = 60  # below the cap on a reply
    before = memory_bytes()
    fake.add(big_stream(size))
    most, received = 0, 0
    with RawClient(gateway.port, receive_bytes=65536) as client:
        client.send(post(gateway.key, BODY))
        tail = b""
        while b"[DONE]" not in tail:
            data = client.socket.recv(65536)
            received += len(data)
            tail = tail[-20:] + data[-100:]
            most = max(most, memory_bytes())
    assert received > size * 900_000
    assert most - before < 16 * 2**20, f"{(most - before) / 2**20:.1f} MiB"


@pytest.mark.soak
def test_t62_clients_that_do_not_read_are_cut_off_and_charged_what_was_used(running: Running) -> None:
    gateway, fake = running
    number = 100 if SOAK else 12
    ended, before = count(gateway), memory_bytes()
    fake.add(*[big_stream(8)] * number)
    clients = [RawClient(gateway.port, receive_bytes=4096) for _ in range(number)]
    try:
        for client in clients:
            client.send(post(gateway.key, BODY))
        rows = gateway.settled(ended + number, 60.0)[ended:]
        assert memory_bytes() - before < 2**20 * (32 + number), "a bounded share for each"
    finally:
        for client in clients:
            client.reset()
    assert {row["end"] for row in rows} == {"settled"}
    assert all(row["charged"] == COST or (row["estimated"] and row["cancelled"]) for row in rows)
    assert eventually(lambda: connections(gateway) == 0)


def connections(gateway: RunningGateway) -> int:
    assert gateway.gateway is not None
    return len(gateway.gateway._server.connections)


@pytest.mark.parametrize("streamed", [False, True])
def test_t62_an_end_that_is_not_read_does_not_stay_in_memory(running: Running, streamed: bool) -> None:
    """The whole reply is written and charged; who does not take it is cut off all the same."""
    gateway, fake = running
    before = count(gateway)
    whole = json_reply(openai_chat("x" * 20_000_000, usage=USAGE))
    # Enough to fill the kernel's buffers and some of ours, then the end.
    fake.add(sse_reply([*[BIG] * 3, *openai_stream(["x" * 7_000_000], usage=USAGE)[1:]]) if streamed else whole)
    with RawClient(gateway.port, receive_bytes=4096) as client:
        client.send(post(gateway.key, {**BODY, "stream": streamed}, "Connection: close"))
        row = last(gateway, before)
        assert (row["end"], row["charged"]) == ("settled", COST)
        assert eventually(lambda: connections(gateway) == 0, 4.0), "the connection is gone, and what it held with it"


def test_t62_even_a_little_that_is_not_read_does_not_stay(running: Running) -> None:
    """Less than what makes a writer wait: the reply has ended, and nobody writes any more who could notice."""
    gateway, fake = running
    before = count(gateway)

    def unsent() -> int:
        assert gateway.gateway is not None
        protocols = gateway.gateway._server.connections
        return sum(
            one._wire.get_write_buffer_size() for one in protocols if isinstance(one, GatewayProtocol) and one._wire
        )

    def steps() -> Iterator[Step]:
        start, *ending = sse_reply(openai_stream([], usage=USAGE)[1:])
        yield start
        frame = chunk(openai_chunk({"content": "x" * 16_000}))
        for _ in range(2000):
            yield frame
            yield Pause(0.001)
            if waiting := unsent():
                left.append(waiting)
                break
        yield from ending

    left: list[int] = []
    fake.add(steps())  # type: ignore[arg-type]
    with RawClient(gateway.port, receive_bytes=4096) as client:
        client.send(post(gateway.key, BODY, "Connection: close"))
        assert last(gateway, before)["end"] == "settled"
        assert eventually(lambda: connections(gateway) == 0, 4.0)
    assert [waiting < 64 * 1024 for waiting in left] == [True]


def test_t62_a_client_that_reads_slowly_gets_everything(running: Running) -> None:
    gateway, fake = running
    fake.add(json_reply(openai_chat("x" * 8_000_000, usage=USAGE)))
    with RawClient(gateway.port, receive_bytes=65536) as client:
        client.send(post(gateway.key, {**BODY, "stream": False}))
        started, received = time.monotonic(), 0
        while received < 8_000_000:
            received += len(client.socket.recv(65536))
            time.sleep(0.01)
    assert time.monotonic() - started > 1.1, "longer than the write deadline"


# ---- half-closed connections

WHERE = ["before the answer", "after the head", "after the first content", "before the end", "with the request"]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("where", WHERE)
def test_t63_a_client_that_half_closes_has_left(
    running: Running, where: str, streamed: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same as leaving: before content nothing is charged, after it what was used; and only one end."""
    gateway, fake = running
    before, balance, asked = count(gateway), gateway.balance(), len(fake.received)
    go = threading.Event()
    stream = openai_stream(["One ", "two "], usage=USAGE)
    steps = [stream[0], WaitFor(go), *stream[1:3], Pause(0.3), *stream[3:]]
    whole = [Pause(0.3), *json_reply(openai_chat("x", usage=USAGE))]
    fake.add(sse_reply(steps) if streamed else whole)
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, {**BODY, "stream": streamed}))
        if where == "with the request":
            client.half_close()
        else:
            assert eventually(lambda: len(fake.received) > asked)
        if where == "before the answer":
            time.sleep(0.05)
            client.half_close()
        if not streamed:
            go.set()
            time.sleep(0.1)
            if where not in WHERE[:1] + WHERE[4:]:
                client.half_close()
        elif where in WHERE[1:4]:
            time.sleep(0.2)  # a comment opens the stream
            client.until(b"keep-alive")
            if where == "after the head":
                client.half_close()
                time.sleep(0.05)
            go.set()
            if where != "after the head":
                client.until(b"One ")
                if where == "before the end":
                    client.until(b"two ")
                client.half_close()
        if where == "with the request" and not eventually(lambda: count(gateway) > before, 2.0):
            assert (len(fake.received), gateway.balance()) == (asked, balance), "gone before anybody looked at it"
            return
        row = last(gateway, before)
        go.set()
        client.rest()
    if where in WHERE[2:4] and streamed:
        assert (row["end"], row["charged"], gateway.balance()) == ("settled", COST, balance - COST)
    else:
        assert (row["end"], row["charged"], gateway.balance()) == ("released", 0, balance)
        assert len(fake.received) == asked or fake.received[-1].gone.wait(1.0)
    assert row["cancelled"] == 1 or row["end"] == "settled"
    assert "Traceback" not in capfd.readouterr().err


def test_a_stream_that_fails_after_its_client_has_left_is_not_read_on(running: Running) -> None:
    gateway, fake = running
    before, balance = count(gateway), gateway.balance()
    assert gateway.gateway is not None
    drains = gateway.gateway.runtime.drains
    go = threading.Event()
    failure = sse(openai_error("bad", code="server_error"))
    fake.add(sse_reply([*openai_stream(["One "])[:2], WaitFor(go), failure, WaitForClientClose()]))
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, BODY))
        client.until(b"One ")
        client.half_close()
        assert eventually(lambda: drains)
        go.set()
        assert fake.received[-1].gone.wait(2.0)
    row = last(gateway, before)
    assert (row["end"], row["charged"], gateway.balance()) == ("released", 0, balance)
