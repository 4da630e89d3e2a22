"""What can be called: providers, regions, models, offerings, and the deployment that joins them.

All of it is data, frozen once loaded. A *deployment* is the one record that is filtered,
tried, billed and logged: provider, region, credential, upstream model and price travel
together and cannot be mixed (T105).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tokenhub.call import Capability, Wire
from tokenhub.catalog.prices import PriceSchedule


class Lifecycle(StrEnum):
    ACTIVE = "active"
    PREVIEW = "preview"
    DEPRECATED = "deprecated"
    """Callable, with an end date."""
    RETIRED = "retired"
    """The provider has ended it: still listed, attempted when asked for by name."""


@dataclass(frozen=True, slots=True)
class Region:
    """One host of a provider. ``data_region`` says where inference runs; ``global`` is in no region (T104)."""

    id: str
    base_url: str
    data_region: str
    price_multiplier: str = "1"
    """What list prices are multiplied by here, for models with the trait ``regional_uplift``."""
    body_fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields that select this region in the request body (Anthropic's ``inference_geo``)."""
    data_policy: str | None = None
    """What holds here alone; None: what the provider states. ``data_policy.of`` says what holds of a deployment."""
    data_policy_source: str = ""
    data_policy_date: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class SpokenWire:
    """A wire that a provider speaks beside the one of its adapter, under the same key."""

    path: str
    """Where it is: from ``/`` on at the address's origin, else under the base URL."""
    models: tuple[str, ...] = ()
    """Beginnings of the upstream ids that can be called in it; empty: all."""
    adapter: str = ""
    """The adapter that calls it, by its name in ``providers/registry.py``; empty: the provider's."""
    source: str = ""

    def url(self, base_url: str) -> str:
        """Return its address beside this base URL."""
        if not self.path.startswith("/"):
            return f"{base_url}/{self.path}"
        scheme, _, rest = base_url.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}{self.path}"


@dataclass(frozen=True, slots=True)
class Provider:
    """A company whose API can be called. How its wire deviates from the plain one is in ``quirks``."""

    id: str
    name: str
    adapter: str
    """A name in ``providers/registry.py``: openai, anthropic, gemini, openai_compatible."""
    regions: Mapping[str, Region]
    auth: str = "bearer"
    """bearer, x-api-key, x-goog-api-key, api-key, none."""
    models_path: str = "/models"
    """Where the provider lists its models; empty: nowhere."""
    quirks: Mapping[str, Any] = field(default_factory=dict)
    """Every key of ``quirks.QUIRKS``, defaults filled in."""
    wires: Mapping[Wire, SpokenWire] = field(default_factory=dict)
    """Wires of clients that it understands itself, so that their bodies pass untranslated."""
    data_policy: str = "unknown"
    """What it has stated about the data of requests: no_training, no_retention (which includes it), or unknown, which means no (T104)."""
    data_policy_source: str = ""
    data_policy_date: str = ""
    custom: bool = False
    """Added by the operator, not part of the shipped catalogue."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Offering:
    """A model as one provider sells it in some of its regions."""

    provider: str
    regions: tuple[str, ...]
    upstream_id: str
    prices: PriceSchedule | None
    """None: no price is known, so the model is not offered there (T14)."""
    lifecycle: Lifecycle
    context: int | None
    max_output: int | None
    snapshots: tuple[str, ...] = ()
    """Dated upstream ids that may be asked for by name and are sent upstream as asked; same price."""
    price_cny: Mapping[str, str] = field(default_factory=dict)
    """The list price in CNY per million where that is what the provider bills; a remark, never charged."""
    source: str = ""
    source_date: str = ""
    confidence: str = "high"
    """high, medium or low: how sure the price is."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A model by its TokenHub name, with everyone who offers it."""

    id: str
    name: str
    capability: Capability
    lifecycle: Lifecycle
    offerings: tuple[Offering, ...]
    owner: str = ""
    """Who made it: OpenAI's ``owned_by``."""
    aliases: tuple[str, ...] = ()
    family: str = ""
    """Models of one family can stand in for each other when one is gone (P5, P18)."""
    siblings: tuple[str, ...] = ()
    """Those of the family to name first."""
    context: int | None = None
    max_output: int | None = None
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    retire_date: str | None = None
    created: int = 0
    """Seconds since 1970, for OpenAI's ``created``; 0 where it is not known."""
    traits: Mapping[str, Any] = field(default_factory=dict)
    """Facts that adapters need: every key of ``quirks.TRAITS``, defaults filled in."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """The hub's key at a provider's region, opened. ``secret`` must never be shown or logged."""

    id: int
    provider: str
    region: str
    label: str
    secret: str = field(repr=False)
    base_url: str | None = None
    """Overrides the region's base URL: workspace hosts, self-hosted servers, tests."""
    weight: int = 1
    data_policy: str | None = None
    """What the operator's own agreement with the provider says; None: what the provider states."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model at one provider, region, credential and price: filtered, tried, billed and logged as one."""

    model: Model
    provider: Provider
    region: Region
    offering: Offering
    credential: Credential
    prices: PriceSchedule
    """The offering's prices with the region's multiplier applied."""
    weight: int = 1
    id: str = field(init=False, compare=False)
    """``provider/model@region#credential``; names the deployment in logs and decisions."""

    def __post_init__(self) -> None:
        place = f"{self.provider.id}/{self.model.id}@{self.region.id}#{self.credential.id}"
        object.__setattr__(self, "id", place)

    @property
    def base_url(self) -> str:
        return self.credential.base_url or self.region.base_url

    @property
    def destination(self) -> tuple[object, ...]:
        """Where its requests go, in whose name and for which model; one of the same id may have come to differ in it."""
        provider = self.provider
        address = (self.base_url, self.region.body_fields, provider.adapter, provider.wires)
        return *address, provider.auth, self.credential.secret, self.upstream_id

    @property
    def upstream_id(self) -> str:
        return self.offering.upstream_id

    def speaks(self, wire: Wire) -> bool:
        """Say whether this deployment can be called in a wire beside its adapter's own."""
        spoken = self.provider.wires.get(wire)
        return spoken is not None and (not spoken.models or self.upstream_id.startswith(spoken.models))

    def url_of(self, wire: Wire) -> str:
        """Return where it is called in a wire that it speaks."""
        return self.provider.wires[wire].url(self.base_url)

    @property
    def max_output(self) -> int | None:
        return self.offering.max_output or self.model.max_output

    @property
    def context(self) -> int | None:
        return self.offering.context or self.model.context


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An offering in one of its regions: a deployment that only lacks a credential."""

    model: Model
    provider: Provider
    region: Region
    offering: Offering
    prices: PriceSchedule
    """The offering's prices with the region's multiplier applied."""

    def with_credential(self, credential: Credential) -> Deployment:
        return Deployment(
            self.model, self.provider, self.region, self.offering, credential, self.prices, credential.weight
        )


@dataclass(frozen=True, slots=True)
class PriceClass:
    """Models that cost about the same, so that one can be named in place of another."""

    id: str
    up_to_atto: int
    """The most that a token costs in it, three of input to one of output, in atto-USD."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All that can be called, frozen; ``load.load`` makes it, ``resolve.resolve`` answers from it."""

    models: Mapping[str, Model]
    providers: Mapping[str, Provider]
    names: Mapping[str, str]
    """Every model id, alias and unambiguous upstream id, to the model's id."""
    upstream_ids: Mapping[tuple[str, str], str]
    """(provider, upstream id or snapshot) to the model's id, where only one model is meant."""
    endpoints: Mapping[str, tuple[Endpoint, ...]]
    """Model id to what has a price: no price, no endpoint (T14)."""
    price_classes: tuple[PriceClass, ...] = ()
    """The cheapest first; what is dearer than the last is in a class of its own."""

    def deployments(self, model_id: str, credentials: Iterable[Credential]) -> list[Deployment]:
        """Join a model's endpoints with the credentials of their provider and region.

        An address with a place to fill in, such as ``{WorkspaceId}``, needs a credential that
        brings its own.
        """
        by_place: dict[tuple[str, str], list[Credential]] = {}
        for credential in credentials:
            by_place.setdefault((credential.provider, credential.region), []).append(credential)
        return [
            endpoint.with_credential(credential)
            for endpoint in self.endpoints.get(model_id, ())
            for credential in by_place.get((endpoint.provider.id, endpoint.region.id), ())
            if credential.base_url or "{" not in endpoint.region.base_url
        ]

    def offered(self, credentials: Iterable[Credential]) -> dict[str, list[Deployment]]:
        """Return every model that these credentials can call, with its deployments."""
        held = tuple(credentials)
        found = ((model_id, self.deployments(model_id, held)) for model_id in self.endpoints)
        return {model_id: deployments for model_id, deployments in found if deployments}
