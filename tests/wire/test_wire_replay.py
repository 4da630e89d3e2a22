"""Recorded exchanges of the real providers, read at parser level: what comes out equals what was recorded.

The recordings lie beside the project and are not part of it; where they are absent, these
tests are skipped and only the own samples are read.
"""

import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.assembler import Choice, assemble
from tests.fakes.dialects import anthropic_message
from tests.wire.cuts import assert_cuts_do_not_show, read
from tokenhub.call import Call, Capability
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage
from tokenhub.wire import json_body
from tokenhub.wire.chat import over_messages as chat_over_messages
from tokenhub.wire.chat import request as chat
from tokenhub.wire.chat.mend import Mender
from tokenhub.wire.chat.relay import ChatRelay
from tokenhub.wire.chat.reply import parse_body, read_reply
from tokenhub.wire.chat.usage import render_usage
from tokenhub.wire.faults import FaultKind
from tokenhub.wire.messages import reply as messages_reply
from tokenhub.wire.messages.stream import MessagesReader

RECORDINGS = Path(__file__).parents[2] / "../shared/wire"
pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings (../shared/wire) are not here")

CALL = Call(Capability.CHAT, "asked/for", created_s=77)
MOST_CUTS = 800
"""Per recording, where the run is not a soak; every byte border is crossed once in any case."""


@cache
def recorded(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def select(kind: str, *, stream: bool, requested: bool = False) -> list[Any]:
    """Return the recordings of a kind; ``requested``: only those that kept the request."""
    if not RECORDINGS.is_dir():
        return []
    index = json.loads((RECORDINGS / "index.json").read_text(encoding="utf-8"))
    chosen = [
        entry["file"]
        for entry in index["exchanges"]
        if (entry["kind"], entry["stream"]) == (kind, stream) and (entry["request_recorded"] or not requested)
    ]
    return [pytest.param(RECORDINGS / file, id=file.removesuffix(".json")) for file in chosen]


def counts(usage: Usage | None) -> tuple[int, int, int, int, int] | None:
    """Return what a client reads of a usage: prompt, completion, total, cached, reasoning."""
    if usage is None:
        return None
    shown = render_usage(usage)
    details = (shown["prompt_tokens_details"]["cached_tokens"], shown["completion_tokens_details"]["reasoning_tokens"])
    return shown["prompt_tokens"], shown["completion_tokens"], shown["total_tokens"], *details


def recorded_counts(usage: dict[str, Any] | None) -> tuple[int, int, int, int, int] | None:
    """Read the same from a recorded usage, by the providers' own names."""
    if not usage:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    cached = cached or usage.get("prompt_cache_hit_tokens") or usage.get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"], cached, reasoning


def stream_of(path: Path) -> bytes:
    return recorded(path)["response"]["body_text"].encode()


@pytest.mark.parametrize("path", select("chat", stream=True))
def test_a_recorded_chat_stream_reaches_the_client_whole(path):
    stream = stream_of(path)
    expected = assemble(stream)
    relay = ChatRelay()
    flowing, ending, _ = read(relay, [stream])
    made = assemble(flowing + ending)
    assert made.choices == expected.choices
    assert made.usages == 0
    assert relay.facts.complete
    assert counts(relay.facts.usage) == recorded_counts(expected.usage)
    assert relay.facts.finish_reason == expected.choices[max(expected.choices)].finish
    assert relay.facts.content is any(choice != Choice(finish=choice.finish) for choice in expected.choices.values())
    assert [chunk for chunk in made.chunks if chunk["choices"]] == made.chunks


@pytest.mark.parametrize("path", select("chat", stream=True))
def test_t59_no_cut_of_a_recorded_chat_stream_shows(path):
    assert_cuts_do_not_show(ChatRelay, stream_of(path), most=MOST_CUTS)


@pytest.mark.parametrize("path", select("chat", stream=True))
def test_mending_changes_nothing_that_a_recorded_stream_says(path):
    stream = stream_of(path)
    flowing, ending, facts = read(ChatRelay(mender=Mender("id", 1, "m")), [stream])
    assert assemble(flowing + ending).choices == assemble(stream).choices
    assert facts["complete"]


@pytest.mark.parametrize("path", select("chat", stream=False))
def test_a_recorded_chat_reply_reaches_the_client_whole(path):
    body = recorded(path)["response"]["body"]
    reply = read_reply(parse_body(json.dumps(body).encode()))
    choices = [{name: value for name, value in choice.items() if name != "usage"} for choice in body["choices"]]
    assert reply.body == {**{name: value for name, value in body.items() if name != "usage"}, "choices": choices}
    assert counts(reply.usage) == recorded_counts(body.get("usage") or body["choices"][0].get("usage"))
    assert reply.finish_reason == body["choices"][-1]["finish_reason"]
    assert reply.has_content is any(_shows(choice["message"]) for choice in body["choices"])


def _shows(message: dict[str, Any]) -> bool:
    names = ("content", "reasoning_content", "refusal", "tool_calls", "function_call", "audio")
    return any(message.get(name) for name in names)


# --- Anthropic


REASONS = {"end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "max_tokens": "length"}
REASONS |= {"tool_use": "tool_calls", "refusal": "content_filter"}


def said(message: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a client is to make of an Anthropic message."""
    blocks = message["content"]
    return (
        "".join(block["text"] for block in blocks if block["type"] == "text"),
        "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        [block.get("signature") or block.get("data") for block in blocks if "thinking" in block["type"]],
        REASONS[message["stop_reason"]],
    )


def heard(message: dict[str, Any], finish: str | None) -> tuple[Any, ...]:
    """Return what a client makes of a chat completion's message."""
    calls = message.get("tool_calls") or []
    return (
        message.get("content") or "",
        message.get("reasoning_content") or "",
        [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls],
        [block.get("signature") or block.get("data") for block in message.get("thinking_blocks") or []],
        finish,
    )


def heard_in_stream(stream: bytes) -> tuple[Any, ...]:
    choice = assemble(stream).first
    calls = [{"id": id, "function": {"name": name, "arguments": text}} for id, name, text in choice.calls]
    message = {"content": choice.text, "reasoning_content": choice.reasoning, "tool_calls": calls}
    return heard({**message, "thinking_blocks": choice.thinking_blocks}, choice.finish)


def anthropic_counts(usage: dict[str, Any]) -> tuple[int, int, int, int]:
    cached = usage.get("cache_read_input_tokens") or 0
    prompt = usage["input_tokens"] + cached + (usage.get("cache_creation_input_tokens") or 0)
    return prompt, usage["output_tokens"], prompt + usage["output_tokens"], cached


@pytest.mark.parametrize("path", select("messages", stream=True))
def test_a_recorded_anthropic_stream_reaches_the_client_whole(path):
    stream = stream_of(path)
    message = anthropic_message(stream)
    reader = MessagesReader(CALL)
    flowing, ending, _ = read(reader, [stream])
    if "error" in message:
        assert reader.facts.failure is not None
        assert reader.facts.failure.kind is FaultKind.OVERLOAD
        assert not reader.facts.complete
        return
    assert reader.facts.complete
    assert heard_in_stream(flowing + ending) == said(message)
    made = counts(reader.facts.usage)
    assert made is not None
    assert made[:4] == anthropic_counts(message["usage"])
    assert reader.facts.native_finish_reason == message["stop_reason"]


@pytest.mark.parametrize("path", select("messages", stream=True))
def test_t59_no_cut_of_a_recorded_anthropic_stream_shows(path):
    assert_cuts_do_not_show(lambda: MessagesReader(CALL), stream_of(path), most=MOST_CUTS // 3)


@pytest.mark.parametrize("path", select("messages", stream=False))
def test_a_recorded_anthropic_reply_reaches_the_client_whole(path):
    body = recorded(path)["response"]["body"]
    reply = messages_reply.reply(parse_body(json.dumps(body).encode()), CALL)
    assert heard(reply.body["choices"][0]["message"], reply.finish_reason) == said(body)
    made = counts(reply.usage)
    assert made is not None
    assert made[:4] == anthropic_counts(body["usage"])


# --- requests


REQUESTS = [*select("chat", stream=True, requested=True), *select("chat", stream=False, requested=True)]


@pytest.mark.parametrize("path", REQUESTS)
def test_what_real_clients_sent_is_taken(path):
    body = recorded(path)["request"]["body"]
    raw = json.dumps(body).encode()
    call = chat.parse_call(json_body.parse_object(raw), len(raw))
    assert call.model == body["model"]
    assert call.stream is bool(body.get("stream"))


@pytest.mark.parametrize(
    "model", ["claude-opus-5-5", "claude-sonnet-4-6", "claude-haiku-4-5", "claude-3-5-haiku-20241022"]
)
@pytest.mark.parametrize("path", REQUESTS)
def test_what_real_clients_sent_is_translated_or_refused_by_name(path, model):
    body = recorded(path)["request"]["body"]
    try:
        made, _ = chat_over_messages.request(body, model)
    except InvalidRequest as error:
        refused = error
    else:
        roles = [turn["role"] for turn in made["messages"]]
        assert roles[0] == "user"
        assert all(one != other for one, other in itertools.pairwise(roles))
        return
    assert body.get(str(refused.param).partition("[")[0]), refused
