"""Ids of calls: each once in a conversation, and in the form that the model's server knows."""

from collections.abc import Callable

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


CALLS = [{"id": "call_0", "type": "function", "function": {"name": name, "arguments": "{}"}} for name in ("f", "g")]
RESULTS = [{"role": "tool", "tool_call_id": "call_0", "content": text} for text in ("of f", "of g")]
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": CALLS}, *RESULTS]
AGAIN = [{"role": "assistant", "content": None, "tool_calls": CALLS[:1]}, RESULTS[0]]


def to_anthropic() -> list[tuple[str, str, str]]:
    body, _ = chat_over_messages.request({"model": "m", "messages": [*TURNS, *AGAIN]}, "claude-sonnet-5")
    blocks = [block for turn in body["messages"] for block in turn["content"]]
    results = {one["tool_use_id"]: one["content"][0]["text"] for one in blocks if one["type"] == "tool_result"}
    return [(one["id"], one["name"], results[one["id"]]) for one in blocks if one["type"] == "tool_use"]


def from_anthropic() -> list[tuple[str, str, str]]:
    calls = [{"type": "tool_use", "id": "call_0", "name": name, "input": {}} for name in ("f", "g")]
    results = [{"type": "tool_result", "tool_use_id": "call_0", "content": text} for text in ("of f", "of g")]
    given = [("user", "Hi"), ("assistant", calls), ("user", results), ("assistant", calls[:1]), ("user", results[:1])]
    turns = [{"role": role, "content": content} for role, content in given]
    body, _ = messages_native.request({"model": "m", "messages": turns}, "claude", 100, checks_signatures=True)
    blocks = [block for turn in body["messages"][1:] for block in turn["content"]]
    told = {one["tool_use_id"]: one["content"] for one in blocks if one["type"] == "tool_result"}
    return [(one["id"], one["name"], told[one["id"]]) for one in blocks if one["type"] == "tool_use"]


def to_responses() -> list[tuple[str, str, str]]:
    body, _ = chat_over_responses.request({"model": "m", "messages": [*TURNS, *AGAIN]}, None)
    results = {one["call_id"]: one["output"] for one in body["input"] if one["type"] == "function_call_output"}
    calls = [one for one in body["input"] if one["type"] == "function_call"]
    return [(one["call_id"], one["name"], results[one["call_id"]]) for one in calls]


def to_gemini() -> list[tuple[str, str, str]]:
    _, contents = gemini_contents.parse_messages([*TURNS, *AGAIN], gemini_models.traits_of("gemini-3.5-pro"))
    parts = [part for turn in contents for part in turn["parts"]]
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    told = {(one["id"], one["name"]): one["response"]["output"] for one in results}
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    return [(one["id"], one["name"], told[one["id"], one["name"]]) for one in calls]


@pytest.mark.parametrize("sent", [to_anthropic, from_anthropic, to_responses, to_gemini])
def test_calls_of_one_turn_with_one_id_each_keep_their_result(sent: Callable[[], list[tuple[str, str, str]]]) -> None:
    assert sent() == [("call_0", "f", "of f"), ("call_0_2", "g", "of g"), ("call_0_3", "f", "of f")]
