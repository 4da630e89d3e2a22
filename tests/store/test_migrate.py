"""T100: one process migrates, a crash leaves the old schema or the new one, an older program refuses."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.conftest import create_store, process_environment
from tests.fakes.bank import DAY, NOW, Bank
from tokenhub.accounts.accounts import SpendPeriod
from tokenhub.billing.periods import period_start_ms
from tokenhub.errors import SetupError
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import audit, migrate, revision
from tokenhub.store.database import Database, open_database

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))

ADD_COLUMN = """
from peewee import BigIntegerField

def up(migrator, db):
    migrator.migrate(migrator.add_column("plans", "rank", BigIntegerField(default=7)))
    db.execute_sql("CREATE TABLE later (id INTEGER PRIMARY KEY)" + (" STRICT" if db.kind == "sqlite" else ""))
"""
REBUILD = """
import time

def up(migrator, db):
    time.sleep(0.2)
    migrator.migrate(migrator.rename_column("plans", "rank", "place"))
    db.execute_sql("INSERT INTO later (id) VALUES (1)")
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The migrations of a newer program: ours and two more."""
    folder = tmp_path / "files"
    shutil.copytree(migrate.FILES, folder)
    (folder / "9001_add_rank.py").write_text(ADD_COLUMN)
    (folder / "9002_rename_rank.py").write_text(REBUILD)
    return folder


@pytest.fixture
def filled(database: Database) -> Database:
    with database.write():
        database.execute(
            "INSERT INTO plans (id, fee_bp, key_rpm, account_rpm, concurrency) VALUES ('starter', 300, 60, 600, 50)"
        )
        database.execute("INSERT INTO accounts (name, plan_id, created_at) VALUES ('acme', 'starter', 0)")
    return database


def is_old(database: Database) -> bool:
    columns = {column.name for column in database.peewee.get_columns("plans")}
    tables = database.peewee.get_tables()
    return migrate.applied(database) == migrate.known() and not columns & {"rank", "place"} and "later" not in tables


def is_new(database: Database) -> bool:
    names = [*migrate.known(), "9001_add_rank", "9002_rename_rank"]
    columns = {column.name for column in database.peewee.get_columns("plans")}
    return migrate.applied(database) == names and "place" in columns and database.rows("SELECT id FROM later") == [(1,)]


def test_a_newer_program_upgrades_and_keeps_the_rows(filled: Database, home: Home, files: Path) -> None:
    assert is_old(filled)
    assert migrate.migrate(filled, home, files=files) == ["9001_add_rank", "9002_rename_rank"]
    assert is_new(filled)
    assert filled.rows("SELECT id, place FROM plans") == [("starter", 7)]
    assert filled.rows("SELECT name, plan_id FROM accounts") == [("acme", "starter")]
    assert migrate.migrate(filled, home, files=files) == []


def test_t100_an_older_program_that_waited_for_a_newer_one_refuses_its_schema(
    filled: Database, settings: Settings, home: Home, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read a schema that it may upgrade, and gets the lock when that is a newer one."""
    older = tmp_path / "older"
    shutil.copytree(files, older)
    (older / "9002_rename_rank.py").unlink()
    newer = open_database(settings, home)
    read = filled.read

    @contextmanager
    def read_before_the_newer() -> Iterator[None]:
        with read():
            yield
        migrate.migrate(newer, home, files=files)

    asked: list[Database] = []
    monkeypatch.setattr(filled, "read", read_before_the_newer)
    with closing(newer), pytest.raises(SetupError, match=r"newer TokenHub \(9002_rename_rank\)"):
        migrate.migrate(filled, home, files=older, before_upgrade=asked.append)
    assert not asked


def test_t100_an_older_program_refuses_a_newer_schema(
    filled: Database, settings: Settings, home: Home, files: Path
) -> None:
    migrate.migrate(filled, home, files=files)
    with pytest.raises(SetupError, match=r"newer TokenHub \(9002_rename_rank\)"):
        open_database(settings, home)


def test_t100_a_migration_that_fails_changes_nothing(filled: Database, home: Home, files: Path) -> None:
    (files / "9002_rename_rank.py").write_text("def up(migrator, db):\n    db.execute_sql('SELECT * FROM missing')\n")
    with pytest.raises(Exception, match="missing"):
        migrate.migrate(filled, home, files=files)
    assert is_old(filled)
    with filled.write():
        filled.execute("UPDATE plans SET fee_bp = 1")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_t100_an_upgrade_that_breaks_references_is_undone(filled: Database, home: Home, files: Path) -> None:
    (files / "9002_rename_rank.py").write_text("def up(migrator, db):\n    db.execute_sql('DELETE FROM plans')\n")
    with pytest.raises(SetupError, match="without what they refer to"):
        migrate.migrate(filled, home, files=files)
    assert is_old(filled)
    with filled.write():
        assert filled.row("PRAGMA foreign_keys") == (1,)


UPGRADE = """
    import os, signal, sys
    from pathlib import Path
    import peewee
    from tokenhub import paths, settings
    from tokenhub.store import migrate, postgres, revision, sqlite
    from tokenhub.store.database import open_database

    postgres.SESSION["lock_timeout"] = "50ms"
    sqlite.PRAGMAS["busy_timeout"] = 50
    left = int(sys.argv[2])
    really_execute = peewee.Database.execute_sql

    def counted(self, sql, params=None):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return really_execute(self, sql, params)

    home = paths.home()
    chosen = settings.load(home)
    if sys.argv[1] == "create":
        peewee.Database.execute_sql = counted
        create = lambda database: revision.create(database, "inst", bytes(32), 0)
        open_database(chosen, home, create=create).close_all()
    else:
        database = open_database(chosen, home)
        print("opened", flush=True)
        sys.stdin.readline()
        peewee.Database.execute_sql = counted
        print(*migrate.migrate(database, home, files=Path(sys.argv[1])), flush=True)
        database.close_all()
    print("statements", -left, flush=True)
"""


def run(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(UPGRADE), *arguments]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Let a process that has opened its store, or is about to, go on to its end."""
    output, _ = process.communicate("\n", timeout=60)
    return process.returncode, output.removeprefix("opened\n")


def test_t100_two_starts_at_once_migrate_once(filled: Database, environment: dict[str, str], files: Path) -> None:
    """The second waits for the first, which takes 0.2 s and more, and finds nothing left to do."""
    both = [run(environment, str(files), "0") for _ in range(2)]
    for process in both:
        assert process.stdout
        assert process.stdout.readline() == "opened\n"
    results = [finish(process) for process in both]
    assert [code for code, _ in results] == [0, 0], results
    assert sorted(output.splitlines()[0] for _, output in results) == ["", "9001_add_rank 9002_rename_rank"]
    assert is_new(filled)


@pytest.mark.soak
def test_t100_a_kill_at_any_statement_leaves_the_old_schema_or_the_new_one(
    filled: Database, environment: dict[str, str], files: Path, home: Home
) -> None:
    filled.close()
    step, kills = 1 if SOAK else 4, 0
    for statement in range(1, 1000, step):
        code, output = finish(run(environment, str(files), str(statement)))
        if code == 0:
            break
        assert code == -9, output
        kills += 1
        assert is_old(filled)
        filled.close()
    assert kills >= 3
    assert is_new(filled)
    assert filled.rows("SELECT id, place FROM plans") == [("starter", 7)]


@pytest.fixture
def new_environment(empty_settings: Settings, home: Home) -> dict[str, str]:
    home.path.mkdir()
    return process_environment(empty_settings, home)


@pytest.mark.soak
def test_t100_a_kill_while_a_store_is_made_leaves_none_and_it_can_be_made_again(
    new_environment: dict[str, str], empty_settings: Settings, home: Home
) -> None:
    for statement in range(1, 1000, 4 if SOAK else 25):
        code, output = finish(run(new_environment, "create", str(statement)))
        if code == 0:
            break
        assert code == -9, output
        with pytest.raises(SetupError):
            open_database(empty_settings, home)
    opened = open_database(empty_settings, home)
    assert revision.instance(opened) == "inst"
    opened.close()


def test_t91_a_store_is_made_once(empty_settings: Settings, home: Home) -> None:
    create_store(empty_settings, home).close()
    with pytest.raises(SetupError, match="already"):
        create_store(empty_settings, home)


def test_t91_a_store_that_was_never_made_is_refused(empty_settings: Settings, home: Home) -> None:
    with pytest.raises(SetupError, match="tokenhub init"):
        open_database(empty_settings, home)


def test_t91_a_database_with_other_tables_is_refused(empty_settings: Settings, home: Home) -> None:
    opened = create_store(empty_settings, home)
    with opened.write():
        for table in opened.peewee.get_tables():
            if table != "plans" and not table.startswith("sqlite_"):
                opened.execute(f"DROP TABLE {table}" + (" CASCADE" if opened.kind == "postgres" else ""))
    opened.close()
    for make in (create_store, open_database):
        with pytest.raises(SetupError, match="not TokenHub's"):
            make(empty_settings, home)


def test_keys_that_were_rotated_count_in_the_newest_one_s_row_after_the_upgrade(database: Database, home: Home) -> None:
    bank = Bank(database, home)
    account = bank.account("a", 1_000, keys=4)
    for number, key in enumerate(("a-0", "a-1", "a-1", "a-2", "a-3")):
        bank.do(bank.place(f"r{number}", key, 10))
    with database.write():
        for old, new in (("a-0", "a-1"), ("a-1", "a-2")):
            database.execute("UPDATE keys SET replaced_by = ?, period_spent = 5 WHERE id = ?", (new, old))
        database.execute("DELETE FROM migrations WHERE name = '0007_shared_limits'")
    assert audit.verify(database)
    assert migrate.migrate(database, home) == ["0007_shared_limits"]
    rows = database.rows("SELECT period_spent, period_held FROM keys WHERE account_id = ? ORDER BY id", (account,))
    assert rows == [(0, 0), (0, 0), (0, 40), (0, 10)]
    for number in range(5):
        bank.do(bank.settle(f"r{number}", "a-0", 10))
    bank.check()


def test_a_rotated_key_s_hold_of_a_period_that_the_newest_one_has_not_entered_ends_after_the_upgrade(
    database: Database, home: Home
) -> None:
    bank = Bank(database, home)
    account = bank.account("a", 1_000, keys=0)
    terms = {"spend_limit": 100, "spend_period": "day"}
    bank.key(account, "old", **terms)
    bank.do(bank.place("r0", "old", 30))
    bank.key(account, "new", **terms, period_start=period_start_ms(SpendPeriod.DAY, NOW - DAY), period_spent=5)
    with database.write():
        database.execute("UPDATE keys SET replaced_by = 'new' WHERE id = 'old'")
        database.execute("DELETE FROM migrations WHERE name = '0007_shared_limits'")
    migrate.migrate(database, home)
    bank.check()
    bank.do(bank.place("r1", "new", 40))
    bank.check()
    for request in ("r0", "r1"):
        bank.do(bank.settle(request, "old", 10))
    bank.check()
    assert database.rows("SELECT period_spent, period_held FROM keys WHERE id = 'new'") == [(10, 0)]
