"""The audit of payments and of closed days names every row that was touched by hand, and no other."""

from contextlib import suppress

import pytest

from tests.fakes.bank import DAY, NOW, Bank
from tests.fakes.payments import Payments
from tokenhub.store import audit, days, ledger

USD = 10**9
TODAY = "day 2026-09-21"
LINE = f"{TODAY}: account 1, key a-0, glm-4.5 at zhipu"
LOT_1, LOT_2, LOT_3 = (f"{TODAY}: lot {number} of account 1" for number in (1, 2, 3))


class Undone(Exception):
    """Leaves a write without a trace."""


@pytest.fixture
def bank(database, home):
    return Bank(database, home)


def tampered(bank: Bank, sql: str, verify=audit.verify) -> set[str]:
    """Change a row by hand and undo it; return the rows that the audit names meanwhile."""
    found: set[str] = set()
    with suppress(Undone), bank.database.write():
        assert bank.database.execute(sql).rowcount > 0, sql
        found = {one.subject for one in verify(bank.database)}
        raise Undone
    return found


PAYMENT_TAMPERINGS = {
    "UPDATE accounts SET debt = debt + 1, available = available - 1 WHERE name = 'a'": {"account 1"},
    "UPDATE accounts SET debt = debt + 1 WHERE name = 'b'": {"account 2"},
    "UPDATE lots SET frozen = frozen - 1, available = available + 1 WHERE ref = 'open'": {"account 1", "top-up open"},
    "UPDATE lots SET frozen = frozen - 1, returned = returned + 1 WHERE ref = 'open'": {"lot 2", "top-up open"},
    "UPDATE lots SET repaid = repaid - 1, spent = spent + 1 WHERE ref = 'late'": {"lot 4"},
    "UPDATE lots SET ref = 'other' WHERE ref = 'open'": {"top-up open"},
    "UPDATE lots SET kind = 'grant' WHERE ref = 'open'": {"top-up open"},
    "UPDATE topups SET lot_id = NULL WHERE id = 'open'": {"top-up open", "lot 2"},
    "UPDATE topups SET state = 'failed' WHERE id = 'open'": {"top-up open"},
    "UPDATE topups SET rate = rate + 1 WHERE id = 'open'": {"top-up open"},
    "UPDATE topups SET paid_amount = NULL WHERE id = 'open'": {"top-up open"},
    "UPDATE topups SET paid_total = 699 WHERE id = 'won'": {"top-up won"},
    "UPDATE topups SET account_id = 2 WHERE id = 'won'": {"top-up won"},
    "UPDATE refunds SET credit = credit + 1 WHERE id = 'rf'": {"refund rf"},
    "UPDATE refunds SET credit = 9000000000 WHERE id = 'rf'": {"refund rf", "top-up won"},
    "UPDATE refunds SET state = 'failed' WHERE id = 'rf'": {"refund rf"},
    "UPDATE refunds SET state = 'succeeded' WHERE id = 'back'": {"refund back"},
    "UPDATE refunds SET stripe_id = 'other' WHERE stripe_id = 're'": {"refund stripe-re", "refund re"},
    "DELETE FROM refunds WHERE id = 'rf'": {"refund rf"},
    "UPDATE disputes SET frozen = frozen + 1 WHERE id = 'du'": {"top-up open"},
    "UPDATE disputes SET taken = 0 WHERE id = 'lost'": {"dispute lost"},
    "DELETE FROM disputes WHERE id = 'lost'": {"dispute lost"},
    "UPDATE disputes SET id = 'x' WHERE id = 'lost'": {"dispute x", "dispute lost"},
}


def test_verify_names_the_payments_that_do_not_add_up(bank):
    """A refund that stands and one that came back, one made at Stripe, disputes open and lost, and a debt."""
    payments, account = Payments(bank), bank.account("a")
    bank.account("b")
    payments.topup(account, "won", 1000)
    payments.topup(account, "open", 700)
    payments.topup(account, "gone", 300)
    payments.refund("won", "rf", 500)
    payments.refund("won", "back", 100)
    payments.refund_failed("back")
    payments.dispute("open", "du", 600)
    payments.dispute("gone", "lost", 300)
    payments.dispute_lost("lost")
    bank.do(bank.place("r", "a-0", 6 * USD))
    bank.do(bank.settle("r", "a-0", 6 * USD))
    payments.refund_at_stripe("won", "re", 200)
    payments.topup(account, "late", 100)
    found = ledger.balances(bank.database, account)
    assert (found.available_nano, found.frozen_nano, found.debt_nano) == (-USD, 6 * USD, USD)
    for tampering, subjects in PAYMENT_TAMPERINGS.items():
        bank.check()
        assert tampered(bank, tampering) == subjects, tampering
        if "late" not in tampering:
            assert tampered(bank, tampering, audit.verify_fast) == subjects, f"fast: {tampering}"


MOVED = 86_400_000
DAY_TAMPERINGS = {
    "UPDATE requests SET model_fee = model_fee + 1, service_fee = service_fee - 1 WHERE id = 'paid'": {LINE},
    "UPDATE requests SET model = 'x' WHERE id = 'paid'": {LINE, LINE.replace("glm-4.5", "x")},
    "UPDATE requests SET provider = NULL WHERE id = 'paid'": {LINE, LINE.replace("zhipu", "-")},
    "UPDATE requests SET shortfall = 1 WHERE id = 'paid'": {LINE},
    "DELETE FROM requests WHERE id = 'paid'": {LINE, LOT_1},
    "DELETE FROM requests WHERE id = 'free'": {LINE},
    "UPDATE request_lots SET lot_id = 3 WHERE lot_id = 2": {LOT_2, LOT_3},
    f"UPDATE requests SET ended_at = ended_at + {MOVED} WHERE id = 'paid'": {LINE, LOT_1, "lot 1"},
    f"UPDATE requests SET ended_at = ended_at - {MOVED} WHERE id = 'open'": {LINE, LOT_2, "lot 2"},
    f"UPDATE requests SET ended_at = ended_at - {2 * MOVED} WHERE id = 'open'": {
        LINE.replace("-21", "-20"), LOT_2.replace("-21", "-20"), "lot 2",
    },
    "UPDATE closed_days SET requests = 4": {TODAY},
    "UPDATE closed_days SET charged = charged + 1": {TODAY},
    "UPDATE closed_days SET requests = 2, purged_at = 1": {TODAY},
    "UPDATE installation SET closed_until = 0": {TODAY},
    "UPDATE lots SET spent = spent + 1, available = available - 1 WHERE id = 3": {"lot 3", "account 1"},
    "INSERT INTO daily_lines (day, account_id, key_id, model, provider, kind, lot_id, amount, requests) "
    "SELECT day, 1, 'x', 'm', 'p', 'model_fee', 1, 5, 0 FROM closed_days": {
        TODAY, LINE.replace("a-0, glm-4.5 at zhipu", "x, m at p"), LOT_1, "lot 1",
    },
}  # fmt: skip


def test_verify_names_the_days_and_lots_that_do_not_add_up(bank):
    """A closed day with a charge on one lot, one on two, and one that was free; then an open day."""
    account = bank.account("a", 1000, expires_at=NOW + 5 * DAY)
    ledger.grant(bank.database, account, 1000, "late", NOW + 6 * DAY, "", NOW)
    ledger.grant(bank.database, account, 1000, "later", NOW + 7 * DAY, "", NOW)
    bank.do(bank.place("paid", "a-0", 100))
    bank.do(bank.settle("paid", "a-0", 90, 3))
    bank.do(bank.place("free", "a-0", 100))
    bank.do(bank.release("free", "a-0"))
    bank.do(bank.place("spread", "a-0", 1000))
    bank.do(bank.settle("spread", "a-0", 950, 10))
    day = days.day_of(NOW)
    days.close(bank.database, day, list(days.add_up(bank.database, day)), NOW + DAY)
    bank.do(bank.place("open", "a-0", 100), NOW + DAY)
    bank.do(bank.settle("open", "a-0", 90, 3), NOW + DAY)
    for tampering, subjects in DAY_TAMPERINGS.items():
        bank.check()
        assert tampered(bank, tampering) == subjects, tampering


def test_verify_asks_no_request_for_a_day_whose_requests_are_being_deleted(bank):
    bank.account("a", 1000)
    for number in range(3):
        bank.do(bank.place(f"r{number}", "a-0", 10))
        bank.do(bank.settle(f"r{number}", "a-0", 7))
    day = days.day_of(NOW)
    days.close(bank.database, day, list(days.add_up(bank.database, day)), NOW + DAY)
    days.begin_purge(bank.database, day, NOW + DAY)
    bank.check()
    assert days.delete(bank.database, ["r0", "r1"]) == 2
    bank.check()
    assert days.delete(bank.database, ["r2"]) == 1
    bank.check()


def test_later_changes_do_not_hide_what_is_wrong(bank):
    account = bank.account("a", 1000)
    with bank.database.write():
        bank.database.execute("UPDATE accounts SET available = available + 7")
    ledger.grant(bank.database, account, 5, "more", None, "", NOW)
    assert bank.available(account) == 1012
    assert [one.message for one in audit.verify(bank.database)] == ["available and its lots differ: 1012 and 1005"]


def test_fast_form_reads_no_request(bank):
    bank.account("a", 1000)
    bank.do(bank.place("r", "a-0", 10))
    bank.do(bank.settle("r", "a-0", 7))
    changed = "UPDATE requests SET model_fee = 8, charged = 8"
    assert tampered(bank, changed) == {"lot 1"}
    assert tampered(bank, changed, audit.verify_fast) == set()
    taken = "UPDATE lots SET returned = 1, available = available - 1"
    assert tampered(bank, taken, audit.verify_fast) == {"lot 1", "account 1"}
