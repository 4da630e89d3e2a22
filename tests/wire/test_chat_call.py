"""What a chat request may say, and what of it is understood."""

import pytest

from tokenhub.call import Call, Capability
from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat import request as chat

PLAIN = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

ANY = [True, False, 0, 1, 7, -1, 1.5, 2**31, 2**63, 1e300, "", "5", "x" * 300, [], [1], ["x"], {}, {"a": 1}]
"""One or more values of every JSON type; null is tested apart."""


def is_bool(value):
    return isinstance(value, bool)


def is_int(value):
    return type(value) is int


def is_number(value):
    return type(value) in (int, float)


def is_object(value):
    return isinstance(value, dict)


def is_text(value):
    return isinstance(value, str)


def is_texts(value):
    return isinstance(value, list) and all(map(is_text, value))


FIELDS = {
    "model": lambda v: is_text(v) and 0 < len(v) <= 256,
    "messages": lambda v: False,
    "audio": is_object,
    "cache_control": is_object,
    "frequency_penalty": lambda v: is_number(v) and -2 <= v <= 2,
    "function_call": is_text,
    "functions": lambda v: v == [],
    "logit_bias": is_object,
    "logprobs": is_bool,
    "max_completion_tokens": lambda v: is_int(v) and 1 <= v < 2**31,
    "max_tokens": lambda v: is_int(v) and 1 <= v < 2**31,
    "metadata": is_object,
    "modalities": is_texts,
    "models": is_texts,
    "n": lambda v: is_int(v) and 1 <= v <= 128,
    "parallel_tool_calls": is_bool,
    "prediction": is_object,
    "presence_penalty": lambda v: is_number(v) and -2 <= v <= 2,
    "prompt_cache_key": is_text,
    "provider": is_object,
    "reasoning_effort": is_text,
    "response_format": lambda v: False,
    "safety_identifier": is_text,
    "seed": lambda v: is_int(v) and -(2**63) <= v < 2**63,
    "service_tier": is_text,
    "session_id": lambda v: is_text(v) and len(v) <= 256,
    "stop": lambda v: is_text(v) or is_texts(v),
    "store": is_bool,
    "stream": is_bool,
    "stream_options": is_object,
    "temperature": lambda v: is_number(v) and 0 <= v <= 2,
    "thinking": is_object,
    "tool_choice": is_text,
    "tools": lambda v: v == [],
    "top_k": lambda v: is_int(v) and -1 <= v < 2**31,
    "top_logprobs": lambda v: is_int(v) and 0 <= v <= 20,
    "top_p": lambda v: is_number(v) and 0 <= v <= 1,
    "usage": is_object,
    "user": is_text,
    "verbosity": is_text,
    "web_search_options": is_object,
}


def test_t51_every_checked_field_is_in_the_matrix():
    assert set(FIELDS) == set(chat.RULES) | {"model", "messages"}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", ANY, ids=lambda value: f"{type(value).__name__}-{str(value)[:8]}")
def test_t51_a_field_of_the_wrong_type_or_range_is_refused_by_name(field, value):
    body = {**PLAIN, field: value}
    if FIELDS[field](value):
        chat.parse_call(body, 10)
        return
    with pytest.raises(InvalidRequest) as refused:
        chat.parse_call(body, 10)
    assert refused.value.param is not None
    assert refused.value.param.partition("[")[0] == field
    assert field in refused.value.message
    assert refused.value.code == "invalid_request_error"


@pytest.mark.parametrize("field", sorted(set(FIELDS) - {"model", "messages"}))
def test_t51_null_is_as_good_as_absent(field):
    assert chat.parse_call({**PLAIN, field: None}, 10) == chat.parse_call(PLAIN, 10)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stop", ["a"] * 17),
        ("stop", ["a", 1]),
        ("tools", [{"type": "function"}]),
        ("tools", [{"function": {"name": "f"}}]),
        ("tools", [{"type": "function", "function": {"name": ""}}]),
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": []}}]),
        ("tools", [TOOL, "x"]),
        ("tool_choice", {"type": "function"}),
        ("tool_choice", {"function": {"name": "f"}}),
        ("tool_choice", {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}),
        ("functions", [{"name": 1}]),
        ("function_call", {"name": None}),
        ("response_format", {"type": 1}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": "x"}}),
        ("modalities", ["text", 1]),
    ],
)
def test_t51_a_field_is_checked_inside_too(field, value):
    with pytest.raises(InvalidRequest) as refused:
        chat.parse_call({**PLAIN, field: value}, 10)
    assert refused.value.param == field


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ({}, "messages"),
        ("Hi", "messages"),
        ([None], "messages[0]"),
        (["Hi"], "messages[0]"),
        ([{}], "messages[0]"),
        ([{"role": 1, "content": "x"}], "messages[0]"),
        ([{"role": "user", "content": "x"}, {"role": None}], "messages[1]"),
        ([{"role": "user", "content": 1}], "messages[0].content"),
        ([{"role": "user", "content": {"text": "x"}}], "messages[0].content"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content"),
        ([{"role": "assistant", "tool_calls": {}}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": ["x"]}], "messages[0].tool_calls"),
    ],
)
def test_t51_a_message_of_the_wrong_shape_is_refused_by_its_place(messages, param):
    with pytest.raises(InvalidRequest) as refused:
        chat.parse_call({"model": "m", "messages": messages}, 10)
    assert refused.value.param == param


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_t51_what_must_be_there_is_named_when_it_is_not(missing):
    with pytest.raises(InvalidRequest) as refused:
        chat.parse_call({name: value for name, value in PLAIN.items() if name != missing}, 10)
    assert refused.value.param == missing


@pytest.mark.parametrize("field", sorted(chat.FORBIDDEN_FIELDS))
@pytest.mark.parametrize("value", ["https://attacker.example/v1", None, {}])
def test_t42_a_field_that_chooses_address_or_credential_is_refused(field, value):
    with pytest.raises(InvalidRequest) as refused:
        chat.parse_call({**PLAIN, field: value}, 10)
    assert refused.value.param == field


@pytest.mark.parametrize("field", ["aws_region_name", "bootstrap_host", "vertex_location", "azure_username"])
def test_t42_so_is_every_field_of_a_clouds_family(field):
    with pytest.raises(InvalidRequest) as refused:
        chat.parse_call({**PLAIN, field: "x"}, 10)
    assert refused.value.param == field


def test_t42_what_extra_body_would_put_into_the_body_is_refused_too():
    chat.parse_call({**PLAIN, "extra_body": {"google": {"thinking_config": {"thinking_budget": 1}}}}, 10)
    with pytest.raises(InvalidRequest) as refused:
        chat.parse_call({**PLAIN, "extra_body": {"extra_body": {"api_base": "https://attacker.example"}}}, 10)
    assert refused.value.param == "extra_body.extra_body.api_base"


def test_sound_of_an_earlier_reply_is_not_asked_for_by_its_id():
    def said(audio):
        return {**PLAIN, "messages": [*PLAIN["messages"], {"role": "assistant", "content": "Hello", "audio": audio}]}

    assert chat.parse_call(said(None), 10) == chat.parse_call(said({}), 10)
    with pytest.raises(InvalidRequest) as refused:
        chat.parse_call(said({"id": "audio_1"}), 10)
    place = f"messages[{len(PLAIN['messages'])}].audio.id"
    assert (refused.value.param, refused.value.code) == (place, "unsupported_parameter")


def test_fields_that_gateways_clients_send_pass():
    fields = {"models": ["a"], "provider": {}, "route": "fallback", "transforms": [], "plugins": [], "usage": {}}
    more = {"reasoning": {}, "top_a": 1, "min_p": 0.1, "chat_template_kwargs": {}, "guided_json": {}, "metadata": {}}
    chat.parse_call({**PLAIN, **fields, **more}, 10)


def test_t42_nothing_inside_metadata_is_understood():
    body = {**PLAIN, "metadata": {"api_base": "https://attacker.example", "model": "dear"}}
    assert chat.parse_call(body, 10) == chat.parse_call(PLAIN, 10)


def test_unknown_fields_pass_and_gateway_fields_stay_here():
    body = {**PLAIN, "enable_thinking": True, "future": {"x": [1]}, "provider": {"only": ["a"]}, "usage": {}}
    chat.parse_call(body, 10)
    sent = chat.outgoing(body)
    assert sent == {**PLAIN, "enable_thinking": True, "future": {"x": [1]}}
    assert "provider" in body


def test_a_plain_request_has_plain_facts():
    assert chat.parse_call(PLAIN, 64, now_s=5) == Call(Capability.CHAT, "m", input_bytes=64, messages=1, created_s=5)


def test_a_rich_request_is_counted_whole():
    body = {
        "model": "openai/gpt-4o",
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "x"}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                    {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}},
                    {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
                ],
            },
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 3,
        "max_tokens": 100,
        "max_completion_tokens": 200,
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        "parallel_tool_calls": False,
    }
    assert chat.parse_call(body, 999) == Call(
        Capability.CHAT,
        "openai/gpt-4o",
        stream=True,
        include_usage=True,
        input_bytes=999,
        messages=2,
        images=2,
        audio_parts=1,
        files=2,
        choices=3,
        max_output=200,
        uses_tools=True,
        wants_json_schema=True,
        one_tool_call=True,
    )


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"stream": True}, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True),
        ({"stream": True, "usage": {"include": True}}, True),
        ({"stream_options": {"include_usage": True}}, False),
    ],
)
def test_usage_is_wanted_in_streams_that_ask_for_it(fields, wanted):
    assert chat.parse_call({**PLAIN, **fields}, 10).include_usage is wanted


@pytest.mark.parametrize("limit", [1, 4_096])
def test_the_newer_limit_wins_and_either_is_taken(limit):
    assert chat.parse_call({**PLAIN, "max_tokens": limit}, 10).max_output == limit
    assert chat.parse_call({**PLAIN, "max_completion_tokens": limit, "max_tokens": 7}, 10).max_output == limit
