"""Ids of tool calls as Anthropic takes them: of letters, digits, ``_`` and ``-``, and each once in a conversation.

Other providers' models make ids of names (``functions.read_file:0``, Moonshot) and repeat them every
turn; a conversation that began with one of them is refused otherwise (``tool_use.id: String should
match pattern '^[a-zA-Z0-9_-]+$'``, ``tool_use ids must be unique``).
"""

import re

_NOT_LEGAL = re.compile(r"[^a-zA-Z0-9_-]")


class ToolIds:
    """The ids of one conversation, renamed where they must be."""

    def __init__(self) -> None:
        self._renamed: dict[str, str] = {}
        self._used: set[str] = set()
        self._uses: dict[str, int] = {}

    def called(self, id: str) -> str:
        """Return the id of the next call."""
        legal = candidate = _NOT_LEGAL.sub("_", id)
        while candidate in self._used:
            self._uses[legal] = uses = self._uses.get(legal, 1) + 1
            candidate = f"{legal}_{uses}"
        self._used.add(candidate)
        self._renamed[id] = candidate
        return candidate

    def answered(self, id: str) -> str:
        """Return the id of the call that a result is for: the latest of that name."""
        return self._renamed.get(id) or _NOT_LEGAL.sub("_", id)
