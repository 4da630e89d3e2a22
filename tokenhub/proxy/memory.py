"""How a serving process treats memory: the collector comes rarely, and what large bodies took is given back."""

import ctypes
import gc

_YOUNG = 10_000
_GENERATIONS = 10


def quiet_collector() -> None:
    """Keep what was loaded at start out of every collection, and collect rarely: 9 µs a request at 32 connections (docs/performance.md).

    A request leaves no cycles behind, so there is nearly nothing to be found.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _GENERATIONS, _GENERATIONS)


def give_back() -> None:
    """Return freed memory to the system, where the C library can (glibc): by itself it does so only at the end of its heap.

    A few requests of 1 MB would else leave 20 MB behind, and 16 of 10 MB at once 60.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
