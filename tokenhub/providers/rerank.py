"""Providers that rerank: Cohere's shape, which most took over, and DashScope's own."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.headers import headers
from tokenhub.providers.whole import WholeReplies, is_sold_by
from tokenhub.wire import rerank
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.replies import Reply


class Rerank(WholeReplies):
    """``/rerank`` under the base URL: Cohere, Jina, SiliconFlow, Zhipu, OpenRouter, vLLM, llama.cpp."""

    wire = Wire.RERANK
    path = "rerank"

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        flat = rerank.request(body, deployment.upstream_id, deployment.provider.quirks["rerank_documents"])
        sent, dropped = self.shaped(flat)
        return UpstreamRequest(
            self.url(deployment), headers(deployment.provider, deployment.credential), orjson.dumps(sent), dropped
        )

    def shaped(self, flat: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the body in the provider's form, and the names of fields it has no place for."""
        return flat, ()

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        raw = chat_reply.parse_body(body)
        return rerank.reply(raw, call, by_search=is_sold_by(deployment, "search"), classify=self._classify)


class DashScopeRerank(Rerank):
    """DashScope's own surface, which has all its models; its OpenAI-like one has only the newest (text rerank API, 2026-03)."""

    def shaped(self, flat: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        return rerank.nested(flat)
