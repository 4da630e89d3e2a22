"""An Anthropic reply as a chat completion.

Thinking comes out twice: as ``reasoning_content`` to read, and as ``thinking_blocks`` with
Anthropic's signatures, to be sent back unchanged with the next turn; a tool loop breaks
without them (platform.claude.com, extended thinking, 2026-11-22). The reply keeps Anthropic's
id, so that what a client holds is what a request is found by.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from tokenhub.call import Call
from tokenhub.wire.chat.reply import Classify, has_content, text_bytes
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.messages import common as messages
from tokenhub.wire.replies import Reply


def reply(raw: dict[str, Any], call: Call, *, classify: Classify = messages.classify_error) -> Reply:
    """Read a whole Messages reply; raises UpstreamFault for an error, or what is no message, in a 200 (T74)."""
    if raw.get("type") == "error" or raw.get("error"):
        raise UpstreamFault(classify(raw))
    content = raw.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="no_content_list"))
    message = _message(content)
    shown = has_content(message)
    native = raw.get("stop_reason")
    ended = finish_reason(native, calls_tool="tool_calls" in message)
    refusal = refusal_text(raw)
    if refusal:
        message["refusal"] = refusal
    id, model = str(raw.get("id") or ""), str(raw.get("model") or call.model)
    return Reply(
        body={
            "id": id,
            "object": "chat.completion",
            "created": call.created_s,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": ended}],
        },
        usage=messages.parse_usage(raw.get("usage")),
        finish_reason=ended,
        native_finish_reason=native if isinstance(native, str) else None,
        upstream_id=id or None,
        has_content=shown,
        output_bytes=text_bytes(message),
        served_model=model,
    )


def finish_reason(native: Any, *, calls_tool: bool) -> str:
    """Return OpenAI's word for an end.

    A call of the JSON tool is the answer's text, so its end is a plain stop; an end without
    a word is told from what was there.
    """
    if not isinstance(native, str):
        return "tool_calls" if calls_tool else "stop"
    reason = messages.STOP_REASONS.get(native, "stop")
    return "stop" if reason == "tool_calls" and not calls_tool else reason


def refusal_text(holder: Mapping[str, Any]) -> str | None:
    """Return Anthropic's explanation of a refusal: its words, not the model's, so no content."""
    details = holder.get("stop_details")
    text = details.get("explanation") if isinstance(details, Mapping) else None
    return text if isinstance(text, str) and holder.get("stop_reason") == "refusal" else None


def _message(content: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the assistant's message; blocks of unknown kinds are left out."""
    text = "".join(_texts(content))
    calls = [_tool_call(block) for block in content if _is_tool_use(block)]
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    thinking = [block for block in content if block.get("type") in ("thinking", "redacted_thinking")]
    reasoning = "".join(str(block.get("thinking") or "") for block in thinking)
    if reasoning:
        message["reasoning_content"] = reasoning
    if thinking:
        message["thinking_blocks"] = thinking
    if calls:
        message["tool_calls"] = calls
    annotations = _annotations(content)
    if annotations:
        message["annotations"] = annotations
    return message


def _texts(content: list[dict[str, Any]]) -> Iterable[str]:
    for block in content:
        if block.get("type") == "text":
            yield str(block.get("text") or "")
        elif block.get("type") == "tool_use" and block.get("name") == messages.JSON_TOOL:
            yield arguments(block.get("input"))


def _is_tool_use(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "tool_use" and block.get("name") != messages.JSON_TOOL


def _tool_call(block: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": block.get("name"), "arguments": arguments(block.get("input"))}
    return {"id": block.get("id"), "type": "function", "function": function}


def arguments(value: Any) -> str:
    """Return a tool's input as the text of a JSON object."""
    return orjson.dumps(value or {}).decode()


def _annotations(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found, start = [], 0
    for block in content:
        end = start + len("".join(_texts([block])))
        found += annotations_of(block.get("citations"), start, end)
        start = end
    return found


def annotations_of(citations: Any, start: int, end: int) -> list[dict[str, Any]]:
    """Return the citations that point to the web as OpenAI's annotations of this stretch of the text."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": start,
                "end_index": end,
                "url": citation["url"],
                "title": str(citation.get("title") or ""),
            },
        }
        for citation in (citations if isinstance(citations, list) else ())
        if isinstance(citation, dict) and isinstance(citation.get("url"), str)
    ]
