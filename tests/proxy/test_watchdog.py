"""A serving process whose loop hangs ends itself, so that its requests' credit comes back and another takes its place."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.conftest import process_environment
from tokenhub.operations.hub import Hub
from tokenhub.store import audit

SERVE = """
    import os, re, signal, sys, time
    from tokenhub import paths
    from tokenhub.operations.hub import Hub
    from tokenhub.proxy import supervisor

    def sleeps():
        time.sleep(60)

    def never_lets_go():
        re.match("(a+)+b", "a" * 60)

    def works():
        import asyncio
        asyncio.get_running_loop().call_later(5.0, os.kill, os.getpid(), signal.SIGTERM)

    with Hub.open(paths.home(), {}) as hub:
        listener = supervisor.listen("127.0.0.1", 0)
        supervisor.run_loop(supervisor.serve(hub, [listener], (), globals()[sys.argv[1]]))
"""


def serve(hub: Hub, how: str, patience_s: float) -> tuple[int, str, float]:
    """Serve in a process that does so once it is ready; return its exit code, what it said, and how long it took."""
    environment = process_environment(hub.settings, hub.home) | {"TOKENHUB_SERVER_WATCHDOG_S": str(patience_s)}
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SERVE), how],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=50,
    )
    return done.returncode, done.stderr, time.monotonic() - began_s


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("how", ["sleeps", "never_lets_go"])
def test_a_process_that_hangs_says_where_and_ends(hub: Hub, how: str) -> None:
    code, said, _ = serve(hub, how, 1.0)
    assert code == 1
    assert f"in {how}\n" in said
    assert "in serve\n" in said
    assert audit.verify(hub.database) == []


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_process_that_works_is_left_alone_however_long(hub: Hub) -> None:
    code, said, seconds = serve(hub, "works", 3.0)
    assert (code, "Timeout" in said) == (0, False)
    assert seconds > 5.0


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_process_without_stderr_is_watched_too(hub: Hub, tmp_path: Path) -> None:
    program = tmp_path / "serve.py"
    program.write_text(textwrap.dedent(SERVE))
    environment = process_environment(hub.settings, hub.home) | {"TOKENHUB_SERVER_WATCHDOG_S": "1"}
    shell = 'exec "$0" "$1" sleeps 2>&-'
    done = subprocess.run(["sh", "-c", shell, sys.executable, str(program)], env=environment, timeout=50)
    assert done.returncode == 1
