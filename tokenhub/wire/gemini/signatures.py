"""Signatures of other providers in the one place that Gemini's form has for them.

A tool loop with Claude or with OpenAI's Responses breaks unless signed reasoning comes back
unchanged. Gemini's clients give one opaque text back for each function call, its
``thoughtSignature``; so what another provider signed travels there, marked as ours.
"""

from collections.abc import Mapping
from typing import Any

from tokenhub.wire import opaque

NO_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the signature of a call that Gemini did not make (ai.google.dev/gemini-api/docs/thought-signatures)."""

MEMBERS = ("thinking_blocks", "reasoning_details")
"""Members of an assistant's message that are given back as they came: Anthropic's, OpenAI's and OpenRouter's."""


def packed(signed: Mapping[str, Any]) -> str:
    """Return the signed members of a message as one opaque text."""
    return opaque.pack({name: signed[name] for name in MEMBERS if name in signed})


def unpacked(signature: object) -> dict[str, list[dict[str, Any]]]:
    """Return the members packed in a signature; nothing for one that is not ours or was damaged on its way."""
    members = opaque.unpack(signature)
    return {name: members[name] for name in MEMBERS if _is_list_of_objects(members.get(name))}


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)
