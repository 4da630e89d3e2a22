"""One model at two providers of different dialects: when the first fails, the second answers, and the client does not notice."""

import itertools
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.dialects import stories
from tests.dialects.rig import CLIENTS, UPSTREAMS, Rig, Seen, assert_billed, open_rig
from tests.dialects.story import plainly
from tests.fakes.stage import PRICES
from tests.fakes.upstream import Received, Reply, json_reply
from tokenhub.catalog import load
from tokenhub.catalog.load import Override

COUPLES = list(itertools.combinations(UPSTREAMS, 2))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("failover"), couples()) as opened:
        yield opened


def couples() -> list[Override]:
    """Return a model for each two dialects, that a provider of either offers."""
    made = []
    for couple in COUPLES:
        table = {
            "capability": "chat",
            "context": 200_000,
            "max_output": 64_000,
            "traits": {"tools_need_responses_api": True, "reasoning": True, "reasoning_default": "on"},
            "offerings": [_offering(UPSTREAMS[name]) for name in couple],
        }
        made.append(Override("model", "-".join(couple), table))
    return made


def _offering(upstream: ModuleType) -> dict[str, object]:
    if upstream.PROVIDER == "plain":
        return {"provider": "plain", "regions": ["default"], "upstream_id": "plain-1", "price": PRICES}
    endpoint = next(one for one in load.load().endpoints[upstream.MODEL] if one.provider.id == upstream.PROVIDER)
    upstream_id = endpoint.offering.upstream_id
    return {"provider": upstream.PROVIDER, "regions": [endpoint.region.id], "upstream_id": upstream_id, "price": PRICES}


def dialect_of(received: Received) -> ModuleType:
    return next(one for one in UPSTREAMS.values() if one.takes(received.path))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("couple", COUPLES, ids="-".join)
@pytest.mark.parametrize("inbound", CLIENTS)
def test_another_dialect_answers_when_the_first_fails(
    rig: Rig, inbound: str, couple: tuple[str, str], stream: bool
) -> None:
    client = CLIENTS[inbound]
    asked = client.ask(stories.TALK, "-".join(couple), rig.gateway.key, stream=stream)

    def play(received: Received) -> Reply:
        if len(rig.fake.received) > 1:
            return rig.played(dialect_of(received), stories.ANSWER, stream=stream)
        status, body = dialect_of(received).REFUSALS["broken"]
        return json_reply(body, status)

    answer = rig.send_scripted(asked, play)
    assert answer.status == 200, answer.body
    first, second = rig.fake.received
    assert {dialect_of(first).NAME, dialect_of(second).NAME} == set(couple)
    for received in (first, second):
        assert plainly(dialect_of(received).asked(received.path, received.json())) == plainly(stories.TALK)
    assert answer.headers["x-tokenhub-attempts"] == "2"
    assert answer.headers["x-tokenhub-provider"] == dialect_of(second).PROVIDER
    reply = client.from_stream(answer.body) if stream else answer.json()
    assert client.hear(reply).said == stories.ANSWER.said
    seen = Seen(asked, second, reply, rig.row(answer), answer.headers, answer.body)
    assert_billed(client, seen, stories.ANSWER)
