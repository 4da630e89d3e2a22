"""Providers that speak OpenAI's Responses themselves: a client's body goes as it came, but for what is the gateway's."""

# ruff: noqa: ARG002 (adapters take the contract's arguments, needed or not)

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers import chat_body
from tokenhub.providers.adapter import NO_HINTS, CacheHints, UpstreamRequest
from tokenhub.providers.base import BaseAdapter
from tokenhub.providers.headers import headers
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat.request import GATEWAY_FIELDS
from tokenhub.wire.opaque import is_packed
from tokenhub.wire.replies import Reply, StreamReader
from tokenhub.wire.responses import common as responses
from tokenhub.wire.responses import native as responses_native
from tokenhub.wire.responses.native import NativeResponses

_SAMPLING = ("temperature", "top_p")


class NativeResponsesAdapter(BaseAdapter):
    """``/responses`` where the catalogue says; nothing is stored at the provider."""

    wire = Wire.RESPONSES

    def request(
        self,
        call: Call,
        body: Mapping[str, Any],
        deployment: Deployment,
        output_limit: int | None,
        hints: CacheHints = NO_HINTS,
    ) -> UpstreamRequest:
        sent = {name: value for name, value in body.items() if name not in GATEWAY_FIELDS}
        sent |= {"model": deployment.upstream_id, "store": False, "stream": call.stream}
        dropped = [name for name in _left_out(deployment) if sent.pop(name, None) is not None]
        limit = chat_body.limit_of(call, deployment, output_limit)
        if limit is not None:
            sent["max_output_tokens"] = limit
        if isinstance(sent.get("input"), list):
            sent["input"] = [item for item in sent["input"] if not _is_unreadable(item)]
        _ask_for_reasoning(sent, reasons=bool(deployment.model.traits["reasoning"]))
        _refuse_mode(sent)
        if hints.key and deployment.provider.quirks["prompt_cache_key"] and not sent.get("prompt_cache_key"):
            sent["prompt_cache_key"] = hints.key
        return UpstreamRequest(
            url=deployment.url_of(Wire.RESPONSES),
            headers=headers(deployment.provider, deployment.credential),
            body=orjson.dumps({**sent, **deployment.region.body_fields}),
            dropped=tuple(dropped),
        )

    def reply(self, call: Call, deployment: Deployment, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        return responses_native.reply(chat_reply.parse_body(body), call, classify=self._classify)

    def stream(self, call: Call, deployment: Deployment) -> StreamReader:
        return NativeResponses(classify=self._classify)


def _left_out(deployment: Deployment) -> tuple[str, ...]:
    """What a model does not take; and compaction, which is a second reply beside the one that is held for."""
    return ("context_management", *(() if deployment.model.traits["sampling"] else _SAMPLING))


def _is_unreadable(item: Any) -> bool:
    """Whether an item holds reasoning that another provider made, or is one that this one would look up in its store."""
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return isinstance(item, dict) and responses.made_nothing(item)
    sealed = item.get("encrypted_content")
    return is_packed(sealed) or not (sealed or item.get("content"))


def _ask_for_reasoning(sent: dict[str, Any], *, reasons: bool) -> None:
    """Ask for reasoning in the form that can be given back, since nothing is stored to look it up in.

    A model that does not reason refuses to be asked (OpenAI: "Encrypted content is not supported with this model").
    """
    included = [one for one in sent.get("include") or () if one != responses.ENCRYPTED]
    if reasons:
        included.append(responses.ENCRYPTED)
    if included:
        sent["include"] = included
    else:
        sent.pop("include", None)


def _refuse_mode(sent: Mapping[str, Any]) -> None:
    """Another mode than the standard one spends tokens that no output limit bounds (OpenAI's schema, 2026-11)."""
    if (sent.get("reasoning") or {}).get("mode") not in (None, "standard"):
        raise InvalidRequest(
            "reasoning.mode asks for something that has no price here; leave it out.",
            code="unpriced_feature",
            param="reasoning.mode",
        )
