"""Anthropic's Messages through a running gateway: native and translated, billed alike, errors in Anthropic's form."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.dialects.clients import messages as client
from tests.dialects.story import Broken
from tests.fakes.upstream import (
    Cut,
    FakeUpstream,
    Pause,
    Received,
    Reply,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    anthropic_usage,
    json_reply,
    openai_chat,
    openai_chunk,
    openai_stream,
    openai_tool_call,
    openai_usage,
    sse_reply,
)
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub.operations import credentials, preferences
from tokenhub.wire import opaque

CLAUDE = "claude-haiku-4.5"
"""1 USD a million in, 5 out."""
OPUS = "claude-opus-4.6"
GPT = "gpt-4o-mini"
"""0.15 USD a million in, 0.60 out."""
LONG = "word " * 1000

House = tuple[RunningGateway, FakeUpstream]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("messages")), {"server.keep_alive_s": 0.08})
    with FakeUpstream([]) as fake:
        for provider in ("openai", "anthropic"):
            gateway.add_credential(provider, fake.url)
        yield gateway, fake
        gateway.stop()


@pytest.fixture(autouse=True)
def fresh(house: House) -> None:
    house[0].forget_faults()
    house[1].replies.clear()


def ask(
    house: House, model: str, path: str = "/v1/messages", headers: dict[str, str] | None = None, **fields: Any
) -> Answer:
    gateway, _ = house
    body = {"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": LONG}], **fields}
    sent = {"x-api-key": gateway.key, "anthropic-version": "2023-06-01"} if headers is None else headers
    return gateway.call("POST", path, body, sent)


REPLIES = {
    CLAUDE: (anthropic_message(usage=anthropic_usage(1000, 100)), anthropic_stream(usage=anthropic_usage(1000, 100))),
    GPT: (openai_chat(usage=openai_usage(1000, 100)), openai_stream(usage=openai_usage(1000, 100))),
}
FEES = {CLAUDE: 1_500_000, GPT: 210_000}
"""1000 × 1000 + 100 × 5000, and 1000 × 150 + 100 × 600 nano-USD; a service fee of 3 % comes on top."""


@pytest.mark.parametrize("model", REPLIES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages?beta=true"])
def test_reply_is_anthropics_and_billed_to_the_nano_dollar(house: House, model: str, stream: bool, path: str) -> None:
    whole, frames = REPLIES[model]
    house[1].add(sse_reply(frames) if stream else json_reply(whole))
    before = house[0].balance()
    answer = ask(house, model, path, stream=stream)
    assert answer.status == 200, answer.body
    message = client.from_stream(answer.body) if stream else answer.json()
    assert client.hear(message).text == "Hello there"
    usage, total = message["usage"], FEES[model] * 103 // 100
    assert (usage["input_tokens"], usage["output_tokens"]) == (1000, 100)
    assert Decimal(usage["cost_details"]["total"]) == Decimal(total).scaleb(-9)
    assert usage["cost_details"]["estimated"] is False
    row = house[0].row_of(answer)
    assert (row["end"], row["charged"], row["streamed"]) == ("settled", total, int(stream))
    assert row["charged"] <= row["held"]
    assert before - house[0].balance() == total


@pytest.mark.parametrize("model", REPLIES)
def test_key_may_stand_where_anthropics_or_openais_clients_put_it(house: House, model: str) -> None:
    key = house[0].key
    for headers in (
        {"x-api-key": key},
        {"Authorization": f"Bearer {key}"},
        {"x-api-key": key, "Authorization": f"Bearer {key}"},
    ):
        house[1].add(json_reply(REPLIES[model][0]))
        assert ask(house, model, headers=headers).status == 200
    refused = ask(house, model, headers={"x-api-key": key, "Authorization": "Bearer th-other"})
    assert (refused.status, refused.json()["error"]["type"]) == (401, "authentication_error")


def test_native_body_reaches_the_upstream_as_it_was_sent(house: House) -> None:
    given = {
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Ä\n", "signature": "c2ln+/=="},
                    {"type": "redacted_thinking", "data": "eHl6"},
                    {"type": "tool_use", "id": "toolu_1", "name": "t", "input": {"a": 1.0}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}]},
        ],
        "tools": [{"name": "t", "input_schema": {"type": "object"}, "defer_loading": True}],
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "metadata": {"user_id": "someone"},
    }
    house[1].add(json_reply(REPLIES[CLAUDE][0]))
    assert ask(house, CLAUDE, **given, provider={"only": ["anthropic"]}).status == 200
    sent = house[1].received[-1]
    assert sent.path == "/v1/messages"
    assert sent.json() == {**given, "model": "claude-haiku-4-5-20251001", "max_tokens": 200}
    for part in ("messages", "system"):
        assert json.dumps(given[part], separators=(",", ":"), ensure_ascii=False).encode() in sent.body


def test_native_stream_reaches_the_client_byte_for_byte_but_for_the_usage(house: House) -> None:
    frames = anthropic_stream(usage=anthropic_usage(1000, 100))
    house[1].add(sse_reply(frames))
    answer = ask(house, CLAUDE, stream=True)
    told = answer.body.split(b"\n\n")
    sent = b"".join(frames).split(b"\n\n")
    differs = [place for place, (one, other) in enumerate(zip(told, sent, strict=True)) if one != other]
    assert [told[place].split(b"\n")[0] for place in differs] == [b"event: message_delta"]


def test_what_was_left_out_is_named(house: House) -> None:
    house[1].add(json_reply(REPLIES[CLAUDE][0]))
    headers = {"x-api-key": house[0].key, "anthropic-beta": "context-1m-2025-08-07,effort-2025-11-24"}
    search = {"type": "web_search_20250305", "name": "web_search"}
    bash = {"type": "bash_20250124", "name": "bash"}
    answer = ask(house, CLAUDE, headers=headers, tools=[search, bash], service_tier="auto", fallbacks=[{"model": "x"}])
    assert answer.status == 200
    assert set(answer.headers["x-tokenhub-dropped"].split(",")) == {
        "anthropic-beta.context-1m-2025-08-07",
        "fallbacks",
        "service_tier",
        "tools.web_search_20250305",
    }
    sent = house[1].received[-1]
    assert sent.header("anthropic-beta") == "effort-2025-11-24"
    assert sent.json()["tools"] == [bash]


def test_hosted_tool_that_is_forced_is_refused(house: House) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    own = {"name": "t", "input_schema": {"type": "object"}}
    answer = ask(house, CLAUDE, tools=[search, own], tool_choice={"type": "tool", "name": "web_search"})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "unpriced_feature")


def test_translated_call_comes_back_as_tool_use(house: House) -> None:
    calls = [openai_tool_call("weather", '{"city":"Paris"}', f"call_{n}") for n in (1, 2)]
    house[1].add(json_reply(openai_chat(None, tool_calls=calls, usage=openai_usage(1000, 100))))
    answer = ask(house, GPT, tools=[{"name": "weather", "input_schema": {"type": "object"}}])
    body = answer.json()
    assert [(one["type"], one["id"], one["input"]) for one in body["content"]] == [
        ("tool_use", "call_1", {"city": "Paris"}),
        ("tool_use", "call_2", {"city": "Paris"}),
    ]
    assert body["stop_reason"] == "tool_use"
    sent = house[1].received[-1].json()
    assert sent["tools"][0]["function"]["name"] == "weather"
    assert (sent["max_completion_tokens"], "metadata" in sent) == (200, False)


@pytest.mark.parametrize("model", REPLIES)
def test_reply_that_says_nothing_is_free(house: House, model: str) -> None:
    empty = (
        anthropic_message(content=[], stop_reason="refusal", usage=anthropic_usage(1000, 4))
        if model == CLAUDE
        else openai_chat(None, finish_reason="content_filter", usage=openai_usage(1000, 4))
    )
    house[1].add(json_reply(empty))
    before = house[0].balance()
    answer = ask(house, model)
    assert (answer.status, answer.json()["stop_reason"], answer.json()["content"]) == (200, "refusal", [])
    assert answer.json()["usage"]["cost"] == 0
    assert house[0].row_of(answer)["end"] == "released"
    assert house[0].balance() == before


@pytest.mark.parametrize("model", REPLIES)
def test_t75_stream_that_breaks_ends_with_anthropics_error_and_is_free(house: House, model: str) -> None:
    house[1].add(sse_reply(REPLIES[model][1][:4], framing="close"))
    before = house[0].balance()
    answer = ask(house, model, stream=True)
    assert answer.status == 200
    with pytest.raises(Broken) as broken:
        client.from_stream(answer.body)
    assert broken.value.error["type"] == "api_error"
    assert b"message_stop" not in answer.body
    row = house[0].row_of(answer)
    assert (row["end"], row["charged"], row["status"]) == ("released", 0, 502)
    assert house[0].balance() == before


def test_usage_that_is_missing_is_estimated(house: House) -> None:
    raw = anthropic_message("word " * 40)
    del raw["usage"]
    house[1].add(json_reply(raw))
    answer = ask(house, CLAUDE)
    usage = answer.json()["usage"]
    assert usage["cost_details"]["estimated"] is True
    assert usage["input_tokens"] > 1000
    assert usage["output_tokens"] == 50
    row = house[0].row_of(answer)
    assert (row["estimated"], row["end"]) == (1, "settled")
    assert 0 < row["charged"] <= row["held"]


@pytest.mark.parametrize("model", REPLIES)
def test_silence_is_broken_by_pings(house: House, model: str) -> None:
    house[1].add(sse_reply([Pause(0.25), *REPLIES[model][1]]))
    answer = ask(house, model, stream=True)
    assert answer.body.startswith(b'event: ping\ndata: {"type": "ping"}\n\n')
    assert client.hear(client.from_stream(answer.body)).text == "Hello there"


def test_upstreams_refusal_is_told_in_anthropics_form(house: House) -> None:
    house[1].add(json_reply(anthropic_error("invalid_request_error", "messages.0: roles must alternate"), 400))
    answer = ask(house, CLAUDE)
    error = answer.json()["error"]
    assert (answer.status, error["type"], error["metadata"]) == (
        400,
        "invalid_request_error",
        {"provider": "anthropic"},
    )
    assert "alternate" in error["message"]
    house[1].add(json_reply(anthropic_error("overloaded_error", "Overloaded"), 529))
    answer = ask(house, CLAUDE)
    assert (answer.status, answer.json()["error"]["type"]) == (502, "api_error")
    assert house[0].row_of(answer)["end"] == "released"


def test_what_the_gateway_refuses_is_told_in_anthropics_form(house: House) -> None:
    gateway = house[0]
    poor = {"x-api-key": gateway.add_key(spend_limit_nano=1)}
    told = {
        "not_found_error": ask(house, "no-such-model"),
        "authentication_error": ask(house, GPT, headers={}),
        "billing_error": ask(house, GPT, headers=poor),
        "invalid_request_error": gateway.call("GET", "/v1/messages"),
    }
    assert [answer.status for answer in told.values()] == [404, 401, 402, 405]
    for word, answer in told.items():
        body = answer.json()
        assert (body["type"], body["error"]["type"]) == ("error", word)
        assert body["request_id"] == answer.headers["x-request-id"] == answer.headers["request-id"]
    assert told["billing_error"].json()["error"]["metadata"]["reason"] == "key_limit"


@pytest.mark.parametrize(
    "path", ["/v1/v1/messages", "/v1/v1/messages?beta=true", "/v1/v1beta/models/x:generateContent"]
)
def test_a_base_url_that_ends_in_v1_too_much_is_told(house: House, path: str) -> None:
    told = house[0].call("POST", path, {})
    assert (told.status, told.json()["error"]["type"]) == (404, "not_found")
    assert "the gateway's address, without /v1" in told.json()["error"]["message"]


def test_loop_through_another_provider_keeps_what_it_wants_back(house: House) -> None:
    """The reply of a reasoning upstream, given back by a Messages client, reaches that upstream as it said it."""
    call = openai_tool_call("t", "{}", "call_1")
    said = openai_chat(None, tool_calls=[call], reasoning_content="Hm.", usage=openai_usage(1000, 100))
    house[1].add(json_reply(said), json_reply(openai_chat("Done.", usage=openai_usage(1000, 100))))
    tools, thinking = [{"name": "t", "input_schema": {"type": "object"}}], {"type": "adaptive"}
    first = ask(house, GPT, tools=tools, thinking=thinking)
    assert [block["type"] for block in first.json()["content"]] == ["thinking", "tool_use"]
    turns = [
        {"role": "user", "content": LONG},
        {"role": "assistant", "content": first.json()["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "7"}]},
    ]
    answer = ask(house, GPT, tools=tools, thinking=thinking, messages=turns)
    assert answer.status == 200, answer.body
    sent = house[1].received[-1].json()["messages"]
    assert sent[1]["tool_calls"] == [call]
    assert sent[2] == {"role": "tool", "tool_call_id": "call_1", "content": "7"}
    assert opaque.MARK not in json.dumps(sent)


@pytest.mark.parametrize("stream", [False, True])
def test_call_that_is_named_like_an_earlier_one_gets_a_name_of_its_own(house: House, stream: bool) -> None:
    """Anthropic's clients pair a result with its call by the id alone; some servers begin every turn with ``call_0``."""
    call = openai_tool_call("t", "{}", "call_0")
    frames = [openai_chunk({"tool_calls": [{**call, "index": 0}]}), openai_chunk({}, "tool_calls"), b"data: [DONE]\n\n"]
    house[1].add(sse_reply(frames) if stream else json_reply(openai_chat(None, tool_calls=[call])))
    turns = [
        {"role": "user", "content": LONG},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_0", "name": "t", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_0", "content": "7"}]},
    ]
    answer = ask(house, GPT, tools=[{"name": "t", "input_schema": {"type": "object"}}], messages=turns, stream=stream)
    message = client.from_stream(answer.body) if stream else answer.json()
    assert [block["id"] for block in message["content"]] == ["call_0_2"]


# --- count_tokens


def count(house: House, model: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    return ask(house, model, "/v1/messages/count_tokens", headers, **fields)


def test_tokens_are_counted_by_who_would_answer_and_nothing_is_held(house: House) -> None:
    gateway, fake = house
    fake.add(json_reply({"input_tokens": 1234}))
    rows, before = gateway.rows("SELECT COUNT(*) AS n FROM requests"), gateway.balance()
    answer = count(house, CLAUDE, system="x")
    assert (answer.status, answer.json()) == (200, {"input_tokens": 1234})
    assert answer.headers["x-tokenhub-token-count"] == "upstream"
    sent = fake.received[-1]
    assert sent.path == "/v1/messages/count_tokens"
    assert sent.json().keys() == {"model", "messages", "system"}
    assert gateway.rows("SELECT COUNT(*) AS n FROM requests") == rows
    assert gateway.balance() == before


@pytest.mark.parametrize("model", REPLIES)
def test_tokens_are_estimated_where_nobody_counts_them(house: House, model: str) -> None:
    house[1].add(json_reply(anthropic_error("api_error", "Internal"), 500))
    answer = count(house, model)
    assert answer.status == 200
    assert answer.headers["x-tokenhub-token-count"] == "estimate"
    assert answer.json() == {"input_tokens": 1254}, "5000 bytes are 1250 tokens, and a message has 4 more"


def test_counting_is_for_key_holders_inside_their_boundaries_and_limits(house: House) -> None:
    gateway, fake = house
    assert (count(house, CLAUDE, {}).status, count(house, "no-such-model").status) == (401, 404)
    refused = count(house, CLAUDE, provider={"only": ["openai"]})
    assert (refused.status, refused.json()["error"]["type"]) == (403, "permission_error")
    headers = {"x-api-key": gateway.add_key(rpm=1)}
    assert count(house, GPT, headers).headers["x-ratelimit-remaining-requests"] == "1"
    fake.add(json_reply(REPLIES[GPT][0]))
    assert ask(house, GPT, headers=headers).status == 200
    answer = count(house, GPT, headers)
    assert (answer.status, answer.json()["error"]["type"]) == (429, "rate_limit_error")
    assert 1 <= int(answer.headers["retry-after"]) <= 61


def test_fault_of_the_counted_request_is_told(house: House) -> None:
    house[1].add(json_reply(anthropic_error("invalid_request_error", "messages.0: bad"), 400))
    answer = count(house, CLAUDE)
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_t103_no_prompt_is_counted_outside_its_region(house: House) -> None:
    """Anthropic counts without ``inference_geo``, so what must stay in the US is estimated here."""
    gateway, fake = house
    added = gateway.add_credential("anthropic", fake.url, region="us")
    before = len(fake.received)
    preferences.change(gateway.hub, preferences.account(gateway.account_id), {"regions": ["us"]})
    try:
        answer = count(house, OPUS)
    finally:
        preferences.reset(gateway.hub, preferences.account(gateway.account_id))
        credentials.remove(gateway.hub, added)
    assert (answer.status, answer.headers["x-tokenhub-token-count"]) == (200, "estimate")
    assert len(fake.received) == before


def narrows(gateway: RunningGateway, then: Reply, **members: Any) -> Callable[[Received], Reply]:
    """Return a script that narrows the account's boundaries and replies."""

    def script(_: Received) -> Reply:
        preferences.change(gateway.hub, preferences.account(gateway.account_id), members)
        return then

    return script


@pytest.mark.parametrize("members", [{"deny_models": [OPUS]}, {"max_attempts": 1}])
def test_t108_a_narrowed_boundary_binds_who_is_asked_next_for_a_count(house: House, members: dict[str, Any]) -> None:
    gateway, fake = house
    before, script = len(fake.received), fake.script
    fake.script = narrows(gateway, json_reply(anthropic_error("api_error", "Internal"), 500), **members)
    try:
        answer = count(house, CLAUDE, models=[OPUS], provider={"only": ["anthropic"]})
    finally:
        fake.script = script
        preferences.reset(gateway.hub, preferences.account(gateway.account_id))
    assert (answer.status, answer.headers["x-tokenhub-token-count"]) == (200, "estimate")
    assert len({one.json()["model"] for one in list(fake.received)[before:]}) == 1


def test_t108_a_count_is_not_sent_again_past_a_narrowed_boundary(house: House) -> None:
    """Its kept connection breaks; what would be asked over a fresh one is outside by then."""
    gateway, fake = house
    script = fake.script
    fake.add(json_reply({"input_tokens": 7}))
    assert count(house, CLAUDE).headers["x-tokenhub-token-count"] == "upstream"
    before = len(fake.received)
    fake.script = narrows(gateway, [Cut()], deny_providers=["anthropic"])
    try:
        answer = count(house, CLAUDE)
    finally:
        fake.script = script
        preferences.reset(gateway.hub, preferences.account(gateway.account_id))
    assert (answer.status, answer.headers["x-tokenhub-token-count"]) == (200, "estimate")
    assert len(fake.received) == before + 1


def test_t108_the_requests_own_boundary_binds_who_is_asked_next_for_a_count(house: House) -> None:
    gateway, fake = house
    held = next(one.id for one in credentials.listing(gateway.hub) if one.provider == "anthropic")
    before, script = len(fake.received), fake.script

    def states(_: Received) -> Reply:
        credentials.set_data_policy(gateway.hub, held, "unknown")
        return json_reply(anthropic_error("api_error", "Internal"), 500)

    credentials.set_data_policy(gateway.hub, held, "no_retention")
    fake.script = states
    try:
        answer = count(house, CLAUDE, models=[OPUS], provider={"only": ["anthropic"], "data_collection": "deny"})
    finally:
        fake.script = script
        credentials.set_data_policy(gateway.hub, held, None)
    assert (answer.status, answer.headers["x-tokenhub-token-count"]) == (200, "estimate")
    assert len(fake.received) == before + 1


def test_t108_a_boundary_that_is_narrowed_while_the_body_comes_binds_the_count(house: House) -> None:
    gateway, fake = house
    before = len(fake.received)
    body = json.dumps({"model": CLAUDE, "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}).encode()
    head = f"POST /v1/messages/count_tokens HTTP/1.1\r\nHost: x\r\nx-api-key: {gateway.key}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client_:
        client_.sendall(head.encode() + body[:5])
        time.sleep(0.3)
        preferences.change(gateway.hub, preferences.account(gateway.account_id), {"deny_providers": ["anthropic"]})
        try:
            client_.sendall(body[5:])
            answer = b"".join(iter(lambda: client_.recv(65536), b""))
        finally:
            preferences.reset(gateway.hub, preferences.account(gateway.account_id))
    assert answer
    assert len(fake.received) == before
