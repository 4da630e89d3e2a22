"""kill -9 between any two steps of a video, and several gateways that look at the same ones: it is charged once, or not at all.

Real ``tokenhub serve`` processes on both databases; the provider goes on making what it took.
"""

import asyncio
import http.client
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import process_environment
from tests.fakes.upstream import FakeUpstream
from tests.fakes.video_houses import DashScope
from tests.serving import Serving
from tokenhub.failpoints import JOB_FAILPOINTS
from tokenhub.operations import accounts, credentials, grants, keys
from tokenhub.operations.hub import Hub
from tokenhub.store import ledger
from tokenhub.store.database import StoreBusy

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
WAN = "wan2.7-t2v"
CHARGE = 2 * 86_012_000 + -(-2 * 86_012_000 * 300 // 10_000)
"""Two seconds at 720P, and 3 %."""
CREDIT = 10**12
UNBORN = JOB_FAILPOINTS[: JOB_FAILPOINTS.index("job.adopted")]
"""Up to here nobody knows whether the provider took it: the process that asked died with the answer."""
KILLS = 6 if SOAK else 1
ROUNDS = 20 if SOAK else 2


class Works:
    """An installation whose gateways die, and the provider they ask."""

    def __init__(self, hub: Hub, house: DashScope, fake: FakeUpstream, folder: Path) -> None:
        self.hub, self.house, self._folder = hub, house, folder
        self.account_id = accounts.create(hub, "acme").account.id
        limits = {"key_rpm": 1_000_000, "account_rpm": 1_000_000, "concurrency": 10_000}
        accounts.change(hub, self.account_id, limits)
        grants.grant(hub, self.account_id, CREDIT, expires_at_ms=None)
        self.key = keys.create(hub, self.account_id).secret
        new = credentials.NewCredential(
            provider="alibaba", secret="sk-upstream-000001", base_url=f"{fake.origin}/v1", region="cn-beijing"
        )
        credentials.add(hub, new)
        self.environment = {
            **process_environment(hub.settings, hub.home),
            "TOKENHUB_JOBS_POLL_S": "0.05",
            "TOKENHUB_DATABASE_LEASE_S": "2",
        }

    def serve(self, failpoint: str = "", *arguments: str) -> Serving:
        return Serving(self.environment, self._folder / "log", *arguments, failpoint=failpoint, key=self.key)

    def make(self, serving: Serving) -> str | None:
        """Ask for a video; return its id, or None when the gateway died before it answered."""
        body = {"model": WAN, "prompt": "a cat", "seconds": "2", "size": "720p"}
        try:
            answer = serving.call("POST", "/v1/videos", body)
        except (OSError, http.client.HTTPException):
            return None
        assert answer.status == 200, answer.body
        return str(answer.json()["id"])

    def balance(self) -> int:
        return accounts.state(self.hub, self.account_id).available_nano

    def count(self, sql: str) -> int:
        row = self.hub.database.row(sql)
        assert row is not None
        return int(row[0])

    def await_all(self, seconds: float = 40.0) -> None:
        """Wait until every job has an end and nothing is held."""
        self.await_that(
            lambda: (
                not self.count("SELECT COUNT(*) FROM holds")
                and not self.count("SELECT COUNT(*) FROM jobs WHERE ended_at IS NULL")
            ),
            seconds,
        )

    def await_that(self, holds: Callable[[], bool], seconds: float = 40.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.hub.database.rows("SELECT id, state, misses, error_code FROM jobs")
            time.sleep(0.02)

    def stand_still(self, serving: Serving) -> None:
        """Stop a process, but not inside a transaction: nobody else could write what it has locked before it goes on."""
        while True:
            serving.process.send_signal(signal.SIGSTOP)
            if not self._is_anyone_writing():
                return
            serving.process.send_signal(signal.SIGCONT)
            time.sleep(0.05)

    def _is_anyone_writing(self) -> bool:
        database = self.hub.database
        if database.kind == "postgres":
            others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            return bool(self.count(f"SELECT COUNT(*) FROM pg_stat_activity WHERE {others} AND state <> 'idle'"))
        try:
            with database.write():
                return False
        except StoreBusy:
            return True

    def recover(self, told: list[str]) -> None:
        """Let one more gateway bring everything to its end; every video that a caller was told of is complete."""
        with self.serve() as serving:
            self.await_all()
            assert serving.stop() == 0
        known = {f"video_{row[0][4:]}": row[1] for row in self.hub.database.rows("SELECT id, state FROM jobs")}
        assert {known[one] for one in told} <= {"completed"}
        self.check(sum(state == "completed" for state in known.values()))

    def check(self, completed: int) -> None:
        """Every completed video was charged once, and nothing else was."""
        database = self.hub.database
        assert ledger.verify(database) == []
        assert self.count("SELECT COUNT(*) FROM jobs WHERE state = 'completed'") == completed
        assert database.rows("SELECT id FROM requests WHERE \"end\" = 'settled' ORDER BY id") == database.rows(
            "SELECT id FROM jobs WHERE state = 'completed' ORDER BY id"
        )
        assert self.balance() == CREDIT - completed * CHARGE


@pytest.fixture
def works(hub: Hub, tmp_path: Path) -> Iterator[Works]:
    house = DashScope()
    with FakeUpstream(house, keep=10) as fake:
        house.origin = fake.origin
        yield Works(hub, house, fake, tmp_path)


@pytest.mark.soak
def test_a_gateway_killed_at_every_step_of_a_video_charges_it_once_or_not_at_all(works: Works) -> None:
    """10 kills by default on each database, 60 in a soak. What nobody was told of is left to the next gateway that dies."""
    told: list[str] = []
    for _ in range(KILLS):
        for failpoint in JOB_FAILPOINTS:
            for at in ("", ":2") if failpoint == "job.polled" else ("",):
                with works.serve(failpoint + at) as serving:
                    made = works.make(serving)
                    assert serving.process.wait(20) == -9, f"{failpoint} was not reached"
                assert made is None or failpoint not in UNBORN
                told += [made] if made else []
                if failpoint not in UNBORN:
                    works.recover(told)
    lost = works.hub.database.rows("SELECT DISTINCT error_code FROM jobs WHERE state = 'failed'")
    assert lost == [("creation_unknown",)]
    assert works.count("SELECT COUNT(*) FROM jobs WHERE state = 'failed'") == KILLS * len(UNBORN)
    assert works.count("SELECT COUNT(*) FROM jobs WHERE state = 'completed'") == KILLS * (
        len(JOB_FAILPOINTS) + 1 - len(UNBORN)
    )


@pytest.mark.soak
def test_gateways_that_look_at_the_same_videos_and_die_charge_each_once(works: Works) -> None:
    """Three gateways, two of them killed at random moments again and again, while videos come in."""
    chance = random.Random(7)
    told: list[str] = []
    with ExitStack() as all_of_them:
        steady = all_of_them.enter_context(works.serve())
        for _ in range(ROUNDS):
            others = [all_of_them.enter_context(works.serve()) for _ in range(2)]
            dies_at = time.monotonic() + chance.uniform(0.2, 0.8)
            while time.monotonic() < dies_at:
                made = works.make(chance.choice([steady, *others]))
                told += [made] if made else []
            for one in others:
                one.kill()
        works.await_all()
        assert steady.stop() == 0
    known = {f"video_{row[0][4:]}": row[1] for row in works.hub.database.rows("SELECT id, state FROM jobs")}
    assert {known[one] for one in told} == {"completed"}
    works.check(sum(state == "completed" for state in known.values()))
    assert len(told) >= 4


def test_a_video_outlives_its_gateway_and_is_charged_by_the_next(works: Works) -> None:
    """Not polled by anybody for a while, its hold stays; the next gateway settles it."""
    works.house.states = ("RUNNING",)
    with works.serve() as serving:
        told = works.make(serving)
        serving.kill()
    with works.serve() as serving:
        works.await_that(lambda: works.house.only.looks > 1)
        assert works.count("SELECT COUNT(*) FROM holds WHERE owner = 'job' AND lease_id IS NULL") == 1
        works.house.only.states = ["SUCCEEDED"]
        works.await_all()
        answer = serving.call("GET", f"/v1/videos/{told}/content")
        assert (answer.status, len(answer.body)) == (200, len(works.house.content))
        assert serving.stop() == 0
    works.check(1)


@pytest.mark.soak
def test_a_gateway_that_was_stopped_and_goes_on_later_charges_nothing_again(works: Works) -> None:
    """The process that looks at videos stands still past its lease; another takes over and charges; it wakes up fenced."""
    works.house.states = ("RUNNING",)
    with works.serve() as first:
        works.make(first)
        works.await_that(lambda: works.house.only.looks > 2)
        with works.serve() as second:
            works.stand_still(first)
            looks = works.house.only.looks
            works.await_that(lambda: works.house.only.looks > looks + 3)
            works.house.only.states, works.house.states = ["SUCCEEDED"], ("SUCCEEDED",)
            works.await_all()
            first.process.send_signal(signal.SIGCONT)
            works.make(second)
            works.await_all()
            assert second.stop() == 0
    works.check(2)


def test_one_process_among_several_asks_the_provider(works: Works) -> None:
    """Two gateways and 0.05 s between looks: each look comes from the one that has the named lease."""
    works.house.states = ("RUNNING",)
    with works.serve() as first, works.serve() as second:
        works.make(first)
        works.await_that(lambda: works.house.only.looks > 1)
        before, began = works.house.only.looks, time.monotonic()
        time.sleep(1.0)
        looks, took = works.house.only.looks - before, time.monotonic() - began
        assert looks <= took / 0.05 + 2
        assert works.count("SELECT COUNT(*) FROM named_leases WHERE name = 'jobs'") == 1
        works.house.only.states = ["SUCCEEDED"]
        works.await_all()
        assert first.stop() == second.stop() == 0
    works.check(1)


def test_cancelling_and_completing_at_once_ends_a_video_once(works: Works) -> None:
    """Deleted through one gateway while another looks at them: each is charged or free, never both."""

    async def delete(serving: Serving, video_id: str) -> Any:
        await asyncio.sleep(random.random() * 0.1)
        return await asyncio.to_thread(serving.call, "DELETE", f"/v1/videos/{video_id}")

    works.house.states = ("PENDING", "RUNNING", "RUNNING", "SUCCEEDED")
    with works.serve() as first, works.serve() as second:
        made = [works.make(first) for _ in range(12)]

        async def all_at_once() -> list[Any]:
            return list(await asyncio.gather(*(delete(random.choice([first, second]), one or "") for one in made)))

        answers = asyncio.run(all_at_once())
        assert {answer.status for answer in answers} == {200}
        works.await_all()
        with suppress(OSError):
            assert first.stop() == second.stop() == 0
    settled = works.count("SELECT COUNT(*) FROM requests WHERE \"end\" = 'settled'")
    assert works.count("SELECT COUNT(*) FROM requests") == 12
    assert works.balance() == CREDIT - settled * CHARGE
    assert works.count("SELECT COUNT(*) FROM jobs") == 0
    assert ledger.verify(works.hub.database) == []
