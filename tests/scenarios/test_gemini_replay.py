"""Recorded exchanges of Google's own API and of legacy completions, played through the gateway to clients of the same API.

A reply arrives as it was recorded, whole and streamed, cut and dripped, with the cost beside
its usage; the account pays what the recording's usage comes to. The recordings lie beside the
project and are not part of it; where they are absent these tests are skipped.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.dialects import google_events, openai_buckets, read
from tests.fakes.stage import Stage, assert_billed, bill_of, cut, dripped, open_stage, whole
from tests.fakes.upstream import Reply
from tests.harness import Answer
from tests.scenarios.test_wire_replay import RECORDINGS, body_of, headers_of, recorded, select

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings (../shared/wire) are not here")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("gemini-replay"), ["google", "openai"]) as opened:
        yield opened


def ways(recording: dict[str, Any], body: bytes | None = None) -> Iterator[tuple[str, Reply]]:
    body = body_of(recording) if body is None else body
    headers, chance = headers_of(recording), random.Random(recording["id"])
    yield "whole", whole(body, headers=headers)
    places = [chance.randrange(1, len(body)) for _ in range(3)]
    yield f"cut at {places}", cut(body, places, headers=headers)
    yield "dripped", dripped(body, chance, headers=headers)


def ask(stage: Stage, path: str, body: dict[str, Any], reply: Reply) -> Answer:
    stage.gateway.forget_faults()
    stage.fake.replies.clear()
    stage.fake.add(reply)
    return stage.gateway.call("POST", path, body, {"x-api-key": stage.gateway.key})


def counted(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return events without what was added to the last usage, and that usage."""
    shown = next((one["usageMetadata"] for one in reversed(events) if "cost" in one.get("usageMetadata", ())), {})
    added = {name: shown[name] for name in ("cost", "is_byok", "cost_details") if name in shown}
    for name in added:
        del shown[name]
    return events, {**shown, **added}


# --- generateContent

REFUSED = {
    "google/generateContent-plain-cached-648a9f.json": "cachedContent",
    "google/generateContent-plain-plain-a9b595.json": "generationConfig.responseModalities",
    "google/generateContent-plain-plain-d1f18f.json": "generationConfig.responseModalities",
    "google/generateContent-stream-cached-71f70f.json": "cachedContent",
}
"""Requests that have no price here, with the field at fault: shown to be so, then the reply is played to a plain request."""
HOSTED = ("googleSearch", "codeExecution", "urlContext", "googleMaps", "fileSearch")


def own_request(recording: dict[str, Any], prompt_tokens: int) -> dict[str, Any]:
    """Return the recorded request if it is short of nothing, else a plain one with room for the recorded prompt."""
    words = "word " * (prompt_tokens // 4 + 8)
    sent = recording["request"]["body"]
    if not isinstance(sent, dict) or "contents" not in sent or recording["file"] in REFUSED:
        return {"contents": [{"role": "user", "parts": [{"text": words}]}]}
    return {**sent, "contents": [*sent["contents"], {"role": "user", "parts": [{"text": words}]}]}


@pytest.mark.parametrize("file", select("generateContent"))
def test_a_recorded_reply_reaches_googles_clients_as_it_was(stage: Stage, file: str) -> None:
    recording = recorded(file)
    told = read("google", body_of(recording), stream=recording["stream"])
    model = stage.name_of("google", recording["model"], "chat")
    method = "streamGenerateContent?alt=sse" if recording["stream"] else "generateContent"
    request = own_request(recording, told.counts[0] if told.counts else 0)
    for way, reply in ways(recording):
        answer = ask(stage, f"/v1beta/models/{model}:{method}", request, reply)
        row = stage.gateway.row_of(answer)
        if told.failed:
            assert b'"error"' in answer.body, way
            assert (row["end"], row["charged"], row["status"]) == ("released", 0, 502)
            continue
        assert answer.status == 200, answer.body
        events, usage = counted(google_events(answer.body))
        assert_billed(told, row, None)
        if told.counts is not None:
            assert events == google_events(body_of(recording)), way
        else:
            assert usage["cost_details"]["estimated"] is True
        assert usage["cost_details"]["total"]


@pytest.mark.parametrize("file", sorted(REFUSED))
def test_what_is_refused_is_refused_by_name(stage: Stage, file: str) -> None:
    recording = recorded(file)
    model, asked = stage.name_of("google", recording["model"], "chat"), len(stage.fake.received)
    answer = ask(stage, f"/v1beta/models/{model}:generateContent", recording["request"]["body"], whole(b"{}"))
    details = answer.json()["error"]["details"]
    assert (answer.status, details[0]["metadata"]["code"]) == (400, "unpriced_feature")
    assert details[2]["fieldViolations"][0]["field"] == REFUSED[file]
    assert len(stage.fake.received) == asked


def test_what_runs_at_google_was_among_the_recordings_and_is_left_out(stage: Stage) -> None:
    seen = set()
    for param in select("generateContent"):
        recording = recorded(str(param.values[0]))
        if "server_tool" not in recording["features"] or recording["file"] in REFUSED:
            continue
        reply = whole(body_of(recording), headers=headers_of(recording))
        method = "streamGenerateContent?alt=sse" if recording["stream"] else "generateContent"
        model = stage.name_of("google", recording["model"], "chat")
        answer = ask(stage, f"/v1beta/models/{model}:{method}", own_request(recording, 9000), reply)
        seen |= set(filter(None, answer.headers.get("x-tokenhub-dropped", "").split(",")))
        tools = stage.fake.received[-1].json().get("tools", [])
        assert not {name for tool in tools for name in tool if tool[name] is not None} & set(HOSTED)
    assert {"tools.codeExecution", "tools.fileSearch", "tools.googleSearch"} <= seen


# --- countTokens, embeddings


@pytest.mark.parametrize("file", [param for param in select("count_tokens") if "google/" in str(param.values[0])])
def test_a_recorded_count_reaches_googles_clients(stage: Stage, file: str) -> None:
    recording = recorded(file)
    model = stage.name_of("google", recording["model"], "chat")
    reply = whole(body_of(recording), headers=headers_of(recording))
    answer = ask(stage, f"/v1beta/models/{model}:countTokens", recording["request"]["body"], reply)
    assert answer.json() == {"totalTokens": recording["response"]["body"]["totalTokens"]}


@pytest.mark.parametrize("file", [param for param in select("embeddings") if "google/" in str(param.values[0])])
def test_recorded_embeddings_reach_googles_clients(stage: Stage, file: str) -> None:
    recording = recorded(file)
    model = stage.name_of("google", recording["model"], "embeddings")
    sent = json.loads(json.dumps(recording["request"]["body"]))
    reply = whole(body_of(recording), headers=headers_of(recording))
    answer = ask(stage, f"/v1beta/models/{model}:batchEmbedContents", sent, reply)
    if any("inline_data" in part for one in sent["requests"] for part in one["content"]["parts"]):
        assert answer.status == 400, "pictures have no price here"
        return
    assert answer.json()["embeddings"] == recording["response"]["body"]["embeddings"]
    forwarded = stage.fake.received[-1].json()["requests"]
    assert [{**one, "model": ""} for one in forwarded] == [{**one, "model": ""} for one in sent["requests"]]
    assert stage.gateway.row_of(answer)["end"] == "settled"


# --- legacy completions


@pytest.mark.parametrize("file", select("completions"))
def test_a_recorded_completion_reaches_its_clients_as_it_was(stage: Stage, file: str) -> None:
    recording = recorded(file)
    raw = body_of(recording)
    known = ("gpt-3.5-turbo-instruct", "babbage-002", "davinci-002")
    model = recording["model"] if recording["model"] in known else known[0]
    request = {**recording["request"]["body"], "model": f"openai/{model}@global", "stream": recording["stream"]}
    for _, reply in ways(recording):
        answer = ask(stage, "/v1/completions", request, reply)
        assert answer.status == 200, answer.body
        row = stage.gateway.row_of(answer)
        assert row["end"] == "settled"
        assert 0 < row["charged"] <= row["held"]
        if recording["stream"]:
            assert answer.body == raw.replace(b"\r\n", b"\n")
            assert row["estimated"] == 1
            continue
        told, own = answer.json(), json.loads(raw)
        usage = told.pop("usage")
        assert told == {name: value for name, value in own.items() if name != "usage"}
        assert usage["total_tokens"] == own["usage"]["total_tokens"]
        assert (row["model_fee"], row["service_fee"]) == bill_of(openai_buckets(own["usage"]))
