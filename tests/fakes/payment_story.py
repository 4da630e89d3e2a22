"""The life of an account's money, told with a process that may be killed at any step of it, and a world that goes on.

Whatever the moment of a death, the story ends the same: what Stripe took and gave back is what
the ledger says, to the nano-USD.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.fakes.payment_process import Died, PaymentProcess
from tests.fakes.stripe import FakeStripe, webhooks
from tests.fakes.stripe.objects import Object
from tokenhub.billing.refunds import COUNTED
from tokenhub.operations import accounts, secrets
from tokenhub.operations.hub import Hub
from tokenhub.store import audit, ledger, topups
from tokenhub.store import disputes as dispute_store
from tokenhub.store import refunds as refund_store

SECRET = "whsec_of_the_story"
NANO_PER_CENT = 10_000_000
CALM_MS = (0, 5_000, 15_000, 60_000, 120_000)
"""How far the clock goes on between two looks of the gateway, until it has nothing left to do."""
KEY_LIFE_MS = 24 * 3_600_000
COOLDOWN_MS = 3_600_000
"""After which a card may be tried again."""
SHARED = ("work", "webhook", "start", "reconcile_since")
"""What every process does."""
TRIES = 20
KILL_WITHIN_S = 0.06


class Story:
    """One account, one process after the other, and the world at Stripe."""

    def __init__(
        self, hub: Hub, stripe: FakeStripe, environment: Mapping[str, str], now_ms: int, *, partners: int = 0
    ) -> None:
        self.hub = hub
        self.stripe = stripe
        self.deaths = 0
        self.looks = 0
        """How often the whole ledger was added up."""
        self._environment = {**environment, "TOKENHUB_STRIPE_API_BASE": stripe.url}
        self._process: PaymentProcess | None = None
        self._partners = [PaymentProcess(self._environment) for _ in range(partners)]
        """Processes that work beside it, at the same moment."""
        self._failpoints: list[str] = []
        """Where this process and those after it die."""
        self._chance: random.Random | None = None
        self._deadliness = 0.0
        self.now_ms = now_ms
        self.pass_time(0)
        if secrets.get(hub, "stripe.webhook_secret") is None:
            secrets.set(hub, "stripe.webhook_secret", SECRET)
        self.account_id = 0
        self.waited = False
        """Whether so much time went by that the card was charged once more, as it should be."""

    def begin(
        self, name: str, *, failpoints: Sequence[str] = (), chance: random.Random | None = None, deadliness: float = 0.0
    ) -> None:
        """Begin with an account of its own; each process dies at the next failpoint, or (``chance``) at random moments.

        ``deadliness``: how probable a death is with each command.
        """
        self.account_id = accounts.create(self.hub, name).account.id
        self._failpoints = list(failpoints)
        self.waited = False
        self._chance = chance
        self._deadliness = deadliness
        self.end()

    def end(self) -> None:
        """End the process that is running, as one should."""
        if self._process is not None:
            assert self._process.end() == 0
            self._process = None

    def stop(self) -> None:
        """End whatever is running."""
        if self._process is not None:
            self._process.kill()
            self._process.end()
            self._process = None
        for partner in self._partners:
            assert partner.end() == 0

    def pass_time(self, step_ms: int) -> None:
        self.now_ms += step_ms
        self.stripe.clock_ms = self.now_ms

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have something done; None when the process died over it. After a death the books must add up."""
        if self._process is None:
            failpoint = self._failpoints.pop(0) if self._failpoints else ""
            self._process = PaymentProcess(self._environment, failpoint)
        process = self._process
        kill = self._chance is not None and self._chance.random() < self._deadliness
        try:
            process.tell(do, self.now_ms, **arguments)
            shared = self._partners if do in SHARED else []
            for partner in shared:
                partner.tell(do, self.now_ms, **arguments)
            for partner in shared:
                partner.answer()
            if kill:
                assert self._chance is not None
                time.sleep(self._chance.uniform(0, KILL_WITHIN_S))
                process.kill()
            answer = process.answer()
        except Died:
            answer = None
        if kill or answer is None:
            self._process = None
            process.end()
            self.deaths += 1
            self.look()
        return answer

    def look(self) -> None:
        """Add the ledger up."""
        self.looks += 1
        wrong = audit.verify(self.hub.database)
        assert not wrong, "\n".join(str(one) for one in wrong)

    def _tries(self) -> Iterator[int]:
        """So often is something tried; then it does not work."""
        yield from range(TRIES)
        raise AssertionError(f"it did not come about; top-ups: {[(one.state, one.reason) for one in self._topups()]}")

    def calm(self) -> None:
        """Let the gateway work until all is known."""
        for step_ms in CALM_MS:
            self.pass_time(step_ms)
            self.ask("work")
        if self.stripe.hides_events:
            self.ask("reconcile_since", since_ms=self.now_ms - 10 * KEY_LIFE_MS)

    def outlive_key(self) -> None:
        """Where an outcome is still unknown, wait until its key is no good any more: then it is looked for."""
        unsure = any(one.state == "new" for one in self._topups()) or not self._topups()
        refunds = refund_store.listing(self.hub.database, self.account_id)
        if unsure or any(one.state.value == "requested" for one in refunds):
            self.waited = True
            self.pass_time(KEY_LIFE_MS)
            self.calm()

    # ---- the story ---------------------------------------------------------------------------

    def tell(self) -> None:
        """Buy, be recharged and declined, get money back in every way, lose a dispute; then hold the books against Stripe's."""
        session = self._buy()
        self._buy_what_is_not_offered()
        payment = self.stripe.pay(session["id"])["id"]
        self._post("checkout.session.completed")
        self.calm()
        self._recharge()
        self._refund(payment, 500)
        refund = self._refunds_at_stripe(payment)[0]
        self.stripe.settle_refund(refund["id"], "failed")
        self.calm()
        self.stripe.refund_in_dashboard(payment, 300)
        self._post("charge.refunded")
        self.calm()
        dispute = self.stripe.dispute(payment, 1000)
        self._be_refused(payment)
        self.calm()
        self.stripe.set_dispute(dispute["id"], "lost")
        self.calm()
        self.ask("reconcile_since", since_ms=self.now_ms - 3_600_000)
        self.ask("start")
        for _ in range(2):  # a fault may last until here: what it hid is known with the next look
            self.calm()
        self.outlive_key()
        self._check(payment)

    def _buy(self) -> Object:
        """Open a top-up of 20 USD that keeps the card; a person whose terminal died looks for it, or begins again."""
        for _ in self._tries():
            if found := self._sessions():
                return found[0]
            self.ask("topup", account=self.account_id, amount=2000, save=True)
            self.calm()
            if not self._sessions():
                self.outlive_key()
        raise AssertionError("no link was ever opened")

    def _buy_what_is_not_offered(self) -> None:
        before = len(self._topups())
        self.stripe.methods_offered = ["card"]
        for _ in self._tries():
            if len(self._topups()) > before:
                break
            self.ask("topup", account=self.account_id, amount=1500, methods=["alipay"])
            self.calm()
        self.stripe.methods_offered = ["card", "alipay", "wechat_pay"]

    def _recharge(self) -> None:
        for _ in self._tries():
            if self._payments("recharge"):
                break
            self.ask("recharge", account=self.account_id, amount=1000, below=10**12, cap=3000)
            self.calm()
            self.outlive_key()
        self.stripe.decline_next("card_declined", "insufficient_funds")
        self.pass_time(COOLDOWN_MS)
        for _ in self._tries():
            if self._declined():
                break
            self.calm()
            self.outlive_key()
        while self.ask("recharge_off", account=self.account_id) is None:
            self.pass_time(1000)
        self.calm()

    def _refund(self, payment: str, amount: int) -> None:
        """Ask for money back; a person who sees that it is asked for already waits for it."""
        topup = self._topup(payment)
        for _ in self._tries():
            if self._refunds_at_stripe(payment):
                break
            if not any(one.state in COUNTED for one in refund_store.of_topup(self.hub.database, topup)):
                self.ask("refund", topup=topup, amount=amount)
            self.calm()
            self.outlive_key()

    def _be_refused(self, payment: str) -> None:
        """Ask for a refund of a payment whose dispute nobody here knows of yet."""
        topup = self._topup(payment)
        count = len(refund_store.of_topup(self.hub.database, topup))
        for _ in range(10):
            answer = self.ask("refund", topup=topup, amount=100)
            if answer is not None or len(refund_store.of_topup(self.hub.database, topup)) > count:
                return

    def _post(self, kind: str) -> None:
        """Deliver the last event of a type, as Stripe does until it is taken; not where events are hidden."""
        if self.stripe.hides_events:
            return
        event = next(one for one in reversed(self.stripe.events) if one["type"] == kind)
        payload = webhooks.body(event)
        for _ in range(10):
            signature = webhooks.signature(payload, SECRET, self.now_ms // 1000)
            if self.ask("webhook", body=payload.decode(), signature=signature) is not None:
                return

    # ---- what is at Stripe -------------------------------------------------------------------

    def _mine(self, obj: Object) -> bool:
        return bool(obj["metadata"].get("tokenhub_account") == str(self.account_id))

    def _sessions(self) -> list[Object]:
        return [one for one in self.stripe.sessions() if self._mine(one) and one["amount_total"] == 2000]

    def _payments(self, kind: str = "") -> list[Object]:
        found = [one for one in self.stripe.of("payment_intent", status="succeeded") if self._mine(one)]
        rows = {one.payment_intent: one.kind for one in self._topups()}
        return [one for one in found if not kind or rows.get(one["id"]) == kind]

    def _declined(self) -> list[Object]:
        return [one for one in self.stripe.of("payment_intent", status="requires_payment_method") if self._mine(one)]

    def _topups(self) -> list[topups.Topup]:
        return topups.listing(self.hub.database, self.account_id, limit=100)

    def _refunds_at_stripe(self, payment: str) -> list[Object]:
        return self.stripe.of("refund", payment_intent=payment)

    def _topup(self, payment: str) -> str:
        found = topups.by_payment(self.hub.database, payment)
        assert found is not None
        return found.id

    # ---- the end -----------------------------------------------------------------------------

    def _check(self, payment: str) -> None:
        """Assert that the ledger is what Stripe's books say."""
        self.look()
        database = self.hub.database
        payments = self._payments()
        amounts = sorted(one["amount"] for one in payments)
        assert amounts in ([1000, 2000], *([1000, 1000, 2000], [1000, 1000, 1000, 2000]) * self.waited), amounts
        assert len(self._declined()) == 1, "one decline, one attempt"
        lots = {one.ref: one for one in ledger.lots_of(database, self.account_id)}
        assert sorted(lots) == sorted(one["id"] for one in payments), "one lot for each payment"
        for one in payments:
            assert lots[one["id"]].granted_nano == one["amount"] * NANO_PER_CENT
        rows = refund_store.of_topup(database, self._topup(payment))
        there = self._refunds_at_stripe(payment)
        assert sorted(one["amount"] for one in there) == [300, 500], "each refund once"
        assert {one.stripe_id for one in rows if one.stripe_id} == {one["id"] for one in there}
        states = {one.stripe_id: one.state.value for one in rows if one.stripe_id}
        assert all(states[one["id"]] == one["status"] for one in there)
        assert all(one.state.value == "rejected" for one in rows if not one.stripe_id)
        disputes = dispute_store.of_topup(database, self._topup(payment))
        assert [(one.state.value, one.taken_nano) for one in disputes] == [("lost", 1000 * NANO_PER_CENT)]
        balances = ledger.balances(database, self.account_id)
        expected = sum(amounts) - 300 - 1000
        assert (balances.available_nano, balances.frozen_nano, balances.debt_nano) == (expected * NANO_PER_CENT, 0, 0)
        assert not any(one["amount_total"] != 2000 for one in self.stripe.sessions() if self._mine(one))
