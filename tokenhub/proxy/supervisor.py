"""``tokenhub serve``: owns the listening socket and the embedded model, and runs one or more serving processes.

One worker serves in this very process. With more, each is a fresh process (spawned, never
forked: no database connection crosses, T94) that accepts on the same socket; one that dies
is replaced, and its holds are released by the others.
"""

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tokenhub import clock
from tokenhub.catalog.models import Credential
from tokenhub.errors import SetupError, Unavailable
from tokenhub.observability import log
from tokenhub.operations import models
from tokenhub.operations.hub import Hub
from tokenhub.proxy import service
from tokenhub.proxy.app import Gateway
from tokenhub.proxy.local_model import LocalModel, available
from tokenhub.proxy.watchdog import watched
from tokenhub.settings import OPTIONS, Settings

_LOOK_S = 0.05
"""How often the supervisor looks after its workers."""
_RESTART_PAUSE_S = 1.0
"""Least time between two starts in the place of one worker, or of one gateway."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
HURRY = signal.SIGINT
"""What makes a worker hurry. SIGTERM does not: a service manager may send it to workers beside the supervisor's."""
_ENDED_WELL = (0, -signal.SIGTERM)
"""A worker that had not begun to serve is ended by the signal itself."""
_LOCAL_READY_S = 60.0


def run(hub: Hub, announce: Callable[[str, bool], None]) -> int:
    """Serve until SIGTERM or SIGINT, on the socket that was handed over or one of its own; returns the exit code.

    ``announce`` gets the address once requests are taken, and whether the embedded model runs.
    """
    log.configure(hub.settings.log_level)
    listener = service.listener() or listen(hub.settings.server_host, hub.settings.server_port)
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with _local_model(hub.settings) as credentials:

        def ready() -> None:
            service.tell("READY=1")
            announce(address, bool(credentials))

        if hub.settings.server_workers == 1:
            run_loop(serve(hub, [listener], credentials, ready))
            return 0
        return _Workers(hub, listener, credentials).run(ready)


def listen(host: str, port: int) -> socket.socket:
    """Bind the address to serve on; a port that is taken is an error with a remedy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(4096)
    except OSError as error:
        listener.close()
        raise SetupError(
            f"Cannot listen on {host}:{port} ({error.strerror}). Is another gateway running? Choose another with --port."
        ) from None
    listener.setblocking(False)
    return listener


@contextlib.contextmanager
def _local_model(settings: Settings) -> Iterator[Sequence[Credential]]:
    """Run the embedded model beside the gateway, if it is wanted and can run; yields its credential."""
    if not settings.local_enabled:
        yield ()
        return
    if (reason := available()) is not None:
        log.event("local_model_off", reason=reason)
        yield ()
        return
    model = LocalModel(threads=settings.local_threads, slots=settings.local_slots)
    model.start()
    try:
        yield _credential_of(model)
    finally:
        model.stop()


def _credential_of(model: LocalModel) -> tuple[Credential, ...]:
    try:
        endpoint = model.ready(_LOCAL_READY_S)
    except SetupError as error:
        log.event("local_model_off", level="warning", reason=error.message)
        return ()
    return (models.local_credential(endpoint.api_key, endpoint.base_url),)


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop, or on asyncio's loop where there is none."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def serve(
    hub: Hub,
    sockets: Sequence[socket.socket],
    credentials: Sequence[Credential],
    ready: Callable[[], None],
    *,
    hurried_by: Sequence[signal.Signals] = _SIGNALS,
) -> None:
    """Serve in this process until told to stop; a second signal, one of ``hurried_by``, ends what is under way at once.

    A gateway whose lease was lost is replaced by a new one under a new lease, on the same sockets, as soon as the database is there.
    """
    over, hurry = asyncio.Event(), asyncio.Event()
    signals = 0

    def told(number: int) -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            over.set()
        elif number in hurried_by:
            hurry.set()

    loop = asyncio.get_running_loop()
    with _signals_to(lambda number: loop.call_soon_threadsafe(told, number)), watched(hub.settings.server_watchdog_s):
        first, is_told = True, False
        while not signals:
            over.clear()
            try:
                gateway = await Gateway.start(hub, [one.dup() for one in sockets], credentials, on_lost=over.set)
            except Unavailable as error:
                if first:
                    raise
                if not is_told:
                    log.event("lease_not_taken", level="warning", code=error.code)
                is_told = True
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _RESTART_PAUSE_S)
                continue
            if first:
                ready()
            first = is_told = False
            await over.wait()
            if signals:
                for one in sockets:
                    one.close()
            await gateway.stop(hurry)


@contextlib.contextmanager
def _signals_to(handle: Callable[[int], object]) -> Iterator[None]:
    """Handle the signals that end a process; afterwards it is about to end, and those that come are ignored.

    Not by the loop's handlers: with these gone a late one would end the process in the midst of its end, as a failure.
    """
    for number in _SIGNALS:
        signal.signal(number, lambda number, _: handle(number))
    try:
        yield
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@dataclass(slots=True)
class _Worker:
    """One serving process of several."""

    process: "subprocess.Popen[bytes]"
    started_s: float
    signals: int = 0
    """How many it was sent: the first asks it to end, the second to hurry."""


class _Workers:
    """Several serving processes on one socket."""

    def __init__(self, hub: Hub, listener: socket.socket, credentials: Sequence[Credential]) -> None:
        self._number = hub.settings.server_workers
        self._listener = listener
        self._handover = orjson.dumps(
            {
                "fd": listener.fileno(),
                "home": str(hub.home.path),
                "settings": {option.key: getattr(hub.settings, option.name) for option in OPTIONS},
                "credentials": [
                    [one.id, one.provider, one.region, one.label, one.secret, one.base_url] for one in credentials
                ],
            }
        )
        self._workers: list[_Worker] = []
        self._signals = 0

    def run(self, ready: Callable[[], None]) -> int:
        """Start them, replace those that die, pass signals on; returns the exit code when all have ended."""
        with _signals_to(self._on_signal):
            for _ in range(self._number):
                self._workers.append(self._spawn())
            if all(self._is_ready(one) for one in self._workers):
                ready()
            elif not self._signals:
                raise SetupError("A worker process did not start; its message stands above.")
            while not self._signals:
                time.sleep(_LOOK_S)
                self._replace_the_dead()
            return self._end()

    def _is_ready(self, worker: _Worker) -> bool:
        """Wait until a worker takes requests; False when it ended instead, or when all are to end."""
        assert worker.process.stdout is not None
        while not self._signals:
            if select.select([worker.process.stdout], [], [], _LOOK_S)[0]:
                return worker.process.stdout.readline().strip() == b"READY"
        return False

    def _spawn(self) -> _Worker:
        os.set_inheritable(self._listener.fileno(), True)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tokenhub.proxy.worker"],  # -P: what lies in the current folder is no module
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._listener.fileno(),),
            start_new_session=True,
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # one that is dead already is replaced like any other
            process.stdin.write(self._handover + b"\n")
            process.stdin.flush()
        return _Worker(process, clock.monotonic_s())

    def _replace_the_dead(self) -> None:
        """Start another in place of one that has died; of one that cannot even start, not faster than it dies."""
        for number, worker in enumerate(self._workers):
            died = worker.process.poll() is not None
            if died and clock.monotonic_s() >= worker.started_s + _RESTART_PAUSE_S and not self._signals:
                log.event("worker_died", level="error", pid=worker.process.pid, code=worker.process.returncode)
                _close(worker.process)
                self._workers[number] = self._spawn()

    def _end(self) -> int:
        """Take no more connections, and wait for every worker to end what it has under way."""
        self._listener.close()
        self._workers = [worker for worker in self._workers if worker.process.poll() is None]
        while any(worker.process.poll() is None for worker in self._workers):
            self._pass_on()
            time.sleep(_LOOK_S)
        return int(any(worker.process.returncode not in _ENDED_WELL for worker in self._workers))

    def _pass_on(self) -> None:
        """Send every worker the signals that it has not been sent yet, also one that was started meanwhile."""
        for worker in self._workers:
            if worker.signals < self._signals:
                worker.signals += 1
                with contextlib.suppress(ProcessLookupError):
                    worker.process.send_signal(signal.SIGTERM if worker.signals == 1 else HURRY)

    def _on_signal(self, _: int) -> None:
        self._signals += 1


def _close(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
