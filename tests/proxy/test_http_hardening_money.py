"""Where HTTP meets the ledger: exact holds under load, prices that change, ends that cannot be written."""

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Databases
from tests.fakes.cut_socket import CutSocket
from tests.fakes.raw_client import RawClient, eventually, post
from tests.fakes.upstream import (
    FakeUpstream,
    WaitFor,
    json_reply,
    openai_chat,
    openai_stream,
    openai_usage,
    sse_reply,
)
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.operations import grants, models
from tokenhub.store import ledger

MODEL = "gpt-4o-mini"
USAGE = openai_usage(1000, 100)
COST = 216_300
STREAM = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}

Running = tuple[RunningGateway, FakeUpstream]


@contextlib.contextmanager
def gateway_in(folder: Path, flags: dict[str, object] | None = None, **more: Any) -> Iterator[Running]:
    gateway = start_gateway(temporary_home(folder), {"server.keep_alive_s": 0.1, **(flags or {})}, **more)
    try:
        with FakeUpstream([]) as fake:
            gateway.add_credential("openai", fake.url)
            yield gateway, fake
    finally:
        gateway.stop()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with gateway_in(tmp_path) as made:
        yield made


def held_stream(gate: threading.Event) -> Any:
    """A stream that ends when the test says so."""
    stream = openai_stream(["One ", "two"], usage=USAGE)
    return sse_reply([*stream[:3], WaitFor(gate), *stream[3:]])


def test_t2_a_rich_account_holds_like_a_poor_one(tmp_path: Path) -> None:
    """The balance covers 100.5 requests: of 300 at once exactly 100 are admitted."""
    with gateway_in(tmp_path, credit_nano=0) as (gateway, fake):
        refused = gateway.chat(MODEL, max_tokens=10).json()["error"]["metadata"]
        one = round(float(refused["required"]) * 1e9)
        grants.grant(gateway.hub, gateway.account_id, one * 100 + one // 2, expires_at_ms=None)
        gate = threading.Event()
        answer = json_reply(openai_chat("x", usage=openai_usage(1, 1)))
        fake.script = lambda _: [WaitFor(gate), *answer]

        def ask(_: int) -> tuple[int, str]:
            got = gateway.chat(MODEL, max_tokens=10)
            return got.status, "" if got.status == 200 else got.json()["error"]["metadata"]["reason"]

        with ThreadPoolExecutor(300) as pool:
            asked = [pool.submit(ask, number) for number in range(300)]
            done = eventually(lambda: sum(one.done() for one in asked) == 200, 20.0)
            gate.set()
            told = sorted(one.result() for one in asked)
        assert done
        assert told == [(200, "")] * 100 + [(402, "in_flight")] * 200
        assert len(fake.received) == 100
        gateway.settled(100)
        assert ledger.verify(gateway.hub.database) == []


def test_t15_an_open_request_keeps_the_price_of_its_hold(running: Running) -> None:
    gateway, fake = running
    gate = threading.Event()
    fake.add(held_stream(gate), json_reply(openai_chat("x", usage=USAGE)))
    with RawClient(gateway.port) as client:
        client.send(post(gateway.key, STREAM))
        client.until(b"One ")
        models.price(gateway.hub, MODEL, {"input": "1.5", "output": "6"}, provider="openai")
        dearer = gateway.chat(MODEL)
        gate.set()
        client.until(b"[DONE]")
    charges = {row["streamed"]: row["charged"] for row in gateway.settled(2)}
    assert charges == {1: COST, 0: 10 * COST}
    assert dearer.json()["usage"]["cost_details"]["total"] == "0.002163"


def test_a_settle_that_cannot_be_written_withholds_the_end_and_charges_nothing(running: Running) -> None:
    gateway, fake = running
    gateway.lose_patience(1.0)
    balance, gate = gateway.balance(), threading.Event()
    fake.add(held_stream(gate))
    with RawClient(gateway.port, timeout_s=20.0) as client, contextlib.closing(blocker(gateway)) as locked:
        client.send(post(gateway.key, STREAM))
        shown = client.until(b"two")
        locked.execute("BEGIN IMMEDIATE")
        gate.set()
        shown += client.until(b'"error"')
        locked.execute("ROLLBACK")
        shown += client.until(b"0\r\n\r\n")
    assert shown.count(b": keep-alive") >= 5, "the client is kept waiting, not left in silence"
    assert b"ledger_unavailable" in shown
    assert b"[DONE]" not in shown
    assert b'"finish_reason":"stop"' not in shown
    (row,) = gateway.settled(1, 10.0)
    assert (row["end"], row["charged"], row["error_code"]) == ("released", 0, "ledger_unavailable")
    assert gateway.balance() == balance
    fake.add(json_reply(openai_chat("x", usage=USAGE)))
    assert gateway.chat(MODEL).status == 200, "it recovers by itself"


def blocker(gateway: RunningGateway) -> sqlite3.Connection:
    """Another program that can keep the database to itself."""
    return sqlite3.connect(gateway.hub.home.database, isolation_level=None)


def test_t90_a_hold_that_cannot_be_written_is_503_before_any_upstream_call(running: Running) -> None:
    gateway, fake = running
    gateway.lose_patience(0.2)
    with contextlib.closing(blocker(gateway)) as locked:
        locked.execute("BEGIN IMMEDIATE")
        answer = gateway.chat(MODEL)
        locked.execute("ROLLBACK")
    assert (answer.status, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert len(fake.received) == 0
    fake.add(json_reply(openai_chat("x", usage=USAGE)))
    assert gateway.chat(MODEL).status == 200
    assert len(gateway.settled(1)) <= 2


@pytest.mark.parametrize("arrives", [False, True], ids=["lost on its way", "its answer lost"])
@pytest.mark.parametrize("streamed", [False, True])
def test_t96_an_end_whose_commit_is_unknown_is_shown_neither_way(
    tmp_path: Path, databases: Databases, arrives: bool, streamed: bool
) -> None:
    """The connection is closed without either frame: to call it charged or not could be untrue."""
    url = databases.empty()
    with (
        CutSocket(url, tmp_path) as cut,
        gateway_in(tmp_path, {"database.url": cut.url, "database.lease_s": 60.0}) as (gateway, fake),
    ):
        gateway.lose_patience(0.5)
        fake.add(json_reply(openai_chat("", usage=openai_usage(1, 0))))
        assert gateway.chat(MODEL).status == 200
        gateway.settled(1)
        gateway.rest()
        balance, gate = gateway.balance(), threading.Event()
        fake.add(held_stream(gate) if streamed else [WaitFor(gate), *json_reply(openai_chat("Whole", usage=USAGE))])
        with RawClient(gateway.port, timeout_s=20.0) as client:
            client.send(post(gateway.key, {**STREAM, "stream": streamed}, "Connection: close"))
            shown = client.until(b"two") if streamed else b""
            assert eventually(lambda: len(fake.received) == 2)
            cut.refuse = True
            cut.cut_at(b"COMMIT\0", pass_it_on=arrives)
            gate.set()
            shown += client.rest()
        cut.refuse = False
        for withheld in (b"[DONE]", b'"error"', b'"finish_reason":"stop"', b"Whole", b"0\r\n\r\n"):
            assert withheld not in shown
        assert eventually(lambda: row_of(gateway), 15.0)
        row = row_of(gateway)
        assert row is not None
        assert (row["end"], row["charged"]) == (("settled", COST) if arrives else ("released", 0))
        assert gateway.balance() == balance - row["charged"]
        assert ledger.verify(gateway.hub.database) == []
    databases.drop(url)


def row_of(gateway: RunningGateway) -> dict[str, Any] | None:
    """The second request, once it has ended; the database may be away."""
    try:
        return next(iter(gateway.rows("SELECT * FROM requests ORDER BY id")[1:]), None)
    except Exception:
        time.sleep(0.1)
        return None


def test_a_reply_that_cannot_be_sent_on_is_not_charged(running: Running) -> None:
    """Nested deeper than can be written again: the upstream's fault, found before the charge."""
    gateway, fake = running
    balance = gateway.balance()
    deep = openai_chat("x", usage=USAGE)
    deep["choices"][0]["message"]["extra"] = "@"
    body = json.dumps(deep).replace('"@"', "[" * 400 + "]" * 400).encode()
    fake.add(json_reply(body))
    answer = gateway.chat(MODEL)
    assert answer.status == 502, answer.body
    assert b"nothing was charged" in answer.body
    (row,) = gateway.settled(1)
    assert (row["end"], gateway.balance()) == ("released", balance)
