"""Google's Gemini API for clients that speak it themselves: their bodies and its replies pass as they are."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any

from tokenhub.call import Call, Capability, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.providers import chat_body
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.gemini import GeminiAdapter, model_request
from tokenhub.usage import count
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.embeddings import over_gemini as embeddings_over_gemini
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.gemini import native as gemini_native
from tokenhub.wire.gemini.native import GeminiRelay
from tokenhub.wire.replies import Reply, StreamReader


class NativeGemini(GeminiAdapter):
    """``:generateContent``, ``:streamGenerateContent``, ``:embedContent`` and ``:batchEmbedContents`` in Google's own words."""

    wire = Wire.GEMINI

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        if call.capability is Capability.EMBEDDINGS:
            sent = embeddings_over_gemini.native_request(body, deployment.upstream_id)
            method = "batchEmbedContents" if "requests" in sent else "embedContent"
        else:
            sent = gemini_native.request(body, chat_body.limit_of(call, deployment, output_limit))
            # Without alt=sse a stream is one JSON array in pieces.
            method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        return model_request(deployment, method, sent, models_url=deployment.url_of(Wire.GEMINI))

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        raw = chat_reply.parse_body(body)
        return (gemini_native.embeddings if call.capability is Capability.EMBEDDINGS else gemini_native.reply)(
            raw, call
        )

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        return GeminiRelay(call)

    def count_request(self, call: Call, body: Mapping[str, Any], deployment: Deployment) -> UpstreamRequest | None:
        """Return the request for the size of a prompt."""
        sent = gemini_native.count_request(body, deployment.upstream_id)
        return model_request(deployment, "countTokens", sent, models_url=deployment.url_of(Wire.GEMINI))

    def count(self, body: bytes) -> int:
        """Read the reply to a ``count_request``; raises UpstreamFault for what is none."""
        tokens = count(chat_reply.parse_body(body).get("totalTokens"))
        if tokens is None:
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="no_total_tokens"))
        return tokens
