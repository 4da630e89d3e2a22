"""Deployments and plans made by hand, or at random, for tests of routing."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tokenhub.call import Call, Capability
from tokenhub.catalog.models import Credential, Deployment, Lifecycle, Model, Offering, Provider, Region
from tokenhub.catalog.prices import PriceCard, PricePeriod, PriceSchedule, Rates
from tokenhub.catalog.quirks import QUIRKS, TRAITS, filled
from tokenhub.catalog.resolve import Resolution, Scope
from tokenhub.routing import route, survey
from tokenhub.routing.availability import Observed
from tokenhub.routing.boundaries import Chain, Scoped
from tokenhub.routing.preferences import Preferences
from tokenhub.routing.route import Route
from tokenhub.routing.standing import Availability, Standing
from tokenhub.routing.survey import Survey

NOW_MS = 1_800_000_000_000
ATTO_PER_MILLION_USD = 10**12
DATA_REGIONS = ("eu", "de", "fr", "us", "cn", "global", "unknown", "self-hosted")
POLICIES = ("unknown", "no_training", "no_retention")


def rates(prompt: int, completion: int) -> Rates:
    """Rates in whole USD per million tokens."""
    price, output = prompt * ATTO_PER_MILLION_USD, completion * ATTO_PER_MILLION_USD
    return Rates(price, output, price, price, price, price, price, output, output)


def provider(name: str, policy: str = "unknown", **quirks: Any) -> Provider:
    """A provider with a region for every data region there is."""
    regions = {one: Region(one, f"https://{name}-{one}.example/v1", one) for one in DATA_REGIONS}
    return Provider(name, name, "openai_compatible", regions, quirks=filled(QUIRKS, quirks), data_policy=policy)


def model(name: str, *, aliases: tuple[str, ...] = (), context: int | None = 100_000, images: bool = False, **traits: Any) -> Model:  # fmt: skip
    """A chat model without offerings."""
    reads = ("text", "image") if images else ("text",)
    return Model(
        name, name, Capability.CHAT, Lifecycle.ACTIVE, (),
        aliases=aliases, context=context, input_modalities=reads, traits=filled(TRAITS, traits),
    )  # fmt: skip


def deployment(
    at: Provider, region: str, of: Model, *, credential: int = 1, price: tuple[int, int] = (1, 4), weight: int = 1
) -> Deployment:
    """A model at a provider's region."""
    prices = PriceSchedule((PricePeriod(0, PriceCard(rates(*price))),))
    offering = Offering(at.id, (region,), of.id, prices, Lifecycle.ACTIVE, None, None)
    opened = Credential(credential, at.id, region, "", "sk-made", weight=weight)
    return Deployment(of, at, at.regions[region], offering, opened, prices, weight)


def chain(**scopes: Preferences) -> Chain:
    """A chain of the scopes given, the widest first."""
    order = ("installation", "plan", "account", "key", "request")
    return tuple(Scoped(scope, scope[:1], scopes[scope]) for scope in order if scope in scopes)


def surveyed(groups: Sequence[Sequence[Deployment]], around: Chain = (), name: str = "asked") -> Survey:
    """What a name comes to inside a chain."""
    models = tuple(group[0].model for group in groups if group)
    found = Resolution(name, models, tuple(tuple(group) for group in groups), pinned=False)
    return survey.survey(found, around, Scope())


def planned(groups: Sequence[Sequence[Deployment]], around: Chain = (), **options: Any) -> Route:
    """Plan a small chat call."""
    given: dict[str, Any] = {"availability": Observed(), "seed": b"session", "now_ms": NOW_MS, "max_attempts": 3}
    call = options.pop("call", CALL)
    return route.plan(call, [surveyed(groups, around)], **{**given, **options})


CALL = Call(Capability.CHAT, "asked", input_bytes=2_000, messages=1)


@dataclass
class Standings(Availability):
    """How some deployments stand; the others are well."""

    known: dict[str, Standing]

    def state(self, deployment_id: str, credential_id: int, now_ms: int) -> Standing:
        return self.known.get(deployment_id, Standing())


# At random ---------------------------------------------------------------------------------------------


@cache
def _provider(name: str, policy: str, formats: tuple[str, ...]) -> Provider:
    return provider(name, policy, response_formats=formats)


class Dice:
    """Random worlds: catalogues, boundaries, states and calls, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.providers = [
            _provider(name, self.random.choice(POLICIES), self.random.choice((("text",), ("text", "json_object", "json_schema"))))
            for name in ("alpha", "beta", "gamma", "delta")
        ]  # fmt: skip
        self.models = [
            model(
                name, aliases=(f"{name}-latest",), context=self.random.choice((None, 100, 200_000)),
                images=self.random.random() < 0.5, tools=self.random.random() < 0.7, json_schema=self.random.random() < 0.7,
            )
            for name in ("one", "two", "three")
        ]  # fmt: skip

    def some(self, names: Sequence[str], most: int = 3) -> frozenset[str]:
        return frozenset(
            self.random.sample(list(names), self.random.randint(0 if self.random.random() < 0.1 else 1, most))
        )

    def groups(self) -> list[list[Deployment]]:
        models = self.random.sample(self.models, self.random.randint(1, 3))
        return [self._group(one) for one in models]

    def _group(self, of: Model) -> list[Deployment]:
        drawn = self.random
        places = {
            (one.id, region, drawn.randint(1, 2)): one
            for one in drawn.choices(self.providers, k=drawn.randint(0, 8))
            for region in drawn.choices(DATA_REGIONS, k=1)
        }
        return [
            deployment(
                one, region, of, credential=number * 10 + self.providers.index(one),
                price=(drawn.randint(0, 5), drawn.randint(0, 20)), weight=drawn.randint(1, 5),
            )
            for (_, region, number), one in places.items()
        ]  # fmt: skip

    def preferences(self, *, of_request: bool = False) -> dict[str, Any]:
        """What a scope could set, as plain JSON; each member in a quarter of the cases."""
        drawn = self.random
        names = [one.id for one in self.providers]
        places = [*names, "alpha@eu", "beta@us", "gamma@cn"]
        models = ["one", "two", "three", "one-latest", "alpha/two", "beta/three-latest"]
        members: dict[str, Any] = {
            "regions": lambda: self.some(("eu", "de", "us", "cn", "self-hosted")),
            "deny_regions": lambda: self.some(("eu", "fr", "cn", "us"), 2),
            "providers": lambda: self.some(places),
            "deny_providers": lambda: self.some(places, 2),
            "models": lambda: self.some(models),
            "deny_models": lambda: self.some(models, 2),
            "data_policy": lambda: drawn.choice(POLICIES[1:]),
            "order": lambda: drawn.sample(places, drawn.randint(1, 3)),
            "sort": lambda: drawn.choice(("price", "latency", "throughput")),
            "max_price": lambda: drawn.choice(({"prompt": "3"}, {"completion": "10"}, {"prompt": "2", "completion": "15"})),
            "failover": lambda: drawn.random() < 0.5,
            "max_attempts": lambda: drawn.randint(1, 3),
        }  # fmt: skip
        if of_request:
            for name in ("regions", "deny_regions", "models", "deny_models"):
                del members[name]
        chosen = {name: make() for name, make in members.items() if drawn.random() < 0.15}
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in chosen.items()}

    def standing(self) -> Standing:
        drawn = self.random
        code = drawn.choice(("", "", "", "circuit_open", "half_open", "cooling_down", "credential_failed"))
        at = NOW_MS + drawn.randint(1, 90_000) if code else 0
        measured = (drawn.uniform(50, 3_000), drawn.uniform(5, 200)) if drawn.random() < 0.7 else (None, None)
        return Standing(not code, code, at, *measured)

    def call(self) -> Call:
        drawn = self.random
        return Call(
            Capability.CHAT, "asked", input_bytes=drawn.choice((200, 2_000, 60_000)), messages=1,
            images=drawn.choice((0, 0, 0, 1)), choices=drawn.choice((1, 1, 1, 2)), uses_tools=drawn.random() < 0.2,
            wants_json_schema=drawn.random() < 0.15,
        )  # fmt: skip
