"""``serve --workers 2`` and the life of a serving process: death, replacement, ends, a lost lease, a store that is away."""

import asyncio
import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import process_environment
from tests.fakes import mixed_load
from tests.fakes.cut_socket import CutSocket
from tests.fakes.mixed_load import MODEL
from tests.fakes.upstream import (
    FakeUpstream,
    Pause,
    Received,
    Reply,
    WaitForClientClose,
    json_reply,
    openai_chat,
    openai_stream,
    openai_usage,
    sse_reply,
)
from tests.forked import Piped, execute
from tests.serving import DEADLINE_S, MAIN, QUICK, Serving
from tokenhub.operations import accounts, credentials, grants, keys
from tokenhub.operations.hub import Hub
from tokenhub.store import ledger

SLOW = "slow"
"""A prompt whose answer does not come until its asker leaves."""


def script(request: Received) -> Reply:
    body = request.json()
    said = body["messages"][-1]["content"]
    if said == SLOW:
        frames = openai_stream(["begun ", "never told"])
        return sse_reply([*frames[:2], WaitForClientClose()])
    if body.get("stream"):
        return sse_reply([*openai_stream([said], usage=openai_usage(20, 10))])
    return [Pause(0.01), *json_reply(openai_chat(said, usage=openai_usage(20, 10)))]


class Installation:
    """A hub with one account, one upstream, and the processes that serve from it."""

    def __init__(self, hub: Hub, upstream: FakeUpstream, folder: Path) -> None:
        self.hub = hub
        self.upstream = upstream
        self.log = folder / "gateway.log"
        self.account_id = accounts.create(hub, "acme").account.id
        accounts.change(hub, self.account_id, {"key_rpm": 100_000, "account_rpm": 100_000, "concurrency": 1000})
        grants.grant(hub, self.account_id, 10**11, expires_at_ms=None)
        self.key = keys.create(hub, self.account_id).secret
        new = credentials.NewCredential(provider="openai", secret="sk-upstream-000001", base_url=upstream.url)
        credentials.add(hub, new)

    def serve(self, *arguments: str, **variables: str) -> Serving:
        environment = process_environment(self.hub.settings, self.hub.home) | variables
        return Serving(environment, self.log, *arguments, key=self.key)

    def open_holds(self) -> int:
        ((number,),) = self.hub.database.rows("SELECT COUNT(*) FROM holds")
        return int(number)

    def alive(self) -> set[int]:
        """The processes whose leases have not ended."""
        return {pid for (pid,) in self.hub.database.rows("SELECT pid FROM leases WHERE state = 'live'")}


@pytest.fixture
def installation(hub: Hub, tmp_path: Path) -> Iterator[Installation]:
    with FakeUpstream(script) as upstream:
        yield Installation(hub, upstream, tmp_path)


def wait_until(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_imports_nothing_from_the_folder_it_is_started_in(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "signal.py").write_text("raise SystemExit('of a stranger')")
    hub = installation.hub
    begun = f"import os; os.chdir({str(tmp_path)!r}); {MAIN}"
    own = {**QUICK, **process_environment(hub.settings, hub.home)}
    options = ("--json", "serve", "--port", "0", "--no-local", "--workers", "2")
    with installation.log.open("ab") as messages:
        process = Piped(execute, begun, *options, environment=own, stderr=messages.fileno())
    with process:
        assert process.stdout.readline().startswith('{"address": "http://127.0.0.1:'), installation.log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


def begin(serving: Serving, number: int) -> tuple[list[threading.Thread], list[bytes]]:
    """Begin so many streams that do not end by themselves; return what each was told when it is over."""
    told: list[bytes] = []

    def ask() -> None:
        try:
            told.append(serving.chat(MODEL, SLOW, stream=True).body)
        except http.client.IncompleteRead as part:
            told.append(part.partial)
        except (OSError, http.client.HTTPException):
            told.append(b"")

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads, told


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_t94_a_killed_worker_is_replaced_and_its_holds_are_released_at_once(installation: Installation) -> None:
    with installation.serve("--workers", "2") as serving:
        first, second = serving.workers()
        threads, told = begin(serving, 12)
        wait_until(lambda: installation.open_holds() == 12)
        os.kill(first, signal.SIGKILL)
        killed_s = time.monotonic()
        wait_until(lambda: len(serving.workers()) == 2 and first not in serving.workers())
        wait_until(lambda: installation.open_holds() == 12 - len(told))
        assert time.monotonic() - killed_s < 10.0, "not after the lease, which lasts 15 s"
        assert second in serving.workers()
        wait_until(lambda: serving.chat(MODEL).status == 200)
        os.kill(second, signal.SIGKILL)
        for thread in threads:
            thread.join(10)
        wait_until(lambda: installation.open_holds() == 0)
        wait_until(lambda: second not in serving.workers() and len(serving.workers()) == 2)
        wait_until(lambda: installation.alive() == set(serving.workers()))
        assert {serving.chat(MODEL).status for _ in range(6)} == {200}
        assert serving.stop() == 0
    assert ledger.verify(installation.hub.database) == []
    assert installation.hub.database.rows("SELECT DISTINCT state FROM leases") == [("ended",)]
    charged = installation.hub.database.rows("SELECT COUNT(*) FROM requests WHERE charged > 0 AND status <> 200")
    assert charged == [(0,)]


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_t67_term_ends_all_workers_with_their_streams_and_holds(installation: Installation) -> None:
    with installation.serve("--workers", "2", TOKENHUB_SERVER_SHUTDOWN_S="30") as serving:
        workers = serving.workers()
        threads, told = begin(serving, 8)
        wait_until(lambda: installation.open_holds() == 8)
        serving.process.send_signal(signal.SIGTERM)

        def is_refused() -> bool:
            try:
                serving.chat(MODEL)
            except ConnectionRefusedError:
                return True
            except (OSError, http.client.HTTPException):
                return False
            return False

        wait_until(is_refused)
        assert installation.open_holds() == 8
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(15) == 0
        for thread in threads:
            thread.join(10)
        assert [(b'"finish_reason":"error"' in one, b"[DONE]" in one) for one in told] == [(True, False)] * 8
        assert not any(is_alive(worker) for worker in workers)
    assert installation.open_holds() == 0
    assert ledger.verify(installation.hub.database) == []


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_t67_workers_that_are_told_to_end_twice_still_end_what_they_have_under_way(installation: Installation) -> None:
    """systemd tells every process of a service to end, and so does the supervisor."""
    with installation.serve("--workers", "2", TOKENHUB_SERVER_SHUTDOWN_S="30") as serving:
        workers = serving.workers()
        threads, _ = begin(serving, 8)
        wait_until(lambda: installation.open_holds() == 8)
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        serving.process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        assert installation.open_holds() == 8
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(15) == 0
        assert not any(is_alive(worker) for worker in workers)
        for thread in threads:
            thread.join(10)
    assert installation.open_holds() == 0
    assert ledger.verify(installation.hub.database) == []


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_workers_end_when_their_supervisor_has_died(installation: Installation) -> None:
    with installation.serve("--workers", "2") as serving:
        workers = serving.workers()
        begin(serving, 4)
        wait_until(lambda: installation.open_holds() == 4)
        serving.kill()
        wait_until(lambda: not any(is_alive(worker) for worker in workers), 15)
    assert installation.open_holds() == 0
    assert installation.hub.database.rows("SELECT DISTINCT state FROM leases") == [("ended",)]


@pytest.mark.soak
def test_t94_workers_share_a_mixed_load_and_lose_some_of_their_number(installation: Installation) -> None:
    """Two workers, one of them killed every 0.8 s: the other goes on, and the ledger is right at the end."""
    chance = random.Random(5)
    seconds = 60.0 if os.environ.get("TOKENHUB_SOAK") else 2.0
    installation.upstream.script = mixed_load.answer
    with installation.serve("--workers", "2") as serving:
        over_s, next_s = time.monotonic() + seconds, time.monotonic() + 0.5
        killed = 0

        def is_over() -> bool:
            nonlocal next_s, killed
            now_s = time.monotonic()
            if next_s <= now_s < over_s:
                next_s = now_s + 0.8
                os.kill(chance.choice(serving.workers()), signal.SIGKILL)
                killed += 1
            return now_s >= over_s

        told = asyncio.run(mixed_load.run(serving.port, installation.key, clients=8, chance=chance, is_over=is_over))
        wait_until(lambda: installation.open_holds() == 0)
        assert killed >= 2
        assert serving.stop() == 0
    assert Counter(one.status for one in told)[200] > 20
    assert ledger.verify(installation.hub.database) == []
    mixed_load.check(installation.hub.database, told)


def test_a_gateway_whose_lease_was_ended_begins_anew(installation: Installation) -> None:
    with installation.serve() as serving:
        threads, told = begin(serving, 2)
        wait_until(lambda: installation.open_holds() == 2)
        with installation.hub.database.write():
            installation.hub.database.execute("UPDATE leases SET state = 'ended'")
        for thread in threads:
            thread.join(10)
        assert [b'"finish_reason":"error"' in one for one in told] == [True, True]
        wait_until(lambda: serving.chat(MODEL).status == 200)
        wait_until(lambda: installation.open_holds() == 0)
        assert installation.hub.database.row("SELECT COUNT(*) FROM leases WHERE state = 'live'") == (1,)
        assert serving.stop() == 0
    assert ledger.verify(installation.hub.database) == []


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_t97_a_gateway_that_begins_anew_waits_for_a_database_that_is_away(
    installation: Installation, tmp_path: Path
) -> None:
    with (
        CutSocket(installation.hub.settings.database_url, tmp_path) as way,
        installation.serve(TOKENHUB_DATABASE_URL=way.url, TOKENHUB_DATABASE_LEASE_S="5") as serving,
    ):
        assert serving.chat(MODEL).status == 200
        way.cut_at(b"INSERT INTO leases", pass_it_on=False)
        way.refuse = True
        with installation.hub.database.write():
            installation.hub.database.execute("UPDATE leases SET state = 'ended'")
        wait_until(lambda: "lease_not_taken" in installation.log.read_text())
        way.refuse = False
        assert serving.chat(MODEL).status == 200
        assert serving.stop() == 0
    assert installation.log.read_text().count("lease_not_taken") == 1
