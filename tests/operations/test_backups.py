"""A backup is made of a home at work, and a home is made of it again, on either database, with the books as they were."""

import fcntl
import os
import random
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Databases, hub_flags, process_environment, store_settings
from tests.fakes import backup_process
from tests.fakes.bank import DAY, NOW, Bank
from tests.fakes.raw_client import eventually
from tests.forked import Forked
from tokenhub.errors import Conflict, InvalidRequest, SetupError
from tokenhub.failpoints import COPY_FAILPOINTS
from tokenhub.ids import new_id
from tokenhub.operations import backups, credentials, exports, ledger, requests, retention, statements, usage
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import catalog, jobs, leases, schema, vitals
from tokenhub.store import ledger as ledger_store
from tokenhub.store.migrate import HISTORY

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
HOUR = 3_600_000
ONLY_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


@pytest.fixture
def bank(hub: Hub) -> Bank:
    return Bank(hub.database, hub.home)


@pytest.fixture(params=["to another", "to the same"] if SOAK else ["to another"])
def into(request: pytest.FixtureRequest, backend: str) -> Iterator[Settings]:
    """Where a backup is restored to: the other kind of database, and in a soak the same kind too."""
    if (backend == "sqlite") is (request.param == "to the same"):
        yield store_settings()
        return
    databases: Databases = request.getfixturevalue("databases")
    url = databases.empty()
    yield store_settings(url)
    databases.drop(url)


def back_up(hub: Hub, name: str = "backup", *, whole: bool = False, now_ms: int = NOW) -> backups.Backup:
    return backups.back_up(hub, hub.home.path.with_name(name), whole=whole, now_ms=now_ms)


@contextmanager
def restored(hub: Hub, place: Path, into: Settings, name: str = "restored", now_ms: int = NOW) -> Iterator[Hub]:
    """Make a home of a backup, and open it."""
    home, flags = Home(hub.home.path.with_name(name), explicit=True), hub_flags(into)
    backups.restore(home, place, master_key=hub.home.master_key, now_ms=now_ms, flags=flags)
    with Hub.open(home, flags) as opened:
        yield opened


def content(hub: Hub) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in an order of its own."""
    found = {}
    for model in schema.TABLES:
        columns = ", ".join(f'"{column}"' for column in model._meta.columns)
        rows = hub.database.rows(f"SELECT {columns} FROM {model._meta.table_name}")
        found[model._meta.table_name] = sorted(
            (tuple(bytes(value) if isinstance(value, memoryview) else value for value in row) for row in rows), key=repr
        )
    return found


def add_key(hub: Hub, secret: str) -> int:
    return credentials.add(hub, credentials.NewCredential("openai", secret)).id


def close_days(hub: Hub, now_ms: int) -> None:
    while retention.work(hub, now_ms).more:
        pass


# What a backup holds


FILLED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "named_leases": ("name, lease_id, renewed_at", ("expire", 1, NOW)),
    "jobs": ("id, account_id, key_id, capability, state, expires_at, created_at", ("j", 1, "a-0", "video", "failed", NOW, NOW)),
    "refusals": (
        "id, account_id, key_id, started_at, ended_at, capability, model, streamed, status, error_code, duration_ms, decision, session",
        ("r", 1, "a-0", NOW, NOW, "chat", "m", 0, 403, "x", 1, "{}", b"\x00\xff"),
    ),
    "catalog_overrides": ("kind, name, data, created_at", ("model", "m", '{"a": "é\\n"}', NOW)),
    "customers": ("account_id, customer, created_at", (1, "cus_1", NOW)),
    "recharges": ("account_id, amount, below, monthly_cap, created_at", (1, 2000, 5, 9000, NOW)),
    "topups": (
        "id, account_id, kind, state, currency, amount, rate, credit, livemode, params, created_at, updated_at",
        ("t", 1, "checkout", "failed", "usd", 100, 10**6, 10**9, 0, "{}", NOW, NOW),
    ),
    "refunds": (
        "id, topup_id, state, origin, amount, credit, created_at, updated_at",
        ("f", "t", "rejected", "tokenhub", 1, 0, NOW, NOW),
    ),
    "disputes": ("id, topup_id, state, status, amount, created_at, updated_at", ("d", "t", "flagged", "w", 1, NOW, NOW)),
    "stripe_events": ("id, type, object_id, source, received_at", ("e", "t", "o", "sweep", NOW)),
    "stripe": ("id, livemode", (1, 0)),
    "secrets": ("name, sealed, created_at", ("s", bytes(range(256)), NOW)),
    "notices": ("kind, ref, channel, target, account_id, body, created_at", ("k", "1", "email", "t", None, "{}", NOW)),
    "preferences": ("scope, subject, data, updated_at", ("installation", "", "{}", NOW)),
    "circuits": ("deployment, state, changed_at", ("d", "open", NOW)),
    "cooldowns": ("credential_id, until, changed_at", (1, NOW, NOW)),
    "health_minutes": ("deployment, minute, attempts, failures", ("d", NOW, 2, 1)),
    "affinities": ("session, deployment, expires_at", (bytes(16), "d", NOW)),
    "subscriptions": ("channel, target, created_at", ("email", "t", NOW)),
}  # fmt: skip
"""A row for each table that the story below leaves empty."""


MOVED = {"requests", "holds", "hold_lots", "leases", "lots", "accounts", "keys"}
"""What differs when the two open holds were released."""


def fill(hub: Hub, bank: Bank) -> None:
    """Put rows into every table: requests that one lot and several paid, of a closed day and of this one, open holds."""
    account = bank.account("a", 1_500, keys=2, expires_at=NOW + 90 * DAY)
    ledger_store.grant(hub.database, account, 10**6, "more", NOW + 100 * DAY, "é", NOW)
    for at_ms in (NOW - 2 * DAY, NOW):
        for _ in range(3):
            bank.serve("a-0", at_ms, 700, 21, decision="{}", session=bytes(16), upstream_id="up", finish_reason="stop")
    close_days(hub, NOW)
    bank.do(bank.place("open-1", "a-0", 500))
    ledger_store.grant(hub.database, account, 300, "small", NOW + DAY, "", NOW)
    bank.do(bank.place("open-2", "a-1", 900))
    add_key(hub, "sk-secret-of-the-provider")
    with hub.database.write():
        for table, (columns, values) in FILLED.items():
            marks = ", ".join("?" * len(values))
            hub.database.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)
    assert [table for table, rows in content(hub).items() if not rows] == []
    assert ledger.verify(hub) == []


def test_t101_a_whole_copy_has_every_row_of_every_table_on_either_database(hub, bank, into):
    fill(hub, bank)
    made = back_up(hub, whole=True)
    assert (made.discrepancies, made.left_out) == ([], 0)
    before = content(hub)
    bank.do(bank.release("open-1", "a-0"))
    bank.do(bank.release("open-2", "a-0"))
    with hub.database.write():
        hub.database.execute("UPDATE leases SET state = 'ended'")
    after = content(hub)
    with restored(hub, made.path, into) as new:
        assert ledger.verify(new) == []
        found = content(new)
        assert {name for name in before if before[name] != found[name]} == MOVED
        assert {name for name in after if after[name] != found[name]} <= {"requests", "leases"}
        assert found["holds"] == found["hold_lots"] == []
        assert new.instance == hub.instance
        assert [one.secret for one in catalog.credentials(new.database, new.vault)] == ["sk-secret-of-the-provider"]


def test_t101_a_backup_has_all_but_what_is_kept_of_single_requests_for_a_few_days(hub, bank, into):
    fill(hub, bank)
    made = back_up(hub)
    assert (made.discrepancies, made.left_out) == ([], 3)
    with restored(hub, made.path, into) as new:
        old, found = content(hub), content(new)
        same = set(old) - MOVED - {"closed_days", "request_lots"}
        left_out = {name for name in same if not found[name]}
        moments = {"refusals", "affinities", "named_leases", "circuits", "cooldowns", "health_minutes"}
        assert left_out == moments | {"jobs"}
        assert {name for name in same - left_out if old[name] != found[name]} == set()
        (day,) = new.database.rows("SELECT requests, purged_at, wiped_at FROM closed_days")
        assert day == (3, NOW, None)
        kept = new.database.rows(
            "SELECT status, charged, decision, session, upstream_id, region, attempts FROM requests WHERE charged > 0"
        )
        assert kept == [(200, 721, "", None, None, None, "[]")] * 3
        assert ledger.verify(new) == []


def reports(hub: Hub) -> object:
    """What people are shown of money."""
    lines = [
        (by, line.name, line.sums.requests, line.sums.charged, line.sums.total_nano)
        for by in ("day", "model", "key", "provider", "account")
        for line in usage.report(hub, by, since_ms=NOW - 20 * DAY, account_id=None).lines
    ]
    with exports.export(hub, "csv") as file:
        return lines, statements.statement(hub, 1, statements.parse_month("2026-09")), file.read()


def test_t101_books_that_were_restored_show_the_same_and_go_on(hub, bank, into):
    account = bank.account("a", 10**6)
    for day in range(5):
        for _ in range(day + 1):
            bank.serve("a-0", NOW + day * DAY, 700 + day, 21)
    close_days(hub, NOW + 4 * DAY)
    made = back_up(hub, now_ms=NOW + 4 * DAY)
    assert made.left_out == 1 + 2 + 3 + 4
    with restored(hub, made.path, into) as new:
        assert reports(new) == reports(hub)
        assert ledger.balances(new, account) == ledger.balances(hub, account)
        close_days(new, NOW + 6 * DAY)
        close_days(new, NOW + 20 * DAY)
        assert new.database.row("SELECT COUNT(*) FROM requests") == (0,)
        assert new.database.rows("SELECT requests FROM closed_days ORDER BY day") == [(1,), (2,), (3,), (4,), (5,)]
        assert ledger.verify(new) == []
        assert ledger.balances(new, account) == ledger.balances(hub, account)


def test_t101_a_video_that_is_being_made_keeps_its_hold_and_is_asked_about(hub, bank, into):
    bank.account("a", 10**6)
    bank.do(bank.place("video", "a-0", 500))
    bank.do(bank.place("chat", "a-0", 300))
    bank.adopt("video")
    made = back_up(hub)
    with restored(hub, made.path, into) as new:
        assert new.database.rows("SELECT request_id, owner, amount FROM holds") == [("video", "job", 500)]
        assert jobs.is_due(new.database, NOW)
        assert ledger.verify(new) == []


def job(hub: Hub, name: str, state: str, **columns: Any) -> None:
    row = {"id": name, "account_id": 1, "key_id": "a-0", "capability": "video", "state": state, "created_at": NOW}
    row |= {"expires_at": NOW + DAY, "attempts": '[{"a": "try-mark"}]', "decision": "why-mark"} | columns
    with hub.database.write():
        marks = ", ".join("?" * len(row))
        hub.database.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


def test_of_videos_a_backup_has_those_that_are_made_or_can_still_be_fetched(hub, bank, into):
    bank.account("a", 10**6)
    bank.serve("a-0", NOW - 3 * DAY)
    close_days(hub, NOW)
    job(hub, "asked for", "creating", next_poll_at=NOW)
    job(hub, "long ago", "failed", ended_at=NOW - 3 * DAY)
    job(hub, "gone", "completed", ended_at=NOW - 3 * DAY, content_until=NOW - 1)
    job(hub, "there", "completed", ended_at=NOW - 3 * DAY, content_until=NOW + 1)
    job(hub, "today", "failed", ended_at=NOW, error_code="too_long")
    with restored(hub, back_up(hub).path, into) as new:
        assert new.database.rows("SELECT id, attempts, decision, error_code FROM jobs ORDER BY id") == [
            ("asked for", '[{"a": "try-mark"}]', "why-mark", None),
            ("there", "[]", "", None),
            ("today", "[]", "", "too_long"),
        ]


def test_a_request_that_ends_a_video_later_is_kept_whenever_it_was(hub, bank, into):
    """Its hold was released with its process; the next look at the job reads from the request that it failed."""
    bank.account("a", 10**6)
    bank.do(bank.place("video", "a-0", 500), NOW - 3 * DAY)
    job(hub, "video", "queued", next_poll_at=NOW)
    bank.do(bank.release("video", "a-0", error_code="lease_ended"), NOW - 3 * DAY)
    close_days(hub, NOW)
    with restored(hub, back_up(hub).path, into) as new:
        assert new.database.rows("SELECT id, error_code FROM requests") == [("video", "lease_ended")]
        assert ledger.verify(new) == []
        close_days(new, NOW + 9 * DAY)
        assert new.database.rows("SELECT id FROM requests") == []


@ONLY_SQLITE
def test_p21_nothing_that_is_kept_for_days_alone_stands_in_the_file_of_a_backup(hub, bank):
    bank.account("a", 10**6)
    about = {"upstream_id": "up-mark", "finish_reason": "end-mark", "decision": "why-mark", "attempts": '["try-mark"]'}
    old = [
        bank.serve("a-0", NOW - 3 * DAY, session=b"hmac-mark-of-16b", region="place-mark", **about) for _ in range(9)
    ]
    bank.serve("a-0", NOW, session=b"hmac-mark-of-16b", region="place-mark", **about)
    close_days(hub, NOW)
    job(hub, "today", "failed", ended_at=NOW)
    held = (back_up(hub).path / "tokenhub.db").read_bytes()
    marks = ("up-mark", "end-mark", "why-mark", "try-mark", "hmac-mark-of-16b", "place-mark", *old)
    assert [mark for mark in marks if mark.encode() in held] == []
    held = (back_up(hub, "whole", whole=True).path / "tokenhub.db").read_bytes()
    assert [mark for mark in marks if mark.encode() not in held] == []


def test_a_closed_day_whose_lines_are_wrong_keeps_its_requests_and_is_told_of(hub, bank, into):
    bank.account("a", 10**6)
    for day in (0, 1):
        bank.serve("a-0", NOW + day * DAY)
    close_days(hub, NOW + 3 * DAY)
    with hub.database.write():
        hub.database.execute("UPDATE requests SET model = 'other' WHERE ended_at = ?", (NOW,))
    wrong = ledger.verify(hub)
    assert wrong
    made = back_up(hub, now_ms=NOW + 3 * DAY)
    assert (list(made.discrepancies), made.is_sound, made.left_out) == (wrong, False, 1)
    with restored(hub, made.path, into) as new:
        assert ledger.verify(new) == wrong
        assert new.database.rows("SELECT purged_at FROM closed_days ORDER BY day") == [(None,), (NOW + 3 * DAY,)]


def test_the_moment_of_a_backup_is_that_of_the_newest_that_was_in_the_original(hub, bank, into):
    bank.account("a", 10**6)
    bank.serve("a-0", NOW + DAY)
    bank.do(bank.place("open", "a-0", 500))
    made = back_up(hub)
    assert made.latest_ms == NOW + DAY
    home = Home(hub.home.path.with_name("restored"), explicit=True)
    key, flags = hub.home.master_key, hub_flags(into)
    done = backups.restore(home, made.path, master_key=key, now_ms=NOW + 9 * DAY, flags=flags)
    assert (done.latest_ms, done.released) == (NOW + DAY, 1)
    close_days(hub, NOW + 4 * DAY)
    assert back_up(hub, "later").latest_ms >= NOW + 4 * DAY


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_a_user_who_may_not_read_the_numbers_given_out_makes_no_backup_without_them(hub, tmp_path):
    name = f"reader_{os.getpid()}_{new_id('req', NOW)[-8:]}"
    hub.database.peewee.execute_sql("SET default_transaction_read_only = off")
    for sql in (f"CREATE ROLE {name} LOGIN", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}"):
        hub.database.peewee.execute_sql(sql)
    hub.database.peewee.execute_sql(f"SET ROLE {name}")
    try:
        with pytest.raises(SetupError, match="may not read the numbers of"):
            back_up(hub)
    finally:
        hub.database.peewee.execute_sql("RESET ROLE")
        hub.database.peewee.execute_sql(f"DROP OWNED BY {name}; DROP ROLE {name}")
    assert not (hub.home.path.with_name("backup")).exists()


def test_no_number_is_given_a_second_time_after_a_restore(hub, bank, into):
    """A deployment is named by its credential's number: another key must not take the name of one that was removed."""
    first = add_key(hub, "sk-first-secret")
    gone = add_key(hub, "sk-second-secret")
    credentials.remove(hub, gone)
    with restored(hub, back_up(hub).path, into) as new:
        assert add_key(new, "sk-third-secret") == gone + 1 == first + 2
        account = Bank(new.database, new.home).account("b", 100)
        assert new.database.rows("SELECT lot_id FROM entries WHERE account_id = ?", (account,)) == [(1,)]


# While the gateway works


@pytest.mark.soak
def test_t101_backups_made_under_load_add_up_each_of_them(hub, bank):
    """Twenty in a soak; what was open at the moment of the copy is given back, and nothing else changes."""
    account = bank.account("a", 10**9)
    over, failures = threading.Event(), []
    charged: list[int] = []

    def work() -> None:
        dice = random.Random(7)
        try:
            mine = Bank(hub.database, hub.home)
            number = 0
            while not over.is_set():
                number += 1
                mine.do(mine.place(f"r{number}", "a-0", 1_000), NOW + number)
                if number % 3:
                    charged.append(1 + dice.randrange(900))
                    mine.do(mine.settle(f"r{number}", "a-0", charged[-1], dice.randrange(100)), NOW + number)
        except Exception as error:
            failures.append(error)
        finally:
            hub.database.close()

    def back_up_after_a_charge(number: int):
        before = len(charged)
        assert eventually(lambda: len(charged) > before + 1 or failures, 60.0)
        return back_up(hub, f"backup-{number}", whole=bool(number % 2))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        found = [back_up_after_a_charge(number) for number in range(20 if SOAK else 4)]
    finally:
        over.set()
        thread.join()
    assert failures == []
    spent = []
    for number, made in enumerate(found):
        assert made.discrepancies == []
        with restored(hub, made.path, store_settings(), f"restored-{number}") as new:
            balances = ledger.balances(new, account)
            spent.append(sum(lot.spent_nano for lot in ledger.statement(new, account, limit=1).lots))
            assert (balances.held_nano, balances.open_holds) == (0, 0)
            assert balances.available_nano == 10**9 - spent[-1]
            assert ledger.verify(new) == []
    assert spent == sorted(set(spent)), "each was made later than the one before"


# Crashes and refusals


@pytest.mark.parametrize("place", COPY_FAILPOINTS)
def test_t101_killed_in_the_middle_nothing_half_made_is_taken_for_whole(hub, bank, hub_settings, place):
    bank.account("a", 10**6)
    bank.serve("a-0", NOW)
    environment = process_environment(hub_settings, hub.home)
    target, home = hub.home.path.with_name("backup"), Home(hub.home.path.with_name("restored"), explicit=True)

    def run(main: Callable[..., None], *arguments: object, env: dict[str, str], failpoint: str = "") -> int:
        more = {"TOKENHUB_FAILPOINT": failpoint} if failpoint else {}
        return Forked(main, *arguments, NOW, environment={**env, **more}, stdin=0, stdout=1).wait(60)

    if not place.startswith("restore"):
        assert run(backup_process.back_up, target, env=environment, failpoint=place) == -signal.SIGKILL
        assert not (target / "tokenhub.db").exists()
    assert run(backup_process.back_up, target, env=environment) == 0
    assert sorted(path.name for path in target.iterdir()) == ["config.toml", "tokenhub.db"]
    own = {**environment, "TOKENHUB_HOME": str(home.path)}
    own.pop("TOKENHUB_DATABASE_URL", None)
    if place.startswith("restore"):
        killed = run(backup_process.restore, target, hub.home.master_key, env=own, failpoint=place)
        assert killed == -signal.SIGKILL
        assert home.database.exists() is (place == "restore.placed")
    again = run(backup_process.restore, target, hub.home.master_key, env=own)
    assert again == (1 if place == "restore.placed" else 0)  # "has a database already"
    own_files = [path.name for path in home.path.iterdir() if not path.name.startswith(".tokenhub-draft")]
    assert sorted(own_files) == ["config.toml", "master.key", "tokenhub.db"]
    with Hub.open(home) as new:
        assert ledger.verify(new) == []
        assert vitals.ended_requests(new.database) == 1


@ONLY_SQLITE
def test_rows_that_have_lost_what_they_refer_to_are_told_of(hub):
    with sqlite3.connect(hub.home.database) as tampered:  # a connection of one's own does not enforce them
        tampered.execute("INSERT INTO customers (account_id, customer, created_at) VALUES (77, 'cus_1', 0)")
    tampered.close()
    made = back_up(hub)
    assert (list(made.orphans), made.is_sound) == (["customers without its accounts"], False)


def test_a_database_that_cannot_be_filled_leaves_a_home_as_it_was(hub, databases):
    made, key = back_up(hub), hub.home.master_key
    full, url = databases.empty(), databases.empty()
    reader = f"reader_{os.getpid()}_{new_id('req', NOW)[-8:]}"
    home = Home(hub.home.path.with_name("new"), explicit=True)
    Hub.init(Home(hub.home.path.with_name("full"), explicit=True), hub_flags(store_settings(full))).close()
    databases.administer(f"CREATE ROLE {reader} LOGIN")
    refused = {
        "postgresql://127.0.0.1:9/nowhere": "annot connect",
        full: r"is a TokenHub database already.+Name another in TOKENHUB_DATABASE_URL",
        url.replace("//postgres", f"//{reader}", 1): "permission denied for schema",
    }
    for address, words in refused.items():
        with pytest.raises(SetupError, match=words):
            backups.restore(home, made.path, master_key=key, now_ms=NOW, flags=hub_flags(store_settings(address)))
        assert not home.path.exists(), address
    databases.administer(f"DROP ROLE {reader}")
    for one in (full, url):
        databases.drop(one)


@pytest.mark.parametrize("place", ["copy.filled", "restore.placed"])
def test_t101_killed_while_postgresql_is_filled_all_of_it_is_there_or_none(hub, bank, databases, place, tmp_path):
    bank.account("a", 10**6)
    made = back_up(hub)
    url = databases.empty()
    home = Home(tmp_path / "restored", explicit=True)
    environment = process_environment(store_settings(url), home)

    def run(failpoint: str = "") -> int:
        more = {"TOKENHUB_FAILPOINT": failpoint} if failpoint else {}
        arguments = (made.path, hub.home.master_key, NOW)
        return Forked(backup_process.restore, *arguments, environment={**environment, **more}, stdin=0, stdout=1).wait(
            60
        )

    assert run(place) == -signal.SIGKILL
    assert run() == (0 if place == "copy.filled" else 1)  # "this is a TokenHub database already"
    with Hub.open(home, hub_flags(store_settings(url))) as new:
        assert ledger.verify(new) == []
        assert ledger.balances(new, 1).available_nano == 10**6
    databases.drop(url)


@ONLY_SQLITE
def test_what_cannot_be_a_backup_is_refused_and_nothing_is_left(hub, bank, tmp_path):
    made, key = back_up(hub), hub.home.master_key
    home = Home(tmp_path / "new", explicit=True)

    def refused(place: Path, words: str, error: type[Exception] = InvalidRequest, into: Home = home) -> None:
        before = set(tmp_path.rglob("*"))
        with pytest.raises(error, match=words):
            backups.restore(into, place, master_key=key, now_ms=NOW)
        assert set(tmp_path.rglob("*")) - before <= {home.path}
        assert not home.database.exists()

    refused(tmp_path / "nowhere", "no backup at .*/nowhere")
    refused(
        hub.home.path, f"a home at work, not a backup.+Make a backup of it: tokenhub --home {hub.home.path} backup DIR$"
    )
    refused(made.path, "has a database already", into=hub.home)
    damaged = shutil.copytree(made.path, tmp_path / "damaged")
    with (damaged / "tokenhub.db").open("r+b") as file:
        file.seek(4096 * 40)
        file.write(os.urandom(4096 * 20))
    refused(damaged, "is damaged|malformed|cannot be read", SetupError)
    other = Home(tmp_path / "other", explicit=True)
    Hub.init(other).close()
    with pytest.raises(SetupError, match="not the one that this backup's database was made with"):
        backups.restore(home, made.path, master_key=other.master_key, now_ms=NOW)
    with pytest.raises(InvalidRequest, match="--master-key FILE"):
        backups.restore(home, made.path, master_key=None, now_ms=NOW)
    assert not home.path.exists()
    home.path.mkdir()
    shutil.copy(other.master_key, home.master_key)
    with pytest.raises(InvalidRequest, match="is another key"):
        backups.restore(home, made.path, master_key=key, now_ms=NOW)
    home.master_key.unlink()
    for left in ("tokenhub.db-wal", "tokenhub.db-shm", "tokenhub.db-journal"):
        (home.path / left).symlink_to("nowhere")
        with pytest.raises(InvalidRequest, match="has a database already"):
            backups.restore(home, made.path, master_key=key, now_ms=NOW)
        (home.path / left).unlink()
    lease = leases.acquire(hub.database, home, 15, NOW)
    with pytest.raises(Conflict, match="A gateway is at work"):
        backups.restore(home, made.path, master_key=key, now_ms=NOW)
    leases.end(hub.database, lease)
    home.path.chmod(0o770)
    with pytest.raises(InvalidRequest, match="not yours alone"):
        backups.restore(home, made.path, master_key=key, now_ms=NOW)
    assert not home.database.exists()


@ONLY_SQLITE
def test_a_backup_of_a_newer_version_is_refused(hub, tmp_path):
    made = back_up(hub)
    with Hub.open(made_home := Home(Path(shutil.copytree(hub.home.path, tmp_path / "newer")), explicit=True)) as newer:
        with newer.database.write():
            newer.database.execute(f"INSERT INTO {HISTORY} (name, applied) VALUES ('9999_later', 'x')")
        newer.database.scrub()
    shutil.copyfile(made_home.database, made.path / "tokenhub.db")
    with pytest.raises(SetupError, match="upgraded by a newer TokenHub"):
        backups.restore(Home(tmp_path / "new", explicit=True), made.path, master_key=hub.home.master_key, now_ms=NOW)


def test_a_backup_needs_a_new_folder(hub, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    for name, words in (("used", "exists already"), ("used/file", "is no folder"), ("~nobody-there/x", "is no folder")):
        with pytest.raises(InvalidRequest, match=words):
            backups.back_up(hub, Path(name) if name[0] == "~" else tmp_path / name, whole=False, now_ms=NOW)
    (tmp_path / "empty").mkdir()
    assert backups.back_up(hub, tmp_path / "empty", whole=False, now_ms=NOW).path == tmp_path / "empty"
    assert backups.back_up(hub, tmp_path / "a" / "b", whole=False, now_ms=NOW).path.is_dir()
    (tmp_path / "really").mkdir()
    (tmp_path / "link").symlink_to("really")
    assert backups.back_up(hub, tmp_path / "link", whole=False, now_ms=NOW).path == tmp_path / "really"
    (tmp_path / "shared").mkdir()
    descriptor = os.open(tmp_path / "shared", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(Conflict, match="is at work in"):
        backups.back_up(hub, tmp_path / "shared", whole=False, now_ms=NOW)
    os.close(descriptor)


def test_t93_a_backup_and_what_is_made_of_it_are_its_owners_alone(hub, into):
    before = os.umask(0)
    try:
        made = back_up(hub)
        with restored(hub, made.path, into) as new:
            places = [made.path, *made.path.rglob("*"), new.home.path, *new.home.path.rglob("*")]
    finally:
        os.umask(before)
    assert {place.stat().st_mode & 0o777 for place in places if place.is_dir()} == {0o700}
    assert {place.stat().st_mode & 0o777 for place in places if place.is_file()} == {0o600}
    assert not (made.path / "master.key").exists()


def test_settings_go_with_a_backup_but_not_the_address_of_the_database(hub, into, tmp_path):
    hub.home.config.write_text(
        '# mine\n[server]\nport = 9999\n[database]\nurl = "postgresql://db.internal/hub"  # here\nlease_s = 20\n'
    )
    made = back_up(hub)
    text = (made.path / "config.toml").read_text()
    assert "# mine" in text
    assert "postgresql" not in text
    with restored(hub, made.path, into) as new:
        assert (new.settings.server_port, new.settings.database_lease_s) == (9999, 20)


def test_settings_and_key_that_a_home_has_already_stay(hub, into, tmp_path):
    home = tmp_path / "restored"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text("[server]\nport = 1234\n")
    shutil.copy(hub.home.master_key, home / "master.key")
    made = back_up(hub)
    flags = hub_flags(into)
    backups.restore(Home(home, explicit=True), made.path, master_key=None, now_ms=NOW, flags=flags)
    with Hub.open(Home(home, explicit=True), flags) as new:
        assert new.settings.server_port == 1234


def test_requests_of_the_open_day_can_still_be_looked_up_after_a_restore(hub, bank, into):
    bank.account("a", 10**6)
    request_id = bank.serve("a-0", NOW)
    with restored(hub, back_up(hub).path, into) as new:
        assert requests.find(new, request_id).charged == 103
