"""The parts of a chunk or a reply that an upstream sent: only what has the right shape."""

import hashlib
from collections.abc import Mapping
from typing import Any


def choices_of(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of a chunk or reply; what is no object is none."""
    return items_of(payload.get("choices"))


def calls_of(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls of a message or delta."""
    return items_of(part.get("tool_calls"))


def blocks_of(part: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the entries of a list that comes bit by bit; thinking blocks as their maker knows them: without the places of ``frames.py``."""
    found = items_of(part.get(name))
    if name != "thinking_blocks":
        return found
    return [{member: value for member, value in block.items() if member != "index"} for block in found]


def parts_of(content: Any) -> list[Any]:
    """Return a message's content as parts: a text is one, nothing is none."""
    return content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []


def result_of(id: str, parts: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Return what a tool returned as text, which is all that a ``tool`` message holds, and what the user's message shows of it."""
    texts = [part["text"] for part in parts if part["type"] == "text"]
    media = [part for part in parts if part["type"] != "text"]
    if media:
        texts.append("[what the tool returned beside text follows as the user's message]")
        media.insert(0, {"type": "text", "text": f"[returned by the tool call {id}]"})
    return "\n".join(texts), media


def short_id(id: str, most: int) -> str:
    """Return a call's id of at most so many characters, 64 or fewer: a longer one's digest, the same each time."""
    return id if len(id) <= most else hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:most]


def index_of(part: Mapping[str, Any]) -> int:
    """Return the index of a choice or a block; 0 where there is none."""
    index = part.get("index")
    return index if isinstance(index, int) else 0


_BINDING = frozenset({"tool_calls", "function_call", "thinking_blocks", "reasoning_details", "extra_content"})


def binds(part: Any) -> bool:
    """Return whether a message or delta holds what ties the next request to its maker: a tool call, or a signature."""
    return isinstance(part, dict) and not _BINDING.isdisjoint(part) and any(part.get(name) for name in _BINDING)


def items_of(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; what is no list has none."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def members_of(value: Any) -> dict[str, Any]:
    """Return the members of an object; what is no object has none."""
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str | None:
    """Return a member that must be a text; None for anything else."""
    return value if isinstance(value, str) else None
