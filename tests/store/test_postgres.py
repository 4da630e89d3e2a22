"""What is PostgreSQL's own: placeholders, the server's settings, an address without its password."""

import time
import traceback
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Databases, create_store
from tests.fakes.bank import Bank
from tests.fakes.cut_socket import CutSocket
from tokenhub.errors import SetupError
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import accounts, postgres
from tokenhub.store.database import Database, StoreUnavailable, open_database

ONLY_POSTGRES = pytest.mark.parametrize("backend", ["postgres"], indirect=True)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("SELECT ?", "SELECT %s"),
        ("SELECT 'why?', \"a?\", ? -- ?\n, ?", "SELECT 'why?', \"a?\", %s -- ?\n, %s"),
        ("SELECT 5 % 2 WHERE a LIKE '10%'", "SELECT 5 %% 2 WHERE a LIKE '10%%'"),
        ("SELECT 'it''s ?', ?", "SELECT 'it''s ?', %s"),
    ],
)
def test_placeholders_are_translated_outside_of_texts(ours: str, theirs: str) -> None:
    assert postgres.translated_sql(ours) == theirs


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://hub:s3cret@/hub?host=/nowhere/at/all", "No such file or directory"),
        ("postgresql://hub:s3cret@127.0.0.1:1/hub?connect_timeout=1", "Connection refused"),
        ("postgresql://hub:s3cret@127.0.0.1:notaport/hub", "port"),
        ("postgresql://hub:s3cret@127.0.0.1:1/hub?connect_timeout=soon", "connect_timeout: 'soon'"),
    ],
)
def test_t97_a_server_that_cannot_be_reached_stops_the_start_with_the_reason_without_the_password(
    home: Home, url: str, reason: str
) -> None:
    with pytest.raises(SetupError, match="cannot connect to postgresql://hub:\\*\\*\\*@") as refused:
        open_database(Settings(database_url=url), home)
    assert reason in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://hub:s3cret%zz@127.0.0.1:1/hub",
        "postgresql://hub:s3cret word@127.0.0.1:1/hub",
        "postgresql://127.0.0.1:1/hub?password=my&s3cret",
        "postgresql://hub:s3cret@127.0.0.1:1/hub?ssl=on",
        "postgresql://hub:my@s3cret@127.0.0.1:1/hub",
        "postgresql://hub:my/s3cret?connect_timeout=s3cret@127.0.0.1:1/hub",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_in_words_that_do_not_quote_it(home: Home, url: str) -> None:
    with pytest.raises(
        SetupError, match=r"^database\.url cannot be read: in its user and password write % as %25"
    ) as refused:
        open_database(Settings(database_url=url), home)
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


SPOILT = {
    "26000": "DO $$BEGIN EXECUTE 'DEALLOCATE ALL'; END$$",
    "42P05": "PREPARE _pg3_0 AS SELECT 1",
    "42P01": "SET search_path = nowhere",
    "42501": "SET ROLE pg_monitor",
}
"""What makes a session useless, by what is answered in it from then on: a pooler between that empties it or gives away another, and
settings of the user's, which it goes on with when they have been mended."""


def use(database: Database, times: int) -> None:
    """Read and write so often: psycopg prepares what comes for the sixth time."""
    for number in range(times):
        database.row("SELECT COUNT(*) FROM kept")
        with database.write():
            database.execute("INSERT INTO kept VALUES (?)", (number,))


@ONLY_POSTGRES
@pytest.mark.parametrize("code", SPOILT)
@pytest.mark.parametrize("writes", [False, True])
def test_t97_a_session_that_became_useless_is_left_for_a_new_one(database: Database, code: str, writes: bool) -> None:
    with database.write():
        database.execute("CREATE TABLE kept (number bigint)")
    use(database, 5 if code == "42P05" else 6)
    before = database.row("SELECT COUNT(*), pg_backend_pid() FROM kept") or ()
    database.peewee.cursor().connection.execute(SPOILT[code].encode(), prepare=False)
    if writes:
        with pytest.raises(StoreUnavailable, match=code), database.write():
            database.execute("INSERT INTO kept VALUES (?)", (0,))
    else:
        database.row("SELECT COUNT(*) FROM kept")
    after = database.row("SELECT COUNT(*), pg_backend_pid() FROM kept") or ()
    assert after[0] == before[0]
    assert after[1] != before[1]
    use(database, 6)


@ONLY_POSTGRES
def test_a_plan_that_no_longer_fits_is_not_told_as_a_standby_and_made_anew(
    database: Database, settings: Settings, home: Home
) -> None:
    with database.write():
        database.execute("CREATE TABLE changing (a bigint)")
    with closing(open_database(settings, home)) as other:
        for _ in range(10):  # psycopg prepares what comes again
            database.rows("SELECT * FROM changing")
        with other.write():
            other.execute("ALTER TABLE changing ADD COLUMN b text")
        with pytest.raises(StoreUnavailable, match=r"not available \(0A000\)"), database.read():
            database.rows("SELECT * FROM changing")
        for _ in range(10):
            database.rows("SELECT * FROM changing")
        with other.write():
            other.execute("ALTER TABLE changing DROP COLUMN b")
        assert database.rows("SELECT * FROM changing") == []


@ONLY_POSTGRES
def test_t91_a_database_that_does_not_exist_stops_the_start(settings: Settings, home: Home) -> None:
    url = settings.database_url.replace("/test_", "/missing_")
    with pytest.raises(SetupError, match="does not exist"):
        open_database(Settings(database_url=url), home)


@ONLY_POSTGRES
def test_t91_a_schema_that_comes_to_stand_before_the_one_in_use_is_refused_and_not_filled(
    database: Database, settings: Settings, home: Home
) -> None:
    with database.write():
        database.execute("CREATE SCHEMA newer")
    path = Settings(database_url=f"{settings.database_url}&options=-csearch_path%3Dnewer,public")
    with pytest.raises(SetupError, match=r"in the schema public, and new ones would be made in newer"):
        open_database(path, home)
    with pytest.raises(SetupError, match=r"in the schema public, and new ones would be made in newer"):
        create_store(path, home)
    alone = Settings(database_url=f"{settings.database_url}&options=-csearch_path%3Dnewer")
    create_store(alone, home).close()
    open_database(path, home).close()


@ONLY_POSTGRES
def test_t86_a_server_that_is_not_durable_is_refused(
    database: Database, settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.check_server(database.peewee)
    monkeypatch.setitem(postgres.REQUIRED, "fsync", "off")
    with pytest.raises(SetupError, match="fsync = on; TokenHub needs off"):
        open_database(settings, home)


@ONLY_POSTGRES
def test_t97_a_server_that_goes_away_while_it_is_looked_at_is_unavailable(
    settings: Settings, home: Home, tmp_path: Path
) -> None:
    with CutSocket(settings.database_url, tmp_path) as cut:
        cut.cut_at(b"SHOW", pass_it_on=False)
        with pytest.raises(StoreUnavailable, match="closed the connection"):
            open_database(Settings(database_url=cut.url), home)


@ONLY_POSTGRES
def test_t86_a_server_that_is_too_old_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database.peewee, "server_version", 120_004)
    with pytest.raises(SetupError, match="version 12; TokenHub needs 13"):
        postgres.check_server(database.peewee)


@ONLY_POSTGRES
def test_t86_each_session_is_durable_and_patient_for_a_while(database: Database) -> None:
    found = {
        name: database.row(f"SHOW {name}")
        for name in ("synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout")
    }
    assert found == {
        "synchronous_commit": ("on",),
        "lock_timeout": ("5s",),
        "idle_in_transaction_session_timeout": ("1min",),
    }


@ONLY_POSTGRES
@pytest.mark.parametrize("strange", ["array_nulls%3Doff", "standard_conforming_strings%3Doff"])
def test_what_a_server_or_a_user_has_set_changes_no_statement(settings: Settings, home: Home, strange: str) -> None:
    opened = open_database(Settings(database_url=f"{settings.database_url}&options=-c{strange}"), home)
    bank = Bank(opened, home)
    account = bank.account("a", 1000)
    bank.apply(bank.place("r", "a-0", 100), bank.settle("r", "a-0", 30, provider=None))
    assert [found.key.id for found in accounts.keys_starting(opened, "a-", 2)] == ["a-0"]
    assert bank.available(account) == 970
    bank.check()
    opened.close()


@ONLY_POSTGRES
def test_a_limit_to_statements_or_idle_sessions_that_is_set_at_the_server_ends_none_of_ours(
    settings: Settings, home: Home
) -> None:
    limits = "-cstatement_timeout%3D50%20-cidle_session_timeout%3D50"
    opened = open_database(Settings(database_url=f"{settings.database_url}&options={limits}"), home)
    (process,) = opened.row("SELECT pg_backend_pid()") or ()
    opened.row("SELECT pg_sleep(0.06)")
    time.sleep(0.06)
    assert opened.row("SELECT pg_backend_pid()") == (process,)
    opened.close()


@ONLY_POSTGRES
def test_an_address_may_begin_with_postgres_too(settings: Settings, home: Home) -> None:
    from tokenhub import settings as module

    url = settings.database_url.replace("postgresql://", "postgres://")
    opened = open_database(module.load(home, environment={"TOKENHUB_DATABASE_URL": url}), home)
    assert opened.row("SELECT 1") == (1,)
    opened.close()


@ONLY_POSTGRES
def test_a_connection_that_cannot_be_set_up_is_closed(
    databases: Databases, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres.SESSION, "lock_timeout", "soon")
    with pytest.raises(Exception, match="lock_timeout"):
        postgres.Postgres(settings.database_url).connect()
