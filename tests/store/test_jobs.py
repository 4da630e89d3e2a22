"""Jobs in the database: the hold becomes the job's once, ends once, and both tell the same story, whoever comes first."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.bank import DAY, NOW, Bank
from tokenhub.billing.holds import End, Ended, Release
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import audit, jobs, leases
from tokenhub.store.database import Database, open_database
from tokenhub.store.holds import LeaseLost, release_holds_of
from tokenhub.store.jobs import JobEnd, JobState, Taken

TAKEN = Taken(
    model="wan", asked='{"seconds": 5}', provider="alibaba", region="cn", credential_id=1, deployment="alibaba/wan@cn#1",
    upstream_model="wan", upstream_id="task-1", card="{}", price_version="p1", fee_bp=300, attempts="[]", decision="",
)  # fmt: skip
COMPLETED = JobEnd(JobState.COMPLETED, content_until=NOW + DAY)
FAILED = JobEnd(JobState.FAILED, "upstream_failed", "It failed.")


@pytest.fixture
def bank(database: Database, home: Home) -> Bank:
    made = Bank(database, home)
    made.account("a", 1000)
    return made


def begun(bank: Bank, job_id: str = "req_1", amount: int = 100) -> str:
    bank.do(bank.place(job_id, "a-0", amount))
    with bank.database.write():
        jobs.begin(bank.database, job_id, 1, "a-0", "videos", NOW, NOW + DAY)
    return job_id


def adopted(bank: Bank, job_id: str = "req_1", amount: int = 100) -> str:
    begun(bank, job_id, amount)
    assert adopt(bank, job_id)
    return job_id


def adopt(bank: Bank, job_id: str, taken: Taken = TAKEN) -> bool:
    with bank.database.write():
        return jobs.adopt(bank.database, bank.lease, job_id, taken, NOW, NOW + 5)


def end(bank: Bank, operation: Any, wanted: JobEnd, *, lease: bool = True) -> Ended:
    return jobs.end(bank.database, bank.holds, bank.lease if lease else None, operation, wanted, NOW + 9)


def state(bank: Bank, job_id: str = "req_1") -> tuple[str, str | None]:
    found = jobs.find(bank.database, job_id)
    assert found is not None
    return found.state.value, found.error_code


def test_a_hold_becomes_the_jobs_and_outlives_its_process(bank: Bank) -> None:
    adopted(bank)
    leases.end(bank.database, bank.lease)
    assert release_holds_of(bank.database, bank.lease.id, NOW) == 0
    assert bank.database.rows("SELECT owner, lease_id, amount FROM holds") == [("job", None, 100)]
    bank.check()
    found = jobs.find(bank.database, "req_1")
    assert found is not None
    assert (found.state, found.upstream_id, found.next_poll_at) == (JobState.QUEUED, "task-1", NOW + 5)


def test_done_twice_it_changes_nothing(bank: Bank) -> None:
    adopted(bank)
    assert adopt(bank, "req_1")
    assert not adopt(bank, "req_1", replace(TAKEN, upstream_id="task-2"))
    assert bank.database.rows("SELECT upstream_id FROM jobs") == [("task-1",)]
    bank.check()


@pytest.mark.parametrize("wanted", [COMPLETED, JobEnd(JobState.FAILED, "upstream_failed"), JobEnd(JobState.CANCELLED)])
def test_done_again_after_its_end_it_still_was_the_jobs(bank: Bank, wanted: JobEnd) -> None:
    """A commit whose answer was lost is asked for again; the job may have been looked at meanwhile."""
    taken = replace(TAKEN, upstream_id="task\u0007-1")
    begun(bank)
    assert adopt(bank, "req_1", taken)
    is_complete = wanted.state is JobState.COMPLETED
    end(bank, bank.settle("req_1", "a-0", 60, 2) if is_complete else Release("req_1"), wanted)
    assert adopt(bank, "req_1", taken)
    bank.check()


def test_a_job_whose_hold_was_taken_away_was_not_booked(bank: Bank) -> None:
    adopted(bank)
    bank.do(Release("req_1"))
    end(bank, bank.settle("req_1", "a-0", 60, 2), COMPLETED)
    assert not adopt(bank, "req_1")


def test_a_hold_that_was_released_meanwhile_is_no_jobs(bank: Bank) -> None:
    begun(bank)
    bank.do(Release("req_1"))
    assert not adopt(bank, "req_1")
    assert not adopt(bank, "req_unknown")
    bank.check()


def test_a_process_whose_lease_is_lost_adopts_nothing(bank: Bank) -> None:
    begun(bank)
    with bank.database.write():
        bank.database.execute("UPDATE leases SET state = 'ended' WHERE id = ?", (bank.lease.id,))
    with pytest.raises(LeaseLost):
        adopt(bank, "req_1")


def test_a_job_is_charged_once(bank: Bank) -> None:
    adopted(bank)
    settle = bank.settle("req_1", "a-0", 60, 2)
    assert end(bank, settle, COMPLETED) == Ended(End.SETTLED, 62, 60, 2, first=True)
    assert end(bank, settle, COMPLETED) == Ended(End.SETTLED, 62, 60, 2, first=False)
    assert state(bank) == ("completed", None)
    assert bank.available(1) == 938
    bank.check()


@pytest.mark.parametrize("lease", [True, False])
def test_a_charge_after_a_release_charges_nothing_and_a_release_after_a_charge_frees_nothing(
    bank: Bank, lease: bool
) -> None:
    adopted(bank)
    assert end(bank, Release("req_1"), FAILED, lease=lease).first
    assert end(bank, bank.settle("req_1", "a-0", 60), COMPLETED, lease=lease).end is End.RELEASED
    assert state(bank) == ("failed", "upstream_failed")
    assert bank.available(1) == 1000
    adopted(bank, "req_2")
    end(bank, bank.settle("req_2", "a-0", 60), COMPLETED, lease=lease)
    assert end(bank, Release("req_2"), FAILED, lease=lease).end is End.SETTLED
    assert state(bank, "req_2") == ("completed", None)
    assert bank.available(1) == 940
    bank.check()


def test_a_row_follows_a_hold_that_was_ended_without_it(bank: Bank) -> None:
    """A release that was queued while the booking's outcome was not known comes after the booking."""
    adopted(bank)
    bank.do(Release("req_1"))
    bank.check()
    end(bank, bank.settle("req_1", "a-0", 60), COMPLETED)
    assert state(bank) == ("failed", "job_released")
    assert bank.available(1) == 1000
    bank.check()


def test_many_who_end_a_job_at_once_end_it_once(bank: Bank, settings: Settings, home: Home) -> None:
    """Eight threads, each with a settle or a release, on connections of their own."""
    for number in range(10):
        adopted(bank, f"req_{number}")
    outcomes: list[Ended] = []
    start = threading.Barrier(8)

    def work(index: int) -> None:
        database = open_database(settings, home)
        mine = replace_bank(bank, database)
        start.wait()
        for number in range(10):
            job_id = f"req_{number}"
            operation, wanted = (
                (mine.settle(job_id, "a-0", 10), COMPLETED) if (index + number) % 2 else (Release(job_id), FAILED)
            )
            outcomes.append(jobs.end(database, mine.holds, None, operation, wanted, NOW + 9))
        database.close_all()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 80
    assert sum(outcome.first for outcome in outcomes) == 10
    settled = bank.database.rows("SELECT id FROM requests WHERE \"end\" = 'settled' ORDER BY id")
    assert settled == bank.database.rows("SELECT id FROM jobs WHERE state = 'completed' ORDER BY id")
    assert bank.available(1) == 1000 - 10 * len(settled)
    bank.check()


def replace_bank(bank: Bank, database: Database) -> Bank:
    made = Bank.__new__(Bank)
    made.database, made.lease, made.holds = database, bank.lease, type(bank.holds)(database)
    return made


def test_a_job_that_died_while_it_was_made_is_told_and_others_are_not(bank: Bank) -> None:
    for job_id in ("req_1", "req_2", "req_3"):
        begun(bank, job_id)
    lost = JobEnd(JobState.FAILED, "creation_unknown", "Not known.")

    def look(now_ms: int) -> int:
        return jobs.settle_unborn(bank.database, ("lease_ended",), lost, now_ms, 10)

    assert look(NOW) == 0
    bank.do(bank.release("req_1", "a-0", error_code="lease_ended"))
    bank.do(bank.release("req_2", "a-0", error_code="upstream_error"))
    assert look(NOW + jobs.UNBORN_MS) == 2
    assert state(bank) == ("failed", "creation_unknown")
    assert jobs.find(bank.database, "req_2") is None
    assert state(bank, "req_3") == ("creating", None)
    assert jobs.is_due(bank.database, NOW + 2 * jobs.UNBORN_MS)
    assert not jobs.is_due(bank.database, NOW + jobs.UNBORN_MS)
    bank.check()


def test_what_was_seen_and_missed_is_kept_of_open_jobs_alone(bank: Bank) -> None:
    adopted(bank)
    with bank.database.write():
        jobs.missed(bank.database, "req_1", "busy\0", 1, NOW + 50)
        jobs.missed(bank.database, "req_1", "busy", 2, NOW + 60)
    (found,) = jobs.under_way(bank.database)
    assert (found.misses, found.polls, found.next_poll_at, found.error_code) == (2, 2, NOW + 60, "busy")
    with bank.database.write():
        jobs.seen(bank.database, "req_1", JobState.IN_PROGRESS, 40, NOW + 70)
        jobs.seen(bank.database, "req_1", JobState.IN_PROGRESS, None, NOW + 80)
    assert jobs.due(bank.database, NOW + 79, 5, 5) == []
    (found,) = jobs.due(bank.database, NOW + 80, 5, 5)
    assert (found.state, found.progress, found.misses) == (JobState.IN_PROGRESS, 40, 0)
    end(bank, Release("req_1"), FAILED)
    with bank.database.write():
        jobs.seen(bank.database, "req_1", JobState.IN_PROGRESS, 90, NOW + 90)
    assert state(bank) == ("failed", "upstream_failed")
    assert jobs.due(bank.database, NOW + DAY, 5, 5) == []


def test_jobs_are_forgotten_after_their_time_and_open_ones_never(bank: Bank) -> None:
    adopted(bank)
    adopted(bank, "req_2")
    end(bank, Release("req_1"), FAILED)
    assert jobs.forget(bank.database, NOW + 9) == 0
    assert jobs.forget(bank.database, NOW + 10) == 1
    assert jobs.find(bank.database, "req_1") is None
    assert not jobs.delete(bank.database, "req_2")
    assert state(bank, "req_2") == ("queued", None)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM jobs", "hold req_1"),
        ("UPDATE jobs SET state = 'completed', ended_at = 1", "hold req_1"),
        ("UPDATE jobs SET next_poll_at = NULL", "job req_1"),
    ],
)
def test_i11_a_job_and_its_hold_belong_together(bank: Bank, statement: str, told: str) -> None:
    adopted(bank)
    with bank.database.write():
        bank.database.execute(statement)
    assert [(one.invariant, one.subject) for one in audit.verify(bank.database)] == [("I11", told)]
    assert [one.subject for one in audit.verify_fast(bank.database)] == [told]


def test_of_one_provider_no_more_than_its_share_is_due_at_once(bank: Bank) -> None:
    bank.account("b", 10_000)
    for number in range(6):
        bank.do(bank.place(f"req_{number}", "b-0", 100))
        with bank.database.write():
            jobs.begin(bank.database, f"req_{number}", 2, "b-0", "videos", NOW, NOW + DAY)
        assert adopt(bank, f"req_{number}", replace(TAKEN, provider="zhipu" if number == 5 else "alibaba"))
    assert [one.id for one in jobs.due(bank.database, NOW + 5, 10, 2)] == ["req_0", "req_1", "req_5"]
    assert [one.id for one in jobs.due(bank.database, NOW + 5, 2, 2)] == ["req_0", "req_1"]
