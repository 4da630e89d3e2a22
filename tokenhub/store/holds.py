"""Holds in the database: a batch of operations is read, decided and written in one transaction, by sets.

Whatever changes an account's money first locks the account's row, and the rows of its keys,
lots and holds are then read and written under that lock. Rows are locked in one order,
accounts by id and then keys by id, so that no two batches wait for each other (T95).
SQLite has one writer at a time and needs none of this.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from tokenhub import failpoints
from tokenhub.billing import rules
from tokenhub.billing.batch import Batch, HoldState, KeyState
from tokenhub.billing.holds import Ended, Operation, Outcome, Place, Release, RequestRecord
from tokenhub.billing.lots import LotState, draw_order
from tokenhub.store import affinities, hold_rows, leases
from tokenhub.store.bulk import Bulk
from tokenhub.store.database import Database
from tokenhub.store.leases import Lease, Standing

REAP_BATCH: Final = 200
"""How many holds of an ended process are released in one transaction."""

LOTS_EACH: Final = 32
"""How many open lots are read of each account of a batch, on average; of more only those that it can draw on."""

_FIRST_LOTS: Final = (
    f"SELECT {', '.join(hold_rows.LOT)} FROM lots WHERE account_id = ? AND available > 0 "
    "ORDER BY expires_at NULLS LAST, created_at, id LIMIT ?"
)
_PLAN_VERSION: Final = "(SELECT version FROM plans WHERE plans.id = plan_id)"
_OF_LEASE: Final = (
    "SELECT request_id, account_id, key_id, placed_at FROM holds WHERE lease_id = ? AND request_id > ? "
    "ORDER BY request_id LIMIT ?"
)


class LeaseLost(Exception):
    """This process was taken for dead and its holds were, or will be, released: it must stop its work."""


class Holds:
    """The statements of one database, made once, and what is done with them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._window_tag = database.window_epoch()
        bulk = Bulk(database)
        self._accounts = bulk.select("accounts", hold_rows.ACCOUNT, "id", also=_PLAN_VERSION, lock=True)
        self._keys = bulk.select("keys", hold_rows.KEY, "id", lock=True)
        self._holds = bulk.select("holds", hold_rows.HOLD, "request_id")
        self._hold_parts = bulk.select("hold_lots", hold_rows.PART, "request_id")
        self._ended = bulk.select("requests", hold_rows.ENDED, "id")
        self._lots = bulk.select("lots", hold_rows.LOT, "id")
        self._open_lots = bulk.select_few("lots", hold_rows.LOT, "account_id", where="available > 0", each=LOTS_EACH)
        self._set_accounts = bulk.update("accounts", "id", hold_rows.ACCOUNT_MONEY)
        self._set_keys = bulk.update("keys", "id", hold_rows.KEY_SPEND)
        self._set_lots = bulk.update("lots", "id", hold_rows.LOT_PLACES)
        self._add_holds = bulk.insert("holds", hold_rows.NEW_HOLD)
        self._add_hold_parts = bulk.insert("hold_lots", hold_rows.PART)
        self._drop_holds = bulk.delete("holds", "request_id")
        self._drop_hold_parts = bulk.delete("hold_lots", "request_id")
        self._add_requests = bulk.insert("requests", hold_rows.REQUEST)
        self._add_request_parts = bulk.insert("request_lots", hold_rows.PART)
        self._add_entries = bulk.insert("entries", hold_rows.ENTRY)
        self._set_pins = affinities.writer(bulk)

    def apply(
        self, operations: Sequence[Operation], lease: Lease, now_ms: int, *, fresh: Collection[str] = ()
    ) -> list[Outcome]:
        """Decide operations in the caller's write transaction; the outcomes hold once it is committed.

        The lease is looked after first, and all that is done without operations. LeaseLost is
        raised when another process has ended it. ``fresh``: ids of requests that nothing can have
        been written for, so that it need not be looked for; should there be something all the same,
        the insert fails.
        """
        standing = leases.check_and_renew(self._database, lease, now_ms)
        if standing is None:
            raise LeaseLost
        return self._decide(operations, lease.id, standing, now_ms, fresh) if operations else []

    def apply_alone(self, operations: Sequence[Operation], now_ms: int) -> list[Outcome]:
        """Decide operations in the caller's write transaction for one who works without a lease: a command."""
        return self._decide(operations, 0, leases.standing(self._database), now_ms)

    def release_all(self, lease_id: int, now_ms: int, *, reason: str, keep: Callable[[str], bool] | None = None) -> int:
        """Release the open holds of a lease in transactions of their own; return how many.

        Holds that ``keep`` knows stay. The reason is written to their requests as the error code.
        """
        released, after, more = 0, "", True
        while more:
            with self._database.write():
                rows = self._database.rows(_OF_LEASE, (lease_id, after, REAP_BATCH))
                releases = [_orphaned(row, reason) for row in rows if keep is None or not keep(row[0])]
                outcomes = self._decide(releases, lease_id, leases.standing(self._database), now_ms) if releases else []
            released += sum(isinstance(outcome, Ended) and outcome.first for outcome in outcomes)
            more = len(rows) == REAP_BATCH
            after = rows[-1][0] if rows else after
        return released

    def _decide(
        self,
        operations: Sequence[Operation],
        lease_id: int,
        standing: Standing,
        now_ms: int,
        fresh: Collection[str] = (),
    ) -> list[Outcome]:
        # A clock that was set back must not write into a day that is closed.
        batch = self._read(operations, standing, max(now_ms, standing.closed_until_ms), fresh)
        outcomes = rules.decide(batch, operations)
        failpoints.hit("batch.decided")
        self._write(batch, lease_id)
        return outcomes

    # Reading

    def _read(self, operations: Sequence[Operation], standing: Standing, now_ms: int, fresh: Collection[str]) -> Batch:
        """Lock and read every row that the operations may touch."""
        places = [operation for operation in operations if isinstance(operation, Place)]
        found = self._accounts(self._account_ids(operations))
        accounts = {row[0]: hold_rows.account_state(row[:-1]) for row in found}
        known = [operation.request_id for operation in operations if operation.request_id not in fresh]
        holds, ended = self._read_requests(known)
        key_ids = {place.key_id for place in places} | {hold.key_id for hold in holds.values()}
        keys = self._read_keys(key_ids)
        lots = self._read_lots(places, holds.values(), now_ms)
        for lot in sorted(lots.values(), key=draw_order):
            accounts[lot.account_id].lots.append(lot)
        return Batch(
            now_ms=now_ms,
            now_s=self._database.now_s() if places else 0,  # after the locks, so that no window is ahead of it
            window_tag=self._window_tag,
            installation_version=standing.installation_version,
            catalog_version=standing.catalog_version,
            plan_versions={row[hold_rows.PLAN]: row[-1] for row in found},
            accounts=accounts,
            keys=keys,
            lots=lots,
            holds=holds,
            ended=ended,
        )

    def _account_ids(self, operations: Sequence[Operation]) -> list[int]:
        """Return whose rows to lock; a release that brings no record is looked up by its hold."""
        ids, unknown = set(), []
        for operation in operations:
            if isinstance(operation, Place):
                ids.add(operation.account_id)
            elif operation.record is not None:
                ids.add(operation.record.account_id)
            else:
                unknown.append(operation.request_id)
        ids.update(row[1] for row in self._holds(unknown))
        return list(ids)

    def _read_requests(self, request_ids: list[str]) -> tuple[dict[str, HoldState], dict[str, Ended]]:
        """Read the open holds of these requests, and how the others have ended, if they have."""
        holds = {row[0]: hold_rows.hold_state(row) for row in self._holds(request_ids)}
        in_parts = [hold.request_id for hold in holds.values() if hold.amount and not hold.parts]
        for request_id, lot_id, amount in self._hold_parts(in_parts):
            holds[request_id].parts += ((lot_id, amount),)
        rest = [request_id for request_id in request_ids if request_id not in holds]
        return holds, {row[0]: hold_rows.ended(row) for row in self._ended(rest)}

    def _read_keys(self, key_ids: Collection[str]) -> dict[str, KeyState]:
        """Lock and read keys, and those that they were rotated to."""
        keys: dict[str, KeyState] = {}
        while key_ids:
            found = {row[0]: hold_rows.key_state(row) for row in self._keys(list(key_ids))}
            keys |= found
            key_ids = {key.replaced_by for key in found.values() if key.replaced_by is not None} - keys.keys()
        return keys

    def _read_lots(self, places: Iterable[Place], holds: Iterable[HoldState], now_ms: int) -> dict[int, LotState]:
        """Read the lots that these places can draw on, and those that the holds have drawn on."""
        wanted: dict[int, int] = {}
        for place in places:
            wanted[place.account_id] = wanted.get(place.account_id, 0) + place.wanted_nano
        lots = {row[0]: hold_rows.lot_state(row) for row in self._open_lots(list(wanted))}
        if len(lots) > LOTS_EACH * len(wanted):
            lots = {lot.id: lot for each in wanted.items() for lot in self._first_lots(*each, now_ms)}
        drawn = {lot_id for hold in holds for lot_id, _ in hold.parts} - lots.keys()
        return lots | {row[0]: hold_rows.lot_state(row) for row in self._lots(list(drawn))}

    def _first_lots(self, account_id: int, wanted_nano: int, now_ms: int) -> list[LotState]:
        """Read an account's first lots in draw order: all whose time has passed, and more than is wanted.

        What is drawn of them, and which expires next then, is as if all had been read.
        """
        limit = LOTS_EACH
        while True:
            lots = [hold_rows.lot_state(row) for row in self._database.rows(_FIRST_LOTS, (account_id, limit))]
            usable = sum(lot.available for lot in lots if lot.expires_at_ms > now_ms)
            if usable > wanted_nano or len(lots) < limit:
                return lots
            limit *= 8

    # Writing

    def _write(self, batch: Batch, lease_id: int) -> None:
        """Write back what was touched. A hold placed and ended in the same batch leaves no trace but its request."""
        new = [hold for hold in batch.holds.values() if hold.place is not None]
        gone = [hold for hold in batch.closed if hold.place is None]
        self._set_accounts([hold_rows.account_row(account) for account in batch.accounts.values() if account.touched])
        self._set_keys([hold_rows.key_row(key) for key in batch.keys.values() if key.touched])
        self._set_lots([hold_rows.lot_row(lot) for lot in batch.lots.values() if lot.touched])
        self._add_holds([hold_rows.hold_row(hold, lease_id) for hold in new])
        self._add_hold_parts(hold_rows.part_rows((hold.request_id, hold.parts) for hold in new))
        self._drop_holds([hold.request_id for hold in gone])
        self._drop_hold_parts([hold.request_id for hold in gone if len(hold.parts) > 1])
        self._add_requests([hold_rows.request_row(ending, batch.now_ms) for ending in batch.endings])
        self._add_request_parts(hold_rows.part_rows((ending.request_id, ending.paid) for ending in batch.endings))
        self._add_entries([hold_rows.entry_row(entry) for entry in batch.entries])
        self._set_pins([ending.pin for ending in batch.endings if ending.pin is not None])


def release_holds_of(database: Database, lease_id: int, now_ms: int) -> int:
    """Release the holds of a process that has ended, and return how many there were (T20, T21).

    Raises ValueError for a lease that has not ended: its process may be about to settle them.
    """
    row = database.row("SELECT state FROM leases WHERE id = ?", (lease_id,))
    if row is not None and row[0] != "ended":
        raise ValueError(f"lease {lease_id} has not ended")
    return Holds(database).release_all(lease_id, now_ms, reason="lease_ended")


def _orphaned(row: Sequence[Any], reason: str) -> Release:
    request_id, account_id, key_id, placed_at_ms = row
    record = RequestRecord(account_id, key_id, placed_at_ms, capability="", model="", status=0, error_code=reason)
    return Release(request_id, record)
