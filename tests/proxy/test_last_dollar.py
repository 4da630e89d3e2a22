"""T1 through HTTP: many requests ask for the last dollar at once, and one of them gets it."""

import threading
from pathlib import Path

from tests.fakes.upstream import FakeUpstream, Pause, json_reply, openai_chat, openai_usage
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.operations import grants

MODEL = "gpt-4o-mini"
ASKING = 20


def test_t1_last_dollar_is_spent_once(tmp_path: Path) -> None:
    poor = start_gateway(temporary_home(tmp_path), credit_nano=0)
    try:
        with FakeUpstream([]) as fake:
            poor.add_credential("openai", fake.url)
            grants.grant(poor.hub, poor.account_id, hold_of(poor), expires_at_ms=None)
            fake.add([Pause(0.4), *json_reply(openai_chat("x", usage=openai_usage(1, 1)))])
            assert sorted(all_at_once(poor)) == [200] + [402] * (ASKING - 1)
            assert len(fake.received) == 1
    finally:
        poor.stop()


def all_at_once(poor: RunningGateway) -> list[int]:
    """Ask from many threads in the same moment; return the statuses."""
    statuses: list[int] = []
    barrier = threading.Barrier(ASKING)

    def ask() -> None:
        barrier.wait()
        statuses.append(poor.chat(MODEL, max_tokens=10).status)

    threads = [threading.Thread(target=ask) for _ in range(ASKING)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def hold_of(poor: RunningGateway) -> int:
    """What one such request holds, told by the refusal of an account that has nothing."""
    refused = poor.chat(MODEL, max_tokens=10)
    assert refused.status == 402
    error = refused.json()["error"]
    told = (error["type"], error["metadata"]["reason"], error["metadata"]["available"])
    assert told == ("insufficient_credits", "balance", "0")
    return round(float(error["metadata"]["required"]) * 1e9)
