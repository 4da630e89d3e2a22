"""Ids of tool calls as Anthropic and its clients take them: each once in a conversation, of letters, digits, ``_`` and ``-``.

Other providers' models make ids of names (``functions.read_file:0``, Moonshot) and some servers repeat
them every turn (``call_0``). Anthropic refuses such a conversation (``tool_use.id: String should match
pattern '^[a-zA-Z0-9_-]+$'``, ``tool_use ids must be unique``); its clients pair results with calls by the id
alone, and Claude Code was seen to go round for ever (NVIDIA-NeMo/Switchyard, issue 502, 2026-09).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tokenhub.wire.chat.parts import calls_of

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


class NewIds:
    """Ids for the calls of a reply to these chat messages: what a call is named, unless an earlier one is named so."""

    def __init__(self, messages: Iterable[Mapping[str, Any]]) -> None:
        self._messages = messages
        self._known: set[Any] | None = None

    def of(self, id: Any) -> Any:
        """Return the id that a client gets for the next call."""
        if not isinstance(id, str):
            return id
        if self._known is None:
            self._known = {call.get("id") for message in self._messages for call in calls_of(message)}
        new, uses = id, 1
        while new in self._known:
            uses += 1
            new = f"{id}_{uses}"
        self._known.add(new)
        return new
