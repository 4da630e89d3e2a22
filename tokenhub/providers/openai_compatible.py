"""Providers that speak OpenAI's chat completions and embeddings: most of them, each with its quirks from the catalogue."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

import random
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment, Provider
from tokenhub.providers import chat_body
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.base import BaseAdapter
from tokenhub.providers.headers import headers
from tokenhub.providers.whole import NotStreamed
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat.mend import Mender
from tokenhub.wire.chat.relay import ChatRelay
from tokenhub.wire.embeddings import request as embeddings
from tokenhub.wire.replies import Reply, StreamReader


class OpenAICompatible(BaseAdapter):
    """Bearer key, ``/chat/completions`` under the base URL, the body as the client sent it but for quirks."""

    wire = Wire.CHAT

    steps: Sequence[chat_body.Step] = chat_body.STEPS

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self._relays = provider.quirks["stream"] == "relay"

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        shaped = chat_body.shape(body, call, deployment, output_limit, self.steps, hints)
        return UpstreamRequest(
            url=f"{deployment.base_url}/chat/completions",
            headers=headers(deployment.provider, deployment.credential),
            body=orjson.dumps(shaped.body),
            dropped=tuple(shaped.dropped),
        )

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        raw = chat_reply.parse_body(body)
        return chat_reply.read_reply(raw, classify=self._classify, mender=self._mender(call))

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        mender = self._mender(call)
        return ChatRelay(
            choices=call.choices, classify=self._classify, mender=mender, ends_with_close=mender is not None
        )

    def _mender(self, call: Call) -> Mender | None:
        """What completes the replies of a provider that leaves things out; None where OpenAI's shape is sure."""
        if self._relays:
            return None
        return Mender(f"chatcmpl-{random.getrandbits(128):032x}", call.created_s, call.model)


class OpenAICompatibleEmbeddings(NotStreamed):
    """The same for ``/embeddings``."""

    wire = Wire.EMBEDDINGS

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        quirks = provider.quirks
        self._limits = embeddings.Limits(inputs=quirks["embeddings_inputs"], base64=quirks["embeddings_base64"])

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        return UpstreamRequest(
            url=f"{deployment.base_url}/embeddings",
            headers=headers(deployment.provider, deployment.credential),
            body=orjson.dumps(embeddings.request(body, deployment.upstream_id, self._limits)),
        )

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        return embeddings.reply(chat_reply.parse_body(body), call, classify=self._classify)
