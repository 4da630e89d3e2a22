"""The writer in one process: batches, answers, refusals alone, lease, shutdown."""

import asyncio
import io
import json
import os
import threading
import time
from queue import SimpleQueue

import pytest

from tests.fakes.bank import NOW, Bank
from tokenhub import clock
from tokenhub.billing.holds import End, Ended, Placed, Refusal, Refused
from tokenhub.errors import InternalError, NotFound, Unavailable
from tokenhub.observability import log
from tokenhub.store import leases, requests
from tokenhub.store.commit import Item
from tokenhub.store.holds import release_holds_of
from tokenhub.store.kept import unwritten
from tokenhub.store.writer import Writer


@pytest.fixture
def bank(database, home):
    return Bank(database, home, lease_s=0.8)


@pytest.fixture
def writer(bank):
    made = Writer(bank.database, bank.lease, max_queue=200)
    made.start()
    yield made
    made.close(5)


class Pause:
    """Keeps the writer's thread busy in a job, so that what is submitted meanwhile is one batch."""

    def __init__(self, writer: Writer) -> None:
        self._end = threading.Event()
        self._begun = threading.Event()
        self._job = writer.run(lambda _: (self._begun.set(), self._end.wait()))
        assert self._begun.wait(10)

    def end(self) -> None:
        self._end.set()
        self._job.result(10)


async def test_outcomes_come_in_order_after_one_commit_for_many(bank, writer):
    account = bank.account("a", 1000)
    pause = Pause(writer)
    futures = [writer.submit(bank.place(f"r{number}", "a-0", 100)) for number in range(20)]
    assert writer.waiting == 20
    pause.end()
    outcomes = await asyncio.gather(*futures)
    assert [isinstance(outcome, Placed) for outcome in outcomes] == [True] * 10 + [False] * 10
    assert (writer.batches, writer.operations) == (1, 20)
    await asyncio.gather(*(writer.submit(bank.settle(f"r{number}", "a-0", 30, 1)) for number in range(10)))
    assert bank.available(account) == 1000 - 310
    bank.check()


async def test_a_hand_over_that_is_called_off_before_its_turn_is_no_failure(bank, writer, caplog):
    bank.account("a", 1000)
    await writer.submit(bank.place("r", "a-0", 100))
    pause = Pause(writer)
    assert writer.hand_over("r", lambda _: None).cancel()
    pause.end()
    assert writer.run(lambda _: "after it").result(10) == "after it"
    assert caplog.records == []


async def test_outcome_is_on_disk_when_it_is_told(bank, writer):
    bank.account("a", 1000)
    await writer.submit(bank.place("r", "a-0", 100))
    assert bank.database.row("SELECT amount FROM holds WHERE request_id = 'r'") == (100,)
    await writer.submit(bank.settle("r", "a-0", 30))
    assert requests.one(bank.database, "r").charged == 30


async def test_a_batch_waits_for_the_disk_only_where_something_is_charged(bank, writer, monkeypatch):
    """Decision 10: a hold that is lost with the machine has lost nothing but a request that died with it."""
    bank.account("a", 1000)
    asked, begin = [], bank.database.peewee.begin_write
    monkeypatch.setattr(
        bank.database.peewee, "begin_write", lambda *, durable: (asked.append(durable), begin(durable=durable))[1]
    )

    async def batch(*operations):
        pause = Pause(writer)
        asked.clear()
        futures = [writer.submit(operation) for operation in operations]
        pause.end()
        await asyncio.gather(*futures)
        return asked[-1]

    assert await batch(bank.place("r1", "a-0", 10), bank.place("r2", "a-0", 10)) is False
    assert await batch(bank.settle("r1", "a-0", 5), bank.place("r3", "a-0", 10)) is True
    assert await batch(bank.release("r2", "a-0")) is False
    bank.check()


async def test_posted_release_needs_no_waiter_and_a_waiter_may_go(bank, writer):
    account = bank.account("a", 1000)
    pause = Pause(writer)
    future = writer.submit(bank.place("r", "a-0", 100))
    future.cancel()
    writer.post(bank.release("r", "a-0"))
    last = writer.submit(bank.place("r2", "a-0", 100))
    pause.end()
    assert isinstance(await last, Placed)
    assert requests.one(bank.database, "r").end is End.RELEASED
    assert bank.available(account) == 900


async def test_any_other_write_runs_in_a_transaction_of_its_own(bank, writer):
    bank.account("a", 1000)
    assert await asyncio.wrap_future(writer.run(lambda database: database.row("SELECT available FROM accounts"))) == (
        1000,
    )

    def fail(database):
        database.execute("UPDATE accounts SET available = 5")
        raise KeyError("undone")

    with pytest.raises(KeyError):
        await asyncio.wrap_future(writer.run(fail))
    bank.check()


async def test_place_planned_in_the_write_is_never_stale(bank, writer):
    account = bank.account("a", 1000)

    def plan(database):
        assert database.in_write
        return bank.place("r", "a-0", 100)

    for _ in range(3):
        bank.set("keys", "a-0", name="changed")
    assert isinstance(await writer.place_planned(plan), Placed)
    assert bank.available(account) == 900

    def refuse(_):
        raise NotFound("no such model")

    with pytest.raises(NotFound):
        await writer.place_planned(refuse)


async def test_t98_one_bad_operation_fails_alone_and_its_hold_is_given_back(bank, writer):
    account = bank.account("a", 10_000)
    names = [f"r{number}" for number in range(16)]
    await asyncio.gather(*(writer.submit(bank.place(name, "a-0", 100)) for name in names))
    pause = Pause(writer)
    futures = [writer.submit(bank.settle(name, "a-0", -1 if name == "r5" else 10)) for name in names]
    bad_place = writer.submit(bank.place("bad", "a-0", 1, wanted_nano="much"))
    bad_release = writer.submit(bank.release("r99", "a-0", status="bad"))
    worst = writer.submit(bank.release(None))
    good = writer.submit(bank.place("good", "a-0", 100))
    said = io.StringIO()
    with log.only("error", said):
        pause.end()
        outcomes = await asyncio.gather(*futures)
        assert isinstance(await good, Placed)
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert {line["event"] for line in lines} == {"operation_refused"}
    assert [(line["operation"], line["request_id"]) for line in lines].count(("Settle", "r5")) == 1
    told = {"time", "level", "event", "reason", "operation", "request_id", "error", "where"}
    assert {name for line in lines for name in line} == told  # no text of an error, which may quote what was written
    assert outcomes.pop(5) == Ended(End.RELEASED, 0, 0, 0, first=True)
    assert outcomes == [Ended(End.SETTLED, 10, 10, 0, first=True)] * 15
    for bad in (bad_place, worst):
        with pytest.raises(InternalError):
            await bad
    assert await bad_release == Ended(End.RELEASED, 0, 0, 0, first=True)
    assert requests.one(bank.database, "r5").error_code == "internal_error"
    assert bank.available(account) == 10_000 - 150 - 100
    bank.check()


async def test_more_than_the_queue_takes_is_refused_but_ends_never_are(bank, writer):
    bank.account("a", 1000)
    pause = Pause(writer)
    places = [writer.submit(bank.place(f"r{number}", "a-0", 1)) for number in range(200)]
    for refused in (lambda: writer.submit(bank.place("more", "a-0", 1)), lambda: writer.run(lambda _: None)):
        with pytest.raises(Unavailable) as overload:
            refused()
        assert (overload.value.code, overload.value.retry_after_s) == ("overloaded", 1)
    end = writer.submit(bank.release("r0", "a-0"))
    pause.end()
    assert await end == Ended(End.RELEASED, 0, 0, 0, first=True)
    assert all(isinstance(outcome, Placed) for outcome in await asyncio.gather(*places))


async def test_idle_writer_keeps_its_lease(bank, writer):
    read = "SELECT epoch FROM leases WHERE id = ?"
    first = bank.database.row(read, (bank.lease.id,))
    await asyncio.sleep(0.7)
    assert bank.database.row(read, (bank.lease.id,)) > first


async def test_fenced_process_is_refused_everything(bank):
    bank.account("a", 1000)
    called = threading.Event()
    writer = Writer(bank.database, bank.lease, on_fenced=called.set)
    writer.start()
    await writer.submit(bank.place("r", "a-0", 100))
    with bank.database.write():
        bank.database.execute("UPDATE leases SET state = 'ended' WHERE id = ?", (bank.lease.id,))
    assert called.wait(5), "an idle process notices, too"
    for operation in (bank.place("r2", "a-0", 1), bank.settle("r", "a-0", 1), bank.release("r")):
        assert await writer.submit(operation) == Refused(Refusal.FENCED)
    assert writer.fenced.is_set()
    writer.close(1)
    assert bank.database.row("SELECT count(*) FROM holds") == (1,)


async def test_t21_hold_outlives_three_leases_while_its_process_lives_and_ends_with_it(bank, home):
    account = bank.account("a", 1000)
    writer = Writer(bank.database, bank.lease)
    writer.start()
    await writer.submit(bank.place("r", "a-0", 100))
    watcher = leases.Reaper(home, 0.8)
    for _ in range(24):
        await asyncio.sleep(0.1)
        assert watcher.reap(bank.database, clock.now_ms()) == []
    writer.close(5)
    os.close(bank.lease.lock)  # what the kernel does when a process dies
    assert watcher.reap(bank.database, clock.now_ms()) == [bank.lease.id]
    assert release_holds_of(bank.database, bank.lease.id, NOW) == 1
    assert bank.available(account) == 1000
    bank.check()


async def test_holds_in_its_own_name_that_it_does_not_know_are_released(bank):
    account = bank.account("a", 1000)
    bank.do(bank.place("lost", "a-0", 100))
    writer = Writer(bank.database, bank.lease)
    writer.start()
    for _ in range(100):
        await asyncio.sleep(0.02)
        if found := requests.one(bank.database, "lost"):
            break
    assert (found.end, found.error_code) == (End.RELEASED, "hold_unknown")
    assert bank.available(account) == 1000
    assert writer.close(5)


async def test_close_writes_what_is_queued_and_refuses_what_comes_later(bank):
    account = bank.account("a", 1000)
    writer = Writer(bank.database, bank.lease)
    writer.start()
    pause = Pause(writer)
    futures = [writer.submit(bank.place(f"r{number}", "a-0", 1)) for number in range(300)]
    closing = asyncio.get_running_loop().run_in_executor(None, writer.close, 10)
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable, match="shutting down"):
        writer.submit(bank.place("late", "a-0", 1))
    end = writer.submit(bank.settle("r0", "a-0", 1))
    pause.end()
    assert await closing is True
    assert all(isinstance(outcome, Placed) for outcome in await asyncio.gather(*futures))
    assert (await end).charged_nano == 1
    with pytest.raises(Unavailable, match="shutting down"):
        writer.submit(bank.release("r1"))
    assert bank.available(account) == 1000 - 300


class GivenUp(SimpleQueue):
    """A queue into which everything comes when the writer's thread has just ended."""

    def put(self, one):
        if one is not None:
            self.writer.close(5)
        super().put(one)


@pytest.mark.parametrize("what", ["place", "settle", "job"])
async def test_what_is_queued_in_the_moment_the_thread_gives_up_is_answered(bank, what):
    bank.account("a", 1000)
    writer = Writer(bank.database, bank.lease)
    writer._queue = GivenUp()
    writer._queue.writer = writer
    writer.start()
    if what == "settle":
        assert await asyncio.wait_for(writer.submit(bank.settle("r", "a-0", 1)), 5) == unwritten(Item(None))
        return
    late = writer.submit(bank.place("r", "a-0", 1)) if what == "place" else asyncio.wrap_future(writer.run(id))
    with pytest.raises(Unavailable, match="shutting down"):
        await asyncio.wait_for(late, 5)


async def test_t99_clock_that_jumps_freezes_no_limit_and_loses_no_lease(bank):
    bank.account("a", 1000, expires_at=NOW + 10 * 86_400_000)
    jumps = iter([NOW, NOW + 3_600_000, NOW - 3_600_000, NOW + 86_400_000, NOW])
    now = [NOW]
    writer = Writer(bank.database, bank.lease, now_ms=lambda: now[0])
    writer.start()
    for number, now[0] in enumerate(jumps):
        outcome = await writer.submit(bank.place(f"r{number}", "a-0", 10, key_rpm=5))
        assert isinstance(outcome, Placed)
        assert outcome.key_rate.remaining == 4 - number, "neither emptied nor frozen"
        assert (await writer.submit(bank.settle(f"r{number}", "a-0", 5))).end is End.SETTLED
    refused = await writer.submit(bank.place("r9", "a-0", 10, key_rpm=5))
    assert refused.reason is Refusal.RATE_LIMITED
    assert refused.retry_after_s <= 61
    assert not writer.fenced.is_set()
    writer.close(5)
    bank.check()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize("wrong_ms", [-8 * 3_600_000, 400 * 86_400_000])
async def test_t99_machine_whose_clock_is_wrong_dates_and_expires_by_the_servers(bank, monkeypatch, wrong_ms):
    """Several machines share the database: none may write into a day that others close, nor expire credit early."""
    real_ms, machine_ns = bank.database.now_ms(), time.time_ns
    bank.account("a", 1000, expires_at=real_ms + 86_400_000)
    monkeypatch.setattr(time, "time_ns", lambda: machine_ns() + wrong_ms * 1_000_000)
    writer = Writer(bank.database, bank.lease)
    writer.start()
    assert isinstance(await writer.submit(bank.place("r", "a-0", 10)), Placed)
    await writer.submit(bank.settle("r", "a-0", 5))
    await asyncio.to_thread(writer.close, 5)
    assert 0 <= requests.one(bank.database, "r").ended_at - real_ms < 60_000
    bank.check()
