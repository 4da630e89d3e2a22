"""What a name means: a model anywhere, at one provider, in one region, or one dated snapshot of it.

Names are matched exactly: case, spaces, wildcards and paths have no meaning (T52, T106).
"""

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from tokenhub.catalog import tables
from tokenhub.catalog.models import Catalog, Deployment, Model
from tokenhub.errors import ModelNotFound

SUGGESTIONS = 3
_COMPARED = 12
"""Closest names that are looked at for some that may be called."""
_GUESSED_CHARS = 64
"""A longer unknown name is not compared with others: it is no slip of the pen."""


@dataclass(frozen=True, slots=True)
class Target:
    """A catalogue name, taken apart."""

    model: Model
    provider: str | None = None
    region: str | None = None
    snapshot: str | None = None
    """The dated upstream id that was asked for."""

    @property
    def name(self) -> str:
        """The name that means this and no more."""
        provider = f"{self.provider}/" if self.provider else ""
        return f"{provider}{self.snapshot or self.model.id}{f'@{self.region}' if self.region else ''}"

    def covers(self, deployment: Deployment) -> bool:
        """Say whether a deployment is one of those meant."""
        return (
            deployment.model.id == self.model.id
            and self.provider in (None, deployment.provider.id)
            and self.region in (None, deployment.region.id)
            and (self.snapshot is None or _takes(deployment, self.snapshot))
        )

    def as_asked(self, deployment: Deployment) -> Deployment:
        """Return the deployment with the snapshot that was asked for as its upstream model."""
        if self.snapshot is None:
            return deployment
        return replace(deployment, offering=replace(deployment.offering, upstream_id=self.snapshot))


def _takes(deployment: Deployment, snapshot: str) -> bool:
    return snapshot == deployment.upstream_id or snapshot in deployment.offering.snapshots


def target_of(catalog: Catalog, name: str) -> Target | None:
    """Take a catalogue name apart: ``model``, ``provider/model`` or ``provider/model@region``; None if it means nothing.

    An alias resolves first, so a maker's spelling such as ``moonshotai/kimi-k2.6`` is a name
    like any other; the catalogue has no alias that begins with a provider's id.
    """
    if model_id := catalog.names.get(name):
        return Target(catalog.models[model_id], snapshot=_snapshot(catalog.models[model_id], name))
    provider, slash, rest = name.partition("/")
    if not slash or provider not in catalog.providers:
        return None
    bare, at, region = rest.partition("@")
    if at and region not in catalog.providers[provider].regions:
        return None
    found = catalog.names.get(bare) or catalog.upstream_ids.get((provider, bare))
    if found is None:
        return None
    model = catalog.models[found]
    if not any(one.provider == provider and (not at or region in one.regions) for one in model.offerings):
        return None
    return Target(model, provider, region if at else None, _snapshot(model, bare))


def _snapshot(model: Model, name: str) -> str | None:
    """Return the name if it is a dated id that an offering takes and no alias of the model as such."""
    if name == model.id or name in model.aliases:
        return None
    return name if any(name in offering.snapshots for offering in model.offerings) else None


def unknown(name: str, closest: list[str]) -> ModelNotFound:
    """Return the refusal of a name that means no model, with the closest that can be called."""
    hint = f" Did you mean {' or '.join(closest)}?" if closest else ""
    return ModelNotFound(
        f"There is no model {_quoted(name)} here.{hint} GET /v1/models lists what can be called.",
        param="model",
        metadata={"suggestions": closest},
    )


def not_offered(model: Model, name: str, others: Collection[str]) -> ModelNotFound:
    """Return the refusal of a model that the catalogue knows but that has no price there (T14)."""
    hint = f" It is offered by {', '.join(sorted(others))}." if others else ""
    return ModelNotFound(
        f"The model {_quoted(name)} is known but not offered.{hint} GET /v1/models lists what can be called.",
        param="model",
        metadata={"suggestions": [model.id] if others else []},
    )


def _quoted(name: str) -> str:
    """Quote a client's name only if it looks like one: no control characters, no essay (T52)."""
    plain = name.replace("@", "", 1)
    return f"'{name}'" if len(name) <= _GUESSED_CHARS and tables.MODEL_NAME.fullmatch(plain) else "of that name"


def closest_names(
    catalog: Catalog,
    name: str,
    offered: Collection[str],
    plan_names: Mapping[str, object],
    may_call: Callable[[str], bool] | None = None,
) -> list[str]:
    """Return up to three names most like this one, of those that may be called, if that is asked; none for what cannot be a slip of the pen."""
    if len(name) > _GUESSED_CHARS or not tables.MODEL_NAME.fullmatch(name):
        return []
    bare = name.rpartition("/")[2].lower()
    found = catalog.names.get(bare)
    if found is not None and found in offered and (may_call is None or may_call(found)):
        return [found]
    alike = difflib.get_close_matches(bare, [*offered, *plan_names], n=_COMPARED, cutoff=0.6)
    return [one for one in alike if may_call is None or may_call(one)][:SUGGESTIONS]
