"""The log: one line of JSON an event, whatever is in it."""

import io
import json

import pytest

from tokenhub.observability import log


@pytest.mark.parametrize(
    "text", ["a\x1b[2J", "\x9b31m", "\u202egnp.exe", "one\ntwo\u2028three\x85", "\ud800", "Müller"]
)
def test_t112_t120_no_text_of_a_line_can_end_it_or_move_a_terminal(text: str) -> None:
    lines = io.StringIO()
    log.Log(stream=lines).write("info", "said", {"reason": text, "number": 2**70})
    line = lines.getvalue()
    assert line.isascii()
    assert (line.count("\n"), line.removesuffix("\n").isprintable()) == (1, True)
    assert json.loads(line) | {"time": ""} == {
        "time": "", "level": "info", "event": "said", "reason": text, "number": 2**70,
    }  # fmt: skip
