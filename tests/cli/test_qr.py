"""QR codes on a terminal: the right modules in the right place, and none where they could not be read."""

import io
import os

import pytest
import segno

from tokenhub.cli import qr

LINK = "https://hub.example.com/t/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
HALVES = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}


def modules(code: list[str], *, drawn_is_dark: bool) -> list[list[int]]:
    """Read a shown code back: 1 for a dark module, as a camera sees it."""
    rows = [[HALVES[char][half] for char in line] for line in code for half in (0, 1)]
    return [[int(drawn is drawn_is_dark) for drawn in row] for row in rows]


def real(link: str) -> list[list[int]]:
    code = segno.make(link, error="L", boost_error=False, micro=False)
    return [[int(bool(module)) for module in row] for row in code.matrix_iter(border=1)]


@pytest.mark.parametrize("link", [LINK, "https://checkout.stripe.com/c/pay/cs_test_" + "a1B2" * 118 + "#fid"])
@pytest.mark.parametrize("invert", [False, True])
def test_a_camera_sees_the_code_of_the_whole_link(link: str, invert: bool) -> None:
    seen = modules(qr.lines(link, invert=invert), drawn_is_dark=invert)
    code = real(link)
    assert seen[: len(code)] == code
    # What is left of the last line is border, not code.
    assert {module for row in seen[len(code) :] for module in row} <= {0}


def test_a_short_link_makes_a_code_that_fits_any_terminal() -> None:
    code = qr.lines(LINK)
    assert (len(code[0]), len(code)) == (35, 18)
    assert qr.fits(code, 80, 24)


@pytest.mark.parametrize(("columns", "rows", "fits"), [(35, 20, True), (34, 20, False), (35, 19, False), (0, 0, False)])
def test_a_code_is_shown_whole_or_not_at_all(columns: int, rows: int, fits: bool) -> None:
    assert qr.fits(qr.lines(LINK), columns, rows) is fits


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("encoding", "term", "draws"), [("utf-8", "xterm", True), ("ascii", "xterm", False), ("UTF-8", "dumb", False)]
)
def test_half_blocks_are_drawn_only_where_they_can_be_shown(
    monkeypatch: pytest.MonkeyPatch, encoding: str, term: str, draws: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    stream = Terminal()
    stream.encoding = encoding  # type: ignore[misc]
    assert qr.can_draw(stream) is draws
    assert not qr.can_draw(io.StringIO())


def test_the_size_of_a_terminal_is_its_own_or_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "w") as stream:
        assert qr.size(stream) == (0, 0)
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setenv("LINES", "forty")
        assert qr.size(stream) == (120, 0)
