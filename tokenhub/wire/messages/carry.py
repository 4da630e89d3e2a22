"""What other providers must see again, carried through a Messages client inside its thinking blocks.

Messages clients send thinking blocks back as they came and drop members they do not know, so
what Gemini's thought signatures and other providers' opaque reasoning need to travel with goes
into a ``redacted_thinking`` block of our own, marked as such. Reasoning that its provider did
not sign gets the bare mark as its signature. Neither is ever sent to Anthropic, which would
refuse signatures it did not make (``invalid signature in thinking block``, recorded 2026).
"""

from collections.abc import Mapping
from typing import Any

from tokenhub.wire import opaque

THINKING = ("thinking", "redacted_thinking")

Block = dict[str, Any]


def sealed(members: Mapping[str, Any]) -> Block:
    """Return a block that carries these members."""
    return {"type": "redacted_thinking", "data": opaque.pack(members)}


def opened(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that a block carries; nothing for a block that is not ours, or was tampered with."""
    return opaque.unpack(block.get("data"))


def is_own(block: Any) -> bool:
    """Return whether a thinking block was made here, so that its maker's provider knows nothing of it."""
    if not isinstance(block, Mapping) or block.get("type") not in THINKING:
        return False
    return opaque.is_packed(block.get("signature") if block["type"] == "thinking" else block.get("data"))
