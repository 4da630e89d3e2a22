"""Bring a store's schema up to date: one process at a time, wholly or not at all (T100).

``playhouse.migrations`` runs the files of ``migrations/`` and keeps the list of those that ran
in the table ``migrations``. They run in one transaction, under a lock that ends with the
process: a file lock in the home for SQLite, an advisory lock for PostgreSQL.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import peewee

from tokenhub.errors import SetupError
from tokenhub.paths import Home
from tokenhub.store.failures import StoreError, StoreRejected, translated
from tokenhub.store.sqlite import Sqlite

if TYPE_CHECKING:
    from tokenhub.store.database import Database

FILES = Path(__file__).with_name("migrations")
HISTORY = "migrations"
ADVISORY_LOCK = 0x746F6B656E687562
"""``tokenhub`` in ASCII."""


def known(files: Path = FILES) -> list[str]:
    """Return the names of the migrations that this program has, in order."""
    return sorted(path.stem for path in files.glob("[0-9]*.py"))


def applied(database: "Database") -> list[str]:
    """Return the names of the migrations that a database has had; none if it is no TokenHub database."""
    if HISTORY not in database.peewee.get_tables():
        return []
    return sorted(name for (name,) in database.rows(f"SELECT name FROM {HISTORY}"))


class MadeBefore(SetupError):
    """The database that was to be made has been made before."""


def migrate(
    database: "Database",
    home: Home,
    *,
    create: Callable[["Database"], None] | None = None,
    before_upgrade: Callable[["Database"], None] | None = None,
    files: Path = FILES,
) -> list[str]:
    """Run what a database has not had, and return the names.

    ``before_upgrade`` is called in the transaction that changes a database, and may refuse. ``create`` expects a database without any table, and writes into it in the same
    transaction; otherwise one that was made before is expected: an empty one is refused, since
    a wrong address would be filled silently (T91).
    """
    try:
        with database.read():
            done = applied(database)
            foreign = not done and bool(database.peewee.get_tables())
    except (StoreError, StoreRejected, peewee.PeeweeException) as error:
        raise SetupError(f"the database cannot be read: {translated(error)}", see_to="store") from error
    refuse_newer(done, files)
    if foreign:
        raise SetupError("the database has tables that are not TokenHub's: give TokenHub a database of its own")
    if create and done:
        raise MadeBefore("this is a TokenHub database already: tokenhub serve uses it as it is")
    if not create and not done:
        raise SetupError(
            "this database has no TokenHub tables: its address is wrong, or it was never made whole. Complete it with: tokenhub init"
        )
    if done == known(files):
        return []
    with _alone(database, home), database.write():
        _lock(database)
        done = applied(database)
        refuse_newer(done, files)
        if before_upgrade and done != known(files):
            before_upgrade(database)
        names = _run(database, files)
        if create:
            _fill(database, names, create)
        return names


def _fill(database: "Database", names: list[str], create: Callable[["Database"], None]) -> None:
    if not names:
        raise MadeBefore("another process has just made this database: tokenhub serve uses it as it is")
    create(database)


def refuse_newer(done: list[str], files: Path = FILES) -> None:
    """Refuse a database that a newer program has changed; this one would not keep its rules."""
    newer = sorted(set(done) - set(known(files)))
    if newer:
        raise SetupError(
            f"the database was upgraded by a newer TokenHub ({newer[-1]}). Run that version, or restore a backup made before the upgrade."
        )


def _lock(database: "Database") -> None:
    """Wait, inside the write, until no other process migrates this PostgreSQL database."""
    if database.kind == "postgres":
        database.execute("SET LOCAL lock_timeout = 0")  # another process's migration may take long
        database.execute("SELECT pg_advisory_xact_lock(?)", (ADVISORY_LOCK,))
        database.execute("SET LOCAL lock_timeout = '60s'")  # a gateway's transactions are short


def _run(database: "Database", files: Path) -> list[str]:
    from playhouse.migrations import Runner

    if database.kind == "sqlite":
        database.execute(
            f"CREATE TABLE IF NOT EXISTS {HISTORY} (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, applied TEXT NOT NULL) STRICT"
        )
    names: list[str] = Runner(database.peewee, str(files), HISTORY).up()
    if database.kind == "sqlite" and (broken := database.rows("PRAGMA foreign_key_check")):
        raise SetupError(
            f"the upgrade {names[-1]} leaves rows of {broken[0][0]} without what they refer to; nothing was changed",
            see_to="store",
        )
    return names


@contextmanager
def _alone(database: "Database", home: Home) -> Iterator[None]:
    """Wait until no other process migrates this SQLite file, and let tables be rebuilt meanwhile."""
    backend = database.peewee
    if not isinstance(backend, Sqlite):
        yield
        return
    with home.alone("migrate"):
        backend.set_foreign_keys(enforced=False)
        try:
            yield
        finally:
            backend.set_foreign_keys(enforced=True)
