"""Providers: the shipped ones, and the operator's own OpenAI-compatible servers, added by URL without code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenhub import clock
from tokenhub.catalog import load
from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Catalog, Credential, Provider
from tokenhub.errors import Conflict, InvalidRequest, NotFound, SetupError
from tokenhub.operations import models
from tokenhub.operations.hub import Hub
from tokenhub.providers import addresses
from tokenhub.store import catalog as store

NO_KEY: Final = "none"
"""The ``auth`` of a provider that takes no key: it gets an empty credential, so that it can be called."""

DEFAULT_REGION: Final = "default"


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A model of an operator's own provider. ``prices`` are decimal texts, USD per million tokens."""

    name: str
    upstream_id: str
    prices: Mapping[str, str]
    capability: str = "chat"
    context: int | None = None
    max_output: int | None = None


@dataclass(frozen=True, slots=True)
class OwnProvider:
    """An OpenAI-compatible server to be added."""

    id: str
    base_url: str
    models: Sequence[OwnModel]
    name: str = ""
    data_region: str = "unknown"
    takes_key: bool = True
    insecure_http: bool = False


@dataclass(frozen=True, slots=True)
class ProviderState:
    provider: Provider
    models: int
    """How many of its models have a price."""
    credentials: int
    """How many active credentials open it."""


def listing(hub: Hub) -> list[ProviderState]:
    """Return every provider, the operator's own first."""
    with hub.database.read():
        found = models.catalog(hub.database)
        credentials = store.credential_states(hub.database)
    priced = [{endpoint.provider.id for endpoint in endpoints} for endpoints in found.endpoints.values()]
    opened = [state.provider for state in credentials if state.status == store.ACTIVE]
    states = [
        ProviderState(provider, sum(provider.id in sellers for sellers in priced), opened.count(provider.id))
        for provider in found.providers.values()
    ]
    return sorted(states, key=lambda state: (not state.provider.custom, state.provider.id))


def add(hub: Hub, own: OwnProvider) -> ProviderState:
    """Add a provider of the operator's own with its models."""
    if not own.models:
        raise InvalidRequest("Name at least one model: --model NAME or --model NAME=UPSTREAM-NAME.", param="model")
    base_url = addresses.validate_base_url(own.base_url, own.insecure_http)
    provider = {
        "name": own.name or own.id,
        "auth": "bearer" if own.takes_key else NO_KEY,
        "regions": [{"id": DEFAULT_REGION, "base_url": base_url, "data_region": own.data_region}],
    }
    known = models.catalog(hub.database).names
    tables = {one.name: _model_table(own.id, one, known=one.name in known) for one in own.models}
    return _add(hub, {own.id: provider}, tables)[0]


def _model_table(provider: str, one: OwnModel, *, known: bool) -> dict[str, Any]:
    """Return the table of a model: of one the catalogue knows only an offering is added, its facts stay."""
    sizes = {
        name: size for name, size in (("context", one.context), ("max_output", one.max_output)) if size is not None
    }
    place = {"provider": provider, "regions": [DEFAULT_REGION], "upstream_id": one.upstream_id}
    offerings = [{**place, "price": dict(one.prices), **sizes}]
    return {"offerings": offerings} if known else {"capability": one.capability, **sizes, "offerings": offerings}


def add_from_file(hub: Hub, text: str, file: str) -> list[ProviderState]:
    """Add what a TOML file of the catalogue's own form states (``[[providers]]`` and ``[[models]]``)."""
    try:
        sources = load.parse({file: text})
    except SetupError as error:
        raise InvalidRequest(error.message, code=error.code) from None
    if not sources.providers:
        raise InvalidRequest(f"{file} has no [[providers]] in it. See examples/provider.toml", param="file")
    for provider in sources.providers.values():
        for region in provider.get("regions", ()):
            addresses.validate_base_url(str(region.get("base_url", "")))
    return _add(hub, sources.providers, sources.models)


def _add(
    hub: Hub, providers: Mapping[str, Mapping[str, Any]], tables: Mapping[str, Mapping[str, Any]]
) -> list[ProviderState]:
    now_ms = clock.now_ms()
    with hub.database.write():
        before = models.catalog(hub.database)
        known = {override.name: override for override in store.overrides(hub.database) if override.kind == "model"}
        for provider_id, table in providers.items():
            if provider_id in before.providers:
                raise Conflict(
                    f"There is a provider {provider_id!r} already. Remove yours first, or choose another name."
                )
            store.put_override(hub.database, Override("provider", provider_id, dict(table)), now_ms)
        for name, table in tables.items():
            kept = _canonical(before, name, table)
            store.put_override(hub.database, Override("model", kept, _joined(known.get(kept), table)), now_ms)
        after = models.changed(hub.database)
        for provider_id in providers:
            _open_without_key(hub, after.providers[provider_id], now_ms)
    return [state for state in listing(hub) if state.provider.id in providers]


def _canonical(before: Catalog, name: str, table: Mapping[str, Any]) -> str:
    """Return the id of the model that this name is an alias of: an offering is added to the model, not to its alias."""
    return str(table.get("id", before.names.get(name, name)))


def _joined(old: Override | None, table: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a model's table over an override that is there: its offerings at other providers stay."""
    fresh = {key: value for key, value in table.items() if key != "id"}
    if old is None:
        return fresh
    sellers = {offering.get("provider") for offering in fresh.get("offerings", ())}
    others = [offering for offering in old.data.get("offerings", ()) if offering.get("provider") not in sellers]
    return {**old.data, **fresh, "offerings": [*others, *fresh.get("offerings", ())]}


def _open_without_key(hub: Hub, provider: Provider, now_ms: int) -> None:
    if provider.auth == NO_KEY:
        for region in provider.regions:
            empty = Credential(0, provider.id, region, "no key", "")
            store.insert_credential(hub.database, hub.vault, empty, insecure_http=False, now_ms=now_ms)


def remove(hub: Hub, provider_id: str) -> tuple[int, int]:
    """Remove a provider of the operator's own, its prices and its credentials; return how many models and credentials went."""
    with hub.database.write():
        provider = models.catalog(hub.database).providers.get(provider_id)
        if provider is None:
            raise NotFound(f"There is no provider {provider_id[:40]!r}. See: tokenhub providers list")
        if not provider.custom:
            raise InvalidRequest(
                f"{provider.name} is part of the shipped catalogue and stays. To stop using it: tokenhub credentials disable"
            )
        offered = _withdraw(hub, provider_id)
        store.delete_override(hub.database, "provider", provider_id)
        own = [state for state in store.credential_states(hub.database) if state.provider == provider_id]
        for state in own:
            store.delete_credential(hub.database, state.id)
        models.changed(hub.database)
    return offered, len(own)


def _withdraw(hub: Hub, provider_id: str) -> int:
    """Take a provider's offerings and prices out of the overrides; a model that nobody else offers goes with them."""
    offered = 0
    for override in store.overrides(hub.database):
        if override.kind == "price" and override.name.startswith(f"{provider_id}/"):
            store.delete_override(hub.database, "price", override.name)
        if override.kind != "model":
            continue
        offerings = override.data.get("offerings", ())
        left = [offering for offering in offerings if offering.get("provider") != provider_id]
        if len(left) == len(offerings):
            continue
        offered += 1
        store.delete_override(hub.database, "model", override.name)
        if left:
            store.put_override(
                hub.database, Override("model", override.name, {**override.data, "offerings": left}), clock.now_ms()
            )
    return offered
