"""Packages of npm's that tests drive, each as a lock file beside it pins it."""

import fcntl
import shutil
import subprocess
from pathlib import Path

NODE, NPM = shutil.which("node"), shutil.which("npm")
DEADLINE_S = 240


def install(folder: Path) -> None:
    """Install what a folder's lock file pins, once: test processes wait for each other."""
    assert NPM is not None
    stamp = folder / "node_modules" / ".lock.json"
    wanted = (folder / "package-lock.json").read_bytes()
    with (folder / "package.json").open("rb") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_bytes() == wanted:
            return
        done = subprocess.run(
            [NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"],
            cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        stamp.write_bytes(wanted)
