"""What a request asks for beside its conversation, said in each dialect: it arrives in the upstream's words."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.dialects import stories
from tests.dialects.pure import passage
from tests.dialects.rig import CLIENTS, UPSTREAMS
from tests.dialects.test_round_trips import within

_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["city", "age"],
    "additionalProperties": False,
}
_CALLING = "functionCallingConfig"

OPTIONS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "a call must come": {
        "chat": {"tool_choice": "required"},
        "messages": {"tool_choice": {"type": "any"}},
        "responses": {"tool_choice": "required"},
        "gemini": {"toolConfig": {_CALLING: {"mode": "ANY"}}},
    },
    "a call of one tool must come": {
        "chat": {"tool_choice": {"type": "function", "function": {"name": "get_time"}}},
        "messages": {"tool_choice": {"type": "tool", "name": "get_time"}},
        "responses": {"tool_choice": {"type": "function", "name": "get_time"}},
        "gemini": {"toolConfig": {_CALLING: {"mode": "ANY", "allowedFunctionNames": ["get_time"]}}},
    },
    "no call may come": {
        "chat": {"tool_choice": "none"},
        "messages": {"tool_choice": {"type": "none"}},
        "responses": {"tool_choice": "none"},
        "gemini": {"toolConfig": {_CALLING: {"mode": "NONE"}}},
    },
    "one call at a time": {
        "chat": {"parallel_tool_calls": False},
        "messages": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        "responses": {"parallel_tool_calls": False},
    },
    "stops": {
        "chat": {"stop": ["END", "\n\n"]},
        "messages": {"stop_sequences": ["END"]},
        "gemini": {"generationConfig": {"stopSequences": ["END", "\n\n"]}},
    },
    "temperature": {
        "chat": {"temperature": 0.5},
        "gemini": {"generationConfig": {"temperature": 0.5}},
    },
    "an object of a schema": {
        "chat": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": _SCHEMA, "strict": True},
            }
        },
        "messages": {"output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}}},
        "responses": {"text": {"format": {"type": "json_schema", "name": "person", "schema": _SCHEMA, "strict": True}}},
        "gemini": {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": _SCHEMA}},
    },
    "much effort": {
        "chat": {"reasoning_effort": "high"},
        "messages": {"output_config": {"effort": "high"}},
        "responses": {"reasoning": {"effort": "high"}},
        "gemini": {"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}},
    },
}
"""What is asked, as each dialect says it; the same words are a client's and an upstream's. A dialect that is not there has no word."""

UNSAID = {"name", "strict"}
"""Members of an output schema that not all dialects have; a name is made where there is none."""

CELLS = [
    (option, inbound, upstream)
    for option, said in OPTIONS.items()
    for inbound in CLIENTS
    for upstream in UPSTREAMS
    if inbound in said and upstream in said
]


def merged(body: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with these members in it."""
    both = {name: merged(body[name], one) for name, one in more.items() if isinstance(one, dict) and isinstance(body.get(name), dict)}  # fmt: skip
    return {**body, **more, **both}


def needed(value: Any) -> Any:
    """Return what of an option every dialect has."""
    if not isinstance(value, dict):
        return value
    return {name: needed(one) for name, one in value.items() if not ("schema" in value and name in UNSAID)}


@pytest.mark.parametrize(("option", "inbound", "upstream"), CELLS, ids=lambda name: name.replace(" ", "-"))
def test_an_option_arrives_in_the_upstreams_words(option: str, inbound: str, upstream: str) -> None:
    asked = CLIENTS[inbound].ask(stories.FORECAST, UPSTREAMS[upstream].MODEL, "th-key")
    asked.body.update(merged(asked.body, OPTIONS[option][inbound]))
    expected = OPTIONS[option][upstream]
    if option == "stops" and inbound == "messages":
        expected = {"chat": {"stop": ["END"]}, "gemini": {"generationConfig": {"stopSequences": ["END"]}}}.get(upstream, expected)  # fmt: skip
    within(expected if inbound == upstream else needed(expected), passage(asked, upstream).body)


_SOURCE = {"type": "base64", "media_type": "image/png", "data": stories.PIXEL}
_DATA_URL = f"data:image/png;base64,{stories.PIXEL}"
_CALLED: Mapping[str, list[dict[str, Any]]] = {
    "messages": [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {}}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "call_1",
                    "content": [{"type": "text", "text": "A picture:"}, {"type": "image", "source": _SOURCE}],
                }
            ],
        },
    ],
    "responses": [
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [
                {"type": "input_text", "text": "A picture:"},
                {"type": "input_image", "image_url": _DATA_URL},
            ],
        },
    ],
    "gemini": [
        {"role": "model", "parts": [{"functionCall": {"id": "call_1", "name": "get_weather", "args": {}}}]},
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "call_1",
                        "name": "get_weather",
                        "response": {"output": "A picture:"},
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": stories.PIXEL}}],
                    }
                }
            ],
        },
    ],
}
"""A call, and a result with a picture in it; chat completions have no word for that."""


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("inbound", _CALLED)
def test_a_picture_that_a_tool_returned_is_seen_and_held_for(inbound: str, upstream: str) -> None:
    asked = CLIENTS[inbound].ask(stories.FORECAST, UPSTREAMS[upstream].MODEL, "th-key")
    turns = next(asked.body[name] for name in ("messages", "input", "contents") if name in asked.body)
    turns += _CALLED[inbound]
    way = passage(asked, upstream)
    told = json.dumps(way.body)
    assert told.count(stories.PIXEL) == 1
    assert "A picture:" in told
    assert way.call.images == 1
