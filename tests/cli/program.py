"""Runs the program: as a process with pipes, or on a terminal of its own."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """Run the program with pipes to its end; without ``stdin`` its standard input is closed."""
    ended = subprocess.run(
        command(*arguments),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
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
    process = subprocess.Popen(
        command(*arguments, main=main),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env=surroundings(home, {"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "50", **(more or {})}),
    )
    os.close(slave)
    shown = bytearray()
    waiting = list(answers)
    deadline = time.monotonic() + DEADLINE_S
    seen = 0
    try:
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
        return process.wait(DEADLINE_S), bytes(shown)
    finally:
        process.kill()
        process.wait()
        os.close(master)
