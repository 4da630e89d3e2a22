"""Pins are written with the settle that earns them, found until they expire, and then deleted: on both databases."""

import random
from dataclasses import replace

import pytest

from tests.fakes.bank import NOW, Bank
from tokenhub.billing.holds import End, Pin
from tokenhub.store import affinities
from tokenhub.store.bulk import Bulk

HOUR = 3_600_000
KEY = bytes(range(16))


@pytest.fixture
def bank(database, home):
    made = Bank(database, home)
    made.account("a", 1_000_000)
    return made


def settle(bank, name, pin):
    return replace(bank.settle(name, "a-0", 10, 0), pin=pin)


def kept(bank):
    return bank.database.rows("SELECT session, deployment, expires_at FROM affinities ORDER BY session")


def test_pin_comes_with_its_settle_and_is_found_for_its_hour(bank):
    bank.do(bank.place("r", "a-0", 100))
    bank.do(settle(bank, "r", Pin(KEY, "openai/gpt-4o@eu#1", NOW + HOUR)))
    assert affinities.find(bank.database, KEY, NOW) == "openai/gpt-4o@eu#1"
    assert affinities.find(bank.database, KEY, NOW + HOUR - 1) == "openai/gpt-4o@eu#1"
    assert affinities.find(bank.database, KEY, NOW + HOUR) is None
    assert affinities.find(bank.database, bytes(16), NOW) is None
    bank.check()


def test_later_pin_takes_the_place_of_the_one_before(bank):
    for number in range(3):
        bank.do(bank.place(f"r{number}", "a-0", 100))
        bank.do(settle(bank, f"r{number}", Pin(KEY, f"d{number}", NOW + number)))
    assert [(row[1], row[2]) for row in kept(bank)] == [("d2", NOW + 2)]


def test_many_pins_of_one_batch_are_written_the_last_of_each_key(bank):
    rng = random.Random(3)
    keys = [rng.randbytes(16) for _ in range(40)]
    names = [f"r{number}" for number in range(120)]
    bank.apply(*(bank.place(name, "a-0", 100) for name in names))
    pins = [Pin(rng.choice(keys), f"d{number}", NOW + number) for number in range(120)]
    bank.apply(*(settle(bank, name, pin) for name, pin in zip(names, pins, strict=True)))
    latest = {pin.key: (pin.key, pin.deployment, pin.expires_at_ms) for pin in pins}
    assert [(bytes(key), *rest) for key, *rest in kept(bank)] == sorted(latest.values())


def test_settle_that_comes_too_late_pins_nothing(bank):
    bank.do(bank.place("r", "a-0", 100))
    bank.do(bank.release("r", "a-0"))
    outcome = bank.do(settle(bank, "r", Pin(KEY, "d", NOW + HOUR)))
    assert outcome.end is End.RELEASED
    bank.do(settle(bank, "never placed", Pin(KEY, "d", NOW + HOUR)))
    assert kept(bank) == []


def test_settle_without_a_pin_writes_none(bank):
    bank.do(bank.place("r", "a-0", 100))
    bank.do(bank.settle("r", "a-0", 10, 0))
    assert kept(bank) == []


def test_what_has_expired_is_deleted_however_much_it_is(bank):
    count = affinities.LIMIT + 100
    with bank.database.write():
        write = affinities.writer(Bulk(bank.database))
        write([Pin(number.to_bytes(16, "big"), "d", NOW + number) for number in range(count)])
    assert affinities.forget(bank.database, NOW - 1) == 0
    assert affinities.forget(bank.database, NOW + affinities.LIMIT + 9) == affinities.LIMIT + 10
    assert len(kept(bank)) == 90
    assert affinities.forget(bank.database, NOW + count) == 90
    assert kept(bank) == []
