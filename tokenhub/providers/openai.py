"""OpenAI itself: its chat wire is ours; what differs is what its reasoning models refuse there.

From gpt-5.4 on chat completions takes no function tools while the model reasons, which most of
them do unasked (400 with ``param: reasoning_effort``; LiteLLM and pydantic-ai profiles, 2026-11).
Such a call goes to the Responses API, and its reply comes back in chat's form.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.providers import chat_body
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.chat_reasoning import reasoning, without_reasoning
from tokenhub.providers.chat_shaping import Shaping
from tokenhub.providers.headers import headers
from tokenhub.providers.openai_compatible import OpenAICompatible
from tokenhub.wire.chat import over_responses as chat_over_responses
from tokenhub.wire.chat import over_responses_reply as chat_over_responses_reply
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat.over_responses_stream import ResponsesReader
from tokenhub.wire.replies import Reply, StreamReader


def reasons_with_tools(call: Call, deployment: Deployment) -> bool:
    """Return whether a call is one that chat completions refuses: tools, for a model that will reason."""
    traits = deployment.model.traits
    if not traits["tools_need_responses_api"] or not call.uses_tools:
        return False
    return traits["reasoning_default"] == "on" if call.effort is None else call.effort != "none"


def tools_without_reasoning(shaping: Shaping) -> None:
    """Keep function tools and reasoning apart where there is nothing but chat completions: another host under OpenAI's name."""
    if not reasons_with_tools(shaping.call, shaping.deployment):
        return
    if shaping.call.effort is not None:
        raise shaping.refuse(
            "reasoning_effort",
            "takes no tools together with reasoning on chat completions; send reasoning_effort none, or no tools.",
        )
    if not without_reasoning(shaping):
        raise shaping.refuse(
            "tools", "takes tools only on the Responses API, because it always reasons; ask for another model."
        )


def no_sampling(shaping: Shaping) -> None:
    """Leave out what a model does not take while it reasons (OpenAI's reasoning guide, 2026-11)."""
    for name in ("temperature", "top_p", "logprobs", "top_logprobs"):
        shaping.drop(name)


_AFTER_REASONING = chat_body.STEPS.index(reasoning) + 1
_RESPONSES_STEPS = (
    chat_body.inputs,
    no_sampling,
    chat_body.response_format,
    reasoning,
    chat_body.tools,
    chat_body.tool_choice,
    chat_body.fields,
    chat_body.cache_key,
)


class OpenAI(OpenAICompatible):
    """``api.openai.com`` and its regional hosts."""

    steps = (*chat_body.STEPS[:_AFTER_REASONING], tools_without_reasoning, *chat_body.STEPS[_AFTER_REASONING:])

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        if not _by_responses(call, deployment):
            return super().request(call, body, deployment, output_limit, hints)
        shaped = chat_body.shape(body, call, deployment, output_limit, _RESPONSES_STEPS, hints)
        limit = chat_body.limit_of(call, deployment, output_limit)
        sent, dropped = chat_over_responses.request(shaped.body, limit)
        return UpstreamRequest(
            url=deployment.url_of(Wire.RESPONSES),
            headers=headers(deployment.provider, deployment.credential),
            body=orjson.dumps({**sent, **deployment.region.body_fields}),
            dropped=(*shaped.dropped, *dropped),
        )

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        if not _by_responses(call, deployment):
            return super().reply(call, deployment, status, headers, body)
        return chat_over_responses_reply.reply(chat_reply.parse_body(body), call, classify=self._classify)

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        if not _by_responses(call, deployment):
            return super().stream(call, deployment)
        return ResponsesReader(call, classify=self._classify)


def _by_responses(call: Call, deployment: Deployment) -> bool:
    return reasons_with_tools(call, deployment) and deployment.speaks(Wire.RESPONSES)
