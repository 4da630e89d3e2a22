"""Rate windows: how many requests a key or an account has made in the last sixty seconds, exactly.

A window is kept as sixty-one one-second buckets, the current second and the sixty before
it, so that any sixty real seconds lie inside the buckets that are counted: never more than
the limit in any 60 s, and at most one second too strict. It is stored as one small blob in
the row of its key or account, behind a tag that names the clock its seconds come from.

A clock may be set back under a window. Up to ``TOLERANCE_S`` that is read as a late reader
and the window waits for it; a larger step moves the window to the new time with the age of
each request as last known, which can only be too strict and never freezes a limit (T99).
"""

import struct
from array import array

from tokenhub.values import value

WINDOW_S = 60
BUCKETS = WINDOW_S + 1
TAG_BYTES = 8
TOLERANCE_S = 5
"""How far a reader's second may lie behind the window's and still be taken for the same clock."""

_HEAD = struct.Struct(f"<{TAG_BYTES}sQ")
_COUNTS = array("I")
_BLOB_BYTES = _HEAD.size + BUCKETS * _COUNTS.itemsize
_EMPTY = bytes(BUCKETS * _COUNTS.itemsize)


@value
class RateState:
    """A rate window after a decision, for the ``x-ratelimit-*-requests`` headers."""

    limit: int
    remaining: int
    reset_s: int
    """Seconds until the whole window is free again; 0 when it is."""


class RateWindow:
    """The requests admitted in the last sixty seconds, counted by the second."""

    __slots__ = ("_counts", "_late_s", "_second", "_tag", "_total")

    def __init__(self, tag: bytes, now_s: int) -> None:
        self._tag = tag
        self._second = now_s
        self._late_s = 0
        self._counts = array("I", _EMPTY)
        self._total = 0

    @classmethod
    def load(cls, blob: bytes | None, tag: bytes, now_s: int) -> "RateWindow":
        """Return a stored window as it is at this second; an empty one when it counts by another clock."""
        window = cls(tag, now_s)
        if blob is not None and len(blob) == _BLOB_BYTES:
            kept_tag, second = _HEAD.unpack_from(blob)
            if kept_tag == tag:
                window._take(array("I", blob[_HEAD.size :]), second)
        return window

    def _take(self, counts: "array[int]", second: int) -> None:
        """Take over counts made up to a second, leaving out what is too old by now."""
        now_s = self._second
        passed_s = now_s - second
        if passed_s > WINDOW_S:
            return
        if passed_s >= 0:
            for gone in range(second + 1, now_s + 1):
                counts[gone % BUCKETS] = 0
        elif passed_s >= -TOLERANCE_S:
            self._second, self._late_s = second, -passed_s
        else:
            counts = array("I", [counts[(s - now_s + second) % BUCKETS] for s in _ring(now_s)])
        self._counts = counts
        self._total = sum(counts)

    def dump(self) -> bytes:
        """Return the blob that :meth:`load` reads."""
        return _HEAD.pack(self._tag, self._second) + self._counts.tobytes()

    def wait_s(self, limit: int) -> int:
        """Return the seconds after which one request would be admitted; 0: now."""
        surplus = self._total - limit + 1
        if surplus <= 0:
            return 0
        for age_s in range(WINDOW_S, -1, -1):
            surplus -= self._counts[(self._second - age_s) % BUCKETS]
            if surplus <= 0:
                break
        return self._late_s + BUCKETS - age_s

    def count(self) -> None:
        """Count one request, now."""
        self._counts[self._second % BUCKETS] += 1
        self._total += 1

    def admit(self, limit: int) -> bool:
        """Count one request if the limit has room for it, and tell whether it had."""
        if self._total >= limit:
            return False
        self.count()
        return True

    def state(self, limit: int) -> RateState:
        """Return what the rate headers say of this window."""
        return RateState(limit, max(limit - self._total, 0), self._reset_s())

    def _reset_s(self) -> int:
        if not self._total:
            return 0
        age_s = 0
        while not self._counts[(self._second - age_s) % BUCKETS]:
            age_s += 1
        return self._late_s + BUCKETS - age_s


def _ring(now_s: int) -> list[int]:
    """Return the seconds of a window that ends now, in the order of their buckets."""
    return sorted(range(now_s - WINDOW_S, now_s + 1), key=lambda second: second % BUCKETS)
