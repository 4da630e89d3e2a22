"""Reads one catalogue table key by key, so that nothing in it goes unseen.

An unknown key, a missing one or a wrong type ends the load: a price that is read wrongly
is worse than a catalogue that is not (T111).
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TypeVar

from tokenhub.errors import SetupError

T = TypeVar("T")

_KINDS = {str: "a text", int: "a whole number", list: "a list", dict: "a table", bool: "true or false"}


def refusal(where: str, problem: str) -> SetupError:
    """Return the refusal of a whole catalogue for one fault, to be raised."""
    return SetupError(f"The catalogue cannot be used: {where}: {problem}.", code="catalog_invalid")


class Fields:
    """One table whose keys are taken one by one; what is left over at the end is a fault."""

    def __init__(self, table: object, where: str) -> None:
        self.where = where
        if not isinstance(table, Mapping):
            raise self.bad("must be a table")
        self.left = dict(table)

    def bad(self, problem: str) -> SetupError:
        """Return the refusal for a problem in this table, to be raised."""
        return refusal(self.where, problem)

    def take(self, name: str, kind: type[T], default: T | None = None) -> T:
        """Take a key of this type; without a default it must be there."""
        if name not in self.left:
            if default is None:
                raise self.bad(f"{name} is missing")
            return default
        value = self.left.pop(name)
        if type(value) is not kind:
            raise self.bad(f"{name} must be {_KINDS[kind]}, not {str(value)[:60]!r}")
        return value

    def match(self, name: str, pattern: re.Pattern[str], default: str | None = None) -> str:
        """Take a text that matches a pattern whole."""
        value = self.take(name, str, default)
        if not pattern.fullmatch(value):
            raise self.bad(f"{name} is {value[:60]!r}, which is not a name or address as it must be")
        return value

    def word(self, name: str, words: Sequence[str], default: str | None = None) -> str:
        """Take a text that is one of these words."""
        value = self.take(name, str, default)
        if value not in words:
            raise self.bad(f"{name} is {value[:60]!r}; allowed are {', '.join(words)}")
        return value

    def texts(self, name: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """Take a list of texts, each once."""
        values = self.take(name, list, list(default))
        if not all(type(value) is str for value in values) or len(set(values)) != len(values):
            raise self.bad(f"{name} must be a list of texts, each once")
        return tuple(values)

    def count(self, name: str) -> int | None:
        """Take a positive whole number that may be missing."""
        if name not in self.left:
            return None
        value = self.take(name, int)
        if value <= 0:
            raise self.bad(f"{name} must be above 0")
        return value

    def day(self, name: str) -> str | None:
        """Take a day such as ``2026-12-01`` that may be missing."""
        if name not in self.left:
            return None
        value = self.take(name, str)
        try:
            date.fromisoformat(value)
        except ValueError:
            raise self.bad(f"{name} is {value[:60]!r}, not a day such as 2026-12-01") from None
        return value

    def tables(self, name: str) -> list["Fields"]:
        """Take a list of tables; missing: none."""
        return [Fields(one, f"{self.where}, {name} {i}") for i, one in enumerate(self.take(name, list, []), start=1)]

    def end(self) -> None:
        """Refuse what was not taken."""
        if self.left:
            raise self.bad(f"unknown key {str(next(iter(self.left)))[:60]!r}")
