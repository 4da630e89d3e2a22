"""Prefixed, time-ordered ids: ``req_`` and 32 hexadecimal digits.

The first twelve digits are milliseconds since 1970, so ids sort by the moment they were made
and rows made together lie together on disk; the other 80 bits are random. They name things
and open nothing, so the process's own generator makes them: a system call for each costs more
than the rest of an id.
"""

import random
import re


def new_id(prefix: str, now_ms: int) -> str:
    """Return a new id of this kind, such as ``req_019acb3f…``."""
    return f"{prefix}_{now_ms:012x}{random.getrandbits(80):020x}"


_SHOWN = re.compile(r"[!-~]{1,200}", re.ASCII)


def may_be(text: str) -> bool:
    """Whether a text from outside can be an id of ours or a provider's at all: PostgreSQL takes no NUL, not even to look for it."""
    return _SHOWN.fullmatch(text) is not None
