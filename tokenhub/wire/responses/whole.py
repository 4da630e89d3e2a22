"""A whole response as the events that tell it: for an upstream that answers ``stream: true`` with one (T74)."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tokenhub.wire import sse
from tokenhub.wire.chat.parts import items_of, text_of

_Told = Iterator[tuple[str, dict[str, Any]]]
_EMPTY: Mapping[str, Mapping[str, Any]] = {
    "message": {"content": []},
    "reasoning": {"summary": [], "content": []},
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
}
"""What an item has at its beginning of that which grows."""
_INPUTS = {
    "function_call": ("arguments", "function_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
}
_TEXTS = {"output_text": "text", "reasoning_text": "text", "refusal": "refusal"}


def events_of(response: Mapping[str, Any]) -> bytes:
    """Return the events of a response, with its own items; none of what is no response. One that failed ends so."""
    if not isinstance(response.get("output"), list):
        return b""
    whole = {"object": "response", **response, "status": text_of(response.get("status")) or "completed"}
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    told: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
    ]
    for index, item in enumerate(items_of(response["output"])):
        told += _item(item, index)
    told.append((f"response.{_ENDS.get(whole['status'], 'failed')}", {"response": whole}))
    return b"".join([_event(kind, members, number) for number, (kind, members) in enumerate(told)])


_ENDS = {"completed": "completed", "incomplete": "incomplete"}


def _event(kind: str, members: Mapping[str, Any], number: int) -> bytes:
    return sse.encode(orjson.dumps({"type": kind, **members, "sequence_number": number}), kind)


def _item(item: Mapping[str, Any], index: int) -> _Told:
    kind = str(item.get("type"))
    place = {"item_id": item.get("id"), "output_index": index}
    emptied = {name: value for name, value in _EMPTY.get(kind, {}).items() if name in item}
    begun = {**item, **emptied, **({"status": "in_progress"} if emptied and "status" in item else {})}
    yield "response.output_item.added", {"output_index": index, "item": begun}
    if kind == "reasoning":
        for number, part in enumerate(items_of(item.get("summary"))):
            yield from _summary(part, {**place, "summary_index": number})
    if kind in ("message", "reasoning"):
        for number, part in enumerate(items_of(item.get("content"))):
            yield from _part(part, {**place, "content_index": number})
    if kind in _INPUTS:
        member, name = _INPUTS[kind]
        text = text_of(item.get(member)) or ""
        if text:
            yield f"response.{name}.delta", {**place, "delta": text}
        yield f"response.{name}.done", {**place, "name": item.get("name"), member: text}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _summary(part: Mapping[str, Any], place: Mapping[str, Any]) -> _Told:
    text = text_of(part.get("text")) or ""
    yield "response.reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}
    yield "response.reasoning_summary_text.delta", {**place, "delta": text}
    yield "response.reasoning_summary_text.done", {**place, "text": text}
    yield "response.reasoning_summary_part.done", {**place, "part": part}


def _part(part: Mapping[str, Any], place: Mapping[str, Any]) -> _Told:
    """Tell a part of a message or of reasoning; one of a kind that does not grow begins whole."""
    kind = str(part.get("type"))
    member = _TEXTS.get(kind)
    text = text_of(part.get(member)) if member else None
    if member is None or text is None:
        yield "response.content_part.added", {**place, "part": part}
        yield "response.content_part.done", {**place, "part": part}
        return
    notes = items_of(part.get("annotations"))
    beside = {"logprobs": items_of(part.get("logprobs"))} if kind == "output_text" else {}
    emptied: dict[str, Any] = {name: [] for name in ("annotations", "logprobs") if name in part}
    yield "response.content_part.added", {**place, "part": {**part, member: "", **emptied}}
    yield f"response.{kind}.delta", {**place, "delta": text, **beside}
    for number, note in enumerate(notes):
        yield "response.output_text.annotation.added", {**place, "annotation_index": number, "annotation": note}
    yield f"response.{kind}.done", {**place, member: text, **beside}
    yield "response.content_part.done", {**place, "part": part}
