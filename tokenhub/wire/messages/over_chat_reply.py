"""A chat completion as an Anthropic message: what Messages clients get of other upstreams' whole replies."""

import random
from collections.abc import Mapping
from typing import Any

from tokenhub.usage import Usage
from tokenhub.wire import json_text, opaque
from tokenhub.wire.chat.parts import blocks_of, calls_of, choices_of, text_of
from tokenhub.wire.messages import carry as messages_carry
from tokenhub.wire.messages.carry import Block
from tokenhub.wire.messages.tool_ids import NewIds

STOP_REASONS: Mapping[str, str] = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""OpenAI's ends in Anthropic's words; every other is ``end_turn``."""


def message_of(body: Mapping[str, Any], *, shows_thinking: bool, ids: NewIds) -> dict[str, Any]:
    """Return the message of a chat completion, but for its usage.

    ``shows_thinking``: the client asked for thinking blocks; else it gets the reasoning only where
    a tool loop needs it back, sealed.
    """
    choice = next(iter(choices_of(body)), {})
    message = choice.get("message")
    content = _content(message if isinstance(message, dict) else {}, shows_thinking, ids)
    calls = any(block["type"] == "tool_use" for block in content)
    refused = isinstance(message, dict) and bool(message.get("refusal"))
    return {
        "id": text_of(body.get("id")) or own_id(),
        "type": "message",
        "role": "assistant",
        "model": text_of(body.get("model")) or "",
        "content": content,
        "stop_reason": stop_reason(choice.get("finish_reason"), calls_tool=calls, refused=refused),
        "stop_sequence": None,
    }


def own_id() -> str:
    """Return an id for a message whose upstream gave none."""
    return f"msg_{random.getrandbits(96):024x}"


def stop_reason(reason: Any, *, calls_tool: bool, refused: bool = False) -> str:
    """Return Anthropic's word for an end; a call counts more than the reason given, which is ``stop`` at times."""
    if refused:
        return "refusal"
    found = STOP_REASONS.get(reason, "end_turn") if isinstance(reason, str) else "end_turn"
    if calls_tool:
        return "tool_use" if found == "end_turn" else found
    return "end_turn" if found == "tool_use" else found


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return the usage in Anthropic's shape: the input leaves cache reads and writes out."""
    rendered: dict[str, Any] = {
        "input_tokens": usage.input + usage.audio_input + usage.image_input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output_total + usage.unknown,
    }
    if usage.reasoning:
        rendered["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return rendered


def _content(message: Mapping[str, Any], shows_thinking: bool, ids: NewIds) -> list[Block]:
    calls = [{**call, "id": ids.of(call.get("id"))} for call in calls_of(message)]
    blocks = _thinking_blocks(message) if shows_thinking else []
    text = "".join(part for part in (text_of(message.get("content")), text_of(message.get("refusal"))) if part)
    if text:
        blocks.append({"type": "text", "text": text})
    carried = _carrier(message, calls, shows_thinking)
    if carried is not None:
        blocks.append(carried)
    return blocks + [_tool_use(call) for call in calls]


def reasoning_of(part: Mapping[str, Any]) -> str:
    """Return the reasoning text of a message or delta, under either of its names."""
    return text_of(part.get("reasoning_content")) or text_of(part.get("reasoning")) or ""


def _thinking_blocks(message: Mapping[str, Any]) -> list[Block]:
    """Return a message's reasoning: Anthropic's own blocks as they are, anybody else's text under our mark."""
    if own := blocks_of(message, "thinking_blocks"):
        return own
    text = reasoning_of(message)
    return [{"type": "thinking", "thinking": text, "signature": opaque.MARK}] if text else []


def _carrier(message: Mapping[str, Any], calls: list[dict[str, Any]], shows_thinking: bool) -> Block | None:
    """Return the block that carries what a message must come back with and no other block shows; None without any of that."""
    carried: dict[str, Any] = {}
    details = message.get("reasoning_details")
    if isinstance(details, list) and details and (shows_thinking or calls):
        carried["reasoning_details"] = details
    if calls and not shows_thinking and reasoning_of(message):
        carried["reasoning_content"] = reasoning_of(message)
    if isinstance(message.get("extra_content"), dict):
        carried["extra_content"] = message["extra_content"]
    signed = {str(call.get("id")): call["extra_content"] for call in calls if call.get("extra_content")}
    if signed:
        carried["calls"] = signed
    return messages_carry.sealed(carried) if carried else None


def _tool_use(call: Mapping[str, Any]) -> Block:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    input = arguments(function.get("arguments"))
    return {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": input}


def arguments(text: Any) -> dict[str, Any]:
    """Return a call's arguments as the object a tool's input must be.

    What is none, because a limit cut it or the model failed, is wrapped as Anthropic advises
    (platform.claude.com, fine-grained tool streaming, 2026-11): ``{"INVALID_JSON": "…"}``.
    """
    if isinstance(text, dict):
        return text
    if not isinstance(text, str) or not text.strip():
        return {}
    value = json_text.object_of(text)
    return {"INVALID_JSON": text} if value is None else value
