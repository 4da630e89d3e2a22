"""Every cell of the matrix: who speaks what to whom, what is played, and what cannot be kept.

The tests of ``test_matrix.py`` and the page ``docs/dialects.md`` are both made of this. What a
cell says is lost, its test finds lost: a note that is no longer true fails.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.dialects.rig import CLIENTS, UPSTREAMS

KINDS = {
    "plain": "a whole reply; one that its limit cut; with system prompt, history and an output limit",
    "stream": "the same streamed, in pieces that end anywhere",
    "tools": "a call and its result in the next request, whole and streamed",
    "parallel tools": "two calls with text before them and nested arguments, and both results; whole and streamed",
    "images": "a picture inside the request, whole and streamed",
    "reasoning": "thoughts to read, whole and streamed; the upstream's seal on them comes back with the tool's result",
    "errors": "what an upstream refuses, in the client's own form: key, rate, fault, bad request, context; free",
    "cut streams": "closed without an end, connection broken, error inside, before and after content; free",
}
"""What is played, by kind; every one is a request or several through the running gateway, up to the ledger."""

NATIVE = frozenset((name, name) for name in CLIENTS if name in UPSTREAMS)
"""Pairs whose bodies pass as they are; ``test_round_trips.py`` sees that it is so."""


@dataclass(frozen=True)
class Cell:
    """One test: a client's dialect, an upstream's, and what is played."""

    inbound: str
    upstream: str
    kind: str

    @property
    def id(self) -> str:
        return f"{self.inbound}-to-{self.upstream}-{self.kind.replace(' ', '-')}"

    @property
    def keeps_seal(self) -> bool:
        """Whether the upstream's proof of a thought comes back to it, through this client, in a tool loop."""
        return self.upstream not in UNSEALED


UNSEALED = {"chat": "has no proofs of thought"}
"""Upstream dialects without seals, and why."""


def cells() -> Iterator[Cell]:
    """Return every cell, by pair."""
    for inbound in CLIENTS:
        for upstream in UPSTREAMS:
            for kind in KINDS:
                yield Cell(inbound, upstream, kind)
