"""Who may call: credentials of every shape, one decision for every route, limits, and what belongs to whom."""

import http.client
import itertools
import json
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.fakes import every_surface
from tests.fakes.every_surface import FORMS, MODEL, PATHS, request_for
from tests.fakes.upstream import (
    FakeUpstream,
    Received,
    Reply,
    WaitFor,
    json_reply,
    openai_chat,
    openai_error,
    openai_stream,
    sse_reply,
)
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub import clock
from tokenhub.accounts import keys as key_shapes
from tokenhub.accounts.accounts import AccountStatus
from tokenhub.billing.rules import BUSY_RETRY_S
from tokenhub.operations import accounts, grants, keys
from tokenhub.operations.keys import KeyState
from tokenhub.proxy import routes
from tokenhub.store.database import Database

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
OTHER_MODEL = "gpt-4.1-mini"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
FAILING, SLOW = "fail", "slow"

go = threading.Event()
"""Lets slow answers end."""


def script(request: Received) -> Reply:
    if not request.path.endswith("/chat/completions"):
        return every_surface.answer(request)
    body = request.json()
    said = body["messages"][-1]["content"]
    if said == FAILING:
        return json_reply(openai_error("broken", code="server_error"), status=500)
    if said == SLOW:
        frames = openai_stream(["one", "two"])
        return sse_reply([*frames[:2], WaitFor(go), *frames[2:]])
    return sse_reply(openai_stream()) if body.get("stream") else json_reply(openai_chat())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, FakeUpstream]]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("access")), {"jobs.poll_s": 0.05})
    with FakeUpstream(script) as upstream:
        every_surface.add_upstream(gateway, upstream)
        yield gateway, upstream
        go.set()
        gateway.stop()


def raw_call(gateway: RunningGateway, headers: Sequence[tuple[bytes, bytes]], body: object = CHAT) -> Answer:
    """Send one chat request with exactly these header bytes."""
    data = json.dumps(body).encode()
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
            + head
            + b"Content-Length: %d\r\n\r\n" % len(data)
            + data
        )
        reply = http.client.HTTPResponse(client)
        reply.begin()
        with closing(reply):
            return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def ask(gateway: RunningGateway, key: str, content: str = "Hello", **fields: object) -> Answer:
    body = {**CHAT, "messages": [{"role": "user", "content": content}], **fields}
    return gateway.call("POST", "/v1/chat/completions", body, bearer(key))


# ---- credentials of every shape ---------------------------------------------------------------

INJECTIONS = [
    "' OR 1=1 --", "' UNION SELECT digest FROM keys --", "%", "_" * 46, "th-%", "{{7*7}}", "${jndi:ldap://x/a}", "../../etc/passwd",
    "th-" + "a" * 42, "th-" + "a" * 44, "th-" + "a" * 42 + "'", "TH-" + "a" * 43, "th-" + "а" * 43, "th-" + "a" * 42 + "é",
    "th-" + "a" * 43 + ";--", "\\x00", "null", "undefined", "[object Object]", "*", "0", "-1", "true", "{}", "[]",
    '{"$gt":""}', "a" * 8000, "th-" + "0" * 8000, "%00", "%27%20OR%201=1", "th-" + "９" * 43,
]  # fmt: skip
"""None has the shape of a key."""


@pytest.mark.soak
def test_t32_no_credential_without_the_shape_of_a_key_reaches_the_store(
    served: tuple[RunningGateway, FakeUpstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, upstream = served
    asked: list[str] = []

    def noted(real: Callable[..., object]) -> Callable[..., object]:
        def call(self: Database, sql: str, *arguments: object) -> object:
            if threading.current_thread().name.startswith("tokenhub-reader"):
                asked.append(sql)
            return real(self, sql, *arguments)

        return call

    for name in ("execute", "row", "rows"):
        monkeypatch.setattr(Database, name, noted(getattr(Database, name)))
    chance, seen = random.Random(32), len(upstream.received)
    alphabet = "'\"%;-_()*/\\{}$<>=|&^~`!@#, abcTH0189éя\u202e"
    made = ["".join(chance.choices(alphabet, k=chance.randrange(1, 60))) for _ in range(1000 if SOAK else 120)]
    bodies = set()
    for payload, place in itertools.product(INJECTIONS, ("Bearer", "x-api-key")):
        bodies.add(refused_body(gateway, payload, place))
    for payload in made:
        bodies.add(refused_body(gateway, payload, chance.choice(["Bearer", "Basic", "", "x-api-key"])))
    assert len(bodies) == 1
    # What is down is read every second, whoever asks; keys are not.
    assert [sql for sql in asked if "FROM keys" in sql] == []
    assert len(upstream.received) == seen
    assert ask(gateway, key_shapes.mint()).status == 401
    assert asked, "a key that could be one is looked up"


def refused_body(gateway: RunningGateway, payload: str, place: str) -> str:
    value = payload.encode("utf-8")
    header = (b"x-api-key", value) if place == "x-api-key" else (b"Authorization", f"{place} ".encode() + value)
    answer = raw_call(gateway, [header])
    assert answer.status == 401, payload
    return without_id(answer)


def without_id(answer: Answer) -> str:
    return answer.body.decode().replace(answer.headers["x-request-id"], "req_")


def test_t32_a_credential_too_long_for_a_header_is_refused_as_http(served: tuple[RunningGateway, FakeUpstream]) -> None:
    assert raw_call(served[0], [(b"Authorization", b"Bearer " + b"a" * 100_000)]).status in (400, 401, 431)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"Bearer \xff\xfe", 401),
        (b"Bearer th-\xc3\x28" + b"a" * 41, 401),
        (b"\xed\xa0\x80", 401),
        (b"Bearer a\tb", 401),
        (b"", 401),
        (b"Bearer", 401),
        (b"Bearer ", 401),
        (b"  ", 401),
        (b"Bearer Bearer KEY", 401),
        (b"KEY", 401),
        (b"Basic KEY", 401),
        (b"Token KEY", 401),
        (b"Bearer KEY KEY", 401),
        (b"Bearer,KEY", 401),
        (b"Bearer KEY,KEY", 401),
        (b'Bearer "KEY"', 401),
        (b"Bearer KEY\x00", 400),
        (b"Bearer \x1bKEY", 400),
        (b"bearer KEY", 200),
        (b"BEARER KEY", 200),
        (b"Bearer  KEY", 200),
        (b"Bearer KEY ", 200),
    ],
)
def test_t33_a_credential_that_is_no_text_is_refused_and_never_a_500(
    served: tuple[RunningGateway, FakeUpstream], value: bytes, status: int
) -> None:
    gateway, _ = served
    answer = raw_call(gateway, [(b"Authorization", value.replace(b"KEY", gateway.key.encode()))])
    assert answer.status == status


def test_t34_two_credentials_are_none_unless_they_are_the_same(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, _ = served
    mine, other = gateway.key.encode(), gateway.add_key().encode()
    authorization, api_key = b"Authorization", b"x-api-key"
    for first, second in ((mine, other), (mine, b"nonsense"), (mine, b""), (mine, key_shapes.mint().encode())):
        for one, two in ((first, second), (second, first)):
            pairs = [
                [(authorization, b"Bearer " + one), (api_key, two)],
                [(api_key, two), (authorization, b"Bearer " + one)],
                [(authorization, b"Bearer " + one), (authorization, b"Bearer " + two)],
                [(api_key, one), (api_key, two)],
            ]
            assert [raw_call(gateway, pair).status for pair in pairs] == [401] * 4, (one, two)
    assert raw_call(gateway, [(authorization, b"Bearer " + mine), (api_key, mine)]).status == 200
    assert raw_call(gateway, [(authorization, b"Bearer " + mine), (authorization, b"Basic eA==")]).status == 401


# ---- one decision -----------------------------------------------------------------------------

PUBLIC = dict.fromkeys(("/", "/healthz", "/readyz", "/topup/done", "/topup/cancelled"), 200) | {"/stripe/webhook": 400}
"""Paths that ask for no key to their status with any key or none; the webhook asks for Stripe's signature."""
STATES = {"active": 200, "unknown": 401, "revoked": 401, "expired": 401, "disabled": 403, "outside": 403}
"""State of a key to the status of its requests; ``outside`` may call another model only."""

CODES = {"disabled": "account_disabled", "outside": "permission_denied"}
"""State of a key to the code of its refusals, on every surface; else ``authentication_error``."""

SHUT: Mapping[str, Callable[[RunningGateway, KeyState], object]] = {
    "revoked": lambda gateway, made: keys.revoke(gateway.hub, made.key.id),
    "expired": lambda gateway, made: keys.change(gateway.hub, made.key.id, {"expires_at_ms": clock.now_ms()}),
    "disabled": lambda gateway, made: accounts.set_status(gateway.hub, made.key.account_id, AccountStatus.DISABLED),
    "outside": lambda gateway, made: keys.change(gateway.hub, made.key.id, {"models": (OTHER_MODEL,)}),
}
"""How a key gets into a state."""


def endpoints() -> list[tuple[str, str, bool]]:
    """Every method and path there is, as the router has them; posts also streamed."""
    methods = {f"/v1beta/models/{MODEL}:{name}": {"POST": None} for name in ("generateContent", "countTokens")}
    listed = {**routes.ROUTES, f"{routes.MODEL_PREFIX}{MODEL}": {"GET": None}, **methods}
    return [
        (method, path, streamed)
        for path, methods in listed.items()
        for method in methods
        for streamed in ((False, True) if method == "POST" else (False,))
    ]


def code_of(answer: Answer) -> str:
    """Return the code of an error, in OpenAI's or Anthropic's form, or in Google's."""
    error = answer.json()["error"]
    return str(error["details"][0]["metadata"]["code"] if "details" in error else error["code"])


def customer(gateway: RunningGateway, name: str) -> int:
    """Make an account with credit."""
    account = accounts.create(gateway.hub, name).account.id
    accounts.change(gateway.hub, account, {"key_rpm": 1000, "account_rpm": 1000})
    grants.grant(gateway.hub, account, 10**11, expires_at_ms=None)
    return account


def put_into(gateway: RunningGateway, state: str, account: int) -> str:
    """Return a key that was used a moment ago and has just got into this state."""
    if state == "disabled":
        accounts.set_status(gateway.hub, account, AccountStatus.ACTIVE)
    made = keys.create(gateway.hub, account)
    assert ask(gateway, made.secret).status == 200
    if state in SHUT:
        SHUT[state](gateway, made.state)
    return key_shapes.mint() if state == "unknown" else made.secret


@pytest.mark.parametrize("state", STATES)
def test_t36_every_route_decides_alike_on_every_state_of_a_key(
    served: tuple[RunningGateway, FakeUpstream], state: str
) -> None:
    gateway, upstream = served
    before, account = held(gateway), customer(gateway, state)
    for method, path, streamed in endpoints():
        key = put_into(gateway, state, account)
        asked = len(upstream.received)
        body, content_type = request_for(path, streamed=streamed) if method == "POST" else (None, "")
        answer = gateway.call(method, path, body, {**bearer(key), "Content-Type": content_type})
        wanted = STATES[state]
        if path in PUBLIC:
            wanted = PUBLIC[path]
        elif path == "/v1/generation" and wanted == 200:
            wanted = 400  # it asks for an id
        elif state == "outside" and method == "GET":
            wanted = {"/v1/generation": 400, f"{routes.MODEL_PREFIX}{MODEL}": 404}.get(path, 200)
        assert answer.status == wanted, (state, method, path, streamed, answer.body)
        if wanted in (401, 403):
            assert len(upstream.received) == asked, "nothing reaches the upstream"
            assert code_of(answer) == CODES.get(state, "authentication_error")
    deadline = time.monotonic() + 30
    while held(gateway) != before and time.monotonic() < deadline:
        time.sleep(0.05)  # a video's hold ends when its job does
    assert held(gateway) == before


def held(gateway: RunningGateway) -> list[dict]:
    return gateway.rows("SELECT * FROM holds")


def test_t36_a_route_that_asks_for_no_key_is_one_of_the_public_ones(
    served: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, _ = served
    for method, path, streamed in endpoints():
        body, content_type = request_for(path, streamed=streamed) if method == "POST" else (None, "")
        answer = gateway.call(method, path, body, {"Content-Type": content_type})
        assert answer.status == PUBLIC.get(path, 401), path


@pytest.mark.soak
def test_t38_a_request_counts_once_whatever_becomes_of_it(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, upstream = served
    for number in range(2):
        gateway.add_credential("openai", upstream.url, label=f"more-{number}")
    key = gateway.add_key(rpm=500)
    asked = len(upstream.received)
    failed = ask(gateway, key, FAILING)
    assert (failed.status, failed.headers["x-ratelimit-remaining-requests"]) == (502, "499")
    assert len(upstream.received) - asked == 3, "three attempts"
    for path, status in (("/v1/models", 200), ("/v1/nothing", 404)):
        assert gateway.call("GET", path, None, bearer(key)).status == status
    assert gateway.call("POST", "/v1/chat/completions", {"model": MODEL}, bearer(key)).status == 400
    for _ in range(10_000 if SOAK else 60):
        assert ask(gateway, key_shapes.mint()).status == 401
    again = ask(gateway, key)
    assert (again.status, again.headers["x-ratelimit-remaining-requests"]) == (200, "498")


def test_t39_a_refused_key_is_not_told_why(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, _ = served
    account = customer(gateway, "oracle")
    refused = [put_into(gateway, state, account) for state in ("unknown", "revoked", "expired")]
    answers = [ask(gateway, key) for key in (*refused, "th-short", "", "sk-other")]
    answers.append(gateway.call("POST", "/v1/chat/completions", CHAT, {}))
    assert {answer.status for answer in answers} == {401}
    assert len({without_id(answer) for answer in answers}) == 1
    # Whether a connection stays open depends on how much of the body had come, not on the key.
    assert len({frozenset(answer.headers) - {"connection"} for answer in answers}) == 1
    assert len({answer.headers["content-length"] for answer in answers}) == 1


def test_t39_a_key_is_found_by_its_digest_in_an_index(served: tuple[RunningGateway, FakeUpstream]) -> None:
    plan = served[0].rows("EXPLAIN QUERY PLAN SELECT id FROM keys WHERE digest = x'00'")
    assert "USING" in plan[0]["detail"]
    assert "INDEX" in plan[0]["detail"]


@pytest.mark.parametrize("name", ["key", "api_key", "access_token", "Authorization", "authorization", "token"])
def test_t40_a_key_in_the_query_authenticates_nobody(served: tuple[RunningGateway, FakeUpstream], name: str) -> None:
    gateway, _ = served
    for method, path, body in (("POST", "/v1/chat/completions", CHAT), ("GET", "/v1/key", None)):
        assert gateway.call(method, f"{path}?{name}={gateway.key}", body, {}).status == 401


# ---- what is not there ------------------------------------------------------------------------

PREFIXES = ["", "/v1", "/api", "/api/v1", "/admin", "/v1/admin", "/management", "/internal", "/_", "/console", "/debug", "/v2", "/openai/v1"]  # fmt: skip
NOUNS = [
    "/accounts", "/account", "/keys", "/key/generate", "/key/delete", "/users", "/user/new", "/credentials", "/config", "/settings",
    "/providers", "/grants", "/topup", "/ledger", "/metrics", "/status", "/stats", "/env", "/health", "/info", "/version", "/docs",
    "/openapi.json", "/swagger", "/redoc", "/graphql", "/login", "/logout", "/token", "/oauth/token", "/backup", "/restore", "/migrate",
    "/shutdown", "/restart", "/logs", "/requests", "/pprof", "/heapdump", "/actuator", "/.env", "/.git/config",
]  # fmt: skip


def test_t41_there_is_no_management_over_http(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, _ = served
    paths = [prefix + noun for prefix, noun in itertools.product(PREFIXES, NOUNS)]
    assert len(paths) >= 500
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    with closing(connection):
        for number, path in enumerate(paths):
            method = ("GET", "POST", "PUT", "DELETE", "PATCH")[number % 5]
            connection.request(method, path, b"{}", {**bearer(gateway.key), "Content-Type": "application/json"})
            reply = connection.getresponse()
            assert reply.status == 404, path
            assert json.loads(reply.read())["error"]["code"] == "not_found"


def test_t41_the_health_pages_say_nothing_else(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, _ = served
    for path, body in (("/healthz", {"status": "ok"}), ("/readyz", {"status": "ok"})):
        answer = gateway.call("GET", path, None, {})
        assert (answer.status, answer.json()) == (200, body)
        assert set(answer.headers) == {"content-type", "x-request-id", "content-length"}


CONTROLS = [
    "api_base", "base_url", "api_key", "api_type", "api_version", "azure_endpoint", "custom_llm_provider", "default_headers",
    "extra_headers", "extra_query", "headers", "http_client", "organization", "project", "proxy", "user_config", "vertex_credentials", "data_sources",
    "fallbacks", "deployment_id", "model_list", "litellm_params", "kv_transfer_params", "aws_bedrock_runtime_endpoint",
]  # fmt: skip
OTHERS = [
    "metadata", "extra_body", "endpoint", "url", "webhook_url", "callback_url", "host", "base", "openai_api_base",
    "mock_response", "callbacks", "success_callback",
]  # fmt: skip


def test_t42_no_field_of_a_request_chooses_an_address_or_a_credential(
    served: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, upstream = served
    with FakeUpstream([]) as attacker:
        for name in (*CONTROLS, "provider", *OTHERS):
            values = (attacker.url, {"base_url": attacker.url, "api_base": attacker.url, "api_key": "sk-attacker"})
            for value in values:
                asked = len(upstream.received)
                answer = gateway.chat(MODEL, **{name: value})
                if name in (*CONTROLS, "provider"):
                    assert (answer.status, answer.json()["error"]["param"].partition(".")[0]) == (400, name)
                    assert len(upstream.received) == asked
                else:
                    assert answer.status in (200, 400), name
        headers = {
            **bearer(gateway.key),
            "x-base-url": attacker.url,
            "x-forwarded-host": "evil",
            "openai-organization": "org-evil",
        }
        assert gateway.call("POST", "/v1/chat/completions", CHAT, headers).status == 200
        sent = upstream.received[-1]
        assert sent.header("authorization").startswith("Bearer sk-upstream-secret-")
        assert not {name.lower() for name, _ in sent.headers} & {
            "x-base-url",
            "x-forwarded-host",
            "openai-organization",
        }
        assert attacker.connections == 0


@pytest.mark.parametrize("name", ["api_base", "context_window_fallbacks", "vertex_project"])
@pytest.mark.parametrize("path", sorted(PATHS))
def test_t42_nor_on_any_other_surface(served: tuple[RunningGateway, FakeUpstream], path: str, name: str) -> None:
    gateway, upstream = served
    raw, content_type = request_for(path, streamed=False)
    if path in FORMS:
        boundary = content_type.partition("boundary=")[2].encode()
        field = b'\r\nContent-Disposition: form-data; name="%b[x]"\r\n\r\nevil\r\n' % name.encode()
        raw = b"--" + boundary + field + raw
    else:
        raw = json.dumps({**json.loads(raw), name: "evil"}).encode()
    asked = len(upstream.received)
    answer = gateway.call("POST", path, raw, {**bearer(gateway.key), "Content-Type": content_type})
    assert answer.status == 400
    assert name.encode() in answer.body
    assert len(upstream.received) == asked


# ---- what belongs to whom ---------------------------------------------------------------------


def test_t44_another_accounts_request_is_not_there(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, _ = served
    people = {}
    for name in ("mine", "theirs"):
        account = accounts.create(gateway.hub, f"cross-{name}").account.id
        grants.grant(gateway.hub, account, 10**9, expires_at_ms=None)
        key = keys.create(gateway.hub, account).secret
        answer = ask(gateway, key)
        people[name] = (key, answer.headers["x-request-id"])
    gateway.settled()
    for name, other in (("mine", "theirs"), ("theirs", "mine")):
        key, own = people[name]
        assert gateway.call("GET", f"/v1/generation?id={own}", None, bearer(key)).json()["data"]["id"] == own
        strange = gateway.call("GET", f"/v1/generation?id={people[other][1]}", None, bearer(key))
        unknown = gateway.call("GET", "/v1/generation?id=req_00000000000000000000000000000000", None, bearer(key))
        assert (strange.status, without_id(strange)) == (404, without_id(unknown))
        assert gateway.call("GET", "/v1/key", None, bearer(key)).json()["data"]["account"] == f"cross-{name}"
        assert gateway.call("GET", "/v1/credits", None, bearer(key)).json()["total_usage"] > 0
    # The provider's id of a request is the same for both here, and finds each account its own.
    found = [
        gateway.call("GET", "/v1/generation?id=chatcmpl-fake00000000000000000000001", None, bearer(key)).json()["data"][
            "id"
        ]
        for key, _ in people.values()
    ]
    assert found == [own for _, own in people.values()]


@pytest.mark.parametrize("state", SHUT)
def test_t45_an_account_shut_during_load_gets_nothing_more(
    served: tuple[RunningGateway, FakeUpstream], state: str
) -> None:
    gateway, _ = served
    account = accounts.create(gateway.hub, f"load-{state}").account.id
    accounts.change(gateway.hub, account, {"key_rpm": 10_000, "account_rpm": 10_000, "concurrency": 100})
    grants.grant(gateway.hub, account, 10**9, expires_at_ms=None)
    made = keys.create(gateway.hub, account)
    calls: list[tuple[float, int]] = []
    over = threading.Event()

    def client() -> None:
        while not over.is_set():
            begun_s = time.monotonic()
            calls.append((begun_s, ask(gateway, made.secret).status))

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(client) for _ in range(4)]
        try:
            time.sleep(0.15)
            SHUT[state](gateway, made.state)
            shut_s = time.monotonic()
            time.sleep(0.15)
        finally:
            over.set()
        for one in running:
            one.result()
    assert {status for begun_s, status in calls if begun_s > shut_s} == {STATES[state]}
    assert 200 in {status for _, status in calls}
    gateway.settled()
    assert gateway.rows(f"SELECT * FROM holds WHERE account_id = {account}") == []


@pytest.mark.soak
def test_t46_one_tenants_slow_streams_leave_the_others_alone(served: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, _ = served
    cap, tried = (200, 600) if SOAK else (20, 40)
    account = accounts.create(gateway.hub, "greedy").account.id
    accounts.change(gateway.hub, account, {"key_rpm": 10_000, "account_rpm": 10_000, "concurrency": cap})
    grants.grant(gateway.hub, account, 10**11, expires_at_ms=None)
    greedy = keys.create(gateway.hub, account).secret
    go.clear()
    statuses: list[Answer] = []
    alone = cost(gateway)
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(gateway, greedy, SLOW, stream=True)), daemon=True)
        for _ in range(tried)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while len(statuses) < tried - cap:
        assert time.monotonic() < deadline, Counter(one.status for one in statuses)
        time.sleep(0.01)
    crowded = cost(gateway)
    go.set()
    for thread in threads:
        thread.join(20)
    assert Counter(one.status for one in statuses) == {200: cap, 429: tried - cap}
    for one in statuses:
        if one.status == 429:
            assert one.json()["error"]["code"] == "too_many_concurrent"
            assert int(one.headers["retry-after"]) == BUSY_RETRY_S
    if SOAK:
        assert crowded < 1.5 * alone, (alone, crowded)


def cost(gateway: RunningGateway) -> float:
    """Return what one of another tenant's requests takes of the gateway's loop: CPU time, in which nothing else that runs shows."""

    async def spent() -> float:
        return time.thread_time()

    asked = 1000 if SOAK else 10
    begun = gateway.run(spent())
    for _ in range(asked):
        assert gateway.chat(MODEL).status == 200
    return (gateway.run(spent()) - begun) / asked
