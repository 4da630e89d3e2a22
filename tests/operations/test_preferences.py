"""Routing preferences as an operator sets them: names, scopes, versions, on both databases."""

import threading
from typing import Any

import pytest

from tokenhub.accounts import keys as secrets
from tokenhub.errors import HubError, InvalidRequest, NotFound, SetupError
from tokenhub.operations import accounts, keys, models, plans, preferences
from tokenhub.operations.hub import Hub
from tokenhub.operations.preferences import Subject
from tokenhub.store import accounts as store
from tokenhub.store import preferences as preferences_store
from tokenhub.store import revision


class Customer:
    """An account with a key, and the subjects that preferences can stand on."""

    def __init__(self, hub: Hub) -> None:
        self.account_id = accounts.create(hub, "acme").account.id
        made = keys.create(hub, self.account_id)
        self.digest, self.key_id = secrets.digest(made.secret), made.state.key.id
        self.subjects = {
            "installation": Subject(),
            "plan": preferences.plan(hub, "starter"),
            "account": preferences.account(self.account_id),
            "key": preferences.key(self.key_id),
        }


@pytest.fixture
def customer(hub: Hub) -> Customer:
    return Customer(hub)


def versions(hub: Hub, customer: Customer) -> dict[str, int]:
    caller = store.callers(hub.database, [customer.digest])[customer.digest]
    current = revision.read(hub.database)
    return {
        "installation": current.installation, "plan": caller.plan.version, "account": caller.account.version,
        "key": caller.key.version, "revision": current.revision,
    }  # fmt: skip


@pytest.mark.parametrize("scope", ["installation", "plan", "account", "key"])
def test_t108_a_change_raises_the_version_of_its_own_row_and_the_revision(
    hub: Hub, customer: Customer, scope: str
) -> None:
    subject = customer.subjects[scope]
    for act in (lambda: preferences.change(hub, subject, {"regions": ["eu"]}), lambda: preferences.reset(hub, subject)):
        before = versions(hub, customer)
        act()
        after = versions(hub, customer)
        assert {name for name in before if after[name] != before[name]} == {scope, "revision"}


def test_t107_the_caller_carries_what_plan_account_and_key_set_and_the_same_object_for_equal_rows(
    hub: Hub, customer: Customer
) -> None:
    assert store.callers(hub.database, [customer.digest])[customer.digest].chain == ()
    for scope, members in (
        ("plan", {"max_attempts": 2}),
        ("account", {"regions": ["eu"]}),
        ("key", {"models": ["gpt-4o"]}),
    ):
        preferences.change(hub, customer.subjects[scope], members)
    chain = store.callers(hub.database, [customer.digest])[customer.digest].chain
    assert [(one.scope, one.subject) for one in chain] == [
        ("plan", "starter"),
        ("account", str(customer.account_id)),
        ("key", customer.key_id),
    ]
    assert chain[1].preferences.regions == frozenset({"eu"})
    assert store.callers(hub.database, [customer.digest])[customer.digest].chain == chain


def test_show_tells_what_binds_from_every_scope_around(hub: Hub, customer: Customer) -> None:
    preferences.change(hub, Subject(), {"deny_regions": ["cn"]})
    preferences.change(hub, customer.subjects["account"], {"sort": "price"})
    found = preferences.show(hub, customer.subjects["key"])
    assert found.own.is_empty
    assert [one.scope for one in found.chain] == ["installation", "account"]
    assert [one.scope for one in preferences.show(hub, customer.subjects["plan"]).chain] == ["installation"]


def test_members_change_one_by_one_and_none_gives_one_up(hub: Hub, customer: Customer) -> None:
    subject = customer.subjects["account"]
    preferences.change(hub, subject, {"regions": ["eu"], "sort": "price"})
    assert preferences.change(hub, subject, {"failover": False}).own.dump() == {
        "regions": ["eu"],
        "sort": "price",
        "failover": False,
    }
    assert preferences.change(hub, subject, {"regions": None, "failover": None}).own.dump() == {"sort": "price"}
    assert preferences.reset(hub, subject).own.is_empty
    assert hub.database.rows("SELECT * FROM preferences") == []


def test_t106_models_are_kept_by_their_own_names(hub: Hub) -> None:
    found = preferences.change(hub, Subject(), {"models": ["claude-sonnet-4-5", "openai/gpt-4o"]})
    assert found.own.dump() == {"models": ["claude-sonnet-4.5", "openai/gpt-4o"]}


@pytest.mark.parametrize(
    ("members", "refusal"),
    [
        ({"providers": ["opnai"]}, NotFound),
        ({"deny_providers": ["openai@mars"]}, NotFound),
        ({"order": ["nobody"]}, NotFound),
        ({"models": ["gpt-4oo"]}, NotFound),
        ({"deny_models": ["gpt-4o-2024-08-06"]}, InvalidRequest),
        ({"models": ["openai/gpt-4o@eu"]}, InvalidRequest),
        ({"regions": ["uk"]}, InvalidRequest),
        ({"max_attempts": 9}, InvalidRequest),
        ({}, InvalidRequest),
    ],
)
def test_t106_a_rule_that_could_not_mean_what_it_says_is_refused_and_nothing_changes(
    hub: Hub, members: dict[str, Any], refusal: type[HubError]
) -> None:
    preferences.change(hub, Subject(), {"deny_regions": ["cn"]})
    before = revision.read(hub.database)
    with pytest.raises(refusal):
        preferences.change(hub, Subject(), members)
    assert preferences.show(hub, Subject()).own.dump() == {"deny_regions": ["cn"]}
    assert revision.read(hub.database) == before


def test_subjects_must_exist(hub: Hub) -> None:
    for make in (
        lambda: preferences.plan(hub, "gold"),
        lambda: preferences.show(hub, preferences.account(99)),
        lambda: preferences.change(hub, preferences.key("key_0"), {"sort": "price"}),
    ):
        with pytest.raises(NotFound):
            make()


def test_a_row_that_cannot_be_read_is_never_taken_for_no_rule(hub: Hub, customer: Customer) -> None:
    preferences.change(hub, customer.subjects["account"], {"regions": ["eu"]})
    with hub.database.write():
        hub.database.execute("""UPDATE preferences SET data = '{"region":["eu"]}'""")
    with pytest.raises(SetupError, match="routing preference"):
        store.callers(hub.database, [customer.digest])


def test_a_rotated_key_keeps_what_it_set(hub: Hub, customer: Customer) -> None:
    preferences.change(hub, customer.subjects["key"], {"regions": ["eu"], "max_price": {"prompt": "1"}})
    made = keys.rotate(hub, customer.key_id)
    own = preferences.show(hub, preferences.key(made.state.key.id)).own
    assert own.dump() == {"regions": ["eu"], "max_price": {"prompt": "1"}}


def test_p22_models_by_region_are_what_a_boundary_of_that_region_leaves(hub: Hub) -> None:
    listed = models.listing(hub, every=True, region="eu")
    assert listed
    for state in listed:
        assert {place.endpoint.region.data_region for place in state.places} <= {"eu", "de", "fr"}
    assert "deepseek-v4.1-flash" not in {state.model.id for state in listed}
    assert "deepseek-v4.1-flash" in {state.model.id for state in models.listing(hub, every=True, region="cn")}
    with pytest.raises(InvalidRequest):
        models.listing(hub, every=True, region="global")


@pytest.mark.parametrize("scope", ["installation", "account", "key"])
def test_t108_changes_of_one_subject_at_once_lose_none(hub: Hub, customer: Customer, scope: str) -> None:
    """Each of three sets its own member again and again, and finds what it has set as soon as that is said to be done."""
    subject, lost, failed = customer.subjects[scope], list[str](), list[BaseException]()
    members = {"deny_regions": ("cn", "us"), "deny_providers": ("openai", "zhipu"), "max_attempts": (1, 2)}

    def again_and_again(member: str, values: tuple[Any, Any]) -> None:
        try:
            for turn in range(25):
                wanted = values[turn % 2] if member == "max_attempts" else [values[turn % 2]]
                preferences.change(hub, subject, {member: wanted})
                if preferences_store.read(hub.database, subject.scope, subject.id).dump()[member] != wanted:
                    lost.append(member)
        except BaseException as error:
            failed.append(error)
        finally:
            hub.database.close()

    threads = [threading.Thread(target=again_and_again, args=one) for one in members.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (lost, failed) == ([], [])


def test_model_names_of_a_plan_set_at_once_are_all_kept(hub: Hub) -> None:
    def name(prefix: str) -> None:
        try:
            for number in range(10):
                plans.change(hub, "starter", {}, model_names={f"starter/{prefix}{number}": ("gpt-4o-mini",)})
        finally:
            hub.database.close()

    threads = [threading.Thread(target=name, args=(prefix,)) for prefix in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(plans.existing(hub.database, "starter").model_names) == 20
