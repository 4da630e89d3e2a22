"""The installation's row: who this store is, and the counters by which other processes see a change.

``revision`` grows with every management change, so one cheap read tells whether a snapshot is
still the newest; the other versions are what the write compares a request's plan with.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from tokenhub.errors import Conflict
from tokenhub.store.database import Database
from tokenhub.store.vault import Vault

Scope = Literal["installation", "catalog"]


@dataclass(frozen=True, slots=True)
class Revision:
    revision: int
    installation: int
    catalog: int


def create(database: Database, instance: str, key_check: bytes, now_ms: int) -> None:
    """Write the row of a new installation."""
    database.execute(
        "INSERT INTO installation (id, instance, created_at, key_check) VALUES (1, ?, ?, ?)",
        (instance, now_ms, key_check),
    )


def key_check(database: Database) -> bytes:
    """Return what :func:`create` was given: the check value of the master key."""
    found = database.row("SELECT key_check FROM installation")
    return bytes(found[0]) if found else b""


def set_key_check(database: Database, key_check: bytes) -> None:
    """Note by which master key everything is sealed from now on, inside the write that seals it."""
    database.execute("UPDATE installation SET key_check = ?", (key_check,))


def refuse_other_key(database: Database, vault: Vault) -> None:
    """Refuse to go on with a master key that was replaced after it was read, inside the change that seals or begins to serve (T43)."""
    if not vault.knows(instance(database), key_check(database)):
        raise Conflict("Another process has just set a new master key. Nothing was changed; run the command again.")


def instance(database: Database) -> str:
    """Return the random id of this installation."""
    found = database.row("SELECT instance FROM installation")
    return str(found[0]) if found else ""


def created_at_ms(database: Database) -> int:
    """Return when this installation was made."""
    found = database.row("SELECT created_at FROM installation")
    return int(found[0]) if found else 0


def bump(database: Database, scope: Scope | None = None) -> None:
    """Count a management change, inside the write that makes it; a scope's own version too.

    An account's, key's or plan's version stands in its row and is bumped there.
    """
    if not database.in_write:
        raise RuntimeError("a change and its revision belong in one write")
    counted = {
        "installation": ", version = version + 1",
        "catalog": ", catalog_version = catalog_version + 1",
        None: "",
    }
    database.execute(f"UPDATE installation SET revision = revision + 1{counted[scope]}")


@contextmanager
def change(database: Database) -> Iterator[None]:
    """Make a management change in one write, alone among all processes: what it reads is what it changes.

    Two changes at once of one subject would else write back what the other has just replaced,
    on PostgreSQL, where a write locks no more than the rows it writes. There a batch that had begun
    may go by the versions of before, too: those are waited for, for six seconds at most, so that the
    change binds whatever is placed from then on.
    """
    with database.write():
        lock(database)
        yield
    if not database.in_write:
        database.await_writes()


def lock(database: Database) -> None:
    """Keep every management change out until the caller's write has ended."""
    database.row(f"SELECT revision FROM installation{database.lock_clause}")


def read(database: Database) -> Revision:
    """Return the counters as they are now."""
    found = database.row("SELECT revision, version, catalog_version FROM installation")
    return Revision(*found) if found else Revision(0, 0, 0)
