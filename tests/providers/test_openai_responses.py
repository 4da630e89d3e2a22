"""OpenAI's two APIs for one chat call, and the Responses that pass as they are."""

import json
from typing import Any

import pytest

from tests.providers import made
from tests.wire.responses_samples import CALL, MESSAGE, REASONING, response, stream
from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment, SpokenWire
from tokenhub.errors import InvalidRequest
from tokenhub.providers.adapter import NO_HINTS, CacheHints
from tokenhub.providers.native_responses import NativeResponsesAdapter
from tokenhub.providers.openai import OpenAI
from tokenhub.wire import opaque
from tokenhub.wire.chat import request as chat
from tokenhub.wire.chat.over_responses_stream import ResponsesReader
from tokenhub.wire.chat.relay import ChatRelay
from tokenhub.wire.responses.surface import ResponsesSurface
from tokenhub.wire.surface import Arrival

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CHAT, RESPONSES = "https://api.example.com/v1/chat/completions", "https://api.example.com/v1/responses"


def target(*, speaks: bool = True, quirks: dict[str, Any] | None = None, **traits: Any) -> Deployment:
    by = made.provider("openai", id="openai", **{"efforts": {"max": "xhigh"}, **(quirks or {})})
    if speaks:
        by = made.speaking(by, {Wire.RESPONSES: SpokenWire("responses")})
    facts = {"tools_need_responses_api": True, "reasoning": True, "reasoning_default": "on", **traits}
    return made.deployment(by, upstream_id="gpt-6", max_output=5_000, **facts)


def asked(
    body: dict[str, Any], to: Deployment, limit: int | None = None
) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **body}
    request = OpenAI(to.provider).request(chat.parse_call(body, 100), body, to, limit)
    return request.url, json.loads(request.body), tuple(request.dropped)


def call_of(body: dict[str, Any]) -> Call:
    return chat.parse_call({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **body}, 100)


# --- which API


@pytest.mark.parametrize(
    ("body", "traits", "url"),
    [
        ({"tools": [TOOL]}, {}, RESPONSES),
        ({"tools": [TOOL], "reasoning_effort": "low"}, {"reasoning_default": "off"}, RESPONSES),
        ({"tools": [TOOL], "reasoning": {"effort": "low"}}, {"reasoning_default": "off"}, RESPONSES),
        ({"tools": [TOOL], "reasoning_effort": "none"}, {}, CHAT),
        ({"tools": [TOOL], "reasoning": {"enabled": False}}, {}, CHAT),
        ({"tools": [TOOL]}, {"reasoning_default": "off"}, CHAT),
        ({"tools": [TOOL]}, {"tools_need_responses_api": False}, CHAT),
        ({"reasoning_effort": "high"}, {}, CHAT),
        ({}, {}, CHAT),
    ],
)
def test_a_call_goes_where_it_is_not_refused(body: dict[str, Any], traits: dict[str, Any], url: str) -> None:
    to = target(**traits)
    assert asked(body, to)[0] == url
    reader = OpenAI(to.provider).stream(call_of(body), to)
    assert isinstance(reader, ResponsesReader if url == RESPONSES else ChatRelay)


def test_a_host_that_has_only_chat_is_asked_without_reasoning_as_before() -> None:
    url, body, _ = asked({"tools": [TOOL]}, target(speaks=False))
    assert (url, body["reasoning_effort"]) == (CHAT, "none")
    with pytest.raises(InvalidRequest, match="always reasons"):
        asked({"tools": [TOOL]}, target(speaks=False, reasoning_none=False))


def test_the_whole_reply_is_read_in_the_wire_that_was_asked() -> None:
    to = target()
    raw = json.dumps(response(REASONING, CALL)).encode()
    got = OpenAI(to.provider).reply(call_of({"tools": [TOOL]}), to, 200, {}, raw)
    assert got.body["choices"][0]["message"]["tool_calls"][0]["id"] == "call_1"
    assert got.binds


# --- a chat call over Responses


def test_limits_efforts_and_hints_are_said_there_too() -> None:
    to = target(quirks={"prompt_cache_key": True})
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL]}
    body |= {"reasoning_effort": "max", "max_tokens": 9_000, "temperature": 0.2, "seed": 4, "provider": {"order": []}}
    request = OpenAI(to.provider).request(chat.parse_call(body, 100), body, to, None, CacheHints(key="abc"))
    sent = json.loads(request.body)
    assert (sent["model"], sent["max_output_tokens"], sent["reasoning"]) == ("gpt-6", 5_000, {"effort": "xhigh"})
    assert (sent["prompt_cache_key"], sent["store"]) == ("abc", False)
    assert request.dropped == ("temperature", "seed")
    assert not {"temperature", "seed", "provider", "max_tokens", "max_completion_tokens"} & sent.keys()


def test_a_lowered_limit_replaces_the_clients() -> None:
    assert asked({"tools": [TOOL], "max_tokens": 4_000}, target(), 2_000)[1]["max_output_tokens"] == 2_000
    assert "max_output_tokens" not in asked({"tools": [TOOL]}, target())[1]


def test_a_model_that_cannot_be_quiet_is_not_told_to_be() -> None:
    with pytest.raises(InvalidRequest, match="always reasons"):
        asked({"tools": [TOOL], "reasoning_effort": "none"}, target(reasoning_none=False))


# --- Responses that pass as they are


def passed(
    body: dict[str, Any], to: Deployment, limit: int | None = None, hints: CacheHints = NO_HINTS
) -> tuple[dict[str, Any], tuple[str, ...]]:
    body = {"model": "m", "input": "Hi", **body}
    call, _ = ResponsesSurface(Arrival("/v1/responses", {}, {}, 1)).call(body, 100)
    request = NativeResponsesAdapter(to.provider).request(call, body, to, limit, hints)
    assert request.url == RESPONSES
    assert request.headers["authorization"] == "Bearer secret"
    return json.loads(request.body), tuple(request.dropped)


def test_a_body_goes_as_it_came_but_for_the_model_and_what_would_be_stored() -> None:
    body = {
        "input": [{"role": "user", "content": "Hi", "odd": 1}],
        "metadata": {"a": "b"},
        "truncation": "auto",
        "new_field": [1],
    }
    sent, dropped = passed({**body, "store": True, "provider": {"order": ["openai"]}, "models": ["x"]}, target())
    assert sent == {
        **body,
        "model": "gpt-6",
        "store": False,
        "stream": False,
        "include": ["reasoning.encrypted_content"],
    }
    assert dropped == ()


def test_reasoning_is_asked_for_only_where_there_is_any() -> None:
    asks = {"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}
    assert passed(asks, target())[0]["include"] == ["message.output_text.logprobs", "reasoning.encrypted_content"]
    assert passed(asks, target(reasoning=False))[0]["include"] == ["message.output_text.logprobs"]
    assert "include" not in passed({"include": ["reasoning.encrypted_content"]}, target(reasoning=False))[0]


def test_reasoning_that_this_provider_cannot_read_is_left_out() -> None:
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    spoken = {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    foreign = {**own, "encrypted_content": opaque.pack({"message": {"thinking_blocks": []}})}
    stored = {"type": "reasoning", "id": "rs_4", "summary": []}
    user = {"role": "user", "content": "Hi"}
    assert passed({"input": [user, own, foreign, spoken, stored]}, target())[0]["input"] == [user, own, spoken]


def test_a_picture_that_was_never_made_is_left_out_and_not_looked_up() -> None:
    user = {"role": "user", "content": "Hi"}
    made = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO"}
    none = [{**made, "result": ""}, {**made, "status": "failed", "result": None}]
    assert passed({"input": [user, made, *none]}, target())[0]["input"] == [user, made]


def test_limits_and_hints_are_the_gateways() -> None:
    to = target(quirks={"prompt_cache_key": True}, sampling=False)
    sent, dropped = passed({"max_output_tokens": 9_000, "temperature": 0.5}, to, 300, CacheHints(key="abc"))
    assert (sent["max_output_tokens"], sent["prompt_cache_key"]) == (300, "abc")
    assert dropped == ("temperature",)
    assert passed({"max_output_tokens": 9_000}, to)[0]["max_output_tokens"] == 5_000
    assert passed({"prompt_cache_key": "own"}, to, None, CacheHints(key="abc"))[0]["prompt_cache_key"] == "own"


def test_what_no_limit_bounds_is_not_sent() -> None:
    sent, dropped = passed({"context_management": [{"type": "compaction"}]}, target())
    assert (dropped, "context_management" in sent) == (("context_management",), False)
    with pytest.raises(InvalidRequest, match="no price") as caught:
        passed({"reasoning": {"mode": "pro"}}, target())
    assert caught.value.param == "reasoning.mode"


def test_failures_are_sorted_as_the_providers_own() -> None:
    to = target()
    adapter = NativeResponsesAdapter(to.provider)
    error = {"error": {"code": "insufficient_quota", "type": "insufficient_quota", "message": "x"}}
    assert adapter.failure(429, {}, json.dumps(error).encode()).kind.value == "billing"
    reader = adapter.stream(call_of({}), to)
    assert reader.feed(stream(response(MESSAGE)))
    assert reader.facts.complete
