"""What is known of one request while it is under way. ``exchange.py`` says how it gets there."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tokenhub.accounts.accounts import Caller
from tokenhub.billing.bound import Bound
from tokenhub.billing.holds import Placed
from tokenhub.call import Call
from tokenhub.errors import HubError
from tokenhub.operations.planning import NO_HINTS, Hints
from tokenhub.proxy.downstream import Downstream
from tokenhub.routing.route import Candidate, Route
from tokenhub.routing.session import Session
from tokenhub.wire.faults import Failure
from tokenhub.wire.surface import Surface


@dataclass(slots=True)
class Attempt:
    """One try at one deployment, as the receipt shows it."""

    candidate: Candidate
    started_s: float
    duration_ms: int = 0
    failure: Failure | None = None
    served_model: str | None = None
    """The upstream's own name for the model that answered, kept with the receipt (T85)."""


@dataclass(slots=True)
class Exchange:
    """One request and its reply: what is known so far, changed by the steps of ``carry`` alone."""

    id: str
    surface: Surface
    downstream: Downstream
    started_s: float
    started_at_ms: int
    digest: bytes = b""
    hop: str = ""
    """The gateways this request has passed, this one last (T66)."""
    caller: Caller | None = None
    call: Call | None = None
    body: dict[str, Any] = field(default_factory=dict, repr=False)
    """What was asked, in the form in which it travels inside."""
    native: dict[str, Any] = field(default_factory=dict, repr=False)
    """The same in the client's own wire: for an upstream that speaks it too."""
    hints: Hints = NO_HINTS
    """What the request itself says about routing."""
    session: Session | None = None
    pinned: str | None = None
    """The deployment that holds the session's tool loop."""
    explain: bool = False
    """The client wants the route told in a header."""
    route: Route | None = None
    bound: Bound | None = None
    hold: Placed | None = None
    asked: bool = False
    """A hold was asked for: it must be settled or released, whether or not its answer was seen."""
    ended: bool = False
    """A settle or release is queued; the ledger end of this exchange is certain."""
    charged: bool = False
    """The settle is committed: nothing that goes wrong from here on may be told as a failure that cost nothing."""
    attempts: list[Attempt] = field(default_factory=list)
    dropped: tuple[str, ...] = ()
    """Request fields left out, for the ``x-tokenhub-dropped`` header."""
    first_content_ms: int | None = None
    client_left: bool = False
    """The client was gone before it had seen the end."""
    task: asyncio.Task[Any] | None = None
    stopped: HubError | None = None
    """Set when the gateway itself ends this exchange (shutdown, lost lease): what the client is told."""

    def stop(self, reason: HubError) -> None:
        """End this exchange from outside: its client gets the error, its hold is released.

        One whose settle or release is queued is left to end by itself: to call it failed could be untrue by now.
        """
        if self.ended:
            return
        self.stopped = reason
        if self.task is not None:
            self.task.cancel()
