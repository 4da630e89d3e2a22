"""Where an upstream counts nothing, the estimate is of what the model wrote, whoever reads it (T7)."""

import json
from typing import Any

import pytest

from tests.dialects import stories
from tests.dialects.pure import passage
from tests.dialects.rig import CLIENTS, UPSTREAMS
from tests.dialects.story import Call, Outcome, Text, Thought

WORDS = "The bridge is made of stone and iron. " * 40
TOLD = {
    "text": Outcome((Text(WORDS),)),
    "thought and text": Outcome((Thought(WORDS, stories.SEAL), Text(WORDS))),
    "call": Outcome((Call("call_a1", "get_weather", {"city": WORDS}),), "tools"),
    "text and call": Outcome((Text("Let me see."), Call("call_a1", "get_weather", {"city": WORDS})), "tools"),
    "thought and call": Outcome(
        (Thought(WORDS, stories.SEAL), Call("call_a1", "get_weather", {"city": WORDS})), "tools"
    ),
}


def size_of(outcome: Outcome) -> int:
    calls = sum(len(one.name) + len(json.dumps(one.arguments)) for one in outcome.calls)
    return len(outcome.text) + len(outcome.thought) + calls


def uncounted(frame: bytes) -> bytes:
    """Return a frame without any count of tokens."""
    head, mark, data = frame.partition(b"data: ")
    if not data.startswith(b"{"):
        return frame
    return b"%b%b%b\n\n" % (head, mark, json.dumps(_without(json.loads(data)), separators=(",", ":")).encode())


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(one) for name, one in value.items() if name not in ("usage", "usageMetadata")}
    return [_without(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("outcome", TOLD.values(), ids=TOLD)
@pytest.mark.parametrize("together", [1, 7, 1000])
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("inbound", CLIENTS)
def test_t7_what_passes_unread_is_counted_as_what_is_read(
    inbound: str, upstream: str, together: int, outcome: Outcome
) -> None:
    way = passage(CLIENTS[inbound].ask(stories.FORECAST, UPSTREAMS[upstream].MODEL, "th-key", stream=True), upstream)
    frames = [uncounted(one) for one in UPSTREAMS[upstream].stream(outcome)]
    reader = way.adapter.stream(way.call, way.deployment)
    for start in range(0, len(frames), together):
        reader.feed(b"".join(frames[start : start + together]))
    reader.close()
    assert (reader.facts.complete, reader.facts.usage) == (True, None)
    assert reader.facts.output_bytes == pytest.approx(size_of(outcome), rel=0.05)
