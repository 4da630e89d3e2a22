"""Processes that begin as a fork of one that has loaded the program: a start takes milliseconds, not half a second of imports.

All else is as with any other process: its environment, its descriptors and its death are its own. Only what an
interpreter itself reads when it starts (``PYTHONIOENCODING`` and the like) has no effect.
"""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Self

from tokenhub import failpoints

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__, "tests.fakes.loaded"])
_lock = threading.Lock()
"""``multiprocessing`` looks after all children whenever one is started, and an end can be read only once."""


class Forked:
    """A process that runs one function, on the descriptors it is given; used like a ``subprocess.Popen``."""

    def __init__(
        self,
        main: Callable[..., object],
        *arguments: object,
        environment: Mapping[str, str],
        stdin: int,
        stdout: int,
        stderr: int = 2,
    ) -> None:
        ends = [Connection(os.dup(descriptor)) for descriptor in (stdin, stdout, stderr)]
        self._process = _context.Process(target=_begin, args=(main, arguments, dict(environment), ends), daemon=True)
        with _lock:
            self._process.start()
        for end in ends:
            end.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def poll(self) -> int | None:
        """How it ended: an exit code, or a signal's number below zero; None while it runs."""
        with _lock:
            return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end, and return how it ended. Raises TimeoutExpired."""
        wait([self._process.sentinel], timeout_s)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout_s or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send_signal(signal.SIGKILL)


class Piped(Forked):
    """Such a process with a pipe to its standard input and one from its standard output, both of text."""

    def __init__(
        self, main: Callable[..., object], *arguments: object, environment: Mapping[str, str], stderr: int = 2
    ) -> None:
        stdin, to_it = os.pipe()
        from_it, stdout = os.pipe()
        super().__init__(main, *arguments, environment=environment, stdin=stdin, stdout=stdout, stderr=stderr)
        os.close(stdin)
        os.close(stdout)
        self.stdin = os.fdopen(to_it, "w", encoding="utf-8")
        self.stdout = os.fdopen(from_it, encoding="utf-8")

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()
        self.close()

    def close(self) -> None:
        """Close both pipes."""
        with suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()


def program(*arguments: str) -> None:
    """The program ``tokenhub``."""
    from tokenhub.cli.app import main

    sys.argv = ["tokenhub", *arguments]
    main()


def execute(code: str, *arguments: str) -> None:
    """What ``python -c`` does with this code, in a session of its own."""
    os.setsid()
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


def _begin(
    main: Callable[..., object], arguments: Sequence[object], environment: Mapping[str, str], ends: Sequence[Connection]
) -> None:
    """Become a process as if started anew, and run the function."""
    os.environ.clear()
    os.environ.update(environment)
    for number, end in enumerate(ends):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    importlib.reload(failpoints)  # it read the environment when it was loaded
    main(*arguments)
