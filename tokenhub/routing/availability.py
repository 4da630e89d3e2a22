"""Which deployments are worth trying now: circuits, throttled and failed credentials, and how quick each one is.

One view for one process, changed in place by whoever watches (``proxy/availability.py``) and read by
the route. No request data is in it (T118), and it only ever orders and leaves out: it can
put nothing inside a boundary that is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tokenhub.routing.circuit import JITTER, Circuit, State, lasts
from tokenhub.routing.standing import WELL, Standing
from tokenhub.values import value

FIRST_COOLDOWN_MS: Final = 1_000
LONGEST_COOLDOWN_MS: Final = 60_000
"""The pauses after a 429 that does not say how long: doubled each time, 1 to 60 s."""
LONGEST_ASKED_MS: Final = 86_400_000


@value
class Speed:
    """What a deployment did lately, for the wishes ``sort: latency`` and ``sort: throughput``."""

    latency_ms: float | None = None
    throughput: float | None = None


@dataclass(frozen=True, slots=True)
class Cooldown:
    """A credential that its provider throttles, left alone until then."""

    until_ms: int
    backoff_ms: int
    """The whole pause; the next one without a word of the provider is twice as long."""
    reason: str = ""

    def is_over(self, now_ms: int) -> bool:
        """Whether it has passed."""
        return not lasts(self.until_ms, now_ms, self.backoff_ms * (1 + JITTER))


def cooled(before: Cooldown | None, now_ms: int, draw: float, *, asked_ms: int | None, reason: str = "") -> Cooldown:
    """Return the cool-down after one more 429. ``asked_ms`` is what the provider wants waited, None: it does not say.

    Requests that are throttled together count once: while a cool-down lasts it can only get longer.
    """
    if asked_ms is not None:
        pause_ms = min(max(asked_ms, FIRST_COOLDOWN_MS), LONGEST_ASKED_MS)
        until_ms = now_ms + pause_ms
    elif before is not None and not before.is_over(now_ms):
        return before
    else:
        doubles = before is not None and 0 <= now_ms - before.until_ms < LONGEST_COOLDOWN_MS
        pause_ms = min(2 * before.backoff_ms, LONGEST_COOLDOWN_MS) if before and doubles else FIRST_COOLDOWN_MS
        until_ms = now_ms + int(pause_ms * (1 - JITTER + 2 * JITTER * draw))
    if before is not None and not before.is_over(now_ms) and before.until_ms >= until_ms:
        return before
    return Cooldown(until_ms, pause_ms, reason)


@dataclass(slots=True)
class Observed:
    """Everything known of what is down (a ``standing.Availability``). Empty: everything is up."""

    circuits: dict[str, Circuit] = field(default_factory=dict)
    """By deployment id; one that is not here is closed and has not failed."""
    cooldowns: dict[int, Cooldown] = field(default_factory=dict)
    """By credential id."""
    failed: set[int] = field(default_factory=set)
    """Credentials that a provider refuses, until the operator mends them."""
    _well: dict[str, Standing] = field(default_factory=dict)
    """What a deployment with nothing wrong is answered with, made once per change of its speed."""

    def state(self, deployment_id: str, credential_id: int, now_ms: int) -> Standing:
        """Say how a deployment stands. Costs a few look-ups where nothing is wrong.

        ``half_open`` while available: the pause is over, and a request may be the probe.
        """
        if credential_id in self.failed:
            return Standing(False, "credential_failed")
        if self.cooldowns:
            cooldown = self.cooldowns.get(credential_id)
            if cooldown is not None and not cooldown.is_over(now_ms):
                return Standing(False, "cooling_down", cooldown.until_ms)
        well = self._well.get(deployment_id, WELL)
        circuit = self.circuits.get(deployment_id)
        if circuit is None or circuit.state is State.CLOSED:
            return well
        if circuit.is_due(now_ms):
            return Standing(True, "half_open", 0, well.latency_ms, well.throughput)
        code = "circuit_open" if circuit.state is State.OPEN else "half_open"
        return Standing(False, code, circuit.retry_at_ms, well.latency_ms, well.throughput)

    def know_speeds(self, speeds: Mapping[str, Speed]) -> None:
        """Take what is known of every deployment's speed, instead of what was known before."""
        self._well = {name: Standing(True, "", 0, one.latency_ms, one.throughput) for name, one in speeds.items()}
