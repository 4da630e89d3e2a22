"""Google's own API at the door: which method a path asks for, and the list of models in Google's form."""

from typing import Any

from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.accounts.accounts import Caller
from tokenhub.call import Capability
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.proxy import exchange, models, token_counts
from tokenhub.proxy.downstream import Downstream, Sent
from tokenhub.proxy.runtime import Runtime
from tokenhub.wire.gemini.embeddings import BATCH, ONE, EmbedSurface
from tokenhub.wire.gemini.surface import (
    COUNT,
    PLAIN,
    PREFIXES,
    STREAM,
    CountSurface,
    GeminiSurface,
    GenerateSurface,
    target_of,
)
from tokenhub.wire.surface import Arrival, Surface

KEY_HEADER = "x-goog-api-key"
_PAGE, _PAGE_MOST = 50, 1000
"""Models on a page where the client names no number, and the most (ai.google.dev/api/models, 2026-11-22)."""
_METHODS = {
    Capability.CHAT: [PLAIN, STREAM, COUNT],
    Capability.EMBEDDINGS: [ONE, BATCH],
}
_SURFACES = {PLAIN: GenerateSurface, STREAM: GenerateSurface, ONE: EmbedSurface, BATCH: EmbedSurface}


def speak(arrival: Arrival) -> Surface:
    """Return the surface of the method that a path ends in; a method that is not here is refused in Google's form."""
    return _SURFACES.get(target_of(arrival.path)[1], GeminiSurface)(arrival)


def names_method(path: str) -> bool:
    """Say whether a path under a model ends in a method of Google's: a word behind a colon."""
    return target_of(path)[1].isalnum()


def counts(request: BaseRequest) -> bool:
    """Say whether a request asks only how many tokens a prompt has."""
    return target_of(request.raw_path.partition("?")[0])[1] == COUNT


async def count(downstream: Downstream, request: BaseRequest, runtime: Runtime) -> Sent:
    """``:countTokens``: free, and nothing is held."""
    surface = CountSurface(exchange.arrival_of(request, clock.now_ms()))
    tokens = await token_counts.of_prompt(request, downstream, runtime, surface)
    return downstream.send_json(200, {"totalTokens": tokens})


def is_spoken(request: BaseRequest) -> bool:
    """Say whether a request is one of Google's API: by its path, or on a path of both APIs by its method or its key's header."""
    path = request.raw_path.partition("?")[0]
    if path.startswith("/v1beta/"):
        return True
    on_models = path == "/v1/models" or path.startswith(PREFIXES)
    return on_models and ((request.method == "POST" and names_method(path)) or KEY_HEADER in request.headers)


async def listing(request: BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """List the models that this key may call, in pages; on a path that OpenAI's clients ask too, in the form of who asks."""
    if not is_spoken(request):
        return await models.listing(request, runtime, caller)
    query = exchange.arrival_of(request, 0).query
    size, start = _number(query, "pageSize", _PAGE), _number(query, "pageToken", 0)
    size = min(size or _PAGE, _PAGE_MOST)
    names = models.names(runtime.snapshot, caller)
    found = [(name, callable_) for name in names if (callable_ := models.callable_by(runtime.snapshot, caller, name))]
    shown: dict[str, Any] = {"models": [_describe(name, one) for name, one in found[start : start + size]]}
    if start + size < len(found):
        shown["nextPageToken"] = str(start + size)
    return shown


async def one(request: BaseRequest, runtime: Runtime, caller: Caller) -> Any:
    """Describe one model by any of its names."""
    if not is_spoken(request):
        return await models.one(request, runtime, caller)
    name, _ = target_of(request.raw_path.partition("?")[0] + ":")
    found = models.callable_by(runtime.snapshot, caller, name)
    if not found:
        raise models.unknown(runtime.snapshot, caller, name)
    return _describe(name, found)


def _number(query: Any, name: str, default: int) -> int:
    text = query.get(name)
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidRequest(f"{name} must be a number.", param=name)
    return int(text)


def _describe(name: str, deployments: list[Deployment]) -> dict[str, Any]:
    """Describe a model as Google's ``models.list`` does, with the limits of the roomiest deployment."""
    model = deployments[0].model
    described: dict[str, Any] = {
        "name": f"models/{name}",
        "baseModelId": model.id,
        "version": model.id,
        "displayName": model.name,
        "description": f"{model.name}, made by {model.owner or 'its owner'}",
        "supportedGenerationMethods": _METHODS.get(model.capability, []),
        "thinking": bool(model.traits["reasoning"]),
    }
    limits = {
        "inputTokenLimit": max((one.context or 0 for one in deployments), default=0),
        "outputTokenLimit": max((one.max_output or 0 for one in deployments), default=0),
    }
    return described | {limit: tokens for limit, tokens in limits.items() if tokens}
