"""How a deployment stands at one moment, as planning sees it; what is behind it is ``availability.py``."""

from typing import Final, Protocol

from tokenhub.values import value


@value
class Standing:
    """Whether a deployment may be tried now, and how it has done of late."""

    available: bool = True
    code: str = ""
    """Why not: ``circuit_open``, ``half_open``, ``cooling_down``, ``credential_failed``; empty when nothing is wrong."""
    retry_at_ms: int = 0
    """When it may be tried again (milliseconds since 1970); 0: not known."""
    latency_ms: float | None = None
    """Time to first content of late; None: not measured."""
    throughput: float | None = None
    """Output tokens a second of late; None: not measured."""


class Availability(Protocol):
    """What knows how every deployment stands."""

    def state(self, deployment_id: str, credential_id: int, now_ms: int) -> Standing:
        """Return how a deployment stands at this moment (milliseconds since 1970)."""
        ...


WELL: Final = Standing()
