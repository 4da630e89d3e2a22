"""Request heads over real sockets: paths, hosts, methods, versions, smuggling; which headers pass, in and out."""

import asyncio
import contextlib
import io
import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.fakes.raw_client import RawClient, Seen, head, post
from tests.fakes.upstream import FakeUpstream, json_reply, openai_chat, openai_error, openai_stream, sse_reply
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.observability import log

MODEL = "gpt-4o-mini"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
CANARY = "th-canary0000000000000000000000000000000000000"

Running = tuple[RunningGateway, FakeUpstream]


@pytest.fixture(scope="module")
def logged() -> Iterator[io.StringIO]:
    """Everything that the gateway logs, at its most talkative."""
    stream = io.StringIO()
    with log.only("debug", stream):
        yield stream


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, logged: io.StringIO) -> Iterator[Running]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("heads")))
    with FakeUpstream(lambda request: json_reply(openai_chat())) as fake:
        for provider in ("openai", "anthropic", "google"):
            gateway.add_credential(provider, fake.url)
        yield gateway, fake
        gateway.stop()


@pytest.fixture(autouse=True)
def trusted(running: Running) -> None:
    """Each test begins with upstreams that nothing is known against."""
    running[0].forget_faults()


def ask(gateway: RunningGateway, request: bytes, *, head_only: bool = False) -> Seen:
    with RawClient(gateway.port) as client:
        client.send(request)
        return client.reply(head_only=head_only)


def replies_in(answer: bytes) -> int:
    return len(re.findall(rb"HTTP/1\.1 \d\d\d ", answer))


# ---- names and paths


WEAPONS = [
    "../../etc/passwd", "..%2f..%2fetc", "gpt-4o-mini/../../x", "gpt-4o-mini%2f", "gpt-4o-mini?x=1", "gpt-4o-mini#x", "gpt-4o-mini\r\nX: y",
    "gpt-4o-mini\x1b[2J", "gpt-4o-mini\x00", "x" * 10_000, "gpt-4o-mini@evil", "openai@evil.test/gpt-4o-mini", "openai/gpt-4o-mini@evil.test:80",
    "https://evil.test/v1", "//evil.test", "GPT-4O-MINI", " gpt-4o-mini", "gpt-4o-mini ", "gpt-4o-mini\n", "*", "gpt-4o-*", "openai/*", "openai/",
    "/gpt-4o-mini", "gemini-2.5-flash:streamGenerateContent", "gemini-2.5-flash:x?key=y", "google/gemini-2.5-flash/../x", "claude-sonnet-4-5\u202e",
    "\u217dlaude", "models/gemini-2.5-flash", "gpt-4o-mini\ud83d\ude00",
]  # fmt: skip


def test_t52_a_model_name_as_a_weapon_is_404_and_reaches_no_upstream(running: Running) -> None:
    gateway, fake = running
    asked = len(fake.received)
    for name in WEAPONS:
        for streamed in (False, True):
            reply = ask(gateway, post(gateway.key, {**BODY, "model": name, "stream": streamed}))
            refused = (400, "invalid_request_error") if len(name) > 1000 else (404, "model_not_found")
            assert (reply.status, reply.code) == refused, (name, reply)
            assert all(32 <= byte < 127 for value in reply.headers.values() for byte in value.encode("latin-1"))
    assert len(fake.received) == asked


def test_t52_an_error_that_quotes_a_name_stays_one_json_value_in_a_stream(running: Running) -> None:
    gateway, _ = running
    reply = ask(gateway, post(gateway.key, {**BODY, "model": "a\n\ndata: [DONE]\n\n", "stream": True}))
    assert reply.status == 404
    assert b"\n" not in reply.body
    assert reply.json()["error"]["code"] == "model_not_found"


PATHS = [
    "//evil.test/v1/chat/completions", "/v1/../v1/chat/completions", "/v1/./chat/completions", "/v1//chat/completions", "/v1/chat/completions/",
    "/v1/chat/completions/..", "/%761/chat/completions", "/v1%2fchat%2fcompletions", "/v1/%2e%2e/v1/chat/completions", "/v1/chat/completions%00",
    "/v1/chat/completions;x=1", "/V1/chat/completions", "/v1/chat/completions%3fx", "/v1/chat\\completions", "http://evil.test/v1/chat/completions",
    "http://gateway.test/v1/chat/completions", "*", "/admin", "/metrics", "/.env", "/v1/admin/keys", "/v1/keys", "/v1", "/v1/", "/v1/models/../key",
]  # fmt: skip


def test_t53_a_path_is_matched_as_it_was_sent_or_not_at_all(running: Running) -> None:
    gateway, fake = running
    asked = len(fake.received)
    for path in PATHS:
        for method in ("POST", "GET", "PUT"):
            reply = ask(gateway, post(gateway.key, BODY, path=path).replace(b"POST", method.encode(), 1))
            assert reply.status in (400, 404, 405), (method, path, reply)
    assert len(fake.received) == asked


def test_t53_connect_and_options_star_are_refused(running: Running) -> None:
    gateway, _ = running
    for request in (head("CONNECT", "evil.test:443"), head("OPTIONS", "*"), head("CONNECT", "/v1/chat/completions")):
        assert ask(gateway, request + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status in (400, 404, 405)


HOSTS = [
    "a/../admin?x=", "a@b:99999", "a@b", "user:pass@host", "a b", "a\tb", "a,b", "a;b", "a?b", "a#b", "a\\b", "a<b>", "a|b", "a^b", "a`b", "a'b", 'a"b',
    "http://a", "//a", "a/", "/a", "a%00/", "{a}", "a$b", "a&b", "a=b", "a+b", "a!b", "(a)", "a*b", "a~b", "\xe9vil", "a\x7fb",
]  # fmt: skip


def test_t54_an_odd_host_is_400_and_never_500(running: Running) -> None:
    gateway, fake = running
    asked = len(fake.received)
    for host in HOSTS:
        request = post(gateway.key, BODY).replace(b"gateway.test", host.encode("latin-1"))
        reply = ask(gateway, request)
        assert (reply.status, reply.code) == (400, "malformed_request"), (host, reply)
        assert host.encode("latin-1") not in reply.body
    two = head("GET", "/healthz", "Host: second.test")
    assert ask(gateway, two).status == 400
    assert len(fake.received) == asked


@pytest.mark.parametrize(
    "host", ["gateway.test", "127.0.0.1:8080", "[::1]:8080", "a-b.c_d", "[fe80::1%25eth0]", "x" * 200, "a:99999"]
)
def test_t54_a_plain_host_is_taken_whatever_it_says(running: Running, host: str) -> None:
    gateway, _ = running
    assert ask(gateway, head("GET", "/healthz", host=host)).status == 200


# ---- smuggling and malformed heads


HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nx-smuggled: 1\r\n\r\n"
SMUGGLING = {
    "length and chunked": [b"Content-Length: 4", b"Transfer-Encoding: chunked"],
    "chunked and length": [b"Transfer-Encoding: chunked", b"Content-Length: 4"],
    "two lengths": [b"Content-Length: 4", b"Content-Length: 5"],
    "two equal lengths": [b"Content-Length: 4", b"Content-Length: 4"],
    "a list of lengths": [b"Content-Length: 4, 5"],
    "a signed length": [b"Content-Length: +4"],
    "a negative length": [b"Content-Length: -4"],
    "a hexadecimal length": [b"Content-Length: 0x4"],
    "an underscored length": [b"Content-Length: 1_0"],
    "a huge length": [b"Content-Length: 99999999999999999999999"],
    "a space before the colon": [b"Content-Length : 4"],
    "a tab before the colon": [b"Transfer-Encoding\t: chunked"],
    "a folded header": [b"X-A: b\r\n Content-Length: 4"],
    "a folded coding": [b"Transfer-Encoding:\r\n chunked"],
    "a bare line feed": [b"X-A: b\nContent-Length: 4"],
    "a bare carriage return": [b"X-A: b\rContent-Length: 4"],
    "a null byte": [b"X-A: b\x00c"],
    "an unknown coding": [b"Transfer-Encoding: xchunked"],
    "identity as coding": [b"Transfer-Encoding: identity"],
    "chunked not last": [b"Transfer-Encoding: chunked, gzip"],
    "two codings": [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
    "an empty name": [b": x"],
    "a name with a space": [b"X A: b"],
    "no colon": [b"garbage"],
}


@pytest.mark.parametrize("shape", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_t55_a_smuggling_shape_is_400_and_nothing_behind_it_is_executed(running: Running, shape: list[bytes]) -> None:
    gateway, fake = running
    asked = len(fake.received)
    start = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "
        + gateway.key.encode()
    )
    request = start + b"\r\n" + b"\r\n".join(shape) + b"\r\n\r\n" + b"0\r\n\r\n" + HIDDEN
    with RawClient(gateway.port) as client:
        client.send(request)
        answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert replies_in(answer) == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert len(fake.received) == asked


@pytest.mark.parametrize(
    "body",
    [b"5\nhello\n0\n\n", b"5;x=\"\r\n\"\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloworld\r\n0\r\n\r\n",
     b" 5\r\nhello\r\n0\r\n\r\n", b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n"],
)  # fmt: skip
def test_t55_a_malformed_chunk_ends_the_connection(running: Running, body: bytes) -> None:
    gateway, fake = running
    asked = len(fake.received)
    lines = (f"Authorization: Bearer {gateway.key}", "Content-Type: application/json", "Transfer-Encoding: chunked")
    with RawClient(gateway.port) as client:
        client.send(head("POST", "/v1/chat/completions", *lines) + body + HIDDEN)
        answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert replies_in(answer) == 1
    assert len(fake.received) == asked


MALFORMED = [
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer {CANARY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CANARY}\x00\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CANARY}\x7f\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer {CANARY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\n Bearer {CANARY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\n{CANARY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: {CANARY}/..\r\n\r\n",
    f"{CANARY} / HTTP/1.1\r\nHost: x\r\n\r\n",
    f"GET /{CANARY} HTTX/1.1\r\nHost: x\r\n\r\n",
    f"GET /{CANARY}\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CANARY * 500}\r\n\r\n",
    f"GET /{CANARY * 500} HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n" + "".join(f"x-{i}: {CANARY}\r\n" for i in range(300)) + "\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {CANARY}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {CANARY}\r\n\r\n",
    f"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CANARY}\r\nAuthorization: Basic {CANARY}\r\n\r\nGET {CANARY}",
    f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CANARY}\r\nContent-Type: {CANARY}\r\nContent-Length: 0\r\n\r\n",
    f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {CANARY}\r\nx-api-key: {CANARY}x\r\nContent-Length: 0\r\n\r\n",
]


def test_t58_a_credential_in_a_malformed_head_is_in_no_reply_and_no_log(
    running: Running, logged: io.StringIO, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway, _ = running
    caplog.set_level(0)
    for request in MALFORMED:
        with RawClient(gateway.port) as client:
            client.send(request.encode("latin-1"))
            client.half_close()
            answer = client.rest()
        assert re.match(rb"HTTP/1.1 (200|400|401|404|415) |$", answer), (request[:80], answer)
        assert CANARY.encode() not in answer, request[:80]
    out, err = capfd.readouterr()
    for text in (logged.getvalue(), caplog.text, out, err):
        assert CANARY not in text
        assert "Traceback" not in text


def test_t112_what_goes_wrong_where_nobody_waits_is_logged_without_its_words(
    running: Running, logged: io.StringIO, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway, _ = running

    def fail(words: str) -> None:
        raise ValueError(words)

    async def later() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(fail, CANARY)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    gateway.run(later())
    (found,) = [line for line in map(json.loads, logged.getvalue().splitlines()) if line["event"] == "unforeseen"]
    assert (found["error"], found["level"]) == ("ValueError", "error")
    for text in (logged.getvalue(), caplog.text, *capfd.readouterr()):
        assert CANARY not in text


# ---- what passes


CANARY_HEADERS = [
    "Cookie", "Cookie2", "Proxy-Authorization", "Proxy-Connection", "Proxy-Authenticate", "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host",
    "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-User", "X-Real-IP", "X-Client-IP", "True-Client-IP",
    "CF-Connecting-IP", "X-Original-URL", "X-Rewrite-URL", "X-Original-Host", "X-Host", "X-HTTP-Method-Override", "X-Method-Override", "TE", "Trailer",
    "X-Named-In-Connection", "Referer", "Origin", "HTTP-Referer", "X-Title", "Accept-Language", "Accept-Encoding", "Accept-Charset", "If-None-Match",
    "If-Modified-Since", "Range", "Cache-Control", "Pragma", "Warning", "From", "User-Agent", "OpenAI-Organization", "OpenAI-Project", "OpenAI-Beta",
    "Anthropic-Beta", "Anthropic-Version", "Anthropic-Dangerous-Direct-Browser-Access", "X-Goog-Api-Key", "X-Goog-User-Project", "Api-Key", "X-Api-Version",
    "X-Stainless-Lang", "X-Stainless-Os", "X-Request-Id", "X-Session-Id", "Traceparent", "Baggage", "X-B3-TraceId", "X-Amz-Security-Token", "Helicone-Auth",
    "Priority", "Sec-Fetch-Mode", "X-Canary",
]  # fmt: skip


@pytest.mark.parametrize("model", [MODEL, "claude-sonnet-4-5", "gemini-2.5-flash"])
def test_t56_no_header_of_a_client_arrives_upstream(running: Running, model: str) -> None:
    gateway, fake = running
    assert len(CANARY_HEADERS) >= 60
    lines = [f"{name}: {CANARY}-{number}" for number, name in enumerate(CANARY_HEADERS)]
    ask(
        gateway,
        post(
            gateway.key,
            {**BODY, "model": model},
            *lines,
            "Connection: keep-alive, X-Named-In-Connection, Authorization",
        ),
    )
    received = fake.received[-1]
    shown = repr((received.path, received.headers, received.body))
    assert CANARY not in shown
    assert gateway.key not in shown
    names = [name.lower() for name, _ in received.headers]
    assert len(set(names)) == len(names)
    allowed = {
        "host", "user-agent", "accept", "accept-encoding", "content-type", "content-length", "authorization", "x-api-key", "x-goog-api-key",
        "anthropic-version", "x-tokenhub-hop", "connection",
    }  # fmt: skip
    assert set(names) <= allowed


def test_t56_an_upgrade_is_not_followed(running: Running) -> None:
    gateway, fake = running
    for upgrade in ("h2c", "websocket"):
        asked = len(fake.received)
        lines = (
            "Connection: Upgrade, HTTP2-Settings",
            f"Upgrade: {upgrade}",
            "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
        )
        reply = ask(gateway, post(gateway.key, BODY, *lines))
        assert reply.status in (200, 400), reply
        assert "upgrade" not in reply.headers
        if reply.status == 200:
            assert "upgrade" not in {name.lower() for name, _ in fake.received[asked].headers}


REPLY_HEADERS = {
    "content-type", "content-length", "x-request-id", "x-generation-id", "x-tokenhub-provider", "x-tokenhub-model", "x-tokenhub-region",
    "x-tokenhub-attempts", "x-tokenhub-cost", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
    "retry-after", "cache-control", "x-accel-buffering", "transfer-encoding",
}  # fmt: skip
HOSTILE_HEADERS = {
    "Set-Cookie": "session=upstream", "Openai-Organization": "org-secret", "Openai-Processing-Ms": "5", "X-Request-Id": "req_upstream", "Server": "upstream",
    "Cf-Ray": "1", "Access-Control-Allow-Origin": "*", "X-Ratelimit-Limit-Requests": "1", "Strict-Transport-Security": "x", "X-Control": "a\x01\x7fb",
    "X-Latin": "\xe9\xff", "Retry-After": "7\x01",
}  # fmt: skip


@pytest.mark.parametrize("status", [200, 400, 429, 500])
@pytest.mark.parametrize("streamed", [False, True])
def test_t57_no_header_of_an_upstream_arrives_at_a_client(running: Running, status: int, streamed: bool) -> None:
    gateway, fake = running
    before = fake.script
    body = openai_chat() if status == 200 else openai_error("words", code="x")
    whole = json_reply(body, status, HOSTILE_HEADERS)
    fake.script = lambda _: sse_reply(openai_stream(), headers=HOSTILE_HEADERS) if streamed and status == 200 else whole
    try:
        reply = ask(gateway, post(gateway.key, {**BODY, "stream": streamed}))
    finally:
        fake.script = before
    assert reply.status in ({200: (200, 502)}.get(status) or {400: (400,), 429: (503, 502), 500: (502,)}[status]), reply
    assert set(reply.headers) <= REPLY_HEADERS
    shown = repr(reply.headers)
    for secret in ("upstream'", "org-secret", "session=", "\\x01", "\\xe9"):
        assert secret not in shown
    assert reply.headers["x-request-id"] != "req_upstream"
    assert reply.headers["x-ratelimit-limit-requests"] == "100000"


# ---- methods, versions, connections


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "BREW", "post"]
)
def test_t68_another_method_is_405_and_names_the_right_one(running: Running, method: str) -> None:
    gateway, fake = running
    asked = len(fake.received)
    reply = ask(gateway, post(gateway.key, BODY).replace(b"POST", method.encode(), 1), head_only=method == "HEAD")
    if method in ("BREW", "post"):
        assert reply.status in (400, 405)
    else:
        assert reply.status == 405
        assert reply.headers["allow"] == "POST"
    assert len(fake.received) == asked


@pytest.mark.parametrize(
    "line",
    ["POST /v1/chat/completions HTTP/2.0", "POST /v1/chat/completions HTTP/3.0", "POST /v1/chat/completions HTTP/0.9", "POST /v1/chat/completions HTTP/1.9",
     "POST /v1/chat/completions HTTP/1.2", "POST /v1/chat/completions", "POST /v1/chat/completions HTTP/11", "PRI * HTTP/2.0"],
)  # fmt: skip
def test_t68_another_version_is_refused(running: Running, line: str) -> None:
    gateway, fake = running
    asked = len(fake.received)
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, BODY).replace(b"POST /v1/chat/completions HTTP/1.1", line.encode(), 1))
        answer = client.until(b"\r\n")
    assert answer.split()[1] in (b"400", b"505"), answer
    assert len(fake.received) == asked


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_health_pages_answer_get_and_head_and_say_nothing_else(running: Running, path: str) -> None:
    gateway, _ = running
    with RawClient(gateway.port) as client:
        client.send(head("GET", path))
        got = client.reply()
        client.send(head("HEAD", path))
        looked = client.reply(head_only=True)
        client.send(head("GET", path + "?probe=1"))
        assert client.reply().status == 200
        client.send(head("POST", path, "Content-Length: 0"))
        assert client.reply().status == 405
    assert (got.status, looked.status) == (200, 200)
    assert got.headers["content-length"] == looked.headers["content-length"]
    assert got.json() == ({"service": "tokenhub", "api": "/v1"} if path == "/" else {"status": "ok"})
    assert set(got.headers) == {"content-type", "content-length", "x-request-id"}


def test_readyz_says_that_nothing_can_be_written_although_all_can_be_read(running: Running) -> None:
    gateway, _ = running
    database = gateway.hub.home.database
    away = database.rename(database.with_name("away"))
    try:
        assert ask(gateway, post(gateway.key, BODY)).code == "ledger_unavailable"
        assert ask(gateway, head("GET", "/readyz")).json() == {"status": "ledger_unavailable"}
    finally:
        away.rename(database)
    assert ask(gateway, post(gateway.key, BODY)).status == 200
    assert ask(gateway, head("GET", "/readyz")).status == 200


def test_readyz_says_when_the_gateway_takes_nothing(running: Running) -> None:
    gateway, _ = running
    assert gateway.gateway is not None
    runtime = gateway.gateway.runtime
    from tokenhub.proxy.app import _stopping

    runtime.refusing = _stopping()
    try:
        assert ask(gateway, head("GET", "/readyz")).status == 503
        assert ask(gateway, head("GET", "/healthz")).status == 200
        assert ask(gateway, post(gateway.key, BODY)).code == "overloaded"
    finally:
        runtime.refusing = None


def test_one_connection_carries_many_requests(running: Running) -> None:
    gateway, fake = running
    before = fake.script
    fake.script = lambda request: (
        sse_reply(openai_stream()) if b'"stream":true' in request.body.replace(b" ", b"") else json_reply(openai_chat())
    )
    try:
        with RawClient(gateway.port) as client:
            for number in range(10):
                client.send(post(gateway.key, {**BODY, "stream": number % 2 == 1}))
                assert client.reply().status == 200
                client.send(post("th-wrong", BODY))
                assert client.reply().status == 401
            client.send(post(gateway.key, BODY, "Connection: close"))
            reply = client.reply()
            assert (reply.status, reply.headers["connection"]) == (200, "close")
            assert client.is_closed()
    finally:
        fake.script = before


def test_pipelined_requests_are_answered_in_order(running: Running) -> None:
    gateway, _ = running
    with RawClient(gateway.port) as client:
        client.send(
            post(gateway.key, BODY)
            + head("GET", "/healthz")
            + post(gateway.key, {**BODY, "model": "none"})
            + head("HEAD", "/")
            + post("x", BODY)
        )
        assert client.reply().json()["object"] == "chat.completion"
        assert client.reply().json() == {"status": "ok"}
        assert client.reply().status == 404
        assert client.reply(head_only=True).status == 200
        assert client.reply().status == 401


def test_a_flood_of_pipelined_requests_is_answered_whole(running: Running) -> None:
    gateway, _ = running
    with RawClient(gateway.port) as client:
        client.send(head("GET", "/healthz") * 500)
        for _ in range(500):
            assert client.reply().status == 200


def test_nothing_is_executed_behind_a_reply_that_closes(running: Running) -> None:
    gateway, fake = running
    asked = len(fake.received)
    with RawClient(gateway.port) as client:
        client.send(head("GET", "/healthz", "Connection: close") + post(gateway.key, BODY))
        assert replies_in(client.rest()) == 1
    assert len(fake.received) == asked


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_http_1_0_gets_a_reply_it_can_frame(running: Running, streamed: bool, keep: bool) -> None:
    gateway, fake = running
    before = fake.script
    fake.script = lambda _: sse_reply(openai_stream(["Hi"])) if streamed else json_reply(openai_chat("Hi"))
    try:
        with RawClient(gateway.port) as client:
            client.send(
                post(
                    gateway.key,
                    {**BODY, "stream": streamed},
                    *(["Connection: keep-alive"] if keep else []),
                    version="HTTP/1.0",
                )
            )
            reply = client.reply()
            assert reply.status == 200
            assert "transfer-encoding" not in reply.headers
            assert b"Hi" in reply.body
            if streamed:
                assert reply.body.endswith(b"data: [DONE]\n\n")
            if keep and not streamed:
                assert reply.headers["connection"] == "keep-alive"
                client.send(head("GET", "/healthz", version="HTTP/1.0"))
                assert client.reply().status == 200
            assert client.is_closed()
    finally:
        fake.script = before


def test_t66_a_gateway_that_is_its_own_provider_is_told_508(tmp_path_factory: pytest.TempPathFactory) -> None:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("loop")))
    try:
        gateway.add_credential("openai", gateway.base_url)
        before = gateway.balance()
        for streamed in (False, True):
            reply = ask(gateway, post(gateway.key, {**BODY, "stream": streamed}))
            assert (reply.status, reply.code) == (502, "upstream_error")
            assert reply.json()["error"]["metadata"]["attempts"][0]["status"] == 508
        rows = gateway.settled(2)
        assert [row["end"] for row in rows] == ["released", "released"], "the second pass asked for no hold"
        assert gateway.balance() == before
        for passed in ("a,b,c,d", "a b", ",,,", "x" * 300):
            assert ask(gateway, post(gateway.key, BODY, f"x-tokenhub-hop: {passed}")).status == 508
    finally:
        gateway.stop()


def test_too_many_connections_are_told_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("many")), {"server.max_connections": 5})
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                client = stack.enter_context(RawClient(gateway.port))
                client.send(head("GET", "/healthz"))
                assert client.reply().status == 200
            reply = stack.enter_context(RawClient(gateway.port)).reply()
            assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "overloaded", "1")
        time.sleep(0.1)
        assert ask(gateway, head("GET", "/healthz")).status == 200
    finally:
        gateway.stop()
