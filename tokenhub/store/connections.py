"""The open connections of one database object, by thread; none of another process."""

import os
import threading
from typing import Any


class Connections:
    """Knows each thread's connections, closes those of threads that have ended, and none crosses a fork (T94)."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._of: dict[threading.Thread, list[Any]] = {}

    def check_process(self) -> None:
        """Refuse to work in a child: two processes on one connection mix their answers and drop each other's locks."""
        if os.getpid() != self._process:
            raise RuntimeError("this database was opened before a fork: open it anew in each process")

    def add(self, connection: Any) -> None:
        """Note this thread's new connection."""
        with self._lock:
            ended = [self._of.pop(thread) for thread in list(self._of) if not thread.is_alive()]
            self._of.setdefault(threading.current_thread(), []).append(connection)
        _close(ended)

    def mine(self) -> Any:
        """The connection that this thread opened last; None before the first."""
        return self._of.get(threading.current_thread(), [None])[-1]

    def close(self) -> None:
        """Close this thread's connections."""
        with self._lock:
            mine = self._of.pop(threading.current_thread(), [])
        _close([mine])

    def close_all(self) -> None:
        """Close every thread's connections; none may be using one any more."""
        with self._lock:
            all_of_them, self._of = list(self._of.values()), {}
        _close(all_of_them)


def _close(of_threads: list[list[Any]]) -> None:
    for connections in of_threads:
        for connection in connections:
            connection.close()
