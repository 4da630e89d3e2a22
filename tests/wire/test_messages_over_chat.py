"""Messages requests as chat requests: what is said in other words, what is left out, what cannot be read."""

import pytest

from tokenhub.errors import InvalidRequest
from tokenhub.wire import opaque
from tokenhub.wire.chat import request as chat
from tokenhub.wire.messages import carry as messages_carry
from tokenhub.wire.messages import over_chat as messages_over_chat

PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
TOOL = {"name": "weather", "description": "Weather", "input_schema": {"type": "object", "properties": {"city": {}}}}
PICTURE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
BOOK = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}


def body(*content, **fields):
    turns = [{"role": "user", "content": list(content) or "Hi"}]
    return {"model": "m", "max_tokens": 100, "messages": turns, **fields}


def translated(*content, **fields):
    made = messages_over_chat.request(body(*content, **fields))
    chat.parse_call(made, 1_000)
    return made


def turns(*messages):
    return messages_over_chat.request({"model": "m", "messages": list(messages)})["messages"]


def test_plain_request_is_plain_in_chat_too():
    assert translated(temperature=0.5, top_p=0.9, top_k=4, stream=True, stop_sequences=["END"], seed=3) == {
        "model": "m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "stream": True,
        "stop": ["END"],
    }


@pytest.mark.parametrize(
    ("system", "content"),
    [
        ("Be brief.", "Be brief."),
        (
            [
                {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "Be kind."},
            ],
            "Be brief.\n\nBe kind.",
        ),
    ],
)
def test_system_prompt_comes_first_as_one_text(system, content):
    assert translated(system=system)["messages"][0] == {"role": "system", "content": content}


@pytest.mark.parametrize("system", ["", None, []])
def test_empty_system_prompt_is_none(system):
    assert [one["role"] for one in translated(system=system)["messages"]] == ["user"]


def test_system_turn_in_the_middle_stays_where_it_is():
    made = turns(
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": [{"type": "text", "text": "Today is Sunday."}]},
    )
    assert made == [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Today is Sunday."}]


def test_pictures_and_files_become_parts():
    made = translated(
        {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": PNG},
        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
        {"type": "document", "source": PDF, "title": "Bill", "context": "Paid."},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "Words"},
            "title": "Note",
            "context": "Unsigned.",
        },
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "More"}]}},
    )
    assert made["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        {"type": "text", "text": "Paid."},
        {"type": "file", "file": {"filename": "Bill", "file_data": "data:application/pdf;base64,JVBERg=="}},
        {"type": "text", "text": "# Note"},
        {"type": "text", "text": "Unsigned."},
        {"type": "text", "text": "Words"},
        {"type": "text", "text": "More"},
    ]
    call = chat.parse_call(made, 1_000)
    assert (call.images, call.files) == (2, 1)


def test_tool_results_come_before_what_else_the_turn_says():
    made = turns(
        {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, USE, {**USE, "id": "toolu_2"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And tomorrow?"},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no such city", "is_error": True},
            ],
        },
    )
    assert made[1:] == [
        {"role": "tool", "tool_call_id": "toolu_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "Error: no such city"},
        {"role": "user", "content": "And tomorrow?"},
    ]
    assert made[0]["content"] == "Let me see."
    assert [call["function"] for call in made[0]["tool_calls"]] == [
        {"name": "weather", "arguments": '{"city":"Paris"}'}
    ] * 2


def test_picture_in_a_tool_result_follows_as_the_users():
    made = turns(
        {"role": "assistant", "content": [USE]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "A map:"}, {"type": "image", "source": PNG}],
                },
                {"type": "text", "text": "Where is it?"},
            ],
        },
    )
    assert made[0] == {"role": "assistant", "content": None, "tool_calls": made[0]["tool_calls"]}
    assert made[1]["role"] == "tool"
    assert made[1]["content"].startswith("A map:\n")
    assert [part["type"] for part in made[2]["content"]] == ["text", "image_url", "text"]
    assert "toolu_1" in made[2]["content"][0]["text"]
    assert made[2]["content"][2]["text"] == "Where is it?"


@pytest.mark.parametrize("content", [None, "", []])
def test_tool_result_without_content_is_an_empty_one(content):
    made = turns({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": content}]})
    assert made == [{"role": "tool", "tool_call_id": "t", "content": ""}]


def test_tool_references_and_search_results_are_told_as_text():
    made = turns(
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "tool_reference", "tool_name": "grep"}],
                },
                {
                    "type": "search_result",
                    "title": "Bridges",
                    "source": "https://x.example",
                    "content": [{"type": "text", "text": "Stone."}],
                },
            ],
        }
    )
    assert "grep" in made[0]["content"]
    assert [part["text"] for part in made[1]["content"]] == ["# Bridges https://x.example", "Stone."]


def test_thinking_is_given_back_as_text_and_in_its_makers_form():
    signed = {"type": "thinking", "thinking": "So: stone.", "signature": "c2ln"}
    made = turns({"role": "assistant", "content": [signed, {"type": "text", "text": "Stone."}]})
    assert made == [
        {
            "role": "assistant",
            "content": "Stone.",
            "reasoning_content": "So: stone.",
            "thinking_blocks": [signed],
        }
    ]


def test_what_was_carried_for_other_providers_is_unpacked():
    details, extra = [{"type": "reasoning.encrypted", "data": "x"}], {"google": {"thought_signature": "s"}}
    own = {"type": "thinking", "thinking": "Hm.", "signature": opaque.MARK}
    carried = messages_carry.sealed({"reasoning_details": details, "calls": {"toolu_1": extra}, "extra_content": extra})
    (made,) = turns({"role": "assistant", "content": [own, carried, USE]})
    assert made["reasoning_content"] == "Hm."
    assert "thinking_blocks" not in made
    assert (made["reasoning_details"], made["extra_content"]) == (details, extra)
    assert made["tool_calls"][0]["extra_content"] == extra


@pytest.mark.parametrize("rest", ["", "%%", "bm8=", "W10=", "W10", None])
def test_what_was_tampered_with_carries_nothing(rest):
    data = "sealed elsewhere" if rest is None else opaque.MARK + rest
    assert messages_carry.opened({"type": "redacted_thinking", "data": data}) == {}


def test_blocks_of_hosted_tools_are_left_out_and_unknown_ones_pass():
    made = turns(
        {"role": "user", "content": [{"type": "hologram", "beam": 1}]},
        {
            "role": "assistant",
            "content": [
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                {"type": "text", "text": "Found."},
            ],
        },
    )
    assert made[0]["content"] == [{"type": "hologram", "beam": 1}]
    assert made[1] == {"role": "assistant", "content": "Found."}


def test_tools_become_functions():
    made = translated(
        tools=[
            {**TOOL, "cache_control": {"type": "ephemeral"}, "defer_loading": True, "strict": True},
            {"type": "custom", "name": "now"},
        ]
    )
    assert made["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Weather",
                "parameters": TOOL["input_schema"],
                "strict": True,
            },
        },
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "weather"},
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_tool_choice_is_said_in_chats_words(choice, expected):
    made = translated(tools=[TOOL], tool_choice=choice)
    assert {name: made[name] for name in made if name in ("tool_choice", "parallel_tool_calls")} == expected


def test_tool_choice_without_tools_is_left_out():
    assert "tool_choice" not in translated(tool_choice={"type": "auto"})


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8192}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31999}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max"),
        ({"output_config": {"effort": "low"}}, "low"),
    ],
)
def test_thinking_becomes_an_effort(fields, effort):
    assert translated(**fields).get("reasoning_effort") == effort


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_output_schema_becomes_a_response_format(field):
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    made = translated(**{field: {"format": wanted} if field == "output_config" else wanted})
    assert made["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": {"type": "object"}, "strict": True},
    }


def test_user_is_hashed():
    made = translated(metadata={"user_id": "user_0123_account__session_" + "9" * 80})
    assert len(made["safety_identifier"]) == 64
    assert "0123" not in made["safety_identifier"]


@pytest.mark.parametrize(
    ("thinking", "shown"),
    [
        (None, False),
        ({"type": "disabled"}, False),
        ({"type": "adaptive"}, True),
        ({"type": "enabled", "budget_tokens": 2000}, True),
        ({"type": "adaptive", "display": "omitted"}, False),
    ],
)
def test_thinking_is_shown_to_who_asks_for_it(thinking, shown):
    assert messages_over_chat.shows_thinking({"thinking": thinking}) is shown


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "messages[0].content[0].tool_use_id",
        ),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": [PICTURE]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": [BOOK]}]},
            "messages[1].content[0]",
        ),
        ({"system": [{"type": "text", "text": "Be brief."}, PICTURE]}, "system[1]"),
        ({"system": 7}, "system"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"tools": {}, "messages": [{"role": "user", "content": "x"}]}, None),
        ({"tools": [{"description": "no name"}]}, "tools[0]"),
        ({"tools": [TOOL], "tool_choice": {"type": "sometimes"}}, "tool_choice"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_own_name(sent, param):
    asked = {**body(), **sent}
    if param is None:
        messages_over_chat.request(asked)
        return
    with pytest.raises(InvalidRequest) as refused:
        messages_over_chat.request(asked)
    assert refused.value.param == param
