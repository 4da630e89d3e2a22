"""Leases: which processes live. The holds of one that does not are released, never those of one that does.

A process takes a lease when it starts and renews it inside its batches; each renewal counts up
the row's epoch. Three things prove that a process has ended:

- it said so: :func:`end`;
- the kernel says so: each process holds a file lock (``flock``) while it lives, so a free one
  proves death at once, for processes of this machine;
- time says so: the row is past *and* a reaper has seen it unchanged across one full lease of its
  own good contact with the database. A database that stalls, a machine that slept or a clock
  that was set makes the reaper start to watch anew, so none of them reaps anybody (T99).

A lease that was ended is never live again: its process finds out in its next batch, whose
:func:`check_and_renew` locks the row, and stops (fencing).
"""

import fcntl
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tokenhub import clock
from tokenhub.errors import Conflict
from tokenhub.paths import Home, open_private
from tokenhub.store.database import Database

RENEWALS = 4
"""A lease is renewed when this part of it has passed, so three renewals may fail."""
LATE = 2
"""A process is away when this many times the duration of a lease has passed without a renewal, for those who look but once."""
KEPT_MS = 7 * 24 * 3_600_000
"""How long the row of an ended process is kept."""
_LIVE = "SELECT id, epoch, host, boot_id, pid, started_at, renewed_at FROM leases WHERE state = 'live' ORDER BY id"


@dataclass(frozen=True, slots=True)
class Lease:
    """This process's own lease; ``lock`` is the descriptor of its locked file, held while the process lives."""

    id: int
    duration_ms: int
    file: Path
    lock: int
    taken_by: tuple[str, int, int]
    """Boot id, process and start: a server that took over without the newest commits may give the same id to another."""


class Standing(NamedTuple):
    """What a batch reads first, together with its lease: the installation's versions, and where its open days begin."""

    installation_version: int
    catalog_version: int
    closed_until_ms: int


@dataclass(frozen=True, slots=True)
class Holder:
    """A live lease as read: whose it is, and how often it was renewed."""

    id: int
    epoch: int
    host: str
    boot_id: str
    pid: int
    started_at: int
    renewed_at: int

    @property
    def mark(self) -> bytes:
        """What its lock file says, so that a file of another database's lease is not taken for it."""
        return f"{self.boot_id} {self.pid} {self.started_at}\n".encode()


def acquire(database: Database, home: Home, duration_s: float, now_ms: int) -> Lease:
    """Take a lease for this process. Its file is locked before its row can be seen."""
    home.make_run()
    holder = Holder(0, 1, socket.gethostname(), clock.boot_id(), os.getpid(), now_ms, now_ms)
    lock = None
    try:
        with database.write():
            ((number,),) = database.rows(
                "INSERT INTO leases (host, boot_id, pid, started_at, renewed_at) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (holder.host, holder.boot_id, holder.pid, holder.started_at, holder.renewed_at),
            )
            file = _file(home, number)
            lock = _locked(file, holder.mark)
    except BaseException:
        if lock is not None:
            os.close(lock)
        raise
    return Lease(number, round(duration_s * 1000), file, lock, (holder.boot_id, holder.pid, holder.started_at))


def check_and_renew(database: Database, lease: Lease, now_ms: int) -> Standing | None:
    """Return how this process stands, and renew its lease if a quarter of it has passed.

    First in each batch, inside its write: the row stays locked until the commit, so nobody can
    end the lease in between. None means fenced: nothing may be done in this process's name.
    """
    lock = f"{database.lock_clause} OF leases" if database.lock_clause else ""
    row = database.row(_STANDING + lock, (lease.id, *lease.taken_by))
    if row is None or row[0] != "live":
        return None
    if not 0 <= now_ms - row[1] < lease.duration_ms // RENEWALS:
        database.execute("UPDATE leases SET epoch = epoch + 1, renewed_at = ? WHERE id = ?", (now_ms, lease.id))
    return Standing(*row[2:])


def standing(database: Database) -> Standing:
    """Return the same for one who works without a lease of its own."""
    row = database.row("SELECT version, catalog_version, closed_until FROM installation")
    assert row is not None
    return Standing(*row)


_OWN = "leases.id = ? AND leases.boot_id = ? AND leases.pid = ? AND leases.started_at = ?"
_STANDING = (
    "SELECT leases.state, leases.renewed_at, i.version, i.catalog_version, i.closed_until "
    f"FROM leases CROSS JOIN installation i WHERE {_OWN}"
)


def end(database: Database, lease: Lease) -> None:
    """Give up this process's lease, when all its holds are ended; its file goes too."""
    try:
        with database.write():
            database.execute(f"UPDATE leases SET state = 'ended' WHERE {_OWN}", (lease.id, *lease.taken_by))
        lease.file.unlink(missing_ok=True)
    finally:
        os.close(lease.lock)


def end_all(database: Database) -> None:
    """End every lease of a store that nobody is at work on: one that was just made from a backup."""
    with database.write():
        database.execute("UPDATE leases SET state = 'ended' WHERE state = 'live'")


def is_late(renewed_at: int, now_ms: int, duration_s: float) -> bool:
    """Whether nobody renews a lease any more, by the clock alone; what was renewed in the future was so before a clock was set back."""
    return abs(now_ms - renewed_at) >= LATE * 1000 * duration_s


def end_all_but_running(database: Database, home: Home, duration_s: float) -> None:
    """End every lease inside a write that changes what their processes count on; raises Conflict while one of these runs."""
    now_ms = database.now_ms()
    here = None if database.kind == "sqlite" else (socket.gethostname(), clock.boot_id())
    for holder in [Holder(*row) for row in database.rows(_LIVE)]:
        if not is_late(holder.renewed_at, now_ms, duration_s) and not _lock_is_free(home, holder, here):
            raise Conflict(
                "The database must be upgraded, and a gateway of the older version runs. Stop it first, on every machine "
                f"(one that was killed is seen as such after {LATE * duration_s:g} s)."
            )
    end_all(database)


def any_is_held(home: Home) -> bool:
    """Tell whether a process that took its lease in this home lives, whatever database it is at work on."""
    for path in home.run.glob("lease-*.lock"):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def last_renewed(database: Database) -> tuple[int | None, int | None]:
    """Return when a lease was last renewed: of the live ones, and of all whose rows are kept."""
    row = database.row("SELECT MAX(CASE WHEN state = 'live' THEN renewed_at END), MAX(renewed_at) FROM leases")
    assert row is not None
    return row[0], row[1]


def ended_with_holds(database: Database) -> list[int]:
    """Return the ended leases whose holds are still to be released, also after a crash in the middle of that."""
    return [
        lease
        for (lease,) in database.rows(
            "SELECT DISTINCT leases.id FROM leases JOIN holds ON holds.lease_id = leases.id "
            "WHERE leases.state = 'ended' ORDER BY leases.id"
        )
    ]


class Reaper:
    """Watches the leases of others and ends those whose processes have ended.

    :meth:`reap` is called regularly, at most half a lease apart; ``boot_ms`` is the clock of
    its durations.
    """

    def __init__(
        self,
        home: Home,
        duration_s: float,
        *,
        host: str | None = None,
        boot_id: str | None = None,
        boot_ms: Callable[[], int] = clock.boot_ms,
    ) -> None:
        self._home = home
        self._duration_ms = round(duration_s * 1000)
        self._here = (host or socket.gethostname(), boot_id or clock.boot_id())
        self._boot_ms = boot_ms
        self._seen: dict[int, tuple[int, int]] = {}
        """Lease to its epoch, and the boot time since when that has been the same."""
        self._last_contact: tuple[int, int] | None = None
        """Boot time of the last good look at the database, and how far wall time was from it."""

    def reap(self, database: Database, now_ms: int) -> list[int]:
        """End the leases that are proven dead; return those whose holds are to be released."""
        for holder in self.dead(database, now_ms):
            if _end_other(database, holder, now_ms):
                _file(self._home, holder.id).unlink(missing_ok=True)
        return ended_with_holds(database)

    def dead(self, database: Database, now_ms: int) -> list[Holder]:
        """Look at all live leases once; return those that are proven dead by lock or by time."""
        holders = self._look(database, now_ms)
        here = None if database.kind == "sqlite" else self._here
        return [
            holder for holder in holders if _lock_is_free(self._home, holder, here) or self._has_lapsed(holder, now_ms)
        ]

    def _look(self, database: Database, now_ms: int) -> list[Holder]:
        began = self._boot_ms()
        try:
            rows = database.rows(_LIVE)
        except BaseException:
            self._last_contact = None
            raise
        ended = self._boot_ms()
        if not self._contact_was_good(began, ended, now_ms):
            self._seen.clear()
        self._last_contact = (ended, now_ms - began)
        holders = [Holder(*row) for row in rows]
        self._seen = {holder.id: self._watched(holder, ended) for holder in holders}
        return holders

    def _watched(self, holder: Holder, now: int) -> tuple[int, int]:
        epoch, since = self._seen.get(holder.id, (0, 0))
        return (epoch, since) if epoch == holder.epoch else (holder.epoch, now)

    def _contact_was_good(self, began: int, ended: int, now_ms: int) -> bool:
        """Whether this look was quick, the last one not long ago, and no clock was set in between."""
        if self._last_contact is None:
            return False
        last, offset = self._last_contact
        quarter = self._duration_ms // 4
        return ended - began <= quarter and began - last <= 2 * quarter and abs(now_ms - began - offset) <= quarter

    def _has_lapsed(self, holder: Holder, now_ms: int) -> bool:
        _, since = self._seen[holder.id]
        assert self._last_contact is not None
        past = not 0 <= now_ms - holder.renewed_at < self._duration_ms
        return past and self._last_contact[0] - since >= self._duration_ms


def try_take(database: Database, name: str, lease: Lease, now_ms: int) -> bool:
    """Take or keep the named lease of a job that one process among all does; False while another live one has it.

    Its holder is live until its own lease is ended, so the job that reaps leases must not be
    under one: every process reaps.
    """
    with database.write():
        if check_and_renew(database, lease, now_ms) is None:
            return False
        database.execute(
            "INSERT INTO named_leases (name, lease_id, renewed_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
            "SET lease_id = excluded.lease_id, renewed_at = excluded.renewed_at WHERE named_leases.lease_id = excluded.lease_id "
            "OR (SELECT state FROM leases WHERE leases.id = named_leases.lease_id) = 'ended'",
            (name, lease.id, now_ms),
        )
        return database.row("SELECT lease_id FROM named_leases WHERE name = ?", (name,)) == (lease.id,)


def has(database: Database, name: str, lease: Lease) -> bool:
    """Whether this process has a named lease already, and lives: a look without a write, for jobs that are often due."""
    found = database.row(
        f"SELECT 1 FROM named_leases n JOIN leases ON leases.id = n.lease_id WHERE n.name = ? AND leases.state = 'live' AND {_OWN}",
        (name, lease.id, *lease.taken_by),
    )
    return found is not None


def _end_other(database: Database, holder: Holder, now_ms: int) -> bool:
    """End another process's lease, unless it was renewed or ended since it was read; forget long-ended ones."""
    with database.write():
        ended = database.execute(
            "UPDATE leases SET state = 'ended' WHERE id = ? AND state = 'live' AND epoch = ?", (holder.id, holder.epoch)
        ).rowcount
        database.execute(
            "DELETE FROM leases WHERE state = 'ended' AND renewed_at < ? AND NOT EXISTS "
            "(SELECT 1 FROM holds WHERE holds.lease_id = leases.id)",
            (now_ms - KEPT_MS,),
        )
    return bool(ended == 1)


def _lock_is_free(home: Home, holder: Holder, here: tuple[str, str] | None) -> bool:
    """Whether the kernel proves a process dead: its lock file is here, its own, and free.

    An SQLite store has only local processes, whatever a container calls its host; those of
    a PostgreSQL store must have run on this host since this boot.
    """
    if here is not None and (holder.host, holder.boot_id) != here:
        return False
    try:
        with _file(home, holder.id).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file.read(4096) == holder.mark
    except (FileNotFoundError, BlockingIOError):
        return False


def _locked(path: Path, mark: bytes) -> int:
    descriptor = open_private(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, mark)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _file(home: Home, lease_id: int) -> Path:
    return home.run / f"lease-{lease_id}.lock"
