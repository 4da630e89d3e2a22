"""How the upstreams do: each deployment's circuit, success rate and times, and each credential that is out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from tokenhub import clock
from tokenhub.catalog.models import Deployment, Lifecycle
from tokenhub.operations import gateways, models
from tokenhub.operations.gateways import Seen
from tokenhub.operations.hub import Hub
from tokenhub.routing import health
from tokenhub.routing.availability import Observed
from tokenhub.routing.health import Tally
from tokenhub.store import catalog as store
from tokenhub.store import circuits
from tokenhub.store import health as health_store
from tokenhub.store.catalog import CredentialState

Word = Literal["ok", "shaky", "open", "probing", "due", "cooling", "failed", "idle"]
LESS: Final = 0.95
"""With a success rate below this, a deployment is not called ok."""


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """One deployment now, and what it did lately."""

    deployment: str
    provider: str
    region: str
    data_region: str
    model: str
    credential_id: int
    word: Word
    """ok; shaky: many failures, or back not long ago; open, due, probing: its circuit; cooling, failed: its credential; idle: not asked."""
    until_ms: int
    """When it is tried again; 0: now, or not known."""
    last_error: str
    """The class of the last fault; empty when none is known."""
    tally: Tally
    """Of the last minutes."""


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at one moment."""

    at_ms: int
    minutes: int
    deployments: tuple[DeploymentStatus, ...]
    credentials: tuple[CredentialState, ...]
    """Those that providers refuse, with the reason."""
    hidden: int
    """Deployments that nobody asked for and nothing is known against."""
    gateway: Seen
    """Whether one runs: without one, all this is of the past."""

    @property
    def is_well(self) -> bool:
        """Whether nothing is down."""
        return not self.credentials and all(one.word in ("ok", "idle", "shaky") for one in self.deployments)


def read(hub: Hub, *, minutes: int, everything: bool = False) -> Status:
    """Return how all configured deployments do; idle ones only if ``everything`` is asked for."""
    now_ms = clock.now_ms()
    with hub.database.read():
        catalog = models.catalog(hub.database)
        states = store.credential_states(hub.database)
        stored = circuits.read(hub.database)
        tallies = health_store.since(hub.database, now_ms - minutes * health.MINUTE_MS)
    seen = Observed(stored.circuits, stored.cooldowns, set(stored.failed))
    held = [one.closed() for one in states if one.status != store.DISABLED]
    held += models.local_credentials(hub)
    found = list(_statuses(catalog.offered(held).values(), seen, tallies, now_ms))
    shown = [one for one in found if everything or one.word != "idle"]
    failed = tuple(one for one in states if one.status == store.FAILED)
    ordered = tuple(sorted(shown, key=lambda one: (one.provider, one.region, one.model, one.credential_id)))
    return Status(now_ms, minutes, ordered, failed, len(found) - len(shown), gateways.seen(hub))


def _statuses(
    offered: Iterable[list[Deployment]], seen: Observed, tallies: Mapping[str, Tally], now_ms: int
) -> Iterable[DeploymentStatus]:
    for deployments in offered:
        for one in deployments:
            tally = tallies.get(one.id, Tally())
            if one.offering.lifecycle is not Lifecycle.RETIRED or tally.attempts:
                yield _status(one, seen, tally, now_ms)


def _status(one: Deployment, seen: Observed, tally: Tally, now_ms: int) -> DeploymentStatus:
    standing, circuit = seen.state(one.id, one.credential.id, now_ms), seen.circuits.get(one.id)
    return DeploymentStatus(
        one.id,
        one.provider.id,
        one.region.id,
        one.region.data_region,
        one.model.id,
        one.credential.id,
        _word(standing.code, standing.available, tally, recent=circuit is not None),
        standing.retry_at_ms,
        circuit.last_error if circuit is not None else "",
        tally,
    )


def _word(code: str, available: bool, tally: Tally, *, recent: bool) -> Word:
    if code == "half_open":
        return "due" if available else "probing"
    if code:
        return _WORDS[code]
    if not tally.attempts:
        return "idle"
    return "shaky" if recent or (tally.success_rate or 0) < LESS else "ok"


_WORDS: Final[Mapping[str, Word]] = {
    "circuit_open": "open",
    "cooling_down": "cooling",
    "credential_failed": "failed",
}
