"""A serving process of several: ``python -m tokenhub.proxy.worker``, started by the supervisor.

What it needs comes as one JSON line on stdin, because secrets do not belong in arguments or
the environment (T121). The pipe stays open: when it closes, the supervisor has died, and so
does the worker, gracefully.
"""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import orjson

from tokenhub import paths
from tokenhub.catalog.models import Credential
from tokenhub.observability import log
from tokenhub.operations.hub import Hub
from tokenhub.proxy import supervisor


def main() -> None:
    """Serve until told to stop, or until the supervisor is gone."""
    given = orjson.loads(sys.stdin.buffer.readline())
    listener = socket.socket(fileno=given["fd"])
    listener.setblocking(False)
    threading.Thread(target=_follow_supervisor, daemon=True).start()
    with Hub.open(paths.home(Path(given["home"])), given["settings"]) as hub:
        log.configure(hub.settings.log_level)
        credentials = [Credential(*one) for one in given["credentials"]]
        supervisor.run_loop(supervisor.serve(hub, [listener], credentials, _say_ready, hurried_by=(supervisor.HURRY,)))


def _say_ready() -> None:
    sys.stdout.write("READY\n")
    sys.stdout.flush()


def _follow_supervisor() -> None:
    """Wait for the end of the pipe; below Python's own stdin, whose lock a daemon thread must not hold at exit."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
