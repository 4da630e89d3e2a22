"""Ten thousand sessions, planned from one store by processes that know nothing of each other."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tokenhub.operations import accounts, credentials, grants, keys
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub

SESSIONS = 10_000
FEWER = 2_500
"""Of them, after a change: what moves is exact, its share is not."""
MODEL = "gpt-4o-mini"
PLAN = """
import sys
from pathlib import Path
import orjson
from tokenhub import clock
from tokenhub.accounts import keys
from tokenhub.operations import planning, snapshots
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home
from tokenhub.routing import session
from tokenhub.routing.availability import Observed
from tokenhub.store import accounts
from tokenhub.wire.chat import request as chat

home, key, model, count = sys.argv[1:]
with Hub.open(Home(Path(home), explicit=True)) as hub:
    snapshot = snapshots.read(hub.database, hub.vault)
    digest = keys.digest(key)
    caller = accounts.callers(hub.database, [digest])[digest]
    secret, now_ms = hub.vault.derive(session.KEY_PURPOSE), clock.now_ms()
    for number in range(int(count)):
        turns = [{"role": "user", "content": f"question {number}"}]
        turns += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": str(clock.monotonic_s())}] * (number % 3)
        body = {"model": model, "messages": turns}
        found = session.of(body, None, account_id=caller.account.id, key=secret)
        route = planning.planned(
            snapshot, caller, chat.parse_call(body, len(orjson.dumps(body))), planning.NO_HINTS, body, body,
            availability=Observed(), seed=found.id, now_ms=now_ms, settings=hub.settings,
        )
        print(found.id.hex(), *(one.deployment.id for one in route.candidates))
"""


def planned(hub: Hub, key: str, hash_seed: str = "1", count: int = FEWER) -> list[list[str]]:
    """Return session and deployments, first to last, of each conversation, as a process of its own plans them."""
    done = subprocess.run(
        [sys.executable, "-c", PLAN, str(hub.home.path), key, MODEL, str(count)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "TOKENHUB_DATABASE_URL": hub.settings.database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == len({session for session, *_ in lines}) == count
    return lines


@pytest.fixture
def key(hub: Hub) -> str:
    account = accounts.create(hub, "acme").account.id
    grants.grant(hub, account, 10**9, expires_at_ms=None)
    return keys.create(hub, account).secret


def add(hub: Hub, label: str, weight: int) -> str:
    new = NewCredential("openai", f"sk-upstream-secret-{label}", label=label, weight=weight)
    return f"openai/{MODEL}@global#{credentials.add(hub, new).id}"


def test_two_processes_agree_on_ten_thousand_sessions_and_a_change_moves_only_its_share(hub: Hub, key: str) -> None:
    weights = {add(hub, f"c{weight}", weight): weight for weight in (1, 2, 3, 4)}
    lines = planned(hub, key, count=SESSIONS)
    assert lines == planned(hub, key, hash_seed="2", count=SESSIONS)
    firsts = Counter(line[1] for line in lines)
    for deployment, weight in weights.items():
        assert firsts[deployment] / SESSIONS == pytest.approx(weight / 10, abs=0.025)  # five standard deviations

    lines = lines[:FEWER]
    added = add(hub, "new", 5)
    more = planned(hub, key)
    moved = [(before[1], after[1]) for before, after in zip(lines, more, strict=True) if before[1] != after[1]]
    assert {to for _, to in moved} == {added}
    assert len(moved) / FEWER == pytest.approx(5 / 15, abs=0.05)

    credentials.remove(hub, int(added.partition("#")[2]))
    assert planned(hub, key) == lines, "what went to it comes back, and nothing else moves"
    gone = next(iter(weights))
    credentials.remove(hub, int(gone.partition("#")[2]))
    fewer = planned(hub, key)
    moved = [(before[1], after[1]) for before, after in zip(lines, fewer, strict=True) if before[1] != after[1]]
    assert {before for before, _ in moved} == {gone}
    assert len(moved) == sum(line[1] == gone for line in lines)
