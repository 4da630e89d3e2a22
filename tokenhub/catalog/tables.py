"""Providers and models as catalogue tables, from TOML or JSON, to catalogue values."""

import re
from collections.abc import Mapping
from typing import Any

from tokenhub.call import Capability, Wire
from tokenhub.catalog.data_policy import STATEMENTS, UNKNOWN
from tokenhub.catalog.fields import Fields
from tokenhub.catalog.models import Lifecycle, Model, Offering, PriceClass, Provider, Region, SpokenWire
from tokenhub.catalog.price_tables import Calendars, schedule, seconds
from tokenhub.catalog.quirks import QUIRKS, TRAITS, Key, filled
from tokenhub.money import InvalidAmount, parse_price_per_million

PROVIDER_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]*(?:/[A-Za-z0-9][A-Za-z0-9._:+-]*){0,3}", re.ASCII)
MODEL_NAME_CHARS = 128
_BASE_URL = re.compile(r"https?://[^\s/?#@]+(?:/[^\s/?#]+)*", re.ASCII)
_WIRE_PATH = re.compile(r"/?[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*", re.ASCII)
_DATA_REGION = re.compile(r"[a-z]{2}|global|unknown|self-hosted", re.ASCII)
_ADAPTERS = ("openai", "anthropic", "gemini", "openai_compatible")
_WIRE_ADAPTERS = ("dashscope", "zhipu")
"""Adapters of single wires beside those."""
_AUTHS = ("bearer", "x-api-key", "x-goog-api-key", "api-key", "none")


def provider(table: object, where: str, *, custom: bool) -> Provider:
    """Read a provider with its regions."""
    fields = Fields(table, where)
    regions = [_region(one) for one in fields.tables("regions")]
    adapter = fields.word("adapter", _ADAPTERS, "openai_compatible")
    found = Provider(
        id=fields.match("id", PROVIDER_ID),
        name=fields.take("name", str),
        adapter=adapter,
        regions={region.id: region for region in regions},
        auth=fields.word("auth", _AUTHS, "bearer"),
        models_path=fields.take("models_path", str, "/models"),
        quirks=_filled(fields, "quirks", QUIRKS),
        wires=_wires(fields, adapter),
        data_policy=fields.word("data_policy", STATEMENTS, UNKNOWN),
        data_policy_source=fields.take("data_policy_source", str, ""),
        data_policy_date=fields.day("data_policy_date") or "",
        custom=custom,
        note=fields.take("note", str, ""),
    )
    if not regions or len(found.regions) != len(regions):
        raise fields.bad("regions must be there, each id once")
    _check_source(fields, found)
    fields.end()
    return found


def _check_source(fields: Fields, found: Provider | Region) -> None:
    """Refuse a statement about data that nobody can look up."""
    if found.data_policy not in (None, UNKNOWN) and not (found.data_policy_source and found.data_policy_date):
        raise fields.bad("data_policy needs data_policy_source and data_policy_date")


_WIRES_OF_ADAPTERS = {
    "anthropic": {Wire.MESSAGES: SpokenWire("messages")},
    "gemini": {Wire.GEMINI: SpokenWire("models")},
}
"""What every provider of an adapter speaks: its own wire."""


def _wires(fields: Fields, adapter: str) -> dict[Wire, SpokenWire]:
    """Take the wires that a provider speaks: a path each, with the models that can be called in it."""
    found = dict(_WIRES_OF_ADAPTERS.get(adapter, {}))
    for name, stated in fields.take("wires", dict, {}).items():
        if name not in tuple(Wire):
            raise fields.bad(f"wires: there is no wire {str(name)[:60]!r}")
        one = Fields(stated, f"{fields.where}, wire {name}")
        found[Wire(name)] = SpokenWire(
            path=one.match("path", _WIRE_PATH),
            models=one.texts("models"),
            adapter=one.word("adapter", ("", *_ADAPTERS, *_WIRE_ADAPTERS), ""),
            source=one.take("source", str, ""),
        )
        one.end()
    return found


def _region(fields: Fields) -> Region:
    found = Region(
        id=fields.match("id", PROVIDER_ID, "default"),
        base_url=fields.match("base_url", _BASE_URL),
        data_region=fields.match("data_region", _DATA_REGION, "unknown"),
        price_multiplier=fields.take("price_multiplier", str, "1"),
        body_fields=fields.take("body_fields", dict, {}),
        data_policy=fields.word("data_policy", ("", *STATEMENTS), "") or None,
        data_policy_source=fields.take("data_policy_source", str, ""),
        data_policy_date=fields.day("data_policy_date") or "",
        note=fields.take("note", str, ""),
    )
    _check_source(fields, found)
    fields.end()
    return found


def _filled(fields: Fields, name: str, keys: Mapping[str, Key]) -> dict[str, Any]:
    try:
        return filled(keys, fields.take(name, dict, {}))
    except ValueError as error:
        raise fields.bad(f"{name}: {error}") from None


def model(table: object, where: str, providers: Mapping[str, Provider], calendars: Calendars) -> Model:
    """Read a model with its offerings; ``providers`` are those that may offer it."""
    fields = Fields(table, where)
    capability = Capability(fields.word("capability", tuple(Capability), Capability.CHAT))
    lifecycle = Lifecycle(fields.word("lifecycle", tuple(Lifecycle), Lifecycle.ACTIVE))
    model_id = fields.match("id", MODEL_NAME)
    found = Model(
        id=model_id,
        name=fields.take("name", str, model_id),
        capability=capability,
        lifecycle=lifecycle,
        offerings=tuple(_offering(one, capability, lifecycle, calendars) for one in fields.tables("offerings")),
        owner=fields.take("owner", str, ""),
        aliases=fields.texts("aliases"),
        family=fields.take("family", str, ""),
        siblings=fields.texts("siblings"),
        context=fields.count("context"),
        max_output=fields.count("max_output"),
        input_modalities=fields.texts("input_modalities", ("text",)),
        output_modalities=fields.texts("output_modalities", ("text",)),
        retire_date=fields.day("retire_date"),
        created=_created(fields),
        traits=_filled(fields, "traits", TRAITS),
        note=fields.take("note", str, ""),
    )
    fields.end()
    _check_offerings(found, fields, providers)
    return found


def _check_offerings(found: Model, fields: Fields, providers: Mapping[str, Provider]) -> None:
    places = [(one.provider, region) for one in found.offerings for region in one.regions]
    for provider_id, region in places:
        if provider_id not in providers:
            raise fields.bad(f"there is no provider {provider_id[:60]!r}")
        if region not in providers[provider_id].regions:
            raise fields.bad(f"provider {provider_id} has no region {region[:60]!r}")
    if len(set(places)) != len(places):
        raise fields.bad("two offerings are for the same provider and region")


def price_class(fields: Fields) -> PriceClass:
    """Read a price class; its border is in USD per million tokens."""
    up_to = fields.take("up_to", str)
    try:
        found = PriceClass(fields.match("id", PROVIDER_ID), parse_price_per_million(up_to))
    except InvalidAmount as error:
        raise fields.bad(f"up_to: {error}") from None
    fields.end()
    return found


def _created(fields: Fields) -> int:
    day = fields.day("created")
    return seconds(day) if day else 0


def _offering(fields: Fields, capability: Capability, lifecycle: Lifecycle, calendars: Calendars) -> Offering:
    found = Offering(
        provider=fields.match("provider", PROVIDER_ID),
        regions=fields.texts("regions", ("default",)),
        upstream_id=fields.match("upstream_id", MODEL_NAME),
        lifecycle=Lifecycle(fields.word("lifecycle", tuple(Lifecycle), _of_offering(lifecycle))),
        context=fields.count("context"),
        max_output=fields.count("max_output"),
        snapshots=fields.texts("snapshots"),
        price_cny=fields.take("price_cny", dict, {}),
        source=fields.take("source", str, ""),
        source_date=fields.take("source_date", str, ""),
        confidence=fields.word("confidence", ("high", "medium", "low"), "high"),
        note=fields.take("note", str, ""),
        prices=schedule(fields, capability, calendars),
    )
    if not found.regions:
        raise fields.bad("regions must name at least one region")
    fields.end()
    return found


def _of_offering(lifecycle: Lifecycle) -> str:
    """What an offering is when it does not say: a model may be retired at its maker and live at others."""
    return Lifecycle.ACTIVE if lifecycle is Lifecycle.RETIRED else lifecycle
