"""A chat request as a Responses request, and what comes back as chat's reply and chunks."""

import json
from typing import Any

import pytest

from tests.fakes.assembler import assemble
from tests.wire.cuts import assert_cuts_do_not_show, read
from tests.wire.responses_samples import CALL, CUSTOM, MESSAGE, REASONING, REFUSAL, frame, response, stream
from tokenhub.call import Call, Capability
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage
from tokenhub.wire.chat import over_responses as chat_over_responses
from tokenhub.wire.chat import over_responses_reply as chat_over_responses_reply
from tokenhub.wire.chat.over_responses_stream import ResponsesReader
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.replies import Reply

TOOL = {"type": "function", "function": {"name": "f", "description": "F.", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "Hi"}
CALLED = Call(Capability.CHAT, "m", created_s=1_800_000_000)
COUNTED = Usage(input=50, cache_read=30, cache_write=20, output=40, reasoning=25)


def asked(*messages: Any, limit: int | None = None, **fields: Any) -> dict[str, Any]:
    body = {"model": "gpt-6", "messages": list(messages) or [USER], "tools": [TOOL], **fields}
    return chat_over_responses.request(body, limit)[0]


def items(*messages: Any) -> list[dict[str, Any]]:
    return asked(*messages)["input"]


# --- the request


def test_nothing_is_stored_and_reasoning_is_asked_for_in_a_form_that_can_be_given_back() -> None:
    assert asked(limit=500, stream=True, stream_options={"include_usage": True}, reasoning_effort="high") == {
        "model": "gpt-6",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "stream": True,
        "max_output_tokens": 500,
        "reasoning": {"effort": "high"},
        "tools": [
            {"type": "function", "name": "f", "description": "F.", "parameters": {"type": "object"}, "strict": False}
        ],
    }


def test_a_tool_loop_gives_reasoning_back_before_the_calls_it_led_to() -> None:
    known = {"id": "rs_1", "format": "openai-responses-v1"}
    details = [
        {"type": "reasoning.summary", "summary": "So.", **known},
        {"type": "reasoning.encrypted", "data": "gAAA==", **known},
        {"type": "reasoning.encrypted", "data": "other", "id": "x", "format": "anthropic-claude-v1"},
    ]
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    custom = {"id": "call_2", "type": "custom", "custom": {"name": "patch", "input": "***"}}
    said = {"role": "assistant", "content": "I look.", "reasoning_details": details, "tool_calls": [call, custom]}
    results = [{"role": "tool", "tool_call_id": id, "content": "sunny"} for id in ("call_2", "call_1")]
    assert items(USER, said, *results) == [
        {"type": "message", "role": "user", "content": "Hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "So."}], "encrypted_content": "gAAA=="},
        {"type": "message", "role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "***"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "sunny"},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
    ]  # fmt: skip


def test_a_result_is_named_after_the_latest_call_of_its_id() -> None:
    """Some servers begin each turn with the same id, whatever kind the call is of."""
    calls: list[dict[str, Any]] = [
        {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "call_0", "type": "custom", "custom": {"name": "patch", "input": "***"}},
    ]
    turns = [
        turn
        for call in calls
        for turn in (
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_0", "content": "x"},
        )
    ]
    assert [item["type"] for item in items(USER, *turns)] == [
        "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"
    ]  # fmt: skip


def test_ids_of_calls_are_shortened_alike() -> None:
    long = "call_1|fc_" + "0" * 60
    call = {"id": long, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    _, called, answered = items(
        USER, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": long, "content": "x"}
    )
    assert called["call_id"] == answered["call_id"]
    assert len(called["call_id"]) == 64


def test_strict_is_said_where_it_is_null() -> None:
    function = {"name": "f", "strict": None, "description": None, "parameters": None}
    assert asked(tools=[{"type": "function", "function": function}])["tools"] == [
        {"type": "function", "name": "f", "strict": False, "parameters": {"type": "object", "properties": {}}}
    ]


def test_parts_of_every_side() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}
    text = {"type": "text", "text": "See"}
    assert items(
        {"role": "developer", "content": [text]},
        {"role": "user", "content": [text, image, file]},
        {"role": "assistant", "content": [text, {"type": "refusal", "refusal": "No."}]},
        {"role": "tool", "tool_call_id": "c", "content": [text, image]},
    ) == [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "See"}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
            ],
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "See"}, {"type": "refusal", "refusal": "No."}],
        },
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
            ],
        },
    ]


def test_an_answer_that_was_only_a_refusal_is_told() -> None:
    assert items(USER, {"role": "assistant", "content": None, "refusal": "No."})[1]["content"] == [
        {"type": "refusal", "refusal": "No."}
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "custom", "custom": {"name": "p"}}, {"type": "custom", "name": "p"}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}},
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)  # fmt: skip
def test_a_choice_of_tools_is_flat(given: Any, expected: Any) -> None:
    assert asked(tool_choice=given)["tool_choice"] == expected


def test_tools_and_forms_of_answer_are_flat() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}}
    tools = [
        {"type": "custom", "custom": {"name": "p", "format": grammar}},
        {"type": "function", "function": {"name": "g", "strict": True}},
    ]
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}
    built = asked(tools=tools, response_format=schema, verbosity="low")
    assert built["tools"] == [
        {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}},
        {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": True},
    ]
    assert built["text"] == {
        "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
        "verbosity": "low",
    }


def test_what_has_no_word_there_is_left_out_and_named() -> None:
    body = {"model": "m", "messages": [USER], "tools": [TOOL], "seed": 1, "stop": ["x"], "user": "u"}
    built, dropped = chat_over_responses.request(body, None)
    assert dropped == ("seed", "stop")
    assert built["user"] == "u"
    assert not {"seed", "stop"} & built.keys()


REFUSED: dict[str, dict[str, Any]] = {
    "n": {"n": 2},
    "functions": {"functions": [{"name": "f"}]},
    "max_completion_tokens": {"limit": 15},
    "messages[0]": {"messages": [{"role": "narrator", "content": "x"}]},
    "messages[0].content[0]": {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
    "messages[0].tool_call_id": {"messages": [{"role": "tool", "content": "x"}]},
    "messages[0].tool_calls[0]": {"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]},
}


@pytest.mark.parametrize("param", REFUSED)
def test_what_can_never_be_done_is_refused_by_name(param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(**REFUSED[param])
    assert caught.value.param == param


# --- the reply

KNOWN = {"id": "rs_1", "format": "openai-responses-v1"}
DETAILS = [
    {"type": "reasoning.summary", "summary": "So.", **KNOWN},
    {"type": "reasoning.encrypted", "data": "gAAA==", **KNOWN},
]
F = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
PATCH = {"id": "call_2", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
REPLIES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "text": (response(MESSAGE), {"content": "Let me see."}, "stop"),
    "refusal": (response(REFUSAL), {"content": None, "refusal": "No."}, "stop"),
    "reasoning": (
        response(REASONING, MESSAGE),
        {"content": "Let me see.", "reasoning_content": "So.", "reasoning_details": DETAILS},
        "stop",
    ),
    "calls": (response(MESSAGE, CALL, CUSTOM), {"content": "Let me see.", "tool_calls": [F, PATCH]}, "tool_calls"),
    "cut": (
        response(MESSAGE, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        {"content": "Let me see."},
        "length",
    ),
}


def whole(raw: dict[str, Any]) -> Reply:
    return chat_over_responses_reply.reply(json.loads(json.dumps(raw)), CALLED)


@pytest.mark.parametrize("kind", REPLIES)
def test_a_whole_response_is_a_chat_completion(kind: str) -> None:
    raw, message, finish = REPLIES[kind]
    got = whole(raw)
    assert got.body == {
        "id": "resp_1",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": "gpt-6",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "refusal": None, **message}, "logprobs": None, "finish_reason": finish}
        ],
    }  # fmt: skip
    assert (got.usage, got.finish_reason, got.has_content) == (COUNTED, finish, True)
    assert got.binds == (kind in ("reasoning", "calls"))


@pytest.mark.parametrize("kind", REPLIES)
def test_a_stream_says_what_the_whole_response_says(kind: str) -> None:
    raw, message, finish = REPLIES[kind]
    reader = ResponsesReader(CALLED)
    flowing = reader.feed(stream(raw))
    made = assemble(flowing + reader.ending() + b"data: [DONE]\n\n")
    choice = made.choices[0]
    assert (choice.text, choice.refusal) == (message["content"] or "", message.get("refusal") or "")
    assert (choice.reasoning, choice.finish) == (message.get("reasoning_content", ""), finish)
    assert choice.calls == [
        (call["id"], *call[call["type"]].values())
        for call in message.get("tool_calls", ())
        if call["type"] == "function"
    ] + [("call_2", "", "")] * (kind == "calls")
    chunks = [chunk["choices"][0]["delta"] for chunk in made.chunks]
    details = [one for delta in chunks for one in delta.get("reasoning_details", ())]
    assert details == [{**one, "index": place} for place, one in enumerate(message.get("reasoning_details", ()))]
    custom = [call["custom"] for delta in chunks for call in delta.get("tool_calls", ()) if "custom" in call]
    assert "".join(one["input"] for one in custom) == ("*** Begin" if kind == "calls" else "")
    assert reader.facts.usage == COUNTED
    assert reader.facts.complete
    assert reader.facts.output_bytes > 0
    assert flowing.count(b'"finish_reason":null') == len(chunks) - 1, "the end is kept back"


@pytest.mark.parametrize("kind", ["reasoning", "calls"])
def test_where_the_network_cuts_a_stream_does_not_show(kind: str) -> None:
    assert_cuts_do_not_show(lambda: ResponsesReader(CALLED), stream(REPLIES[kind][0]), most=400)


def test_arguments_that_come_in_no_pieces_are_not_lost() -> None:
    given = stream(response(CALL, CUSTOM), size=10_000)
    quiet = b"".join(one + b"\n\n" for one in given.split(b"\n\n")[:-1] if b".delta" not in one)
    flowing, kept, _ = read(ResponsesReader(CALLED), [quiet])
    choice = assemble(flowing + kept + b"data: [DONE]\n\n").choices[0]
    assert choice.calls[0] == ("call_1", "f", '{"a":1}')
    assert b'"input":"*** Begin"' in flowing + kept


def test_parts_of_a_summary_are_set_apart() -> None:
    parts = [{"type": "summary_text", "text": text} for text in ("One.", "Two.")]
    raw = response({**REASONING, "summary": parts}, MESSAGE)
    flowing, kept, _ = read(ResponsesReader(CALLED), [stream(raw)])
    reasoning = assemble(flowing + kept + b"data: [DONE]\n\n").choices[0].reasoning
    assert reasoning == "One.\n\nTwo." == whole(raw).body["choices"][0]["message"]["reasoning_content"]


def test_sources_are_nested_as_chat_has_them() -> None:
    note = {"type": "url_citation", "start_index": 0, "end_index": 3, "url": "https://x", "title": "X"}
    raw = response(
        {**MESSAGE, "content": [{**MESSAGE["content"][0], "annotations": [note, {"type": "file_citation"}]}]}
    )
    nested = {name: value for name, value in note.items() if name != "type"}
    assert whole(raw).body["choices"][0]["message"]["annotations"] == [{"type": "url_citation", "url_citation": nested}]


@pytest.mark.parametrize(
    "bad",
    [
        frame({"type": "error", "code": "server_error", "message": "x", "param": None}),
        frame({"type": "response.failed", "response": response(status="failed", error={"code": "x", "message": "x"})}),
        b'{"error": {"message": "x"}}',
        b"<html>",
        b"data: {broken\n\n",
    ],
)
def test_a_stream_that_fails_in_the_middle(bad: bytes) -> None:
    given = stream(response(MESSAGE))
    reader = ResponsesReader(CALLED)
    assert reader.feed(given[: given.index(b"event: response.output_text.done")])
    reader.feed(bad)
    reader.close()
    assert reader.facts.failure is not None
    assert not reader.facts.complete


def test_a_stream_that_just_ends_has_failed() -> None:
    given = stream(response(MESSAGE))
    _, _, facts = read(ResponsesReader(CALLED), [given[: given.rindex(b"event: ")]])
    assert facts["failure"]["code"] == "stream_cut"


def test_a_failed_response_is_no_reply() -> None:
    with pytest.raises(UpstreamFault):
        whole(response(status="failed", error={"code": "server_error", "message": "x"}))


@pytest.mark.parametrize("odd", [{}, ["function_call"], {"type": "x"}])
def test_a_word_of_another_type_is_none_of_those_that_are_known(odd: Any) -> None:
    assert whole(response(MESSAGE, {"type": odd})).body["choices"][0]["message"].get("tool_calls") is None
    given = json.dumps(odd).encode()
    events = stream(response(MESSAGE, CALL)).replace(b'"output_index":1', b'"output_index":' + given)
    events = b'data: {"type":%b}\n\n' % given + events
    flowing, kept, facts = read(ResponsesReader(CALLED), [events])
    assert (facts["complete"], facts["failure"]) == (True, None)
    assert [call[2] for call in assemble(flowing + kept).first.calls] == [CALL["arguments"]]
