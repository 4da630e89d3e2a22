"""The snapshot a request is planned on: catalogue and credentials, read together, frozen, swapped whole.

It may only plan. Whether its versions still hold is decided by the write that places the
hold, so a stale snapshot costs a second look and never a wrong answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from tokenhub.accounts.accounts import Caller
from tokenhub.call import INSIDE, TRANSLATED, Call, Wire
from tokenhub.catalog import load, resolve
from tokenhub.catalog.models import Catalog, Credential, Deployment
from tokenhub.catalog.resolve import Resolution, Scope
from tokenhub.errors import ModelNotFound
from tokenhub.providers.adapter import Adapter
from tokenhub.providers.registry import adapters_of
from tokenhub.routing import survey
from tokenhub.routing.boundaries import Chain
from tokenhub.routing.survey import Survey
from tokenhub.store import accounts, catalog, preferences
from tokenhub.store.database import Database
from tokenhub.store.vault import Vault

_RESOLUTIONS = 4096
"""Remembered resolutions, and surveys, per snapshot; names that do not resolve are not remembered."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Catalogue and credentials at one catalogue version."""

    installation_version: int
    catalog_version: int
    revision: int
    catalog: Catalog
    credentials: tuple[Credential, ...]
    adapters: Mapping[tuple[str, Wire], Adapter]
    """How each provider is called, by provider and wire."""
    chain: Chain = ()
    """What the installation sets about routing."""
    _resolutions: dict[tuple[str, str, int, tuple[str, ...] | None], Resolution] = field(
        default_factory=dict, repr=False
    )
    _surveys: dict[tuple[str, str, int, tuple[str, ...] | None, Chain], Survey] = field(
        default_factory=dict, repr=False
    )

    def adapter(self, deployment: Deployment, call: Call) -> Adapter | None:
        """Return how a deployment is called: in the client's own wire where it speaks that, else in the one of calls inside.

        None: it cannot be, because nothing translates that wire.
        """
        provider = deployment.provider.id
        inside = INSIDE[call.capability]
        if call.wire is not inside:
            if deployment.speaks(call.wire):
                return self.adapters.get((provider, call.wire))
            if call.wire not in TRANSLATED:
                return None
        return self.adapters.get((provider, inside))

    def resolve(self, name: str, caller: Caller) -> Resolution:
        """Return what a model name means to this caller; raises ModelNotFound, or PermissionDenied by the key's own list."""
        key = (name, caller.plan.id, caller.plan.version, caller.key.models)
        found = self._resolutions.get(key)
        if found is None:
            reach = partial(self._reach, caller)
            found = resolve.resolve(self.catalog, name, caller.plan, self.credentials, reach).within(
                self._scope(caller)
            )
            if len(self._resolutions) < _RESOLUTIONS:
                self._resolutions[key] = found
        return found

    def _reach(self, caller: Caller, name: str) -> set[str]:
        """Return the providers at which a caller may call a model."""
        try:
            whole = resolve.resolve(self.catalog, name, caller.plan, self.credentials)
        except ModelNotFound:
            return set()
        found = survey.survey(whole, (*self.chain, *caller.chain), self._scope(caller))
        return {one.provider_id for group in found.groups for one in group.entrants if one.exclusion is None}

    def _scope(self, caller: Caller) -> Scope:
        return resolve.scope_of(self.catalog, caller.plan, caller.key.models)

    def survey(self, name: str, caller: Caller) -> Survey:
        """Return what a model name comes to inside this caller's boundaries; raises as ``resolve`` does.

        What the key's own list leaves out stays in it as excluded, so that a decision can say so.
        """
        key = (name, caller.plan.id, caller.plan.version, caller.key.models, caller.chain)
        found = self._surveys.get(key)
        if found is None:
            self.resolve(name, caller)
            whole = resolve.resolve(self.catalog, name, caller.plan, self.credentials)
            found = survey.survey(whole, (*self.chain, *caller.chain), self._scope(caller))
            if len(self._surveys) >= _RESOLUTIONS:
                self._surveys.clear()
            self._surveys[key] = found
        return found


def read(database: Database, vault: Vault, extra: Sequence[Credential] = ()) -> Snapshot:
    """Read a snapshot in one read transaction; ``extra`` are credentials that live with the process (the embedded model's)."""
    with database.read():
        installation_version, catalog_version, revision = accounts.versions(database)
        overrides = catalog.overrides(database)
        credentials = catalog.credentials(database, vault)
        chain = preferences.installation(database)
    loaded = load.load(overrides)
    return Snapshot(
        installation_version,
        catalog_version,
        revision,
        loaded,
        (*credentials, *extra),
        adapters_of(loaded.providers),
        chain,
    )
