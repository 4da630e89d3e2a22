"""A page of ``docs/clients`` as a reader would follow it: what to install, which files to write, what to type.

In a page, a fenced block after a line that ends in ``NAME`:`` is the file of that name; a
``console`` block holds what is typed (after ``$``) and what is shown. Two texts stand for the
reader's own: the gateway's address and the key.
"""

import os
import re
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.clients import environments

DOCS = Path(__file__).parents[2] / "docs" / "clients"
ADDRESS, KEY = "http://127.0.0.1:8080", "th-your-key"
INSTALLERS = ("pip install ", "npm install ", "go get ", "go mod init ")
NO_NET = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
"""Whatever a program would tell or ask the rest of the world goes nowhere, at once."""
_MARK = "=@= "

_BLOCK = re.compile(r"^(?:(?P<before>[^\n]*)\n\n?)?```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S)
_NAMED = re.compile(r"`([^`\s]+)`:$")


@dataclass(frozen=True)
class Typed:
    """A command, and what the page shows of its output: ``…`` stands for anything; no lines: nothing is promised."""

    command: str
    shown: str


@dataclass(frozen=True)
class Page:
    """What a page tells its reader to do."""

    name: str
    installs: tuple[str, ...]
    files: dict[str, str]
    typed: tuple[Typed, ...]

    def replaced(self, old: str, new: str) -> "Page":
        """Return the page with one text for another everywhere; it must be there."""
        assert any(old in text for text in (*self.files.values(), *(one.command for one in self.typed))), old
        files = {name.replace(old, new): text.replace(old, new) for name, text in self.files.items()}
        typed = tuple(Typed(one.command.replace(old, new), one.shown) for one in self.typed)
        return Page(self.name, self.installs, files, typed)


def read(name: str) -> Page:
    """Read a page."""
    installs: list[str] = []
    files: dict[str, str] = {}
    typed: list[Typed] = []
    for block in _BLOCK.finditer((DOCS / f"{name}.md").read_text(encoding="utf-8")):
        named = _NAMED.search(block["before"] or "")
        if block["language"] == "console":
            for one in _commands(block["body"]):
                is_install = one.command.startswith(INSTALLERS)
                installs += _packages(one.command) if is_install else []
                typed += [] if is_install else [one]
        elif named:
            files[named[1]] = block["body"]
    return Page(name, tuple(installs), files, tuple(typed))


def _commands(body: str) -> list[Typed]:
    parts = re.split(r"^\$ ", body, flags=re.M)[1:]
    found = []
    for part in parts:
        lines = part.rstrip("\n").split("\n")
        last = next(n for n, line in enumerate(lines) if not line.endswith("\\"))
        found.append(Typed("\n".join(lines[: last + 1]), "\n".join(lines[last + 1 :])))
    return found


def _packages(command: str) -> list[str]:
    words = [word.strip("'\"") for word in command.split()[2:]]
    return [word for word in words if not word.startswith("-")] if not command.startswith("go mod") else []


@dataclass(frozen=True)
class Ran:
    """One command as it went."""

    command: str
    status: int
    output: str
    shown: str

    def is_as_shown(self) -> bool:
        """Whether the command went well and printed what the page shows."""
        pattern = ".*".join(re.escape(piece) for piece in self.shown.split("…"))
        return self.status == 0 and (not self.shown or re.fullmatch(pattern, self.output, re.S) is not None)


def follow(page: Page, place: Path, address: str, key: str, *, deadline_s: float) -> tuple[list[Ran], str]:
    """Do what a page says, in a home and a folder of its own; return how each command went, and all of stderr."""
    mine = page.replaced(ADDRESS, address)
    home, work = place / "home", place / "work"
    for folder in (home, work):
        folder.mkdir(parents=True)
    for name, text in mine.files.items():
        file = home / name[2:] if name.startswith("~/") else work / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace(KEY, key), encoding="utf-8")
    runtime = environments.equip(page.name, work)
    script = "".join(f"{one.command}\nprintf '\\n{_MARK}%s\\n' $?\n" for one in mine.typed).replace(KEY, key)
    environment = {"HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(place), "TERM": "dumb", **NO_NET}
    environment |= {"PATH": environments.path(page.name), **runtime}
    is_done, stdout, stderr = _run(script, work, environment, deadline_s)
    assert is_done, f"{page.name}: not done after {deadline_s} s\n{stdout}\n{stderr}"
    pieces = re.split(rf"\n{_MARK}(\d+)\n", stdout)
    outputs, statuses = pieces[0::2], pieces[1::2]
    ran = [
        Ran(one.command, int(status), output.strip(), one.shown.strip())
        for one, status, output in zip(mine.typed, statuses, outputs, strict=False)
    ]
    assert len(ran) == len(mine.typed), f"{page.name}: broken off\n{stdout}\n{stderr}"
    return ran, stderr


def _run(script: str, work: Path, environment: dict[str, str], deadline_s: float) -> tuple[bool, str, str]:
    """Run a script; return whether it ended in time, and what it said. Nothing that it started outlives it."""
    with subprocess.Popen(
        ["bash", "-c", script], cwd=work, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        try:
            return True, *running.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            return False, *_ended(running)
        finally:
            _end(running)


def _ended(running: subprocess.Popen[str]) -> tuple[str, str]:
    _end(running)
    return running.communicate()


def _end(running: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
