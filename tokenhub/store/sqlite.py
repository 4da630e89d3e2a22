"""SQLite: one file in the home, with the settings that make it durable and private, checked each time."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import peewee

from tokenhub import clock
from tokenhub.errors import SetupError
from tokenhub.paths import Home, open_private
from tokenhub.store.connections import Connections

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
    "journal_size_limit": 64 * 2**20,
    "query_only": 1,
}
"""What each connection is set to, and must then say it is (T86).

``synchronous`` 2 is FULL: a commit is on disk before it is answered. ``recursive_triggers``:
without it INSERT OR REPLACE would delete journal rows past the trigger. ``temp_store`` 2 keeps
temporary data in memory. ``query_only`` is lifted by :meth:`Sqlite.begin_write` alone, so that
nothing is written outside a transaction that began IMMEDIATE (T87).
"""

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


class Sqlite(peewee.SqliteDatabase):
    """peewee's SQLite database with the transactions of :class:`tokenhub.store.database.Database`."""

    kind = "sqlite"
    lock_clause = ""

    def __init__(self, path: Path, pragmas: dict[str, Any] | None = None) -> None:
        self.wanted = PRAGMAS | (pragmas or {})
        self.connections = Connections()
        # The module's own check of the thread would forbid closing the connections of ended threads.
        super().__init__(str(path), pragmas=self.wanted, check_same_thread=False)

    def _connect(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._connect()  # type: ignore[misc]
        self.connections.add(connection)
        try:
            verify_pragmas(connection, self.wanted)
        except BaseException:
            self.connections.close()
            raise
        return connection

    def _close(self, conn: sqlite3.Connection) -> None:  # noqa: ARG002
        self.connections.close()

    def cursor(self, named_cursor: None = None) -> Any:
        self.connections.check_process()
        return super().cursor(named_cursor)  # type: ignore[no-untyped-call]

    def text(self, sql: str) -> str:
        return sql

    def begin_write(self) -> str:
        cursor = self.cursor()
        cursor.execute("PRAGMA query_only = 0")
        try:
            cursor.execute("BEGIN IMMEDIATE")
        except BaseException:
            cursor.execute("PRAGMA query_only = 1")
            raise
        return ""

    def begin_read(self) -> None:
        self.cursor().execute("BEGIN")

    def finish(self, *, commit: bool, wrote: bool) -> None:
        """End the open transaction and forbid writes again.

        An error such as a full disk may have undone it already, or leave it open when COMMIT fails
        (sqlite.org/lang_transaction.html, section 3); either way nothing of it is kept.
        """
        connection = self.connections.mine()
        try:
            if commit and not connection.in_transaction:
                raise RuntimeError("a statement of this transaction failed, so it was rolled back")
            if connection.in_transaction:
                connection.execute("COMMIT" if commit else "ROLLBACK")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if wrote:
                connection.execute("PRAGMA query_only = 1")

    def is_lost(self) -> bool:
        """A file does not hang up."""
        return False

    def drop(self) -> None:
        """Forget this thread's connection."""
        self.connections.close()
        self.dispose()

    def now_s(self) -> int:
        return clock.boot_ms() // 1000

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
            f"the tables {', '.join(name for (name,) in loose)} are not STRICT: this is not a TokenHub database, or it was changed"
        )


def check_place(home: Home, *, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Refuse an SQLite that is too old, or a home on a network file system (T94)."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise SetupError(
            f"Python has SQLite {sqlite3.sqlite_version}; TokenHub needs {'.'.join(map(str, OLDEST))} or newer"
        )
    kind = filesystem_of(home.path, mounts)
    if kind in NETWORK_FILESYSTEMS:
        raise SetupError(
            f"{home.path} is on a network file system ({kind}), where SQLite's locks do not protect the ledger. "
            "Use a local disk, or PostgreSQL (database.url)."
        )


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
        place = Path(point.encode().decode("unicode_escape"))
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
        raise SetupError(f"{path} is not a file")
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
        raise SetupError(f"{path} or its folder cannot be written by this user")
    if not empty and path.stat().st_size == 0:
        raise SetupError(f"{path} is empty: it was truncated. Restore a backup, or remove it and run: tokenhub init")


def create_file(path: Path) -> None:
    """Make the file, if there is none, empty and 0600; SQLite gives its ``-wal`` and ``-shm`` the same mode (T93)."""
    os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
