"""One request from arrival to settlement, over real sockets: replies, bills, and how each ending is booked."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.fakes.raw_client import post
from tests.fakes.upstream import (
    Cut,
    FakeUpstream,
    Pause,
    Reset,
    json_reply,
    openai_chat,
    openai_error,
    openai_stream,
    openai_usage,
    sse_reply,
)
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.wire.openai_surfaces import ChatSurface

MODEL = "gpt-4o-mini"
"""0.15 USD a million in, 0.60 out."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, FakeUpstream]]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("exchange")))
    with FakeUpstream([]) as fake:
        gateway.add_credential("openai", fake.url)
        yield gateway, fake
        gateway.stop()


def test_plain_reply_is_billed_to_the_nano_dollar(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(json_reply(openai_chat("Paris.", usage=openai_usage(1000, 100))))
    answer = gateway.chat(MODEL)
    assert answer.status == 200, answer.body
    body = answer.json()
    assert body["choices"][0]["message"]["content"] == "Paris."
    # 1000 × 150 + 100 × 600 = 210 000 nano-USD; 3 % of it = 6 300
    assert before - gateway.balance() == 216_300
    assert body["usage"]["cost"] == 0.0002163
    assert body["usage"]["cost_details"]["model_fee"] == "0.00021"
    assert body["usage"]["cost_details"]["service_fee"] == "0.0000063"
    assert answer.headers["x-tokenhub-cost"] == "0.0002163"
    assert answer.headers["x-tokenhub-provider"] == "openai"
    assert answer.headers["x-tokenhub-model"] == MODEL
    assert answer.headers["x-tokenhub-attempts"] == "1"
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-ratelimit-limit-requests"] == "100000"


def stream(gateway: RunningGateway, **fields: object) -> tuple[list[dict], bool, bytes]:
    """Ask for a stream; return its events, whether it was done, and its bytes."""
    answer = gateway.chat(MODEL, stream=True, **fields)
    assert answer.status == 200, answer.body
    events, done = [], False
    for frame in answer.body.split(b"\n\n"):
        if frame == b"data: [DONE]":
            done = True
        elif frame.startswith(b"data: "):
            assert not done, "nothing comes after [DONE]"
            events.append(json.loads(frame[6:]))
    return events, done, answer.body


def text_of(events: list[dict]) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event.get("choices", ()))


def last(gateway: RunningGateway, before: int) -> dict:
    return gateway.settled(before + 1)[-1]


def count(gateway: RunningGateway) -> int:
    return gateway.rows("SELECT COUNT(*) AS n FROM requests")[0]["n"]


def test_stream_is_relayed_and_its_usage_hidden_from_who_did_not_ask(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    before, ended = gateway.balance(), count(gateway)
    fake.add(sse_reply(openai_stream(["Par", "is."], usage=openai_usage(1000, 100))))
    events, done, _ = stream(gateway)
    assert text_of(events) == "Paris."
    assert done
    assert all(event["choices"] for event in events), "the usage chunk is for those who asked"
    assert before - gateway.balance() == 216_300
    row = last(gateway, ended)
    assert (row["end"], row["charged"], row["streamed"], row["finish_reason"]) == ("settled", 216_300, 1, "stop")
    assert fake.received[-1].json()["stream_options"] == {"include_usage": True}


def test_stream_shows_its_bill_to_who_asked(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    fake.add(sse_reply(openai_stream(["Hi"], usage=openai_usage(10, 5))))
    events, done, _ = stream(gateway, stream_options={"include_usage": True})
    assert done
    closing = events[-1]
    assert closing["choices"] == []
    assert closing["id"] == events[0]["id"]
    # 10 × 150 + 5 × 600 = 4 500; 3 % = 135
    assert closing["usage"]["cost_details"]["total"] == "0.000004635"
    assert [event for event in events[:-1] if event.get("usage")] == []


def test_t7_missing_usage_is_estimated_and_marked(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    for reply in (json_reply(openai_chat("word " * 40, usage={})), sse_reply(openai_stream(["word "] * 40, usage={}))):
        ended = count(gateway)
        fake.add(reply)
        streamed = reply is not None and b"event-stream" in repr(reply).encode()
        answer = gateway.chat(MODEL, stream=streamed)
        assert answer.status == 200
        row = last(gateway, ended)
        assert row["estimated"] == 1
        assert row["end"] == "settled"
        assert 0 < row["charged"] < row["held"]


def test_t7_an_estimate_is_no_more_than_the_reply_was_allowed(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    for asked, choices in (({"max_tokens": 20}, 1), ({"max_completion_tokens": 20, "n": 2}, 2)):
        ended = count(gateway)
        fake.add(json_reply(openai_chat("word " * 400, usage={})))
        assert gateway.chat(MODEL, **asked).status == 200
        row = last(gateway, ended)
        assert (row["estimated"], row["output_tokens"]) == (1, 20 * choices)


@pytest.mark.parametrize("streamed", [True, False])
def test_what_fails_after_the_charge_is_never_told_to_have_cost_nothing(
    running: tuple[RunningGateway, FakeUpstream], monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    """A fault of our own, put where none is known: the end is not shown, so a client knows that it does not know."""
    gateway, fake = running
    ended = count(gateway)
    monkeypatch.setattr(ChatSurface, "ending" if streamed else "usage", lambda *_: 1 / 0)
    fake.add(sse_reply(openai_stream(["Hi"])) if streamed else json_reply(openai_chat("Hi")))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        client.sendall(
            post(gateway.key, {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": streamed})
        )
        told = b""
        with suppress(ConnectionResetError):
            while data := client.recv(65536):
                told += data
    assert b"error" not in told
    assert b"[DONE]" not in told
    assert last(gateway, ended)["end"] == "settled"


def test_t8_usage_of_zero_costs_nothing(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    before, ended = gateway.balance(), count(gateway)
    fake.add(json_reply(openai_chat("free", usage=openai_usage(0, 0))))
    assert gateway.chat(MODEL).json()["usage"]["cost"] == 0
    assert last(gateway, ended)["end"] == "settled"
    assert gateway.balance() == before


NONSENSE = [
    -1, 1.5, "7", True, None, [], {}, [1], {"a": 1}, 2**63, 10**30, float(2**40), "", "NaN", False,
]  # fmt: skip


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_t9_nonsense_usage_is_no_usage(running: tuple[RunningGateway, FakeUpstream], value: object) -> None:
    gateway, fake = running
    before, ended = gateway.balance(), count(gateway)
    fake.add(
        json_reply(
            openai_chat("some words", usage={**openai_usage(5, 5), "prompt_tokens": value, "completion_tokens": value})
        )
    )
    assert gateway.chat(MODEL).status == 200
    row = last(gateway, ended)
    assert row["estimated"] == 1
    assert 0 < row["charged"] <= row["held"]
    assert gateway.balance() == before - row["charged"]


def test_reply_without_content_is_released(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    before, ended = gateway.balance(), count(gateway)
    fake.add(json_reply(openai_chat("", usage=openai_usage(9, 0))))
    answer = gateway.chat(MODEL)
    assert answer.status == 200
    assert answer.json()["usage"]["cost"] == 0
    assert last(gateway, ended)["end"] == "released"
    assert gateway.balance() == before


def test_filtered_reply_with_nothing_shown_is_released(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    before, ended = gateway.balance(), count(gateway)
    fake.add(json_reply(openai_chat(None, usage=openai_usage(9, 4), finish_reason="content_filter")))
    assert gateway.chat(MODEL).json()["choices"][0]["finish_reason"] == "content_filter"
    assert last(gateway, ended)["end"] == "released"
    assert gateway.balance() == before


def test_reasoning_alone_is_settled(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    ended = count(gateway)
    fake.add(json_reply(openai_chat("", usage=openai_usage(9, 50, reasoning=50), finish_reason="length")))
    assert gateway.chat(MODEL).status == 200
    row = last(gateway, ended)
    assert (row["end"], row["reasoning_tokens"]) == ("settled", 50)


def test_t75_failure_after_content_ends_with_an_error_event_and_no_charge(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    frames = openai_stream(["One ", "two ", "three"])
    for ending in (
        [Cut()],
        [Reset()],
        [b'data: {"error": {"message": "secret words", "type": "server_error", "code": null, "param": null}}\n\n'],
    ):
        before, ended = gateway.balance(), count(gateway)
        fake.add(sse_reply([*frames[:3], Pause(0.05), *ending]))
        events, done, raw = stream(gateway)
        assert not done
        assert text_of(events).startswith("One ")
        assert events[-1]["error"]["type"] == "upstream_error"
        assert events[-1]["choices"][0]["finish_reason"] == "error"
        assert b"secret words" not in raw
        row = last(gateway, ended)
        assert (row["end"], row["charged"], row["status"]) == ("released", 0, 502)
        assert gateway.balance() == before


def leave(gateway: RunningGateway, body: dict, *, after: bytes | None) -> None:
    """Send a request and reset the connection: after these bytes have come, or at once."""
    data = json.dumps(body).encode()
    client = socket.create_connection(("127.0.0.1", gateway.port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    client.sendall(head.encode() + data)
    seen = b""
    if after is None:
        time.sleep(0.3)
    while after is not None and after not in seen:
        seen += client.recv(65536)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()


@pytest.mark.parametrize("streamed", [True, False])
def test_t18_t19_client_that_leaves_before_content_costs_nothing(
    running: tuple[RunningGateway, FakeUpstream], streamed: bool
) -> None:
    gateway, fake = running
    before, ended = gateway.balance(), count(gateway)
    fake.add([Pause(5.0), *(sse_reply(openai_stream()) if streamed else json_reply(openai_chat()))])
    leave(gateway, {"model": MODEL, "stream": streamed, "messages": [{"role": "user", "content": "x"}]}, after=None)
    row = last(gateway, ended)
    assert (row["end"], row["cancelled"], row["charged"]) == ("released", 1, 0)
    assert gateway.balance() == before
    assert fake.received[-1].gone.wait(1.0), "the upstream sees the client's leaving within a second"


@pytest.mark.parametrize("frame", [1, 2, 4])
def test_t17_client_that_leaves_after_content_is_charged_what_was_used(
    running: tuple[RunningGateway, FakeUpstream], frame: int
) -> None:
    gateway, fake = running
    before, ended = gateway.balance(), count(gateway)
    pieces = [f"piece{number} " for number in range(6)]
    frames = openai_stream(pieces, usage=openai_usage(1000, 100))
    slow = [step for one in frames for step in (one, Pause(0.05))]
    fake.add(sse_reply(slow))
    leave(
        gateway,
        {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "x"}]},
        after=f"piece{frame - 1} ".encode(),
    )
    row = last(gateway, ended)
    assert (row["end"], row["charged"], row["estimated"]) == ("settled", 216_300, 0)
    assert before - gateway.balance() == 216_300


def test_upstream_client_fault_is_told_in_its_place(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    ended = count(gateway)
    fake.add(json_reply(openai_error("Invalid 'messages[0].role'", param="messages[0].role"), status=400))
    answer = gateway.chat(MODEL)
    assert answer.status == 400
    assert answer.json()["error"]["param"] == "messages[0].role"
    assert last(gateway, ended)["end"] == "released"


def test_reads_show_the_limits_and_count_as_nothing(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    key = gateway.add_key(rpm=5)
    fake.add(json_reply(openai_chat("x")))
    headers = {"Authorization": f"Bearer {key}"}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    assert gateway.call("POST", "/v1/chat/completions", body, headers).headers["x-ratelimit-remaining-requests"] == "4"
    for path in ("/v1/models", f"/v1/models/{MODEL}", "/v1/key", "/v1/credits", "/v1/key"):
        answer = gateway.call("GET", path, headers=headers)
        assert (answer.status, answer.headers["x-ratelimit-remaining-requests"]) == (200, "4")
        assert answer.headers["x-ratelimit-limit-requests"] == "5"
