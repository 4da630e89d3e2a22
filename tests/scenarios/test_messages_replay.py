"""Recorded exchanges played to a running gateway and heard by a Messages client: native ones pass byte for byte.

The recordings lie beside the project and are not part of it; where they are absent these tests are skipped.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.dialects.clients import messages as client
from tests.dialects.story import Broken, Call, Text, Thought
from tests.fakes.dialects import Told
from tests.fakes.stage import Stage, bill_of, open_stage, whole
from tests.fakes.upstream import anthropic_message, anthropic_stream, json_reply, sse_reply
from tests.harness import Answer
from tests.scenarios.test_wire_replay import (
    BY_STATUS,
    CALLS_IN_PIECES,
    KINDS,
    RECORDINGS,
    assert_scrubbed,
    body_of,
    headers_of,
    model_of,
    recorded,
    select,
    told_by,
    ways,
)

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings (../shared/wire) are not here")

SEARCHED = "anthropic/messages-plain-thinking-server-tool-pause-turn-937c4e.json"
"""Its prompt grew by what a hosted tool found, which is left out here."""
BY_ID = {"anthropic/messages-stream-file-in-2e6a10.json", "anthropic/messages-stream-file-in-cached-39fd3e.json"}
"""They name a file in the account's store at Anthropic, which is refused here."""
SHORTER = BY_ID | {SEARCHED}
COST = {"cost", "is_byok", "cost_details"}
ENDS = {"stop": "stop", "length": "length", "tool_calls": "tools"}


def native(kind: str) -> list[Any]:
    return [one for one in select(kind) if one.values[0].startswith("anthropic/")]


def failed_messages() -> list[Any]:
    return [one for one in native("error") if "-messages-" in one.values[0]]


def test_every_recording_that_a_table_names_is_there() -> None:
    files = {one.values[0] for kind in ("messages", "chat") for one in select(kind)}
    assert SHORTER | NEVER_ASKED | {CUT_CALL} <= files


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    providers = ["openai", "anthropic", "google", "deepseek", "moonshot", "alibaba", "zhipu"]
    with open_stage(tmp_path_factory.mktemp("messages-replay"), providers) as opened:
        yield opened


def ask(stage: Stage, body: dict[str, Any], path: str = "/v1/messages") -> Answer:
    return stage.gateway.call("POST", path, body, {"x-api-key": stage.gateway.key, "anthropic-version": "2023-06-01"})


def request_of(recording: dict[str, Any], *, sized: bool = False) -> dict[str, Any]:
    """Return the recorded request where there is one, else one whose prompt is as long; ``sized``: also where a part was cut out of it."""
    sent = recording["request"]["body"]
    shorter = sized and (recording.get("payload_replaced") or recording["file"] in SHORTER)
    if recording["kind"] in ("messages", "count_tokens") and sent and not shorter:
        return {name: value for name, value in sent.items() if name not in ("model", "mcp_servers", "container")}
    words = "word " * 200_000 if recording["kind"] == "messages" else "word " * 20_000
    return {"max_tokens": 4_000, "stream": recording["stream"], "messages": [{"role": "user", "content": words}]}


@pytest.mark.soak
@pytest.mark.parametrize("file", native("messages"))
def test_native_reply_passes_as_it_was_and_is_billed_by_its_own_usage(stage: Stage, file: str) -> None:
    recording = recorded(file)
    told, body = told_by(recording), request_of(recording, sized=True) | {"model": model_of(stage, recording)}
    for way, reply in ways(recording):
        stage.gateway.forget_faults()
        stage.fake.replies.clear()
        stage.fake.add(reply)
        answer = ask(stage, body)
        row = stage.gateway.row_of(answer)
        print(way, answer.status, row["error_code"])
        if told.failed:
            assert_broken(answer, row)
            continue
        assert answer.status == 200, answer.body
        if recording["stream"]:
            usage = assert_same_events(answer.body, body_of(recording))
        else:
            usage = assert_same_message(answer.json(), json.loads(body_of(recording)))
        assert Decimal(usage["cost_details"]["total"]) == Decimal(row["charged"]).scaleb(-9)
        if told.billable:
            assert (row["end"], row["estimated"], row["shortfall"]) == ("settled", 0, 0)
            assert (row["model_fee"], row["service_fee"]) == bill_of(told.buckets)
        else:
            assert (row["end"], row["charged"]) == ("released", 0)


def assert_broken(answer: Answer, row: dict[str, Any]) -> None:
    assert (row["end"], row["charged"], row["status"]) == ("released", 0, 502)
    if answer.status == 200:
        with pytest.raises(Broken) as broken:
            client.from_stream(answer.body)
        assert broken.value.error["type"] == "api_error"
    else:
        assert answer.json()["error"]["type"] == "api_error"


def assert_same_events(told: bytes, sent: bytes) -> dict[str, Any]:
    """Every frame is the upstream's own, but for the cost in the last usage; returns that usage."""
    frames = [[frame for frame in body.split(b"\n\n") if frame] for body in (told, sent)]
    pairs = list(zip(*frames, strict=True))
    differing = [pair for pair in pairs if pair[0] != pair[1]]
    assert len(differing) == 1
    mine, theirs = (json.loads(frame.split(b"data: ", 1)[1]) for frame in differing[0])
    usage = mine.pop("usage")
    own = {name: value for name, value in usage.items() if name not in COST}
    assert own == theirs.pop("usage")
    assert mine == theirs
    return dict(usage)


def assert_same_message(told: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    usage = told.pop("usage")
    own = {name: value for name, value in usage.items() if name not in COST}
    assert own == sent.pop("usage")
    assert told == sent
    return dict(usage)


@pytest.mark.parametrize("file", native("messages"))
def test_recorded_request_reaches_the_upstream_as_it_was(stage: Stage, file: str) -> None:
    recording = recorded(file)
    body = request_of(recording)
    stage.gateway.forget_faults()
    stage.fake.replies.clear()
    stage.fake.add(sse_reply(anthropic_stream()) if recording["stream"] else json_reply(anthropic_message()))
    answer = ask(stage, body | {"model": model_of(stage, recording)})
    if file in BY_ID:
        assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert "stored at a provider" in answer.json()["error"]["message"]
        return
    assert answer.status == 200, answer.body
    sent = stage.fake.received[-1].json()
    dropped = {name.split(".")[0] for name in answer.headers.get("x-tokenhub-dropped", "").split(",")}
    changed = {"model", "max_tokens", *dropped} | ({"tool_choice"} if "tools" in dropped else set())
    assert {name: sent[name] for name in sent if name not in changed} == {
        name: body[name] for name in body if name not in changed
    }
    assert dropped <= {"", "tools", "service_tier"}
    assert sent["max_tokens"] <= body["max_tokens"]


@pytest.mark.parametrize("file", native("count_tokens"))
def test_recorded_count_is_the_answer(stage: Stage, file: str) -> None:
    recording = recorded(file)
    stage.gateway.forget_faults()
    stage.fake.replies.clear()
    stage.fake.add(whole(body_of(recording), headers=headers_of(recording)))
    body = request_of(recording)
    answer = ask(stage, body | {"model": model_of(stage, recording)}, "/v1/messages/count_tokens")
    assert (answer.status, answer.json()) == (200, json.loads(body_of(recording)))
    assert answer.headers["x-tokenhub-token-count"] == "upstream"
    sent = stage.fake.received[-1].json()
    assert {name: sent[name] for name in sent if name != "model"} == body


WORDS = {
    400: ("invalid_request_error",),
    404: ("not_found_error",),
    502: ("api_error",),
    503: ("overloaded_error",),
}


@pytest.mark.parametrize("file", failed_messages())
def test_recorded_error_is_told_in_anthropics_form(stage: Stage, file: str) -> None:
    recording = recorded(file)
    kind = KINDS.get(file, BY_STATUS[recording["status"]])
    stage.gateway.forget_faults()
    stage.fake.replies.clear()
    stage.fake.add(whole(body_of(recording), recording["status"], headers_of(recording)))
    body = {"max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], "stream": recording["stream"]}
    answer = ask(stage, body | {"model": model_of(stage, recording)})
    told = answer.json()
    row = stage.gateway.row_of(answer)
    assert (row["end"], row["charged"], row["status"]) == ("released", 0, answer.status)
    assert json.loads(row["attempts"])[0]["outcome"] == kind
    assert (told["type"], told["request_id"]) == ("error", answer.headers["x-request-id"])
    assert told["error"]["type"] in WORDS[answer.status]
    assert told["error"]["metadata"]["provider"] == "anthropic"
    if answer.status == 400:
        assert_scrubbed(told["error"]["message"], recording)


# --- other providers' replies, translated

MENDED = ("dashscope", "zhipu")
"""Whose replies leave things out, which a provider that is mended plays here; those two speak Messages themselves."""
NEVER_ASKED = {
    "openai/chat-plain-function-call-8334d0.json",
    "openai/chat-plain-function-call-d15260.json",
    "openai/chat-plain-tool-call-custom-tool-2b6e7a.json",
}
"""Replies to what a Messages request has no word for: functions of old, tools without a schema."""
CUT_CALL = "deepseek/chat-stream-parallel-tools-cached-length-fd0611.json"
"""Its limit cut the arguments of a call."""
TRANSLATED = [one for kind in ("chat", "generateContent") for one in select(kind) if one.values[0] not in NEVER_ASKED]


@pytest.mark.parametrize("file", TRANSLATED)
def test_translated_reply_says_what_was_recorded(stage: Stage, file: str) -> None:
    recording = recorded(file)
    told = told_by(recording)
    if len(told.choices) > 1:
        told.choices = {0: told.choices[0]}  # a Messages client cannot ask for more, so it hears the first
    stage.gateway.forget_faults()
    stage.fake.replies.clear()
    stage.fake.add(whole(body_of(recording), headers=headers_of(recording)))
    by = "google" if recording["kind"] == "generateContent" else "openai"
    by = "alibaba" if recording["provider"] in MENDED else by
    body = request_of(recording) | {"model": stage.name_of(by, None, "chat"), "thinking": {"type": "adaptive"}}
    answer = ask(stage, body)
    row = stage.gateway.row_of(answer)
    if told.failed:
        assert_broken(answer, row)
        return
    assert answer.status == 200, answer.body
    if file == CUT_CALL:
        assert b'"stop_reason":"max_tokens"' in answer.body
        return
    message = client.from_stream(answer.body) if recording["stream"] else answer.json()
    assert_said(told, message, in_pieces=file in CALLS_IN_PIECES)
    assert row["provider"] == by
    assert Decimal(message["usage"]["cost_details"]["total"]) == Decimal(row["charged"]).scaleb(-9)
    if told.billable and told.counts is not None:
        assert (row["model_fee"], row["service_fee"], row["shortfall"]) == (*bill_of(told.buckets), 0)


def assert_said(told: Told, message: dict[str, Any], *, in_pieces: bool) -> None:
    text, reasoning, refusal, calls, finish = told.choices[0]
    blocks = message["content"]
    heard = client.hear(message).parts if message["stop_reason"] in ("end_turn", "max_tokens", "tool_use") else ()
    texts = "".join(block["text"] for block in blocks if block["type"] == "text")
    thoughts = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    assert texts == (("" if text in ("(image)", "(audio)") else text or "") + (refusal or ""))
    assert thoughts == (reasoning or "")
    said = [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    assert [name for name, _ in said] == [name for name, _ in calls]
    for (_, given), (_, expected) in zip(said, calls, strict=True):
        assert given == expected or "INVALID_JSON" in given or in_pieces
    assert all(isinstance(part, Text | Thought | Call) for part in heard)
    if finish == "content_filter" or refusal:
        assert message["stop_reason"] == "refusal"
    elif not said and finish in ENDS and finish != "tool_calls":
        assert message["stop_reason"] == {"stop": "end_turn", "length": "max_tokens"}[finish]
    elif said and finish != "length":
        assert message["stop_reason"] == "tool_use"
