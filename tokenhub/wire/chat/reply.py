"""A whole chat completion: what it holds, and why it ended."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tokenhub.wire import json_text
from tokenhub.wire.chat.mend import Mender
from tokenhub.wire.chat.parts import calls_of, choices_of, text_of
from tokenhub.wire.chat.usage import parse_usage
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.replies import Reply
from tokenhub.wire.words import code_word

Classify = Callable[[dict[str, Any]], Failure]
"""Sorts an error that came with status 200 into a Failure, by the provider's own words."""

FINISH_REASONS: Mapping[str, str] = {
    "eos": "stop",
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "sensitive": "content_filter",
}
"""Words for an end that are not OpenAI's: Mistral-like servers, and Zhipu's two (docs.z.ai, 2026-11-22)."""

FAILED_FINISHES = ("error", "insufficient_system_resource", "network_error")
"""Ends that say the upstream broke off: OpenRouter, DeepSeek, Zhipu (their API pages, 2026-11-22)."""

_TEXTS = frozenset({"content", "reasoning_content", "reasoning", "refusal"})
_OTHERS = frozenset({"tool_calls", "function_call", "audio", "images", "thinking_blocks", "reasoning_details"})
_SHOWN = _TEXTS | _OTHERS


def has_content(part: Any) -> bool:
    """Return whether a message or delta shows something: text, reasoning, refusal, tool call, image or audio.

    A role, an empty string or an empty list is nothing.
    """
    if not isinstance(part, dict):
        return False
    return bool(part.get("content")) or any(value for name, value in part.items() if name in _SHOWN)


def text_bytes(part: Any) -> int:
    """Return the size of the generated text in a message or delta, for an estimate (T7)."""
    if not isinstance(part, dict):
        return 0
    size = sum([_size(value) for name, value in part.items() if name in _TEXTS])
    for function in (*[call.get("function") for call in calls_of(part)], part.get("function_call")):
        if isinstance(function, dict):
            size += _size(function.get("name")) + _size(function.get("arguments"))
    return size


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    return len(orjson.dumps(value)) if value else 0


def parse_body(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a reply; anything else is a PROTOCOL fault.

    Blank lines may come first: DeepSeek sends them while a request waits
    (api-docs.deepseek.com, rate limit page, 2026-11-22).
    """
    try:
        value = json_text.loads(raw.strip())
    except orjson.JSONDecodeError:
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="not_json")) from None
    if not isinstance(value, dict):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="not_an_object"))
    return value


def unclassified(payload: Mapping[str, Any]) -> Failure:
    """Sort an error by nothing but its code word: the upstream's own fault."""
    error = payload.get("error", payload)
    fields = error if isinstance(error, Mapping) else {}
    return Failure(FaultKind.SERVER, code=code_word(fields.get("code") or fields.get("type")))


def error_in(payload: Mapping[str, Any]) -> bool:
    """Return whether a payload with status 200 is an error (T74): OpenAI's shape, or DashScope's flat one."""
    if payload.get("error"):
        return True
    return "choices" not in payload and "message" in payload and "code" in payload


def read_reply(raw: dict[str, Any], *, classify: Classify = unclassified, mender: Mender | None = None) -> Reply:
    """Read a whole reply in OpenAI's form; raises UpstreamFault for an error inside a 200 (T74).

    ``raw`` becomes the reply's body: usage is taken from wherever the provider put it,
    and ends are told in OpenAI's words.
    """
    if error_in(raw):
        raise UpstreamFault(classify(raw))
    choices = choices_of(raw)
    if not choices or not all(isinstance(choice.get("message"), dict) for choice in choices):
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="no_choices"))
    usage = parse_usage(take_usage(raw))
    if mender is not None:
        mender.reply(raw)
    native = None
    for choice in choices:
        native = text_of(choice.get("finish_reason"))
        if native in FAILED_FINISHES:
            raise UpstreamFault(Failure(FaultKind.SERVER, code=code_word(native)))
        choice["finish_reason"] = finish_reason(native)
    messages = [choice["message"] for choice in choices]
    return Reply(
        body=raw,
        usage=usage,
        finish_reason=choices[-1]["finish_reason"],
        native_finish_reason=native,
        upstream_id=text_of(raw.get("id")),
        has_content=any(has_content(message) for message in messages),
        output_bytes=sum(text_bytes(message) for message in messages) if usage is None else 0,
        served_model=text_of(raw.get("model")),
    )


def finish_reason(native: Any) -> str | None:
    """Return OpenAI's word for an end; an unknown word passes, no word at all is None."""
    if not isinstance(native, str) or not native:
        return None
    return FINISH_REASONS.get(native, native)


def take_usage(payload: dict[str, Any]) -> dict[str, Any] | None:
    """Remove every usage object from a chunk or reply and return the one that counts.

    It stands at the top (most), inside the choice (Moonshot K2: platform.moonshot.ai, seen
    2026-01-21) or in ``x_groq`` (console.groq.com/docs, 2026-11-22); twice is still once.
    """
    found = None
    for holder in _usage_holders(payload):
        usage = holder.get("usage")
        if isinstance(usage, dict):
            found = holder.pop("usage")
    return found


def _usage_holders(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object that may hold a usage, the one with the last word last."""
    groq = payload.get("x_groq")
    return [*([groq] if isinstance(groq, dict) else []), *choices_of(payload), payload]
