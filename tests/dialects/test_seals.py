"""An upstream's proof of a thought comes back to it, shown or not, and goes to nobody else."""

import base64
import re
from typing import Any

import pytest

from tests.dialects import stories
from tests.dialects.pure import Passage, passage
from tests.dialects.rig import CLIENTS, UPSTREAMS
from tests.dialects.story import Ask, Result, plainly
from tests.dialects.test_matrix import every_text

SEALING = [name for name in UPSTREAMS if name != "chat"]
"""Upstream dialects that prove their thoughts."""
SHOWN: dict[str, Any] = {
    "messages": "thinking",
    "responses": "reasoning",
    "gemini": "generationConfig",
}
"""The member by which a client asks to see thoughts; chat's clients see them unasked."""


def looped(inbound: str, maker: str, next_one: str, *, shown: bool = True, stream: bool = False) -> Passage:
    """Return the second request of a tool loop whose first was answered by ``maker``, to the upstream ``next_one``."""
    client = CLIENTS[inbound]
    asked = client.ask(stories.FORECAST, UPSTREAMS[maker].MODEL, "th-key", stream=stream)
    if not shown:
        asked.body.pop(SHOWN.get(inbound, ""), None)
    way = passage(asked, maker)
    if stream:
        reply = client.from_stream(way.streamed(UPSTREAMS[maker].stream(stories.THOUGHTFUL_CALL)))
    else:
        reply = way.whole(UPSTREAMS[maker].say(stories.THOUGHTFUL_CALL))
    call = client.hear(reply).calls[0]
    further: Ask = client.goes_on(asked, reply, [Result(call.id, "rain")])
    other = client.ask(stories.FORECAST, UPSTREAMS[next_one].MODEL, "th-key", stream=stream)
    body = {**further.body, **({"model": other.body["model"]} if "model" in other.body else {})}
    return passage(Ask(other.path, body, other.headers, stream), next_one)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("shown", [True, False], ids=["shown", "hidden"])
@pytest.mark.parametrize("maker", SEALING)
@pytest.mark.parametrize("inbound", CLIENTS)
def test_a_seal_comes_back_to_its_maker_once(inbound: str, maker: str, shown: bool, stream: bool) -> None:
    way = looped(inbound, maker, maker, shown=shown, stream=stream)
    assert UPSTREAMS[maker].seals(way.body) == [stories.SEAL]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("next_one", UPSTREAMS)
@pytest.mark.parametrize("maker", UPSTREAMS)
@pytest.mark.parametrize("inbound", CLIENTS)
def test_a_seal_goes_to_nobody_else(inbound: str, maker: str, next_one: str, stream: bool) -> None:
    way = looped(inbound, maker, next_one, stream=stream)
    asked = plainly(UPSTREAMS[next_one].asked(way.path, way.body))
    assert [len(turn.parts) for turn in asked.turns] == [1, 1, 1], "the loop is whole"
    if maker != next_one:
        assert UPSTREAMS[next_one].seals(way.body) == [], "what is not the upstream's own makes it refuse"
        assert [text for text in every_text(way.body) if holds_seal(text)] == []


def holds_seal(text: str) -> bool:
    """Whether a seal is in a text, plain or packed in base64 behind any mark."""
    if stories.SEAL in text:
        return True
    for word in re.findall(r"[A-Za-z0-9+/_-]{24,}", text):
        for skip in range(4):
            raw = word[skip:].translate(str.maketrans("-_", "+/"))
            if stories.SEAL.encode() in base64.b64decode(raw[: len(raw) // 4 * 4]):
                return True
    return False
