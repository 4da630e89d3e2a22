"""A provider that speaks OpenAI's chat completions: reads what it is asked, answers, streams and fails in that dialect."""

import json
from typing import Any

from tests.dialects.story import (
    Call,
    Conversation,
    Counts,
    Outcome,
    Picture,
    Result,
    Text,
    Tool,
    Turn,
    joined,
    loads,
    pieces,
)
from tests.fakes.upstream import DONE, openai_error, sse

NAME = "chat"
TITLE = "OpenAI Chat Completions"
PROVIDER, MODEL = "plain", "plain-chat"
FINISHES = {"stop": "stop", "length": "length", "tools": "tool_calls"}
HEAD = {"id": "chatcmpl-up01", "created": 1767603600, "model": "plain-1"}

REFUSALS: dict[str, tuple[int, Any]] = {
    "key refused": (401, openai_error("Canary: wrong key", "authentication_error", "invalid_api_key")),
    "throttled": (429, openai_error("Canary: slow down", "rate_limit_error", "rate_limit_exceeded")),
    "broken": (500, openai_error("Canary: oops", "server_error")),
    "bad request": (400, openai_error("top_p is odd", "invalid_request_error", param="top_p")),
    "too long": (400, openai_error("maximum context length", code="context_length_exceeded")),
}
BREAKS = [sse({"error": {"message": "Canary: died", "type": "server_error", "code": None, "param": None}})]
"""What a stream says when it fails in the middle."""


def takes(path: str) -> bool:
    return path.endswith("/chat/completions")


def asked(_path: str, body: dict[str, Any]) -> Conversation:
    """Return the conversation that a request holds."""
    system, turns, result = "", [], False
    for message in body["messages"]:
        match message["role"]:
            case "system" | "developer":
                system += _text(message["content"])
            case "assistant":
                turns.append(Turn("assistant", (*_parts(message.get("content")), *_calls(message))))
            case "tool":
                turns.append(Turn("user", (Result(message["tool_call_id"], _text(message["content"])),)))
            case role:
                assert role == "user"
                assert turns or not result
                turns.append(Turn("user", _parts(message["content"])))
    tools = tuple(_tool(one) for one in body.get("tools") or ())
    return Conversation(joined(turns), system, tools, body.get("max_completion_tokens") or body.get("max_tokens"))


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _parts(content: Any) -> tuple[Text | Picture, ...]:
    if not content:
        return ()
    if isinstance(content, str):
        return (Text(content),)
    return tuple(_part(one) for one in content)


def _part(part: dict[str, Any]) -> Text | Picture:
    if part["type"] == "text":
        return Text(part["text"])
    head, _, data = part["image_url"]["url"].partition(";base64,")
    return Picture(data, head.removeprefix("data:"))


def _calls(message: dict[str, Any]) -> tuple[Call, ...]:
    calls = message.get("tool_calls") or ()
    return tuple(Call(one["id"], one["function"]["name"], loads(one["function"]["arguments"])) for one in calls)


def _tool(tool: dict[str, Any]) -> Tool:
    function = tool["function"]
    return Tool(function["name"], function["description"], function["parameters"])


def seals(_body: dict[str, Any]) -> list[str]:
    """The dialect has no proofs of thought."""
    return []


def say(outcome: Outcome) -> dict[str, Any]:
    """Return a whole reply."""
    message: dict[str, Any] = {"role": "assistant", "content": outcome.text or None, "refusal": None}
    if outcome.thought:
        message["reasoning_content"] = outcome.thought
    if outcome.calls:
        message["tool_calls"] = [
            {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": json.dumps(one.arguments)}}
            for one in outcome.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISHES[outcome.finish]}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": usage(outcome.counts)}


def usage(counts: Counts) -> dict[str, Any]:
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.output,
        "total_tokens": counts.prompt + counts.output,
        "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning, "audio_tokens": 0},
    }


def stream(outcome: Outcome) -> list[bytes]:
    """Return the frames of a streamed reply."""
    frames = [_chunk({"role": "assistant", "content": ""})]
    frames += [_chunk({"reasoning_content": piece}) for piece in pieces(outcome.thought)]
    frames += [_chunk({"content": piece}) for piece in pieces(outcome.text)]
    for index, call in enumerate(outcome.calls):
        function = {"name": call.name, "arguments": ""}
        frames.append(
            _chunk({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]})
        )
        frames += [
            _chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            for piece in pieces(json.dumps(call.arguments))
        ]
    frames.append(_chunk({}, FINISHES[outcome.finish]))
    last = {**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": usage(outcome.counts)}
    return [*frames, sse(last), DONE]


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return sse({**HEAD, "object": "chat.completion.chunk", "choices": [choice], "usage": None})
