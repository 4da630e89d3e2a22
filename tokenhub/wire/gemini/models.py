"""What Gemini model generations take: how thinking is steered, and what history they insist on.

The table is data: the longest prefix of the upstream id decides, and an id that is not in it
is taken for a model of the newest kind. Sources: ai.google.dev/gemini-api/docs/thinking and
/thought-signatures, and the google-genai 3.4.0 SDK's enums (2026-11-22).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Thinking(StrEnum):
    """How a model is told how much to think."""

    NONE = "none"
    """It does not think; thinkingConfig is refused."""
    BUDGET = "budget"
    """``thinkingBudget``, a number of tokens."""
    LEVEL = "level"
    """``thinkingLevel``, a word."""


@dataclass(frozen=True, slots=True)
class Traits:
    """How one generation differs from the next on the wire."""

    thinking: Thinking
    efforts: Mapping[str, str | int] = field(default_factory=dict)
    """OpenAI's ``reasoning_effort`` to the level or budget that is sent."""
    max_budget: int = 0
    min_budget: int = 0
    signed_calls: bool = False
    """Function calls in the history are refused without a thought signature (Gemini 3 and later)."""
    files_in_results: bool = False
    """A tool's result can carry images itself (Gemini 3 and later); before, they follow it."""


_NEWEST_EFFORTS = {
    "none": "LOW",
    "minimal": "LOW",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}

_NEWEST = Traits(Thinking.LEVEL, _NEWEST_EFFORTS, signed_calls=True, files_in_results=True)
_WITH_MINIMAL = Traits(
    Thinking.LEVEL,
    {**_NEWEST_EFFORTS, "none": "MINIMAL", "minimal": "MINIMAL"},
    signed_calls=True,
    files_in_results=True,
)
_IMAGES_3 = Traits(Thinking.NONE, signed_calls=True, files_in_results=True)
_BUDGET = Traits(Thinking.BUDGET, _BUDGETS, max_budget=24576)
_UNTHINKING = Traits(Thinking.NONE)

MODELS: Mapping[str, Traits] = {
    "gemini-1": _UNTHINKING,
    "gemini-2.0": _UNTHINKING,
    "gemini-2.5-flash": _BUDGET,
    "gemini-2.5-flash-image": _UNTHINKING,
    "gemini-2.5-flash-preview-tts": _UNTHINKING,
    # 2.5 Pro cannot stop thinking: its least budget is 128, its largest 32768.
    "gemini-2.5-pro": Traits(
        Thinking.BUDGET,
        {**_BUDGETS, "none": 128, "xhigh": 32768, "max": 32768},
        max_budget=32768,
        min_budget=128,
    ),
    # The first 3 Pro knows two levels only.
    "gemini-3-pro": Traits(
        Thinking.LEVEL, {**_NEWEST_EFFORTS, "medium": "HIGH"}, signed_calls=True, files_in_results=True
    ),
    "gemini-3-pro-image": _IMAGES_3,
    "gemini-3-flash": _WITH_MINIMAL,
    "gemini-3.1-flash": _WITH_MINIMAL,
    "gemini-3.1-flash-image": _IMAGES_3,
    "gemini-3.1-flash-lite-image": _IMAGES_3,
    "gemini-3.5": _WITH_MINIMAL,
    "gemini-3.6-flash": _WITH_MINIMAL,
    "gemini-nano-banana": _IMAGES_3,
    "gemma-": _UNTHINKING,
}


def traits_of(upstream_id: str) -> Traits:
    """Return what is known of a model by the longest prefix of its upstream id."""
    name = upstream_id.rsplit("/", 1)[-1]
    best = max((prefix for prefix in MODELS if name.startswith(prefix)), key=len, default=None)
    return MODELS[best] if best else _NEWEST
