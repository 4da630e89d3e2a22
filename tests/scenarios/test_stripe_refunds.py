"""Refunds against a Stripe that goes wrong: the numbered scenarios of the notes on payments, with their amounts.

The real client over HTTP, both databases; the ledger is added up whenever a balance is asked for.
"""

import threading
from collections.abc import Callable

import pytest

from tests.fakes.stripe import FakeStripe
from tests.fakes.stripe.desk import Asked
from tests.fakes.till import DAY, HOUR, MICRO, SECOND, Till
from tokenhub import clock
from tokenhub.billing.refunds import RefundState
from tokenhub.errors import Conflict, HubError, InvalidRequest, SetupError
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import disputes, refund_records, refunds, topups
from tokenhub.store import ledger
from tokenhub.store import refunds as refund_store

REFUNDS = "/v1/refunds"


@pytest.fixture
def till(paying_hub: Hub, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> Till:
    return Till(paying_hub, stripe, monkeypatch)


def refund(till: Till, topup_id: str, amount: int | None = None) -> refunds.Refund:
    return refunds.request(till.hub, topup_id, amount)


def sent(till: Till, payment_intent: str | None) -> int:
    """Minor units that went back at Stripe."""
    found = till.stripe.of("refund", payment_intent=payment_intent)
    return sum(one["amount"] for one in found if one["status"] in ("pending", "succeeded"))


def seen(till: Till, payment_intent: str | None) -> None:
    """Notice at Stripe what happened to a payment's refunds."""
    assert payment_intent is not None
    refunds.reconcile_payment(till.hub, till.api, payment_intent)


# ---- amounts


def test_s17_a_top_up_in_yuan_goes_back_whole_or_what_is_unused_of_it(till: Till) -> None:
    whole, part = till.bought(14200, "cny", rate=7.1), till.bought(14200, "cny", rate=7.1)
    done = refund(till, whole.id)
    assert (done.state, done.amount_minor, done.credit_nano) == ("succeeded", 14200, 20_000_000 * MICRO)
    assert sent(till, whole.payment_intent) == 14200
    till.spend(7_500_000)
    done = refund(till, part.id)
    assert (done.amount_minor, done.credit_nano) == (8875, 12_500_000 * MICRO)
    assert till.available() == 0


@pytest.mark.parametrize(
    ("amount", "currency", "rate", "spent", "minor", "credit"),
    [
        (2000, "cny", 7.1234, 1, 1999, 2_807_647),
        (2000, "cny", 7.1234, 1_000_000, 1287, 1_807_648),
        (2000, "usd", None, 3_333_333, 1666, 16_666_667),
    ],
)
def test_s18_what_is_unused_goes_back_rounded_down_and_all_of_it_leaves(
    till: Till, amount: int, currency: str, rate: float | None, spent: int, minor: int, credit: int
) -> None:
    topup = till.bought(amount, currency, rate=rate)
    till.spend(spent)
    done = refund(till, topup.id)
    assert (done.amount_minor, done.credit_nano) == (minor, credit * MICRO)
    assert sent(till, topup.payment_intent) == minor
    assert till.available() == 0
    assert till.journal("refund") == [-credit]


def test_s19_what_an_open_request_holds_is_refunded_when_it_is_free_again(till: Till) -> None:
    topup = till.bought()
    request = till.hold(5_000_000)
    assert refund(till, topup.id).amount_minor == 1500
    assert till.available() == 0
    till.settle(request, 3_200_000)
    assert till.available() == 1_800_000
    assert refund(till, topup.id).amount_minor == 180
    assert till.available() == 0
    assert sent(till, topup.payment_intent) == 1680


def test_a_part_is_refunded_and_the_rest_stays(till: Till) -> None:
    topup = till.bought()
    done = refund(till, topup.id, 750)
    assert (done.amount_minor, done.credit_nano) == (750, 7_500_000 * MICRO)
    assert till.available() == 12_500_000
    till.later(SECOND)
    with pytest.raises(Conflict, match=r"At most 12\.50 USD") as refused:
        refund(till, topup.id, 1251)
    assert (refused.value.code, refused.value.param) == ("refund_too_much", "amount")
    assert refund(till, topup.id, 1250).amount_minor == 1250
    assert till.available() == 0
    assert [one.amount_minor for one in refunds.of_topup(till.hub, topup.id)] == [750, 1250]


def test_s37_tax_goes_back_with_what_it_was_paid_on(till: Till) -> None:
    unused, used = till.bought(tax=400), till.bought(tax=400)
    assert refund(till, unused.id).amount_minor == 2400
    till.spend(10_000_000)
    assert refund(till, used.id).amount_minor == 1200
    assert till.available() == 0


def test_a_quote_changes_nothing_and_is_what_the_refund_does(till: Till) -> None:
    topup = till.bought()
    till.spend(5_000_000)
    offer = refunds.quote(till.hub, topup.id, None)
    assert (offer.amount_minor, offer.credit_nano) == (1500, 15_000_000 * MICRO)
    assert till.available() == 15_000_000
    assert till.stripe.posts(REFUNDS) == 0
    assert refund(till, topup.id).amount_minor == offer.amount_minor


# ---- who gets one


def test_s22_a_refund_is_refused_seven_days_after_the_payment_and_says_until_when(till: Till) -> None:
    link = till.link()
    till.later(23 * HOUR - 60 * SECOND)
    till.stripe.pay(link.session_id or "")
    topup = topups.reconcile(till.hub, till.api, link.id)
    paid_at = till.now_ms
    till.now_ms = paid_at + 7 * DAY - SECOND
    assert refund(till, topup.id, 100).state == "succeeded"
    till.now_ms = paid_at + 7 * DAY + SECOND
    with pytest.raises(Conflict, match=r"until 2026-09-29T13:12:20Z"):
        refund(till, topup.id, 100)
    with pytest.raises(Conflict):
        refunds.quote(till.hub, topup.id, None)
    assert till.stripe.posts(REFUNDS) == 1
    assert till.available() == 19_000_000


def test_s23_an_empty_lot_is_not_refunded_from_another(till: Till) -> None:
    first = till.bought()
    till.later(SECOND)
    second = till.bought()
    till.spend(20_000_000)
    with pytest.raises(Conflict, match="Nothing of top-up"):
        refund(till, first.id)
    assert till.available() == 20_000_000
    assert ledger.lot(till.hub.database, second.lot_id or 0).available_nano == 20_000_000 * MICRO
    assert till.stripe.posts(REFUNDS) == 0


@pytest.mark.parametrize("amount", [0, -5, 2001, 10**12])
def test_an_amount_that_cannot_be_is_refused_before_anything_is_taken(till: Till, amount: int) -> None:
    topup = till.bought()
    with pytest.raises((InvalidRequest, Conflict)):
        refund(till, topup.id, amount)
    assert till.available() == 20_000_000
    assert till.stripe.posts(REFUNDS) == 0


def test_a_top_up_that_is_not_paid_is_not_refunded(till: Till) -> None:
    link = till.link()
    with pytest.raises(Conflict, match="is open"):
        refund(till, link.id)
    assert till.stripe.posts(REFUNDS) == 0


def test_without_a_key_nothing_is_taken(till: Till) -> None:
    topup = till.bought()
    with till.hub.database.write():
        till.hub.database.execute("DELETE FROM secrets")
    with pytest.raises(SetupError):
        refund(till, topup.id)
    assert till.available() == 20_000_000


# ---- the network, and two at once


def test_s20_two_commands_at_once_send_the_money_once(till: Till) -> None:
    topup = till.bought()
    together = threading.Barrier(2)
    answers: list[str] = []

    def ask() -> None:
        together.wait()
        try:
            answers.append(refund(till, topup.id).state)
        except HubError as error:
            answers.append(error.code)
        finally:
            till.hub.database.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["refund_nothing_left", "succeeded"]
    assert till.stripe.effects(REFUNDS) == 1
    assert sent(till, topup.payment_intent) == 2000
    assert till.available() == 0


@pytest.mark.parametrize(
    "fault", ["drop_before", "drop_after", "truncate", "garbage", "empty", "500", "409", "429", "401"]
)
def test_s20_an_answer_that_is_lost_is_asked_for_again_and_the_money_goes_once(till: Till, fault: str) -> None:
    topup = till.bought()
    till.stripe.fault(fault, REFUNDS, times=3, method="POST")
    waiting = refund(till, topup.id)
    till.stripe.heal()
    assert waiting.state == RefundState.REQUESTED
    assert waiting.reason
    assert till.available() == 0
    till.later(DAY // 24)
    till.work()
    (done,) = refunds.of_topup(till.hub, topup.id)
    assert (done.state, done.attempt) == ("succeeded", 1)
    assert till.stripe.effects(REFUNDS) == 1
    assert sent(till, topup.payment_intent) == 2000
    assert till.journal("refund", "refund_return") == [-20_000_000]
    till.check()


def test_s20_a_stored_500_behind_which_the_money_went_is_looked_up(till: Till) -> None:
    topup = till.bought()
    till.stripe.fault("stored_500", REFUNDS, method="POST")
    assert refund(till, topup.id).state == RefundState.REQUESTED
    till.later(HOUR)
    till.work()
    (done,) = refunds.of_topup(till.hub, topup.id)
    assert (done.state, done.attempt) == ("succeeded", 1)
    assert till.stripe.effects(REFUNDS) == 1
    assert till.available() == 0


def test_s20_a_stored_500_behind_which_nothing_happened_is_tried_anew_after_23_hours(till: Till) -> None:
    topup = till.bought()
    till.stripe.fault("stored_500_empty", REFUNDS, method="POST")
    assert refund(till, topup.id).state == RefundState.REQUESTED
    for _ in range(22):
        till.later(HOUR)
        till.work()
    (waiting,) = refunds.of_topup(till.hub, topup.id)
    assert (waiting.state, waiting.attempt) == (RefundState.REQUESTED, 1)
    assert len({asked.key for asked in till.stripe.asked if asked.key and asked.path == REFUNDS}) == 1
    assert till.available() == 0
    for _ in range(8):
        till.later(HOUR)
        till.work()
    (done,) = refunds.of_topup(till.hub, topup.id)
    assert (done.state, done.attempt) == ("succeeded", 2)
    assert till.stripe.effects(REFUNDS) == 1
    assert sent(till, topup.payment_intent) == 2000
    assert till.available() == 0


def test_a_definite_no_gives_the_credit_back_and_looks_why(till: Till) -> None:
    topup = till.bought()
    till.stripe.refund_in_dashboard(topup.payment_intent or "")
    done = refund(till, topup.id)
    assert (done.state, done.reason) == ("rejected", "charge_already_refunded")
    assert till.available() == 0
    assert till.debt() == 0
    assert till.journal("refund", "refund_return", "clawback") == [-20_000_000, 20_000_000, -20_000_000]
    assert {one.origin for one in refunds.of_topup(till.hub, topup.id)} == {"tokenhub", "stripe"}


def test_a_no_because_of_a_dispute_freezes_what_it_contests(till: Till) -> None:
    topup = till.bought()
    dispute = till.stripe.dispute(topup.payment_intent or "")
    done = refund(till, topup.id)
    assert (done.state, done.reason) == ("rejected", "charge_disputed")
    assert (till.available(), till.frozen()) == (0, 20_000_000)
    assert [one.id for one in disputes.of_topup(till.hub, topup.id)] == [dispute["id"]]
    with pytest.raises(Conflict, match="is disputed"):
        refund(till, topup.id)


def test_a_no_to_a_repeat_of_what_had_succeeded_is_no_no(till: Till) -> None:
    topup = till.bought()
    till.stripe.fault("stored_500", REFUNDS, method="POST")
    waiting = refund(till, topup.id)
    with till.hub.database.write():
        till.hub.database.execute("UPDATE refunds SET attempt = 2, next_poll_at = ?", (till.now_ms,))
    till.work()
    (done,) = refunds.of_topup(till.hub, topup.id)
    assert (done.id, done.state) == (waiting.id, "succeeded")
    assert till.stripe.effects(REFUNDS) == 1
    assert till.available() == 0


# ---- what becomes of it


def test_s21_a_pending_refund_that_fails_after_three_days_is_given_back_once(till: Till) -> None:
    topup = till.bought()
    till.stripe.refund_status = "pending"
    done = refund(till, topup.id)
    assert done.state == RefundState.PENDING
    till.later(3 * DAY)
    till.stripe.settle_refund(done.stripe_id or "", "failed")
    for _ in range(4):
        seen(till, topup.payment_intent)
    assert refunds.of_topup(till.hub, topup.id)[0].state == RefundState.FAILED
    assert refunds.of_topup(till.hub, topup.id)[0].reason == "expired_or_canceled_card"
    assert till.journal("refund_return") == [20_000_000]
    assert till.available() == 20_000_000


def test_s21_a_refund_that_arrived_and_comes_back_after_ten_days_is_noticed_without_an_event(till: Till) -> None:
    topup = till.bought()
    done = refund(till, topup.id)
    assert done.state == RefundState.SUCCEEDED
    till.later(10 * DAY)
    till.work()
    assert till.available() == 0
    till.stripe.settle_refund(done.stripe_id or "", "failed")
    till.later(30 * DAY)
    till.work()
    till.work()
    assert refunds.of_topup(till.hub, topup.id)[0].state == RefundState.FAILED
    assert till.journal("refund_return") == [20_000_000]
    assert till.available() == 20_000_000


@pytest.mark.parametrize("end", ["succeeded", "canceled"])
def test_a_pending_refund_is_followed_to_its_end(till: Till, end: str) -> None:
    topup = till.bought()
    till.stripe.refund_status = "pending"
    done = refund(till, topup.id)
    till.stripe.settle_refund(done.stripe_id or "", end)
    till.later(HOUR)
    till.work()
    assert refunds.of_topup(till.hub, topup.id)[0].state == ("succeeded" if end == "succeeded" else "failed")
    assert till.available() == (0 if end == "succeeded" else 20_000_000)


def test_s33_credit_of_a_refund_that_failed_after_its_lot_expired_can_be_used_for_thirty_days(till: Till) -> None:
    topup = till.bought()
    till.stripe.refund_status = "pending"
    done = refund(till, topup.id)
    till.later(366 * DAY)
    ledger.expire_due(till.hub.database, till.now_ms)
    till.stripe.settle_refund(done.stripe_id or "", "failed")
    refunds.reconcile(till.hub, till.api, done.id)
    assert till.available() == 20_000_000
    till.later(30 * DAY - 1)
    till.spend(1_000_000)
    till.later(1)
    ledger.expire_due(till.hub.database, till.now_ms)
    assert till.available() == 0
    assert till.journal("expiry") == [-19_000_000]


def test_an_end_is_not_reopened_by_what_is_read_later(till: Till) -> None:
    topup = till.bought()
    till.stripe.refund_status = "pending"
    done = refund(till, topup.id)
    till.stripe.settle_refund(done.stripe_id or "", "failed")
    seen(till, topup.payment_intent)
    till.stripe.settle_refund(done.stripe_id or "", "pending")
    seen(till, topup.payment_intent)
    refunds.reconcile(till.hub, till.api, done.id)
    assert refunds.of_topup(till.hub, topup.id)[0].state == RefundState.FAILED
    assert till.available() == 20_000_000


# ---- made in the dashboard


def test_s5_a_refund_in_the_dashboard_that_is_seen_before_the_payment_credits_first(till: Till) -> None:
    link = till.link()
    paid = till.stripe.pay(link.session_id or "")
    till.stripe.refund_in_dashboard(paid)
    seen(till, paid["id"])
    assert till.journal("topup", "clawback") == [20_000_000, -20_000_000]
    assert (till.available(), till.debt()) == (0, 0)
    topups.reconcile(till.hub, till.api, link.id)
    seen(till, paid["id"])
    assert till.journal("topup", "clawback") == [20_000_000, -20_000_000]


def test_s24_a_refund_in_the_dashboard_of_what_is_spent_is_owed_and_repaid_by_the_next_top_up(till: Till) -> None:
    topup = till.bought()
    till.spend(18_000_000)
    till.stripe.refund_in_dashboard(topup.payment_intent or "", 500)
    for _ in range(3):
        seen(till, topup.payment_intent)
    assert (till.available(), till.debt()) == (-3_000_000, 3_000_000)
    assert ledger.lot(till.hub.database, topup.lot_id or 0).available_nano == 0
    till.bought(1000)
    assert (till.available(), till.debt()) == (7_000_000, 0)


def test_t27_several_refunds_in_the_dashboard_each_take_their_own_part_once(till: Till) -> None:
    topup = till.bought()
    for amount in (666, 667, 667):
        till.stripe.refund_in_dashboard(topup.payment_intent or "", amount)
        for _ in range(2):
            seen(till, topup.payment_intent)
    assert till.journal("clawback") == [-6_660_000, -6_670_000, -6_670_000]
    assert (till.available(), till.debt()) == (0, 0)


@pytest.mark.parametrize("swept", [True, False])
def test_a_refund_in_the_dashboard_takes_nothing_else_for_what_had_expired(till: Till, swept: bool) -> None:
    topup = till.bought()
    till.spend(5_000_000)
    till.later(360 * DAY)
    till.bought(3000)
    till.later(10 * DAY)
    if swept:
        ledger.expire_due(till.hub.database, till.now_ms)
    till.stripe.refund_in_dashboard(topup.payment_intent or "")
    for _ in range(2):
        refunds.reconcile_payment(till.hub, till.api, topup.payment_intent or "")
    assert till.journal("expiry", "clawback") == [-15_000_000, -5_000_000]
    assert (till.available(), till.debt()) == (25_000_000, 0)


@pytest.mark.parametrize("swept", [True, False])
def test_a_refund_in_the_dashboard_takes_of_what_is_frozen_what_had_expired_beside_it(till: Till, swept: bool) -> None:
    topup = till.bought()
    till.stripe.refund_in_dashboard(topup.payment_intent or "", 800)
    dispute = till.stripe.dispute(topup.payment_intent or "", 1200)["id"]
    disputes.reconcile(till.hub, till.api, dispute)
    assert (till.available(), till.frozen()) == (8_000_000, 12_000_000)
    till.later(370 * DAY)
    if swept:
        ledger.expire_due(till.hub.database, till.now_ms)
    for _ in range(2):
        seen(till, topup.payment_intent)
    assert till.journal("expiry", "clawback") == [-8_000_000, -8_000_000]
    assert (till.available(), till.frozen(), till.debt()) == (0, 4_000_000, 0)
    till.stripe.set_dispute(dispute, "lost")
    disputes.reconcile(till.hub, till.api, dispute)
    assert till.journal("dispute") == [-4_000_000]
    assert (till.available(), till.frozen(), till.debt()) == (0, 0, 0)


def test_a_refund_in_the_dashboard_thaws_no_more_than_it_takes(till: Till) -> None:
    topup = till.bought()
    till.spend(8_000_000)
    till.stripe.refund_in_dashboard(topup.payment_intent or "", 300)
    first, second = (till.stripe.dispute(topup.payment_intent or "", amount)["id"] for amount in (2000, 1000))
    for dispute in (first, second):
        disputes.reconcile(till.hub, till.api, dispute)
    till.later(SECOND)
    till.stripe.set_dispute(second, "lost")
    disputes.reconcile(till.hub, till.api, second)
    assert (till.available(), till.frozen(), till.debt()) == (-8_000_000, 10_000_000, 8_000_000)
    seen(till, topup.payment_intent)
    assert (till.available(), till.frozen(), till.debt()) == (-8_000_000, 7_000_000, 8_000_000)
    till.stripe.set_dispute(first, "lost")
    disputes.reconcile(till.hub, till.api, first)
    assert (till.available(), till.frozen(), till.debt()) == (-8_000_000, 0, 8_000_000)


def test_a_refund_in_the_dashboard_that_fails_is_given_back(till: Till) -> None:
    topup = till.bought()
    till.spend(18_000_000)
    made = till.stripe.refund_in_dashboard(topup.payment_intent or "", 500)
    seen(till, topup.payment_intent)
    assert till.debt() == 3_000_000
    till.stripe.settle_refund(made, "failed")
    for _ in range(3):
        seen(till, topup.payment_intent)
    assert till.journal("clawback_return") == [2_000_000, 3_000_000]
    assert (till.available(), till.debt()) == (2_000_000, 0)


def test_our_own_refund_is_never_taken_for_one_of_the_dashboard(till: Till) -> None:
    topup = till.bought()
    till.stripe.fault("drop_after", REFUNDS, times=1, method="POST")
    till.stripe.fault("drop_before", REFUNDS, times=2, method="POST")
    waiting = refund(till, topup.id, 500)
    till.stripe.heal()
    assert waiting.state == RefundState.REQUESTED
    seen(till, topup.payment_intent)
    (done,) = refunds.of_topup(till.hub, topup.id)
    assert (done.id, done.state, done.origin) == (waiting.id, "succeeded", "tokenhub")
    assert till.available() == 15_000_000


def test_a_refund_without_answer_that_the_dashboard_has_overtaken_is_ended_and_what_went_is_taken(till: Till) -> None:
    topup = till.bought()
    till.stripe.fault("drop_before", REFUNDS, times=3, method="POST")
    waiting = refund(till, topup.id)
    assert waiting.state == RefundState.REQUESTED
    till.stripe.refund_in_dashboard(topup.payment_intent or "", 700)
    seen(till, topup.payment_intent)
    found = {one.origin: one for one in refunds.of_topup(till.hub, topup.id)}
    assert (found["tokenhub"].state, found["stripe"].credit_nano) == ("rejected", 7_000_000 * MICRO)
    assert till.available() == 13_000_000
    till.later(DAY)
    till.work()
    assert till.stripe.effects(REFUNDS) == 0
    assert refund(till, topup.id).amount_minor == 1300


@pytest.mark.parametrize("elsewhere", [700, 1500])
def test_a_refund_without_answer_that_still_fits_goes_on(till: Till, elsewhere: int) -> None:
    topup = till.bought()
    till.stripe.fault("drop_before", REFUNDS, times=3, method="POST")
    waiting = refund(till, topup.id, 500)
    till.stripe.refund_in_dashboard(topup.payment_intent or "", elsewhere)
    seen(till, topup.payment_intent)
    till.later(HOUR)
    till.work()
    assert {one.id: one.state for one in refunds.of_topup(till.hub, topup.id)}[waiting.id] == "succeeded"
    assert till.available() == (1500 - elsewhere) * 10_000


def test_a_no_that_is_heard_after_the_refund_has_moved_on_gives_no_credit_back(till: Till) -> None:
    topup = till.bought()
    till.stripe.fault("drop_before", REFUNDS, times=3, method="POST")
    waiting = refund(till, topup.id)
    again = refund_records.next_attempt(till.hub, waiting)
    assert refund_records.reject(till.hub, waiting, "too late") == again
    till.later(HOUR)
    till.work()
    done = refund_records.reject(till.hub, again, "too late")
    assert (done.state, done.attempt, till.available()) == ("succeeded", 2, 0)
    assert till.journal("refund_return") == []


def test_s36_a_refund_that_a_restored_database_does_not_know_is_taken_as_made_elsewhere(till: Till) -> None:
    topup = till.bought()
    done = refund(till, topup.id, 500)
    with till.hub.database.write():
        till.hub.database.execute("DELETE FROM refunds")
        ledger.return_refund(till.hub.database, done.id, till.now_ms)
    seen(till, topup.payment_intent)
    seen(till, topup.payment_intent)
    (found,) = refunds.of_topup(till.hub, topup.id)
    assert (found.origin, found.amount_minor, found.stripe_id) == ("stripe", 500, done.stripe_id)
    assert ledger.balances(till.hub.database, till.account_id).available_nano == 15_000_000 * MICRO


def test_a_refund_of_another_programs_payment_is_left_alone(till: Till) -> None:
    session = till.stripe.foreign_session(metadata={"shop": "mugs"})
    paid = till.stripe.pay(session)
    till.stripe.refund_in_dashboard(paid)
    seen(till, paid["id"])
    assert refunds.listing(till.hub) == []
    assert till.available() == 0


def test_a_refund_that_fails_is_told_once(till: Till) -> None:
    till.tells()
    topup = till.bought()
    till.stripe.refund_status = "pending"
    done = refund(till, topup.id)
    till.stripe.settle_refund(done.stripe_id or "", "failed")
    for _ in range(3):
        seen(till, topup.payment_intent)
    assert till.told() == ["refund_failed"]


# ---- the gateway's round


def test_one_refund_that_cannot_be_read_does_not_hold_up_the_others(till: Till) -> None:
    first, second = till.bought(), till.bought()
    till.stripe.refund_status = "pending"
    lost, kept = refund(till, first.id), refund(till, second.id)
    with till.hub.database.write():
        till.hub.database.execute("UPDATE refunds SET stripe_id = 're_gone' WHERE id = ?", (lost.id,))
    till.stripe.settle_refund(kept.stripe_id or "", "succeeded")
    till.later(HOUR)
    till.work()
    states = {one.id: one.state for one in refunds.listing(till.hub)}
    assert states == {lost.id: "pending", kept.id: "succeeded"}
    till.stripe.broken.clear()


def test_while_stripe_is_asked_for_a_refund_the_gateway_does_not_ask_too(till: Till) -> None:
    topup = till.bought()
    due: list[list[str]] = []

    def look(_: Asked) -> None:
        due.append(refund_store.due(till.hub.database, till.now_ms, 10))
        till.hub.database.close()

    till.stripe.before = look
    refund(till, topup.id)
    assert due == [[]]


@pytest.mark.parametrize("fault", ["429", "drop_before", "401"])
def test_when_stripe_is_away_a_round_ends_at_the_first(till: Till, fault: str) -> None:
    till.stripe.refund_status = "pending"
    for _ in range(3):
        refund(till, till.bought().id)
    till.later(HOUR)
    before = len(till.stripe.asked)
    till.stripe.fault(fault, "/v1/refunds/*", times=100, method="GET")
    till.work()
    till.stripe.heal()
    assert len(till.stripe.asked) - before <= 3
    till.later(7 * HOUR)
    till.work()
    assert len(till.stripe.asked) - before >= 3
    assert till.available() == 0


def test_work_that_is_done_twice_at_once_counts_once(till: Till) -> None:
    topup = till.bought()
    till.spend(5_000_000)
    till.stripe.refund_in_dashboard(topup.payment_intent or "", 2000)

    def each(do: Callable[[], None]) -> None:
        together.wait()
        try:
            do()
        finally:
            till.hub.database.close()

    together = threading.Barrier(4)
    threads = [threading.Thread(target=each, args=(lambda: seen(till, topup.payment_intent),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert till.journal("clawback") == [-15_000_000, -5_000_000]
    assert (till.available(), till.debt()) == (-5_000_000, 5_000_000)


def test_t99_money_that_moves_where_the_clock_is_ahead_expires_nothing_early(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    expires_at_ms = till.now_ms + DAY
    ledger.grant(till.hub.database, till.account_id, 3 * MICRO, "soon", expires_at_ms, "", till.now_ms)
    monkeypatch.setattr(clock, "now_ms", lambda: till.now_ms + 2 * DAY)
    bought = till.bought(2000)
    refund(till, bought.id, 500)
    till.stripe.refund_in_dashboard(bought.payment_intent or "", 300)
    seen(till, bought.payment_intent)
    assert till.available() == 12_000_003
    till.stripe.dispute(bought.payment_intent or "")
    disputes.reconcile_payment(till.hub, till.api, bought.payment_intent or "")
    assert till.available() == 3
    assert till.journal("expiry") == []
