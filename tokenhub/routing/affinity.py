"""Session to deployment, by weighted rendezvous: every process draws the same, without being told.

Each deployment draws a number from the session and the lowest comes first. Over many sessions a
deployment comes first in proportion to its weight. One that goes away moves only its own
sessions, each to the second of its own order; one that comes takes its share and moves nothing
else. So a provider's prompt cache stays warm while providers come and go.
"""

import hashlib
from math import log
from typing import Final

PIN_LIFE_MS: Final = 3_600_000
"""How long a tool loop is kept where it is after its last call."""
WEIGHT_LEAST: Final = 0.01
"""No price makes a deployment's share smaller than this part of the cheapest one's."""

_MASK: Final = 2**64 - 1
_STEPS: Final = float(2**52)


def share(price: int, cheapest: int) -> float:
    """Return the weight that a price gives beside the cheapest: falling with its square, as OpenRouter's does."""
    if price <= cheapest:
        return 1.0
    return max(WEIGHT_LEAST, (cheapest / price) ** 2)


def mark_of(deployment_id: str) -> int:
    """Return the number by which a deployment takes part in every draw: 64 bits, made once per deployment."""
    return int.from_bytes(hashlib.blake2b(deployment_id.encode(), digest_size=8).digest(), "big")


def session_mark(seed: bytes) -> int:
    """Return the number by which a session takes part. The seed may be of any length and kind: a MAC, a request id."""
    return int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "big")


def score(mark: int, weight: float, session: int) -> float:
    """Return what a deployment draws from a session; the lowest is first.

    The mixing is splitmix64's, in whole numbers: the same in every process, on every machine.
    """
    mixed = mark ^ session
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return -log((((mixed ^ (mixed >> 31)) >> 12) + 0.5) / _STEPS) / weight
