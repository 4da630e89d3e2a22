"""A shop for credit: a gateway that runs as a process of its own, with the fake Stripe behind it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import process_environment
from tests.fakes.stripe import FakeStripe, webhooks
from tests.fakes.stripe.objects import Object
from tests.serving import Serving
from tokenhub.operations import accounts, secrets
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import topups
from tokenhub.store import audit, ledger

SECRET = "whsec_first000000000000"
USD = 10**9
WITHIN_S = 15.0
"""How soon after a payment its credit must be there (T26)."""


class Shop:
    """An installation with a gateway that runs, an account, and Stripe behind it."""

    def __init__(self, hub: Hub, stripe: FakeStripe, folder: Path) -> None:
        self.hub = hub
        self.stripe = stripe
        self.account_id = accounts.create(hub, "acme").account.id
        self.log = folder / "gateway.log"
        self._environment = process_environment(hub.settings, hub.home) | {"TOKENHUB_STRIPE_API_BASE": stripe.url}
        self.gateway = Serving(self._environment, self.log)

    def restart(self, failpoint: str = "") -> None:
        """Start another gateway; the one before has died or is stopped."""
        if not self.gateway.is_dead:
            assert self.gateway.stop() == 0
        self.gateway.close()
        self.gateway = Serving(self._environment, self.log, failpoint=failpoint)

    @property
    def url(self) -> str:
        """Where Stripe posts."""
        return f"http://127.0.0.1:{self.gateway.port}/stripe/webhook"

    def set(self, name: str, value: str) -> None:
        secrets.set(self.hub, name, value)

    def open(self, minor: int = 2000, currency: str = "usd", **options: Any) -> str:
        """Open a top-up; return its session."""
        made = topups.create(self.hub, self.account_id, minor, currency, (), **options)
        assert made.session_id is not None
        return made.session_id

    def post(self, event: Object, secret: str = SECRET, *, at_s: int | None = None, thin: bool = False) -> int:
        payload = webhooks.thin(event) if thin else webhooks.body(event)
        return webhooks.post(self.url, payload, webhooks.signature(payload, secret, at_s))

    def last(self, kind: str) -> Object:
        return next(one for one in reversed(self.stripe.events) if one["type"] == kind)

    def available(self) -> int:
        return ledger.balances(self.hub.database, self.account_id).available_nano

    def frozen(self) -> int:
        return ledger.balances(self.hub.database, self.account_id).frozen_nano

    def await_(self, says: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Wait until something is so."""
        deadline_s = time.monotonic() + within_s
        while not says():
            assert time.monotonic() < deadline_s, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def await_balance(self, nano: int) -> None:
        self.await_(lambda: self.available() == nano)

    def events_kept(self) -> int:
        found = self.hub.database.row("SELECT COUNT(*) FROM stripe_events")
        assert found is not None
        return int(found[0])

    def await_calm(self) -> None:
        """Wait until no event waits to be worked."""

        def is_calm() -> bool:
            return self.hub.database.row("SELECT COUNT(*) FROM stripe_events WHERE state = 'new'") == (0,)

        self.await_(is_calm)

    def close(self) -> None:
        """Stop the gateway as one should; the ledger must add up, and nothing may have gone wrong unseen."""
        try:
            assert self.gateway.stop() == 0
        finally:
            self.gateway.close()
        wrong = audit.verify(self.hub.database)
        assert not wrong, "\n".join(str(one) for one in wrong)
        assert "Traceback" not in self.log.read_text()
        assert '"level":"error"' not in self.log.read_text()
