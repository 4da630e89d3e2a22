"""Which models can stand in for another: its family first, then its price class (P5, P18).

All of it is data of the catalogue: ``family`` and ``siblings`` of a model, ``price_classes``
of ``common.toml``, the prices. Which of them a key may call is the asker's question.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from tokenhub.call import Capability
from tokenhub.catalog.models import Catalog, Deployment, Lifecycle, Model

MOST = 3
"""How many are named at most."""

Offered = Callable[[str], Sequence[Deployment]]
"""A model's id to the deployments of it that may be used; none: it is not named."""


class Relation(StrEnum):
    """Why a model is named in place of another."""

    FAMILY = "family"
    PRICE_CLASS = "price_class"


@dataclass(frozen=True, slots=True)
class StandIn:
    """A model that can be asked instead."""

    model: Model
    relation: Relation

    @property
    def words(self) -> str:
        """What a person is told of it."""
        return f"{self.model.id!r} is of the same {_WORDS[self.relation]}"


_WORDS = {Relation.FAMILY: "family", Relation.PRICE_CLASS: "price class"}


def closest(catalog: Catalog, model: Model, offered: Offered, now_ms: int, most: int = MOST) -> list[StandIn]:
    """Return the models that can stand in for one, the closest first, of those for which there is a deployment.

    Its family in the order of :func:`family`, what its makers have ended last of all; and only
    when nobody living of the family can, other models of its price class.
    """
    prices = Prices(catalog, now_ms)
    living: list[StandIn] = []
    ended: list[StandIn] = []
    for one in family(catalog, model, prices):
        if deployments := offered(one.id):
            (ended if _all_retired(deployments) else living).append(StandIn(one, Relation.FAMILY))
            if len(living) == most:
                break
    if not living:
        alike = (one for one in same_price_class(catalog, model, prices) if not _all_retired(offered(one.id)))
        ended += [StandIn(one, Relation.PRICE_CLASS) for one in islice(alike, most)]
    return (living + ended)[:most]


def family(catalog: Catalog, model: Model, prices: "Prices") -> list[Model]:
    """Return a model's family: those it names in that order, then those that stay, the nearest price first.

    Ended models are only those it names.
    """
    kin = [one for one in _alike(catalog, model) if model.family and one.family == model.family]
    return sorted(
        (one for one in kin if one.lifecycle is not Lifecycle.RETIRED or one.id in model.siblings),
        key=lambda one: (
            model.siblings.index(one.id) if one.id in model.siblings else len(model.siblings),
            one.lifecycle is Lifecycle.DEPRECATED,
            *prices.distance(model, one),
        ),
    )


def same_price_class(catalog: Catalog, model: Model, prices: "Prices") -> list[Model]:
    """Return the chat models of other families in a model's price class that stay, the nearest price first.

    Nothing outside its family stands in for an embedding model: the vectors of two models do not compare.
    """
    mine = prices.class_of(model)
    if mine is None or model.capability is not Capability.CHAT:
        return []
    found = [
        one
        for one in _alike(catalog, model)
        if (one.family != model.family or not model.family)
        and one.lifecycle in (Lifecycle.ACTIVE, Lifecycle.PREVIEW)
        and prices.class_of(one) == mine
    ]
    return sorted(found, key=lambda one: prices.distance(model, one))


def _alike(catalog: Catalog, model: Model) -> list[Model]:
    """The other models that do what a model does."""
    return [one for one in catalog.models.values() if one.id != model.id and one.capability is model.capability]


class Prices:
    """The price classes of models at one moment."""

    def __init__(self, catalog: Catalog, now_ms: int) -> None:
        self._catalog, self._now_ms = catalog, now_ms
        self._known: dict[str, int | None] = {}

    def class_of(self, model: Model) -> int | None:
        """Return the number of a model's price class, 0 the cheapest; None where nothing has a price per token."""
        price = self._price(model)
        if price is None:
            return None
        fits = (number for number, one in enumerate(self._catalog.price_classes) if price <= 4 * one.up_to_atto)
        return next(fits, len(self._catalog.price_classes))

    def distance(self, model: Model, other: Model) -> tuple[int, float, int]:
        """Return how far apart two prices are: in classes, then in proportion.

        Of equals the newer model is nearer, and else the catalogue's order holds.
        """
        mine, its = self.class_of(model), self.class_of(other)
        if mine is None or its is None:
            return int(mine is not its), 0.0, -other.created
        own, another = self._price(model) or 0, self._price(other) or 0
        return abs(mine - its), abs(math.log((own + 1) / (another + 1))), -other.created

    def _price(self, model: Model) -> int | None:
        """What four tokens cost at a model's cheapest offering; None when it has none, or none per token."""
        if model.id not in self._known:
            cards = [endpoint.prices.at(self._now_ms) for endpoint in self._catalog.endpoints.get(model.id, ())]
            self._known[model.id] = min((card.rates.of_four for card in cards if not card.units), default=None)
        return self._known[model.id]


def _all_retired(deployments: Sequence[Deployment]) -> bool:
    return all(one.offering.lifecycle is Lifecycle.RETIRED for one in deployments)
