"""What the tables of payments do not say of refunds, clawbacks and disputes: what is refused, and who comes first."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import pytest

from tests.fakes.bank import NOW, Bank
from tests.fakes.payments import Payments
from tokenhub.billing.journal import EntryKind
from tokenhub.errors import Conflict, NotFound
from tokenhub.store import ledger
from tokenhub.store.ledger import Taken

USD = 10**9


class Undone(Exception):
    """Leaves a write without a trace."""


@pytest.fixture
def bank(database, home):
    return Bank(database, home)


def topup(bank: Bank, account: int, minor: int = 1000) -> int:
    return Payments(bank).topup(account, "pi", minor).id


def test_topup_with_the_same_payment_is_one_lot_and_never_another_s(bank):
    account, other = bank.account("a"), bank.account("b")
    lot = topup(bank, account)
    assert ledger.lot(bank.database, lot).kind == "topup"
    assert ledger.post_topup(bank.database, account, 10 * USD, "pi", NOW + 1, NOW).id == lot
    for owner, amount in ((other, 10 * USD), (account, 9 * USD)):
        with pytest.raises(Conflict, match="another topup"):
            ledger.post_topup(bank.database, owner, amount, "pi", NOW + 1, NOW)
    with pytest.raises(NotFound):
        ledger.post_topup(bank.database, 999, USD, "pi2", NOW + 1, NOW)
    bank.check()


def test_grant_and_topup_may_have_the_same_ref(bank):
    account = bank.account("a")
    ledger.grant(bank.database, account, 5, "pi", None, "", NOW)
    topup(bank, account)
    assert bank.available(account) == 10 * USD + 5
    bank.check()


def test_refund_of_more_than_its_lot_has_is_refused_whatever_other_lots_have(bank):
    account = bank.account("a", 5 * USD)
    lot = topup(bank, account)
    with pytest.raises(Conflict, match=r"less than the 10\.000000001 USD"):
        ledger.take_refund(bank.database, lot, 10 * USD + 1, "rf", NOW)
    ledger.take_refund(bank.database, lot, 4 * USD, "rf", NOW)
    ledger.take_refund(bank.database, lot, 4 * USD, "rf", NOW)
    with pytest.raises(Conflict, match="another refund"):
        ledger.take_refund(bank.database, lot, 3 * USD, "rf", NOW)
    assert bank.available(account) == 11 * USD


def test_what_was_undone_is_not_booked_again(bank):
    lot = topup(bank, bank.account("a"))
    ledger.take_refund(bank.database, lot, USD, "rf", NOW)
    ledger.claw(bank.database, lot, USD, "du", NOW, EntryKind.DISPUTE)
    assert ledger.return_refund(bank.database, "rf", NOW) == USD
    assert ledger.return_claw(bank.database, EntryKind.DISPUTE, "du", NOW) == USD
    with pytest.raises(Conflict, match="was undone"):
        ledger.take_refund(bank.database, lot, USD, "rf", NOW)
    with pytest.raises(Conflict, match="was undone"):
        ledger.claw(bank.database, lot, USD, "du", NOW, EntryKind.DISPUTE)
    assert ledger.lot(bank.database, lot).available_nano == 10 * USD


def test_clawback_that_is_told_again_says_the_same_and_takes_nothing(bank):
    account = bank.account("a", 3 * USD)
    lot = topup(bank, account)
    first = ledger.claw(bank.database, lot, 20 * USD, "re", NOW, EntryKind.CLAWBACK)
    assert first == Taken(10 * USD, 3 * USD, 7 * USD)
    assert ledger.claw(bank.database, lot, USD, "re", NOW, EntryKind.CLAWBACK) == first
    assert ledger.claw(bank.database, lot, 0, "none", NOW, EntryKind.CLAWBACK) == Taken(0, 0, 0)
    assert ledger.balances(bank.database, account).debt_nano == 7 * USD


def test_events_whose_names_begin_alike_are_different_events(bank):
    lot = topup(bank, bank.account("a"))
    ledger.claw(bank.database, lot, USD, "re_1", NOW, EntryKind.CLAWBACK)
    ledger.claw(bank.database, lot, USD, "re_11", NOW, EntryKind.CLAWBACK)
    ledger.claw(bank.database, lot, USD, "re%1", NOW, EntryKind.CLAWBACK)
    assert ledger.return_claw(bank.database, EntryKind.DISPUTE, "re_1", NOW) == 0
    assert ledger.return_claw(bank.database, EntryKind.CLAWBACK, "re_1", NOW) == USD
    assert ledger.lot(bank.database, lot).returned_nano == 2 * USD


def test_return_of_nothing_is_nothing(bank):
    assert ledger.return_refund(bank.database, "nobody", NOW) == 0
    assert ledger.return_claw(bank.database, EntryKind.CLAWBACK, "nobody", NOW) == 0


@pytest.mark.parametrize(("amount", "ref"), [(-1, "re"), (1.5, "re"), (True, "re"), (1, ""), (1, "re/debt")])
def test_what_cannot_name_or_measure_an_event_is_a_fault_of_ours(bank, amount, ref):
    lot = topup(bank, bank.account("a"))
    with pytest.raises(ValueError, match=r"cannot name|not an amount"):
        ledger.claw(bank.database, lot, amount, ref, NOW, EntryKind.CLAWBACK)
    with pytest.raises(ValueError, match=r"cannot name|not an amount"):
        ledger.take_refund(bank.database, lot, amount, ref, NOW)


def test_freezing_takes_what_there_is_and_unfreezing_no_more_than_that(bank):
    account = bank.account("a")
    lot = topup(bank, account)
    assert ledger.freeze(bank.database, lot, 30 * USD, NOW) == 10 * USD
    assert ledger.freeze(bank.database, lot, USD, NOW) == 0
    for amount in (10 * USD + 1, -1):
        with pytest.raises(Conflict, match="has 10 USD frozen"):
            ledger.unfreeze(bank.database, lot, amount, NOW)
    ledger.unfreeze(bank.database, lot, 4 * USD, NOW)
    found = ledger.balances(bank.database, account)
    assert (found.available_nano, found.frozen_nano, found.posted_nano) == (4 * USD, 6 * USD, 4 * USD)
    assert [one.id for one in found.lots] == [lot]


def test_what_a_request_repays_is_booked_without_its_id(bank):
    """Entries are kept for ever, request ids are not."""
    account = bank.account("a", 10 * USD)
    lot = topup(bank, account)
    for request in ("req_1", "req_2"):
        bank.do(bank.place(request, "a-0", 10 * USD))
    ledger.claw(bank.database, lot, 5 * USD, "re", NOW, EntryKind.CLAWBACK)
    bank.do(bank.release("req_1", "a-0"))
    bank.do(bank.settle("req_2", "a-0", 10 * USD))
    found = ledger.entries(bank.database, account)
    assert [entry.amount_nano for entry in found[:2]] == [5 * USD, -5 * USD]
    assert not any("req_" in entry.ref for entry in found)
    assert bank.available(account) == 5 * USD


def test_lot_with_nothing_but_frozen_credit_is_still_shown(bank):
    account = bank.account("a")
    lot = topup(bank, account)
    ledger.freeze(bank.database, lot, 10 * USD, NOW)
    assert [one.frozen_nano for one in ledger.balances(bank.database, account).lots] == [10 * USD]


def test_unknown_lots_and_accounts_are_not_found(bank):
    for verb in (
        lambda: ledger.lot(bank.database, 99),
        lambda: ledger.take_refund(bank.database, 99, 1, "rf", NOW),
        lambda: ledger.claw(bank.database, 99, 1, "re", NOW, EntryKind.CLAWBACK),
        lambda: ledger.freeze(bank.database, 99, 1, NOW),
        lambda: ledger.unfreeze(bank.database, 99, 1, NOW),
    ):
        with pytest.raises(NotFound):
            verb()
    with pytest.raises(NotFound), bank.database.write():
        ledger.lock(bank.database, 99)


def test_verbs_join_the_write_of_their_caller(bank):
    account = bank.account("a")
    lot = topup(bank, account)
    with suppress(Undone), bank.database.write():
        ledger.take_refund(bank.database, lot, USD, "rf", NOW)
        ledger.freeze(bank.database, lot, USD, NOW)
        ledger.claw(bank.database, lot, 20 * USD, "re", NOW, EntryKind.CLAWBACK)
        ledger.post_topup(bank.database, account, USD, "pi2", NOW + 1, NOW)
        raise Undone
    assert ledger.balances(bank.database, account).lots == (ledger.lot(bank.database, lot),)
    assert bank.available(account) == 10 * USD


def test_t24_payment_credited_by_many_at_once_is_one_lot(bank):
    account, start = bank.account("a"), Barrier(8)

    def credit(_: int) -> int:
        start.wait()
        try:
            return ledger.post_topup(bank.database, account, 10 * USD, "pi", NOW + 10**9, NOW).id
        finally:
            bank.database.close()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(credit, range(8)))) == 1
    assert bank.available(account) == 10 * USD


def test_credit_that_is_wanted_by_a_request_a_refund_and_a_dispute_at_once_is_given_once(bank):
    account, start = bank.account("a"), Barrier(3)
    lot = topup(bank, account)

    def refund() -> int:
        try:
            ledger.take_refund(bank.database, lot, 6 * USD, "rf", NOW)
        except Conflict:
            return 0
        return 6 * USD

    def hold() -> int:
        outcome = bank.do(bank.place("r", "a-0", 6 * USD))
        return getattr(outcome, "amount_nano", 0)

    def at_once(verb) -> int:
        start.wait()
        try:
            return verb()
        finally:
            bank.database.close()

    with ThreadPoolExecutor(3) as pool:
        got = list(pool.map(at_once, (refund, hold, lambda: ledger.freeze(bank.database, lot, 6 * USD, NOW))))
    found = ledger.balances(bank.database, account)
    assert sum(got) + found.available_nano == 10 * USD
    assert (found.held_nano, found.frozen_nano) == (got[1], got[2])
    with bank.database.read():
        assert ledger.lot(bank.database, lot).returned_nano == got[0]
