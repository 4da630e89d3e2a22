"""Which frames of a chat stream say nothing but a text, to a reader of its first choice."""

from typing import Any


def text_alone(chunk: Any) -> str | None:
    """Return the text of a chunk that says nothing else, neither an end nor log probabilities nor of another choice; else None.

    Beside the text may stand its role, and what is null or empty. Members of the chunk itself, and
    those of a choice that nobody reads, say nothing.
    """
    match chunk:
        case {"choices": [{"delta": {"content": str(text), **beside}, **around}]}:
            beside.pop("role", None)
            silent = all(said is None or said in ("", []) for said in beside.values())
            goes_on = around.get("finish_reason") is None and around.get("logprobs") is None
            return text if text and silent and goes_on and around.get("index", 0) == 0 else None
    return None
