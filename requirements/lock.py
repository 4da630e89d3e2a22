"""Make the locks anew from ``pyproject.toml``: ``make lock``, or ``make lock UPGRADE=1`` for newer versions.

Each lock is whole: every package at one version, with the hashes of all its files for every
platform, and markers where a package is needed only by some Pythons. Installing takes them
with ``--require-hashes --no-deps --only-binary :all:``, so nothing else comes along and no
package's code runs. No lock names a registry: pip asks the one it is set up for.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
PYTHON_MINIMUM = "3.11"
HEADER = "# Made by `make lock` from pyproject.toml; do not edit.\n"
HOST = re.compile(r"[a-z]+://", re.ASCII)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]

# name: what is asked for. The widest comes first: the others take its versions, so that all fit together.
LOCKS: dict[str, list[str]] = {
    "test": RUN + EXTRAS["postgres"] + EXTRAS["test"],
    "postgres": RUN + EXTRAS["postgres"],
    "run": RUN,
    "local": EXTRAS["local"],
    "build": PROJECT["build-system"]["requires"],
    "tools": PROJECT["dependency-groups"]["tools"],
}
ALONE = {"local"}
"""Locks without the dependencies that their packages name."""


def make(name: str, wanted: list[str], *, upgrade: bool) -> None:
    """Resolve one lock for all platforms and write it; versions already locked are kept unless upgrading."""
    lock = FOLDER / f"{name}.lock"
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    command += ["--python-version", PYTHON_MINIMUM, "--no-header", "--no-annotate", "--output-file", str(lock), "-"]
    if name in ALONE:
        command.append("--no-deps")
    if name != "test":
        command += ["--constraints", str(FOLDER / "test.lock")]
    if upgrade:
        command.append("--upgrade")
    subprocess.run(command, input="\n".join(wanted), text=True, check=True, cwd=FOLDER)
    text = lock.read_text(encoding="utf-8")
    if HOST.search(text):
        raise SystemExit(f"{lock.name} names a host; is an index URL set in the environment?")
    lock.write_text(HEADER + text, encoding="utf-8")


def main() -> None:
    """Make all locks, widest first."""
    for name, wanted in LOCKS.items():
        make(name, wanted, upgrade=bool(os.environ.get("UPGRADE")))


if __name__ == "__main__":
    main()
