"""Replies and streams in OpenAI's dialects fit OpenAI's own description, whatever dialect their upstream speaks."""

import json

import pytest

from tests.dialects import stories
from tests.dialects.clients import responses
from tests.dialects.pure import COST, passage
from tests.dialects.rig import CLIENTS, UPSTREAMS
from tests.dialects.schemas import SPEC, faults, faults_of_event
from tests.dialects.story import Outcome

pytestmark = [
    pytest.mark.skipif(not SPEC.is_file(), reason="OpenAI's description (../shared/specs) is not here"),
    pytest.mark.parametrize("upstream", UPSTREAMS),
    pytest.mark.parametrize(
        "outcome",
        [stories.ANSWER, stories.SHORT, stories.TWO_CALLS, stories.THOUGHTFUL, stories.THOUGHTFUL_CALL],
        ids=["text", "cut short", "calls", "thought", "thought and call"],
    ),
]


def whole(inbound: str, upstream: str, outcome: Outcome) -> dict[str, object]:
    asked = CLIENTS[inbound].ask(stories.TALK, UPSTREAMS[upstream].MODEL, "th-key")
    return passage(asked, upstream).whole(UPSTREAMS[upstream].say(outcome))


def streamed(inbound: str, upstream: str, outcome: Outcome) -> bytes:
    asked = CLIENTS[inbound].ask(stories.TALK, UPSTREAMS[upstream].MODEL, "th-key", stream=True)
    return passage(asked, upstream).streamed(UPSTREAMS[upstream].stream(outcome))


def test_a_chat_completion_is_one(upstream: str, outcome: Outcome) -> None:
    assert faults("CreateChatCompletionResponse", whole("chat", upstream, outcome)) == []


def test_each_chunk_of_a_chat_completion_is_one(upstream: str, outcome: Outcome) -> None:
    lines = [line[6:] for line in streamed("chat", upstream, outcome).split(b"\n") if line.startswith(b"data: {")]
    assert len(lines) > 2
    assert COST.items() <= json.loads(lines[-1])["usage"].items()
    for line in lines:
        assert faults("CreateChatCompletionStreamResponse", json.loads(line)) == [], line


def test_a_response_is_one(upstream: str, outcome: Outcome) -> None:
    assert faults("Response", whole("responses", upstream, outcome)) == []


def test_each_event_of_a_response_is_one(upstream: str, outcome: Outcome) -> None:
    events = list(responses.events(streamed("responses", upstream, outcome)))
    assert len(events) > 5
    assert COST.items() <= events[-1]["response"]["usage"].items()
    for event in events:
        assert faults_of_event(event) == [], event
