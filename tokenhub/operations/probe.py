"""One cheap call with a credential, to see whether the provider takes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenhub import clock
from tokenhub.billing import bound
from tokenhub.call import INSIDE, Call, Capability
from tokenhub.catalog.models import Catalog, Credential, Deployment, Lifecycle
from tokenhub.errors import NotFound
from tokenhub.operations import credentials, hello, models
from tokenhub.operations.hub import Hub
from tokenhub.providers.adapter import UpstreamRequest
from tokenhub.routing import boundaries
from tokenhub.routing.boundaries import Chain
from tokenhub.store import catalog as store
from tokenhub.store import preferences, revision
from tokenhub.wire.faults import UpstreamFault

TOKENS: Final = 16
"""The least output that every provider's models take as a limit."""
ASKED: Final = (Capability.CHAT, Capability.EMBEDDINGS, Capability.RERANK, Capability.SPEECH, Capability.TRANSCRIPTIONS)
"""What a model is asked for, the first that the provider has; never a picture or a video, which cost cents."""
_INSIDE: Final = "inside the installation's boundaries"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a call with a credential has shown, in TokenHub's words."""

    credential_id: int
    asked: str
    """``models``, or the model that was asked."""
    ok: bool
    status: int | None
    kind: str
    """The kind of fault; empty when there was none."""
    code: str
    latency_ms: int


def probe(hub: Hub, credential_id: int, *, chat: bool = False, ordered: bool = True) -> Probe:
    """Call the provider once with this credential: its list of models, or with ``chat`` its cheapest model.

    A provider without a list has its cheapest model asked too. Only one inside the installation's boundaries is;
    raises NotFound when there is none. ``ordered`` by an operator, the list of models is asked for wherever the
    credential is; of its own accord the gateway does so only where some model is inside, and asks no model for
    anything but a chat.
    When an ordered call succeeds, a credential that was out of use because it failed is
    active again, and what was known against it and its deployments is forgotten. Nothing is held in the database while the provider answers (T92).
    """
    credentials.find(hub, credential_id)
    with hub.database.read():
        catalog = models.catalog(hub.database)
        opened = store.credential(hub.database, hub.vault, credential_id)
        chain = preferences.installation(hub.database)
    if not ordered and not inside(catalog, opened, chain):
        raise NotFound(f"{opened.provider} offers nothing {_INSIDE} in {opened.region}.")
    asked, request = _cheap_call(catalog, opened, chain, chat=chat, kinds=ASKED if ordered else (Capability.CHAT,))
    started_s = clock.monotonic_s()
    status, kind, code = _send(opened, request)
    found = Probe(credential_id, asked, kind == "", status, kind, code, round((clock.monotonic_s() - started_s) * 1000))
    if found.ok and ordered:
        _mend(hub, credential_id)
    return found


def _mend(hub: Hub, credential_id: int) -> None:
    with revision.change(hub.database):
        if credentials.find(hub, credential_id).status == store.FAILED:
            store.mark_credential(hub.database, credential_id, store.ACTIVE)
        credentials.mended(hub, credential_id)


def inside(catalog: Catalog, opened: Credential, chain: Chain) -> list[Deployment]:
    """Return the deployments of a credential that some request could use inside these boundaries at present."""
    now_ms = clock.now_ms()
    return [
        one
        for deployments in catalog.offered([opened]).values()
        for one in deployments
        if boundaries.excluded(one, one.prices.at(now_ms), chain, None) is None
    ]


def _cheap_call(
    catalog: Catalog, opened: Credential, chain: Chain, *, chat: bool, kinds: Sequence[Capability]
) -> tuple[str, UpstreamRequest]:
    from tokenhub.providers import registry

    provider = catalog.providers[opened.provider]
    listed = None if chat else registry.models_request(provider, provider.regions[opened.region], opened)
    if listed is not None:
        return "models", listed
    deployment = _cheapest(catalog, opened, chain, kinds)
    call, body = _greeting(deployment)
    adapter = registry.adapters_of(catalog.providers)[provider.id, INSIDE[call.capability]]
    return deployment.model.id, adapter.request(call, body, deployment, None)


def _cheapest(catalog: Catalog, opened: Credential, chain: Chain, kinds: Sequence[Capability]) -> Deployment:
    """Return the deployment whose greeting costs least, of the first kind that the credential can be used for."""
    now_ms = clock.now_ms()
    living = _living(inside(catalog, opened, chain), kinds)
    if not living:
        where = f" {_INSIDE}" if _living(inside(catalog, opened, ()), kinds) else ""
        name = catalog.providers[opened.provider].name
        raise NotFound(f"{name} has no priced model to ask something short{where} in {opened.region}.")
    first = min(kinds.index(one.model.capability) for one in living)
    alike = [one for one in living if one.model.capability is kinds[first]]
    return min(
        alike,
        key=lambda one: (bound.bound(_greeting(one)[0], [(one, one.prices.at(now_ms))], 0).wanted_nano, one.model.id),
    )


def _greeting(deployment: Deployment) -> tuple[Call, dict[str, Any]]:
    """Return the smallest request that the model can answer."""
    surface, raw = hello.to(deployment.model.id, deployment.model.capability, clock.now_ms() // 1000)
    body = surface.parse(raw)
    if deployment.model.capability is Capability.CHAT:
        body["max_tokens"] = TOKENS
    return surface.call(body, len(raw))


def _living(found: list[Deployment], kinds: Sequence[Capability]) -> list[Deployment]:
    return [one for one in found if one.model.capability in kinds and one.offering.lifecycle is not Lifecycle.RETIRED]


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
