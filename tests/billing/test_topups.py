"""The states of a top-up as a table: where it is, what Stripe says, what follows."""

from dataclasses import replace
from typing import Any

import pytest

from tokenhub.billing.payments import PaymentFacts, SessionFacts
from tokenhub.billing.topups import Topup, TopupState, decide, next_poll_ms

INSTANCE = "inst_1"
METADATA = {"tokenhub_topup": "topup_1", "tokenhub_instance": INSTANCE}

TOPUP = Topup(
    id="topup_1", account_id=1, kind="checkout", state="open", currency="usd", amount_minor=2000, rate_micro=1_000_000,
    credit_nano=20 * 10**9, livemode=False, attempt=1, params="{}", session_id="cs_1", payment_intent=None,
    charge_id=None, customer=None, url="https://pay", offered=("card",), paid_amount_minor=None, paid_total_minor=None,
    paid_at_ms=None, lot_id=None, recharge_of=None, reason="", session_expires_at_ms=1000, next_poll_at_ms=0,
    created_at_ms=0, updated_at_ms=0,
)  # fmt: skip
SESSION = SessionFacts(
    id="cs_1", status="open", payment_status="unpaid", currency="usd", amount_subtotal=2000, amount_discount=0,
    amount_total=2000, client_reference_id="topup_1", metadata=METADATA, payment_intent="pi_1", customer=None,
    livemode=False, created_at_ms=0, expires_at_ms=1000, url="https://pay", offered=("card",),
)  # fmt: skip
PAYMENT = PaymentFacts(
    id="pi_1", status="requires_payment_method", currency="usd", amount=2000, amount_received=0, livemode=False,
    metadata=METADATA, charge=None, created_at_ms=0, paid_at_ms=None, customer=None, payment_method=None, card=None,
    error_code=None, decline_code=None, advice_code=None,
)  # fmt: skip

TABLE = """
new         open      unpaid    -           open        -
open        open      unpaid    -           open        -
open        open      unpaid    requires    open        -
open        open      unpaid    succeeded   paid        20
open        complete  unpaid    processing  processing  -
open        complete  unpaid    -           processing  -
open        complete  paid      succeeded   paid        20
open        complete  paid      -           paid        20
open        complete  paid      processing  paid        20
open        expired   unpaid    -           expired     -
open        expired   unpaid    canceled    expired     -
open        complete  nothing   -           review      -
processing  complete  unpaid    processing  processing  -
processing  complete  unpaid    requires    failed      -
processing  complete  unpaid    canceled    failed      -
processing  complete  paid      succeeded   paid        20
failed      complete  paid      succeeded   paid        20
failed      complete  unpaid    requires    failed      -
expired     complete  paid      succeeded   paid        20
expired     open      unpaid    -           open        -
expired     expired   unpaid    -           expired     -
review      open      unpaid    -           review      -
review      expired   unpaid    -           review      -
review      complete  unpaid    processing  review      -
review      complete  paid      succeeded   paid        20
rejected    complete  paid      succeeded   paid        20
abandoned   complete  paid      succeeded   paid        20
new         none      none      succeeded   paid        20
new         none      none      processing  processing  -
processing  none      none      requires    failed      -
processing  none      none      canceled    failed      -
"""
"""State; session's status; its payment status; the payment's status; state that follows; USD that are credited."""

STEPS = [line.split() for line in TABLE.strip().splitlines()]


def payment_of(word: str) -> PaymentFacts | None:
    status = {"requires": "requires_payment_method"}.get(word, word)
    return None if word == "-" else replace(PAYMENT, status=status, amount_received=2000 * (status == "succeeded"))


def session_of(status: str, payment_status: str) -> SessionFacts | None:
    words = {"nothing": "no_payment_required"}
    return (
        None
        if status == "none"
        else replace(SESSION, status=status, payment_status=words.get(payment_status, payment_status))
    )


@pytest.mark.parametrize("step", STEPS, ids=" ".join)
def test_what_stripe_says_decides_what_follows(step: list[str]) -> None:
    state, status, payment_status, payment, follows, usd = step
    verdict = decide(replace(TOPUP, state=state), INSTANCE, session_of(status, payment_status), payment_of(payment))
    assert verdict is not None
    assert verdict.state == follows
    assert (verdict.paid.credit_nano // 10**9 if verdict.paid else "-") == (int(usd) if usd != "-" else "-")


def test_every_state_without_credit_becomes_paid() -> None:
    for state in set(TopupState) - {TopupState.PAID}:
        verdict = decide(replace(TOPUP, state=state), INSTANCE, session_of("complete", "paid"), payment_of("succeeded"))
        assert verdict is not None
        assert verdict.state is TopupState.PAID


@pytest.mark.parametrize("step", STEPS, ids=" ".join)
def test_a_top_up_with_its_credit_never_changes(step: list[str]) -> None:
    _, status, payment_status, payment, _, _ = step
    paid = replace(TOPUP, state="paid", lot_id=7)
    assert decide(paid, INSTANCE, session_of(status, payment_status), payment_of(payment)) is None


PAID = {"status": "complete", "payment_status": "paid"}


@pytest.mark.parametrize(
    ("session", "payment"),
    [
        ({"id": "cs_2"}, {}),
        ({"client_reference_id": "topup_2"}, {}),
        ({"client_reference_id": None}, {}),
        ({"metadata": {**METADATA, "tokenhub_topup": "topup_2"}}, {}),
        ({"metadata": {**METADATA, "tokenhub_instance": "inst_2"}}, {}),
        ({"metadata": {}}, {}),
        ({"livemode": True}, {}),
        ({"currency": "cny"}, {}),
        ({"currency": None}, {}),
        ({"payment_intent": "pi_2"}, {}),
        ({}, {"metadata": {}}),
        ({}, {"livemode": True}),
        ({}, {"currency": "jpy"}),
        ({"payment_intent": None, "amount_total": 0, "amount_subtotal": 0}, None),
        ({"amount_total": None, "amount_subtotal": None}, None),
    ],
)
def test_s8_s9_what_does_not_fit_together_credits_nothing(
    session: dict[str, Any], payment: dict[str, Any] | None
) -> None:
    paid_by = None if payment is None else replace(PAYMENT, status="succeeded", amount_received=2000, **payment)
    verdict = decide(TOPUP, INSTANCE, replace(SESSION, **PAID, **session), paid_by)
    assert verdict is not None
    assert (verdict.state, verdict.paid) == (TopupState.REVIEW, None)
    assert verdict.reason


def test_a_payment_that_was_known_by_another_id_credits_nothing() -> None:
    verdict = decide(replace(TOPUP, payment_intent="pi_0"), INSTANCE, None, payment_of("succeeded"))
    assert verdict is not None
    assert (verdict.state, verdict.paid) == (TopupState.REVIEW, None)


@pytest.mark.parametrize(
    ("subtotal", "discount", "total", "received", "amount", "state"),
    [
        (2000, 0, 2000, 2000, 2000, "paid"),
        (2000, 0, 2400, 2400, 2000, "paid"),
        (2000, 500, 1500, 1500, 1500, "review"),
        (2000, 500, 1800, 1800, 1500, "review"),
        (1500, 0, 1500, 1500, 1500, "review"),
        (2500, 0, 2500, 2500, 2500, "review"),
        (2000, 0, 2000, 1999, 1999, "review"),
    ],
)
def test_s9_s37_what_was_paid_for_the_credit_is_credited(
    subtotal: int, discount: int, total: int, received: int, amount: int, state: str
) -> None:
    session = replace(SESSION, **PAID, amount_subtotal=subtotal, amount_discount=discount, amount_total=total)
    verdict = decide(TOPUP, INSTANCE, session, replace(PAYMENT, status="succeeded", amount_received=received))
    assert verdict is not None
    assert verdict.paid is not None
    assert (verdict.state, verdict.paid.amount_minor, verdict.paid.total_minor) == (state, amount, received)
    assert verdict.paid.credit_nano == amount * 10**7


def test_s38_a_session_that_does_not_offer_what_was_named_says_so() -> None:
    session = replace(SESSION, metadata={**METADATA, "tokenhub_methods": "card,alipay"})
    verdict = decide(TOPUP, INSTANCE, session)
    assert verdict is not None
    assert (verdict.state, verdict.reason) == (TopupState.OPEN, "not offered: alipay")
    after = decide(replace(TOPUP, reason=verdict.reason), INSTANCE, replace(session, status="expired"))
    assert after is not None
    assert (after.state, after.reason) == (TopupState.EXPIRED, "not offered: alipay")


def test_s38_why_a_link_waits_for_a_person_is_forgotten_once_it_was_used() -> None:
    session = replace(SESSION, metadata={**METADATA, "tokenhub_methods": "card,alipay"}, status="complete")
    verdict = decide(replace(TOPUP, reason="not offered: alipay"), INSTANCE, session)
    assert verdict is not None
    assert (verdict.state, verdict.reason) == (TopupState.PROCESSING, "")


@pytest.mark.parametrize("discount", [2000, 2001])
def test_s9_a_payment_that_buys_nothing_credits_nothing(discount: int) -> None:
    session = replace(SESSION, **PAID, amount_discount=discount)
    verdict = decide(TOPUP, INSTANCE, session, replace(PAYMENT, status="succeeded", amount_received=400))
    assert verdict is not None
    assert (verdict.state, verdict.paid) == (TopupState.REVIEW, None)


def test_a_processing_payment_is_looked_at_for_90_days_and_an_end_never() -> None:
    day_ms = 86_400_000
    assert next_poll_ms("processing", 0, None, 89 * day_ms) == 89 * day_ms + 3_600_000
    assert next_poll_ms("processing", 0, None, 90 * day_ms) is None
    for state in ("paid", "rejected", "abandoned"):
        assert next_poll_ms(state, 0, None, 0) is None


SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
CREATED = 1_790_000_000_000


@pytest.mark.parametrize(
    ("state", "age_ms", "pause_ms"),
    [
        ("new", 0, MINUTE),
        ("new", HOUR - 1, MINUTE),
        ("new", HOUR, 15 * MINUTE),
        ("open", 0, 5 * SECOND),
        ("open", 2 * MINUTE - 1, 5 * SECOND),
        ("open", 2 * MINUTE, 15 * SECOND),
        ("open", 15 * MINUTE - 1, 15 * SECOND),
        ("open", 15 * MINUTE, MINUTE),
        ("open", 3 * DAY - 1, MINUTE),
        ("open", 3 * DAY, None),
        ("processing", DAY - 1, MINUTE),
        ("processing", DAY, HOUR),
        ("processing", 90 * DAY - 1, HOUR),
        ("processing", 90 * DAY, None),
        ("expired", 0, 10 * MINUTE),
        ("expired", 3 * DAY - 1, 10 * MINUTE),
        ("expired", 3 * DAY, None),
        ("review", 3 * DAY - 1, HOUR),
        ("review", 3 * DAY, None),
        ("failed", 3 * DAY - 1, HOUR),
        ("failed", 3 * DAY, None),
    ],
)
def test_a_top_up_is_looked_at_ever_more_rarely_and_until_two_days_after_its_session(
    state: str, age_ms: int, pause_ms: int | None
) -> None:
    """A session that has told no end is taken to last a day."""
    now_ms = CREATED + age_ms
    expected = None if pause_ms is None else now_ms + pause_ms
    assert next_poll_ms(state, CREATED, None, now_ms) == next_poll_ms(state, CREATED, CREATED + DAY, now_ms) == expected


@pytest.mark.parametrize("state", ["open", "expired", "review", "failed"])
def test_the_two_days_begin_when_the_session_ends(state: str) -> None:
    over_ms = CREATED + HOUR + 2 * DAY
    assert next_poll_ms(state, CREATED, CREATED + HOUR, over_ms - 1) is not None
    assert next_poll_ms(state, CREATED, CREATED + HOUR, over_ms) is None
