"""Ends a serving process whose event loop does not turn any more.

Such a process answers nobody, but goes on renewing its lease from another thread, so the credit
that its requests set aside would never come back. The watch is kept by a thread of the
interpreter's that needs no lock of its own: it also sees code that never lets go of the
interpreter, such as a regular expression without end.
"""

import asyncio
import contextlib
import faulthandler
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_TURNS = 4
"""How often the loop reports while the process's patience lasts once."""


@contextlib.contextmanager
def watched(patience_s: float) -> Iterator[None]:
    """Watch the running loop; after so long without a turn every thread's stack goes to stderr and the process exits with 1.

    ``patience_s`` 0: nothing is watched. To be used once in a process at a time.
    """
    if not patience_s:
        yield
        return
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle
    with Path(os.devnull).open("wb") if sys.__stderr__ is None else contextlib.nullcontext(sys.__stderr__) as stacks:

        def turn() -> None:
            nonlocal timer
            faulthandler.dump_traceback_later(patience_s, exit=True, file=stacks)
            timer = loop.call_later(patience_s / _TURNS, turn)

        turn()
        try:
            yield
        finally:
            timer.cancel()
            faulthandler.cancel_dump_traceback_later()
