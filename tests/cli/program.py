"""Runs the program: with pipes, or on a terminal of its own."""

import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forked import Forked, execute

MAIN = "from tokenhub.cli.app import main; main()"
ON_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {MAIN}"
DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended and what it printed."""

    code: int
    out: str
    err: str


def surroundings(home: Path | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which only this home, and what is given, is TokenHub's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
    own = {"TOKENHUB_LOCAL_ENABLED": "false"} | ({"TOKENHUB_HOME": str(home)} if home else {})
    return {**kept, **own, **(more or {})}


def command(*arguments: str, main: str = MAIN) -> list[str]:
    """Return the command line of the program in this environment's Python."""
    return [sys.executable, "-c", main, *arguments]


def run(home: Path | None, *arguments: str, stdin: str | None = None, more: Mapping[str, str] | None = None) -> Ended:
    """Run the program with pipes to its end, in a fork of the one that is loaded."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write((stdin or "").encode())
        given.seek(0)
        streams = {"stdin": given.fileno(), "stdout": out.fileno(), "stderr": err.fileno()}
        with Forked(execute, MAIN, *arguments, environment=surroundings(home, more), **streams) as running:
            code = running.wait(DEADLINE_S)
        said = []
        for one in (out, err):
            one.seek(0)
            said.append(one.read().decode())
        return Ended(code, *said)


def start(home: Path | None, *arguments: str, more: Mapping[str, str] | None = None) -> Ended:
    """Run the program with pipes to its end, as a shell would start it; its standard input is closed."""
    ended = subprocess.run(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=surroundings(home, more),
        timeout=DEADLINE_S,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def data(home: Path | None, *arguments: str) -> Any:
    """Run the program, which must succeed, and return the JSON that it prints."""
    ended = run(home, *arguments, "--json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def run_on_terminal(
    home: Path,
    arguments: Sequence[str],
    answers: Sequence[tuple[bytes, bytes | Callable[[], object]]] = (),
    *,
    main: str = ON_TERMINAL,
    more: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Run the program on a terminal; after each expected text type its answer, or do what it says elsewhere.

    Return the exit code and all bytes shown.
    """
    master, slave = pty.openpty()
    own = surroundings(home, {"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "50", **(more or {})})
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
    try:
        with Forked(execute, main, *arguments, environment=own, **streams) as running:
            os.close(slave)
            shown = _talk(master, answers)
            return running.wait(DEADLINE_S), shown
    finally:
        os.close(master)


def _talk(master: int, answers: Sequence[tuple[bytes, bytes | Callable[[], object]]]) -> bytes:
    """Answer what is asked until the terminal is hung up; return all that was shown."""
    shown = bytearray()
    waiting = list(answers)
    deadline = time.monotonic() + DEADLINE_S
    seen = 0
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:
                break
        if waiting and waiting[0][0] in shown[seen:]:
            seen = len(shown)
            answer = waiting.pop(0)[1]
            if callable(answer):
                answer()
            else:
                os.write(master, answer)
    return bytes(shown)
