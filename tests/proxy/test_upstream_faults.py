"""Upstreams that fail, behind a running gateway: what the client sees, who is called next, what is paid."""

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.chains import CANARY, CHAIN, Chain, clean, open_chain, text_of
from tests.fakes.upstream import (
    DONE,
    Cut,
    FakeUpstream,
    Pause,
    Reply,
    Reset,
    WaitForClientClose,
    chunk,
    head,
    json_reply,
    openai_chat,
    openai_chunk,
    openai_error,
    openai_stream,
    openai_usage,
    sse,
    sse_reply,
)
from tokenhub.call import Wire
from tokenhub.providers.adapter import Adapter
from tokenhub.wire.replies import StreamFacts

BETA_FEES = (4_000_000, 120_000)
"""1000 × 2 + 100 × 20 USD a million, in nano-USD, and 3 % of it."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with open_chain(tmp_path_factory.mktemp("chain"), **{"upstream.max_reply_bytes": 2**20}) as opened:
        yield opened


def assert_beta_answered(chain: Chain, *, stream: bool) -> None:
    """The client sees one clean reply of beta's, and pays for that alone."""
    answer = chain.ask(stream=stream)
    assert answer.status == 200, answer.body
    assert text_of(answer) == "I am beta."
    assert CANARY.encode() not in answer.body
    assert (answer.headers["x-tokenhub-provider"], answer.headers["x-tokenhub-attempts"]) == ("beta", "2")
    assert chain.calls == [1, 1, 0]
    row = chain.row(answer)
    assert (row["provider"], row["model_fee"], row["service_fee"], row["end"]) == ("beta", *BETA_FEES, "settled")
    assert [one["outcome"] == "answered" for one in json.loads(row["attempts"])] == [False, True]


class Unforeseen:
    """An adapter that meets what its author did not think of."""

    def __init__(self, real: Adapter) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def reply(self, *_: object) -> Any:
        return {}["usage"]

    def stream(self, *_: object) -> Any:
        return self

    def feed(self, _: bytes) -> bytes:
        raise KeyError("usage")

    def failure(self, *_: object) -> Any:
        return {}["message"]

    facts = StreamFacts()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", [(), (json_reply(openai_error("down"), 503),)], ids=["answer", "error"])
def test_t77_a_reply_that_nobody_thought_of_is_the_upstreams_fault(
    chain: Chain, first: tuple[Reply, ...], stream: bool
) -> None:
    chain.play()
    assert chain.ask().status == 200
    chain.play(*first)
    assert chain.gateway.gateway
    runtime = chain.gateway.gateway.runtime
    before = runtime.snapshot
    real = before.adapters["alpha", Wire.CHAT]
    runtime.snapshot = replace(before, adapters={**before.adapters, ("alpha", Wire.CHAT): Unforeseen(real)})
    try:
        assert_beta_answered(chain, stream=stream)
    finally:
        runtime.snapshot = before


SAID = "Your prompt was: My name is Alice Smith"


@pytest.mark.parametrize("stream", [False, True])
def test_t112_what_an_upstream_says_beside_its_content_is_kept_as_words_only(chain: Chain, *, stream: bool) -> None:
    refused = json_reply({"error": {"message": SAID, "code": SAID, "type": SAID}}, 500)
    answered = (
        sse_reply([openai_chunk({"content": "Hi"}, SAID, id=SAID, model=SAID), DONE])
        if stream
        else json_reply({**openai_chat("Hi", finish_reason=SAID, model=SAID), "id": SAID})
    )
    chain.play(refused, answered)
    answer = chain.ask(stream=stream)
    assert answer.status == 200, answer.body
    row = chain.row(answer)
    assert (row["upstream_id"], row["finish_reason"], row["native_finish_reason"]) == (None, None, None)
    attempts = json.loads(row["attempts"])
    assert [(one["code"], one["served_model"]) for one in attempts] == [("", None), ("", None)]
    assert "Alice" not in str(row)
    assert "AliceSmith" not in str(row)


ROLE = openai_chunk({"role": "assistant", "content": ""})
BROKEN_STREAMS: dict[str, Reply] = {
    "error frame first": sse_reply([sse({"error": {"message": CANARY, "code": "server_error"}}), DONE]),
    "error frame after the role": sse_reply([ROLE, sse({"error": {"message": CANARY}}), DONE]),
    "error event": sse_reply([ROLE, sse({"message": CANARY, "code": "x"}, event="error")]),
    "bare error after the role": sse_reply([ROLE, json.dumps({"error": {"message": CANARY}}).encode()]),
    "JSON error": json_reply(openai_error(CANARY)),
    "JSON error named a stream": json_reply(openai_error(CANARY), headers={"Content-Type": "text/event-stream"}),
    "web page": json_reply(f"<html>{CANARY}</html>".encode(), headers={"Content-Type": "text/html"}),
    "nothing": sse_reply([]),
    "only DONE": sse_reply([DONE]),
    "role, then the end": sse_reply([ROLE]),
    "role, then cut": sse_reply([ROLE, Cut()]),
    "role, then reset": sse_reply([ROLE, Reset()]),
    "malformed frame": sse_reply([b"data: {not json " + CANARY.encode() + b"\n\n"]),
    "failed finish": sse_reply([ROLE, openai_chunk({}, "network_error"), DONE]),
    "usage, then cut": sse_reply([ROLE, openai_chunk({}, choices=[], usage=openai_usage(9, 9)), Cut()]),
    "half a frame of content": sse_reply([ROLE, openai_chunk({"content": CANARY})[:-9]]),
    "whole reply without choices": json_reply({"id": "x", "object": "chat.completion", "choices": []}),
}
BROKEN_REPLIES: dict[str, Reply] = {
    "error": json_reply(openai_error(CANARY)),
    "flat error": json_reply({"code": "InternalError", "message": CANARY, "request_id": "x"}),
    "web page": json_reply(f"<html>{CANARY}</html>".encode()),
    "no choices": json_reply({"id": "x", "choices": []}),
    "choice without message": json_reply({"id": "x", "choices": [{"index": 0}]}),
    "a list": json_reply([1]),
    "nothing": json_reply(b""),
    "failed finish": json_reply(openai_chat(CANARY, finish_reason="network_error")),
    "cut": [json_reply(openai_chat(CANARY))[0][:-20], Cut()],
    "reset": [json_reply(openai_chat(CANARY))[0][:-20], Reset()],
    "half a chunk": [head(200, {"Transfer-Encoding": "chunked"}), chunk(b'{"id":')[:-3], Cut()],
}


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_t74_stream_that_fails_before_content_is_replaced_unseen(chain: Chain, name: str) -> None:
    chain.play(BROKEN_STREAMS[name])
    assert_beta_answered(chain, stream=True)


@pytest.mark.parametrize("name", BROKEN_REPLIES)
def test_t74_reply_that_is_none_is_replaced_unseen(chain: Chain, name: str) -> None:
    chain.play(BROKEN_REPLIES[name])
    assert_beta_answered(chain, stream=False)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4, 5])
def test_t72_stream_cut_at_a_frame_is_never_a_success(chain: Chain, kept: int, framing: str) -> None:
    frames = openai_stream(["I am ", "alpha."], usage=openai_usage(9, 9))
    assert len(frames) == 6
    steps = [*frames[:kept], frames[kept][: len(frames[kept]) // 2], Cut()]
    if framing == "length":
        reply: Reply = [head(200, {"Content-Type": "text/event-stream", "Content-Length": "9999"}), *steps]
    else:
        reply = sse_reply([*steps[:-2], Pause(0.02), *steps[-2:]], framing=framing)
    chain.play(reply)
    answer = chain.ask(stream=True)
    if chain.calls == [1, 1, 0]:
        assert text_of(answer) == "I am beta."
    else:
        assert kept > 1
        assert b"[DONE]" not in answer.body
        assert b'"upstream_error"' in answer.body
        assert (chain.row(answer)["end"], chain.row(answer)["charged"]) == ("released", 0)


ENDINGS: dict[str, list[Any]] = {
    "cut": [Cut()],
    "reset": [Reset()],
    "silence": [WaitForClientClose()],
    "error frame": [sse({"error": {"message": CANARY, "code": "x"}})],
    "error event": [sse({"message": CANARY}, event="error")],
    "web page": [f"<html>{CANARY}</html>\n\n".encode()],
    "failed finish": [openai_chunk({}, "error"), DONE],
    "clean end without a finish": [],
}


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """A gateway that waits for little: half a second for a first byte and between two, one and a half in all."""
    quick = {"upstream.connect_s": 0.5, "upstream.first_byte_s": 0.5, "upstream.idle_s": 0.5, "upstream.total_s": 1.5}
    with open_chain(tmp_path_factory.mktemp("impatient"), **quick) as opened:
        yield opened


@pytest.mark.parametrize("after", [2, 3])
@pytest.mark.parametrize("name", ENDINGS)
def test_t75_failure_after_content_is_told_and_nobody_else_goes_on(impatient: Chain, name: str, after: int) -> None:
    frames = openai_stream(["One ", "two"])
    impatient.play(sse_reply([*frames[:after], Pause(0.02), *ENDINGS[name]]))
    before = impatient.gateway.balance()
    answer = impatient.ask(stream=True)
    assert answer.status == 200
    event = json.loads(answer.body.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert event["error"]["type"] == ("upstream_timeout" if name == "silence" else "upstream_error")
    assert event["error"]["metadata"]["provider"] == "alpha"
    assert event["choices"][0]["finish_reason"] == "error"
    assert b"[DONE]" not in answer.body
    assert CANARY.encode() not in answer.body
    assert b"beta" not in answer.body
    assert impatient.calls == [1, 0, 0]
    assert (impatient.row(answer)["end"], impatient.gateway.balance()) == ("released", before)


def test_t5_who_answers_is_paid_and_who_failed_is_not(chain: Chain) -> None:
    wasted = openai_chunk({}, choices=[], usage=openai_usage(90_000, 4_000))
    chain.play(sse_reply([ROLE, wasted, Cut()]))
    assert_beta_answered(chain, stream=True)


# --- statuses

CLIENT = (400, "invalid_request_error")
STATUSES: dict[int, tuple[int, str]] = {
    300: (502, "upstream_error"),
    400: CLIENT,
    401: (502, "upstream_error"),
    402: (502, "upstream_error"),
    403: (502, "upstream_error"),
    404: (404, "model_not_found"),
    405: (502, "upstream_error"),
    408: (504, "upstream_timeout"),
    409: (502, "upstream_error"),
    410: (404, "model_not_found"),
    413: CLIENT,
    418: (502, "upstream_error"),
    422: CLIENT,
    425: (502, "upstream_error"),
    429: (503, "no_provider_available"),
    451: (502, "upstream_error"),
    500: (502, "upstream_error"),
    502: (502, "upstream_error"),
    503: (502, "upstream_error"),
    504: (504, "upstream_timeout"),
    520: (502, "upstream_error"),
    529: (502, "upstream_error"),
}
"""An upstream's status, and what the client gets when every upstream answers so."""


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("status", STATUSES)
def test_t76_first_upstream_refuses(chain: Chain, status: int, stream: bool) -> None:
    chain.play(json_reply(openai_error(f"Bad field, key {CANARY}", "some_error"), status))
    if STATUSES[status] is not CLIENT:
        assert_beta_answered(chain, stream=stream)
        return
    answer = chain.ask(stream=stream)
    error = answer.json()["error"]
    assert (answer.status, error["type"]) == CLIENT
    assert error["message"] == "Bad field, key […]"
    assert chain.calls == [1, 0, 0]
    assert chain.row(answer)["end"] == "released"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("status", [status for status, told in STATUSES.items() if told is not CLIENT])
def test_t6_t76_every_upstream_refuses(chain: Chain, status: int, stream: bool) -> None:
    refusal = json_reply(openai_error(f"Bad, key {CANARY}", "some_error"), status, {"Retry-After": "7"})
    chain.play(refusal, refusal, refusal)
    before = chain.gateway.balance()
    answer = chain.ask(stream=stream)
    error = answer.json()["error"]
    assert (answer.status, error["type"]) == STATUSES[status]
    assert CANARY.encode() not in answer.body
    assert chain.calls == [1, 1, 1]
    assert [one["provider"] for one in error["metadata"]["attempts"]] == ["alpha", "beta", "gamma"]
    assert {one["status"] for one in error["metadata"]["attempts"]} == {status}
    if status == 429:
        assert answer.headers["retry-after"] == "7"
    assert (chain.row(answer)["end"], chain.gateway.balance()) == ("released", before)


def test_t76_throttled_and_broken_together_are_a_failure_not_a_throttle(chain: Chain) -> None:
    throttled, broken = json_reply(openai_error("slow"), 429), json_reply(openai_error("x"), 500)
    chain.play(throttled, broken, throttled)
    answer = chain.ask()
    assert (answer.status, answer.json()["error"]["type"]) == (502, "upstream_error")


# --- redirects, bombs, silence, malformed HTTP


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_t70_redirect_is_not_followed(chain: Chain, status: int) -> None:
    with FakeUpstream([]) as elsewhere:
        chain.play([head(status, {"Location": elsewhere.url + "/chat/completions", "Content-Length": "0"})])
        assert_beta_answered(chain, stream=False)
        assert not elsewhere.received
        assert elsewhere.connections == 0


ENDLESS: list[Any] = [chunk(b"x" * 65_536)] * 64
BOMBS: dict[str, Reply] = {
    "gzip": json_reply(gzip.compress(b" " * 3_000_000), headers={"Content-Encoding": "gzip"}),
    "endless": [head(200, {"Transfer-Encoding": "chunked"}), *ENDLESS, WaitForClientClose()],
    "declared": [head(200, {"Content-Length": str(2**40)}), *[b"x" * 65_536] * 64, WaitForClientClose()],
    "endless error": [head(500, {"Transfer-Encoding": "chunked"}), *ENDLESS, WaitForClientClose()],
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("name", BOMBS)
def test_t71_reply_bomb_is_a_failed_attempt(chain: Chain, name: str, stream: bool) -> None:
    chain.play(BOMBS[name])
    assert_beta_answered(chain, stream=stream)
    assert chain.fakes["alpha"].received[0].header("accept-encoding") == "identity"


def test_t71_many_tiny_frames_are_relayed(chain: Chain) -> None:
    frames = [openai_chunk({"content": "x"}) for _ in range(3_000)]
    chain.play(sse_reply([ROLE, *frames, openai_chunk({}, "stop"), DONE]))
    assert text_of(chain.ask(stream=True)) == "x" * 3_000


SILENCES: dict[str, Reply] = {
    "no answer": [WaitForClientClose()],
    "only 103": [b"HTTP/1.1 103 Early Hints\r\n\r\n", WaitForClientClose()],
    "headers alone": [head(200, {"Transfer-Encoding": "chunked"}), WaitForClientClose()],
    "role alone": sse_reply([ROLE, WaitForClientClose()]),
}


@pytest.mark.parametrize("name", SILENCES)
def test_t73_silence_before_content_is_replaced(impatient: Chain, name: str) -> None:
    impatient.play(SILENCES[name])
    began = time.monotonic()
    assert_beta_answered(impatient, stream=True)
    assert time.monotonic() - began < 2.6


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_t73_silence_everywhere_is_a_timeout_within_the_deadline(impatient: Chain, stream: bool) -> None:
    impatient.play(*[[WaitForClientClose()]] * 3)
    began = time.monotonic()
    answer = impatient.ask(stream=stream)
    error = answer.json()["error"]
    assert (answer.status, error["type"]) == (504, "upstream_timeout")
    assert {one["reason"] for one in error["metadata"]["attempts"]} == {"timeout"}
    assert time.monotonic() - began < 2.6
    assert all(fake.received[-1].gone.wait(1) for fake in impatient.fakes.values() if fake.received)


def test_t73_comments_alone_end_with_the_total_deadline(impatient: Chain) -> None:
    impatient.play(sse_reply([one for _ in range(60) for one in (b": keep-alive\n\n", Pause(0.05))]))
    began = time.monotonic()
    assert impatient.ask(stream=True).status == 504
    assert 1.4 < time.monotonic() - began < 2.6
    assert impatient.calls == [1, 0, 0]


MALFORMED: dict[str, Reply] = {
    "two lengths": [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} "],
    "300 headers": [head(200, {f"X-{place}": "1" for place in range(300)} | {"Content-Length": "2"}) + b"{}"],
    "10 KB header": [head(200, {"X-Long": "x" * 10_000, "Content-Length": "2"}) + b"{}"],
    "status 999": [b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}"],
    "status 42": [b"HTTP/1.1 42 Odd\r\nContent-Length: 2\r\n\r\n{}"],
    "101": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"],
    "1000 times 100": [b"HTTP/1.1 100 Continue\r\n\r\n" * 1000],
    "HTTP/2": [b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\x00\xff\xff"],
    "HTTP/3.0": [b"HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"],
    "no HTTP": [b"220 smtp.example.com ESMTP\r\n"],
    "negative length": [b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"],
    "bad chunk": [head(200, {"Transfer-Encoding": "chunked"}) + b"zz\r\n{}\r\n"],
    "length and chunks": [head(200, {"Transfer-Encoding": "chunked", "Content-Length": "4"}) + b"{}\r\n", Cut()],
    "bare LF": [b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", Cut()],
    "NUL in a header": [b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 2\r\n\r\n{}"],
    "nothing, then gone": [Cut()],
    "reset at once": [Reset()],
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("name", MALFORMED)
def test_t77_malformed_http_is_a_failed_attempt_and_never_a_400(chain: Chain, name: str, stream: bool) -> None:
    chain.play(MALFORMED[name])
    assert_beta_answered(chain, stream=stream)
    chain.play(*[MALFORMED[name]] * 3)
    answer = chain.ask(stream=stream)
    assert (answer.status, answer.json()["error"]["type"]) == (502, "upstream_error")


# --- a provider's own ways


def test_blank_lines_before_a_reply_are_no_reply(chain: Chain) -> None:
    """DeepSeek sends empty lines while a request waits."""
    body = b"\n" * 5 + json.dumps(openai_chat("I am alpha.")).encode()
    data = [chunk(b"\n"), Pause(0.05), chunk(body), b"0\r\n\r\n"]
    chain.play([head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}), *data])
    assert text_of(chain.ask()) == "I am alpha."
    assert chain.calls == [1, 0, 0]


def test_comments_in_a_stream_are_not_content(chain: Chain) -> None:
    """DeepSeek's and OpenRouter's keep-alive: a failure after them is still before content."""
    comments = [b": keep-alive\n\n", b": OPENROUTER PROCESSING\n\n", b"\n\n"]
    chain.play(sse_reply([*comments, ROLE, *comments, *openai_stream(["I am ", "alpha."])[1:]]))
    answer = chain.ask(stream=True)
    assert text_of(answer) == "I am alpha."
    assert b"PROCESSING" not in answer.body
    chain.play(sse_reply([*comments, sse({"error": {"message": CANARY}})]))
    assert_beta_answered(chain, stream=True)


@pytest.mark.parametrize("usage", [True, False], ids=["with usage", "without"])
def test_provider_that_ignores_stream_is_streamed_all_the_same(chain: Chain, usage: bool) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    chain.play(json_reply(openai_chat("I am alpha.", tool_calls=[call], usage=openai_usage(1000, 100))))
    answer = chain.ask(stream=True, stream_options={"include_usage": usage})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert text_of(answer) == "I am alpha."
    assert (b'"usage":{' in answer.body) is usage
    assert b'"tool_calls":[{' in answer.body
    row = chain.row(answer)
    assert (row["model_fee"], row["finish_reason"], row["estimated"]) == (2_000_000, "tool_calls", 0)


def test_provider_that_streams_unasked_has_failed(chain: Chain) -> None:
    chain.play(clean("alpha", stream=True))
    assert_beta_answered(chain, stream=False)


def test_t85_served_model_is_recorded(chain: Chain) -> None:
    for stream in (True, False):
        chain.play(clean("somebody-else", stream=stream), clean("beta", stream=stream))
        answer = chain.ask(stream=stream)
        attempts = json.loads(chain.row(answer)["attempts"])
        assert attempts[-1]["served_model"] == "somebody-else-model"
        assert answer.headers["x-tokenhub-model"] == "shared-model"


def test_headers_name_who_served(chain: Chain) -> None:
    for model, provider, attempts in ((CHAIN, "alpha", 1), ("beta/shared-model", "beta", 1), (CHAIN, "gamma", 3)):
        broken = json_reply(openai_error("x"), 500)
        chain.play(*([broken, broken] if attempts == 3 else []))
        for stream in (True, False):
            headers = chain.ask(model, stream=stream).headers
            assert headers["x-tokenhub-provider"] == provider
            assert headers["x-tokenhub-model"] == "shared-model"
            assert headers["x-tokenhub-region"] == "default"
            assert headers["x-tokenhub-attempts"] == str(attempts)
            assert ("x-tokenhub-cost" in headers) is not stream
