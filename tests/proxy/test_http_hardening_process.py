"""The serving process at its limits: few descriptors, and the end of its life with streams under way."""

import contextlib
import os
import resource
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.fakes.raw_client import Closed, RawClient, eventually, head, post
from tests.proxy.conftest import BODY, Site
from tests.serving import Serving
from tokenhub.proxy.server import within_descriptors
from tokenhub.store import ledger

SOAK = os.environ.get("TOKENHUB_SOAK") == "1"


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_calm(pid: int) -> bool:
    """Whether a process leaves its processor alone for most of a second."""
    before = cpu_s(pid)
    time.sleep(1.0)
    return cpu_s(pid) - before < 0.5


@pytest.mark.soak
def test_t65_more_connections_than_descriptors_are_refused_and_it_recovers(site: Site) -> None:
    number = 1000 if SOAK else 400
    with site.serve() as serving:
        pid = serving.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (256, 256))
        idle: list[RawClient] = []
        try:
            for _ in range(number):
                idle.append(RawClient(serving.port, timeout_s=2.0))
            time.sleep(0.3)
            assert is_calm(pid), "it does not spin"
            assert idle[-1].reply().status == 503
        finally:
            for client in idle:
                client.socket.close()

        def answers() -> bool:
            try:
                with RawClient(serving.port, timeout_s=2.0) as client:
                    client.send(post(site.key, BODY))
                    return client.reply().status == 200
            except (OSError, Closed):
                return False

        assert eventually(answers, 5.0)
        assert serving.stop() == 0
    assert ledger.verify(site.hub.database) == []
    assert "Traceback" not in site.log.read_text()


@pytest.mark.soak
def test_t65_a_process_with_few_descriptors_says_that_it_is_full(site: Site) -> None:
    """It takes as many connections as its descriptors allow, so it is never short of one for an upstream or the store."""
    number = 1000 if SOAK else 300
    with contextlib.ExitStack() as stack:
        serving = stack.enter_context(site.serve(server_max_connections=96))
        resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE, (256, 256))
        clients = [stack.enter_context(RawClient(serving.port)) for _ in range(number)]
        refused = 0
        for client in clients[96:]:
            with contextlib.suppress(OSError, Closed):
                refused += client.reply().status == 503
        assert refused == number - 96
        for client in clients[:96]:
            client.send(post(site.key, BODY))
        assert {client.reply().status for client in clients[:96]} == {200}
        assert len(list(Path(f"/proc/{serving.process.pid}/fd").iterdir())) < 256
        for client in clients:
            client.socket.close()

        def is_answered() -> bool:
            with RawClient(serving.port) as client, contextlib.suppress(OSError, Closed):
                client.send(post(site.key, BODY))
                return client.reply().status == 200
            return False

        assert eventually(is_answered), "those who left have made room"
        assert serving.stop() == 0


def test_t65_the_system_is_asked_for_the_descriptors_that_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"now": (1024, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, value: limits.update(now=value))
    assert (within_descriptors(100), limits["now"]) == (100, (1024, 4096))
    assert (within_descriptors(1000), limits["now"]) == (1000, (2064, 4096))
    assert (within_descriptors(4096), limits["now"]) == (2016, (4096, 4096))
    limits["now"] = (1024, resource.RLIM_INFINITY)
    assert (within_descriptors(4096), limits["now"]) == (4096, (8256, resource.RLIM_INFINITY))
    limits["now"] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert within_descriptors(4096) == 4096


def begin(serving: Serving, key: str, said: str, number: int) -> list[RawClient]:
    """Begin so many streams; each has shown its first content."""
    clients = [RawClient(serving.port, timeout_s=20.0) for _ in range(number)]
    body = {**BODY, "stream": True, "messages": [{"role": "user", "content": said}]}
    for client in clients:
        client.send(post(key, body))
    for client in clients:
        client.until(b"One ")
    return clients


def takes_requests(serving: Serving) -> bool:
    try:
        with RawClient(serving.port) as client:
            client.send(head("GET", "/healthz"))
            return client.more()
    except OSError:
        return False


def read_all(clients: list[RawClient]) -> list[bytes]:
    """What each client was told to its end, read at the same time."""
    told = [b""] * len(clients)

    def read(number: int) -> None:
        with contextlib.suppress(OSError):
            told[number] = clients[number].rest()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.socket.close()
    return told


def test_t67_streams_that_end_in_time_are_finished_and_charged(site: Site) -> None:
    with site.serve() as serving:
        clients = begin(serving, site.key, "slow", 50)
        serving.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert not takes_requests(serving)
        told = read_all(clients)
        assert serving.process.wait(10) == 0
    assert all(one.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for one in told)
    assert site.rows("SELECT COUNT(*), MIN(charged), MAX(charged) FROM requests WHERE \"end\" = 'settled'") == [
        (50, 216_300, 216_300)
    ]
    assert site.rows("SELECT 1 FROM holds") == []
    assert ledger.verify(site.hub.database) == []
    assert "Traceback" not in site.log.read_text()


@pytest.mark.parametrize("hurry", ["a second signal", "the deadline"])
def test_t67_streams_that_do_not_end_are_told_and_released(site: Site, hurry: str) -> None:
    with site.serve(server_shutdown_s=30 if hurry == "a second signal" else 0.5) as serving:
        clients = begin(serving, site.key, "endless", 50)
        gone = begin(serving, site.key, "endless", 3)
        for client in gone:
            client.reset()
        started = time.monotonic()
        serving.process.send_signal(signal.SIGTERM)
        if hurry == "a second signal":
            time.sleep(0.3)
            serving.process.send_signal(signal.SIGTERM)
        told = read_all(clients)
        assert serving.process.wait(15) == 0
        assert time.monotonic() - started < 8.0
    for one in told:
        assert b'"finish_reason":"error"' in one
        assert b'"code":"overloaded"' in one
        assert b"[DONE]" not in one
        assert one.endswith(b"0\r\n\r\n")
    ended = dict(site.rows('SELECT "end", COUNT(*) FROM requests GROUP BY "end"'))
    assert ended == {"released": 50, "settled": 3}, "who had left after content pays an estimate of what was received"
    assert site.rows("SELECT 1 FROM requests WHERE \"end\" = 'settled' AND NOT (estimated AND cancelled)") == []
    assert site.rows("SELECT 1 FROM holds") == []
    assert ledger.verify(site.hub.database) == []
    assert "Traceback" not in site.log.read_text()


def test_t67_a_connection_that_waits_for_its_next_request_is_closed_at_once(site: Site) -> None:
    """Its client must not send into the void until the last stream of others has ended."""
    with site.serve(server_shutdown_s=30) as serving:
        (stream,) = begin(serving, site.key, "endless", 1)
        with RawClient(serving.port) as used, RawClient(serving.port) as fresh:
            used.send(head("GET", "/healthz"))
            assert used.reply().status == 200
            serving.process.send_signal(signal.SIGTERM)
            assert used.is_closed()
            assert fresh.is_closed()
            assert not stream.is_closed(0.2)
        serving.process.send_signal(signal.SIGTERM)
        read_all([stream])
        assert serving.process.wait(15) == 0


def test_t67_a_request_whose_body_is_on_its_way_is_answered(site: Site) -> None:
    with site.serve(server_shutdown_s=30) as serving:
        (stream,) = begin(serving, site.key, "endless", 1)
        whole = post(site.key, BODY)
        with RawClient(serving.port, timeout_s=5.0) as client:
            client.send(whole[:-20])
            time.sleep(0.2)
            serving.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            client.send(whole[-20:])
            reply = client.reply()
            assert (reply.status, reply.headers.get("connection")) == (200, "close")
            assert client.is_closed()
        serving.process.send_signal(signal.SIGTERM)
        read_all([stream])
        assert serving.process.wait(15) == 0
    assert ledger.verify(site.hub.database) == []
