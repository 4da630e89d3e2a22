"""The help of a command: what it does, its options by subject, examples that can be copied.

Written with click's own formatter. Typer's other one draws boxes with rich, whose import takes
longer than all else that ``--help`` does.
"""

import sys
from collections.abc import Sequence
from typing import Any, Final

from tokenhub.cli import render

_HEADING: Final = "\x1b[1m"
_NAME: Final = "\x1b[36m"
_PLAIN: Final = "\x1b[0m"

_WIDEST: Final = 26
"""Columns of the longest name that the others are aligned with; what is longer has a line of its own."""

Rows = list[tuple[str, str]]


class Help:
    """How our commands and groups write their help; ``examples`` are command lines, one a line."""

    examples: str

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, options by their panels, and a group's commands by theirs."""
        panels: dict[str, Rows] = {}
        for param in self.get_params(ctx):  # type: ignore[attr-defined]
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":  # typer adds the type that its own parser would read
                panels.setdefault("Arguments", []).append((param.metavar or record[0], record[1]))
            else:
                panels.setdefault(param.rich_help_panel or "Options", []).append(record)
        for name, command in getattr(self, "commands", {}).items():
            if not command.hidden:
                panels.setdefault(command.rich_help_panel or "Commands", []).append((name, _first_line(command.help)))
        _write(formatter, sorted(panels.items(), key=lambda panel: _PLACES.get(panel[0], 1)))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the examples, unfolded, so that they can be copied."""
        if self.examples:
            formatter.write_paragraph()
            formatter.write(_styled("Examples", _HEADING) + "\n")
            formatter.write("".join(f"  $ {line}\n" for line in self.examples.splitlines()))


_PLACES: Final = {"Arguments": 0, "Options": 2, "Options of every command": 3}
"""Panels that do not stand where the first of them is met."""


def _write(formatter: Any, panels: Sequence[tuple[str, Rows]]) -> None:
    lengths = [len(first) for _, rows in panels for first, _ in rows]
    width = max((length for length in lengths if length <= _WIDEST), default=_WIDEST)
    for name, rows in panels:
        formatter.write_paragraph()
        formatter.write(_styled(name, _HEADING) + "\n")
        with formatter.indentation():
            formatter.write_dl([(_styled(first.ljust(width), _NAME), second) for first, second in rows], col_max=width)


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n\n")[0].replace("\n", " ")


def _styled(text: str, style: str) -> str:
    return f"{style}{text}{_PLAIN}" if render.colours(sys.stdout) else text
