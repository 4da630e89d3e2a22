"""An upstream that says nothing for a while, and a client that leaves, in each dialect."""

import socket
import time
from collections.abc import Iterator

import orjson
import pytest

from tests.dialects import stories
from tests.dialects.rig import CLIENTS, UPSTREAMS, Rig, assert_free, open_rig
from tests.dialects.story import Broken
from tests.dialects.test_matrix import every_text
from tests.fakes.stage import bill_of
from tests.fakes.upstream import Pause, json_reply, sse_reply

SILENT_S = 0.14
PAIRS = [(inbound, upstream) for inbound in CLIENTS for upstream in UPSTREAMS]
each_pair = pytest.mark.parametrize(("inbound", "upstream"), PAIRS, ids=lambda name: name)

BRIDGES = {"chat": b": keep-alive", "messages": b"event: ping", "responses": b": keep-alive", "gemini": b"\n"}
"""What a dialect's clients take for a sign of life and for nothing else."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(tmp_path_factory.mktemp("silence"), flags={"server.keep_alive_s": 0.05}) as opened:
        yield opened


@each_pair
def test_a_silence_before_and_within_a_stream_is_bridged(rig: Rig, inbound: str, upstream: str) -> None:
    client, module = CLIENTS[inbound], UPSTREAMS[upstream]
    frames = module.stream(stories.ANSWER)
    half = len(frames) // 2
    slow = sse_reply([Pause(SILENT_S), *frames[:half], Pause(SILENT_S), *frames[half:]])
    answer = rig.send(client.ask(stories.TALK, module.MODEL, rig.gateway.key, stream=True), slow)
    assert answer.status == 200
    assert answer.body.startswith(BRIDGES[inbound]), answer.body[:80]
    assert client.hear(client.from_stream(answer.body)).said == stories.ANSWER.said
    assert rig.row(answer)["charged"] == sum(bill_of(stories.ANSWER.counts.buckets))


@each_pair
def test_an_upstream_that_fails_after_a_silence_is_told_as_the_end_of_the_stream(
    rig: Rig, inbound: str, upstream: str
) -> None:
    client, module = CLIENTS[inbound], UPSTREAMS[upstream]
    late = [Pause(SILENT_S), *json_reply(module.REFUSALS["broken"][1], 500)]
    answer = rig.send(client.ask(stories.TALK, module.MODEL, rig.gateway.key, stream=True), late)
    assert answer.status == 200, "the head was written to keep the stream alive"
    with pytest.raises(Broken) as broken:
        client.from_stream(answer.body)
    assert broken.value.so_far == ""
    assert any("failed to answer" in text for text in every_text(broken.value.error))
    assert_free(rig.row(answer))


@each_pair
def test_who_leaves_in_the_middle_is_charged_for_what_was_made(rig: Rig, inbound: str, upstream: str) -> None:
    client, module = CLIENTS[inbound], UPSTREAMS[upstream]
    frames = module.stream(stories.ANSWER)
    asked = client.ask(stories.TALK, module.MODEL, rig.gateway.key, stream=True)
    rig.ready(sse_reply([*frames[:-4], Pause(0.15), *frames[-4:]]))
    count = len(rig.gateway.rows("SELECT 1 FROM requests"))
    with socket.create_connection(("127.0.0.1", rig.gateway.port), timeout=10) as connection:
        body = orjson.dumps(asked.body)
        headers = {"host": "hub", "content-type": "application/json", "content-length": str(len(body)), **asked.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.sendall(f"POST {asked.path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        heard = b""
        while b"stone" not in heard.replace(b"ston", b"stone"):
            heard += connection.recv(65536)
    row = _ended(rig, count)
    assert (row["end"], row["cancelled"], row["estimated"]) == ("settled", 1, 0)
    assert row["charged"] == sum(bill_of(stories.ANSWER.counts.buckets))


def _ended(rig: Rig, before: int) -> dict[str, object]:
    deadline = time.monotonic() + 5
    while len(rows := rig.gateway.rows("SELECT * FROM requests ORDER BY started_at, id")) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return rows[-1]
