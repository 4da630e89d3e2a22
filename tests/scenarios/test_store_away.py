"""The database is away for a while, under load: nothing is served unmetered, and what was running is booked on its return (T97)."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.fakes.cut_socket import CutSocket
from tests.fakes.standby import Standby
from tests.fakes.upstream import (
    FakeUpstream,
    Received,
    Reply,
    WaitFor,
    json_reply,
    openai_chat,
    openai_stream,
    sse_reply,
)
from tests.harness import QUICK, Answer, RunningGateway, start_gateway, temporary_home
from tokenhub.cli import app
from tokenhub.errors import Unavailable
from tokenhub.operations.hub import Hub
from tokenhub.proxy import app as gateway_app
from tokenhub.proxy.runtime import AWAY_TOLD_EVERY_S
from tokenhub.store import ledger
from tokenhub.store.database import Database, StoreUnavailable, opened_beside

AWAY_S = 60.0 if os.environ.get("TOKENHUB_SOAK") else 2.0
PATIENCE_S = 10.0
"""How long a charge is tried to be booked before its reply is given up."""
MODEL = "gpt-4o-mini"

go = threading.Event()


def script(request: Received) -> Reply:
    if not request.json().get("stream"):
        return json_reply(openai_chat())
    frames = openai_stream(["one ", "two ", "three"])
    return sse_reply([*frames[:2], WaitFor(go), *frames[2:]])


@pytest.fixture
def way(databases: Databases, tmp_path: Path) -> Iterator[CutSocket]:
    """The gateway's way to its database."""
    url = databases.empty()
    with CutSocket(url, tmp_path) as way:
        yield way
    databases.drop(url)


@pytest.fixture
def served(way: CutSocket, tmp_path: Path) -> Iterator[tuple[RunningGateway, FakeUpstream]]:
    go.clear()
    gateway = start_gateway(temporary_home(tmp_path), {"database.url": way.url})
    with FakeUpstream(script) as upstream:
        gateway.add_credential("openai", upstream.url)
        yield gateway, upstream
        go.set()
        way.refuse = False
        gateway.stop()


@pytest.mark.soak
def test_t97_database_away_under_load_fails_closed_and_books_what_was_running(
    served: tuple[RunningGateway, FakeUpstream], way: CutSocket, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway, upstream = served
    assert gateway.chat(MODEL).status == 200
    streams: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: streams.append(gateway.chat(MODEL, stream=True).body), daemon=True)
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    wait_for_holds(gateway, 8)
    while len(upstream.received) < 9:
        time.sleep(0.01)
    way.refuse = True
    way.cut_now()
    asked, begun_s = len(upstream.received), time.monotonic()
    refused: list[Answer] = []
    booked_s = AWAY_S - 0.5 if AWAY_S < PATIENCE_S else 1.0
    while time.monotonic() < begun_s + AWAY_S:
        if time.monotonic() > begun_s + booked_s:
            go.set()  # the streams' upstreams end while there is nothing to book them in
        refused.append(gateway.chat(MODEL))
        assert gateway.call("GET", "/healthz").status == 200
        assert gateway.call("GET", "/v1/key").status == 503
        time.sleep(0.02)
    assert Counter(one.status for one in refused) == {503: len(refused)}
    assert {one.json()["error"]["code"] for one in refused} == {"ledger_unavailable"}
    assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
    assert len(upstream.received) == asked, "nothing is sent that could not be charged"
    assert 1 <= capsys.readouterr().err.count('"store_read"') <= 1 + AWAY_S / AWAY_TOLD_EVERY_S
    way.refuse = False
    for thread in threads:
        thread.join(30)
    in_time = AWAY_S < PATIENCE_S
    assert [b"data: [DONE]" in one for one in streams] == [in_time] * 8
    assert [b'"code":"ledger_unavailable"' in one for one in streams] == [not in_time] * 8
    await_service(gateway)
    ends = gateway.rows('SELECT "end", COUNT(*) AS n FROM requests WHERE streamed = 1 GROUP BY "end"')
    assert ends == [{"end": "settled" if in_time else "released", "n": 8}]
    assert gateway.rows("SELECT * FROM holds") == []
    assert ledger.verify(gateway.hub.database) == []


def test_t96_a_gateway_whose_commits_have_no_end_refuses_and_stops(
    way: CutSocket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_app, "_ANSWER_S", 0.5)
    gateway = start_gateway(temporary_home(tmp_path), {"database.url": way.url})
    with opened_beside(gateway.hub.settings, gateway.hub.home) as server:
        standby = Standby(server)
        with FakeUpstream(script) as upstream:
            gateway.add_credential("openai", upstream.url)
            standby.leave()
            refused = gateway.chat(MODEL)
            assert (refused.status, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
            assert not upstream.received
            standby.come_back()
            gateway.stop()
        assert server.rows("SELECT 1 FROM holds") == []
        assert ledger.verify(server) == []


def test_t97_a_gateway_whose_reads_have_no_end_refuses_and_stops(
    way: CutSocket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_app, "_ANSWER_S", 0.5)
    gateway = start_gateway(temporary_home(tmp_path), {"database.url": way.url})
    assert gateway.gateway is not None
    with pytest.raises(Unavailable, match="The ledger does not answer"):
        gateway.run(gateway.gateway.runtime.read(hang))
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        gateway.run(in_the_loop(gateway.hub.database))
    assert gateway.call("GET", "/readyz").status == 200
    gateway.stop()


def hang(database: Database) -> None:
    with database.read():
        database.row("SELECT pg_sleep(60)")


async def in_the_loop(database: Database) -> None:
    hang(database)


@pytest.mark.parametrize(
    "line",
    ["requests list --follow", f"requests show req_{'0' * 32} --follow", "status --watch", "status --watch --json"],
)
def test_t97_who_watches_waits_for_a_database_that_is_away_and_goes_on(
    way: CutSocket, tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = temporary_home(tmp_path)
    Hub.init(home, {**QUICK, "database.url": way.url}).close()
    looks = 0

    def look(_: float) -> None:
        nonlocal looks
        looks += 1
        way.refuse = looks == 2
        way.cut_now()
        if looks == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", look)
    monkeypatch.setenv("TOKENHUB_HOME", str(home.path))
    monkeypatch.setenv("TOKENHUB_DATABASE_URL", way.url)
    assert app.run(line.split()) == 130
    assert capsys.readouterr().err.count("cannot be reached") == line.startswith("status")


def wait_for_holds(gateway: RunningGateway, number: int) -> None:
    deadline = time.monotonic() + 10
    while open_holds(gateway) != number:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def open_holds(gateway: RunningGateway) -> int | None:
    try:
        return len(gateway.rows("SELECT 1 AS one FROM holds"))
    except StoreUnavailable:
        return None  # the test's own connection was cut as well; the next use opens another


def await_service(gateway: RunningGateway) -> None:
    """The gateway serves again by itself, within seconds."""
    deadline = time.monotonic() + 5
    while gateway.chat(MODEL).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    wait_for_holds(gateway, 0)
