"""A Responses request in chat's form: its conversation, its tools, and what is refused."""

from typing import Any

import pytest

from tokenhub.call import Wire
from tokenhub.errors import InvalidRequest
from tokenhub.wire.responses import over_chat as responses_over_chat
from tokenhub.wire.responses.surface import ResponsesSurface
from tokenhub.wire.responses.tools import free_text
from tokenhub.wire.surface import Arrival

ASKED: dict[str, Any] = {"model": "m", "input": "Hello"}
WEATHER = {"type": "function", "name": "weather", "description": "Tells it.", "parameters": {"type": "object"}}


def chat(**fields: Any) -> dict[str, Any]:
    return responses_over_chat.request({**ASKED, **fields}).body


def messages(*items: Any, **fields: Any) -> list[dict[str, Any]]:
    return chat(input=list(items), **fields)["messages"]


# --- the conversation


def test_a_text_is_the_users_and_instructions_come_first() -> None:
    assert chat(instructions="Be brief.")["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]


def test_a_tool_loop_becomes_one_message_of_the_assistant_and_one_for_each_result() -> None:
    assert messages(
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Use tools."}]},
        {"role": "user", "content": "How is it in Rome and Bonn?"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Two calls."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I will look."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"at":"Rome"}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
    ) == [
        {"role": "developer", "content": "Use tools."},
        {"role": "user", "content": "How is it in Rome and Bonn?"},
        {
            "role": "assistant",
            "content": "I will look.",
            "reasoning_content": "Two calls.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"at":"Rome"}'}},
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "rain"},
    ]


def test_two_answers_in_a_row_stay_two_and_text_behind_a_call_stays_with_it() -> None:
    one, two = ({"role": "assistant", "content": text} for text in ("One.", "Two."))
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    said = messages({"role": "user", "content": "Hi"}, one, two)
    assert [message["content"] for message in said] == ["Hi", "One.", "Two."]
    (_, loop) = messages({"role": "user", "content": "Hi"}, one, call, two)
    assert [part["text"] for part in loop["content"]] == ["One.", "Two."]
    assert len(loop["tool_calls"]) == 1


def test_pictures_and_files_become_chats_parts() -> None:
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        {"type": "hologram", "of": "a cat"},
    ]
    assert messages({"role": "user", "content": parts})[0]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        {"type": "hologram", "of": "a cat"},
    ]


def test_reasoning_that_openai_made_is_kept_for_openai() -> None:
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "So."}],
        "encrypted_content": "gAAA",
    }
    known = {"id": "rs_1", "format": "openai-responses-v1"}
    assert messages({"role": "user", "content": "Hi"}, item, {"role": "assistant", "content": "Yes."})[1] == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning_content": "So.",
        "reasoning_details": [
            {"type": "reasoning.summary", "summary": "So.", **known},
            {"type": "reasoning.encrypted", "data": "gAAA", **known},
        ],
    }


def test_what_ran_at_a_provider_is_left_out_of_the_conversation() -> None:
    hosted = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "compaction", "encrypted_content": "x"},
    ]
    assert len(messages({"role": "user", "content": "Hi"}, *hosted)) == 1


# --- fields


def test_fields_get_chats_names_and_unknown_ones_are_carried() -> None:
    body = chat(
        max_output_tokens=50,
        reasoning={"effort": "low", "summary": "auto"},
        text={
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
        },
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        top_logprobs=2,
        store=False,
        client_metadata={"a": "b"},
        truncation="auto",
        prompt_cache_key="k",
        top_k=5,
        stream=True,
    )
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": 50,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "logprobs": True,
        "top_logprobs": 2,
        "prompt_cache_key": "k",
        "top_k": 5,
        "stream": True,
    }


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_other_forms_of_answer(kind: str) -> None:
    expected = None if kind == "text" else {"type": kind}
    assert chat(text={"format": {"type": kind}}).get("response_format") == expected


def test_a_call_knows_its_wire_and_every_picture_whatever_the_item() -> None:
    arrival = Arrival("/v1/responses", {}, {}, 1_800_000_000)
    body = {
        "model": "m",
        "stream": True,
        "max_output_tokens": 99,
        "input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://x/y.png"}]},
            {
                "type": "computer_call_output",
                "call_id": "c",
                "output": {"type": "computer_screenshot", "image_url": "https://x"},
            },
        ],
    }
    call, _ = ResponsesSurface(arrival).call(body, 300)
    assert (call.wire, call.stream, call.max_output, call.images, call.input_bytes) == (
        Wire.RESPONSES,
        True,
        99,
        2,
        300,
    )


# --- tools


def test_a_function_is_nested_and_strict_only_when_it_was_said() -> None:
    body = chat(
        tools=[WEATHER, {**WEATHER, "name": "other", "strict": True, "parameters": None}], tool_choice="required"
    )
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}},
        },
        {"type": "function", "function": {"name": "other", "description": "Tells it.", "strict": True}},
    ]
    assert body["tool_choice"] == "required"


def test_functions_of_a_namespace_are_called_by_both_names_and_told_by_their_own() -> None:
    inner = [WEATHER, {"type": "custom", "name": "run", "description": "Runs it."}]
    tools = [{"type": "namespace", "name": "mcp__sky", "description": "The sky.", "tools": inner}, WEATHER]
    call = {"type": "function_call", "call_id": "c", "namespace": "mcp__sky", "name": "weather", "arguments": "{}"}
    made = responses_over_chat.request({**ASKED, "tools": tools, "input": [{"role": "user", "content": "Hi"}, call]})
    assert [tool["function"]["name"] for tool in made.body["tools"]] == [
        "mcp__sky__weather",
        "mcp__sky__run",
        "weather",
    ]
    assert made.body["messages"][1]["tool_calls"][0]["function"]["name"] == "mcp__sky__weather"
    named = made.tools.named("mcp__sky__weather")
    assert (named.name, named.namespace, named.custom) == ("weather", "mcp__sky", False)
    assert made.tools.named("mcp__sky__run").custom
    assert made.tools.named("weather").namespace == ""
    assert made.tools.named("invented").name == "invented"


def test_names_that_are_too_long_together_are_cut_and_stay_apart() -> None:
    names = ["f" * 60 + letter for letter in "ab"]
    tools = [{"type": "namespace", "name": "n" * 30, "tools": [{**WEATHER, "name": name} for name in names]}]
    made = responses_over_chat.request({**ASKED, "tools": tools})
    flat = [tool["function"]["name"] for tool in made.body["tools"]]
    assert len(set(flat)) == 2
    assert max(map(len, flat)) <= 64
    assert [made.tools.named(name).name for name in flat] == names


def test_a_custom_tool_is_a_function_of_one_text() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
    tool = {"type": "custom", "name": "patch", "description": "Patches.", "format": grammar}
    history = [
        {"role": "user", "content": "Patch it."},
        {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": '*** Begin "x"'},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
    ]
    body = chat(tools=[tool], input=history)
    function = body["tools"][0]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert "start: WORD" in function["description"]
    arguments = body["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert free_text(arguments) == '*** Begin "x"'
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "c", "content": "done"}
    assert free_text("no JSON") == "no JSON"
    assert free_text('{"other": 1}') == '{"other": 1}'


@pytest.mark.parametrize(
    ("choice", "names", "told"),
    [
        (None, ["weather", "clock"], None),
        ("auto", ["weather", "clock"], "auto"),
        (
            {"type": "function", "name": "clock"},
            ["weather", "clock"],
            {"type": "function", "function": {"name": "clock"}},
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "clock"}]},
            ["clock"],
            "required",
        ),
    ],
)
def test_a_choice_of_tools(choice: Any, names: list[str], told: Any) -> None:
    body = chat(tools=[WEATHER, {**WEATHER, "name": "clock"}], tool_choice=choice)
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body.get("tool_choice") == told


def test_without_tools_nothing_is_said_of_them() -> None:
    assert chat(tools=[], tool_choice="auto", parallel_tool_calls=True) == chat()


# --- what is refused

KEPT = {
    "previous_response_id": {"previous_response_id": "resp_1"},
    "conversation": {"conversation": "conv_1"},
    "prompt": {"prompt": {"id": "pmpt_1"}},
    "background": {"background": True},
    "input[0]": {"input": [{"type": "item_reference", "id": "msg_1"}]},
    "input[0].content[0].file_id": {
        "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]
    },
}


@pytest.mark.parametrize("param", KEPT)
def test_what_needs_something_stored_is_refused_in_clear_words(param: str) -> None:
    with pytest.raises(InvalidRequest, match=r"stored here|kept here") as caught:
        chat(**KEPT[param])
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt", "background"])
def test_null_asks_for_nothing(name: str) -> None:
    assert chat(**{name: None}) == chat()


WRONG: dict[str, dict[str, Any]] = {
    "input": {"input": []},
    "input[0]": {"input": ["Hi"]},
    "input[0].role": {"input": [{"role": "tool", "content": "x"}]},
    "input[0].content": {"input": [{"role": "user", "content": 5}]},
    "input[0].content[0]": {"input": [{"role": "user", "content": ["x"]}]},
    "input[0].content[0].text": {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
    "input[0].content[0].image_url": {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
    "input[0].call_id": {"input": [{"type": "function_call_output", "output": "x"}]},
    "input[0].name": {"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]},
    "input[0].arguments": {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
    "instructions": {"instructions": ["x"]},
    "include": {"include": "all"},
    "max_output_tokens": {"max_output_tokens": 0},
    "reasoning": {"reasoning": "high"},
    "reasoning.effort": {"reasoning": {"effort": 3}},
    "text": {"text": "json"},
    "text.format": {"text": {"format": "json"}},
    "text.format.schema": {"text": {"format": {"type": "json_schema", "name": "n"}}},
    "tools": {"tools": {"a": 1}},
    "tools[0]": {"tools": ["x"]},
    "tools[0].name": {"tools": [{"type": "function"}]},
    "tools[0].parameters": {"tools": [{"type": "function", "name": "f", "parameters": []}]},
    "tool_choice": {"tools": [WEATHER], "tool_choice": "perhaps"},
}
UNHASHABLE: list[tuple[str, dict[str, Any]]] = [
    ("input[0]", {"input": [{"type": {}}]}),
    ("input[0]", {"input": [{"type": ["message"], "role": "user", "content": "x"}]}),
    ("input[0].role", {"input": [{"role": {}, "content": "x"}]}),
    ("input[0].role", {"input": [{"role": ["user"], "content": "x"}]}),
    ("input[0].content[0]", {"input": [{"role": "user", "content": [{"type": {}, "text": "x"}]}]}),
    ("tools[0]", {"tools": [{"type": {}, "name": "f"}]}),
    ("tool_choice", {"tools": [WEATHER], "tool_choice": {"type": {}}}),
    ("tool_choice", {"tools": [WEATHER], "tool_choice": []}),
]


@pytest.mark.parametrize("param", WRONG)
def test_a_wrong_shape_is_named_in_this_apis_words(param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(**WRONG[param])
    assert caught.value.param == param


@pytest.mark.parametrize(("param", "fields"), UNHASHABLE)
def test_a_list_or_an_object_for_a_word_is_named_too(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ResponsesSurface(Arrival("/v1/responses", {}, {}, 0)).call({**ASKED, **fields}, 100)
    assert caught.value.param == param


def test_a_mode_that_is_no_word_is_refused_as_any_wrong_one() -> None:
    for mode in ("perhaps", {}, ["auto"], None):
        choice = {"type": "allowed_tools", "mode": mode, "tools": [WEATHER]}
        with pytest.raises(InvalidRequest) as caught:
            ResponsesSurface(Arrival("/v1/responses", {}, {}, 0)).call(
                {**ASKED, "tools": [WEATHER], "tool_choice": choice}, 100
            )
        assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    "odd", [{"name": {}}, {"name": ["weather"]}, {"function": "weather"}, {"function": {"name": {}}}]
)
def test_allowed_tools_are_found_beside_a_tool_that_has_an_odd_name(odd: dict[str, Any]) -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [WEATHER]}
    made = chat(tools=[{"type": "web_search", **odd}, WEATHER], tool_choice=choice)
    assert [tool["function"]["name"] for tool in made["tools"]] == ["weather"]


def test_tools_that_come_inside_the_input_are_tools_like_the_others() -> None:
    """As Codex CLI 0.169 sends them for models that it knows."""
    run = {"type": "custom", "name": "exec", "description": "Runs."}
    brought = {
        "type": "additional_tools",
        "id": "at_1",
        "role": "developer",
        "tools": [{"type": "namespace", "name": "functions", "tools": [run]}],
    }
    made = responses_over_chat.request(
        {**ASKED, "input": [brought, {"role": "user", "content": "Hi"}], "tool_choice": "auto"}
    )
    assert [tool["function"]["name"] for tool in made.body["tools"]] == ["functions__exec"]
    assert made.body["tool_choice"] == "auto"
    assert len(made.body["messages"]) == 1
    named = made.tools.named("functions__exec")
    assert (named.name, named.namespace, named.custom) == ("exec", "functions", True)
