"""What a serving process does by itself: threads that hold each other up in nothing, and that end in time."""

import asyncio
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bank import DAY, Bank
from tests.fakes.cut_socket import CutSocket
from tests.fakes.stripe import FakeStripe
from tests.fakes.upstream import FakeUpstream, json_reply
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub import clock
from tokenhub.errors import SetupError, Unavailable
from tokenhub.observability import log
from tokenhub.operations import accounts, grants, secrets
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import topups
from tokenhub.paths import Home
from tokenhub.proxy import app, background, supervisor
from tokenhub.proxy.background import Crew, Job
from tokenhub.settings import Settings
from tokenhub.store import leases, postgres, stripe_events
from tokenhub.store import secrets as kept_secrets
from tokenhub.store.database import CommitUnknown, open_database


def until(what: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until something is true, and return it."""
    end_s = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.01)
    return found


@contextmanager
def crew(*jobs: Job) -> Iterator[Crew]:
    made = Crew("test", jobs, lambda: None)
    made.start()
    try:
        yield made
    finally:
        made.end()
        assert made.join(5)


# ---- a crew


def test_a_job_is_done_at_once_and_then_in_its_rhythm() -> None:
    times: list[float] = []
    with crew(Job("quick", 0.05, lambda: times.append(time.monotonic()))):
        until(lambda: len(times) >= 5)
    assert all(later - earlier > 0.03 for earlier, later in pairwise(times))


def test_a_job_that_has_more_to_do_goes_on_and_lets_others_in_between() -> None:
    done: list[str] = []
    left = [True] * 3 + [False]

    def much() -> bool:
        done.append("much")
        time.sleep(0.01)
        return left.pop(0)

    with crew(Job("much", 3600, much), Job("often", 0.001, lambda: done.append("often"))):
        until(lambda: not left and done[-1] == "often")
    assert done.count("much") == 4
    assert "muchmuch" not in "".join(done)


def test_a_job_without_a_rhythm_is_done_once() -> None:
    once: list[int] = []
    often: list[int] = []
    with crew(Job("once", None, lambda: once.append(1)), Job("often", 0.01, lambda: often.append(1))):
        until(lambda: len(often) > 10)
    assert len(once) == 1


def test_waking_does_a_job_now_and_again_when_it_was_under_way() -> None:
    begun, go = threading.Semaphore(0), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        assert go.acquire(timeout=5)

    with crew(Job("slow", 3600, work)) as made:
        assert begun.acquire(timeout=5)
        made.wake()
        go.release()
        assert begun.acquire(timeout=5), "what came while it ran must be looked at"
        go.release()
        assert not begun.acquire(timeout=0.2)
        made.wake()
        assert begun.acquire(timeout=5)
        go.release()


def test_a_job_that_fails_is_logged_without_its_words_and_done_again() -> None:
    stream, runs = io.StringIO(), []

    def work() -> None:
        runs.append(1)
        raise (Unavailable("sk_test_secret") if len(runs) == 1 else ValueError("sk_test_secret"))

    with log.only("info", stream), crew(Job("failing", 0.01, work)):
        until(lambda: len(runs) > 20)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["job_failed", "job_failed"], "the same failure is told once in a while"
    assert "sk_test_secret" not in stream.getvalue()


def test_credit_of_many_accounts_that_expires_at_once_is_booked_within_seconds(hub: Hub) -> None:
    """What has expired cannot be spent before, but it would be shown."""
    bank = Bank(hub.database, hub.home)
    for number in range(120):
        bank.account(f"a{number}", 1000, expires_at=clock.now_ms() - DAY)
    work = background.Background(hub, bank.lease)
    work.start()
    try:
        until(lambda: hub.database.row("SELECT SUM(available) FROM accounts") == (0,))
    finally:
        asyncio.run(work.stop())
    bank.check()


def test_an_end_does_not_begin_what_is_due() -> None:
    runs: list[int] = []
    first, go = threading.Event(), threading.Event()

    def work() -> None:
        runs.append(1)
        first.set()
        go.wait(5)

    made = Crew("test", (Job("slow", 0.0, work),), lambda: None)
    made.start()
    first.wait(5)
    made.end()
    assert not made.join(0.05)
    go.set()
    assert made.join(5)
    assert len(runs) == 1


# ---- a gateway


@pytest.fixture
def gateway(
    tmp_path: Path, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[RunningGateway]:
    """A gateway that Stripe is there for, but not set up yet; the parameter is the rhythm of its payments."""
    monkeypatch.setattr(background, "PAYMENTS_EVERY_S", getattr(request, "param", 0.2))
    running = start_gateway(temporary_home(tmp_path), {"stripe.api_base": stripe.url}, credit_nano=0)
    yield running
    running.stop()


def set_up(hub: Hub, stripe: FakeStripe) -> None:
    secrets.set(hub, "stripe.secret_key", stripe.secret_key)


def test_stripe_is_asked_as_soon_as_it_is_set_up_and_never_before(gateway: RunningGateway, stripe: FakeStripe) -> None:
    time.sleep(0.3)
    assert stripe.asked == []
    set_up(gateway.hub, stripe)
    topups.create(gateway.hub, gateway.account_id, 2000, "usd", ())
    (session,) = stripe.sessions()
    stripe.pay(session["id"])
    assert until(gateway.balance, 15.0) == 20 * 10**9


@pytest.mark.parametrize("gateway", [3600.0], indirect=True)
def test_a_webhook_credits_at_once(gateway: RunningGateway, stripe: FakeStripe) -> None:
    """The thread's own rhythm is an hour here: only the webhook can wake it."""
    assert gateway.gateway is not None
    set_up(gateway.hub, stripe)
    secret = "whsec_" + "a" * 32
    secrets.set(gateway.hub, "stripe.webhook_secret", secret)
    gateway.gateway.runtime.wake_payments()
    until(lambda: any(one.path == "/v1/events" for one in stripe.asked))
    topups.create(gateway.hub, gateway.account_id, 2000, "usd", ())
    (session,) = stripe.sessions()
    hook = stripe.webhooks(f"{gateway.address}/stripe/webhook", secret)
    began_s = time.monotonic()
    stripe.pay(session["id"])
    assert until(gateway.balance) == 20 * 10**9
    assert time.monotonic() - began_s < 5
    hook.wait()
    assert {delivery.status for delivery in hook.deliveries} == {200}


def test_a_stripe_that_hangs_holds_up_neither_requests_nor_the_end(
    tmp_path: Path, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "STOP_S", 0.5)
    monkeypatch.setattr(background, "PAYMENTS_EVERY_S", 0.2)
    running = start_gateway(temporary_home(tmp_path), {"stripe.api_base": stripe.url})
    try:
        stripe.fault("slow", path="*", times=1000, seconds=8.0)
        with running.hub.database.write():
            stripe_events.set_up(running.hub.database, False, clock.now_ms())
            kept_secrets.put(
                running.hub.database, running.hub.vault, "stripe.secret_key", stripe.secret_key, clock.now_ms()
            )
        until(lambda: len(stripe.asked) > 0)
        began_s = time.monotonic()
        grants.grant(running.hub, running.account_id, 5, expires_at_ms=clock.now_ms() + 1)
        assert running.call("GET", "/v1/credits").status == 200
        assert running.call("GET", "/readyz").status == 200
        assert time.monotonic() - began_s < 2
    finally:
        began_s = time.monotonic()
        running.stop()
        assert time.monotonic() - began_s < background.STOP_S + 5


def test_a_low_balance_is_told_by_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "NOTICES_EVERY_S", 0.1)
    with FakeUpstream(lambda _request: json_reply({})) as hook:
        running = start_gateway(temporary_home(tmp_path), {"notices.webhook_url": hook.origin}, credit_nano=3 * 10**9)
        try:
            accounts.change(running.hub, running.account_id, {"low_balance": 5 * 10**9})
            until(lambda: len(hook.received) == 1, 15.0)
        finally:
            running.stop()
        assert hook.received[0].json()["kind"] == "low_balance"


def test_books_that_do_not_add_up_are_said_and_served_from(tmp_path: Path) -> None:
    home = temporary_home(tmp_path)
    running = start_gateway(home)
    assert until(lambda: running.call("GET", "/readyz", None, {}).json()) == {"status": "ok"}
    with running.hub.database.write():
        running.hub.database.execute("UPDATE accounts SET available = available + 1")
    running.stop()
    stream = io.StringIO()
    with log.only("error", stream):
        again = RunningGateway(Hub.open(home, {"server.port": 0, "local.enabled": False}), key=running.key).start()
        try:
            until(lambda: again.call("GET", "/readyz", None, {}).json() == {"status": "ledger_differs"})
            assert again.call("GET", "/readyz", None, {}).status == 200
            assert again.call("GET", "/v1/credits").status == 200
        finally:
            again.stop()
    assert '"ledger_does_not_add_up"' in stream.getvalue()
    assert '"row":"account 1"' in stream.getvalue()


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_t99_a_machine_whose_clock_is_ahead_expires_and_closes_nothing_early(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others serve beside it, by the same database."""
    bank = Bank(hub.database, hub.home)
    now_ms, machine_ms = hub.database.now_ms(), clock.now_ms
    account = bank.account("a", 1000, expires_at=now_ms + DAY)
    bank.apply(bank.place("r", "a-0", 100), bank.settle("r", "a-0", 30), now_ms=now_ms)
    monkeypatch.setattr(clock, "now_ms", lambda: machine_ms() + 9 * DAY)
    made = background.Background(hub, bank.lease)
    made._expire()
    made._keep_books()
    assert bank.available(account) == 970
    assert hub.database.row("SELECT closed_until FROM installation") == (0,)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_t99_a_machine_whose_clock_is_ahead_gives_up_no_video_early_and_dates_no_lease(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, now_ms, machine_ms = Bank(hub.database, hub.home), hub.database.now_ms(), clock.now_ms
    account = bank.account("a", 1000, expires_at=now_ms + DAY)
    for name, expires_at in (("old", now_ms), ("new", now_ms + DAY)):
        bank.do(bank.place(name, "a-0", 100), now_ms)
        bank.adopt(name)
        with hub.database.write():
            hub.database.execute("UPDATE jobs SET expires_at = ? WHERE id = ?", (expires_at, name))
    monkeypatch.setattr(clock, "now_ms", lambda: machine_ms() + 2 * DAY)
    background.Background(hub, bank.lease)._look_at_jobs()
    assert hub.database.rows("SELECT id, state FROM jobs ORDER BY id") == [("new", "queued"), ("old", "expired")]
    assert bank.available(account) == 900
    for table in ("leases", "named_leases"):
        (renewed_at,) = hub.database.row(f"SELECT renewed_at FROM {table}") or (0,)
        assert now_ms <= renewed_at < now_ms + DAY


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_a_gateway_that_begins_waits_for_nobodys_write(hub: Hub, hub_settings: Settings, home: Home) -> None:
    """Its lease is there already, and nobody renews it yet."""
    with closing(open_database(hub_settings, home)) as other, other.write():
        other.execute("UPDATE plans SET support = 'mail'")
        began_s = clock.monotonic_s()
        lease = app._take_lease(hub)
        assert clock.monotonic_s() - began_s < postgres.WRITES_END_S / 2
    leases.end(hub.database, lease)


def test_t100_a_gateway_does_not_begin_on_a_database_that_was_upgraded_after_it_was_opened(hub: Hub) -> None:
    with hub.database.write():
        hub.database.execute("INSERT INTO migrations (name, applied) VALUES ('9001_later', '2030-01-01')")
    with pytest.raises(SetupError, match=r"newer TokenHub \(9001_later\)"):
        asyncio.run(app.Gateway.start(hub, []))
    assert hub.database.rows("SELECT 1 FROM leases") == []


def test_a_gateway_that_cannot_start_leaves_nothing_open(hub: Hub, home: Home) -> None:
    listener, no_listener = supervisor.listen("127.0.0.1", 0), socket.socket(type=socket.SOCK_DGRAM)
    others = set(threading.enumerate())
    with pytest.raises(ValueError, match="Stream Socket"):
        asyncio.run(app.Gateway.start(hub, [listener, no_listener]))
    assert hub.database.rows("SELECT state FROM leases") == [("ended",)]
    assert not leases.any_is_held(home)
    assert (listener.fileno(), no_listener.fileno()) == (-1, -1)
    assert not [one.name for one in set(threading.enumerate()) - others if one.name.startswith("tokenhub-")]


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
def test_a_lease_whose_commit_had_no_answer_is_not_held(hub_settings: Settings, home: Home, tmp_path: Path) -> None:
    with (
        CutSocket(hub_settings.database_url, tmp_path) as way,
        Hub.open(home, {"database.url": way.url, "local.enabled": False}) as hub,
    ):
        way.cut_at(b"COMMIT\0", pass_it_on=True)
        with pytest.raises(CommitUnknown):
            asyncio.run(app.Gateway.start(hub, []))
        assert hub.database.rows("SELECT state FROM leases") == [("live",)]
        assert not leases.any_is_held(home)
