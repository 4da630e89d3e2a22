"""What is shown is inert: no text can move a cursor, colour a screen or reorder a line."""

import io
import json
import sys
from contextlib import redirect_stdout

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.cli import render, tables
from tokenhub.cli.tables import Column

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "a\rb",
    "a\nb",
    "a\bb",
    "a\x00b",
    "\x7f",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\u200bzero",
    "\ufeff",
    "\u2028line",
    "\ud800",
    "\U000e0041tag",
]
"""ESC and C1 sequences, CR, LF, backspace, NUL, DEL, bidirectional and invisible marks, separators, a lone surrogate."""


@pytest.mark.parametrize("text", HOSTILE)
def test_t120_what_is_not_printable_is_spelled_out(text: str) -> None:
    shown = render.inert(text)
    assert shown.isprintable()
    assert shown.isascii()
    assert "\\x" in shown or "\\u" in shown or "\\U" in shown


@given(st.text(st.characters()))
def test_t120_any_text_becomes_printable_and_printable_text_stays(text: str) -> None:
    shown = render.inert(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize("text", ["Größe", "株式会社", "naïve café", "[/red]", "[bold]x", ":smile:", "a\\b"])
def test_t120_readable_text_and_markup_are_shown_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_table([{"name": text}], (Column("name", "Name"),))
    tables.print_record({"name": text}, (Column("name", "Name"),))
    assert capsys.readouterr().out == f"Name\n{text}\nName  {text}\n"


def test_t120_a_table_keeps_its_shape_whatever_stands_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_table([{"a": text, "b": "|"} for text in HOSTILE], (Column("a", "A"), Column("b", "B")))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(HOSTILE) + 1
    assert len({line.index("|") for line in lines[1:]}) == 1


def test_t120_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    render.print_line(render.as_json(HOSTILE[:-2]))
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert not set(printed) & set("\x1b\x9b\r\x07\x08")
    assert json.loads(printed) == HOSTILE[:-2]


def test_a_message_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    render.say("a\nb\x1b")
    render.complain("there is\nno such thing")
    assert capsys.readouterr().err == "a\\x0ab\\x1b\nerror: There is\\x0ano such thing\n"


def test_a_models_answer_keeps_its_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("one\ntw", "o\n\n\tthree\x1b[31m\r"):
        render.print_text(part)
    assert capsys.readouterr().out == "one\ntwo\n\n    three\\x1b[31m\\x0d"


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("available_usd", "0", "$0.00"),
        ("available_usd", "12.999999999", "$12.99"),
        ("available_usd", "1234567.5", "$1,234,567.50"),
        ("available_usd", "0.000000001", "$0.000000001"),
        ("available_usd", "0.5", "$0.50"),
        ("available_usd", "-0.5", "-$0.50"),
        ("available_usd", "-0.000000001", "-$0.000000001"),
        ("available_usd", "-3.219", "-$3.22"),
        ("fee_bp", 300, "3 %"),
        ("fee_bp", 0, "0 %"),
        ("fee_bp", 125, "1.25 %"),
        ("fee_bp", 10000, "100 %"),
        ("created_at", "2027-01-31T00:00:00Z", "2027-01-31 00:00:00"),
        ("expires_at", "2027-02-01T00:00:00Z", "last day 2027-01-31"),
        ("expires_at", "2027-02-01T00:00:01Z", "2027-02-01 00:00:01"),
        ("next_expiry_at", "2028-03-01T00:00:00Z", "last day 2028-02-29"),
        ("prompt_tokens", 1234567, "1,234,567"),
        ("name", None, "-"),
        ("name", "", "-"),
        ("ok", False, "no"),
        ("models", ["a", "b"], "a, b"),
        ("models", [], "-"),
        ("names", {"fast": ["a", "b"]}, "fast = a, b"),
    ],
)
def test_t30_a_value_is_shown_by_its_unit_and_never_above_what_it_is(field: str, value: object, shown: str) -> None:
    assert render.shown(field, value) == shown


def test_a_stream_that_is_no_terminal_gets_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not render.colours(io.StringIO())

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert render.colours(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not render.colours(Terminal())
    with redirect_stdout(Terminal()) as out:
        tables.print_table([{"id": 1}], [Column("id", "Id")])
    assert out.getvalue() == "Id\n1\n"
    assert sys.stdout is not None
