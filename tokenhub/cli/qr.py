"""A link as a picture for a phone's camera: half blocks, two rows of a QR code in each line.

Only for a terminal that is wide and high enough to show all of it at once: a code that is
folded or scrolled away in part cannot be read.
"""

import os
import sys
from typing import TextIO

_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
_QUIET = 1
"""Modules of light border, which readers look for; the terminal's own margin adds to it."""


def lines(link: str, *, invert: bool = False) -> list[str]:
    """Return the code of a link, a text for each line of a terminal that writes light on dark.

    ``invert`` is for one that writes dark on light: there the dark modules are drawn.
    """
    import segno

    code = segno.make(link, error="L", boost_error=False, micro=False)
    rows = [[bool(module) is invert for module in row] for row in code.matrix_iter(border=_QUIET)]
    if len(rows) % 2:
        rows.append([not invert] * len(rows[0]))
    return [
        "".join(_HALVES[upper, lower] for upper, lower in zip(*rows[at : at + 2], strict=True))
        for at in range(0, len(rows), 2)
    ]


def fits(code: list[str], columns: int, rows: int) -> bool:
    """Tell whether a terminal shows all of a code, with a line to spare above and below."""
    return len(code[0]) <= columns and len(code) + 2 <= rows


def size(stream: TextIO) -> tuple[int, int]:
    """Return the columns and rows of a terminal; COLUMNS and LINES in the environment win. (0, 0): it has none."""
    try:
        real = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        real = os.terminal_size((0, 0))
    return _number("COLUMNS") or real.columns, _number("LINES") or real.lines


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def can_draw(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that can show half blocks."""
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    return stream is not None and stream.isatty() and encoding == "utf8" and os.environ.get("TERM") != "dumb"


def shown(link: str, *, invert: bool) -> list[str]:
    """Return the code of a link as messages can carry it here, or what it would need, or nothing without a terminal."""
    if not can_draw(sys.stderr):
        return []
    code = lines(link, invert=invert)
    columns, rows = size(sys.stderr)
    if fits(code, columns, rows):
        return code
    return [f"(For a QR code of this link, make the terminal {len(code[0])} x {len(code) + 2} or larger.)"]
