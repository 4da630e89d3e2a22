"""The installation's own secrets, sealed for their names: one that is moved to another name does not open (T43)."""

import json
from dataclasses import dataclass
from typing import Final

from tokenhub.errors import SetupError
from tokenhub.store import revision
from tokenhub.store.database import Database
from tokenhub.store.vault import Vault

_HINT_LENGTH: Final = 4
_HINT_WORTH: Final = 20
"""A secret shorter than this shows nothing of itself."""


@dataclass(frozen=True, slots=True)
class SecretState:
    """A secret as people see it: never its text."""

    name: str
    hint: str
    """The last four characters."""
    created_at_ms: int


def put(database: Database, vault: Vault, name: str, value: str, now_ms: int) -> SecretState:
    """Keep a secret, in the place of an older one of this name."""
    hint = value[-_HINT_LENGTH:] if len(value) >= _HINT_WORTH else ""
    with revision.change(database):
        revision.refuse_other_key(database, vault)
        database.execute(
            "INSERT INTO secrets (name, sealed, hint, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE "
            "SET sealed = excluded.sealed, hint = excluded.hint, created_at = excluded.created_at",
            (name, vault.seal(value, _binding(name)), hint, now_ms),
        )
        revision.bump(database)
    return SecretState(name, hint, now_ms)


def reseal(database: Database, vault: Vault, name: str, value: str) -> None:
    """Seal a secret with another master key, inside the caller's write."""
    database.execute("UPDATE secrets SET sealed = ? WHERE name = ?", (vault.seal(value, _binding(name)), name))


def get(database: Database, vault: Vault, name: str) -> str | None:
    """Open a secret; None when there is none. SetupError when it does not open with this master key."""
    row = database.row("SELECT sealed FROM secrets WHERE name = ?", (name,))
    if row is None:
        return None
    try:
        return vault.open(bytes(row[0]), _binding(name))
    except SetupError:
        raise SetupError(
            f"the stored {name} cannot be opened: it was changed, or sealed with another master key. "
            f"Give it anew with: tokenhub config set {name}"
        ) from None


def is_kept(database: Database, name: str) -> bool:
    """Tell whether there is a secret of this name, without opening it."""
    return database.row("SELECT 1 FROM secrets WHERE name = ?", (name,)) is not None


def delete(database: Database, name: str) -> bool:
    """Forget a secret; False when there was none."""
    with database.write():
        deleted = bool(database.execute("DELETE FROM secrets WHERE name = ?", (name,)).rowcount)
        if deleted:
            revision.bump(database)
    return deleted


def states(database: Database) -> list[SecretState]:
    """Return every secret that is kept, by name."""
    return [SecretState(*row) for row in database.rows("SELECT name, hint, created_at FROM secrets ORDER BY name")]


def _binding(name: str) -> bytes:
    return json.dumps(["secret", name]).encode("ascii")
