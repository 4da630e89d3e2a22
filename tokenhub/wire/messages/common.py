"""Anthropic Messages: what each Claude model can do, usage, ends and errors.

Sources: the anthropic 2.12.0 SDK, pydantic-ai's model profiles and platform.claude.com, all
checked 2026-11-22; recorded replies for the shapes of usage and streams.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tokenhub.usage import Usage, count, count_in
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.words import code_word

JSON_TOOL = "json_output"
"""The tool that a model without output schemas is made to call: its input is the reply's text."""
MIN_BUDGET = 1_024
"""The least thinking budget Anthropic takes; it must lie below ``max_tokens`` (extended thinking page, 2026-11)."""


class ForcedTool(StrEnum):
    """Whether a request may force a tool call."""

    ALLOWED = "allowed"
    WITHOUT_THINKING = "without_thinking"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class ClaudeTraits:
    """What one generation of Claude takes. The defaults are the newest one's: an unknown id is treated as such."""

    max_output: int = 128_000
    sampling: bool = False
    """Takes temperature, top_p and top_k."""
    thinking: frozenset[str] = frozenset({"adaptive"})
    """The values of ``thinking.type``: adaptive, enabled (with a budget), disabled, between_tools."""
    efforts: tuple[str, ...] = ("low", "medium", "high", "xhigh", "max")
    forced_tool: ForcedTool = ForcedTool.REJECTED
    output_schema: bool = True
    """Takes ``output_config.format``, and ``strict`` on tools."""
    system_turns: bool = False
    """Takes the role ``system`` inside ``messages``."""


_NEWEST = ClaudeTraits()
_WITH_SYSTEM_TURNS = replace(_NEWEST, system_turns=True)
_SWITCHABLE = replace(_NEWEST, thinking=frozenset({"adaptive", "disabled"}), forced_tool=ForcedTool.ALLOWED)
_BOTH_KINDS = replace(
    _NEWEST,
    sampling=True,
    thinking=frozenset({"adaptive", "enabled", "disabled"}),
    efforts=("low", "medium", "high", "max"),
    forced_tool=ForcedTool.WITHOUT_THINKING,
)
_BUDGET = replace(_BOTH_KINDS, max_output=64_000, thinking=frozenset({"enabled"}), efforts=())
_BUDGET_4_0 = replace(_BUDGET, output_schema=False)
_CLAUDE_3 = replace(_BUDGET_4_0, max_output=4_096, thinking=frozenset(), efforts=(), forced_tool=ForcedTool.ALLOWED)

_TRAITS: Mapping[str, ClaudeTraits] = {
    "claude-fable": _WITH_SYSTEM_TURNS,
    "claude-mythos": _WITH_SYSTEM_TURNS,
    "claude-opus-5-5": _WITH_SYSTEM_TURNS,
    "claude-sonnet-5-5": replace(_NEWEST, thinking=frozenset({"adaptive", "between_tools"})),
    "claude-haiku-5-5": _SWITCHABLE,
    "claude-opus-5": replace(_SWITCHABLE, system_turns=True),
    "claude-sonnet-5": _SWITCHABLE,
    "claude-opus-4-8": replace(_SWITCHABLE, system_turns=True),
    "claude-opus-4-7": _SWITCHABLE,
    "claude-opus-4-6": _BOTH_KINDS,
    "claude-sonnet-4-6": _BOTH_KINDS,
    "claude-opus-4-5": _BUDGET,
    "claude-sonnet-4-5": _BUDGET,
    "claude-haiku-4-5": _BUDGET,
    "claude-opus-4-1": replace(_BUDGET_4_0, max_output=32_000),
    "claude-opus-4-0": replace(_BUDGET_4_0, max_output=32_000),
    "claude-opus-4-2025": replace(_BUDGET_4_0, max_output=32_000),
    "claude-sonnet-4-0": _BUDGET_4_0,
    "claude-sonnet-4-2025": _BUDGET_4_0,
    "claude-3-7-sonnet": _BUDGET_4_0,
    "claude-3-5-": replace(_CLAUDE_3, max_output=8_192),
    "claude-3-": _CLAUDE_3,
}
"""By prefix of the upstream id; the longest prefix wins."""

_BY_LENGTH = sorted(_TRAITS, key=len, reverse=True)

STOP_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Anthropic's ends in OpenAI's words; one that is not known yet is a plain ``stop``."""

_ERROR_KINDS: Mapping[str, FaultKind] = {
    "authentication_error": FaultKind.AUTH,
    "permission_error": FaultKind.AUTH,
    "billing_error": FaultKind.BILLING,
    "rate_limit_error": FaultKind.RATE,
    "overloaded_error": FaultKind.OVERLOAD,
    "timeout_error": FaultKind.TIMEOUT,
    "not_found_error": FaultKind.MODEL_GONE,
    "request_too_large": FaultKind.CONTEXT,
    "invalid_request_error": FaultKind.BAD_REQUEST,
}


def traits_of(upstream_id: str) -> ClaudeTraits:
    """Return what a Claude model takes, from its id at Anthropic."""
    prefix = next((prefix for prefix in _BY_LENGTH if upstream_id.startswith(prefix)), None)
    return _NEWEST if prefix is None else _TRAITS[prefix]


class InputCount(StrEnum):
    """What ``input_tokens`` counts on a Messages surface."""

    WITHOUT_CACHE = "without_cache"
    """Neither cache reads nor writes: Anthropic's own way, where the buckets are disjoint as they come."""
    WITH_CACHE = "with_cache"
    """The whole prompt, as in OpenAI's ``prompt_tokens``."""
    IN_DOUBT = "in_doubt"
    """Nobody says. The count is read as the whole prompt unless it is too small for that, so that no token is billed twice."""


def parse_usage(raw: object, input_count: InputCount = InputCount.WITHOUT_CACHE) -> Usage | None:
    """Return a Messages surface's counts in disjoint buckets; None when there are none, or nonsense (T9, T12)."""
    if not isinstance(raw, Mapping):
        return None
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    counts = [count_in(raw, name) for name in names]
    details = raw.get("cache_creation")
    one_hour = count_in(details, "ephemeral_1h_input_tokens") if isinstance(details, Mapping) else 0
    thinking = raw.get("output_tokens_details")
    reasoning = count_in(thinking, "thinking_tokens") if isinstance(thinking, Mapping) else 0
    if None in (*counts, one_hour, reasoning) or raw.get("input_tokens") is None or raw.get("output_tokens") is None:
        return None
    fresh, output, read, written = (number or 0 for number in counts)
    one_hour = min(one_hour or 0, written)
    fits = read + written <= fresh
    if input_count is InputCount.WITH_CACHE and not fits:
        return None
    if input_count is not InputCount.WITHOUT_CACHE and fits:
        fresh -= read + written
    return Usage(
        input=fresh,
        cache_read=read,
        cache_write=written - one_hour,
        cache_write_1h=one_hour,
        output=output,
        reasoning=min(reasoning or 0, output),
    )


def parse_told(raw: Mapping[str, Any], input_count: InputCount = InputCount.WITHOUT_CACHE) -> Usage | None:
    """Return what a stream's counts tell so far; the output may be missing yet."""
    return parse_usage({"output_tokens": 0, **raw}, input_count)


def parse_end(
    raw: Mapping[str, Any], told: Usage | None, input_count: InputCount = InputCount.WITHOUT_CACHE
) -> Usage | None:
    """Return the usage of a whole stream. Its prompt does not come to nothing after the stream has told it (T10)."""
    counted = parse_usage(raw, input_count)
    if counted is None or told is None:
        return counted
    return counted.following(replace(told, output=0, reasoning=0))


def counts_output(usage: object) -> bool:
    """Return whether an event's own usage counts the output: what only the reply's beginning has told is no count of it."""
    return isinstance(usage, Mapping) and count(usage.get("output_tokens")) is not None


def classify_error(payload: Mapping[str, Any]) -> Failure:
    """Sort an error body, or an error event inside a stream, by its type."""
    error = payload.get("error")
    word = error.get("type") if isinstance(error, Mapping) else None
    return Failure(_ERROR_KINDS.get(str(word), FaultKind.SERVER), code=code_word(word))
