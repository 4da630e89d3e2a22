"""The gateway's own path from dialect to dialect without its sockets: surface, adapter, reader, surface."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tests.dialects.rig import CLIENTS, PLAIN_MODEL, PLAIN_PROVIDER, UPSTREAMS
from tests.dialects.story import Ask
from tokenhub.billing import features
from tokenhub.call import Call
from tokenhub.catalog import load
from tokenhub.catalog.load import Override
from tokenhub.catalog.models import Catalog, Credential, Deployment
from tokenhub.operations.snapshots import Snapshot
from tokenhub.providers.adapter import Adapter, UpstreamRequest
from tokenhub.providers.registry import adapters_of
from tokenhub.proxy import routes
from tokenhub.wire.gemini.surface import GenerateSurface
from tokenhub.wire.surface import Arrival, End, Surface

COST = {"cost": 0.25, "is_byok": False, "cost_details": {"total": "0.25"}}
NOW_S = 1767603600


@cache
def catalog() -> Catalog:
    """The shipped catalogue, and a provider of chat completions whose streams pass as they are."""
    provider = {**PLAIN_PROVIDER, "quirks": {"stream": "relay", "max_tokens_field": "as_sent"}}
    return load.load([Override("provider", "plain", provider), Override("model", "plain-chat", PLAIN_MODEL)])


@cache
def deployment(upstream: str) -> Deployment:
    """Return what is called in an upstream's dialect."""
    module = UPSTREAMS[upstream]
    endpoint = next(one for one in catalog().endpoints[module.MODEL] if one.provider.id == module.PROVIDER)
    return endpoint.with_credential(Credential(1, module.PROVIDER, endpoint.region.id, "test", "sk-secret"))


@cache
def snapshot() -> Snapshot:
    return Snapshot(0, 0, 0, catalog(), (), adapters_of(catalog().providers))


def surface_of(ask: Ask) -> Surface:
    """Return the surface that serves a request's path."""
    path, _, query = ask.path.partition("?")
    arrival = Arrival(path, dict(parse_qsl(query)), ask.headers, NOW_S)
    return (routes.SURFACES.get(path) or GenerateSurface)(arrival)


@dataclass
class Passage:
    """One request on its way through, and all that its reply needs."""

    client: ModuleType
    surface: Surface
    call: Call
    adapter: Adapter
    deployment: Deployment
    request: UpstreamRequest

    @property
    def path(self) -> str:
        return "/" + self.request.url.partition("://")[2].partition("/")[2]

    @property
    def body(self) -> dict[str, Any]:
        assert isinstance(self.request.body, bytes)
        return dict(orjson.loads(self.request.body))

    def whole(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the client gets of a whole reply."""
        reply = self.adapter.reply(self.call, self.deployment, 200, {}, orjson.dumps(said))
        assert reply.usage is not None
        rendered = self.surface.reply(reply)
        usage = orjson.dumps(self.surface.usage(reply.usage, COST, reply))
        return dict(orjson.loads(rendered.with_usage(usage)))

    def streamed(self, pieces: list[bytes]) -> bytes:
        """Return what the client gets of a stream that comes in these pieces."""
        reader = self.adapter.stream(self.call, self.deployment)
        shown = b"".join(self.surface.feed(frames) for piece in pieces if (frames := reader.feed(piece)))
        reader.close()
        assert reader.facts.failure is None
        assert reader.facts.complete
        assert reader.facts.usage is not None
        end = End("req_1", reader.facts.usage, COST, reader.facts)
        return shown + self.surface.ending(self.surface.hold_back(reader.ending()), end)


def passage(ask: Ask, upstream: str, *, output_limit: int | None = None) -> Passage:
    """Take a request to where its upstream would be called; ``output_limit`` is what a small balance leaves."""
    client = next(one for one in CLIENTS.values() if ask.path.startswith(getattr(one, "PATH", "/v1beta/")))
    surface, raw = surface_of(ask), orjson.dumps(ask.body)
    native, _ = features.check(surface.parse(raw), surface.wire)
    call, inside = surface.call(native, len(raw))
    called = deployment(upstream)
    adapter = snapshot().adapter(called, call)
    assert adapter is not None
    surface.native = adapter.wire is call.wire
    request = adapter.request(call, native if surface.native else inside, called, output_limit)
    return Passage(client, surface, call, adapter, called, request)
