"""``POST /v1/responses`` over real sockets: to providers that speak it and to all others, with the bill."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.fakes.upstream import (
    DONE,
    Cut,
    FakeUpstream,
    Pause,
    anthropic_message,
    anthropic_stream,
    json_reply,
    openai_chat,
    openai_chunk,
    openai_error,
    openai_tool_call,
    openai_usage,
    sse,
    sse_reply,
)
from tests.harness import RunningGateway, start_gateway, temporary_home
from tests.wire.responses_samples import CALL, MESSAGE, REASONING, USAGE, frame, response, stream

NATIVE, CHAT, CLAUDE = "gpt-4o-mini", "deepseek-v4-pro", "claude-sonnet-4.5"
"""At 0.15 USD a million in, 0.075 cached, 0.60 out, for the first."""
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}

Running = tuple[RunningGateway, FakeUpstream]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("responses")))
    with FakeUpstream([]) as fake:
        for provider in ("openai", "deepseek", "anthropic"):
            gateway.add_credential(provider, fake.url)
        yield gateway, fake
        gateway.stop()


@pytest.fixture(autouse=True)
def _fresh(running: Running) -> None:
    gateway, fake = running
    fake.replies.clear()
    gateway.forget_faults()


def ask(running: Running, model: str, reply: Any, **fields: Any) -> Any:
    gateway, fake = running
    fake.add(reply)
    return gateway.call("POST", "/v1/responses", {"model": model, "input": "Hello", **fields})


def events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(one.partition(b"data: ")[2]) for one in body.split(b"\n\n") if b"data: " in one]


def chunks(*deltas: dict[str, Any]) -> list[bytes]:
    told = [openai_chunk(delta) for delta in deltas] + [openai_chunk({}, "stop")]
    return [*told, openai_chunk({}, choices=[], usage=openai_usage(100, 10)), DONE]


# --- over chat


def test_a_reply_of_a_chat_provider_is_a_response_and_is_billed(running: Running) -> None:
    gateway, fake = running
    before = gateway.balance()
    answer = ask(
        running, CHAT, json_reply(openai_chat("Paris.", usage=openai_usage(1000, 100))), instructions="Be brief."
    )
    assert answer.status == 200, answer.body
    got = answer.json()
    assert got["output"][0]["content"][0]["text"] == "Paris."
    assert (got["object"], got["status"], got["store"]) == ("response", "completed", False)
    assert (got["usage"]["input_tokens"], got["usage"]["output_tokens"]) == (1000, 100)
    row = gateway.row_of(answer)
    assert (row["end"], before - gateway.balance()) == ("settled", row["charged"])
    assert 0 < row["charged"] <= row["held"]
    assert got["usage"]["cost_details"]["total"] == answer.headers["x-tokenhub-cost"]
    assert fake.received[-1].json()["messages"][0] == {"role": "system", "content": "Be brief."}


def test_a_stream_of_a_chat_provider_is_a_responses_stream(running: Running) -> None:
    frames = chunks({"role": "assistant", "content": ""}, {"content": "Pa"}, {"content": "ris."})
    answer = ask(running, CHAT, sse_reply(frames), stream=True)
    told = events(answer.body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta") == "Paris."
    assert told[-1]["type"] == "response.completed"
    assert told[-1]["response"]["usage"]["cost"] == running[0].row_of(answer)["charged"] / 10**9
    assert b"[DONE]" not in answer.body


def test_a_tool_loop_with_a_signed_thought_runs_over_claude(running: Running) -> None:
    """What only Claude can read goes out to the client and comes back to Claude unchanged."""
    _, fake = running
    thought = {"type": "thinking", "thinking": "I must look.", "signature": "c2lnbmVk"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "it"}}
    answer = ask(
        running, CLAUDE, json_reply(anthropic_message(content=[thought, use], stop_reason="tool_use")), tools=[TOOL]
    )
    output = answer.json()["output"]
    assert [item["type"] for item in output] == ["reasoning", "function_call"]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "I must look."}]
    result = {"type": "function_call_output", "call_id": output[1]["call_id"], "output": "a cat"}
    again = [{"role": "user", "content": "Hello"}, *output, result]
    ask(running, CLAUDE, json_reply(anthropic_message("A cat.")), input=again, tools=[TOOL])
    assert fake.received[-1].json()["messages"][1:] == [
        {"role": "assistant", "content": [thought, use]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "a cat"}]}
            ],
        },
    ]


def test_custom_tools_and_those_of_a_namespace_are_called_by_their_own_names(running: Running) -> None:
    calls = [openai_tool_call("n__look", "{}", id="c1"), openai_tool_call("patch", '{"input":"*** x"}', id="c2")]
    tools = [
        {"type": "namespace", "name": "n", "description": "N.", "tools": [TOOL]},
        {"type": "custom", "name": "patch"},
    ]
    answer = ask(running, CHAT, json_reply(openai_chat(None, tool_calls=calls)), tools=tools)
    look, patch = answer.json()["output"]
    assert (look["type"], look["namespace"], look["name"], look["call_id"]) == ("function_call", "n", "look", "c1")
    assert (patch["type"], patch["name"], patch["input"], patch["call_id"]) == (
        "custom_tool_call",
        "patch",
        "*** x",
        "c2",
    )


def test_a_hosted_tool_is_left_out_and_named_and_refused_when_it_is_forced(running: Running) -> None:
    _, fake = running
    search = {"type": "web_search"}
    for model, reply in ((NATIVE, response(MESSAGE)), (CHAT, openai_chat("Hi."))):
        answer = ask(running, model, json_reply(reply), tools=[TOOL, search])
        assert answer.headers["x-tokenhub-dropped"] == "tools.web_search"
        assert len(fake.received[-1].json()["tools"]) == 1
        refused = ask(running, model, json_reply(reply), tools=[search], tool_choice="required")
        assert (refused.status, refused.json()["error"]["code"]) == (400, "unpriced_feature")
        fake.replies.clear()


# --- passed on


def test_a_response_of_openai_passes_with_the_bill_added(running: Running) -> None:
    gateway, fake = running
    answer = ask(running, NATIVE, json_reply(response(REASONING, MESSAGE)), store=True)
    got = answer.json()
    assert {**got, "usage": USAGE} == response(REASONING, MESSAGE)
    # 50 fresh at 150, 30 cached at 75, 20 written at 150, 40 of output at 600 nano-USD: 36 750; 3 % of it is 1 103
    assert got["usage"]["cost_details"]["total"] == "0.000037853"
    assert gateway.row_of(answer)["charged"] == 37_853
    assert fake.received[-1].path.endswith("/responses")
    assert fake.received[-1].json()["store"] is False


def test_a_stream_of_openai_passes_byte_for_byte_but_for_its_last_frame(running: Running) -> None:
    given = stream(response(REASONING, CALL))
    answer = ask(running, NATIVE, sse_reply([given[at : at + 97] for at in range(0, len(given), 97)]), stream=True)
    border = given.rindex(b"event: ")
    assert answer.body[:border] == given[:border]
    last = events(answer.body[border:])[0]
    assert {**last["response"], "usage": USAGE} == response(REASONING, CALL)
    assert last["response"]["usage"]["cost_details"]["total"] == "0.000037853"


# --- failures

REFUSALS = {
    "previous_response_id": ({"previous_response_id": "resp_1"}, "unsupported_parameter", "previous_response_id"),
    "background": ({"background": True}, "unsupported_parameter", "background"),
    "wrong input": ({"input": 5}, "invalid_request_error", "input"),
    "wrong temperature": ({"temperature": "hot"}, "invalid_request_error", "temperature"),
    "an address": ({"base_url": "http://x"}, "invalid_request_error", "base_url"),
}


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("model", [NATIVE, CHAT])
def test_a_refusal_names_the_field_and_asks_nobody(running: Running, kind: str, model: str) -> None:
    gateway, fake = running
    fields, code, param = REFUSALS[kind]
    asked = len(fake.received)
    answer = gateway.call("POST", "/v1/responses", {"model": model, "input": "Hello", **fields})
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["param"]) == (400, code, param)
    assert error["request_id"] == answer.headers["x-request-id"]
    assert len(fake.received) == asked


@pytest.mark.parametrize("model", [NATIVE, CHAT])
def test_a_failed_attempt_is_told_and_free(running: Running, model: str) -> None:
    answer = ask(running, model, json_reply(openai_error("oops", "server_error"), 500))
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert running[0].row_of(answer)["charged"] == 0


BROKEN = {
    NATIVE: [stream(response(MESSAGE)).partition(b"event: response.output_text.done")[0], Pause(0.05), Cut()],
    CHAT: [*chunks({"content": "Let me"})[:1], Pause(0.05), Cut()],
}
FAILING = {
    NATIVE: [
        BROKEN[NATIVE][0],
        Pause(0.05),
        frame({"type": "error", "code": "server_error", "message": "Canary", "param": None}),
    ],
    CHAT: [BROKEN[CHAT][0], Pause(0.05), sse({"error": {"message": "Canary", "type": "server_error", "code": "oops"}})],
}


@pytest.mark.parametrize("model", [NATIVE, CHAT])
@pytest.mark.parametrize("how", ["cut", "error event"])
def test_a_stream_that_breaks_ends_with_an_error_a_failed_response_and_no_bill(
    running: Running, model: str, how: str
) -> None:
    answer = ask(running, model, sse_reply((BROKEN if how == "cut" else FAILING)[model]), stream=True)
    told = events(answer.body)
    assert answer.status == 200
    assert [event["type"] for event in told[-2:]] == ["error", "response.failed"]
    assert (told[-2]["code"], told[-2]["error"]["code"]) == ("upstream_error", "upstream_error")
    assert told[-2]["error"]["request_id"] == answer.headers["x-request-id"]
    assert [event["sequence_number"] for event in told] == list(range(len(told))), "numbers go on"
    assert b"Canary" not in answer.body
    row = running[0].row_of(answer)
    assert (row["end"], row["charged"], row["status"]) == ("released", 0, 502)


def test_openais_sdk_hears_of_a_stream_that_breaks(running: Running) -> None:
    gateway, fake = running
    fake.add(sse_reply(BROKEN[NATIVE]))
    with (
        openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client,
        client.responses.create(model=NATIVE, input="Hello", stream=True) as told,
        pytest.raises(openai.APIError, match="failed in the middle"),
    ):
        list(told)


class Weather(BaseModel):
    """What the SDK makes of an answer under a schema."""

    city: str
    degrees: int


@pytest.mark.parametrize("model", [NATIVE, CLAUDE])
def test_openais_sdk_helpers_read_streams_and_typed_answers(running: Running, model: str) -> None:
    gateway, fake = running
    text = '{"city":"Rome","degrees":21}'
    whole = response({**MESSAGE, "content": [{**MESSAGE["content"][0], "text": text}]})
    frames = [stream(whole)] if model == NATIVE else anthropic_stream(list(text))
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        fake.add(sse_reply(frames))
        with client.responses.stream(model=model, input="Hello", text_format=Weather) as told:
            grew = "".join(event.delta for event in told if event.type == "response.output_text.delta")
            final = told.get_final_response()
        assert (grew, final.output_parsed) == (text, Weather(city="Rome", degrees=21))
        fake.add(json_reply(whole if model == NATIVE else anthropic_message(text)))
        parsed = client.responses.parse(model=model, input="Hello", text_format=Weather)
        assert parsed.output_parsed == Weather(city="Rome", degrees=21)
        assert parsed.usage is not None


def test_openais_sdk_helper_collects_calls_of_a_translated_stream(running: Running) -> None:
    gateway, fake = running
    first, second = ({"index": n, **openai_tool_call("look", "", id=f"c{n}")} for n in (0, 1))
    pieces = [
        {"tool_calls": [{"index": n, "function": {"arguments": one}}]} for n in (0, 1) for one in ('{"a":', f"{n}}}")
    ]
    fake.add(sse_reply(chunks({"tool_calls": [first]}, *pieces[:2], {"tool_calls": [second]}, *pieces[2:])))
    with (
        openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client,
        client.responses.stream(model=CHAT, input="Hello", tools=[{**TOOL, "strict": False}]) as told,
    ):
        final = told.get_final_response()
    calls = [(one.call_id, one.name, one.arguments) for one in final.output if one.type == "function_call"]
    assert calls == [("c0", "look", '{"a":0}'), ("c1", "look", '{"a":1}')]


@pytest.mark.parametrize("model", [NATIVE, CHAT])
def test_a_reply_that_shows_nothing_is_free(running: Running, model: str) -> None:
    usage = {**USAGE, "output_tokens": 0, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 100}
    empty = response(usage=usage) if model == NATIVE else openai_chat("", usage=openai_usage(100, 0))
    answer = ask(running, model, json_reply(empty))
    assert answer.status == 200
    assert answer.json()["usage"]["cost"] == 0
    assert running[0].row_of(answer)["end"] == "released"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_without_usage_is_estimated(running: Running, streamed: bool) -> None:
    given = response(MESSAGE, usage=None)
    reply = sse_reply([stream(given)]) if streamed else json_reply(given)
    answer = ask(running, NATIVE, reply, stream=streamed)
    got = events(answer.body)[-1]["response"] if streamed else answer.json()
    assert got["usage"]["cost_details"]["estimated"] is True
    assert got["usage"]["output_tokens"] == 3, "eleven bytes of text"
    assert running[0].row_of(answer)["estimated"] == 1


def test_a_responses_limit_bounds_the_hold(running: Running) -> None:
    gateway, fake = running
    small, large = (
        gateway.row_of(ask(running, NATIVE, json_reply(response(MESSAGE)), max_output_tokens=n)) for n in (100, 10_000)
    )
    assert small["held"] < large["held"]
    assert fake.received[-1].json()["max_output_tokens"] == 10_000


# --- chat calls that OpenAI takes on its Responses API alone


@pytest.mark.parametrize("streamed", [False, True])
def test_a_chat_tool_loop_runs_over_openais_responses(running: Running, streamed: bool) -> None:
    gateway, fake = running
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    given = response(REASONING, CALL)
    fake.add(sse_reply([stream(given)]) if streamed else json_reply(given))
    answer = gateway.chat("gpt-5.5", "Hello", tools=[tool], stream=streamed)
    assert answer.status == 200, answer.body
    assert fake.received[-1].path.endswith("/responses")
    if streamed:
        deltas = [event["choices"][0]["delta"] for event in events(answer.body.replace(b"data: [DONE]\n\n", b""))]
        details = [one for delta in deltas for one in delta.get("reasoning_details", ())]
    else:
        message = answer.json()["choices"][0]["message"]
        assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
        details = message["reasoning_details"]
    said = {"role": "assistant", "content": None, "reasoning_details": details}
    said["tool_calls"] = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    result = {"role": "tool", "tool_call_id": "call_1", "content": "42"}
    fake.add(json_reply(response(MESSAGE)))
    body = {"model": "gpt-5.5", "messages": [{"role": "user", "content": "Hello"}, said, result], "tools": [tool]}
    again = gateway.call("POST", "/v1/chat/completions", body)
    assert again.json()["choices"][0]["message"]["content"] == "Let me see."
    sent = fake.received[-1].json()
    assert sent["input"][1] == {name: REASONING[name] for name in ("type", "summary", "id", "encrypted_content")}
    assert [item["type"] for item in sent["input"]] == ["message", "reasoning", "function_call", "function_call_output"]
    assert gateway.row_of(again)["charged"] > 0
