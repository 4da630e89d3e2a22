"""Responses as OpenAI makes them, written by hand: whole, and as a stream of events."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "So."}],
    "encrypted_content": "gAAA==",
}
TEXT = {"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}
MESSAGE = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [TEXT]}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"a":1}',
}
CUSTOM = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "*** Begin"}
REFUSAL = {**MESSAGE, "content": [{"type": "refusal", "refusal": "No."}]}
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
    "output_tokens": 40,
    "output_tokens_details": {"reasoning_tokens": 25},
    "total_tokens": 140,
}


def response(*output: Mapping[str, Any], status: str = "completed", **members: Any) -> dict[str, Any]:
    """A whole response."""
    told = {"id": "resp_1", "object": "response", "created_at": 1_800_000_000, "model": "gpt-6", "status": status}
    return {**told, "error": None, "incomplete_details": None, "output": list(output), "usage": USAGE, **members}


def stream(whole: Mapping[str, Any], size: int = 4) -> bytes:
    """The same response as a stream, texts in pieces of ``size`` characters."""
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    told = [("response.created", {"response": begun}), ("response.in_progress", {"response": begun})]
    for index, item in enumerate(whole["output"]):
        told += _item(index, item, size)
    told.append((f"response.{whole['status']}", {"response": whole}))
    return b"".join(frame({"type": kind, **members, "sequence_number": n}) for n, (kind, members) in enumerate(told))


def frame(event: Mapping[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _item(index: int, item: Mapping[str, Any], size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    empty = {"message": {"content": []}, "function_call": {"arguments": ""}, "custom_tool_call": {"input": ""}}
    place = {"item_id": item["id"], "output_index": index}
    kind = item["type"]
    begun = {**item, **empty.get(kind, {"summary": [], "encrypted_content": "gA"})}
    yield "response.output_item.added", {"output_index": index, "item": begun}
    for number, part in enumerate(item["summary"] if kind == "reasoning" else ()):
        here = {**place, "summary_index": number}
        yield "response.reasoning_summary_part.added", {**here, "part": {"type": "summary_text", "text": ""}}
        for piece in _pieces(part["text"], size):
            yield "response.reasoning_summary_text.delta", {**here, "delta": piece}
        yield "response.reasoning_summary_text.done", {**here, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**here, "part": part}
    for number, part in enumerate(item["content"] if kind == "message" else ()):
        here, name = {**place, "content_index": number}, "refusal" if part["type"] == "refusal" else "text"
        yield "response.content_part.added", {**here, "part": {**part, name: ""}}
        for piece in _pieces(part[name], size):
            yield f"response.{part['type']}.delta", {**here, "delta": piece, "logprobs": []}
        yield f"response.{part['type']}.done", {**here, name: part[name]}
        yield "response.content_part.done", {**here, "part": part}
    member = {"function_call": "arguments", "custom_tool_call": "input"}.get(kind)
    if member:
        event = "function_call_arguments" if member == "arguments" else "custom_tool_call_input"
        for piece in _pieces(item[member], size):
            yield f"response.{event}.delta", {**place, "delta": piece}
        yield f"response.{event}.done", {**place, member: item[member]}
    yield "response.output_item.done", {"output_index": index, "item": item}
