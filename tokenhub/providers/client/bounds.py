"""How long an upstream may take, and how much it may send."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines, in seconds (T73)."""

    connect_s: float = 5.0
    """Name, TCP and TLS together."""
    first_byte_s: float = 120.0
    """From the request to the first byte of a streamed body."""
    whole_reply_s: float = 600.0
    """The same for a reply that is not streamed: nothing comes until all of it is made."""
    idle_s: float = 90.0
    """Between two reads of a body, while somebody waits for it."""
    total_s: float = 1800.0
    keep_idle_s: float = 60.0
    """How long an idle connection is kept for the next request."""

    @property
    def tick_s(self) -> float:
        """How often the deadlines are looked at."""
        return max(0.01, min(0.25, self.connect_s / 4, self.first_byte_s / 4, self.idle_s / 4, self.total_s / 4))


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on what comes back (T71)."""

    reply_bytes: int = 64 * 1024 * 1024
    error_bytes: int = 64 * 1024
    """Read of an error's body; the rest is not waited for."""
    idle_connections: int = 256
    """Kept per origin."""
