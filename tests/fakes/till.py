"""A till: an installation that sells credit by a fake Stripe, an account with a key, and a clock that tests turn.

Amounts are micro-USD (one millionth), as in the tables of scenarios; minor units are cents and fen.
"""

from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from tests.fakes.bank import NOW, Bank
from tests.fakes.stripe import FakeStripe
from tokenhub import clock
from tokenhub.billing.holds import Ended, Placed
from tokenhub.operations import accounts
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import connection, disputes, recharges, refunds, topups
from tokenhub.operations.payments.stripe_api import StripeApi, StripeError
from tokenhub.store import audit, ledger
from tokenhub.store.database import Database
from tokenhub.store.topups import Topup

MICRO = 1000
SECOND = 1000
HOUR = 3_600_000
DAY = 86_400_000


class Till:
    """``now_ms`` is everybody's time, Stripe's and the database server's too."""

    def __init__(self, hub: Hub, stripe: FakeStripe, patch: pytest.MonkeyPatch) -> None:
        self.now_ms = NOW
        patch.setattr(clock, "now_ms", lambda: self.now_ms)
        patch.setattr(Database, "now_ms", lambda _: self.now_ms)
        self.hub = hub
        self.stripe = stripe
        self.bank = Bank(hub.database, hub.home)
        self.account_id = self.account("acme")
        self._numbers = count()
        self._holds: dict[str, int] = {}

    @property
    def api(self) -> StripeApi:
        return connection.connect(self.hub)

    def account(self, name: str) -> int:
        account_id = accounts.create(self.hub, name).account.id
        self.bank.key(account_id, f"key-{account_id}")
        return account_id

    # ---- buying

    def link(self, amount: int = 2000, currency: str = "usd", *, rate: float | None = None, **options: Any) -> Topup:
        """Open a link that nobody has paid yet."""
        hub = self.hub
        if rate is not None:
            hub = replace(hub, settings=replace(hub.settings, stripe_cny_rate=rate))
        return topups.create(hub, options.pop("account_id", self.account_id), amount, currency, **options)

    def bought(self, amount: int = 2000, currency: str = "usd", *, tax: int = 0, **options: Any) -> Topup:
        """A top-up that is paid and credited."""
        link = self.link(amount, currency, **options)
        self.stripe.pay(link.session_id or "", tax=tax)
        return topups.reconcile(self.hub, self.api, link.id)

    # ---- spending

    def hold(self, micro: int, *, account_id: int | None = None) -> str:
        """Set credit aside for a request; return the request's id."""
        name = f"req-{next(self._numbers)}"
        owner = account_id or self.account_id
        outcome = self.bank.do(self.bank.place(name, f"key-{owner}", micro * MICRO), self.now_ms)
        assert isinstance(outcome, Placed), outcome
        self._holds[name] = owner
        return name

    def settle(self, name: str, micro: int) -> None:
        """End a request that cost so much."""
        outcome = self.bank.do(self.bank.settle(name, f"key-{self._holds[name]}", micro * MICRO), self.now_ms)
        assert isinstance(outcome, Ended), outcome

    def spend(self, micro: int, *, account_id: int | None = None) -> None:
        self.settle(self.hold(micro, account_id=account_id), micro)

    # ---- looking

    def available(self, account_id: int | None = None) -> int:
        """What can be drawn; the ledger adds up every time that it is asked."""
        self.check()
        return self.whole(ledger.balances(self.hub.database, account_id or self.account_id).available_nano)

    def debt(self) -> int:
        return self.whole(ledger.balances(self.hub.database, self.account_id).debt_nano)

    def frozen(self) -> int:
        return self.whole(ledger.balances(self.hub.database, self.account_id).frozen_nano)

    def journal(self, *kinds: str) -> list[int]:
        """The amounts of the journal's entries of these kinds, the oldest first."""
        entries = ledger.entries(self.hub.database, self.account_id, limit=1000)
        return [self.whole(one.amount_nano) for one in reversed(entries) if one.kind in kinds]

    def whole(self, nano: int) -> int:
        assert nano % MICRO == 0, nano
        return nano // MICRO

    def check(self) -> None:
        """Assert every invariant of the ledger."""
        found = audit.verify(self.hub.database)
        assert not found, found

    def told(self) -> list[str]:
        """The kinds of notices that wait to be sent, the oldest first; see ``tells``."""
        return [row[0] for row in self.hub.database.rows("SELECT kind FROM notices ORDER BY id")]

    def tells(self) -> None:
        """From now on somebody wants to be told."""
        settings = replace(self.hub.settings, notices_webhook_url="https://hooks.example.com/tokenhub")
        self.hub = replace(self.hub, settings=settings)

    # ---- time and work

    def later(self, ms: int) -> None:
        self.now_ms += ms

    def work(self) -> None:
        """Let the gateway look at what is due of refunds, disputes and recharges."""
        for work in (refunds.work, disputes.work, recharges.work, recharges.begin):
            with suppress(StripeError):
                work(self.hub, self.api, self.now_ms)
