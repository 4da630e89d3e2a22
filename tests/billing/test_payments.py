"""Facts of Stripe's objects: read from its own samples where they are there, and from small ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from tokenhub.billing import payments
from tokenhub.billing.payments import EVENT_TYPES, UnexpectedObject

SAMPLES = Path(__file__).parents[3] / "shared" / "specs" / "stripe-fixtures.json"

SESSION: dict[str, Any] = {
    "id": "cs_1",
    "object": "checkout.session",
    "status": "complete",
    "payment_status": "paid",
    "currency": "usd",
    "amount_subtotal": 2000,
    "amount_total": 1900,
    "total_details": {"amount_discount": 500, "amount_tax": 400, "amount_shipping": None},
    "client_reference_id": "topup_1",
    "metadata": {"rate": "1000000"},
    "payment_intent": {"id": "pi_1", "object": "payment_intent"},
    "customer": None,
    "livemode": False,
    "created": 1_800_000_000,
    "expires_at": 1_800_003_600,
    "url": None,
    "payment_method_types": ["card"],
}

PAYMENT: dict[str, Any] = {
    "id": "pi_1",
    "object": "payment_intent",
    "status": "succeeded",
    "currency": "usd",
    "amount": 2000,
    "amount_received": 2000,
    "livemode": False,
    "metadata": {},
    "created": 1_800_000_000,
    "customer": "cus_1",
    "payment_method": {"id": "pm_1"},
    "latest_charge": {
        "id": "ch_1",
        "status": "succeeded",
        "created": 1_800_000_060,
        "payment_method_details": {"type": "card", "card": {"brand": "visa", "last4": "4242"}},
    },
    "last_payment_error": None,
}


@pytest.mark.skipif(not SAMPLES.exists(), reason="Stripe's samples are not part of this repository")
def test_stripes_own_samples_are_read() -> None:
    samples = json.loads(SAMPLES.read_text(encoding="utf-8"))["resources"]
    session = payments.session_facts(samples["checkout.session"])
    assert (session.id, session.livemode) == (
        samples["checkout.session"]["id"],
        samples["checkout.session"]["livemode"],
    )
    payment = payments.payment_facts(samples["payment_intent"])
    assert (payment.id, payment.amount) == (samples["payment_intent"]["id"], samples["payment_intent"]["amount"])
    assert payments.refund_facts(samples["refund"]).status == "succeeded"
    assert payments.dispute_facts(samples["dispute"]).id == samples["dispute"]["id"]
    assert payments.event_facts(samples["event"]).object_id == samples["event"]["data"]["object"]["id"]


def test_a_session_is_read() -> None:
    facts = payments.session_facts(SESSION)
    assert (facts.payment_intent, facts.amount_subtotal, facts.amount_discount, facts.amount_total) == (
        "pi_1",
        2000,
        500,
        1900,
    )
    assert (facts.created_at_ms, facts.expires_at_ms) == (1_800_000_000_000, 1_800_003_600_000)
    assert facts.offered == ("card",)
    assert facts.metadata == {"rate": "1000000"}
    assert payments.session_facts({**SESSION, "total_details": None}).amount_discount == 0


def test_what_a_session_leaves_empty_is_read_as_absent() -> None:
    empty = {"metadata": None, "payment_method_types": None, "payment_intent": "", "amount_total": None}
    facts = payments.session_facts({**SESSION, **empty})
    assert (facts.metadata, facts.offered, facts.payment_intent, facts.amount_total) == ({}, (), None, None)


def test_a_payment_has_received_what_it_says_and_else_nothing() -> None:
    assert payments.payment_facts({**PAYMENT, "amount_received": 1999}).amount_received == 1999
    assert payments.payment_facts({**PAYMENT, "amount_received": None}).amount_received == 0


def test_a_refund_is_read() -> None:
    data = {
        "id": "re_1",
        "status": "failed",
        "amount": 500,
        "currency": "usd",
        "payment_intent": {"id": "pi_1"},
        "charge": "ch_1",
        "metadata": {"tokenhub_refund": "refund_1"},
        "created": 1_800_000_000,
        "failure_reason": "expired_or_canceled_card",
    }
    facts = payments.refund_facts(data)
    assert (facts.id, facts.status, facts.amount, facts.currency) == ("re_1", "failed", 500, "usd")
    assert (facts.payment_intent, facts.charge) == ("pi_1", "ch_1")
    assert facts.metadata == {"tokenhub_refund": "refund_1"}
    assert (facts.created_at_ms, facts.failure_reason) == (1_800_000_000_000, "expired_or_canceled_card")
    assert payments.refund_facts({**data, "status": None}).status is None


def test_a_payment_is_read_with_its_charge() -> None:
    facts = payments.payment_facts(PAYMENT)
    assert (facts.charge, facts.paid_at_ms, facts.card) == ("ch_1", 1_800_000_060_000, "visa 4242")
    assert (facts.customer, facts.payment_method) == ("cus_1", "pm_1")
    assert facts.created_at_ms == 1_800_000_000_000


@pytest.mark.parametrize(
    ("details", "card"),
    [
        ({"card": {"brand": "visa"}}, "visa ????"),
        ({"card": {"last4": "4242"}}, "card 4242"),
        ({"type": "alipay"}, None),
        (None, None),
    ],
)
def test_a_card_is_named_by_what_is_known_of_it(details: Any, card: str | None) -> None:
    charge = {**PAYMENT["latest_charge"], "payment_method_details": details}
    assert payments.payment_facts({**PAYMENT, "latest_charge": charge}).card == card


def test_a_payment_without_a_good_charge_was_not_paid() -> None:
    failed = {**PAYMENT["latest_charge"], "status": "failed"}
    error = {"code": "card_declined", "decline_code": "lost_card", "advice_code": "do_not_try_again"}
    facts = payments.payment_facts({**PAYMENT, "latest_charge": failed, "last_payment_error": error})
    assert (facts.paid_at_ms, facts.error_code, facts.decline_code) == (None, "card_declined", "lost_card")
    assert facts.advice_code == "do_not_try_again"
    for charge in (None, "ch_1"):
        assert payments.payment_facts({**PAYMENT, "latest_charge": charge}).paid_at_ms is None


def test_a_dispute_adds_up_what_it_moved() -> None:
    data = {
        "id": "du_1",
        "status": "a_new_status",
        "amount": 2000,
        "currency": "usd",
        "payment_intent": "pi_1",
        "charge": {"id": "ch_1"},
        "balance_transactions": [{"amount": -2000}, {"amount": 2000}, {"amount": -5}],
        "livemode": False,
        "created": 1,
    }
    facts = payments.dispute_facts(data)
    assert (facts.balance_total, facts.status, facts.charge) == (-5, "a_new_status", "ch_1")
    assert (facts.amount, facts.created_at_ms) == (2000, 1000)
    assert payments.dispute_facts({**data, "balance_transactions": []}).balance_total == 0
    assert payments.dispute_facts({**data, "balance_transactions": None}).balance_total == 0


def event(kind: str = "checkout.session.completed", **about: Any) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "object": "event",
        "type": kind,
        "created": 1,
        "livemode": False,
        "data": {"object": {"id": "cs_1", **about}},
    }


def test_an_event_names_its_object() -> None:
    facts = payments.event_facts(event())
    assert (facts.object_id, facts.created_at_ms, facts.livemode) == ("cs_1", 1000, False)


def test_a_fraud_warning_names_the_payment_it_warns_of() -> None:
    kind = "radar.early_fraud_warning.created"
    assert payments.event_facts(event(kind, payment_intent="pi_1", charge="ch_1")).object_id == "pi_1"
    assert payments.event_facts(event(kind, payment_intent=None, charge={"id": "ch_1"})).object_id == "ch_1"
    assert payments.event_facts(event(kind)).object_id == "cs_1"


def test_a_thin_event_is_an_event_too() -> None:
    thin = {
        "id": "evt_2",
        "object": "v2.core.event",
        "type": "v1.checkout.session.completed",
        "created": "2027-01-15T08:00:00.000Z",
        "related_object": {"id": "cs_1", "type": "checkout.session"},
    }
    facts = payments.event_facts(thin)
    assert (facts.type, facts.object_id, facts.created_at_ms) == (
        "checkout.session.completed",
        "cs_1",
        1_800_000_000_000,
    )
    assert facts.livemode is None
    assert payments.event_facts({**thin, "livemode": True}).livemode is True
    assert payments.event_facts({**thin, "livemode": "yes"}).livemode is None
    assert payments.event_facts({**thin, "created": "soon"}).created_at_ms == 0


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"object": "charge"},
        {**event(), "object": "charge"},
        {**event(), "id": ""},
        {**event(), "id": 7},
        {**event(), "data": None},
        {**event(), "data": {"object": "cs_1"}},
        {**event(), "livemode": "false"},
        {**event(), "created": "1"},
        {**event(), "type": None},
        {"object": "v2.core.event", "id": "evt_2", "type": "v1.x", "related_object": None},
    ],
)
def test_what_is_no_event_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedObject):
        payments.event_facts(broken)


@pytest.mark.parametrize("name", ["id", "payment_status", "livemode", "created", "expires_at"])
def test_a_session_that_lacks_something_is_refused(name: str) -> None:
    with pytest.raises(UnexpectedObject, match=name):
        payments.session_facts({key: value for key, value in SESSION.items() if key != name})


def test_no_amount_is_taken_from_a_text_or_a_fraction() -> None:
    for amount in ("2000", 20.0, True):
        with pytest.raises(UnexpectedObject):
            payments.payment_facts({**PAYMENT, "amount": amount})


def test_stripe_lists_that_many_types_of_events_at_once() -> None:
    assert len(EVENT_TYPES) == len(set(EVENT_TYPES)) == 19
