"""Refused requests stand among the ended ones, are nobody else's, count nowhere and are forgotten like them."""

from dataclasses import replace

import pytest

from tests.fakes.bank import DAY, NOW, Bank
from tokenhub.billing.holds import End
from tokenhub.ids import new_id
from tokenhub.operations import ledger, retention, usage
from tokenhub.operations.hub import Hub
from tokenhub.store import days, refusals, requests, vitals
from tokenhub.store.refusals import FORGET_BATCH, RefusedRequest
from tokenhub.store.requests import RequestFilter

HOUR = 3_600_000
TODAY = days.day_of(NOW)
EVERYTHING = RequestFilter()


@pytest.fixture
def bank(hub: Hub) -> Bank:
    return Bank(hub.database, hub.home)


def refuse(bank: Bank, account_id: int, at_ms: int = NOW, **changes: object) -> str:
    """Keep a refusal and return its id."""
    one = RefusedRequest(
        new_id("req", at_ms),
        account_id,
        "a-0",
        at_ms - 3,
        at_ms,
        "chat",
        "gpt-4o",
        True,
        403,
        "no_eligible_provider",
        3,
        '{"v":1,"d":[]}',
        b"session",
    )
    with bank.database.write():
        refusals.add(bank.database, [replace(one, **changes)])  # type: ignore[arg-type]
    return one.id


def serve(bank: Bank, at_ms: int = NOW) -> str:
    request_id = new_id("req", at_ms)
    bank.do(bank.place(request_id, "a-0", 1_000), at_ms)
    bank.do(bank.settle(request_id, "a-0", 100, 3, model="gpt-4o", provider="openai"), at_ms)
    return request_id


def test_a_refusal_is_found_as_a_request_that_held_and_cost_nothing(bank: Bank) -> None:
    account = bank.account("a", 10**6)
    request_id = refuse(bank, account)
    found = requests.one(bank.database, request_id)
    assert found is not None
    assert (found.end, found.status, found.error_code) == (End.RELEASED, 403, "no_eligible_provider")
    assert (found.held, found.charged, found.model_fee, found.input_tokens, found.shortfall) == (0, 0, 0, 0, 0)
    assert (found.provider, found.credential_id, found.lot_id, found.price_version) == (None, None, None, None)
    assert (found.attempts, found.units, found.decision) == ("[]", "", '{"v":1,"d":[]}')
    assert (found.started_at, found.ended_at, found.duration_ms) == (NOW - 3, NOW, 3)
    assert (found.streamed, found.model, found.session) == (True, "gpt-4o", b"session")


def test_t44_a_refusal_of_another_account_is_not_there(bank: Bank) -> None:
    mine, other = bank.account("a"), bank.account("b")
    request_id = refuse(bank, mine)
    assert requests.one(bank.database, request_id, mine) is not None
    assert requests.one(bank.database, request_id, other) is None


def test_refusals_are_listed_among_the_others_by_page_and_filter(bank: Bank) -> None:
    account, other = bank.account("a", 10**6), bank.account("b")
    made = [serve(bank, NOW), refuse(bank, account, NOW + 1), serve(bank, NOW + 2), refuse(bank, other, NOW + 3)]

    def listed(wanted: RequestFilter = EVERYTHING, **page: object) -> list[int]:
        return [made.index(one.id) for one in requests.listing(bank.database, wanted, **page)]  # type: ignore[arg-type]

    assert listed() == [3, 2, 1, 0]
    assert listed(limit=2) == [3, 2]
    assert listed(before=made[2]) == [1, 0]
    assert listed(RequestFilter(account_id=account)) == [2, 1, 0]
    assert listed(RequestFilter(failed=True)) == [3, 1]
    assert listed(RequestFilter(failed=False)) == [2, 0]
    assert listed(RequestFilter(provider="openai")) == [2, 0]
    assert listed(RequestFilter(model="gpt-4o", end=End.RELEASED)) == [3, 1]
    assert listed(RequestFilter(key_id="a-0", since_ms=NOW + 1, until_ms=NOW + 3)) == [2, 1]


def test_refusals_count_nowhere(hub: Hub, bank: Bank) -> None:
    account = bank.account("a", 10**6)
    serve(bank)
    by_model = usage.report(hub, "model", since_ms=None)
    lines, count = list(days.add_up(hub.database, TODAY)), days.count(hub.database, TODAY)
    for number in range(5):
        refuse(bank, account, NOW + number)
        refuse(bank, account, NOW + DAY + number)
    assert usage.report(hub, "model", since_ms=None) == by_model
    assert list(days.add_up(hub.database, TODAY)) == lines
    assert days.count(hub.database, TODAY) == count == vitals.ended_requests(hub.database) == 1
    assert list(days.open_days(hub.database, NOW + 9 * DAY)) == [TODAY]
    assert ledger.verify(hub) == []
    assert retention.work(hub, NOW + 2 * DAY).closed == [TODAY]
    assert ledger.verify(hub) == []


def test_p21_a_refusal_is_forgotten_when_it_is_seven_days_old(hub: Hub, bank: Bank) -> None:
    account = bank.account("a", 10**6)
    old, young = refuse(bank, account), refuse(bank, account, NOW + HOUR)
    retention.work(hub, NOW + 7 * DAY)
    assert requests.one(hub.database, old) is not None
    assert not retention.work(hub, NOW + 7 * DAY + 1).more
    assert requests.one(hub.database, old) is None
    assert requests.one(hub.database, young) is not None


def test_many_refusals_are_forgotten_a_part_at_a_time(hub: Hub, bank: Bank) -> None:
    account = bank.account("a")
    for number in range(FORGET_BATCH + 1):
        refuse(bank, account, NOW + number % 7)
    assert retention.work(hub, NOW + 8 * DAY).more
    assert hub.database.row("SELECT COUNT(*) FROM refusals") == (1,)
    assert not retention.work(hub, NOW + 8 * DAY).more
    assert hub.database.row("SELECT COUNT(*) FROM refusals") == (0,)
