"""Between its frames a stream may hold what means nothing: empty lines, comments, an id, a time to retry after, an event without data.

By the WHATWG's rules for event streams a client skips all of it, wherever the network cuts; so no
reader may stumble over it, and no client may be told anything else because of it.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.dialects import stories
from tests.dialects.pure import Passage, passage
from tests.dialects.rig import CLIENTS, UPSTREAMS
from tests.dialects.story import Outcome

PAIRS = [(inbound, upstream) for inbound in CLIENTS for upstream in UPSTREAMS]
STORIES = [stories.ANSWER, stories.TWO_CALLS, stories.THOUGHTFUL_CALL]
NOISE = [
    b"\n",
    b"\n\n",
    b"\r\n\r\n\r\n",
    b": comment\n\n",
    b"retry: 3000\n\n",
    b"id: 7\n\n",
    b"event: ping\n\n",
    b"odd\n\n",
]

noises = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(NOISE)), max_size=8)
cuts = st.lists(st.integers(0, 6000), max_size=12)


def way_of(inbound: str, upstream: str) -> Passage:
    return passage(CLIENTS[inbound].ask(stories.FORECAST, UPSTREAMS[upstream].MODEL, "th-key", stream=True), upstream)


def with_noise(frames: Sequence[bytes], noise: Sequence[tuple[int, bytes]]) -> bytes:
    mixed = list(frames)
    for place, one in noise:
        mixed.insert(min(place, len(mixed)), one)
    return b"".join(mixed)


def pieces(body: bytes, places: Sequence[int]) -> Iterator[bytes]:
    edges = [0, *sorted({place for place in places if place < len(body)}), len(body)]
    for start, end in pairwise(edges):
        yield body[start:end]


@pytest.mark.parametrize(("inbound", "upstream"), PAIRS, ids=lambda name: name)
@example(outcome=stories.ANSWER, noise=[(6, b"\n\n")], places=[])
@example(outcome=stories.ANSWER, noise=[(number, b"\n\n") for number in range(0, 24, 2)], places=[])
@example(outcome=stories.ANSWER, noise=[(0, b"retry: 3000\n\n"), (40, b"event: ping\n\n")], places=[])
@given(outcome=st.sampled_from(STORIES), noise=noises, places=cuts)
def test_what_means_nothing_changes_nothing(
    inbound: str, upstream: str, outcome: Outcome, noise: list[tuple[int, bytes]], places: list[int]
) -> None:
    frames = UPSTREAMS[upstream].stream(outcome)
    client = CLIENTS[inbound]
    heard = client.from_stream(way_of(inbound, upstream).streamed(list(pieces(with_noise(frames, noise), places))))
    assert client.hear(heard) == client.hear(client.from_stream(way_of(inbound, upstream).streamed(frames)))


ODD = [[None], ["x"], 1, {"a": 1}, [], [{}], [{"index": 0}]]


@pytest.mark.parametrize("choices", ODD, ids=str)
@pytest.mark.parametrize("place", [-2, -1], ids=["before the usage", "before [DONE]"])
@pytest.mark.parametrize("inbound", [name for name in CLIENTS if name != "chat"])
def test_a_chunk_that_says_nothing_after_the_end_changes_nothing(inbound: str, place: int, choices: object) -> None:
    """The reply is whole by then: it used to be charged, and its client told that it was not."""
    upstream, client = UPSTREAMS["chat"], CLIENTS[inbound]
    frames = upstream.stream(stories.ANSWER)
    odd = {**upstream.HEAD, "object": "chat.completion.chunk", "choices": choices}
    mixed = [*frames[:place], b"data: %b\n\n" % json.dumps(odd).encode(), *frames[place:]]
    heard = client.from_stream(way_of(inbound, "chat").streamed(mixed))
    assert client.hear(heard) == client.hear(client.from_stream(way_of(inbound, "chat").streamed(frames)))
