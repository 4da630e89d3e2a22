"""Random walks over the ledger, each step compared with a simple model, every invariant checked after it (T1-T6, T22).

The model knows nothing of rows, batches or sums kept beside their parts: it has lots, holds
and ends, and adds them up when asked.
"""

import os
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.fakes.bank import DAY, NOW, Bank
from tokenhub.accounts.accounts import SpendPeriod
from tokenhub.billing.holds import Ended, Operation, Outcome, Placed, Refused
from tokenhub.billing.periods import period_start_ms
from tokenhub.paths import Home
from tokenhub.store import accounts, leases, ledger, revision, spend
from tokenhub.store.database import open_database

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
pytestmark = pytest.mark.soak
WALKS, STEPS = (300, 60) if SOAK else (12, 30)
SPEND_LIMIT = 2000
CONCURRENCY = 4


@dataclass
class ModelLot:
    granted: int
    expires_at: int
    created_at: int
    spent: int = 0
    expired: int = 0
    held: dict[str, int] = field(default_factory=dict)

    @property
    def available(self) -> int:
        return self.granted - self.spent - self.expired - sum(self.held.values())


@dataclass
class Model:
    """One account with a free key (0), and one with a spend limit (1), which its predecessors (2) share."""

    now: int = NOW
    lots: list[ModelLot] = field(default_factory=list)
    holds: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Request to key and amount."""
    ends: dict[str, tuple] = field(default_factory=dict)
    limit: int | None = SPEND_LIMIT
    period: SpendPeriod = SpendPeriod.TOTAL
    start: int = 0
    """When the period began that the limit counts."""
    spent: int = 0
    counted: set[str] = field(default_factory=set)
    """The open holds that belong to that period."""
    charges: list[tuple[int, int]] = field(default_factory=list)
    """When the limited keys were charged what."""

    @property
    def available(self) -> int:
        return sum(lot.available for lot in self.lots)

    @property
    def held(self) -> int:
        return sum(self.holds[request][1] for request in self.counted)

    def change_limit(self, limit: int | None, period: SpendPeriod) -> None:
        self.limit, self.period = limit, period
        self.start = period_start_ms(period, self.now)
        self.spent = sum(charged for at, charged in self.charges if at >= self.start)
        self.counted = {request for request, (key, _) in self.holds.items() if key}

    def enter_period(self) -> None:
        start = period_start_ms(self.period, self.now)
        if start > self.start:
            self.start, self.spent, self.counted = start, 0, set()

    def expire(self) -> None:
        for lot in self.lots:
            if lot.expires_at <= self.now:
                lot.expired += lot.available

    def place(self, request: str, key: int, wanted: int, minimum: int) -> tuple:
        if request in self.ends:
            return ("ended",)
        if request in self.holds:
            return ("placed", self.holds[request][1])
        self.expire()
        if len(self.holds) >= CONCURRENCY:
            return ("too_many_concurrent",)
        room = self.available
        if key:
            self.enter_period()
        if key and self.limit is not None:
            left = max(self.limit - self.spent - self.held, 0)
            if left < minimum:
                return ("key_limit",)
            room = min(room, left)
        if self.available < minimum:
            held = sum(amount for _, amount in self.holds.values())
            return ("in_flight",) if self.available + held >= minimum else ("insufficient",)
        amount = left = min(wanted, room)  # a token costs 1 nano-USD here, so that every amount is whole tokens
        self.holds[request] = (key, amount)
        if key:
            self.counted.add(request)
        for lot in sorted(self.lots, key=lambda lot: (lot.expires_at, lot.created_at)):
            part = min(left, lot.available)
            if part:
                lot.held[request] = part
                left -= part
        return ("placed", amount)

    def end(self, request: str, fees: tuple[int, int] | None) -> tuple:
        if request in self.ends:
            return self.ends[request]
        key, amount = self.holds.pop(request, (0, None))
        settled = fees is not None and amount is not None
        model_fee = min(fees[0], amount) if settled else 0
        service_fee = min(fees[1], amount - model_fee) if settled else 0
        left = model_fee + service_fee
        for lot in sorted(self.lots, key=lambda lot: (lot.expires_at, lot.created_at)):
            part = lot.held.pop(request, 0)
            share = min(part, left)
            left -= share
            lot.spent += share
            if lot.expires_at <= self.now:
                lot.expired += part - share
        if request in self.counted:
            self.counted.remove(request)
            self.spent += model_fee + service_fee
        if key:
            self.charges.append((self.now, model_fee + service_fee))
        self.ends[request] = ("settled" if settled else "released", model_fee, service_fee)
        return self.ends[request]


def told(outcome: Outcome) -> tuple:
    match outcome:
        case Placed(amount):
            return ("placed", amount)
        case Refused(reason):
            return (reason.value,)
        case Ended(end, _, model_fee, service_fee):
            return (end.value, model_fee, service_fee)


requests_ = st.integers(0, 9)
amounts = st.one_of(st.integers(0, 1500), st.sampled_from([0, 1, 999, 10**9]))
steps = st.one_of(
    st.tuples(st.just("place"), requests_, st.integers(0, 2), amounts, st.booleans()),
    st.tuples(st.just("settle"), requests_, amounts, st.integers(0, 50)),
    st.tuples(st.just("release"), requests_, st.booleans()),
)


class Walk(RuleBasedStateMachine):
    """Batches of operations, grants, another limit or key, and time that passes or is set back."""

    def __init__(self, stack: ExitStack, bank: Bank) -> None:
        super().__init__()
        self.stack = stack
        self.bank = bank
        self.account = bank.account("a")
        self.limited = [bank.key(self.account, "a-1", spend_limit=SPEND_LIMIT)]
        self.model = Model()

    def teardown(self) -> None:
        self.stack.close()

    @rule(amount=st.integers(1, 3000), days=st.sampled_from([1, 2, 3, None]))
    def grant(self, amount: int, days: int | None) -> None:
        expires_at = None if days is None else self.model.now + days * DAY
        now = self.model.now
        ledger.grant(self.bank.database, self.account, amount, f"g{len(self.model.lots)}", expires_at, "", now)
        self.model.expire()
        self.model.lots.append(ModelLot(amount, 2**62 if expires_at is None else expires_at, now))

    @rule(limit=st.sampled_from([None, 500, 2000, 5000]), period=st.sampled_from(SpendPeriod))
    def change_limit(self, limit: int | None, period: SpendPeriod) -> None:
        with revision.change(self.bank.database):
            ledger.lock(self.bank.database, self.account)
            changed = replace(self.newest().key, spend_limit_nano=limit, spend_period=period)
            accounts.change_terms(self.bank.database, changed)
            spend.recount(self.bank.database, changed, self.model.now)
        self.model.change_limit(limit, period)

    @rule()
    def rotate(self) -> None:
        made = f"b-{len(self.limited):02}"
        with revision.change(self.bank.database):
            ledger.lock(self.bank.database, self.account)
            old = self.newest()
            digest = made.encode()
            accounts.insert_key(self.bank.database, replace(old.key, id=made), digest, self.model.now, replaces=old)
        self.limited.append(made)

    def newest(self) -> accounts.KeyState:
        (state,) = accounts.keys_starting(self.bank.database, self.limited[-1], 1)
        return state

    @rule(days=st.sampled_from([0.5, 1, 2, 40, -0.5]))
    def pass_time(self, days: float) -> None:
        self.model.now += round(days * DAY)

    @rule()
    def sweep(self) -> None:
        ledger.expire_due(self.bank.database, self.model.now)
        self.model.expire()

    @rule(batch=st.lists(steps, min_size=1, max_size=8))
    def write(self, batch: list[tuple]) -> None:
        outcomes = self.bank.apply(*(self.operation(step) for step in batch), now_ms=self.model.now)
        assert [told(outcome) for outcome in outcomes] == [self.expected(step) for step in batch]

    def operation(self, step: tuple) -> Operation:
        request = f"r{step[1]}"
        match step:
            case ("place", _, key, wanted, whole):
                lowered = (
                    {} if whole else {"minimum_nano": wanted // 2, "output_token_atto": 10**9, "output_wanted": wanted}
                )
                name = ("a-0", self.limited[-1], self.limited[0])[key]
                return self.bank.place(request, name, wanted, concurrency=CONCURRENCY, **lowered)
            case ("settle", _, model_fee, service_fee):
                return self.bank.settle(request, "a-0", model_fee, service_fee)
            case ("release", _, with_record):
                return self.bank.release(request, "a-0" if with_record else None)
        raise AssertionError(step)

    def expected(self, step: tuple) -> tuple:
        match step:
            case ("place", request, key, wanted, whole):
                return self.model.place(str(request), key, wanted, wanted if whole else wanted // 2)
            case ("settle", request, model_fee, service_fee):
                return self.model.end(str(request), (model_fee, service_fee))
        return self.model.end(str(step[1]), None)

    @invariant()
    def balances_are_the_model_s(self) -> None:
        found = ledger.balances(self.bank.database, self.account)
        assert found.available_nano == self.model.available >= 0
        assert found.held_nano == sum(amount for _, amount in self.model.holds.values())
        assert found.open_holds == len(self.model.holds)
        lots = ledger.lots_of(self.bank.database, self.account)
        assert sorted(
            (lot.granted_nano, lot.available_nano, lot.spent_nano, lot.expired_nano) for lot in lots
        ) == sorted((lot.granted, lot.available, lot.spent, lot.expired) for lot in self.model.lots)

    @invariant()
    def the_limit_counts_what_the_model_counts(self) -> None:
        found = self.newest()
        counted = (found.period_start_ms, found.period_spent_nano, found.period_held_nano)
        assert counted == (self.model.start, self.model.spent, self.model.held)

    @invariant()
    def everything_adds_up(self) -> None:
        self.bank.check()


def test_random_walks_keep_to_the_model_and_every_invariant(postgres, templates, tmp_path):
    """Each walk has a store of its own, so that one that fails can be shrunk."""
    homes = (Home(tmp_path / f"home{number}", explicit=True) for number in count())

    def walk() -> Walk:
        home = next(homes)
        with ExitStack() as stack:
            database = open_database(stack.enter_context(templates.copied("store", home, postgres)), home)
            stack.callback(database.close)
            bank = Bank(database, home)
            stack.callback(leases.end, database, bank.lease)
            return Walk(stack.pop_all(), bank)

    run_state_machine_as_test(
        walk,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
