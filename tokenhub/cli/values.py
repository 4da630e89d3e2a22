"""What may be typed as a value: each function takes the text of an option and returns what it means.

Numbers are plain ASCII digits (T122): Python's own ``int`` would take ``1_000``, ``" 5 "`` and
Arabic digits. A ValueError becomes a usage error that names the option.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

from tokenhub import clock, money
from tokenhub.billing import credits
from tokenhub.errors import InvalidRequest


class _Word(Enum):
    """A word that is no value: a text that reads the same is another thing."""

    DEFAULT = "default"


DEFAULT: Final = _Word.DEFAULT
"""Typed, where an option takes it, to give up a value of one's own for the plan's."""

NEVER: Final = "never"
"""Typed for what does not end."""

ENDS: Final = "2027-01-31 (UTC), a moment such as 2027-01-31T12:00:00Z, a duration such as 30d"
"""What may be typed for an end, in the help of an option."""

OFF: Final = "off"
"""Typed to switch something off."""

_FILE_MAX_BYTES: Final = 1_000_000
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


def whole(minimum: int = 0, maximum: int = 10**9) -> Callable[[str], int]:
    """Return a reader of whole numbers within these bounds."""

    def read(text: str) -> int:
        if _WHOLE.fullmatch(text) is None or not minimum <= int(text) <= maximum:
            raise ValueError(f"{text[:40]!r} is not a whole number from {minimum:,} to {maximum:,}.")
        return int(text)

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Return a reader of one word out of these."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text[:40]!r} is none of {', '.join(words)}.")
        return text

    return read


def or_default(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a reader that also takes the word ``default``."""
    return lambda text: DEFAULT if text == DEFAULT.value else read(text)


def changes(**options: Any) -> dict[str, Any]:
    """Return the options that were given; None for those given as ``default``."""
    return {name: None if value is DEFAULT else value for name, value in options.items() if value is not None}


def alone(option: str, others: Mapping[str, Any]) -> None:
    """Refuse options, by their names as typed, that were given along with one that leaves them nothing to say."""
    if given := [name for name, value in others.items() if value]:
        raise InvalidRequest(f"{option} cannot be given together with {', '.join(given)}: leave one or the other out.")


def option_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by their names as typed."""
    return {f"--{name.replace('_', '-')}": value for name, value in options.items()}


def usd(text: str) -> int:
    """Read a positive amount of US dollars; the result is in nano-USD (T29)."""
    amount = money.parse_usd(text)
    if amount == 0:
        raise ValueError("the amount must be more than 0.")
    return amount


def minor(text: str) -> int:
    """Read an amount to be paid, with at most two decimals; the result is in cents, or fen."""
    amount = money.parse_decimal(text, 2)
    if not 0 < amount <= credits.LARGEST_MINOR:
        raise ValueError(f"{text[:40]!r} is not an amount from 0.01 to 999999.99.")
    return amount


def or_off(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a reader that also takes the word ``off``."""
    return lambda text: OFF if text == OFF else read(text)


def names(text: str) -> tuple[str, ...]:
    """Read a comma-separated list of names."""
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise ValueError(f"{text[:40]!r} has an empty name in it.")
    return parts


def pair(text: str) -> tuple[str, str]:
    """Read ``NAME=A,B``."""
    name, separator, value = text.partition("=")
    if not (name.strip() and separator and value.strip()):
        raise ValueError(f"{text[:40]!r} is not of the form NAME=A,B.")
    return name.strip(), value.strip()


def future(text: str) -> int:
    """Read a moment to come, as milliseconds since 1970: a date, a date and time, or a duration from now."""
    from tokenhub.operations import dates

    return dates.parse_future(text, clock.now_ms())


def future_or_never(text: str) -> int | str:
    """Read a moment to come, or the word ``never``."""
    return NEVER if text == NEVER else future(text)


def past(text: str) -> int:
    """Read a moment gone by, as milliseconds since 1970: a date, a date and time, or a duration before now."""
    from tokenhub.operations import dates

    return dates.parse_past(text, clock.now_ms())


def duration(text: str) -> int:
    """Read a duration such as ``90s``, ``1h`` or ``30d``, as milliseconds."""
    from tokenhub.operations import dates

    return dates.parse_duration(text)


def folder(text: str) -> Path:
    """Read the path of a folder."""
    if not text:
        raise ValueError("it names no folder.")
    return Path(text)


def text_of(file: Path) -> str:
    """Return the text of a file that a command reads; InvalidRequest for one that is none."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{str(file)!r} cannot be read: {error.strerror}.") from error
    if len(raw) > _FILE_MAX_BYTES:
        raise InvalidRequest(f"{str(file)!r} is larger than {_FILE_MAX_BYTES:,} bytes.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{str(file)!r} is not UTF-8 text.") from error
