"""What can go wrong with the database, in four kinds, whichever back end and driver it is.

    StoreError                 nothing was written
    ├─ StoreBusy               locked for too long, or a conflict with another transaction: try again
    └─ StoreUnavailable        connection lost, disk full, file broken, server down
    CommitUnknown              COMMIT was sent and no answer came: ask ``Database.transaction_status``
    StoreRejected              the data breaks a rule of the schema, or cannot be stored at all

Both kinds of StoreError, and CommitUnknown, are a 503 ``ledger_unavailable`` to a caller.
StoreRejected is a fault of ours: what comes from outside is checked before it comes here.
"""

import sqlite3
from typing import Any, Literal

from tokenhub.errors import InternalError, Unavailable

Reason = Literal["unique", "foreign_key", "check", "not_null", "value", "other"]


class StoreError(Unavailable):
    """The database did not do what it was asked, and nothing of it was written."""

    see_to = "store"

    def __init__(self, message: str, *, retry_after_s: int = 1, cause: str = "") -> None:
        super().__init__(message, code="ledger_unavailable", retry_after_s=retry_after_s, cause=cause)


class StoreBusy(StoreError):
    """Another transaction was in the way; the same thing can be tried again at once (T90, T95)."""


class StoreUnavailable(StoreError):
    """The database is away, full or broken (T89, T97)."""


class CommitUnknown(Unavailable):
    """The connection broke between COMMIT and its answer: it may or may not hold (T96)."""

    see_to = "store"

    def __init__(self, message: str, transaction: str, *, cause: str = "") -> None:
        super().__init__(message, code="ledger_unavailable", retry_after_s=1, cause=cause)
        self.transaction = transaction
        """What ``Database.transaction_status`` takes."""


class StoreRejected(InternalError):
    """The data were refused; ``reason`` says by which kind of rule (T16, T98)."""

    see_to = "store"

    def __init__(self, message: str, reason: Reason, *, cause: str = "") -> None:
        super().__init__(message, cause=cause)
        self.reason = reason


_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_AWAY = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is not a TokenHub database",
    sqlite3.SQLITE_NOMEM: "memory is short",
    sqlite3.SQLITE_READONLY: "the database file cannot be written",
    sqlite3.SQLITE_PROTOCOL: "the database file's locks do not work",
}
_SQLITE_REASONS: dict[int, Reason] = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: "unique",
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: "unique",
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: "foreign_key",
    sqlite3.SQLITE_CONSTRAINT_CHECK: "check",
    sqlite3.SQLITE_CONSTRAINT_TRIGGER: "check",
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: "not_null",
    sqlite3.SQLITE_CONSTRAINT | 12 << 8: "value",
    sqlite3.SQLITE_MISMATCH: "value",
    sqlite3.SQLITE_TOOBIG: "value",
}
"""12 << 8 is SQLITE_CONSTRAINT_DATATYPE, a STRICT table's refusal; the sqlite3 module has no name for it (sqlite.org/rescode.html)."""
_SQLITE_DATA = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}


_POSTGRES_BUSY = ("40", "55P03", "57014")
"""Rolled back for another's sake (serialization failure, deadlock), lock timeout, statement timeout."""
_POSTGRES_READ_ONLY = {"0A000", "25006"}
"""What a standby answers to ``BEGIN … READ WRITE``, and to a write (src/backend/commands/variable.c)."""
_POSTGRES_PLANS = "RevalidateCachedQuery"
"""Where the server says, with the first of these codes too, that a plan no longer fits (src/backend/utils/cache/plancache.c)."""
_POSTGRES_AWAY = ("08", "0A", "25", "3D", "53", "54", "55", "57", "58", "XX", "F0")
"""Connection, a plan that no longer fits, state of the transaction (stopped for too long in it), database,
resources, limits (out of transaction ids), state of the server, operator, system error, corruption, configuration file."""
_POSTGRES_MENDED = {
    "26000": ". Is a pooler between that is not in session mode?",
    "42P05": ". Is a pooler between that is not in session mode?",
    "3F000": ". Was this user's search_path changed?",
    "42P01": ". Was this user's search_path changed?",
    "42501": "",
}
"""What no row is to blame for, and what may be behind it: all is written once the operator has mended it."""
_POSTGRES_DATA = ("22", "23")
_POSTGRES_REASONS: dict[str, Reason] = {
    "23505": "unique",
    "23503": "foreign_key",
    "23001": "foreign_key",
    "23514": "check",
    "23502": "not_null",
}


def translated(error: BaseException) -> BaseException:
    """Return the failure of our family that a driver's or peewee's exception means; others as they are."""
    original = getattr(error, "orig", error)
    if isinstance(original, sqlite3.Error):
        return _from_sqlite(original)
    if type(original).__module__.startswith("psycopg"):
        return _from_postgres(original)
    return error


def in_one_line(words: object) -> str:
    """Return what a driver or a server said, as one line."""
    return " ".join(str(words).split())


def unstorable(error: Exception) -> BaseException:
    """The same for a statement's parameters: Python refuses some before any driver sees them (T16, T98)."""
    if isinstance(error, OverflowError | UnicodeError):
        return StoreRejected(f"a value cannot be stored: {type(error).__name__}", "value")
    return translated(error)


def wants_new_session(error: Any) -> bool:
    """Whether a server refused what it may take of another session: a pooler or a change of the server has made this one useless."""
    return error.sqlstate in _POSTGRES_MENDED or error.diag.source_function == _POSTGRES_PLANS


def is_forbidden_write(error: BaseException) -> bool:
    """Whether a statement was refused because its connection may not write just now."""
    original = getattr(error, "orig", error)
    code = getattr(original, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_READONLY or getattr(original, "sqlstate", None) == "25006"


def _from_sqlite(error: sqlite3.Error) -> BaseException:
    extended = getattr(error, "sqlite_errorcode", None)
    if extended is None:
        return StoreRejected("a value cannot be stored", "value") if isinstance(error, sqlite3.DataError) else error
    code = extended & 0xFF
    if code in _SQLITE_BUSY:
        return StoreBusy("the database is locked by another program; try again")
    if code in _SQLITE_AWAY:
        return StoreUnavailable(f"the ledger cannot be used: {_SQLITE_AWAY[code]}", retry_after_s=5)
    if code in _SQLITE_DATA:
        return StoreRejected(
            "the database refused a row", _SQLITE_REASONS.get(extended, "other"), cause=in_one_line(error)
        )
    return error


def _from_postgres(error: Any) -> BaseException:
    state: str | None = getattr(error, "sqlstate", None)
    if state is None:
        return _without_state(error)
    said = in_one_line(error.diag.message_primary or "")
    if state.startswith(_POSTGRES_BUSY):
        return StoreBusy("the database is locked by another transaction; try again", cause=said)
    if state in _POSTGRES_READ_ONLY and error.diag.source_function != _POSTGRES_PLANS:
        return _unavailable(f"the database server takes no writes ({state}): is it a standby?", said)
    if state.startswith(_POSTGRES_AWAY):
        return _unavailable(f"the database server is not available ({state})", said)
    if state.startswith(_POSTGRES_DATA):
        reason = _POSTGRES_REASONS.get(state, "value" if state.startswith("22") else "other")
        return StoreRejected("the database refused a row", reason, cause=said)
    if state in _POSTGRES_MENDED:
        return _unavailable(
            f"the database server refuses what TokenHub needs ({state})", said + _POSTGRES_MENDED[state]
        )
    return error  # type: ignore[no-any-return]


def _without_state(error: BaseException) -> BaseException:
    """What psycopg raises on its own: no connection, or a value that it cannot send."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "DataError" in kinds:
        return StoreRejected("a value cannot be stored", "value")
    if kinds & {"OperationalError", "InterfaceError"}:
        return _unavailable("the database server cannot be reached", in_one_line(error))
    return error


def _unavailable(message: str, cause: str) -> StoreUnavailable:
    return StoreUnavailable(message, retry_after_s=5, cause=cause)
