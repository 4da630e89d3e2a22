"""Ended requests: found by either id, listed by page and filter, added up by group."""

import pytest

from tests.fakes.bank import DAY, NOW, Bank
from tokenhub.billing.holds import End
from tokenhub.ids import new_id
from tokenhub.store import requests
from tokenhub.store.requests import RequestFilter, UsageLine
from tokenhub.usage import Usage

EVERYTHING = RequestFilter()


@pytest.fixture
def bank(database, home):
    return Bank(database, home)


def serve(bank: Bank, key: str, at_ms: int = NOW, model_fee: int = 100, service_fee: int = 3, **record) -> str:
    """Charge one request and return its id."""
    request_id = new_id("req", at_ms)
    bank.do(bank.place(request_id, key, 1000), at_ms)
    bank.do(bank.settle(request_id, key, model_fee, service_fee, **record), at_ms)
    return request_id


def test_request_is_found_by_its_id_and_by_the_provider_s(bank):
    mine = bank.account("a", 10**6)
    first = serve(bank, "a-0", upstream_id="up-1")
    second = serve(bank, "a-0", NOW + 1, upstream_id="up-1")
    assert requests.one(bank.database, first).id == first
    assert requests.one(bank.database, "up-1").id == second
    assert requests.one(bank.database, first, mine).id == first
    assert requests.one(bank.database, "req_unknown") is None


def test_t44_request_of_another_account_is_not_there(bank):
    bank.account("a", 10**6)
    other = bank.account("b", 10**6)
    request_id = serve(bank, "a-0", upstream_id="up-1")
    assert requests.one(bank.database, request_id, other) is requests.one(bank.database, "up-1", other) is None


def test_requests_are_listed_newest_first_a_page_at_a_time(bank):
    bank.account("a", 10**6)
    made = [serve(bank, "a-0", NOW + number) for number in range(5)]
    page = requests.listing(bank.database, EVERYTHING, limit=3)
    assert [found.id for found in page] == made[:1:-1]
    assert [found.id for found in requests.listing(bank.database, EVERYTHING, before=page[-1].id)] == made[1::-1]


def test_filters_narrow_together(bank):
    account = bank.account("a", 10**6, keys=2)
    bank.account("b", 10**6)
    wanted = serve(bank, "a-1", NOW + 5, model="m", provider="p", error_code="upstream_error")
    serve(bank, "a-0", NOW + 5, model="m", provider="p")
    serve(bank, "b-0", NOW + 9, model="n", provider="q")
    released = new_id("req", NOW)
    bank.do(bank.release(released, "b-0"))
    for narrow in (
        RequestFilter(key_id="a-1"),
        RequestFilter(account_id=account, failed=True),
        RequestFilter(
            account_id=account,
            key_id="a-1",
            model="m",
            provider="p",
            end=End.SETTLED,
            since_ms=NOW + 5,
            until_ms=NOW + 6,
        ),
    ):
        assert [found.id for found in requests.listing(bank.database, narrow)] == [wanted]
    assert [found.id for found in requests.listing(bank.database, RequestFilter(end=End.RELEASED))] == [released]
    assert requests.listing(bank.database, RequestFilter(until_ms=NOW)) == []


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
    usage = Usage(input=10, cache_read=5, output=7, reasoning=2)
    serve(bank, "a-0", NOW, model="m", provider="p", usage=usage)
    serve(bank, "a-1", NOW, model="m", provider="p", usage=usage)
    serve(bank, "b-0", NOW + DAY, model="m", provider="p", usage=usage)
    serve(bank, "b-0", NOW + DAY, model="n", provider=None, usage=usage)
    for by, groups in GROUPS.items():
        lines = requests.usage(bank.database, by, EVERYTHING)
        assert {line.group: line.requests for line in lines} == groups
        for line in lines:
            times = line.requests
            assert line == UsageLine(
                line.group, times, times, 15 * times, 7 * times, 100 * times, 3 * times, 103 * times, 0
            )


def test_usage_shows_releases_and_shortfalls_but_no_tombstones(bank):
    account = bank.account("a", 10**6)
    serve(bank, "a-0", model_fee=1200, service_fee=36)
    bank.do(bank.place("r", "a-0", 10))
    bank.do(bank.release("r", "a-0"))
    bank.do(bank.release("nobody"))
    (line,) = requests.usage(bank.database, "account", RequestFilter(account_id=account, since_ms=NOW))
    assert (line.requests, line.settled, line.total_nano, line.shortfall_nano) == (2, 1, 1000, 236)
    assert len(requests.usage(bank.database, "account", EVERYTHING)) == 1
