"""What people see of the books: statements whose cents add up in every form, and usage across the seam of deleted days."""

import csv
import io
import re
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.cli.program import data, run
from tests.conftest import store_settings
from tests.fakes.bank import DAY, NOW, Bank
from tests.operations.test_retention import TODAY, work
from tokenhub import clock
from tokenhub.operations.hub import Hub
from tokenhub.paths import Home
from tokenhub.store import ledger

EVIL = "<script>alert('m')</script>"
MONTH = ("--month", "2026-09", "--account", "acme")


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A home whose only account has a month of odd amounts behind it, all of it deleted but the lines."""
    home = Home(tmp_path / "home", explicit=True)
    settings = store_settings()
    with Hub.init(home, {"local.enabled": settings.local_enabled}) as hub:
        bank = Bank(hub.database, home)
        account = bank.account("acme", 3_333_333_333, expires_at=NOW + 300 * DAY)
        ledger.grant(hub.database, account, 1_234_567_891, EVIL, NOW + 3 * DAY, EVIL, NOW)
        for number in range(40):
            model = EVIL if number % 5 == 0 else f"m{number % 5}"
            bank.serve("acme-0", NOW + number * 60_000, 3_456_789 + number, 103_704, model=model)
        ledger.expire_due(hub.database, NOW + 4 * DAY)
        work(hub, TODAY + 9 * DAY)
    return home.path


def adds_up(rows: list[dict[str, str]]) -> bool:
    """Check the shown amounts of an opening balance, lines and a closing balance."""
    opening, *lines, closing = rows
    for line in lines:
        if line["model_fee"] not in ("", "-"):
            assert Decimal(line["model_fee"]) + Decimal(line["service_fee"]) == Decimal(line["amount"])
    total = sum(Decimal(line["amount"]) for line in lines)
    return len(lines) == 8 and Decimal(opening["amount"]) + total == Decimal(closing["amount"]) > 0


def test_statement_as_csv_adds_up_in_cents_and_exactly(books: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(books, "statement", *MONTH, "--format", "csv").out)))
    assert adds_up(rows)
    opening, *lines, closing = rows
    exact = sum(Decimal(line["amount_usd"]) for line in lines)
    assert Decimal(opening["amount_usd"]) + exact == Decimal(closing["amount_usd"])


def test_statement_as_text_adds_up(books: Path) -> None:
    shown = run(books, "statement", *MONTH).out
    assert shown.startswith("Statement of acme, 2026-09 (UTC), in US dollars\n")
    fields = ("section", "date", "description", "requests", "model_fee", "service_fee", "amount")
    lines = shown.splitlines()[3:]
    assert adds_up([dict(zip(fields, re.split(r"  +", line), strict=True)) for line in lines])


class Table(HTMLParser):
    """Reads the cells of a page's one table, and all tags it has."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_t119_statement_as_html_adds_up_and_runs_nothing(books: Path) -> None:
    page = run(books, "statement", *MONTH, "--format", "html").out
    table = Table()
    table.feed(page[: page.index("<footer>")])
    fields = ("section", "date", "description", "requests", "model_fee", "service_fee", "amount")
    assert adds_up([dict(zip(fields, (cell.strip() for cell in row), strict=True)) for row in table.rows if row])
    assert "script" not in table.tags
    assert not re.search(r"https?:|url\(|src=|<link", page)


def test_the_statement_of_no_month_is_that_of_the_current_one_so_far(books: Path) -> None:
    assert data(books, "statement")["month"] == clock.iso(clock.now_ms())[:7]


def test_statement_as_json_has_what_the_csv_has(books: Path) -> None:
    found = data(books, "statement", *MONTH)
    rows = list(csv.DictReader(io.StringIO(run(books, "statement", *MONTH, "--format", "csv").out)))
    assert [line["amount_usd"] for line in found["lines"]] == [row["amount_usd"] for row in rows[1:-1]]
    assert (found["opening"], found["closing"]) == (rows[0]["amount"], rows[-1]["amount"])
    assert found["complete"]


def test_usage_of_deleted_days_is_shown_without_tokens(books: Path) -> None:
    found = data(books, "usage", "--since", "2026-09-01", "--by", "day")
    assert found["tokens_since"] == "2026-09-22T00:00:00Z"
    (line,) = found["lines"]
    assert (line["day"], line["requests"], line["charged_requests"], line["prompt_tokens"]) == (
        "2026-09-21",
        40,
        40,
        None,
    )
    ended = run(books, "usage", "--since", "2026-09-01", "--by", "day")
    assert "Tokens are counted since 2026-09-22" in ended.err
    assert ended.out.splitlines()[1].split()[:5] == ["2026-09-21", "40", "40", "-", "-"]


def test_export_has_the_charges_of_deleted_days(books: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(books, "ledger", "export").out)))
    assert {row["type"] for row in rows} == {"entry", "charge"}
    assert sum(int(row["requests"] or 0) for row in rows) == 40
