"""Providers that have OpenAI's legacy completions: the body as the client sent it, under the provider's own path."""

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
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat.request import outgoing
from tokenhub.wire.completions import request as completions
from tokenhub.wire.completions.stream import CompletionsRelay
from tokenhub.wire.replies import Reply, StreamReader


class OpenAICompatibleCompletions(BaseAdapter):
    """``/completions`` at whoever has it."""

    wire = Wire.COMPLETIONS

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        quirks = self._provider.quirks
        sent = {name: value for name, value in outgoing(body).items() if value is not None}
        dropped = tuple(name for name in quirks["drop_fields"] if name in sent)
        sent = {name: value for name, value in sent.items() if name not in dropped}
        sent["model"] = deployment.upstream_id
        limit = chat_body.limit_of(call, deployment, output_limit)
        if limit is not None:
            sent["max_tokens"] = limit
        sent.pop("stream_options", None)
        if call.stream and quirks["stream_options"]:
            sent["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return UpstreamRequest(
            url=deployment.url_of(Wire.COMPLETIONS),
            headers=headers(deployment.provider, deployment.credential),
            body=orjson.dumps({**sent, **deployment.region.body_fields}),
            dropped=dropped,
        )

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        return completions.read_reply(chat_reply.parse_body(body), classify=self._classify)

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        return CompletionsRelay(choices=call.choices, classify=self._classify)
