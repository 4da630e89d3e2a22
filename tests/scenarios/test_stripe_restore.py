"""A database that was restored from a backup, and lacks what was paid since: nobody is charged twice for it."""

from collections.abc import Iterator

import pytest

from tests.conftest import Databases, hub_flags, store_settings
from tests.fakes.stripe import FakeStripe
from tests.fakes.till import DAY, HOUR, SECOND, Till
from tokenhub.operations import backups, secrets
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import comparison, recharges, work
from tokenhub.operations.payments.recharges import State
from tokenhub.paths import Home
from tokenhub.settings import Settings

PAYMENTS = "/v1/payment_intents"
USD = 10**9


class Backup:
    """An installation whose account recharges 20 below 5 and has 4 left, and its backup, in which it stays so."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        stripe: FakeStripe,
        monkeypatch: pytest.MonkeyPatch,
        postgres: Databases | None,
    ) -> None:
        self._stripe = stripe
        with self._opened(settings, home) as hub:
            secrets.set(hub, "stripe.secret_key", stripe.secret_key)
            self.till = Till(hub, stripe, monkeypatch)
            with hub.database.write():
                hub.database.execute("UPDATE installation SET created_at = ?", (self.till.now_ms,))
            self.till.bought(2000, save_card=True)
            self.till.spend(16_000_000)
            recharges.configure(hub, self.till.account_id, 2000, 5 * USD, 3000)
            work.started(hub)
            self._place = home.path.with_name("backup")
            backups.back_up(hub, self._place, whole=False, now_ms=self.till.now_ms)
        self._live = settings, home
        self._kept = (
            store_settings(postgres.empty() if postgres else ""),
            Home(home.path.with_name("new"), explicit=True),
        )

    def run(self) -> None:
        """Let the installation go on after the backup was made."""
        with self._opened(*self._live) as hub:
            self.till.hub = hub
            work.tick(hub, self.till.now_ms)
            assert self.till.available() == 24_000_000

    def restore(self) -> Hub:
        """Return an installation made of the backup, opened in the place of the other."""
        settings, home = self._kept
        key = self._live[1].master_key
        backups.restore(home, self._place, master_key=key, now_ms=self.till.now_ms, flags=hub_flags(settings))
        self.till.hub = self._opened(*self._kept)
        return self.till.hub

    def _opened(self, settings: Settings, home: Home) -> Hub:
        return Hub.open(home, {**hub_flags(settings), "stripe.api_base": self._stripe.url})

    def tick(self) -> None:
        work.tick(self.till.hub, self.till.now_ms)

    def state(self) -> State:
        found = recharges.state(self.till.hub, self.till.account_id)
        assert found is not None
        return found

    def drop(self, postgres: Databases | None) -> None:
        self.till.hub.close()
        if postgres:
            postgres.drop(self._kept[0].database_url)


@pytest.fixture
def backup(
    hub_settings: Settings, home: Home, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch, postgres: Databases | None
) -> Iterator[Backup]:
    made = Backup(hub_settings, home, stripe, monkeypatch, postgres)
    yield made
    made.drop(postgres)


def test_a_recharge_that_the_backup_lacks_is_found_before_another_one_begins(
    backup: Backup, stripe: FakeStripe
) -> None:
    backup.run()
    backup.till.later(2 * DAY)
    work.started(backup.restore())
    backup.tick()
    assert stripe.effects(PAYMENTS) == 1
    assert backup.till.available() == 24_000_000


def test_the_comparison_makes_a_recharge_again_and_says_so_once(backup: Backup) -> None:
    backup.run()
    hub = backup.restore()
    found = [comparison.reconcile_since(hub, 0) for _ in range(2)]
    assert [[one.message for one in each] for each in found] == [
        ["Was missing here; is paid now, and is credited."],
        [],
    ]


def test_nobody_is_charged_while_stripe_cannot_be_compared_with(backup: Backup, stripe: FakeStripe) -> None:
    backup.run()
    backup.till.later(2 * DAY)
    stripe.fault("500", PAYMENTS, times=100, method="GET")
    work.started(backup.restore())
    for _ in range(5):
        backup.tick()
        backup.till.later(5 * 60 * SECOND)
    assert (stripe.effects(PAYMENTS), backup.till.available()) == (1, 4_000_000)
    stripe.heal()
    backup.till.later(10 * 60 * SECOND)
    backup.tick()
    assert (stripe.effects(PAYMENTS), backup.till.available()) == (1, 24_000_000)


def test_a_found_recharge_counts_against_the_months_cap_and_cools_down(backup: Backup, stripe: FakeStripe) -> None:
    backup.run()
    paid_at_ms = backup.till.now_ms
    backup.till.later(600 * SECOND)
    work.started(backup.restore())
    backup.tick()
    assert (backup.state().month_total_minor, backup.state().under_way) == (2000, None)
    assert abs((backup.state().attempted_at_ms or 0) - paid_at_ms) < 60 * SECOND
    recharges.configure(backup.till.hub, backup.till.account_id, 1000, 100 * USD, 3000)
    backup.tick()
    assert stripe.effects(PAYMENTS) == 1
    backup.till.later(HOUR)
    backup.tick()
    assert (stripe.effects(PAYMENTS), backup.state().month_total_minor) == (2, 3000)
    backup.till.later(2 * HOUR)
    backup.tick()
    assert stripe.effects(PAYMENTS) == 2


def test_what_is_due_begins_after_the_comparison_in_the_same_pass(backup: Backup, stripe: FakeStripe) -> None:
    backup.till.later(HOUR)
    work.started(backup.restore())
    backup.tick()
    assert (stripe.effects(PAYMENTS), backup.till.available()) == (1, 24_000_000)
