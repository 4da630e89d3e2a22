"""A line on stderr that lives while something is waited for: a turning mark, what is awaited, and for how long.

Without a terminal there is no such line: each new state is told once, on a line of its own.
"""

import sys
import time
from types import TracebackType
from typing import Final, Self

from tokenhub import clock
from tokenhub.cli import qr, render

_MARKS: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_MARKS: Final = "|/-\\"
_FRAME_S: Final = 0.1
_ERASE: Final = "\r\x1b[K"


class LiveLine:
    """Use it in a ``with``: however that ends, the line is gone from the terminal."""

    def __init__(self, *, silent: bool = False) -> None:
        self._live = sys.stderr.isatty() and not silent
        self._silent = silent
        self._marks = _MARKS if qr.can_draw(sys.stderr) else _PLAIN_MARKS
        self._began = clock.monotonic_s()
        self._frame = 0
        self._told = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def wait(self, text: str, seconds: float) -> None:
        """Show for so long what is awaited."""
        if not self._live:
            self._tell(text)
            time.sleep(seconds)
            return
        until = clock.monotonic_s() + seconds
        while clock.monotonic_s() < until:
            self._draw(text)
            time.sleep(_FRAME_S)

    def clear(self) -> None:
        """Take the line off the terminal, so that a message can stand in its place."""
        if self._live:
            print(_ERASE, end="", file=sys.stderr, flush=True)

    def _draw(self, text: str) -> None:
        self._frame += 1
        minutes, seconds = divmod(int(clock.monotonic_s() - self._began), 60)
        line = f"{self._marks[self._frame % len(self._marks)]} {minutes}:{seconds:02d}  {render.inert(text)}"
        columns, _ = qr.size(sys.stderr)
        print(f"{_ERASE}{line[: (columns or 80) - 1]}", end="", file=sys.stderr, flush=True)

    def _tell(self, text: str) -> None:
        if text != self._told and not self._silent:
            render.say(text)
        self._told = text
