"""Several processes with a writer each on one store: limits, balances and revocation hold across them, and kills lose nothing."""

import os
import random
from contextlib import contextmanager

import pytest

from tests.fakes.bank import Bank
from tests.fakes.ledger_process import LedgerProcess
from tokenhub import clock
from tokenhub.billing.invariants import RequestSums, Seen, check
from tokenhub.store import leases, requests
from tokenhub.store.holds import release_holds_of

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
pytestmark = pytest.mark.soak
KILLS = 170 if SOAK else 1
"""At each failpoint, on each database."""
SAW = {"settled": Seen.END, "released": Seen.ERROR}


@pytest.fixture
def bank(database, home):
    return Bank(database, home)


@contextmanager
def processes(environment, number: int):
    started = [LedgerProcess(environment) for _ in range(number)]
    yield started
    assert [process.end() for process in started] == [0] * number


def ask_all(started, commands) -> list[list]:
    for process, command in zip(started, commands, strict=True):
        process.tell(**command)
    return [list(process.answer()) for process in started]


def bursts(started, places) -> list[str]:
    """Send places to all processes at once, each an equal share; return how all went."""
    share = len(places) // len(started)
    commands = [{"do": "burst", "places": places[start : start + share]} for start in range(0, len(places), share)]
    return [word for answer in ask_all(started, commands) for (word,) in answer]


def test_t1_t2_parallel_holds_never_take_more_than_there_is(bank, environment):
    rounds = 200 if SOAK else 8
    with processes(environment, 2) as started:
        for turn in range(rounds):
            last = bank.account(f"last{turn}", 100)
            words = bursts(started, [[f"l{turn}-{number}", f"last{turn}-0", 100, {}] for number in range(50)])
            assert sorted(words) == ["in_flight"] * 49 + ["placed"], "T1"
            assert bank.available(last) == 0
            bank.check()
        rich = bank.account("rich", 10_050)
        words = bursts(started, [[f"r{number}", "rich-0", 100, {}] for number in range(500)])
        assert sorted(words) == ["in_flight"] * 400 + ["placed"] * 100, "T2"
        assert bank.available(rich) == 50
    bank.check()


def test_t37_t38_rate_limits_are_exact_across_processes(bank, environment):
    bank.account("a", 10**9, keys=12)
    with processes(environment, 2) as started:
        limits = {"key_rpm": 60, "account_rpm": 600}
        words = bursts(started, [[f"k{number}", "a-0", 10**10 if number < 20 else 1, limits] for number in range(20)])
        assert words == ["insufficient"] * 20, "refused for money, and counted"
        words = bursts(started, [[f"q{number}", "a-0", 1, limits] for number in range(100)])
        assert (words.count("placed"), words.count("rate_limited")) == (40, 60)
        places = [[f"m{number}", f"a-{1 + number % 11}", 1, limits] for number in range(660)]
        words = bursts(started, places)
        assert (words.count("placed"), words.count("rate_limited")) == (540, 120)
    bank.check()


def test_t35_no_process_admits_a_key_once_its_revocation_returned(bank, environment):
    rounds, team = (100, 4) if SOAK else (3, 2)
    refused_later = 0
    with processes(environment, team) as started:
        for turn in range(rounds):
            bank.account(f"a{turn}", 10**9)
            for number, process in enumerate(started):
                process.tell(do="churn", keys=[f"a{turn}-0"], requests=400, parallel=4, seed=turn * 10 + number)
            answers = [process.answer() for process in started]
            seen = [next(answer) for answer in answers]
            bank.set("keys", f"a{turn}-0", status="revoked")
            revoked_ms = clock.boot_ms()
            seen += [line for answer in answers for line in answer]
            assert not [line for line in seen if line[1] == "placed" and line[0] > revoked_ms]
            assert {line[3] for line in seen if line[1] == "refused"} <= {"stale", "key_invalid"}
            refused_later += sum(line[0] > revoked_ms for line in seen)
    assert refused_later, "requests went on after a revocation"
    bank.check()


def test_t87_writers_of_several_processes_never_fail_for_a_lock(bank, environment):
    number = 10_000 if SOAK else 250
    accounts = [bank.account(f"a{account}", 10**9) for account in range(3)]
    with processes(environment, 4) as started:
        keys = [f"a{account}-0" for account in range(3)]
        commands = [
            {"do": "churn", "keys": keys, "requests": number, "parallel": 30, "seed": seed} for seed in range(4)
        ]
        seen = [line for answer in ask_all(started, commands) for line in answer]
    assert sum(line[1] == "placed" for line in seen) == 4 * number
    charged = sum(line[3] for line in seen if line[1] == "settled")
    assert sum(bank.available(account) for account in accounts) == 3 * 10**9 - charged
    assert bank.database.row("SELECT count(*) FROM holds") == (0,)
    bank.check()


@pytest.mark.parametrize("failpoint", ["batch.decided", "batch.written", "batch.committed"])
def test_t20_killed_writer_loses_no_charge_and_leaves_no_hold(failpoint, bank, home, environment):
    """Killed at this place of some batch; what its callers had seen is in the ledger, all else is released."""
    chance = random.Random(failpoint)
    for turn in range(KILLS):
        name = f"a{turn}"
        bank.account(name, 10**6)
        process = LedgerProcess(environment, f"{failpoint}:{chance.randrange(4, 40)}")
        seen = process.ask(do="churn", keys=[f"{name}-0"], requests=100_000, parallel=12, seed=turn)
        assert process.end() == -9
        assert seen
        for lease in leases.Reaper(home, 15).reap(bank.database, clock.now_ms()):
            release_holds_of(bank.database, lease, clock.now_ms())
        bank.check()
        assert bank.database.row("SELECT sum(open_holds), sum(held) FROM accounts") == (0, 0)
        check_seen(bank, seen)


def check_seen(bank: Bank, seen: list[list]) -> None:
    """Assert that what callers saw is what the ledger says of their requests (I3, I5, I6)."""
    saw: dict[str, list] = {line[2]: line for line in seen if line[1] != "refused"}
    rows = []
    for request_id, line in saw.items():
        kept = requests.one(bank.database, request_id)
        assert kept is not None, "a hold that was told has its end"
        assert line[1] != "settled" or kept.charged == line[3]
        told = SAW.get(line[1], Seen.UNKNOWN)
        amounts = (kept.held, kept.model_fee, kept.service_fee, kept.charged, kept.charged)
        rows.append(RequestSums(request_id, kept.end, *amounts, seen=told))
    assert check(rows) == []
