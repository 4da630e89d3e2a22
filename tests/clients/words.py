"""What the scripted dialects share: the text of a message, and an answer in two pieces."""

from typing import Any

CUT = "Break off"
"""A prompt with these words gets half an answer, and then the connection is gone."""


def text_of(content: Any) -> str:
    """All text of a message's content, in any dialect."""
    if isinstance(content, str | None):
        return content or ""
    if isinstance(content, dict):
        content = [content]
    return "\n".join(
        part if isinstance(part, str) else part.get("text") or text_of(part.get("content")) for part in content
    )


def halves(text: str) -> list[str]:
    """An answer as two pieces of a stream."""
    middle = (len(text) + 1) // 2
    return [text[:middle], text[middle:]]
