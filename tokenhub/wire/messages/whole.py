"""A whole message as the events that tell it: for an upstream that answers ``stream: true`` with one (T74)."""

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.wire import sse
from tokenhub.wire.chat.parts import items_of, members_of, text_of
from tokenhub.wire.messages import reply as messages_reply
from tokenhub.wire.messages.carry import Block

_ENDING = ("stop_reason", "stop_sequence", "stop_details", "container")
"""Members of a message that its ``message_delta`` tells."""


def events_of(message: Mapping[str, Any]) -> bytes:
    """Return the events of a message; none of what is no message."""
    blocks = message.get("content")
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return b""
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    ended = {name: message[name] for name in _ENDING if name in message}
    told = [_event("message_start", message={"type": "message", "role": "assistant", **begun})]
    for index, block in enumerate(blocks):
        start, deltas = _begun(block)
        told.append(_event("content_block_start", index=index, content_block=start))
        told += [_event("content_block_delta", index=index, delta=delta) for delta in deltas]
        told.append(_event("content_block_stop", index=index))
    told.append(_event("message_delta", delta=ended, usage=members_of(message.get("usage"))))
    return b"".join([*told, _event("message_stop")])


def _event(kind: str, **members: Any) -> bytes:
    return sse.encode(orjson.dumps({"type": kind, **members}), kind)


def _begun(block: Block) -> tuple[Block, list[dict[str, Any]]]:
    """Return how a block begins, and its deltas; one of a kind that does not grow begins whole."""
    match block:
        case {"type": "text", "text": str(text)}:
            cited = [{"type": "citations_delta", "citation": one} for one in items_of(block.get("citations"))]
            emptied = {"text": "", "citations": []} if cited else {"text": ""}
            return {**block, **emptied}, [*_piece("text_delta", "text", text), *cited]
        case {"type": "thinking", "thinking": str(text)}:
            signed = _piece("signature_delta", "signature", text_of(block.get("signature")) or "")
            return {**block, "thinking": "", "signature": ""}, [*_piece("thinking_delta", "thinking", text), *signed]
        case {"input": dict(given)} if given:
            told = messages_reply.arguments(given)
            return {**block, "input": {}}, _piece("input_json_delta", "partial_json", told)
    return block, []


def _piece(kind: str, member: str, text: str) -> list[dict[str, Any]]:
    return [{"type": kind, member: text}] if text else []
