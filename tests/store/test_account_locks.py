"""What decides on an account's money has locked that account, and no other, until its write ends (PostgreSQL; SQLite has one writer)."""

from collections.abc import Callable

import pytest

from tests.fakes.bank import NOW, Bank
from tests.fakes.payments import Payments
from tests.store.test_jobs import TAKEN, begun
from tokenhub.paths import Home
from tokenhub.settings import Settings
from tokenhub.store import jobs, purses, recharges, topups
from tokenhub.store.database import Database, StoreBusy, open_database

ACCOUNT, OTHER = 1, 2

LOCKS: dict[str, Callable[[Bank], object]] = {
    "purse": lambda bank: purses.lock(bank.database, ACCOUNT),
    "balance for a recharge": lambda bank: recharges.locked_balance(bank.database, ACCOUNT),
    "top-up": lambda bank: topups.locked(bank.database, "pi_1"),
    "job": lambda bank: jobs.adopt(bank.database, bank.lease, "req_1", TAKEN, NOW, NOW + 5),
}


def is_locked(database: Database, account_id: int) -> bool:
    try:
        with database.write():
            database.row("SELECT id FROM accounts WHERE id = ? FOR UPDATE NOWAIT", (account_id,))
    except StoreBusy:
        return True
    return False


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize("name", LOCKS)
def test_it_is_its_account_that_is_locked(database: Database, settings: Settings, home: Home, name: str) -> None:
    bank = Bank(database, home)
    assert (bank.account("a", 1000), bank.account("b", 1000)) == (ACCOUNT, OTHER)
    Payments(bank).topup(ACCOUNT, "pi_1", 100)
    begun(bank)
    beside = open_database(settings, home)
    try:
        with database.write():
            LOCKS[name](bank)
            assert (is_locked(beside, ACCOUNT), is_locked(beside, OTHER)) == (True, False)
        assert not is_locked(beside, ACCOUNT)
    finally:
        beside.close()
