"""Ids of tool calls as Anthropic and its clients take them: each once in a conversation, of letters, digits, ``_`` and ``-``.

Other providers' models make ids of names (``functions.read_file:0``, Moonshot) and some servers repeat
them every turn (``call_0``). Anthropic refuses such a conversation (``tool_use.id: String should match
pattern '^[a-zA-Z0-9_-]+$'``, ``tool_use ids must be unique``); its clients pair results with calls by the id
alone, and Claude Code was seen to go round for ever (NVIDIA-NeMo/Switchyard, issue 502, 2026-09).
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tokenhub.wire.chat.parts import calls_of

_NOT_LEGAL = re.compile(r"[^a-zA-Z0-9_-]")
_COUNTED = re.compile(r"(.*:)(\d{1,9})", re.DOTALL | re.ASCII)
"""An id that ends in a count, as Kimi's do (``functions.read:0``): its servers read the function's name out of that form."""


def _anthropics(id: str) -> str:
    return _NOT_LEGAL.sub("_", id)


class ToolIds:
    """The ids of one conversation, renamed where they must be. ``legal`` makes one that the upstream takes, Anthropic's if not said."""

    def __init__(self, legal: Callable[[str], str] = _anthropics) -> None:
        self._legal = legal
        self._renamed: dict[str, str] = {}
        self._waiting: dict[str, deque[str]] = {}
        """The calls of each name that have no result yet."""
        self._unique = _Unique()

    def turn(self) -> None:
        """Begin a turn of the model: a call before it that has no result gets none any more."""
        self._waiting.clear()

    def called(self, id: str) -> str:
        """Return the id of the next call."""
        self._renamed[id] = new = self._legal(self._unique.made_of(self._legal(id)))
        self._waiting.setdefault(id, deque()).append(new)
        return new

    def answered(self, id: str) -> str:
        """Return the id of the call that a result is for: the first of that name in this turn that has none, else the latest."""
        waiting = self._waiting.get(id)
        return waiting.popleft() if waiting else self._renamed.get(id) or self._legal(id)


class NewIds:
    """Ids for the calls of a reply to these chat messages: what a call is named, unless an earlier one is named so."""

    def __init__(self, messages: Iterable[Mapping[str, Any]]) -> None:
        self._messages = messages
        self._unique: _Unique | None = None

    def of(self, id: Any) -> Any:
        """Return the id that a client gets for the next call."""
        if not isinstance(id, str):
            return id
        if self._unique is None:
            self._unique = _Unique(call.get("id") for message in self._messages for call in calls_of(message))
        return self._unique.made_of(id)


class _Unique:
    """Names, each of which is given once: a second one gets a number, or the next one, which is not looked for from the start again."""

    def __init__(self, taken: Iterable[Any] = ()) -> None:
        self._taken = set(taken)
        self._uses: dict[str, int] = {}

    def made_of(self, name: str) -> str:
        """Return the name, or what is made of it if it was given before."""
        unique = name
        if name in self._taken:
            counted = _COUNTED.fullmatch(name)
            stem, first = (counted[1], int(counted[2])) if counted else (f"{name}_", 1)
            while unique in self._taken:
                self._uses[stem] = uses = self._uses.get(stem, first) + 1
                unique = f"{stem}{uses}"
        self._taken.add(unique)
        return unique
