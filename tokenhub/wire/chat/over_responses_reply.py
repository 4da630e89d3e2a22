"""A whole response as a chat completion.

Reasoning comes out twice where it has a summary: to read, as ``reasoning_content``, and as
``reasoning_details``, to be sent back unchanged with the next turn.
"""

from collections.abc import Mapping
from typing import Any

from tokenhub.call import Call
from tokenhub.wire.chat.parts import items_of
from tokenhub.wire.chat.reply import Classify, has_content, text_bytes, unclassified
from tokenhub.wire.replies import Reply
from tokenhub.wire.responses import common as responses
from tokenhub.wire.responses import native as responses_native
from tokenhub.wire.responses.common import REASONING_FORMAT


def reply(raw: dict[str, Any], call: Call, *, classify: Classify = unclassified) -> Reply:
    """Read a whole response; raises UpstreamFault for one that failed, or is none (T74)."""
    native = responses_native.reply(raw, call, classify=classify)
    message, logprobs = _message(items_of(raw["output"]))
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": native.finish_reason}
    return Reply(
        body={
            "id": native.upstream_id or "",
            "object": "chat.completion",
            "created": responses.created_of(raw) or call.created_s,
            "model": native.served_model or call.model,
            "choices": [choice],
        },
        usage=native.usage,
        finish_reason=native.finish_reason,
        native_finish_reason=native.native_finish_reason,
        upstream_id=native.upstream_id,
        has_content=has_content(message),
        output_bytes=text_bytes(message),
        served_model=native.served_model,
    )


def call_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call item as chat's tool call."""
    if item["type"] == "custom_tool_call":
        called = {"name": item.get("name"), "input": item.get("input") or ""}
        return {"id": item.get("call_id"), "type": "custom", "custom": called}
    function = {"name": item.get("name"), "arguments": item.get("arguments") or ""}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def details_of(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a reasoning item in the form in which chat carries it; nothing if it cannot be given back."""
    sealed = item.get("encrypted_content")
    if not isinstance(sealed, str) or not sealed:
        return []
    known: dict[str, Any] = {"id": item.get("id"), "format": REASONING_FORMAT}
    summary: list[dict[str, Any]] = [
        {"type": "reasoning.summary", "summary": part.get("text")} for part in items_of(item.get("summary"))
    ]
    return [{**part, **known} for part in (*summary, {"type": "reasoning.encrypted", "data": sealed})]


def annotation_of(annotation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a citation of the web in chat's form: its members under its type."""
    if annotation.get("type") != "url_citation":
        return None
    cited = {name: value for name, value in annotation.items() if name != "type"}
    return {"type": "url_citation", "url_citation": cited}


def _message(items: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the assistant's message, and the log probabilities of its text."""
    parts = [part for item in items if item.get("type") == "message" for part in items_of(item.get("content"))]
    calls = [call_of(item) for item in items if item.get("type") in responses.CALLS]
    text = "".join(str(part.get("text") or "") for part in parts)
    refusal = "".join(str(part.get("refusal") or "") for part in parts)
    thoughts = [item for item in items if item.get("type") == "reasoning"]
    reasoning = "\n\n".join(filter(None, map(_read_aloud, thoughts)))
    details = [detail for item in thoughts for detail in details_of(item)]
    notes = [note for part in parts for note in map(annotation_of, items_of(part.get("annotations"))) if note]
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": refusal or None}
    optional = {
        "reasoning_content": reasoning,
        "reasoning_details": details,
        "tool_calls": calls,
        "annotations": notes,
    }
    logprobs = [entry for part in parts for entry in items_of(part.get("logprobs"))]
    told = {name: value for name, value in optional.items() if value}
    return {**message, **told}, {"content": logprobs, "refusal": None} if logprobs else None


def _read_aloud(item: Mapping[str, Any]) -> str:
    """Return what may be read of an item: the reasoning itself where it is shown, else its summary."""
    whole = responses.texts_of(item.get("content"))
    return whole or "\n\n".join(responses.texts_of([part]) for part in items_of(item.get("summary")))
