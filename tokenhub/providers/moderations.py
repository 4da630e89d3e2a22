"""Providers that speak OpenAI's moderations."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.headers import headers
from tokenhub.providers.whole import WholeReplies, is_free
from tokenhub.wire import moderations
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat import request as chat
from tokenhub.wire.replies import Reply


class OpenAICompatibleModerations(WholeReplies):
    """``/moderations``, the body as the client sent it."""

    wire = Wire.MODERATIONS
    path = "moderations"

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        return UpstreamRequest(
            self.url(deployment),
            headers(deployment.provider, deployment.credential),
            orjson.dumps({**chat.outgoing(body), "model": deployment.upstream_id}),
        )

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        raw = chat_reply.parse_body(body)
        return moderations.reply(raw, call, is_free=is_free(deployment), classify=self._classify)
