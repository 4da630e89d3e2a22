"""The members of an assistant message that travel in a reasoning item's ``encrypted_content``, where clients give them back.

OpenAI puts its own hidden reasoning there; those of other makers are told from it by their mark.
"""

from collections.abc import Mapping
from typing import Any

MEMBERS: Mapping[str, type] = {"thinking_blocks": list, "reasoning_details": list, "extra_content": dict}
"""Members of an assistant message that are carried, and what each must be."""


def members_of(content: Any) -> dict[str, Any]:
    """Return the members of an assistant message in what was unpacked: those that are what they must be."""
    if not isinstance(content, Mapping):
        return {}
    return {name: content[name] for name, kind in MEMBERS.items() if isinstance(content.get(name), kind)}
