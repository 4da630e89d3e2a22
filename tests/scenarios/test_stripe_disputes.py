"""Disputes against the fake Stripe: the numbered scenarios of the notes on payments, with their amounts.

The real client over HTTP, both databases; the ledger is added up whenever a balance is asked for.
"""

import json
import threading

import pytest

from tests.fakes.stripe import FakeStripe
from tests.fakes.till import DAY, HOUR, MICRO, SECOND, Till
from tokenhub.errors import Conflict
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import disputes, recharges, refunds, topups
from tokenhub.store import ledger
from tokenhub.store import recharges as recharge_store
from tokenhub.store.topups import Topup


@pytest.fixture
def till(paying_hub: Hub, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> Till:
    return Till(paying_hub, stripe, monkeypatch)


def contest(till: Till, topup: Topup, amount: int | None = None, status: str = "needs_response") -> str:
    """The payer contests a payment, and it is noticed; return the dispute's id."""
    made = till.stripe.dispute(topup.payment_intent or "", amount, status)
    see(till, made["id"])
    return str(made["id"])


def see(till: Till, dispute_id: str) -> None:
    till.later(SECOND)
    disputes.reconcile(till.hub, till.api, dispute_id)


def move(till: Till, dispute_id: str, status: str, balance: int | None = None) -> None:
    """The bank decides, and it is noticed, as often as events come."""
    till.stripe.set_dispute(dispute_id, status, balance=balance)
    for _ in range(3):
        see(till, dispute_id)


def test_s6_a_dispute_that_is_seen_before_the_payment_credits_first_and_freezes_it(till: Till) -> None:
    link = till.link()
    paid = till.stripe.pay(link.session_id or "")
    made = till.stripe.dispute(paid)
    see(till, made["id"])
    assert (till.available(), till.frozen()) == (0, 20_000_000)
    topups.reconcile(till.hub, till.api, link.id)
    see(till, made["id"])
    assert (till.available(), till.frozen()) == (0, 20_000_000)


@pytest.mark.parametrize(("end", "available", "debt"), [("won", 12_500_000, 0), ("lost", -7_500_000, 7_500_000)])
def test_s25_a_dispute_of_what_is_partly_spent_freezes_the_rest(
    till: Till, end: str, available: int, debt: int
) -> None:
    topup = till.bought()
    till.spend(7_500_000)
    dispute = contest(till, topup)
    assert (till.available(), till.frozen(), till.debt()) == (0, 12_500_000, 0)
    move(till, dispute, end)
    assert (till.available(), till.frozen(), till.debt()) == (available, 0, debt)


@pytest.mark.parametrize(("end", "available"), [("won", 20_000_000), ("lost", 8_000_000)])
def test_s26_a_dispute_of_a_part_freezes_that_part(till: Till, end: str, available: int) -> None:
    topup = till.bought()
    dispute = contest(till, topup, 1200)
    assert (till.available(), till.frozen()) == (8_000_000, 12_000_000)
    move(till, dispute, end)
    assert (till.available(), till.frozen(), till.debt()) == (available, 0, 0)


def test_s27_a_dispute_of_what_is_partly_refunded_takes_the_rest(till: Till) -> None:
    topup = till.bought()
    refunds.request(till.hub, topup.id, 500)
    dispute = contest(till, topup, 2000)
    assert till.frozen() == 15_000_000
    move(till, dispute, "lost")
    assert till.journal("dispute") == [-15_000_000]
    assert (till.available(), till.debt()) == (0, 0)


def test_s28_what_was_won_can_be_refunded_in_full_later(till: Till) -> None:
    topup = till.bought()
    dispute = contest(till, topup)
    move(till, dispute, "won")
    assert till.available() == 20_000_000
    till.stripe.refund_in_dashboard(topup.payment_intent or "")
    refunds.reconcile_payment(till.hub, till.api, topup.payment_intent or "")
    assert till.journal("clawback") == [-20_000_000]
    assert (till.available(), till.debt()) == (0, 0)


def test_s28_a_lost_dispute_that_is_heard_of_before_its_opening_takes_once(till: Till) -> None:
    topup = till.bought()
    made = till.stripe.dispute(topup.payment_intent or "")
    till.stripe.set_dispute(made, "lost")
    for _ in range(4):
        see(till, made["id"])
    assert till.journal("dispute") == [-20_000_000]
    assert (till.available(), till.frozen(), till.debt()) == (0, 0, 0)


def test_s29_an_inquiry_takes_nothing_and_closes_without_a_trace(till: Till) -> None:
    topup = till.bought()
    dispute = contest(till, topup, status="warning_needs_response")
    assert (till.available(), till.frozen()) == (20_000_000, 0)
    move(till, dispute, "warning_under_review")
    move(till, dispute, "warning_closed")
    assert (till.available(), till.frozen()) == (20_000_000, 0)
    assert till.journal("dispute", "dispute_return") == []
    assert disputes.of_topup(till.hub, topup.id)[0].state == "won"


def test_s29_an_inquiry_that_escalates_freezes(till: Till) -> None:
    topup = till.bought()
    dispute = contest(till, topup, status="warning_needs_response")
    move(till, dispute, "needs_response")
    assert (till.available(), till.frozen()) == (0, 20_000_000)


def test_s29_a_status_that_nobody_knows_freezes_and_is_told(till: Till, capsys: pytest.CaptureFixture[str]) -> None:
    till.tells()
    topup = till.bought()
    dispute = contest(till, topup, status="warning_needs_response")
    for number, status in enumerate(("being_pondered", "being_weighed"), 2):
        move(till, dispute, status)
        assert (till.available(), till.frozen()) == (0, 20_000_000)
        assert "dispute_status_unknown" in capsys.readouterr().err
        assert till.told() == ["dispute_opened"] * number
    till.stripe.broken.clear()


@pytest.mark.parametrize(("balance", "available", "state"), [(-2000, 0, "lost"), (0, 20_000_000, "won")])
def test_s29_what_was_prevented_is_lost_if_money_left(till: Till, balance: int, available: int, state: str) -> None:
    topup = till.bought()
    dispute = contest(till, topup)
    move(till, dispute, "prevented", balance)
    assert (till.available(), till.frozen(), till.debt()) == (available, 0, 0)
    assert disputes.of_topup(till.hub, topup.id)[0].state == state


def test_s30_a_dispute_in_yuan_takes_what_the_yuan_had_bought_at_their_own_rate(till: Till) -> None:
    topup = till.bought(14200, "cny", rate=7.1)
    till.bought(14200, "cny", rate=7.5)
    before = till.available()
    dispute = contest(till, topup)
    move(till, dispute, "lost")
    assert till.journal("dispute") == [-20_000_000]
    assert till.available() == before - 20_000_000


def test_an_end_is_not_reopened_by_an_older_state(till: Till) -> None:
    topup = till.bought()
    won, lost = contest(till, topup, 500), contest(till, topup, 700)
    move(till, won, "won")
    move(till, lost, "lost")
    for status in ("needs_response", "under_review", "warning_needs_response"):
        move(till, won, status)
        move(till, lost, status)
    assert {one.id: one.state for one in disputes.of_topup(till.hub, topup.id)} == {won: "won", lost: "lost"}
    assert (till.available(), till.frozen()) == (13_000_000, 0)


def test_a_reading_that_was_overtaken_changes_nothing(till: Till) -> None:
    topup = till.bought()
    dispute = contest(till, topup)
    old = till.api.dispute(dispute)
    read_at_ms = till.now_ms
    move(till, dispute, "lost")
    till.stripe.set_dispute(dispute, "won")
    disputes._reconciled(till.hub, till.api, old, read_at_ms)
    assert disputes.of_topup(till.hub, topup.id)[0].state == "lost"
    assert till.available() == 0


def test_an_appeal_that_wins_gives_back_what_was_taken_and_the_debt_with_it(till: Till) -> None:
    topup = till.bought()
    till.spend(7_500_000)
    dispute = contest(till, topup)
    move(till, dispute, "lost")
    till.bought(1000)
    assert (till.available(), till.debt()) == (2_500_000, 0)
    move(till, dispute, "appeal_under_review")
    assert (till.available(), till.frozen()) == (2_500_000, 0)
    move(till, dispute, "won")
    assert (till.available(), till.frozen(), till.debt()) == (22_500_000, 0, 0)


def test_an_appeal_of_what_was_won_freezes_again(till: Till) -> None:
    topup = till.bought()
    dispute = contest(till, topup)
    move(till, dispute, "won")
    move(till, dispute, "appeal_needs_response")
    assert (till.available(), till.frozen()) == (0, 20_000_000)
    move(till, dispute, "lost")
    assert (till.available(), till.frozen(), till.debt()) == (0, 0, 0)


@pytest.mark.parametrize("between", [(), ("appeal_under_review",)])
def test_what_was_given_back_is_taken_again_when_it_is_lost_again(till: Till, between: tuple[str, ...]) -> None:
    till.tells()
    topup = till.bought()
    till.spend(7_500_000)
    dispute = contest(till, topup)
    for count in (1, 2, 3):
        move(till, dispute, "lost")
        assert (till.available(), till.frozen(), till.debt()) == (-7_500_000, 0, 7_500_000)
        assert till.told().count("dispute_opened") == (1 + len(between)) * count + 1 - len(between)
        move(till, dispute, "won")
        assert (till.available(), till.frozen(), till.debt()) == (12_500_000, 0, 0)
        for status in between:
            move(till, dispute, status)
            assert (till.available(), till.frozen(), till.debt()) == (0, 12_500_000, 0)


def test_each_appeal_of_a_dispute_lets_another_of_its_payment_have_what_comes_back(till: Till) -> None:
    topup = till.bought()
    first, second = contest(till, topup), contest(till, topup, 1200)
    move(till, first, "lost")
    move(till, second, "lost")
    for _ in range(2):
        move(till, first, "won")
        assert till.available() == 8_000_000
        move(till, second, "won")
        assert till.available() == 20_000_000
        move(till, first, "lost")
        move(till, second, "lost")
        assert (till.available(), till.frozen(), till.debt()) == (0, 0, 0)


def test_credit_won_back_after_its_lot_expired_can_be_used_for_thirty_days(till: Till) -> None:
    topup = till.bought()
    dispute = contest(till, topup)
    till.later(400 * DAY)
    ledger.expire_due(till.hub.database, till.now_ms)
    assert (till.available(), till.frozen()) == (0, 20_000_000)
    move(till, dispute, "won")
    assert till.available() == 20_000_000
    till.later(29 * DAY)
    till.spend(20_000_000)


def test_a_lost_dispute_takes_nothing_else_for_what_had_expired(till: Till) -> None:
    topup = till.bought()
    till.spend(5_000_000)
    till.later(370 * DAY)
    till.bought(3000)
    dispute = contest(till, topup)
    assert (till.available(), till.frozen()) == (30_000_000, 0)
    move(till, dispute, "lost")
    assert (till.available(), till.debt()) == (25_000_000, 0)


def test_credit_that_comes_free_while_a_dispute_is_open_is_frozen_too(till: Till) -> None:
    topup = till.bought()
    request = till.hold(5_000_000)
    dispute = contest(till, topup)
    assert till.frozen() == 15_000_000
    till.settle(request, 1_000_000)
    assert (till.available(), till.frozen()) == (4_000_000, 15_000_000)
    till.later(HOUR)
    till.work()
    assert (till.available(), till.frozen()) == (0, 19_000_000)
    move(till, dispute, "won")
    assert till.available() == 19_000_000


def test_a_refund_that_fails_while_the_payment_is_disputed_is_frozen_at_once(till: Till) -> None:
    topup = till.bought()
    till.stripe.refund_status = "pending"
    refund = refunds.request(till.hub, topup.id, 500)
    contest(till, topup)
    assert till.frozen() == 15_000_000
    till.stripe.settle_refund(refund.stripe_id or "", "failed")
    refunds.reconcile(till.hub, till.api, refund.id)
    assert (till.available(), till.frozen()) == (0, 20_000_000)


def test_a_refund_that_fails_after_the_dispute_was_lost_goes_to_the_dispute(till: Till) -> None:
    topup = till.bought()
    till.stripe.refund_status = "pending"
    refund = refunds.request(till.hub, topup.id, 500)
    dispute = contest(till, topup)
    move(till, dispute, "lost")
    assert till.journal("dispute") == [-15_000_000]
    till.stripe.settle_refund(refund.stripe_id or "", "failed")
    for _ in range(2):
        refunds.reconcile(till.hub, till.api, refund.id)
    assert till.journal("refund", "refund_return", "dispute") == [-5_000_000, -15_000_000, 5_000_000, -5_000_000]
    assert (till.available(), till.frozen(), till.debt()) == (0, 0, 0)
    move(till, dispute, "won")
    assert till.journal("dispute_return") == [15_000_000, 5_000_000]
    assert till.available() == 20_000_000


def test_a_refund_in_the_dashboard_of_an_inquiry_that_escalated_counts_once(till: Till) -> None:
    topup = till.bought()
    made = till.stripe.dispute(topup.payment_intent or "", status="warning_needs_response")
    till.stripe.refund_in_dashboard(topup.payment_intent or "", 500)
    till.stripe.set_dispute(made, "needs_response")
    see(till, made["id"])
    assert till.frozen() == 20_000_000
    refunds.reconcile_payment(till.hub, till.api, topup.payment_intent or "")
    assert (till.available(), till.frozen(), till.debt()) == (0, 15_000_000, 0)
    move(till, made["id"], "lost")
    assert (till.available(), till.frozen(), till.debt()) == (0, 0, 0)
    assert till.journal("clawback", "dispute") == [-5_000_000, -15_000_000]


def test_two_disputes_of_one_payment_never_take_more_than_it_bought(till: Till) -> None:
    topup = till.bought()
    first, second = contest(till, topup), contest(till, topup)
    assert till.frozen() == 20_000_000
    move(till, second, "lost")
    assert till.journal("dispute") == [-20_000_000]
    move(till, first, "lost")
    assert till.journal("dispute") == [-20_000_000]
    assert (till.available(), till.frozen(), till.debt()) == (0, 0, 0)


def test_open_disputes_of_one_payment_together_freeze_what_is_left_of_what_it_bought(till: Till) -> None:
    """Of what had been sent back already, other credit has paid; what was held meanwhile is free again."""
    topup = till.bought()
    till.bought(5000)
    request = till.hold(20_000_000)
    till.stripe.refund_in_dashboard(topup.payment_intent or "", 1000)
    refunds.reconcile_payment(till.hub, till.api, topup.payment_intent or "")
    till.settle(request, 0)
    assert till.available() == 60_000_000
    first, second = contest(till, topup, 1000), contest(till, topup, 600)
    assert (till.available(), till.frozen()) == (50_000_000, 10_000_000)
    move(till, first, "won")
    assert (till.available(), till.frozen()) == (54_000_000, 6_000_000)
    move(till, second, "lost")
    assert (till.available(), till.frozen(), till.debt()) == (54_000_000, 0, 0)


@pytest.mark.parametrize("end", ["needs_response", "lost"])
def test_what_an_older_version_has_frozen_too_much_is_free_at_the_next_look(till: Till, end: str) -> None:
    topup = till.bought()
    till.bought(5000)
    request = till.hold(20_000_000)
    till.stripe.refund_in_dashboard(topup.payment_intent or "", 1000)
    refunds.reconcile_payment(till.hub, till.api, topup.payment_intent or "")
    till.settle(request, 0)
    first, second = contest(till, topup, 1000), contest(till, topup, 600)
    with till.hub.database.write():
        for sql, row in (
            ("UPDATE disputes SET frozen = frozen + ? WHERE id = ?", second),
            ("UPDATE lots SET available = available - 6000000000, frozen = frozen + ? WHERE id = ?", topup.lot_id),
            ("UPDATE accounts SET available = available - ? WHERE id = ?", till.account_id),
        ):
            till.hub.database.execute(sql, (6 * 10**9, row))
    assert (till.available(), till.frozen()) == (44_000_000, 16_000_000)
    till.stripe.set_dispute(first, end)
    see(till, first)
    see(till, second)
    assert (till.available(), till.frozen(), till.debt()) == (50_000_000, 0 if end == "lost" else 10_000_000, 0)


def test_a_dispute_that_is_lost_takes_what_another_of_its_payment_has_frozen(till: Till) -> None:
    topup = till.bought()
    till.bought(5000)
    first, second = contest(till, topup, 1200), contest(till, topup)
    move(till, second, "lost")
    assert (till.available(), till.frozen(), till.debt()) == (50_000_000, 0, 0)
    move(till, first, "lost")
    assert (till.available(), till.frozen(), till.debt()) == (50_000_000, 0, 0)


def test_a_refund_that_fails_beside_an_open_dispute_and_a_lost_one_goes_to_the_lost_one(till: Till) -> None:
    topup = till.bought()
    till.bought(5000)
    till.stripe.refund_status = "pending"
    refund = refunds.request(till.hub, topup.id, 1000)
    first, second = contest(till, topup), contest(till, topup)
    move(till, second, "lost")
    assert (till.available(), till.frozen()) == (50_000_000, 0)
    till.stripe.settle_refund(refund.stripe_id or "", "failed")
    refunds.reconcile(till.hub, till.api, refund.id)
    assert (till.available(), till.frozen(), till.debt()) == (50_000_000, 0, 0)
    see(till, first)
    assert (till.available(), till.frozen(), till.debt()) == (50_000_000, 0, 0)


def test_a_refund_that_fails_after_two_disputes_were_lost_goes_to_them_once(till: Till) -> None:
    topup = till.bought()
    till.bought(5000)
    till.stripe.refund_status = "pending"
    refund = till.stripe.refund_in_dashboard(topup.payment_intent or "")
    refunds.reconcile_payment(till.hub, till.api, topup.payment_intent or "")
    first, second = contest(till, topup), contest(till, topup, 1200)
    for dispute in (first, second):
        move(till, dispute, "lost")
    assert till.journal("dispute") == []
    till.stripe.settle_refund(refund, "failed")
    refunds.reconcile_payment(till.hub, till.api, topup.payment_intent or "")
    assert till.journal("clawback_return", "dispute") == [20_000_000, -20_000_000]
    assert till.available() == 50_000_000


@pytest.mark.parametrize(("status", "taken"), [("needs_response", []), ("lost", [-12_000_000])])
def test_what_an_appeal_gives_back_goes_to_the_other_dispute_of_its_payment(
    till: Till, status: str, taken: list[int]
) -> None:
    topup = till.bought()
    won, other = contest(till, topup), contest(till, topup, 1200)
    move(till, won, "lost")
    if status == "lost":
        move(till, other, status)
    move(till, won, "won")
    assert till.journal("dispute", "dispute_return") == [-20_000_000, 20_000_000, *taken]
    assert (till.available(), till.frozen()) == (8_000_000, 12_000_000 + sum(taken))


@pytest.mark.parametrize(("amount", "left"), [(None, 0), (500, 15_000_000)])
def test_what_an_appeal_gives_back_goes_to_a_refund_that_was_noticed_after_the_loss(
    till: Till, amount: int | None, left: int
) -> None:
    topup = till.bought()
    till.spend(7_500_000)
    payment_intent = topup.payment_intent or ""
    dispute = till.stripe.dispute(payment_intent, status="warning_needs_response")["id"]
    refund = till.stripe.refund_in_dashboard(payment_intent, amount)
    move(till, dispute, "lost")
    refunds.reconcile_payment(till.hub, till.api, payment_intent)
    assert (till.journal("dispute", "clawback"), till.debt()) == ([-12_500_000, -7_500_000], 7_500_000)
    move(till, dispute, "won")
    assert till.available() == left - 7_500_000
    till.stripe.settle_refund(refund, "failed")
    for _ in range(2):
        refunds.reconcile_payment(till.hub, till.api, payment_intent)
        assert (till.available(), till.debt()) == (12_500_000, 0)


def test_a_refund_in_the_dashboard_that_failed_takes_nothing_of_what_comes_back(till: Till) -> None:
    topup = till.bought()
    payment_intent = topup.payment_intent or ""
    dispute = till.stripe.dispute(payment_intent, 1200, "warning_needs_response")["id"]
    refund = till.stripe.refund_in_dashboard(payment_intent)
    move(till, dispute, "lost")
    refunds.reconcile_payment(till.hub, till.api, payment_intent)
    assert till.journal("dispute", "clawback") == [-12_000_000, -8_000_000]
    till.stripe.settle_refund(refund, "failed")
    refunds.reconcile_payment(till.hub, till.api, payment_intent)
    assert till.available() == 8_000_000
    move(till, dispute, "won")
    assert (till.available(), till.frozen()) == (20_000_000, 0)


def test_a_dispute_that_cannot_be_read_is_asked_for_later_and_holds_up_no_other(till: Till) -> None:
    first, second = till.bought(), till.bought()
    unread, read = (contest(till, topup) for topup in (first, second))
    till.later(HOUR)
    till.stripe.fault("500", f"/v1/disputes/{unread}", times=100)
    till.stripe.set_dispute(read, "won")
    for _ in range(3):
        till.work()
        till.later(1)
    (waiting,), (won,) = (disputes.of_topup(till.hub, topup.id) for topup in (first, second))
    assert (waiting.state, won.state) == ("frozen", "won")
    assert (waiting.next_poll_at_ms or 0) > till.now_ms


def test_what_a_request_gives_back_of_a_disputed_payment_is_frozen_soon(till: Till) -> None:
    topup = till.bought()
    request = till.hold(20_000_000)
    contest(till, topup)
    till.later(2 * DAY)
    till.work()
    till.settle(request, 1_000_000)
    till.later(30 * SECOND)
    till.work()
    assert (till.available(), till.frozen()) == (0, 19_000_000)
    (dispute,) = disputes.of_topup(till.hub, topup.id)
    assert (dispute.next_poll_at_ms or 0) > till.now_ms + HOUR


def test_a_dispute_stops_refunds_and_automatic_recharges(till: Till) -> None:
    topup = till.bought()
    recharges.configure(till.hub, till.account_id, 2000, 5 * 10**9, 10_000)
    dispute = contest(till, topup, 100)
    with pytest.raises(Conflict, match="is disputed"):
        refunds.request(till.hub, topup.id)
    state = recharges.state(till.hub, till.account_id)
    assert state is not None
    assert (state.state, state.reason) == ("suspended", "a payment is disputed")
    with till.hub.database.write():
        assert not recharge_store.cleared_by_topup(till.hub.database, till.account_id)
    move(till, dispute, "won")
    assert refunds.request(till.hub, topup.id).state == "succeeded"
    assert recharges.resume(till.hub, till.account_id).state == "on"


def test_an_open_dispute_is_followed_to_its_end_without_an_event(till: Till) -> None:
    topup = till.bought()
    dispute = contest(till, topup)
    till.stripe.set_dispute(dispute, "lost")
    till.later(60 * DAY)
    till.work()
    assert disputes.of_topup(till.hub, topup.id)[0].state == "lost"
    assert (till.available(), till.frozen()) == (0, 0)


def test_disputes_are_listed_by_account_the_newest_first(till: Till) -> None:
    other = till.account("other")
    first, theirs, last = (
        contest(till, till.bought(account_id=one)) for one in (till.account_id, other, till.account_id)
    )
    assert [one.id for one in disputes.listing(till.hub)] == [last, theirs, first]
    assert [one.id for one in disputes.listing(till.hub, till.account_id)] == [last, first]
    assert [one.id for one in disputes.listing(till.hub, other)] == [theirs]


def test_a_dispute_of_another_programs_payment_is_left_alone(till: Till) -> None:
    paid = till.stripe.pay(till.stripe.foreign_session(metadata={"shop": "mugs"}))
    made = till.stripe.dispute(paid)
    assert disputes.reconcile(till.hub, till.api, made["id"]) is None
    assert disputes.listing(till.hub) == []


def test_a_dispute_that_several_processes_hear_of_counts_once(till: Till) -> None:
    topup = till.bought()
    till.spend(5_000_000)
    made = till.stripe.dispute(topup.payment_intent or "")
    till.stripe.set_dispute(made, "lost")
    together = threading.Barrier(4)

    def each() -> None:
        together.wait()
        try:
            disputes.reconcile(till.hub, till.api, made["id"])
        finally:
            till.hub.database.close()

    threads = [threading.Thread(target=each) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert till.journal("dispute") == [-15_000_000, -5_000_000]
    assert (till.available(), till.debt()) == (-5_000_000, 5_000_000)
    (kept,) = disputes.of_topup(till.hub, topup.id)
    assert (kept.state, kept.taken_nano, kept.frozen_nano) == ("lost", 20_000_000 * MICRO, 0)


def test_a_dispute_is_told_when_it_opens_and_when_it_gets_worse(till: Till) -> None:
    till.tells()
    topup = till.bought()
    dispute = contest(till, topup, status="warning_needs_response")
    assert till.told() == ["dispute_opened"]
    move(till, dispute, "warning_under_review")
    assert till.told() == ["dispute_opened"]
    move(till, dispute, "needs_response")
    move(till, dispute, "under_review")
    assert till.told() == ["dispute_opened"] * 2
    move(till, dispute, "won")
    assert till.told() == ["dispute_opened"] * 2


@pytest.mark.parametrize("has_recharge", [True, False])
def test_a_dispute_tells_of_a_suspended_recharge_once_there_is_one(till: Till, has_recharge: bool) -> None:
    till.tells()
    topup = till.bought(save_card=True)
    if has_recharge:
        recharges.configure(till.hub, till.account_id, 2000, 5 * 10**9, 10_000)
    dispute = contest(till, topup, status="warning_needs_response")
    move(till, dispute, "needs_response")
    bodies = [json.loads(body) for (body,) in till.hub.database.rows("SELECT body FROM notices ORDER BY id")]
    assert ["recharge" in body for body in bodies] == [False, has_recharge]
