"""A request body, read strictly: one JSON object that means the same to every reader (T50).

Two readers of one text must not see two requests: duplicate keys, lone surrogates, numbers
that do not fit 64 bits and nesting too deep to be written again are refused, at any depth. orjson
reads the text; whether it dropped a key or rounded an integer is then told from counts, and
only a text in doubt is read again, slowly, by the standard library.
"""

import json
from typing import Any

import orjson

from tokenhub.errors import InvalidRequest
from tokenhub.wire import json_text

_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19
"""2**63 - 1 has nineteen digits: a shorter run of digits always fits."""


MAX_VALUES = 500_000
"""Counted by commas and brackets, those in texts too. Reading holds the whole process up, 0.3 µs a value (T50)."""
_SMALL_BYTES = 2**18


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the object in a request body; raises InvalidRequest ``invalid_json``."""
    if len(raw) > _SMALL_BYTES and raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_VALUES:
        raise _invalid(f"The request body has more than {MAX_VALUES} values.")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _invalid(f"The request body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise _invalid(f"The request body must be a JSON object, not {_KINDS[type(value)]}.")
    try:
        rendered = json_text.written(value)
    except TypeError:
        raise _invalid(
            f"The request body is nested too deeply: at most {json_text.MAX_LEVELS} levels are read."
        ) from None
    if _in_doubt(raw, rendered):
        _read_exactly(raw)
    return value


_KINDS = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}


def _in_doubt(raw: bytes, rendered: bytes) -> bool:
    """Return whether a key may have been dropped or an integer rounded.

    Nothing was where the same bytes were rendered again: most clients' JSON is written as orjson writes it.
    Else every member has one colon and every colon of a text stays a colon, so a dropped member
    leaves fewer colons in what was rendered. Only an escaped colon could hide that.
    """
    return raw != rendered and (
        raw.count(b":") != rendered.count(b":")
        or (raw.find(b"\\") >= 0 and (b"\\u003a" in raw or b"\\u003A" in raw))
        or raw.translate(_DIGITS_AS_ZERO).find(_LONG_NUMBER) >= 0
    )


def _read_exactly(raw: bytes) -> None:
    """Read a text that orjson has taken (so it is valid and shallow) and refuse what orjson lets pass."""
    json.loads(raw, object_pairs_hook=_unique, parse_int=_small)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _invalid("The request body has an object with the same key twice.")
    return members


def _small(digits: str) -> int:
    value = int(digits)
    if not -(2**63) <= value < 2**64:
        raise _invalid("The request body has an integer that does not fit 64 bits.")
    return value


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_json")
