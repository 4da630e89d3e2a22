"""JSON as deep as it is taken can be told in every dialect; what is deeper is refused, or the upstream's fault."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.dialects import stories
from tests.dialects.pure import COST, Passage, passage
from tests.dialects.rig import CLIENTS, UPSTREAMS
from tests.dialects.story import Call, Conversation, Counts, Outcome, Result, Text, Tool, Turn
from tests.fakes.upstream import openai_error
from tokenhub.usage import Usage
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.surface import End

DEEPEST = 224
PAIRS = [(inbound, upstream) for inbound in CLIENTS for upstream in UPSTREAMS]
each_pair = pytest.mark.parametrize(("inbound", "upstream"), PAIRS, ids=lambda name: name)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def levels_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(levels_of, inner), default=0)


def schema(levels: int) -> Conversation:
    """A tool whose parameters are deep."""
    return replace(stories.TALK, tools=(Tool("get_weather", "Says it.", nested(levels)),))


def arguments(levels: int) -> Conversation:
    """A call whose arguments were deep."""
    called = Turn("assistant", (Call("call_a1", "get_weather", nested(levels)),))
    return replace(stories.FORECAST, turns=(*stories.FORECAST.turns, called, Turn("user", (Result("call_a1", "x"),))))


def result(levels: int) -> Conversation:
    """A tool that answered in JSON that is deep."""
    answered = Turn("user", (Result("call_a1", json.dumps(nested(levels))),))
    called = Turn("assistant", (Call("call_a1", "get_weather", {}),))
    return replace(stories.FORECAST, turns=(*stories.FORECAST.turns, called, answered))


def fault_of(act: Callable[[], object]) -> Failure | None:
    """Do this; return what the upstream did wrong, if that is what comes of it."""
    try:
        act()
    except UpstreamFault as fault:
        return fault.failure
    return None


@pytest.mark.parametrize("story", [schema, arguments, result])
@each_pair
def test_a_body_as_deep_as_is_taken_can_be_sent(inbound: str, upstream: str, story: Any) -> None:
    """Where the JSON stands in a text, that text may be as deep."""
    model = UPSTREAMS[upstream].MODEL
    around = max(levels_of(CLIENTS[inbound].ask(story(50), model, "th-key").body) - 50, 0)
    asked = CLIENTS[inbound].ask(story(DEEPEST - around), model, "th-key")
    assert not around or levels_of(asked.body) == DEEPEST
    assert passage(asked, upstream).body


@pytest.mark.parametrize("levels", [DEEPEST + 1, 250, 254, 255, 600])
@pytest.mark.parametrize("story", [arguments, result])
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("inbound", ["chat", "responses"])
def test_a_text_of_json_that_is_too_deep_is_told_as_text(inbound: str, upstream: str, story: Any, levels: int) -> None:
    asked = CLIENTS[inbound].ask(story(levels), UPSTREAMS[upstream].MODEL, "th-key")
    assert passage(asked, upstream).body


def called_with(levels: int) -> Outcome:
    return Outcome((Text("Look."), Call("call_a1", "get_weather", nested(levels))), "tools", Counts(5, 5, output=5))


DEPTHS = [100, 200, 210, 214, 216, 218, 220, 222, 224, 225, 240, 254, 255, 300, 900]


def way_of(inbound: str, upstream: str, *, stream: bool = False) -> Passage:
    return passage(CLIENTS[inbound].ask(stories.FORECAST, UPSTREAMS[upstream].MODEL, "th-key", stream=stream), upstream)


def tell(way: Passage, raw: str) -> None:
    """Read a whole reply and write it for the client, as far as it is one."""
    reply = way.adapter.reply(way.call, way.deployment, 200, {}, raw.encode())
    assert way.surface.reply(reply).with_usage(b"{}")


def tell_stream(way: Passage, frames: list[bytes]) -> None:
    reader = way.adapter.stream(way.call, way.deployment)
    for frame in frames:
        way.surface.feed(reader.feed(frame))
    reader.close()
    if reader.facts.failure is not None:
        raise UpstreamFault(reader.facts.failure)
    assert way.surface.ending(
        way.surface.hold_back(reader.ending()), End("req_1", reader.facts.usage or Usage(), COST, reader.facts)
    )


@pytest.mark.parametrize("levels", DEPTHS)
@each_pair
def test_a_call_in_a_reply_is_told_or_is_the_upstreams_fault(inbound: str, upstream: str, levels: int) -> None:
    way, raw = way_of(inbound, upstream), json.dumps(UPSTREAMS[upstream].say(called_with(levels)))
    failure = fault_of(lambda: tell(way, raw))
    assert failure is None or (failure.kind, levels > DEEPEST - 10) == (FaultKind.PROTOCOL, True)


@pytest.mark.parametrize("levels", DEPTHS)
@each_pair
def test_a_call_in_a_stream_is_told_or_is_the_upstreams_fault(inbound: str, upstream: str, levels: int) -> None:
    way, frames = way_of(inbound, upstream, stream=True), UPSTREAMS[upstream].stream(called_with(levels))
    failure = fault_of(lambda: tell_stream(way, frames))
    assert failure is None or (failure.kind, levels > DEEPEST - 10) == (FaultKind.PROTOCOL, True)


@pytest.mark.parametrize("levels", [200, 254, 255, 900])
@each_pair
def test_a_member_nobody_knows_is_read_as_deep_as_any(inbound: str, upstream: str, levels: int) -> None:
    odd = f'{{"odd":{json.dumps(nested(levels))},'
    way, raw = way_of(inbound, upstream), json.dumps(UPSTREAMS[upstream].say(stories.ANSWER)).replace("{", odd, 1)
    failure = fault_of(lambda: tell(way, raw))
    assert failure == (None if levels == 200 else Failure(FaultKind.PROTOCOL, code="not_json"))


@pytest.mark.parametrize("levels", [200, 255])
@each_pair
def test_an_event_with_such_a_member_is_passed_on_or_a_fault(inbound: str, upstream: str, levels: int) -> None:
    """Any one of its events; a frame that nobody rewrites may pass unread."""
    odd, frames = f'{{"odd":{json.dumps(nested(levels))},'.encode(), UPSTREAMS[upstream].stream(stories.ANSWER)
    for place, frame in enumerate(frames):
        way = way_of(inbound, upstream, stream=True)
        given = [*frames[:place], frame.replace(b"{", odd, 1), *frames[place + 1 :]]
        failure = fault_of(partial(tell_stream, way, given))
        assert failure is None or (failure.kind, levels > 200) == (FaultKind.PROTOCOL, True)


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_an_error_with_words_too_deep_is_one_that_cannot_be_read(upstream: str) -> None:
    way, raw = way_of("chat", upstream), json.dumps(openai_error("@")).replace('"@"', "[" * 400 + "]" * 400)
    assert way.adapter.failure(429, {}, raw.encode()) == way.adapter.failure(429, {}, b"{")
