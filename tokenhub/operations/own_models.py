"""Models that the operator adds to the catalogue: new ones, or known ones at another provider, shipped or their own."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenhub import clock
from tokenhub.call import Capability
from tokenhub.catalog import load
from tokenhub.catalog.load import Override, Sources, Table
from tokenhub.catalog.models import Catalog
from tokenhub.errors import InvalidRequest, NotFound, SetupError
from tokenhub.operations import models
from tokenhub.operations.hub import Hub
from tokenhub.operations.models import ModelState
from tokenhub.store import catalog as store
from tokenhub.store import revision

_FACTS: Final = (
    "capability", "owner", "family", "context", "max_output", "input_modalities", "output_modalities", "traits",
)  # fmt: skip
"""What a new model takes over from the one it is said to be like: all that is neither its name, its life nor its price."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A model at a provider. ``prices`` are decimal texts, USD per million tokens."""

    name: str
    upstream_id: str
    prices: Mapping[str, str]
    capability: str | None = None
    context: int | None = None
    max_output: int | None = None


def table(provider: str, regions: Sequence[str], one: OwnModel, *, known: bool, like: Table | None = None) -> Table:
    """Return the table of a model: of one the catalogue knows only an offering is added, its facts stay."""
    stated = (("context", one.context), ("max_output", one.max_output))
    sizes = {name: size for name, size in stated if size is not None}
    place = {"provider": provider, "regions": list(regions), "upstream_id": one.upstream_id, "source": "operator"}
    offerings = [{**place, "price": dict(one.prices), **sizes}]
    if known:
        return {"offerings": offerings}
    facts = {name: like[name] for name in _FACTS if name in like} if like else {}
    capability = one.capability or facts.get("capability", Capability.CHAT.value)
    return {**facts, "capability": capability, **sizes, "offerings": offerings}


def add(
    hub: Hub, provider_id: str, one: OwnModel, *, regions: Sequence[str] = (), like: str | None = None
) -> ModelState:
    """Offer a model at a provider from the next request on, and return it as it is offered there; what was added there before is replaced.

    ``regions``: where the provider runs it; needed where it has several and ``like``, a model
    whose facts the new one shares, is not offered there.
    """
    with revision.change(hub.database):
        overrides = store.overrides(hub.database)
        before = load.load(overrides)
        provider = models.provider(before, provider_id)
        if like and one.name in before.names:
            raise InvalidRequest(f"{one.name!r} is known and keeps its facts: leave --like out.", param="like")
        sample = load.model_table(overrides, models.target(before, like).model.id) if like else None
        regions = regions or _regions(sample, provider_id) or _only(list(provider.regions), provider_id)
        _check_shipped(before.names.get(one.name, one.name), provider_id, regions)
        own = table(provider_id, regions, one, known=one.name in before.names, like=sample)
        known = before.models.get(before.names.get(one.name, ""))
        models.check_prices(one.prices, known.capability if known else Capability(own["capability"]))
        (name,) = put(hub, before, {one.name: own}, clock.now_ms())
        models.check_plausible(models.changed(hub.database), [name])
    return _offered(hub, name, {provider_id})


def _check_shipped(model_id: str, provider_id: str, regions: Sequence[str]) -> None:
    shipped = load.load().models.get(model_id)
    for offering in shipped.offerings if shipped else ():
        if offering.provider == provider_id and set(regions).intersection(offering.regions):
            raise InvalidRequest(
                f"The catalogue has {model_id} at {provider_id} there already; to change its price: tokenhub models price {provider_id}/{model_id}"
            )


def _regions(sample: Table | None, provider_id: str) -> list[str]:
    """Return where a provider runs the model that the new one is like."""
    offerings = sample.get("offerings", ()) if sample else ()
    mine = [offering for offering in offerings if offering.get("provider") == provider_id]
    return list(dict.fromkeys(region for offering in mine for region in offering.get("regions", ("default",))))


def _only(regions: list[str], provider_id: str) -> list[str]:
    if len(regions) != 1:
        raise InvalidRequest(
            f"Say with --region where {provider_id} runs the model: {', '.join(regions)}",
            param="region",
        )
    return regions


def sources(text: str, file: str) -> Sources:
    """Read a TOML file of the catalogue's own form (``[[providers]]`` and ``[[models]]``)."""
    try:
        return load.parse({file: text})
    except SetupError as error:
        raise InvalidRequest(error.message, code=error.code) from None


def add_from_file(hub: Hub, text: str, file: str) -> list[ModelState]:
    """Add the models that a TOML file states; return them as they are offered there."""
    found = sources(text, file)
    if found.providers:
        raise InvalidRequest(f"{file!r} has [[providers]] in it: tokenhub providers add --file", param="file")
    if not found.models:
        raise InvalidRequest(f"{file!r} has no [[models]] in it. See docs/catalog.md", param="file")
    with revision.change(hub.database):
        names = put(hub, models.catalog(hub.database), found.models, clock.now_ms())
        models.check_plausible(models.changed(hub.database), names)
    sellers = {str(part.get("provider")) for own in found.models.values() for part in own.get("offerings", ())}
    return [_offered(hub, name, sellers) for name in names]


def _offered(hub: Hub, name: str, sellers: Container[str]) -> ModelState:
    """Return a model with the places where these offer it."""
    state = models.show(hub, name)
    return ModelState(state.model, tuple(place for place in state.places if place.endpoint.provider.id in sellers))


def put(hub: Hub, before: Catalog, tables: Mapping[str, Table], now_ms: int) -> list[str]:
    """Write the tables of models, in the caller's write; return the ids they are kept under."""
    known = {override.name: override for override in store.overrides(hub.database) if override.kind == "model"}
    names = []
    for name, own in tables.items():
        kept = _canonical(before, name, own)
        store.put_override(hub.database, Override("model", kept, _joined(known.get(kept), own)), now_ms)
        names.append(kept)
    return names


def _canonical(before: Catalog, name: str, own: Table) -> str:
    """Return the id of the model that this name is an alias of: an offering is added to the model, not to its alias."""
    return str(own.get("id", before.names.get(name, name)))


def _joined(old: Override | None, own: Table) -> dict[str, Any]:
    """Lay a model's table over an override that is there: its offerings at other providers stay."""
    fresh = {key: value for key, value in own.items() if key != "id"}
    if old is None:
        return fresh
    sellers = {offering.get("provider") for offering in fresh.get("offerings", ())}
    others = [offering for offering in old.data.get("offerings", ()) if offering.get("provider") not in sellers]
    return {**old.data, **fresh, "offerings": [*others, *fresh.get("offerings", ())]}


def remove(hub: Hub, name: str, provider_id: str | None = None) -> list[str]:
    """Take a model of the operator's own off, with its prices, at one provider or at all; return at which."""
    with revision.change(hub.database):
        model = models.target(models.catalog(hub.database), name).model
        own = next((one for one in store.overrides(hub.database) if (one.kind, one.name) == ("model", model.id)), None)
        sellers = sorted({str(offering.get("provider")) for offering in own.data.get("offerings", ())}) if own else []
        if provider_id is not None:
            sellers = [seller for seller in sellers if seller == provider_id]
        if not sellers:
            where = f" at {provider_id}" if provider_id else ""
            raise NotFound(
                f"{model.id}{where} is none of your own. To keep keys off it: tokenhub routing set --deny-models {model.id}"
            )
        for seller in sellers:
            withdraw(hub, seller, model.id)
        models.changed(hub.database)
    return sellers


def withdraw(hub: Hub, provider_id: str, model_id: str | None = None) -> int:
    """Take a provider's offerings, of one model or all, and their prices out of the overrides, in the caller's write.

    A model that nobody else offers goes with them. Returns how many were offered.
    """
    offered = 0
    for override in store.overrides(hub.database):
        if override.kind == "price" and _is_price_of(override.name, provider_id, model_id):
            store.delete_override(hub.database, "price", override.name)
        if override.kind != "model" or model_id not in (None, override.name):
            continue
        offerings = override.data.get("offerings", ())
        left = [offering for offering in offerings if offering.get("provider") != provider_id]
        if len(left) == len(offerings):
            continue
        offered += 1
        store.delete_override(hub.database, "model", override.name)
        if left:
            kept = Override("model", override.name, {**override.data, "offerings": left})
            store.put_override(hub.database, kept, clock.now_ms())
    return offered


def _is_price_of(place: str, provider_id: str, model_id: str | None) -> bool:
    """Whether a price's place, ``provider/model`` or ``provider/model@region``, lies at a provider, for one model or any."""
    seller, _, rest = place.partition("/")
    return seller == provider_id and model_id in (None, rest.partition("@")[0])
