"""A provider that speaks OpenAI's Responses: reads what it is asked, answers, streams and fails in that dialect."""

import itertools
import json
from collections.abc import Iterator
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
    loads,
    pieces,
)
from tests.fakes.upstream import openai_error, sse

NAME = "responses"
TITLE = "OpenAI Responses"
PROVIDER, MODEL = "openai", "gpt-5.6-sol"

REFUSALS: dict[str, tuple[int, Any]] = {
    "key refused": (401, openai_error("Canary: wrong key", "invalid_request_error", "invalid_api_key")),
    "throttled": (429, openai_error("Canary: slow down", "requests", "rate_limit_exceeded")),
    "broken": (500, openai_error("Canary: oops", "server_error", "server_error")),
    "bad request": (400, openai_error("top_p is odd", "invalid_request_error", param="top_p")),
    "too long": (400, openai_error("Your input exceeds the context window", code="context_length_exceeded")),
}
_ERROR = {"code": "server_error", "message": "Canary: died", "param": None}
BREAKS = [sse({"type": "error", "sequence_number": 99, **_ERROR}, event="error")]
"""What a stream says when it fails in the middle."""


def takes(path: str) -> bool:
    return path.endswith("/responses")


def asked(_path: str, body: dict[str, Any]) -> Conversation:
    """Return the conversation that a request holds; nothing may be stored at the provider."""
    assert body["store"] is False
    system, turns = body.get("instructions") or "", []
    for item in body["input"] if isinstance(body["input"], list) else [{"role": "user", "content": body["input"]}]:
        match item.get("type", "message"):
            case "function_call":
                turns.append(Turn("assistant", (Call(item["call_id"], item["name"], loads(item["arguments"])),)))
            case "function_call_output":
                turns.append(Turn("user", (Result(item["call_id"], _text(item["output"])),)))
            case "reasoning":
                turns.append(Turn("assistant", (Thought("", item.get("encrypted_content") or ""),)))
            case "message" if item["role"] in ("system", "developer"):
                system += _text(item["content"])
            case kind:
                assert kind == "message"
                turns.append(Turn(item["role"], _parts(item["content"])))
    tools = tuple(Tool(one["name"], one["description"], one["parameters"]) for one in body.get("tools") or ())
    assert all(one["strict"] is False for one in body.get("tools") or ()), "strict is true where it is not said"
    return Conversation(joined(turns), system, tools, body.get("max_output_tokens"))


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _parts(content: Any) -> tuple[Part, ...]:
    return (Text(content),) if isinstance(content, str) else tuple(map(_part, content))


def _part(part: dict[str, Any]) -> Part:
    if part["type"] == "input_image":
        head, _, data = part["image_url"].partition(";base64,")
        return Picture(data, head.removeprefix("data:"))
    assert part["type"] in ("input_text", "output_text")
    return Text(part["text"])


def seals(body: dict[str, Any]) -> list[str]:
    """Return the proofs of thought that came back."""
    return [item["encrypted_content"] for item in body["input"] if item.get("type") == "reasoning"]


def say(outcome: Outcome) -> dict[str, Any]:
    """Return a whole reply."""
    short = outcome.finish == "length"
    return {
        "id": "resp_up01",
        "object": "response",
        "created_at": 1767603600,
        "status": "incomplete" if short else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if short else None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": "gpt-5.6-sol-2026-08-01",
        "output": [_item(index, part) for index, part in enumerate(outcome.parts)],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage(outcome.counts),
        "user": None,
    }


def _item(index: int, part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
            return {"id": f"msg_{index}", "type": "message", "status": "completed", "role": "assistant", "content": content}  # fmt: skip
        case Thought(text, seal):
            summary = [{"type": "summary_text", "text": text}] if text else []
            return {"id": f"rs_{index}", "type": "reasoning", "summary": summary, "encrypted_content": seal}
        case Call(id, name, arguments):
            return {
                "id": f"fc_{index}",
                "type": "function_call",
                "status": "completed",
                "call_id": id,
                "name": name,
                "arguments": json.dumps(arguments),
            }
    raise AssertionError(part)


def usage(counts: Counts) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cached},
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.prompt + counts.output,
    }


def stream(outcome: Outcome) -> list[bytes]:
    """Return the frames of a streamed reply."""
    whole = say(outcome)
    begun = whole | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    events = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    for index, part in enumerate(outcome.parts):
        events += _streamed(index, part, whole["output"][index])
    last = "response.incomplete" if outcome.finish == "length" else "response.completed"
    numbers = itertools.count()
    return [
        sse({"type": one["type"], "sequence_number": next(numbers), **one}, event=one["type"])
        for one in [*events, {"type": last, "response": whole}]
    ]


def _streamed(index: int, part: Part, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the events of one item."""
    place = {"item_id": item["id"], "output_index": index}
    open_item = item | ({} if item["type"] == "reasoning" else {"status": "in_progress"})
    match part:
        case Text(text):
            empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            here = {**place, "content_index": 0}
            yield {"type": "response.output_item.added", "output_index": index, "item": open_item | {"content": []}}
            yield {"type": "response.content_part.added", **here, "part": empty}
            for piece in pieces(text):
                yield {"type": "response.output_text.delta", **here, "delta": piece, "logprobs": []}
            yield {"type": "response.output_text.done", **here, "text": text, "logprobs": []}
            yield {"type": "response.content_part.done", **here, "part": item["content"][0]}
        case Thought(text, _):
            here = {**place, "summary_index": 0}
            yield {"type": "response.output_item.added", "output_index": index, "item": open_item | {"summary": [], "encrypted_content": "begun"}}  # fmt: skip
            if text:
                yield {"type": "response.reasoning_summary_part.added", **here, "part": {"type": "summary_text", "text": ""}}  # fmt: skip
                for piece in pieces(text):
                    yield {"type": "response.reasoning_summary_text.delta", **here, "delta": piece}
                yield {"type": "response.reasoning_summary_text.done", **here, "text": text}
                yield {"type": "response.reasoning_summary_part.done", **here, "part": item["summary"][0]}
        case Call(_, _, arguments):
            told = json.dumps(arguments)
            yield {"type": "response.output_item.added", "output_index": index, "item": open_item | {"arguments": ""}}
            for piece in pieces(told):
                yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
            yield {"type": "response.function_call_arguments.done", **place, "arguments": told, "name": part.name}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}
