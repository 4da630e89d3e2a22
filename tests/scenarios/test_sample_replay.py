"""Our own samples of every provider's wire, played to a running gateway and heard by OpenAI's own SDK.

The same path as ``test_wire_replay.py``, which needs recordings that are not part of the
project: here the project shows it alone, whole, cut and dripped.
"""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import upstream
from tests.fakes.dialects import Told, read
from tests.fakes.stage import Stage, assert_billed, assert_told, bill_of, cut, dripped, open_stage, whole
from tests.fakes.upstream import Reply

SAMPLES = Path(__file__).parents[1] / "samples"
ROUNDS = 60 if os.environ.get("TOKENHUB_SOAK") == "1" else 1

DIALECTS = {"chat": "openai", "anthropic": "anthropic", "gemini": "google"}
PROVIDERS = {"dashscope": "alibaba", "bare": "zhipu", "deepseek": "deepseek", "moonshot": "moonshot", "zhipu": "zhipu"}
"""By the first word of a sample's name; ``bare`` needs a provider whose streams are mended. All others are OpenAI's."""

STREAMS = sorted(path for folder in DIALECTS for path in (SAMPLES / folder).glob("*.sse"))
EVENT_STREAM = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}

_ORDER = {"items": [{"name": "apple", "price": 0.5}], "to go": True}
BY_HAND = {
    "bare_server": Told(
        {0: ("Hi", "", "", [("now", {}), ("then", {})], "tool_calls")},
        counts=(3, 5, 8, 0, 0),
        buckets={"input": 3, "output": 5},
    ),
    "partial_arguments": Told(
        {0: ("", "", "", [("order", _ORDER), ("note", {"text": "thanks"})], "tool_calls")},
        counts=(26, 26, 52, 0, 3),
        buckets={"input": 26, "output_thinking": 26},
    ),
}
"""What a reader without the provider's own rules cannot put together."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    providers = ["openai", "anthropic", "google", "deepseek", "moonshot", "alibaba", "zhipu"]
    with open_stage(tmp_path_factory.mktemp("samples"), providers) as opened:
        yield opened


def ways(body: bytes, headers: dict[str, str], seed: str) -> Iterator[tuple[str, Reply]]:
    chance = random.Random(seed)
    yield "whole", whole(body, headers=headers)
    for _ in range(ROUNDS):
        places = [chance.randrange(1, len(body)) for _ in range(3)]
        yield f"cut at {places}", cut(body, places, headers=headers)
        yield "dripped", dripped(body, chance, headers=headers)


def play(stage: Stage, provider: str, body: bytes, told: Told, *, stream: bool) -> None:
    request: dict[str, Any] = {"model": stage.name_of(provider, None, "chat"), "stream": stream}
    prompt = told.counts[0] if told.counts else 0
    request["messages"] = [{"role": "user", "content": "word " * (prompt // 4 + 8)}]
    for way, reply in ways(body, EVENT_STREAM if stream else JSON, provider):
        asks = stream and way != "dripped"
        seen = stage.chat(request | ({"stream_options": {"include_usage": True}} if asks else {}), reply)
        print(way, seen.error)
        row = stage.gateway.row_of(seen)
        assert_told(told, seen, row)
        if not told.failed:
            assert seen.usages == (1 if asks or not stream else 0)
            assert_billed(told, row, seen.usage)


@pytest.mark.soak
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_sample_stream_reaches_the_sdk_and_the_bill_as_it_is(stage: Stage, path: Path) -> None:
    body = path.read_bytes()
    told = BY_HAND.get(path.stem) or read(DIALECTS[path.parent.name], body, stream=True)
    provider = "google" if path.parent.name == "gemini" else path.parent.name
    if provider == "chat":
        provider = PROVIDERS.get(path.stem.partition("_")[0], "openai")
    play(stage, provider, body, told, stream=True)


_CALLS = [upstream.openai_tool_call(id="call_1"), upstream.openai_tool_call("now", "{}", id="call_2")]
_CLAUDE_BLOCKS = [
    {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
    {"type": "text", "text": "Looking."},
    {"type": "tool_use", "id": "toolu_own1", "name": "now", "input": {}},
]
_CLAUDE_USAGE = {
    **upstream.anthropic_usage(30, 12, read=700, write=90),
    "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 30},
}
_GEMINI_PARTS = [
    {"text": "Thinking", "thought": True},
    {"text": "Calling."},
    {"functionCall": {"name": "now"}, "thoughtSignature": "c2ln"},
]
_DEEPSEEK_USAGE = {
    "prompt_tokens": 50,
    "completion_tokens": 20,
    "total_tokens": 70,
    "prompt_cache_hit_tokens": 32,
    "prompt_cache_miss_tokens": 18,
    "completion_tokens_details": {"reasoning_tokens": 9},
}
_MOONSHOT_USAGE = {"prompt_tokens": 40, "completion_tokens": 6, "total_tokens": 46, "cached_tokens": 16}

WHOLE = {
    "openai": upstream.openai_chat("Paris.", usage=upstream.openai_usage(2600, 100, cached=2000)),
    "openai_tools": upstream.openai_chat(None, tool_calls=_CALLS, usage=upstream.openai_usage(20, 8)),
    "openai_empty": upstream.openai_chat("", usage=upstream.openai_usage(9, 0)),
    "openai_filtered": upstream.openai_chat(None, finish_reason="content_filter"),
    "openai_uncounted": upstream.openai_chat("word " * 30, usage={}),
    "deepseek": upstream.openai_chat("Four.", reasoning_content="2 + 2", usage=_DEEPSEEK_USAGE),
    "moonshot": upstream.openai_chat("Hi.", usage=_MOONSHOT_USAGE),
    "dashscope": upstream.openai_chat("Hi.", usage=upstream.openai_usage(30, 4, cached=10)),
    "zhipu": upstream.openai_chat("\nHi.", reasoning_content="Greet.", finish_reason="sensitive"),
    "anthropic": upstream.anthropic_message(content=_CLAUDE_BLOCKS, stop_reason="tool_use", usage=_CLAUDE_USAGE),
    "anthropic_stopped": upstream.anthropic_message(content=[], stop_reason="stop_sequence"),
    "gemini": upstream.gemini_reply(parts=_GEMINI_PARTS, usage=upstream.gemini_usage(40, 7, 5)),
    "gemini_full": upstream.gemini_reply("Cut o", finish_reason="MAX_TOKENS"),
}


@pytest.mark.soak
@pytest.mark.parametrize("name", WHOLE)
def test_a_sample_reply_reaches_the_sdk_and_the_bill_as_it_is(stage: Stage, name: str) -> None:
    maker = name.partition("_")[0]
    body = json.dumps(WHOLE[name]).encode()
    provider = {"anthropic": "anthropic", "gemini": "google"}.get(maker) or PROVIDERS.get(maker, "openai")
    play(stage, provider, body, read(DIALECTS.get(maker, "openai"), body, stream=False), stream=False)


@pytest.mark.parametrize("provider", ["openai", "alibaba", "google"])
def test_sample_embeddings_reach_the_sdk_and_the_bill_as_they_are(stage: Stage, provider: str) -> None:
    vectors = [[0.5, -0.25], [1.0, 0.125]]
    google = provider == "google"
    raw = upstream.gemini_embeddings(vectors) if google else upstream.openai_embeddings(vectors, prompt=9)
    for _, reply in ways(json.dumps(raw).encode(), JSON, provider):
        stage.fake.add(reply)
        model = stage.name_of(provider, None, "embeddings")
        made = stage.client.embeddings.with_raw_response.create(model=model, input=["a", "b"])
        row = stage.gateway.row_of(made)
        assert [one.embedding for one in made.parse().data] == vectors
        assert (row["end"], row["estimated"]) == ("settled", int(google))
        if not google:
            assert (row["model_fee"], row["service_fee"]) == bill_of({"input": 9})


_ERRORS: dict[str, tuple[str, int, Any, tuple[int, str, str]]] = {
    "openai no money": (
        "openai",
        429,
        upstream.openai_error("Canary: you exceeded", "insufficient_quota", "insufficient_quota"),
        (502, "upstream_error", "billing"),
    ),
    "alibaba throttle of the same name": (
        "alibaba",
        429,
        upstream.openai_error("Canary: you exceeded", "insufficient_quota", "insufficient_quota"),
        (503, "no_provider_available", "rate"),
    ),
    "anthropic no money": (
        "anthropic",
        400,
        upstream.anthropic_error("invalid_request_error", "Canary: your credit balance is too low"),
        (502, "upstream_error", "billing"),
    ),
    "google key": (
        "google",
        400,
        upstream.gemini_error(400, "INVALID_ARGUMENT", "Canary", [{"reason": "API_KEY_INVALID"}]),
        (502, "upstream_error", "auth"),
    ),
    "zhipu arrears": (
        "zhipu",
        429,
        {"error": {"code": "1113", "message": "Canary"}},
        (502, "upstream_error", "billing"),
    ),
    "moonshot overload": (
        "moonshot",
        429,
        upstream.openai_error("Canary", "engine_overloaded_error"),
        (502, "upstream_error", "overload"),
    ),
    "deepseek balance": (
        "deepseek",
        402,
        upstream.openai_error("Canary: Insufficient Balance", "unknown_error"),
        (502, "upstream_error", "billing"),
    ),
    "openai country": (
        "openai",
        403,
        upstream.openai_error("Canary", "request_forbidden", "unsupported_country_region_territory"),
        (502, "upstream_error", "geo"),
    ),
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("name", _ERRORS)
def test_t113_a_sample_error_is_told_in_the_gateways_words(stage: Stage, name: str, stream: bool) -> None:
    provider, status, body, (told, code, reason) = _ERRORS[name]
    stage.gateway.forget_faults()
    stage.fake.add(upstream.json_reply(body, status))
    answer = stage.gateway.chat(stage.name_of(provider, None, "chat"), stream=stream)
    error = answer.json()["error"]
    assert (answer.status, error["type"], error["code"]) == (told, code, code)
    assert error["metadata"]["attempts"] == [{"provider": provider, "reason": reason, "status": status}]
    assert b"anary" not in answer.body
    assert stage.gateway.row_of(answer)["charged"] == 0
