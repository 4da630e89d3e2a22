"""What every way of sending a notice shares: the message, and the three ways in which it does not arrive."""

from dataclasses import dataclass

TIMEOUT_S = 10.0
"""For each wait on a receiver's socket."""


@dataclass(frozen=True, slots=True)
class Message:
    """One notice on its way. ``id`` stays the same whenever it is sent again."""

    id: str
    target: str
    subject: str
    text: str
    payload: bytes
    """The JSON that is posted."""
    created_at_ms: int


class Away(Exception):
    """The receiver cannot be reached, or takes nothing now: nothing else for it is tried in this run."""


class Refused(Exception):
    """This one was not taken; it is tried again later."""


class Unsendable(Exception):
    """This one can never be taken: there is no such mailbox, or the address is none."""
