"""Statements and exports: every kind of entry, both fees, and books that a stranger's program finds in balance."""

import csv
import io
import json
import subprocess
import sys
from collections import Counter
from decimal import Decimal

import pytest

from tests.fakes.bank import DAY, NOW, Bank
from tests.operations.test_retention import HOUR, TODAY, work
from tokenhub import clock
from tokenhub.billing.journal import EntryKind
from tokenhub.billing.statements import Section
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.operations import dates, exports, grants, ledger, statements
from tokenhub.operations.hub import Hub
from tokenhub.store import days
from tokenhub.store import ledger as store

USD = 10**9
SEPTEMBER = statements.parse_month("2026-09")
AUGUST = statements.parse_month("2026-08")
OCTOBER = statements.parse_month("2026-10")


@pytest.fixture
def bank(hub):
    return Bank(hub.database, hub.home)


@pytest.fixture
def account(hub, bank):
    """An account to which everything has happened."""
    database = hub.database
    account = bank.account("acme", 3 * USD, expires_at=NOW + 2 * DAY, keys=2)
    bank.account("globex", 7 * USD)
    with database.write():
        lot = store.post_topup(database, account, 20 * USD, "pi_1", NOW + 365 * DAY, NOW + 1)
        database.execute(
            "INSERT INTO topups (id, account_id, kind, state, currency, amount, rate, credit, livemode, params, payment_intent, paid_amount, paid_total, paid_at, lot_id, created_at, updated_at) "
            "VALUES ('top_1', ?, 'checkout', 'paid', 'cny', 14200, 7100000, ?, 0, '{}', 'pi_1', 14200, 14200, ?, ?, ?, ?)",
            (account, 20 * USD, NOW, lot.id, NOW, NOW),
        )
    for number in range(30):
        bank.serve(f"acme-{number % 2}", NOW + number * HOUR, 7_777_777 + number, 233_334, model=f"m{number % 3}")
    bank.do(bank.release("nobody", "acme-0", model="m9", provider=None), NOW)
    with database.write():
        store.expire_due(database, NOW + 3 * DAY)
        store.take_refund(database, lot.id, 5 * USD, "ref_1", NOW + 3 * DAY)
        store.return_refund(database, "ref_1", NOW + 3 * DAY + 1)
        store.claw(database, lot.id, 24 * USD, "ref_2", NOW + 3 * DAY + 2, EntryKind.CLAWBACK)
        store.grant(database, account, 2 * USD, "sorry", None, "for the outage", NOW + 4 * DAY)
        other = store.post_topup(database, account, 10 * USD, "pi_2", NOW + 365 * DAY, NOW + 5 * DAY)
        store.claw(database, other.id, 10 * USD, "dp_1", NOW + 6 * DAY, EntryKind.DISPUTE)
        store.return_claw(database, EntryKind.DISPUTE, "dp_1", NOW + 7 * DAY)
        store.claw(database, other.id, 12 * USD, "dp_2", NOW + 8 * DAY, EntryKind.DISPUTE)
    return account


def text(hub: Hub, form: exports.Format, **narrow) -> str:
    with exports.export(hub, form, **narrow) as file:
        return file.read()


def rows(hub: Hub, **narrow) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text(hub, "csv", **narrow))))


def test_statement_leads_from_balance_to_balance_with_every_kind_of_line(hub, bank, account):
    found = statements.statement(hub, account, SEPTEMBER)
    assert (found.account, found.month, found.is_complete, found.opening_nano) == ("acme", "2026-09", True, 0)
    balance = ledger.balances(hub, account)
    assert found.closing_nano == balance.posted_nano + balance.frozen_nano
    sections = Counter(line.section for line in found.lines)
    assert sections[Section.USAGE] == 3
    assert set(sections) == set(Section) - {Section.OTHER}
    assert [line.section for line in found.lines] == sorted(
        (line.section for line in found.lines), key=list(Section).index
    )
    used = [line for line in found.lines if line.section is Section.USAGE]
    assert sum(line.requests for line in used) == 30
    assert all(line.model_fee_nano + line.service_fee_nano == line.amount_nano < 0 for line in used)
    assert found.opening_cents + sum(line.cents for line in found.lines) == found.closing_cents
    (topup, _) = (line for line in found.lines if line.section is Section.TOPUPS)
    assert (topup.label, topup.note, topup.cents) == ("pi_1", "paid 142.00 CNY", 2000)
    grants = [(line.label, line.note, line.amount_nano) for line in found.lines if line.section is Section.GRANTS]
    assert grants == [("acme-start", "", 3 * USD), ("sorry", "for the outage", 2 * USD)]
    refunds = {line.label: line.amount_nano for line in found.lines if line.section is Section.REFUNDS}
    assert refunds["ref_2"] == -24 * USD


def test_statement_shows_no_repayment_of_debt_for_it_moves_no_balance(hub, bank):
    """Debt of two USD is repaid by what a request gives back, and by a grant."""
    account = bank.account("acme", 3 * USD)
    lot = hub.database.row("SELECT id FROM lots")[0]
    bank.do(bank.place("r", "acme-0", 3 * USD))
    store.claw(hub.database, lot, 2 * USD, "ref_1", NOW, EntryKind.CLAWBACK)
    bank.do(bank.settle("r", "acme-0", 2 * USD, 0), NOW + 1)
    store.grant(hub.database, account, 5 * USD, "more", None, "", NOW + 2)
    repaid = hub.database.rows("SELECT amount FROM entries WHERE kind = 'repayment' ORDER BY amount")
    assert [amount for (amount,) in repaid] == [-USD, -USD, USD, USD]
    found = statements.statement(hub, account, SEPTEMBER)
    assert [(line.section, line.amount_nano) for line in found.lines] == [
        (Section.GRANTS, 3 * USD),
        (Section.GRANTS, 5 * USD),
        (Section.USAGE, -2 * USD),
        (Section.REFUNDS, -2 * USD),
    ]
    assert (found.closing_nano, found.owed_nano) == (4 * USD, 0)


def test_closing_balance_of_a_month_is_the_opening_balance_of_the_next(hub, bank, account):
    august, september, october = (statements.statement(hub, account, month) for month in (AUGUST, SEPTEMBER, OCTOBER))
    assert (august.opening_nano, august.lines, august.closing_nano) == (0, [], 0)
    assert september.closing_nano == october.opening_nano == october.closing_nano != 0
    assert september.owed_nano == october.owed_nano == ledger.balances(hub, account).debt_nano


def test_statement_of_a_month_to_come_or_of_nobody_is_refused(hub, bank, account):
    with pytest.raises(InvalidRequest):
        statements.statement(hub, account, statements.parse_month("2999-01"))
    with pytest.raises(NotFound):
        statements.statement(hub, 99, SEPTEMBER)


@pytest.mark.parametrize("month", ["2026", "2026-13", "2026-00", "2026-1", "2026-11-01", "1969-12", "２０２６-11", ""])
def test_text_that_is_no_month_is_refused(month):
    with pytest.raises(dates.InvalidDate):
        statements.parse_month(month)


def test_month_that_is_not_over_says_so(hub, bank):
    account = bank.account("acme", 5)
    now_ms = statements.clock.now_ms()
    found = statements.statement(hub, account, statements.parse_month(statements.clock.iso(now_ms)[:7]))
    assert not found.is_complete
    assert now_ms <= found.until_ms <= statements.clock.now_ms()


def test_export_has_every_entry_and_every_days_charges_and_adds_up(hub, bank, account):
    found = rows(hub, account_id=account)
    assert {row["account"] for row in found} == {"acme"}
    entries = [row for row in found if row["type"] == "entry"]
    assert {row["kind"] for row in entries} == {kind.value for kind in EntryKind} - {"clawback_return"}
    assert len(entries) == hub.database.row("SELECT COUNT(*) FROM entries WHERE account_id = ?", (account,))[0]
    charges = [row for row in found if row["type"] == "charge"]
    assert sum(int(row["requests"]) for row in charges) == 31
    assert {row["model"] for row in charges} == {"m0", "m1", "m2", "m9"}
    balance = ledger.balances(hub, account)
    total = sum(Decimal(row["amount_usd"]) for row in found)
    assert total * USD == balance.posted_nano + balance.frozen_nano
    assert json.loads(text(hub, "json", account_id=account)) == [typed(row) for row in found]


def typed(row: dict[str, str]) -> dict[str, object]:
    """Return a row of the CSV as JSON has it."""
    whole = {name: int(row[name]) for name in ("id", "lot", "requests") if row[name]}
    return {name: value if value or name == "note" else None for name, value in row.items()} | whole


def test_export_of_all_accounts_names_each_and_begins_with_a_day(hub, bank, account):
    assert {row["account"] for row in rows(hub)} == {"acme", "globex"}
    late = rows(hub, since_ms=NOW + DAY + HOUR)
    assert {row["at"][:10] for row in late} >= {"2026-09-22"}
    assert min(row["at"] for row in late) >= "2026-09-22"
    assert json.loads(text(hub, "json", since_ms=NOW + 40 * DAY)) == []


CHECK = "import sys; from beancount import loader; errors = loader.load_file(sys.argv[1])[1]; print(*errors, sep='\\n'); sys.exit(len(errors))"


@pytest.mark.parametrize(
    "narrow", [{}, {"since_ms": NOW + DAY}, {"account": True}, {"closed": True, "since_ms": NOW + 5 * DAY}]
)
def test_beancount_finds_the_books_in_balance(hub, bank, account, tmp_path, narrow):
    if narrow.get("closed"):
        work(hub, TODAY + 20 * DAY)
    since_ms = narrow.get("since_ms", 0)
    written = text(hub, "beancount", since_ms=since_ms, account_id=account if narrow.get("account") else None)
    assert written.count(" balance ") == (2 if narrow.get("account") else 4)
    assert bean_errors(tmp_path, written) == ""
    wrong = written.replace(
        f" balance Liabilities:Credit:Account-{account}  -", f" balance Liabilities:Credit:Account-{account}  -1"
    )
    if wrong != written:
        assert "Balance failed" in bean_errors(tmp_path, wrong)


def test_beancount_finds_the_books_in_balance_where_the_clock_was_set_back(hub, bank, account, tmp_path, monkeypatch):
    """Or is behind the database server's: entries are of days that have not begun here."""
    monkeypatch.setattr(clock, "now_ms", lambda: NOW)
    assert bean_errors(tmp_path, text(hub, "beancount")) == ""


def bean_errors(folder, written: str) -> str:
    (folder / "books.beancount").write_text(written, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", CHECK, folder / "books.beancount"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert bool(ended.returncode) == bool(ended.stdout.strip()), ended.stderr
    return ended.stdout.strip()


def test_names_and_notes_cannot_break_out_of_the_beancount_file(hub, bank, tmp_path):
    evil = 'x" USD\n2026-01-01 open Assets:Stolen \\'
    account = bank.account("acme", 5)
    store.grant(hub.database, account, 5, 'a"b\\c', None, evil, NOW)
    with hub.database.write():
        hub.database.execute("UPDATE accounts SET name = ?", (evil,))
    written = text(hub, "beancount")
    assert "\n2026-01-01 open" not in written
    assert bean_errors(tmp_path, written) == ""


def test_books_are_the_same_after_days_are_closed_and_deleted(hub, bank, account):
    def everything() -> list[object]:
        found = [statements.statement(hub, account, month) for month in (SEPTEMBER, OCTOBER)]
        narrow = [{}, {"account_id": account}, {"since_ms": NOW + DAY}]
        return [*found, *(text(hub, form, **one) for form in ("csv", "json", "beancount") for one in narrow)]

    before = everything()
    for day in (1, 2, 3, 9, 10):
        done = work(hub, TODAY + day * DAY + 2 * HOUR)
        assert everything() == before, done
    assert hub.database.row("SELECT COUNT(*) FROM requests") == (0,)
    assert days.first_open(hub.database) is None


def test_expired_credit_is_booked_for_all_accounts_at_once(hub, bank):
    for number in range(120):
        bank.account(f"a{number}", 5, expires_at=NOW + 1, keys=0)
    assert ledger.expire(hub) == 120
    assert ledger.expire(hub) == 0


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_t99_a_command_where_the_clock_is_ahead_expires_nothing_early(hub, bank, monkeypatch):
    account = bank.account("a", 5, expires_at=hub.database.now_ms() + DAY, keys=0)
    machine_ms = clock.now_ms
    monkeypatch.setattr(clock, "now_ms", lambda: machine_ms() + 2 * DAY)
    assert ledger.expire(hub) == 0
    grants.grant(hub, account, 7, expires_at_ms=None)
    assert bank.available(account) == 12
