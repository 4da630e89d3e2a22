"""Rows for people: tables as wide as the terminal, lists that go on, and records; the same fields as in JSON.

Nothing is cut. What may go is left out where there is no room, and named.
"""

import re
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tokenhub.cli import render

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

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


def print_table(rows: Iterable[Row], columns: Sequence[Column]) -> None:
    """Write rows to stdout as a table: as wide as the terminal, or unfolded into a pipe.

    Nothing is cut, and only words are parted. What may go is left out where there is no room, and
    named; where the rest is still too wide, each row is shown as a record, whole.
    """
    from rich.table import Table
    from rich.text import Text

    kept = list(rows)
    cells = {column: [render.shown(column.field, row.get(column.field)) for row in kept] for column in columns}
    widths = _widths(cells)
    if not widths:
        for number, row in enumerate(kept):
            if number:
                render.print_blank()
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
        render.say(f"Too narrow here for: {out}. A wider window shows all, and so does --json.")


def print_below(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Write a table under what was shown before, with an empty line between; nothing where there are no rows."""
    if rows:
        render.print_blank()
        print_table(rows, columns)


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
    render.print_line((" " * _BETWEEN).join(_padded(column.title, column) for column in kept).rstrip())
    _tell_left_out(columns, kept)
    return kept


def print_row(row: Row, columns: Sequence[Column]) -> None:
    """Write one more row of a table that goes on."""
    cells = (_padded(render.shown(column.field, row.get(column.field)), column) for column in columns)
    render.print_line((" " * _BETWEEN).join(cells).rstrip())


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
        text = render.shown(column.field, row.get(column.field))
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

    more: dict[str, Any] = {} if render.colours(sys.stdout) else {"force_terminal": False, "color_system": None}
    return Console(file=sys.stdout, width=_UNLIMITED_WIDTH, highlight=False, markup=False, emoji=False, **more)
