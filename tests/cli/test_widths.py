"""Tables on terminals of any width: no amount and no id is cut or parted, and nothing goes without a word."""

import importlib
import io
import pkgutil
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from tests.cli import rows
from tokenhub import cli
from tokenhub.cli import app, render, requests, tables
from tokenhub.cli.tables import Column
from tokenhub.operations import accounts, credentials, grants, keys, plans, subscriptions
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.hub import Hub
from tokenhub.operations.keys import KeyTerms
from tokenhub.paths import Home

WIDTHS = (60, 80, 120)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
AMOUNT = re.compile(r".*_usd|.*_price|amount|model_fee|service_fee")
ID = re.compile(r"[a-z]+_[0-9a-f]{32}")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tables_of_commands() -> Iterator[tuple[str, tuple[Column, ...]]]:
    for module in pkgutil.iter_modules(cli.__path__, "tokenhub.cli."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if (
                isinstance(value, tuple)
                and value
                and all(isinstance(one, Column) for one in value)
                and name != "FIELDS"
            ):
                yield f"{module.name}.{name}", value


TABLES = dict(tables_of_commands())


def value_of(field: str) -> Any:
    """Return a long value that is shown in such a column."""
    unit = field.rpartition("_")[2]
    by_unit = {
        "usd": "4611686017.99",
        "at": "2026-11-23T12:00:00Z",
        "tokens": 1_048_576,
        "bp": 9_999,
        "ms": 123_456,
        "price": "1234.567",
    }
    by_field = {
        "id": f"key_{'0123456789abcdef' * 2}",
        "deployment": "alibaba/qwen3-vl-235b-a22b-thinking@ap-southeast-1#12",
        "amount": "4611686017.99",
        "model_fee": "1234567.89",
        "service_fee": "37037.04",
    }
    return by_field.get(field, by_unit.get(unit, "some words of it"))


def shown(
    columns: tuple[Column, ...], row: dict[str, Any], width: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    monkeypatch.setenv("COLUMNS", str(width))
    with redirect_stdout(Terminal()) as out, redirect_stderr(io.StringIO()) as err:
        tables.print_table([row, row], columns)
    return COLOURS.sub("", out.getvalue()), err.getvalue()


def test_no_column_of_amounts_may_be_left_out() -> None:
    assert len(TABLES) > 20
    assert [
        f"{table}: {column.field}"
        for table, columns in TABLES.items()
        for column in columns
        if column.spare and AMOUNT.fullmatch(column.field)
    ] == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("table", TABLES)
def test_every_table_fits_and_shows_amounts_and_ids_whole(
    table: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = TABLES[table]
    row = {column.field: value_of(column.field) for column in columns}
    text, said = shown(columns, row, width, monkeypatch)
    assert max(map(len, text.splitlines())) <= width, text
    for column in columns:
        whole = render.shown(column.field, row[column.field])
        if column.spare and f" {column.title}" in said:
            continue
        if AMOUNT.fullmatch(column.field) or ID.fullmatch(whole):
            assert text.count(whole) >= 2, f"{column.title}\n{text}"
        else:
            assert all(word in text for word in re.findall(r"[^ /@#_]+", whole)), f"{column.title}\n{text}"


def test_what_does_not_fit_is_shown_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = (Column("id", "Id"), Column("total_usd", "Total", right=True), Column("note", "A note", spare=True))
    row = {"id": value_of("id"), "total_usd": "12.5", "note": "for the outage of 3 May"}
    text, said = shown(columns, row, 40, monkeypatch)
    block = f"Id      {row['id']}\nTotal   $12.50\nA note  for the outage of 3 May\n"
    assert (text, said) == (f"{block}\n{block}", "")
    text, said = shown(columns, row, 48, monkeypatch)
    assert text.splitlines()[1] == f"{row['id']}  $12.50"
    assert said == "Too narrow here for: A note. A wider window shows all, and so does --json.\n"


def test_a_record_parts_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"https://checkout.stripe.com/c/pay/{'a1' * 40}"
    monkeypatch.setenv("COLUMNS", "40")
    with redirect_stdout(Terminal()) as out:
        tables.print_record(
            {"url": url, "reason": "declined by the bank, try another one"},
            (Column("url", "Link"), Column("reason", "Why")),
        )
    lines = COLOURS.sub("", out.getvalue()).splitlines()
    assert lines == [f"Link  {url}", "Why   declined by the bank, try another", "      one"]


LISTS = (
    "accounts list",
    "keys list",
    "plans list",
    "requests list",
    "usage --by key",
    "usage --by day",
    "usage --by account",
    "ledger show --account 1",
    "statement --account 1",
    "credentials list",
    "providers list",
    "models list --all",
    "models list --all --capability images",
    "topups list",
    "topups show topup_019ab3c6d0f8721c9a3e55b8f0d1c2a4",
    "notify list",
    "config list",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Home(tmp_path_factory.mktemp("widths") / "home", explicit=True)
    with Hub.init(home) as hub:
        account = accounts.create(hub, "internal", email="operations@a-rather-long-name.example.com").account
        accounts.create(hub, "acme")
        grants.grant(
            hub, account.id, 4_611_686_017_990_000_000, expires_at_ms=None, note="for all that there is to come"
        )
        grants.grant(hub, account.id, 1, expires_at_ms=4_000_000_000_000)
        key = keys.create(hub, account.id, KeyTerms("continuous integration", spend_limit_nano=25 * 10**9)).state.key
        credentials.add(
            hub, NewCredential("alibaba", "sk-aaaabbbbccccdddd", "ap-southeast-1", label="main one of the company")
        )
        plans.change(hub, "pro", {}, model_names={"pro/fast": ("gpt-4o-mini", "deepseek-v3.2")})
        subscriptions.add(hub, "webhook", "https://ops.example.com/tokenhub/notices", ["outage", "recovered"])
        with hub.database.write():
            rows.request(
                hub, id=f"req_{'0123456789abcdef' * 2}", account_id=account.id, key_id=key.id, model="qwen3-vl-235b-a22b-thinking",
                provider="alibaba", status=200, end="settled", held=10**10, model_fee=1_234_567_890, service_fee=37_037_037, charged=1_271_604_927,
                input_tokens=123_456,
            )  # fmt: skip
            rows.purchase(hub, account.id, "topup_019ab3c6d0f8721c9a3e55b8f0d1c2a4")
            hub.database.execute("UPDATE topups SET credit = 99999990000000, amount = 99999999")
    return home.path


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("line", LISTS)
def test_a_list_shows_what_it_does_in_a_pipe_or_says_what_is_left_out(
    home: Path, line: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TOKENHUB_HOME", str(home))
    with redirect_stdout(io.StringIO()) as piped, redirect_stderr(io.StringIO()) as nothing:
        assert app.run(line.split()) == 0
    with redirect_stdout(Terminal()) as out, redirect_stderr(io.StringIO()) as err:
        assert app.run(line.split()) == 0
    text = COLOURS.sub("", out.getvalue())
    left_out = "Too narrow here for: " in err.getvalue()
    assert "Too narrow" not in nothing.getvalue()
    amounts = set(re.findall(r"-?\$[0-9.,]+|\b[0-9]+\.[0-9]{2,}\b", piped.getvalue()))
    assert {one for one in amounts if one not in text} == set()
    if not left_out:
        assert set(piped.getvalue().split()) - set(text.split()) == set()
    for one in set(ID.findall(piped.getvalue())):
        assert one in text or left_out


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_list_that_goes_on_fits_or_says_what_is_left_out(
    home: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TOKENHUB_HOME", str(home))
    with redirect_stdout(Terminal()) as out, redirect_stderr(io.StringIO()) as err:
        assert app.run(["requests", "list", "--follow", "--account", "acme"]) == 130
        assert app.run(["requests", "list", "--follow", "--account", "internal"]) == 130
    text = COLOURS.sub("", out.getvalue())
    assert f"req_{'0123456789abcdef' * 2}" in text
    assert "$1.27" in text
    if width == 60:
        assert "\nModel        qwen3-vl-235b-a22b-thinking\n" in text
        assert err.getvalue() == ""
    else:
        heading = text.splitlines()[0]
        assert len(heading) <= width
        told = err.getvalue().splitlines()[0]
        assert all(column.title in heading or f" {column.title}" in told for column in requests.COLUMNS)
