"""Closing days and deleting their requests, on real databases."""

from dataclasses import replace

import pytest

from tests.fakes.bank import DAY, NOW, Bank
from tests.store.test_requests import serve
from tokenhub.accounts.accounts import SpendPeriod
from tokenhub.billing.daily import DailyLine
from tokenhub.store import accounts, days, ledger, requests, revision, spend
from tokenhub.store.database import StoreRejected

TODAY = days.day_of(NOW)


@pytest.fixture
def bank(database, home):
    return Bank(database, home)


def close(bank: Bank, day_ms: int = TODAY) -> list[DailyLine]:
    lines = list(days.add_up(bank.database, day_ms))
    days.close(bank.database, day_ms, lines, NOW + DAY)
    return lines


def test_closed_day_has_a_line_for_each_key_model_provider_fee_and_lot(bank):
    account = bank.account("a", 10**6, expires_at=NOW + DAY)
    serve(bank, "a-0", model="m", provider="p", model_fee=90)
    bank.do(bank.place("r2", "a-0", 57))
    bank.do(bank.release("r2", "a-0", model="m", provider=None))
    with bank.database.write():
        days_lot = bank.database.row("SELECT MIN(id) FROM lots")[0]
    assert [
        (line.model, line.provider, line.kind, line.lot_id, line.amount_nano, line.requests) for line in close(bank)
    ] == [
        ("m", "", "model_fee", 0, 0, 1),
        ("m", "p", "model_fee", days_lot, 90, 1),
        ("m", "p", "service_fee", days_lot, 3, 0),
    ]
    (row,) = bank.database.rows("SELECT day, requests, charged, purged_at FROM closed_days")
    assert row == (TODAY, 2, 93, None)
    assert days.closed_until(bank.database) == TODAY + DAY
    assert days.lines_of(bank.database, TODAY, account) == list(days.add_up(bank.database, TODAY, account))
    assert days.lines_of(bank.database, TODAY, account + 1) == []


def test_charge_over_several_lots_is_split_on_the_lines_as_the_lots_paid(bank):
    from tokenhub.store import ledger

    account = bank.account("a", 60, expires_at=NOW + DAY)
    ledger.grant(bank.database, account, 100, "second", NOW + 2 * DAY, "", NOW)
    bank.do(bank.place("r", "a-0", 120))
    bank.do(bank.settle("r", "a-0", 100, 3))
    first, second = (row[0] for row in bank.database.rows("SELECT id FROM lots ORDER BY id"))
    assert [(line.kind, line.lot_id, line.amount_nano, line.requests) for line in close(bank)] == [
        ("model_fee", first, 60, 1),
        ("model_fee", second, 40, 0),
        ("service_fee", second, 3, 0),
    ]


def test_ends_that_belong_to_nobody_are_counted_too(bank):
    bank.do(bank.release("nobody"))
    (line,) = close(bank)
    assert (line.account_id, line.key_id, line.lot_id, line.amount_nano, line.requests) == (0, "", 0, 0, 1)


def test_days_are_closed_in_order_and_days_without_requests_need_no_closing(bank):
    bank.account("a", 10**6)
    assert days.first_open(bank.database) is None
    serve(bank, "a-0", NOW + 3 * DAY)
    serve(bank, "a-0", NOW)
    assert list(days.open_days(bank.database, NOW + 9 * DAY)) == [TODAY, TODAY + 3 * DAY]
    assert list(days.open_days(bank.database, NOW + DAY)) == [TODAY]
    assert days.first_open(bank.database) == TODAY
    close(bank)
    assert days.first_open(bank.database) == TODAY + 3 * DAY
    close(bank, TODAY + 3 * DAY)
    assert days.first_open(bank.database) is None
    assert days.closed_days(bank.database) == [TODAY, TODAY + 3 * DAY]


def test_request_that_ends_while_the_day_is_added_up_is_not_lost(bank):
    bank.account("a", 10**6)
    serve(bank, "a-0")
    lines = list(days.add_up(bank.database, TODAY))
    serve(bank, "a-0", NOW + 1)
    with pytest.raises(days.DayMoved):
        days.close(bank.database, TODAY, lines, NOW + DAY)
    assert days.closed_until(bank.database) == 0
    assert days.lines_of(bank.database, TODAY) == days.closed_days(bank.database) == []
    (line, *_) = close(bank)
    assert line.requests == 2
    assert days.agrees(bank.database, TODAY)


def test_closed_day_is_not_closed_again(bank):
    bank.account("a", 10**6)
    serve(bank, "a-0")
    lines = close(bank)
    with pytest.raises(days.DayMoved):
        days.close(bank.database, TODAY, lines, NOW + DAY)
    assert days.lines_of(bank.database, TODAY) == lines


def test_drafts_that_a_crash_left_are_thrown_away(bank, monkeypatch):
    monkeypatch.setattr(days, "CHUNK", 3)
    bank.account("a", 10**6)
    serve(bank, "a-0", NOW - DAY)
    close(bank, TODAY - DAY)
    for number in range(8):
        serve(bank, "a-0", NOW + number, model=f"m{number}")
    lines = list(days.add_up(bank.database, TODAY))
    with bank.database.write():
        bank.database.execute(
            "INSERT INTO closed_days (day, requests, charged, closed_at) VALUES (?, 0, 0, 0)", (TODAY,)
        )
        for line in lines[:7]:
            bank.database.execute(
                "INSERT INTO daily_lines (day, account_id, key_id, model, provider, kind, lot_id, amount, requests) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 999, 1)",
                (line.day_ms, line.account_id, line.key_id, line.model, line.provider, line.kind, line.lot_id),
            )
    assert (days.lines_of(bank.database, TODAY), days.closed_days(bank.database)) == ([], [TODAY - DAY])
    assert spend.of_key(bank.database, 1, "a-0", day_ms=0, week_ms=0, month_ms=0).total == 927
    assert close(bank) == days.lines_of(bank.database, TODAY) == lines
    assert spend.of_key(bank.database, 1, "a-0", day_ms=0, week_ms=0, month_ms=0).total == 927


@pytest.mark.parametrize(
    "statement", ["UPDATE daily_lines SET amount = amount + 1", "DELETE FROM daily_lines", "DELETE FROM closed_days"]
)
def test_lines_of_a_closed_day_are_never_changed(bank, statement):
    bank.account("a", 10**6)
    serve(bank, "a-0")
    lines = close(bank)
    with pytest.raises(StoreRejected), bank.database.write():
        bank.database.execute(statement)
    assert days.lines_of(bank.database, TODAY) == lines


def test_purge_begins_only_where_lines_and_requests_agree(bank):
    bank.account("a", 10**6)
    request_id = serve(bank, "a-0")
    serve(bank, "a-0", NOW + 1)
    serve(bank, "a-0", TODAY + DAY)
    close(bank)
    close(bank, TODAY + DAY)
    assert days.agrees(bank.database, TODAY)
    assert days.kept_since(bank.database) == 0
    days.begin_purge(bank.database, TODAY, 5)
    assert days.kept_since(bank.database) == TODAY + DAY
    assert days.purge_due(bank.database, TODAY) == []
    assert days.purge_due(bank.database, TODAY + 1) == [(TODAY, 5)]
    assert days.doomed(bank.database, TODAY, NOW + 1, 10) == [request_id]
    assert days.delete(bank.database, [request_id]) == 1
    assert requests.one(bank.database, request_id) is None
    assert not days.agrees(bank.database, TODAY)
    days.begin_purge(bank.database, TODAY + DAY, 6)
    assert days.kept_since(bank.database) == TODAY + 2 * DAY


def test_parts_of_a_charge_go_with_its_request(bank):
    from tokenhub.store import ledger

    account = bank.account("a", 60)
    ledger.grant(bank.database, account, 100, "second", None, "", NOW)
    bank.do(bank.place("r", "a-0", 120))
    bank.do(bank.settle("r", "a-0", 100, 3))
    assert len(bank.database.rows("SELECT * FROM request_lots")) == 2
    days.delete(bank.database, days.doomed(bank.database, TODAY, NOW + 1, 10))
    assert bank.database.rows("SELECT * FROM request_lots") == []


def test_spend_of_a_key_is_the_same_before_and_after_its_days_are_closed_and_deleted(bank):
    account = bank.account("a", 10**6, keys=2)
    for day in range(3):
        serve(bank, "a-0", NOW + day * DAY)
        serve(bank, "a-1", NOW + day * DAY)

    def spent() -> spend.KeySpend:
        return spend.of_key(bank.database, account, "a-0", day_ms=TODAY + 2 * DAY, week_ms=TODAY + DAY, month_ms=TODAY)

    before = spent()
    assert before == spend.KeySpend(309, 103, 206, 309)
    for day in (TODAY, TODAY + DAY):
        close(bank, day)
        assert spent() == before
        days.begin_purge(bank.database, day, NOW)
        days.delete(bank.database, days.doomed(bank.database, day, NOW + 9 * DAY, 10))
        assert spent() == before


def test_a_spend_limit_counts_the_same_before_and_after_its_days_are_closed_and_deleted(bank):
    account = bank.account("a", 10**6)
    for day in range(3):
        serve(bank, "a-0", NOW + day * DAY)
    key = replace(accounts.keys_starting(bank.database, "a-0", 1)[0].key, spend_period=SpendPeriod.WEEK)

    def spent() -> int:
        with revision.change(bank.database):
            ledger.lock(bank.database, account)
            spend.recount(bank.database, key, NOW + 2 * DAY)
        return accounts.keys_starting(bank.database, "a-0", 1)[0].period_spent_nano

    assert spent() == 309
    for day in (TODAY, TODAY + DAY):
        close(bank, day)
        assert spent() == 309
        days.begin_purge(bank.database, day, NOW)
        days.delete(bank.database, days.doomed(bank.database, day, NOW + 9 * DAY, 10))
        assert spent() == 309
