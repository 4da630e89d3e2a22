"""The check-up of payments and notices: what waits for a person is named with what to do."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.stripe import FakeStripe
from tokenhub import clock
from tokenhub.billing.notices import NoticeKind
from tokenhub.operations import accounts, notices, secrets
from tokenhub.operations.findings import Finding, Health
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import checkup, topups
from tokenhub.store import stripe_events

DAY_MS = 86_400_000


def found(check: Callable[[Hub], Iterator[Finding]], hub: Hub) -> list[Finding]:
    return list(check(hub))


def wrong(hub: Hub) -> list[Finding]:
    return [one for check in checkup.CHECKS for one in check(hub) if one.health is not Health.OK]


def change(hub: Hub, sql: str, *params: Any) -> None:
    with hub.database.write():
        hub.database.execute(sql, params)


@pytest.fixture
def opened(paying_hub: Hub) -> Hub:
    """A paying hub with an account and a link that is open."""
    account = accounts.create(paying_hub, "acme co").account
    topups.create(paying_hub, account.id, 2000, "usd", ())
    return paying_hub


def test_without_stripe_there_is_nothing_to_do(hub: Hub) -> None:
    assert [(one.check, one.health, one.remedy) for check in checkup.CHECKS for one in check(hub)] == [
        ("stripe", Health.OK, ""),
        ("payments", Health.OK, ""),
    ]


def test_a_secret_without_a_key_is_named(hub: Hub) -> None:
    secrets.set(hub, "stripe.webhook_secret", "whsec_" + "a" * 32)
    (finding,) = wrong(hub)
    assert finding.remedy == "tokenhub config set stripe.secret_key"


def test_the_mode_and_how_payments_are_noticed_are_told(opened: Hub) -> None:
    told = " ".join(one.message for one in found(checkup.stripe, opened))
    assert "test mode" in told
    assert "there is no webhook" in told
    assert wrong(opened) == []
    secrets.set(opened, "stripe.webhook_secret", "whsec_" + "a" * 32)
    assert "by its webhook" in found(checkup.stripe, opened)[1].message


@pytest.mark.parametrize(("fault", "health"), [("401", Health.FAILED), ("403", Health.FAILED), ("500", Health.WARNING)])
def test_a_key_that_is_refused_is_a_failure_and_a_stripe_that_is_away_a_warning(
    opened: Hub, stripe: FakeStripe, fault: str, health: Health
) -> None:
    stripe.fault(fault, path="/v1/balance", times=3)
    assert [one.health for one in wrong(opened)] == [health]


def test_events_that_were_not_read_for_weeks_are_named(opened: Hub) -> None:
    change(opened, "UPDATE stripe SET swept_at = ?", clock.now_ms() - 24 * DAY_MS)
    assert wrong(opened) == []
    change(opened, "UPDATE stripe SET swept_at = ?", clock.now_ms() - 26 * DAY_MS)
    (finding,) = wrong(opened)
    assert "26 days ago" in finding.message
    assert "topups reconcile" in finding.remedy


def test_a_top_up_in_review_is_named_for_a_month(opened: Hub) -> None:
    change(opened, "UPDATE topups SET state = 'review', reason = 'paid less than asked'")
    (finding,) = wrong(opened)
    (topup,) = topups.listing(opened)
    assert "paid less than asked" in finding.message
    assert finding.remedy == f"tokenhub topups show {topup.id}"
    change(opened, "UPDATE topups SET updated_at = ?", clock.now_ms() - 31 * DAY_MS)
    assert wrong(opened) == []


def test_a_top_up_that_never_got_its_link_is_named_after_an_hour(opened: Hub) -> None:
    change(opened, "UPDATE topups SET state = 'new'")
    assert wrong(opened) == []
    change(opened, "UPDATE topups SET created_at = ?", clock.now_ms() - 2 * 3_600_000)
    assert "waits for you: new" in wrong(opened)[0].message


def test_a_refund_that_was_not_answered_is_named_after_a_day(opened: Hub) -> None:
    (topup,) = topups.listing(opened)
    change(
        opened,
        "INSERT INTO refunds (id, topup_id, state, origin, amount, credit, attempt, reason, created_at, updated_at) "
        "VALUES ('refund_1', ?, 'requested', 'tokenhub', 100, 0, 1, '', ?, ?)",
        topup.id, clock.now_ms() - DAY_MS // 2, clock.now_ms(),
    )  # fmt: skip
    assert wrong(opened) == []
    change(opened, "UPDATE refunds SET created_at = ?", clock.now_ms() - 2 * DAY_MS)
    assert "refund_1" in wrong(opened)[0].message


def test_an_open_dispute_is_named_until_it_is_decided(opened: Hub) -> None:
    (topup,) = topups.listing(opened)
    change(
        opened,
        "INSERT INTO disputes (id, topup_id, state, status, amount, frozen, taken, created_at, updated_at) "
        "VALUES ('du_1', ?, 'frozen', 'needs_response', 100, 0, 0, 0, 0)",
        topup.id,
    )
    assert "du_1 waits for you: needs_response" in wrong(opened)[0].message
    change(opened, "UPDATE disputes SET state = 'won'")
    assert wrong(opened) == []


def test_a_suspended_recharge_is_named_with_the_command_that_resumes_it(opened: Hub) -> None:
    change(
        opened,
        "INSERT INTO recharges (account_id, state, amount, below, monthly_cap, reason, declines, month_start, month_total, created_at) "
        "VALUES (1, 'suspended', 2000, 0, 5000, 'do_not_honor', 3, 0, 0, 0)",
    )
    (finding,) = wrong(opened)
    assert "do_not_honor" in finding.message
    assert finding.remedy == "tokenhub accounts set 'acme co' --resume-recharge"


def test_events_that_were_put_aside_or_cannot_be_worked_are_named(opened: Hub) -> None:
    for number in range(3):
        stripe_events.insert(opened.database, f"evt_{number}", "refund.created", "re_1", "sweep", clock.now_ms())
    assert wrong(opened) == []
    change(opened, "UPDATE stripe_events SET tries = 9 WHERE id = 'evt_0'")
    change(opened, "UPDATE stripe_events SET state = 'review', reason = 'odd', next_try_at = NULL WHERE id = 'evt_1'")
    assert {one.message for one in wrong(opened)} == {
        "The event evt_0 waits for you: refund.created.",
        "The event evt_1 waits for you: refund.created: odd.",
    }


def test_debts_are_added_up(opened: Hub) -> None:
    change(opened, "UPDATE accounts SET debt = 3000000000")
    (finding,) = wrong(opened)
    assert finding.message.endswith(": 1, 3 USD in all.")


def test_notices_that_cannot_be_told_or_are_not_taken_are_named(hub: Hub) -> None:
    assert [one.health for one in found(notices.examine, hub)] == [Health.OK]
    (unsent,) = found(notices.examine, replace(hub, settings=replace(hub.settings, notices_email="ops@hub.example")))
    assert (unsent.health, unsent.remedy) == (Health.WARNING, "tokenhub config set smtp.host mail.example.com")
    hub = replace(hub, settings=replace(hub.settings, notices_webhook_url="http://127.0.0.1:9/"))
    unsigned, fine = found(notices.examine, hub)
    assert (unsigned.health, unsigned.remedy) == (Health.WARNING, "tokenhub config set notices.webhook_secret")
    assert fine.message == "They go out by a webhook."
    secrets.set(hub, "notices.webhook_secret", "a-secret-of-the-receiver")
    account = accounts.create(hub, "acme").account
    notices.tell(hub, NoticeKind.TOPUP_REVIEW, "topup_1", account.id, {})
    notices.work(hub, clock.now_ms())
    (finding,) = found(notices.examine, hub)
    assert finding.health is Health.WARNING
    assert finding.message.startswith("1 wait to be sent again and 0 were given up")
