"""Google's own API at the gateway: its clients' bodies, events and errors, and the same ledger as everywhere."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.fakes.upstream import (
    Cut,
    FakeUpstream,
    Pause,
    gemini_embeddings,
    gemini_error,
    gemini_reply,
    gemini_stream,
    json_reply,
    openai_chat,
    openai_embeddings,
    openai_error,
    openai_stream,
    openai_tool_call,
    sse_reply,
)
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home

NATIVE, OTHER = "gemini-2.5-flash", "gpt-4o-mini"
BODY = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
Running = tuple[RunningGateway, FakeUpstream]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("gemini")), {"server.keep_alive_s": 0.08})
    with FakeUpstream([]) as fake:
        gateway.add_credential("google", fake.url)
        gateway.add_credential("openai", fake.url)
        gateway.add_credential("deepseek", fake.url)
        yield gateway, fake
        gateway.stop()


@pytest.fixture(autouse=True)
def _trusting(running: Running) -> None:
    running[0].forget_faults()
    running[1].replies.clear()


def ask(gateway: RunningGateway, model: str, method: str = "generateContent", body: Any = None, **more: Any) -> Answer:
    path = more.pop("path", f"/v1beta/models/{model}:{method}")
    headers = {"x-goog-api-key": gateway.key, **more}
    return gateway.call("POST", path, BODY if body is None else body, headers)


def assert_charged(row: dict[str, Any], usage: dict[str, Any]) -> None:
    assert row["end"] == "settled"
    assert 0 < row["charged"] <= row["held"]
    assert Decimal(usage["cost_details"]["total"]) == Decimal(row["charged"]).scaleb(-9)


def events_of(answer: Answer) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[6:]) for line in answer.body.splitlines() if line.startswith(b"data: ")]


# Replies -----------------------------------------------------------------------------------------


def test_a_body_passes_to_google_as_it_came_and_its_reply_back(running: Running) -> None:
    gateway, fake = running
    reply = {**gemini_reply("Hi"), "futureMember": [1]}
    fake.add(json_reply(reply))
    body = {**BODY, "generation_config": {"maxOutputTokens": 9, "futureKnob": 1}, "provider": {"only": ["google"]}}
    answer = ask(gateway, NATIVE, body=body)
    assert answer.status == 200
    sent = fake.received[-1]
    assert sent.path == f"/v1/models/{NATIVE}:generateContent"
    assert sent.json() == {**BODY, "generationConfig": {"maxOutputTokens": 9, "futureKnob": 1}}
    told = answer.json()
    usage = told.pop("usageMetadata")
    assert told == {name: value for name, value in reply.items() if name != "usageMetadata"}
    assert usage.items() >= reply["usageMetadata"].items()
    assert_charged(gateway.row_of(answer), usage)


def test_every_other_provider_answers_by_translation(running: Running) -> None:
    gateway, fake = running
    fake.add(json_reply(openai_chat("Hi")))
    answer = ask(gateway, OTHER, body={**BODY, "systemInstruction": {"parts": [{"text": "Be"}]}})
    assert fake.received[-1].json()["messages"] == [
        {"role": "system", "content": "Be"},
        {"role": "user", "content": "Hello"},
    ]
    told = answer.json()
    assert told["candidates"] == [
        {"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP", "index": 0}
    ]
    counts = {"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12}
    assert told["usageMetadata"].items() >= counts.items()
    assert_charged(gateway.row_of(answer), told["usageMetadata"])


@pytest.mark.parametrize(
    "name", [f"models/openai/{OTHER}", f"openai/{OTHER}", f"openai%2F{OTHER}", f"openai/{OTHER}@global"]
)
def test_a_model_is_named_in_the_path_in_every_way(running: Running, name: str) -> None:
    gateway, fake = running
    for path in (f"/v1beta/models/{name}:generateContent", f"/v1/models/{name}%3AgenerateContent"):
        fake.add(json_reply(openai_chat("Hi")))
        assert ask(gateway, "", path=path).status == 200


@pytest.mark.parametrize("header", ["x-goog-api-key", "x-api-key", "authorization"])
def test_the_key_may_stand_where_clients_put_it(running: Running, header: str) -> None:
    gateway, fake = running
    fake.add(json_reply(gemini_reply("Hi")))
    value = f"Bearer {gateway.key}" if header == "authorization" else gateway.key
    path = f"/v1beta/models/{NATIVE}:generateContent"
    assert gateway.call("POST", path, BODY, {header: value}).status == 200
    assert gateway.call("POST", path, BODY, {header: value, "x-goog-api-key": "th-other"}).status == 401


def test_a_tool_loop_goes_on_where_it_began(running: Running) -> None:
    gateway, fake = running
    tools = [{"functionDeclarations": [{"name": "get_weather", "parameters": {"type": "OBJECT"}}]}]
    fake.add(json_reply(openai_chat(None, tool_calls=[openai_tool_call()], finish_reason="tool_calls")))
    first = ask(gateway, OTHER, body={**BODY, "tools": tools}).json()["candidates"][0]
    assert first["content"]["parts"] == [
        {"functionCall": {"id": "call_fake1", "name": "get_weather", "args": {"city": "Paris"}}}
    ]
    answer = {"functionResponse": {"id": "call_fake1", "name": "get_weather", "response": {"output": "sun"}}}
    contents = [*BODY["contents"], first["content"], {"role": "user", "parts": [answer]}]
    fake.add(json_reply(openai_chat("Sunny")))
    assert ask(gateway, OTHER, body={"contents": contents, "tools": tools}).status == 200
    assert [one["role"] for one in fake.received[-1].json()["messages"]] == ["user", "assistant", "tool"]


# Streams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [NATIVE, OTHER])
def test_a_stream_of_events(running: Running, model: str) -> None:
    gateway, fake = running
    fake.add(sse_reply(gemini_stream(["Hel", "lo"]) if model == NATIVE else openai_stream(["Hel", "lo"])))
    answer = ask(gateway, model, "streamGenerateContent?alt=sse")
    events = events_of(answer)
    assert "".join(part["text"] for one in events for part in one["candidates"][0]["content"]["parts"]) == "Hello"
    assert [one["candidates"][0].get("finishReason") for one in events][-1] == "STOP"
    assert_charged(gateway.row_of(answer), events[-1]["usageMetadata"])
    assert b"[DONE]" not in answer.body


def test_googles_own_events_pass_byte_for_byte(running: Running) -> None:
    gateway, fake = running
    frames = gemini_stream(["a", "b", "c"])
    fake.add(sse_reply(frames))
    answer = ask(gateway, NATIVE, "streamGenerateContent?alt=sse")
    passed = b"".join(frames[:-1]).replace(b"\r\n", b"\n")
    assert answer.body.startswith(passed)
    last, own = json.loads(answer.body[len(passed) + 6 :]), json.loads(frames[-1][6:])
    assert {**last, "usageMetadata": None} == {**own, "usageMetadata": None}
    assert last["usageMetadata"].items() >= own["usageMetadata"].items()
    assert last["usageMetadata"]["cost"] > 0


@pytest.mark.parametrize("model", [NATIVE, OTHER])
def test_without_alt_sse_a_stream_is_one_array(running: Running, model: str) -> None:
    gateway, fake = running
    fake.add(sse_reply(gemini_stream(["Hel", "lo"]) if model == NATIVE else openai_stream(["Hel", "lo"])))
    answer = ask(gateway, model, "streamGenerateContent")
    assert answer.headers["content-type"] == "application/json"
    events = answer.json()
    assert "".join(part["text"] for one in events for part in one["candidates"][0]["content"]["parts"]) == "Hello"
    assert "cost" in events[-1]["usageMetadata"]


@pytest.mark.parametrize("alt", ["?alt=sse", ""])
def test_a_silent_stream_is_kept_alive_by_white_space_alone(running: Running, alt: str) -> None:
    gateway, fake = running
    frames = openai_stream(["Hel", "lo"])
    fake.add(sse_reply([*frames[:2], Pause(0.25), *frames[2:]]))
    answer = ask(gateway, OTHER, f"streamGenerateContent{alt}")
    events = events_of(answer) if alt else answer.json()
    assert len(events) == 3
    assert not [line for line in answer.body.splitlines() if line.startswith(b":")]
    assert (b"}\n\n\n" if alt else b"}\n") in answer.body


@pytest.mark.parametrize("alt", ["?alt=sse", ""])
@pytest.mark.parametrize("model", [NATIVE, OTHER])
def test_a_cut_stream_ends_with_an_error_and_is_free(running: Running, model: str, alt: str) -> None:
    gateway, fake = running
    frames = gemini_stream(["Hel", "lo"]) if model == NATIVE else openai_stream(["Hel", "lo"])
    fake.add(sse_reply([*frames[:2], Cut()] if model == OTHER else [frames[0], Pause(0.05), Cut()], framing="close"))
    answer = ask(gateway, model, f"streamGenerateContent{alt}")
    events = events_of(answer) if alt else answer.json()
    assert events[-1]["error"]["code"] == 502
    assert not any("usageMetadata" in one and "cost" in one["usageMetadata"] for one in events)
    row = gateway.row_of(answer)
    assert (row["end"], row["charged"], row["status"]) == ("released", 0, 502)


# Errors ------------------------------------------------------------------------------------------


def test_errors_are_googles_and_say_all_that_ours_say(running: Running) -> None:
    gateway, fake = running
    fake.add(json_reply(openai_error("busy", "server_error"), 500))
    answer = ask(gateway, f"openai/{OTHER}")
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["status"]) == (502, 502, "UNAVAILABLE")
    info, request = error["details"][:2]
    assert info["metadata"]["code"] == "upstream_error"
    assert info["metadata"]["provider"] == "openai"
    assert json.loads(info["metadata"]["attempts"])[0]["reason"] == "server"
    assert request["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "body", "key", "status", "word", "code"),
    [
        ("/v1beta/models/nope:generateContent", BODY, True, 404, "NOT_FOUND", "model_not_found"),
        (f"/v1beta/models/{NATIVE}:generateContent", BODY, False, 401, "UNAUTHENTICATED", "authentication_error"),
        (f"/v1beta/models/{NATIVE}:generateContent", {}, True, 400, "INVALID_ARGUMENT", "invalid_request_error"),
        (f"/v1beta/models/{NATIVE}:generateContent", b"{", True, 400, "INVALID_ARGUMENT", "invalid_json"),
        (f"/v1beta/models/{NATIVE}:tuneIt", BODY, True, 404, "NOT_FOUND", "not_found"),
        (f"/v1beta/models/{NATIVE}", BODY, True, 405, "UNIMPLEMENTED", "method_not_allowed"),
        ("/v1beta/cachedContents", BODY, True, 404, "NOT_FOUND", "not_found"),
        (f"/v1beta/models/{NATIVE}:generateContent", {**BODY, "cached_content": "x"}, True, 400, "INVALID_ARGUMENT", "unpriced_feature"),
        (f"/v1beta/models/{NATIVE}:generateContent", {**BODY, "api_base": "x"}, True, 400, "INVALID_ARGUMENT", "invalid_request_error"),
        ("/v1beta/models/gemini-embedding-001:generateContent", BODY, True, 400, "INVALID_ARGUMENT", "invalid_request_error"),
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_in_googles_form(
    running: Running, path: str, body: Any, key: bool, status: int, word: str, code: str
) -> None:
    gateway, fake = running
    asked = len(fake.received)
    answer = gateway.call("POST", path, body, {"x-goog-api-key": gateway.key if key else "th-wrong"})
    error = answer.json()["error"]
    assert (answer.status, error["status"], error["details"][0]["metadata"]["code"]) == (status, word, code)
    assert len(fake.received) == asked


def test_a_throttled_provider_says_when_to_come_back(running: Running) -> None:
    gateway, fake = running
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]
    fake.add(json_reply(gemini_error(429, "RESOURCE_EXHAUSTED", "slow down", details), 429))
    answer = ask(gateway, NATIVE)
    assert answer.status == 503
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "35s"} in answer.json()["error"][
        "details"
    ]


def test_tools_that_run_at_google_are_left_out_and_said_so(running: Running) -> None:
    gateway, fake = running
    fake.add(json_reply(gemini_reply("Hi")))
    answer = ask(gateway, NATIVE, body={**BODY, "tools": [{"google_search": {}}], "serviceTier": "flex"})
    assert answer.headers["x-tokenhub-dropped"] == "serviceTier,tools.googleSearch"
    assert fake.received[-1].json() == BODY


# Embeddings, counts, models ----------------------------------------------------------------------


def test_the_header_of_what_was_left_out_is_short_however_much_it_was(running: Running) -> None:
    gateway, fake = running
    fake.replies.append(json_reply(gemini_reply("Hi")))
    answer = gateway.chat(NATIVE, **{"é" * 5_000: 1, **{f"unknown_field_{number:04}": 1 for number in range(800)}})
    assert answer.status == 200, answer.body
    told = answer.headers["x-tokenhub-dropped"]
    assert told.startswith("?" * 100 + ",unknown_field_0000,")
    assert len(told) < 1_010
    shown, _, more = told.rpartition(",+")
    assert len(shown.split(",")) + int(more) == 801


def test_embeddings_one_and_many_native_and_translated(running: Running) -> None:
    gateway, fake = running
    one = {"content": {"parts": [{"text": "a"}]}, "task_type": "RETRIEVAL_QUERY", "outputDimensionality": 3}
    fake.add(json_reply({"embedding": {"values": [0.5, 0.25, 1.0]}, "usageMetadata": {"promptTokenCount": 7}}))
    answer = ask(gateway, "gemini-embedding-001", "embedContent", one)
    assert fake.received[-1].path.endswith("models/gemini-embedding-001:embedContent")
    assert fake.received[-1].json() == {
        "content": one["content"],
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 3,
        "model": "models/gemini-embedding-001",
    }
    assert answer.json()["embedding"] == {"values": [0.5, 0.25, 1.0]}
    assert answer.json()["usageMetadata"]["promptTokenCount"] == 7
    assert_charged(gateway.row_of(answer), answer.json()["usageMetadata"])

    many = {"requests": [{"model": "models/x", **one}, {"model": "models/x", **one}]}
    fake.add(json_reply(gemini_embeddings([[0.5], [0.25]])))
    answer = ask(gateway, "gemini-embedding-001", "batchEmbedContents", many)
    assert answer.json()["embeddings"] == [{"values": [0.5]}, {"values": [0.25]}]
    assert gateway.row_of(answer)["estimated"] == 1

    fake.add(json_reply(openai_embeddings([[0.5], [0.25]], prompt=4)))
    answer = ask(gateway, "text-embedding-3-small", "batchEmbedContents", many)
    assert fake.received[-1].json()["input"] == ["a", "a"]
    assert fake.received[-1].json()["dimensions"] == 3
    assert answer.json()["embeddings"] == [{"values": [0.5]}, {"values": [0.25]}]
    assert answer.json()["usageMetadata"]["promptTokenCount"] == 4


def test_pictures_are_not_embedded(running: Running) -> None:
    gateway, _ = running
    picture = {"content": {"parts": [{"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]}}
    answer = ask(gateway, "gemini-embedding-001", "embedContent", picture)
    assert answer.status == 400
    assert "texts" in answer.json()["error"]["message"]


def test_tokens_are_counted_by_google_or_estimated_and_never_billed(running: Running) -> None:
    gateway, fake = running
    before, rows = gateway.balance(), len(gateway.rows("SELECT id FROM requests"))
    fake.add(json_reply({"totalTokens": 31}))
    answer = ask(gateway, NATIVE, "countTokens", {"generate_content_request": {"model": "models/x", **BODY}})
    assert answer.json() == {"totalTokens": 31}
    assert answer.headers["x-tokenhub-token-count"] == "upstream"
    wrapped = {"generateContentRequest": {"model": f"models/{NATIVE}", **BODY}}
    assert (fake.received[-1].path, fake.received[-1].json()) == (f"/v1/models/{NATIVE}:countTokens", wrapped)
    asked = len(fake.received)
    answer = ask(gateway, OTHER, "countTokens")
    assert answer.json()["totalTokens"] > 0
    assert answer.headers["x-tokenhub-token-count"] == "estimate"
    assert len(fake.received) == asked
    assert ask(gateway, "nope", "countTokens").status == 404
    assert (gateway.balance(), len(gateway.rows("SELECT id FROM requests"))) == (before, rows)


def test_t42_what_chooses_an_address_is_refused_inside_a_wrapped_request_too(running: Running) -> None:
    gateway, fake = running
    asked = len(fake.received)
    answer = ask(gateway, NATIVE, "countTokens", {"generateContentRequest": {**BODY, "base_url": "https://x.example"}})
    assert (answer.status, len(fake.received)) == (400, asked)


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"provider": {"only": ["openai"]}}, "extra_body.provider"),
        ({"api_base": "https://x.example"}, "extra_body.api_base"),
    ],
)
def test_extra_body_is_looked_into_in_googles_form_too(running: Running, extra: dict[str, Any], param: str) -> None:
    gateway, fake = running
    asked = len(fake.received)
    answer = ask(gateway, NATIVE, "generateContent", {**BODY, "extra_body": extra})
    assert answer.status == 400
    assert param.encode() in answer.body
    assert len(fake.received) == asked


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_models_are_listed_in_googles_form_to_googles_clients(running: Running, version: str) -> None:
    gateway, _ = running
    headers = {"x-goog-api-key": gateway.key}
    names: list[str] = []
    token = ""
    while True:
        page = gateway.call("GET", f"/{version}/models?pageSize=7&pageToken={token}", None, headers).json()
        assert len(page["models"]) <= 7
        names += [one["name"] for one in page["models"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    openai_names = [one["id"] for one in gateway.call("GET", "/v1/models").json()["data"]]
    assert names == [f"models/{name}" for name in openai_names]
    one = gateway.call("GET", f"/{version}/models/{NATIVE}", None, headers).json()
    assert (one["name"], one["inputTokenLimit"]) == (f"models/{NATIVE}", 1048576)
    assert "generateContent" in one["supportedGenerationMethods"]
    missing = gateway.call("GET", f"/{version}/models/nope", None, headers)
    assert (missing.status, missing.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_openais_clients_are_still_listed_models_in_openais_form(running: Running) -> None:
    gateway, _ = running
    assert gateway.call("GET", "/v1/models").json()["object"] == "list"
    assert gateway.call("GET", f"/v1/models/{NATIVE}").json()["id"] == NATIVE
    assert gateway.call("GET", "/v1/models/nope").json()["error"]["type"] == "model_not_found"


@pytest.mark.parametrize("query", ["pageSize=x", "pageToken=-1", "pageSize=99999999999"])
def test_a_page_that_is_no_number_is_refused(running: Running, query: str) -> None:
    gateway, _ = running
    answer = gateway.call("GET", f"/v1beta/models?{query}", None, {"x-goog-api-key": gateway.key})
    assert (answer.status, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


# What a prompt's attachments are held for -----------------------------------------------------------

FILM = "https://example.com/film.mp4"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": FILM}}]}]},
        ),
        (
            "/v1/messages",
            {
                "max_tokens": 50,
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": FILM}}]},
                ],
            },
        ),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": FILM}]}]}),
    ],
)
def test_t3_a_film_under_a_pictures_name_is_held_for_and_paid_whole(
    running: Running, path: str, body: dict[str, Any]
) -> None:
    gateway, fake = running
    reply = gemini_reply("A film.")
    reply["usageMetadata"] = {"promptTokenCount": 900_000, "candidatesTokenCount": 20, "totalTokenCount": 900_020}
    fake.add(json_reply(reply))
    answer = gateway.call("POST", path, {"model": NATIVE, **body})
    assert answer.status == 200, answer.body
    row = gateway.row_of(answer)
    assert (row["input_tokens"], row["shortfall"]) == (900_000, 0)
    assert 0 < row["charged"] <= row["held"]
    (part,) = fake.received[-1].json()["contents"][0]["parts"]
    assert part == {"fileData": {"fileUri": FILM, "mimeType": "video/mp4"}}
