"""Ended requests: found by either id, listed by page and filter."""

import pytest

from tests.fakes.bank import NOW, Bank
from tokenhub.billing.holds import End
from tokenhub.ids import new_id
from tokenhub.store import requests
from tokenhub.store.requests import RequestFilter

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
