"""The only reader of time.

Wall time dates rows and expires lots and keys. Boot time measures: it never jumps, runs on
while the machine sleeps, and is the same for every process of one machine, so that leases
and rate windows of several processes agree (T99).
"""

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path


def now_ms() -> int:
    """Wall time, in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def boot_ms() -> int:
    """Milliseconds since this machine started; shared by its processes, never set back."""
    return (
        time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
        if hasattr(time, "CLOCK_BOOTTIME")
        else time.monotonic_ns() // 1_000_000
    )


def monotonic_s() -> float:
    """Seconds of this process's own stop-watch, for durations inside it."""
    return time.monotonic()


@cache
def boot_id() -> str:
    """An id of this start of the machine; boot times of different ids cannot be compared."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"boot-{(time.time_ns() - time.monotonic_ns()) // 60_000_000_000}"


def utc(ms: int) -> datetime:
    """Milliseconds since 1970 as an aware UTC datetime."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def iso(ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601 UTC, to the second: ``2026-11-22T06:00:00Z``."""
    return utc(ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_or_none(ms: int | None) -> str | None:
    """``iso`` of a moment that may be missing."""
    return None if ms is None else iso(ms)
