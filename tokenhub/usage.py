"""Usage: what a reply counted, in disjoint buckets, whatever the provider's words.

Providers disagree on whether cached tokens are part of the prompt count and reasoning
part of the output count. Each wire module reads its own form into this one, and only
this one is priced (``docs/billing.md``).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tokenhub.values import value


@value
class Units:
    """So many of what is sold and is not a token."""

    kind: str
    """``image``, ``second``, ``video``, ``character`` or ``search``: a kind of ``catalog.price_tables.UNIT_PRICES``."""
    count: int
    variant: str = ""
    """What the price may depend on, as the price card spells it: ``1080p``, ``high 1024x1024``."""


@value
class Usage:
    """Counted units of one reply. All input buckets are disjoint; ``reasoning`` is part of ``output``."""

    input: int = 0
    """Prompt tokens that were neither read from nor written to a cache, and are not audio or images."""
    cache_read: int = 0
    cache_write: int = 0
    """Tokens written to a short-lived cache (5 minutes at Anthropic, 30 at OpenAI)."""
    cache_write_1h: int = 0
    audio_input: int = 0
    image_input: int = 0
    output: int = 0
    """All generated tokens, reasoning included, images excluded."""
    reasoning: int = 0
    image_output: int = 0
    unknown: int = 0
    """Tokens that a provider counted in a bucket TokenHub does not know; priced at the dearest rate."""
    unknown_input: int = 0
    """How many of the unknown tokens are known to be of the prompt."""
    units: tuple[Units, ...] = ()
    """What the reply came to beside tokens, such as images or seconds of video."""

    def units_of(self, kind: str) -> int:
        """Return how many units of a kind there are, whatever their variant."""
        return sum(one.count for one in self.units if one.kind == kind)

    @property
    def prompt_total(self) -> int:
        """All prompt tokens in buckets that TokenHub knows."""
        return (
            self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.audio_input + self.image_input
        )

    @property
    def prompt_whole(self) -> int:
        """All prompt tokens, unknown ones included: what a price tier's threshold is compared with."""
        return self.prompt_total + self.unknown_input

    @property
    def output_total(self) -> int:
        return self.output + self.image_output

    @property
    def total(self) -> int:
        return self.prompt_total + self.output_total + self.unknown

    def following(self, earlier: "Usage") -> "Usage":
        """Return this cumulative count, with the side of an earlier one, prompt or output, from which it has fallen (T10).

        An output cannot fall. A prompt is as it was told last, since providers correct it by some tokens; only one that
        has come to nothing keeps what was told of it.
        """
        prompt = self if self.prompt_whole or not earlier.prompt_whole else earlier
        output = self if self.total - self.prompt_whole >= earlier.total - earlier.prompt_whole else earlier
        if prompt is output:
            return prompt
        return replace(
            prompt,
            output=output.output,
            reasoning=output.reasoning,
            image_output=output.image_output,
            unknown=prompt.unknown_input + output.unknown - output.unknown_input,
            units=self.units,
        )


def units_to_data(units: tuple[Units, ...]) -> list[dict[str, Any]]:
    """Return units as plain data, for JSON: kind, count and, where there is one, variant."""
    return [
        {"kind": one.kind, "count": one.count, **({"variant": one.variant} if one.variant else {})} for one in units
    ]


MAX_TOKENS = 2**40
"""A count above this is nonsense and read as no usage at all (T9)."""


def count(value: object) -> int | None:
    """Return a token count if the value is one: a non-negative int that is no bool; else None (T9)."""
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    return None


def count_in(stated: Mapping[str, Any], name: str) -> int | None:
    """Return a token count that an upstream states by name: 0 where it is absent or null, None where it is no count."""
    value = stated.get(name)
    return 0 if value is None else count(value)
