"""Automatic recharges against the fake Stripe: the numbered scenarios of the notes on payments, and every brake.

The real client over HTTP, both databases; the ledger is added up whenever a balance is asked for.
"""

import json
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.fakes.stripe import FakeStripe
from tests.fakes.till import DAY, HOUR, SECOND, Till
from tokenhub.accounts.accounts import AccountStatus
from tokenhub.billing import payments
from tokenhub.billing.payments import PaymentFacts
from tokenhub.billing.recharges import Decline
from tokenhub.billing.topups import TopupState
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.ids import new_id
from tokenhub.operations import accounts
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import charging, crediting, disputes, events, finding, recharges, refunds, topups
from tokenhub.operations.payments.recharges import State
from tokenhub.operations.payments.stripe_api import StripeApi, StripeError, StripeUnknown
from tokenhub.store import recharges as store
from tokenhub.store import topups as topup_store
from tokenhub.store.topups import Topup

PAYMENTS = "/v1/payment_intents"
CUSTOMERS = "/v1/customers"
USD = 10**9


@pytest.fixture
def till(paying_hub: Hub, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> Till:
    """An account that has spent all but four dollars, and recharges 20 below 5, with a saved card."""
    till = Till(paying_hub, stripe, monkeypatch)
    till.bought(2000, save_card=True)
    till.spend(16_000_000)
    recharges.configure(till.hub, till.account_id, 2000, 5 * USD, 10_000)
    return till


def state(till: Till) -> State:
    found = recharges.state(till.hub, till.account_id)
    assert found is not None
    return found


def made(till: Till) -> list[Topup]:
    """The recharges there were, the oldest first."""
    found = [one for one in topups.listing(till.hub, till.account_id, 1000) if one.kind == "recharge"]
    return sorted(found, key=lambda one: one.created_at_ms)


def work(till: Till) -> None:
    for step in (recharges.work, recharges.begin):
        with suppress(StripeError):
            step(till.hub, till.api, till.now_ms)


def by(till: Till, ms: int) -> None:
    """Let time pass, and the gateway work in it every few minutes."""
    end_ms = till.now_ms + ms
    while till.now_ms < end_ms:
        till.later(min(10 * 60 * SECOND, end_ms - till.now_ms))
        work(till)


def at_once(till: Till, count: int, do: Callable[[], object]) -> None:
    together = threading.Barrier(count)

    def each() -> None:
        together.wait()
        try:
            do()
        finally:
            till.hub.database.close()

    threads = [threading.Thread(target=each) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_low_balance_is_recharged_with_the_saved_card_once(till: Till) -> None:
    assert (state(till).card, state(till).month_total_minor) == ("visa 4242", 0)
    for _ in range(3):
        work(till)
    assert till.available() == 24_000_000
    (topup,) = made(till)
    assert (topup.state, topup.recharge_of, topup.paid_total_minor) == ("paid", None, 2000)
    assert till.stripe.effects(PAYMENTS) == 1
    assert (state(till).month_total_minor, state(till).under_way) == (2000, None)
    asked = next(one for one in till.stripe.asked if one.path == PAYMENTS)
    assert asked.key == f"th:{till.hub.instance}:{topup.id}:pi"
    assert asked.params["off_session"] in ("true", True)


def test_what_requests_hold_is_not_spent_yet(till: Till) -> None:
    till.bought(2000)
    request = till.hold(20_000_000)
    assert till.available() == 4_000_000
    work(till)
    assert made(till) == []
    till.settle(request, 20_000_000)
    work(till)
    assert till.available() == 24_000_000


def test_s34_two_hundred_triggers_at_once_make_one_payment(till: Till) -> None:
    at_once(till, 20, lambda: [recharges.attempt(till.hub, till.api, till.account_id) for _ in range(10)])
    assert till.stripe.effects(PAYMENTS) == 1
    assert till.available() == 24_000_000
    assert len(made(till)) == 1


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "truncate", "garbage", "500", "409", "429"])
def test_s34_an_outcome_that_is_unknown_is_asked_for_again_and_charged_once(till: Till, fault: str) -> None:
    till.stripe.fault(fault, PAYMENTS, times=3, method="POST")
    work(till)
    till.stripe.heal()
    (waiting,) = made(till)
    assert (waiting.state, waiting.recharge_of) == ("new", till.account_id)
    assert state(till).under_way == waiting.id
    till.later(HOUR)
    at_once(till, 4, lambda: work(till))
    assert till.stripe.effects(PAYMENTS) == 1
    assert till.available() == 24_000_000
    assert [one.state for one in made(till)] == ["paid"]


def test_s34_a_stored_500_behind_which_the_card_was_charged_is_found_by_its_payment(till: Till) -> None:
    till.stripe.fault("stored_500", PAYMENTS, method="POST")
    work(till)
    by(till, 22 * HOUR)
    assert [one.state for one in made(till)] == ["new"]
    till.later(8 * HOUR)
    work(till)
    assert [one.state for one in made(till)] == ["paid"]
    assert till.stripe.effects(PAYMENTS) == 1
    assert till.available() == 24_000_000


def test_a_charge_that_never_arrived_is_given_up_after_23_hours_and_another_made(till: Till) -> None:
    till.stripe.fault("stored_500_empty", PAYMENTS, method="POST")
    work(till)
    by(till, 30 * HOUR)
    first, second = made(till)[:2]
    assert (first.state, second.state) == ("abandoned", "paid")
    assert till.available() == 24_000_000
    assert state(till).month_total_minor == 2000


def test_a_charge_without_answer_is_not_repeated_once_it_was_turned_off(till: Till) -> None:
    till.stripe.fault("drop_before", PAYMENTS, times=3, method="POST")
    work(till)
    recharges.off(till.hub, till.account_id)
    by(till, 2 * HOUR)
    assert [one.state for one in made(till)] == ["abandoned"]
    assert till.stripe.effects(PAYMENTS) == 0
    assert till.available() == 4_000_000
    assert state(till).month_total_minor == 0


def test_a_charge_that_was_given_up_is_searched_for_although_it_would_be_made_again(till: Till) -> None:
    till.stripe.fault("drop_before", PAYMENTS, times=3, method="POST")
    work(till)
    recharges.off(till.hub, till.account_id)
    by(till, 2 * HOUR)
    (topup,) = made(till)
    assert topup.state == "abandoned"
    recharges.resume(till.hub, till.account_id)
    till.stripe.charge_saved_card(json.loads(topup.params))
    assert recharges.reconcile(till.hub, till.api, topup.id).state == "paid"
    assert till.available() == 24_000_000


def test_a_charge_of_another_installation_is_none_of_ours(till: Till) -> None:
    work(till)
    (topup,) = made(till)
    params = json.loads(topup.params)
    for name in (topup.id, new_id("topup", till.now_ms)):
        metadata = {**params["metadata"], "tokenhub_instance": "inst_other", "tokenhub_topup": name}
        other = till.stripe.charge_saved_card({**params, "metadata": metadata})
        assert finding.of_payment(till.hub, till.api, other["id"]) == finding.NOT_OURS
    assert made(till) == [topup]


def test_a_charge_without_answer_that_went_through_is_credited_although_it_was_turned_off(till: Till) -> None:
    till.stripe.fault("drop_after", PAYMENTS, times=1, method="POST")
    till.stripe.fault("drop_before", PAYMENTS, times=2, method="POST")
    work(till)
    recharges.off(till.hub, till.account_id)
    by(till, HOUR)
    assert [one.state for one in made(till)] == ["paid"]
    assert till.available() == 24_000_000


@pytest.mark.parametrize(
    ("status", "decline_code", "reason"),
    [
        ("requires_payment_method", "insufficient_funds", "card_declined insufficient_funds"),
        ("requires_action", None, "authentication_required"),
    ],
)
def test_a_charge_without_answer_that_was_declined_says_why_when_it_is_found(
    till: Till, status: str, decline_code: str | None, reason: str
) -> None:
    till.stripe.decline_next("card_declined", decline_code)
    till.stripe.fault("drop_after", PAYMENTS, times=1, method="POST")
    till.stripe.fault("drop_before", PAYMENTS, times=2, method="POST")
    work(till)
    recharges.off(till.hub, till.account_id)
    (declined,) = (one for one in till.stripe.of("payment_intent") if one["status"] != "succeeded")
    declined["status"] = status
    by(till, HOUR)
    assert [(one.state, one.reason) for one in made(till)] == [("failed", reason)]


def test_a_no_that_is_heard_after_the_charge_was_credited_or_has_ended_counts_for_nothing(till: Till) -> None:
    decline = Decline("card_declined")
    work(till)
    till.spend(20_000_000)
    till.later(2 * HOUR)
    till.stripe.decline_next("card_declined")
    work(till)
    paid, failed = made(till)
    for ended in (paid, failed):
        assert charging.end(till.hub, ended.id, TopupState.REJECTED, "too late", decline) == ended
    assert (paid.state, failed.state, state(till).declines) == ("paid", "failed", 1)
    assert state(till).month_total_minor == 2000


def test_a_charge_that_another_process_credits_while_its_answer_is_lost_needs_no_look_any_more(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.stripe.fault("drop_before", PAYMENTS, times=3, method="POST")
    work(till)
    till.later(120 * SECOND)
    create = StripeApi.create_payment

    def heard_elsewhere(api: StripeApi, params: dict[str, str], key: str) -> PaymentFacts:
        finding.of_payment(till.hub, till.api, create(api, params, key).id)
        raise StripeUnknown("The answer was lost.")

    monkeypatch.setattr(StripeApi, "create_payment", heard_elsewhere)
    recharges.work(till.hub, till.api, till.now_ms)
    (topup,) = made(till)
    assert (topup.state, topup.next_poll_at_ms) == ("paid", None)


def test_a_charge_that_is_turned_off_while_it_is_looked_for_is_not_given_up_unsearched(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.stripe.fault("drop_after", PAYMENTS, times=1, method="POST")
    till.stripe.fault("drop_before", PAYMENTS, times=2, method="POST")
    work(till)
    till.later(2 * HOUR)
    is_wanted = charging.is_wanted

    def turned_off_after(hub: Hub, topup: Topup) -> bool:
        found = is_wanted(hub, topup)
        recharges.off(hub, till.account_id)
        return found

    monkeypatch.setattr(charging, "is_wanted", turned_off_after)
    recharges.work(till.hub, till.api, till.now_ms)
    assert [one.state for one in made(till)] == ["paid"]
    assert (till.available(), till.stripe.effects(PAYMENTS)) == (24_000_000, 1)


def test_a_recharge_that_is_credited_is_not_looked_at_for_ever(till: Till) -> None:
    work(till)
    (paid,) = made(till)
    with till.hub.database.write():
        topup_store.update(till.hub.database, paid.id, till.now_ms, {"next_poll_at": till.now_ms})
    recharges.work(till.hub, till.api, till.now_ms)
    (looked_at,) = made(till)
    assert (looked_at.state, looked_at.lot_id, looked_at.next_poll_at_ms) == ("paid", paid.lot_id, None)


def test_a_recharge_that_is_credited_while_it_is_read_is_not_looked_at_again(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = crediting.settle

    def overtaken(hub: Hub, topup_id: str, *, payment: PaymentFacts) -> Topup:
        read = topup_store.get(hub.database, topup_id)
        settle(hub, topup_id, payment=payment)
        return read

    monkeypatch.setattr(crediting, "settle", overtaken)
    work(till)
    (topup,) = made(till)
    assert (topup.state, topup.recharge_of, topup.next_poll_at_ms) == ("paid", None, None)


@pytest.mark.parametrize("changed", ["disabled", "paid by hand", "another card"])
def test_a_charge_without_answer_is_not_repeated_when_it_would_not_be_begun_any_more(till: Till, changed: str) -> None:
    till.stripe.fault("drop_before", PAYMENTS, times=3, method="POST")
    work(till)
    if changed == "disabled":
        accounts.set_status(till.hub, till.account_id, AccountStatus.DISABLED)
    elif changed == "paid by hand":
        till.bought(100)
    else:
        till.bought(50, save_card=True)
    by(till, HOUR - SECOND)
    assert [one.state for one in made(till)] == ["new"]
    assert till.stripe.effects(PAYMENTS) == 0
    by(till, HOUR)
    assert made(till)[0].state == "abandoned"
    charged = [one.customer for one in made(till) if one.state == "paid"]
    assert len(charged) == (changed == "another card")
    assert state(till).month_total_minor == 2000 * len(charged)


def test_s35_a_card_that_is_declined_is_tried_once_an_hour_and_three_times(till: Till) -> None:
    for _ in range(10):
        till.stripe.decline_next("card_declined", "insufficient_funds")
    for _ in range(100):
        work(till)
        till.later(30 * SECOND)
    assert till.stripe.effects(PAYMENTS) == 1
    assert (made(till)[0].state, made(till)[0].recharge_of) == ("failed", None)
    by(till, 10 * HOUR)
    assert till.stripe.effects(PAYMENTS) == 3
    found = state(till)
    assert (found.state, found.declines) == ("suspended", 3)
    assert "insufficient_funds" in found.reason
    assert found.month_total_minor == 0
    assert till.available() == 4_000_000


@pytest.mark.parametrize(
    ("code", "decline_code", "advice"),
    [
        ("authentication_required", None, None),
        ("card_declined", "authentication_required", None),
        ("card_declined", "lost_card", None),
        ("card_declined", "stolen_card", None),
        ("card_declined", "fraudulent", None),
        ("card_declined", "revocation_of_authorization", None),
        ("card_declined", "generic_decline", "do_not_try_again"),
    ],
)
def test_s35_a_card_that_must_not_be_tried_again_is_tried_once(
    till: Till, code: str, decline_code: str | None, advice: str | None
) -> None:
    till.stripe.decline_next(code, decline_code, advice)
    by(till, 5 * HOUR)
    assert till.stripe.effects(PAYMENTS) == 1
    assert state(till).state == "suspended"
    assert till.available() == 4_000_000


def test_s35_a_cap_of_50_allows_two_recharges_of_20_in_a_month(till: Till) -> None:
    recharges.configure(till.hub, till.account_id, 2000, 100 * USD, 5000)
    by(till, 8 * DAY)
    assert till.stripe.effects(PAYMENTS) == 2
    assert state(till).month_total_minor == 4000
    by(till, 2 * DAY)
    assert till.stripe.effects(PAYMENTS) == 4
    assert state(till).month_total_minor == 4000
    assert till.available() == 84_000_000


def test_the_hour_is_kept_after_success_too(till: Till) -> None:
    recharges.configure(till.hub, till.account_id, 2000, 100 * USD, 10_000)
    by(till, HOUR - SECOND)
    assert till.stripe.effects(PAYMENTS) == 1
    by(till, HOUR)
    assert till.stripe.effects(PAYMENTS) == 2


def test_success_forgets_earlier_refusals(till: Till) -> None:
    recharges.configure(till.hub, till.account_id, 2000, 100 * USD, 50_000)
    for _ in range(2):
        till.stripe.decline_next("card_declined", "insufficient_funds")
    by(till, 2 * HOUR)
    assert state(till).declines == 2
    by(till, HOUR)
    assert state(till).declines == 0
    for _ in range(2):
        till.stripe.decline_next("card_declined", "insufficient_funds")
    by(till, 2 * HOUR)
    assert (state(till).state, state(till).declines) == ("on", 2)


def suspended(till: Till) -> None:
    till.stripe.decline_next("card_declined", "stolen_card")
    work(till)
    assert state(till).state == "suspended"


def test_a_top_up_by_hand_ends_a_suspension(till: Till) -> None:
    suspended(till)
    till.bought(100)
    assert (state(till).state, state(till).declines, state(till).reason) == ("on", 0, "")


def test_another_card_ends_a_suspension_and_pays_the_next(till: Till) -> None:
    suspended(till)
    before = state(till).payment_method
    till.bought(50, save_card=True)
    assert state(till).state == "on"
    assert state(till).payment_method != before
    by(till, HOUR)
    assert [one.state for one in made(till)] == ["failed", "paid"]


@pytest.mark.parametrize("card_first", [True, False])
def test_a_dispute_outlasts_a_suspension_about_the_card(till: Till, card_first: bool) -> None:
    (first,) = topups.listing(till.hub, till.account_id, 10)
    if card_first:
        suspended(till)
    disputes.reconcile(till.hub, till.api, till.stripe.dispute(first.payment_intent or "")["id"])
    recharges.card_detached(till.hub, state(till).payment_method or "")
    charges = till.stripe.effects(PAYMENTS)
    till.bought(100, save_card=True)
    assert (state(till).state, state(till).reason) == ("suspended", "a payment is disputed")
    by(till, 3 * HOUR)
    assert till.stripe.effects(PAYMENTS) == charges
    assert recharges.resume(till.hub, till.account_id).state == "on"
    by(till, HOUR)
    assert till.stripe.effects(PAYMENTS) == charges + 1


def test_a_card_that_went_with_its_customer_suspends_until_another_is_saved(till: Till) -> None:
    """A customer who was deleted at Stripe is made anew for a top-up that nobody may ever pay."""
    till.tells()
    customer = json.loads(till.link(2000, save_card=True).params)["customer"]
    del till.stripe.objects[customer]
    link = till.link(2000, save_card=True)
    assert (state(till).state, state(till).reason, state(till).card) == ("suspended", "the card was removed", "")
    assert till.told() == ["recharge_suspended"]
    till.stripe.pay(link.session_id or "")
    topups.reconcile(till.hub, till.api, link.id)
    assert state(till).state == "on"
    assert state(till).card


def test_a_customer_without_a_card_suspends_nothing_when_he_is_gone(till: Till) -> None:
    other = till.account("other")
    customer = recharges.customer_for(till.hub, till.api, other)
    recharges.configure(till.hub, other, 2000, 5 * USD, 10_000)
    assert recharges.customer_for(till.hub, till.api, other, gone=customer) != customer
    found = recharges.state(till.hub, other)
    assert found is not None
    assert found.state == "on"


def warned(till: Till, topup: Topup) -> None:
    """The card's issuer warns of a payment, and it is noticed."""
    warning = payments.event_facts(till.stripe.warn_of_fraud(topup.payment_intent or ""))
    events.receive(till.hub, warning, "webhook")
    events.work_inbox(till.hub, till.api)
    till.stripe.broken.clear()  # The description that is there does not have a warning.


def test_a_warning_of_fraud_suspends_until_a_person_resumes(till: Till) -> None:
    (first,) = topups.listing(till.hub, till.account_id, 10)
    warned(till, first)
    till.bought(50, save_card=True)
    by(till, HOUR)
    assert (state(till).state, state(till).reason) == ("suspended", "a payment is suspected of fraud")
    assert till.stripe.effects(PAYMENTS) == 0
    recharges.resume(till.hub, till.account_id)
    work(till)
    assert till.stripe.effects(PAYMENTS) == 1


@pytest.mark.parametrize("why", ["warning", "open dispute", "lost dispute"])
@pytest.mark.parametrize("off_first", [True, False])
def test_off_and_on_again_is_no_way_out_of_a_dispute_or_a_warning(till: Till, why: str, off_first: bool) -> None:
    account = till.account_id
    (first,) = topups.listing(till.hub, account, 10)
    if off_first:
        recharges.off(till.hub, account)
    if why == "warning":
        warned(till, first)
    else:
        dispute = till.stripe.dispute(first.payment_intent or "")
        disputes.reconcile(till.hub, till.api, dispute["id"])
        if why == "lost dispute":
            till.later(SECOND)
            till.stripe.set_dispute(dispute["id"], "lost")
            disputes.reconcile(till.hub, till.api, dispute["id"])
    reason = "a payment is suspected of fraud" if why == "warning" else "a payment is disputed"
    for _ in range(2):
        off = recharges.off(till.hub, account)
        assert (off.state, off.reason) == ("off", reason)
        on = recharges.configure(till.hub, account, 2000, 5 * USD, 10_000)
        assert (on.state, on.reason) == ("suspended", reason)
    by(till, 2 * HOUR)
    assert till.stripe.posts(PAYMENTS) == 0
    recharges.off(till.hub, account)
    resumed = recharges.resume(till.hub, account)
    assert (resumed.state, resumed.reason) == ("on", "")
    recharges.off(till.hub, account)
    assert recharges.configure(till.hub, account, 2000, 5 * USD, 10_000).state == (
        "suspended" if why == "open dispute" else "on"
    )


def test_off_and_on_again_ends_a_suspension_about_the_card(till: Till) -> None:
    suspended(till)
    off = recharges.off(till.hub, till.account_id)
    assert (off.state, off.reason, off.declines) == ("off", "", 0)
    assert recharges.configure(till.hub, till.account_id, 2000, 5 * USD, 10_000).state == "on"


@pytest.mark.parametrize("before", ["never on", "off"])
def test_what_is_turned_on_while_a_payment_is_disputed_is_suspended(till: Till, before: str) -> None:
    account = till.account_id
    recharges.off(till.hub, account)
    if before == "never on":
        with till.hub.database.write():
            till.hub.database.execute("DELETE FROM recharges")
    (first,) = topups.listing(till.hub, account, 10)
    dispute = till.stripe.dispute(first.payment_intent or "")
    disputes.reconcile(till.hub, till.api, dispute["id"])
    assert recharges.configure(till.hub, account, 2000, 5 * USD, 10_000).reason == "a payment is disputed"
    by(till, HOUR)
    assert till.stripe.effects(PAYMENTS) == 0
    assert recharges.resume(till.hub, account).state == "on"
    assert recharges.configure(till.hub, account, 3000, 5 * USD, 10_000).state == "on"


@pytest.mark.parametrize("where", ["here", "in the dashboard"])
def test_what_is_sent_back_is_not_charged_to_the_card_again(till: Till, where: str) -> None:
    till.tells()
    work(till)
    (paid,) = made(till)
    till.later(2 * HOUR)
    if where == "here":
        refunds.request(till.hub, paid.id)
    else:
        till.stripe.refund_in_dashboard(paid.payment_intent or "")
        refunds.reconcile_payment(till.hub, till.api, paid.payment_intent or "")
    by(till, 2 * HOUR)
    assert (till.available(), till.stripe.effects(PAYMENTS)) == (4_000_000, 1)
    assert (state(till).state, state(till).reason) == ("suspended", "a payment was refunded")
    assert till.told() == ["recharge_suspended"]
    till.bought(50)
    by(till, HOUR)
    assert till.stripe.effects(PAYMENTS) == 2


@pytest.mark.parametrize("end", ["refused", "failed", "failed in the dashboard"])
def test_a_refund_that_comes_to_nothing_suspends_nothing(till: Till, end: str) -> None:
    work(till)
    (paid,) = made(till)
    till.later(2 * HOUR)
    if end == "refused":
        till.stripe.objects[paid.charge_id or ""]["status"] = "pending"
        assert refunds.request(till.hub, paid.id).state == "rejected"
    else:
        till.stripe.refund_status = "pending"
        if end == "failed":
            refunds.request(till.hub, paid.id)
        else:
            till.stripe.refund_in_dashboard(paid.payment_intent or "")
        refunds.reconcile_payment(till.hub, till.api, paid.payment_intent or "")
        assert state(till).state == "suspended"
        till.stripe.settle_refund(till.stripe.of("refund")[0], "failed")
        refunds.reconcile_payment(till.hub, till.api, paid.payment_intent or "")
    assert (till.available(), state(till).state, state(till).reason) == (24_000_000, "on", "")


@pytest.mark.parametrize("end", ["refused", "failed after more was spent"])
def test_a_refund_that_comes_to_nothing_suspends_nothing_however_low_the_balance(till: Till, end: str) -> None:
    other = till.bought(account_id=till.account("other"))
    refunds.request(till.hub, other.id)
    (first,) = topups.listing(till.hub, till.account_id, 10)
    if end == "refused":
        till.stripe.objects[first.charge_id or ""]["status"] = "pending"
        assert refunds.request(till.hub, first.id, 100).state == "rejected"
    else:
        till.stripe.refund_status = "pending"
        refund = refunds.request(till.hub, first.id, 100)
        assert (state(till).state, state(till).reason) == ("suspended", "a payment was refunded")
        till.spend(2_000_000)
        till.stripe.settle_refund(refund.stripe_id or "", "failed")
        refunds.reconcile(till.hub, till.api, refund.id)
    assert (state(till).state, state(till).reason) == ("on", "")
    work(till)
    assert till.stripe.effects(PAYMENTS) == 1


def test_a_refund_that_comes_to_nothing_leaves_what_another_has_suspended_since_the_last_top_up(till: Till) -> None:
    (first,) = topups.listing(till.hub, till.account_id, 10)

    def fails() -> None:
        till.stripe.refund_status = "pending"
        refund = refunds.request(till.hub, first.id, 100)
        till.stripe.settle_refund(refund.stripe_id or "", "failed")
        refunds.reconcile(till.hub, till.api, refund.id)

    refunds.request(till.hub, first.id, 100)
    fails()
    assert (state(till).state, state(till).reason) == ("suspended", "a payment was refunded")
    till.later(SECOND)
    till.bought(50)
    till.later(SECOND)
    fails()
    assert (state(till).state, state(till).reason) == ("on", "")


def test_a_refund_that_leaves_enough_suspends_nothing(till: Till) -> None:
    more = till.bought(2000)
    refunds.request(till.hub, more.id, 1900)
    assert (till.available(), state(till).state) == (5_000_000, "on")


def test_a_suspension_is_resumed_by_hand(till: Till) -> None:
    suspended(till)
    assert recharges.configure(till.hub, till.account_id, 3000, 5 * USD, 10_000).state == "suspended"
    assert recharges.resume(till.hub, till.account_id).state == "on"
    by(till, 2 * HOUR)
    assert till.available() == 34_000_000


def test_a_card_that_is_removed_at_stripe_suspends(till: Till) -> None:
    method = state(till).payment_method
    assert method is not None
    till.stripe.detach_card(method)
    for _ in range(2):
        recharges.card_detached(till.hub, method)
    assert (state(till).state, state(till).reason, state(till).card) == ("suspended", "the card was removed", "")
    by(till, 2 * HOUR)
    assert till.stripe.effects(PAYMENTS) == 0


def test_a_card_that_was_removed_unnoticed_is_refused_once(till: Till) -> None:
    till.stripe.detach_card(state(till).payment_method or "")
    by(till, 5 * HOUR)
    assert till.stripe.posts(PAYMENTS) == 1
    assert [one.state for one in made(till)] == ["rejected"]
    assert (state(till).state, state(till).month_total_minor) == ("suspended", 0)


@pytest.mark.parametrize("stop", ["off", "disabled", "no card", "enough"])
def test_nothing_is_bought_when_it_should_not_be(till: Till, stop: str) -> None:
    if stop == "off":
        assert recharges.off(till.hub, till.account_id).state == "off"
    elif stop == "disabled":
        accounts.set_status(till.hub, till.account_id, AccountStatus.DISABLED)
    elif stop == "no card":
        with till.hub.database.write():
            till.hub.database.execute("UPDATE customers SET payment_method = NULL")
    else:
        recharges.configure(till.hub, till.account_id, 2000, 4 * USD, 10_000)
    by(till, 2 * HOUR)
    assert recharges.attempt(till.hub, till.api, till.account_id) is None
    assert till.stripe.posts(PAYMENTS) == 0
    assert made(till) == []


@pytest.mark.parametrize(
    ("amount", "below", "cap"),
    [(0, 5 * USD, 100), (49, 5 * USD, 100), (2000, 0, 10_000), (2000, -1, 10_000), (2000, 5 * USD, 1999)],
)
def test_settings_that_cannot_be_are_refused(till: Till, amount: int, below: int, cap: int) -> None:
    with pytest.raises(InvalidRequest):
        recharges.configure(till.hub, till.account_id, amount, below, cap)
    assert state(till).amount_minor == 2000


def test_an_account_without_a_recharge_has_none_to_switch(till: Till) -> None:
    other = till.account("other")
    assert recharges.state(till.hub, other) is None
    for switch in (recharges.off, recharges.resume):
        with pytest.raises(NotFound):
            switch(till.hub, other)


def customer_for(till: Till, account_id: int) -> str:
    """Ask until there is an answer: Stripe refuses a second request with a key while the first is under way."""
    while True:
        with suppress(StripeUnknown):
            return recharges.customer_for(till.hub, till.api, account_id)


def test_an_account_has_one_customer_however_often_and_by_how_many_it_is_asked_for(till: Till) -> None:
    other = till.account("other")
    before = till.stripe.effects(CUSTOMERS)
    at_once(till, 4, lambda: customer_for(till, other))
    till.stripe.fault("drop_after", CUSTOMERS, times=1, method="POST")
    third = till.account("third")
    names = {recharges.customer_for(till.hub, till.api, third) for _ in range(3)}
    assert len(names) == 1
    assert till.stripe.effects(CUSTOMERS) - before == 2


def test_a_customer_that_is_made_meanwhile_does_not_take_the_place_of_one_with_a_card(till: Till) -> None:
    before = store.customer_of(till.hub.database, till.account_id)
    store.add_customer(till.hub.database, till.account_id, "cus_late", till.now_ms)
    assert store.customer_of(till.hub.database, till.account_id) == before


def test_a_declined_charge_that_is_heard_of_again_counts_once(till: Till) -> None:
    till.stripe.decline_next("card_declined", "insufficient_funds")
    work(till)
    (topup,) = made(till)
    assert topup.payment_intent is not None
    for _ in range(3):
        recharges.reconcile(till.hub, till.api, topup.id)
    assert state(till).declines == 1
    assert topup_store.get(till.hub.database, topup.id).next_poll_at_ms is None


def test_a_charge_that_is_declined_after_its_answer_was_lost_counts_once(till: Till) -> None:
    till.stripe.fault("drop_after", PAYMENTS, times=3, method="POST")
    till.stripe.decline_next("card_declined", "insufficient_funds")
    work(till)
    till.stripe.heal()
    by(till, HOUR - 60 * SECOND)
    assert [one.state for one in made(till)] == ["failed"]
    assert state(till).declines == 1
    assert till.stripe.effects(PAYMENTS) == 1


def test_one_account_that_cannot_be_charged_does_not_hold_up_the_others(till: Till) -> None:
    other = till.account("other")
    till.bought(2000, save_card=True, account_id=other)
    till.spend(16_000_000, account_id=other)
    recharges.configure(till.hub, other, 2000, 5 * USD, 10_000)
    with till.hub.database.write():
        till.hub.database.execute(
            "UPDATE customers SET payment_method = 'pm_gone' WHERE account_id = ?", (till.account_id,)
        )
    work(till)
    assert state(till).state == "suspended"
    assert till.available(other) == 24_000_000
    till.stripe.broken.clear()


def test_refused_cards_are_told_each_time_and_the_suspension_last(till: Till) -> None:
    till.tells()
    for _ in range(3):
        till.stripe.decline_next("card_declined", "insufficient_funds")
    by(till, 6 * HOUR)
    assert till.told() == ["card_declined", "card_declined", "recharge_suspended"]
    recharges.resume(till.hub, till.account_id)
    recharges.card_detached(till.hub, state(till).payment_method or "")
    assert till.told()[3:] == ["recharge_suspended"]
