"""What a reply costs: usage times price card, exactly, rounded up once for each of the two fees."""

from collections.abc import Sequence
from typing import Any

from tokenhub.catalog.prices import PriceCard, Rates
from tokenhub.money import ATTO_PER_NANO, exact, fee, nano_from_atto, number
from tokenhub.usage import Units, Usage
from tokenhub.values import value


@value
class Split:
    """The model fee by side, in nano-USD, for display; the two add up to the fee whatever was rounded."""

    prompt_nano: int
    completion_nano: int


@value
class Charge:
    """What an account owes for one reply, in nano-USD: two ledger lines, always."""

    model_fee_nano: int
    service_fee_nano: int
    split: Split

    @property
    def total_nano(self) -> int:
        return self.model_fee_nano + self.service_fee_nano

    def shown(self, *, estimated: bool) -> dict[str, Any]:
        """Return what a usage object says of the cost: a number, as OpenRouter's, and exact decimal strings."""
        return {
            "cost": number(self.total_nano),
            "is_byok": False,
            "cost_details": {
                "upstream_inference_cost": number(self.model_fee_nano),
                "upstream_inference_prompt_cost": number(self.split.prompt_nano),
                "upstream_inference_completions_cost": number(self.split.completion_nano),
                "model_fee": exact(self.model_fee_nano),
                "service_fee": exact(self.service_fee_nano),
                "total": exact(self.total_nano),
                "estimated": estimated,
            },
        }

    def cut(self, model_fee_nano: int, service_fee_nano: int) -> "Charge":
        """Return this charge as it was booked, with less than it came to; the completion's part gives way first."""
        prompt_nano = min(self.split.prompt_nano, model_fee_nano)
        return Charge(model_fee_nano, service_fee_nano, Split(prompt_nano, model_fee_nano - prompt_nano))


FREE = Charge(0, 0, Split(0, 0))
"""What a reply costs that is not billed."""


def prompt_atto(usage: Usage, rates: Rates) -> int:
    """The cost of all that was read, and of tokens in buckets TokenHub does not know (T12)."""
    return (
        usage.input * rates.input
        + usage.cache_read * rates.cache_read
        + usage.cache_write * rates.cache_write
        + usage.cache_write_1h * rates.cache_write_1h
        + usage.audio_input * rates.audio_input
        + usage.image_input * rates.image_input
        + usage.unknown * rates.unknown
    )


def completion_atto(usage: Usage, rates: Rates) -> int:
    """The cost of all that was generated; a reply that reasoned is billed at the thinking rate whole (Alibaba's rule)."""
    rate = rates.output_thinking if usage.reasoning else rates.output
    return usage.output * rate + usage.image_output * rates.image_output


def units_atto(units: Sequence[Units], card: PriceCard) -> int:
    """The cost of what is not a token: images, seconds, characters, searches."""
    return sum(one.count * card.unit_price(one.kind, one.variant) for one in units)


def charge_for(usage: Usage, card: PriceCard, fee_bp: int) -> Charge:
    """Return model fee and service fee; ``fee_bp`` are the account's basis points.

    In the split the prompt's part is rounded down and the completion's, units included, is the rest.
    """
    rates = card.rates_for(usage.prompt_whole)
    prompt, completion = prompt_atto(usage, rates), completion_atto(usage, rates)
    if usage.units:
        completion += units_atto(usage.units, card)
    model_fee = nano_from_atto(prompt + completion)
    prompt_nano = prompt // ATTO_PER_NANO if completion else model_fee
    return Charge(model_fee, fee(model_fee, fee_bp), Split(prompt_nano, model_fee - prompt_nano))


def saved_by_cache(usage: Usage, card: PriceCard) -> int:
    """Return what cache reads saved, in nano-USD of the model fee, rounded down: their price beside fresh input's."""
    if not usage.cache_read:
        return 0
    rates = card.rates_for(usage.prompt_whole)
    return usage.cache_read * max(0, rates.input - rates.cache_read) // ATTO_PER_NANO
