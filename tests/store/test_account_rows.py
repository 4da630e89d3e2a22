"""Plans, accounts and keys in the store: what a change bumps, and the one query behind every request."""

from collections.abc import Callable

import pytest

from tokenhub.accounts import keys as secrets
from tokenhub.accounts.accounts import AccountStatus, KeyStatus, Plan, SpendPeriod, Versions
from tokenhub.operations import accounts, keys, plans
from tokenhub.operations.hub import Hub
from tokenhub.operations.keys import KeyTerms
from tokenhub.store import accounts as store


def made(hub: Hub, account: str = "acme", terms: KeyTerms | None = None) -> tuple[int, str, str]:
    """Make an account with a key; return the account's id, the key's id and the key."""
    state = accounts.create(hub, account)
    new = keys.create(hub, state.account.id, terms)
    return state.account.id, new.state.key.id, new.secret


def versions(hub: Hub, secret: str) -> Versions:
    caller = store.callers(hub.database, [secrets.digest(secret)])[secrets.digest(secret)]
    installation, catalog, _ = store.versions(hub.database)
    return Versions(installation, catalog, caller.plan.version, caller.account.version, caller.key.version)


def test_callers_come_whole_from_one_query(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    terms = KeyTerms("ci", 4_000_000_000_000, 7, 5_000_000_000, SpendPeriod.DAY, ("gpt-4o-mini", "openai/gpt-4o"))
    _, key_id, secret = made(hub, terms=terms)
    plans.change(hub, "starter", {}, model_names={"starter/fast": ("gpt-4o-mini", "openai/gpt-4o")})
    asked: list[str] = []
    rows = hub.database.rows
    monkeypatch.setattr(type(hub.database), "rows", lambda self, sql, params=(): asked.append(sql) or rows(sql, params))
    found = store.callers(hub.database, [secrets.digest(secret), b"\0" * 32, b"\1" * 32])
    assert len(asked) == 1
    assert list(found) == [secrets.digest(secret)]
    caller = found[secrets.digest(secret)]
    assert (caller.key.id, caller.key.name, caller.key.rpm) == (key_id, "ci", 7)
    assert (caller.key.spend_limit_nano, caller.key.spend_period) == (5_000_000_000, SpendPeriod.DAY)
    assert caller.key.models == ("gpt-4o-mini", "openai/gpt-4o")
    assert caller.key.expires_at_ms == 4_000_000_000_000
    assert (caller.account.name, caller.account.status, caller.account.plan) == (
        "acme",
        AccountStatus.ACTIVE,
        "starter",
    )
    assert caller.plan.model_names == {"starter/fast": ("gpt-4o-mini", "openai/gpt-4o")}
    assert (caller.fee_bp, caller.key_rpm, caller.account_rpm, caller.concurrency) == (300, 7, 600, 50)


def test_any_number_of_digests_is_looked_up(hub: Hub) -> None:
    account_id, _, first = made(hub)
    all_keys = [first, *(keys.create(hub, account_id).secret for _ in range(8))]
    for size in (0, 1, 2, 3, 5, 9):
        digests = [secrets.digest(key) for key in all_keys[:size]]
        assert set(store.callers(hub.database, digests)) == set(digests)


def test_t36_revoked_keys_and_disabled_accounts_are_returned_as_they_are(hub: Hub) -> None:
    account_id, key_id, secret = made(hub)
    keys.revoke(hub, key_id)
    accounts.set_status(hub, account_id, AccountStatus.DISABLED)
    caller = store.callers(hub.database, [secrets.digest(secret)])[secrets.digest(secret)]
    assert caller.key.status is KeyStatus.REVOKED
    assert caller.account.status is AccountStatus.DISABLED


CHANGES: dict[str, tuple[str, Callable[[Hub, int, str], object]]] = {
    "a key revoked": ("key", lambda hub, _account, key: keys.revoke(hub, key)),
    "a key changed": ("key", lambda hub, _account, key: keys.change(hub, key, {"rpm": 3})),
    "a key rotated": ("key", lambda hub, _account, key: keys.rotate(hub, key)),
    "an account changed": ("account", lambda hub, account, _key: accounts.change(hub, account, {"fee_bp": 1})),
    "an account disabled": (
        "account",
        lambda hub, account, _key: accounts.set_status(hub, account, AccountStatus.DISABLED),
    ),
    "a plan changed": ("plan", lambda hub, _account, _key: plans.change(hub, "starter", {"fee_bp": 1})),
}


@pytest.mark.parametrize("change", CHANGES)
def test_t35_a_change_raises_its_own_version_and_the_revision_and_nothing_else(hub: Hub, change: str) -> None:
    account_id, key_id, secret = made(hub)
    part, act = CHANGES[change]
    before, revision = versions(hub, secret), store.versions(hub.database)[2]
    act(hub, account_id, key_id)
    after = versions(hub, secret)
    assert {name for name in Versions.__slots__ if getattr(after, name) != getattr(before, name)} == {part}
    assert getattr(after, part) == getattr(before, part) + 1
    assert store.versions(hub.database)[2] > revision


def test_a_new_account_key_or_plan_raises_the_revision_alone(hub: Hub) -> None:
    account_id, _, secret = made(hub)
    before, revision = versions(hub, secret), store.versions(hub.database)[2]
    accounts.create(hub, "globex")
    keys.create(hub, account_id)
    plans.create(hub, Plan("team", 1, 250, 10, 100, 5))
    assert versions(hub, secret) == before
    assert store.versions(hub.database)[2] == revision + 3


def test_a_move_to_another_plan_shows_in_the_plan_and_in_the_accounts_version(hub: Hub) -> None:
    account_id, _, secret = made(hub)
    before = versions(hub, secret)
    accounts.change(hub, account_id, {"plan": "pro"})
    caller = store.callers(hub.database, [secrets.digest(secret)])[secrets.digest(secret)]
    assert caller.plan.id == "pro"
    assert caller.account.version == before.account + 1
