"""Anthropic's Messages API: key in ``x-api-key``, a pinned version, the region in the body."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.providers import chat_body
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.base import BaseAdapter
from tokenhub.providers.headers import headers
from tokenhub.wire.chat import over_messages as chat_over_messages
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.messages import reply as messages_reply
from tokenhub.wire.messages.stream import MessagesReader
from tokenhub.wire.replies import Reply, StreamReader


class Anthropic(BaseAdapter):
    """``/messages`` under the base URL; chat bodies are translated both ways."""

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
        sent, dropped = chat_over_messages.request(
            body,
            deployment.upstream_id,
            output_limit=limit,
            max_output=deployment.max_output,
            mark_cache=hints.mark,
        )
        return UpstreamRequest(
            url=f"{deployment.base_url}/messages",
            headers=headers(deployment.provider, deployment.credential),
            body=orjson.dumps({**sent, **deployment.region.body_fields}),
            dropped=dropped,
        )

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        return messages_reply.reply(chat_reply.parse_body(body), call, classify=self._classify)

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        return MessagesReader(call, classify=self._classify)
