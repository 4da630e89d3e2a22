"""A model name to the deployments it means: ``model``, ``provider/model[@region]`` or a plan's own name.

Aliases resolve first and boundaries apply to the result, so no spelling reaches more than
the model's own name does. Which of the deployments are tried, and in what order, is the
route's business; the order here is the operator's: weight, then price.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from tokenhub.call import Capability
from tokenhub.catalog import names
from tokenhub.catalog.models import Catalog, Credential, Deployment, Lifecycle, Model
from tokenhub.catalog.names import Target
from tokenhub.catalog.plans import Plan
from tokenhub.errors import InvalidRequest, PermissionDenied


@dataclass(frozen=True, slots=True)
class Scope:
    """What a key may call; ``targets`` None: everything."""

    targets: tuple[Target, ...] | None = None

    def allows(self, deployment: Deployment) -> bool:
        """Say whether a deployment may be used; a list that names a snapshot allows that snapshot alone."""
        return self.targets is None or any(
            target.covers(deployment) and target.snapshot in (None, deployment.upstream_id) for target in self.targets
        )

    def allows_model(self, model: Model) -> bool:
        """Say whether some deployment of a model could be allowed."""
        return self.targets is None or any(target.model.id == model.id for target in self.targets)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a name means, in the order to try: ``groups[i]`` are the deployments of ``models[i]``.

    A group is empty when no credential reaches that model now.
    """

    asked: str
    models: tuple[Model, ...]
    groups: tuple[tuple[Deployment, ...], ...]
    pinned: bool
    """The client named a provider: no other one may serve it."""

    def within(self, scope: Scope) -> "Resolution":
        """Drop what a key may not call; raises PermissionDenied when that is all of it."""
        if scope.targets is None:
            return self
        kept = [
            (model, tuple(one for one in group if scope.allows(one)))
            for model, group in zip(self.models, self.groups, strict=True)
            if scope.allows_model(model)
        ]
        if not kept or (any(self.groups) and not any(group for _, group in kept)):
            allowed = ", ".join(sorted({target.name for target in scope.targets})[:8]) or "nothing"
            raise PermissionDenied(f"This key may not call {self.asked}; it may call {allowed}.", param="model")
        return replace(self, models=tuple(m for m, _ in kept), groups=tuple(group for _, group in kept))

    def require(self, capability: Capability) -> None:
        """Raise InvalidRequest when a model here is not made for this endpoint."""
        for model in self.models:
            if model.capability is not capability:
                raise InvalidRequest(
                    f"{model.id} is a model for {model.capability}; this endpoint needs one for {capability}.",
                    param="model",
                    metadata={"capability": str(model.capability)},
                )


Reach = Callable[[str], Collection[str]]
"""The providers at which a name may be called."""


def resolve(
    catalog: Catalog, name: str, plan: Plan | None, credentials: Iterable[Credential], reach: Reach | None = None
) -> Resolution:
    """Return what a name means; raises ModelNotFound, with suggestions, when it means nothing or has no price.

    ``reach``: asked, if given, before a model or a provider is named that the caller has not named.
    """
    held = tuple(credentials)
    plan_names = plan.model_names if plan else {}
    if behind := plan_names.get(name):
        targets = [target for one in behind if (target := names.target_of(catalog, one))]
    else:
        targets = [target for target in [names.target_of(catalog, name)] if target]
    if not targets:
        may_call = (lambda one: bool(reach(one))) if reach else None
        raise names.unknown(name, names.closest_names(catalog, name, catalog.offered(held), plan_names, may_call))
    priced = [target for target in targets if _has_price(catalog, target)]
    if not priced:
        model_id = targets[0].model.id
        others = reach(model_id) if reach else {endpoint.provider.id for endpoint in catalog.endpoints[model_id]}
        raise names.not_offered(targets[0].model, name, others)
    return Resolution(
        asked=name,
        models=tuple(target.model for target in priced),
        groups=tuple(_deployments(catalog, target, held) for target in priced),
        pinned=not behind and priced[0].provider is not None,
    )


def _has_price(catalog: Catalog, target: Target) -> bool:
    return any(
        target.provider in (None, endpoint.provider.id) and target.region in (None, endpoint.region.id)
        for endpoint in catalog.endpoints[target.model.id]
    )


def _deployments(catalog: Catalog, target: Target, credentials: Sequence[Credential]) -> tuple[Deployment, ...]:
    """Return a target's deployments in the operator's order, without retired ones while others live.

    A retired offering fails or is served by another model, so it is only attempted when the
    name leaves nothing else.
    """
    found = [one for one in catalog.deployments(target.model.id, credentials) if target.covers(one)]
    living = [one for one in found if one.offering.lifecycle is not Lifecycle.RETIRED]
    return tuple(target.as_asked(one) for one in sorted(living or found, key=_order))


def _order(deployment: Deployment) -> tuple[int, int, str]:
    rates = deployment.prices.periods[0].card.rates
    return -deployment.weight, 3 * rates.input + rates.output, deployment.id


def scope_of(catalog: Catalog, plan: Plan | None, allowed: Iterable[str] | None) -> Scope:
    """Return what a key's list of names allows; a plan's name allows what stands behind it, an unknown name nothing."""
    if allowed is None:
        return Scope()
    plan_names = plan.model_names if plan else {}
    spelled = [name for one in allowed for name in plan_names.get(one, (one,))]
    return Scope(tuple(target for one in spelled if (target := names.target_of(catalog, one))))


def may_call(catalog: Catalog, plan: Plan | None, allowed: Iterable[str] | None, deployment: Deployment) -> bool:
    """Say whether a key with this list of names may use a deployment."""
    return scope_of(catalog, plan, allowed).allows(deployment)


def check_names(catalog: Catalog, plan: Plan | None, allowed: Iterable[str]) -> None:
    """Refuse a key's list that holds a name which means nothing; raises ModelNotFound."""
    plan_names = plan.model_names if plan else {}
    for name in allowed:
        if name not in plan_names and names.target_of(catalog, name) is None:
            raise names.unknown(name, names.closest_names(catalog, name, catalog.models, plan_names))
