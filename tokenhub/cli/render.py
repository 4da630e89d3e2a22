"""What a command shows: tables and records for people, JSON for programs, the same fields in both.

Data goes to stdout, messages to stderr. Every text that came from an operator, a client or
an upstream passes :func:`inert`, so that it cannot move the cursor, colour the screen,
reorder a line or be taken for markup (T120).
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from tokenhub import money

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

_CENT: Final = money.NANO_PER_USD // 100
_FORMULA: Final = ("=", "+", "-", "@")
_NUMBER: Final = re.compile(r"-[0-9]+(\.[0-9]+)?", re.ASCII)
_WORDS: Final = re.compile(r" *[^ ]+(?: %)?")
_DEPLOYMENT_PARTS: Final = re.compile(r"[^/@#_]*[/@#_]|[^/@#_]+")
_BETWEEN: Final = 2
"""Columns of a line between two columns of a table."""
_UNLIMITED_WIDTH: Final = 100_000
"""Columns of a line that no terminal shows: nothing is folded in a pipe."""
_LINE_WIDTH: Final = 9
_LINE_WIDTHS: Final = {
    "ended_at": 19, "id": 36, "account": 14, "model": 22, "provider": 10, "status": 4, "end": 8, "charged_usd": 11
}  # fmt: skip
"""Columns of a list that goes on: its widths are fixed before its rows are known."""


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a row in a table. The field's name ends in its unit, and the unit says how it is shown.

    A ``spare`` one may be left out of a table where there is no room for it; never an amount.
    """

    field: str
    title: str
    right: bool = False
    spare: bool = False


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


def in_commands(words: str) -> str:
    """Return what a refusal says with the command in the place of what only HTTP has."""
    return words.replace("GET /v1/models lists", "tokenhub models list shows")


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
    """Write rows to stdout as a table: as wide as the terminal, or unfolded into a pipe.

    Nothing is cut, and only words are parted. What may go is left out where there is no room, and
    named; where the rest is still too wide, each row is shown as a record, whole.
    """
    from rich.table import Table
    from rich.text import Text

    kept = list(rows)
    cells = {column: [shown(column.field, row.get(column.field)) for row in kept] for column in columns}
    widths = _widths(cells)
    if not widths:
        for number, row in enumerate(kept):
            if number:
                print_blank()
            print_record(row, columns)
        return
    table = Table(box=None, pad_edge=False, padding=(0, _BETWEEN, 0, 0), header_style="bold")
    for column, width in widths.items():
        justify: Literal["right", "left"] = "right" if column.right else "left"
        table.add_column(Text(_folded(_WORDS.findall(column.title), width)), justify=justify, width=width)
    for texts in zip(*(cells[column] for column in widths), strict=True):
        table.add_row(
            *(Text(_folded(_parts(column, text), widths[column])) for column, text in zip(widths, texts, strict=True))
        )
    _print(table)
    _tell_left_out(columns, widths)


def _tell_left_out(columns: Sequence[Column], kept: Collection[Column]) -> None:
    if out := ", ".join(column.title for column in columns if column not in kept):
        say(f"Too narrow here for: {out}. A wider window shows all, and so does --json.")


def used(found: Sequence[Row], columns: Sequence[Column]) -> list[Column]:
    """Return the columns in which some row has something to say."""
    return [column for column in columns if any(row.get(column.field) is not None for row in found)]


def _widths(cells: Mapping[Column, Sequence[str]]) -> dict[Column, int]:
    """Return the columns that are shown, with their widths; none where even those that are needed do not fit.

    Of what may go, the last goes first. Of what is shown, the widest is folded first.
    """
    from rich.cells import cell_len

    room = _width()
    widths = {column: max(map(cell_len, (column.title, *texts))) for column, texts in cells.items()}
    least = {
        column: max(
            cell_len(part.strip())
            for parts in (_WORDS.findall(column.title), *(_parts(column, text) for text in texts))
            for part in parts
        )
        for column, texts in cells.items()
    }
    while sum(least[column] + _BETWEEN for column in widths) - _BETWEEN > room:
        if not (spare := [column for column in widths if column.spare]):
            return {}
        del widths[spare[-1]]
    for _ in range(sum(width + _BETWEEN for width in widths.values()) - _BETWEEN - room):
        widths[max((one for one in widths if widths[one] > least[one]), key=widths.__getitem__)] -= 1
    return widths


def _parts(column: Column, text: str) -> list[str]:
    """Return what of a cell stays whole: the words of a text, the parts of a deployment's name."""
    return (_DEPLOYMENT_PARTS if column.field == "deployment" else _WORDS).findall(text)


def _folded(parts: Sequence[str], width: int) -> str:
    """Return the parts in lines of at most this width; a longer part is a line of its own."""
    from rich.cells import cell_len

    lines = [""]
    for part in parts:
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part if lines[-1] else part.lstrip()
    return "\n".join(lines)


def print_heading(columns: Sequence[Column]) -> list[Column]:
    """Begin a table that goes on, with columns wide enough for most values, and return those that it has.

    What may go is left out where there is no room; none is left where the rest is still too wide, and each
    row has to be shown as a record.
    """
    kept = list(columns)
    while sum(_line_width(column) + _BETWEEN for column in kept) - _BETWEEN > _width():
        if not (spare := [column for column in kept if column.spare]):
            return []
        kept.remove(spare[-1])
    print_line((" " * _BETWEEN).join(_padded(column.title, column) for column in kept).rstrip())
    _tell_left_out(columns, kept)
    return kept


def print_row(row: Row, columns: Sequence[Column]) -> None:
    """Write one more row of a table that goes on."""
    cells = (_padded(shown(column.field, row.get(column.field)), column) for column in columns)
    print_line((" " * _BETWEEN).join(cells).rstrip())


def _line_width(column: Column) -> int:
    return _LINE_WIDTHS.get(column.field, _LINE_WIDTH)


def _padded(text: str, column: Column) -> str:
    from rich.cells import cell_len

    room = " " * (_line_width(column) - cell_len(text))
    return room + text if column.right else text + room


def print_record(row: Row, columns: Sequence[Column]) -> None:
    """Write one row to stdout, a line for each field; a long value goes on below itself, parted between words."""
    from rich.table import Table
    from rich.text import Text

    room = _width() - max((len(column.title) for column in columns), default=0) - _BETWEEN
    table = Table(box=None, pad_edge=False, padding=(0, _BETWEEN, 0, 0), show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for column in columns:
        text = shown(column.field, row.get(column.field))
        table.add_row(Text(column.title), Text(_folded(_parts(column, text), room)))
    _print(table)


def _print(renderable: Any) -> None:
    console = _console()
    with console.capture() as captured:
        console.print(renderable)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    sys.stdout.flush()


def _width() -> int:
    """Return how many columns a line of stdout has."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED_WIDTH


def _console() -> "Console":
    """Return what renders tables: their lines are folded before, so its own are without end."""
    from rich.console import Console

    more: dict[str, Any] = {} if colours(sys.stdout) else {"force_terminal": False, "color_system": None}
    return Console(file=sys.stdout, width=_UNLIMITED_WIDTH, highlight=False, markup=False, emoji=False, **more)


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
