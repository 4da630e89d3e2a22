"""The modules of these tests among themselves: what a client of a dialect says is what an upstream of it hears, and back."""

from types import ModuleType

import pytest
from hypothesis import given, settings

from tests.dialects.rig import CLIENTS, UPSTREAMS
from tests.dialects.stories import conversations, outcomes
from tests.dialects.story import Conversation, Outcome, plainly

pytestmark = pytest.mark.parametrize("dialect", CLIENTS)
QUICK = settings(max_examples=40, deadline=None)


def sides(dialect: str) -> tuple[ModuleType, ModuleType]:
    return CLIENTS[dialect], UPSTREAMS[dialect]


@QUICK
@given(conversation=conversations())
def test_an_upstream_hears_what_a_client_asks(dialect: str, conversation: Conversation) -> None:
    client, upstream = sides(dialect)
    asked = client.ask(conversation, "some-model", "some-key")
    assert plainly(upstream.asked(asked.path, asked.body)) == plainly(conversation)


@QUICK
@given(outcome=outcomes())
def test_a_client_hears_what_an_upstream_answers(dialect: str, outcome: Outcome) -> None:
    client, upstream = sides(dialect)
    heard = client.hear(upstream.say(outcome))
    assert heard.said == outcome.said
    assert heard.counts.seen == outcome.counts.seen
    assert heard.seals == (outcome.seals if dialect != "chat" else [])


@QUICK
@given(outcome=outcomes())
def test_a_client_hears_what_an_upstream_streams(dialect: str, outcome: Outcome) -> None:
    client, upstream = sides(dialect)
    heard = client.hear(client.from_stream(b"".join(upstream.stream(outcome))))
    assert heard.said == outcome.said
    assert heard.counts.seen == outcome.counts.seen
    assert heard.seals == (outcome.seals if dialect != "chat" else [])
