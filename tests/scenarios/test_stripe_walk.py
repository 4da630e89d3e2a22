"""Random walks through all that can happen to a payment: bought, spent, refunded, contested, recharged, with faults.

After each step the ledger adds up. At the end Stripe is well again and time passes: then what is
written here is what Stripe says, and no refund of ours has had two effects.
"""

import os
import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.fakes.stripe import FakeStripe
from tests.fakes.till import DAY, HOUR, Till
from tokenhub.billing.disputes import state_of as dispute_state
from tokenhub.billing.refunds import COUNTED
from tokenhub.billing.refunds import state_of as refund_state
from tokenhub.errors import HubError, NotFound
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import disputes, recharges, refunds, topups
from tokenhub.operations.payments.refunds import REFUND
from tokenhub.store import ledger
from tokenhub.store.topups import Topup

SOAK = bool(os.environ.get("TOKENHUB_SOAK"))
WALKS = 60 if SOAK else 3
STEPS = 150 if SOAK else 60
FAULTS = ("drop_before", "drop_after", "truncate", "garbage", "500", "stored_500", "stored_500_empty", "409", "429")
OPEN = ("needs_response", "under_review")
STATUSES = (*OPEN, "warning_needs_response", "won", "lost", "warning_closed", "prevented")


class Walker:
    """One account and what happens to it."""

    def __init__(self, till: Till, chance: random.Random) -> None:
        self.till = till
        self.chance = chance
        self.paid: list[Topup] = []
        self.holds: dict[str, int] = {}
        self.steps: list[Callable[[], object]] = [
            self.buy, self.buy, self.spend, self.spend, self.hold, self.end_hold, self.refund, self.refund, self.refund_a_part,
            self.refund_in_dashboard, self.settle_refund, self.contest, self.decide, self.decide, self.hear, self.hear, self.fault,
            self.pass_time, self.pass_time, self.till.work, self.till.work, self.decline,
        ]  # fmt: skip

    def step(self) -> str:
        do = self.chance.choice(self.steps)
        with suppress(HubError):
            do()
        return do.__name__

    def buy(self) -> None:
        amount = self.chance.choice((100, 777, 2000))
        currency, rate = self.chance.choice((("usd", None), ("cny", 7.1234)))
        amount = amount if currency == "usd" else amount + 1000
        topup = self.till.link(amount, currency, rate=rate, save_card=self.chance.random() < 0.3)
        if topup.session_id is None:
            return
        self.till.stripe.pay(topup.session_id)
        if self.chance.random() < 0.8:
            topup = topups.reconcile(self.till.hub, self.till.api, topup.id)
        self.paid.append(topup)

    def some(self) -> Topup:
        if not self.paid:
            raise NotFound("Nothing was paid yet.")
        topup = topups.get(self.till.hub, self.chance.choice(self.paid).id)
        return topup if topup.payment_intent else topups.reconcile(self.till.hub, self.till.api, topup.id)

    def nano(self) -> int:
        available = ledger.balances(self.till.hub.database, self.till.account_id).available_nano
        return self.chance.randint(1, max(1, available // 1000 // 2))

    def spend(self) -> None:
        with suppress(AssertionError):
            self.till.spend(self.nano())

    def hold(self) -> None:
        amount = self.nano()
        with suppress(AssertionError):
            self.holds[self.till.hold(amount)] = amount

    def end_hold(self) -> None:
        if self.holds:
            name = self.chance.choice(list(self.holds))
            self.till.settle(name, self.chance.randint(0, self.holds.pop(name)))

    def refund(self) -> None:
        self.till.stripe.refund_status = self.chance.choice((None, "pending", "requires_action"))
        refunds.request(self.till.hub, self.some().id)

    def refund_a_part(self) -> None:
        refunds.request(self.till.hub, self.some().id, self.chance.randint(1, 800))

    def refund_in_dashboard(self) -> None:
        topup = self.some()
        with suppress(Exception):
            self.till.stripe.refund_in_dashboard(topup.payment_intent or "", self.chance.choice((None, 1, 333)))

    def settle_refund(self) -> None:
        waiting = [one for one in self.till.stripe.of("refund") if one["status"] not in ("failed", "canceled")]
        if waiting:
            self.till.stripe.settle_refund(
                self.chance.choice(waiting), self.chance.choice(("succeeded", "failed", "canceled"))
            )

    def contest(self) -> None:
        topup = self.some()
        assert topup.paid_total_minor is not None
        amount = self.chance.randint(1, topup.paid_total_minor)
        if len(self.till.stripe.of("dispute")) < 4:
            self.till.stripe.dispute(
                topup.payment_intent or "", amount, self.chance.choice((*OPEN, "warning_needs_response"))
            )

    def decide(self) -> None:
        open_ones = [
            one for one in self.till.stripe.of("dispute") if one["status"] in (*OPEN, "warning_needs_response")
        ]
        if open_ones:
            found = self.chance.choice(open_ones)
            status = self.chance.choice(
                STATUSES if found["status"].startswith("warning") else ("won", "lost", "prevented")
            )
            self.till.stripe.set_dispute(found, status)

    def hear(self) -> None:
        """An event arrives, of anything, at any time."""
        topup = self.some()
        refunds.reconcile_payment(self.till.hub, self.till.api, topup.payment_intent or "")
        disputes.reconcile_payment(self.till.hub, self.till.api, topup.payment_intent or "")

    def fault(self) -> None:
        self.till.stripe.fault(self.chance.choice(FAULTS), times=self.chance.choice((1, 3)), method="POST")

    def decline(self) -> None:
        self.till.stripe.decline_next("card_declined", self.chance.choice(("insufficient_funds", "lost_card")))
        recharges.resume(self.till.hub, self.till.account_id)

    def pass_time(self) -> None:
        self.till.later(self.chance.choice((1000, HOUR, 5 * HOUR, DAY, 20 * DAY)))
        ledger.expire_due(self.till.hub.database, self.till.now_ms)

    # ---- the end

    def settle_all(self) -> None:
        """Let everything come to its end."""
        self.till.stripe.heal()
        self.till.stripe.refund_status = None
        recharges.off(self.till.hub, self.till.account_id)
        for name, amount in self.holds.items():
            self.till.settle(name, amount)
        for _ in range(40):
            self.till.later(6 * HOUR)
            self.till.work()
        for topup in self.paid:
            with suppress(HubError):
                done = topups.reconcile(self.till.hub, self.till.api, topup.id)
                if done.payment_intent:
                    refunds.reconcile_payment(self.till.hub, self.till.api, done.payment_intent)
                    disputes.reconcile_payment(self.till.hub, self.till.api, done.payment_intent)

    def agree(self) -> None:
        """What is here is what Stripe says."""
        database, stripe = self.till.hub.database, self.till.stripe
        here = {one.stripe_id: one for one in refunds.listing(self.till.hub, limit=10_000)}
        ours = [one["metadata"][REFUND] for one in stripe.of("refund") if REFUND in one["metadata"]]
        assert len(ours) == len(set(ours)), "a refund of ours has had two effects"
        for one in stripe.of("refund"):
            known, state = here.get(one["id"]), refund_state(one["status"])
            assert (known.state, known.amount_minor) == (state, one["amount"]) if known else state not in COUNTED
        assert {one.state for one in here.values() if one.stripe_id is None} <= {"rejected"}
        contested = {one.id: one for one in disputes.listing(self.till.hub, limit=10_000)}
        for one in stripe.of("dispute"):
            total = sum(line["amount"] for line in one["balance_transactions"])
            assert contested[one["id"]].state == dispute_state(one["status"], total)
        for payment in stripe.of("payment_intent", status="succeeded"):
            rows = database.rows(
                "SELECT COUNT(*) FROM topups WHERE payment_intent = ? AND lot_id > 0", (payment["id"],)
            )
            assert rows == [(1,)], payment["id"]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(WALKS))
def test_whatever_happens_to_payments_the_ledger_adds_up_and_agrees_with_stripe(
    paying_hub: Hub, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    till = Till(paying_hub, stripe, monkeypatch)
    walker = Walker(till, random.Random(seed))
    till.bought(1000, save_card=True)
    recharges.configure(till.hub, till.account_id, 500, 3 * 10**9, 5000)
    told = []
    for _ in range(STEPS):
        told.append(walker.step())
        till.check()
    walker.settle_all()
    till.check()
    walker.agree()
    assert len(set(told)) > 10
    stripe.broken.clear()
