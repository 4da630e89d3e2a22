"""A conversation rendered to any dialect is the same conversation at any upstream, and so is the reply on its way back."""

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dialects.matrix import NATIVE
from tests.dialects.pure import COST, passage
from tests.dialects.rig import CLIENTS, UPSTREAMS
from tests.dialects.stories import ANSWER, FORECAST, TALK, THOUGHTFUL_CALL, TWO_CALLS, WEATHER, conversations, outcomes
from tests.dialects.story import Conversation, Outcome, plainly

PAIRS = [(inbound, upstream) for inbound in CLIENTS for upstream in UPSTREAMS]
EXAMPLES = settings(max_examples=1000 if os.environ.get("TOKENHUB_SOAK") == "1" else 15, deadline=None)
each_pair = pytest.mark.parametrize(("inbound", "upstream"), PAIRS, ids=lambda name: name)
soak = pytest.mark.soak


def ask(inbound: str, upstream: str, conversation: Conversation = TALK, *, stream: bool = False) -> Any:
    return CLIENTS[inbound].ask(conversation, UPSTREAMS[upstream].MODEL, "th-key", stream=stream)


@soak
@each_pair
@EXAMPLES
@given(conversation=conversations())
def test_a_conversation_is_the_same_at_each_upstream(inbound: str, upstream: str, conversation: Conversation) -> None:
    if upstream == "responses" and not conversation.tools:
        conversation = Conversation(conversation.turns, conversation.system, (WEATHER,), conversation.limit)
    way = passage(ask(inbound, upstream, conversation), upstream)
    assert UPSTREAMS[upstream].takes(way.path), way.path
    assert plainly(UPSTREAMS[upstream].asked(way.path, way.body)) == plainly(conversation)
    assert (way.adapter.wire == inbound) == (inbound == "chat" or (inbound, upstream) in NATIVE)


@soak
@each_pair
@EXAMPLES
@given(outcome=outcomes())
def test_a_reply_is_the_same_for_each_client(inbound: str, upstream: str, outcome: Outcome) -> None:
    way = passage(ask(inbound, upstream), upstream)
    reply = way.whole(UPSTREAMS[upstream].say(outcome))
    heard = way.client.hear(reply)
    assert heard.said == outcome.said
    assert heard.counts.seen == outcome.counts.seen
    assert way.client.bill(reply).items() >= COST.items()


@soak
@each_pair
@EXAMPLES
@given(outcome=outcomes(), data=st.data())
def test_a_stream_is_the_same_for_each_client_wherever_it_is_cut(
    inbound: str, upstream: str, outcome: Outcome, data: st.DataObject
) -> None:
    way = passage(ask(inbound, upstream, stream=True), upstream)
    body = b"".join(UPSTREAMS[upstream].stream(outcome))
    places = sorted(data.draw(st.lists(st.integers(1, len(body) - 1), max_size=6)))
    pieces = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]
    reply = way.client.from_stream(way.streamed(pieces))
    heard = way.client.hear(reply)
    assert heard.said == outcome.said
    assert heard.counts.seen == outcome.counts.seen
    assert way.client.bill(reply).items() >= COST.items()


# --- what TokenHub does not know

NEW = {"ofTomorrow": {"a": [1, None, "x"], "b": False}}
HOSTED = {"functionDeclarations"}
"""What is new beside this at Google is a tool that runs there and has no price: it is left out."""


def with_news(value: Any) -> Any:
    """Return a JSON value with a member that nobody knows in every object that has members of its own."""
    if isinstance(value, list):
        return [with_news(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {name: with_news(one) for name, one in value.items()}
    return made if HOSTED & made.keys() else {**made, **NEW}


def within(value: Any, other: Any, *, at: str = "") -> None:
    """Everything in a value is in the other one, in the same place."""
    if isinstance(value, dict):
        for name, one in value.items():
            assert name in other, f"{at}.{name} is gone"
            within(one, other[name], at=f"{at}.{name}")
    elif isinstance(value, list):
        assert len(value) == len(other), at
        for place, (one, two) in enumerate(zip(value, other, strict=True)):
            within(one, two, at=f"{at}[{place}]")
    else:
        assert value == other, at


NAMES = {"chat": {"model"}, "messages": {"model"}, "responses": {"model"}, "gemini": set()}
"""What the gateway writes into a body of the upstream's own dialect: the model's name there."""


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("dialect", CLIENTS)
def test_unknown_fields_of_a_request_survive_a_pass_in_the_same_dialect(dialect: str, stream: bool) -> None:
    asked = ask(dialect, dialect, FORECAST, stream=stream)
    asked.body.update(with_news(asked.body))
    way = passage(asked, dialect)
    given_ = {name: value for name, value in asked.body.items() if name not in NAMES[dialect]}
    within(given_, way.body)


@pytest.mark.parametrize("outcome", [ANSWER, TWO_CALLS, THOUGHTFUL_CALL], ids=["text", "calls", "thought"])
@pytest.mark.parametrize("dialect", CLIENTS)
def test_unknown_fields_of_a_reply_survive_a_pass_in_the_same_dialect(dialect: str, outcome: Outcome) -> None:
    said = with_news(UPSTREAMS[dialect].say(outcome))
    reply = passage(ask(dialect, dialect), dialect).whole(said)
    if dialect == "chat":
        said.pop("usage")  # it is our own there: the same members for every provider
    within(said, reply)


@pytest.mark.parametrize("outcome", [ANSWER, TWO_CALLS, THOUGHTFUL_CALL], ids=["text", "calls", "thought"])
@pytest.mark.parametrize("dialect", CLIENTS)
def test_frames_pass_as_they_are_in_the_same_dialect_but_for_the_one_with_the_bill(
    dialect: str, outcome: Outcome
) -> None:
    frames = [_renewed(frame) for frame in UPSTREAMS[dialect].stream(outcome)]
    got = passage(ask(dialect, dialect, stream=True), dialect).streamed(frames)
    said = [frame.rstrip() for frame in frames]
    changed = [frame for frame in said if frame + b"\n\n" not in got]
    assert len(changed) == 1, changed
    assert b"usage" in changed[0]
    at = [got.index(frame) for frame in said if frame in got]
    assert at == sorted(at)


def _renewed(frame: bytes) -> bytes:
    """Return a frame with members that nobody knows."""
    head, mark, rest = frame.partition(b"data: ")
    data = rest.rstrip()
    if not data.startswith(b"{"):
        return frame
    return head + mark + json.dumps({**json.loads(data), **NEW}).encode() + rest[len(data) :]
