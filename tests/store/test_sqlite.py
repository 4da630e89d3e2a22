"""SQLite is opened safely or not at all: T86, T91, T93, T94."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import create_store, process_environment, store_settings
from tokenhub.errors import SetupError
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import sqlite
from tokenhub.store.database import Database, StoreUnavailable, open_database

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_t86_every_connection_is_durable_and_checked(settings: Settings, home: Home) -> None:
    database = open_database(settings, home)
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000, "secure_delete": 1}
    with database.read():
        assert {name: database.row(f"PRAGMA {name}") for name in wanted} == {
            name: (value,) for name, value in wanted.items()
        }
    with database.write():
        assert {name: database.row(f"PRAGMA {name}") for name in wanted} == {
            name: (value,) for name, value in wanted.items()
        }
    database.close()


def test_a_batch_does_not_prepare_its_statements_anew(settings: Settings, home: Home) -> None:
    """Switching query_only, foreign_keys and the like makes SQLite prepare every statement again: 230 µs a batch."""
    database, trace = open_database(settings, home), []
    with database.write():
        database.peewee.connection().set_trace_callback(trace.append)
    for _ in range(3):
        with database.write():
            database.execute("UPDATE installation SET revision = revision + 1")
    database.close()
    assert trace[1:] == ["BEGIN IMMEDIATE", "UPDATE installation SET revision = revision + 1", "COMMIT"] * 3


def test_a_write_that_need_not_last_is_told_so_and_the_next_one_lasts_again(settings: Settings, home: Home) -> None:
    database = open_database(settings, home)
    found = []
    for durable in (True, False, False, True, False, True):
        with database.write(durable=durable):
            found.append(database.row("PRAGMA synchronous"))
    database.close()
    assert found == [(2,), (1,), (1,), (2,), (1,), (2,)]


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("synchronous", 1),
        ("foreign_keys", 0),
        ("busy_timeout", 0),
        ("recursive_triggers", 0),
        ("journal_mode", "delete"),
    ],
)
def test_t86_a_connection_with_other_settings_is_refused(
    settings: Settings, home: Home, pragma: str, value: object
) -> None:
    connection = sqlite3.connect(home.database)
    for name, wanted in (sqlite.PRAGMAS | {pragma: value}).items():
        connection.execute(f"PRAGMA {name} = {wanted}")
    with pytest.raises(SetupError, match=f"{pragma} = {value} where {sqlite.PRAGMAS[pragma]} is needed"):
        sqlite.verify_pragmas(connection, sqlite.PRAGMAS)
    connection.close()


def test_t86_a_journal_that_another_tool_changed_is_set_right(settings: Settings, home: Home) -> None:
    connection = sqlite3.connect(home.database)
    connection.execute("PRAGMA journal_mode = delete")
    connection.close()
    database = open_database(settings, home)
    assert database.row("PRAGMA journal_mode") == ("wal",)
    database.close()


def test_t86_a_database_kept_in_another_mode_by_an_open_program_is_refused(
    settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sqlite.PRAGMAS, "busy_timeout", 50)
    connection = sqlite3.connect(home.database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = delete")
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SetupError, match="locked by another program"):
        open_database(settings, home)
    connection.close()


def test_t86_a_table_that_is_not_strict_is_refused(settings: Settings, home: Home) -> None:
    connection = sqlite3.connect(home.database)
    connection.execute("CREATE TABLE notes (amount)")
    connection.close()
    with pytest.raises(SetupError, match="the tables notes are not STRICT"):
        open_database(settings, home)


def truncated(path: Path) -> None:
    os.truncate(path, 0)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def cut_in_a_page(path: Path) -> None:
    os.truncate(path, 1000)


def other_content(path: Path) -> None:
    path.write_bytes(b"not a database at all " * 1000)


def missing(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_database(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (name TEXT) STRICT")
    connection.close()


def test_t91_the_database_of_another_program_is_refused_and_keeps_its_rows(settings: Settings, home: Home) -> None:
    other_database(home.database)
    for attempt in (open_database, create_store):
        with pytest.raises(SetupError, match="tables that are not TokenHub's"):
            attempt(settings, home)
    connection = sqlite3.connect(home.database)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("songs",)]
    connection.close()


def other_version(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO migrations (name, applied) VALUES ('0999_future', '2030')")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (missing, "there is no database at .* tokenhub init"),
        (folder, "is not a file"),
        (truncated, "is empty: it was truncated"),
        (cut_in_half, "damaged"),
        (cut_in_a_page, "not a TokenHub database|damaged"),
        (other_content, "not a TokenHub database"),
        (other_version, "newer TokenHub"),
    ],
)
def test_t91_a_broken_or_wrong_file_is_refused_and_left_as_it_is(
    settings: Settings, home: Home, harm: Callable[[Path], None], words: str
) -> None:
    harm(home.database)
    before = home.database.read_bytes() if home.database.is_file() else None
    with pytest.raises(SetupError, match=words):
        open_database(settings, home)
    after = home.database.read_bytes() if home.database.is_file() else None
    assert after == before


OPEN = """
    import os, sys
    from tokenhub import paths, settings
    from tokenhub.errors import SetupError
    from tokenhub.store.database import Database, StoreUnavailable, open_database
    home = paths.home()
    if os.geteuid() == 0:  # who may write everything
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        open_database(settings.load(home), home)
    except SetupError as error:
        sys.exit(f"refused: {error}")
"""


@pytest.mark.parametrize("closed", ["database", "path"])
def test_t91_a_file_or_folder_that_may_not_be_written_is_refused(settings: Settings, home: Home, closed: str) -> None:
    with tempfile.TemporaryDirectory(prefix="tokenhub-") as name:
        place = Path(shutil.copytree(home.path, Path(name) / "home"))
        copy = Home(place, explicit=True)
        if os.geteuid() == 0:
            for path in (place.parent, place, *place.rglob("*")):
                os.chown(path, 65534, 65534)
        getattr(copy, closed).chmod(0o500 if closed == "path" else 0o400)
        command = [sys.executable, "-c", textwrap.dedent(OPEN)]
        done = subprocess.run(
            command, env=process_environment(settings, copy), capture_output=True, text=True, timeout=60
        )
        place.chmod(0o700)
    assert (done.returncode, "cannot be written by this user" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_t93_every_file_is_private_whatever_the_umask(backend: str, home: Home, umask: int) -> None:
    before = os.umask(umask)
    try:
        database = create_store(store_settings(), home)
        with database.write():
            database.execute("UPDATE installation SET revision = 2")
        modes = {path.name: mode_of(path) for path in home.path.iterdir()}
        database.close()
    finally:
        os.umask(before)
    assert mode_of(home.path) == 0o700
    assert modes == {"tokenhub.db": 0o600, "tokenhub.db-wal": 0o600, "tokenhub.db-shm": 0o600, "run": 0o700}
    assert {mode_of(path) for path in home.run.iterdir()} == {0o600}


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_t94_a_network_file_system_is_refused(backend: str, tmp_path: Path, kind: str) -> None:
    home, mounts = Home(tmp_path / "a b" / "home", explicit=True), tmp_path / "mounts"
    point = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(
        f"/dev/sda1 / ext4 rw 0 0\nserver:/x {point} {kind} rw 0 0\ntmpfs {tmp_path}/other tmpfs rw 0 0\n"
    )
    with pytest.raises(SetupError, match=f"network file system \\({kind}\\)"):
        sqlite.check_place(home, mounts=mounts)


def test_t94_a_local_file_system_is_taken(backend: str, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/ / nfs4 rw 0 0\n/dev/sda1 {tmp_path} ext4 rw 0 0\n")
    sqlite.check_place(Home(tmp_path / "home", explicit=True), mounts=mounts)
    sqlite.check_place(Home(tmp_path / "home", explicit=True), mounts=tmp_path / "missing")
    assert sqlite.filesystem_of(tmp_path, mounts) == "ext4"


def test_t92_the_log_stays_small_under_writes(settings: Settings, home: Home) -> None:
    database = open_database(settings, home)
    for number in range(60):
        with database.write():
            database.execute("INSERT INTO catalog_overrides VALUES ('model', ?, ?, 0)", (str(number), "x" * 1_000_000))
    size = home.database.with_name("tokenhub.db-wal").stat().st_size
    database.close()
    assert size < 32 * 2**20


def test_t114_what_was_deleted_is_not_in_the_file(settings: Settings, home: Home) -> None:
    canary = "canary-" + "7" * 40
    database = open_database(settings, home)
    for statement in (
        "INSERT INTO catalog_overrides VALUES ('model', ?, '{}', 0)",
        "DELETE FROM catalog_overrides WHERE name = ?",
    ):
        with database.write():
            database.execute(statement, (canary,))
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert all(canary.encode() not in path.read_bytes() for path in home.path.glob("tokenhub.db*"))
    database.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_t91_a_file_that_is_removed_or_replaced_under_a_process_is_not_written_to(
    database: Database, home: Home, replaced: bool
) -> None:
    removed = home.database.rename(home.path / "removed.db")
    if replaced:
        shutil.copy(removed, home.database)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="start it again"), database.write():
            raise AssertionError("the block must not run")
    removed.rename(home.database)
    with database.write():
        database.execute("UPDATE installation SET version = version + 1")


def test_t91_a_home_that_is_no_folder_any_more_is_a_database_that_is_away(database: Database, home: Home) -> None:
    """Not a fault of what was to be written, which would be given up for it."""
    moved = home.path.rename(home.path.with_name("moved"))
    home.path.touch()
    with pytest.raises(StoreUnavailable, match="start it again"), database.write():
        raise AssertionError("the block must not run")
    home.path.unlink()
    moved.rename(home.path)
    with database.write():
        database.execute("UPDATE installation SET version = version + 1")
