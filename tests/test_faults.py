"""``docs/faults.md`` and the suite agree: each fault has a test that carries its number, each number has a row."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| T(\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def numbered() -> dict[int, set[str]]:
    """Fault number to the test files that have a test of it."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")):
            for number in re.findall(r"t(\d+)(?=_)", name):
                found[int(number)].add(path.relative_to(ROOT / "tests").as_posix())
    return found


TESTS = numbered()
ROWS = {
    int(number): files for number, _, _, files in ROW.findall((ROOT / "docs" / "faults.md").read_text(encoding="utf-8"))
}


def test_every_numbered_test_has_a_row() -> None:
    assert sorted(TESTS.keys() - ROWS.keys()) == []


@pytest.mark.parametrize("number", sorted(ROWS))
def test_the_tests_a_row_names_show_that_fault(number: int) -> None:
    named = set(re.findall(r"`([^`]+)`", ROWS[number]))
    assert named
    assert named <= TESTS[number], f"T{number}: {sorted(named - TESTS[number])} have no test of that number"
