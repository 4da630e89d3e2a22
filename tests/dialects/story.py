"""A conversation and what a model makes of it, in no API's form: what every dialect must be able to say.

Client modules (``clients/``) and upstream modules (``upstreams/``) write and read it by the
API's own documentation. Nothing of TokenHub is in any of them, so that what both agree on is
what a translation between them must keep.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Picture:
    data: str
    """Base64."""
    media_type: str = "image/png"


@dataclass(frozen=True)
class Thought:
    """What the model thought; the seal is the upstream's own proof of it, which must come back as it was."""

    text: str
    seal: str = ""


@dataclass(frozen=True)
class Call:
    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What a tool answered; it stands at the beginning of the user's next turn."""

    id: str
    text: str


Part = Text | Picture | Thought | Call | Result


@dataclass(frozen=True)
class Turn:
    """All that one side says in a row; a model's in the order thought, text, calls."""

    role: str
    """``user`` or ``assistant``."""
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Tool:
    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Conversation:
    """What a model is asked."""

    turns: tuple[Turn, ...]
    system: str = ""
    tools: tuple[Tool, ...] = ()
    limit: int | None = None
    """The most tokens of output."""


@dataclass(frozen=True)
class Counts:
    """Tokens, in disjoint buckets but for ``reasoning``, which is part of ``output``."""

    fresh: int
    cached: int = 0
    written: int = 0
    """Written to a cache; only Anthropic's dialect has a word for it."""
    output: int = 0
    reasoning: int = 0

    @property
    def prompt(self) -> int:
        return self.fresh + self.cached + self.written

    @property
    def buckets(self) -> dict[str, int]:
        """Tokens by the price they have, in the words of a price card."""
        output = "output_thinking" if self.reasoning else "output"
        return {
            "input": self.fresh,
            "cached_input": self.cached,
            "cache_write": self.written,
            output: self.output,
        }

    @property
    def seen(self) -> tuple[int, int, int, int]:
        """What every dialect can tell: prompt, cached, output, reasoning."""
        return self.prompt, self.cached, self.output, self.reasoning


@dataclass(frozen=True)
class Outcome:
    """What a model answers. ``finish`` is ``stop``, ``length`` or ``tools``."""

    parts: tuple[Part, ...]
    finish: str = "stop"
    counts: Counts = field(default=Counts(90, 40, output=30))

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def thought(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Thought))

    @property
    def seals(self) -> list[str]:
        return [part.seal for part in self.parts if isinstance(part, Thought) and part.seal]

    @property
    def calls(self) -> list[Call]:
        return [part for part in self.parts if isinstance(part, Call)]

    @property
    def said(self) -> tuple[str, str, list[tuple[str, Any]], str]:
        """All of it that a client sees whatever its dialect: ids are the upstream's own affair."""
        return self.thought, self.text, [(call.name, call.arguments) for call in self.calls], self.finish


def plainly(conversation: Conversation) -> Conversation:
    """Return what of a conversation every dialect keeps.

    Ids of calls are numbered as they come, since some upstreams ask for ids of their own form;
    thoughts are left out, since they are nobody's but the upstream's that thought them; texts
    in a row are one, since a stream that is given back may stand in the pieces in which it came.
    """
    names: dict[str, str] = {}
    turns = []
    for turn in conversation.turns:
        parts = _whole_texts(_named(part, names) for part in turn.parts if not isinstance(part, Thought))
        if parts:
            turns.append(Turn(turn.role, parts))
    return replace(conversation, turns=tuple(turns))


def _whole_texts(parts: Iterable[Part]) -> tuple[Part, ...]:
    made: list[Part] = []
    for part in parts:
        last = made[-1] if made else None
        if isinstance(part, Text) and isinstance(last, Text):
            made[-1] = Text(last.text + part.text)
        else:
            made.append(part)
    return tuple(made)


def _named(part: Part, names: dict[str, str]) -> Part:
    if isinstance(part, Call):
        names[part.id] = f"#{len(names)}"
        return replace(part, id=names[part.id])
    if isinstance(part, Result):
        return replace(part, id=names.get(part.id, f"no call {part.id}"))
    return part


def joined(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Return the turns with all that one side says in a row in one of them; results stand first."""
    made: list[Turn] = []
    for turn in turns:
        if made and made[-1].role == turn.role:
            made[-1] = Turn(turn.role, made[-1].parts + turn.parts)
        elif turn.parts:
            made.append(turn)
    return tuple(made)


def loads(text: str) -> Any:
    """Return the arguments of a call; none at all are an empty object."""
    return json.loads(text) if text else {}


def pieces(text: str, size: int = 7) -> list[str]:
    """Cut a text as a model streams it."""
    return [text[start : start + size] for start in range(0, len(text), size)]


class Broken(Exception):
    """A stream ended with an error; ``so_far`` is the text that had come."""

    def __init__(self, error: Mapping[str, Any], so_far: str) -> None:
        super().__init__(str(error))
        self.error, self.so_far = error, so_far


@dataclass(frozen=True)
class Ask:
    """A request as a client sends it."""

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    stream: bool = False
