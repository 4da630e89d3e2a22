"""Routing preferences of the installation, a plan, an account or a key: show, change, reset.

A change binds the next request, and the next attempt of one under way, in every process
(T107, T108): it raises the version that the write compares a request's plan with.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenhub import clock
from tokenhub.catalog.models import Catalog
from tokenhub.catalog.names import target_of
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.operations import models, plans
from tokenhub.operations.hub import Hub
from tokenhub.routing import preferences
from tokenhub.routing.boundaries import Chain, Scope, Scoped
from tokenhub.routing.preferences import Preferences
from tokenhub.store import accounts, revision
from tokenhub.store import preferences as store
from tokenhub.store.database import Database


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose preferences: a scope, and the plan's, account's or key's id."""

    scope: Scope = "installation"
    id: str = ""


@dataclass(frozen=True, slots=True)
class Effective:
    """What a subject sets itself, and the chain in which it stands, the widest scope first."""

    subject: Subject
    own: Preferences
    chain: Chain


def plan(hub: Hub, name: str) -> Subject:
    """Return the subject that is a plan; it must exist."""
    return Subject("plan", plans.existing(hub.database, name).id)


def account(account_id: int) -> Subject:
    """Return the subject that is an account."""
    return Subject("account", str(account_id))


def key(key_id: str) -> Subject:
    """Return the subject that is a key."""
    return Subject("key", key_id)


def show(hub: Hub, subject: Subject) -> Effective:
    """Return what a subject sets, and what binds it from the scopes around it."""
    with hub.database.read():
        return _effective(hub.database, subject)


def change(hub: Hub, subject: Subject, changes: Mapping[str, Any]) -> Effective:
    """Change members of a subject's preferences, named and valued as ``Preferences.dump`` does; None gives one up."""
    if not changes:
        raise InvalidRequest("Nothing to change: name at least one option. See: tokenhub routing set --help")
    with revision.change(hub.database):
        data = {**store.read(hub.database, subject.scope, subject.id).dump(), **changes}
        wanted = preferences.parse({name: value for name, value in data.items() if value is not None})
        wanted = _named(models.catalog(hub.database), wanted)
        store.write(hub.database, subject.scope, subject.id, wanted, clock.now_ms())
        return _effective(hub.database, subject)


def reset(hub: Hub, subject: Subject) -> Effective:
    """Take back all that a subject sets."""
    with revision.change(hub.database):
        store.write(hub.database, subject.scope, subject.id, preferences.NOTHING, clock.now_ms())
        return _effective(hub.database, subject)


def _effective(database: Database, subject: Subject) -> Effective:
    around = [Subject(), *_around(database, subject)]
    found = [Scoped(one.scope, one.id, store.read(database, one.scope, one.id)) for one in around]
    own = found[-1].preferences
    return Effective(subject, own, tuple(one for one in found if not one.preferences.is_empty))


def _around(database: Database, subject: Subject) -> list[Subject]:
    """Return the scopes inside the installation down to the subject; raises NotFound for one that is gone."""
    if subject.scope == "installation":
        return []
    if subject.scope == "plan":
        return [Subject("plan", plans.existing(database, subject.id).id)]
    account_id = int(subject.id) if subject.scope == "account" else _account_of(database, subject.id)
    found = accounts.account_by_id(database, account_id)
    if found is None:
        raise NotFound(f"There is no account {account_id}.")
    outer = [Subject("plan", found.plan), Subject("account", str(account_id))]
    return outer if subject.scope == "account" else [*outer, subject]


def _account_of(database: Database, key_id: str) -> int:
    found = accounts.keys_starting(database, key_id, 1)
    if not found or found[0].key.id != key_id:
        raise NotFound(f"There is no key {key_id[:60]!r}. See: tokenhub keys list")
    return found[0].key.account_id


# Names -----------------------------------------------------------------------------------------------


def _named(catalog: Catalog, wanted: Preferences) -> Preferences:
    """Refuse names that mean nothing, and write models by their own names (T106)."""
    for one in {*(wanted.providers or ()), *(wanted.deny_providers or ()), *wanted.order}:
        provider, at, region = one.partition("@")
        known = catalog.providers.get(provider)
        if known is None:
            raise NotFound(f"There is no provider {provider!r}. See: tokenhub providers list")
        if at and region not in known.regions:
            raise NotFound(f"{provider!r} has no region {region!r}; it has: {', '.join(known.regions)}")
    data = wanted.dump()
    for name in ("models", "deny_models"):
        if name in data:
            data[name] = _models(catalog, data[name])
    return preferences.parse(data)


def _models(catalog: Catalog, names: Iterable[str]) -> list[str]:
    models.check_names(catalog, names)
    return [_model(catalog, name) for name in names]


def _model(catalog: Catalog, name: str) -> str:
    """Return the name of a whole model, or of one at a provider: a rule cannot be about one dated version of it."""
    target = target_of(catalog, name)
    assert target is not None, "checked before"
    if target.snapshot is not None or target.region is not None:
        raise InvalidRequest(
            f"A rule about models names a whole model, or provider/model: {target.model.id!r} instead of {name[:100]!r}; "
            "regions have rules of their own."
        )
    return f"{target.provider}/{target.model.id}" if target.provider else target.model.id
