"""Recorded exchanges of the real providers, played to a running gateway and heard by OpenAI's own SDK.

What the SDK's user sees, and what the account pays, equal what the recording says. The
recordings lie beside the project and are not part of it; where they are absent these tests
are skipped, and ``test_sample_replay.py`` shows the same with samples of our own.
"""

import base64
import json
import os
import random
import re
from collections.abc import Iterator
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.fakes.dialects import Told, read
from tests.fakes.stage import Seen, Stage, assert_billed, assert_told, bill_of, cut, dripped, open_stage, whole
from tests.fakes.upstream import Reply
from tokenhub.catalog import load

RECORDINGS = Path(__file__).parents[2] / "../shared/wire"
pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings (../shared/wire) are not here")

ROUNDS = 40 if os.environ.get("TOKENHUB_SOAK") == "1" else 1
"""How often each recording is cut at three places and dripped."""

PROVIDERS = {"dashscope": "alibaba"}
"""A recording's provider to the catalogue's; the others have the same name."""
DIALECTS = {"chat": "openai", "messages": "anthropic", "generateContent": "google"}
OWN_HEADERS = {
    "content-type",
    "content-length",
    "connection",
    "date",
    "transfer-encoding",
    "content-encoding",
    "server",
}


def select(*kinds: str) -> list[Any]:
    """Return the recordings of these kinds in a dialect that the gateway speaks."""
    if not RECORDINGS.is_dir():
        return []
    index = json.loads((RECORDINGS / "index.json").read_text(encoding="utf-8"))
    return [
        pytest.param(one["file"], id=one["file"].removesuffix(".json"))
        for one in index["exchanges"]
        if one["kind"] in kinds
    ]


@cache
def recorded(file: str) -> dict[str, Any]:
    return {**json.loads((RECORDINGS / file).read_text(encoding="utf-8")), "file": file} | _indexed()[file]


@cache
def _indexed() -> dict[str, dict[str, Any]]:
    index = json.loads((RECORDINGS / "index.json").read_text(encoding="utf-8"))
    return {one["file"]: {name: one[name] for name in ("model", "status")} for one in index["exchanges"]}


def provider_of(recording: dict[str, Any]) -> str:
    return PROVIDERS.get(recording["provider"], recording["provider"])


def body_of(recording: dict[str, Any]) -> bytes:
    response = recording["response"]
    if "body_base64" in response:
        return base64.b64decode(response["body_base64"])
    return (json.dumps(response["body"]) if "body" in response else response["body_text"]).encode()


def headers_of(recording: dict[str, Any]) -> dict[str, str]:
    """Return the recorded headers that say something about the content, not about its framing."""
    kept = {name.lower(): value for name, value in recording["response"]["headers"].items()}
    for name in OWN_HEADERS - {"content-type"}:
        kept.pop(name, None)
    return {name: value if isinstance(value, str) else value[0] for name, value in kept.items()}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    providers = ["openai", "anthropic", "google", "deepseek", "moonshot", "alibaba", "zhipu"]
    with open_stage(tmp_path_factory.mktemp("replay"), providers) as opened:
        yield opened


# --- chat

TAKES_ONLY_AUTO = ("invalid_request_error", "tool_choice")
"""Zhipu's and Moonshot's pages take no forced tool_choice, DashScope's no ``required``; here it went well."""
REFUSED: dict[str, tuple[str, str]] = {
    "dashscope/chat-plain-tool-call-cached-37495b.json": TAKES_ONLY_AUTO,
    "moonshot/chat-plain-tool-call-reasoning-cached-db06fb.json": TAKES_ONLY_AUTO,
    "openai/chat-plain-plain-2bd06b.json": ("unpriced_feature", "web_search_options"),
    "openai/chat-plain-plain-cf10ed.json": ("unpriced_feature", "audio"),
    "openai/chat-plain-web-search-91d119.json": ("unpriced_feature", "web_search_options"),
    "openai/chat-stream-web-search-f02495.json": ("unpriced_feature", "web_search_options"),
}
"""Requests that the gateway refuses, with code and field: shown to be so, then the reply is played to a plain request."""

CALLS_IN_PIECES: dict[str, list[Any]] = {
    "google/generateContent-stream-parallel-tools-0db790.json": [
        ("getWeather", {"location": "Boston"}),
        ("getWeather", {"location": "San Francisco"}),
    ],
    "google/generateContent-stream-parallel-tools-f8ceb2.json": [
        (
            "writeItems",
            {
                "operations": [
                    {"action": "add", "description": "Fresh red apple", "itemid": "apple_001", "price": 0.5},
                    {"action": "add", "description": "Ripe yellow banana", "itemid": "banana_001", "price": 0.3},
                ]
            },
        )
    ],
}
"""Vertex streams arguments by JSON path; put together by hand."""

CHATS = select(*DIALECTS)


def told_by(recording: dict[str, Any]) -> Told:
    told = read(DIALECTS[recording["kind"]], body_of(recording), stream=recording["stream"])
    if recording["file"] in CALLS_IN_PIECES:
        told.choices[0] = (*told.choices[0][:3], CALLS_IN_PIECES[recording["file"]], told.choices[0][4])
    return told


def model_of(stage: Stage, recording: dict[str, Any], capability: str = "chat") -> str:
    asked = recording["request"]["body"] or {}
    named = asked.get("model") if isinstance(asked, dict) else None
    return stage.name_of(provider_of(recording), named or recording["model"], capability)


def own_request(recording: dict[str, Any]) -> dict[str, Any] | None:
    """Return the recorded request, if it is in OpenAI's form; what it says of ``stream_options`` is the test's."""
    sent = recording["request"]["body"]
    if recording["kind"] != "chat" or not sent:
        return None
    return {name: value for name, value in sent.items() if name not in ("model", "stream_options")}


def plain_request(prompt_tokens: int, *, stream: bool) -> dict[str, Any]:
    """Return a request whose prompt may well have this many tokens."""
    content = "word " * (prompt_tokens // 4 + 8)
    return {"messages": [{"role": "user", "content": content}], "stream": stream}


def ways(recording: dict[str, Any]) -> Iterator[tuple[str, Reply]]:
    """Play the bytes whole, cut at three places, and dripped; the cuts are the same in every run."""
    body, headers, chance = body_of(recording), headers_of(recording), random.Random(recording["id"])
    yield "whole", whole(body, headers=headers)
    for _ in range(ROUNDS):
        places = [chance.randrange(1, len(body)) for _ in range(3)]
        yield f"cut at {places}", cut(body, places, headers=headers)
        yield "dripped", dripped(body, chance, headers=headers)


@pytest.mark.soak
@pytest.mark.parametrize("file", CHATS)
def test_a_recorded_reply_reaches_the_sdk_and_the_bill_as_it_was(stage: Stage, file: str) -> None:
    recording = recorded(file)
    told = told_by(recording)
    request = None if file in REFUSED else own_request(recording)
    request = request or plain_request(told.counts[0] if told.counts else 0, stream=recording["stream"])
    request["model"] = model_of(stage, recording)
    for way, reply in ways(recording):
        asks = recording["stream"] and way != "dripped"
        seen = stage.chat(request | ({"stream_options": {"include_usage": True}} if asks else {}), reply)
        print(way, request["model"], seen.error)
        row = stage.gateway.row_of(seen)
        assert_told(told, seen, row)
        if told.failed:
            continue
        assert_as_recorded(recording, told, seen)
        assert seen.usages == (1 if asks or not recording["stream"] else 0)
        assert_billed(told, row, seen.usage)
        assert row["provider"] == provider_of(recording)
        assert row["streamed"] == recording["stream"]


def assert_as_recorded(recording: dict[str, Any], told: Told, seen: Seen) -> None:
    """What is the provider's own to say is said; what is nobody's business is not."""
    if recording["kind"] != "generateContent":  # Google has no ids of its own worth a name
        assert seen.call_ids == told.call_ids
    if told.model:
        assert seen.model == told.model
    leaks = {value for name, value in headers_of(recording).items() if name != "content-type" and not value.isdigit()}
    assert not leaks & set(seen.headers.values())


@pytest.mark.parametrize("file", sorted(REFUSED))
def test_what_is_refused_is_refused_by_name_and_nothing_else_is(stage: Stage, file: str) -> None:
    recording = recorded(file)
    request = own_request(recording)
    assert request is not None, "stale: there is no such request"
    asked = len(stage.fake.received)
    seen = stage.chat(request | {"model": model_of(stage, recording)}, whole(b"{}"))
    assert isinstance(seen.error, openai.BadRequestError), "stale: this is not refused any more"
    assert (seen.error.code, seen.error.param) == REFUSED[file]
    assert len(stage.fake.received) == asked


def test_every_recording_that_a_table_names_is_there() -> None:
    files = {param.values[0] for param in (*CHATS, *ERRORS)}
    assert REFUSED.keys() | CALLS_IN_PIECES.keys() | KINDS.keys() <= files


# --- embeddings


@pytest.mark.parametrize("file", select("embeddings"))
def test_recorded_embeddings_reach_the_sdk_and_the_bill_as_they_were(stage: Stage, file: str) -> None:
    recording = recorded(file)
    sent, raw = recording["request"]["body"], recording["response"]["body"]
    request: dict[str, Any] = {"model": model_of(stage, recording, "embeddings")}
    if recording["provider"] == "google":
        vectors, prompt = raw["embeddings"], (raw.get("usageMetadata") or {}).get("promptTokenCount")
        told = [one["values"] for one in vectors]
        request |= {"input": ["word " * 40] * len(vectors), "encoding_format": "float"}
    else:
        told, prompt = [one["embedding"] for one in raw["data"]], raw["usage"]["prompt_tokens"]
        request |= {name: value for name, value in sent.items() if name != "model"}
        request.setdefault("encoding_format", "float")
    for way, reply in ways(recording):
        stage.fake.replies.clear()
        stage.fake.add(reply)
        raw_reply = stage.client.embeddings.with_raw_response.create(**request)
        got = json.loads(raw_reply.http_response.content)
        row = stage.gateway.row_of(raw_reply)
        assert [one["embedding"] for one in got["data"]] == told, way
        assert [one["index"] for one in got["data"]] == list(range(len(told)))
        if prompt is None:
            assert (row["end"], row["estimated"]) == ("settled", 1)
            continue
        assert (got["usage"]["prompt_tokens"], got["usage"]["total_tokens"]) == (prompt, prompt)
        assert (row["end"], row["estimated"], row["shortfall"]) == ("settled", 0, 0)
        assert (row["model_fee"], row["service_fee"]) == bill_of({"input": prompt})


# --- errors

ERRORS = select("error")

KINDS = {
    "anthropic/error-plain-400-messages-811a88.json": "context",
    "dashscope/error-plain-400-rerank-ca9477.json": "model_gone",
    "google/error-plain-400-generatecontent-c55763.json": "auth",
    "google/error-plain-400-images-015aae.json": "filter",
    "openai/error-plain-400-responses-7ebd0c.json": "model_gone",
}
"""Errors whose status misleads, with what they are; all others are what ``BY_STATUS`` says."""
BY_STATUS = {400: "bad_request", 401: "auth", 403: "auth", 404: "model_gone", 429: "rate", 529: "overload"}
CLIENT_CODES = {
    "bad_request": "invalid_request_error",
    "context": "context_length_exceeded",
    "filter": "content_filter",
}
COMPLETIONS_ONLY = {name for name, model in load.load(()).models.items() if model.traits["completions_only"]}
REPLIES = {"model_gone": (404, "model_not_found"), "rate": (503, "no_provider_available")}


@pytest.mark.parametrize("file", ERRORS)
def test_a_recorded_error_is_told_in_the_gateways_words(stage: Stage, file: str) -> None:
    recording = recorded(file)
    kind = KINDS.get(file, BY_STATUS[recording["status"]])
    stage.gateway.forget_faults()
    stage.fake.replies.clear()
    stage.fake.add(whole(body_of(recording), recording["status"], headers_of(recording)))
    request = plain_request(0, stream=recording["stream"]) | {"model": model_of(stage, recording)}
    path = "/v1/chat/completions"
    if request["model"].split("/")[-1].partition("@")[0] in COMPLETIONS_ONLY:
        path, request = "/v1/completions", {"model": request["model"], "prompt": "Hello"}
    answer = stage.gateway.call("POST", path, request)
    error = answer.json()["error"]
    row = stage.gateway.row_of(answer)
    assert (row["end"], row["charged"], row["status"]) == ("released", 0, answer.status)
    assert json.loads(row["attempts"])[0]["outcome"] == kind
    assert error["request_id"] == answer.headers["x-request-id"]
    if kind in CLIENT_CODES:
        assert (answer.status, error["type"], error["code"]) == (400, "invalid_request_error", CLIENT_CODES[kind])
        assert error["metadata"] == {"provider": provider_of(recording)}
        assert_scrubbed(error["message"], recording)
        return
    status, code = REPLIES.get(kind, (502, "upstream_error"))
    assert (answer.status, error["type"], error["code"]) == (status, code, code)
    provider = provider_of(recording)
    attempt = {"provider": provider, "reason": kind, "status": recording["status"]}
    told = {name: value for name, value in error["metadata"].items() if name != "suggestions"}
    assert told == {"provider": provider, "attempts": [attempt]}
    assert ("retry-after" in answer.headers) is (kind == "rate")
    body = answer.body.decode()
    for name in error["metadata"].get("suggestions", ()):  # a name of the catalogue's, which may be the recording's too
        body = body.replace(name, "")
    assert_nothing_of(recording, body)


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts_of(one)


def assert_nothing_of(recording: dict[str, Any], shown: str) -> None:
    own = json.loads(shown)["error"]["code"]
    for text in set(texts_of(json.loads(body_of(recording)))) - {own}:
        pieces = [text] if len(text) < 24 else [text[place : place + 24] for place in range(0, len(text) - 23, 6)]
        assert not [piece for piece in pieces if len(piece) > 14 and piece in shown], text


SECRET_SHAPES = re.compile(
    r"https?:|req_|toolu_|rs_[0-9a-f]|KEY-|\*\*\*|[0-9a-f]{8}-[0-9a-f]{4}|projects/", re.IGNORECASE
)


def assert_scrubbed(message: str, recording: dict[str, Any]) -> None:
    """The provider's own words, without addresses, ids and keys."""
    error = json.loads(body_of(recording))["error"]
    assert not SECRET_SHAPES.search(message), message
    kept = [word for word in message.split() if "[…]" not in word]
    assert len(kept) > 2
    assert all(word in error["message"] for word in kept)


@pytest.mark.parametrize(
    "file", ["google/error-plain-429-generatecontent-29242f.json", "google/error-plain-429-generatecontent-508ff4.json"]
)
def test_a_recorded_wait_is_told_to_the_client(stage: Stage, file: str) -> None:
    recording = recorded(file)
    stage.gateway.forget_faults()
    stage.fake.replies.clear()
    stage.fake.add(whole(body_of(recording), 429, headers_of(recording)))
    answer = stage.gateway.chat(model_of(stage, recording))
    wait = float(re.search(r'"retryDelay": ?"([\d.]+)s"', body_of(recording).decode()).group(1))
    assert int(answer.headers["retry-after"]) == ceil(wait)
