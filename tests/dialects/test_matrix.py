"""Each dialect that clients speak, over each that upstreams speak: every cell a request through the running gateway.

What the upstream is asked is what the client meant; what the client hears is what the
upstream said; what is charged is usage times price, and nothing for what failed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from tests.dialects import stories
from tests.dialects.matrix import Cell, cells
from tests.dialects.rig import CLIENTS, UPSTREAMS, Rig, Seen, assert_free, cut_stream, open_rig
from tests.dialects.story import Ask, Broken, Conversation, Outcome, Result, Turn
from tests.fakes.upstream import Cut, Reset, json_reply


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("dialects")) as opened:
        yield opened


class Play:
    """One cell as it is played."""

    def __init__(self, rig: Rig, cell: Cell) -> None:
        self.rig, self.cell = rig, cell
        self.client: ModuleType = CLIENTS[cell.inbound]
        self.upstream: ModuleType = UPSTREAMS[cell.upstream]

    def ask(self, conversation: Conversation, *, stream: bool) -> Ask:
        return self.client.ask(conversation, self.upstream.MODEL, self.rig.gateway.key, stream=stream)

    def exchange(self, conversation: Conversation, outcome: Outcome, *, stream: bool) -> Seen:
        return self.rig.exchange(
            self.client, self.upstream, self.ask(conversation, stream=stream), outcome, conversation
        )

    def loop(self, conversation: Conversation, outcome: Outcome, *, stream: bool) -> Seen:
        """Play a request that is answered by calls, and the next, which gives the reply back with their results."""
        seen = self.exchange(conversation, outcome, stream=stream)
        calls = self.client.hear(seen.reply).calls
        results = [Result(call.id, f"{call.name} says: 21 °C") for call in calls]
        told = tuple(Result(call.id, result.text) for call, result in zip(outcome.calls, results, strict=True))
        whole = replace(conversation, turns=(*conversation.turns, Turn("assistant", outcome.parts), Turn("user", told)))
        return self.rig.exchange(
            self.client, self.upstream, self.client.goes_on(seen.asked, seen.reply, results), stories.ANSWER, whole
        )


def plain(play: Play) -> None:
    play.exchange(stories.TALK, stories.ANSWER, stream=False)
    play.exchange(stories.TALK, stories.SHORT, stream=False)


def stream(play: Play) -> None:
    play.exchange(stories.TALK, stories.ANSWER, stream=True)
    play.exchange(stories.TALK, stories.SHORT, stream=True)


def tools(play: Play) -> None:
    for streamed in (False, True):
        play.loop(stories.FORECAST, stories.ONE_CALL, stream=streamed)


def parallel_tools(play: Play) -> None:
    for streamed in (False, True):
        play.loop(stories.FORECAST, stories.TWO_CALLS, stream=streamed)


def images(play: Play) -> None:
    for streamed in (False, True):
        play.exchange(stories.SIGHT, stories.ANSWER, stream=streamed)


def reasoning(play: Play) -> None:
    for streamed in (False, True):
        play.exchange(stories.TALK, stories.THOUGHTFUL, stream=streamed)
        seen = play.loop(stories.FORECAST, stories.THOUGHTFUL_CALL, stream=streamed)
        returned = play.upstream.seals(seen.received.json())
        assert returned == ([stories.SEAL] if play.cell.keeps_seal else [])


REFUSALS = {
    "key refused": (502, "upstream_error"),
    "throttled": (503, "no_provider_available"),
    "broken": (502, "upstream_error"),
    "bad request": (400, "invalid_request_error"),
    "too long": (400, "context_length_exceeded"),
}
"""What a client is told for what an upstream says: status and code."""


def errors(play: Play) -> None:
    for what, (status, code) in REFUSALS.items():
        said, body = play.upstream.REFUSALS[what]
        for streamed in (False, True):
            headers = {"retry-after": "7"} if what == "throttled" else {}
            answer = play.rig.send(play.ask(stories.TALK, stream=streamed), json_reply(body, said, headers))
            assert answer.status == status, (what, answer.body)
            assert play.upstream.takes(play.rig.fake.received[-1].path)
            assert_error(play.client, answer.json(), status, code, answer.headers["x-request-id"])
            assert b"anary" not in answer.body, "an upstream's words are its own"
            assert (b"top_p is odd" in answer.body) == (what == "bad request")
            assert ("retry-after" in answer.headers) == (status == 503)
            assert play.upstream.PROVIDER in every_text(answer.json())
            assert_free(play.rig.row(answer))


def assert_error(client: ModuleType, body: Any, status: int, code: str, request_id: str) -> None:
    """The error is the dialect's own, and has what every one of ours tells."""
    word, message = client.error(body)
    assert word == client.ERRORS[status], body
    assert len(message) > 10
    assert {code, request_id} <= every_text(body), body


def every_text(value: Any) -> set[str]:
    """Return every string that stands in a JSON value, wherever."""
    if isinstance(value, str):
        return {value}
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return set().union(*map(every_text, inner))


def cut_streams(play: Play) -> None:
    frames = play.upstream.stream(stories.ANSWER)
    half = len(frames) - 4
    endings = {"closed": (), "cut": (Cut(),), "reset": (Reset(),), "failed": tuple(play.upstream.BREAKS)}  # fmt: skip
    for how, steps in endings.items():
        asked = play.ask(stories.TALK, stream=True)
        answer = play.rig.send(asked, cut_stream(frames, half, *steps))
        assert answer.status == 200, (how, answer.body)
        with pytest.raises(Broken) as broken:
            play.client.from_stream(answer.body)
        assert stories.ANSWER.text.startswith(broken.value.so_far), how
        assert broken.value.so_far, how
        texts = every_text(broken.value.error)
        assert any("failed in the middle" in text for text in texts), broken.value.error
        assert b"anary" not in answer.body
        row = play.rig.row(answer)
        assert (row["status"], row["error_code"]) == (502, "upstream_error"), how
        assert_free(row)
        answer = play.rig.send(asked, cut_stream(frames, 0, *steps))
        assert answer.status == 502, (how, answer.body)
        assert_error(play.client, answer.json(), 502, "upstream_error", answer.headers["x-request-id"])
        assert_free(play.rig.row(answer))


PLAYS: Mapping[str, Callable[[Play], None]] = {
    "plain": plain,
    "stream": stream,
    "tools": tools,
    "parallel tools": parallel_tools,
    "images": images,
    "reasoning": reasoning,
    "errors": errors,
    "cut streams": cut_streams,
}


@pytest.mark.parametrize("cell", list(cells()), ids=lambda cell: cell.id)
def test_a_cell_of_the_matrix(rig: Rig, cell: Cell) -> None:
    PLAYS[cell.kind](Play(rig, cell))
