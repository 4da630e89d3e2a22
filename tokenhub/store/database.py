"""The database of a hub, whichever it is: transactions, plain SQL, and failures in our words.

Every change happens in :meth:`Database.write`, which begins IMMEDIATE on SQLite and READ WRITE
on PostgreSQL; outside it the connection itself refuses to write, so that no transaction ever
reads first and then fails to get the lock (T87). Each thread has its own connection, opened at
its first use and closed by :meth:`Database.close`. peewee's models (``schema/``) work on the
same connection and in the same transaction.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from enum import StrEnum
from hashlib import sha256
from typing import Any, Literal, NoReturn, TypeVar

from tokenhub.errors import SetupError
from tokenhub.paths import Home, make_folder
from tokenhub.settings import Settings
from tokenhub.store import migrate, postgres, schema, sqlite
from tokenhub.store.failures import (
    CommitUnknown,
    StoreBusy,
    StoreError,
    StoreRejected,
    StoreUnavailable,
    in_one_line,
    is_forbidden_write,
    translated,
    unstorable,
)

__all__ = [
    "CommitUnknown",
    "Database",
    "StoreBusy",
    "StoreError",
    "StoreRejected",
    "StoreUnavailable",
    "TransactionStatus",
    "clean_text",
    "open_database",
    "opened_beside",
]

T = TypeVar("T")
Mode = Literal["", "read", "write"]


class TransactionStatus(StrEnum):
    """What became of a transaction whose COMMIT had no answer, in PostgreSQL's words."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    IN_PROGRESS = "in progress"
    """The server has not ended it yet: ask again."""


class _Thread(threading.local):
    """Where this thread is in its transaction."""

    mode: Mode = ""
    failed = False
    transaction = ""
    began_ms = 0


class Database:
    """One store, opened by one process; threads share it, each on a connection of its own."""

    def __init__(self, backend: sqlite.Sqlite | postgres.Postgres) -> None:
        self.kind: Literal["sqlite", "postgres"] = backend.kind  # type: ignore[assignment]
        self.lock_clause: str = backend.lock_clause
        """What a SELECT in a write ends with to lock its rows; SQLite has locked everything already."""
        self.peewee = backend
        self.answer_s: float | None = None
        """How long PostgreSQL's answer to a COMMIT is waited for, before what became of it is unknown, and in a thread that hurries
        every answer, before the server is away; None: as long as it takes."""
        self._here = _Thread()

    def connect(self) -> None:
        """Open this thread's connection now, not at its first use."""
        with self._failures():
            self.peewee.connect(reuse_if_open=True)

    def hurry(self) -> None:
        """Wait no longer than ``answer_s`` for any answer: at the start of a thread that requests wait for."""
        self.peewee.hurry(self.answer_s)

    def close(self) -> None:
        """Close this thread's connection; one of a thread that ends without it is closed by the next to open one."""
        if not self.peewee.is_closed():
            self.peewee.close()

    def close_all(self) -> None:
        """Close every thread's connection, when none of them uses it any more."""
        self.close()
        self.peewee.connections.close_all()

    @property
    def in_write(self) -> bool:
        """Whether this thread is inside :meth:`write`."""
        return self._here.mode == "write"

    def write(self, *, durable: bool = True) -> AbstractContextManager[None]:
        """Do what the block does as one transaction, on disk when the block is left.

        Without ``durable`` it may be lost when the machine fails, with all that followed it, and
        never when only this program does (decision 10).

        A write inside a write joins it. Any exception undoes the outermost one whole; one that
        was swallowed inside makes it fail at its end, since half of it must not be kept.
        Raises StoreBusy, StoreUnavailable, StoreRejected, CommitUnknown.
        """
        if self._here.mode == "read":
            raise RuntimeError("a write inside a read: it could fail to get the lock whatever it waits (T87)")
        return self._transaction("write", durable=durable)

    def read(self) -> AbstractContextManager[None]:
        """Read from one snapshot. Never wait for a network or a person inside: it keeps old rows alive (T92)."""
        return self._transaction("read")

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """Run one statement with ``?`` placeholders; return the driver's cursor."""
        try:
            return self.peewee.run(sql, params)
        except Exception as error:
            return self._once_more(error, lambda: self.peewee.run(sql, params))

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one query and return all its rows."""
        found: list[tuple[Any, ...]]
        try:
            found = self.peewee.run(sql, params).fetchall()
        except Exception as error:
            found = self._once_more(error, lambda: self.peewee.run(sql, params).fetchall())
        return found

    def row(self, sql: str, params: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Run one query and return its first row, if there is one."""
        found: tuple[Any, ...] | None
        try:
            found = self.peewee.run(sql, params).fetchone()
        except Exception as error:
            found = self._once_more(error, lambda: self.peewee.run(sql, params).fetchone())
        return found

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run one statement for each row of parameters; return how many rows it changed."""
        try:
            return int(self.peewee.run_many(sql, rows).rowcount)
        except Exception as error:
            self._statement_failed(error)

    def now_s(self) -> int:
        """Seconds on the clock that all processes of this store share, for rate windows (T99).

        SQLite: since the machine started. PostgreSQL: the server's clock, asked for in a round
        trip of its own; ask after the rows are locked, or the answer is older than the decision.
        """
        try:
            return self.peewee.now_s()
        except Exception as error:
            return self._once_more(error, self.peewee.now_s)

    def now_ms(self) -> int:
        """Wall time that all processes of this store share, for what must agree between machines: days, expiry, leases (T99).

        SQLite: this machine's. PostgreSQL: the server's; in a write as it was when that began,
        else in a round trip of its own.
        """
        if self.in_write:
            return self._here.began_ms
        try:
            return self.peewee.now_ms()
        except Exception as error:
            return self._once_more(error, self.peewee.now_ms)

    def window_epoch(self) -> bytes:
        """Eight bytes that name the clock of :meth:`now_s`: another tag, and its seconds cannot be compared."""
        return sha256(self.peewee.clock_name().encode()).digest()[:8]

    def scrub(self, *tables: str) -> bool:
        """Leave nothing of deleted rows behind; False when a reader is in the way, so that it must be done again.

        SQLite overwrites what it deletes (``secure_delete``); what is left are older copies in its
        log, which is emptied. PostgreSQL vacuums the tables: their space is used again, but not
        overwritten. Writers wait for a few milliseconds at most. Not inside a transaction.
        """
        with self._failures():
            return self.peewee.scrub(tables)

    def await_writes(self) -> None:
        """Wait, for a few seconds at most, until every write that others have begun has ended. Not inside a transaction."""
        with suppress(StoreError), self._failures():
            self.peewee.await_writes()

    def transaction_status(self, transaction: str) -> TransactionStatus:
        """Say what became of the transaction of a :class:`CommitUnknown` (T96).

        A server that crashed knows nothing of an id that never reached its disk, or may even have
        given it to another transaction: where it matters, look for the written rows as well.
        """
        try:
            found = self.row("SELECT pg_xact_status(CAST(? AS xid8))", (transaction,))
        except StoreRejected:  # "transaction ID … is in the future"
            return TransactionStatus.ABORTED
        return TransactionStatus(found[0]) if found and found[0] else TransactionStatus.ABORTED

    @contextmanager
    def _transaction(self, mode: Mode, *, durable: bool = True) -> Iterator[None]:
        here = self._here
        if here.mode:
            try:
                yield
            except BaseException:
                here.failed = True
                raise
            return
        try:
            self._begin(mode, durable=durable)
            try:
                yield
                if here.failed:
                    raise RuntimeError("a part of this transaction failed, so none of it was kept")
            except BaseException:
                self._end(commit=False)
                raise
            self._end(commit=True)
        except Exception as error:
            _raise_translated(error)

    def _begin(self, mode: Mode, *, durable: bool) -> None:
        """Begin; once more on a new connection if the kept one turns out to be dead."""
        here, kept = self._here, not self.peewee.is_closed()
        try:
            here.transaction, here.began_ms = self._started(mode, durable=durable)
        except Exception:
            if not (kept and self.peewee.is_lost()):
                self._drop_if_useless()
                raise
            self.peewee.drop()
            here.transaction, here.began_ms = self._started(mode, durable=durable)
        here.mode, here.failed = mode, False
        self.peewee.push_transaction(self)

    def _started(self, mode: Mode, *, durable: bool) -> tuple[str, int]:
        if mode == "write":
            return self.peewee.begin_write(durable=durable)
        self.peewee.begin_read()
        return "", 0

    def _end(self, *, commit: bool) -> None:
        here = self._here
        mode, here.mode = here.mode, ""
        self.peewee.pop_transaction()  # type: ignore[no-untyped-call]
        try:
            self.peewee.finish(commit=commit, within_s=self.answer_s)
        except Exception as error:
            lost = self.peewee.is_lost()
            self.peewee.drop()
            if lost and commit and mode == "write":
                raise CommitUnknown(
                    "the database connection broke during a commit", here.transaction, cause=in_one_line(error)
                ) from error
            if commit:
                raise
        if not commit:
            self._drop_if_useless()

    def _drop_if_useless(self) -> bool:
        """Forget this thread's connection if it is dead or its session spoilt, so that the next use opens another."""
        useless = self.peewee.is_useless()
        if useless:
            self.peewee.drop()
        return useless

    def _once_more(self, error: Exception, statement: Callable[[], T]) -> T:
        """Do what failed again on a new connection, if it stood alone and its connection turned out to be of no use: it can only have read."""
        if self._here.mode or not self._drop_if_useless():
            self._statement_failed(error)
        try:
            return statement()
        except Exception as again:
            self._statement_failed(again)

    def _statement_failed(self, error: Exception) -> NoReturn:
        """Note that a statement failed, for the end of the transaction it is in, and raise what it means."""
        self._here.failed = True
        if not self._here.mode:
            self._drop_if_useless()
        if self._here.mode != "write" and is_forbidden_write(error):
            raise RuntimeError("a statement that writes belongs in Database.write()") from error
        failure = unstorable(error)
        if failure is error:
            raise error
        raise failure from error

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            _raise_translated(error)


def _raise_translated(error: BaseException) -> NoReturn:
    failure = translated(error)
    if failure is error:
        raise error
    raise failure from error


def open_database(
    settings: Settings,
    home: Home,
    *,
    create: Callable[[Database], None] | None = None,
    before_upgrade: Callable[[Database], None] | None = None,
) -> Database:
    """Open the store that the settings name, with its schema up to date.

    ``create`` makes a new one, and writes what a new one holds in the transaction that makes
    its tables; where there is one already it refuses, and without it a store that is missing
    is an error (T91). Raises SetupError for every state that is not as it must be (T86, T93,
    T94, T100).
    """
    if settings.database_url:
        backend: sqlite.Sqlite | postgres.Postgres = _open_postgres(settings.database_url)
    else:
        backend = _open_sqlite(home, create=create is not None)
    schema.proxy.initialize(backend)
    database = Database(backend)
    try:
        migrate.migrate(database, home, create=create, before_upgrade=before_upgrade)
        if isinstance(backend, sqlite.Sqlite):
            sqlite.verify_tables(backend)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def opened_beside(
    settings: Settings, home: Home, *, create: Callable[[Database], None] | None = None
) -> Iterator[Database]:
    """Open another store for plain SQL, while peewee's models go on to mean the one that was opened first."""
    models = schema.proxy.obj
    try:
        other = open_database(settings, home, create=create)
    finally:
        if models is not None:
            schema.proxy.initialize(models)
    try:
        yield other
    finally:
        other.close_all()


def _open_postgres(url: str) -> postgres.Postgres:
    backend = postgres.connect(url)
    try:
        postgres.check_server(backend)
    except BaseException as error:
        backend.connections.close_all()
        _raise_translated(error)
    return backend


def _open_sqlite(home: Home, *, create: bool) -> sqlite.Sqlite:
    if create:
        make_folder(home.path)
    sqlite.check_place(home)
    if create and not home.database.exists():
        sqlite.create_file(home.database)
    sqlite.check_file(home.database, empty=create)
    backend = sqlite.Sqlite(home.database)
    try:
        backend.connect()
    except Exception as error:
        raise SetupError(f"{home.database}: {translated(error)}", see_to="store") from error
    return backend


def clean_text(text: str, limit: int) -> str:
    """Return a text from outside so that both databases can keep it: shorter, without NUL or lone surrogates (T98).

    What cannot be kept is shown as U+FFFD; ``limit`` counts characters.
    """
    kept = text[:limit].replace("\0", "\ufffd")
    return kept.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
