"""Buying credit, from the intent to the lot: the numbers in the names are rows of Stripe's list of attacks."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.fakes.stripe import FakeStripe
from tests.fakes.stripe import api as stripe_rules
from tokenhub import clock
from tokenhub.billing.topups import next_poll_ms
from tokenhub.errors import InvalidRequest, NotFound, SetupError
from tokenhub.operations import accounts, ledger, secrets
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import cards, connection, crediting, topups, work
from tokenhub.operations.payments.stripe_api import StripeApi, StripeAuth, StripeRefused, StripeUnknown
from tokenhub.operations.payments.topups import Topup
from tokenhub.store import audit, recharges
from tokenhub.store import topups as store

USD = 10**9
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SESSIONS = "/v1/checkout/sessions"

Move = Callable[[int], None]


@pytest.fixture(autouse=True)
def books_add_up(paying_hub: Hub) -> Iterator[None]:
    yield
    assert audit.verify(paying_hub.database) == []


def balance(hub: Hub, account_id: int) -> int:
    return accounts.state(hub, account_id).available_nano


def session_of(topup: Topup) -> str:
    assert topup.session_id is not None
    return topup.session_id


def with_rate(hub: Hub, rate: float) -> Hub:
    from dataclasses import replace

    return replace(hub, settings=replace(hub.settings, stripe_cny_rate=rate))


# Creating


def test_a_link_is_made_and_its_payment_is_credited(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    assert (topup.state, topup.url is not None, topup.credit_nano) == ("open", True, 20 * USD)
    assert topups.reconcile(paying_hub, api, topup.id).state == "open"
    payment = stripe.pay(session_of(topup))
    paid = topups.reconcile(paying_hub, api, topup.id)
    assert (paid.state, paid.payment_intent, paid.charge_id) == ("paid", payment["id"], payment["latest_charge"])
    assert (paid.paid_amount_minor, paid.paid_total_minor) == (2000, 2000)
    assert balance(paying_hub, account_id) == 20 * USD
    assert topups.reconcile(paying_hub, api, topup.id) == paid
    assert balance(paying_hub, account_id) == 20 * USD


def test_the_session_is_asked_for_as_stripe_wants_it(paying_hub: Hub, account_id: int, stripe: FakeStripe) -> None:
    topup = topups.create(paying_hub, account_id, 14200, "cny", ["alipay", "wechat_pay"])
    asked = next(one for one in stripe.asked if one.path == SESSIONS)
    assert asked.key == f"th:{paying_hub.instance}:{topup.id}:s1"
    session = stripe.objects[session_of(topup)]
    assert (session["currency"], session["amount_total"], session["mode"]) == ("cny", 14200, "payment")
    assert session["client_reference_id"] == topup.id
    assert session["allowed_payment_method_types"] == ["alipay", "wechat_pay"]
    assert session["metadata"]["credit_micro"] == "20000000"
    assert session["metadata"]["rate"] == "7100000"
    assert session["adaptive_pricing"] == {"enabled": False}
    assert topup.offered == ("alipay", "wechat_pay")


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        (2000, "jpy"),
        (20.0, "usd"),
        (-2000, "usd"),
        (0, "usd"),
        (49, "usd"),
        (100_000_000, "usd"),
        (999, "cny"),
        (True, "usd"),
        (2000, "USD"),
    ],
)
def test_s11_an_amount_or_currency_that_cannot_be_is_refused_before_stripe_is_asked(
    paying_hub: Hub, account_id: int, stripe: FakeStripe, amount: int, currency: str
) -> None:
    with pytest.raises(InvalidRequest):
        topups.create(paying_hub, account_id, amount, currency)
    assert stripe.posts() == 0
    assert topups.listing(paying_hub) == []


@pytest.mark.parametrize("amount", [50, 99_999_999])
def test_s11_the_smallest_and_the_largest_amount_are_taken(paying_hub: Hub, account_id: int, amount: int) -> None:
    assert topups.create(paying_hub, account_id, amount, "usd").state == "open"


def test_the_operators_own_limits_bind(paying_hub: Hub, account_id: int) -> None:
    from dataclasses import replace

    settings = replace(paying_hub.settings, topup_min_usd=5.0, topup_max_usd=100.0)
    hub = replace(paying_hub, settings=settings)
    for amount, currency in ((499, "usd"), (10_001, "usd"), (3549, "cny"), (71_001, "cny")):
        with pytest.raises(InvalidRequest, match="top-up buys at"):
            topups.check(hub, amount, currency)
    for amount, currency in ((500, "usd"), (10_000, "usd"), (3550, "cny"), (71_000, "cny")):
        assert topups.check(hub, amount, currency).credit_nano


def test_an_unknown_account_and_an_unknown_method_are_refused(
    paying_hub: Hub, account_id: int, stripe: FakeStripe
) -> None:
    with pytest.raises(NotFound):
        topups.create(paying_hub, 999, 2000, "usd", save_card=True)
    with pytest.raises(InvalidRequest, match="no way to pay"):
        topups.create(paying_hub, account_id, 2000, "usd", ["cash"])
    with pytest.raises(InvalidRequest, match="Only a card"):
        topups.create(paying_hub, account_id, 2000, "usd", ["alipay"], save_card=True)
    assert stripe.posts() == 0


def test_without_a_key_nothing_can_be_bought(paying_hub: Hub, account_id: int, stripe: FakeStripe) -> None:
    secrets.remove(paying_hub, "stripe.secret_key")
    with pytest.raises(SetupError, match=r"config set stripe\.secret_key"):
        topups.create(paying_hub, account_id, 2000, "usd")
    work.tick(paying_hub, clock.now_ms())
    assert stripe.posts() == 0


def test_s38_a_method_that_is_not_offered_leaves_nothing_open(
    paying_hub: Hub, account_id: int, stripe: FakeStripe
) -> None:
    stripe.methods_offered = ["card"]
    with pytest.raises(InvalidRequest, match="not offered: alipay"):
        topups.create(paying_hub, account_id, 2000, "usd", ["alipay", "card"])
    (topup,) = topups.listing(paying_hub)
    assert (topup.state, topup.url, topup.reason) == ("expired", None, "not offered: alipay")
    assert stripe.sessions() == []
    assert balance(paying_hub, account_id) == 0


def test_s38_a_link_that_could_not_be_withdrawn_is_withdrawn_later(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.methods_offered = ["card"]
    stripe.fault("drop_before", f"{SESSIONS}/*/expire", times=3)
    with pytest.raises(StripeUnknown):
        topups.create(paying_hub, account_id, 2000, "usd", ["alipay"])
    (topup,) = topups.listing(paying_hub)
    assert (topup.state, topup.url) == ("open", None)
    assert topups.reconcile(paying_hub, api, topup.id).state == "expired"
    assert stripe.sessions() == []


def test_when_nothing_is_named_whatever_is_offered_will_do(
    paying_hub: Hub, account_id: int, stripe: FakeStripe
) -> None:
    stripe.methods_offered = ["card"]
    assert topups.create(paying_hub, account_id, 2000, "usd").offered == ("card",)


def test_a_refused_session_is_rejected_with_the_codes(paying_hub: Hub, account_id: int, stripe: FakeStripe) -> None:
    stripe.fault("401", SESSIONS)
    with pytest.raises(StripeAuth):
        topups.create(paying_hub, account_id, 2000, "usd")
    (topup,) = topups.listing(paying_hub)
    assert (topup.state, topup.next_poll_at_ms) == ("rejected", None)


def test_a_definite_no_is_kept_by_its_code(paying_hub: Hub, account_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stripe_rules.MINIMUM, "usd", 5000)
    with pytest.raises(StripeRefused, match="Stripe refused this"):
        topups.create(paying_hub, account_id, 2000, "usd")
    (topup,) = topups.listing(paying_hub)
    assert (topup.state, topup.reason, topup.next_poll_at_ms) == (
        "rejected",
        "amount_too_small line_items[0][price_data][unit_amount]",
        None,
    )


# Answers that are lost


@pytest.mark.parametrize("fault", ["drop_after", "truncate", "garbage", "empty", "stored_500", "slow_after"])
def test_s7_a_session_whose_answer_was_lost_is_found_at_once(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, fault: str
) -> None:
    stripe.fault(fault, SESSIONS, times=3, method="POST")
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    assert (topup.state, stripe.effects(SESSIONS)) == ("open", 1)
    stripe.pay(session_of(topup))
    assert topups.reconcile(paying_hub, api, topup.id).state == "paid"
    assert balance(paying_hub, account_id) == 20 * USD


@pytest.mark.parametrize("fault", ["drop_before", "500", "409", "stored_500_empty"])
def test_a_session_that_was_never_made_is_asked_for_again_with_the_same_key(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, fault: str, pass_time: Move
) -> None:
    stripe.fault(fault, SESSIONS, times=3, method="POST")
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    assert (topup.state, topup.session_id) == ("new", None)
    pass_time(60_001)
    work.tick(paying_hub, clock.now_ms())
    topup = topups.get(paying_hub, topup.id)
    assert len({one.key for one in stripe.asked if one.method == "POST"}) == 1
    if fault == "stored_500_empty":
        assert topup.state == "new"
        return
    assert (topup.state, stripe.effects(SESSIONS)) == ("open", 1)
    stripe.pay(session_of(topup))
    pass_time(15_000)
    work.tick(paying_hub, clock.now_ms())
    assert balance(paying_hub, account_id) == 20 * USD


def test_too_many_requests_are_no_answer(paying_hub: Hub, account_id: int, stripe: FakeStripe, pass_time: Move) -> None:
    stripe.fault("429", SESSIONS)
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    assert topup.state == "new"
    pass_time(60_001)
    work.tick(paying_hub, clock.now_ms())
    assert topups.get(paying_hub, topup.id).state == "open"


def test_a_key_that_is_refused_later_does_not_reject_what_may_be_open(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    stripe.fault("drop_before", SESSIONS, times=6)
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.heal()
    stripe.fault("401", SESSIONS)
    with pytest.raises(StripeAuth):
        topups.reconcile(paying_hub, api, topup.id)
    assert topups.get(paying_hub, topup.id).state == "new"
    assert topups.reconcile(paying_hub, api, topup.id).state == "open"


def test_after_23_hours_without_an_answer_the_session_is_looked_for_and_given_up(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    stripe.fault("drop_before", SESSIONS, times=100)
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    pass_time(23 * HOUR_MS)
    stripe.heal()
    posts = stripe.posts()
    assert topups.reconcile(paying_hub, api, topup.id).state == "abandoned"
    assert stripe.posts() == posts
    assert topups.reconcile(paying_hub, api, topup.id).state == "abandoned"


def test_a_session_that_is_found_after_23_hours_is_taken(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    stripe.fault("drop_after", SESSIONS, times=3, method="POST")
    stripe.fault("drop_before", SESSIONS, times=3, method="GET")
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    assert topup.session_id is None
    stripe.pay(stripe.sessions()[0])
    stripe.heal()
    topups.create(paying_hub, account_id, 1000, "usd")
    pass_time(23 * HOUR_MS)
    assert topups.reconcile(paying_hub, api, topup.id).state == "paid"
    assert balance(paying_hub, account_id) == 20 * USD


def test_s7_a_command_that_was_stopped_after_its_intent_is_finished_by_the_gateway(
    paying_hub: Hub, account_id: int, stripe: FakeStripe, pass_time: Move
) -> None:
    stripe.fault("drop_before", SESSIONS, times=6)
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.heal()
    pass_time(59_000)
    work.tick(paying_hub, clock.now_ms())
    assert topups.get(paying_hub, topup.id).state == "new"
    pass_time(2_000)
    work.tick(paying_hub, clock.now_ms())
    assert topups.get(paying_hub, topup.id).state == "open"


# Paying


def test_s1_many_who_notice_one_payment_at_once_credit_it_once(
    paying_hub: Hub, account_id: int, stripe: FakeStripe
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.pay(session_of(topup))

    def look(number: int) -> str:
        try:
            if number % 3 == 0:
                work.tick(paying_hub, clock.now_ms() + 60_000)
                return "paid"
            return topups.reconcile(paying_hub, connection.connect(paying_hub), topup.id).state
        finally:
            paying_hub.database.close()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(look, range(8))) == {"paid"}
    assert balance(paying_hub, account_id) == 20 * USD


def test_s4_money_under_way_credits_when_it_has_come(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.pay_pending(session_of(topup))
    assert topups.reconcile(paying_hub, api, topup.id).state == "processing"
    assert balance(paying_hub, account_id) == 0
    stripe.succeed_pending(session_of(topup))
    assert topups.reconcile(paying_hub, api, topup.id).state == "paid"
    assert balance(paying_hub, account_id) == 20 * USD


def test_money_that_did_not_come_fails(paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.pay_pending(session_of(topup))
    stripe.fail_pending(session_of(topup))
    assert topups.reconcile(paying_hub, api, topup.id).state == "failed"
    assert balance(paying_hub, account_id) == 0


def test_s9_less_than_was_asked_credits_what_came_and_needs_a_look(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.pay(session_of(topup), amount=1500)
    seen = topups.reconcile(paying_hub, api, topup.id)
    assert (seen.state, seen.credit_nano, seen.paid_total_minor) == ("review", 15 * USD, 1500)
    assert "15.00 of 20.00 USD" in seen.reason
    assert balance(paying_hub, account_id) == 15 * USD


def test_s9_another_currency_credits_nothing_and_needs_a_look(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    topup = topups.create(paying_hub, account_id, 14200, "cny")
    stripe.pay(session_of(topup), currency="usd")
    seen = topups.reconcile(paying_hub, api, topup.id)
    assert (seen.state, seen.lot_id) == ("review", None)
    assert "usd, not cny" in seen.reason
    assert (seen.payment_intent, seen.charge_id, seen.url) == (None, None, topup.url), "nothing of it is kept"
    assert balance(paying_hub, account_id) == 0


def test_s10_a_rate_that_changes_before_the_payment_changes_nothing(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    topup = topups.create(with_rate(paying_hub, 7.1), account_id, 14200, "cny")
    stripe.pay(session_of(topup))
    assert topups.reconcile(with_rate(paying_hub, 7.5), api, topup.id).state == "paid"
    assert balance(paying_hub, account_id) == 20 * USD


def test_s10_what_does_not_divide_is_rounded_down_to_a_micro_usd(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    topup = topups.create(with_rate(paying_hub, 7.1234), account_id, 2000, "cny")
    stripe.pay(session_of(topup))
    topups.reconcile(paying_hub, api, topup.id)
    assert balance(paying_hub, account_id) == 2_807_648_000


def test_s12_a_payment_after_the_link_expired_here_is_credited(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    pass_time(23 * HOUR_MS + 1000)
    assert topups.reconcile(paying_hub, api, topup.id).state == "expired"
    stripe.pay(session_of(topup), late=True)
    pass_time(11 * 60_000)
    work.tick(paying_hub, clock.now_ms())
    assert topups.get(paying_hub, topup.id).state == "paid"
    assert balance(paying_hub, account_id) == 20 * USD


def test_s12_two_links_that_are_both_paid_make_two_lots(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    bought = [topups.create(paying_hub, account_id, 2000, "usd") for _ in range(2)]
    for topup in bought:
        stripe.pay(session_of(topup))
        topups.reconcile(paying_hub, api, topup.id)
    assert balance(paying_hub, account_id) == 40 * USD
    assert len({store.get(paying_hub.database, topup.id).lot_id for topup in bought}) == 2


def test_s13_a_payment_that_nobody_waits_for_is_credited_within_15_seconds(
    paying_hub: Hub, account_id: int, stripe: FakeStripe, pass_time: Move
) -> None:
    for age_ms in (0, 3 * 60_000, 3 * HOUR_MS):
        before = balance(paying_hub, account_id)
        topup = topups.create(paying_hub, account_id, 2000, "usd")
        pass_time(age_ms)
        for _ in range(4):
            work.tick(paying_hub, clock.now_ms())
            pass_time(1000)
        stripe.pay(session_of(topup))
        for _ in range(7):
            pass_time(2000)
            work.tick(paying_hub, clock.now_ms())
        assert balance(paying_hub, account_id) == before + 20 * USD, age_ms


def test_s33_credit_bought_on_the_29th_of_february_expires_on_the_28th(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    paid_at_ms = 1_835_438_400_000
    assert clock.iso(paid_at_ms) == "2028-02-29T12:00:00Z"
    pass_time(paid_at_ms - clock.now_ms())
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.pay(session_of(topup), at_ms=paid_at_ms)
    paid = topups.reconcile(paying_hub, api, topup.id)
    assert paid.lot_id is not None
    expires_at_ms = ledger.lot(paying_hub, paid.lot_id).expires_at_ms
    assert expires_at_ms is not None
    assert clock.iso(expires_at_ms) == "2029-02-28T12:00:00Z"


def test_a_payment_that_is_found_after_a_year_is_usable_for_30_days(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.pay(session_of(topup))
    pass_time(400 * DAY_MS)
    paid = topups.reconcile(paying_hub, api, topup.id)
    assert paid.lot_id is not None
    expires_at_ms = ledger.lot(paying_hub, paid.lot_id).expires_at_ms
    assert expires_at_ms is not None
    assert 29 * DAY_MS < expires_at_ms - clock.now_ms() <= 30 * DAY_MS
    assert balance(paying_hub, account_id) == 20 * USD


def test_s37_a_coupon_for_everything_credits_nothing_and_needs_a_look(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.pay_nothing(session_of(topup))
    seen = topups.reconcile(paying_hub, api, topup.id)
    assert (seen.state, seen.reason) == ("review", "no payment was required")
    assert balance(paying_hub, account_id) == 0


def test_s37_tax_is_paid_but_buys_no_credit(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.pay(session_of(topup), tax=400)
    paid = topups.reconcile(paying_hub, api, topup.id)
    assert (paid.state, paid.paid_amount_minor, paid.paid_total_minor) == ("paid", 2000, 2400)
    assert balance(paying_hub, account_id) == 20 * USD


def test_a_link_expires(paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    stripe.expire(session_of(topup))
    seen = topups.reconcile(paying_hub, api, topup.id)
    assert (seen.state, seen.url) == ("expired", None)


def test_a_card_is_kept_with_the_payment_that_was_to_save_it(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd", save_card=True)
    assert topup.offered == ("card",)
    assert topup.customer is not None
    stripe.pay(session_of(topup))
    stripe.fault("drop_before", "/v1/payment_methods*", times=20)
    topups.reconcile(paying_hub, api, topup.id)
    customer = recharges.customer_of(paying_hub.database, account_id)
    assert customer is not None
    assert customer.customer == topup.customer
    assert customer.payment_method is not None
    assert store.get(paying_hub.database, topup.id).next_poll_at_ms is None


@pytest.mark.parametrize("missing", ["customer", "payment_method", "card"])
def test_a_payment_by_no_card_leaves_the_card_that_is_kept(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, missing: str
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd", save_card=True)
    stripe.pay(session_of(topup))
    paid = topups.reconcile(paying_hub, api, topup.id)
    kept = recharges.customer_of(paying_hub.database, account_id)
    payment = api.payment(paid.payment_intent or "")
    cards.keep_card(paying_hub, replace(payment, **{missing: None}))
    assert recharges.customer_of(paying_hub.database, account_id) == kept


def test_a_card_that_is_kept_late_does_not_take_the_place_of_one_that_was_saved_since(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    first, second = (topups.create(paying_hub, account_id, 2000, "usd", save_card=True) for _ in range(2))
    stripe.pay(session_of(first))
    session = api.session(session_of(first))
    payment = api.payment(session.payment_intent or "")
    crediting.settle(paying_hub, first.id, session=session, payment=payment)  # and the process dies
    pass_time(5_000)
    stripe.pay(session_of(second))
    topups.reconcile(paying_hub, api, second.id)
    kept = recharges.customer_of(paying_hub.database, account_id)
    assert kept is not None
    assert kept.payment_method not in (None, payment.payment_method)
    assert topups.reconcile(paying_hub, api, first.id).next_poll_at_ms is None
    assert recharges.customer_of(paying_hub.database, account_id) == kept


def test_a_card_that_is_kept_late_takes_the_place_of_an_older_one_whatever_was_paid_without_it_since(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    payments = []
    for save_card in (True, True, False):
        topup = topups.create(paying_hub, account_id, 2000, "usd", save_card=save_card)
        stripe.pay(session_of(topup))
        session = api.session(session_of(topup))
        payments.append(payment := api.payment(session.payment_intent or ""))
        crediting.settle(paying_hub, topup.id, session=session, payment=payment)
        pass_time(5_000)
    for payment in payments:
        cards.keep_card(paying_hub, payment)
    kept = recharges.customer_of(paying_hub.database, account_id)
    assert kept is not None
    assert kept.payment_method == payments[1].payment_method


def test_a_customer_that_was_deleted_at_stripe_is_made_anew(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.pay(session_of(topups.create(paying_hub, account_id, 2000, "usd", save_card=True)))
    gone = recharges.customer_of(paying_hub.database, account_id)
    assert gone is not None
    del stripe.objects[gone.customer]
    topup = topups.create(paying_hub, account_id, 2000, "usd", save_card=True)
    assert topup.customer not in (None, gone.customer)
    stripe.pay(session_of(topup))
    topups.reconcile(paying_hub, api, topup.id)
    kept = recharges.customer_of(paying_hub.database, account_id)
    assert kept is not None
    assert kept.customer == topup.customer
    assert kept.payment_method is not None
    refused = [one.reason for one in topups.listing(paying_hub, account_id) if one.state == "rejected"]
    assert refused == ["resource_missing customer"]


def test_a_top_up_is_found_by_the_start_of_its_id(paying_hub: Hub, account_id: int) -> None:
    first, second = (topups.create(paying_hub, account_id, 2000, "usd") for _ in range(2))
    assert topups.get(paying_hub, first.id[:-1]) == first
    with pytest.raises(InvalidRequest, match="Several"):
        topups.get(paying_hub, "topup_")
    for unknown in ("", "topup_ffff", "lot_1"):
        with pytest.raises(NotFound):
            topups.get(paying_hub, unknown)
    assert [topup.id for topup in topups.listing(paying_hub, account_id)] == [second.id, first.id]
    assert topups.listing(paying_hub, 999) == []


def test_one_top_up_that_cannot_be_looked_at_holds_up_no_other(
    paying_hub: Hub, account_id: int, stripe: FakeStripe, pass_time: Move
) -> None:
    bought = [topups.create(paying_hub, account_id, 2000, "usd") for _ in range(3)]
    for topup in bought:
        stripe.pay(session_of(topup))
    del stripe.objects[session_of(bought[0])]
    pass_time(6_000)
    work.tick(paying_hub, clock.now_ms())
    assert balance(paying_hub, account_id) == 40 * USD
    waiting = topups.get(paying_hub, bought[0].id)
    assert waiting.state == "open"
    assert waiting.next_poll_at_ms is not None
    assert waiting.next_poll_at_ms > clock.now_ms() + 20_000


def test_stripe_is_asked_less_often_when_it_says_so(
    paying_hub: Hub, account_id: int, stripe: FakeStripe, pass_time: Move
) -> None:
    bought = [topups.create(paying_hub, account_id, 2000, "usd") for _ in range(3)]
    pass_time(6_000)
    stripe.fault("429", times=1000)
    before = len(stripe.asked)
    for _ in range(5):
        work.tick(paying_hub, clock.now_ms())
        pass_time(2_000)
    assert len(stripe.asked) - before <= 6
    stripe.heal()
    for topup in bought:
        stripe.pay(session_of(topup))
    pass_time(31_000)
    work.tick(paying_hub, clock.now_ms())
    assert balance(paying_hub, account_id) == 60 * USD


def test_the_parameters_are_kept_as_they_were_posted(paying_hub: Hub, account_id: int) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    params = json.loads(topup.params)
    assert params["line_items"][0]["price_data"]["unit_amount"] == 2000
    assert params["expires_at"] == (topup.session_expires_at_ms or 0) // 1000


def test_a_link_is_looked_at_often_at_first_and_then_less() -> None:
    pauses = {age: (next_poll_ms("open", 0, DAY_MS, age) or 0) - age for age in (0, 119_999, 120_000, 899_999, 900_000)}
    assert pauses == {0: 5_000, 119_999: 5_000, 120_000: 15_000, 899_999: 15_000, 900_000: 60_000}
    assert next_poll_ms("expired", 0, DAY_MS, 3 * DAY_MS - 1) is not None
    assert next_poll_ms("expired", 0, DAY_MS, 3 * DAY_MS) is None
    assert next_poll_ms("paid", 0, DAY_MS, 0) is None


def test_a_gateway_looks_at_a_link_when_it_is_due_and_not_before(
    paying_hub: Hub, account_id: int, stripe: FakeStripe, pass_time: Move
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")

    def looks(step_ms: int) -> int:
        pass_time(step_ms)
        work.tick(paying_hub, clock.now_ms())
        return sum(asked.path == f"{SESSIONS}/{topup.session_id}" for asked in stripe.asked)

    assert [looks(step_ms) for step_ms in (0, 5_001, 0, 1_000, 4_001, 0)] == [0, 1, 1, 1, 2, 2]


def test_a_key_of_the_other_mode_is_refused(paying_hub: Hub) -> None:
    from tokenhub.errors import Conflict

    with pytest.raises(Conflict, match="test mode"):
        secrets.set(paying_hub, "stripe.secret_key", "sk_live_51FakeStripe0000000000000000")


def test_a_link_that_nobody_pays_costs_no_write_and_no_lock(paying_hub: Hub, account_id: int, api: StripeApi) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    for _ in range(3):
        assert topups.reconcile(paying_hub, api, topup.id) == topup
    with ThreadPoolExecutor(1) as pool, paying_hub.database.write():
        paying_hub.database.row(f"SELECT id FROM accounts{paying_hub.database.lock_clause}")
        other = pool.submit(lambda: (topups.reconcile(paying_hub, api, topup.id), paying_hub.database.close())[0])
        assert other.result(10) == topup


def test_a_session_that_stripe_does_not_have_is_not_looked_for_forever(
    paying_hub: Hub, account_id: int, stripe: FakeStripe, pass_time: Move
) -> None:
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    del stripe.objects[session_of(topup)]
    pass_time(3 * DAY_MS)
    work.tick(paying_hub, clock.now_ms())
    assert topups.get(paying_hub, topup.id).next_poll_at_ms is None


def test_when_stripe_is_away_a_round_ends_at_once(
    paying_hub: Hub, account_id: int, stripe: FakeStripe, pass_time: Move
) -> None:
    bought = [topups.create(paying_hub, account_id, 2000, "usd") for _ in range(5)]
    pass_time(6_000)
    stripe.fault("drop_before", times=1000)
    before = len(stripe.asked)
    work.tick(paying_hub, clock.now_ms())
    assert len(stripe.asked) - before <= 9
    stripe.heal()
    for topup in bought:
        stripe.pay(session_of(topup))
    pass_time(31_000)
    work.tick(paying_hub, clock.now_ms())
    assert balance(paying_hub, account_id) == 100 * USD


def test_s9_an_underpaid_link_whose_answer_was_lost_keeps_its_session(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    stripe.fault("drop_after", SESSIONS, times=3, method="POST")
    stripe.fault("drop_before", SESSIONS, times=3, method="GET")
    topup = topups.create(paying_hub, account_id, 2000, "usd")
    session = stripe.sessions()[0]
    stripe.pay(session, amount=1500)
    pass_time(23 * HOUR_MS)
    seen = topups.reconcile(paying_hub, api, topup.id)
    assert (seen.state, seen.session_id, seen.credit_nano) == ("review", session["id"], 15 * USD)
    assert balance(paying_hub, account_id) == 15 * USD
