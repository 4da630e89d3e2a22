"""One JSON line per event on stderr: ids, codes and numbers, never a header, a body or a key.

Every value is escaped by JSON, in ASCII, so no field can start a line of its own or move the
terminal that the log is read on (T117, T120). Served requests are not logged here:
``tokenhub requests`` reads them from the store.
"""

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tokenhub import clock

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log:
    """Where lines go, and from which level on; one per process."""

    __slots__ = ("_level", "_stream")

    def __init__(self, level: str = "info", stream: TextIO | None = None) -> None:
        self._level = LEVELS[level]
        self._stream = stream

    def write(self, level: str, name: str, fields: dict[str, Any]) -> None:
        """Write one line, if the level is high enough."""
        if LEVELS[level] < self._level:
            return
        line = {"time": clock.iso(clock.now_ms()), "level": level, "event": name, **fields}
        stream = self._stream or sys.stderr
        stream.write(json.dumps(line, ensure_ascii=True, separators=(",", ":"), default=str) + "\n")
        stream.flush()


_log = Log()


def configure(level: str, stream: TextIO | None = None) -> None:
    """Set this process's log; called once by a door."""
    global _log
    _log = Log(level, stream)


@contextmanager
def only(level: str, stream: TextIO | None = None) -> Iterator[None]:
    """Log nothing below a level for a while: a command tells people what it did in its own words."""
    global _log
    before, _log = _log, Log(level, stream)
    try:
        yield
    finally:
        _log = before


def event(name: str, /, level: str = "info", **fields: Any) -> None:
    """Log one event."""
    _log.write(level, name, fields)


def failure(name: str, error: BaseException, /, **fields: Any) -> None:
    """Log an unexpected exception: its type and where it was raised, not its text, which may quote a request (T112)."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = [f"{frame.filename.rpartition('tokenhub/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    _log.write("error", name, {**fields, "error": type(error).__name__, "where": where})
