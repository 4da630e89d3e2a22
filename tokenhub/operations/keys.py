"""API keys: create, find, list, change, rotate, revoke.

A key is returned once, by the function that makes it, and kept as a digest only (T31).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tokenhub import clock
from tokenhub.accounts import keys
from tokenhub.accounts.accounts import ApiKey, KeyStatus, SpendPeriod
from tokenhub.billing.periods import DAY_MS
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.ids import new_id
from tokenhub.operations.hub import Hub
from tokenhub.store import accounts as store
from tokenhub.store import preferences, revision
from tokenhub.store.accounts import KeyState as KeyState
from tokenhub.store.database import Database

DEFAULT_GRACE_MS: Final = 3_600_000
"""How long a rotated key still works: time enough to put the new one in its place."""

LONGEST_GRACE_MS: Final = 90 * DAY_MS
"""How long a rotated key may still work at most: a grace has an end that somebody sees."""

_ID = re.compile(r"key_[0-9a-z]{1,40}|th-[0-9A-Za-z]{1,43}", re.ASCII)
_NAME_LENGTH: Final = 100
_MODELS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key may do; None: no limit of its own."""

    name: str = ""
    expires_at_ms: int | None = None
    rpm: int | None = None
    spend_limit_nano: int | None = None
    spend_period: SpendPeriod = SpendPeriod.TOTAL
    models: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. ``secret`` is shown once and never again."""

    state: KeyState
    secret: str
    replaced: KeyState | None = None

    def __repr__(self) -> str:
        return f"NewKey(state={self.state!r})"


def create(hub: Hub, account_id: int, terms: KeyTerms | None = None) -> NewKey:
    """Add a key to an account; it works at once in every process."""
    terms = terms or KeyTerms()
    check_terms(terms)
    now_ms = clock.now_ms()
    key = ApiKey(
        new_id("key", now_ms), account_id, 1, terms.name, "", KeyStatus.ACTIVE, terms.expires_at_ms, terms.rpm,
        terms.spend_limit_nano, terms.spend_period, terms.models,
    )  # fmt: skip
    with revision.change(hub.database):
        _check_models(hub.database, account_id, terms.models)
        return _insert(hub.database, key, now_ms)


def _insert(database: Database, key: ApiKey, now_ms: int, replaces: KeyState | None = None) -> NewKey:
    secret = keys.mint()
    named = replace(key, prefix=keys.shown_prefix(secret))
    store.insert_key(database, named, keys.digest(secret), now_ms, replaces=replaces)
    return NewKey(_state(database, named.id), secret, replaces)


def check_terms(terms: KeyTerms) -> None:
    """Refuse terms that make no sense."""
    if not terms.name.isprintable() or len(terms.name) > _NAME_LENGTH:
        raise InvalidRequest(f"A key's name has at most {_NAME_LENGTH} printable characters.", param="name")
    if terms.spend_limit_nano is None and terms.spend_period is not SpendPeriod.TOTAL:
        raise InvalidRequest("--per says in which period --spend-limit counts; give both.", param="spend_limit")
    if terms.models is not None and not 0 < len(terms.models) <= _MODELS_MAX:
        raise InvalidRequest(f"A key can be limited to 1 to {_MODELS_MAX} models.", param="models")


def _check_models(database: Database, account_id: int, models: tuple[str, ...] | None) -> None:
    """Refuse names that mean nothing to this account; they would only ever refuse requests."""
    if models is None:
        return
    from tokenhub.operations import models as catalogue

    plan = store.plan_of(database, account_id)
    catalogue.check_names(catalogue.catalog(database), [name for name in models if name not in plan.model_names])


def _state(database: Database, key_id: str) -> KeyState:
    return store.keys_starting(database, key_id, 1)[0]


def find(hub: Hub, start: str) -> KeyState:
    """Return the one key whose id starts with this text, or whose shown prefix it is (T126: never a guess)."""
    if _ID.fullmatch(start) is None:
        raise InvalidRequest(
            "Name a key by its id (key_…) or by the first characters shown in: tokenhub keys list", param="id"
        )
    # A whole key may be pasted here: only its shown prefix is ever looked for or repeated.
    wanted = keys.shown_prefix(start) if start.startswith(keys.PREFIX) else start
    found = store.keys_starting(hub.database, wanted, 10)
    if not found:
        raise NotFound(f"There is no key {wanted!r}. See: tokenhub keys list")
    if len(found) > 1 and found[0].key.id != wanted:
        several = ", ".join(state.key.id for state in found)
        raise Conflict(f"{wanted!r} is not clear: it fits {several}. Give more of the id.")
    return found[0]


def listing(hub: Hub, account_id: int | None = None) -> list[KeyState]:
    """Return the keys of an account, or of all accounts."""
    return store.key_states(hub.database, account_id)


def limited_to(hub: Hub, plan_id: str, names: Collection[str]) -> list[KeyState]:
    """Return the active keys on a plan that are limited to one of these names."""
    on_plan = {
        state.account.id
        for state in store.account_states(hub.database, clock.now_ms())
        if state.account.plan == plan_id
    }
    return [
        state
        for state in listing(hub)
        if state.key.account_id in on_plan
        and state.key.status is KeyStatus.ACTIVE
        and any(name in names for name in state.key.models or ())
    ]


def change(hub: Hub, key_id: str, terms: Mapping[str, Any]) -> KeyState:
    """Change terms of a key; the names are those of KeyTerms, None gives a limit up."""
    if not terms:
        raise InvalidRequest("Nothing to change: name at least one option. See: tokenhub keys set --help")
    with revision.change(hub.database):
        state = _state(hub.database, key_id)
        _check_changeable(state, terms)
        changed = replace(_terms_of(state.key), **terms)
        if changed.spend_limit_nano is None and "spend_period" not in terms:
            changed = replace(changed, spend_period=SpendPeriod.TOTAL)
        check_terms(changed)
        _check_models(hub.database, state.key.account_id, terms.get("models"))
        _change_terms(hub.database, state, replace(state.key, **_fields(changed)))
        return _state(hub.database, key_id)


def _check_changeable(state: KeyState, terms: Mapping[str, Any]) -> None:
    """Refuse to change a key that is over, or to give one that was rotated a life of its own again."""
    if state.key.status is KeyStatus.REVOKED:
        raise Conflict(f"Key {state.key.id} is revoked and cannot be changed. Create a new one: tokenhub keys create")
    expires_at_ms = terms.get("expires_at_ms", 0)
    if state.replaced_by is None or expires_at_ms == 0:
        return
    if expires_at_ms is None or expires_at_ms > clock.now_ms() + LONGEST_GRACE_MS:
        raise Conflict(
            f"Key {state.key.id} was rotated, to {state.replaced_by}, and works on for a grace alone: give --expires a day "
            f"within the next {_days(LONGEST_GRACE_MS)}."
        )


def _days(duration_ms: int) -> str:
    return f"{duration_ms // DAY_MS} days"


def _change_terms(database: Database, state: KeyState, key: ApiKey) -> None:
    """Write a key's terms; a limit that is new, or counts in another period, counts anew what was spent in that."""
    from tokenhub.store import ledger, spend

    before = state.key
    is_limited_otherwise = (before.spend_limit_nano, before.spend_period) != (key.spend_limit_nano, key.spend_period)
    if is_limited_otherwise and state.replaced_by is not None:
        raise Conflict(
            f"Key {key.id} has been rotated, and shares the spend limit of {state.replaced_by}: change that."
        )
    counts_anew = before.spend_period is not key.spend_period or before.spend_limit_nano is None
    if is_limited_otherwise and counts_anew:
        ledger.lock(database, key.account_id)
        store.change_terms(database, key)
        spend.recount(database, key, database.now_ms())
    else:
        store.change_terms(database, key)


def _terms_of(key: ApiKey) -> KeyTerms:
    return KeyTerms(key.name, key.expires_at_ms, key.rpm, key.spend_limit_nano, key.spend_period, key.models)


def _fields(terms: KeyTerms) -> dict[str, Any]:
    return {name: getattr(terms, name) for name in KeyTerms.__slots__}


def revoke(hub: Hub, key_id: str) -> KeyState:
    """End a key. Once this has returned, no process admits it any more (T35)."""
    with revision.change(hub.database):
        state = _state(hub.database, key_id)
        if state.key.status is not KeyStatus.REVOKED:
            store.change_key(hub.database, key_id, {"status": KeyStatus.REVOKED.value, "revoked_at": clock.now_ms()})
        return _state(hub.database, key_id)


def rotate(hub: Hub, key_id: str, grace_ms: int = DEFAULT_GRACE_MS) -> NewKey:
    """Add a key on the same terms; the old one works on for the grace, or is revoked at once without one.

    The two share one spend limit, the new one's: what either has spent in this period, or holds, counts against both.
    """
    from tokenhub.store import ledger

    if grace_ms > LONGEST_GRACE_MS:
        raise InvalidRequest(f"--grace is {_days(LONGEST_GRACE_MS)} at most.", param="grace")
    now_ms = clock.now_ms()
    with revision.change(hub.database):
        ledger.lock(hub.database, _state(hub.database, key_id).key.account_id)
        old = _state(hub.database, key_id)
        if old.key.status is KeyStatus.REVOKED:
            raise Conflict(f"Key {key_id} is revoked and cannot be rotated. Create a new one: tokenhub keys create")
        if old.replaced_by is not None:
            raise Conflict(f"Key {key_id} has been rotated already, to {old.replaced_by}. Rotate that one.")
        if old.key.expires_at_ms is not None and old.key.expires_at_ms <= now_ms:
            raise Conflict(f"Key {key_id} has expired and cannot be rotated. Create a new one: tokenhub keys create")
        made = _insert(hub.database, replace(old.key, id=new_id("key", now_ms)), now_ms, replaces=old)
        preferences.copy(hub.database, "key", key_id, made.state.key.id, now_ms)
        store.change_key(hub.database, key_id, _retired(old, now_ms, grace_ms))
        return replace(made, replaced=_state(hub.database, key_id))


def _retired(old: KeyState, now_ms: int, grace_ms: int) -> dict[str, Any]:
    if grace_ms <= 0:
        return {"status": KeyStatus.REVOKED.value, "revoked_at": now_ms}
    last = now_ms + grace_ms
    own = old.key.expires_at_ms
    return {"expires_at": last if own is None else min(own, last)}
