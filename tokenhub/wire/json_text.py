"""JSON from outside, taken only where it can be written again: in another API's form too.

orjson reads 1,024 levels and writes 254. A translation writes a value some levels deeper than
it came (arguments of a call stand eight deep in a Gemini reply), so what is taken stays well below.
"""

from typing import Any

import orjson

MAX_LEVELS = 224
"""How deep JSON may be nested: 30 levels below what is written, more than any translation adds."""
_WRITTEN_LEVELS = 254
_SPARE_LEVELS = _WRITTEN_LEVELS - MAX_LEVELS
_SHORT = 2 * MAX_LEVELS
"""A text of this length has no room for more levels, each of which opens and closes."""


def loads(text: bytes | bytearray | str) -> Any:
    """Return what a JSON text holds; raises orjson.JSONDecodeError for one that is none, or is nested too deeply."""
    value = orjson.loads(text)
    if len(text) > _SHORT and _openings(text) > MAX_LEVELS:
        try:
            written(value)
        except TypeError:
            raise orjson.JSONDecodeError("nested too deeply", "", 0) from None
    return value


def object_of(text: bytes | str) -> dict[str, Any] | None:
    """Return the JSON object that a text is; None for anything else."""
    try:
        value = loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def written(value: Any) -> bytes:
    """Return the value as JSON, written inside as many lists as it must leave room for; raises TypeError for one too deep."""
    return orjson.dumps(_SPARE_LISTS, default=lambda _: value)[_SPARE_LEVELS:-_SPARE_LEVELS]


def _nested(levels: int) -> Any:
    """Return lists inside each other; the innermost holds what orjson cannot write and asks for."""
    return [_nested(levels - 1)] if levels else object()


_SPARE_LISTS = _nested(_SPARE_LEVELS)
"""Made once: to make them costs more than to write a short body."""


def _openings(text: bytes | bytearray | str) -> int:
    """Count what may open a level, brackets in texts too: there are never fewer of them than levels."""
    if isinstance(text, str):
        return text.count("{") + text.count("[")
    return text.count(b"{") + text.count(b"[")
