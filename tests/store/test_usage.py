"""What was used and charged, added up by group."""

import pytest

from tests.fakes.bank import DAY, NOW, Bank
from tests.store.test_requests import serve
from tokenhub.store import days, usage
from tokenhub.store.usage import UsageLine
from tokenhub.usage import Usage


@pytest.fixture
def bank(database, home):
    return Bank(database, home)


GROUPS = {
    "day": {"2026-09-21": 2, "2026-09-22": 2},
    "model": {"m": 3, "n": 1},
    "key": {"a-0": 1, "a-1": 1, "b-0": 2},
    "provider": {"": 1, "p": 3},
    "account": {"1": 2, "2": 2},
}


def test_usage_is_added_up_by_each_group(bank):
    bank.account("a", 10**6, keys=2)
    bank.account("b", 10**6)
    made = Usage(input=10, cache_read=5, output=7, reasoning=2)
    serve(bank, "a-0", NOW, model="m", provider="p", usage=made)
    serve(bank, "a-1", NOW, model="m", provider="p", usage=made)
    serve(bank, "b-0", NOW + DAY, model="m", provider="p", usage=made)
    serve(bank, "b-0", NOW + DAY, model="n", provider=None, usage=made)
    for by, groups in GROUPS.items():
        lines = usage.usage(bank.database, by)
        assert {line.group: line.requests for line in lines} == groups
        for line in lines:
            times = line.requests
            assert line == UsageLine(
                line.group, times, times, 15 * times, 7 * times, 100 * times, 3 * times, 103 * times, 0, 5 * times, 0
            )


def test_usage_shows_releases_and_shortfalls_but_no_tombstones(bank):
    account = bank.account("a", 10**6)
    serve(bank, "a-0", model_fee=1200, service_fee=36)
    bank.do(bank.place("r", "a-0", 10))
    bank.do(bank.release("r", "a-0"))
    bank.do(bank.release("nobody"))
    (line,) = usage.usage(bank.database, "account", account_id=account, since_ms=NOW)
    assert (line.requests, line.charged, line.total_nano, line.shortfall_nano) == (2, 1, 1000, 236)
    assert len(usage.usage(bank.database, "account")) == 1


def test_usage_by_session_counts_requests_of_closed_days_too_while_they_are_kept(bank):
    bank.account("a", 10**6)
    one, two = bytes([1]) * 16, bytes([2]) * 16
    made = Usage(input=10, cache_read=30, output=7)
    for session in (one, two, one, None):
        serve(bank, "a-0", NOW, usage=made, session=session, saved_nano=9)
    serve(bank, "a-0", NOW + DAY, usage=made, session=one, saved_nano=9)
    before = usage.usage(bank.database, "session")
    assert [(line.group, line.requests, line.saved_nano, line.cached_tokens) for line in before] == [
        ("", 1, 9, 30),
        (one.hex(), 3, 27, 90),
        (two.hex(), 1, 9, 30),
    ]
    day = days.first_open(bank.database)
    with bank.database.read():
        lines = list(days.add_up(bank.database, day))
    days.close(bank.database, day, lines, NOW + 2 * DAY)
    assert usage.usage(bank.database, "session") == before
    by_model = usage.usage(bank.database, "model")
    assert [(line.requests, line.saved_nano, line.cached_tokens) for line in by_model] == [(5, 45, 150)]
