"""Prefixed, time-ordered ids: ``req_`` and 26 characters of Crockford base 32.

The first ten characters are milliseconds since 1970, so ids sort by the moment they were
made and rows made together lie together on disk.
"""

import os

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ".lower()
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def new_id(prefix: str, now_ms: int) -> str:
    """Return a new id of this kind, such as ``req_01jd…``; 80 of its bits are random."""
    value = (now_ms << 80) | int.from_bytes(os.urandom(10), "big")
    digits = []
    for _ in range(13):
        value, low = divmod(value, 1024)
        digits.append(_PAIRS[low])
    return prefix + "_" + "".join(reversed(digits))
