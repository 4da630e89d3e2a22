"""What each quirk does to a chat body on its way out."""

import re
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.providers.made import deployment, provider
from tokenhub.call import Wire
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers.openai import OpenAI
from tokenhub.providers.openai_compatible import OpenAICompatible
from tokenhub.wire.chat import request as chat

HELLO = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
NAMED = {"type": "function", "function": {"name": "f"}}


def sent(body: dict[str, Any], to: Deployment, limit: int | None = None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the body that goes upstream, and what was left out of it; the client's own must stay as it was."""
    body = {"model": "asked", "messages": HELLO, **body}
    before = orjson.dumps(body)
    adapter = (OpenAI if to.provider.adapter == "openai" else OpenAICompatible)(to.provider)
    request = adapter.request(chat.parse_call(body, len(before)), body, to, limit)
    assert orjson.dumps(body) == before
    return orjson.loads(request.body), tuple(request.dropped)


def to(*, adapter: str = "openai_compatible", quirks: dict[str, Any] | None = None, **rest: Any) -> Deployment:
    return deployment(provider(adapter, **(quirks or {})), **rest)


def test_a_plain_body_goes_as_it_came_with_the_upstreams_model() -> None:
    body = {"temperature": 0.5, "seed": 7, "stop": ["a"], "metadata": {"k": "v"}, "brand_new": {"x": [1]}}
    assert sent(body, to()) == ({"model": "upstream-model", "messages": HELLO, **body}, ())


def test_the_gateways_own_fields_and_nulls_stay_here() -> None:
    body = {
        "provider": {"only": ["x"]},
        "models": ["a"],
        "session_id": "s",
        "usage": {"include": True},
        "tools": None,
        "stop": None,
    }
    assert sent(body, to()) == ({"model": "upstream-model", "messages": HELLO}, ())


@pytest.mark.parametrize(
    ("field", "body", "limit", "most", "expected"),
    [
        ("max_tokens", {}, None, None, {}),
        ("max_tokens", {}, None, 100, {}),
        ("max_tokens", {"max_tokens": 5}, None, None, {"max_tokens": 5}),
        ("max_tokens", {"max_completion_tokens": 5}, None, None, {"max_tokens": 5}),
        ("max_tokens", {"max_completion_tokens": 5, "max_tokens": 9}, None, None, {"max_tokens": 5}),
        ("max_tokens", {"max_tokens": 50}, 7, None, {"max_tokens": 7}),
        ("max_tokens", {}, 7, None, {"max_tokens": 7}),
        ("max_tokens", {"max_tokens": 500}, None, 100, {"max_tokens": 100}),
        ("max_tokens", {}, 500, 100, {"max_tokens": 100}),
        ("max_completion_tokens", {"max_tokens": 5}, None, None, {"max_completion_tokens": 5}),
        ("as_sent", {"max_tokens": 5}, None, None, {"max_tokens": 5}),
        ("as_sent", {"max_completion_tokens": 5}, None, None, {"max_completion_tokens": 5}),
        ("as_sent", {"max_completion_tokens": 50}, 7, None, {"max_completion_tokens": 7}),
        ("as_sent", {}, 7, None, {"max_tokens": 7}),
    ],
)
def test_the_output_limit_is_said_once_in_the_providers_field(
    field: str, body: dict[str, Any], limit: int | None, most: int | None, expected: dict[str, int]
) -> None:
    got, _ = sent(body, to(quirks={"max_tokens_field": field}, max_output=most), limit)
    assert {name: value for name, value in got.items() if "tokens" in name} == expected


@pytest.mark.parametrize(
    ("takes_options", "body", "expected"),
    [
        (True, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        (
            True,
            {"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}},
            {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
        ),
        (False, {"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
        (True, {"stream": False, "stream_options": {"include_usage": True}}, {}),
        (True, {}, {}),
    ],
)
def test_usage_is_always_asked_for_in_streams_only(
    takes_options: bool, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    got, dropped = sent(body, to(quirks={"stream_options": takes_options}))
    assert {name: value for name, value in got.items() if "stream" in name} == expected
    assert dropped == ()


def test_fields_are_dropped_renamed_and_added_by_data() -> None:
    quirks = {
        "drop_fields": ("store", "user", "absent"),
        "rename_fields": {"seed": "random_seed"},
        "extra_body": {"safe": True, "seed": 1},
    }
    got, dropped = sent({"store": True, "user": "u", "seed": 7, "safe": False}, to(quirks=quirks))
    assert got == {"model": "upstream-model", "messages": HELLO, "random_seed": 7, "safe": False, "seed": 1}
    assert dropped == ("store", "user")


def test_only_known_fields_go_where_unknown_ones_are_refused() -> None:
    got, dropped = sent(
        {"temperature": 1, "brand_new": 1, "logit_bias": {}}, to(quirks={"only_fields": ("temperature",)})
    )
    assert got == {"model": "upstream-model", "messages": HELLO, "temperature": 1}
    assert sorted(dropped) == ["brand_new", "logit_bias"]


def test_the_region_in_the_body_is_never_the_clients_to_choose() -> None:
    got, _ = sent({"inference_geo": "global"}, to(body_fields={"inference_geo": "us"}))
    assert got["inference_geo"] == "us"


def test_sampling_is_left_out_where_the_model_refuses_it_and_lowered_where_the_range_is_smaller() -> None:
    assert sent({"temperature": 0.3, "top_p": 0.9}, to(sampling=False))[1] == ("temperature", "top_p")
    lowered, told = sent({"temperature": 1.7}, to(quirks={"temperature_max": "1"}))
    assert (lowered["temperature"], told) == (1, ("temperature",))
    for inside in (0.7, 1):
        same, told = sent({"temperature": inside}, to(quirks={"temperature_max": "1"}))
        assert (same["temperature"], told) == (inside, ())


def image(url: str) -> dict[str, Any]:
    return {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}],
            }
        ]
    }


FILE = {
    "messages": [
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AA=="}}]}
    ]
}


@pytest.mark.parametrize(
    ("body", "target", "param"),
    [
        (image("https://example.com/a.png"), to(), "messages"),
        (image("data:image/png;base64,AA=="), to(quirks={"images": "none"}, modalities=("text", "image")), "messages"),
        (image("https://example.com/a.png"), to(quirks={"images": "data"}, modalities=("text", "image")), "messages"),
        (FILE, to(quirks={"file_parts": False}), "messages"),
        ({"n": 3}, to(quirks={"choices_max": 2}), "n"),
        ({"response_format": {"type": "json_object"}}, to(quirks={"response_formats": ("text",)}), "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            to(json_schema=False),
            "response_format",
        ),
        ({"tools": [TOOL]}, to(tools=False), "tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, to(), "tools"),
        ({"tools": [TOOL], "tool_choice": "required"}, to(quirks={"tool_choice": ("auto",)}), "tool_choice"),
        ({"tools": [TOOL], "tool_choice": NAMED}, to(quirks={"tool_choice": ("auto", "required")}), "tool_choice"),
        ({"reasoning_effort": "none"}, to(reasoning=True, reasoning_none=False), "reasoning_effort"),
    ],
)
def test_what_would_change_the_answer_is_refused_and_named(
    body: dict[str, Any], target: Deployment, param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(body, target)
    assert caught.value.param == param
    assert caught.value.message.startswith("model at maker ")


@pytest.mark.parametrize(
    ("body", "target"),
    [
        (image("https://example.com/a.png"), to(modalities=("text", "image"))),
        (image("data:image/png;base64,AA=="), to(quirks={"images": "data"}, modalities=("text", "image"))),
        (FILE, to()),
        ({"n": 2}, to(quirks={"choices_max": 2})),
        ({"response_format": {"type": "text"}}, to(quirks={"response_formats": ("text",)})),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, to()),
        ({"tools": [TOOL], "tool_choice": "required"}, to()),
        ({"tools": [TOOL], "tool_choice": NAMED}, to()),
    ],
)
def test_what_is_taken_passes_unchanged(body: dict[str, Any], target: Deployment) -> None:
    got, dropped = sent(body, target)
    assert {name: got[name] for name in body} == body
    assert dropped == ()


# Reasoning ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("style", "effort", "expected"),
    [
        ("effort", "high", {"reasoning_effort": "high"}),
        ("effort", "none", {"reasoning_effort": "none"}),
        ("thinking", "low", {"thinking": {"type": "enabled"}}),
        ("thinking", "none", {"thinking": {"type": "disabled"}}),
        ("thinking_effort", "max", {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
        ("thinking_effort", "none", {"thinking": {"type": "disabled"}}),
        ("enable_thinking", "medium", {"enable_thinking": True}),
        ("enable_thinking", "none", {"enable_thinking": False}),
        ("reasoning_object", "high", {"reasoning": {"effort": "high"}}),
    ],
)
def test_reasoning_effort_is_said_in_the_providers_way(style: str, effort: str, expected: dict[str, Any]) -> None:
    got, dropped = sent({"reasoning_effort": effort}, to(quirks={"reasoning": style}, reasoning=True))
    assert got == {"model": "upstream-model", "messages": HELLO, **expected}
    assert dropped == ()


def test_reasoning_effort_is_left_out_where_nothing_reasons() -> None:
    assert sent({"reasoning_effort": "low"}, to(quirks={"reasoning": "none"}))[1] == ("reasoning_effort",)
    assert sent({"reasoning_effort": "low"}, to(quirks={"reasoning": "thinking"}, reasoning=False))[1] == (
        "reasoning_effort",
    )


def test_efforts_are_said_in_the_providers_words() -> None:
    target = to(quirks={"reasoning": "thinking_effort", "efforts": {"xhigh": "high"}}, reasoning=True)
    assert sent({"reasoning_effort": "xhigh"}, target)[0]["reasoning_effort"] == "high"
    assert sent({"reasoning_effort": "low"}, target)[0]["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"effort": "low"}, {"reasoning_effort": "low"}),
        ({"enabled": False}, {"reasoning_effort": "none"}),
        ({"enabled": True}, {}),
        ({"exclude": True}, {}),
    ],
)
def test_openrouters_reasoning_object_is_understood(given: dict[str, Any], expected: dict[str, Any]) -> None:
    got, _ = sent({"reasoning": given}, to(reasoning=True))
    assert {name: value for name, value in got.items() if "reasoning" in name} == expected


def test_a_providers_own_reasoning_fields_pass_and_keep_their_other_members() -> None:
    target = to(quirks={"reasoning": "thinking_effort"}, reasoning=True)
    given = {"thinking": {"type": "enabled", "clear_thinking": False}}
    assert sent(given, target)[0]["thinking"] == given["thinking"]
    got, _ = sent({**given, "reasoning_effort": "none"}, target)
    assert got["thinking"] == {"type": "disabled", "clear_thinking": False}


THINKER = {
    "quirks": {"reasoning": "thinking_effort", "tool_choice_thinking": ("auto", "none")},
    "reasoning": True,
    "reasoning_default": "on",
}


@pytest.mark.parametrize("choice", ["required", NAMED, "any"])
def test_a_forced_tool_switches_reasoning_off_that_nobody_asked_for(choice: Any) -> None:
    """DeepSeek answers 400 to a forced tool_choice while it thinks, and it thinks by default."""
    got, _ = sent({"tools": [TOOL], "tool_choice": choice}, to(**THINKER))
    assert got["thinking"] == {"type": "disabled"}
    assert got["tool_choice"] == choice


@pytest.mark.parametrize("asked", [{"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}}])
def test_a_forced_tool_together_with_reasoning_that_was_asked_for_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="while it reasons"):
        sent({"tools": [TOOL], "tool_choice": "required", **asked}, to(**THINKER))


def test_tool_choices_without_a_word_for_them_are_said_by_leaving_things_out() -> None:
    target = to(quirks={"tool_choice": ("required",)})
    assert sent({"tools": [TOOL], "tool_choice": "auto"}, target)[0].keys() == {"model", "messages", "tools"}
    got, _ = sent({"tools": [TOOL], "tool_choice": "none", "parallel_tool_calls": True}, target)
    assert got.keys() == {"model", "messages"}


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_a_set_of_allowed_tools_is_a_shorter_list_where_only_openai_knows_it(mode: str) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [NAMED]}}
    body = {"tools": [other, TOOL], "tool_choice": allowed}
    got, _ = sent(body, to())
    assert (got["tools"], got["tool_choice"]) == ([TOOL], mode)
    got, _ = sent(body, to(quirks={"tool_types": ("function", "custom")}))
    assert (got["tools"], got["tool_choice"]) == (body["tools"], allowed)
    with pytest.raises(InvalidRequest):
        sent({**body, "tools": [other]}, to())


def test_strict_is_taken_out_of_tools_where_it_is_not_known() -> None:
    got, dropped = sent({"tools": [TOOL]}, to(quirks={"strict_tools": False}))
    assert got["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert dropped == ("tools[].function.strict",)


# OpenAI's own rule -------------------------------------------------------------------------------


def openai_model(**traits: Any) -> Deployment:
    return to(adapter="openai", tools_need_responses_api=True, reasoning=True, **traits)


def test_tools_beside_default_reasoning_switch_it_off_where_that_is_taken() -> None:
    assert sent({"tools": [TOOL]}, openai_model(reasoning_default="on"))[0]["reasoning_effort"] == "none"
    assert "reasoning_effort" not in sent({"tools": [TOOL]}, openai_model(reasoning_default="off"))[0]
    assert "reasoning_effort" not in sent({}, openai_model(reasoning_default="on"))[0]
    assert sent({"reasoning_effort": "high"}, openai_model(reasoning_default="on"))[0]["reasoning_effort"] == "high"
    assert (
        sent({"tools": [TOOL], "reasoning_effort": "none"}, openai_model(reasoning_default="on"))[0]["reasoning_effort"]
        == "none"
    )


@pytest.mark.parametrize(
    ("body", "traits", "words"),
    [
        ({"tools": [TOOL], "reasoning_effort": "low"}, {"reasoning_default": "on"}, "no tools together with reasoning"),
        (
            {"tools": [TOOL], "reasoning_effort": "low"},
            {"reasoning_default": "off"},
            "no tools together with reasoning",
        ),
        ({"tools": [TOOL]}, {"reasoning_default": "on", "reasoning_none": False}, "only on the Responses API"),
    ],
)
def test_tools_beside_reasoning_are_refused_in_clear_words(
    body: dict[str, Any], traits: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        sent(body, openai_model(**traits))


# Messages ----------------------------------------------------------------------------------------


def messages_sent(given: list[dict[str, Any]], target: Deployment, **body: Any) -> list[dict[str, Any]]:
    return sent({"messages": given, **body}, target)[0]["messages"]


def test_roles_are_renamed() -> None:
    given = [{"role": "developer", "content": "Be brief."}, *HELLO]
    assert messages_sent(given, to(quirks={"roles": {"developer": "system"}}))[0] == {
        "role": "system",
        "content": "Be brief.",
    }
    assert messages_sent(given, to()) == given


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["s:a", "u:b"], ["s:a", "u:b"]),
        (["u:b"], ["u:b"]),
        (["s:a", "u:b", "s:c"], ["s:a\n\nc", "u:b"]),
        (["u:b", "s:c"], ["s:c", "u:b"]),
    ],
)
def test_system_messages_are_joined_at_the_start_where_only_that_is_taken(
    given: list[str], expected: list[str]
) -> None:
    def told(lines: list[str]) -> list[dict[str, Any]]:
        return [{"role": {"s": "system", "u": "user"}[line[0]], "content": line[2:]} for line in lines]

    assert messages_sent(told(given), to(quirks={"system_messages": "leading"})) == told(expected)


def test_system_messages_in_parts_are_joined_as_parts() -> None:
    given = [{"role": "system", "content": "a"}, *HELLO, {"role": "system", "content": [{"type": "text", "text": "b"}]}]
    first, *_ = messages_sent(given, to(quirks={"system_messages": "leading"}))
    assert first == {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURN = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "x"}}}],
    "reasoning_content": "hm",
    "reasoning_details": [{"type": "reasoning.text"}],
    "thinking_blocks": [{"type": "thinking", "signature": "s"}],
    "extra_content": {},
}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "42"}


def test_reasoning_and_signatures_of_other_wires_are_left_out_of_the_history() -> None:
    assert messages_sent([*HELLO, TURN, RESULT], to()) == [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        RESULT,
    ]


@pytest.mark.parametrize(
    ("quirks", "expected"),
    [
        ({"reasoning_back": True}, {"reasoning_content": "hm"}),
        ({"reasoning_back": True, "reasoning_field": "reasoning"}, {"reasoning": "hm"}),
        (
            {"reasoning_back": True, "reasoning_field": "reasoning", "reasoning": "reasoning_object"},
            {"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text"}]},
        ),
    ],
)
def test_reasoning_goes_back_where_it_is_wanted(quirks: dict[str, Any], expected: dict[str, Any]) -> None:
    got = messages_sent([*HELLO, TURN, RESULT], to(quirks=quirks, reasoning=True))
    assert got[1] == {"role": "assistant", "content": None, "tool_calls": [CALL], **expected}


def test_a_tool_turn_without_reasoning_gets_an_empty_one_while_the_model_thinks() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    thinks = to(quirks={"reasoning_back": True, "reasoning": "thinking"}, reasoning=True, reasoning_default="on")
    assert messages_sent([*HELLO, turn, RESULT], thinks)[1] == {**turn, "reasoning_content": ""}
    assert messages_sent([*HELLO, turn, RESULT], thinks, reasoning_effort="none")[1] == turn


def test_tool_call_ids_are_shortened_alike_where_only_nine_characters_are_taken() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "abcDEF123"}]}
    got = messages_sent([*HELLO, turn, RESULT], to(quirks={"tool_call_ids": "nine"}))
    first, second = (call["id"] for call in got[1]["tool_calls"])
    assert re.fullmatch(r"[A-Za-z0-9]{9}", first)
    assert got[2]["tool_call_id"] == first
    assert second == "abcDEF123"


def test_tool_call_ids_are_shortened_alike_where_forty_characters_are_the_most() -> None:
    long, most = "chatcmpl-tool-" + "0" * 32, "x" * 40
    turn = {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": long}, {**CALL, "id": most}]}
    results = [{**RESULT, "tool_call_id": id} for id in (most, long)]
    got = messages_sent([*HELLO, turn, *results], to(quirks={"tool_call_ids": "forty"}))
    first, second = (call["id"] for call in got[1]["tool_calls"])
    assert (len(first), second) == (40, most)
    assert [message["tool_call_id"] for message in got[2:]] == [most, first]


@pytest.mark.parametrize(
    ("effort", "traits", "custom", "said"),
    [
        ("none", {"reasoning": True, "reasoning_none": False}, False, None),
        ("none", {"reasoning": True}, False, "none"),
        ("high", {"reasoning": True}, False, "high"),
        ("high", {}, False, None),
        ("high", {}, True, "high"),
    ],
)
def test_effort_of_other_wires_goes_only_where_it_is_taken(
    effort: str, traits: dict[str, Any], custom: bool, said: str | None
) -> None:
    """Clients of Messages and Responses name one whatever the model: it is left out, where a chat client would be refused."""
    body = {"model": "asked", "messages": HELLO, "reasoning_effort": effort}
    target = to(**traits)
    target = replace(target, provider=replace(target.provider, custom=custom))
    call = replace(chat.parse_call(body, 100), wire=Wire.MESSAGES)
    request = OpenAICompatible(target.provider).request(call, body, target, None)
    assert orjson.loads(request.body).get("reasoning_effort") == said
    assert request.dropped == (() if said else ("reasoning_effort",))


@pytest.mark.parametrize("wire", [Wire.CHAT, Wire.RESPONSES])
def test_pictures_that_a_responses_clients_tool_returned_follow_its_results_as_the_users(wire: Wire) -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": "a"}, {**CALL, "id": "b"}]}
    text, picture = {"type": "text", "text": "Look."}, image("data:image/png;base64,AA==")["messages"][0]["content"][1]
    first, second = (
        {"role": "tool", "tool_call_id": id, "content": content}
        for id, content in (("a", [text, picture]), ("b", "ok"))
    )
    body = {"model": "asked", "messages": [*HELLO, turn, first, second, *HELLO]}
    call, target = replace(chat.parse_call(body, 100), wire=wire), to(modalities=("text", "image"))
    got = orjson.loads(OpenAICompatible(target.provider).request(call, body, target, None).body)["messages"]
    if wire is Wire.CHAT:
        assert got == body["messages"]
        return
    told = {**first, "content": "Look.\n[what the tool returned beside text follows as the user's message]"}
    shown = {"role": "user", "content": [{"type": "text", "text": "[returned by the tool call a]"}, picture]}
    assert got == [*HELLO, turn, told, second, shown, *HELLO]
