"""PostgreSQL through psycopg 3: a kept connection per thread, and our SQL with its placeholders translated."""

import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import peewee

from tokenhub import clock
from tokenhub.errors import SetupError
from tokenhub.settings import without_password
from tokenhub.store.connections import Connections
from tokenhub.store.failures import in_one_line, wants_new_session

OLDEST = 130_000
"""``pg_current_xact_id`` and ``pg_xact_status`` on 64-bit ids came with version 13."""

CONNECTION = {
    "application_name": "tokenhub",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""Defaults of libpq parameters; the URL may set its own."""

SESSION = {
    "array_nulls": "on",
    "client_encoding": "UTF8",
    "default_transaction_read_only": "on",
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "5s",
    "standard_conforming_strings": "on",
    "synchronous_commit": "on",
}
"""What each session is set to, whatever the server, the database or the user has. Only :meth:`Postgres.begin_write` may write (T87); a process that is
stopped inside a transaction loses its locks after a minute; a commit is on disk before it is answered."""

UNLIMITED = "idle_session_timeout", "statement_timeout", "transaction_timeout"
"""What each session is freed of, where the server knows it: a migration, a backup or a proof of the books may take long."""

REQUIRED = {"fsync": "on", "server_encoding": "UTF8"}
"""What the server must be set to, or it is refused (T86)."""

WRITES_END_S = 6.0
"""What a change waits for the writes of others, at most: longer than one of them waits for a lock, though it may wait for several."""
WRITES_PAUSE_S = 0.002

_UNREADABLE = (
    "database.url cannot be read: in its user and password write % as %25, a space as %20, / as %2F and @ as %40; "
    "behind the ? stand parameters of PostgreSQL's own, such as sslmode=require"
)
_WRITES = """
SELECT pid, backend_xid::text FROM pg_stat_activity
WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
"""
_HIDDEN = """
SELECT current_schema(), n.nspname FROM pg_namespace n
JOIN pg_class i ON i.relnamespace = n.oid JOIN pg_class m ON m.relnamespace = n.oid
WHERE i.oid = to_regclass('installation') AND m.relname = 'migrations' AND n.nspname <> current_schema()
"""
_UNLIMIT = f"SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN {UNLIMITED}"
_NOW_MS = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_BEGIN_WRITE = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_current_xact_id()::text, {_NOW_MS}"


class _Thread(threading.local):
    """How long this thread waits for an answer."""

    answer_s: float | None = None


class _Psycopg(peewee.Psycopg3Adapter):
    """peewee's own, with the driver that peewee was loaded without (``tokenhub.store``)."""

    def get_binary_type(self) -> Any:
        import psycopg

        return psycopg.Binary


class Postgres(peewee.PostgresqlDatabase):
    """peewee's PostgreSQL database with the transactions of :class:`tokenhub.store.database.Database`."""

    kind = "postgres"
    lock_clause = " FOR UPDATE"
    psycopg2_adapter = psycopg3_adapter = _Psycopg

    def __init__(self, url: str) -> None:
        self.connections = Connections()
        self._here = _Thread()
        super().__init__(url, prefer_psycopg3=True)

    def _connect(self) -> Any:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        class Connection(psycopg.Connection[Any]):
            """One that ends where an answer does not come in time, and knows when it got one that only a new session mends."""

            answer_s = self._here.answer_s
            is_spoilt = False

            def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
                try:
                    return super().wait(gen if self.answer_s is None else _within(self.answer_s, gen), *args, **options)
                except TimeoutError as error:
                    self.close()
                    raise psycopg.OperationalError(str(error)) from error
                except psycopg.Error as error:
                    self.is_spoilt = self.is_spoilt or wants_new_session(error)
                    raise

        parameters = {**CONNECTION, **conninfo_to_dict(self.database)}
        connection = Connection.connect(**parameters, autocommit=True)  # type: ignore[arg-type]
        self.connections.add(connection)
        try:
            adapt(connection)
            settings = "; ".join(f"SET {name} = '{value}'" for name, value in SESSION.items())
            connection.execute(f"{settings}; {_UNLIMIT}".encode(), prepare=False)
        except BaseException:
            self.connections.close()
            raise
        return connection

    def _close(self, conn: Any) -> None:  # noqa: ARG002
        self.connections.close()

    def cursor(self, named_cursor: None = None) -> Any:
        self.connections.check_process()
        return super().cursor(named_cursor)  # type: ignore[no-untyped-call]

    def run(self, sql: str, params: Sequence[Any]) -> Any:
        return self.cursor().execute(translated_sql(sql), params)

    def run_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> Any:
        cursor = self.cursor()
        cursor.executemany(translated_sql(sql), rows)
        return cursor

    def hurry(self, answer_s: float | None) -> None:
        """Wait for so long, at most, for each answer in this thread."""
        self._here.answer_s = answer_s
        if (connection := self.connections.mine()) is not None:
            connection.answer_s = answer_s

    def begin_write(self, *, durable: bool) -> tuple[str, int]:  # noqa: ARG002
        """Begin, and return the transaction's id and the server's time, in one round trip.

        Every commit is durable: a server can crash alone, and its gateways still count on their holds.
        A connection on which it fails is given up: it may be stuck in half a BEGIN, or lead to what is a standby by now.
        """
        cursor = self.cursor()
        try:
            cursor.execute(_BEGIN_WRITE, prepare=False)
        except BaseException:
            self.connections.mine().close()
            raise
        cursor.nextset()
        transaction, now_ms = cursor.fetchone()
        return str(transaction), int(now_ms)

    def begin_read(self) -> None:
        self.cursor().execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", prepare=False)

    def finish(self, *, commit: bool, within_s: float | None) -> None:
        """End the open transaction; a server that answers COMMIT with ROLLBACK has not committed.

        A connection on which COMMIT has no answer within this time is given up: a server may wait for its disk, or for
        a standby (``synchronous_standby_names``), for ever.
        """
        cursor = self.cursor()
        if commit and within_s is not None:
            cursor.connection.answer_s = within_s
        cursor.execute("COMMIT" if commit else "ROLLBACK", prepare=False)
        cursor.connection.answer_s = self._here.answer_s
        if commit and cursor.statusmessage != "COMMIT":
            raise RuntimeError("a statement of this transaction failed, so it was rolled back")

    def is_lost(self) -> bool:
        """Whether this thread's connection is gone."""
        connection = self.connections.mine()
        return connection is not None and (connection.closed or connection.broken)

    def is_useless(self) -> bool:
        """Whether it is gone, or its session of no more use."""
        connection = self.connections.mine()
        return connection is not None and (connection.closed or connection.broken or connection.is_spoilt)

    def drop(self) -> None:
        """Forget this thread's connection, whatever state it is in."""
        self.connections.close()
        self.dispose()

    def scrub(self, tables: Sequence[str]) -> bool:
        """Vacuum the tables; nobody waits for it."""
        for table in tables:
            self.cursor().execute(f"VACUUM {table}", prepare=False)
        return True

    def await_writes(self) -> None:
        """Wait until the transactions that have an id have ended, for a few seconds at most."""
        end_s = clock.monotonic_s() + WRITES_END_S
        begun = set(self.cursor().execute(_WRITES).fetchall())
        while begun and clock.monotonic_s() < end_s:
            time.sleep(WRITES_PAUSE_S)
            begun.intersection_update(self.cursor().execute(_WRITES).fetchall())

    def now_s(self) -> int:
        row = self.cursor().execute("SELECT floor(extract(epoch FROM clock_timestamp()))::bigint").fetchone()
        return int(row[0])

    def now_ms(self) -> int:
        row = self.cursor().execute(f"SELECT {_NOW_MS}").fetchone()
        return int(row[0])

    def clock_name(self) -> str:
        return "database"


def _within(seconds: float, waiting: Any) -> Any:
    """Wait as psycopg does, which looks up ten times a second; raises TimeoutError when it takes longer than this."""
    end_s, ready = clock.monotonic_s() + seconds, None
    while True:
        try:
            state = waiting.send(ready)
        except StopIteration as done:
            return done.value
        if clock.monotonic_s() >= end_s:
            raise TimeoutError("the database server did not answer in time")
        ready = yield state


def adapt(connection: Any) -> None:
    """Make values go and come as a STRICT SQLite's do.

    Integers are always sent as int8: psycopg takes the smallest type that fits, so that one
    statement would be prepared once for every mix of types. Booleans are 0 and 1. Floats are
    refused: the server would round them into an amount. ``numeric`` results, which is what SUM
    of bigint is, come back as int when they are whole.
    """
    from psycopg import DataError
    from psycopg.adapt import Dumper, Loader
    from psycopg.types.numeric import Int8Dumper

    class WholeNumber(Loader):
        def load(self, data: Any) -> Any:
            text = bytes(data)
            return int(text) if text.lstrip(b"-").isdigit() else float(text)

    class ZeroOrOne(Int8Dumper):
        def dump(self, obj: Any) -> bytes:
            return b"1" if obj else b"0"

    class Refused(Dumper):
        def dump(self, _obj: Any) -> bytes:
            raise DataError("a float is not an amount, a count or a time")

    connection.adapters.register_dumper(bool, ZeroOrOne)
    connection.adapters.register_dumper(float, Refused)
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_loader("numeric", WholeNumber)


_TOKENS = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|\?|%""")


@lru_cache(maxsize=1024)
def translated_sql(sql: str) -> str:
    """Return our SQL with psycopg's placeholders: ``?`` becomes ``%s``; texts, names and comments keep theirs."""

    def word(match: re.Match[str]) -> str:
        found = match.group()
        return "%s" if found == "?" else found.replace("%", "%%")

    return _TOKENS.sub(word, sql)


def check_server(database: Postgres) -> None:
    """Refuse a server that is too old or not durable, with what it must be set to, and a schema that hides the one in use."""
    if database.server_version < OLDEST:
        raise SetupError(
            f"the PostgreSQL server is version {database.server_version // 10_000}; TokenHub needs 13 or newer",
            see_to="store",
        )
    for name, value in REQUIRED.items():
        ((found,),) = database.cursor().execute(f"SHOW {name}").fetchall()
        if found != value:
            raise SetupError(f"the PostgreSQL server has {name} = {found}; TokenHub needs {value}", see_to="store")
    hidden = database.cursor().execute(_HIDDEN).fetchone()
    if hidden is not None:
        first, used = hidden
        raise SetupError(
            f"TokenHub's tables are in the schema {used}, and new ones would be made in {first}, which comes first in this user's "
            f"search_path. Let it be {used} alone (ALTER ROLE … SET search_path); or {first} alone, for another installation"
        )


def _quotes_password(words: str, url: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a refusal quotes what ended up in a place of its own because the password before it has a sign that ends one."""
    places = [str(value) for name, value in parameters.items() if name not in ("user", "password")]
    parts = [part for place in places for part in place.split(",")]
    return any("@" in part and part in url and part in words for part in parts)


def connect(url: str) -> Postgres:
    """Open the first connection to a server; the refusal names the server's own reason, never the password."""
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise SetupError("database.url names PostgreSQL: install the extra, pip install 'tokenhub[postgres]'") from None
    try:
        parameters = conninfo_to_dict(url)
    except ProgrammingError:  # its words quote what cannot be read, which may be the password
        raise SetupError(_UNREADABLE) from None
    database = Postgres(url)
    try:
        database.connect()
    except (peewee.OperationalError, peewee.ProgrammingError) as error:
        if _quotes_password(in_one_line(error), url, parameters):
            raise SetupError(_UNREADABLE) from None
        raise SetupError(f"cannot connect to {without_password(url)}: {in_one_line(error)}", see_to="store") from error
    return database
