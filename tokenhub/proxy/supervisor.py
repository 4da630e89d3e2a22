"""``tokenhub serve``: owns the listening socket and the embedded model, and runs one or more serving processes.

One worker serves in this very process. With more, each is a fresh process (spawned, never
forked: no database connection crosses, T94) that accepts on the same socket; one that dies
is replaced, and its holds are released by the others.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import orjson

from tokenhub.catalog.models import Credential
from tokenhub.errors import SetupError
from tokenhub.observability import log
from tokenhub.operations.hub import Hub
from tokenhub.proxy.app import Gateway
from tokenhub.proxy.local_model import LocalModel, available
from tokenhub.settings import OPTIONS, Settings

_RESTART_PAUSE_S = 1.0
_LOCAL_READY_S = 60.0


def run(hub: Hub, announce: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. ``announce`` gets the address once requests are taken."""
    log.configure(hub.settings.log_level)
    listener = listen(hub.settings.server_host, hub.settings.server_port)
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with _local_model(hub.settings) as credentials:
        if hub.settings.server_workers == 1:
            run_loop(serve(hub, [listener], credentials, lambda: announce(address)))
            return 0
        return _Workers(hub, listener, credentials).run(lambda: announce(address))


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
    return (Credential(0, "local", "local", "embedded model", endpoint.api_key, endpoint.base_url),)


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop, or on asyncio's loop where there is none."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def serve(
    hub: Hub, sockets: Sequence[socket.socket], credentials: Sequence[Credential], ready: Callable[[], None]
) -> None:
    """Serve in this process until told to stop; a second signal ends what is under way at once."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    gateway = await Gateway.start(hub, sockets, credentials)
    ready()
    await stop.wait()
    await gateway.stop(hurry)


class _Workers:
    """Several serving processes on one socket."""

    def __init__(self, hub: Hub, listener: socket.socket, credentials: Sequence[Credential]) -> None:
        self._hub = hub
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
        self._children: list[subprocess.Popen[bytes]] = []
        self._signals = 0

    def run(self, ready: Callable[[], None]) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._children = [self._spawn() for _ in range(self._hub.settings.server_workers)]
        for child in self._children:
            _await_ready(child)
        ready()
        while not self._signals:
            time.sleep(0.2)
            self._replace_the_dead()
        return max([child.wait() for child in self._children], default=0)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        os.set_inheritable(self._listener.fileno(), True)
        child = subprocess.Popen(
            [sys.executable, "-m", "tokenhub.proxy.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._listener.fileno(),),
            start_new_session=True,
        )
        assert child.stdin is not None
        child.stdin.write(self._handover + b"\n")
        child.stdin.flush()
        return child

    def _replace_the_dead(self) -> None:
        for number, child in enumerate(self._children):
            if child.poll() is not None and not self._signals:
                log.event("worker_died", level="error", pid=child.pid, code=child.returncode)
                time.sleep(_RESTART_PAUSE_S)
                self._children[number] = self._spawn()

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signals += 1
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)


def _await_ready(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdout is not None
    if child.stdout.readline().strip() != b"READY":
        raise SetupError("A worker process did not start; its message stands above.")
