"""Recorded responses of the real providers, played to a running gateway: to a client that speaks
Responses, which gets them byte for byte but for the bill, and to one that speaks chat.

The recordings lie beside the project and are not part of it; where they are absent these tests
are skipped, and ``tests/wire`` and ``tests/proxy`` show the same with samples of our own.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest

from tests.fakes.dialects import arguments
from tests.fakes.stage import Stage, bill_of, open_stage
from tests.scenarios.test_wire_replay import RECORDINGS, body_of, headers_of, recorded, select, ways
from tokenhub import clock
from tokenhub.catalog.load import Override
from tokenhub.store import catalog as store

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings (../shared/wire) are not here")

BROKEN = "openai/responses-stream-error-event-bab544.json"
"""A rate limit told inside the stream, before any content."""
HOSTED = "openai/responses-plain-server-tool-cached-1ccf85.json"
"""Asks for a tool that runs, and is billed, at the provider."""
RESPONSES = select("responses")
WHOLE = [one for one in RESPONSES if one.values[0] != BROKEN]
TOOL = {"type": "function", "function": {"name": "any", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("responses"), ["openai", "deepseek"]) as opened:
        database = opened.gateway.hub.database
        with database.write():
            wires = {"responses": {"path": "responses"}}
            store.put_override(database, Override("provider", "deepseek", {"wires": wires}), clock.now_ms())
        yield opened
        opened.client.close()


def model_of(stage: Stage, recording: dict[str, Any]) -> str:
    return stage.name_of(recording["provider"], recording["model"], "chat")


def asked_by(stage: Stage, recording: dict[str, Any]) -> dict[str, Any]:
    """The recorded request, but for the model's name."""
    sent = recording["request"]["body"] or {"input": "Hello", "stream": True}
    return {**sent, "model": model_of(stage, recording)}


def ended(recording: dict[str, Any]) -> dict[str, Any]:
    """The whole response that a recording ends with."""
    if not recording["stream"]:
        return json.loads(body_of(recording))
    return events(body_of(recording))[-1]["response"]


def frames(body: bytes) -> list[bytes]:
    return [frame for frame in body.replace(b"\r\n", b"\n").split(b"\n\n") if frame.strip()]


def events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(frame.partition(b"data:")[2]) for frame in frames(body) if b"data:" in frame]


def buckets_of(usage: dict[str, Any]) -> dict[str, int]:
    """Tokens by the price they have, read by OpenAI's words: the cache is part of the input, reasoning of the output."""
    cached = usage["input_tokens_details"]["cached_tokens"]
    written = usage["input_tokens_details"].get("cache_write_tokens", 0)
    output = "output_thinking" if usage["output_tokens_details"]["reasoning_tokens"] else "output"
    fresh = usage["input_tokens"] - cached - written
    return {"input": fresh, "cached_input": cached, "cache_write": written, output: usage["output_tokens"]}


def assert_paid(stage: Stage, answer: Any, usage: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    row = stage.gateway.row_of(answer)
    assert (row["end"], row["estimated"], row["shortfall"]) == ("settled", 0, 0)
    assert (row["model_fee"], row["service_fee"]) == bill_of(buckets_of(usage))
    assert row["charged"] == row["model_fee"] + row["service_fee"] <= row["held"]
    assert Decimal(told["cost_details"]["total"]) == Decimal(row["charged"]).scaleb(-9)
    return row


# --- to a client that speaks Responses


@pytest.mark.soak
@pytest.mark.parametrize("file", WHOLE)
def test_a_recorded_response_passes_byte_for_byte_but_for_the_bill(stage: Stage, file: str) -> None:
    recording = recorded(file)
    given = ended(recording)
    for way, reply in ways(recording):
        stage.gateway.forget_faults()
        stage.fake.replies.clear()
        stage.fake.add(reply)
        answer = stage.gateway.call("POST", "/v1/responses", asked_by(stage, recording))
        assert answer.status == 200, (way, answer.body)
        if recording["stream"]:
            assert frames(answer.body)[:-1] == frames(body_of(recording))[:-1], way
            got = events(answer.body)[-1]
            assert {**got, "response": 0} == {**events(body_of(recording))[-1], "response": 0}
            got = got["response"]
        else:
            got = answer.json()
        own = given["usage"]
        assert {name: value for name, value in got.items() if name != "usage"} == {
            name: value for name, value in given.items() if name != "usage"
        }
        assert {name: got["usage"][name] for name in own} == own
        row = assert_paid(stage, answer, own, got["usage"])
        assert (row["upstream_id"], row["provider"]) == (given["id"], recording["provider"])
        leaks = {value for name, value in headers_of(recording).items() if name != "content-type" and len(value) > 6}
        assert not leaks & set(answer.headers.values())


@pytest.mark.parametrize("file", WHOLE)
def test_the_provider_is_asked_what_the_client_asked_and_to_store_nothing(stage: Stage, file: str) -> None:
    recording = recorded(file)
    stage.gateway.forget_faults()
    stage.fake.replies.clear()
    stage.fake.add(next(ways(recording))[1])
    asked = asked_by(stage, recording)
    answer = stage.gateway.call("POST", "/v1/responses", asked)
    received = stage.fake.received[-1]
    sent = received.json()
    assert received.path == "/v1/responses"
    ours = {"model", "store", "stream", "include", "prompt_cache_key", "service_tier"}
    untouched = {name: value for name, value in asked.items() if name not in ours | {"tools", "tool_choice"}}
    assert "service_tier" not in sent
    assert {name: sent[name] for name in untouched} == untouched
    assert (sent["store"], sent["stream"]) == (False, recording["stream"])
    if file == HOSTED:
        assert "tools" not in sent
        assert answer.headers["x-tokenhub-dropped"] == "tools.code_interpreter"
    else:
        assert sent.get("tools") == asked.get("tools")
        assert sent.get("tool_choice") == asked.get("tool_choice")


def test_a_recorded_failure_in_a_stream_is_told_and_free(stage: Stage) -> None:
    recording = recorded(BROKEN)
    for _, reply in ways(recording):
        stage.gateway.forget_faults()
        stage.fake.replies.clear()
        stage.fake.add(reply)
        body = {"model": stage.name_of("openai", "gpt-4o", "chat"), "input": "Hello", "stream": True}
        answer = stage.gateway.call("POST", "/v1/responses", body)
        error = answer.json()["error"]
        assert (answer.status, error["code"]) == (400, "context_length_exceeded")
        assert "Request too large" in error["message"]
        assert error["metadata"]["provider"] == "openai"
        row = stage.gateway.row_of(answer)
        assert (row["end"], row["charged"], row["status"]) == ("released", 0, 400)


@pytest.mark.parametrize("file", WHOLE)
def test_openais_own_sdk_reads_it(stage: Stage, file: str) -> None:
    recording = recorded(file)
    stage.gateway.forget_faults()
    stage.fake.replies.clear()
    stage.fake.add(next(ways(recording))[1])
    asked = asked_by(stage, recording)
    made = stage.client.responses.create(**{**asked, "stream": recording["stream"]})
    if recording["stream"]:
        with made:
            *_, last = made
        made = last.response
    given = ended(recording)
    texts = [part["text"] for item in given["output"] for part in item.get("content") or () if "annotations" in part]
    assert (made.id, made.output_text) == (given["id"], "".join(texts))
    assert made.usage.total_tokens == given["usage"]["total_tokens"]


# --- to a client that speaks chat


@pytest.mark.soak
@pytest.mark.parametrize("file", [one for one in RESPONSES if one.values[0].startswith("openai")])
def test_a_recorded_response_reaches_a_chat_client_that_has_tools_for_a_model_that_reasons(
    stage: Stage, file: str
) -> None:
    recording = recorded(file)
    prompt = (ended(recording).get("usage") or {"input_tokens": 0})["input_tokens"]
    request = {"model": stage.name_of("openai", "gpt-5.5", "chat"), "stream": recording["stream"], "tools": [TOOL]}
    request["messages"] = [{"role": "user", "content": "word " * (prompt // 4 + 8)}]
    if recording["stream"]:
        request["stream_options"] = {"include_usage": True}
    for way, reply in ways(recording):
        seen = stage.chat(request, reply)
        assert stage.fake.received[-1].path == "/v1/responses"
        if file == BROKEN:
            assert isinstance(seen.error, openai.APIStatusError)
            assert stage.gateway.row_of(seen)["charged"] == 0
            continue
        assert seen.error is None, (way, seen.error)
        assert seen.choices == {0: expected(ended(recording))}, way
        assert seen.usage is not None
        assert_paid(stage, seen, ended(recording)["usage"], seen.usage)


def expected(response: dict[str, Any]) -> tuple[Any, ...]:
    """Text, reasoning, refusal, calls and finish reason that a chat client must see."""
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    return (
        "".join(part.get("text", "") for part in parts),
        "",
        "".join(part.get("refusal", "") for part in parts),
        [(call["name"], arguments(call["arguments"])) for call in calls],
        "tool_calls" if calls else "stop",
    )
