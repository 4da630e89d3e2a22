"""Transactions, failures and connections are the same on both back ends."""

# ruff: noqa: PT012  a transaction that fails is a block of several statements

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import peewee
import pytest

from tests.fakes.cut_socket import CutSocket
from tokenhub.errors import Unavailable
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import schema
from tokenhub.store.database import (
    CommitUnknown,
    Database,
    StoreBusy,
    StoreRejected,
    StoreUnavailable,
    TransactionStatus,
    clean_text,
    open_database,
)

ONLY_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ONLY_POSTGRES = pytest.mark.parametrize("backend", ["postgres"], indirect=True)
SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
INSERT = "INSERT INTO plans (id, fee_bp, key_rpm, account_rpm, concurrency) VALUES (?, ?, 60, 600, 50)"


def plans(database: Database) -> list[str]:
    return [name for (name,) in database.rows("SELECT id FROM plans ORDER BY id")]


@pytest.fixture
def other(settings: Settings, home: Home, database: Database) -> Iterator[Database]:
    """A second opening of the same store, as another process has it, with little patience for locks."""
    opened = open_database(settings, home)
    with opened.write():
        opened.execute("PRAGMA busy_timeout = 50" if opened.kind == "sqlite" else "SET lock_timeout = '50ms'")
    yield opened
    opened.close()
    schema.proxy.initialize(database.peewee)


def test_a_write_is_kept_and_seen_by_others(database: Database, other: Database) -> None:
    with database.write():
        database.execute(INSERT, ("a", 300))
        assert plans(database) == ["a"]
        assert plans(other) == []
    assert plans(other) == ["a"]


def test_an_exception_undoes_the_whole_write(database: Database) -> None:
    with pytest.raises(LookupError), database.write():
        database.execute(INSERT, ("a", 300))
        raise LookupError
    assert plans(database) == []
    with database.write():
        database.execute(INSERT, ("b", 300))
    assert plans(database) == ["b"]


def test_a_nested_write_joins_the_outer_one(database: Database) -> None:
    with pytest.raises(LookupError), database.write():
        with database.write():
            database.execute(INSERT, ("a", 300))
        raise LookupError
    assert plans(database) == []


def test_a_failure_that_was_swallowed_inside_keeps_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError, match="none of it was kept"), database.write():
        database.execute(INSERT, ("a", 300))
        with suppress(LookupError), database.write():
            raise LookupError
    with pytest.raises(RuntimeError, match="none of it was kept"), database.write():
        database.execute(INSERT, ("b", 300))
        with suppress(StoreRejected):
            database.execute(INSERT, ("b", 300))
    assert plans(database) == []


def test_an_interrupt_undoes_the_write(database: Database) -> None:
    with pytest.raises(KeyboardInterrupt), database.write():
        database.execute(INSERT, ("a", 300))
        raise KeyboardInterrupt
    assert plans(database) == []


def test_models_work_in_the_same_transaction(database: Database) -> None:
    with pytest.raises(LookupError), database.write():
        schema.PlanRow.create(id="a", fee_bp=1, key_rpm=1, account_rpm=1, concurrency=1)
        raise LookupError
    with database.write():
        row, _ = schema.PlanRow.get_or_create(
            id="b", defaults={"fee_bp": 1, "key_rpm": 1, "account_rpm": 1, "concurrency": 1}
        )
        account = schema.AccountRow.create(name="x", plan=row, created_at=1, rate_window=b"\0\x01")
    assert plans(database) == ["b"]
    assert bytes(schema.AccountRow.get_by_id(account.id).rate_window) == b"\0\x01"


def test_a_model_that_breaks_a_rule_is_rejected_in_our_words(database: Database) -> None:
    with pytest.raises(StoreRejected) as refused, database.write():
        schema.PlanRow.create(id="a", fee_bp=-1, key_rpm=1, account_rpm=1, concurrency=1)
    assert refused.value.reason == "check"


def test_a_savepoint_of_peewee_can_fail_alone(database: Database) -> None:
    with database.write():
        database.execute(INSERT, ("a", 300))
        with pytest.raises(peewee.IntegrityError), database.peewee.atomic():
            schema.PlanRow.create(id="a", fee_bp=1, key_rpm=1, account_rpm=1, concurrency=1)
        database.execute(INSERT, ("b", 300))
    assert plans(database) == ["a", "b"]


def test_a_read_sees_one_moment(database: Database, other: Database) -> None:
    with database.read():
        assert plans(database) == []
        with other.write():
            other.execute(INSERT, ("a", 300))
        assert plans(database) == []
    assert plans(database) == ["a"]


def test_t87_nothing_is_written_outside_a_write(database: Database) -> None:
    for attempt in (database.execute, database.row):
        with pytest.raises(RuntimeError, match=r"belongs in Database\.write"):
            attempt(INSERT, ("a", 300))
    with pytest.raises(RuntimeError, match=r"belongs in Database\.write"), database.read():
        database.execute(INSERT, ("a", 300))
    with pytest.raises(peewee.PeeweeException):
        schema.PlanRow.create(id="a", fee_bp=1, key_rpm=1, account_rpm=1, concurrency=1)
    assert plans(database) == []


def test_t87_a_write_inside_a_read_is_refused(database: Database) -> None:
    with pytest.raises(RuntimeError, match="T87"), database.read(), database.write():
        pass
    with database.write(), database.read():
        database.execute(INSERT, ("a", 300))
    assert plans(database) == ["a"]


@ONLY_SQLITE
def test_t87_every_write_began_immediate(database: Database) -> None:
    """The trace of one connection: no statement that writes follows anything but BEGIN IMMEDIATE."""
    trace: list[str] = []
    database.peewee.connection().set_trace_callback(trace.append)
    with database.write():
        database.peewee.connection().set_trace_callback(trace.append)
    with database.write():
        database.execute(INSERT, ("a", 300))
        with database.write():
            schema.PlanRow.update(fee_bp=5).where(schema.PlanRow.id == "a").execute()
    with database.read():
        plans(database)
    with pytest.raises(StoreRejected), database.write():
        database.execute(INSERT, ("a", 300))
    with database.peewee.atomic(), pytest.raises(peewee.OperationalError):
        schema.PlanRow.delete().execute()
    began, written = "", 0
    for statement in trace:
        verb = statement.split()[0].upper()
        if verb in ("BEGIN", "COMMIT", "ROLLBACK"):
            began = statement if verb == "BEGIN" else ""
        if verb in ("INSERT", "UPDATE") and not statement.startswith("--"):
            assert began == "BEGIN IMMEDIATE"
            written += 1
    assert written == 3


@pytest.mark.soak
def test_t87_writers_that_read_first_never_lose_the_lock(database: Database) -> None:
    with database.write():
        database.execute(INSERT, ("counter", 0))
    rounds, errors = 2500 if SOAK else 50, []

    def add() -> None:
        try:
            for _ in range(rounds):
                with database.write():
                    ((found,),) = database.rows(
                        f"SELECT account_rpm FROM plans WHERE id = 'counter'{database.lock_clause}"
                    )
                    database.execute("UPDATE plans SET account_rpm = ? WHERE id = 'counter'", (found + 1,))
        except Exception as error:
            errors.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert database.row("SELECT account_rpm FROM plans") == (600 + 4 * rounds,)


def test_t90_a_lock_held_for_long_is_busy_and_leaves_nothing(database: Database, other: Database) -> None:
    with database.write():
        database.execute(INSERT, ("a", 300))
        with pytest.raises(StoreBusy) as busy, other.write():
            other.execute("INSERT INTO plans (id, fee_bp, key_rpm, account_rpm, concurrency) VALUES ('a', 1, 1, 1, 1)")
    assert isinstance(busy.value, Unavailable)
    assert (busy.value.status, busy.value.code, busy.value.retry_after_s) == (503, "ledger_unavailable", 1)
    with other.write():
        other.execute(INSERT, ("b", 300))
    assert plans(database) == ["a", "b"]


@ONLY_POSTGRES  # SQLite has one writer at a time: no deadlock can be
def test_t95_a_deadlock_is_busy_so_that_it_is_tried_again(database: Database) -> None:
    with database.write():
        database.execute(INSERT, ("a", 1))
        database.execute(INSERT, ("b", 1))
    meet, failures = threading.Barrier(2), []

    def cross(first: str, second: str) -> None:
        try:
            with database.write():
                database.execute("UPDATE plans SET fee_bp = fee_bp + 1 WHERE id = ?", (first,))
                meet.wait()
                database.execute("UPDATE plans SET fee_bp = fee_bp + 1 WHERE id = ?", (second,))
        except StoreBusy as error:
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=cross, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 1
    assert database.rows("SELECT fee_bp FROM plans") == [(2,), (2,)]


@pytest.mark.parametrize(
    ("statement", "params", "reason"),
    [
        (INSERT, ("a", 10_001), "check"),
        (INSERT, ("a", None), "not_null"),
        (INSERT, ("a", 2**63), "value"),
        (INSERT, ("a", "many"), "value"),
        ("INSERT INTO accounts (name, plan_id, created_at) VALUES (?, ?, 0)", ("a", "missing"), "foreign_key"),
        (INSERT, ("a\ud800", 1), "value"),
    ],
)
def test_t98_data_that_break_a_rule_are_rejected(
    database: Database, statement: str, params: tuple[object, ...], reason: str
) -> None:
    with pytest.raises(StoreRejected) as refused, database.write():
        database.execute(statement, params)
    assert refused.value.reason == reason
    with database.write():
        database.execute(INSERT, ("next", 300))
    assert plans(database) == ["next"]


@pytest.mark.parametrize(
    "text", ["plain", "nul\0nul", "lone \ud83d surrogate", "\udcff", "x" * 1_000_000, "emoji 😀 é\u202e"]
)
def test_t98_a_cleaned_text_can_be_stored_and_read_back(database: Database, text: str) -> None:
    cleaned = clean_text(text, 500)
    assert len(cleaned) <= 500
    with database.write():
        database.execute(INSERT, (cleaned, 300))
    assert plans(database) == [cleaned]


def test_t98_cleaning_changes_only_what_cannot_be_kept() -> None:
    assert clean_text("emoji 😀 é\u202e\n", 100) == "emoji 😀 é\u202e\n"
    assert clean_text("a\0b\ud800c\udfffd", 100) == "a\ufffdb\ufffdc\ufffdd"
    assert clean_text("abcdef", 3) == "abc"


def test_a_sum_of_amounts_is_an_integer(database: Database) -> None:
    with database.write():
        database.execute(INSERT, ("a", 3))
        database.execute(INSERT, ("b", 4))
    ((total, none),) = database.rows("SELECT SUM(fee_bp), (SELECT SUM(fee_bp) FROM plans WHERE id = 'c') FROM plans")
    assert (total, type(total), none) == (7, int, None)


def test_percent_and_question_marks_in_texts_are_text(database: Database) -> None:
    with database.write():
        database.execute(INSERT, ("100%", 1))
        database.execute(INSERT, ("why?", 2))
    assert database.rows("SELECT id FROM plans WHERE id LIKE '%?' AND fee_bp = ? -- what?", (2,)) == [("why?",)]
    assert database.row('SELECT id AS "100%?" FROM plans WHERE fee_bp % 2 = ?', (1,)) == ("100%",)


def test_each_thread_has_connections_of_its_own_and_an_ended_one_leaves_none(database: Database) -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append(database.peewee.connection())
        with database.write():
            seen.append(database.peewee.connection())

    for _ in range(3):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert database.peewee.connection() not in seen
    assert [is_open(connection) for connection in seen] == [False] * 4 + [True] * 2
    database.close_all()
    assert [is_open(connection) for connection in seen] == [False] * 6
    assert plans(database) == []


def is_open(connection: Any) -> bool:
    try:
        connection.execute("SELECT 1")
    except Exception:
        return False
    return True


def test_t94_a_connection_does_not_cross_a_fork(environment: dict[str, str]) -> None:
    script = """
        import os
        from tokenhub import paths, settings
        from tokenhub.store.database import open_database
        home = paths.home()
        database = open_database(settings.load(home), home)
        child = os.fork()
        if child == 0:
            try:
                database.row("SELECT 1")
            except RuntimeError as error:
                os._exit(7 if "before a fork" in str(error) else 8)
            os._exit(9)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7, status
        with database.write():
            database.execute("UPDATE installation SET revision = 5")
        assert database.row("SELECT revision FROM installation") == (5,)
        database.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment, check=True, timeout=60)


def test_now_s_counts_seconds_of_a_named_clock(database: Database) -> None:
    first = database.now_s()
    assert 0 <= database.now_s() - first <= 2
    assert len(database.window_epoch()) == 8
    with database.read():
        assert database.now_s() >= first


# What only a server can do: be away, and break a connection.


@pytest.fixture
def cut(settings: Settings, tmp_path: Path) -> Iterator[CutSocket]:
    with CutSocket(settings.database_url, tmp_path) as made:
        yield made


@pytest.fixture
def through(cut: CutSocket, home: Home) -> Iterator[Database]:
    """The store through the socket that can be cut."""
    opened = open_database(Settings(database_url=cut.url), home)
    yield opened
    opened.close()


@ONLY_POSTGRES
@pytest.mark.parametrize("reaches", [True, False])
def test_t96_a_connection_lost_in_commit_is_an_unknown_outcome_that_can_be_asked(
    cut: CutSocket, through: Database, reaches: bool
) -> None:
    with pytest.raises(CommitUnknown) as unknown, through.write():
        through.execute(INSERT, ("a", 300))
        cut.cut_at(b"COMMIT", pass_it_on=reaches)
    status = TransactionStatus.IN_PROGRESS
    while status is TransactionStatus.IN_PROGRESS:
        status = through.transaction_status(unknown.value.transaction)
    assert status is (TransactionStatus.COMMITTED if reaches else TransactionStatus.ABORTED)
    assert plans(through) == (["a"] if reaches else [])
    assert unknown.value.code == "ledger_unavailable"


@ONLY_POSTGRES
def test_t96_a_transaction_that_a_crashed_server_forgot_is_aborted(database: Database) -> None:
    assert database.transaction_status(str(2**40)) is TransactionStatus.ABORTED


@ONLY_POSTGRES
def test_t97_a_connection_lost_in_a_statement_writes_nothing_and_the_next_write_works(
    cut: CutSocket, through: Database
) -> None:
    cut.cut_at(b"INSERT", pass_it_on=True)
    with pytest.raises(StoreUnavailable), through.write():
        through.execute(INSERT, ("a", 300))
    with through.write():
        through.execute(INSERT, ("b", 300))
    assert plans(through) == ["b"]


@ONLY_POSTGRES
def test_a_process_that_stands_still_in_a_write_loses_its_locks_and_writes_nothing(database: Database) -> None:
    database.execute("SET idle_in_transaction_session_timeout = '20ms'")
    with pytest.raises(StoreUnavailable), database.write():
        database.execute(INSERT, ("a", 300))
        time.sleep(0.2)
        database.execute(INSERT, ("b", 300))
    assert plans(database) == []


@ONLY_POSTGRES
def test_t97_a_kept_connection_that_died_while_idle_is_replaced_unseen(cut: CutSocket, through: Database) -> None:
    cut.cut_now()
    with through.write():
        through.execute(INSERT, ("a", 300))
    cut.cut_now()
    with through.read():
        assert plans(through) == ["a"]
    cut.cut_now()
    assert plans(through) == ["a"]
    cut.cut_now()
    assert through.row("SELECT 1") == through.execute("SELECT 1").fetchone() == (1,)
    cut.cut_now()
    assert through.now_ms() // 1000 - through.now_s() in (-1, 0)
    cut.cut_at(b"pg_backend_pid", pass_it_on=True)
    cut.refuse = True
    with pytest.raises(StoreUnavailable):
        through.row("SELECT pg_backend_pid()")


@ONLY_POSTGRES
def test_t97_a_server_that_is_away_is_unavailable_until_it_is_back(cut: CutSocket, through: Database) -> None:
    cut.refuse = True
    cut.cut_now()
    for _ in range(3):
        with pytest.raises(StoreUnavailable) as away, through.write():
            raise AssertionError("the block must not run")
        assert away.value.status == 503
    cut.refuse = False
    with through.write():
        through.execute(INSERT, ("a", 300))
    assert plans(through) == ["a"]


@ONLY_SQLITE  # a server's disk is not ours to fill
def test_t89_a_full_disk_is_unavailable_and_recovers_without_reopening(database: Database) -> None:
    (pages,) = database.row("PRAGMA page_count") or (0,)
    with database.write():
        database.execute(f"PRAGMA max_page_count = {pages + 2}")
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="disk is full"), database.write():
            database.execute(INSERT, ("a", 300))
            database.execute("INSERT INTO catalog_overrides VALUES ('model', 'x', ?, 0)", ("x" * 100_000,))
        assert plans(database) == []
    with database.write():
        database.execute("PRAGMA max_page_count = 1000000")
        database.execute(INSERT, ("a", 300))
    assert plans(database) == ["a"]


def test_a_swallowed_error_that_undid_the_transaction_is_not_taken_for_a_commit(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write():
        database.execute(INSERT, ("a", 300))
        try:
            schema.PlanRow.create(id="a", fee_bp=1, key_rpm=1, account_rpm=1, concurrency=1)
        except peewee.IntegrityError:
            if database.kind == "sqlite":
                database.peewee.connection().execute("ROLLBACK")  # as SQLite itself does when its disk is full
    assert plans(database) == []
