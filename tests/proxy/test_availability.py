"""Availability behind a running gateway: circuits, cool-downs, failed credentials, and who is asked instead (T76, T80, T81, T118)."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.chains import CHAIN, NAMES, Chain, clean, open_chain, text_of
from tests.fakes.raw_client import RawClient, post
from tests.fakes.upstream import (
    Cut,
    Pause,
    Received,
    Reply,
    Reset,
    WaitFor,
    chunk,
    head,
    json_reply,
    openai_chunk,
    openai_error,
    sse,
    sse_reply,
)
from tokenhub import clock
from tokenhub.operations import credentials, probe
from tokenhub.store import circuits, health
from tokenhub.wire.faults import Failure, FaultKind

MODEL = "shared-model"
DOWN = json_reply(openai_error("down", type="server_error"), 500)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with open_chain(tmp_path, **{"upstream.retry_budget": 10.0}) as opened:
        yield opened


def until(true: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def name_of(chain: Chain, provider: str) -> str:
    return f"{provider}/{MODEL}@default#{chain.credential_ids[provider]}"


def stored(chain: Chain) -> circuits.Stored:
    return circuits.read(chain.gateway.hub.database)


def state_of(chain: Chain, provider: str) -> str:
    one = chain.gateway.gateway.runtime.watch.view.circuits.get(name_of(chain, provider))  # type: ignore[union-attr]
    return one.state.value if one else "closed"


# ---- circuits


def test_t81_failures_in_a_row_open_a_circuit_and_others_are_asked(chain: Chain) -> None:
    chain.play(DOWN)
    for _ in range(5):
        assert text_of(chain.ask()) == "I am beta."
    assert chain.calls == [5, 5, 0]
    chain.ask()
    assert chain.calls == [5, 6, 0]
    until(lambda: stored(chain).circuits.get(name_of(chain, "alpha")) is not None)
    kept = stored(chain).circuits[name_of(chain, "alpha")]
    assert (kept.state.value, kept.failures, kept.last_error) == ("open", 5, "server")


def test_t81_one_probe_brings_a_provider_back(chain: Chain) -> None:
    chain.play(DOWN)
    for _ in range(5):
        chain.ask()
    chain.fakes["alpha"].script = lambda request: clean("alpha", stream=False)
    until(lambda: text_of(chain.ask()) == "I am alpha.", 3)
    assert state_of(chain, "alpha") == "closed"
    until(lambda: stored(chain).circuits[name_of(chain, "alpha")].state.value == "closed")
    assert [text_of(chain.ask()) for _ in range(3)] == ["I am alpha."] * 3


def test_t81_an_answer_to_an_attempt_that_began_before_closes_no_circuit(chain: Chain) -> None:
    """Streams that break off all show content first: each would close the circuit, and the next open it for twice as long."""
    go = threading.Event()
    chain.fakes["alpha"].script = lambda request: [WaitFor(go), *clean("alpha", stream=False)]
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(chain.ask)
        until(lambda: len(chain.fakes["alpha"].received) == 1)
        chain.play(DOWN)
        for _ in range(5):
            chain.ask()
        assert state_of(chain, "alpha") == "open"
        go.set()
        assert text_of(early.result()) == "I am alpha."
    assert state_of(chain, "alpha") == "open"


def test_t81_only_one_of_many_requests_is_the_probe(chain: Chain) -> None:
    chain.play(DOWN)
    for _ in range(5):
        chain.ask()
    go = threading.Event()
    chain.fakes["alpha"].script = lambda request: [WaitFor(go), *clean("alpha", stream=False)]
    chain.fakes["alpha"].received.clear()
    time.sleep(1.3)
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(chain.ask) for _ in range(12)]
        until(lambda: sum(one.done() for one in asked) == 11)
        assert len(chain.fakes["alpha"].received) == 1
        go.set()
        said = [text_of(one.result()) for one in asked]
    assert sorted(said) == ["I am alpha."] + ["I am beta."] * 11


def test_t81_a_probe_whose_client_leaves_is_the_next_one_s_turn(chain: Chain) -> None:
    chain.play(DOWN)
    for _ in range(5):
        chain.ask()
    chain.fakes["alpha"].script = lambda request: [Pause(30)]
    chain.fakes["alpha"].received.clear()
    time.sleep(1.3)
    leaver = _leave_when(chain, lambda: len(chain.fakes["alpha"].received) == 1)
    leaver.join(5)
    until(lambda: state_of(chain, "alpha") == "open")
    chain.fakes["alpha"].script = lambda request: clean("alpha", stream=False)
    assert text_of(chain.ask()) == "I am alpha."


def _leave_when(chain: Chain, there: Any) -> threading.Thread:
    """Ask, and leave when the upstream has the request."""
    import socket

    body = json.dumps({"model": "starter/chain", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    lines = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {chain.gateway.key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    def ask() -> None:
        with socket.create_connection(("127.0.0.1", chain.gateway.port)) as connection:
            connection.sendall(lines.encode() + body)
            until(there)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_t81_the_last_one_is_tried_although_its_circuit_is_open(chain: Chain) -> None:
    chain.play(DOWN)
    for _ in range(9):
        answer = chain.ask("alpha/shared-model")
        assert (answer.status, answer.json()["error"]["metadata"]["provider"]) == (502, "alpha")
    assert chain.calls == [9, 0, 0]
    assert state_of(chain, "alpha") in ("open", "half_open")
    chain.fakes["alpha"].script = lambda request: clean("alpha", stream=False)
    assert text_of(chain.ask("alpha/shared-model")) == "I am alpha."
    assert state_of(chain, "alpha") == "closed"


def test_t80_when_all_are_down_each_request_is_one_attempt_and_all_come_back_at_once(chain: Chain) -> None:
    chain.play(DOWN, DOWN, DOWN)
    for _ in range(5):
        assert chain.ask().status == 502
    before = sum(chain.calls)
    assert before == 15
    for _ in range(20):
        assert chain.ask().status == 502
    probes = 3 * 3  # each may be probed after 1, 2 and 4 s; this takes far less
    assert sum(chain.calls) - before <= 20 + probes
    for name in NAMES:
        chain.fakes[name].script = lambda request, name=name: clean(name, stream=False)
    assert chain.ask().status == 200


def test_a_stream_that_always_breaks_after_content_opens_the_circuit(chain: Chain) -> None:
    broken = sse_reply([openai_chunk({"role": "assistant", "content": "I am"}), Reset()])
    chain.play(broken)
    for _ in range(5):
        assert b'"finish_reason":"error"' in chain.ask(stream=True).body
    assert state_of(chain, "alpha") == "open"
    assert text_of(chain.ask(stream=True)) == "I am beta."


def test_the_client_s_own_fault_opens_nothing(chain: Chain) -> None:
    chain.play(json_reply(openai_error("bad", type="invalid_request_error", code="x"), 400))
    for _ in range(12):
        assert chain.ask().status == 400
    assert state_of(chain, "alpha") == "closed"
    assert chain.calls == [12, 0, 0]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (451, {"message": "not in your country", "code": "geo"}),
        (404, {"message": "gone", "code": "model_not_found"}),
        (403, {"message": "not this model", "code": "permission_error"}),
    ],
)
def test_a_lasting_fault_is_that_deployment_s_and_opens_it_at_once(
    chain: Chain, status: int, error: dict[str, Any]
) -> None:
    chain.play(json_reply({"error": error}, status))
    assert [text_of(chain.ask()) for _ in range(4)] == ["I am beta."] * 4
    assert chain.calls == [1, 4, 0]
    until(lambda: name_of(chain, "alpha") in stored(chain).circuits)
    kept = stored(chain).circuits[name_of(chain, "alpha")]
    assert 400_000 < kept.open_until_ms - kept.changed_at_ms < 800_000
    assert credentials.find(chain.gateway.hub, chain.credential_ids["alpha"]).status == "active"


def test_another_process_s_circuit_is_known_within_a_second_or_so(chain: Chain) -> None:
    chain.play()
    assert text_of(chain.ask()) == "I am alpha."
    database, now_ms = chain.gateway.hub.database, clock.now_ms()
    with database.write():
        circuits.put(
            database,
            name_of(chain, "alpha"),
            circuits.Circuit(circuits.State.OPEN, 5, 30_000, now_ms + 30_000, 0, "timeout", now_ms),
        )
    until(lambda: state_of(chain, "alpha") == "open", 3)
    assert text_of(chain.ask()) == "I am beta."
    with database.write():
        circuits.mended(database, chain.credential_ids["alpha"])
    until(lambda: text_of(chain.ask()) == "I am alpha.", 3)


# ---- credentials


def throttle(retry_after: str | None = None) -> Reply:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return json_reply(openai_error("slow down", type="rate_limit_error", code="rate_limit_exceeded"), 429, headers)


def test_a_throttled_credential_is_left_alone_as_long_as_it_says(chain: Chain) -> None:
    chain.play(throttle("1"))
    began = time.monotonic()
    assert text_of(chain.ask()) == "I am beta."
    chain.fakes["alpha"].script = lambda request: clean("alpha", stream=False)
    answers = []
    while not answers or answers[-1] != "I am alpha.":
        answers.append(text_of(chain.ask()))
        assert time.monotonic() - began < 5
        time.sleep(0.05)
    assert time.monotonic() - began >= 0.95
    assert state_of(chain, "alpha") == "closed"


def test_a_request_that_is_too_large_for_a_key_throttles_nobody_else(chain: Chain) -> None:
    """It would be refused each time, for free: one client could keep the key from all others."""
    text = "Request too large for m in organization org-x on tokens per min (TPM): Limit 9, Requested 20."
    refused = json_reply(openai_error(text, type="tokens", code="rate_limit_exceeded"), 429)
    chain.play(refused)
    assert text_of(chain.ask()) == "I am beta."
    assert chain.calls == [1, 1, 0]
    chain.play(refused, refused, refused)
    answer = chain.ask()
    assert (answer.status, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert chain.calls == [1, 1, 1]
    chain.play(refused, throttle("30"), refused)
    assert (chain.ask().status, chain.calls) == (503, [1, 1, 1])
    chain.fakes["alpha"].script = lambda request: clean("alpha", stream=False)
    assert text_of(chain.ask()) == "I am alpha."


def test_when_all_are_throttled_the_answer_says_when_to_come_back_and_nobody_is_asked(chain: Chain) -> None:
    chain.play(throttle("30"), throttle("20"), throttle("40"))
    first = chain.ask()
    assert (first.status, first.headers["retry-after"]) == (503, "20")
    calls = chain.calls
    second = chain.ask()
    error = second.json()["error"]
    assert (second.status, error["code"]) == (503, "no_provider_available")
    assert 18 <= int(second.headers["retry-after"]) <= 20
    assert chain.calls == calls == [1, 1, 1]
    assert {one["reason"] for one in error["metadata"]["excluded"]} == {"cooling_down"}


REFUSALS = {
    "auth": json_reply(openai_error("no", type="authentication_error", code="invalid_api_key"), 401),
    "billing": json_reply(openai_error("no", type="insufficient_quota", code="insufficient_balance"), 402),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_t76_a_refused_credential_is_out_of_use_until_it_is_mended(chain: Chain, kind: str) -> None:
    hub, number = chain.gateway.hub, chain.credential_ids["alpha"]
    chain.play(REFUSALS[kind])
    assert [text_of(chain.ask()) for _ in range(5)] == ["I am beta."] * 5
    assert chain.calls == [1, 5, 0]
    until(lambda: credentials.find(hub, number).status == "failed")
    assert credentials.find(hub, number).status_reason.startswith(kind)
    answer = chain.ask("alpha/shared-model")
    assert (answer.status, answer.json()["error"]["code"]) == (503, "no_provider_available")
    assert chain.calls == [1, 5, 0]
    chain.fakes["alpha"].script = lambda request: clean("alpha", stream=False)
    credentials.set_status(hub, number, "active")
    assert text_of(chain.ask()) == "I am alpha."  # at once, not after a while


@pytest.mark.parametrize("status", [400, 200])
def test_t76_nobody_puts_a_credential_out_of_use_by_words_of_their_own(chain: Chain, status: int) -> None:
    """Providers quote what they refuse, as an error or inside a 200."""
    quoting = {"error": {"message": "Invalid value: 'insufficient balance'.", "code": 400, "param": "verbosity"}}
    chain.play(json_reply(quoting, status))
    answer = chain.ask(verbosity="insufficient balance")
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_request_error")
    assert chain.calls == [1, 0, 0]
    chain.fakes["alpha"].script = lambda request: clean("alpha", stream=False)
    assert text_of(chain.ask()) == "I am alpha."


def test_t76_nor_in_the_middle_of_a_stream(chain: Chain) -> None:
    shown, quoting = threading.Event(), {"error": {"message": "Invalid value: 'insufficient balance'.", "code": 400}}
    chain.play(sse_reply([openai_chunk({"content": "I am"}), WaitFor(shown), sse(quoting)]))
    body = {"model": CHAIN, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with RawClient(chain.gateway.port) as client:
        client.send(post(chain.gateway.key, {**body, "verbosity": "insufficient balance"}))
        client.until(b"I am")
        shown.set()
        client.until(b'"reason":"bad_request"')
    chain.fakes["alpha"].script = lambda request: clean("alpha", stream=False)
    assert text_of(chain.ask()) == "I am alpha."


def test_a_test_that_succeeds_mends_a_credential(chain: Chain) -> None:
    hub, number = chain.gateway.hub, chain.credential_ids["alpha"]
    chain.play(REFUSALS["auth"])
    chain.ask()
    until(lambda: credentials.find(hub, number).status == "failed")
    assert not probe.probe(hub, number, chat=True).ok
    chain.fakes["alpha"].script = lambda request: clean("alpha", stream=False)
    assert probe.probe(hub, number, chat=True).ok
    assert text_of(chain.ask()) == "I am alpha."


def test_mending_ends_a_cooldown_at_once(chain: Chain) -> None:
    chain.play(throttle("600"))
    chain.ask()
    until(lambda: stored(chain).cooldowns != {})
    chain.fakes["alpha"].script = lambda request: clean("alpha", stream=False)
    credentials.set_status(chain.gateway.hub, chain.credential_ids["alpha"], "active")
    until(lambda: text_of(chain.ask()) == "I am alpha.", 2)


# ---- what is kept


def test_t118_what_is_counted_and_kept_holds_nothing_of_a_request(chain: Chain) -> None:
    canary = "canary-of-a-tenant-4711"
    chain.play(DOWN, throttle("2"))
    for _ in range(5):
        chain.gateway.chat("starter/chain", canary, user=canary, session_id=canary)
    chain.gateway.run(_flushed(chain))
    kept = []
    for table in ("circuits", "cooldowns", "health_minutes"):
        rows = chain.gateway.rows(f"SELECT * FROM {table}")
        assert rows, table
        kept += rows
    assert canary not in json.dumps(kept, default=str)
    assert chain.gateway.key not in json.dumps(kept, default=str)


async def _flushed(chain: Chain) -> None:
    import asyncio

    watch = chain.gateway.gateway.runtime.watch  # type: ignore[union-attr]
    watch.flush()
    while watch._unwritten:
        await asyncio.sleep(0.005)


def test_attempts_failures_and_times_are_counted(chain: Chain) -> None:
    def slow(request: Received) -> Reply:
        return [Pause(0.12), *clean("beta", stream=False)]

    chain.play(DOWN, slow)
    for _ in range(4):
        chain.ask()
    chain.gateway.run(_flushed(chain))
    found = health.since(chain.gateway.hub.database, 0)
    alpha, beta = found[name_of(chain, "alpha")], found[name_of(chain, "beta")]
    assert (alpha.attempts, alpha.failures, alpha.latencies, beta.attempts, beta.failures) == (4, 4, {}, 4, 0)
    assert 100 <= (beta.percentile_ms(0.5) or 0) <= 300
    assert 100 < (beta.throughput() or 0) < 1_000  # 100 tokens in something more than 0.12 s


def test_a_broken_connection_counts_like_any_failure(chain: Chain) -> None:
    chain.play([Cut()])
    for _ in range(5):
        assert text_of(chain.ask()) == "I am beta."
    assert state_of(chain, "alpha") == "open"


def test_an_error_inside_a_200_counts_like_any_failure(chain: Chain) -> None:
    chain.play(
        [
            head(200, {"Transfer-Encoding": "chunked"}),
            chunk(b'{"error":{"message":"x","code":"server_error"}}'),
            b"0\r\n\r\n",
        ]
    )
    for _ in range(5):
        assert text_of(chain.ask()) == "I am beta."
    assert state_of(chain, "alpha") == "open"


def test_a_reading_from_before_a_refusal_does_not_bring_the_credential_back(chain: Chain) -> None:
    """The one that is taken over in the moment between the refusal and its write."""
    gateway = chain.gateway.gateway
    assert gateway is not None
    runtime, number = gateway.runtime, chain.credential_ids["alpha"]
    chain.play()
    assert chain.ask().status == 200

    async def refuse_and_read() -> bool:
        began = runtime.watch.mark()
        deployments = runtime.snapshot.catalog.deployments(MODEL, runtime.snapshot.credentials)
        deployment = next(one for one in deployments if one.credential.id == number)
        runtime.watch.failed(deployment, Failure(FaultKind.AUTH, 401, "invalid_api_key"))
        runtime.watch.absorb(circuits.Stored({}, {}, {}), began)
        return number in runtime.watch.view.failed

    assert chain.gateway.run(refuse_and_read())
    until(lambda: credentials.find(chain.gateway.hub, number).status == "failed")
