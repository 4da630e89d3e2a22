"""Feeding a stream reader in pieces: whole, byte by byte, and cut in two anywhere."""

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from tokenhub.wire.replies import StreamReader

SOAK = os.environ.get("TOKENHUB_SOAK") == "1"
READ_AGAIN_BYTES = 2_000_000
"""How much of a stream is read again for its cuts, where the run is not a soak: a long one is cut less often."""


def read(reader: StreamReader, pieces: Iterable[bytes]) -> tuple[bytes, bytes, dict[str, Any]]:
    """Return what the reader gave before the end, at the end, and its facts."""
    flowing = b"".join([reader.feed(piece) for piece in pieces])
    if not reader.facts.complete:
        reader.close()
    return flowing, reader.ending(), asdict(reader.facts)


def every_cut(stream: bytes, most: int) -> list[int]:
    """Return where to cut: everywhere in a soak or when the stream is short, else evenly, at most so often."""
    most = min(most, READ_AGAIN_BYTES // (len(stream) or 1))
    step = 1 if SOAK else max(1, -(-len(stream) // most))
    return list(range(1, len(stream), step))


def assert_cuts_do_not_show(make: Callable[[], StreamReader], stream: bytes, most: int = 4_000) -> None:
    """Assert that a stream read byte by byte, and cut in two at each place, gives what it gives whole."""
    whole = read(make(), [stream])
    assert read(make(), [stream[i : i + 1] for i in range(len(stream))]) == whole, "byte by byte"
    for cut in every_cut(stream, most):
        assert read(make(), [stream[:cut], stream[cut:]]) == whole, f"cut at byte {cut}"
