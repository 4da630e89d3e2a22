"""Values of other types than a text where a text belongs: a request is read, or it is refused, and nothing else."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.errors import InvalidRequest
from tokenhub.wire.messages.surface import MessagesSurface
from tokenhub.wire.responses.surface import ResponsesSurface
from tokenhub.wire.surface import Arrival, JsonSurface

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
RESPONSES: dict[str, Any] = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"type": "message", "role": "developer", "content": "Use tools."},
        {"role": "user", "content": [
            {"type": "input_text", "text": "Hi"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        ]},
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "c2VhbA==",
         "summary": [{"type": "summary_text", "text": "Hm."}], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "namespace": "n", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "rain"}]},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
        {"type": "additional_tools", "tools": [{"type": "function", "name": "more"}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    ],
    "tools": [
        {"type": "function", "name": "look", "description": "Looks.", "parameters": SCHEMA},
        {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "look"}]},
        {"type": "web_search", "name": "web", "function": "x", "search_context_size": "low"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]},
    "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "metadata": {"a": "b"},
    "user": "u",
    "safety_identifier": "u",
    "prompt_cache_key": "k",
    "service_tier": "auto",
    "truncation": "auto",
    "session_id": "s",
    "models": ["n"],
    "provider": {"order": ["a"], "sort": "price"},
}  # fmt: skip
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 4_000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": [
            {"type": "text", "text": "Look."},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
            {"type": "document", "title": "A", "source": {"type": "url", "url": "https://x.example/a.pdf"}},
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
            {"type": "search_result", "title": "A", "source": "x", "content": [{"type": "text", "text": "x"}]},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2VhbA=="},
            {"type": "redacted_thinking", "data": "c2VhbA=="},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"city": "Rome"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]},
            {"type": "tool_reference", "tool_name": "look"},
        ]},
    ],
    "tools": [
        {"name": "look", "description": "Looks.", "input_schema": SCHEMA},
        {"type": "web_search_20250305", "name": "web_search"},
    ],
    "tool_choice": {"type": "tool", "name": "look"},
    "thinking": {"type": "enabled", "budget_tokens": 1_024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "stop_sequences": ["x"],
    "metadata": {"user_id": "u"},
    "service_tier": "auto",
    "session_id": "s",
    "models": ["n"],
    "provider": {"order": ["a"], "sort": "price"},
}  # fmt: skip

Path = tuple[str | int, ...]
_PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
ODD = _PLAIN | st.recursive(
    st.sampled_from([[], {}]) | st.lists(_PLAIN | st.text(max_size=3), max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "name"]), inner),
    max_leaves=3,
)


def texts(value: Any, path: Path = ()) -> Iterator[Path]:
    """Name each place of a body where a text stands."""
    if isinstance(value, str):
        yield path
    for step, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from texts(inner, (*path, step))


def replaced(value: Any, path: Path, odd: Any) -> Any:
    if not path:
        return odd
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], odd)
    return copy


CASES = [(ResponsesSurface, RESPONSES), (MessagesSurface, MESSAGES)]


def read(surface: type[JsonSurface], body: dict[str, Any]) -> None:
    raw = orjson.dumps(body)
    arrived = surface(Arrival("", {}, {}, 0))
    arrived.call(arrived.parse(raw), len(raw))


@pytest.mark.parametrize(("surface", "body"), CASES, ids=["responses", "messages"])
def test_the_body_itself_is_read(surface: type[JsonSurface], body: dict[str, Any]) -> None:
    read(surface, body)


@pytest.mark.parametrize(("surface", "body"), CASES, ids=["responses", "messages"])
@given(data=st.data())
def test_an_odd_value_is_read_or_refused(surface: type[JsonSurface], body: dict[str, Any], data: st.DataObject) -> None:
    places = data.draw(st.lists(st.sampled_from(list(texts(body))), min_size=1, max_size=2, unique=True))
    for place in places:
        body = replaced(body, place, data.draw(ODD))
    with suppress(InvalidRequest):
        read(surface, body)


@pytest.mark.parametrize("odd", [{}, ["x"], {"type": {}}], ids=str)
@pytest.mark.parametrize(("surface", "body"), CASES, ids=["responses", "messages"])
def test_an_object_or_a_list_stands_nowhere_for_a_text(
    surface: type[JsonSurface], body: dict[str, Any], odd: Any
) -> None:
    """Each place in turn: what cannot be looked up in a table must not be."""
    for place in texts(body):
        with suppress(InvalidRequest):
            read(surface, replaced(body, place, odd))
