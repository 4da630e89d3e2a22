"""The shipped data and the operator's overrides to one frozen Catalog, or a refusal of the whole (T111).

Shipped data are the TOML files beside this module. An override adds to them or changes
them; it has the form of the same tables, as JSON in the store, so ``providers add`` needs
no code and a price can be corrected without a release.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenhub.catalog import tables
from tokenhub.catalog.fields import Fields, refusal
from tokenhub.catalog.models import Catalog, Endpoint, Model, PriceClass, Provider
from tokenhub.catalog.price_tables import UNIT_PRICES
from tokenhub.errors import SetupError
from tokenhub.money import InvalidAmount

Table = Mapping[str, Any]

PRICE_KEYS = ("price", "price_tiers", "scheduled_prices", "price_windows", "price_cny", *UNIT_PRICES)
"""What a ``price`` override may hold: it replaces all of these of an offering."""


@dataclass(frozen=True, slots=True)
class Override:
    """What the operator adds or changes.

    ``provider`` and ``model``: a table as in the data files; of one that exists, only the
    keys given change, regions and offerings one by one. ``price``: named
    ``provider/model`` or ``provider/model@region``, replaces all prices there; without
    ``price`` in it the model is no longer offered there.
    """

    kind: str
    name: str
    data: Table


@dataclass(frozen=True, slots=True)
class Sources:
    """Tables by id, not yet read, with the place each came from."""

    providers: Mapping[str, Table]
    models: Mapping[str, Table]
    calendars: Mapping[str, frozenset[str]]
    places: Mapping[tuple[str, str], str]
    price_classes: tuple[PriceClass, ...] = ()


def load(overrides: Sequence[Override] = ()) -> Catalog:
    """Return the catalogue with these overrides; raises SetupError that names the first fault.

    What ships is read once in a process, and what no override changes is shared by all catalogues.
    """
    return _read(_with_overrides(_shipped(), overrides), _shipped_catalog()) if overrides else _shipped_catalog()


def model_table(overrides: Sequence[Override], model_id: str) -> Table:
    """Return a model's table as it stands in the data files, or as overrides have changed it."""
    return _with_overrides(_shipped(), overrides).models[model_id]


@cache
def _shipped_catalog() -> Catalog:
    return _read(_shipped(), Catalog({}, {}, {}, {}, {}))


def _read(sources: Sources, known: Catalog) -> Catalog:
    """Read tables to a catalogue; what ``known`` has of tables that are as shipped is taken from there."""
    shipped = _shipped()
    kept_providers = {name for name in known.providers if sources.providers[name] is shipped.providers[name]}
    kept_models = {name for name in known.models if sources.models[name] is shipped.models[name]}
    providers = {
        name: known.providers[name]
        if name in kept_providers
        else tables.provider(table, sources.places["provider", name], custom=name not in shipped.providers)
        for name, table in sources.providers.items()
    }
    models = {
        name: known.models[name]
        if name in kept_models
        else tables.model(table, sources.places["model", name], providers, sources.calendars)
        for name, table in sources.models.items()
    }
    names = _names(models, providers)
    _check_siblings(models)
    endpoints = {
        name: known.endpoints[name]
        if name in kept_models and kept_providers.issuperset(one.provider for one in model.offerings)
        else _endpoints(model, providers)
        for name, model in models.items()
    }
    return Catalog(models, providers, names, _upstream_ids(models), endpoints, sources.price_classes)


@cache
def _shipped() -> Sources:
    files = sorted(Path(__file__).with_name("data").glob("*.toml"))
    return parse({file.name: file.read_text(encoding="utf-8") for file in files})


def parse(texts: Mapping[str, str]) -> Sources:
    """Parse catalogue files (name to TOML text); raises SetupError for broken TOML and for ids that occur twice."""
    found: dict[str, dict[str, Table]] = {"provider": {}, "model": {}}
    calendars: dict[str, frozenset[str]] = {}
    places: dict[tuple[str, str], str] = {}
    classes: list[PriceClass] = []
    for file, text in texts.items():
        data = _document(file, text)
        for kind in found:
            for table in data.take(f"{kind}s", list, []):
                name = str(table.get("id", ""))
                if name in found[kind]:
                    raise data.bad(f"{kind} {name[:60]!r} occurs twice")
                found[kind][name] = {"owner": data.left.get("owner", ""), **table} if kind == "model" else table
                places[kind, name] = f"{file}, {kind} {name[:60]}"
        calendars.update({name: frozenset(days) for name, days in data.take("calendars", dict, {}).items()})
        classes += [tables.price_class(one) for one in data.tables("price_classes")]
        data.take("owner", str, "")
        data.take("fx", dict, {})
        data.end()
    return Sources(
        found["provider"], found["model"], calendars, places, tuple(sorted(classes, key=lambda one: one.up_to_atto))
    )


def _document(file: str, text: str) -> Fields:
    try:
        return Fields(tomllib.loads(text), file)
    except tomllib.TOMLDecodeError as error:
        raise refusal(file, str(error)) from None


def _with_overrides(shipped: Sources, overrides: Sequence[Override]) -> Sources:
    """Apply overrides: providers before models before prices, in the order of their names."""
    providers, models, places = dict(shipped.providers), dict(shipped.models), dict(shipped.places)
    for one in sorted(overrides, key=lambda one: (_ORDER.get(one.kind, 9), one.name)):
        fields = Fields(one.data, f"override of {one.kind[:20]} {one.name[:80]!r}")
        if one.kind == "price":
            _override_price(models, one, fields)
        elif one.kind in _PARTS:
            kept = providers if one.kind == "provider" else models
            kept[one.name] = _merged(kept.get(one.name, {}), one, fields)
            places[one.kind, one.name] = fields.where
        else:
            raise fields.bad("kind must be provider, model or price")
    return Sources(providers, models, shipped.calendars, places, shipped.price_classes)


def _region_key(region: Table) -> object:
    return region.get("id", "default")


def _offering_key(offering: Table) -> object:
    return (offering.get("provider"), *offering.get("regions", ("default",)))


_ORDER = {"provider": 0, "model": 1, "price": 2}
_PARTS: Mapping[str, tuple[str, Callable[[Table], object]]] = {
    "provider": ("regions", _region_key),
    "model": ("offerings", _offering_key),
}
"""The list inside a table whose entries are overridden one by one, and what tells entries apart."""


def _merged(old: Table, override: Override, fields: Fields) -> Table:
    """Lay an override over what there is; aliases add up, regions and offerings are replaced by their name."""
    name, key_of = _PARTS[override.kind]
    data = dict(fields.left)
    if data.setdefault("id", override.name) != override.name:
        raise fields.bad("id differs from the override's name")
    parts = [*old.get(name, ()), *fields.take(name, list, [])]
    if not all(isinstance(part, Mapping) for part in parts):
        raise fields.bad(f"{name} must be a list of tables")
    if parts:
        data[name] = list({key_of(part): part for part in parts}.values())
    if "aliases" in data and old:
        data["aliases"] = list(dict.fromkeys((*old.get("aliases", ()), *fields.texts("aliases"))))
    return {**old, **data}


def _override_price(models: dict[str, Table], override: Override, fields: Fields) -> None:
    """Replace the prices of one provider's offering of a model, in all its regions or in one."""
    place, _, region = override.name.partition("@")
    provider, _, model = place.partition("/")
    table = models.get(model)
    if table is None:
        raise fields.bad(f"there is no model {model[:60]!r}")
    if unknown := fields.left.keys() - set(PRICE_KEYS):
        raise fields.bad(f"unknown key {sorted(unknown)[0][:60]!r}; allowed are {', '.join(PRICE_KEYS)}")
    offerings = [part for one in table.get("offerings", ()) for part in _split(one, region)]
    hit = [one for one in offerings if one["provider"] == provider and region in ("", *one["regions"])]
    if not hit:
        raise fields.bad(f"there is no offering of {model} at {provider[:60]!r} {region[:60]}".rstrip())
    stated = {key: value for key, value in fields.left.items() if value is not None}
    models[model] = {**table, "offerings": [_repriced(one, stated) if one in hit else one for one in offerings]}


def _split(offering: Table, region: str) -> list[Table]:
    """Divide an offering into one for this region and one for its others, so that one can be priced alone."""
    regions = tuple(offering.get("regions", ("default",)))
    if region not in regions or len(regions) == 1:
        return [{**offering, "regions": list(regions)}]
    others = [one for one in regions if one != region]
    return [{**offering, "regions": [region]}, {**offering, "regions": others}]


def _repriced(offering: Table, stated: Table) -> Table:
    kept = {key: value for key, value in offering.items() if key not in PRICE_KEYS}
    return {**kept, **stated, "source": "operator"}


def _names(models: Mapping[str, Model], providers: Mapping[str, Provider]) -> dict[str, str]:
    """Return every name a model has, to its id; raises SetupError for one that means two models (T106).

    An alias leads to a model and never to another alias, so there is no chain and no loop.
    Upstream ids are names too where no name says otherwise and only one model is meant.
    """
    names = {model_id: model_id for model_id in models}
    for model in models.values():
        for alias in model.aliases:
            if names.setdefault(alias, model.id) != model.id or alias == model.id:
                raise _bad_name(alias, f"is a name of {names[alias]} already and cannot be an alias of {model.id}")
    for name in names:
        if not tables.MODEL_NAME.fullmatch(name) or len(name) > tables.MODEL_NAME_CHARS:
            raise _bad_name(name, "is not a name a model can have")
        if name.partition("/")[0] in providers and "/" in name:
            raise _bad_name(name, "begins with a provider's id, which would pin that provider")
    meanings: dict[str, set[str]] = {}
    for (_, upstream_id), model_ids in _meanings(models).items():
        meanings.setdefault(upstream_id, set()).update(model_ids)
    for upstream_id, model_ids in meanings.items():
        if len(model_ids) == 1 and upstream_id.partition("/")[0] not in providers:
            names.setdefault(upstream_id, *model_ids)
    return names


def _bad_name(name: str, problem: str) -> SetupError:
    return refusal(f"the name {name[:80]!r}", problem)


def _meanings(models: Mapping[str, Model]) -> dict[tuple[str, str], set[str]]:
    """Return which models each upstream id of each provider stands for."""
    found: dict[tuple[str, str], set[str]] = {}
    for model in models.values():
        for offering in model.offerings:
            for upstream_id in (offering.upstream_id, *offering.snapshots):
                found.setdefault((offering.provider, upstream_id), set()).add(model.id)
    return found


def _upstream_ids(models: Mapping[str, Model]) -> dict[tuple[str, str], str]:
    return {place: min(model_ids) for place, model_ids in _meanings(models).items() if len(model_ids) == 1}


def _check_siblings(models: Mapping[str, Model]) -> None:
    for model in models.values():
        for sibling in model.siblings:
            if sibling not in models or models[sibling].family != model.family:
                raise _bad_name(sibling, f"is named as a sibling of {model.id} but is not of its family")


def _endpoints(model: Model, providers: Mapping[str, Provider]) -> tuple[Endpoint, ...]:
    """Return a model's priced offerings, one per region, with the region's multiplier applied."""
    found = []
    for offering in model.offerings:
        for region_id in offering.regions if offering.prices else ():
            provider = providers[offering.provider]
            region = provider.regions[region_id]
            multiplier = region.price_multiplier if model.traits["regional_uplift"] else "1"
            assert offering.prices is not None
            try:
                prices = offering.prices.multiplied(multiplier)
            except InvalidAmount as error:
                raise _bad_name(f"{provider.id}/{model.id}@{region_id}", f"cannot be priced: {error}") from None
            found.append(Endpoint(model, provider, region, offering, prices))
    return tuple(found)
