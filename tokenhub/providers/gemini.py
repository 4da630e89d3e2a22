"""Google's Gemini API: the model stands in the path, streams are asked for by path too."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.providers import chat_body, failures
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.base import BaseAdapter
from tokenhub.providers.headers import headers
from tokenhub.providers.whole import NotStreamed
from tokenhub.wire.chat import over_gemini as chat_over_gemini
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.embeddings import over_gemini as embeddings_over_gemini
from tokenhub.wire.faults import Failure
from tokenhub.wire.gemini import reply as gemini_reply
from tokenhub.wire.gemini.stream import GeminiReader
from tokenhub.wire.replies import Reply, StreamReader


def model_request(
    deployment: Deployment, method: str, body: Mapping[str, Any], dropped: tuple[str, ...] = (), *, models_url: str = ""
) -> UpstreamRequest:
    """Return the request that calls a method of a deployment's model; ``models_url``: where its models are, if not under the base URL."""
    # The id is the catalogue's, and escaped all the same: nothing can step out of its path segment (T52).
    model = quote(deployment.upstream_id, safe="")
    return UpstreamRequest(
        url=f"{models_url or f'{deployment.base_url}/models'}/{model}:{method}",
        headers=headers(deployment.provider, deployment.credential),
        body=orjson.dumps({**body, **deployment.region.body_fields}),
        dropped=dropped,
    )


class GeminiAdapter(BaseAdapter):
    """Sorts errors by Google's rules."""

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return failures.of_gemini(status, body)


class Gemini(GeminiAdapter):
    """``:generateContent`` and ``:streamGenerateContent``; chat bodies are translated both ways."""

    wire = Wire.CHAT

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        limit = chat_body.limit_of(call, deployment, output_limit)
        sent, dropped = chat_over_gemini.request(body, deployment.upstream_id, output_limit=limit)
        # Without alt=sse a stream is one JSON array in pieces.
        method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        return model_request(deployment, method, sent, dropped)

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        return gemini_reply.reply(chat_reply.parse_body(body), call)

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        return GeminiReader(call)


class GeminiEmbeddings(GeminiAdapter, NotStreamed):
    """``:batchEmbedContents``."""

    wire = Wire.EMBEDDINGS

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        sent, dropped = embeddings_over_gemini.request(body, deployment.upstream_id)
        return model_request(deployment, "batchEmbedContents", sent, dropped)

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        return embeddings_over_gemini.reply(chat_reply.parse_body(body), call, deployment.upstream_id)
