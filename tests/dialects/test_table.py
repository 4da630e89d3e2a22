"""The page about dialects says what the tests prove, and nothing else."""

import re

from tests.dialects import table, test_matrix
from tests.dialects.matrix import KINDS, cells


def test_the_page_is_what_the_matrix_says_now() -> None:
    assert table.PAGE.read_text(encoding="utf-8") == table.page(), "run: python -m tests.dialects.table"


def test_each_mark_of_the_page_is_a_cell_that_is_played() -> None:
    marks = re.findall(r" yes(?: ¹)? \|", table.page())
    assert len(marks) == len(list(cells())) == 128
    assert test_matrix.PLAYS.keys() == KINDS.keys()


def test_each_test_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(?:tests/dialects/)?(test_\w+\.py)", table.page()))
    assert len(named) == 11
    assert all((table.PAGE.parents[1] / "tests" / "dialects" / name).is_file() for name in named)
