"""Providers: the shipped ones, and the operator's own OpenAI-compatible servers, added by URL without code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenhub import clock
from tokenhub.call import Capability
from tokenhub.catalog import regions
from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Catalog, Credential, Provider
from tokenhub.errors import Conflict, InvalidRequest, NotFound
from tokenhub.operations import models, own_models
from tokenhub.operations.hub import Hub
from tokenhub.operations.own_models import OwnModel
from tokenhub.providers import addresses
from tokenhub.store import catalog as store
from tokenhub.store import revision

NO_KEY: Final = "none"
"""The ``auth`` of a provider that takes no key: it gets an empty credential, so that it can be called."""

DEFAULT_REGION: Final = "default"


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
    _check_data_region(own.data_region)
    provider = {
        "name": own.name or own.id,
        "auth": "bearer" if own.takes_key else NO_KEY,
        "regions": [{"id": DEFAULT_REGION, "base_url": base_url, "data_region": own.data_region}],
    }
    found = models.catalog(hub.database)
    for one in own.models:
        if _chats(found, one) and "output" not in one.prices:
            raise InvalidRequest(
                f"{one.name!r} is a chat model and needs both prices: --price IN/OUT, such as 1.25/10; 0/0 is free.",
                param="price",
            )
    tables = {
        one.name: own_models.table(own.id, (DEFAULT_REGION,), one, known=one.name in found.names) for one in own.models
    }
    return _add(hub, {own.id: provider}, tables)[0]


def _chats(found: Catalog, one: OwnModel) -> bool:
    """Tell whether a model is one for chat: as the catalogue says of one that it knows."""
    known = found.models.get(found.names.get(one.name, ""))
    return (known.capability if known else one.capability) in (Capability.CHAT, None)


def add_from_file(hub: Hub, text: str, file: str) -> list[ProviderState]:
    """Add what a TOML file of the catalogue's own form states (``[[providers]]`` and ``[[models]]``)."""
    sources = own_models.sources(text, file)
    if not sources.providers:
        raise InvalidRequest(
            f"{file!r} has no [[providers]] in it (see examples/provider.toml). Models alone: tokenhub models add --file",
            param="file",
        )
    for provider in sources.providers.values():
        for region in provider.get("regions", ()):
            addresses.validate_base_url(str(region.get("base_url", "")))
    return _add(hub, sources.providers, sources.models)


def _add(
    hub: Hub, providers: Mapping[str, Mapping[str, Any]], tables: Mapping[str, Mapping[str, Any]]
) -> list[ProviderState]:
    now_ms = clock.now_ms()
    with revision.change(hub.database):
        before = models.catalog(hub.database)
        for provider_id, table in providers.items():
            if provider_id in before.providers:
                raise Conflict(
                    f"There is a provider {provider_id!r} already. Remove yours first, or choose another name."
                )
            store.put_override(hub.database, Override("provider", provider_id, dict(table)), now_ms)
        names = own_models.put(hub, before, tables, now_ms)
        after = models.changed(hub.database)
        models.check_plausible(after, names)
        for provider_id in providers:
            for region in after.providers[provider_id].regions.values():
                _check_data_region(region.data_region)
            _open_without_key(hub, after.providers[provider_id], now_ms)
    return [state for state in listing(hub) if state.provider.id in providers]


def _check_data_region(name: str) -> None:
    """Refuse a place that no rule about regions could name."""
    if not regions.is_region(name) and name not in regions.NOWHERE:
        raise InvalidRequest(
            f"{name[:20]!r} is no data region: give a country's two letters (ISO 3166), eu, self-hosted or unknown.",
            param="data_region",
        )


def _open_without_key(hub: Hub, provider: Provider, now_ms: int) -> None:
    if provider.auth == NO_KEY:
        for region in provider.regions:
            empty = Credential(0, provider.id, region, store.NO_KEY, "")
            store.insert_credential(hub.database, hub.vault, empty, insecure_http=False, now_ms=now_ms)


def remove(hub: Hub, provider_id: str) -> tuple[int, int]:
    """Remove a provider of the operator's own, its prices and its credentials; return how many models and credentials went."""
    with revision.change(hub.database):
        provider = models.catalog(hub.database).providers.get(provider_id)
        if provider is None:
            raise NotFound(f"There is no provider {provider_id[:40]!r}. See: tokenhub providers list")
        if not provider.custom:
            raise InvalidRequest(
                f"{provider.name} is part of the shipped catalogue and stays. To stop using it: tokenhub credentials disable ID"
            )
        offered = own_models.withdraw(hub, provider_id)
        store.delete_override(hub.database, "provider", provider_id)
        own = [state for state in store.credential_states(hub.database) if state.provider == provider_id]
        for state in own:
            store.delete_credential(hub.database, state.id)
        models.changed(hub.database)
    return offered, len(own)
