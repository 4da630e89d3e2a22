"""Providers that speak Anthropic's Messages, to Messages clients: Anthropic, and others' copies of its surface."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment, Provider
from tokenhub.providers import chat_body
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.base import BaseAdapter
from tokenhub.providers.headers import ANTHROPIC, headers
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.messages import common as messages
from tokenhub.wire.messages import native as messages_native
from tokenhub.wire.messages.common import InputCount
from tokenhub.wire.messages.native_stream import NativeMessagesReader
from tokenhub.wire.replies import Reply, StreamReader

BETAS = frozenset(
    {
        "advanced-tool-use-2025-11-20",
        "claude-code-20250219",
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "computer-use-2025-11-24",
        "context-management-2025-06-27",
        "effort-2025-11-24",
        "extended-cache-ttl-2025-04-11",
        "fine-grained-tool-streaming-2025-05-14",
        "interleaved-thinking-2025-05-14",
        "mid-conversation-output-config-2026-07-01",
        "mid-conversation-system-clear-at-2026-08-21",
        "mid-conversation-tool-changes-2026-07-01",
        "model-context-window-exceeded-2025-08-26",
        "pdfs-2024-09-25",
        "prompt-caching-2024-07-31",
        "structured-outputs-2025-11-13",
        "task-budgets-2026-03-13",
        "thinking-binding-controls-2026-08-01",
        "thinking-display-updates-2026-08-18",
        "thinking-token-count-2026-05-13",
        "token-counting-2024-11-01",
        "token-efficient-tools-2025-02-19",
    }
)
"""Flags that go upstream: they change neither the price of a token nor where or by whom it is made.

Left out are, among others, ``context-1m`` and ``fast-mode`` (dearer tokens), ``output-*`` (limits beyond the
catalogue's), ``code-execution``, ``mcp-client``, ``skills`` and ``advisor-tool`` (paid services), ``compact`` and
``server-side-fallback`` (tokens and models that no hold covers), ``files-api`` and ``user-profiles`` (the operator's
store). Names from the anthropic 2.12.0 SDK (``AnthropicBetaParam``) and platform.claude.com, beta headers, 2026-11-22.
"""


class NativeMessages(BaseAdapter):
    """The Messages address of a provider, by its own key; bodies and frames pass as they are."""

    wire = Wire.MESSAGES

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self._is_anthropic = provider.adapter == "anthropic"
        stated = InputCount(provider.quirks["messages_input"])
        self._input_count = InputCount.WITHOUT_CACHE if self._is_anthropic else stated

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        limit = chat_body.limit_of(call, deployment, output_limit)
        sent, dropped = messages_native.request(
            body,
            deployment.upstream_id,
            limit or deployment.max_output or messages.traits_of(deployment.upstream_id).max_output,
            checks_signatures=self._is_anthropic,
            mark_cache=hints.mark and self._is_anthropic,
        )
        betas = [name for name in call.betas if self._is_anthropic and name in BETAS]
        left_out = [f"anthropic-beta.{name}" for name in call.betas if self._is_anthropic and name not in BETAS]
        return UpstreamRequest(
            url=deployment.url_of(Wire.MESSAGES),
            headers=self._headers(deployment, betas),
            body=orjson.dumps({**sent, **deployment.region.body_fields}),
            dropped=(*dropped, *left_out),
        )

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        return messages_native.reply(
            chat_reply.parse_body(body), classify=self._classify, input_count=self._input_count
        )

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        return NativeMessagesReader(classify=self._classify, input_count=self._input_count)

    def count_request(self, call: Call, body: Mapping[str, Any], deployment: Deployment) -> UpstreamRequest | None:
        """Return the request for the size of a prompt; None where no such address is documented: everywhere but at Anthropic.

        None also where the body must say the region: ``count_tokens`` has no ``inference_geo`` (anthropic 2.12.0 SDK,
        ``MessageCountTokensParams``), so a prompt could not be kept there.
        """
        if not self._is_anthropic or deployment.region.body_fields:
            return None
        return UpstreamRequest(
            url=f"{deployment.url_of(Wire.MESSAGES)}/count_tokens",
            headers=self._headers(deployment, [name for name in call.betas if name in BETAS]),
            body=orjson.dumps(messages_native.count_request(body, deployment.upstream_id)),
        )

    def count(self, body: bytes) -> int:
        """Read the reply to a ``count_request``; raises UpstreamFault for what is none."""
        tokens = chat_reply.parse_body(body).get("input_tokens")
        if type(tokens) is not int or tokens < 0:
            raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="no_input_tokens"))
        return tokens

    def _headers(self, deployment: Deployment, betas: list[str]) -> dict[str, str]:
        sent = {**headers(deployment.provider, deployment.credential), **ANTHROPIC}
        return {**sent, "anthropic-beta": ",".join(betas)} if betas else sent
