"""A request leaves no garbage: what it held is freed as it ends, not when the collector comes, which is rarely.

One reference in a circle keeps a whole request with its body: eight clients with bodies of
1 MB made a gateway of 380 MB that way.
"""

import gc
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from types import ModuleType

import pytest

from tests.dialects import stories
from tests.dialects.rig import CLIENTS, UPSTREAMS, Rig, cut_stream, open_rig
from tests.fakes.raw_client import RawClient, eventually, head
from tests.fakes.upstream import Cut, Reply, Reset, WaitFor, json_reply, sse_reply

TIMES = 2
"""Each request is made again, so that the first has ended whatever the second still does."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("garbage")) as opened:
        yield opened


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """Count, by type, what of TokenHub's the block leaves to the collector."""
    found: Counter[str] = Counter()
    gc.disable()
    try:
        gc.collect()
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        types = [type(one) for one in gc.garbage]
        found.update(f"{one.__module__}.{one.__qualname__}" for one in types if one.__module__.startswith("tokenhub."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        with warnings.catch_warnings():
            # What was kept to be counted goes here; a socket of the test's own among it is no other test's fault.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        gc.enable()


def whole_replies(upstream: ModuleType) -> Sequence[Reply]:
    """An answer, refusals, and what breaks before it has begun."""
    return [
        json_reply(upstream.say(stories.ANSWER)),
        *(json_reply(body, status) for status, body in upstream.REFUSALS.values()),
        json_reply({"error": {"message": "Request too large for this key"}}, 429),
        json_reply([]),
        [Cut()],
        [Reset()],
        [b"HTTP/1.1 2x0 odd\r\n\r\n", Cut()],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", Cut()],
    ]


def streams(upstream: ModuleType) -> Sequence[Reply]:
    """An answer, and what breaks before and after content."""
    frames = upstream.stream(stories.ANSWER)
    half = len(frames) - 4
    return [
        sse_reply(frames),
        cut_stream(frames, 0, Cut()),
        cut_stream(frames, half, Cut()),
        cut_stream(frames, half, Reset()),
        cut_stream(frames, half, *upstream.BREAKS),
        [*cut_stream(frames, half)[:-1], b"zz\r\n", Cut()],
    ]


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_request_leaves_no_garbage(rig: Rig, client: str, upstream: str) -> None:
    speaks, answers = CLIENTS[client], UPSTREAMS[upstream]
    for streamed, replies in ((False, whole_replies(answers)), (True, streams(answers))):
        ask = speaks.ask(stories.TALK, answers.MODEL, rig.gateway.key, stream=streamed)
        for number, reply in enumerate(replies):
            with garbage() as found:
                for _ in range(TIMES):
                    answer = rig.send(ask, reply, reply, reply)
                    assert (answer.status == 200) == (number == 0 or (streamed and number > 1))
                    rig.row(answer)
            assert not found, (streamed, number)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_who_leaves_leaves_no_garbage(rig: Rig, client: str) -> None:
    speaks, answers = CLIENTS[client], UPSTREAMS["chat"]
    frames = answers.stream(stories.ANSWER)
    ask = speaks.ask(stories.TALK, answers.MODEL, rig.gateway.key, stream=True)
    data = ask.body if isinstance(ask.body, bytes) else json.dumps(ask.body).encode()
    lines = [f"{name}: {value}" for name, value in ask.headers.items()]
    request = head("POST", ask.path, *lines, "Content-Type: application/json", f"Content-Length: {len(data)}") + data
    assert rig.gateway.gateway is not None
    runtime = rig.gateway.gateway.runtime
    with garbage() as found:
        for _ in range(TIMES):
            gone = Event()
            rig.ready(cut_stream(frames, len(frames) - 4, WaitFor(gone), *frames[-4:]))
            with RawClient(rig.gateway.port) as reader:
                reader.send(request)
                reader.until(b"data:")
            with RawClient(rig.gateway.port) as hasty:
                hasty.send(request[:-20])
            gone.set()
            assert eventually(lambda: not runtime.exchanges and not runtime.drains)
    assert not found
