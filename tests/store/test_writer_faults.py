"""The writer while its database is locked, full, gone, or silent at a commit."""

import asyncio
import json
import resource
import time

import pytest

from tests.conftest import create_store, store_settings
from tests.fakes.bank import NOW, Bank
from tests.fakes.cut_socket import CutSocket
from tests.fakes.standby import Standby
from tokenhub.billing.holds import End, Ended, Placed, Refusal, Refused
from tokenhub.errors import Unavailable
from tokenhub.store import leases, requests
from tokenhub.store.commit import Committer, Result
from tokenhub.store.database import Database, open_database
from tokenhub.store.writer import OutcomeUnknown, Writer

RELEASED = Ended(End.RELEASED, 0, 0, 0, first=True)


@pytest.fixture
def bank(database, home):
    made = Bank(database, home)
    made.account("a", 1000)
    return made


@pytest.fixture
def second(bank, settings, home):
    """The bank's store, opened once more."""
    opened = open_database(settings, home)
    yield opened
    opened.close()


@pytest.fixture
async def started():
    """Starts writers, past their first look at their holds, and stops them at the end of the test."""
    writers: list[Writer] = []

    async def start(database: Database, bank: Bank, patience_s: float = 20.0) -> Writer:
        writer = Writer(database, bank.lease, patience_s=patience_s, place_patience_s=0.4)
        writers.append(writer)
        writer.start()
        for _ in range(2):
            await asyncio.wrap_future(writer.run(impatient))
        return writer

    yield start
    for writer in writers:
        await asyncio.to_thread(writer.close, 5)


async def check_refused(future: "asyncio.Future") -> None:
    with pytest.raises(Unavailable) as refusal:
        await future
    assert refusal.value.code == "ledger_unavailable"
    assert refusal.value.retry_after_s >= 1


async def until(condition) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came true")


class Lock:
    """Another program that keeps what a batch must write locked."""

    def __init__(self, database: Database) -> None:
        self._write = database.write()
        self._write.__enter__()
        database.row(f"SELECT id FROM accounts WHERE id = 1{database.lock_clause}")

    def end(self) -> None:
        self._write.__exit__(None, None, None)


def impatient(database: Database) -> None:
    """Make this connection wait for locks a fifth of a second, not five."""
    database.execute("PRAGMA busy_timeout = 200" if database.kind == "sqlite" else "SET lock_timeout = '200ms'")


async def test_t90_database_locked_long_refuses_places_and_keeps_settles(bank, second, started):
    writer = await started(second, bank)
    await asyncio.gather(*(writer.submit(bank.place(name, "a-0", 100)) for name in ("r1", "r2")))
    settle, late = bank.settle("r1", "a-0", 30), bank.place("r3", "a-0", 10)
    lock = Lock(bank.database)
    settled = writer.submit(settle)
    began = time.monotonic()
    await check_refused(writer.submit(late))
    assert time.monotonic() - began < 3
    assert not settled.done()
    lock.end()
    assert (await settled).charged_nano == 30
    assert isinstance(await writer.submit(bank.place("r4", "a-0", 10)), Placed)
    assert bank.available(1) == 1000 - 30 - 100 - 10
    bank.check()


async def test_t90_settle_that_waited_too_long_is_told_released_and_is_released_later(bank, second, started):
    writer = await started(second, bank, patience_s=0.6)
    await writer.submit(bank.place("r1", "a-0", 100))
    settle = bank.settle("r1", "a-0", 30)
    lock = Lock(bank.database)
    assert await writer.submit(settle) == RELEASED
    lock.end()
    await until(lambda: requests.one(bank.database, "r1"))
    kept = requests.one(bank.database, "r1")
    assert (kept.end, kept.error_code, kept.charged) == (End.RELEASED, "ledger_unavailable", 0)
    assert await writer.submit(settle) == Ended(End.RELEASED, 0, 0, 0, first=False)
    assert bank.available(1) == 1000
    bank.check()


async def test_t89_full_disk_refuses_places_at_once_and_writes_settles_when_there_is_room(home, started):
    """The disk is full for this process alone: its files may not grow."""
    database = create_store(store_settings(), home)
    bank = Bank(database, home)
    bank.account("a", 1000)
    writer = await started(database, bank)
    await writer.submit(bank.place("r", "a-0", 100))
    late, settle = bank.place("r2", "a-0", 1), bank.settle("r", "a-0", 30)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal = home.database.with_name(home.database.name + "-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size, before[1]))
    try:
        began = time.monotonic()
        settled = writer.submit(settle)
        await check_refused(writer.submit(late))
        assert time.monotonic() - began < 1
        assert bank.available(1) == 900, "reading goes on"
        assert not settled.done()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (await settled).charged_nano == 30
    assert isinstance(await writer.submit(bank.place("r3", "a-0", 1)), Placed)
    bank.check()
    database.close()


# A connection that breaks is PostgreSQL's alone.


COMMIT = b"COMMIT\0"
"""How it ends on the wire; "READ COMMITTED" does not."""


@pytest.fixture
def direct(databases, templates, home):
    """A bank whose own connection is never cut."""
    with templates.copied("store", home, databases) as settings:
        database = open_database(settings, home)
        made = Bank(database, home)
        made.account("a", 1000)
        made.url = settings.database_url
        yield made
        database.close()


@pytest.fixture
def cut(direct, tmp_path):
    with CutSocket(direct.url, tmp_path) as made:
        yield made


@pytest.fixture
def through(cut, home):
    """The store as a writer sees it whose connection may break."""
    opened = open_database(store_settings(cut.url), home)
    yield opened
    opened.close()


async def test_t97_database_down_refuses_places_at_once_and_applies_ends_on_return(direct, cut, through, started):
    writer = await started(through, direct)
    names = [f"r{number}" for number in range(20)]
    await asyncio.gather(*(writer.submit(direct.place(name, "a-0", 10)) for name in names))
    cut.refuse = True
    cut.cut_now()
    ends = [writer.submit(direct.settle(name, "a-0", 3)) for name in names[:10]]
    writer.post(direct.release(names[10], "a-0"))
    began = time.monotonic()
    places = [writer.submit(direct.place(f"late{number}", "a-0", 1)) for number in range(20)]
    await asyncio.gather(*(check_refused(place) for place in places))
    assert time.monotonic() - began < 1
    assert not any(end.done() for end in ends)
    cut.refuse = False
    assert [(await end).charged_nano for end in ends] == [3] * 10
    await until(lambda: requests.one(direct.database, names[10]))
    assert direct.database.row("SELECT count(*) FROM holds") == (9,)
    assert direct.available(1) == 1000 - 30 - 90
    direct.check()


arrives = pytest.mark.parametrize("arrives", [False, True], ids=["lost on its way", "its answer lost"])
"""Whether the COMMIT at which the connection breaks reaches the server."""


@arrives
async def test_t96_commit_without_an_answer_is_resolved_and_each_request_ends_once(
    arrives, direct, cut, through, started
):
    """The server can be asked at once, so nobody notices."""
    writer = await started(through, direct)
    cut.cut_at(COMMIT, pass_it_on=arrives)
    outcomes = await asyncio.gather(
        writer.submit(direct.place("r1", "a-0", 600)),
        writer.submit(direct.place("r2", "a-0", 600, account_rpm=2)),
        writer.submit(direct.place("r3", "a-0", 100, key_rpm=1)),
    )
    told = [outcome.amount_nano if isinstance(outcome, Placed) else outcome.reason for outcome in outcomes]
    assert told == [600, "in_flight", "rate_limited"]
    cut.cut_at(COMMIT, pass_it_on=arrives)
    ended = await writer.submit(direct.settle("r1", "a-0", 30, 1))
    assert (ended.end, ended.charged_nano) == (End.SETTLED, 31)
    counted = await writer.submit(direct.place("r4", "a-0", 1, account_rpm=10))
    assert counted.account_rate.remaining == 7, "the refused one was counted once"
    assert direct.available(1) == 1000 - 31 - 1
    direct.check()


@arrives
async def test_t96_end_whose_commit_stays_unknown_is_told_so_and_found_out_later(
    arrives, direct, cut, through, started
):
    writer = await started(through, direct, patience_s=0.5)
    await writer.submit(direct.place("r", "a-0", 100))
    cut.refuse = True
    cut.cut_at(COMMIT, pass_it_on=arrives)
    with pytest.raises(OutcomeUnknown):
        await writer.submit(direct.settle("r", "a-0", 30))
    cut.refuse = False
    await until(lambda: requests.one(direct.database, "r"))
    assert requests.one(direct.database, "r").end is (End.SETTLED if arrives else End.RELEASED)
    assert direct.available(1) == (970 if arrives else 1000)
    direct.check()


async def test_t96_end_that_is_known_to_be_committed_is_not_told_as_released_when_the_database_goes_away(
    direct, cut, through, started
):
    writer = await started(through, direct, patience_s=0.2)
    await writer.submit(direct.place("r", "a-0", 100))
    cut.cut_at(COMMIT, pass_it_on=True)
    cut.cut_at(b"BEGIN ISOLATION", pass_it_on=False, refuse=True)
    with pytest.raises(OutcomeUnknown):
        await writer.submit(direct.settle("r", "a-0", 30))
    cut.refuse = False
    assert isinstance(await writer.submit(direct.place("r2", "a-0", 1)), Placed)
    assert requests.one(direct.database, "r").end is End.SETTLED
    direct.check()


async def test_t96_commits_whose_answers_are_lost_one_after_the_other_are_asked_for_once(direct, cut, through, started):
    writer = await started(through, direct, patience_s=0.2)
    await writer.submit(direct.place("r", "a-0", 100))
    for _ in range(20):
        cut.cut_at(COMMIT, pass_it_on=True)
    with pytest.raises(OutcomeUnknown):
        await writer.submit(direct.settle("r", "a-0", 30))
    cut._words.clear()
    assert requests.one(direct.database, "r").end is End.SETTLED
    direct.check()


async def test_t96_end_whose_commit_stays_unknown_is_told_so_when_the_lease_is_lost_too(direct, cut, through, started):
    """It was charged, as far as anybody knows: nobody is told that it was not."""
    writer = await started(through, direct)
    await writer.submit(direct.place("r", "a-0", 100))
    cut.cut_at(COMMIT, pass_it_on=True)
    cut.cut_at(b"pg_xact_status", pass_it_on=False, refuse=True)
    settled = writer.submit(direct.settle("r", "a-0", 30))
    await until(lambda: cut.refuse and requests.one(direct.database, "r"))
    leases.end(direct.database, direct.lease)
    cut.refuse = False
    with pytest.raises(OutcomeUnknown):
        await settled
    assert await writer.submit(direct.place("r2", "a-0", 1)) == Refused(Refusal.FENCED)
    assert requests.one(direct.database, "r").end is End.SETTLED


@arrives
async def test_t96_place_whose_commit_stays_unknown_fails_and_leaves_no_hold(arrives, direct, cut, through, started):
    writer = await started(through, direct)
    cut.refuse = True
    cut.cut_at(COMMIT, pass_it_on=arrives)
    await check_refused(writer.submit(direct.place("r", "a-0", 100)))
    cut.refuse = False
    await until(lambda: requests.one(direct.database, "r"))
    assert requests.one(direct.database, "r").end is End.RELEASED
    assert direct.available(1) == 1000
    direct.check()


async def test_t96_commit_that_the_server_does_not_end_is_not_waited_for(direct, through, started):
    """Nobody knows what becomes of it, until the server does end it."""
    standby = Standby(direct.database)
    through.answer_s = 0.3
    writer = await started(through, direct, patience_s=0.1)
    await writer.submit(direct.place("r", "a-0", 100))
    standby.leave()
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        await writer.submit(direct.settle("r", "a-0", 30))
    assert time.monotonic() - began < 3
    standby.come_back()
    await until(lambda: requests.one(direct.database, "r"))
    assert isinstance(await writer.submit(direct.place("r2", "a-0", 1)), Placed)
    assert requests.one(direct.database, "r").end is End.SETTLED
    standby.leave()
    await check_refused(writer.submit(direct.place("late", "a-0", 100)))
    standby.come_back()
    await until(lambda: requests.one(direct.database, "late"))
    assert direct.available(1) == 1000 - 30 - 1
    direct.check()


async def test_t97_statement_that_the_server_does_not_end_is_not_waited_for(direct, through, started):
    """Nothing of it was committed: a place is refused, and what was charged is booked when the server does its work again."""
    disk = Standby(direct.database, at_commit=False)
    through.answer_s = 0.3
    writer = await started(through, direct)
    await writer.submit(direct.place("r", "a-0", 100))
    disk.leave()
    settled = writer.submit(direct.settle("r", "a-0", 30))
    with pytest.raises(Unavailable) as refused:
        await writer.submit(direct.place("late", "a-0", 100))
    assert refused.value.cause == "the database server did not answer in time"
    assert not settled.done()
    disk.come_back()
    assert (await settled).charged_nano == 30
    assert isinstance(await writer.submit(direct.place("r2", "a-0", 1)), Placed)
    assert direct.available(1) == 1000 - 30 - 1
    direct.check()


class Refusals:
    """Lets the server refuse every write transaction that a new session of its own begins."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        ((name,),) = bank.database.rows("SELECT current_database()")
        with bank.database.write():
            bank.database.execute("CREATE SCHEMA refusing")
            bank.database.execute(f"ALTER DATABASE {name} SET search_path = refusing, pg_catalog, public")

    def begin(self, code: str) -> None:
        raised = f"BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END"
        self._execute(f"CREATE FUNCTION refusing.pg_current_xact_id() RETURNS xid8 LANGUAGE plpgsql AS $${raised}$$")

    def end(self) -> None:
        self._execute("DROP FUNCTION refusing.pg_current_xact_id()")

    def _execute(self, sql: str) -> None:
        with self._bank.database.write():
            self._bank.database.execute(sql)


@pytest.mark.parametrize(
    "code", ["0A000", "25006", "25P04", "26000", "3F000", "42501", "42P01", "42P05", "54000", "57014"]
)
async def test_t97_server_that_begins_no_write_keeps_ends_until_it_does(code, direct, cut, through, started):
    """A standby, a limit that is reached, a timeout, a right or a schema that is gone: none is the fault of what was to be written."""
    writer = await started(through, direct)
    await writer.submit(direct.place("r", "a-0", 100))
    settle, late = direct.settle("r", "a-0", 30), direct.place("late", "a-0", 1)
    refusals = Refusals(direct)
    refusals.begin(code)
    cut.cut_now()
    settled = writer.submit(settle)
    await check_refused(writer.submit(late))
    assert not settled.done()
    refusals.end()
    assert (await settled).charged_nano == 30
    assert isinstance(await writer.submit(direct.place("r2", "a-0", 1)), Placed)
    assert not writer.fenced.is_set()
    direct.check()


async def test_t97_log_says_once_in_a_while_why_nothing_can_be_written_and_callers_do_not_hear_it(
    direct, cut, through, started, capsys
):
    writer = await started(through, direct)
    cut.refuse = True
    cut.cut_now()
    for name in ("r1", "r2"):
        with pytest.raises(Unavailable) as refused:
            await writer.submit(direct.place(name, "a-0", 1))
        assert refused.value.message == "the database server cannot be reached"
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (reason,) = [line["reason"] for line in lines if line["event"] == "store_write"]
    assert "connection failed" in reason
    cut.refuse = False
    await until(lambda: not direct.database.rows("SELECT 1 FROM holds"))


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_t97_callers_hear_no_names_of_tables_and_the_log_does(bank, second, started, capsys):
    writer = await started(second, bank)
    with bank.database.write():
        bank.database.execute("ALTER TABLE holds RENAME TO elsewhere")
    with pytest.raises(Unavailable) as refused:
        await writer.submit(bank.place("r", "a-0", 100))
    assert refused.value.message == "the database server refuses what TokenHub needs (42P01)"
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (reason,) = [line["reason"] for line in lines if line["event"] == "store_write"]
    assert reason.startswith(f'{refused.value.message}: relation "holds" does not exist. Was ')
    with bank.database.write():
        bank.database.execute("ALTER TABLE elsewhere RENAME TO holds")
    assert isinstance(await writer.submit(bank.place("r2", "a-0", 100)), Placed)


async def test_lease_that_cannot_be_renewed_once_is_renewed_when_it_can(direct, cut, through):
    committer = Committer(through, direct.lease, lambda: NOW)
    refusals = Refusals(direct)
    refusals.begin("42501")  # a right that was taken away
    cut.cut_now()
    assert isinstance(committer.commit([]).error, Unavailable)
    refusals.end()
    assert committer.commit([]) == Result()
