"""Usage in OpenAI's words, from every provider that uses them, and back.

Providers agree on ``prompt_tokens`` and ``completion_tokens`` and on little else: where
cached tokens are told, whether reasoning is inside the output count, which details exist.
One reader takes them all (https://platform.openai.com/docs/api-reference/chat/object,
api-docs.deepseek.com, platform.moonshot.ai, help.aliyun.com/model-studio, docs.z.ai; checked
2026-11-22 against recorded replies of each). Numbers that contradict each other are read as
no usage at all, and the reply is charged by estimate (T9).
"""

from collections.abc import Mapping
from typing import Any

from tokenhub.usage import Usage, count
from tokenhub.wire.replies import StreamFacts

_PLAIN_INPUT = frozenset({"text_tokens", "video_tokens"})
_PLAIN_OUTPUT = frozenset(
    {"text_tokens", "reasoning_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"}
)
"""Details that are charged as what they are part of: plain input, plain output."""

_CACHE_READ = (
    ("prompt_tokens_details", "cached_tokens"),
    ("prompt_cache_hit_tokens",),
    ("cached_tokens",),
)
"""OpenAI and most others; DeepSeek; Moonshot K2."""

_CACHE_WRITE = (
    ("prompt_tokens_details", "cache_write_tokens"),
    ("prompt_tokens_details", "cache_creation_input_tokens"),
    ("cache_creation_input_tokens",),
)
"""OpenAI from gpt-5.6; DashScope's explicit cache; Anthropic-minded gateways."""

_REASONING = (("completion_tokens_details", "reasoning_tokens"), ("reasoning_tokens",))

_CACHE_WRITE_1H = (
    ("prompt_tokens_details", "cache_creation", "ephemeral_1h_input_tokens"),
    ("cache_creation", "ephemeral_1h_input_tokens"),
)


_PLAIN = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)
"""A usage of no more members than these, with nothing in the details, needs no dividing: most are so."""

_IDLE = frozenset({int, type(None)})

_KNOWN_INPUT = _PLAIN_INPUT | {
    "cached_tokens",
    "audio_tokens",
    "image_tokens",
    "cache_write_tokens",
    "cache_creation_input_tokens",
}
_KNOWN_OUTPUT = _PLAIN_OUTPUT | {"image_tokens"}


class _NonsenseUsage(Exception):
    """A member of the usage object is not what it must be."""


def parse_usage(raw: object) -> Usage | None:
    """Return the usage in disjoint buckets; None when there is none, or nonsense (T7, T9, T12)."""
    if not isinstance(raw, dict):
        return None
    try:
        return _read(raw)
    except _NonsenseUsage:
        return None


def take_count(facts: StreamFacts, raw: dict[str, Any]) -> None:
    """Take a usage out of a stream. Counts are cumulative: the last is the usage, and one that has fallen keeps the earlier one.

    One that has fallen, after content that nobody has counted, is none of that content (T10); one
    without an output still tells the prompt.
    """
    counted = parse_usage(raw)
    told = counted
    if told is None and raw.get("completion_tokens") is None:
        told = parse_usage({**raw, "completion_tokens": 0})
    facts.tell(told)
    if counted is not None and (facts.usage is not None or facts.told == counted):
        facts.usage = facts.told


def _read(raw: Mapping[str, Any]) -> Usage:
    prompt = _count(raw, "prompt_tokens")
    completion = _count(raw, "completion_tokens")
    total = _count(raw, "total_tokens")
    if prompt is None:
        raise _NonsenseUsage
    if completion is None:
        if total is None or total <= prompt:
            raise _NonsenseUsage  # a reply that nobody counted, not one that came to nothing
        completion = total - prompt
    plain = (
        _PLAIN.issuperset(raw) and _is_idle(raw, "prompt_tokens_details") and _is_idle(raw, "completion_tokens_details")
    )
    reasoning = 0 if plain else _first(raw, _REASONING)
    beside = 0 if total is None else total - prompt - completion
    if beside == reasoning:
        completion, beside = completion + reasoning, 0
    if completion < 0 or beside < 0 or reasoning > completion:
        raise _NonsenseUsage
    if plain:
        return Usage(input=prompt, output=completion, unknown=beside)
    inputs = _inputs(raw, prompt)
    outputs = _outputs(raw, completion)
    return Usage(
        input=inputs["input"],
        cache_read=inputs["cache_read"],
        cache_write=inputs["cache_write"],
        cache_write_1h=inputs["cache_write_1h"],
        audio_input=inputs["audio"],
        image_input=inputs["image"],
        output=outputs["output"],
        reasoning=min(reasoning, outputs["output"]),
        image_output=outputs["image"],
        unknown=inputs["unknown"] + outputs["unknown"] + beside,
        unknown_input=inputs["unknown"],
    )


def _inputs(raw: Mapping[str, Any], prompt: int) -> dict[str, int]:
    """Split the prompt count. Cached tokens may be audio or images too: each token is counted once, cache first."""
    details = _details(raw, "prompt_tokens_details")
    write = _first(raw, _CACHE_WRITE)
    write_1h = min(_first(raw, _CACHE_WRITE_1H), write) if write else _first(raw, _CACHE_WRITE_1H)
    parts = {
        "cache_read": _first(raw, _CACHE_READ),
        "cache_write_1h": write_1h,
        "cache_write": max(0, write - write_1h),
    }
    if sum(parts.values()) > prompt:
        raise _NonsenseUsage
    return _divide(prompt, parts, "input", details, _KNOWN_INPUT)


def _outputs(raw: Mapping[str, Any], completion: int) -> dict[str, int]:
    """Split the output count; audio output has no bucket of its own and is counted as unknown, the dearest."""
    details = _details(raw, "completion_tokens_details")
    return _divide(completion, {}, "output", details, _KNOWN_OUTPUT)


def _divide(
    whole: int, parts: dict[str, int], rest: str, details: Mapping[str, Any], known: frozenset[str]
) -> dict[str, int]:
    """Take audio, images and unknown kinds out of what the parts leave of a whole; ``rest`` is what remains."""
    left = whole - sum(parts.values())
    audio = _part(details, "audio_tokens", whole) if "audio_tokens" in known else 0
    image = _part(details, "image_tokens", whole)
    unknown = sum(_part(details, name, whole) for name in details if name.endswith("_tokens") and name not in known)
    for name, size in (("audio", audio), ("image", image), ("unknown", unknown)):
        parts[name] = min(size, left)
        left -= parts[name]
    parts[rest] = left
    return parts


def _part(details: Mapping[str, Any], name: str, whole: int) -> int:
    size = _count(details, name) or 0
    if size > whole:
        raise _NonsenseUsage
    return size


def _count(raw: Mapping[str, Any], name: str) -> int | None:
    """Return a count; None when it is absent or null; anything else that is no count spoils the whole usage."""
    value = raw.get(name)
    if value is None:
        return None
    checked = count(value)
    if checked is None:
        raise _NonsenseUsage
    return checked


def _details(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _NonsenseUsage
    return value


def _is_idle(raw: Mapping[str, Any], name: str) -> bool:
    """Return whether these details say nothing: absent, or all zeros."""
    details = raw.get(name)
    if not details:
        return details is None or details == {}
    return isinstance(details, dict) and not any(details.values()) and _IDLE.issuperset(map(type, details.values()))


def _first(raw: Mapping[str, Any], places: tuple[tuple[str, ...], ...]) -> int:
    """Return the count at the first of these places that has one; 0 when none has."""
    for *path, name in places:
        inside = raw
        for step in path:
            inside = _details(inside, step)
        value = _count(inside, name)
        if value is not None:
            return value
    return 0


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return the usage in OpenAI's shape: the prompt count includes the cache, the output count reasoning."""
    prompt = usage.prompt_total
    completion = usage.output_total + usage.unknown
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
            "audio_tokens": usage.audio_input,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
