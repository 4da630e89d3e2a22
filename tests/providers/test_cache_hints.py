"""What upstreams are told so that they find a prompt in their cache, and that nothing else changes."""

from typing import Any

import orjson
import pytest

from tests.providers.made import deployment, provider
from tokenhub.providers import registry
from tokenhub.providers.adapter import NO_HINTS, CacheHints
from tokenhub.wire.chat import request as chat

HINTS = CacheHints("0123abcd", mark=True)
MARK = {"type": "ephemeral"}
CHAT: dict[str, Any] = {"model": "asked", "messages": [{"role": "user", "content": "Hi"}]}


def sent(
    adapter: str, hints: CacheHints = HINTS, quirks: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    by = provider(adapter, **(quirks or {}))
    target = deployment(by, upstream_id="claude-sonnet-4-5" if adapter == "anthropic" else "upstream-model")
    body = {**CHAT, **fields}
    call = chat.parse_call(body, len(orjson.dumps(body)))
    made = registry.adapters_of({by.id: by})[by.id, target.model.capability].request(call, body, target, None, hints)
    return orjson.loads(made.body)


def test_provider_with_the_quirk_is_told_the_key_and_nothing_else_changes():
    quirks = {"prompt_cache_key": True}
    told = sent("openai", quirks=quirks)
    assert told.pop("prompt_cache_key") == "0123abcd"
    assert told == sent("openai", NO_HINTS, quirks)
    assert "prompt_cache_key" not in told


def test_key_that_the_client_sent_stays():
    assert sent("openai", quirks={"prompt_cache_key": True}, prompt_cache_key="mine")["prompt_cache_key"] == "mine"


@pytest.mark.parametrize("adapter", ["openai_compatible", "gemini", "anthropic"])
def test_other_providers_are_told_no_key(adapter):
    assert b"0123abcd" not in orjson.dumps(sent(adapter))


def test_anthropic_may_write_its_cache_where_that_is_allowed():
    told = sent("anthropic")
    assert told.pop("cache_control") == MARK
    assert told == sent("anthropic", CacheHints("0123abcd")) == sent("anthropic", NO_HINTS)


@pytest.mark.parametrize(
    "fields",
    [
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": MARK}]}]},
        {
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "S", "cache_control": MARK}]},
                *CHAT["messages"],
            ]
        },
        {"tools": [{"type": "function", "function": {"name": "f"}, "cache_control": MARK}]},
    ],
)
def test_marks_that_the_client_placed_are_left_alone(fields):
    assert sent("anthropic", **fields) == sent("anthropic", NO_HINTS, **fields)
