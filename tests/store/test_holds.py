"""Batches of holds against real databases: exact sums, odd texts, ended leases, many at once."""

import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.fakes.bank import DAY, NOW, Bank
from tokenhub.billing.holds import End, Ended, Placed, Refusal, Refused
from tokenhub.billing.rules import MAX_SHORTFALL_NANO
from tokenhub.store import leases, ledger, requests, usage
from tokenhub.store.database import StoreBusy
from tokenhub.store.holds import Holds, LeaseLost, release_holds_of
from tokenhub.usage import Units, Usage


class Undone(Exception):
    """Leaves no trace of what was written."""


@pytest.fixture
def bank(database, home):
    return Bank(database, home)


def test_t30_a_thousand_tiny_charges_are_charged_to_the_nano_dollar(bank):
    account = bank.account("a", 10_000)
    for start in range(0, 1000, 100):
        names = [f"r{number}" for number in range(start, start + 100)]
        bank.apply(*(bank.place(name, "a-0", 10) for name in names))
        bank.apply(*(bank.settle(name, "a-0", 8, 1) for name in names))
    assert bank.available(account) == 10_000 - 1000 * 9
    (line,) = usage.usage(bank.database, "account")
    assert (line.requests, line.model_fee_nano, line.service_fee_nano, line.total_nano) == (1000, 8000, 1000, 9000)
    bank.check()


def test_record_of_a_settled_request_is_kept_as_given(bank):
    account = bank.account("a", 10_000)
    usage = Usage(
        input=1,
        cache_read=2,
        cache_write=3,
        cache_write_1h=4,
        audio_input=5,
        image_input=6,
        output=7,
        reasoning=8,
        units=(Units("second", 5, "720p"), Units("image", 1)),
    )
    bank.do(bank.place("r", "a-0", 100))
    bank.do(
        bank.settle(
            "r", "a-0", 50, 2, usage=usage, upstream_id="up", streamed=True, finish_reason="stop",
            native_finish_reason="end_turn", first_content_ms=12, duration_ms=34, fee_bp=300, credential_id=9, estimated=True,
            cancelled=True, attempts='[{"ms":1}]',
        ),
        NOW + 5,
    )  # fmt: skip
    kept = requests.one(bank.database, "r")
    assert kept == requests.EndedRequest(
        id="r", account_id=account, key_id="a-0", end=End.SETTLED, started_at=NOW, ended_at=NOW + 5, capability="chat",
        model="glm-4.5", provider="zhipu", region="cn", credential_id=9, upstream_id="up", streamed=True, status=200,
        error_code=None, finish_reason="stop", native_finish_reason="end_turn", input_tokens=1, cache_read_tokens=2,
        cache_write_tokens=3, cache_write_1h_tokens=4, audio_input_tokens=5, image_input_tokens=6, output_tokens=7,
        reasoning_tokens=8, image_output_tokens=0, unknown_tokens=0, estimated=True, cancelled=True, held=100, model_fee=50,
        service_fee=2, charged=52, shortfall=0, lot_id=kept.lot_id, fee_bp=300, price_version="p1", first_content_ms=12,
        duration_ms=34, attempts='[{"ms":1}]', decision='', session=None, saved=0,
        units='[{"kind":"second","count":5,"variant":"720p"},{"kind":"image","count":1}]',
    )  # fmt: skip


POISONS = ["\0", "a\0b", "\ud800", "x\udfffy", "é" * 10, "y" * 1_000_000]
TEXTS = [
    *("capability", "model", "provider", "region", "upstream_id", "error_code", "finish_reason"),
    *("native_finish_reason", "price_version", "attempts"),
]


def test_t98_no_text_keeps_a_charge_from_being_written(bank):
    account = bank.account("a", 10_000)
    cases = {f"{field} {number}": {field: poison} for field in TEXTS for number, poison in enumerate(POISONS)}
    bank.apply(*(bank.place(name, "a-0", 100) for name in cases))
    outcomes = bank.apply(*(bank.settle(name, "a-0", 30, 1, **record) for name, record in cases.items()))
    assert outcomes == [Ended(End.SETTLED, 31, 30, 1, first=True)] * len(cases)
    for name, record in cases.items():
        kept = getattr(requests.one(bank.database, name), *record)
        assert "\0" not in kept
        assert len(kept) <= 2000
        assert kept.encode()
    assert bank.available(account) == 10_000 - 31 * len(cases)


def test_credit_that_a_refused_request_finds_expired_leaves_the_balance_too(bank):
    account = bank.account("a", 1000, expires_at=NOW + 5)
    outcome = bank.do(bank.place("r", "a-0", 10, key_rpm=0), NOW + 5)
    assert (outcome.reason, outcome.required_nano, outcome.available_nano) == (Refusal.RATE_LIMITED, 0, 0)
    assert bank.available(account) == 0
    bank.check()


def test_unknown_key_and_a_plan_for_another_account_are_refused(bank):
    bank.account("a", 1000)
    other = bank.account("b", 1000)
    place = bank.place("r", "a-0", 1)
    assert bank.do(replace(place, key_id="nobody")) == Refused(Refusal.KEY_INVALID)
    assert bank.do(replace(place, account_id=other)) == Refused(Refusal.STALE)
    bank.check()


def test_batch_of_a_lost_lease_does_nothing(bank):
    bank.account("a", 1000)
    with bank.database.write():
        bank.database.execute("UPDATE leases SET state = 'ended' WHERE id = ?", (bank.lease.id,))
    with pytest.raises(LeaseLost):
        bank.do(bank.place("r1", "a-0", 1))
    assert bank.database.row("SELECT count(*) FROM holds") == (0,)


def test_holds_of_a_live_process_are_not_released(bank):
    bank.account("a", 1000)
    bank.do(bank.place("r1", "a-0", 10))
    with pytest.raises(ValueError, match="has not ended"):
        release_holds_of(bank.database, bank.lease.id, NOW)


def test_t21_holds_of_an_ended_process_are_released_once_with_the_reason(bank):
    """More of them than one transaction takes; a job's hold stays, it has an end of its own."""
    account = bank.account("a", 1000)
    names = [f"r{number:03}" for number in range(450)]
    bank.apply(*(bank.place(name, "a-0", 2) for name in names), bank.place("job", "a-0", 3))
    bank.adopt("job")
    leases.end(bank.database, bank.lease)
    assert release_holds_of(bank.database, bank.lease.id, NOW + 7) == 450
    assert release_holds_of(bank.database, bank.lease.id, NOW + 8) == 0
    found = requests.one(bank.database, "r000")
    assert (found.end, found.error_code, found.ended_at, found.held, found.charged) == (
        "released",
        "lease_ended",
        NOW + 7,
        2,
        0,
    )
    assert bank.available(account) == 997
    bank.check()


def test_only_holds_that_are_not_kept_are_released(bank):
    """More of both than one transaction looks at."""
    account = bank.account("a", 1000)
    bank.apply(*(bank.place(f"r{number:03}", "a-0", 2) for number in range(450)))
    released = bank.holds.release_all(bank.lease.id, NOW, reason="hold_unknown", keep=lambda name: name < "r230")
    assert released == 220
    assert bank.available(account) == 1000 - 2 * 230


def test_t22_twenty_parallel_ends_of_one_hold_are_told_one_outcome(bank, home):
    account = bank.account("a", 1000)
    bank.do(bank.place("r", "a-0", 100))
    ends = [bank.settle("r", "a-0", 10 + number) if number % 2 else bank.release("r", "a-0") for number in range(20)]
    outcomes: list[Ended] = []
    processes = [Bank(bank.database, home) for _ in ends]
    run_together(
        bank.database,
        (
            lambda process=process, end=end: outcomes.append(process.do(end))
            for process, end in zip(processes, ends, strict=True)
        ),
    )
    assert sum(outcome.first for outcome in outcomes) == 1
    assert len({(outcome.end, outcome.charged_nano) for outcome in outcomes}) == 1
    assert bank.available(account) == 1000 - outcomes[0].charged_nano
    bank.check()


def test_t95_batches_over_the_same_accounts_in_any_order_never_wait_for_each_other(bank, home):
    """Four threads, each batch over all accounts in another order: none is refused, and nothing is lost."""
    accounts = [bank.account(f"a{number}", 10**9) for number in range(5)]
    failures: list[BaseException] = []

    def work(worker: int, process: Bank) -> None:
        try:
            for turn in range(25):
                order = [(number * (worker + 1) + turn) % 5 for number in range(5)]
                names = [(f"w{worker}-{turn}-{number}", f"a{number}-0") for number in order]
                placed = process.apply(*(process.place(name, key, 100) for name, key in names))
                assert all(isinstance(outcome, Placed) for outcome in placed)
                process.apply(*(process.settle(name, key, 7) for name, key in reversed(names)))
        except (StoreBusy, AssertionError) as error:
            failures.append(error)

    processes = [Bank(bank.database, home) for _ in range(4)]
    run_together(bank.database, (lambda each=each: work(*each) for each in enumerate(processes)))
    assert failures == []
    assert [bank.available(account) for account in accounts] == [10**9 - 4 * 25 * 7] * 5
    bank.check()


def test_t16_settling_more_than_a_column_holds_is_cut_to_the_hold(bank):
    account = bank.account("a", 1000)
    bank.do(bank.place("r", "a-0", 100))
    assert bank.do(bank.settle("r", "a-0", 2**70, 2**61)) == Ended(End.SETTLED, 100, 100, 0, first=True)
    assert bank.available(account) == 900
    for number in range(20):
        bank.do(bank.place(f"r{number}", "a-0", 10))
        bank.do(bank.settle(f"r{number}", "a-0", 2**63))
    assert ledger.shortfalls(bank.database, 0).total_nano == 21 * MAX_SHORTFALL_NANO
    bank.check()


def test_t16_what_replies_are_said_to_cost_and_save_can_be_added_up(bank):
    """A day whose sums do not fit would never be closed, nor its requests deleted."""
    bank.account("a", 1000)
    for number in range(3):
        bank.do(bank.place(f"r{number}", "a-0", 100))
        bank.do(bank.settle(f"r{number}", "a-0", 2**63, saved_nano=2**62))
    (line,) = usage.usage(bank.database, "day")
    assert (line.total_nano, line.saved_nano) == (300, 300)
    assert line.shortfall_nano * 10**7 < 2**63
    bank.check()


def test_negative_fee_is_refused_and_leaves_the_hold_as_it_was(bank):
    bank.account("a", 1000)
    bank.do(bank.place("r", "a-0", 100))
    with pytest.raises(ValueError, match="negative"):
        bank.do(bank.settle("r", "a-0", -1))
    assert isinstance(bank.do(bank.release("r")), Ended)
    bank.check()


def run_together(database, calls) -> None:
    """Run functions in threads that start at the same moment, each on a connection of its own."""
    calls = list(calls)
    barrier = threading.Barrier(len(calls))

    def start(call) -> None:
        barrier.wait()
        call()
        database.close()

    threads = [threading.Thread(target=start, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def add_lots(bank, account, lots):
    """Give an account lots, each (available, expires at), without a transaction for each."""
    with bank.database.write():
        bank.database.executemany(
            "INSERT INTO lots (account_id, kind, ref, granted, available, expires_at, created_at) VALUES (?, 'grant', ?, ?, ?, ?, ?)",
            [(account, f"many-{n}", nano, nano, expires_at, NOW + n) for n, (nano, expires_at) in enumerate(lots)],
        )
        bank.database.executemany(
            "INSERT INTO entries (account_id, lot_id, kind, ref, amount, created_at) VALUES (?, (SELECT id FROM lots WHERE kind = 'grant' AND ref = ?), 'grant', ?, ?, ?)",
            [(account, f"many-{n}", f"many-{n}", nano, NOW) for n, (nano, _) in enumerate(lots)],
        )
        bank.database.execute(
            "UPDATE accounts SET available = available + ?, next_expiry = (SELECT MIN(expires_at) FROM lots WHERE account_id = ? AND available > 0) WHERE id = ?",
            (sum(nano for nano, _ in lots), account, account),
        )


@pytest.mark.parametrize("wanted", [[1], [700], [90, 900, 0, 4000], [20_000], [100, 10**6]])
@pytest.mark.parametrize("after_ms", [0, 150_000])
def test_many_lots_are_drawn_as_few_are(bank, monkeypatch, wanted, after_ms):
    """In the order of their expiry, to the last, beside those of holds that end; what is due expires first."""
    lots = [(20 + n % 7, None if n % 5 == 0 else NOW + 1000 * (1 + n * 7919 % 300)) for n in range(300)]
    kept = {}
    for name, each in (("many", 32), ("all", 10**6)):
        monkeypatch.setattr("tokenhub.store.holds.LOTS_EACH", each)
        with suppress(Undone), bank.database.write():
            holds = Holds(bank.database)
            account = bank.account("a")
            add_lots(bank, account, lots)
            holds.apply([bank.place("first", "a-0", 2500)], bank.lease, NOW)
            operations = [
                bank.release("first", "a-0"),
                *(bank.place(f"r{n}", "a-0", nano) for n, nano in enumerate(wanted)),
            ]
            outcomes = holds.apply(operations, bank.lease, NOW + after_ms)
            found = ledger.balances(bank.database, account)
            parts = bank.database.rows(
                "SELECT request_id, l.ref, amount FROM hold_lots h JOIN lots l ON l.id = h.lot_id ORDER BY 1, 2"
            )
            kept[name] = (
                [type(outcome) for outcome in outcomes],
                (found.available_nano, found.held_nano, found.next_expiry_ms, parts),
                [(lot.ref, lot.available_nano, lot.held_nano, lot.expired_nano) for lot in found.lots],
            )
            bank.check()
            raise Undone
    assert kept["many"] == kept["all"]


def test_a_hold_reads_few_of_many_lots(bank):
    account = bank.account("a")
    add_lots(bank, account, [(10**9, NOW + DAY + n * 7919 % 1000) for n in range(1000)])
    bank.do(bank.place("before", "a-0", 40 * 10**9))
    bank.do(bank.settle("before", "a-0", 40 * 10**9))
    place = bank.place("r", "a-0", 5 * 10**9)
    with bank.database.write():
        batch = bank.holds._read([place], leases.standing(bank.database), NOW, ())
    assert len(batch.accounts[account].lots) == 32
