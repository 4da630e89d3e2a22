"""The books of a day are closed, single requests are forgotten, and no report changes."""

import os
import random
import re
import signal
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import process_environment
from tests.fakes import retention_process
from tests.fakes.bank import DAY, NOW, Bank
from tests.forked import Forked
from tokenhub.billing.holds import Pin
from tokenhub.failpoints import BOOKS_FAILPOINTS
from tokenhub.ids import new_id
from tokenhub.operations import exports, ledger, retention, statements, usage
from tokenhub.operations.hub import Hub
from tokenhub.store import days, spend
from tokenhub.store import ledger as ledger_store
from tokenhub.usage import Usage

HOUR = 3_600_000
SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
TODAY = days.day_of(NOW)
ONLY_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


@pytest.fixture
def bank(hub):
    return Bank(hub.database, hub.home)


def work(hub: Hub, now_ms: int) -> retention.Work:
    """Do all that is due; return what was done."""
    total = retention.Work()
    while True:
        done = retention.work(hub, now_ms)
        total = retention.Work(
            total.closed + done.closed, total.deleted + done.deleted, total.wiped + done.wiped, done.refused
        )
        if not done.more:
            return total


def kept(hub: Hub) -> int:
    return hub.database.row("SELECT COUNT(*) FROM requests")[0]


def test_day_is_closed_an_hour_after_it_has_ended(hub, bank):
    bank.account("a", 10**6)
    bank.serve("a-0", NOW)
    assert work(hub, TODAY + DAY + HOUR - 1).closed == []
    assert work(hub, TODAY + DAY + HOUR).closed == [TODAY]
    assert work(hub, TODAY + DAY + HOUR).closed == []


def test_days_that_were_missed_are_closed_one_after_the_other(hub, bank):
    bank.account("a", 10**6)
    for day in (5, 0, 2):
        bank.serve("a-0", NOW + day * DAY)
    assert work(hub, NOW + 5 * DAY).closed == [TODAY, TODAY + 2 * DAY]


def test_p21_request_is_deleted_when_it_is_seven_days_old(hub, bank):
    bank.account("a", 10**6)
    bank.serve("a-0", NOW)
    bank.serve("a-0", NOW + HOUR)
    assert work(hub, NOW + 7 * DAY).deleted == 0
    assert work(hub, NOW + 7 * DAY + 1) == retention.Work(deleted=1)
    assert work(hub, NOW + 7 * DAY + HOUR + 1) == retention.Work(deleted=1)
    assert work(hub, TODAY + 8 * DAY) == retention.Work(wiped=[TODAY])
    assert work(hub, TODAY + 9 * DAY) == retention.Work()


def test_p21_fewer_days_can_be_set(hub, bank):
    bank.account("a", 10**6)
    bank.serve("a-0", NOW)
    shorter = replace(hub, settings=replace(hub.settings, retention_days=1))
    assert work(shorter, TODAY + 2 * DAY).deleted == 1


@ONLY_SQLITE
def test_p21_nothing_of_a_request_is_left_in_the_files_of_the_database(hub, bank):
    """All that stays is the day's line, which names the model once and once more in its index."""
    bank.account("a", 10**6)
    marks = {name: f"{name}-{random.getrandbits(64):x}" for name in ("upstream", "price", "error", "finish", "try")}
    secret = {
        "upstream_id": marks["upstream"], "price_version": marks["price"], "error_code": marks["error"],
        "finish_reason": marks["finish"], "attempts": f'[{{"model": "{marks["try"]}"}}]',
    }  # fmt: skip
    model = f"model-{random.getrandbits(64):x}"
    ids = [bank.serve("a-0", NOW + number, model=model, usage=Usage(input=7), **secret) for number in range(300)]
    words = [*ids, *marks.values()]
    assert found(hub, words) == set(words)
    assert work(hub, NOW + DAY + HOUR + DAY).closed == [TODAY]
    assert found(hub, words) == set(words)
    assert work(hub, TODAY + 8 * DAY).deleted == 300
    assert found(hub, words) == set()
    assert everything(hub).count(model.encode()) == 2 * hub.database.row("SELECT COUNT(*) FROM daily_lines")[0] == 4
    assert (hub.home.path / "tokenhub.db-wal").stat().st_size < 20_000


def everything(hub: Hub) -> bytes:
    """What all files of the home hold, the log of the database among them."""
    assert (hub.home.path / "tokenhub.db-wal").exists()
    return b"\n".join(path.read_bytes() for path in hub.home.path.rglob("*") if path.is_file())


def found(hub: Hub, words: Sequence[str]) -> set[str]:
    """Return those that can be read anywhere in the home."""
    held = everything(hub)
    return {word for word in words if word.encode() in held}


@ONLY_SQLITE
def test_p21_day_is_not_called_wiped_while_a_reader_keeps_old_pages_alive(hub, bank):
    bank.account("a", 10**6)
    request_id = bank.serve("a-0", NOW)
    work(hub, TODAY + 3 * DAY)
    with Hub.open(hub.home) as other, other.database.read():
        other.database.row("SELECT COUNT(*) FROM requests")
        assert work(hub, TODAY + 8 * DAY) == retention.Work(deleted=1)
        assert found(hub, [request_id])
    assert work(hub, TODAY + 8 * DAY) == retention.Work(wiped=[TODAY])
    assert not found(hub, [request_id])


def test_day_whose_lines_are_wrong_keeps_its_requests(hub, bank):
    bank.account("a", 10**6)
    bank.serve("a-0", NOW)
    bank.serve("a-0", NOW + DAY)
    work(hub, NOW + 3 * DAY)
    with hub.database.write():
        hub.database.execute("UPDATE requests SET model = 'other' WHERE ended_at = ?", (NOW,))
    assert work(hub, TODAY + 9 * DAY) == retention.Work(deleted=1, refused=[TODAY], wiped=[TODAY + DAY])
    assert kept(hub) == 1


def test_one_call_deletes_a_part_so_that_other_work_gets_its_turn(hub, bank, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "BATCHES", 2)
    bank.account("a", 10**6)
    bank.account("b", 10**6)
    for number in range(9):
        bank.serve("ab"[number % 2] + "-0", NOW + number)
    work(hub, NOW + 2 * DAY)
    calls = [retention.work(hub, TODAY + 8 * DAY) for _ in range(3)]
    assert [(call.deleted, call.more, call.wiped) for call in calls] == [
        (4, True, []),
        (4, True, []),
        (1, False, [TODAY]),
    ]


def test_events_and_notices_that_were_dealt_with_are_forgotten_after_35_days(hub):
    with hub.database.write():
        for number, state in enumerate(["new", "done", "ignored", "review"]):
            for age in (34, 36):
                hub.database.execute(
                    "INSERT INTO stripe_events (id, type, object_id, source, state, received_at) VALUES (?, 't', 'o', 'sweep', ?, ?)",
                    (f"evt_{number}_{age}", state, NOW - age * DAY),
                )
        for number, state in enumerate(["new", "sent", "failed"]):
            hub.database.execute(
                "INSERT INTO notices (kind, ref, channel, target, body, state, created_at) VALUES ('k', ?, 'email', 't', '{}', ?, ?)",
                (str(number), state, NOW - 36 * DAY),
            )
        for state, age in (("live", 36), ("ended", 34), ("ended", 36)):
            hub.database.execute(
                "INSERT INTO leases (state, host, boot_id, pid, started_at, renewed_at) VALUES (?, 'h', 'b', 1, 0, ?)",
                (state, NOW - age * DAY),
            )
    retention.work(hub, NOW)
    events = hub.database.rows("SELECT id FROM stripe_events ORDER BY id")
    assert [row[0] for row in events] == ["evt_0_34", "evt_0_36", "evt_1_34", "evt_2_34", "evt_3_34", "evt_3_36"]
    assert hub.database.rows("SELECT state FROM notices") == [("new",)]
    assert hub.database.rows("SELECT state, renewed_at FROM leases ORDER BY renewed_at") == [
        ("live", NOW - 36 * DAY),
        ("ended", NOW - 34 * DAY),
    ]


def test_t99_nothing_is_done_for_an_hour_after_the_clock_was_set():
    wall, boot = [NOW], [1_000]
    watch = retention.Clockwatch(lambda: wall[0], lambda: boot[0])

    def steady(wall_passed: int, boot_passed: int) -> bool:
        wall[0] += wall_passed
        boot[0] += boot_passed
        return watch.steady()

    assert steady(60_000, 60_000)
    assert steady(60_500, 60_000)
    assert not steady(40 * DAY, 60_000)
    assert not steady(HOUR - 1, HOUR - 1)
    assert steady(1, 1)
    assert not steady(-40 * DAY, 60_000)


# Reports do not change


def reports(hub: Hub, account_id: int) -> object:
    """All that anybody is shown of closed and open days, but for tokens."""
    used = [
        (by, account, line.name, line.sums.group, line.sums.requests, line.sums.charged, line.sums.model_fee_nano,
         line.sums.service_fee_nano, line.sums.total_nano, line.sums.shortfall_nano)
        for by in ("day", "model", "key", "provider", "account")
        for account in (None, account_id)
        for line in usage.report(hub, by, since_ms=NOW - 2 * DAY, account_id=account).lines
    ]  # fmt: skip
    spent = spend.of_key(
        hub.database, account_id, "a-0", day_ms=TODAY + 2 * DAY, week_ms=TODAY, month_ms=TODAY - 20 * DAY
    )
    months = [statements.statement(hub, account_id, statements.parse_month(month)) for month in ("2026-09", "2026-10")]
    return used, spent, months, exported(hub, "csv"), exported(hub, "beancount")


def exported(hub: Hub, form: exports.Format) -> str:
    with exports.export(hub, form) as file:
        return file.read()


EXAMPLES = {"sqlite": 400 if SOAK else 25, "postgres": 400 if SOAK else 8}
REQUEST = st.tuples(
    st.integers(0, 3 * DAY),
    st.sampled_from(["a-0", "a-1", "b-0"]),
    st.sampled_from(["m1", "m2"]),
    st.sampled_from(["p1", "p2", None]),
    st.sampled_from([(0, 0), (1, 1), (700, 21), (999, 0), (2_000, 60)]),
    st.booleans(),
)


@pytest.mark.soak
def test_no_report_changes_when_days_are_closed_and_their_requests_deleted(hub):
    @given(made=st.lists(REQUEST, min_size=1, max_size=12), steps=st.lists(st.integers(1, 40), max_size=6))
    @settings(max_examples=EXAMPLES[hub.database.kind], deadline=None)
    def check(made, steps):
        fresh(hub)
        bank = Bank(hub.database, hub.home)
        account = bank.account("a", 3_000, keys=2, expires_at=NOW + 90 * DAY)
        bank.account("b", 10**6)
        for number in range(3):
            ledger_store.grant(hub.database, account, 2_500, f"more-{number}", NOW + (100 + number) * DAY, "", NOW)
        for after, key, model, provider, fees, is_charged in sorted(made, key=lambda one: one[0]):
            request_id, at_ms = new_id("req", NOW + after), NOW + after
            bank.do(bank.place(request_id, key, 1_500), at_ms)
            about = {"model": model, "provider": provider, "usage": Usage(input=5)}
            end = bank.settle(request_id, key, *fees, **about) if is_charged else bank.release(request_id, key, **about)
            bank.do(end, at_ms)
        bank.do(bank.release("nobody"), NOW)
        before, now_ms = reports(hub, account), NOW
        for hours in [*steps, 24 * 14]:
            now_ms += hours * HOUR
            work(hub, now_ms)
            assert reports(hub, account) == before
            assert ledger.verify(hub) == []
        assert kept(hub) == 0

    check()


def fresh(hub: Hub) -> None:
    """Empty the store, which examples share; triggers are in the way of that, as they should be."""
    hub.database.close()
    if hub.database.kind == "postgres":
        with hub.database.write():
            hub.database.execute("SET LOCAL session_replication_role = replica")
            for table in TABLES:
                hub.database.execute(f"DELETE FROM {table}")
            hub.database.execute("UPDATE installation SET closed_until = 0")
        return
    triggers = hub.database.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    with hub.database.write():
        for name, _ in triggers:
            hub.database.execute(f"DROP TRIGGER {name}")
        hub.database.execute("UPDATE installation SET closed_until = 0")
        for table in TABLES:
            hub.database.execute(f"DELETE FROM {table}")
        for _, sql in triggers:
            hub.database.execute(sql)


TABLES = ("daily_lines", "closed_days", "requests", "request_lots", "entries", "holds", "lots", "keys", "accounts")


# Killed between two steps


@pytest.mark.parametrize("place", BOOKS_FAILPOINTS)
def test_t88_process_killed_between_two_steps_leaves_books_that_the_next_completes(hub, bank, place):
    account = bank.account("a", 10**6)
    with hub.database.write():
        for number in range(120):
            bank.serve("a-0", NOW + number, model=f"m{number % 3}")
    before = reports(hub, account)

    def run(now_ms: int, failpoint: str) -> int:
        environment = process_environment(hub.settings, hub.home) | {"TOKENHUB_FAILPOINT": failpoint}
        return Forked(retention_process.work, now_ms, environment=environment, stdin=0, stdout=1).wait(60)

    assert run(TODAY + 9 * DAY, place) == -signal.SIGKILL
    assert reports(hub, account) == before
    assert ledger.verify(hub) == []
    assert run(TODAY + 9 * DAY, "") == 0
    assert reports(hub, account) == before
    assert ledger.verify(hub) == []
    assert kept(hub) == 0
    assert re.fullmatch(r"\d+", str(hub.database.row("SELECT wiped_at FROM closed_days")[0]))


def test_pins_of_tool_loops_are_deleted_when_their_hour_is_over(hub, bank):
    bank.account("a", 10**6)
    for number in range(2):
        bank.do(bank.place(f"r{number}", "a-0", 100))
        settled = bank.settle(f"r{number}", "a-0", 10)
        bank.do(replace(settled, pin=Pin(bytes([number]) * 16, "d", NOW + number * HOUR)))
    work(hub, NOW + 1)
    assert hub.database.rows("SELECT expires_at FROM affinities") == [(NOW + HOUR,)]
    work(hub, NOW + HOUR)
    assert hub.database.rows("SELECT expires_at FROM affinities") == []
