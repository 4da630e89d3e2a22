"""What a command shows: tables and records for people, JSON for programs, the same fields in both.

Data goes to stdout, messages to stderr. Every text that came from an operator, a client or
an upstream passes :func:`inert`, so that it cannot move the cursor, colour the screen,
reorder a line or be taken for markup (T120).
"""

import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from tokenhub import money

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

_CENT: Final = money.NANO_PER_USD // 100
_FORMULA: Final = ("=", "+", "-", "@")
_NUMBER: Final = re.compile(r"-[0-9]+(\.[0-9]+)?", re.ASCII)
_ID: Final = re.compile(r"[a-z]+_[0-9a-f]{32}", re.ASCII)
_FOLDED: Final = 10
"""To how many characters a column that is no id may be narrowed."""
_UNLIMITED_WIDTH: Final = 100_000
"""Columns of a line that no terminal shows: nothing is folded in a pipe."""


_LINE_WIDTH: Final = 9
_LINE_WIDTHS: Final = {"ended_at": 19, "id": 36, "model": 24, "account": 14}
"""Columns of a list that goes on: its widths are fixed before its rows are known."""


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a row in a table. The field's name ends in its unit, and the unit says how it is shown."""

    field: str
    title: str
    right: bool = False


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


def print_table(rows: Iterable[Row], columns: Sequence[Column]) -> None:
    """Write rows to stdout as a table: as wide as the terminal, or unfolded into a pipe. Ids are never folded."""
    from rich.table import Table
    from rich.text import Text

    kept = list(rows)
    cells = {column: [shown(column.field, row.get(column.field)) for row in kept] for column in columns}
    ids = {column for column, texts in cells.items() if any(map(_ID.fullmatch, texts))}
    fitting = _fitting(cells, ids, _console().width) if ids else list(columns)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in fitting:
        justify: Literal["right", "left"] = "right" if column.right else "left"
        table.add_column(Text(column.title), justify=justify, overflow="fold", no_wrap=column in ids)
    for texts in zip(*(cells[column] for column in fitting), strict=True):
        table.add_row(*map(Text, texts))
    _print(table)
    if out := ", ".join(column.title for column in columns if column not in fitting):
        say(f"Too narrow here for: {out}. A wider window shows all, and so does --json.")


def used(found: Sequence[Row], columns: Sequence[Column]) -> list[Column]:
    """Return the columns in which some row has something to say."""
    return [column for column in columns if any(row.get(column.field) is not None for row in found)]


def _fitting(cells: Mapping[Column, Sequence[str]], ids: Collection[Column], width: int) -> list[Column]:
    """Return the columns that fit beside whole ids: the last ones, which matter least, give way."""
    fitting = list(cells)
    widths = {column: max(map(len, (column.title, *texts))) for column, texts in cells.items()}
    least = {column: size if column in ids else min(size, _FOLDED) for column, size in widths.items()}
    while sum(least[column] + 2 for column in fitting) > width and (
        others := [one for one in fitting if one not in ids]
    ):
        fitting.remove(others[-1])
    return fitting


def print_heading(columns: Sequence[Column]) -> None:
    """Begin a table that goes on: its columns are wide enough for most values."""
    print_line("  ".join(_padded(column.title, column) for column in columns).rstrip())


def print_row(row: Row, columns: Sequence[Column]) -> None:
    """Write one more row of a table that goes on."""
    print_line("  ".join(_padded(shown(column.field, row.get(column.field)), column) for column in columns).rstrip())


def _padded(text: str, column: Column) -> str:
    return text.rjust(_LINE_WIDTH) if column.right else text.ljust(_LINE_WIDTHS.get(column.field, _LINE_WIDTH))


def print_record(row: Row, columns: Sequence[Column]) -> None:
    """Write one row to stdout, a line for each field."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for column in columns:
        table.add_row(Text(column.title), Text(shown(column.field, row.get(column.field))))
    _print(table)


def _print(renderable: Any) -> None:
    console = _console()
    with console.capture() as captured:
        console.print(renderable)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    sys.stdout.flush()


def _console() -> "Console":
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, no_color=not colours(sys.stdout))
    return Console(
        file=sys.stdout,
        width=_UNLIMITED_WIDTH,
        force_terminal=False,
        color_system=None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def shown(field: str, value: Any) -> str:
    """Render a field's value for a person, by the unit at the end of its name."""
    if value is None:
        return "-"
    unit = field.rpartition("_")[2]
    return inert(_UNITS.get(unit, _plain)(value))


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


def _time(value: str) -> str:
    return value.replace("T", " ").removesuffix("Z")


def _count(value: int) -> str:
    return f"{value:,}"


_UNITS: Final[Mapping[str, Callable[[Any], str]]] = {
    "usd": _dollars,
    "bp": _percent,
    "at": _time,
    "tokens": _count,
}
