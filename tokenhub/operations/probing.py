"""Optional looks at providers that nobody has asked for a while: a free list of models, a few tokens where there is none.

A credential whose provider has neither, inside the installation's boundaries, is passed over.
An answer does not close a circuit, since a list of models is no completion; it only ends the
pause, so that the next request finds out. No customer's data is in a look, and none goes to
a place that the installation's own boundaries rule out (T103).
"""

import random
from dataclasses import replace
from typing import Final

from tokenhub import clock
from tokenhub.errors import NotFound
from tokenhub.operations import availability, models, probe
from tokenhub.operations.availability import Blame
from tokenhub.operations.hub import Hub
from tokenhub.operations.probe import Probe
from tokenhub.routing import circuit as rules
from tokenhub.routing import health
from tokenhub.routing.availability import cooled
from tokenhub.routing.circuit import Circuit, State
from tokenhub.store import catalog, circuits, preferences
from tokenhub.store import health as health_store
from tokenhub.wire.faults import Failure, FaultKind

MOST_AT_ONCE: Final = 20
"""Looks of one round; the others' turn comes with one of the next."""


def look(hub: Hub, silence_s: float, now_ms: int) -> list[Probe]:
    """Look at the credentials that no request has used for so long, in any order; return what was found."""
    found: list[Probe] = []
    idle = _idle(hub, now_ms - int(silence_s * 1000))
    random.shuffle(idle)  # a look is no use: with more than fit into a round, the first would have every turn
    for number in idle:
        if len(found) == MOST_AT_ONCE:
            break
        try:
            found.append(_look_at(hub, number))
        except NotFound:  # neither a list nor a chat model inside the boundaries, or it was removed by now
            continue
    return found


def _idle(hub: Hub, before_ms: int) -> list[int]:
    with hub.database.read():
        known = models.catalog(hub.database)
        opened = catalog.credentials(hub.database, hub.vault)
        chain = preferences.installation(hub.database)
        used = health_store.last_attempts(hub.database)
    last: dict[int, int] = {}
    for name, minute in used.items():
        number = int(name.rpartition("#")[2])
        last[number] = max(last.get(number, 0), minute)
    return [
        one.id
        for one in opened
        if last.get(one.id, 0) + health.MINUTE_MS < before_ms and probe.inside(known, one, chain)
    ]


def _look_at(hub: Hub, number: int) -> Probe:
    found = probe.probe(hub, number, ordered=False)
    now_ms = clock.now_ms()
    if found.ok:
        _end_pauses(hub, number, now_ms)
        return found
    failure = Failure(FaultKind(found.kind), found.status, found.code)
    match availability.blame(failure):
        case Blame.CREDENTIAL:
            availability.take_out(hub, number, availability.reason_of(failure))
        case Blame.THROTTLE:
            cooldown = cooled(circuits.read(hub.database).cooldowns.get(number), now_ms, random.random(), asked_ms=None)
            with hub.database.write():
                circuits.put_cooldown(hub.database, number, cooldown, now_ms)
        case Blame.DEPLOYMENT:
            _open(hub, number, found.kind, now_ms)
    return found


def _end_pauses(hub: Hub, number: int, now_ms: int) -> None:
    """Let the next request be the probe of each open circuit, but where the fault is a lasting one."""
    with hub.database.write():
        for name, circuit in circuits.read(hub.database).circuits.items():
            passing = circuit.state is State.OPEN and circuit.backoff_ms <= rules.LONGEST_BACKOFF_MS
            if passing and name.endswith(f"#{number}") and not circuit.is_due(now_ms):
                circuits.put(hub.database, name, replace(circuit, open_until_ms=now_ms))


def _open(hub: Hub, number: int, kind: str, now_ms: int) -> None:
    """Open the circuits of the credential's deployments that were used within a day."""
    names = [name for name in health_store.last_attempts(hub.database) if name.endswith(f"#{number}")]
    with hub.database.write():
        stored = circuits.read(hub.database).circuits
        for name in sorted(names):
            before = stored.get(name, Circuit())
            if before.state is State.CLOSED or before.is_due(now_ms):
                begun = before if before.state is State.CLOSED else rules.claimed(before, now_ms)
                circuits.put(hub.database, name, rules.failed(begun, kind, now_ms, random.random(), often=True))
