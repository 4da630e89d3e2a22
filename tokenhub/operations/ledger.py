"""The ledger: what an account was given and has left, the journal, and the proof of both."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenhub.billing.invariants import Discrepancy
from tokenhub.billing.lots import Lot as Lot
from tokenhub.operations.hub import Hub
from tokenhub.store import audit, vitals
from tokenhub.store import ledger as store
from tokenhub.store.ledger import Balances as Balances
from tokenhub.store.ledger import EntryLine as EntryLine
from tokenhub.store.ledger import Shortfalls


@dataclass(frozen=True, slots=True)
class Statement:
    """An account's money at one moment, all read together."""

    balances: Balances
    lots: Sequence[Lot]
    """All of them, in the order in which they are drawn."""
    entries: Sequence[EntryLine]
    """The newest journal entries, the newest first."""


def statement(hub: Hub, account_id: int, *, limit: int) -> Statement:
    """Return an account's balances, lots and newest entries."""
    with hub.database.read():
        return Statement(
            store.balances(hub.database, account_id),
            store.lots_of(hub.database, account_id),
            store.entries(hub.database, account_id, limit=limit),
        )


def balances(hub: Hub, account_id: int) -> Balances:
    """Return an account's balances and the lots that still have credit, in the order in which they are drawn."""
    return store.balances(hub.database, account_id)


def lot(hub: Hub, lot_id: int) -> Lot:
    """Return one lot. Raises NotFound."""
    return store.lot(hub.database, lot_id)


def expire(hub: Hub) -> int:
    """Take out all credit whose time has passed, as the gateway does every minute; return from how many lots."""
    now_ms, lots = hub.database.now_ms(), 0
    while expired := store.expire_due(hub.database, now_ms):
        lots += expired
    return lots


def verify(hub: Hub) -> list[Discrepancy]:
    """Check every lot, account, key, hold and request against each other; return what does not add up."""
    return audit.verify(hub.database)


def verify_fast(hub: Hub) -> list[Discrepancy]:
    """Check the same without the requests: quick however many there are."""
    return audit.verify_fast(hub.database)


def shortfalls(hub: Hub, since_ms: int) -> Shortfalls:
    """Return what requests have cost above their holds since a moment: the operator's loss."""
    return store.shortfalls(hub.database, since_ms)


def ended_requests(hub: Hub) -> int:
    """Return how many ended requests there are to verify."""
    return vitals.ended_requests(hub.database)


def latest_moment_ms(hub: Hub) -> int:
    """Return the latest moment that anything in the store says it was written at; 0 when nothing was."""
    return vitals.latest_moment_ms(hub.database)
