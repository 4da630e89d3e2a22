"""A video whose booking is lost in the database's answer: what the client is told of it is true (T96)."""

import http.client
import threading
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.fakes.bank import DAY
from tests.fakes.cut_socket import CutSocket
from tests.fakes.raw_client import eventually
from tests.fakes.upstream import FakeUpstream, Received, Reply, WaitFor
from tests.fakes.video_houses import DashScope
from tests.harness import Answer, start_gateway, temporary_home
from tokenhub import clock
from tokenhub.proxy import video_booking
from tokenhub.store import ledger


class Gated(DashScope):
    """Answers a creation when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def answer(self, request: Received) -> Reply:
        whole = super().answer(request)
        return [WaitFor(self.gate), *whole] if request.method == "POST" else whole


@pytest.mark.parametrize("arrives", [False, True], ids=["lost on its way", "its answer lost"])
@pytest.mark.parametrize("comes_back", [True, False], ids=["and asked again", "and the database away"])
def test_t96_a_booking_whose_commit_is_unknown(
    tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch, comes_back: bool, arrives: bool
) -> None:
    """Asked again in time it is booked, once; else neither "booked" nor "not charged" is said, and nothing is charged."""
    monkeypatch.setattr(video_booking, "BOOKING_S", 20.0 if comes_back else 1.0)
    url, house = databases.empty(), Gated()
    with CutSocket(url, tmp_path) as cut, FakeUpstream(house) as fake:
        house.origin = fake.origin
        flags: dict[str, object] = {"database.url": cut.url, "database.lease_s": 60.0}
        gateway = start_gateway(temporary_home(tmp_path), flags)
        try:
            gateway.lose_patience(0.3)
            gateway.add_credential("alibaba", f"{fake.origin}/compatible-mode/v1", region="cn-beijing")
            gateway.rest()
            before = gateway.balance()
            told: list[Answer | BaseException] = []

            def ask() -> None:
                try:
                    told.append(
                        gateway.call("POST", "/v1/videos", {"model": "wan2.7-t2v", "prompt": "x", "seconds": 2})
                    )
                except (OSError, http.client.HTTPException) as error:
                    told.append(error)

            asking = threading.Thread(target=ask)
            asking.start()
            assert eventually(lambda: bool(house.tasks))
            cut.refuse = True
            cut.cut_at(b"COMMIT\0", pass_it_on=arrives)
            house.gate.set()
            if comes_back:
                asking.join(1.0)
                cut.refuse = False
            asking.join(30)
            cut.refuse = False
            (answer,) = told
            if comes_back:
                assert isinstance(answer, Answer)
                assert answer.status == 200
                assert eventually(lambda: gateway.rows("SELECT state FROM jobs") == [{"state": "queued"}])
                assert gateway.rows("SELECT owner FROM holds") == [{"owner": "job"}]
                assert gateway.balance() < before
            else:
                assert type(answer) is ConnectionResetError  # RemoteDisconnected, an orderly end, is one too
                assert eventually(lambda: gateway.rows("SELECT 1 FROM holds") == [], 15.0)
                assert gateway.balance() == before
            assert ledger.verify(gateway.hub.database) == []
        finally:
            gateway.stop()
    databases.drop(url)


def test_t99_a_video_is_dated_by_the_server_where_the_clock_is_ahead(
    tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The looks at it, and its end, go by the server's clock."""
    machine_ms, house = clock.now_ms, DashScope()
    monkeypatch.setattr(clock, "now_ms", lambda: machine_ms() + DAY)
    with FakeUpstream(house) as fake:
        house.origin = fake.origin
        gateway = start_gateway(temporary_home(tmp_path), {"database.url": databases.empty(), "jobs.poll_s": 60.0})
        try:
            gateway.add_credential("alibaba", f"{fake.origin}/compatible-mode/v1", region="cn-beijing")
            gateway.rest()
            body = {"model": "wan2.7-t2v", "prompt": "x", "seconds": 2}
            assert gateway.call("POST", "/v1/videos", body).status == 200
            now_ms = gateway.hub.database.now_ms()
            (job,) = gateway.rows("SELECT created_at, next_poll_at FROM jobs")
            (lease,) = gateway.rows("SELECT renewed_at FROM leases")
            assert job["created_at"] <= now_ms
            assert job["next_poll_at"] <= now_ms + 60_000
            assert lease["renewed_at"] <= now_ms
        finally:
            gateway.stop()
