"""What each scope sets about routing: rows to core values and back.

What they mean is loaded when there is one: most commands never need it. A row that cannot be
read is never taken for "nothing is set": a boundary that is lost is one that leaks.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from tokenhub.errors import InvalidRequest, SetupError
from tokenhub.store import revision
from tokenhub.store.database import Database

if TYPE_CHECKING:
    from tokenhub.routing.boundaries import Chain, Scope, Scoped
    from tokenhub.routing.preferences import Preferences

_VERSIONED: Final[Mapping["Scope", str]] = {
    "plan": "UPDATE plans SET version = version + 1 WHERE id = ?",
    "account": "UPDATE accounts SET version = version + 1 WHERE id = ?",
    "key": "UPDATE keys SET version = version + 1 WHERE id = ?",
}


def read(database: Database, scope: "Scope", subject: str = "") -> "Preferences":
    """Return what one scope sets."""
    row = database.row("SELECT data FROM preferences WHERE scope = ? AND subject = ?", (scope, subject))
    return _parsed("{}" if row is None else row[0])


def installation(database: Database) -> "Chain":
    """Return what the installation sets, as the start of every chain."""
    row = database.row("SELECT data FROM preferences WHERE scope = 'installation' AND subject = ''")
    return () if row is None else chain(("installation", "", row[0]))


def chain(*scopes: tuple["Scope", str, str | None]) -> "Chain":
    """Return the chain of (scope, subject, data) that set something; the same object for the same texts."""
    stated = tuple((scope, subject, data) for scope, subject, data in scopes if data is not None)
    return tuple(_scoped(*one) for one in stated)


@lru_cache(maxsize=4096)
def _scoped(scope: "Scope", subject: str, data: str) -> "Scoped":
    from tokenhub.routing.boundaries import Scoped

    return Scoped(scope, subject, _parsed(data))


def _parsed(data: str) -> "Preferences":
    from tokenhub.routing import preferences

    try:
        return preferences.parse(json.loads(data))
    except (InvalidRequest, ValueError) as error:
        raise SetupError(
            f"A stored routing preference cannot be read: {error}. Set it anew: tokenhub routing set"
        ) from None


def copy(database: Database, scope: "Scope", old: str, new: str, now_ms: int) -> None:
    """Give a subject what another sets, inside the caller's write: a key that replaces one keeps its boundaries."""
    database.execute(
        "INSERT INTO preferences (scope, subject, data, updated_at) "
        "SELECT scope, CAST(? AS TEXT), data, CAST(? AS BIGINT) FROM preferences WHERE scope = ? AND subject = ?",
        (new, now_ms, scope, old),
    )


def write(database: Database, scope: "Scope", subject: str, wanted: "Preferences", now_ms: int) -> None:
    """Set what one scope states, inside the caller's write; binds its next request in every process (T107, T108)."""
    database.execute("DELETE FROM preferences WHERE scope = ? AND subject = ?", (scope, subject))
    if not wanted.is_empty:
        data = json.dumps(wanted.dump(), ensure_ascii=True, separators=(",", ":"))
        database.execute(
            "INSERT INTO preferences (scope, subject, data, updated_at) VALUES (?, ?, ?, ?)",
            (scope, subject, data, now_ms),
        )
    if scope == "installation":
        revision.bump(database, "installation")
        return
    database.execute(_VERSIONED[scope], (int(subject) if scope == "account" else subject,))
    revision.bump(database)
