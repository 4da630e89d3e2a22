"""A chat request as an Anthropic request: every row of the translation, both ways round."""

import hashlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.compared import Compared
from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat import over_messages as chat_over_messages
from tokenhub.wire.chat import request as chat

NEWEST = "claude-opus-5-5"
SWITCHABLE = "claude-opus-5"
BOTH = "claude-sonnet-4-6"
BUDGET = "claude-haiku-4-5-20251001"
OLD = "claude-3-5-sonnet-20241022"

HI = [{"role": "user", "content": "Hi"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "d",
        "parameters": {"properties": {"a": {"type": "string"}}},
        "strict": True,
    },
}
OTHER = {"type": "function", "function": {"name": "g"}}


def translated(model: str = SWITCHABLE, messages=HI, *, output_limit=None, max_output=None, **fields) -> dict:
    body = {"model": "m", "messages": messages, **fields}
    chat.parse_call(body, 1)
    return chat_over_messages.request(body, model, output_limit=output_limit, max_output=max_output)[0]


def dropped(model: str = SWITCHABLE, **fields) -> tuple[str, ...]:
    return chat_over_messages.request({"model": "m", "messages": HI, **fields}, model)[1]


def refused(model: str = SWITCHABLE, messages=HI, **fields) -> str | None:
    with pytest.raises(InvalidRequest) as refusal:
        chat_over_messages.request({"model": "m", "messages": messages, **fields}, model)
    return refusal.value.param


def test_a_plain_request_is_plain():
    assert translated(max_tokens=100) == {
        "model": SWITCHABLE,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }
    assert dropped(max_tokens=100, stream=True, stream_options={}, n=1, provider={}, models=[]) == ()
    assert translated(stream=True)["stream"] is True
    assert "stream" not in translated(stream=False)


# --- limits


@pytest.mark.parametrize(
    ("limits", "sent"),
    [
        ({}, 128_000),
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 20, "max_tokens": 10}, 20),
        ({"max_tokens": 500_000}, 128_000),
        ({"max_tokens": 10, "output_limit": 1_024}, 1_024),
        ({"max_output": 32_000}, 32_000),
        ({"max_output": 32_000, "max_tokens": 64_000}, 32_000),
    ],
)
def test_a_limit_is_always_sent_and_never_above_the_models_own(limits, sent):
    assert translated(**limits)["max_tokens"] == sent


# --- system prompts


def test_leading_system_and_developer_messages_become_the_system_prompt():
    messages = [
        {"role": "system", "content": "One"},
        {"role": "developer", "content": [{"type": "text", "text": "Two", "cache_control": {"type": "ephemeral"}}]},
        *HI,
    ]
    made = translated(messages=messages)
    assert made["system"] == [
        {"type": "text", "text": "One"},
        {"type": "text", "text": "Two", "cache_control": {"type": "ephemeral"}},
    ]
    assert [turn["role"] for turn in made["messages"]] == ["user"]


@pytest.mark.parametrize(("model", "role"), [(SWITCHABLE, "system"), ("claude-opus-4-8", "system"), (BUDGET, "user")])
def test_a_system_message_in_the_middle_stays_where_it_is(model, role):
    messages = [*HI, {"role": "assistant", "content": "Yes?"}, {"role": "system", "content": "Be brief."}]
    assert translated(model, messages)["messages"][2] == {
        "role": role,
        "content": [{"type": "text", "text": "Be brief."}],
    }


def test_a_lone_system_message_is_asked_as_the_user():
    made = translated(messages=[{"role": "system", "content": "Say hi."}])
    assert made["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hi."}]}]
    assert "system" not in made


# --- user content


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "text", "text": "x"}, {"type": "text", "text": "x"}),
        (
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "high"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "AAAA"}},
        ),
        (
            {"type": "image_url", "image_url": "data:image/jpeg;charset=utf-8;base64,AAAA"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "JVBE"}, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            },
        ),
        (
            {"type": "file", "file": {"file_url": "https://example.org/a.pdf"}},
            {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}},
        ),
    ],
)
def test_a_content_part_becomes_a_block(part, block):
    made = translated(messages=[{"role": "user", "content": [part]}])
    assert made["messages"] == [{"role": "user", "content": [block]}]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file"},
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"url": ""}},
        {"type": "image_url", "image_url": {"url": "ftp://example.org/a"}},
        {"type": "image_url", "image_url": {"url": "data:image/png,raw"}},
        {"type": "text"},
        {"type": "text", "text": 1},
    ],
)
def test_a_part_that_claude_cannot_take_is_refused_by_its_place(part):
    assert (
        refused(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, part]}])
        == "messages[0].content[1]"
    )


def test_empty_texts_are_left_out_and_turns_of_one_side_are_one():
    messages = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "c"},
    ]
    assert translated(messages=messages)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": text} for text in "abc"]}
    ]


@pytest.mark.parametrize("messages", [[{"role": "assistant", "content": "x"}], [{"role": "user", "content": ""}]])
def test_a_conversation_must_begin_with_the_user(messages):
    assert refused(messages=messages) == "messages"


@pytest.mark.parametrize("role", ["function", "critic", ""])
def test_an_unknown_role_is_refused(role):
    assert refused(messages=[*HI, {"role": role, "content": "x"}]) == "messages[1]"


def test_an_answer_that_the_client_began_has_no_white_space_at_its_end():
    made = translated(messages=[*HI, {"role": "assistant", "content": "So \n"}])
    assert made["messages"][-1]["content"] == [{"type": "text", "text": "So"}]


# --- tool rounds


def call(id: str, name: str = "f", arguments: object = "{}") -> dict:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_a_round_of_parallel_calls_comes_back_in_one_turn_before_any_text():
    messages = [
        *HI,
        {"role": "assistant", "content": "Both.", "tool_calls": [call("a", "f", '{"x":1}'), call("b", "g", "")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {
            "role": "tool",
            "tool_call_id": "b",
            "is_error": True,
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}],
        },
        {"role": "user", "content": "And?"},
    ]
    assert translated(messages=messages)["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Both."},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "1"}]},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
                    ],
                    "is_error": True,
                },
                {"type": "text", "text": "And?"},
            ],
        },
    ]


def test_thinking_goes_back_first_and_unchanged():
    blocks = [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
    ]
    messages = [
        *HI,
        {
            "role": "assistant",
            "content": "Calling.",
            "reasoning_content": "Hm",
            "thinking_blocks": [*blocks, {"type": "other"}, "x"],
            "tool_calls": [call("a")],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]
    content = translated(messages=messages)["messages"][1]["content"]
    assert content[:2] == blocks
    assert [block["type"] for block in content[2:]] == ["text", "tool_use"]


def test_foreign_tool_ids_are_made_legal_and_told_apart():
    round_trip = [
        {"role": "assistant", "tool_calls": [call("read_file:0")]},
        {"role": "tool", "tool_call_id": "read_file:0", "content": "x"},
    ]
    turns = translated(messages=[*HI, *round_trip, *round_trip])["messages"]
    assert [turn["content"][0].get("id") or turn["content"][0].get("tool_use_id") for turn in turns[1:]] == [
        "read_file_0",
        "read_file_0",
        "read_file_0_2",
        "read_file_0_2",
    ]


@pytest.mark.parametrize("arguments", ['{"x":', "[1]"])
def test_a_call_that_was_cut_does_not_end_the_conversation(arguments):
    turns = translated(messages=[*HI, {"role": "assistant", "tool_calls": [call("a", arguments=arguments)]}])[
        "messages"
    ]
    assert turns[1]["content"][0]["input"] == {"INVALID_JSON": arguments}


def test_texts_of_white_space_alone_are_left_out():
    said = {"role": "assistant", "content": "\n\n", "tool_calls": [call("a")]}
    result = {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": " "}]}
    turns = translated(messages=[*HI, said, result])["messages"]
    assert [block["type"] for block in turns[1]["content"]] == ["tool_use"]
    assert turns[2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_an_earlier_refusal_is_told():
    said = {"role": "assistant", "content": None, "refusal": "I cannot."}
    turns = translated(messages=[*HI, said, *HI])["messages"]
    assert turns[1] == {"role": "assistant", "content": [{"type": "text", "text": "I cannot."}]}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "assistant", "tool_calls": [call("a", arguments=5)]}, "messages[1].tool_calls[0].function.arguments"),
        ({"role": "assistant", "tool_calls": [call("")]}, "messages[1].tool_calls[0].id"),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {}}]},
            "messages[1].tool_calls[0]",
        ),
        ({"role": "tool", "content": "x"}, "messages[1].tool_call_id"),
        ({"role": "tool", "tool_call_id": 5, "content": "x"}, "messages[1].tool_call_id"),
    ],
)
def test_a_broken_tool_round_is_refused_by_its_place(message, param):
    assert refused(messages=[*HI, message]) == param


# --- tools


def test_tools_carry_their_schemas():
    made = translated(tools=[TOOL, OTHER | {"cache_control": {"type": "ephemeral"}}])
    assert made["tools"] == [
        {
            "name": "f",
            "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
            "description": "d",
            "strict": True,
        },
        {"name": "g", "input_schema": {"type": "object", "properties": {}}, "cache_control": {"type": "ephemeral"}},
    ]
    assert "tool_choice" not in made
    assert "strict" not in translated(OLD, tools=[TOOL])["tools"][0]


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_a_tool_choice_is_translated(fields, sent):
    assert translated(tools=[TOOL], **fields).get("tool_choice") == sent


def test_allowed_tools_are_the_only_ones_sent():
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [OTHER]}}
    made = translated(tools=[TOOL, OTHER], tool_choice=allowed)
    assert [tool["name"] for tool in made["tools"]] == ["g"]
    assert made["tool_choice"] == {"type": "any"}


def test_a_call_that_is_required_of_no_tool_is_refused():
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [OTHER]}}
    assert refused(tools=[TOOL], tool_choice=allowed) == "tool_choice"


def test_allowed_tools_are_not_searched_one_by_one():
    """A body of 500 000 values would hold the whole process up for minutes."""
    made = [{"type": "function", "function": {"name": Compared(f"f{number}")}} for number in range(200)]
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": made}}
    Compared.times = 0
    assert len(translated(tools=made, tool_choice=allowed)["tools"]) == 200
    assert Compared.times < 10 * 200


def test_a_tool_choice_without_tools_is_left_out():
    assert "tool_choice" not in translated(tool_choice="auto", parallel_tool_calls=False)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_model_that_cannot_be_made_to_call_a_tool_is_not_asked_to(choice):
    assert refused(NEWEST, tools=[TOOL], tool_choice=choice) == "tool_choice"
    assert "tool_choice" not in translated(NEWEST, tools=[TOOL], tool_choice="auto")


@pytest.mark.parametrize("said", ["", " ", [{"type": "text", "text": "\n"}]])
def test_a_last_message_without_anything_in_it_is_refused_and_no_answer_is_gone_on_with(said):
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": said},
    ]
    assert refused(messages=turns) == "messages"


@pytest.mark.parametrize("choice", ["sometimes", {"type": "custom", "custom": {"name": "f"}}])
def test_an_unknown_tool_choice_is_refused(choice):
    assert refused(tools=[TOOL], tool_choice=choice) == "tool_choice"


def test_a_tool_that_is_no_function_is_refused():
    assert refused(tools=[TOOL, {"type": "custom", "custom": {"name": "c"}}]) == "tools[1].type"


# --- output format


SCHEMA = {
    "type": "object",
    "properties": {
        "pattern": {"type": "string", "pattern": "^a", "minLength": 1},
        "list": {"type": "array", "items": {"type": "object", "properties": {}, "not": {}}, "minItems": 2},
        "either": {"anyOf": [{"type": "integer", "minimum": 0}, {"$ref": "#/$defs/x"}]},
    },
    "required": ["pattern"],
    "additionalProperties": True,
    "$defs": {"x": {"type": "object", "properties": {"maximum": {"type": "null"}}}},
}
CUT = {
    "type": "object",
    "properties": {
        "pattern": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {}, "additionalProperties": False}},
        "either": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/x"}]},
    },
    "required": ["pattern"],
    "additionalProperties": False,
    "$defs": {"x": {"type": "object", "properties": {"maximum": {"type": "null"}}, "additionalProperties": False}},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}}


def test_a_schema_is_cut_down_to_what_claude_takes():
    made = translated(response_format=FORMAT)
    assert made["output_config"] == {"format": {"type": "json_schema", "schema": CUT}}


def test_a_strict_tools_schema_is_cut_down_alike():
    function = {"name": "f", "parameters": SCHEMA, "strict": True}
    assert translated(tools=[{"type": "function", "function": function}])["tools"][0]["input_schema"] == CUT
    lax = {"type": "function", "function": {**function, "strict": False}}
    assert translated(tools=[lax])["tools"][0]["input_schema"] == SCHEMA


def test_what_claude_takes_of_a_schema_stays():
    given = {
        "type": "object",
        "properties": {
            "one": {
                "oneOf": [{"type": "string", "format": "byte"}, {"type": "string", "format": "date"}],
                "discriminator": {"propertyName": "kind"},
            },
            "both": {"anyOf": [{"type": "string"}], "oneOf": [{"type": "integer"}]},
            "some": {"type": "array", "items": {"type": "integer", "format": "int64"}, "minItems": 1},
        },
        "additionalProperties": False,
    }
    named = {"type": "json_schema", "json_schema": {"name": "s", "schema": given}}
    sent = translated(response_format=named)["output_config"]["format"]["schema"]["properties"]
    assert sent == {
        "one": {"anyOf": [{"type": "string"}, {"type": "string", "format": "date"}]},
        "both": {"anyOf": [{"type": "string"}]},
        "some": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
    }


def test_an_old_model_is_made_to_answer_by_a_tool():
    made = translated(OLD, response_format=FORMAT)
    assert made["tools"][0]["name"] == "json_output"
    assert made["tools"][0]["input_schema"] == CUT
    assert made["tool_choice"] == {"type": "tool", "name": "json_output"}
    assert translated(OLD, response_format=FORMAT, tools=[TOOL])["tool_choice"] == {"type": "any"}


def test_json_without_a_schema_is_asked_for_in_words():
    made = translated(response_format={"type": "json_object"}, messages=[{"role": "system", "content": "S"}, *HI])
    assert [block["text"] for block in made["system"]] == ["S", "Respond with one JSON object and nothing else."]
    assert "system" not in translated(response_format={"type": "text"})


# --- effort


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "level"),
    [
        (NEWEST, "none", None, "low"),
        (NEWEST, "minimal", {"type": "adaptive"}, "low"),
        (NEWEST, "medium", {"type": "adaptive"}, "medium"),
        (NEWEST, "max", {"type": "adaptive"}, "max"),
        ("claude-sonnet-5-5", "none", {"type": "between_tools"}, None),
        (SWITCHABLE, "none", {"type": "disabled"}, None),
        (SWITCHABLE, "low", {"type": "adaptive"}, "low"),
        (SWITCHABLE, "xhigh", {"type": "adaptive"}, "xhigh"),
        (BOTH, "high", {"type": "adaptive"}, "high"),
        (BOTH, "xhigh", {"type": "adaptive"}, "max"),
        (BUDGET, "none", None, None),
        (BUDGET, "minimal", {"type": "enabled", "budget_tokens": 1_024}, None),
        (BUDGET, "low", {"type": "enabled", "budget_tokens": 2_048}, None),
        (BUDGET, "medium", {"type": "enabled", "budget_tokens": 8_192}, None),
        (BUDGET, "high", {"type": "enabled", "budget_tokens": 16_384}, None),
        (BUDGET, "xhigh", {"type": "enabled", "budget_tokens": 32_768}, None),
        (BUDGET, "max", {"type": "enabled", "budget_tokens": 64_000 - 1_024}, None),
    ],
)
def test_an_effort_becomes_thinking(model, effort, thinking, level):
    made = translated(model, reasoning_effort=effort)
    assert made.get("thinking") == thinking
    assert made.get("output_config", {}).get("effort") == level


def test_a_budget_stays_inside_the_clients_limit_so_that_the_hold_covers_it():
    made = translated(BUDGET, reasoning_effort="high", max_tokens=4_000)
    assert (made["max_tokens"], made["thinking"]["budget_tokens"]) == (4_000, 4_000 - 1_024)
    small = {"reasoning_effort": "high", "max_tokens": 2_000}
    assert "thinking" not in translated(BUDGET, **small)
    assert dropped(BUDGET, **small) == ("reasoning_effort",)


@pytest.mark.parametrize("model", [OLD, SWITCHABLE])
def test_an_effort_that_means_nothing_is_left_out(model):
    fields = {"reasoning_effort": "high" if model == OLD else "enormous"}
    assert "thinking" not in translated(model, **fields)
    assert dropped(model, **fields) == ("reasoning_effort",)


def test_a_forced_tool_wins_over_thinking_where_both_cannot_be():
    fields = {"tools": [TOOL], "tool_choice": "required", "reasoning_effort": "high"}
    assert "thinking" not in translated(BUDGET, **fields)
    assert dropped(BUDGET, **fields) == ("reasoning_effort",)
    assert translated(SWITCHABLE, **fields)["thinking"] == {"type": "adaptive"}


def test_anthropics_own_thinking_passes_as_it_is():
    thinking = {"type": "enabled", "budget_tokens": 5_000, "display": "omitted"}
    assert translated(BUDGET, thinking=thinking, reasoning_effort="low")["thinking"] == thinking


# --- sampling and the rest


@pytest.mark.parametrize(
    ("model", "fields", "sent", "left_out"),
    [
        (BUDGET, {"temperature": 0.3}, {"temperature": 0.3}, ()),
        (BUDGET, {"temperature": 1.7}, {"temperature": 1}, ("temperature",)),
        (BUDGET, {"top_p": 0.9, "top_k": 5}, {"top_p": 0.9, "top_k": 5}, ()),
        (BUDGET, {"temperature": 0, "top_p": 0.9}, {"temperature": 0}, ("top_p",)),
        (BUDGET, {"temperature": 0.5, "reasoning_effort": "low"}, {}, ("temperature",)),
        (SWITCHABLE, {"temperature": 0.3, "top_p": 0.9, "top_k": 5}, {}, ("temperature", "top_k", "top_p")),
    ],
)
def test_sampling_is_sent_only_where_the_model_takes_it(model, fields, sent, left_out):
    made = translated(model, **fields)
    assert {name: made[name] for name in ("temperature", "top_p", "top_k") if name in made} == sent
    assert dropped(model, **fields) == left_out


@pytest.mark.parametrize(
    ("stop", "sent"), [("END", ["END"]), (["a", "b"], ["a", "b"]), (["a", " \n"], ["a"]), (" ", None), ([], None)]
)
def test_stops_that_anthropic_refuses_are_left_out(stop, sent):
    assert translated(stop=stop).get("stop_sequences") == sent
    assert dropped(stop=stop) == (("stop",) if stop in (["a", " \n"], " ") else ())


def test_a_users_id_is_hashed():
    digest = hashlib.sha256(b"alice@example.org").hexdigest()
    assert translated(user="alice@example.org")["metadata"] == {"user_id": digest}
    assert translated(user="bob", safety_identifier="alice@example.org")["metadata"] == {"user_id": digest}


@pytest.mark.parametrize(("tier", "sent"), [("auto", "auto"), ("default", "standard_only"), ("flex", None)])
def test_a_service_tier_is_translated_or_left_out(tier, sent):
    assert translated(service_tier=tier).get("service_tier") == sent
    assert dropped(service_tier=tier) == (() if sent else ("service_tier",))


def test_a_cache_key_asks_for_caching_unless_the_client_placed_its_marks():
    mark = {"type": "ephemeral"}
    assert translated(prompt_cache_key="k")["cache_control"] == mark
    marked = [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": mark}]}]
    assert "cache_control" not in translated(prompt_cache_key="k", messages=marked)
    assert "cache_control" not in translated()
    own = {"type": "ephemeral", "ttl": "1h"}
    assert translated(prompt_cache_key="k", cache_control=own)["cache_control"] == own


def test_what_anthropic_has_no_word_for_is_left_out_and_named():
    fields = {
        "seed": 1,
        "logprobs": True,
        "logit_bias": {},
        "presence_penalty": 1,
        "store": True,
        "metadata": {"a": "b"},
        "a_field_to_come": 1,
        "null_field": None,
    }
    made = translated(**fields)
    assert not set(fields) & set(made)
    assert dropped(**fields) == tuple(sorted(set(fields) - {"null_field"}))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "modalities"),
    ],
)
def test_what_would_change_the_answers_meaning_is_refused(fields, param):
    assert refused(**fields) == param


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x", "text", "function", "user", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "image_url", "url", "file", "function", "name", "id"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(sorted(chat.RULES))


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.lists(VALUES, max_size=4), st.sampled_from([NEWEST, BUDGET, OLD]))
def test_t51_no_body_that_is_taken_makes_the_translation_raise_anything_else(fields, messages, model):
    body = {"model": "m", **fields, "messages": [*HI, *messages]}
    try:
        chat.parse_call(body, 1)
        made, _ = chat_over_messages.request(body, model)
    except InvalidRequest:
        return
    orjson.dumps(made)
    assert made["messages"][0]["role"] == "user"
