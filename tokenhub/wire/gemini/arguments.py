"""Arguments of a function call that arrive in pieces (Vertex: streamFunctionCallArguments).

A piece names a place in the arguments and a value for it, or more text of a string that is
still open: ``{"jsonPath": "$.items[0].name", "stringValue": "app", "willContinue": true}``.
"""

import itertools
import re
from typing import Any

import orjson

_PATH = re.compile(r"\$((?:\.[^.\[\]]+|\[\d{1,6}\]|\['[^']*'\]|\[\"[^\"]*\"\])+)")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")
_MAX_DEPTH = 64


class MalformedArguments(ValueError):
    """A piece that has no place in what came before."""


class PartialArguments:
    """The arguments of one call, as far as they have come."""

    def __init__(self) -> None:
        self._value: Any = {}
        self._open: tuple[str | int, ...] | None = None

    def add(self, pieces: object) -> None:
        """Take the ``partialArgs`` of one event; raises MalformedArguments."""
        for piece in pieces if isinstance(pieces, list) else ():
            if not isinstance(piece, dict):
                raise MalformedArguments
            self._add(piece)

    def render(self) -> str:
        """Return the arguments as the JSON text that OpenAI's clients parse."""
        return orjson.dumps(self._value).decode()

    def _add(self, piece: dict[str, Any]) -> None:
        steps = _steps(piece.get("jsonPath"))
        name = next((name for name in _VALUES if name in piece), None)
        if name is None:
            self._open = None
            return
        value = None if name == "nullValue" else piece[name]
        text = isinstance(value, str)
        holder, last = self._holder(steps), steps[-1]
        if text and steps == self._open:
            value = holder[last] + value
        _put(holder, last, value)
        self._open = steps if text and piece.get("willContinue") is True else None

    def _holder(self, steps: tuple[str | int, ...]) -> Any:
        """Return the object or list that the last step is in, making what is missing on the way."""
        holder = self._value
        for step, following in itertools.pairwise(steps):
            made: Any = [] if isinstance(following, int) else {}
            if isinstance(holder, dict) and isinstance(step, str):
                holder = holder.setdefault(step, made)
            elif isinstance(holder, list) and isinstance(step, int) and step <= len(holder):
                if step == len(holder):
                    holder.append(made)
                holder = holder[step]
            else:
                raise MalformedArguments
        return holder


def _steps(path: object) -> tuple[str | int, ...]:
    match = _PATH.fullmatch(path) if isinstance(path, str) else None
    if match is None:
        raise MalformedArguments
    found = _STEP.findall(match.group(1))
    if len(found) > _MAX_DEPTH:
        raise MalformedArguments
    return tuple(int(place) if place else name or quoted or double for name, place, quoted, double in found)


def _put(holder: Any, step: str | int, value: Any) -> None:
    if isinstance(holder, dict) and isinstance(step, str):
        holder[step] = value
    elif isinstance(holder, list) and isinstance(step, int) and step <= len(holder):
        holder[step : step + 1] = [value]
    else:
        raise MalformedArguments
