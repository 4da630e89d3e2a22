"""What a name means to a caller, with all that does not depend on the single request done once.

A survey is made per snapshot, name and chain of boundaries, and kept: planning then touches
only what the request itself decides.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.catalog.prices import PriceCard
from tokenhub.catalog.resolve import Resolution, Scope
from tokenhub.routing import affinity, boundaries
from tokenhub.routing.boundaries import Chain, Exclusion, Wishes
from tokenhub.values import value

BYTES_PER_TOKEN: Final = 4
"""The usual density of text: beyond it, a context is likely too short, and its deployment is tried last."""
_LANES: Final = 64
"""Remembered per group: the kinds of calls are few."""


@dataclass(frozen=True, slots=True, eq=False)
class Entrant:
    """A deployment, and the rule of its caller's scopes that keeps it out, if any."""

    deployment: Deployment
    id: str
    mark: int
    """By which it takes part in every session's draw."""
    provider_id: str
    place: str
    """``provider@region``."""
    credential_id: int
    prompt_usual: int
    """Bytes of a prompt that usually fit into its context."""
    prompt_most: int
    """Bytes beyond which none does."""
    exclusion: Exclusion | None


Weighed = tuple[Entrant, PriceCard, float]
"""An entrant with the card that holds at a moment and its weight by it."""
Outside = tuple[Entrant, Exclusion]


@value
class Lane:
    """A group as one kind of call finds it."""

    inside: Sequence[Weighed]
    """Those that break no rule and can do what is asked."""
    outside: Sequence[Outside]


class Group:
    """One model's entrants. What prices and kinds of calls make of them is worked out once."""

    __slots__ = ("_changes", "_lanes", "entrants")

    def __init__(self, entrants: Sequence[Entrant]) -> None:
        self.entrants = tuple(entrants)
        schedules = [one.deployment.prices for one in self.entrants]
        self._changes = any(len(one.periods) > 1 or one.periods[0].windows for one in schedules)
        self._lanes: dict[object, Lane] = {}

    def at(self, now_ms: int) -> tuple[Weighed, ...]:
        """Return the entrants with their price cards at this moment and the weights these give."""
        cards = [one.deployment.prices.at(now_ms) for one in self.entrants]
        inside = [card.compared for one, card in zip(self.entrants, cards, strict=True) if one.exclusion is None]
        cheapest = min(inside, default=0)
        return tuple(
            (one, card, one.deployment.weight * affinity.share(card.compared, cheapest))
            for one, card in zip(self.entrants, cards, strict=True)
        )

    def lane(self, call: Call, now_ms: int) -> Lane:
        """Return the entrants sorted into those that can serve such a call at this moment's prices, and the others."""
        cards = [id(one.deployment.prices.at(now_ms)) for one in self.entrants] if self._changes else ()
        key = (
            call.capability, call.uses_tools, call.wants_json_schema, call.choices, call.images > 0, call.files > 0,
            call.wire is Wire.COMPLETIONS, *cards,
        )  # fmt: skip
        found = self._lanes.get(key)
        if found is None:
            if len(self._lanes) >= _LANES:
                self._lanes.clear()
            found = self._lanes[key] = self._lane(call, now_ms)
        return found

    def _lane(self, call: Call, now_ms: int) -> Lane:
        inside: list[Weighed] = []
        outside: list[Outside] = []
        for weighed in self.at(now_ms):
            one = weighed[0]
            why = one.exclusion or boundaries.by_ability(one.deployment, call)
            if why is None:
                inside.append(weighed)
            else:
                outside.append((one, why))
        return Lane(inside, outside)


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """A name, what it means, and what a caller's boundaries leave of it."""

    name: str
    models: tuple[str, ...]
    groups: tuple[Group, ...]
    chain: Chain
    """The caller's scopes; the request's own comes at planning."""
    wishes: Wishes
    limits_price: bool
    requires_parameters: bool
    inside: Mapping[str, Deployment]
    """The deployments that break no rule of the caller's scopes, by id."""


def survey(found: Resolution, chain: Chain, scope: Scope) -> Survey:
    """Return what a resolved name comes to inside a chain; ``scope`` is the key's own list of models."""
    groups = tuple(Group([_entrant(one, chain, scope) for one in group]) for group in found.groups)
    entrants = [one for group in groups for one in group.entrants if one.exclusion is None]
    return Survey(
        name=found.asked,
        models=tuple(model.id for model in found.models),
        groups=groups,
        chain=chain,
        wishes=boundaries.wishes(chain),
        limits_price=any(scoped.preferences.max_price is not None for scoped in chain),
        requires_parameters=any(scoped.preferences.require_parameters for scoped in chain),
        inside={one.id: one.deployment for one in reversed(entrants)},
    )


def outside(deployment: Deployment, chain: Chain, scope: Scope) -> Exclusion | None:
    """Return the rule that keeps a deployment out for every request of a caller; ``scope`` is the key's own list of models."""
    if not scope.allows(deployment):
        return Exclusion("key_models", "key", detail="not among the models of this key")
    return boundaries.by_rule(deployment, chain)


def _entrant(deployment: Deployment, chain: Chain, scope: Scope) -> Entrant:
    context = deployment.context or sys.maxsize
    return Entrant(
        deployment,
        deployment.id,
        affinity.mark_of(deployment.id),
        deployment.provider.id,
        f"{deployment.provider.id}@{deployment.region.id}",
        deployment.credential.id,
        context * BYTES_PER_TOKEN,
        context * boundaries.BYTES_PER_TOKEN_MOST,
        outside(deployment, chain, scope),
    )
