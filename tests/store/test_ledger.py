"""Grants, expiry, balances, the journal, and the audit that finds every row that was touched by hand."""

from contextlib import suppress

import pytest

from tests.fakes.bank import DAY, NOW, Bank
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.money import MAX_NANO
from tokenhub.store import ledger


class Undone(Exception):
    """Leaves a write without a trace."""


@pytest.fixture
def bank(database, home):
    return Bank(database, home)


def grant(bank: Bank, account_id: int, amount, ref="g", expires_at_ms=None):
    return ledger.grant(bank.database, account_id, amount, ref, expires_at_ms, "a note", NOW)


def test_grant_makes_a_lot_and_its_entry(bank):
    account = bank.account("a")
    lot = grant(bank, account, 500, expires_at_ms=NOW + DAY)
    assert (lot.account_id, lot.granted_nano, lot.available_nano, lot.expires_at_ms) == (account, 500, 500, NOW + DAY)
    (entry,) = ledger.entries(bank.database, account)
    assert (entry.lot_id, entry.kind, entry.ref, entry.amount_nano, entry.note) == (lot.id, "grant", "g", 500, "a note")
    found = ledger.balances(bank.database, account)
    assert (found.posted_nano, found.held_nano, found.available_nano, found.next_expiry_ms) == (500, 0, 500, NOW + DAY)
    assert found.lots == (lot,)
    bank.check()


def test_grant_with_the_same_ref_counts_once(bank):
    account, other = bank.account("a"), bank.account("b")
    assert grant(bank, account, 500) == grant(bank, account, 500)
    assert bank.available(account) == 500
    for amount, owner in ((501, account), (500, other)):
        with pytest.raises(Conflict):
            grant(bank, owner, amount)
    bank.check()


def test_t29_bad_amount_is_refused_and_nothing_written(bank):
    account = bank.account("a")
    for amount in [0, -1, True, 1.0, "5", None, MAX_NANO + 1, 2**63, 10**30]:
        with pytest.raises(InvalidRequest) as refusal:
            grant(bank, account, amount)
        assert refusal.value.param == "amount"
    assert ledger.entries(bank.database) == ledger.lots_of(bank.database, account) == []


def test_t16_account_never_holds_more_than_its_columns_can(bank):
    account = bank.account("a")
    grant(bank, account, MAX_NANO, "first")
    with pytest.raises(InvalidRequest):
        grant(bank, account, 1, "second")
    assert bank.available(account) == MAX_NANO
    bank.check()


def test_grant_to_nobody_or_into_the_past_is_refused(bank):
    with pytest.raises(NotFound):
        grant(bank, 999, 5)
    with pytest.raises(InvalidRequest, match="future"):
        grant(bank, bank.account("a"), 5, expires_at_ms=NOW)
    with pytest.raises(NotFound):
        ledger.balances(bank.database, 999)


def test_grant_joins_the_write_of_its_caller(bank):
    account = bank.account("a")
    with suppress(Undone), bank.database.write():
        grant(bank, account, 5)
        raise Undone
    assert bank.available(account) == 0


def test_expired_credit_is_taken_from_accounts_that_nobody_calls_with(bank):
    accounts = [bank.account(f"a{number}", 100, expires_at=NOW + DAY) for number in range(3)]
    kept = bank.account("b", 100, expires_at=NOW + 2 * DAY)
    assert ledger.expire_due(bank.database, NOW + DAY - 1) == 0
    assert ledger.expire_due(bank.database, NOW + DAY, limit=2) == 2
    assert ledger.expire_due(bank.database, NOW + DAY) == 1
    assert [bank.available(account) for account in [*accounts, kept]] == [0, 0, 0, 100]
    assert [entry.amount_nano for entry in ledger.entries(bank.database, accounts[0])] == [-100, 100]
    bank.check()


def test_entries_come_newest_first_a_page_at_a_time(bank):
    account = bank.account("a")
    for number in range(5):
        grant(bank, account, 1, f"g{number}")
    bank.account("b", 7)
    page = ledger.entries(bank.database, account, limit=3)
    assert [entry.ref for entry in page] == ["g4", "g3", "g2"]
    assert [entry.ref for entry in ledger.entries(bank.database, account, before_id=page[-1].id)] == ["g1", "g0"]
    assert ledger.entries(bank.database)[0].ref == "b-start"


def test_shortfalls_are_added_up(bank):
    bank.account("a", 1000)
    for number, fee in enumerate((5, 30, 11)):
        bank.do(bank.place(f"r{number}", "a-0", 10), NOW + number)
        bank.do(bank.settle(f"r{number}", "a-0", fee), NOW + number)
    assert ledger.shortfalls(bank.database, 0) == ledger.Shortfalls(2, 21)
    assert ledger.shortfalls(bank.database, NOW + 2) == ledger.Shortfalls(1, 1)


TAMPERINGS = {
    "UPDATE accounts SET available = available + 1": {"account 1"},
    "UPDATE accounts SET held = held + 1": {"account 1"},
    "UPDATE accounts SET open_holds = 7": {"account 1"},
    "UPDATE accounts SET next_expiry = NULL": {"account 1"},
    "UPDATE keys SET period_held = 1": {"key a-0"},
    "UPDATE lots SET spent = spent + 1, available = available - 1 WHERE ref = 'later'": {"lot 3", "account 1"},
    "UPDATE lots SET granted = granted + 1, available = available + 1 WHERE ref = 'later'": {"lot 3", "account 1"},
    "UPDATE holds SET amount = amount + 1 WHERE request_id = 'one'": {"lot 3", "account 1", "key a-0"},
    "UPDATE holds SET lot_id = 1 WHERE request_id = 'one'": {"lot 1", "lot 3"},
    "DELETE FROM holds WHERE request_id = 'one'": {"lot 3", "account 1", "key a-0"},
    "DELETE FROM hold_lots WHERE lot_id = 2": {"lot 2", "hold both"},
    "UPDATE hold_lots SET request_id = 'nobody' WHERE lot_id = 2": {"lot 2", "hold both", "hold nobody"},
    "UPDATE requests SET model_fee = model_fee + 1, charged = charged + 1 WHERE id = 'paid'": {"lot 1"},
    "UPDATE requests SET \"end\" = 'released' WHERE id = 'paid'": {"request paid"},
    "UPDATE requests SET account_id = 2 WHERE id = 'paid'": {"lot 1"},
    "UPDATE requests SET id = 'both' WHERE id = 'paid'": {"hold both"},
    "DELETE FROM requests WHERE id = 'paid'": {"lot 1"},
    "DELETE FROM request_lots WHERE lot_id = 1": {"lot 1", "request spread"},
    "UPDATE request_lots SET request_id = 'nobody' WHERE lot_id = 1": {"lot 1", "request spread", "request nobody"},
    "INSERT INTO entries (account_id, lot_id, kind, ref, amount, created_at, note) VALUES (1, 1, 'grant', 'x', 5, 0, '')": {
        "lot 1"
    },
}


def test_verify_names_the_rows_that_do_not_add_up(bank):
    """Charges on one lot and on two, holds on one lot and on two; then a row is changed by hand, each in its turn."""
    account = bank.account("a", 1000, expires_at=NOW + DAY)
    grant(bank, account, 1000, "late", NOW + 2 * DAY)
    grant(bank, account, 1000, "later", NOW + 3 * DAY)
    bank.do(bank.place("paid", "a-0", 100))
    bank.do(bank.settle("paid", "a-0", 90, 3))
    bank.do(bank.place("spread", "a-0", 1000))
    bank.do(bank.settle("spread", "a-0", 950))
    bank.do(bank.place("both", "a-0", 1000))
    bank.do(bank.place("one", "a-0", 50))
    for tampering, subjects in TAMPERINGS.items():
        bank.check()
        with suppress(Undone), bank.database.write():
            bank.database.execute(tampering)
            assert {found.subject for found in ledger.verify(bank.database)} == subjects, tampering
            raise Undone
