"""A provider that speaks Anthropic's Messages: reads what it is asked, answers, streams and fails in that dialect."""

import json
from typing import Any

from tests.dialects.story import (
    Call,
    Conversation,
    Counts,
    Outcome,
    Part,
    Picture,
    Result,
    Text,
    Thought,
    Tool,
    Turn,
    joined,
    pieces,
)
from tests.fakes.upstream import anthropic_error, anthropic_event

NAME = "messages"
TITLE = "Anthropic Messages"
PROVIDER, MODEL = "anthropic", "claude-sonnet-5"
FINISHES = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}

REFUSALS: dict[str, tuple[int, Any]] = {
    "key refused": (401, anthropic_error("authentication_error", "Canary: invalid x-api-key")),
    "throttled": (429, anthropic_error("rate_limit_error", "Canary: slow down")),
    "broken": (529, anthropic_error("overloaded_error", "Canary: Overloaded")),
    "bad request": (400, anthropic_error("invalid_request_error", "top_p is odd")),
    "too long": (400, anthropic_error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")),
}
BREAKS = [anthropic_event("error", error={"type": "overloaded_error", "message": "Canary: Overloaded"})]
"""What a stream says when it fails in the middle."""


def takes(path: str) -> bool:
    return path.partition("?")[0].endswith("/messages")


def asked(_path: str, body: dict[str, Any]) -> Conversation:
    """Return the conversation that a request holds."""
    assert body["max_tokens"] > 0
    turns = [Turn(one["role"], tuple(map(_part, _blocks(one["content"])))) for one in body["messages"]]
    assert [turn.role for turn in turns] == ["user", "assistant"] * (len(turns) // 2) + ["user"]
    for turn in turns:
        results = [isinstance(part, Result) for part in turn.parts]
        assert results == sorted(results, reverse=True), "results stand before all else"
    system = "".join(block["text"] for block in _blocks(body.get("system") or []))
    tools = tuple(Tool(one["name"], one["description"], one["input_schema"]) for one in body.get("tools") or ())
    return Conversation(joined(turns), system, tools, body["max_tokens"])


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _part(block: dict[str, Any]) -> Part:
    match block["type"]:
        case "text":
            assert block["text"], "empty texts are refused"
            return Text(block["text"])
        case "image":
            return Picture(block["source"]["data"], block["source"]["media_type"])
        case "tool_use":
            return Call(block["id"], block["name"], block["input"])
        case "thinking":
            return Thought(block["thinking"], block["signature"])
        case kind:
            assert kind == "tool_result"
            return Result(block["tool_use_id"], "".join(one["text"] for one in _blocks(block["content"])))


def seals(body: dict[str, Any]) -> list[str]:
    """Return the proofs of thought that came back."""
    blocks = [block for turn in body["messages"] for block in _blocks(turn["content"])]
    return [block["signature"] for block in blocks if block["type"] == "thinking"]


def say(outcome: Outcome) -> dict[str, Any]:
    """Return a whole reply."""
    return {
        "id": "msg_up01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [_block(part) for part in outcome.parts],
        "stop_reason": FINISHES[outcome.finish],
        "stop_sequence": None,
        "usage": usage(outcome.counts),
    }


def _block(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Thought(text, seal):
            return {"type": "thinking", "thinking": text, "signature": seal}
        case Call(id, name, arguments):
            return {"type": "tool_use", "id": id, "name": name, "input": arguments}
    raise AssertionError(part)


def usage(counts: Counts) -> dict[str, Any]:
    return {
        "input_tokens": counts.fresh,
        "cache_read_input_tokens": counts.cached,
        "cache_creation_input_tokens": counts.written,
        "output_tokens": counts.output,
        "output_tokens_details": {"thinking_tokens": counts.reasoning},
        "service_tier": "standard",
    }


def stream(outcome: Outcome) -> list[bytes]:
    """Return the frames of a streamed reply."""
    begun = say(outcome) | {"content": [], "stop_reason": None}
    begun["usage"] = usage(outcome.counts) | {"output_tokens": 1}
    frames = [anthropic_event("message_start", message=begun), anthropic_event("ping")]
    for index, part in enumerate(outcome.parts):
        start, deltas = _streamed(part)
        frames.append(anthropic_event("content_block_start", index=index, content_block=start))
        frames += [anthropic_event("content_block_delta", index=index, delta=delta) for delta in deltas]
        frames.append(anthropic_event("content_block_stop", index=index))
    delta = {"stop_reason": FINISHES[outcome.finish], "stop_sequence": None}
    return [
        *frames,
        anthropic_event("message_delta", delta=delta, usage=usage(outcome.counts)),
        anthropic_event("message_stop"),
    ]


def _streamed(part: Part) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return how a block begins, and the pieces of it."""
    match part:
        case Text(text):
            return _block(Text("")), [{"type": "text_delta", "text": piece} for piece in pieces(text)]
        case Thought(text, seal):
            thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(text)]
            return _block(Thought("")), [*thoughts, {"type": "signature_delta", "signature": seal}]
        case Call(id, name, arguments):
            told = pieces(json.dumps(arguments))
            return _block(Call(id, name, {})), [
                {"type": "input_json_delta", "partial_json": one} for one in ["", *told]
            ]
    raise AssertionError(part)
