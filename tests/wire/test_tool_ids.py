"""Ids of calls: each once in a conversation, and in the form that the model's server knows."""

from collections.abc import Callable
from typing import Any

import pytest

from tokenhub.wire.chat import over_messages as chat_over_messages
from tokenhub.wire.chat import over_responses as chat_over_responses
from tokenhub.wire.gemini import contents as gemini_contents
from tokenhub.wire.gemini import models as gemini_models
from tokenhub.wire.messages import native as messages_native
from tokenhub.wire.messages.tool_ids import NewIds


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (["call_0", "call_0", "call_0"], ["call_0_2", "call_0_3", "call_0_4"]),
        (["functions.read:0", "functions.read:1"], ["functions.read:1", "functions.read:2"]),
        (["functions.write:0", "functions.write:0"], ["functions.write:0", "functions.write:1"]),
        (["new", None], ["new", None]),
    ],
)
def test_a_call_that_is_named_like_an_earlier_one_gets_the_next_name(given: list[str | None], made: list[str]) -> None:
    earlier = [{"role": "assistant", "tool_calls": [{"id": "call_0"}, {"id": "functions.read:0"}]}]
    ids = NewIds(earlier)
    assert [ids.of(id) for id in given] == made


Call = tuple[str, str, str | None]
"""Id, function and result."""
CALLS = [{"id": "call_0", "type": "function", "function": {"name": name, "arguments": "{}"}} for name in ("f", "g")]
RESULTS = [{"role": "tool", "tool_call_id": "call_0", "content": text} for text in ("of f", "of g")]
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": CALLS}, *RESULTS]
AGAIN = [{"role": "assistant", "content": None, "tool_calls": CALLS[:1]}, RESULTS[0]]


LEFT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": None, "tool_calls": CALLS[:1]},
    {"role": "user", "content": "Stop"},
    {"role": "assistant", "content": None, "tool_calls": CALLS[1:]},
    RESULTS[1],
]


def to_anthropic(chat: list[Any]) -> list[Call]:
    body, _ = chat_over_messages.request({"model": "m", "messages": chat}, "claude-sonnet-5")
    blocks = [block for turn in body["messages"] for block in turn["content"]]
    results = {one["tool_use_id"]: one["content"][0]["text"] for one in blocks if one["type"] == "tool_result"}
    return [(one["id"], one["name"], results.get(one["id"])) for one in blocks if one["type"] == "tool_use"]


def from_anthropic(chat: list[Any]) -> list[Call]:
    turns: list[Any] = [_anthropics(message) for message in chat]
    body, _ = messages_native.request({"model": "m", "messages": turns}, "claude", 100, checks_signatures=True)
    blocks = [block for turn in body["messages"] for block in turn["content"] if isinstance(block, dict)]
    told = {one["tool_use_id"]: one["content"] for one in blocks if one["type"] == "tool_result"}
    return [(one["id"], one["name"], told.get(one["id"])) for one in blocks if one["type"] == "tool_use"]


def _anthropics(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}
        return {"role": "user", "content": [result]}
    calls = [
        {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": {}}
        for call in message.get("tool_calls", ())
    ]
    return {"role": message["role"], "content": calls or message["content"]}


def to_responses(chat: list[Any]) -> list[Call]:
    body, _ = chat_over_responses.request({"model": "m", "messages": chat}, None)
    results = {one["call_id"]: one["output"] for one in body["input"] if one["type"] == "function_call_output"}
    calls = [one for one in body["input"] if one["type"] == "function_call"]
    return [(one["call_id"], one["name"], results.get(one["call_id"])) for one in calls]


def to_gemini(chat: list[Any]) -> list[Call]:
    _, contents = gemini_contents.parse_messages(chat, gemini_models.traits_of("gemini-3.5-pro"))
    parts = [part for turn in contents for part in turn["parts"]]
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    told = {(one["id"], one["name"]): one["response"]["output"] for one in results}
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    return [(one["id"], one["name"], told.get((one["id"], one["name"]))) for one in calls]


each_way = pytest.mark.parametrize("sent", [to_anthropic, from_anthropic, to_responses, to_gemini])


@each_way
def test_calls_of_one_turn_with_one_id_each_keep_their_result(sent: Callable[[list[Any]], list[Call]]) -> None:
    made = sent([*TURNS, *AGAIN])
    assert made == [("call_0", "f", "of f"), ("call_0_2", "g", "of g"), ("call_0_3", "f", "of f")]


@each_way
def test_a_result_is_for_a_call_of_the_last_turn(sent: Callable[[list[Any]], list[Call]]) -> None:
    """A client that was stopped, or that forgets old results, leaves a call without one; the next may be named as it was."""
    assert sent(LEFT) == [("call_0", "f", None), ("call_0_2", "g", "of g")]
