"""What a stream told of its usage before its count broke off: an estimate begins there, not at a guess of the prompt."""

import json
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.fakes.raw_client import eventually, post
from tests.fakes.upstream import (
    FakeUpstream,
    Reply,
    WaitForClientClose,
    anthropic_event,
    anthropic_stream,
    gemini_reply,
    openai_chunk,
    openai_stream,
    openai_usage,
    sse,
    sse_reply,
)
from tests.harness import RunningGateway, start_gateway, temporary_home

SONNET, PRO, MINI = "claude-sonnet-4.5", "gemini-2.5-pro", "gpt-4o-mini"
PDF = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUFB"}}
DOCUMENT = {"type": "document", "source": {"type": "url", "url": "https://example.com/b.pdf"}}
INLINE = {"inlineData": {"mimeType": "application/pdf", "data": "QUFB"}}


class Rig(NamedTuple):
    gateway: RunningGateway
    fake: FakeUpstream

    def last(self, before: int) -> dict[str, Any]:
        assert eventually(lambda: len(self.gateway.rows("SELECT id FROM requests")) > before)
        return self.gateway.rows("SELECT * FROM requests ORDER BY id")[-1]

    def leave(self, path: str, body: dict[str, Any], after: bytes = b"42.") -> dict[str, Any]:
        """Ask for a stream, leave as soon as these words are there, and return how the request was booked."""
        before, seen = len(self.gateway.rows("SELECT id FROM requests")), b""
        with socket.create_connection(("127.0.0.1", self.gateway.port), timeout=5) as client:
            client.sendall(post(self.gateway.key, body, path=path))
            while after not in seen.partition(b"\r\n\r\n")[2]:  # not in the head, nor in an id
                seen += client.recv(65536)
        return self.last(before)

    def ask(self, path: str, body: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        before = len(self.gateway.rows("SELECT id FROM requests"))
        answer = self.gateway.call("POST", path, body)
        assert answer.status == 200, answer.body
        return answer.body, self.last(before)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway that reads no stream on whose client has left."""
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("told")), {"server.drains": 0})
    with FakeUpstream([]) as fake:
        for provider, url in (("openai", fake.url), ("anthropic", fake.url), ("google", fake.origin)):
            gateway.add_credential(provider, url)
        yield Rig(gateway, fake)
        gateway.stop()


def claude(*pieces: str, end: dict[str, Any] | None = None) -> Reply:
    """A stream whose beginning tells a long prompt; ``end`` is what its last event says beside the stop reason."""
    usage = {"input_tokens": 50_000, "cache_read_input_tokens": 90_000, "cache_creation_input_tokens": 10_000}
    frames = anthropic_stream(pieces, usage=usage)
    if end is None:
        return sse_reply([*frames[:-3], WaitForClientClose()])
    last = anthropic_event("message_delta", delta={"stop_reason": "end_turn"}, **end)
    return sse_reply([*frames[:-2], last, frames[-1]])


def google(*counts: int) -> Reply:
    events = [
        gemini_reply(
            "The answer is 42." if place == len(counts) - 1 else "So: ",
            finish_reason=None,
            usage={"promptTokenCount": 700_000, "candidatesTokenCount": made, "totalTokenCount": 700_000 + made},
        )
        for place, made in enumerate(counts)
    ]
    return sse_reply([*(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in events), WaitForClientClose()])


def chat(model: str, part: dict[str, Any], limit: int = 500) -> dict[str, Any]:
    return {"model": model, "stream": True, "max_tokens": limit, "messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/messages", chat(SONNET, DOCUMENT)), ("/v1/chat/completions", chat(SONNET, PDF))]
)
def test_t17_who_leaves_pays_the_prompt_that_anthropic_told_at_the_beginning(
    rig: Rig, path: str, body: dict[str, Any]
) -> None:
    rig.fake.add(claude("The answer ", "is 42."))
    row = rig.leave(path, body)
    # 50 000 × 3 000 + 90 000 × 300 + 10 000 × 3 750 + 5 × 15 000, and 3 %
    assert (row["end"], row["estimated"], row["output_tokens"]) == ("settled", 1, 5)
    assert row["charged"] == (150_000_000 + 27_000_000 + 37_500_000 + 75_000) * 103 // 100


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            f"/v1beta/models/{PRO}:streamGenerateContent?alt=sse",
            {"contents": [{"role": "user", "parts": [INLINE]}], "generationConfig": {"maxOutputTokens": 500}},
        ),
        ("/v1/chat/completions", chat(PRO, PDF)),
    ],
)
def test_t17_who_leaves_pays_what_google_told_last(rig: Rig, path: str, body: dict[str, Any]) -> None:
    rig.fake.add(google(1, 2, 100))
    row = rig.leave(path, body)
    assert (row["end"], row["estimated"], row["input_tokens"], row["output_tokens"]) == ("settled", 1, 700_000, 100)
    # Above 200 000 tokens of prompt: 2.50 and 15 USD a million.
    assert row["charged"] == (700_000 * 2_500 + 100 * 15_000) * 103 // 100


def test_t17_an_estimate_of_what_was_told_is_no_more_than_the_reply_was_allowed(rig: Rig) -> None:
    rig.fake.add(google(90))
    row = rig.leave("/v1/chat/completions", chat(PRO, PDF, limit=20))
    assert (row["estimated"], row["input_tokens"], row["output_tokens"]) == (1, 700_000, 20)
    assert row["charged"] <= row["held"]


def test_t17_who_leaves_pays_a_prompt_that_is_counted_with_each_chunk(rig: Rig) -> None:
    told = openai_usage(120_000, 3, cached=20_000)
    frames = [openai_chunk({"content": piece}, usage=told) for piece in ("So: ", "42. ")]
    uncounted = openai_chunk({"content": "on and on. " * 40}, usage=None)
    rig.fake.add(sse_reply([*frames, uncounted, WaitForClientClose()]))
    row = rig.leave("/v1/chat/completions", chat(MINI, {"type": "text", "text": "x"}), after=b"on and on")
    assert (row["estimated"], row["input_tokens"], row["cache_read_tokens"]) == (1, 100_000, 20_000)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "end",
    [{}, {"usage": {}}, {"usage": {"output_tokens": None}}, {"usage": {"input_tokens": 150_000}}],
    ids=["none", "empty", "null", "prompt alone"],
)
def test_t7_an_end_that_counts_no_output_is_estimated_beside_the_prompt_that_was_told(
    rig: Rig, path: str, end: dict[str, Any]
) -> None:
    rig.fake.add(claude(*["The answer is 42. "] * 20, end=end))
    shown, row = rig.ask(
        path, chat(SONNET, {"type": "text", "text": "x"}) | {"stream_options": {"include_usage": True}}
    )
    assert (row["estimated"], row["cache_read_tokens"], row["output_tokens"]) == (1, 90_000, 90)
    assert b'"output_tokens":90' in shown or b'"completion_tokens":90' in shown


def test_t7_an_empty_reply_is_free_whatever_its_beginning_told(rig: Rig) -> None:
    rig.fake.add(claude(end={}))
    _, row = rig.ask("/v1/messages", chat(SONNET, {"type": "text", "text": "x"}))
    assert (row["end"], row["charged"]) == ("released", 0)


def test_t10_a_count_of_nothing_after_a_good_one_is_not_what_is_charged(rig: Rig) -> None:
    frames = openai_stream(["a "] * 20, usage=openai_usage(100, 50))
    nothing = sse({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": openai_usage(0, 0)})
    rig.fake.add(sse_reply([*frames[:-1], nothing, frames[-1]]))
    _, row = rig.ask("/v1/chat/completions", chat(MINI, {"type": "text", "text": "x"}))
    assert (row["input_tokens"], row["output_tokens"], row["estimated"], row["charged"]) == (100, 50, 0, 46_350)


def test_the_receipt_counts_all_tokens_that_were_charged(rig: Rig) -> None:
    usage = openai_usage(1000, 300, cached=100)
    usage["prompt_tokens_details"] |= {"audio_tokens": 200, "image_tokens": 300}
    usage["completion_tokens_details"] = {"reasoning_tokens": 50, "audio_tokens": 60, "image_tokens": 70}
    rig.fake.add(sse_reply(openai_stream(["Hi"], usage=usage)))
    _, row = rig.ask("/v1/chat/completions", chat(MINI, {"type": "text", "text": "x" * 2000}))
    receipt = rig.gateway.call("GET", f"/v1/generation?id={row['id']}").json()["data"]
    for name in ("tokens", "native_tokens"):
        assert (receipt[f"{name}_prompt"], receipt[f"{name}_completion"]) == (1000, 300)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_t10_a_prompt_that_was_told_at_the_beginning_is_not_charged_as_nothing(rig: Rig, path: str) -> None:
    fallen = {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, "output_tokens": 7}
    rig.fake.add(claude("The answer is 42.", end={"usage": fallen}))
    _, row = rig.ask(path, chat(SONNET, {"type": "text", "text": "x"}))
    counts = (row["input_tokens"], row["cache_read_tokens"], row["cache_write_tokens"], row["output_tokens"])
    assert (counts, row["estimated"]) == ((50_000, 90_000, 10_000, 7), 0)


def test_t7_an_empty_reply_is_free_though_its_beginning_told_more_than_its_end(rig: Rig) -> None:
    rig.fake.add(claude(end={"usage": {"output_tokens": 0}}))
    _, row = rig.ask("/v1/messages", chat(SONNET, {"type": "text", "text": "x"}))
    assert (row["end"], row["charged"]) == ("released", 0)
