"""A client of Anthropic's Messages, as its SDK sends and reads (anthropic 2.12)."""

import json
from collections.abc import Iterator
from typing import Any

from tests.dialects.story import (
    Ask,
    Broken,
    Call,
    Conversation,
    Counts,
    Outcome,
    Part,
    Picture,
    Result,
    Text,
    Thought,
    loads,
)

NAME = "messages"
TITLE = "Anthropic Messages"
PATH = "/v1/messages"
ERRORS = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 404: "not_found_error"}
ERRORS |= {502: "api_error", 503: "overloaded_error", 504: "timeout_error"}
"""The type word of an error, by status (platform.claude.com, errors, 2026-11)."""
_ENDS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tools"}
LIMIT = 4000
"""``max_tokens`` where the conversation names none: the field must be there."""


def ask(conversation: Conversation, model: str, key: str, *, stream: bool = False) -> Ask:
    """Return the request for a conversation."""
    turns = [{"role": turn.role, "content": [_block(part) for part in turn.parts]} for turn in conversation.turns]
    body: dict[str, Any] = {"model": model, "max_tokens": conversation.limit or LIMIT, "messages": turns}
    body["thinking"] = {"type": "adaptive"}
    if conversation.system:
        body["system"] = conversation.system
    if conversation.tools:
        body["tools"] = [
            {"name": one.name, "description": one.description, "input_schema": one.parameters}
            for one in conversation.tools
        ]
    if stream:
        body["stream"] = True
    return Ask(PATH, body, {"x-api-key": key, "anthropic-version": "2023-06-01"}, stream)


def _block(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Picture(data, media_type):
            return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
        case Call(id, name, arguments):
            return {"type": "tool_use", "id": id, "name": name, "input": arguments}
        case Result(id, text):
            return {"type": "tool_result", "tool_use_id": id, "content": text}
        case Thought(text, seal):
            return {"type": "thinking", "thinking": text, "signature": seal}


def goes_on(asked: Ask, reply: dict[str, Any], results: list[Result]) -> Ask:
    """Return the next request: the reply is given back as it came, with what the tools answered."""
    told = {"role": "user", "content": [_block(one) for one in results]}
    messages = [*asked.body["messages"], {"role": "assistant", "content": reply["content"]}, told]
    return Ask(asked.path, {**asked.body, "messages": messages}, asked.headers, asked.stream)


def events(body: bytes) -> Iterator[dict[str, Any]]:
    """Return the events of a stream; each must be named, the SDKs drop those that are not."""
    for frame in body.decode().split("\n\n"):
        lines = [line for line in frame.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        assert lines[0].startswith("event: "), frame
        assert lines[1].startswith("data: "), frame
        event = json.loads(lines[1][6:])
        assert event["type"] == lines[0][7:], frame
        yield event


def from_stream(body: bytes) -> dict[str, Any]:
    """Put a stream together as the SDK does it; raises Broken for one that ends with an error."""
    message: dict[str, Any] = {}
    joined: dict[int, str] = {}
    open_index: int | None = None
    ended = False
    for event in events(body):
        assert not ended, "nothing follows message_stop"
        match event["type"]:
            case "message_start":
                assert not message
                message = event["message"]
                assert message["content"] == []
                assert message["usage"].keys() >= {"input_tokens", "output_tokens"}
                assert message["stop_reason"] is None
            case "content_block_start":
                assert open_index is None, "one block at a time"
                open_index = event["index"]
                assert open_index == len(message["content"])
                message["content"].append(event["content_block"])
            case "content_block_delta":
                assert event["index"] == open_index
                _add(message["content"][open_index], event["delta"], joined, event["index"])
            case "content_block_stop":
                assert event["index"] == open_index
                open_index = None
            case "message_delta":
                assert open_index is None
                message |= event["delta"]
                message["usage"] |= event["usage"]
            case "message_stop":
                assert message["stop_reason"]
                ended = True
            case "error":
                raise Broken(event["error"], "".join(block.get("text", "") for block in message.get("content", ())))
            case kind:
                assert kind == "ping", event
    assert ended, "a stream ends with message_stop"
    for index, text in joined.items():
        message["content"][index]["input"] = loads(text)
    return message


def _add(block: dict[str, Any], delta: dict[str, Any], joined: dict[int, str], index: int) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            joined[index] = joined.get(index, "") + delta["partial_json"]
        case kind:
            raise AssertionError(kind)


def hear(reply: dict[str, Any]) -> Outcome:
    """Return what a whole reply says."""
    assert (reply["type"], reply["role"]) == ("message", "assistant")
    assert reply["id"]
    assert reply["model"]
    parts: list[Part] = []
    for block in reply["content"]:
        match block["type"]:
            case "text":
                parts.append(Text(block["text"]))
            case "thinking":
                parts.append(Thought(block["thinking"], block.get("signature") or ""))
            case "tool_use":
                parts.append(Call(block["id"], block["name"], block["input"]))
            case kind:
                assert kind == "redacted_thinking"
    return Outcome(tuple(parts), _ENDS[reply["stop_reason"]], counts(reply["usage"]))


def counts(usage: dict[str, Any]) -> Counts:
    details = usage.get("output_tokens_details") or {}
    return Counts(
        usage["input_tokens"],
        usage.get("cache_read_input_tokens") or 0,
        usage.get("cache_creation_input_tokens") or 0,
        usage["output_tokens"],
        details.get("thinking_tokens") or 0,
    )


def bill(reply: dict[str, Any]) -> dict[str, Any]:
    """Return the usage object, in which the cost stands."""
    return dict(reply["usage"])


def error(body: dict[str, Any]) -> tuple[str, str]:
    """Return the type word and the message of an error body."""
    assert body["type"] == "error"
    assert body["request_id"]
    return body["error"]["type"], body["error"]["message"]
