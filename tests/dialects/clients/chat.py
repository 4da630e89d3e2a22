"""A client of OpenAI's chat completions, as its SDK sends and reads (openai 3.54)."""

import json
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
from tests.fakes.assembler import assemble

NAME = "chat"
TITLE = "OpenAI Chat Completions"
PATH = "/v1/chat/completions"
ERRORS = {400: "invalid_request_error", 401: "authentication_error", 402: "insufficient_credits"}
ERRORS |= {404: "model_not_found", 502: "upstream_error", 503: "no_provider_available", 504: "upstream_timeout"}
"""The type word of an error, by status."""
_ENDS = {"stop": "stop", "length": "length", "tool_calls": "tools"}


def ask(conversation: Conversation, model: str, key: str, *, stream: bool = False) -> Ask:
    """Return the request for a conversation."""
    body: dict[str, Any] = {"model": model, "messages": [message for turn in _turns(conversation) for message in turn]}
    if conversation.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": one.name, "description": one.description, "parameters": one.parameters},
            }
            for one in conversation.tools
        ]
    if conversation.limit is not None:
        body["max_completion_tokens"] = conversation.limit
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return Ask(PATH, body, {"Authorization": f"Bearer {key}"}, stream)


def _turns(conversation: Conversation) -> list[list[dict[str, Any]]]:
    first = [{"role": "system", "content": conversation.system}] if conversation.system else []
    return [first, *map(_messages, conversation.turns)]


def _messages(turn: Turn) -> list[dict[str, Any]]:
    if turn.role == "assistant":
        return [_assistant(turn.parts)]
    results = [
        {"role": "tool", "tool_call_id": part.id, "content": part.text}
        for part in turn.parts
        if isinstance(part, Result)
    ]
    said = [_content(part) for part in turn.parts if isinstance(part, Text | Picture)]
    if len(said) == 1 and said[0]["type"] == "text":
        return [*results, {"role": "user", "content": said[0]["text"]}]
    return [*results, {"role": "user", "content": said}] if said else results


def _content(part: Text | Picture) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{part.data}"}}


def _assistant(parts: tuple[Part, ...]) -> dict[str, Any]:
    text = "".join(part.text for part in parts if isinstance(part, Text))
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    calls = [part for part in parts if isinstance(part, Call)]
    if calls:
        message["tool_calls"] = [
            {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": json.dumps(one.arguments)}}
            for one in calls
        ]
    return message


def goes_on(asked: Ask, reply: dict[str, Any], results: list[Result]) -> Ask:
    """Return the next request: the reply is given back as it came, with what the tools answered."""
    told = [{"role": "tool", "tool_call_id": one.id, "content": one.text} for one in results]
    messages = [*asked.body["messages"], reply["choices"][0]["message"], *told]
    return Ask(asked.path, {**asked.body, "messages": messages}, asked.headers, asked.stream)


def from_stream(body: bytes) -> dict[str, Any]:
    """Put a stream together as the SDK's helper does it; raises Broken for one that ends with an error."""
    made = assemble(body)
    if made.errors:
        assert not made.done, "a stream that failed has no [DONE]"
        raise Broken(made.errors[0], made.first.text)
    assert made.done, "a stream ends with [DONE]"
    assert body.count(b"[DONE]") == 1
    first = made.chunks[0]
    assert first["choices"][0]["delta"].get("role") == "assistant", first
    assert len({(one["id"], one["object"], one["model"]) for one in made.chunks}) == 1
    assert made.usages == 1
    assert made.chunks[-1]["choices"] == []
    message = _gathered([choice["delta"] for one in made.chunks for choice in one["choices"]])
    finish = made.first.finish
    return {**first, "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": made.usage}


def _gathered(deltas: list[dict[str, Any]]) -> dict[str, Any]:
    """Join deltas by the rule of OpenAI's helpers: texts are joined, lists gathered by index, objects merged."""
    message: dict[str, Any] = {}
    for delta in deltas:
        _merge(message, delta)
    for call in message.get("tool_calls", ()):
        call.pop("index")
    return message


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        known = into.get(name)
        if known is None or name in ("index", "type", "id", "role", "signature"):
            into[name] = _copied(value)
        elif isinstance(known, str) and isinstance(value, str):
            into[name] = known + value
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            _merge_lists(known, value)


def _merge_lists(known: list[Any], more: list[Any]) -> None:
    for one in more:
        place = next((old for old in known if isinstance(one, dict) and "index" in one and old["index"] == one["index"]), None)  # fmt: skip
        if place is None:
            known.append(_copied(one))
        else:
            _merge(place, one)


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


def hear(reply: dict[str, Any]) -> Outcome:
    """Return what a whole reply says."""
    assert reply["id"]
    assert reply["choices"][0]["index"] == 0
    message = reply["choices"][0]["message"]
    assert message["role"] == "assistant"
    parts: list[Part] = []
    if message.get("reasoning_content"):
        parts.append(Thought(message["reasoning_content"]))
    if message.get("content"):
        parts.append(Text(message["content"]))
    for call in message.get("tool_calls") or ():
        assert call["type"] == "function"
        function = call["function"]
        parts.append(Call(call["id"], function["name"], loads(function["arguments"])))
    return Outcome(tuple(parts), _ENDS[reply["choices"][0]["finish_reason"]], counts(reply["usage"]))


def counts(usage: dict[str, Any]) -> Counts:
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    return Counts(
        usage["prompt_tokens"] - cached,
        cached,
        output=usage["completion_tokens"],
        reasoning=usage["completion_tokens_details"]["reasoning_tokens"],
    )


def bill(reply: dict[str, Any]) -> dict[str, Any]:
    """Return the usage object, in which the cost stands."""
    return dict(reply["usage"])


def error(body: dict[str, Any]) -> tuple[str, str]:
    """Return the type word and the message of an error body."""
    assert body["error"].keys() >= {"message", "type", "param", "code"}
    return body["error"]["type"], body["error"]["message"]
