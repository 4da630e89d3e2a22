"""The open connections of one database object: one per thread, none of another process."""

import os
import threading
from typing import Any


class Connections:
    """Knows each thread's connection, closes those of threads that have ended, and none crosses a fork (T94)."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._of: dict[threading.Thread, Any] = {}

    def check_process(self) -> None:
        """Refuse to work in a child: two processes on one connection mix their answers and drop each other's locks."""
        if os.getpid() != self._process:
            raise RuntimeError("this database was opened before a fork: open it anew in each process")

    def add(self, connection: Any) -> None:
        """Note this thread's new connection."""
        with self._lock:
            for thread in [thread for thread in self._of if not thread.is_alive()]:
                self._of.pop(thread).close()
            self._of[threading.current_thread()] = connection

    def mine(self) -> Any:
        """This thread's connection; None before its first use."""
        return self._of.get(threading.current_thread())

    def close(self) -> None:
        """Close this thread's connection, if it has one."""
        with self._lock:
            connection = self._of.pop(threading.current_thread(), None)
        if connection is not None:
            connection.close()

    def close_all(self) -> None:
        """Close every thread's connection; none may be using it any more."""
        with self._lock:
            connections, self._of = list(self._of.values()), {}
        for connection in connections:
            connection.close()
