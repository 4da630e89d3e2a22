"""Replies that are right but not usual: filtered, empty, whole where a stream was asked for, calls in turns, thoughts after text."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from tests.dialects import stories
from tests.dialects.rig import CLIENTS, UPSTREAMS, Rig, Seen, assert_billed, open_rig
from tests.dialects.story import Call, Counts, Outcome, Text, Thought
from tests.dialects.upstreams import chat as chat_upstream
from tests.fakes.upstream import DONE, Reply, json_reply, sse_reply

PAIRS = [(inbound, upstream) for inbound in CLIENTS for upstream in UPSTREAMS]
each_pair = pytest.mark.parametrize(("inbound", "upstream"), PAIRS, ids=lambda name: name)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
each_client = pytest.mark.parametrize("inbound", CLIENTS)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("odd")) as opened:
        yield opened


def heard(rig: Rig, inbound: str, upstream: ModuleType, said: Reply, *, stream: bool) -> tuple[dict[str, Any], Seen]:
    """Play a reply; return what the client put together."""
    client = CLIENTS[inbound]
    asked = client.ask(stories.TALK, upstream.MODEL, rig.gateway.key, stream=stream)
    answer = rig.send(asked, said)
    assert answer.status == 200, answer.body
    reply = client.from_stream(answer.body) if stream else answer.json()
    return reply, Seen(asked, rig.fake.received[-1], reply, rig.row(answer), answer.headers, answer.body)


FILTERED: Mapping[str, dict[str, Any]] = {
    "chat": {"stop": "content_filter"},
    "messages": {"end_turn": "refusal"},
    "responses": {"completed": "incomplete", "incomplete_details": {"reason": "content_filter"}},
    "gemini": {"STOP": "SAFETY"},
}
"""How an upstream's words for a common end become those for one that its filter made."""
NOTHING = Outcome((), counts=Counts(61, 40))


def filtered(value: Any, words: Mapping[str, Any]) -> Any:
    """Return a reply or an event as a filter would have ended it."""
    if isinstance(value, list):
        return [filtered(one, words) for one in value]
    if isinstance(value, dict):
        ended = {name: words.get(name, filtered(one, words)) for name, one in value.items()}
        return ended | ({"type": "response.incomplete"} if value.get("type") == "response.completed" else {})
    return words.get(value, value) if isinstance(value, str) else value


def filtered_frame(frame: bytes, words: Mapping[str, Any]) -> bytes:
    head, mark, data = frame.partition(b"data: ")
    if not data.startswith(b"{"):
        return frame
    event = filtered(json.loads(data), words)
    named = f"event: {event['type']}\n".encode() if head else b""
    return named + mark + json.dumps(event).encode() + b"\n\n"


def end_of(inbound: str, reply: dict[str, Any]) -> Any:
    """Return how a client is told that a reply ended."""
    match inbound:
        case "chat":
            return reply["choices"][0]["finish_reason"]
        case "messages":
            return reply["stop_reason"]
        case "responses":
            return reply["status"], (reply.get("incomplete_details") or {}).get("reason")
    return reply["candidates"][0]["finishReason"]


ENDS = {
    "chat": "content_filter",
    "messages": "refusal",
    "responses": ("incomplete", "content_filter"),
    "gemini": "SAFETY",
}


def silent_frames(upstream: ModuleType) -> list[bytes]:
    """Return a stream that says nothing and ends as it should."""
    if upstream.NAME == "gemini":
        return [b"data: " + json.dumps(upstream.say(NOTHING)).encode() + b"\r\n\r\n"]
    return upstream.stream(NOTHING)


@both_ways
@each_pair
def test_a_reply_that_a_filter_ate_is_free_and_told_in_the_clients_word(
    rig: Rig, inbound: str, upstream: str, stream: bool
) -> None:
    module, words = UPSTREAMS[upstream], FILTERED[upstream]
    if stream:
        said = sse_reply([filtered_frame(frame, words) for frame in silent_frames(module)])
    else:
        said = json_reply(filtered(module.say(NOTHING), words))
    reply, seen = heard(rig, inbound, module, said, stream=stream)
    assert end_of(inbound, reply) == ENDS[inbound]
    assert (seen.row["end"], seen.row["charged"], seen.row["finish_reason"]) == ("released", 0, "content_filter")
    assert CLIENTS[inbound].bill(reply)["cost"] == 0


@both_ways
@each_pair
def test_a_reply_without_anything_in_it_is_free(rig: Rig, inbound: str, upstream: str, stream: bool) -> None:
    module, client = UPSTREAMS[upstream], CLIENTS[inbound]
    said = sse_reply(silent_frames(module)) if stream else json_reply(module.say(NOTHING))
    reply, seen = heard(rig, inbound, module, said, stream=stream)
    assert client.hear(reply).said == ("", "", [], "stop")
    assert (seen.row["end"], seen.row["charged"]) == ("released", 0)
    assert client.bill(reply)["cost"] == 0
    assert client.bill(reply)["cost_details"]["total"] == "0"


@each_pair
def test_a_whole_reply_to_who_asked_for_a_stream_is_streamed(rig: Rig, inbound: str, upstream: str) -> None:
    client, module = CLIENTS[inbound], UPSTREAMS[upstream]
    for outcome in (stories.TWO_CALLS, stories.THOUGHTFUL, stories.SHORT):
        reply, seen = heard(rig, inbound, module, json_reply(module.say(outcome)), stream=True)
        assert client.hear(reply).said == outcome.said
        assert_billed(client, seen, outcome)


@each_client
def test_calls_whose_pieces_come_in_turns_are_told_apart(rig: Rig, inbound: str) -> None:
    client, frames = CLIENTS[inbound], chat_upstream.stream(stories.TWO_CALLS)
    told = [frame for frame in frames if b'"tool_calls"' in frame and b'"finish_reason":null' in frame]
    of_first = [frame for frame in told if b'"tool_calls":[{"index":0' in frame]
    of_second = [frame for frame in told if frame not in of_first]
    turns = [frame for pair in zip(of_first, of_second, strict=False) for frame in pair]
    rest = [*of_first[len(of_second) :], *of_second[len(of_first) :]]
    at = frames.index(told[0])
    mixed = [*frames[:at], *turns, *rest, *frames[at + len(told) :]]
    assert sorted(mixed) == sorted(frames)
    assert mixed != frames
    reply, seen = heard(rig, inbound, chat_upstream, sse_reply(mixed), stream=True)
    assert client.hear(reply).said == stories.TWO_CALLS.said
    assert_billed(client, seen, stories.TWO_CALLS)


@each_client
def test_thoughts_between_texts_are_heard(rig: Rig, inbound: str) -> None:
    """A model that thinks once more after it has spoken: all is heard, in whatever order the dialect has it."""
    client = CLIENTS[inbound]
    first = chat_upstream.stream(Outcome((Thought("One."), Text("Uno. "))))[:-3]
    second = chat_upstream.stream(Outcome((Thought("Two."), Text("Due.")), counts=Counts(9, output=9, reasoning=4)))[1:]
    reply, _ = heard(rig, inbound, chat_upstream, sse_reply([*first, *second]), stream=True)
    assert client.hear(reply).said == ("One.Two.", "Uno. Due.", [], "stop")


@pytest.mark.parametrize("inbound", [name for name in CLIENTS if name != "chat"])
def test_an_end_that_says_stop_after_calls_is_an_end_by_calls(rig: Rig, inbound: str) -> None:
    """To clients of chat completions such an end passes as it is."""
    client = CLIENTS[inbound]
    said = replace(stories.ONE_CALL, finish="stop")
    for stream in (False, True):
        played = sse_reply(chat_upstream.stream(said)) if stream else json_reply(chat_upstream.say(said))
        reply, _ = heard(rig, inbound, chat_upstream, played, stream=stream)
        assert client.hear(reply).said == stories.ONE_CALL.said


@each_client
def test_a_stream_with_nothing_but_calls_without_arguments(rig: Rig, inbound: str) -> None:
    client = CLIENTS[inbound]
    outcome = Outcome((Call("call_1", "get_time", {}),), "tools", Counts(9, output=2))
    frames = [frame for frame in chat_upstream.stream(outcome) if b'"arguments":"{}"' not in frame]
    assert DONE in frames
    reply, seen = heard(rig, inbound, chat_upstream, sse_reply(frames), stream=True)
    assert client.hear(reply).said == outcome.said
    assert_billed(client, seen, outcome)
