"""A client of OpenAI's Responses, as its SDK sends and reads (openai 3.54), and as Codex needs it."""

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
    Turn,
    loads,
)

NAME = "responses"
TITLE = "OpenAI Responses"
PATH = "/v1/responses"
ERRORS = {400: "invalid_request_error", 401: "authentication_error", 402: "insufficient_credits"}
ERRORS |= {404: "model_not_found", 502: "upstream_error", 503: "no_provider_available", 504: "upstream_timeout"}
"""The type word of an error, by status."""


def ask(conversation: Conversation, model: str, key: str, *, stream: bool = False) -> Ask:
    """Return the request for a conversation."""
    body: dict[str, Any] = {"model": model, "input": [item for turn in conversation.turns for item in _items(turn)]}
    body |= {"store": False, "include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}}
    if conversation.system:
        body["instructions"] = conversation.system
    if conversation.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": one.name,
                "description": one.description,
                "parameters": one.parameters,
                "strict": False,
            }
            for one in conversation.tools
        ]
    if conversation.limit is not None:
        body["max_output_tokens"] = conversation.limit
    if stream:
        body["stream"] = True
    return Ask(PATH, body, {"Authorization": f"Bearer {key}"}, stream)


def _items(turn: Turn) -> list[dict[str, Any]]:
    """Return a turn as input items: content of one message stands together, calls and results are items of their own."""
    items: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    for part in turn.parts:
        match part:
            case Text(text):
                kind = "output_text" if turn.role == "assistant" else "input_text"
                content.append({"type": kind, "text": text})
            case Picture(data, media_type):
                content.append({"type": "input_image", "image_url": f"data:{media_type};base64,{data}"})
            case Call(id, name, arguments):
                items.append({"type": "function_call", "call_id": id, "name": name, "arguments": json.dumps(arguments)})
            case Result():
                items.append(_result(part))
            case Thought():
                pass  # a client has none that did not come in a reply
    said = [{"type": "message", "role": turn.role, "content": content}] if content else []
    return [*said, *items] if turn.role == "assistant" else [*items, *said]


def _result(result: Result) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": result.id, "output": result.text}


def goes_on(asked: Ask, reply: dict[str, Any], results: list[Result]) -> Ask:
    """Return the next request: the items of the reply are given back as they came, with what the tools answered."""
    items = [*asked.body["input"], *reply["output"], *map(_result, results)]
    return Ask(asked.path, {**asked.body, "input": items}, asked.headers, asked.stream)


def events(body: bytes) -> Iterator[dict[str, Any]]:
    """Return the events of a stream; they are numbered from 0 on, without a gap."""
    numbers = []
    for frame in body.decode().split("\n\n"):
        for line in frame.split("\n"):
            if line.startswith("data: ") and line != "data: [DONE]":
                event = json.loads(line[6:])
                assert f"event: {event['type']}\n" in frame, frame
                numbers.append(event.get("sequence_number"))
                yield event
    assert numbers == list(range(len(numbers)))


def from_stream(body: bytes) -> dict[str, Any]:
    """Put a stream together by its items and check it against its last event; raises Broken for one that failed."""
    items: dict[int, dict[str, Any]] = {}
    last: dict[str, Any] = {}
    for number, event in enumerate(events(body)):
        kind = event["type"]
        assert not last, "nothing follows the end"
        if kind in ("error", "response.failed"):
            raise Broken(event.get("response", event).get("error") or event, _text_of(items))
        assert (number == 0) == (kind == "response.created")
        if kind in ("response.completed", "response.incomplete"):
            last = event["response"]
        elif kind.startswith("response.output_item."):
            _item(items, event)
        elif "item_id" in event:
            _part(items[event["output_index"]], event)
    assert last, "a stream ends with response.completed or response.incomplete"
    made = [items[index] for index in sorted(items)]
    assert [one["type"] for one in last["output"]] == [one["type"] for one in made]
    assert last["output"] == [one["done"] for one in made]
    for one in made:
        _agree(one)
    return last


def _item(items: dict[int, dict[str, Any]], event: dict[str, Any]) -> None:
    if event["type"].endswith("added"):
        assert event["output_index"] == len(items)
        items[event["output_index"]] = {**event["item"], "parts": {}, "arguments_so_far": ""}
    else:
        items[event["output_index"]]["done"] = event["item"]


def _part(item: dict[str, Any], event: dict[str, Any]) -> None:
    """Take an event of an item; its parts must have been added before anything is said of them."""
    assert event["item_id"] == item["id"]
    kind = event["type"]
    index = event.get("content_index", event.get("summary_index"))
    if kind.endswith("_part.added"):
        assert index == len(item["parts"])
        item["parts"][index] = ""
    elif kind == "response.function_call_arguments.delta":
        item["arguments_so_far"] += event["delta"]
    elif kind == "response.function_call_arguments.done":
        assert event["arguments"] == item["arguments_so_far"]
    elif kind.endswith("_text.delta"):
        if kind == "response.reasoning_text.delta":
            item["parts"].setdefault(index, "")
        item["parts"][index] += event["delta"]
    elif kind.endswith("_text.done"):
        assert event["text"] == item["parts"][index]


def _agree(item: dict[str, Any]) -> None:
    """An item at its end is what its pieces came to."""
    done = item["done"]
    assert done["id"] == item["id"]
    if done["type"] == "function_call":
        assert done["arguments"] == item["arguments_so_far"]
    else:
        parts = [*(done.get("summary") or ()), *(done.get("content") or ())]
        assert [part["text"] for part in parts] == [item["parts"][index] for index in sorted(item["parts"])]


def _text_of(items: dict[int, dict[str, Any]]) -> str:
    said = [one for one in items.values() if one["type"] == "message"]
    return "".join(text for one in said for text in one["parts"].values())


def hear(reply: dict[str, Any]) -> Outcome:
    """Return what a whole reply says."""
    assert reply["object"] == "response"
    assert reply["id"]
    assert reply["created_at"]
    parts: list[Part] = []
    for item in reply["output"]:
        match item["type"]:
            case "message":
                assert item["role"] == "assistant"
                parts += [Text(one["text"]) for one in item["content"] if one["text"]]
            case "reasoning":
                shown = [*(item.get("summary") or ()), *(item.get("content") or ())]
                seal = item.get("encrypted_content") or ""
                parts.append(Thought("".join(one["text"] for one in shown), seal))
            case kind:
                assert kind == "function_call"
                assert item["id"]
                parts.append(Call(item["call_id"], item["name"], loads(item["arguments"])))
    return Outcome(tuple(parts), _finish(reply), counts(reply["usage"]))


def _finish(reply: dict[str, Any]) -> str:
    if reply["status"] == "incomplete":
        assert reply["incomplete_details"]["reason"] == "max_output_tokens"
        return "length"
    assert reply["status"] == "completed"
    return "tools" if any(item["type"] == "function_call" for item in reply["output"]) else "stop"


def counts(usage: dict[str, Any]) -> Counts:
    cached = usage["input_tokens_details"]["cached_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    return Counts(
        usage["input_tokens"] - cached,
        cached,
        output=usage["output_tokens"],
        reasoning=usage["output_tokens_details"]["reasoning_tokens"],
    )


def bill(reply: dict[str, Any]) -> dict[str, Any]:
    """Return the usage object, in which the cost stands."""
    return dict(reply["usage"])


def error(body: dict[str, Any]) -> tuple[str, str]:
    """Return the type word and the message of an error body."""
    assert body["error"].keys() >= {"message", "type", "param", "code"}
    return body["error"]["type"], body["error"]["message"]
