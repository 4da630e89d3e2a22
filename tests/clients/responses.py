"""OpenAI's Responses as a scripted upstream speaks it, Codex's tools included."""

import json
from typing import Any

from tests.clients.brain import Ask, Say, think
from tests.clients.words import CUT, halves, text_of
from tests.fakes.upstream import Cut, Reply, json_reply, sse, sse_reply


def reply(body: dict[str, Any]) -> Reply:
    """Answer a request."""
    ask = ask_of(body)
    say = think(ask)
    items = _items(say, _offered(body))
    whole = _response(body, items, "completed")
    if not body.get("stream"):
        return json_reply(whole)
    events: list[dict[str, Any]] = [
        {"type": name, "response": _response(body, [], "in_progress")}
        for name in ("response.created", "response.in_progress")
    ]
    if CUT in ask.prompt:
        begun = _item_events(_items(Say("Half"), {})[0], 0)[:3]
        return sse_reply([*(_numbered(n, one) for n, one in enumerate([*events, *begun])), Cut()])
    for n, item in enumerate(items):
        events += _item_events(item, n)
    events.append({"type": "response.completed", "response": whole})
    return sse_reply([_numbered(n, event) for n, event in enumerate(events)])


def _numbered(number: int, event: dict[str, Any]) -> bytes:
    return sse({**event, "sequence_number": number}, event["type"])


def _items(say: Say, offered: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    if say.calls:
        return [_call(n, name, arguments, offered[name]) for n, (name, arguments) in enumerate(say.calls)]
    part = {"type": "output_text", "text": say.text, "annotations": [], "logprobs": []}
    return [{"type": "message", "id": "msg_0", "role": "assistant", "status": "completed", "content": [part]}]


def _call(number: int, name: str, arguments: dict[str, Any], tool: dict[str, Any]) -> dict[str, Any]:
    item = {"id": f"fc_{number}", "call_id": f"call_{number}", "name": name, "status": "completed"}
    if tool.get("namespace"):
        item["namespace"] = tool["namespace"]
    if tool["type"] == "custom":
        return {**item, "type": "custom_tool_call", "input": arguments["input"]}
    return {**item, "type": "function_call", "arguments": json.dumps(arguments)}


def _offered(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every tool by its name; Codex nests them in namespaces, and puts them into an item of the input for models that it knows."""
    listed = [*(body.get("tools") or ())]
    if isinstance(body["input"], list):
        listed += [tool for item in body["input"] if item.get("type") == "additional_tools" for tool in item["tools"]]
    found = {}
    for tool in listed:
        if tool["type"] == "namespace":
            found.update({one["name"]: {**one, "namespace": tool["name"]} for one in tool["tools"]})
        elif "name" in tool:
            found[tool["name"]] = tool
    return found


def _item_events(item: dict[str, Any], at: int) -> list[dict[str, Any]]:
    """The events of one output item."""
    field = next(name for name in ("content", "arguments", "input") if name in item)
    empty = {**item, "status": "in_progress", field: [] if field == "content" else ""}
    place = {"item_id": item["id"], "output_index": at}
    middle: list[dict[str, Any]] = []
    if item["type"] == "custom_tool_call":
        middle = [
            {"type": "response.custom_tool_call_input.delta", **place, "delta": item["input"]},
            {"type": "response.custom_tool_call_input.done", **place, "input": item["input"]},
        ]
    elif item["type"] == "function_call":
        middle = [
            *({"type": "response.function_call_arguments.delta", **place, "delta": half} for half in halves(item["arguments"])),
            {"type": "response.function_call_arguments.done", **place, "name": item["name"], "arguments": item["arguments"]},
        ]  # fmt: skip
    else:
        part, place = item["content"][0], {**place, "content_index": 0}
        middle = [
            {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
            *({"type": "response.output_text.delta", **place, "delta": half, "logprobs": []} for half in halves(part["text"])),
            {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
            {"type": "response.content_part.done", **place, "part": part},
        ]  # fmt: skip
    added = {"type": "response.output_item.added", "output_index": at, "item": empty}
    return [added, *middle, {"type": "response.output_item.done", "output_index": at, "item": item}]


def _response(body: dict[str, Any], output: list[dict[str, Any]], status: str) -> dict[str, Any]:
    usage = {
        "input_tokens": 9, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 12,
    }  # fmt: skip
    return {
        "id": "resp_fake01", "object": "response", "created_at": 1763800000, "status": status, "model": body["model"],
        "background": False, "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "output": output, "parallel_tool_calls": True, "previous_response_id": None, "reasoning": {"effort": None, "summary": None},
        "store": False, "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "truncation": "disabled", "usage": usage if status == "completed" else None, "user": None,
    }  # fmt: skip


def ask_of(body: dict[str, Any]) -> Ask:
    """Read a request as the model does."""
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    spoken = max((n for n, one in enumerate(items) if one.get("role") == "user"), default=0)
    choice = body.get("tool_choice")
    return Ask(
        prompt=text_of(items[spoken]["content"]),
        everything="\n".join([body.get("instructions") or "", *(text_of(one.get("content")) for one in items)]),
        tools={name: one.get("parameters") or {} for name, one in _offered(body).items()},
        results=tuple(text_of(one["output"]) for one in items[spoken:] if str(one.get("type")).endswith("call_output")),
        must_call=choice == "required",
        forced=choice.get("name", "") if isinstance(choice, dict) else "",
        schema=((body.get("text") or {}).get("format") or {}).get("schema"),
    )
