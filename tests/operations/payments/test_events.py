"""Events: kept, worked, swept. The numbers in the names are rows of Stripe's list of attacks."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fakes.stripe import FakeStripe
from tests.fakes.stripe.objects import Object
from tokenhub import clock, failpoints
from tokenhub.billing.payments import EVENT_TYPES, EventFacts, event_facts
from tokenhub.operations import accounts
from tokenhub.operations.hub import Hub
from tokenhub.operations.payments import comparison, connection, events, topups, work
from tokenhub.operations.payments.comparison import Repair
from tokenhub.operations.payments.stripe_api import StripeApi, StripeLimited
from tokenhub.operations.payments.topups import Topup
from tokenhub.store import audit, stripe_events
from tokenhub.store import topups as store

USD = 10**9
DAY_MS = 24 * 3_600_000

Move = Callable[[int], None]


@pytest.fixture(autouse=True)
def books_add_up(paying_hub: Hub) -> Iterator[None]:
    yield
    assert audit.verify(paying_hub.database) == []


@pytest.fixture
def topup(paying_hub: Hub, account_id: int) -> Topup:
    return topups.create(paying_hub, account_id, 2000, "usd")


def balance(hub: Hub) -> int:
    return accounts.the_account(hub) and accounts.listing(hub)[0].available_nano


def session_of(topup: Topup) -> str:
    assert topup.session_id is not None
    return topup.session_id


def told(hub: Hub, event: Object) -> bool:
    """Have an event delivered."""
    return events.receive(hub, event_facts(event), "webhook")


def told_all(hub: Hub, stripe: FakeStripe, *types: str) -> None:
    """Deliver the events of these types, or all there were, in their order."""
    for event in stripe.events:
        if not types or event["type"] in types:
            told(hub, event)


def states(hub: Hub) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind, state in hub.database.rows("SELECT type, state FROM stripe_events ORDER BY received_at, id"):
        found.setdefault(kind, []).append(state)
    return found


def made_up(kind: str, object_id: str, number: int = 1, *, livemode: bool | None = False) -> EventFacts:
    return EventFacts(f"evt_made_up_{number}", kind, object_id, clock.now_ms(), livemode)


def test_s1_an_event_that_is_delivered_five_times_at_once_is_worked_once(
    paying_hub: Hub, topup: Topup, stripe: FakeStripe
) -> None:
    stripe.pay(session_of(topup))
    (event,) = [one for one in stripe.events if one["type"] == "checkout.session.completed"]

    def deliver(number: int) -> bool:
        try:
            kept = told(paying_hub, event)
            api = connection.connect(paying_hub)
            if number == 3:
                topups.reconcile(paying_hub, api, topup.id)
            elif number == 4:
                events.sweep(paying_hub, api)
            events.work_inbox(paying_hub, api)
            return kept
        finally:
            paying_hub.database.close()

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(deliver, range(5))) <= 1
    work.tick(paying_hub, clock.now_ms())
    assert balance(paying_hub) == 20 * USD


def test_s2_an_event_that_is_sent_again_after_20_days_changes_nothing(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    stripe.pay(session_of(topup))
    told_all(paying_hub, stripe)
    events.work_inbox(paying_hub, api)
    pass_time(20 * DAY_MS)
    asked = len(stripe.asked)
    told_all(paying_hub, stripe)
    assert events.work_inbox(paying_hub, api) == 0
    assert len(stripe.asked) == asked
    with paying_hub.database.write():
        paying_hub.database.execute("DELETE FROM stripe_events")
    told_all(paying_hub, stripe)
    assert events.work_inbox(paying_hub, api) > 0
    assert balance(paying_hub) == 20 * USD


def test_s3_several_events_about_one_payment_credit_it_once(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    payment = stripe.pay(session_of(topup))
    told_all(paying_hub, stripe)
    assert not events.receive(paying_hub, made_up("charge.succeeded", str(payment["latest_charge"])), "webhook")
    assert not events.receive(paying_hub, made_up("invoice.paid", "in_1"), "webhook")
    events.work_inbox(paying_hub, api)
    assert balance(paying_hub) == 20 * USD
    assert states(paying_hub) == {"checkout.session.completed": ["done"], "payment_intent.succeeded": ["done"]}


def test_s3_a_payment_that_is_heard_of_before_its_session_credits(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.pay(session_of(topup))
    told_all(paying_hub, stripe, "payment_intent.succeeded")
    events.work_inbox(paying_hub, api)
    assert balance(paying_hub) == 20 * USD


def test_s4_a_stale_failure_after_the_success_changes_nothing(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.pay_pending(session_of(topup))
    told_all(paying_hub, stripe)
    events.work_inbox(paying_hub, api)
    assert (balance(paying_hub), topups.get(paying_hub, topup.id).state) == (0, "processing")
    stripe.succeed_pending(session_of(topup))
    told_all(paying_hub, stripe)
    events.work_inbox(paying_hub, api)
    assert balance(paying_hub) == 20 * USD
    late = made_up("checkout.session.async_payment_failed", session_of(topup))
    assert events.receive(paying_hub, late, "webhook")
    events.work_inbox(paying_hub, api)
    assert (balance(paying_hub), topups.get(paying_hub, topup.id).state) == (20 * USD, "paid")


def test_s5_a_refund_that_is_heard_of_before_the_payment_ends_at_nothing(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    payment = stripe.pay(session_of(topup))
    stripe.refund_in_dashboard(payment, 2000)
    told_all(paying_hub, stripe, "charge.refunded", "refund.created")
    events.work_inbox(paying_hub, api)
    state = accounts.listing(paying_hub)[0]
    assert (state.available_nano, state.debt_nano) == (0, 0)
    told_all(paying_hub, stripe)
    events.work_inbox(paying_hub, api)
    state = accounts.listing(paying_hub)[0]
    assert (state.available_nano, state.debt_nano) == (0, 0)
    kinds = paying_hub.database.rows("SELECT kind, amount FROM entries ORDER BY id")
    assert kinds == [("topup", 20 * USD), ("clawback", -20 * USD)]


def test_s6_a_dispute_that_is_heard_of_before_the_payment_freezes_it(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    payment = stripe.pay(session_of(topup))
    stripe.dispute(payment, 2000)
    told_all(paying_hub, stripe, "charge.dispute.created")
    events.work_inbox(paying_hub, api)
    assert balance(paying_hub) == 0
    assert paying_hub.database.rows("SELECT granted, frozen FROM lots") == [(20 * USD, 20 * USD)]


def test_s8_another_session_that_names_our_top_up_credits_nothing_and_needs_a_look(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    metadata = dict(stripe.objects[session_of(topup)]["metadata"])
    foreign = stripe.foreign_session(metadata=metadata, reference=topup.id)
    stripe.pay(foreign["id"])
    told_all(paying_hub, stripe)
    events.work_inbox(paying_hub, api)
    seen = topups.get(paying_hub, topup.id)
    assert (seen.state, seen.session_id, balance(paying_hub)) == ("review", topup.session_id, 0)
    assert "review" in states(paying_hub)["checkout.session.completed"]
    stripe.pay(session_of(topup))
    told_all(paying_hub, stripe)
    events.work_inbox(paying_hub, api)
    assert (topups.get(paying_hub, topup.id).state, balance(paying_hub)) == ("paid", 20 * USD)


def test_s8_another_session_after_ours_was_paid_changes_nothing(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.pay(session_of(topup))
    paid = topups.reconcile(paying_hub, api, topup.id)
    metadata = dict(stripe.objects[session_of(topup)]["metadata"])
    stripe.pay(stripe.foreign_session(metadata=metadata, reference=topup.id)["id"])
    told_all(paying_hub, stripe)
    events.work_inbox(paying_hub, api)
    assert (topups.get(paying_hub, topup.id), balance(paying_hub)) == (paid, 20 * USD)
    assert "review" in states(paying_hub)["checkout.session.completed"]


def test_s15_an_event_of_the_other_mode_is_kept_for_review_and_never_worked(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.pay(session_of(topup))
    event = made_up("checkout.session.completed", session_of(topup), livemode=True)
    assert not events.receive(paying_hub, event, "webhook")
    assert events.work_inbox(paying_hub, api) == 0
    assert states(paying_hub) == {"checkout.session.completed": ["review"]}
    assert balance(paying_hub) == 0


def test_s15_an_event_as_an_old_api_version_made_it_credits(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.pay(session_of(topup))
    (event,) = [one for one in stripe.events if one["type"] == "checkout.session.completed"]
    old = {**event, "api_version": "2024-06-20", "data": {"object": {"id": session_of(topup), "amount_total": 1}}}
    assert told(paying_hub, old)
    events.work_inbox(paying_hub, api)
    assert balance(paying_hub) == 20 * USD


def test_s15_a_thin_event_credits(paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe) -> None:
    stripe.pay(session_of(topup))
    thin = {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "v1.checkout.session.completed",
        "created": "2026-11-22T06:00:00.000Z",
        "livemode": False,
        "related_object": {"id": session_of(topup), "type": "checkout.session", "url": "/v1/…"},
    }
    assert told(paying_hub, thin)
    events.work_inbox(paying_hub, api)
    assert balance(paying_hub) == 20 * USD


def test_s16_after_four_days_without_webhooks_the_sweep_credits(
    paying_hub: Hub, topup: Topup, stripe: FakeStripe, pass_time: Move
) -> None:
    with paying_hub.database.write():  # Only the sweep may find it.
        store.update(paying_hub.database, topup.id, clock.now_ms(), {"next_poll_at": None})
    stripe.pay(session_of(topup))
    pass_time(4 * DAY_MS)
    work.tick(paying_hub, clock.now_ms())
    assert balance(paying_hub) == 20 * USD
    assert set(states(paying_hub)["payment_intent.succeeded"]) == {"done"}


def test_s16_after_31_days_without_a_gateway_everything_is_as_stripe_has_it(
    paying_hub: Hub, account_id: int, stripe: FakeStripe, pass_time: Move
) -> None:
    bought = [topups.create(paying_hub, account_id, 2000, "usd") for _ in range(3)]
    payments = [stripe.pay(session_of(topup)) for topup in bought]
    stripe.refund_in_dashboard(payments[1], 2000)
    stripe.set_dispute(stripe.dispute(payments[2], 2000), "lost")
    pass_time(31 * DAY_MS)
    for event in stripe.events:
        del stripe.objects[event["id"]]
    with paying_hub.database.write():
        paying_hub.database.execute("UPDATE topups SET next_poll_at = NULL")
    work.started(paying_hub)
    work.tick(paying_hub, clock.now_ms())
    lots = paying_hub.database.rows("SELECT ref, available FROM lots ORDER BY id")
    assert sorted(lots) == sorted((one["id"], left) for one, left in zip(payments, (20 * USD, 0, 0), strict=True))
    assert accounts.listing(paying_hub)[0].debt_nano == 0


def test_s36_what_other_programs_do_on_the_same_stripe_account_is_ignored(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    metadata = dict(stripe.objects[session_of(topup)]["metadata"])
    other_hub = {**metadata, "tokenhub_instance": "inst_other"}
    for one in ({}, {"order": "7"}, other_hub):
        payment = stripe.pay(stripe.foreign_session(metadata=one, reference="order-7")["id"])
        stripe.refund_in_dashboard(payment, 500)
        stripe.dispute(payment, 500)
    told_all(paying_hub, stripe)
    while events.work_inbox(paying_hub, api):
        pass
    assert comparison.reconcile_since(paying_hub, 0, api) == []
    assert {state for found in states(paying_hub).values() for state in found} == {"ignored"}
    assert (balance(paying_hub), len(topups.listing(paying_hub))) == (0, 1)


def forget(hub: Hub) -> None:
    """Restore yesterday's database, which has no top-up of today."""
    with hub.database.write():
        hub.database.execute("DELETE FROM topups")


def test_s36_a_top_up_that_a_restored_database_does_not_have_is_made_again_once(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.pay(session_of(topup))
    forget(paying_hub)
    told_all(paying_hub, stripe, "payment_intent.succeeded")
    events.work_inbox(paying_hub, api)
    again = topups.get(paying_hub, topup.id)
    assert (again.state, again.credit_nano, again.rate_micro, again.account_id) == ("paid", 20 * USD, 1_000_000, 1)
    told_all(paying_hub, stripe)
    events.work_inbox(paying_hub, api)
    assert comparison.reconcile_since(paying_hub, 0, api) == []
    assert balance(paying_hub) == 20 * USD


def test_s36_the_comparison_makes_it_again_and_says_so_and_the_second_time_finds_nothing(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    payment = stripe.pay(session_of(topup))
    stripe.refund_in_dashboard(payment, 500)
    forget(paying_hub)
    found = comparison.reconcile_since(paying_hub, 0, api)
    assert found[0] == Repair("topup", topup.id, "Was missing here; is paid now, and is credited.")
    assert [repair.kind for repair in found] == ["topup", "refund"]
    assert balance(paying_hub) == 15 * USD
    assert comparison.reconcile_since(paying_hub, 0, api) == []
    assert balance(paying_hub) == 15 * USD


def test_a_comparison_says_once_that_a_payment_has_failed(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.pay_pending(session_of(topup))
    stripe.fail_pending(session_of(topup))
    assert comparison.reconcile_since(paying_hub, 0, api) == [
        Repair("topup", topup.id, "Was open here; is failed now.")
    ]
    assert comparison.reconcile_since(paying_hub, 0, api) == []


def test_s36_money_for_an_account_that_is_another_one_now_is_not_credited_to_it(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.pay(session_of(topup))
    forget(paying_hub)
    with paying_hub.database.write():
        paying_hub.database.execute("UPDATE accounts SET created_at = created_at + 1")
    (repair,) = comparison.reconcile_since(paying_hub, 0, api)
    assert "which this database does not have" in repair.message
    assert (balance(paying_hub), topups.listing(paying_hub)) == (0, [])


@pytest.mark.parametrize(
    "change",
    [
        {"tokenhub_topup": "topup_1"},
        {"tokenhub_account": "99"},
        {"tokenhub_account": "x"},
        {"credit_micro": "20000001"},
        {"rate": "0"},
        {"rate": ""},
    ],
)
def test_metadata_that_no_top_up_of_ours_has_credit_nothing(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe, change: dict[str, str]
) -> None:
    metadata = {**stripe.objects[session_of(topup)]["metadata"], **change}
    forget(paying_hub)
    stripe.pay(stripe.foreign_session(metadata=metadata, reference=metadata["tokenhub_topup"])["id"])
    told_all(paying_hub, stripe)
    events.work_inbox(paying_hub, api)
    assert (balance(paying_hub), topups.listing(paying_hub)) == (0, [])
    assert states(paying_hub)["checkout.session.completed"] == ["review"]


def test_t28_missed_webhooks_are_made_good_once(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe
) -> None:
    bought = [topups.create(paying_hub, account_id, 2000, "usd") for _ in range(10)]
    for number, topup in enumerate(bought):
        stripe.pay(session_of(topup))
        if number >= 3:
            told(paying_hub, next(one for one in stripe.events[::-1] if one["type"] == "checkout.session.completed"))
    events.work_inbox(paying_hub, api)
    assert balance(paying_hub) == 140 * USD
    found = comparison.reconcile_since(paying_hub, clock.now_ms() - DAY_MS, api)
    assert [repair.message for repair in found] == ["Was open here; is paid now, and is credited."] * 3
    assert comparison.reconcile_since(paying_hub, clock.now_ms() - DAY_MS, api) == []
    assert balance(paying_hub) == 200 * USD


def test_an_event_that_fails_waits_and_holds_up_no_other(
    paying_hub: Hub, account_id: int, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    bought = [topups.create(paying_hub, account_id, 2000, "usd") for _ in range(2)]
    for topup in bought:
        stripe.pay(session_of(topup))
    told_all(paying_hub, stripe, "checkout.session.completed")
    stripe.fault("500", f"/v1/checkout/sessions/{session_of(bought[0])}", times=3)
    for _ in range(3):
        events.work_inbox(paying_hub, api)
    assert sorted(states(paying_hub)["checkout.session.completed"]) == ["done", "new"]
    assert balance(paying_hub) == 20 * USD
    assert events.work_inbox(paying_hub, api) == 0
    pass_time(5_001)
    events.work_inbox(paying_hub, api)
    assert balance(paying_hub) == 40 * USD


def test_an_event_that_fails_200_times_is_kept_for_review_with_its_reason(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    stripe.pay(session_of(topup))
    told_all(paying_hub, stripe, "checkout.session.completed")
    stripe.fault("500", f"/v1/checkout/sessions/{session_of(topup)}", times=100)
    with paying_hub.database.write():
        paying_hub.database.execute("UPDATE stripe_events SET tries = 198")
    for state in ("new", "review"):
        events.work_inbox(paying_hub, api)
        assert states(paying_hub) == {"checkout.session.completed": [state]}
        pass_time(3_600_001)
    assert paying_hub.database.row("SELECT reason FROM stripe_events") == (
        "Stripe gave no clear answer. It will be asked again.",
    )


def test_an_event_that_is_limited_ends_the_round(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe
) -> None:
    stripe.pay(session_of(topup))
    told_all(paying_hub, stripe)
    stripe.fault("429")
    with pytest.raises(StripeLimited):
        events.work_inbox(paying_hub, api)
    assert {state for found in states(paying_hub).values() for state in found} == {"new"}


def test_an_event_about_nothing_is_ignored(paying_hub: Hub, api: StripeApi, account_id: int) -> None:
    for number, kind in enumerate(EVENT_TYPES):
        assert events.receive(paying_hub, made_up(kind, f"none_{number}", number), "webhook")
    assert events.work_inbox(paying_hub, api) == len(EVENT_TYPES)
    found = {state for found in states(paying_hub).values() for state in found}
    assert found == {"ignored", "done"}
    assert states(paying_hub)["payment_method.detached"] == ["done"]


def test_a_fraud_warning_is_told(paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe) -> None:
    from dataclasses import replace

    settings = replace(paying_hub.settings, notices_webhook_url="http://127.0.0.1:9/")
    hub = replace(paying_hub, settings=settings)
    payment = stripe.pay(session_of(topup))
    stripe.warn_of_fraud(payment)
    told_all(hub, stripe, "radar.early_fraud_warning.created")
    events.work_inbox(hub, api)
    ((kind, ref),) = hub.database.rows("SELECT kind, ref FROM notices")
    assert (kind, ref) == ("topup_review", f"fraud:{payment['id']}")
    assert balance(hub) == 20 * USD
    assert all("radar.early_fraud_warning" in fault for fault in stripe.broken)
    stripe.broken.clear()  # The description that is there does not have this object.


# Sweeping


def test_a_sweep_reads_only_what_is_new_and_overlaps(
    paying_hub: Hub, topup: Topup, api: StripeApi, stripe: FakeStripe, pass_time: Move
) -> None:
    pass_time(600_000)
    stripe.pay(session_of(topup))
    assert events.sweep(paying_hub, api) == 2
    assert events.sweep(paying_hub, api) == 0
    pass_time(10_001)
    assert events.sweep(paying_hub, api) == 0
    (first, second) = [one for one in stripe.asked if one.path == "/v1/events"]
    assert int(second.params["created"]["gte"]) >= int(first.params["created"]["gte"]) + 600
    seen = stripe_events.sweeps(paying_hub.database)
    assert seen is not None
    assert int(second.params["created"]["gte"]) * 1000 <= seen.event_cursor_ms - 300_000 + 1000


def test_a_sweep_that_breaks_off_is_done_again(
    paying_hub: Hub, account_id: int, stripe: FakeStripe, pass_time: Move
) -> None:
    for number in range(120):
        stripe.foreign_session(metadata={"n": str(number)})
        stripe.expire(stripe.sessions()[0])
    before = stripe_events.sweeps(paying_hub.database)
    stripe.fault("500", "/v1/events", times=100, skip=1)
    work.tick(paying_hub, clock.now_ms())
    after = stripe_events.sweeps(paying_hub.database)
    assert before is not None
    assert after is not None
    assert after.event_cursor_ms == before.event_cursor_ms
    stripe.heal()
    pass_time(10_001)
    work.tick(paying_hub, clock.now_ms())
    assert len(states(paying_hub)["checkout.session.expired"]) == 120


def test_two_processes_do_not_sweep_at_once(
    paying_hub: Hub, topup: Topup, stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(4)

    def meet(failpoint: str) -> None:
        if failpoint == "sweep.due":
            together.wait(10)

    monkeypatch.setattr(failpoints, "hit", meet)

    def look(_: int) -> None:
        try:
            events.sweep(paying_hub, connection.connect(paying_hub))
        finally:
            paying_hub.database.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(look, range(4)))
    assert len([one for one in stripe.asked if one.path == "/v1/events"]) == 1


def test_a_process_that_is_a_moment_behind_does_not_sweep_again(
    paying_hub: Hub, topup: Topup, stripe: FakeStripe
) -> None:
    now_ms, api = clock.now_ms(), connection.connect(paying_hub)
    for moment_ms in (now_ms, now_ms - 1, now_ms - events.SWEEP_MS + 1):
        events.sweep(paying_hub, api, moment_ms)
    assert len([one for one in stripe.asked if one.path == "/v1/events"]) == 1
    events.sweep(paying_hub, api, now_ms - events.SWEEP_MS)  # its clock was set back
    assert len([one for one in stripe.asked if one.path == "/v1/events"]) == 2


def test_everything_is_compared_at_the_start_and_daily(
    paying_hub: Hub, topup: Topup, stripe: FakeStripe, pass_time: Move
) -> None:
    def compared() -> int:
        work.tick(paying_hub, clock.now_ms())
        return len([one for one in stripe.asked if one.path == "/v1/disputes"])

    assert compared() == 1
    pass_time(DAY_MS // 2)
    assert compared() == 1
    work.started(paying_hub)
    assert compared() == 2
    pass_time(DAY_MS)
    assert compared() == 3


def test_a_comparison_that_fails_is_due_again_in_ten_minutes(
    paying_hub: Hub, topup: Topup, stripe: FakeStripe, pass_time: Move
) -> None:
    stripe.fault("500", "/v1/disputes", times=3)
    for minutes, due in ((0, None), (9, None), (2, 1)):
        pass_time(minutes * 60_000)
        work.tick(paying_hub, clock.now_ms())
        seen = stripe_events.sweeps(paying_hub.database)
        assert seen is not None
        assert bool(seen.objects_from_ms) == bool(due)
