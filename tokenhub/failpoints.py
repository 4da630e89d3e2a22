"""Places where a test can kill the process: how the crash proofs reach every step of a request.

``TOKENHUB_FAILPOINT=name[:n]`` in the environment makes the n-th passage (default the first)
of that place end the process with SIGKILL, as a power cut or ``kill -9`` would. Unset, a
passage costs one comparison.
"""

import os
import signal

FAILPOINTS = (
    "hold.before",
    "hold.committed",
    "attempt.sent",
    "relay.first",
    "settle.before",
    "settle.committed",
    "finish.before",
    "finish.sent",
    "batch.decided",
    "batch.written",
    "batch.committed",
)
"""Every place there is, in the order in which a request passes them."""

_name, _, _count = os.environ.get("TOKENHUB_FAILPOINT", "").partition(":")
_left = int(_count or 1)


def hit(name: str) -> None:
    """Pass the place of this name; does not return when the environment names it and its count is reached."""
    if name == _name:
        _passed()


def _passed() -> None:
    global _left
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
