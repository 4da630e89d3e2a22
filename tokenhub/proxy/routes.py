"""The whole URL table. A path is matched as it was sent, byte for byte: nothing is collapsed or decoded (T53).

``handle`` is the one door: it answers HTTP's own questions (version, method, path) and gives
the rest to the endpoint. Everything under ``/v1`` asks for a key; health, the pages around a payment and Stripe's webhook do not.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp.web_request import BaseRequest

from tokenhub import clock
from tokenhub.accounts.accounts import Caller
from tokenhub.errors import HubError, InternalError, InvalidRequest, MethodNotAllowed, NotFound, VersionNotSupported
from tokenhub.ids import new_id
from tokenhub.observability import log
from tokenhub.operations import receipts
from tokenhub.proxy import account, admission, exchange, gemini, health, pages, token_counts, videos, webhooks
from tokenhub.proxy.downstream import ClientGone, Downstream, Sent
from tokenhub.proxy.runtime import Runtime
from tokenhub.wire.audio.speech import SpeechSurface
from tokenhub.wire.audio.transcriptions import TranscriptionsSurface, TranslationsSurface
from tokenhub.wire.completions.request import CompletionsSurface
from tokenhub.wire.gemini.surface import GeminiSurface
from tokenhub.wire.images.surface import ImageEditsSurface, ImagesSurface
from tokenhub.wire.messages.surface import MessagesSurface
from tokenhub.wire.moderations import ModerationsSurface
from tokenhub.wire.openai_surfaces import ChatSurface, EmbeddingsSurface
from tokenhub.wire.rerank import RerankSurface
from tokenhub.wire.responses.surface import ResponsesSurface
from tokenhub.wire.surface import KEY_HEADERS

Endpoint = Callable[[BaseRequest, Runtime], Awaitable[Sent]]
Page = Callable[[BaseRequest, Runtime], Awaitable[tuple[int, Any]]]
HolderPage = Callable[[BaseRequest, Runtime, Caller], Awaitable[Any]]
WrittenPage = Callable[[Downstream, BaseRequest, Runtime], Awaitable[Sent]]
"""A page that writes its own reply."""
Answer = Callable[[BaseRequest, Runtime, dict[str, str]], Awaitable[tuple[int, Any]]]
"""Status and JSON of a reply; the dictionary takes its headers."""


def _carried(speak: exchange.Speak) -> Endpoint:
    """An endpoint whose requests are routed, held and billed."""

    async def endpoint(request: BaseRequest, runtime: Runtime) -> Sent:
        return await exchange.carry(request, runtime, speak)

    return endpoint


def _for_all(page: Page) -> Endpoint:
    """An endpoint that asks for no key."""

    async def answer(request: BaseRequest, runtime: Runtime, _headers: dict[str, str]) -> tuple[int, Any]:
        return await page(request, runtime)

    return _answered(answer)


def _for_holders(page: HolderPage, key_headers: tuple[str, ...] = KEY_HEADERS) -> Endpoint:
    """An endpoint for key holders, whose limits it shows."""

    async def answer(request: BaseRequest, runtime: Runtime, headers: dict[str, str]) -> tuple[int, Any]:
        await runtime.fresh()
        _, caller = await admission.authenticate(request, runtime, key_headers)
        admission.tell_rates(headers, *await runtime.read(lambda database: receipts.rates(database, caller)))
        return 200, await page(request, runtime, caller)

    return _answered(answer)


def _answered(answer: Answer) -> Endpoint:
    """An endpoint that answers from what the gateway knows; nothing is held and nothing counts."""

    async def page(downstream: Downstream, request: BaseRequest, runtime: Runtime) -> Sent:
        status, body = await answer(request, runtime, downstream.headers)
        return downstream.send_json(status, body)

    return _written(page)


def _written(page: WrittenPage) -> Endpoint:
    """An endpoint that writes its own reply; what it raises is answered as any error."""

    async def endpoint(request: BaseRequest, runtime: Runtime) -> Sent:
        downstream, request_id = _downstream(request, runtime)
        try:
            return await page(downstream, request, runtime)
        except HubError as error:
            return downstream.send_error(error, request_id)
        except ClientGone:
            return Sent(keep_alive=False)
        except Exception as error:
            log.failure("endpoint", error, request_id=request_id)
            return downstream.send_error(
                InternalError("The gateway failed to answer. Quote the request id to the operator."), request_id
            )

    return endpoint


SURFACES: dict[str, exchange.Speak] = {
    "/v1/chat/completions": ChatSurface,
    "/v1/completions": CompletionsSurface,
    "/v1/embeddings": EmbeddingsSurface,
    "/v1/messages": MessagesSurface,
    "/v1/moderations": ModerationsSurface,
    "/v1/rerank": RerankSurface,
    "/v2/rerank": RerankSurface,
    "/v1/images/generations": ImagesSurface,
    "/v1/images/edits": ImageEditsSurface,
    "/v1/audio/speech": SpeechSurface,
    "/v1/audio/transcriptions": TranscriptionsSurface,
    "/v1/audio/translations": TranslationsSurface,
    "/v1/responses": ResponsesSurface,
}
"""Where requests are routed, held and billed, and what is spoken there."""
_SPOKEN: dict[str, exchange.Speak] = {**SURFACES, "/v1/messages/count_tokens": MessagesSurface}
"""In which form errors are told where nothing else says it."""

ROUTES: dict[str, dict[str, Endpoint]] = {
    **{path: {"POST": _carried(speak)} for path, speak in SURFACES.items()},
    "/v1/messages/count_tokens": {"POST": _written(token_counts.messages)},
    "/v1/models": {"GET": _for_holders(gemini.listing, GeminiSurface.key_headers)},
    "/v1beta/models": {"GET": _for_holders(gemini.listing, GeminiSurface.key_headers)},
    videos.PATH: {"POST": videos.create, "GET": _for_holders(videos.listing)},
    "/v1/key": {"GET": _for_holders(account.key)},
    "/v1/credits": {"GET": _for_holders(account.credits)},
    "/v1/generation": {"GET": _for_holders(account.generation)},
    "/stripe/webhook": {"POST": _for_all(webhooks.stripe)},
    "/topup/done": {"GET": _written(pages.done), "HEAD": _written(pages.done)},
    "/topup/cancelled": {"GET": _written(pages.cancelled), "HEAD": _written(pages.cancelled)},
    "/healthz": {"GET": _for_all(health.alive), "HEAD": _for_all(health.alive)},
    "/readyz": {"GET": _for_all(health.ready), "HEAD": _for_all(health.ready)},
    "/": {"GET": _for_all(health.root), "HEAD": _for_all(health.root)},
}

_VIDEO_CONTENT, _VIDEO_STATE = _written(videos.content), _for_holders(videos.one)


async def _video(request: BaseRequest, runtime: Runtime) -> Sent:
    """A video, or what is said of it."""
    is_content = videos.is_content(request.raw_path.partition("?")[0])
    return await (_VIDEO_CONTENT if is_content else _VIDEO_STATE)(request, runtime)


_MODEL_CALLED, _MODEL_COUNTED = _carried(gemini.speak), _written(gemini.count)


async def _model_method(request: BaseRequest, runtime: Runtime) -> Sent:
    """Google's methods of a model: one counts a prompt, the others answer it."""
    return await (_MODEL_COUNTED if gemini.counts(request) else _MODEL_CALLED)(request, runtime)


MODEL_PREFIX = "/v1/models/"
_MODEL: dict[str, Endpoint] = {"GET": _for_holders(gemini.one, GeminiSurface.key_headers)}
_MODEL_METHOD: dict[str, Endpoint] = {**_MODEL, "POST": _model_method}
PREFIXES: dict[str, dict[str, Endpoint]] = {
    **dict.fromkeys((MODEL_PREFIX, "/v1beta/models/"), _MODEL),
    videos.PREFIX: {"GET": _video, "DELETE": _for_holders(videos.delete)},
    pages.SHORT_PREFIX: {"GET": _written(pages.short), "HEAD": _written(pages.short)},
}
"""Paths that end in a name."""


def _downstream(request: BaseRequest, runtime: Runtime) -> tuple[Downstream, str]:
    now_ms = clock.now_ms()
    arrival = exchange.arrival_of(request, now_ms)
    speak = gemini.speak if gemini.is_spoken(request) else _SPOKEN.get(arrival.path, ChatSurface)
    surface = speak(arrival)
    downstream = Downstream(request, silence_s=runtime.settings.server_keep_alive_s, surface=surface)
    request_id = new_id("req", now_ms)
    downstream.headers.update(dict.fromkeys(surface.id_headers, request_id))
    return downstream, request_id


async def handle(request: BaseRequest, runtime: Runtime) -> Sent:
    """Find the endpoint of a request and let it answer."""
    path = request.raw_path.partition("?")[0]
    endpoints = ROUTES.get(path) or _named(path)
    endpoint = endpoints.get(request.method) if endpoints is not None else None
    if endpoint is not None and request.version in _VERSIONS and _host_is_plain(request):
        return await endpoint(request, runtime)
    try:
        downstream, request_id = _downstream(request, runtime)
        error = _misdirected(request, endpoints)
        if endpoints is not None and isinstance(error, MethodNotAllowed):
            downstream.headers["Allow"] = ", ".join(endpoints)
        return downstream.send_error(error, request_id)
    except ClientGone:
        return Sent(keep_alive=False)


def _named(path: str) -> dict[str, Endpoint] | None:
    found = next((endpoints for prefix, endpoints in PREFIXES.items() if path.startswith(prefix)), None)
    return _MODEL_METHOD if found is _MODEL and gemini.names_method(path) else found


_VERSIONS = ((1, 1), (1, 0))
_TWICE = re.compile(r"/v1(beta)?/v1(beta)?/")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]%-]*", re.ASCII)


def _host_is_plain(request: BaseRequest) -> bool:
    """Whether the Host header is one host; it decides nothing here, but an odd one is an attack on somebody (T54)."""
    hosts = request.headers.getall("Host", ())
    return len(hosts) < 2 and (not hosts or _HOST.fullmatch(hosts[0]) is not None)


def _misdirected(request: BaseRequest, endpoints: dict[str, Endpoint] | None) -> HubError:
    if request.version not in _VERSIONS:
        return VersionNotSupported("This gateway speaks HTTP/1.1.")
    if not _host_is_plain(request):
        return InvalidRequest("The Host header is not one host name.", code="malformed_request")
    if endpoints is None:
        if _TWICE.match(request.path):
            return NotFound(
                "There is nothing at this path: it has a version twice. The base URL of Anthropic's and Google's clients is the gateway's address, without /v1."
            )
        return NotFound("There is nothing at this path. The API's paths begin with /v1 or /v1beta; see docs/http.md.")
    return MethodNotAllowed(f"This path takes {', '.join(endpoints)}.")
