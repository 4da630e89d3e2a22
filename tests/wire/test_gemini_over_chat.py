"""Requests of Google's API in the form in which they travel inside, and what their spelling cannot hide."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.compared import Compared
from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat import over_gemini as chat_over_gemini
from tokenhub.wire.chat import request as chat
from tokenhub.wire.gemini import native as gemini_native
from tokenhub.wire.gemini import over_chat as gemini_over_chat
from tokenhub.wire.gemini import signatures as gemini_signatures
from tokenhub.wire.gemini import spelling as gemini_spelling
from tokenhub.wire.gemini.schema import json_schema

SIGNATURE = base64.b64encode(b"signed by Google").decode()


def inside(body: dict[str, Any], *, stream: bool = False) -> dict[str, Any]:
    return gemini_over_chat.request(gemini_spelling.normalised(body), "some-model", stream=stream)


def said(*contents: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return inside({"contents": list(contents), **more})["messages"]


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


HELLO = user({"text": "Hello"})


# Turns -------------------------------------------------------------------------------------------


def test_instructions_and_turns_become_messages() -> None:
    messages = said(HELLO, model({"text": "Hi"}), user({"text": "Bye"}), systemInstruction={"parts": [{"text": "Be"}]})
    assert messages == [
        {"role": "system", "content": "Be"},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Bye"},
    ]


@pytest.mark.parametrize("contents", ["Hello", HELLO, [HELLO], {"parts": {"text": "Hello"}}, ["Hello"]])
def test_contents_may_be_written_in_googles_short_ways(contents: Any) -> None:
    assert inside({"contents": contents})["messages"] == [{"role": "user", "content": "Hello"}]


def test_pieces_of_a_stream_that_an_sdk_kept_as_turns_are_one_message() -> None:
    kept = [model({"text": "Hel"}), model({"text": "lo"}), model({"functionCall": {"name": "now"}})]
    assistant = said(HELLO, *kept)[1:]
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    assert assistant == [{"role": "assistant", "content": "Hello", "tool_calls": [call]}]


def test_media_become_parts_of_their_kind() -> None:
    parts = [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"inline_data": {"mime_type": "audio/mpeg", "data": "BBBB"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "CCCC"}},
        {"fileData": {"fileUri": "https://example.com/a.webp", "mimeType": "image/webp"}},
        {"fileData": {"fileUri": "https://youtu.be/x"}},
        {"inlineData": {"mimeType": "text/markdown", "data": base64.b64encode(b"# read me").decode()}},
    ]
    body = inside({"contents": [user(*parts)]})
    assert body["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "mp3"}},
        {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,CCCC"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.webp"}},
        {"type": "video_url", "video_url": {"url": "https://youtu.be/x"}},
        {"type": "text", "text": "# read me"},
    ]


def test_a_turn_without_anything_in_it_is_refused() -> None:
    for contents in (None, [], [user({"text": ""})], [user({"newKind": {}})]):
        with pytest.raises(InvalidRequest, match="contents"):
            inside({"contents": contents, "systemInstruction": "Be"})


# Tools -------------------------------------------------------------------------------------------


def test_answers_find_their_calls_by_id_else_by_name_in_order() -> None:
    calls = model(
        {"functionCall": {"name": "look", "args": {"at": 1}}},
        {"functionCall": {"name": "look", "args": {"at": 2}}},
        {"functionCall": {"id": "given", "name": "now", "args": {}}},
    )
    answers = user(
        {"functionResponse": {"id": "given", "name": "now", "response": {"output": "noon"}}},
        {"functionResponse": {"name": "look", "response": {"result": "one"}}},
        {"functionResponse": {"name": "look", "response": {"found": [2]}}},
        {"functionResponse": {"name": "strange", "response": {"error": "boom"}}},
        {"text": "go on"},
    )
    messages = said(HELLO, calls, answers)[2:]
    assert messages == [
        {"role": "tool", "tool_call_id": "given", "content": "noon"},
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": "call_2", "content": '{"found":[2]}'},
        {"role": "tool", "tool_call_id": "call_3", "content": '{"error":"boom"}', "name": "strange"},
        {"role": "user", "content": "go on"},
    ]


def test_a_picture_that_a_tool_returned_is_shown_by_the_user() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    answer = {"functionResponse": {"id": "c", "name": "see", "response": {"output": "here"}, "parts": [picture]}}
    messages = said(HELLO, model({"functionCall": {"id": "c", "name": "see"}}), user(answer))
    assert messages[2:] == [
        {"role": "tool", "tool_call_id": "c", "content": "here"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "[returned by the tool call c]"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ],
        },
    ]


def test_allowed_names_are_not_searched_one_by_one() -> None:
    """A body of 500 000 values would hold the whole process up for minutes."""
    names = [Compared(f"f{number}") for number in range(200)]
    declared = [{"name": name} for name in names]
    Compared.times = 0
    chosen, _ = choose({"contents": [HELLO], "tools": [{"function_declarations": declared}]}, "ANY", *names)
    assert len(chosen) == 200
    assert Compared.times < 10 * 200


def test_names_that_are_no_texts_allow_nothing() -> None:
    body = {"contents": [HELLO], "tools": [{"function_declarations": [{"name": "look"}]}]}
    calling = {"mode": "ANY", "allowedFunctionNames": [{}, 3]}
    with pytest.raises(InvalidRequest, match="allowedFunctionNames"):
        inside({**body, "toolConfig": {"functionCallingConfig": calling}})


def test_functions_and_how_they_are_to_be_called() -> None:
    declared = [
        {
            "name": "look",
            "description": "Look",
            "parameters": {"type": "OBJECT", "properties": {"at": {"type": "INTEGER"}}},
        },
        {"name": "now", "parameters_json_schema": {"type": "object", "required": ["zone_name"]}},
    ]
    body = {"contents": [HELLO], "tools": [{"function_declarations": declared}]}
    made = inside(body)
    assert [tool["function"] for tool in made["tools"]] == [
        {
            "name": "look",
            "description": "Look",
            "parameters": {"type": "object", "properties": {"at": {"type": "integer"}}},
        },
        {"name": "now", "parameters": {"type": "object", "required": ["zone_name"]}},
    ]
    assert "tool_choice" not in made
    assert choose(body, "ANY", "now") == (["look", "now"], {"type": "function", "function": {"name": "now"}})
    assert choose(body, "ANY", "now", "look") == (["look", "now"], "required")
    assert choose(body, "VALIDATED", "look") == (["look"], None)
    assert choose(body, "ANY") == (["look", "now"], "required")
    with pytest.raises(InvalidRequest, match="allowedFunctionNames"):
        choose(body, "ANY", "other")
    none = inside({**body, "toolConfig": {"functionCallingConfig": {"mode": "NONE"}}})
    assert none["tool_choice"] == "none"


def choose(body: dict[str, Any], mode: str, *names: str) -> tuple[list[str], Any]:
    config = {"mode": mode} | ({"allowed_function_names": list(names)} if names else {})
    made = inside({**body, "tool_config": {"function_calling_config": config}})
    return [tool["function"]["name"] for tool in made["tools"]], made.get("tool_choice")


def test_schemas_of_googles_own_become_json_schema() -> None:
    own = {
        "type": "OBJECT",
        "nullable": True,
        "propertyOrdering": ["type"],
        "properties": {
            "type": {"type": "STRING", "enum": ["a"], "nullable": True},
            "list": {"type": "ARRAY", "minItems": "1", "items": {"anyOf": [{"type": "NUMBER"}, {"type": "BOOLEAN"}]}},
        },
    }
    assert json_schema(own) == {
        "type": ["object", "null"],
        "properties": {
            "type": {"type": ["string", "null"], "enum": ["a", None]},
            "list": {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "number"}, {"type": "boolean"}]}},
        },
    }


@pytest.mark.parametrize("digits", [19, 400, 5_000])
def test_a_count_beyond_64_bits_stays_the_text_that_it_is(digits: int) -> None:
    own = {"type": "array", "minItems": "9" * digits}
    assert json_schema(own) == own


# generationConfig --------------------------------------------------------------------------------


def test_the_configuration_in_openais_words() -> None:
    config = {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 64.0,
        "candidateCount": 2,
        "maxOutputTokens": 100,
        "stopSequences": ["END"],
        "seed": 7,
        "responseLogprobs": True,
        "logprobs": 3,
        "presencePenalty": 0.1,
        "frequencyPenalty": -0.1,
        "responseMimeType": "application/json",
        "responseSchema": {"type": "STRING"},
        "thinkingConfig": {"thinkingBudget": 5000},
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
        "notYetInvented": 1,
    }
    made = inside({"contents": [HELLO], "generationConfig": config, "safetySettings": [], "labels": {}}, stream=True)
    assert made == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 64,
        "n": 2,
        "max_completion_tokens": 100,
        "stop": ["END"],
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 3,
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "reasoning_effort": "medium",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "response", "schema": {"type": "string"}},
        },
    }
    assert chat.parse_call(made, 10).choices == 2


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"thinkingLevel": "HIGH"}, "high"),
        ({"thinkingBudget": 0}, "none"),
        ({"thinkingBudget": 1}, "low"),
        ({"thinkingBudget": 24576}, "high"),
        ({"thinkingBudget": -1}, None),
        ({"includeThoughts": True}, None),
    ],
)
def test_how_much_to_think(thinking: dict[str, Any], effort: str | None) -> None:
    made = inside({"contents": [HELLO], "generationConfig": {"thinkingConfig": thinking}})
    assert made.get("reasoning_effort") == effort


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("candidateCount", "2"),
        ("candidateCount", 2.0),
        ("candidateCount", 0),
        ("candidate_count", 1000),
        ("maxOutputTokens", "100"),
        ("max_output_tokens", -1),
        ("temperature", "hot"),
        ("stopSequences", [1]),
    ],
)
def test_what_money_depends_on_is_checked_by_googles_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        inside({"contents": [HELLO], "generation_config": {name: value}})
    assert refused.value.param is not None
    assert refused.value.param.startswith("generationConfig.")
    assert refused.value.param.rpartition(".")[2] in refused.value.message


def test_a_field_in_two_spellings_is_refused() -> None:
    for body in (
        {"generationConfig": {}, "generation_config": {}},
        {"generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 9}},
        {"contents": [user({"inlineData": {}, "inline_data": {}})]},
    ):
        with pytest.raises(InvalidRequest, match="two spellings"):
            gemini_spelling.normalised(body)


def test_the_gateways_own_fields_are_read_in_both_spellings_and_none_is_sent() -> None:
    own = {"session_id": "s", "prompt_cache_key": "k", "api_base": "x"}
    camel = {"sessionId": "s", "promptCacheKey": "k", "apiBase": "x"}
    assert gemini_spelling.normalised(camel) == gemini_spelling.normalised(own) == own
    assert inside({"contents": [HELLO], "sessionId": "s", "promptCacheKey": "k"})["prompt_cache_key"] == "k"
    body = gemini_spelling.normalised({"contents": [HELLO], "sessionId": "s", "promptCacheKey": "k"})
    assert gemini_native.request(body, None) == {"contents": [HELLO]}
    with pytest.raises(InvalidRequest, match="two spellings"):
        gemini_spelling.normalised({"sessionId": "s", "session_id": "s"})


def test_names_that_are_the_clients_keep_their_spelling() -> None:
    call = {"function_call": {"name": "f", "args": {"zip_code": 1}}}
    answer = {"function_response": {"name": "f", "response": {"street_name": "x"}}}
    schema = {"properties": {"zip_code": {}}}
    body = {
        "session_id": "s",
        "contents": [model(call), user(answer)],
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": schema}]}],
    }
    assert gemini_spelling.normalised(body) == {
        "session_id": "s",
        "contents": [
            model({"functionCall": {"name": "f", "args": {"zip_code": 1}}}),
            user({"functionResponse": {"name": "f", "response": {"street_name": "x"}}}),
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}]}],
    }


# Signatures --------------------------------------------------------------------------------------


def test_googles_signatures_travel_where_its_compatible_surface_has_them() -> None:
    extra = {"google": {"thought_signature": SIGNATURE}}
    messages = said(
        HELLO,
        model(
            {"text": "thinking", "thought": True},
            {"functionCall": {"id": "c", "name": "f"}, "thought_signature": SIGNATURE},
        ),
        user({"functionResponse": {"id": "c", "name": "f", "response": {}}}),
        model({"text": "done", "thoughtSignature": SIGNATURE}),
    )
    assert messages[1]["reasoning_content"] == "thinking"
    assert messages[1]["tool_calls"][0]["extra_content"] == extra
    assert messages[3] == {"role": "assistant", "content": "done", "extra_content": extra}


@pytest.mark.parametrize("alphabet", ["plain", "for URLs", "without padding"])
def test_what_another_provider_signed_comes_back_as_it_was(alphabet: str) -> None:
    blocks = [{"type": "thinking", "thinking": "Ünïcode?>", "signature": "c2ln+/=="}]
    text = gemini_signatures.packed({"thinking_blocks": blocks, "content": "not this"})
    text = {"plain": text, "for URLs": text.replace("+", "-").replace("/", "_")}.get(alphabet, text.rstrip("="))
    messages = said(HELLO, model({"functionCall": {"id": "c", "name": "f"}, "thoughtSignature": text}))
    assert messages[1]["thinking_blocks"] == blocks
    assert "extra_content" not in messages[1]["tool_calls"][0]


@pytest.mark.parametrize("damage", [lambda text: text[:20], lambda text: text[:-9] + "AAAA"])
def test_a_damaged_signature_of_ours_is_none(damage: Any) -> None:
    text = damage(gemini_signatures.packed({"thinking_blocks": [{"type": "thinking"}]}))
    message = said(HELLO, model({"functionCall": {"id": "c", "name": "f"}, "thoughtSignature": text}))[1]
    assert message.keys() == {"role", "content", "tool_calls"}
    assert "extra_content" not in message["tool_calls"][0]


# There and back ----------------------------------------------------------------------------------

_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=30)
_NAMES = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
_ARGUMENTS = st.dictionaries(_NAMES, st.one_of(st.integers(-9, 9), _TEXTS, st.booleans()), max_size=3)


@st.composite
def _conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Turns as OpenAI's clients send them, tool rounds among them."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": draw(_TEXTS)}] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(_TEXTS)})
        names = draw(st.lists(_NAMES, max_size=3))
        if names:
            calls = [
                {
                    "id": f"call_{number}_{place}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(draw(_ARGUMENTS), separators=(",", ":"))},
                }
                for place, name in enumerate(names)
            ]
            messages.append({"role": "assistant", "content": draw(st.none() | _TEXTS), "tool_calls": calls})
            messages += [
                {"role": "tool", "tool_call_id": call["id"], "content": draw(_TEXTS.filter(lambda t: "{" not in t))}
                for call in calls
            ]
        messages.append({"role": "assistant", "content": draw(_TEXTS)})
    return [*messages, {"role": "user", "content": draw(_TEXTS)}]


@given(_conversations())
def test_a_conversation_rendered_for_google_and_read_back_is_the_same(messages: list[dict[str, Any]]) -> None:
    rendered, dropped = chat_over_gemini.request({"model": "m", "messages": messages}, "gemini-2.5-flash")
    assert dropped == ()
    back = inside(rendered)["messages"]
    for message in back:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.dumps(json.loads(call["function"]["arguments"]), separators=(",", ":"))
    assert back == messages
