"""On which surface a request body is spoken, where no path says it: a body brought to ``routing explain``."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from tokenhub.call import Capability
from tokenhub.operations import hello
from tokenhub.wire.completions.request import CompletionsSurface
from tokenhub.wire.gemini.embeddings import BATCH, ONE, EmbedSurface
from tokenhub.wire.gemini.surface import PLAIN, PREFIXES, GenerateSurface
from tokenhub.wire.messages.surface import MessagesSurface
from tokenhub.wire.openai_surfaces import ChatSurface
from tokenhub.wire.responses.surface import ResponsesSurface
from tokenhub.wire.surface import JSON, Arrival, Surface

Speak = Callable[[Arrival], Surface]

_MESSAGES_MEMBERS: Final = frozenset(
    {"anthropic_beta", "anthropic_version", "context_management", "output_config", "stop_sequences", "system"}
)
_MESSAGES_PARTS: Final = frozenset({"redacted_thinking", "server_tool_use", "tool_result", "tool_use"})
_MESSAGES_PART_MEMBERS: Final = frozenset({"signature", "source"})
_DATED: Final = re.compile(r"_\d{8}$", re.ASCII)
"""How types of tools end that Anthropic's models know."""


def surface_of(
    body: Mapping[str, Any], model: str, capability: Capability, now_s: int
) -> tuple[Surface, dict[str, Any]]:
    """Return the surface of a JSON body, and the body for this model: Google's clients name it in the path alone.

    What chat and Anthropic's Messages spell alike is read as chat: but for where every field must be taken as it
    is, it goes where it would go as Messages.
    """
    headers = {"Content-Type": JSON}
    if method := _method(body, capability):
        speak: Speak = GenerateSurface if method == PLAIN else EmbedSurface
        return speak(Arrival(f"{PREFIXES[0]}{quote(model)}:{method}", {}, headers, now_s)), dict(body)
    return _speak(body, capability)(Arrival("", {}, headers, now_s)), {**body, "model": model}


def _method(body: Mapping[str, Any], capability: Capability) -> str:
    """Return which of Google's methods takes such a body; empty: none does."""
    if "contents" in body:
        return PLAIN
    if capability is Capability.EMBEDDINGS:
        return BATCH if "requests" in body else ONE if "content" in body else ""
    return ""


def _speak(body: Mapping[str, Any], capability: Capability) -> Speak:
    if "messages" in body:
        return MessagesSurface if _is_messages(body) else ChatSurface
    if capability is Capability.CHAT and "input" in body:
        return ResponsesSurface
    if capability is Capability.CHAT and "prompt" in body:
        return CompletionsSurface
    return hello.SPEAKS[capability][0]


def _is_messages(body: Mapping[str, Any]) -> bool:
    """Say whether anything in a body with messages is spelled as Anthropic alone spells it."""
    parts = [part for one in _objects(body["messages"]) for part in _objects(one.get("content"))]
    return (
        not _MESSAGES_MEMBERS.isdisjoint(body)
        or any("input_schema" in one or _DATED.search(str(one.get("type"))) for one in _objects(body.get("tools")))
        or any(str(one.get("type")) in _MESSAGES_PARTS or not _MESSAGES_PART_MEMBERS.isdisjoint(one) for one in parts)
    )


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
