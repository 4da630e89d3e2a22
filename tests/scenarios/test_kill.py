"""kill -9 of a whole gateway at every step of a request: what clients saw is what the ledger says (T20, T21, T88).

A real ``tokenhub serve`` takes a mixed load until it is killed, at a failpoint or at a random
moment; the next one releases what the dead one held. Then the ledger is added up, and every
client's view is held against it. docs/reliability.md tells how often this was done.
"""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import process_environment
from tests.fakes import mixed_load
from tests.fakes.mixed_load import Told
from tests.fakes.upstream import FakeUpstream
from tests.serving import Serving
from tokenhub import clock
from tokenhub.failpoints import FAILPOINTS
from tokenhub.operations import accounts, credentials, grants, keys
from tokenhub.operations.hub import Hub
from tokenhub.store import ledger

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
STORES = 10 if SOAK else 1
"""Of each kind."""
ROUNDS = 4 if SOAK else 1
"""On each store: a kill at each failpoint, and some at random moments."""
RANDOM_KILLS = 2 if SOAK else 1
CLIENTS = 12
RELEASED_WITHIN_S = 5.0
CREDIT_NANO = 10**12


class Ward:
    """One installation, its upstream, and one gateway after the other."""

    def __init__(self, hub: Hub, upstream: FakeUpstream, folder: Path, seed: int) -> None:
        self.hub = hub
        self.chance = random.Random(seed)
        self.kills: dict[str, int] = {}
        self.requests = 0
        self.slowest_start_s = self.slowest_release_s = 0.0
        self._log = folder / "gateway.log"
        self._environment = process_environment(hub.settings, hub.home)
        self.account_id = accounts.create(hub, "acme").account.id
        accounts.change(hub, self.account_id, {"key_rpm": 1_000_000, "account_rpm": 1_000_000, "concurrency": 10_000})
        grants.grant(hub, self.account_id, CREDIT_NANO, expires_at_ms=None)
        self.key = keys.create(hub, self.account_id).secret
        new = credentials.NewCredential(provider="openai", secret="sk-upstream-000001", base_url=upstream.url)
        credentials.add(hub, new)
        self.kept: list[Told] = []
        self.begun_ms = 0

    def start(self, failpoint: str = "") -> Serving:
        """Start a gateway, wait until it has released what its predecessor held, and check the ledger."""
        serving = Serving(self._environment, self._log, failpoint=failpoint, key=self.key)
        self.slowest_start_s = max(self.slowest_start_s, serving.ready_s)
        try:
            self._await_release()
            self._check()
        except BaseException:
            serving.close()
            raise
        return serving

    def kill(self, where: str) -> None:
        """Let one gateway die under load: at a failpoint, or at a random moment."""
        at = f"{where}:{self.chance.randrange(4, 30)}" if where in FAILPOINTS else ""
        with self.start(at) as serving:
            self.begun_ms = clock.now_ms()
            dies_at_s = time.monotonic() + (20.0 if at else self.chance.uniform(0.02, 0.4))

            def is_over() -> bool:
                if time.monotonic() > dies_at_s:
                    serving.kill()
                return serving.is_dead

            self.kept = asyncio.run(
                mixed_load.run(serving.port, self.key, clients=CLIENTS, chance=self.chance, is_over=is_over)
            )
            assert not at or time.monotonic() < dies_at_s, f"{at} was not reached"
            assert serving.process.wait(10) == -9
        self.kills[where] = self.kills.get(where, 0) + 1
        self.requests += len(self.kept)

    def end(self) -> None:
        """Start once more, check, see that a request is served, and stop as one should."""
        with self.start() as serving:
            assert serving.chat(mixed_load.MODEL, "plain-0000000000000001").status == 200
            assert serving.stop() == 0
        assert self._open_holds() == 0
        assert ledger.verify(self.hub.database) == []
        if self.hub.database.kind == "sqlite":
            assert self.hub.database.row("PRAGMA integrity_check") == ("ok",)

    def report(self) -> str:
        """One line of what was done here."""
        at = " ".join(f"{where}={times}" for where, times in self.kills.items())
        return (
            f"{self.hub.database.kind}: {sum(self.kills.values())} kills, {self.requests} requests, "
            f"start <= {self.slowest_start_s:.2f} s, release <= {self.slowest_release_s:.2f} s: {at}"
        )

    def _open_holds(self) -> int:
        found = self.hub.database.row("SELECT COUNT(*) FROM holds")
        assert found is not None
        return int(found[0])

    def _await_release(self) -> None:
        begun_s = time.monotonic()
        while self._open_holds():
            assert time.monotonic() < begun_s + RELEASED_WITHIN_S, "the dead one's holds are not released"
            time.sleep(0.01)
        self.slowest_release_s = max(self.slowest_release_s, time.monotonic() - begun_s)

    def _check(self) -> None:
        """Assert I1-I6 of the whole ledger, and that it charges just what the last gateway's clients may be charged."""
        database = self.hub.database
        assert ledger.verify(database) == []
        if not self.kept:
            return
        mixed_load.check(database, self.kept, self.begun_ms)
        self.kept = []


@pytest.fixture(params=range(STORES))
def ward(hub: Hub, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ward]:
    with FakeUpstream(mixed_load.answer, keep=10) as upstream:
        yield Ward(hub, upstream, tmp_path, seed=request.param)


@pytest.mark.soak
def test_t20_t88_a_gateway_killed_at_every_step_loses_nothing_and_charges_nothing_else(ward: Ward) -> None:
    """In a soak 2 stores × 10 × 4 rounds × 13 = 1 040 kills; by default 24."""
    for _ in range(ROUNDS):
        for where in (*FAILPOINTS, *["random"] * RANDOM_KILLS):
            ward.kill(where)
    ward.end()
    print(ward.report())  # for docs/reliability.md: shown by pytest -rP
