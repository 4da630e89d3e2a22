"""How a request finds its way among failing upstreams: order, pins, budgets, and what may stop it between attempts."""

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.chains import SOAK, Chain, clean, open_chain, text_of
from tests.fakes.raw_client import eventually
from tests.fakes.upstream import (
    Cut,
    Pause,
    Received,
    Reply,
    WaitFor,
    json_reply,
    openai_chat,
    openai_error,
    openai_stream,
    openai_usage,
    sse_reply,
)
from tokenhub.errors import InvalidRequest
from tokenhub.operations import credentials, grants, keys, plans, providers
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.own_models import OwnModel
from tokenhub.operations.providers import OwnProvider
from tokenhub.routing import circuit

BROKEN = json_reply(openai_error("x"), 500)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with open_chain(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """A chain whose keys, credentials and plans no test changes."""
    with open_chain(tmp_path_factory.mktemp("steady")) as opened:
        yield opened


# --- who is asked


def test_plan_name_falls_through_its_list(steady: Chain) -> None:
    for broken in range(3):
        steady.play(*[BROKEN] * broken)
        answer = steady.ask()
        assert text_of(answer) == f"I am {('alpha', 'beta', 'gamma')[broken]}."
        assert steady.calls == [int(place <= broken) for place in range(3)]


def test_t109_model_name_asks_every_provider_once_and_nobody_twice(steady: Chain) -> None:
    steady.play(BROKEN, BROKEN, BROKEN)
    for _ in range(8):
        steady.gateway.forget_faults()
        assert steady.ask("shared-model").status == 502
    assert steady.calls == [8, 8, 8]


@pytest.mark.parametrize("model", ["alpha/shared-model", "alpha/shared-model@default"])
def test_t109_pinned_name_stays_with_its_provider(steady: Chain, model: str) -> None:
    steady.play(BROKEN)
    answer = steady.ask(model)
    error = answer.json()["error"]
    assert (answer.status, error["type"], error["metadata"]["provider"]) == (502, "upstream_error", "alpha")
    assert "alpha" in error["message"]
    assert steady.calls == [1, 0, 0]


@pytest.mark.parametrize(
    ("reply", "told"), [(BROKEN, (502, "upstream_error")), ([Pause(3), Cut()], (504, "upstream_timeout"))]
)
def test_failover_off_is_one_attempt_with_the_provider_named(
    tmp_path: Path, reply: Reply, told: tuple[int, str]
) -> None:
    quick = {"routing.failover": False, "upstream.total_s": 0.5, "upstream.first_byte_s": 0.5}
    with open_chain(tmp_path, **quick) as chain:
        for stream in (True, False):
            chain.play(reply)
            answer = chain.ask(stream=stream)
            error = answer.json()["error"]
            assert (answer.status, error["type"]) == told
            assert error["metadata"]["provider"] == "alpha"
            assert "alpha" in error["message"]
            assert chain.calls == [1, 0, 0]


# --- money


FREE_FIRST = {"alpha": {"input": "0", "output": "0"}, "beta": {"input": "2", "output": "20"}}


def test_t4_free_then_dear_never_reaches_the_dear_one_without_a_balance(tmp_path: Path) -> None:
    with open_chain(tmp_path, credit_nano=0, prices=FREE_FIRST, names=("alpha", "beta")) as chain:
        chain.play(BROKEN)
        answer = chain.ask()
        assert (answer.status, answer.json()["error"]["type"]) == (402, "insufficient_credits")
        assert chain.calls == [0, 0]
        assert chain.ask("alpha/shared-model").status == 502
        assert chain.calls == [1, 0]
        required = round(float(answer.json()["error"]["metadata"]["required"]) * 1e9)
        grants.grant(chain.gateway.hub, chain.gateway.account_id, required, expires_at_ms=None)
        answer = chain.ask()
        assert text_of(answer) == "I am beta."
        assert chain.row(answer)["charged"] == 4_120_000


# --- what may change between two attempts


def then(act: Callable[[], Any]) -> Callable[[Received], Reply]:
    """Fail, but do something first: it is done before the second attempt can begin."""

    def script(_: Received) -> Reply:
        act()
        return BROKEN

    return script


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_t35_key_revoked_between_attempts_stops_the_request(chain: Chain, stream: bool) -> None:
    key_id = keys.listing(chain.gateway.hub, chain.gateway.account_id)[0].key.id
    chain.play(then(lambda: keys.revoke(chain.gateway.hub, key_id)))
    before = chain.gateway.balance()
    answer = chain.ask(stream=stream)
    assert (answer.status, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert chain.calls == [1, 0, 0]
    assert chain.row(answer)["end"] == "released"
    assert chain.gateway.balance() == before


def test_t108_key_narrowed_between_attempts_keeps_to_what_is_left(chain: Chain) -> None:
    key_id = keys.listing(chain.gateway.hub, chain.gateway.account_id)[0].key.id
    allowed = ("alpha/shared-model", "gamma/shared-model")
    chain.play(then(lambda: keys.change(chain.gateway.hub, key_id, {"models": allowed})))
    assert text_of(chain.ask()) == "I am gamma."
    assert chain.calls == [1, 0, 1]


@pytest.mark.parametrize("act", ["removed", "disabled"])
def test_t110_credential_that_goes_between_attempts_is_not_used(chain: Chain, act: str) -> None:
    hub, beta = chain.gateway.hub, chain.credential_ids["beta"]
    acts = {
        "removed": lambda: credentials.remove(hub, beta),
        "disabled": lambda: credentials.set_status(hub, beta, "disabled"),
    }
    chain.play(then(acts[act]))
    assert text_of(chain.ask()) == "I am gamma."
    assert chain.calls == [1, 0, 1]
    chain.play(BROKEN)
    assert text_of(chain.ask()) == "I am gamma."
    assert chain.calls == [1, 0, 1]


def test_credentials_that_all_go_leave_the_first_failure_to_be_told(chain: Chain) -> None:
    ids = [chain.credential_ids[name] for name in ("beta", "gamma")]
    chain.play(then(lambda: [credentials.remove(chain.gateway.hub, one) for one in ids]))
    answer = chain.ask()
    assert (answer.status, answer.headers.get("x-tokenhub-attempts")) == (502, None)
    assert [one["provider"] for one in answer.json()["error"]["metadata"]["attempts"]] == ["alpha"]


# --- addresses


@pytest.mark.parametrize("name", ["refused", "no-such-name", "no-tls"])
def test_t82_unreachable_upstream_fails_over_within_two_seconds(tmp_path: Path, name: str) -> None:
    with open_chain(tmp_path, **{"upstream.connect_s": 1.0}) as chain, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = {
            "refused": f"http://127.0.0.1:{closed.getsockname()[1]}",
            "no-such-name": "https://nowhere.invalid",
            "no-tls": chain.fakes["alpha"].origin.replace("http:", "https:"),
        }[name]
        model = OwnModel("far-model", "m", {"input": "1", "output": "1"}, max_output=100)
        providers.add(chain.gateway.hub, OwnProvider("far", address, [model]))
        credentials.add(chain.gateway.hub, NewCredential("far", "sk-own-0001"))
        behind = {"starter/far": ("far/far-model", "beta/shared-model")}
        plans.change(chain.gateway.hub, "starter", {}, model_names=behind)
        chain.play()
        began = time.monotonic()
        answer = chain.ask("starter/far")
        assert text_of(answer) == "I am beta."
        assert time.monotonic() - began < 2
        assert json.loads(chain.row(answer)["attempts"])[0]["outcome"] in ("connect", "timeout")
        assert chain.calls == [0, 1, 0], "what does not speak TLS is not spoken to in plain text"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1",
        "http://169.254.169.254/latest",
        "https://169.254.169.254/latest",
        "https://[fe80::1]/v1",
        "https://[::ffff:169.254.169.254]/v1",
        "https://[fd00:ec2::254]/v1",
        "https://100.100.100.200/v1",
        "https://2852039166/v1",
        "https://0xa9fea9fe/v1",
        "https://0251.0376.0251.0376/v1",
        "https://169.254.43518/v1",
        "https://0.0.0.0/v1",
        "https://[::]/v1",
        "https://user:hunter2@api.example.com/v1",
        "https://api.example.com/v1?key=hunter2",
        "https://api.example.com/v1#x",
        "https://api.example.com/../v1",
        "https://api.example.com/%2e%2e/v1",
        "ftp://api.example.com",
        "file:///etc/passwd",
        "https://api.example.com\\@127.0.0.1/v1",
        "https://api.example.com/v1\r\nx: y",
    ],
)
def test_t84_dangerous_base_url_is_refused_where_it_is_given(steady: Chain, url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        credentials.add(steady.gateway.hub, NewCredential("alpha", "sk-own-0001", base_url=url))
    assert caught.value.param == "base_url"
    assert "hunter2" not in caught.value.message


# --- many requests


@pytest.mark.soak
def test_t78_upstream_that_closes_after_each_reply_is_never_seen_to(steady: Chain) -> None:
    total = 1_000 if SOAK else 200
    chance = random.Random(78)

    def script(_: Received) -> Reply:
        reply = list(json_reply(openai_chat("I am alpha.", usage=openai_usage(1000, 100))))
        return [*reply, Pause(chance.choice((0.0, 0.0005, 0.002))), Cut()]

    steady.play(script)
    before = steady.gateway.balance()
    answers = [steady.ask() for _ in range(total)]
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["x-tokenhub-attempts"] for answer in answers} == {"1"}
    assert steady.calls == [total, 0, 0]
    assert steady.fakes["alpha"].connections >= total
    steady.gateway.settled(total)
    assert before - steady.gateway.balance() == total * (2_000_000 + 60_000)


@pytest.mark.soak
def test_t79_every_answer_matches_its_request_whatever_is_cancelled(steady: Chain) -> None:
    total = 20_000 if SOAK else 600
    plays = random.Random(79)
    lock = threading.Lock()

    def echo(request: Received) -> Reply:
        body = request.json()
        said = body["messages"][0]["content"]
        with lock:
            wait, late = plays.random() * 0.004, plays.random() < 0.1
        reply = json_reply(openai_chat(said)) if not body.get("stream") else _echo_stream(said)
        return [Pause(wait), reply[0][:100], Pause(wait), reply[0][100:], *reply[1:], *([Pause(0.01)] if late else [])]

    steady.play(echo, echo, echo)

    def one(number: int) -> str:
        chance = random.Random(number)
        canary = f"canary-{number:06d}-{chance.getrandbits(64):016x}"
        stream = chance.random() < 0.5
        if chance.random() < 0.3:
            _leave(steady, canary, stream, chance.random() * 0.01)
            return "left"
        answer = steady.gateway.chat("shared-model", canary, stream=stream, max_tokens=20)
        assert answer.status == 200, answer.body
        assert text_of(answer) == canary
        assert answer.body.count(b"canary-") == 1
        return "answered"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(one, range(total)))
    assert outcomes.count("answered") > total / 2
    assert outcomes.count("left") > total / 5
    _at_rest(steady)


def _echo_stream(said: str) -> Reply:
    half = len(said) // 2
    steps = sse_reply(openai_stream([said[:half], said[half:]]))
    return [b"".join(step for step in steps if isinstance(step, bytes))]


def _leave(chain: Chain, canary: str, stream: bool, after_s: float) -> None:
    """Ask, and reset the connection a little later."""
    body = {
        "model": "shared-model",
        "stream": stream,
        "max_tokens": 20,
        "messages": [{"role": "user", "content": canary}],
    }
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {chain.gateway.key}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", chain.gateway.port)) as client:
        client.sendall(head.encode() + data)
        time.sleep(after_s)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def _at_rest(chain: Chain) -> None:
    """Nothing is left: no exchange, no drain, no hold, no retry."""
    runtime = chain.gateway.gateway.runtime
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        busy = (
            len(runtime.exchanges),
            len(runtime.drains),
            runtime.retrying,
            len(chain.gateway.rows("SELECT 1 FROM holds")),
        )
        if not any(busy):
            return
        time.sleep(0.05)
    raise AssertionError(f"exchanges, drains, retries, holds: {busy}")


def test_t81_all_that_is_under_way_at_a_provider_that_dies_is_answered_by_one_that_is_well(steady: Chain) -> None:
    together, died = 40, threading.Event()

    def slow(request: Received) -> Reply:
        return [Pause(0.3), *clean("beta", stream=bool(request.json().get("stream")))]

    steady.play([WaitFor(died), *BROKEN], slow)
    with ThreadPoolExecutor(together) as pool:
        asked = [pool.submit(steady.ask, stream=number % 2 == 0) for number in range(together)]
        assert eventually(lambda: steady.calls == [together, 0, 0], 30.0)
        died.set()
    assert [text_of(one.result()) for one in asked] == ["I am beta."] * together
    assert steady.calls == [together, together, 0]
    _at_rest(steady)


def test_t80_one_that_fails_too_gets_only_what_the_budget_leaves(steady: Chain) -> None:
    together, died = 40, threading.Event()
    steady.play([WaitFor(died), *BROKEN], BROKEN)
    assert steady.ask("beta/shared-model").status == 502
    with ThreadPoolExecutor(together) as pool:
        asked = [pool.submit(steady.ask) for _ in range(together)]
        assert eventually(lambda: steady.calls[0] == together, 30.0)
        died.set()
    assert {text_of(one.result()) for one in asked} == {"I am gamma."}
    most = together // 5 + circuit.FAILURES_TO_OPEN
    assert steady.calls[1] <= most, "a fifth may ask it at once, and its circuit opens"
    assert steady.calls[2] == together
    _at_rest(steady)


@pytest.mark.soak
def test_t80_upstreams_all_down_are_not_stormed_and_come_back(steady: Chain) -> None:
    total, together = (3_000, 64) if SOAK else (400, 40)
    down = [Pause(0.05), *BROKEN]
    steady.play(down, down, down)
    with ThreadPoolExecutor(together) as pool:
        answers = list(pool.map(lambda _: steady.ask("shared-model"), range(total)))
    assert {answer.status for answer in answers} == {502}
    attempts = sum(steady.calls)
    assert total <= attempts <= 1.35 * total, "first attempts, and retries by a fifth of the requests under way"
    _at_rest(steady)
    steady.play()
    began = time.monotonic()
    assert {steady.ask("shared-model").status for _ in range(10)} == {200}
    assert time.monotonic() - began < 10


def test_t80_no_attempt_begins_after_the_client_has_left(steady: Chain) -> None:
    slow = [Pause(0.3), *BROKEN]
    steady.play(slow, slow, slow)
    for stream in (True, False):
        _leave(steady, "gone", stream, 0.1)
    time.sleep(0.6)
    assert sum(steady.calls) == 2
    _at_rest(steady)


def test_one_slow_failure_does_not_spend_the_time_of_all(tmp_path: Path) -> None:
    with open_chain(tmp_path, **{"upstream.total_s": 1.0}) as chain:
        late = [Pause(1.2), *clean("alpha", stream=False)]
        chain.play(late)
        began = time.monotonic()
        answer = chain.ask()
        assert (answer.status, answer.json()["error"]["type"]) == (504, "upstream_timeout")
        assert time.monotonic() - began < 2.0
        assert chain.calls == [1, 0, 0]
