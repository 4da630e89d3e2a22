"""Whether a deployment is tried: a circuit that failures open and one probe closes.

*Closed*: requests go there. *Open*: they go elsewhere until a pause is over, which doubles each
time. *Half-open*: the pause is over and one request, among all processes, finds out. Nothing
here reads a clock, rolls a die or keeps a word of a request; what is stored and who is asked is
decided by the caller.

    closed --failures in a row, or too many of a minute, or a lasting fault--> open
    open --pause over, one claims the probe--> half-open --answered--> closed
                                               half-open --failed--> open, pause doubled
    open --answered after all (the last one left)--> closed

An answer counts only if its attempt began in the state that it ends: what was under way when a
circuit opened may still show content and then break off like the others did.
The last deployment inside a boundary is tried even when its circuit is open; that is the
route's rule (``route.py``), since only the route knows what else there is.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

FAILURES_TO_OPEN: Final = 5
FAILURES_TO_REOPEN: Final = 2
"""In a row, while the last opening is not yet ``TRUSTED_AFTER_MS`` past: what flaps is not trusted again at once."""
FIRST_BACKOFF_MS: Final = 1_000
LONGEST_BACKOFF_MS: Final = 30_000
LASTING_BACKOFF_MS: Final = 600_000
LONGEST_LASTING_BACKOFF_MS: Final = 6 * 3_600_000
"""A fault that does not pass by itself (a country refused, a model withdrawn) is looked at again after 10 minutes, at
last four times a day."""
TRUSTED_AFTER_MS: Final = 120_000
"""So long without opening again, and the next pause is a first one."""
JITTER: Final = 0.25
"""A pause is this share shorter or longer, so that processes and deployments do not come back in step."""
CLOCK_MS: Final = 2
"""How far two clocks of a process can be apart by being read in whole milliseconds."""
SKEW_MS: Final = 2_000
"""How far the clocks of machines that serve one database may be apart: what begins later by no more than this begins now."""
PROBE_MS: Final = 60_000
"""A probe that says nothing for so long is another one's turn: its process may have died."""

WINDOW_MS: Final = 60_000
WINDOW_SLOTS: Final = 6
WINDOW_ATTEMPTS: Final = 20
"""With fewer attempts in the window its failure rate says nothing."""
WINDOW_FAILURE_RATE: Final = 0.5
WINDOW_GOOD_RATE: Final = 0.05
_SLOT_MS: Final = WINDOW_MS // WINDOW_SLOTS


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Circuit:
    """One deployment's circuit. Times are milliseconds since 1970, 0: none."""

    state: State = State.CLOSED
    failures: int = 0
    """In a row."""
    backoff_ms: int = 0
    """The last pause, before its jitter; kept after closing, until the deployment is trusted again."""
    open_until_ms: int = 0
    probe_until_ms: int = 0
    last_error: str = ""
    """The class of the last fault, such as ``timeout``; never a provider's words."""
    changed_at_ms: int = 0
    """When the state last changed."""

    def is_due(self, now_ms: int) -> bool:
        """Whether the next request may be the probe."""
        if self.state is State.OPEN:
            return not lasts(self.open_until_ms, now_ms, self.backoff_ms * (1 + JITTER))
        return self.state is State.HALF_OPEN and not lasts(self.probe_until_ms, now_ms, PROBE_MS)

    @property
    def retry_at_ms(self) -> int:
        """When it can be worth asking again; 0 while closed."""
        return {State.CLOSED: 0, State.OPEN: self.open_until_ms, State.HALF_OPEN: self.probe_until_ms}[self.state]


def lasts(until_ms: int, now_ms: int, longest_ms: float) -> bool:
    """Whether a pause or a probe that ends then goes on, if none is longer than this.

    One that ends later than any begun now could was begun before the clock was set back: it is
    over (T99). Another process's "now" may be a little ahead, which says nothing.
    """
    return 0 < until_ms - now_ms <= longest_ms + SKEW_MS


def failed(
    circuit: Circuit, error: str, now_ms: int, draw: float, *, lasting: bool = False, often: bool = False
) -> Circuit:
    """Return the circuit after an attempt that failed by the deployment's fault.

    ``draw`` (0 to 1) places the jitter. ``lasting``: the fault does not pass by itself.
    ``often``: the window holds too many failures (:meth:`Window.is_bad`). An open circuit only
    counts: those who try the last one that is left must not make its pause grow.
    """
    failures = circuit.failures + 1
    if circuit.state is State.OPEN:
        return replace(circuit, failures=failures, last_error=error)
    opens = circuit.state is State.HALF_OPEN or lasting or often or failures >= _limit(circuit, now_ms)
    if not opens:
        return replace(circuit, failures=failures, last_error=error)
    backoff_ms = _next_backoff(circuit, now_ms, lasting=lasting)
    pause_ms = int(backoff_ms * (1 - JITTER + 2 * JITTER * draw))
    return Circuit(State.OPEN, failures, backoff_ms, now_ms + pause_ms, 0, error, now_ms)


def answered(circuit: Circuit, now_ms: int) -> Circuit:
    """Return the circuit after an attempt that showed content: closed, but not yet trusted if it was not before."""
    if circuit.state is State.CLOSED:
        return circuit
    return Circuit(State.CLOSED, 0, circuit.backoff_ms, 0, 0, circuit.last_error, now_ms)


def ends(circuit: Circuit, began_ms: float) -> bool:
    """Say whether the answer to an attempt that began then ends what the circuit is in: open, or half-open."""
    return circuit.state is not State.CLOSED and began_ms >= circuit.changed_at_ms - CLOCK_MS


def completed(circuit: Circuit) -> Circuit:
    """Return the circuit after a reply that came to its end: only that ends a row of failures."""
    return replace(circuit, failures=0) if circuit.failures and circuit.state is State.CLOSED else circuit


def claimed(circuit: Circuit, now_ms: int) -> Circuit:
    """Return the circuit while a request is its probe; only of one that :meth:`Circuit.is_due`."""
    return replace(circuit, state=State.HALF_OPEN, probe_until_ms=now_ms + PROBE_MS, changed_at_ms=now_ms)


def let_go(circuit: Circuit, now_ms: int) -> Circuit:
    """Return the circuit after a probe that found nothing out (its client left): the next request's turn."""
    if circuit.state is not State.HALF_OPEN:
        return circuit
    return replace(circuit, state=State.OPEN, open_until_ms=now_ms, probe_until_ms=0, changed_at_ms=now_ms)


def _is_trusted(circuit: Circuit, now_ms: int) -> bool:
    return circuit.backoff_ms == 0 or not -SKEW_MS <= now_ms - circuit.changed_at_ms < TRUSTED_AFTER_MS


def _limit(circuit: Circuit, now_ms: int) -> int:
    return FAILURES_TO_OPEN if _is_trusted(circuit, now_ms) else FAILURES_TO_REOPEN


def _next_backoff(circuit: Circuit, now_ms: int, *, lasting: bool) -> int:
    first_ms, longest_ms = (
        (LASTING_BACKOFF_MS, LONGEST_LASTING_BACKOFF_MS) if lasting else (FIRST_BACKOFF_MS, LONGEST_BACKOFF_MS)
    )
    if circuit.state is State.CLOSED and _is_trusted(circuit, now_ms):
        return first_ms
    return min(max(first_ms, 2 * circuit.backoff_ms), longest_ms)


class Window:
    """Attempts and failures of the last minute at one deployment, in slots of ten seconds."""

    __slots__ = ("_attempts", "_failures", "_slot")

    def __init__(self) -> None:
        self._slot = 0
        self._attempts = [0] * WINDOW_SLOTS
        self._failures = [0] * WINDOW_SLOTS

    def attempt(self, now_ms: int) -> None:
        """Count an attempt; its failure, if it comes to that, is counted by :meth:`failure`."""
        self._attempts[self._at(now_ms)] += 1

    def failure(self, now_ms: int) -> None:
        """Count a failure of an attempt that was counted."""
        self._failures[self._at(now_ms)] += 1

    def clear(self) -> None:
        """Forget everything: what failed before a circuit opened says nothing of what comes after."""
        self._attempts = [0] * WINDOW_SLOTS
        self._failures = [0] * WINDOW_SLOTS

    def is_bad(self, now_ms: int) -> bool:
        """Whether too many of enough attempts failed."""
        self._at(now_ms)
        attempts = sum(self._attempts)
        return attempts >= WINDOW_ATTEMPTS and sum(self._failures) >= attempts * WINDOW_FAILURE_RATE

    def is_good(self, now_ms: int) -> bool:
        """Whether hardly any attempt failed: what is asked often always has some that do."""
        self._at(now_ms)
        return sum(self._failures) <= sum(self._attempts) * WINDOW_GOOD_RATE

    def _at(self, now_ms: int) -> int:
        """Move to the slot of this moment and return its place; slots in between are empty. A clock set back empties all."""
        slot = now_ms // _SLOT_MS
        passed = slot - self._slot
        if passed:
            for step in range(min(passed, WINDOW_SLOTS) if passed > 0 else WINDOW_SLOTS):
                place = (slot - step) % WINDOW_SLOTS
                self._attempts[place] = self._failures[place] = 0
            self._slot = slot
        return slot % WINDOW_SLOTS
