"""Accounts and plans as the doors use them."""

from dataclasses import replace

import pytest

from tokenhub import clock
from tokenhub.accounts.accounts import AccountStatus, Plan
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.operations import accounts, default_plans, grants, plans
from tokenhub.operations.hub import Hub


def test_the_one_account_is_meant_without_a_name(hub: Hub) -> None:
    with pytest.raises(NotFound, match="accounts create"):
        accounts.the_account(hub)
    made = accounts.create(hub, "acme").account
    assert accounts.the_account(hub) == made


def test_with_several_accounts_one_must_be_named(hub: Hub) -> None:
    for name in ("acme", "globex"):
        accounts.create(hub, name)
    with pytest.raises(InvalidRequest, match="acme, globex"):
        accounts.the_account(hub)
    assert accounts.the_account(hub, "globex").name == "globex"
    assert accounts.the_account(hub, "2").name == "globex"
    with pytest.raises(NotFound):
        accounts.the_account(hub, "3")
    with pytest.raises(NotFound):
        accounts.the_account(hub, "99999999999999999999")


def test_an_account_name_is_taken_once(hub: Hub) -> None:
    accounts.create(hub, "acme")
    with pytest.raises(Conflict):
        accounts.create(hub, "acme", plan="pro")
    assert [state.account.plan for state in accounts.listing(hub)] == ["starter"]


@pytest.mark.parametrize(
    "name", ["", " acme", "acme ", "12", "a\x1b[31mb", "a\nb", "a\x00b", "\u202eacme", "x" * 101, "\ud800"]
)
def test_t98_t120_a_name_that_cannot_be_shown_is_refused(hub: Hub, name: str) -> None:
    with pytest.raises(InvalidRequest):
        accounts.create(hub, name)
    assert accounts.listing(hub) == []


def test_names_of_every_language_are_taken(hub: Hub) -> None:
    for name in ("Größe & Söhne", "株式会社", "O'Brien; DROP TABLE accounts", "100 %_"):
        accounts.create(hub, name)
        assert accounts.the_account(hub, name).name == name


@pytest.mark.parametrize(
    "email", ["pay,ops@acme.example", "<pay@acme.example>", "pay;ops@acme.example", "pay\u200b@acme.example"]
)
def test_an_address_that_no_notice_could_go_to_is_refused(hub: Hub, email: str) -> None:
    with pytest.raises(InvalidRequest, match="is not an e-mail address"):
        accounts.create(hub, "acme", email=email)
    account = accounts.create(hub, "acme", email="o'brien@acme.example").account
    with pytest.raises(InvalidRequest, match="is not an e-mail address"):
        accounts.change(hub, account.id, {"email": email})


def test_an_unknown_plan_makes_no_account(hub: Hub) -> None:
    with pytest.raises(NotFound, match="enterprise, pro, starter"):
        accounts.create(hub, "acme", plan="gold")
    assert accounts.listing(hub) == []


def test_an_agreement_of_its_own_stands_before_the_plan_until_it_is_given_up(hub: Hub) -> None:
    account = accounts.create(hub, "acme").account
    state = accounts.change(hub, account.id, {"fee_bp": 0, "key_rpm": 5, "concurrency": 9})
    terms = accounts.terms_of(state.account, plans.show(hub, "starter"))
    assert (terms.fee_bp, terms.key_rpm, terms.account_rpm, terms.concurrency) == (0, 5, 600, 9)
    state = accounts.change(hub, account.id, {"fee_bp": None, "key_rpm": None})
    terms = accounts.terms_of(state.account, plans.show(hub, "starter"))
    assert (terms.fee_bp, terms.key_rpm, terms.concurrency) == (300, 60, 9)


def test_an_account_is_disabled_and_enabled(hub: Hub) -> None:
    account = accounts.create(hub, "acme").account
    assert accounts.set_status(hub, account.id, AccountStatus.DISABLED).account.status is AccountStatus.DISABLED
    assert accounts.set_status(hub, account.id, AccountStatus.ACTIVE).account.status is AccountStatus.ACTIVE


def test_credit_that_is_due_shows_no_more_even_before_a_write_expires_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = accounts.create(hub, "acme").account
    now_ms = clock.now_ms()
    grants.grant(hub, account.id, 5_000, expires_at_ms=now_ms + 60_000)
    grants.grant(hub, account.id, 7_000, expires_at_ms=None)
    assert accounts.state(hub, account.id).available_nano == 12_000
    monkeypatch.setattr(accounts.clock, "now_ms", lambda: now_ms + 60_000)
    assert accounts.state(hub, account.id).available_nano == 7_000
    assert [state.available_nano for state in accounts.listing(hub)] == [7_000]


def test_the_three_plans_are_there_from_the_start(hub: Hub) -> None:
    assert plans.listing(hub) == sorted(default_plans.DEFAULTS, key=lambda plan: plan.id)
    starter = plans.show(hub, "starter")
    assert (starter.fee_bp, starter.key_rpm, starter.account_rpm) == (300, 60, 600)


def test_a_plan_is_added_and_changed(hub: Hub) -> None:
    made = plans.create(
        hub, Plan("team", 1, 250, 100, 1000, 80, {"team/fast": ("gpt-4o-mini", "openai/gpt-4o")}, "mail", "none")
    )
    assert made.model_names == {"team/fast": ("gpt-4o-mini", "openai/gpt-4o")}
    changed = plans.change(
        hub, "team", {"fee_bp": 0}, model_names={"team/smart": ("gpt-4o",)}, dropped_names=("team/fast",)
    )
    assert (changed.fee_bp, changed.model_names, changed.version) == (0, {"team/smart": ("gpt-4o",)}, 2)
    with pytest.raises(Conflict):
        plans.create(hub, made)


def test_what_a_plan_promises_in_words_is_kept_and_changed(hub: Hub) -> None:
    assert [plan.id for plan in plans.listing(hub) if plan.support and plan.sla] == ["enterprise", "pro", "starter"]
    assert [plan.id for plan in plans.listing(hub) if plan.compliance] == ["enterprise", "pro"]
    made = plans.create(hub, Plan("team", 1, 250, 100, 1000, 80, {}, "mail", "99 %", "EU only"))
    assert (made.support, made.sla, made.compliance) == ("mail", "99 %", "EU only")
    changed = plans.change(hub, "team", {"compliance": "EU and Japan", "sla": ""})
    assert (changed.support, changed.sla, changed.compliance) == ("mail", "", "EU and Japan")


@pytest.mark.parametrize("text", ["x" * 501, "two\nlines", "\x1b[31mred", "nul\x00"])
@pytest.mark.parametrize("name", ["support", "sla", "compliance"])
def test_t120_a_promise_that_cannot_be_shown_is_refused(hub: Hub, name: str, text: str) -> None:
    with pytest.raises(InvalidRequest):
        plans.change(hub, "pro", {name: text})
    with pytest.raises(InvalidRequest):
        plans.create(hub, replace(plans.show(hub, "pro"), id="team", **{name: text}))
    assert plans.show(hub, "pro").version == 1


@pytest.mark.parametrize(
    "names",
    [
        {"gpt-4o": ("gpt-4o-mini",)},
        {"openai/fast": ("gpt-4o-mini",)},
        {"fast": ("no-such-model",)},
        {"fast": ("fast",)},
        {"fast": ("slow",), "slow": ("gpt-4o",)},
        {"fast": ()},
        {"a b": ("gpt-4o",)},
        {"*": ("gpt-4o",)},
        {"x" * 200: ("gpt-4o",)},
    ],
)
def test_t106_model_names_that_could_not_mean_what_they_say_are_refused(
    hub: Hub, names: dict[str, tuple[str, ...]]
) -> None:
    with pytest.raises(InvalidRequest):
        plans.change(hub, "starter", {}, model_names=names)
    assert plans.show(hub, "starter").model_names == {}
    assert plans.show(hub, "starter").version == 1


@pytest.mark.parametrize("name", ["Team", "te am", "", "-x", "x" * 41, "té"])
def test_a_plan_name_that_cannot_be_typed_is_refused(hub: Hub, name: str) -> None:
    with pytest.raises(InvalidRequest):
        plans.create(hub, Plan(name, 1, 250, 100, 1000, 80))
