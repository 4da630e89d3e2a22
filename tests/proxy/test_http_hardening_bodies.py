"""Request bodies over real sockets: too large, too slow, compressed, not JSON, of wrong types; none costs anything."""

import gzip
import json
import os
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.raw_client import RawClient, head, post
from tests.fakes.upstream import FakeUpstream, json_reply, openai_chat
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.operations import accounts, keys
from tokenhub.proxy.bodies import BODIES_OF_ONE

SOAK = os.environ.get("TOKENHUB_SOAK") == "1"
MODEL = "gpt-4o-mini"
LIMIT = 64 * 1024
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}

Running = tuple[RunningGateway, FakeUpstream]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    flags = {"server.max_body_bytes": LIMIT, "server.body_timeout_s": 1.0, "server.header_timeout_s": 1.0}
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("bodies")), flags)
    with FakeUpstream(lambda _: json_reply(openai_chat())) as fake:
        gateway.add_credential("openai", fake.url)
        yield gateway, fake
        gateway.stop()


@pytest.fixture(autouse=True)
def nothing_is_left(running: Running) -> Iterator[None]:
    """No test of this module may leave a hold, or a connection on which something still runs."""
    yield
    gateway, _ = running
    gateway.settled(0)
    assert gateway.gateway is not None
    assert not gateway.gateway.runtime.exchanges


def own(gateway: RunningGateway, *lines: str) -> bytes:
    """The head of a chat request whose framing the test gives."""
    return head(
        "POST",
        "/v1/chat/completions",
        f"Authorization: Bearer {gateway.key}",
        "Content-Type: application/json",
        *lines,
    )


def count(gateway: RunningGateway) -> int:
    return int(gateway.rows("SELECT COUNT(*) AS n FROM requests")[0]["n"])


def body_of(size: int) -> bytes:
    """A valid request of exactly so many bytes."""
    empty = json.dumps({**BODY, "messages": [{"role": "user", "content": ""}]}).encode()
    return json.dumps({**BODY, "messages": [{"role": "user", "content": "x" * (size - len(empty))}]}).encode()


# ---- size


def test_t47_bodies_of_one_account_on_their_way_take_bounded_memory(tmp_path: Path) -> None:
    """Whoever has a key, without credit too, could have sent 4,096 bodies all but their last byte."""
    gateway = start_gateway(temporary_home(tmp_path), {"server.max_body_bytes": LIMIT}, credit_nano=0)
    other = accounts.create(gateway.hub, "other").account.id
    keys_of_both = (gateway.key, keys.create(gateway.hub, other).secret)
    assert gateway.gateway
    bodies = gateway.gateway.runtime.bodies
    with ExitStack() as clients:
        for _ in range(BODIES_OF_ONE):
            client = clients.enter_context(RawClient(gateway.port))
            client.send(own(gateway, f"Content-Length: {LIMIT}") + b"x" * (LIMIT - 1))
        until(lambda: bodies.total() == BODIES_OF_ONE * (LIMIT - 1))
        codes = []
        for key in keys_of_both:
            codes.append(code_of_large(gateway.port, key))
        assert codes == ["too_many_concurrent", "no_provider_available"]
    until(lambda: not bodies)
    assert code_of_large(gateway.port, gateway.key) == "no_provider_available"
    gateway.stop()


def code_of_large(port: int, key: str) -> str:
    """Send a body of the largest size once the gateway waits for it; return the error's code."""
    with RawClient(port) as client:
        request = post(key, body_of(LIMIT), "Expect: 100-continue")
        cut = request.index(b"\r\n\r\n") + 4
        client.send(request[:cut])
        client.until(b"100 Continue\r\n\r\n")
        client.send(request[cut:])
        return client.reply().code


def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to that")


def test_t47_declared_two_gib_is_refused_before_it_is_read(running: Running) -> None:
    gateway, fake = running
    asked, requests = len(fake.received), count(gateway)
    with RawClient(gateway.port) as client:
        started = time.monotonic()
        client.send(own(gateway, f"Content-Length: {2 * 2**30}"))
        reply = client.reply()
        assert (reply.status, reply.code, reply.headers["connection"]) == (413, "request_too_large", "close")
        assert time.monotonic() - started < 1.0
        assert client.is_closed(4.0)
    assert (len(fake.received), count(gateway)) == (asked, requests)


def test_t47_endless_chunks_are_refused_at_the_limit(running: Running) -> None:
    gateway, fake = running
    asked, sent = len(fake.received), 0
    with RawClient(gateway.port) as client:
        client.send(own(gateway, "Transfer-Encoding: chunked"))
        piece = b"%x\r\n%b\r\n" % (8192, b" " * 8192)
        try:
            for _ in range(2000):
                client.send(piece)
                sent += 8192
                client.socket.settimeout(0.001)
                try:
                    client.more()
                except TimeoutError:
                    continue
                finally:
                    client.socket.settimeout(10)
                break
        except OSError:
            pass
        reply = client.reply()
        assert (reply.status, reply.code, reply.headers["connection"]) == (413, "request_too_large", "close")
    assert sent <= LIMIT + 2**20, "it was refused at the limit, give or take what the kernel took"
    assert len(fake.received) == asked


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("over", "status"), [(-1, 200), (0, 200), (1, 413)])
def test_t47_the_limit_is_exact(running: Running, over: int, status: int, chunked: bool) -> None:
    gateway, _ = running
    data = body_of(LIMIT + over)
    with RawClient(gateway.port) as client:
        if chunked:
            framed = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (1000, data[:1000], len(data) - 1000, data[1000:])
            client.send(own(gateway, "Transfer-Encoding: chunked") + framed)
        else:
            client.send(own(gateway, f"Content-Length: {len(data)}") + data)
        assert client.reply().status == status


# ---- slowness


def test_t48_a_head_that_does_not_end_is_cut_off(running: Running) -> None:
    gateway, _ = running
    with RawClient(gateway.port) as client:
        started = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012
            for byte in head("GET", "/healthz", "x-slow: " + "a" * 200):
                client.send(bytes([byte]))
                time.sleep(0.05)
        assert 0.8 < time.monotonic() - started < 3.0
    with RawClient(gateway.port) as client:  # and on a connection that was used before
        client.send(head("GET", "/healthz"))
        assert client.reply().status == 200
        client.send(b"GET /hea")
        started = time.monotonic()
        assert client.is_closed()
        assert 0.8 < time.monotonic() - started < 3.0


def test_t48_a_body_that_does_not_end_is_408(running: Running) -> None:
    gateway, fake = running
    asked, requests = len(fake.received), count(gateway)
    with RawClient(gateway.port) as client:
        client.send(own(gateway, "Content-Length: 1000") + b'{"model":')
        started = time.monotonic()
        for _ in range(6):
            client.send(b" ")
            time.sleep(0.1)
            assert not gateway.rows("SELECT 1 FROM holds"), "nothing is held before the body is whole"
        reply = client.reply()
        assert (reply.status, reply.code, reply.headers["connection"]) == (408, "request_timeout", "close")
        assert 0.8 < time.monotonic() - started < 2.5
        assert client.is_closed(4.0)
    assert (len(fake.received), count(gateway)) == (asked, requests)


@pytest.mark.soak
def test_t48_slow_senders_do_not_slow_others(running: Running) -> None:
    gateway, _ = running
    slow = [RawClient(gateway.port) for _ in range(500 if SOAK else 150)]
    try:
        for number, client in enumerate(slow):
            client.send(own(gateway, "Content-Length: 1000") + b"{" if number % 2 else b"POST /v1/chat")
        took = []
        for _ in range(20):
            started = time.monotonic()
            assert gateway.chat(MODEL).status == 200
            took.append(time.monotonic() - started)
        assert sorted(took)[10] < 0.3
        cut = [client.socket.recv(65536)[:12] for client in slow]
        assert cut == [b"HTTP/1.1 408" if number % 2 else b"" for number in range(len(slow))]
    finally:
        for client in slow:
            client.socket.close()


# ---- encodings and types


@pytest.mark.parametrize(
    "encoding", ["gzip", "br", "zstd", "deflate", "gzip, gzip", "GZIP", "identity, gzip", "nonsense"]
)
def test_t49_a_compressed_body_is_415(running: Running, encoding: str) -> None:
    gateway, fake = running
    asked = len(fake.received)
    plain = json.dumps(BODY).encode()
    for data in (
        gzip.compress(plain),
        zlib.compress(plain),
        b"\x1f\x8bgarbage",
        gzip.compress(b" " * 300 * 2**20 if SOAK else b" " * 2**24),
    ):
        with RawClient(gateway.port) as client:
            client.send(
                own(gateway, f"Content-Encoding: {encoding}", f"Content-Length: {len(data)}") + data[: LIMIT // 2]
            )
            assert (reply := client.reply()).status == 415, reply
            assert reply.code == "unsupported_media_type"
    assert len(fake.received) == asked


def test_t49_identity_is_no_compression(running: Running) -> None:
    gateway, _ = running
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, BODY, "Content-Encoding: identity"))
        assert client.reply().status == 200
        client.send(post(gateway.key, gzip.compress(json.dumps(BODY).encode())))
        assert (reply := client.reply()).status == 400
        assert reply.code == "invalid_json"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/html",
        "application/jsonx",
        "",
        "x",
    ],
)
def test_t69_a_browsers_form_is_415_and_no_reply_invites_one(running: Running, content_type: str) -> None:
    gateway, fake = running
    asked = len(fake.received)
    data = json.dumps(BODY).encode()
    lines = [
        f"Content-Type: {content_type}",
        f"Content-Length: {len(data)}",
        "Origin: https://evil.test",
        "Cookie: session=1",
    ]
    with RawClient(gateway.port) as client:
        client.send(head("POST", "/v1/chat/completions", f"x-api-key: {gateway.key}", *lines) + data)
        reply = client.reply()
        assert reply.status == 415
        client.send(head("POST", "/v1/chat/completions", *lines) + data)
        without = client.reply()
        assert without.status == 401
    with RawClient(gateway.port) as client:
        client.send(
            head("OPTIONS", "/v1/chat/completions", "Origin: https://evil.test", "Access-Control-Request-Method: POST")
        )
        preflight = client.reply()
        assert preflight.status == 405
    for one in (reply, without, preflight):
        assert not [name for name in one.headers if name.startswith("access-control-") or name == "set-cookie"]
    assert len(fake.received) == asked


HOSTILE = [
    b"", b" ", b"null", b"[]", b'"x"', b"1", b"true", b"{", b"}", b"{}{}", b"{} x", b"{\"a\":1,}", b"{'a':1}", b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"), "{}".encode("utf-32"), b"\xff\xfe", b"\x00", b"{}\x00", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}',
    b'{"a":1e999}', b'{"a":' + b"9" * 5000 + b"}", b'{"a":18446744073709551616}', b'{"a":-9223372036854775809}', b'{"a":01}', b'{"a":+1}',
    b'{"a":1,"a":2}', b'{"x":{"a":1,"a":1}}', b'{"x":[{"a":1,"\\u0061":2}]}', b'{"model":"a","mod\\u0065l":"b"}', b'{"a":"\\ud800"}',
    b'{"a":"\\udc00\\ud800"}', b'{"\\ud800":1}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\x80"}', b'{"a":"\xff"}', b'{"a":"\n"}', b'{"a":"\x00"}',
    b'{"a":"\\x"}', b'{"a":"\\u12"}', b"[" * 20000, b'{"a":' * 10000, b'{"a":' + b"[" * 10000 + b"]" * 10000 + b"}",
    b'{"a":' * 5000 + b"1" + b"}" * 5000, b"/* */{}", b"{}//", b'{"a":1 "b":2}', b'{"a"}', b'{1:2}', b"model=x&messages=y",
]  # fmt: skip


def test_t50_hostile_json_is_400_and_never_500(running: Running) -> None:
    gateway, fake = running
    asked = len(fake.received)
    with RawClient(gateway.port) as client:
        for data in HOSTILE:
            client.send(post(gateway.key, data))
            reply = client.reply()
            assert (reply.status, reply.code) == (400, "invalid_json"), data[:60]
    assert len(fake.received) == asked


@pytest.mark.soak
def test_t50_mutated_json_is_never_500_and_never_blocks_the_loop(running: Running) -> None:
    gateway, _ = running
    base = json.dumps(
        {**BODY, "max_tokens": 5, "temperature": 0.5, "tools": [], "metadata": {"a": [1, {"b": None}]}}
    ).encode()
    rng = random.Random(50)
    statuses: dict[int, int] = {}
    with RawClient(gateway.port) as client:
        for _ in range(100_000 if SOAK else 1500):
            data = bytearray(base)
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(data))
                data[at : at + rng.randint(0, 3)] = rng.choice(
                    [bytes([rng.randrange(256)]), b'"', b"{", b"[", b":", b",", b"\\ud800", b"1e99", b""]
                )
            client.send(post(gateway.key, bytes(data)))
            reply = client.reply()
            statuses[reply.status] = statuses.get(reply.status, 0) + 1
            assert reply.status in (200, 400, 404), (reply, bytes(data))
    assert statuses[400] > 500


WRONG = [True, 1.5, "5", -1, 2**63, [], {}, 10**400 if False else 2**64 - 1, "NaN"]
INTEGER_FIELDS = ["max_tokens", "max_completion_tokens", "n"]


@pytest.mark.parametrize("field", INTEGER_FIELDS)
def test_t51_a_wrong_number_is_400_and_names_its_field(running: Running, field: str) -> None:
    gateway, fake = running
    asked = len(fake.received)
    for value in WRONG:
        answer = gateway.chat(MODEL, **{field: value})
        assert (answer.status, answer.json()["error"]["param"]) == (400, field), (field, value, answer.body)
    assert len(fake.received) == asked


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", []), ("model", None), ("model", 1), ("model", ""), ("model", {"id": MODEL}), ("stream", 1), ("stream", "true"), ("stream", []),
        ("messages", None), ("messages", []), ("messages", "hi"), ("messages", {"role": "user"}), ("messages", ["hi"]), ("messages", [None]),
        ("stream_options", []), ("stream_options", "x"), ("tools", "x"), ("tools", {}),
    ],
)  # fmt: skip
def test_t51_a_wrong_type_is_400_and_names_its_field(running: Running, field: str, value: object) -> None:
    gateway, fake = running
    asked = len(fake.received)
    more = {"stream": True} if field == "stream_options" else {}
    answer = gateway.call("POST", "/v1/chat/completions", {**BODY, **more, field: value})
    assert answer.status == 400, answer.body
    assert answer.json()["error"]["param"].startswith(field)
    assert len(fake.received) == asked


# ---- arrival in pieces


def test_a_request_may_arrive_byte_by_byte(running: Running) -> None:
    gateway, _ = running
    with RawClient(gateway.port) as client:
        request = post(gateway.key, BODY)
        for start in range(0, len(request), 7):
            client.send(request[start : start + 7])
            time.sleep(0.001)
        assert client.reply().status == 200


def test_expect_100_continue_is_answered_before_the_body(running: Running) -> None:
    gateway, _ = running
    data = json.dumps(BODY).encode()
    with RawClient(gateway.port) as client:
        client.send(own(gateway, f"Content-Length: {len(data)}", "Expect: 100-continue"))
        assert client.reply().status == 100
        client.send(data)
        assert client.reply().status == 200
        client.send(own(gateway, f"Content-Length: {len(data)}", "Expect: 100-continue") + data)
        assert client.reply().status == 200, "who sent the body at once is not told to go on"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Authorization: Bearer th-" + "0" * 43, "Content-Length: 100"], 401),
        ([f"Content-Length: {2**40}"], 413),
        (["Content-Length: 100", "Content-Encoding: gzip"], 415),
    ],
)
def test_expect_100_continue_is_not_answered_for_a_request_that_is_refused(
    running: Running, lines: list[str], status: int
) -> None:
    gateway, _ = running
    lines = lines if status == 401 else [f"Authorization: Bearer {gateway.key}", *lines]
    with RawClient(gateway.port) as client:
        client.send(
            head("POST", "/v1/chat/completions", "Expect: 100-continue", "Content-Type: application/json", *lines)
        )
        reply = client.reply()
        assert reply.status == status
        assert reply.headers["connection"] == "close", "what follows would be read as the body that never came"


def test_http_1_0_never_gets_a_100(running: Running) -> None:
    gateway, _ = running
    with RawClient(gateway.port) as client:
        request = post(gateway.key, BODY, "Expect: 100-continue", version="HTTP/1.0")
        cut = request.index(b"\r\n\r\n") + 4
        client.send(request[:cut])
        time.sleep(0.1)
        client.send(request[cut:])
        assert client.reply().status == 200


def test_a_client_that_leaves_inside_its_body_costs_nothing(running: Running) -> None:
    gateway, fake = running
    asked, requests = len(fake.received), count(gateway)
    for leave in (RawClient.reset, lambda client: client.socket.close(), RawClient.half_close):
        client = RawClient(gateway.port)
        client.send(own(gateway, "Content-Length: 1000") + b'{"model":')
        time.sleep(0.1)
        leave(client)
        client.socket.close()
    broken = RawClient(gateway.port)
    broken.send(own(gateway, "Transfer-Encoding: chunked") + b"5\r\nhello\r\nzz\r\n")
    reply = broken.reply()
    assert (reply.status, reply.headers["connection"]) == (400, "close")
    assert broken.is_closed(4.0)
    broken.socket.close()
    assert (len(fake.received), count(gateway)) == (asked, requests)


def test_t50_a_large_body_holds_nobody_up_for_long(running: Running) -> None:
    """While bodies at the limit are read, another client's requests are answered in between."""
    gateway, _ = running
    stop = threading.Event()

    def send_large() -> None:
        with RawClient(gateway.port) as client:
            while not stop.is_set():
                client.send(post(gateway.key, body_of(LIMIT)))
                assert client.reply().status == 200

    threads = [threading.Thread(target=send_large) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with RawClient(gateway.port) as client:
            took = []
            for _ in range(50):
                started = time.monotonic()
                client.send(head("GET", "/healthz"))
                assert client.reply().status == 200
                took.append(time.monotonic() - started)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert sorted(took)[25] < 0.1
