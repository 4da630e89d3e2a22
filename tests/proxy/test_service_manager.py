"""A gateway under a service manager: started by its own program, on a socket that outlives it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.fakes.raw_client import RawClient, eventually, post
from tests.proxy.conftest import BODY, Site
from tests.serving import DEADLINE_S, QUICK
from tokenhub.store import ledger

PROGRAM = Path(sys.executable).with_name("tokenhub")
HAND_OVER = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3)\n"
    "os.environ.setdefault('LISTEN_PID', str(os.getpid()))\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)
"""What systemd does between fork and exec."""


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


class Manager:
    """Starts the program as systemd would, and hears what it says of itself."""

    def __init__(self, site: Site, handed: socket.socket, folder: Path) -> None:
        self._site, self._handed = site, handed
        self._folder = folder
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(folder / "notify"))
        self.told.settimeout(DEADLINE_S)

    @contextlib.contextmanager
    def start(self, *arguments: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
        handed = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "tokenhub.socket", "NOTIFY_SOCKET": str(self._folder / "notify")}
        own = {"TOKENHUB_HOME": str(self._site.home.path)}
        environment: Mapping[str, str] = {**os.environ, **QUICK, **own, **handed, **variables}
        command = [sys.executable, "-c", HAND_OVER, str(self._handed.fileno()), str(PROGRAM), "serve", *arguments]
        said, handed_fds = subprocess.PIPE, (self._handed.fileno(),)
        with subprocess.Popen(
            command, env=environment, pass_fds=handed_fds, stdout=said, stderr=subprocess.STDOUT
        ) as running:
            try:
                yield running
            finally:
                running.kill()

    def close(self) -> None:
        self.told.close()


@pytest.fixture
def manager(site: Site, listening: socket.socket, tmp_path: Path) -> Iterator[Manager]:
    made = Manager(site, listening, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_t67_who_asks_while_one_gateway_stops_and_the_next_starts_waits_and_is_answered(
    site: Site, listening: socket.socket, manager: Manager, workers: str
) -> None:
    port = listening.getsockname()[1]
    answers: list[int] = []

    def ask() -> None:
        with RawClient(port, timeout_s=DEADLINE_S) as client:
            client.send(post(site.key, BODY))
            answers.append(client.reply().status)

    with manager.start("--workers", workers) as first:
        assert manager.told.recv(100) == b"READY=1"
        ask()
        first.send_signal(signal.SIGTERM)
        assert first.wait(DEADLINE_S) == 0
    between = [threading.Thread(target=ask) for _ in range(5)]
    for one in between:
        one.start()
    with manager.start("--workers", workers) as second:
        assert manager.told.recv(100) == b"READY=1"
        for one in between:
            one.join(DEADLINE_S)
        second.send_signal(signal.SIGTERM)
        said, _ = second.communicate(timeout=DEADLINE_S)
    assert f"TokenHub serves on http://127.0.0.1:{port}\n" in said.decode()
    assert (answers, second.returncode) == ([200] * 6, 0)
    assert ledger.verify(site.hub.database) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_t67_signals_that_come_while_it_ends_do_not_make_its_end_a_failure(manager: Manager, workers: str) -> None:
    with manager.start("--workers", workers) as running:
        assert manager.told.recv(100) == b"READY=1"
        while running.poll() is None:
            running.send_signal(signal.SIGTERM)
            running.send_signal(signal.SIGINT)
            time.sleep(0.001)
        said, _ = running.communicate(timeout=DEADLINE_S)
    assert (running.returncode, b"Traceback" in said) == (0, False), said


def test_t67_a_signal_that_comes_while_a_worker_hangs_in_its_start_is_passed_on(manager: Manager) -> None:
    with manager.start("--workers", "2") as running:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        assert eventually(lambda: bool(children.read_text()))
        hanging = int(children.read_text().split()[0])
        os.kill(hanging, signal.SIGSTOP)
        time.sleep(0.3)
        running.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        os.kill(hanging, signal.SIGCONT)
        said, _ = running.communicate(timeout=DEADLINE_S)
    assert (running.returncode, said) == (0, b"")


def test_a_socket_for_another_process_is_left_alone(listening: socket.socket, manager: Manager) -> None:
    with manager.start("--port", "0", LISTEN_PID="1") as running:
        assert manager.told.recv(100) == b"READY=1"
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=DEADLINE_S)
    assert b"TokenHub serves on" in said
    assert f":{listening.getsockname()[1]}\n".encode() not in said


@pytest.mark.parametrize(
    ("kind", "number", "told"),
    [(socket.SOCK_DGRAM, "1", b"write ListenStream="), (socket.SOCK_STREAM, "1", b"no Accept=yes"), (socket.SOCK_STREAM, "2", b"2 sockets")],
    ids=["datagrams", "one connection", "two sockets"],
)  # fmt: skip
def test_what_cannot_be_served_on_is_refused_with_what_to_write(
    site: Site, tmp_path: Path, kind: int, number: str, told: bytes
) -> None:
    with (
        socket.socket(socket.AF_INET, kind) as handed,
        contextlib.closing(Manager(site, handed, tmp_path)) as manager,
        manager.start(LISTEN_FDS=number) as running,
    ):
        said, _ = running.communicate(timeout=DEADLINE_S)
    assert (running.returncode, told in said, b"Traceback" in said) == (1, True, False), said
