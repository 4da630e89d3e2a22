"""Whether a gateway runs: every one renews a lease in the database for as long as it lives."""

from dataclasses import dataclass

from tokenhub.operations.hub import Hub
from tokenhub.store import leases


@dataclass(frozen=True, slots=True)
class Seen:
    """When a gateway was last seen, and whether one runs as far as that tells."""

    runs: bool
    at_ms: int | None
    """None: never, or not as long as rows of ended processes are kept."""
    silent_ms: int = 0

    @property
    def words(self) -> str:
        """How long none has been seen, as people say it."""
        return (
            "No gateway has run here yet"
            if self.at_ms is None
            else f"No gateway has been seen for {_span(self.silent_ms)}"
        )


def seen(hub: Hub) -> Seen:
    """Look at the leases: one that is live and was renewed not long ago is a gateway that runs."""
    live_ms, last_ms = leases.last_renewed(hub.database)
    now_ms = hub.database.now_ms()
    runs = live_ms is not None and not leases.is_late(live_ms, now_ms, hub.settings.database_lease_s)
    return Seen(runs, last_ms, max(0, now_ms - (last_ms or now_ms)))


def _span(milliseconds: int) -> str:
    seconds = milliseconds // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
