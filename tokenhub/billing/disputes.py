"""What a dispute does to credit: flagged, frozen while it is open, then given back or taken.

Everything follows from the dispute as Stripe shows it now, never from an event. An inquiry
takes nothing. An open dispute freezes what is left of the credit that it contests; what is
spent already is the operator's risk until it is decided.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tokenhub.billing import polling


class DisputeState(StrEnum):
    """Where a dispute is."""

    FLAGGED = "flagged"
    """An inquiry: nothing is taken."""
    FROZEN = "frozen"
    """Open: the credit that it contests cannot be spent."""
    WON = "won"
    LOST = "lost"


ENDED: Final = (DisputeState.WON, DisputeState.LOST)

_READ: Final = {
    "warning_needs_response": DisputeState.FLAGGED,
    "warning_under_review": DisputeState.FLAGGED,
    "needs_response": DisputeState.FROZEN,
    "under_review": DisputeState.FROZEN,
    "appeal_needs_response": DisputeState.FROZEN,
    "appeal_under_review": DisputeState.FROZEN,
    "warning_closed": DisputeState.WON,
    "won": DisputeState.WON,
    "lost": DisputeState.LOST,
}

_APPEALS: Final = ("appeal_needs_response", "appeal_under_review")


def state_of(status: str, balance_total: int) -> DisputeState:
    """Return what Stripe's word means.

    ``balance_total`` is what the dispute has moved on our balance at Stripe, in minor units of
    the balance: a dispute that was prevented is lost if money left. A word that is not known
    freezes, as the safe side.
    """
    if status == "prevented":
        return DisputeState.LOST if balance_total < 0 else DisputeState.WON
    return _READ.get(status, DisputeState.FROZEN)


def is_known(status: str) -> bool:
    """Whether a person need not look at what Stripe says."""
    return status in _READ or status == "prevented"


def following(state: DisputeState | None, read: DisputeState, status: str) -> DisputeState:
    """Return where a dispute is after it was read at Stripe, ``status`` being Stripe's word.

    An end is not reopened by what was read earlier; only an appeal follows an end: it freezes
    what was won, and what was lost stays taken until the appeal is decided.
    """
    if state is DisputeState.FROZEN and read is DisputeState.FLAGGED:
        return state
    if state in ENDED and read not in ENDED:
        return read if state is DisputeState.WON and status in _APPEALS else state
    return read


@dataclass(frozen=True, slots=True)
class Change:
    """What a dispute's step does to the credit of its top-up, in nano-USD."""

    freeze_nano: int = 0
    """To be frozen as far as the lot has it available; negative: to be given free."""
    take_nano: int = 0
    """To be taken for good, from what is frozen first."""
    give_back: bool = False
    """What was taken comes back."""


def change(state: DisputeState | None, to: DisputeState, frozen_nano: int, claw_nano: int) -> Change:
    """Return what a step does when so much is frozen for the dispute and so much is contested."""
    if to is DisputeState.FROZEN:
        return Change(freeze_nano=claw_nano - frozen_nano)
    if to is DisputeState.LOST and state is not DisputeState.LOST:
        return Change(freeze_nano=-max(0, frozen_nano - claw_nano), take_nano=claw_nano)
    if to is DisputeState.WON:
        return Change(freeze_nano=-frozen_nano, give_back=state is DisputeState.LOST)
    return Change()


_SOONEST_MS: Final = 30_000


def next_poll_ms(created_at_ms: int, now_ms: int, *, awaits_holds: bool = False) -> int:
    """Return when to look again at a dispute that is open: the older it is, the rarer.

    While it ``awaits_holds``, some of what it contests is held by requests: what they give back is to be frozen soon.
    """
    return polling.next_poll_ms(now_ms if awaits_holds else created_at_ms, now_ms, soonest_ms=_SOONEST_MS)
