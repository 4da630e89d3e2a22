"""Chat-completions requests as generateContent requests: one golden case per field, then whole conversations."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.call import Call, Capability
from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat import over_gemini as chat_over_gemini
from tokenhub.wire.gemini import reply as gemini_reply
from tokenhub.wire.gemini.contents import NO_SIGNATURE
from tokenhub.wire.gemini.models import MODELS, Thinking, traits_of

NEW, OLD, PLAIN = "gemini-3.5-flash", "gemini-2.5-flash", "gemini-2.0-flash"
USER = {"role": "user", "content": "hi"}
PIXEL = "iVBORw0KGgo="


def sent(model: str = NEW, limit: int | None = None, **fields: Any) -> dict[str, Any]:
    return chat_over_gemini.request({"model": "m", "messages": [USER], **fields}, model, output_limit=limit)[0]


def config(model: str = NEW, limit: int | None = None, **fields: Any) -> dict[str, Any]:
    return sent(model, limit, **fields).get("generationConfig", {})


def contents(*messages: dict[str, Any], model: str = NEW) -> list[dict[str, Any]]:
    return sent(model, messages=list(messages))["contents"]


def parts(content: Any, model: str = NEW) -> list[dict[str, Any]]:
    return contents({"role": "user", "content": content}, model=model)[0]["parts"]


def refusal(**fields: Any) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        sent(**fields)
    return caught.value.param


def function(name: str, **members: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **members}}


def call(name: str, arguments: Any = "{}", id: str = "c1", **members: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **members}


def signed(signature: str) -> dict[str, Any]:
    return {"extra_content": {"google": {"thought_signature": signature}}}


# generationConfig


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 7}, {"maxOutputTokens": 7}),
        ({"max_completion_tokens": 8, "max_tokens": 7}, {"maxOutputTokens": 8}),
        ({"temperature": 1.5}, {"temperature": 1.5}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.5, "top_k": 20}, {"topP": 0.5, "topK": 20}),
        ({"presence_penalty": -1, "frequency_penalty": 0.5}, {"presencePenalty": -1, "frequencyPenalty": 0.5}),
        ({"n": 3}, {"candidateCount": 3}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": -1}, {"seed": 2**31 - 1}),
        ({"stop": "END"}, {"stopSequences": ["END"]}),
        ({"stop": ["a", "b", "c", "d", "e"]}, {"stopSequences": ["a", "b", "c", "d", "e"]}),
        ({"stop": [""]}, {}),
        ({"logprobs": True}, {"responseLogprobs": True}),
        ({"logprobs": True, "top_logprobs": 4}, {"responseLogprobs": True, "logprobs": 4}),
        ({"logprobs": False, "top_logprobs": 4}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
        ),
        ({"modalities": ["text"]}, {}),
        ({"modalities": ["text", "image"]}, {"responseModalities": ["TEXT", "IMAGE"]}),
        ({"temperature": None, "stop": None, "n": None}, {}),
    ],
)
def test_fields_of_the_generation_config(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert config(**fields) == expected


def test_an_output_limit_replaces_the_clients() -> None:
    assert config(limit=1024, max_tokens=9000) == {"maxOutputTokens": 1024}
    assert config(limit=1024) == {"maxOutputTokens": 1024}


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        (NEW, {"reasoning_effort": "none"}, {"thinkingLevel": "MINIMAL"}),
        (NEW, {"reasoning_effort": "minimal"}, {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        (NEW, {"reasoning_effort": "low"}, {"thinkingLevel": "LOW", "includeThoughts": True}),
        (NEW, {"reasoning_effort": "medium"}, {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        (NEW, {"reasoning_effort": "xhigh"}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", {"reasoning_effort": "minimal"}, {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-3.8-flash", {"reasoning_effort": "none"}, {"thinkingLevel": "LOW"}),
        ("gemini-4-argon", {"reasoning_effort": "high"}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-99-unheard-of", {"reasoning_effort": "low"}, {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-3-pro-preview", {"reasoning_effort": "medium"}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (OLD, {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        (OLD, {"reasoning_effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}),
        (OLD, {"reasoning_effort": "medium"}, {"thinkingBudget": 8192, "includeThoughts": True}),
        (OLD, {"reasoning_effort": "high"}, {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-2.5-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 128}),
        ("gemini-2.5-pro", {"reasoning_effort": "max"}, {"thinkingBudget": 32768, "includeThoughts": True}),
        (OLD, {"reasoning": {"max_tokens": 99999}}, {"thinkingBudget": 24576, "includeThoughts": True}),
        (OLD, {"reasoning": {"effort": "low", "exclude": True}}, {"thinkingBudget": 1024}),
        (NEW, {"reasoning": {"enabled": True}}, {"includeThoughts": True}),
        (NEW, {"include_reasoning": True}, {"includeThoughts": True}),
        (NEW, {"reasoning_effort": "low", "include_reasoning": False}, {"thinkingLevel": "LOW"}),
        (NEW, {"reasoning_effort": "turbo"}, None),
        (NEW, {}, None),
        (PLAIN, {"reasoning_effort": "high", "include_reasoning": True}, None),
        (
            OLD,
            {"extra_body": {"google": {"thinking_config": {"thinking_budget": 7, "include_thoughts": True}}}},
            {"thinkingBudget": 7, "includeThoughts": True},
        ),
        (NEW, {"extra_body": {"google": {"cached_content": "cachedContents/other", "thinking_config": 3}}}, None),
    ],
)
def test_reasoning_is_asked_for_in_the_words_of_the_models_generation(
    model: str, fields: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    assert config(model, **fields).get("thinkingConfig") == expected


def test_a_level_and_a_budget_are_never_sent_together() -> None:
    for model in (*MODELS, "gemini-unknown"):
        for effort in ("none", "minimal", "low", "medium", "high", "xhigh", "max"):
            thinking = config(model, reasoning_effort=effort).get("thinkingConfig", {})
            assert not {"thinkingLevel", "thinkingBudget"} <= thinking.keys()
            assert bool(thinking) is (traits_of(model).thinking is not Thinking.NONE)


def test_the_longest_prefix_decides_what_a_model_takes() -> None:
    assert traits_of("models/gemini-2.5-flash-image").thinking is Thinking.NONE
    assert traits_of("gemini-2.5-flash-lite").thinking is Thinking.BUDGET
    assert traits_of("gemini-3-pro-image-preview").thinking is Thinking.NONE
    assert traits_of("gemini-flash-latest").signed_calls


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": ["1", "2", "3", "4", "5", "6"]}, "stop"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [function("f")], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": [function("f")], "tool_choice": "sometimes"}, "tool_choice"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "tool", "tool_call_id": "none", "content": "x"}]}, "messages[1].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"type": "custom"}]}]}, "messages[0].tool_calls[0]"),
        (
            {
                "messages": [
                    {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]}
                ]
            },
            "messages[0].content",
        ),
    ],
)
def test_what_gemini_can_never_do_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields) == param


def test_fields_without_a_counterpart_are_dropped_and_named() -> None:
    body = {
        "model": "m",
        "messages": [USER],
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "u-1",
        "service_tier": "flex",
        "logit_bias": {"5": 1},
        "store": False,
        "metadata": {"a": "b"},
        "verbosity": "low",
        "provider": {"order": ["google"]},
        "parallel_tool_calls": False,
        "prediction": None,
    }
    built, dropped = chat_over_gemini.request(body, NEW)
    assert built == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    assert set(dropped) == {"user", "service_tier", "logit_bias", "store", "metadata", "verbosity"}


def test_an_effort_that_the_model_cannot_take_is_named_too() -> None:
    assert chat_over_gemini.request({"messages": [USER], "reasoning_effort": "low"}, PLAIN)[1] == ("reasoning_effort",)


# tools


SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "number"}}}


def test_tools_are_declared_with_their_json_schema_untouched() -> None:
    tools = [function("f", description="does f", parameters=SCHEMA, strict=True), function("g")]
    built = sent(tools=tools)
    assert built["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "does f", "parametersJsonSchema": SCHEMA},
                {"name": "g"},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "calling", "declared"),
    [
        (None, {"mode": "AUTO"}, "fg"),
        ("auto", {"mode": "AUTO"}, "fg"),
        ("none", {"mode": "NONE"}, "fg"),
        ("required", {"mode": "ANY"}, "fg"),
        (function("g"), {"mode": "ANY", "allowedFunctionNames": ["g"]}, "fg"),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [function("f")]}},
            {"mode": "ANY", "allowedFunctionNames": ["f"]},
            "fg",
        ),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("g")]}}, {"mode": "AUTO"}, "g"),
    ],
)
def test_tool_choice_becomes_a_calling_mode(choice: Any, calling: dict[str, Any], declared: str) -> None:
    built = sent(tools=[function("f"), function("g")], tool_choice=choice)
    assert built["toolConfig"] == {"functionCallingConfig": calling}
    assert "".join(one["name"] for one in built["tools"][0]["functionDeclarations"]) == declared


def test_a_tool_choice_without_tools_says_nothing() -> None:
    assert sent(tool_choice="auto") == sent()


# contents


def test_leading_instructions_go_apart_and_later_ones_stay_in_their_place() -> None:
    built = sent(
        messages=[
            {"role": "system", "content": "one"},
            {"role": "developer", "content": [{"type": "text", "text": "two"}]},
            USER,
            {"role": "system", "content": "three"},
        ]
    )
    assert built["systemInstruction"] == {"parts": [{"text": "one"}, {"text": "two"}]}
    assert built["contents"] == [{"role": "user", "parts": [{"text": "hi"}, {"text": "<system>\nthree\n</system>"}]}]


def test_instructions_alone_become_the_users_turn_because_contents_must_not_be_empty() -> None:
    built = sent(messages=[{"role": "system", "content": "say hi"}])
    assert built == {"contents": [{"role": "user", "parts": [{"text": "say hi"}]}]}


def test_turns_of_one_role_are_merged_and_empty_ones_left_out() -> None:
    assert contents(
        USER,
        {"role": "user", "content": "again"},
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": "yes"},
    ) == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "again"}]},
        {"role": "model", "parts": [{"text": "yes"}]},
    ]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "x"}, {"text": "x"}),
        ({"type": "refusal", "refusal": "no"}, {"text": "no"}),
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
            {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        ),
        (
            {"type": "image_url", "image_url": f"DATA:image/webp;charset=x;BASE64,{PIXEL}"},
            {"inlineData": {"mimeType": "image/webp", "data": PIXEL}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/svg+xml,%3Csvg%3E"}},
            {"inlineData": {"mimeType": "image/svg+xml", "data": base64.b64encode(b"<svg>").decode()}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a/cat.JPG?size=2"}},
            {"fileData": {"fileUri": "https://example.com/a/cat.JPG?size=2", "mimeType": "image/jpeg"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/cat"}},
            {"fileData": {"fileUri": "https://example.com/cat", "mimeType": "image/jpeg"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/film.mp4"}},
            {"fileData": {"fileUri": "https://example.com/film.mp4", "mimeType": "video/mp4"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/film.mp4/"}},
            {"fileData": {"fileUri": "https://example.com/film.mp4/", "mimeType": "image/jpeg"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}},
            {"inlineData": {"mimeType": "audio/mp3", "data": "UklG"}},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}},
        ),
        (
            {"type": "file", "file": {"filename": "a.csv", "file_data": "YSxi"}},
            {"inlineData": {"mimeType": "text/csv", "data": "YSxi"}},
        ),
        (
            {"type": "file", "file": {"file_data": "https://example.com/paper"}},
            {"fileData": {"fileUri": "https://example.com/paper", "mimeType": "application/pdf"}},
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://www.youtube.com/watch?v=1"}},
            {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1", "mimeType": "video/mp4"}},
        ),
        (
            {"type": "video_url", "video_url": {"url": "data:video/webm;base64,GkXf"}},
            {"inlineData": {"mimeType": "video/webm", "data": "GkXf"}},
        ),
    ],
)
def test_content_parts(part: dict[str, Any], expected: dict[str, Any]) -> None:
    assert parts([part]) == [expected]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": {"url": "gs://bucket/other-customers.png"}},
        {"type": "image_url", "image_url": {"url": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        {"type": "image_url", "image_url": {"url": "https://GenerativeLanguage.googleapis.com:443/v1beta/files/abc"}},
        {"type": "image_url", "image_url": {"url": "https://[bad"}},
        {"type": "image_url", "image_url": {"url": "data:nonsense"}},
        {"type": "image_url", "image_url": 7},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "../x"}},
        {"type": "input_audio", "input_audio": "UklG"},
        {"type": "file", "file": {"file_id": "file-123"}},
        {"type": "text", "text": None},
        {"type": "hologram"},
        "text",
    ],
)
def test_parts_that_cannot_be_sent_are_refused_with_their_place(part: Any) -> None:
    param = refusal(messages=[USER, {"role": "user", "content": [{"type": "text", "text": "x"}, part]}])
    assert param is not None
    assert param.startswith("messages[1].content[1]")


def test_a_tool_turn_goes_and_comes_back_as_google_wants_it() -> None:
    assert contents(
        USER,
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                call("weather", '{"city": "Bern"}', "c1", **signed("SIG")),
                call("now", "", "c2"),
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "blue"}'},
        {"role": "user", "content": "And?"},
    ) == [
        {"role": "user", "parts": [{"text": "hi"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Looking."},
                {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Bern"}}, "thoughtSignature": "SIG"},
                {"functionCall": {"id": "c2", "name": "now", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c2", "name": "now", "response": {"output": "noon"}}},
                {"functionResponse": {"id": "c1", "name": "weather", "response": {"sky": "blue"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "And?"}]},
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain", {"output": "plain"}),
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", {"output": "[1, 2]"}),
        ("{broken", {"output": "{broken"}),
        ("", {"output": ""}),
        (None, {"output": ""}),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], {"output": "a\nb"}),
    ],
)
def test_a_tools_answer_is_always_an_object(content: Any, expected: dict[str, Any]) -> None:
    answer = {"role": "tool", "tool_call_id": "c1", "content": content}
    turns = contents(USER, {"role": "assistant", "tool_calls": [call("f")]}, answer)
    assert turns[2]["parts"][0]["functionResponse"]["response"] == expected


def test_a_failed_tool_says_so() -> None:
    answer = {"role": "tool", "tool_call_id": "c1", "content": "no such city", "is_error": True}
    turns = contents(USER, {"role": "assistant", "tool_calls": [call("f")]}, answer)
    assert turns[2]["parts"][0]["functionResponse"]["response"] == {"error": "no such city"}


def test_a_picture_in_a_tools_answer_is_part_of_it_or_follows_it() -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    history = (
        USER,
        {"role": "assistant", "tool_calls": [call("f")]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "here"}, image]},
    )
    inline = {"inlineData": {"mimeType": "image/png", "data": PIXEL}}
    answer = {"id": "c1", "name": "f", "response": {"output": "here"}}
    assert contents(*history)[2]["parts"] == [{"functionResponse": {**answer, "parts": [inline]}}]
    assert contents(*history, model=OLD)[2]["parts"] == [{"functionResponse": answer}, inline]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        (None, {}),
        ("{}", {}),
        ('{"a": [1]}', {"a": [1]}),
        ('{"a": ', {"arguments": '{"a": '}),
        ("[1]", {"arguments": "[1]"}),
        ({"a": 1}, {"a": 1}),
    ],
)
def test_a_calls_arguments_are_always_an_object(arguments: Any, expected: dict[str, Any]) -> None:
    turns = contents(USER, {"role": "assistant", "tool_calls": [call("f", arguments)]})
    assert turns[1]["parts"][0]["functionCall"]["args"] == expected


def test_a_repeated_call_id_means_the_latest_call() -> None:
    turns = contents(
        USER,
        {"role": "assistant", "tool_calls": [call("f", id="x_0")]},
        {"role": "tool", "tool_call_id": "x_0", "content": "1"},
        {"role": "assistant", "tool_calls": [call("g", id="x_0")]},
        {"role": "tool", "tool_call_id": "x_0", "content": "2"},
    )
    assert [
        turn["parts"][0]["functionResponse"]["name"] for turn in turns if "functionResponse" in turn["parts"][0]
    ] == ["f", "g"]


def test_foreign_calls_get_the_documented_placeholder_from_gemini_3_on() -> None:
    history = (USER, {"role": "assistant", "tool_calls": [call("f"), call("g", id="c2")]})
    new, old = contents(*history)[1]["parts"], contents(*history, model=OLD)[1]["parts"]
    assert [part.get("thoughtSignature") for part in new] == [NO_SIGNATURE, None]
    assert [part.get("thoughtSignature") for part in old] == [None, None]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "a", **signed("S")}, [{"text": "a", "thoughtSignature": "S"}]),
        ({"content": None, **signed("S")}, [{"text": "", "thoughtSignature": "S"}]),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], **signed("S")},
            [{"text": "a"}, {"text": "b", "thoughtSignature": "S"}],
        ),
        ({"content": None, "refusal": "I must not."}, [{"text": "I must not."}]),
        (
            {
                "content": "",
                "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aQ=="}, **signed("S")}],
            },
            [{"inlineData": {"mimeType": "image/png", "data": "aQ=="}, "thoughtSignature": "S"}],
        ),
        ({"content": "a", "reasoning_content": "thoughts", "extra_content": {"google": 5}}, [{"text": "a"}]),
    ],
)
def test_what_the_model_said_comes_back_with_its_signature(message: dict[str, Any], expected: list) -> None:
    assert contents(USER, {"role": "assistant", **message})[1]["parts"] == expected


# there and back

_names = st.text("abcdefgh_", min_size=1, max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_calls = st.lists(
    st.tuples(_names, st.dictionaries(st.text(max_size=8), _json, max_size=3), st.none() | st.text("AB=", min_size=1)),
    max_size=3,
)


@given(text=st.text(max_size=40), text_signature=st.none() | st.just("VA=="), calls=_calls)
def test_a_reply_put_back_into_the_history_is_the_candidate_again(
    text: str, text_signature: str | None, calls: list[tuple[str, dict[str, Any], str | None]]
) -> None:
    """Text, calls, arguments and signatures survive the way to an OpenAI client and back."""
    parts: list[dict[str, Any]] = [{"text": text}] if text else []
    if text_signature and text:
        parts[0]["thoughtSignature"] = text_signature
    for name, args, signature in calls:
        parts.append({"functionCall": {"name": name, "args": args}})
        if signature:
            parts[-1]["thoughtSignature"] = signature
    raw = {"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}], "responseId": "r"}
    message = gemini_reply.reply(raw, Call(Capability.CHAT, "m")).body["choices"][0]["message"]
    message = json.loads(json.dumps(message))
    turns = contents(USER, message, model=OLD)
    given_back = turns[1]["parts"] if len(turns) > 1 else []
    for part in given_back:
        part.get("functionCall", {}).pop("id", None)
    assert given_back == parts


_MEMBERS = [
    *("role", "content", "type", "text", "image_url", "url", "tool_calls", "function", "name", "arguments", "id"),
    *("file", "file_data", "input_audio", "data", "format", "google", "thinking_config", "json_schema", "schema"),
]
_noise = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_MEMBERS) | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    body=st.dictionaries(st.sampled_from(sorted(chat_over_gemini._READ)), _noise, max_size=5),
    messages=st.just([USER]) | st.lists(_noise, max_size=3),
    model=st.sampled_from([NEW, OLD, PLAIN]),
)
def test_t51_no_shape_of_a_body_is_more_than_a_refusal(body: dict[str, Any], messages: Any, model: str) -> None:
    refused = None
    try:
        chat_over_gemini.request({**body, "messages": messages}, model)
    except InvalidRequest as error:
        refused = error
    assert refused is None or refused.param


def test_a_file_at_an_address_is_given_to_google_to_fetch() -> None:
    def sent(file: dict[str, Any]) -> dict[str, Any]:
        message = {"role": "user", "content": [{"type": "file", "file": file}]}
        built, _ = chat_over_gemini.request({"model": "m", "messages": [message]}, "gemini-2.5-flash")
        (part,) = built["contents"][0]["parts"]
        return part

    page = "https://example.com/a.pdf"
    assert sent({"file_url": page}) == {"fileData": {"fileUri": page, "mimeType": "application/pdf"}}
    for own in ({"file_id": "file-1"}, {"file_url": "gs://bucket/x"}, {"file_url": "files/abc"}):
        with pytest.raises(InvalidRequest):
            sent(own)
