"""The client against a raw socket that misbehaves in every way an upstream can."""

import asyncio
import contextlib
import gzip
import os
import random
import socket
import time
from collections.abc import AsyncIterator

import pytest

from tests.fakes.upstream import (
    LAST_CHUNK,
    Cut,
    FakeUpstream,
    HalfClose,
    Pause,
    Received,
    Reply,
    Reset,
    WaitForClientClose,
    chunk,
    head,
    json_reply,
    openai_chat,
    openai_stream,
    sse_reply,
)
from tokenhub.providers.adapter import UpstreamRequest
from tokenhub.providers.client import Limits, Timeouts, UpstreamClient, UpstreamResponse
from tokenhub.providers.client.connections import ALIVE
from tokenhub.wire.faults import FaultKind, UpstreamFault

SOAK = os.environ.get("TOKENHUB_SOAK") == "1"
QUICK = Timeouts(connect_s=0.4, first_byte_s=0.4, whole_reply_s=0.4, idle_s=0.3, total_s=3.0)
PATIENT = Timeouts(connect_s=5, first_byte_s=10, whole_reply_s=10, idle_s=10, total_s=30)


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    made = UpstreamClient("here", PATIENT)
    yield made
    await made.close()


@pytest.fixture
async def quick_client() -> AsyncIterator[UpstreamClient]:
    """For tests that wait until its patience ends."""
    made = UpstreamClient("here", QUICK)
    yield made
    await made.close()


def post(url: str, body: bytes = b"{}", **headers: str) -> UpstreamRequest:
    return UpstreamRequest(f"{url}/chat/completions", {"content-type": "application/json", **headers}, body)


async def fault_of(client: UpstreamClient, request: UpstreamRequest, *, stream: bool = False) -> UpstreamFault:
    """Send, read to the end, and return the fault that this must raise."""

    async def carry() -> None:
        await (await client.send(request, stream=stream)).read()

    with pytest.raises(UpstreamFault) as caught:
        await carry()
    return caught.value


async def test_a_whole_reply_is_read_and_its_connection_used_again(client: UpstreamClient) -> None:
    async with FakeUpstream(lambda _: json_reply(openai_chat())) as fake:
        first = await client.send(post(fake.url), stream=False)
        assert first.status == 200
        assert first.ok
        assert first.headers["content-type"] == "application/json"
        assert b"Hello there" in await first.read()
        second = await client.send(post(fake.url), stream=False)
        assert second.reused
        await second.read()
        assert fake.connections == 1


async def test_a_stream_comes_piece_by_piece_and_its_connection_is_used_again(client: UpstreamClient) -> None:
    frames = openai_stream(["a", "b", "c"])
    async with FakeUpstream(lambda _: sse_reply(frames, pause_s=0.01)) as fake:
        pieces = [data async for data in await client.send(post(fake.url), stream=True)]
        assert b"".join(pieces) == b"".join(frames)
        assert len(pieces) >= len(frames)
        await (await client.send(post(fake.url), stream=True)).read()
        assert fake.connections == 1


async def test_t56_only_the_requests_own_headers_arrive(client: UpstreamClient) -> None:
    async with FakeUpstream(lambda _: json_reply({})) as fake:
        await (await client.send(post(fake.url, b"{}", authorization="Bearer secret"), stream=False)).read()
        request = fake.received[0]
        assert {name for name, _ in request.headers} == {
            "host",
            "user-agent",
            "accept-encoding",
            "x-tokenhub-hop",
            "content-length",
            "content-type",
            "authorization",
        }
        assert request.header("accept-encoding") == "identity"
        assert request.header("host") == f"127.0.0.1:{fake.port}"


async def test_t66_the_hop_marker_says_who_sends(client: UpstreamClient) -> None:
    async with FakeUpstream(lambda _: json_reply({})) as fake:
        await (await client.send(post(fake.url), stream=False)).read()
        await (await client.send(post(fake.url), stream=False, hop="there,here")).read()
        assert [request.header("x-tokenhub-hop") for request in fake.received] == ["here", "there,here"]


@pytest.mark.parametrize("secret", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b", "schlüssel"])
async def test_t56_a_secret_that_would_break_the_header_is_never_sent(client: UpstreamClient, secret: str) -> None:
    async with FakeUpstream(lambda _: json_reply({})) as fake:
        fault = await fault_of(client, post(fake.url, b"{}", authorization=f"Bearer {secret}"))
        assert (fault.failure.kind, fault.failure.code) == (FaultKind.AUTH, "malformed_secret")
        assert not fake.received


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_t70_a_redirect_is_a_failed_attempt_and_its_target_sees_nothing(
    client: UpstreamClient, status: int
) -> None:
    async with FakeUpstream(lambda _: json_reply({})) as target:
        moved = [head(status, {"Location": target.url, "Content-Length": "0"})]
        async with FakeUpstream([moved]) as fake:
            fault = await fault_of(client, post(fake.url, b'{"prompt":"canary"}', authorization="Bearer canary"))
        assert (fault.failure.kind, fault.failure.code) == (FaultKind.PROTOCOL, "redirect")
        assert fault.failure.status == status
        assert target.connections == 0


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "gzip, gzip", "x-unknown", "GZIP"])
async def test_t71_a_compressed_reply_is_refused_unread(client: UpstreamClient, encoding: str) -> None:
    bomb = gzip.compress(b"0" * 5_000_000)
    async with FakeUpstream([json_reply(bomb, headers={"Content-Encoding": encoding})]) as fake:
        fault = await fault_of(client, post(fake.url))
    assert (fault.failure.kind, fault.failure.code) == (FaultKind.PROTOCOL, "content_encoding")


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_t71_a_reply_above_the_cap_is_cut_off(framing: str) -> None:
    client = UpstreamClient("here", PATIENT, Limits(reply_bytes=200_000))
    try:
        async with FakeUpstream([sse_reply([b"x" * 50_000] * 100, framing=framing)]) as fake:
            fault = await fault_of(client, post(fake.url), stream=True)
            assert (fault.failure.kind, fault.failure.code) == (FaultKind.PROTOCOL, "reply_too_large")
            await asyncio.to_thread(fake.received[0].gone.wait, 2)
            assert fake.open == 0
    finally:
        await client.close()


async def test_t71_the_reader_of_a_whole_reply_may_set_a_lower_cap(client: UpstreamClient) -> None:
    async with FakeUpstream([json_reply(b"x" * 101), json_reply(b"x" * 100)]) as fake:
        response = await client.send(post(fake.url), stream=False)
        with pytest.raises(UpstreamFault, match="reply_too_large"):
            await response.read(100)
        response = await client.send(post(fake.url), stream=False)
        assert len(await response.read(100)) == 100


@pytest.mark.soak
async def test_t71_a_hundred_thousand_tiny_frames_pass_within_the_cap() -> None:
    client = UpstreamClient("here", PATIENT)
    count = 100_000 if SOAK else 20_000
    body = chunk(b"x") * count
    try:
        async with FakeUpstream([[head(200, {"Transfer-Encoding": "chunked"}), body, LAST_CHUNK]]) as fake:
            response = await client.send(post(fake.url), stream=True)
            assert sum([len(data) async for data in response]) == count
    finally:
        await client.close()


async def test_t71_a_slow_reader_holds_back_an_upstream_that_sends_without_end() -> None:
    client = UpstreamClient("here", PATIENT)
    sent = 0

    def endless(_: Received) -> Reply:
        nonlocal sent
        steps: list[bytes] = []
        for _ in range(400):
            steps.append(chunk(b"x" * 65_536))
            sent += 65_536
        return [head(200, {"Transfer-Encoding": "chunked"}), *steps]

    try:
        async with FakeUpstream(endless) as fake:
            response = await client.send(post(fake.url), stream=True)
            await response.next()
            await asyncio.sleep(0.3)
            assert len(await response.next()) < 1_000_000  # read ahead by a bounded amount, not 26 MB
            response.abort()
    finally:
        await client.close()


@pytest.mark.parametrize(
    "reply",
    [
        [head(200, {"Content-Length": "100"}), b"half", Cut()],
        [head(200, {"Content-Length": "100"}), b"half", Reset()],
        [head(200, {"Transfer-Encoding": "chunked"}), chunk(b"half"), Cut()],
        [head(200, {"Transfer-Encoding": "chunked"}), chunk(b"half"), Reset()],
        [head(200, {"Transfer-Encoding": "chunked"}), b"40\r\nhalf", Cut()],
        [head(200, {"Transfer-Encoding": "chunked"}), chunk(b"half"), b"0\r\n", Cut()],
        [head(200, {"Connection": "close"}), b"half", Pause(0.05), Reset()],
    ],
    ids=[
        "length-fin",
        "length-reset",
        "chunked-fin",
        "chunked-reset",
        "in-a-chunk",
        "in-the-last-chunk",
        "close-reset",
    ],
)
async def test_t72_a_cut_reply_is_a_fault_and_its_connection_is_gone(client: UpstreamClient, reply: Reply) -> None:
    async with FakeUpstream([reply, json_reply({})]) as fake:
        fault = await fault_of(client, post(fake.url))
        assert fault.failure.kind is FaultKind.PROTOCOL
        assert fault.failure.code in ("cut", "malformed_reply")
        assert not (await client.send(post(fake.url), stream=False)).reused


async def test_t72_a_reply_that_ends_with_its_connection_is_given_as_far_as_it_came(client: UpstreamClient) -> None:
    """Whether that was all of it, only the wire's own terminal marker can say."""
    async with FakeUpstream([sse_reply([b"data: one\n\n"], framing="close")]) as fake:
        assert await (await client.send(post(fake.url), stream=True)).read() == b"data: one\n\n"


HANGS: dict[str, Reply] = {
    "silence": [WaitForClientClose()],
    "half a status line": [b"HTTP/1.1 2", WaitForClientClose()],
    "headers drip": [b"HTTP/1.1 200 OK\r\n", *[step for i in range(40) for step in (b"x-%d: 1\r\n" % i, Pause(0.05))]],
    "103 and nothing": [head(103, {"Link": "</a>"}), WaitForClientClose()],
    "100 and nothing": [head(100), WaitForClientClose()],
    "head and nothing": [head(200, {"Content-Length": "10"}), WaitForClientClose()],
    "chunked head and nothing": [head(200, {"Transfer-Encoding": "chunked"}), WaitForClientClose()],
}


async def test_t73_silence_before_the_first_byte_ends_by_its_own_deadline(quick_client: UpstreamClient) -> None:
    """Asked all at once: each is waited for as long."""

    async def one(name: str, stream: bool) -> None:
        async with FakeUpstream([HANGS[name]]) as fake:
            started = time.monotonic()
            fault = await fault_of(quick_client, post(fake.url), stream=stream)
            took_s = time.monotonic() - started
        assert (fault.failure.kind, fault.failure.code) == (FaultKind.TIMEOUT, "first_byte"), (name, stream)
        assert 0.35 < took_s < 1.4, (name, stream)

    await asyncio.gather(*(one(name, stream) for name in HANGS for stream in (True, False)))


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_t73_silence_between_bytes_ends_by_its_own_deadline(quick_client: UpstreamClient, framing: str) -> None:
    steps = [b"data: one\n\n", Pause(0.2), b"data: two\n\n", WaitForClientClose()]
    async with FakeUpstream([sse_reply(steps, framing=framing)]) as fake:
        response = await quick_client.send(post(fake.url), stream=True)
        assert await response.next() == b"data: one\n\n"
        assert await response.next() == b"data: two\n\n"
        started = time.monotonic()
        with pytest.raises(UpstreamFault) as caught:
            await response.next()
        assert (caught.value.failure.kind, caught.value.failure.code) == (FaultKind.TIMEOUT, "idle")
        assert 0.2 < time.monotonic() - started < 1.3
        with pytest.raises(UpstreamFault, match="idle"):
            await response.next()


async def test_t73_a_reply_that_drips_for_ever_ends_by_the_total_deadline() -> None:
    client = UpstreamClient("here", Timeouts(first_byte_s=1, idle_s=1, total_s=0.5))
    drip = [step for _ in range(100) for step in (b": keep-alive\n\n", Pause(0.05))]
    try:
        async with FakeUpstream([sse_reply(drip)]) as fake:
            fault = await fault_of(client, post(fake.url), stream=True)
            assert (fault.failure.kind, fault.failure.code) == (FaultKind.TIMEOUT, "total")
    finally:
        await client.close()


async def test_t73_a_slow_caller_is_not_taken_for_a_silent_upstream(quick_client: UpstreamClient) -> None:
    async with FakeUpstream([sse_reply([b"one", Pause(0.1), b"two"])]) as fake:
        response = await quick_client.send(post(fake.url), stream=True)
        assert await response.next() == b"one"
        await asyncio.sleep(0.6)  # twice the idle deadline, spent elsewhere
        assert await response.next() == b"two"


async def test_t73_a_tls_handshake_that_never_answers_ends_by_the_connect_deadline(
    quick_client: UpstreamClient,
) -> None:
    async with FakeUpstream([[WaitForClientClose()]]) as fake:
        started = time.monotonic()
        fault = await fault_of(quick_client, post(fake.url.replace("http:", "https:")))
        assert (fault.failure.kind, fault.failure.code) == (FaultKind.TIMEOUT, "connect")
        assert time.monotonic() - started < 1.4


async def test_t73_the_system_looks_whether_a_silent_host_is_still_there(client: UpstreamClient) -> None:
    """Of one that went without a word nothing else would come: not even a reset."""
    async with FakeUpstream(lambda _: json_reply({})) as fake:
        response = await client.send(post(fake.url), stream=False)
        sock = response._channel.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        known = {name: value for name, value in ALIVE.items() if hasattr(socket, name)}
        assert {name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in known} == known
        await response.read()


async def test_t73_an_upstream_that_never_reads_does_not_hold_the_request(quick_client: UpstreamClient) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    with contextlib.closing(
        listening
    ):  # connections wait in the backlog: the kernel takes some bytes, nobody reads them
        fault = await fault_of(
            quick_client, post(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", b"x" * 20_000_000)
        )
    assert (fault.failure.kind, fault.failure.code) == (FaultKind.TIMEOUT, "first_byte")


MALFORMED: dict[str, bytes] = {
    "not http": b"hello\r\n\r\n",
    "html": b"<html><body>502</body></html>\r\n\r\n",
    "http/2 settings": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\x00\xff\xff",
    "tls record": b"\x15\x03\x01\x00\x02\x02\x46" * 4,
    "ssh banner": b"SSH-2.0-OpenSSH_9.2\r\n",
    "zero bytes": b"\0" * 64,
    "version 0.9": b"HTTP/0.9 200 OK\r\n\r\n",
    "version 2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "version letters": b"HTTP/x.y 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1  OK\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status 999": b"HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "a thousand 100s": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "three hundred headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % i for i in range(300)) + b"\r\n",
    "a header of ten kilobytes": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10_240 + b"\r\nContent-Length: 0\r\n\r\n",
    "a header name of ten kilobytes": b"HTTP/1.1 200 OK\r\n" + b"a" * 10_240 + b": 1\r\n\r\n",
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
    "an endless reason": b"HTTP/1.1 200 " + b"a" * 200_000,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n{}...",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "length with letters": b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n{}",
    "length beyond 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
    "chunk size with letters": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunk size beyond 64 bits": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n",
    "chunk without its line end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
    "header without a colon": b"HTTP/1.1 200 OK\r\nbroken\r\nContent-Length: 2\r\n\r\n{}",
    "zero byte in a header": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "no final line end": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_t77_what_is_not_http_is_a_failed_attempt(name: str) -> None:
    client = UpstreamClient("here", PATIENT)
    try:
        async with FakeUpstream([[MALFORMED[name], Cut()], json_reply({"next": True})]) as fake:
            fault = await fault_of(client, post(fake.url))
            assert fault.failure.kind in (FaultKind.PROTOCOL, FaultKind.CONNECT), fault.failure
            after = await client.send(post(fake.url), stream=False)
            assert not after.reused
            assert await after.read() == b'{"next": true}'
    finally:
        await client.close()


async def test_t77_informational_replies_are_passed_over(client: UpstreamClient) -> None:
    early = head(103, {"Link": "</a>"}, "Early Hints") + head(100, reason="Continue")
    async with FakeUpstream([[early, *json_reply({"a": 1})]]) as fake:
        response = await client.send(post(fake.url), stream=False)
        assert (response.status, await response.read()) == (200, b'{"a": 1}')


@pytest.mark.parametrize(("status", "reason"), [(200, ""), (204, "No Content"), (200, "Ünïcode"), (429, "Slow\tdown")])
async def test_odd_but_legal_status_lines_are_read(client: UpstreamClient, status: int, reason: str) -> None:
    async with FakeUpstream([[f"HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\n\r\n".encode()]]) as fake:
        response = await client.send(post(fake.url), stream=False)
        assert (response.status, await response.read()) == (status, b"")


async def test_an_error_keeps_its_status_and_the_start_of_its_body(client: UpstreamClient) -> None:
    replies = [
        json_reply({"error": {"message": "no"}}, 429, {"Retry-After": "7"}),
        json_reply(b"x" * 300_000, 500),
        [head(503, {"Content-Length": "1000"}), b"half", Cut()],
    ]
    async with FakeUpstream(replies) as fake:
        response = await client.send(post(fake.url), stream=True)
        assert (response.status, response.ok, response.headers["retry-after"]) == (429, False, "7")
        assert await response.error_body() == b'{"error": {"message": "no"}}'
        response = await client.send(post(fake.url), stream=True)
        assert response.reused
        assert len(await response.error_body()) == 64 * 1024
        response = await client.send(post(fake.url), stream=True)
        assert (response.status, await response.error_body()) == (503, b"half")


# Stale connections -------------------------------------------------------------------------------


def closes_on_the_second_request(by: Cut | Reset) -> "object":
    """Answers the first request of every connection; the second one it meets with a closed door."""
    seen: set[int] = set()

    def script(request: Received) -> Reply:
        if request.connection in seen:
            return [by]
        seen.add(request.connection)
        return json_reply({"canary": request.body.decode()})

    return script


@pytest.mark.soak
@pytest.mark.parametrize("by", [Cut(), Reset()], ids=["fin", "reset"])
async def test_t78_a_kept_connection_that_breaks_is_replaced_once_unseen(by: Cut | Reset) -> None:
    client = UpstreamClient("here", PATIENT)
    requests = 1000 if SOAK else 200
    resends = 0

    async def count() -> None:
        nonlocal resends
        resends += 1

    try:
        async with FakeUpstream(closes_on_the_second_request(by)) as fake:
            for number in range(requests):
                response = await client.send(post(fake.url, b"%d" % number), stream=False, before_resend=count)
                assert await response.read() == b'{"canary": "%d"}' % number
            assert resends == requests - 1
            assert len(fake.received) == 2 * requests - 1
    finally:
        await client.close()


@pytest.mark.soak
async def test_t78_an_upstream_that_closes_after_each_reply_is_never_noticed() -> None:
    client = UpstreamClient("here", PATIENT)
    try:
        async with FakeUpstream(lambda _: [*json_reply({}), Cut()]) as fake:
            for _ in range(1000 if SOAK else 200):
                assert await (await client.send(post(fake.url), stream=False)).read() == b"{}"
    finally:
        await client.close()


async def test_t78_the_caller_may_forbid_the_resend(client: UpstreamClient) -> None:
    class Revoked(Exception):
        pass

    async def forbid() -> None:
        raise Revoked

    async with FakeUpstream(closes_on_the_second_request(Cut())) as fake:
        await (await client.send(post(fake.url), stream=False)).read()
        with pytest.raises(Revoked):
            await client.send(post(fake.url), stream=False, before_resend=forbid)
        assert len(fake.received) == 2


async def test_t78_a_fresh_connection_that_breaks_is_not_tried_again(client: UpstreamClient) -> None:
    async with FakeUpstream(lambda _: [Cut()]) as fake:
        fault = await fault_of(client, post(fake.url))
        assert (fault.failure.kind, fault.failure.code) == (FaultKind.CONNECT, "disconnected")
        assert len(fake.received) == 1


async def test_t78_a_kept_connection_that_breaks_after_the_first_byte_is_not_tried_again(
    client: UpstreamClient,
) -> None:
    async with FakeUpstream([json_reply({}), [b"HTTP/1.1 2", Cut()], json_reply({})]) as fake:
        await (await client.send(post(fake.url), stream=False)).read()
        fault = await fault_of(client, post(fake.url))
        assert fault.failure.kind is FaultKind.PROTOCOL
        assert len(fake.received) == 2


async def test_t78_a_kept_connection_that_is_silent_is_not_tried_again(quick_client: UpstreamClient) -> None:
    async with FakeUpstream([json_reply({}), [WaitForClientClose()], json_reply({})]) as fake:
        await (await quick_client.send(post(fake.url), stream=False)).read()
        fault = await fault_of(quick_client, post(fake.url))
        assert fault.failure.kind is FaultKind.TIMEOUT
        assert len(fake.received) == 2


# Pool hygiene ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unasked",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"HTTP/1.1 200 OK\r\nContent-", b"x", b"\r\n"],
    ids=["a whole reply", "half a reply", "garbage", "a blank line"],
)
@pytest.mark.parametrize("delay_s", [0.0, 0.05])
async def test_t79_a_connection_on_which_something_came_unasked_is_not_used(
    client: UpstreamClient, unasked: bytes, delay_s: float
) -> None:
    async with FakeUpstream([[*json_reply({"n": 1}), Pause(delay_s), unasked], json_reply({"n": 2})]) as fake:
        assert await (await client.send(post(fake.url), stream=False)).read() == b'{"n": 1}'
        await asyncio.sleep(0.1)
        response = await client.send(post(fake.url), stream=False)
        assert not response.reused
        assert await response.read() == b'{"n": 2}'


async def test_t79_a_reply_that_came_before_the_request_was_sent_ends_its_connection(client: UpstreamClient) -> None:
    early = json_reply({"error": {"message": "too large"}}, 413)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"".join(step for step in early if isinstance(step, bytes)))
        await asyncio.sleep(0.3)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    response = await client.send(post(url, b"x" * 20_000_000), stream=False)
    assert (response.status, await response.error_body()) == (413, b'{"error": {"message": "too large"}}')
    again = await client.send(post(url), stream=False)
    assert not again.reused
    again.abort()
    server.close()
    await asyncio.sleep(0.4)


@pytest.mark.parametrize("header", [{"Connection": "close"}, {"Keep-Alive": "timeout=0", "Connection": "close"}])
async def test_t79_a_connection_that_the_upstream_will_close_is_not_kept(
    client: UpstreamClient, header: dict[str, str]
) -> None:
    async with FakeUpstream(lambda _: [*json_reply({}, headers=header), Pause(0.2), Cut()]) as fake:
        for _ in range(2):
            response = await client.send(post(fake.url), stream=False)
            await response.read()
            assert not response.reused


async def test_t79_a_stream_left_in_the_middle_is_closed_at_once(client: UpstreamClient) -> None:
    async with FakeUpstream(lambda _: sse_reply([b"one", WaitForClientClose()])) as fake:
        for leave in (UpstreamResponse.abort, UpstreamResponse.release):
            response = await client.send(post(fake.url), stream=True)
            assert await response.next() == b"one"
            leave(response)
            leave(response)
            assert await asyncio.to_thread(fake.received[-1].gone.wait, 2)
            assert not fake.received[-1].answered
        assert fake.connections == 2


async def test_abort_wakes_the_one_who_waits(client: UpstreamClient) -> None:
    async with FakeUpstream(lambda _: sse_reply([b"one", WaitForClientClose()])) as fake:
        response = await client.send(post(fake.url), stream=True)
        await response.next()
        waiting = asyncio.create_task(response.next())
        await asyncio.sleep(0.02)
        response.abort()
        with pytest.raises(UpstreamFault, match="aborted"):
            await waiting


@pytest.mark.parametrize("stage", ["connect", "head"])
async def test_t79_cancelling_a_request_closes_its_connection(stage: str) -> None:
    client = UpstreamClient("here", PATIENT)
    try:
        async with FakeUpstream(lambda _: [WaitForClientClose()]) as fake:
            url = fake.url.replace("http:", "https:") if stage == "connect" else fake.url
            task = asyncio.create_task(client.send(post(url), stream=True))
            await asyncio.sleep(0.1)
            assert fake.open == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await none_open(fake)
    finally:
        await client.close()


async def none_open(fake: FakeUpstream) -> None:
    async with asyncio.timeout(2):
        while fake.open:
            await asyncio.sleep(0.005)


async def test_t79_one_who_waits_for_a_body_may_go_and_another_read_on(client: UpstreamClient) -> None:
    async with FakeUpstream([sse_reply([b"one", Pause(0.1), b"two", WaitForClientClose()])]) as fake:
        response = await client.send(post(fake.url), stream=True)
        assert await response.next() == b"one"
        leaver = asyncio.create_task(response.next())
        await asyncio.sleep(0.02)
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        assert await response.next() == b"two"
        response.abort()
        await none_open(fake)
        with pytest.raises(UpstreamFault, match="aborted"):
            await response.next()


@pytest.mark.soak
async def test_t79_every_answer_matches_its_request_whatever_is_cancelled() -> None:
    """Canaries on shared connections with random cancels, cuts and slow replies between them."""
    client = UpstreamClient("here", PATIENT)
    chance = random.Random(79)
    requests = 20_000 if SOAK else 2_500

    def answer(request: Received) -> Reply:
        canary = request.body
        roll = chance.random()
        if roll < 0.02:
            return [Cut()]
        if roll < 0.3:
            return sse_reply([canary[:7], canary[7:]], pause_s=0.002 if roll < 0.15 else 0)
        return json_reply(canary)

    async def one(number: int) -> str:
        canary = b"canary-%d-%d" % (number, chance.getrandbits(64))
        try:
            async with asyncio.timeout(chance.choice((0.001, 0.004, 30, 30, 30))):
                response = await client.send(post(fake.url, canary), stream=True)
                assert await response.read() == canary
        except TimeoutError:
            return "left"
        except UpstreamFault as fault:
            return fault.failure.code
        return "answered"

    try:
        async with FakeUpstream(answer) as fake:
            outcomes: list[str] = []
            numbers = iter(range(requests))

            async def worker() -> None:
                for number in numbers:
                    outcomes.append(await one(number))

            await asyncio.gather(*(worker() for _ in range(32)))
            assert len(outcomes) == requests
            assert set(outcomes) <= {"answered", "left", "disconnected", "cut"}
            assert outcomes.count("answered") > requests / 2
            assert outcomes.count("left") > 0
            assert fake.connections < requests
    finally:
        await client.close()


async def test_t79_idle_connections_are_bounded_and_closed_in_time() -> None:
    client = UpstreamClient("here", Timeouts(idle_s=0.2, keep_idle_s=0.3), Limits(idle_connections=3))
    try:
        async with FakeUpstream(lambda _: [Pause(0.05), *json_reply({})]) as fake:

            async def one() -> None:
                await (await client.send(post(fake.url), stream=False)).read()

            await asyncio.gather(*(one() for _ in range(10)))
            await asyncio.sleep(0.05)
            assert (fake.connections, fake.open) == (10, 3)
            await asyncio.sleep(0.6)
            assert fake.open == 0
    finally:
        await client.close()


async def test_t79_no_cookie_comes_back_and_no_proxy_is_asked(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with FakeUpstream(lambda _: json_reply({}, headers={"Set-Cookie": "session=evil; Path=/"})) as fake:
        for _ in range(2):
            await (await client.send(post(fake.url), stream=False)).read()
        assert fake.received[1].header("cookie") is None


async def test_a_half_closed_upstream_still_gives_its_reply(client: UpstreamClient) -> None:
    async with FakeUpstream([[*json_reply({"a": 1}), HalfClose()], json_reply({"b": 1})]) as fake:
        assert await (await client.send(post(fake.url), stream=False)).read() == b'{"a": 1}'
        await asyncio.sleep(0.05)
        assert await (await client.send(post(fake.url), stream=False)).read() == b'{"b": 1}'


async def test_closing_the_client_ends_what_is_open() -> None:
    client = UpstreamClient("here", PATIENT)
    async with FakeUpstream(lambda _: sse_reply([b"one", WaitForClientClose()])) as fake:
        response = await client.send(post(fake.url), stream=True)
        await response.next()
        waiting = asyncio.create_task(response.next())
        await asyncio.sleep(0.02)
        await client.close()
        with pytest.raises(UpstreamFault, match="aborted"):
            await waiting
        assert await asyncio.to_thread(fake.received[-1].gone.wait, 2)
