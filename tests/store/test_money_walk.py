"""Seeded random walks over all that changes an account's money, each step compared with a model (T27).

After each step every balance and every lot is as the model has it, and the audit, of payments
and closed days too, finds nothing. A walk is one transaction that is never committed: what a
crash leaves behind is tested elsewhere, here it is many walks that count. A failure names its
seed and its steps.
"""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import pytest

from tests.fakes.bank import NOW, Bank
from tests.fakes.money_model import DAY, NEVER, Account, ModelLot
from tests.fakes.payments import Payments
from tokenhub.billing.holds import Ended, Placed
from tokenhub.billing.refunds import Quote
from tokenhub.store import days, ledger

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
pytestmark = pytest.mark.soak
CHUNKS = 3
WALKS = {"sqlite": 3000 if SOAK else 600, "postgres": 3000 if SOAK else 30}
STEPS = 20
CENT = 10_000_000


class Undone(Exception):
    """Leaves a walk without a trace."""


@dataclass
class Walk:
    bank: Bank
    random: Random
    account: int = 0
    model: Account = field(default_factory=lambda: Account(NOW))
    lots: dict[int, ModelLot] = field(default_factory=dict)
    """A lot's id to its model."""
    topups: dict[str, ModelLot] = field(default_factory=dict)
    refunds: dict[str, str] = field(default_factory=dict)
    """Refund that stands to how it was made."""
    disputes: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    """Dispute to its top-up, what it has frozen, and its state."""
    count: int = 0
    told: list[str] = field(default_factory=list)

    def run(self) -> None:
        self.payments = Payments(self.bank)
        self.account = self.bank.account("a")
        self.topup()
        for _ in range(STEPS):
            self.count += 1
            self.step()
            self.check()

    def step(self) -> None:
        verbs = (self.grant, self.topup, self.place, self.place, self.end, self.refund, self.clawback, self.fail)
        verbs += (self.dispute, self.decide, self.undo, self.pass_time, self.sweep, self.close_day, self.purge)
        verb = self.random.choice(verbs)
        said = verb()
        self.told.append(f"{verb.__name__}: {said}")

    # Credit

    def grant(self) -> object:
        amount = self.random.choice([1, 999, CENT, self.random.randrange(1, 900 * CENT)])
        days_ = self.random.choice([1, 3, 40, None])
        expires_at = None if days_ is None else self.model.now + days_ * DAY
        ref = f"g{self.count}"
        lot = ledger.grant(self.bank.database, self.account, amount, ref, expires_at, "", self.model.now)
        self.lots[lot.id] = self.model.add(amount, NEVER if expires_at is None else expires_at)
        return amount, days_

    def topup(self) -> object:
        minor, days_ = self.random.choice([50, 333, 1000]), self.random.choice([-1, 1, 5, 365])
        ref, expires_at = f"pi{self.count}", self.model.now + days_ * DAY
        for _ in range(self.random.choice([1, 1, 2])):
            lot = self.payments.topup(self.account, ref, minor, expires_at=expires_at, now_ms=self.model.now)
        self.lots[lot.id] = self.topups[ref] = self.model.add(minor * CENT, expires_at)
        return ref, minor, days_

    def sweep(self) -> None:
        ledger.expire_due(self.bank.database, self.model.now)
        self.model.tidy()

    def pass_time(self) -> object:
        days_ = self.random.choice([0.1, 0.5, 1, 1, 2, 31, -0.4])
        # Not into a closed day: for requests it is never earlier than its end.
        self.model.now = max(self.model.now + round(days_ * DAY), days.closed_until(self.bank.database))
        return days_

    # Requests

    def place(self) -> object:
        request, wanted = f"r{self.count}", self.random.choice([0, 1, 80 * CENT, self.random.randrange(2000 * CENT)])
        outcome = self.bank.do(self.bank.place(request, "a-0", wanted), self.model.now)
        assert isinstance(outcome, Placed) == self.model.place(request, wanted)
        return request, wanted

    def end(self) -> object:
        if not self.model.holds:
            return None
        request = self.random.choice(sorted(self.model.holds))
        amount = sum(part for _, part in self.model.holds[request])
        fees = self.random.choice([(0, 0), (amount, 0), (amount // 2, amount // 5), (amount // 3 + 1, 1)])
        settles = self.random.random() < 0.7
        operation = self.bank.settle(request, "a-0", *fees) if settles else self.bank.release(request, "a-0")
        outcome = self.bank.do(operation, self.model.now)
        assert isinstance(outcome, Ended)
        self.model.end(request, outcome.charged_nano)
        return request, settles, fees

    # Payments

    def refund(self) -> object:
        topup = self._some_topup()
        if topup is None:
            return None
        ref, minor = f"rf{self.count}", self.random.choice([None, 1, 33, 100, 1000])
        quote = self.payments.refund(topup, ref, minor, self.model.now)
        self.model.tidy()
        if isinstance(quote, Quote):
            assert self.model.take(ref, self.topups[topup], quote.credit_nano) == (quote.credit_nano, 0, 0)
            self.refunds[ref] = "here"
        return topup, ref, minor, quote

    def clawback(self) -> object:
        topup = self._some_topup()
        if topup is None:
            return None
        ref, minor = f"re{self.count}", self._unrefunded(topup)
        if not minor:
            return None
        taken = self.payments.refund_at_stripe(topup, ref, minor, self.model.now)
        amount = taken.own_nano + taken.others_nano + taken.debt_nano
        found = self.model.take(ref, self.topups[topup], amount)
        assert found == (taken.own_nano, taken.others_nano, taken.debt_nano)
        self.refunds[ref] = "there"
        return topup, ref, minor

    def fail(self) -> object:
        """A refund that stands comes back, and is told twice."""
        if not self.refunds:
            return None
        ref = self.random.choice(sorted(self.refunds))
        here = self.refunds.pop(ref) == "here"
        back = self.payments.refund_failed if here else self.payments.refund_at_stripe_failed
        assert back(ref, self.model.now) == self.model.put_back(ref)
        assert back(ref, self.model.now) == 0
        return ref

    def dispute(self) -> object:
        topup = self._some_topup()
        if topup is None:
            return None
        ref, minor = f"du{self.count}", self.random.choice([10, 300, 1000])
        lot = self.topups[topup]
        frozen = self.payments.dispute(topup, ref, min(minor, lot.granted // CENT), self.model.now)
        assert self.model.freeze(lot, frozen) == frozen
        self.disputes[ref] = (topup, frozen, "open")
        return topup, ref, minor, frozen

    def decide(self) -> object:
        """An open dispute is won or lost."""
        found = [ref for ref, (_, _, state) in sorted(self.disputes.items()) if state == "open"]
        if not found:
            return None
        ref = self.random.choice(found)
        topup, frozen, _ = self.disputes[ref]
        lot = self.topups[topup]
        if self.random.random() < 0.5:
            self.payments.dispute_won(ref, self.model.now)
            self.model.unfreeze(lot, frozen)
            self.disputes[ref] = (topup, 0, "won")
            return ref, "won"
        taken = self.payments.dispute_lost(ref, self.model.now)
        amount = taken.own_nano + taken.others_nano + taken.debt_nano
        parts = self.model.take(ref, lot, amount, frozen)
        assert parts == (taken.own_nano, taken.others_nano, taken.debt_nano)
        self.model.unfreeze(lot, max(0, frozen - amount))
        self.disputes[ref] = (topup, 0, "lost")
        return ref, "lost", taken

    def undo(self) -> object:
        found = [ref for ref, (_, _, state) in sorted(self.disputes.items()) if state == "lost"]
        if not found:
            return None
        ref = self.random.choice(found)
        assert self.payments.dispute_reversed(ref, self.model.now) == self.model.put_back(ref)
        assert self.payments.dispute_reversed(ref, self.model.now) == 0
        self.disputes[ref] = (self.disputes[ref][0], 0, "won")
        return ref

    # Days

    def close_day(self) -> object:
        """Close the first open day with requests, if it is over."""
        day = days.first_open(self.bank.database)
        if day is None or day + DAY > self.model.now:
            return None
        lines = list(days.add_up(self.bank.database, day))
        days.close(self.bank.database, day, lines, self.model.now)
        return day, len(lines)

    def purge(self) -> object:
        found = days.purge_due(self.bank.database, self.model.now)
        if not found:
            return None
        day, begun = found[0]
        assert begun is not None or days.agrees(self.bank.database, day)
        days.begin_purge(self.bank.database, day, self.model.now)
        doomed = days.doomed(self.bank.database, day, self.model.now, 2)
        return day, days.delete(self.bank.database, doomed)

    # What must hold

    def check(self) -> None:
        found = ledger.balances(self.bank.database, self.account)
        assert (found.available_nano, found.held_nano, found.debt_nano) == (
            self.model.available,
            self.model.held,
            self.model.debt,
        )
        assert found.frozen_nano == sum(lot.frozen for lot in self.model.lots)
        for lot in ledger.lots_of(self.bank.database, self.account):
            mine = self.lots[lot.id]
            places = (lot.available_nano, lot.held_nano, lot.frozen_nano, lot.spent_nano, lot.expired_nano)
            assert (*places, lot.returned_nano, lot.repaid_nano) == mine.places
            assert (lot.expires_at_ms or NEVER) == mine.expires_at
            assert lot.granted_nano == mine.granted == sum(mine.places)
        self.bank.check()

    def _some_topup(self) -> str | None:
        return self.random.choice(sorted(self.topups)) if self.topups else None

    def _unrefunded(self, topup: str) -> int:
        """Return a part of what was paid and is not refunded: Stripe refunds no more."""
        row = self.bank.database.row(
            "SELECT t.paid_total - COALESCE(SUM(r.amount), 0) FROM topups t "
            "LEFT JOIN refunds r ON r.topup_id = t.id AND r.state = 'succeeded' WHERE t.id = ? GROUP BY t.id",
            (topup,),
        )
        assert row is not None
        return int(min(row[0], self.random.choice([7, 400, 1000])))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_walks_of_money_keep_to_the_model_and_every_invariant(chunk, database, home):
    bank = Bank(database, home)
    for seed in range(chunk, WALKS[database.kind], CHUNKS):
        walk = Walk(bank, Random(seed))
        with suppress(Undone), database.write():
            try:
                walk.run()
            except BaseException as error:
                error.add_note(f"seed {seed}:\n" + "\n".join(walk.told))
                raise
            raise Undone
