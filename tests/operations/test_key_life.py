"""A key's life: made, found, changed, rotated, revoked."""

import functools
import threading
from collections.abc import Callable, Sequence

import pytest

from tests.fakes.bank import DAY, NOW, Bank
from tokenhub.accounts import keys as secrets
from tokenhub.accounts.accounts import KeyStatus, SpendPeriod
from tokenhub.billing.holds import Placed, Refusal, Refused
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.ids import new_id
from tokenhub.operations import accounts, keys, receipts
from tokenhub.operations.hub import Hub
from tokenhub.operations.keys import KeyTerms
from tokenhub.store import accounts as store
from tokenhub.store import ledger
from tokenhub.store.database import Database

HOUR_MS = 3_600_000
USD = 10**9


@pytest.fixture
def account_id(hub: Hub) -> int:
    return accounts.create(hub, "acme").account.id


def test_t31_a_key_stands_nowhere_but_in_its_answer(hub: Hub, account_id: int) -> None:
    made = keys.create(hub, account_id)
    assert secrets.is_well_formed(made.secret)
    assert made.secret not in repr(made)
    stored = hub.database.rows("SELECT * FROM keys")
    assert made.secret not in repr(stored)
    for path in hub.home.path.rglob("*"):
        if path.is_file():
            assert made.secret.encode() not in path.read_bytes(), path
    assert store.callers(hub.database, [secrets.digest(made.secret)])


@pytest.mark.parametrize(
    "terms",
    [
        KeyTerms(spend_period=SpendPeriod.DAY),
        KeyTerms(name="a\x1b"),
        KeyTerms(name="x" * 101),
        KeyTerms(models=()),
        KeyTerms(models=("gpt-4o",) * 201),
    ],
)
def test_terms_that_make_no_sense_make_no_key(hub: Hub, account_id: int, terms: KeyTerms) -> None:
    with pytest.raises(InvalidRequest):
        keys.create(hub, account_id, terms)
    assert keys.listing(hub) == []


def test_a_model_that_does_not_exist_makes_no_key(hub: Hub, account_id: int) -> None:
    with pytest.raises(NotFound, match="gpt-4o-mini"):
        keys.create(hub, account_id, KeyTerms(models=("gpt-4o", "gpt-4o-minni")))
    assert keys.listing(hub) == []


def test_t126_a_key_is_found_by_an_unmistakable_start_only(hub: Hub, account_id: int) -> None:
    first, second = keys.create(hub, account_id), keys.create(hub, account_id)
    one = first.state.key
    assert keys.find(hub, one.id).key == one
    assert keys.find(hub, one.prefix).key == one
    assert keys.find(hub, first.secret).key == one
    with pytest.raises(Conflict, match=second.state.key.id):
        keys.find(hub, "key_0")
    with pytest.raises(NotFound):
        keys.find(hub, "key_zz")


@pytest.mark.parametrize("start", ["", "key", "%", "key_%", "key_' OR 1=1", "key_\x00", "th-", "KEY_0", "_"])
def test_t32_what_is_no_start_of_an_id_is_refused_without_a_query(
    hub: Hub, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(hub.database), "rows", lambda *_: pytest.fail("a query was made"))
    with pytest.raises(InvalidRequest):
        keys.find(hub, start)


def test_an_underscore_is_no_wildcard(hub: Hub, account_id: int) -> None:
    keys.create(hub, account_id)
    with hub.database.write():
        hub.database.execute("UPDATE keys SET id = 'keyx0000'")
    with pytest.raises(NotFound):
        keys.find(hub, "key_0")


def test_a_whole_key_that_is_not_known_is_not_repeated(hub: Hub) -> None:
    secret = secrets.mint()
    with pytest.raises(NotFound) as refused:
        keys.find(hub, secret)
    assert secret not in refused.value.message


def test_terms_change_and_are_given_up(hub: Hub, account_id: int) -> None:
    key = keys.create(hub, account_id, KeyTerms("ci", None, 5, 10**9, SpendPeriod.DAY)).state.key
    changed = keys.change(hub, key.id, {"rpm": None, "name": "web", "models": ("gpt-4o",)}).key
    assert (changed.name, changed.rpm, changed.models) == ("web", None, ("gpt-4o",))
    assert (changed.spend_limit_nano, changed.spend_period) == (10**9, SpendPeriod.DAY)
    changed = keys.change(hub, key.id, {"spend_limit_nano": None, "models": None}).key
    assert (changed.spend_limit_nano, changed.spend_period, changed.models) == (None, SpendPeriod.TOTAL, None)
    with pytest.raises(InvalidRequest):
        keys.change(hub, key.id, {"spend_period": SpendPeriod.WEEK})
    with pytest.raises(InvalidRequest):
        keys.change(hub, key.id, {})


def test_a_change_of_terms_leaves_what_was_spent(hub: Hub, account_id: int) -> None:
    key = keys.create(hub, account_id, KeyTerms(spend_limit_nano=10**9, spend_period=SpendPeriod.DAY)).state.key
    with hub.database.write():
        hub.database.execute("UPDATE keys SET period_start = 5, period_spent = 70, period_held = 20")
    state = keys.change(hub, key.id, {"spend_limit_nano": 2 * 10**9, "name": "ci"})
    assert (state.period_start_ms, state.period_spent_nano, state.period_held_nano) == (5, 70, 20)


@pytest.fixture
def bank(hub: Hub, account_id: int, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """Operations on the installation; it is NOW."""
    monkeypatch.setattr(keys.clock, "now_ms", lambda: NOW)
    monkeypatch.setattr(Database, "now_ms", lambda _: NOW)
    ledger.grant(hub.database, account_id, 1_000_000 * USD, "start", None, "", NOW)
    return Bank(hub.database, hub.home)


def spend(bank: Bank, key_id: str, usd: int, at_ms: int = NOW) -> None:
    request_id = new_id("req", at_ms)
    bank.do(bank.place(request_id, key_id, usd * USD), at_ms)
    bank.do(bank.settle(request_id, key_id, usd * USD), at_ms)


def left(bank: Bank, key_id: str, at_ms: int = NOW) -> int:
    """What a key may spend yet, in USD, as its holder reads it and as the next hold finds it."""
    caller = store.caller_of_key(bank.database, key_id)
    assert caller is not None
    told = receipts.key(bank.database, caller, at_ms)["limit_remaining"]
    refused = bank.do(bank.place("never", key_id, 500_000 * USD), at_ms)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.available_nano) == (Refusal.KEY_LIMIT, told * USD)
    bank.check()
    return int(told)


def test_a_limit_that_is_new_counts_what_was_spent_in_its_period(bank: Bank, hub: Hub, account_id: int) -> None:
    key_id = keys.create(hub, account_id).state.key.id
    for usd, days_ago in ((300, 25), (40, 18), (5, 1), (2, 0)):
        spend(bank, key_id, usd, NOW - days_ago * DAY)
    bank.do(bank.place("open", key_id, 7 * USD), NOW - 2 * DAY)
    for period, counted in (
        (SpendPeriod.MONTH, 54),
        (SpendPeriod.DAY, 9),
        (SpendPeriod.WEEK, 9),
        (SpendPeriod.TOTAL, 354),
    ):
        keys.change(hub, key_id, {"spend_limit_nano": 1000 * USD, "spend_period": period})
        assert left(bank, key_id) == 1000 - counted
    keys.change(hub, key_id, {"spend_limit_nano": None})
    spend(bank, key_id, 1)
    keys.change(hub, key_id, {"spend_limit_nano": 50 * USD, "spend_period": SpendPeriod.MONTH})
    assert left(bank, key_id) == 0
    bank.do(bank.settle("open", key_id, USD))
    assert left(bank, key_id) == 1


def test_t99_a_limit_that_is_new_counts_in_the_period_of_the_databases_clock(
    bank: Bank, hub: Hub, account_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id = keys.create(hub, account_id).state.key.id
    spend(bank, key_id, 4)
    monkeypatch.setattr(keys.clock, "now_ms", lambda: NOW + DAY)
    keys.change(hub, key_id, {"spend_limit_nano": 10 * USD, "spend_period": SpendPeriod.DAY})
    assert left(bank, key_id) == 6


def test_a_limit_that_is_used_up_is_so_told_when_the_clock_is_set_back(bank: Bank, hub: Hub, account_id: int) -> None:
    key_id = keys.create(
        hub, account_id, KeyTerms(spend_limit_nano=10 * USD, spend_period=SpendPeriod.DAY)
    ).state.key.id
    spend(bank, key_id, 4)
    assert left(bank, key_id, NOW - DAY) == left(bank, key_id) == 6
    assert left(bank, key_id, NOW + DAY) == 10


def test_a_rotated_key_works_on_for_its_grace(hub: Hub, account_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys.clock, "now_ms", lambda: 1_800_000_000_000)
    terms = KeyTerms("ci", None, 5, 10**9, SpendPeriod.MONTH, ("gpt-4o",))
    old = keys.create(hub, account_id, terms)
    made = keys.rotate(hub, old.state.key.id, 2 * HOUR_MS)
    new = made.state.key
    assert (new.name, new.rpm, new.spend_limit_nano, new.spend_period, new.models) == (
        "ci",
        5,
        10**9,
        SpendPeriod.MONTH,
        ("gpt-4o",),
    )
    assert made.secret != old.secret
    assert made.replaced is not None
    assert made.replaced.key.status is KeyStatus.ACTIVE
    assert made.replaced.key.expires_at_ms == 1_800_000_000_000 + 2 * HOUR_MS
    assert made.replaced.replaced_by == new.id


def test_a_grace_never_makes_a_key_live_longer(hub: Hub, account_id: int) -> None:
    soon = keys.clock.now_ms() + 60_000
    old = keys.create(hub, account_id, KeyTerms(expires_at_ms=soon))
    made = keys.rotate(hub, old.state.key.id, 2 * HOUR_MS)
    assert made.replaced is not None
    assert made.replaced.key.expires_at_ms == soon


@pytest.mark.parametrize("grace_ms", [0, HOUR_MS])
def test_rotation_is_no_way_round_a_spend_limit(bank: Bank, hub: Hub, account_id: int, grace_ms: int) -> None:
    terms = KeyTerms(spend_limit_nano=100 * USD, spend_period=SpendPeriod.MONTH)
    first = keys.create(hub, account_id, terms).state.key.id
    spend(bank, first, 10)
    bank.do(bank.place("open", first, 60 * USD))
    second = keys.rotate(hub, first, grace_ms).state.key.id
    assert left(bank, second) == 30
    bank.do(bank.settle("open", first, 50 * USD))
    assert left(bank, second) == 40
    third = keys.rotate(hub, second).state.key.id
    spend(bank, second, 15)
    spend(bank, third, 5)
    for key_id in (second, third) if grace_ms == 0 else (first, second, third):
        assert left(bank, key_id) == 20
        assert left(bank, key_id, NOW + HOUR_MS // 2) == 20
    keys.change(hub, third, {"spend_limit_nano": 90 * USD, "spend_period": SpendPeriod.DAY})
    assert left(bank, second) == left(bank, third) == 10


def test_the_limit_of_a_key_that_was_rotated_is_the_new_one_s(bank: Bank, hub: Hub, account_id: int) -> None:
    old = keys.create(hub, account_id, KeyTerms(spend_limit_nano=100 * USD)).state.key.id
    new = keys.rotate(hub, old).state.key.id
    with pytest.raises(Conflict, match=new):
        keys.change(hub, old, {"spend_limit_nano": 500 * USD})
    assert keys.change(hub, old, {"name": "old"}).key.name == "old"
    keys.change(hub, new, {"spend_limit_nano": 200 * USD})
    assert left(bank, old) == left(bank, new) == 200


def test_a_limit_changes_while_requests_come_and_go(bank: Bank, hub: Hub, account_id: int) -> None:
    first = keys.create(hub, account_id, KeyTerms(spend_limit_nano=1000 * USD)).state.key.id
    newest = [first]

    def serve() -> None:
        for _ in range(10):
            request_id = new_id("req", NOW)
            while not isinstance(outcome := bank.do(bank.place(request_id, first, 2 * USD)), Placed):
                assert isinstance(outcome, Refused)
                assert outcome.reason is Refusal.STALE
            bank.do(bank.settle(request_id, first, USD))

    def manage() -> None:
        for period in SpendPeriod:
            keys.change(hub, newest[-1], {"spend_limit_nano": 1000 * USD, "spend_period": period})
            newest.append(keys.rotate(hub, newest[-1], 10 * HOUR_MS).state.key.id)

    assert together(hub, [serve, manage, serve]) == []
    assert left(bank, first) == left(bank, newest[-1]) == 980


def test_without_a_grace_the_old_key_is_revoked_at_once(hub: Hub, account_id: int) -> None:
    old = keys.create(hub, account_id)
    made = keys.rotate(hub, old.state.key.id, 0)
    assert made.replaced is not None
    assert made.replaced.key.status is KeyStatus.REVOKED
    assert made.replaced.revoked_at_ms is not None


def test_a_dead_key_is_not_rotated(hub: Hub, account_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    revoked = keys.create(hub, account_id).state.key.id
    keys.revoke(hub, revoked)
    rotated = keys.create(hub, account_id).state.key.id
    keys.rotate(hub, rotated)
    expired = keys.create(hub, account_id, KeyTerms(expires_at_ms=keys.clock.now_ms() + 1000)).state.key.id
    later = keys.clock.now_ms() + 2000
    monkeypatch.setattr(keys.clock, "now_ms", lambda: later)
    before = len(keys.listing(hub))
    for key_id in (revoked, rotated, expired):
        with pytest.raises(Conflict):
            keys.rotate(hub, key_id)
    assert len(keys.listing(hub)) == before


def test_revoking_twice_says_the_same(hub: Hub, account_id: int) -> None:
    key_id = keys.create(hub, account_id).state.key.id
    first = keys.revoke(hub, key_id)
    assert first.key.status is KeyStatus.REVOKED
    assert keys.revoke(hub, key_id) == first


def together(hub: Hub, verbs: Sequence[Callable[[], object]]) -> list[BaseException]:
    """Run verbs at the same time, each in a thread; return what they raised."""
    raised: list[BaseException] = []
    barrier = threading.Barrier(len(verbs))

    def run(verb: Callable[[], object]) -> None:
        barrier.wait()
        try:
            verb()
        except BaseException as error:
            raised.append(error)
        finally:
            hub.database.close()

    threads = [threading.Thread(target=run, args=(verb,)) for verb in verbs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_terms_that_are_set_at_once_are_all_kept(hub: Hub, account_id: int) -> None:
    key_id = keys.create(hub, account_id).state.key.id
    for turn in range(1, 16):
        terms = ({"name": f"n{turn}"}, {"rpm": turn}, {"spend_limit_nano": turn})
        raised = together(hub, [functools.partial(keys.change, hub, key_id, one) for one in terms])
        key = keys.find(hub, key_id).key
        assert (raised, key.name, key.rpm, key.spend_limit_nano) == ([], f"n{turn}", turn, turn)


def test_a_key_is_rotated_once_however_many_ask(hub: Hub, account_id: int) -> None:
    for _ in range(5):
        key_id = keys.create(hub, account_id).state.key.id
        raised = together(hub, [functools.partial(keys.rotate, hub, key_id)] * 4)
        assert [type(error) for error in raised] == [Conflict] * 3
