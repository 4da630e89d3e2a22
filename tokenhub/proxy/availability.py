"""What this process knows of its upstreams: verdicts of real traffic in, standings out, shared through the store.

Changed in the event loop alone. A circuit or cool-down that changes is written at once by the
writer's thread, and what other processes wrote is read every second, so that all agree within
one. Counts go to the store every few seconds. Nobody waits for any of it, but for the probe
of a half-open circuit: one request among all processes may send it, which the store decides.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from math import ceil
from typing import Any, Final, Protocol, TypeVar

from tokenhub import clock
from tokenhub.catalog.models import Deployment
from tokenhub.errors import HubError, Unavailable
from tokenhub.observability import log
from tokenhub.operations import availability as known
from tokenhub.operations.availability import Blame
from tokenhub.routing import circuit as rules
from tokenhub.routing import health
from tokenhub.routing.availability import Cooldown, Observed, cooled
from tokenhub.routing.circuit import Circuit, State, Window
from tokenhub.routing.health import Tally
from tokenhub.store import circuits
from tokenhub.store import health as health_store
from tokenhub.store.circuits import Stored
from tokenhub.store.database import Database, StoreError
from tokenhub.store.writer import Writer
from tokenhub.usage import Usage
from tokenhub.wire.faults import Failure, FaultKind

READ_EVERY_S: Final = 1.0
FLUSH_EVERY_S: Final = 5.0
SPEEDS_EVERY_S: Final = 30.0
WITHDRAWN: Final = "withdrawn"
"""The code of an attempt that was called off here: nobody's fault."""

T = TypeVar("T")

TakeOut = Callable[[int, str], Awaitable[bool]]
"""Takes a credential out of use, with the reason; waits until that is written."""
Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Watch:
    """Watches attempts and keeps ``view``, which the route is planned on."""

    def __init__(
        self, writer: Writer, take_out: TakeOut, spawn: Spawn, draw: Callable[[], float] = random.random
    ) -> None:
        self.view = Observed()
        self._writer = writer
        self._take_out = take_out
        self._spawn = spawn
        self._draw = draw
        self._windows: dict[str, Window] = {}
        self._counted: dict[tuple[str, int], Tally] = {}
        self._touches = 0
        self._touched: dict[str | int, int] = {}
        """What was changed here, by the number of the change: a read that began before knows nothing of it."""
        self._unwritten: dict[str | int, int] = {}
        """How many writes of it are on their way."""

    # Verdicts

    def answered(self, deployment: Deployment, latency_ms: float) -> None:
        """An attempt showed content, after so long."""
        now_ms, name = clock.now_ms(), deployment.id
        self._attempted(name, now_ms).took(latency_ms)
        circuit = self.view.circuits.get(name)
        if circuit is not None and rules.ends(circuit, now_ms - latency_ms):
            self._window(name).clear()
            self._change(name, rules.answered(circuit, now_ms))
            log.event("circuit_closed", deployment=name)

    def completed(self, deployment: Deployment, usage: Usage | None, duration_ms: float) -> None:
        """A reply came to its end, with this usage, after so long."""
        name = deployment.id
        circuit = self.view.circuits.get(name)
        if circuit is not None:
            self.view.circuits[name] = rules.completed(circuit)
        if usage is not None and usage.output_total:
            self._tally(name, clock.now_ms()).made(usage.output_total, duration_ms)

    def failed(self, deployment: Deployment, failure: Failure, *, answered: bool = False) -> None:
        """An attempt failed; ``answered``: after it had shown content, so it is counted as an attempt already."""
        blame = known.blame(failure)
        if failure.code == WITHDRAWN or (answered and blame is Blame.NOBODY):
            self.let_go(deployment)
            return
        now_ms, name = clock.now_ms(), deployment.id
        if not answered:
            self._attempted(name, now_ms)
        if blame is Blame.NOBODY:  # the client's own fault: the deployment is well enough to say so
            self._reached(name, now_ms)
            return
        self._tally(name, now_ms).failures += 1
        match blame:
            case Blame.CREDENTIAL:
                self.let_go(deployment)
                self._fail_credential(deployment, failure)
            case Blame.THROTTLE:
                self._reached(name, now_ms)
                self._cool(deployment, failure, now_ms)
            case _:
                self._window(name).failure(now_ms)
                self._fail(name, failure.kind, now_ms, lasting=blame is Blame.LASTING)

    def let_go(self, deployment: Deployment) -> None:
        """An attempt was called off before it showed anything: if it was the probe, it is the next request's turn."""
        circuit = self.view.circuits.get(deployment.id)
        if circuit is not None and circuit.state is State.HALF_OPEN:
            self._let_go(deployment.id, circuit)

    def _let_go(self, name: str, probing: Circuit) -> None:
        after = rules.let_go(probing, clock.now_ms())
        self.view.circuits[name] = after
        self._keep(name, lambda database: circuits.swap(database, name, probing, after))

    def is_well(self, deployment: Deployment) -> bool:
        """Whether nothing is known against a deployment: it is not out, and hardly any attempt of a minute failed."""
        now_ms, name = clock.now_ms(), deployment.id
        standing = self.view.state(name, deployment.credential.id, now_ms)
        window = self._windows.get(name)
        return standing.available and not standing.code and (window is None or window.is_good(now_ms))

    async def may_try(self, deployment: Deployment, *, alone: bool) -> bool:
        """Say whether an attempt may begin now; claims the probe of a circuit whose pause is over.

        ``alone``: there is nothing else to try and nothing was tried. Then even an open circuit
        is tried; a throttled or refused credential never is.
        """
        now_ms, name = clock.now_ms(), deployment.id
        standing = self.view.state(name, deployment.credential.id, now_ms)
        if standing.code in ("cooling_down", "credential_failed"):
            return False
        circuit = self.view.circuits.get(name)
        if circuit is None or circuit.state is State.CLOSED:
            return True
        return (standing.available and await self._claim(name, circuit, now_ms)) or alone

    async def _claim(self, name: str, seen: Circuit, now_ms: int) -> bool:
        """Ask the store for the one probe; False when another request has it, or the store does not answer."""
        probing = rules.claimed(seen, now_ms)
        self.view.circuits[name] = probing  # no other request here asks meanwhile
        try:
            won: bool = await asyncio.wrap_future(
                self._write(name, lambda database: circuits.swap(database, name, seen, probing))
            )
        except (HubError, StoreError) as error:
            log.event("probe_not_claimed", level="warning", deployment=name, code=error.code)
            won = False
        except asyncio.CancelledError:
            self._let_go(name, probing)
            raise
        if not won and self.view.circuits.get(name) is probing:
            self.view.circuits[name] = seen
        return won

    def _reached(self, name: str, now_ms: int) -> None:
        circuit = self.view.circuits.get(name)
        if circuit is not None and circuit.state is State.HALF_OPEN:
            self._change(name, rules.answered(circuit, now_ms))

    def _fail(self, name: str, kind: FaultKind, now_ms: int, *, lasting: bool) -> None:
        before = self.view.circuits.get(name, _CLOSED)
        often = self._window(name).is_bad(now_ms)
        after = rules.failed(before, kind.value, now_ms, self._draw(), lasting=lasting, often=often)
        if after.open_until_ms == before.open_until_ms and after.state is before.state:
            self.view.circuits[name] = after
            return
        self._window(name).clear()
        self._change(name, after)
        pause_ms = after.open_until_ms - now_ms
        log.event("circuit_opened", level="warning", deployment=name, kind=kind.value, pause_ms=pause_ms)

    def _cool(self, deployment: Deployment, failure: Failure, now_ms: int) -> None:
        number, asked_s = deployment.credential.id, failure.retry_after_s
        before = self.view.cooldowns.get(number)
        asked_ms = None if asked_s is None else ceil(asked_s * 1000)
        after = cooled(before, now_ms, self._draw(), asked_ms=asked_ms, reason=failure.kind.value)
        if after is before:
            return
        self.view.cooldowns[number] = after
        self._keep(number, lambda database: circuits.put_cooldown(database, number, after, now_ms))
        if before is None or before.is_over(now_ms):
            log.event("credential_cools", credential=number, pause_ms=after.until_ms - now_ms)

    def _fail_credential(self, deployment: Deployment, failure: Failure) -> None:
        number = deployment.credential.id
        if number in self.view.failed or not number:  # 0 is the embedded model's, which lives with the process
            return
        self.view.failed.add(number)
        self._begin(number)  # at once: a read that is taken over before the task runs knows nothing of it
        self._spawn(self._retire(number, known.reason_of(failure)))

    async def _retire(self, number: int, reason: str) -> None:
        try:
            await self._take_out(number, reason)
        except (HubError, StoreError) as error:
            log.event("credential_not_taken_out", level="error", credential=number, code=error.code)
        finally:
            self._written(number)

    def _change(self, name: str, circuit: Circuit) -> None:
        self.view.circuits[name] = circuit
        self._keep(name, lambda database: circuits.put(database, name, circuit))

    # Counts

    def _attempted(self, name: str, now_ms: int) -> Tally:
        self._window(name).attempt(now_ms)
        tally = self._tally(name, now_ms)
        tally.attempts += 1
        return tally

    def _tally(self, name: str, now_ms: int) -> Tally:
        key = (name, now_ms - now_ms % health.MINUTE_MS)
        tally = self._counted.get(key)
        if tally is None:
            tally = self._counted[key] = Tally()
        return tally

    def _window(self, name: str) -> Window:
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = Window()
        return window

    def flush(self) -> None:
        """Add what was counted to the store's minutes; what cannot be written is dropped, as it says little later."""
        counted, self._counted = self._counted, {}
        if counted:
            self._keep("", lambda database: health_store.add(database, counted))

    # The store

    def _write(self, key: str | int, write: Callable[[Database], Any]) -> "Future[Any]":
        """Queue a write and remember that it is on its way; raises Unavailable when it cannot be queued."""
        loop = asyncio.get_running_loop()
        future = self._writer.run(write)
        self._begin(key)

        def done(_: "Future[Any]") -> None:
            with suppress(RuntimeError):  # the loop may have ended before its last write
                loop.call_soon_threadsafe(self._written, key)

        future.add_done_callback(done)
        return future

    def _begin(self, key: str | int) -> None:
        self._touch(key)
        self._unwritten[key] = self._unwritten.get(key, 0) + 1

    def _written(self, key: str | int) -> None:
        self._touch(key)
        self._unwritten[key] -= 1
        if not self._unwritten[key]:
            del self._unwritten[key]

    def _keep(self, key: str | int, write: Callable[[Database], Any]) -> None:
        """Write without waiting; a failure is logged, and the next read says what holds."""
        try:
            self._write(key, write).add_done_callback(_tell_failure)
        except Unavailable as error:
            log.event("availability_not_written", level="warning", code=error.code)

    def _touch(self, key: str | int) -> None:
        self._touches += 1
        self._touched[key] = self._touches

    def mark(self) -> int:
        """Return what :meth:`absorb` wants to know of when a read began."""
        return self._touches

    def absorb(self, stored: Stored, began: int) -> None:
        """Take over what other processes wrote, but for what was changed here since the read began."""
        own = {key for key, number in self._touched.items() if number > began} | self._unwritten.keys()
        self._touched = {key: number for key, number in self._touched.items() if key in own}
        view = self.view
        for name in [*view.circuits, *stored.circuits]:
            if name not in own:
                self._take_circuit(name, stored.circuits.get(name))
        kept: dict[int, Cooldown] = {
            number: one for number, one in view.cooldowns.items() if number in own or not number
        }
        view.cooldowns = {**{number: one for number, one in stored.cooldowns.items() if number not in own}, **kept}
        view.failed = (view.failed & own) | {number for number in stored.failed if number not in own}

    def _take_circuit(self, name: str, stored: Circuit | None) -> None:
        mine = self.view.circuits.get(name)
        if stored is None:
            if mine is not None and (mine.state is not State.CLOSED or not mine.failures):
                del self.view.circuits[name]
        elif mine is not None and mine.state is stored.state is State.CLOSED:
            self.view.circuits[name] = Circuit(
                State.CLOSED, mine.failures, stored.backoff_ms, 0, 0, stored.last_error, stored.changed_at_ms
            )
        else:
            self.view.circuits[name] = stored
            if stored.state is not State.CLOSED:
                self._windows.pop(name, None)


_CLOSED: Final = Circuit()


def _tell_failure(future: "Future[Any]") -> None:
    error = future.exception() if not future.cancelled() else None
    if error is not None:
        log.failure("availability_not_written", error)


async def follow(watch: Watch, read: "Read") -> None:
    """Read the store every second and tell it what was counted, until cancelled."""
    flushed_s = speeds_s = float("-inf")
    while True:
        now_s = clock.monotonic_s()
        try:
            began = watch.mark()
            watch.absorb(await read(circuits.read), began)
            if now_s - speeds_s >= SPEEDS_EVERY_S:
                speeds_s = now_s
                watch.view.know_speeds(known.speeds(await read(_lately)))
        except Unavailable:
            pass  # told by the read itself; what is known stays until the store answers
        if now_s - flushed_s >= FLUSH_EVERY_S:
            flushed_s = now_s
            watch.flush()
        await asyncio.sleep(READ_EVERY_S)


def _lately(database: Database) -> dict[str, Tally]:
    return health_store.since(database, clock.now_ms() - health.RECENT_MS)


class Read(Protocol):
    """Runs a query in the reader's thread; raises Unavailable when the store does not answer."""

    async def __call__(self, query: Callable[[Database], T], /) -> T: ...
