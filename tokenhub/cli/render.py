"""What a command shows, in words: text, amounts and moments for people, JSON for programs.

Data goes to stdout, messages to stderr. Every text that came from an operator, a client or
an upstream passes :func:`inert`, so that it cannot move the cursor, colour the screen,
reorder a line or be taken for markup (T120).
"""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any, Final, TextIO

from tokenhub import money

_CENT: Final = money.NANO_PER_USD // 100
_FORMULA: Final = ("=", "+", "-", "@")
_NUMBER: Final = re.compile(r"-[0-9]+(\.[0-9]+)?", re.ASCII)


def inert(text: str) -> str:
    """Return a text in which every character that is not printable is spelled out, such as ``\\x1b`` for ESC.

    Covered are C0 and C1 controls, DEL, line separators, bidirectional and other format
    characters, lone surrogates and unassigned code points.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _spelled(char) for char in text)


def _spelled(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def cell(value: Any) -> Any:
    """Return a CSV field that no terminal and no spreadsheet takes for a command (T119, T120)."""
    if not isinstance(value, str):
        return value
    text = inert(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def say(text: str) -> None:
    """Write a message, one line, to stderr."""
    print(inert(text), file=sys.stderr, flush=True)


_IN_COMMANDS = {
    "GET /v1/models lists": "tokenhub models list shows",
    "set a smaller max_completion_tokens.": "give a smaller --max-tokens.",
}


def in_commands(words: str) -> str:
    """Return what a refusal says with the command in the place of what only HTTP has."""
    for in_http, in_command in _IN_COMMANDS.items():
        words = words.replace(in_http, in_command)
    return words


def complain(text: str) -> None:
    """Write what went wrong, and what to do, as one line to stderr."""
    label = "\x1b[1;31merror:\x1b[0m" if colours(sys.stderr) else "error:"
    first = text.partition(" ")[0]
    capital = text[:1].upper() if first.isalpha() else text[:1]
    print(f"{label} {inert(capital + text[1:])}", file=sys.stderr, flush=True)


def banner(text: str) -> None:
    """Write a warning that nobody overlooks to stderr: one line, white on red where there are colours."""
    begin, end = ("\x1b[1;97;41m ", " \x1b[0m") if colours(sys.stderr) else ("*** ", " ***")
    print(f"{begin}{inert(text)}{end}", file=sys.stderr, flush=True)


def colours(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that wants colours (T123; no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def counted(number: int, noun: str) -> str:
    """Return ``1 key`` or ``2 keys``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """Render JSON in ASCII, so that no terminal can be moved by a value in it (T120)."""
    return json.dumps(value, ensure_ascii=True, indent=indent)


def print_line(text: str) -> None:
    """Write one line of data to stdout, exactly as given: keys and JSON, which are ASCII by construction."""
    print(text, flush=True)


def print_text(text: str) -> None:
    """Write a piece of a model's answer to stdout: its lines stay lines, all else is inert."""
    sys.stdout.write("\n".join(inert(line.replace("\t", "    ")) for line in text.split("\n")))
    sys.stdout.flush()


def print_title(text: str, more: str = "") -> None:
    """Write a heading to stdout, bold where there are colours, and what is to be said beside it."""
    bold, plain = ("\x1b[1m", "\x1b[0m") if colours(sys.stdout) else ("", "")
    print_line(f"{bold}{inert(text)}{plain}{' ' if more else ''}{inert(more)}")


def print_blank() -> None:
    """Write an empty line between two parts of an answer."""
    print_line("")


def shown(field: str, value: Any) -> str:
    """Render a field's value for a person, by the unit at the end of its name."""
    if value is None:
        return "-"
    unit = field.rpartition("_")[2]
    return inert((_ENDS.get(field) or _UNITS.get(unit, _plain))(value))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{name} = {_plain(part)}" for name, part in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(part) for part in value) or "-"
    return str(value) or "-"


def _dollars(value: str) -> str:
    """Round an amount down to cents; one below a dollar that is no whole cents is shown exactly."""
    sign, digits = ("-", value[1:]) if value.startswith("-") else ("", value)
    nano = money.parse_decimal(digits, 9)
    return (
        money.shown(-nano if sign else nano) if nano >= money.NANO_PER_USD or nano % _CENT == 0 else f"{sign}${digits}"
    )


def _percent(basis_points: int) -> str:
    whole, part = divmod(basis_points, 100)
    return f"{whole}.{part:02d}".rstrip("0").rstrip(".") + " %"


def moment(value: str) -> str:
    """Return an ISO moment as people read it, without its zone, which is UTC."""
    return value.replace("T", " ").removesuffix("Z")


def end(value: str) -> str:
    """Return the moment at which something ends: at midnight as its last day, which is how it is given."""
    if not value.endswith("T00:00:00Z"):
        return moment(value)
    return f"last day {_last_day(value)}"


def expires(value: str) -> str:
    """Return the same as words of a sentence."""
    return f"expires after {_last_day(value)} UTC" if value.endswith("T00:00:00Z") else f"expires {moment(value)} UTC"


def _last_day(midnight: str) -> date:
    return date.fromisoformat(midnight[:10]) - timedelta(days=1)


def _count(value: int) -> str:
    return f"{value:,}"


_UNITS: Final[Mapping[str, Callable[[Any], str]]] = {
    "usd": _dollars,
    "bp": _percent,
    "at": moment,
    "tokens": _count,
}
_ENDS: Final[Mapping[str, Callable[[Any], str]]] = {"expires_at": end, "next_expiry_at": end}
