"""SQLite: one file in the home, with the settings that make it durable and private, checked each time."""

import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import peewee

from tokenhub import clock
from tokenhub.errors import SetupError
from tokenhub.paths import Home, open_private, sync_folder
from tokenhub.store.connections import Connections
from tokenhub.store.failures import StoreUnavailable

OLDEST = (3, 37, 0)
"""STRICT tables (sqlite.org/stricttables.html) and RETURNING need it."""

PRAGMAS = {
    "busy_timeout": 5_000,
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
    "secure_delete": 1,
    "recursive_triggers": 1,
    "temp_store": 2,
    "trusted_schema": 0,
    "wal_autocheckpoint": 4_000,
    "journal_size_limit": 64 * 2**20,
}
"""What each connection is set to, and must then say it is (T86).

``synchronous`` 2 is FULL: a commit is on disk before it is answered. ``recursive_triggers``:
without it INSERT OR REPLACE would delete journal rows past the trigger. ``temp_store`` 2 keeps
temporary data in memory. ``wal_autocheckpoint`` 4000 pages, 16 MB: pages that every batch
changes are copied into the database file less often, and the log stays below 64 MB (T92).
"""
SCRUB_WAIT_MS = 20
"""How long emptying the log may wait for readers, while writers wait for it."""
_NOT_DURABLE = 1
"""NORMAL: in WAL mode a commit is in the log, which the system writes when it likes; the next one that is FULL syncs it whole."""
_STATEMENTS = 256
"""Prepared statements that a connection keeps: more than the program has."""

NETWORK_FILESYSTEMS = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fuse.ceph",
        "fuse.curlftpfs",
        "fuse.davfs2",
        "fuse.gcsfuse",
        "fuse.grpcfuse",
        "fuse.osxfs",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "prl_fs",
        "smb3",
        "smbfs",
        "vboxsf",
    ]
)
"""Where SQLite's locks or its shared memory do not work (sqlite.org/wal.html, "all processes … same host")."""


class _Writer(threading.local):
    """This thread's second connection: kept once opened, in use while a write transaction is open."""

    connection: sqlite3.Connection | None = None
    active: sqlite3.Connection | None = None
    """The same, while its transaction is open."""
    durable = True
    """As the connection is set: whether a commit waits for the disk."""


class Sqlite(peewee.SqliteDatabase):
    """peewee's SQLite database with the transactions of :class:`tokenhub.store.database.Database`.

    Each thread has two connections: one that can only read, and one that is used between
    :meth:`begin_write` and :meth:`finish` alone, so that nothing is written outside a transaction
    that began IMMEDIATE (T87). Switching ``query_only`` on one connection would do the same, but
    each switch makes SQLite prepare every statement anew (230 µs a batch).
    """

    kind = "sqlite"
    lock_clause = ""

    def __init__(self, path: Path) -> None:
        self.connections = Connections()
        self._path = path
        self._file: tuple[int, int] | None = None
        """Device and number of the file that was opened first."""
        self._writer = _Writer()
        # The module's own check of the thread would forbid closing the connections of ended threads.
        super().__init__(str(path), pragmas=PRAGMAS, check_same_thread=False, cached_statements=_STATEMENTS)

    def _connect(self) -> sqlite3.Connection:
        return self._opened(may_write=False)

    def _opened(self, *, may_write: bool) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._connect()  # type: ignore[misc]
        try:
            connection.execute(f"PRAGMA query_only = {int(not may_write)}")
            verify_pragmas(connection, PRAGMAS | {"query_only": int(not may_write)})
            self._check_file()
        except BaseException:
            connection.close()
            raise
        self.connections.add(connection)
        return connection

    def _check_file(self) -> None:
        """Refuse a file that is not the one in the home any more: what is written there nobody would find again."""
        try:
            found = self._path.stat()
        except OSError:  # its folder may be gone too, or closed to this user
            found = None
        file = (found.st_dev, found.st_ino) if found else None
        self._file = self._file or file
        if file is None or file != self._file:
            raise StoreUnavailable(
                "the database file was removed, replaced or shut away while this process had it open: start it again",
                retry_after_s=5,
            )

    def _close(self, conn: sqlite3.Connection) -> None:  # noqa: ARG002
        self._writer.connection = None
        self.connections.close()

    def connection(self) -> Any:
        """The connection that statements of this thread go to just now."""
        active = self._writer.active
        if active is not None:
            return active
        self.connections.check_process()
        return super().connection()  # type: ignore[no-untyped-call]

    def cursor(self, named_cursor: None = None) -> Any:  # noqa: ARG002
        return self.connection().cursor()

    def run(self, sql: str, params: Sequence[Any]) -> Any:
        return self.connection().execute(sql, params)

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> Any:
        return self.connection().executemany(sql, rows)

    def begin_write(self, *, durable: bool) -> tuple[str, int]:
        self.connections.check_process()
        self._check_file()
        writer, connection = self._writer, self._writing()
        if durable is not writer.durable:
            connection.execute(f"PRAGMA synchronous = {PRAGMAS['synchronous'] if durable else _NOT_DURABLE}")
            writer.durable = durable
        connection.execute("BEGIN IMMEDIATE")
        writer.active = connection
        return "", self.now_ms()

    def _writing(self) -> sqlite3.Connection:
        """This thread's writing connection, opened beside the reading one, which peewee keeps open and closes."""
        writer = self._writer
        if writer.connection is None:
            self.connection()
            writer.connection, writer.durable = self._opened(may_write=True), True
        return writer.connection

    def begin_read(self) -> None:
        self.cursor().execute("BEGIN")

    def hurry(self, answer_s: float | None) -> None:
        """Nothing is waited for but locks, for a while."""

    def finish(self, *, commit: bool, within_s: float | None) -> None:  # noqa: ARG002
        """End the open transaction, however long the disk takes.

        An error such as a full disk may have undone it already, or leave it open when COMMIT fails
        (sqlite.org/lang_transaction.html, section 3); either way nothing of it is kept.
        """
        connection = self.connection()
        self._writer.active = None
        if commit and not connection.in_transaction:
            raise RuntimeError("a statement of this transaction failed, so it was rolled back")
        if connection.in_transaction:
            connection.execute("COMMIT" if commit else "ROLLBACK")

    def is_lost(self) -> bool:
        """A file does not hang up."""
        return False

    is_useless = is_lost

    def drop(self) -> None:
        """Forget this thread's connections; what they had open is undone."""
        self._writer.connection = None
        self._writer.active = None
        self.connections.close()
        self.dispose()

    def set_foreign_keys(self, *, enforced: bool) -> None:
        """Let a migration rebuild tables: only outside a transaction, and only on the writing connection."""
        self._writing().execute(f"PRAGMA foreign_keys = {int(enforced)}")

    def scrub(self, tables: Sequence[str]) -> bool:  # noqa: ARG002
        """Copy the log into the file and empty it.

        The first pass copies without holding anybody up; only the second keeps writers out, so it
        waits no longer for readers than ``SCRUB_WAIT_MS`` (sqlite.org/pragma.html, wal_checkpoint).
        """
        writer = self._writing()
        writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
        writer.execute(f"PRAGMA busy_timeout = {SCRUB_WAIT_MS}")
        try:
            busy, *_ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            writer.execute(f"PRAGMA busy_timeout = {PRAGMAS['busy_timeout']}")
        return not busy

    def await_writes(self) -> None:
        """There are none: one writer at a time."""

    def now_s(self) -> int:
        return clock.boot_ms() // 1000

    def now_ms(self) -> int:
        return clock.now_ms()

    def clock_name(self) -> str:
        return clock.boot_id()


def verify_pragmas(connection: sqlite3.Connection, wanted: dict[str, Any]) -> None:
    """Refuse a connection that is not set as it must be; SQLite ignores what it does not know or cannot do."""
    for pragma, value in wanted.items():
        found = connection.execute(f"PRAGMA {pragma}").fetchone()
        if found is None or found[0] != value:
            has = None if found is None else found[0]
            raise SetupError(
                f"SQLite runs with {pragma} = {has} where {value} is needed, so charges would not be safe. "
                "Move the home to a local disk, or use PostgreSQL (database.url)."
            )


def verify_tables(database: Sqlite) -> None:
    """Refuse a database with a table that is not STRICT: it would store what is not a number as an amount (T16)."""
    loose = (
        database.cursor()
        .execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict AND name NOT LIKE 'sqlite_%'"
        )
        .fetchall()
    )
    if loose:
        raise SetupError(
            f"the tables {', '.join(name for (name,) in loose)} are not STRICT: this is not a TokenHub database, or it was changed",
            see_to="store",
        )


def check_place(home: Home, *, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Refuse an SQLite that is too old, or a home on a network file system (T94)."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise SetupError(
            f"Python has SQLite {sqlite3.sqlite_version}; TokenHub needs {'.'.join(map(str, OLDEST))} or newer"
        )
    if kind := network_of(home.path, mounts):
        raise SetupError(
            f"{home.path} is on a network file system ({kind}), where SQLite's locks do not protect the ledger. "
            "Use a local disk, or PostgreSQL (database.url)."
        )


def network_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the network file system that a path is on; empty for a local disk."""
    kind = filesystem_of(path, mounts)
    return kind if kind in NETWORK_FILESYSTEMS else ""


def filesystem_of(path: Path, mounts: Path) -> str:
    """Return the type of the file system that a path is on; empty where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real, best, kind = path.resolve(), -1, ""
    for line in lines:
        _, point, mounted, *_ = line.split(" ")
        # Spaces and the like are octal escapes in this file (proc_mounts(5), getmntent(3)).
        place = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point))
        if real.is_relative_to(place) and len(place.parts) >= best:
            best, kind = len(place.parts), mounted
    return kind


def check_file(path: Path, *, empty: bool = False) -> None:
    """Refuse a database file that is missing, no file, read-only or (unless just made) empty, without opening it.

    Opening and closing it here would drop the POSIX locks of any other connection of this
    process (sqlite.org/howtocorrupt.html, section 2.2).
    """
    if not path.exists():
        raise SetupError(f"there is no database at {path}. Is the home right? A new one is made by: tokenhub init")
    if not path.is_file():
        raise SetupError(f"{path} is not a file", see_to="store")
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
        raise SetupError(
            f"{path} or its folder cannot be written by this user, or is on a disk that is read-only. See to owner, mode and disk"
        )
    if not empty and path.stat().st_size == 0:
        raise SetupError(f"{path} is empty: it was truncated. Restore a backup, or remove it and run: tokenhub init")


def side_files(path: Path) -> list[Path]:
    """Return what lies beside a database file that is not closed: its log, the log's index, a journal.

    A log that is left of another database would be played into one that takes its place
    (sqlite.org/howtocorrupt.html, section 1.4).
    """
    found = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]
    return [one for one in found if os.path.lexists(one)]


def create_file(path: Path) -> None:
    """Make the file, if there is none, empty and 0600; SQLite gives its ``-wal`` and ``-shm`` the same mode (T93)."""
    os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    sync_folder(path.parent)
