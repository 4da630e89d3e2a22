"""``tokenhub videos``: what is being made, one of them, and giving one up, beside a gateway that makes them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import data, run
from tests.fakes.raw_client import eventually
from tests.fakes.upstream import FakeUpstream
from tests.fakes.video_houses import DashScope
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.operations import doctor
from tokenhub.operations.doctor import Finding, Health
from tokenhub.store import ledger


@pytest.fixture
def making(tmp_path: Path) -> Iterator[tuple[RunningGateway, DashScope]]:
    house = DashScope()
    house.states = ("RUNNING",)
    gateway = start_gateway(temporary_home(tmp_path), {"jobs.poll_s": 0.05})
    with FakeUpstream(house) as fake:
        house.origin = fake.origin
        gateway.add_credential("alibaba", f"{fake.origin}/v1", region="cn-beijing")
        yield gateway, house
        assert ledger.verify(gateway.hub.database) == []
        gateway.stop()


def make(gateway: RunningGateway) -> str:
    body = {"model": "wan2.7-t2v", "prompt": "a secret cat", "seconds": 5, "size": "720p"}
    return str(gateway.call("POST", "/v1/videos", body).json()["id"])


def of_videos(gateway: RunningGateway) -> Finding:
    return next(finding for finding in doctor.examine(gateway.hub.home) if finding.check == "videos")


def test_an_operator_sees_videos_and_can_give_one_up(making: tuple[RunningGateway, DashScope]) -> None:
    gateway, house = making
    home = gateway.hub.home.path
    assert "No video has been made yet." in run(home, "videos", "list").err
    before = gateway.balance()
    video_id = make(gateway)
    held = before - gateway.balance()
    (row,) = data(home, "videos", "list", "--open")
    assert (row["id"], row["account"], row["provider"], row["seconds"]) == (video_id, "acme", "alibaba", 5)
    assert float(row["held_usd"]) * 10**9 == pytest.approx(held)
    shown = run(home, "videos", "show", video_id)
    assert shown.code == 0
    assert "secret cat" not in shown.out
    assert data(home, "videos", "show", row["request"])["id"] == video_id
    assert (of_videos(gateway).health, of_videos(gateway).message) == (Health.OK, "1 are being made.")
    given_up = data(home, "videos", "cancel", video_id)
    assert (given_up["state"], given_up["charged_usd"], given_up["held_usd"]) == ("cancelled", "0", None)
    assert house.only.cancelled
    assert gateway.balance() == before
    again = run(home, "videos", "cancel", video_id)
    assert (again.code, "has ended: it is cancelled" in again.err) == (1, True)
    assert run(home, "videos", "show", "video_0").code == 1
    assert data(home, "videos", "list", "--open") == []


def test_giving_up_a_video_that_is_complete_charges_it(making: tuple[RunningGateway, DashScope]) -> None:
    gateway, house = making
    video_id = make(gateway)
    with gateway.hub.database.write():  # no round comes first
        gateway.hub.database.execute("UPDATE jobs SET next_poll_at = 4102444800000")
    house.only.states = ["SUCCEEDED"]
    ended = data(gateway.hub.home.path, "videos", "cancel", video_id)
    assert (ended["state"], ended["charged_usd"]) == ("completed", "0.4429618")
    assert not house.only.cancelled


def test_the_doctor_says_when_nobody_answers_and_when_nobody_looks(making: tuple[RunningGateway, DashScope]) -> None:
    gateway, house = making
    house.silent = True
    video_id = make(gateway)
    database = gateway.hub.database
    with database.write():  # another process has it to do, which does nothing
        database.execute(
            "INSERT INTO leases (id, host, boot_id, pid, started_at, renewed_at) VALUES (99, 'h', 'b', 1, 0, 4102444800000)"
        )
        database.execute("DELETE FROM named_leases WHERE name = 'jobs'")
        database.execute("INSERT INTO named_leases (name, lease_id, renewed_at) VALUES ('jobs', 99, 0)")

    def found(misses: int, next_poll_ms: int) -> Finding:
        with database.write():
            database.execute(
                "UPDATE jobs SET misses = ?, error_code = 'busy', next_poll_at = ?", (misses, next_poll_ms)
            )
        return of_videos(gateway)

    def says(finding: Finding, words: str) -> bool:
        return finding.health is Health.WARNING and words in finding.message

    # A look that had begun before may still be noted once.
    assert eventually(
        lambda: says(found(5, 4102444800000), "1 of 1 videos under way get no answer from their provider (busy)")
    )
    assert eventually(lambda: says(found(0, 1), "1 of 1 videos under way have not been looked at for 10 minutes"))
    data(gateway.hub.home.path, "videos", "cancel", video_id)
