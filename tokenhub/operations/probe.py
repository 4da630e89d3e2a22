"""One cheap call with a credential, to see whether the provider takes it."""

import json
from dataclasses import dataclass
from typing import Final

from tokenhub import clock
from tokenhub.call import Call, Capability, Wire
from tokenhub.catalog.models import Catalog, Credential, Deployment, Lifecycle
from tokenhub.errors import NotFound
from tokenhub.operations import credentials, models
from tokenhub.operations.hub import Hub
from tokenhub.providers.adapter import UpstreamRequest
from tokenhub.store import catalog as store
from tokenhub.wire.faults import UpstreamFault

TOKENS: Final = 16
"""The least output that every provider's models take as a limit."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a call with a credential has shown, in TokenHub's words."""

    credential_id: int
    asked: str
    """``models`` or the model that was asked for a few tokens."""
    ok: bool
    status: int | None
    kind: str
    """The kind of fault; empty when there was none."""
    code: str
    latency_ms: int


def probe(hub: Hub, credential_id: int, *, chat: bool = False, mends: bool = True) -> Probe:
    """Call the provider once with this credential: its list of models, or with ``chat`` its cheapest model.

    When the call succeeds and it ``mends``, a credential that was out of use because it failed is
    active again, and what was known against it and its deployments is forgotten. Nothing is held in the database while the provider answers (T92).
    """
    credentials.find(hub, credential_id)
    with hub.database.read():
        catalog = models.catalog(hub.database)
        opened = store.credential(hub.database, hub.vault, credential_id)
    asked, request = _cheap_call(catalog, opened, chat=chat)
    started_s = clock.monotonic_s()
    status, kind, code = _send(opened, request)
    found = Probe(credential_id, asked, kind == "", status, kind, code, round((clock.monotonic_s() - started_s) * 1000))
    if found.ok and mends:
        _mend(hub, credential_id)
    return found


def _mend(hub: Hub, credential_id: int) -> None:
    with hub.database.write():
        if credentials.find(hub, credential_id).status == store.FAILED:
            store.mark_credential(hub.database, credential_id, store.ACTIVE)
        credentials.mended(hub, credential_id)


def _cheap_call(catalog: Catalog, opened: Credential, *, chat: bool) -> tuple[str, UpstreamRequest]:
    from tokenhub.providers import registry

    provider = catalog.providers[opened.provider]
    listed = None if chat else registry.models_request(provider, provider.regions[opened.region], opened)
    if listed is not None:
        return "models", listed
    deployment = _cheapest(catalog, opened)
    body = {"model": deployment.model.id, "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": TOKENS}
    call = Call(Capability.CHAT, deployment.model.id, input_bytes=len(json.dumps(body)), messages=1, max_output=TOKENS)
    adapter = registry.adapters_of(catalog.providers)[provider.id, Wire.CHAT]
    return deployment.model.id, adapter.request(call, body, deployment, None)


def _cheapest(catalog: Catalog, opened: Credential) -> Deployment:
    now_ms = clock.now_ms()
    living = [
        deployment
        for deployments in catalog.offered([opened]).values()
        for deployment in deployments
        if deployment.model.capability is Capability.CHAT and deployment.offering.lifecycle is not Lifecycle.RETIRED
    ]
    if not living:
        raise NotFound(f"{catalog.providers[opened.provider].name} has no priced chat model to ask in {opened.region}.")
    return min(
        living, key=lambda one: (one.prices.at(now_ms).rates.output, one.prices.at(now_ms).rates.input, one.model.id)
    )


def _send(opened: Credential, request: UpstreamRequest) -> tuple[int | None, str, str]:
    """Return the HTTP status, the kind of fault and the provider's code; both words are empty when all is well."""
    from tokenhub.providers import client, failures

    try:
        status, headers, body = client.call_once(request)
    except UpstreamFault as fault:
        return fault.failure.status, fault.failure.kind.value, fault.failure.code
    if 200 <= status < 300:
        return status, "", ""
    failure = failures.classify(opened.provider, status, headers, body)
    return status, failure.kind.value, failure.code
