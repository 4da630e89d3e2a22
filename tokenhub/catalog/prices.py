"""Price cards: what a unit of each bucket costs at one deployment, at one moment.

A :class:`PriceSchedule` is what the catalogue states for an offering (list price, tiers,
dated changes, weekday windows, multipliers); :meth:`PriceSchedule.at` picks the card that
holds at one moment, and that card is fixed for a request when its hold is placed (T15).
Unit prices are integers of atto-USD per token, image or second (see ``money``); every
rate is filled in, so that pricing is one sum without a special case.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property

from tokenhub.money import InvalidAmount, parse_decimal

DAY_S = 86_400
DEFAULTS: Mapping[str, str] = {
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "image_input": "input",
    "image_output": "output",
    "output_thinking": "output",
}
"""A bucket without a price of its own costs what this one costs; in this order."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Atto-USD per token of each usage bucket."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    audio_input: int
    image_input: int
    image_output: int
    output_thinking: int
    """Per output token of a reply that reasoned; equal to ``output`` almost everywhere."""

    @property
    def stated(self) -> list[str]:
        """The buckets whose price says something: all but those that cost what they cost by default."""
        return [
            bucket
            for bucket in Rates.__slots__
            if bucket not in DEFAULTS or getattr(self, bucket) != getattr(self, DEFAULTS[bucket])
        ]

    @property
    def prompt_dearest(self) -> int:
        """The most a prompt token can cost in any bucket with a price; one in an unknown bucket may cost more (T12)."""
        return max(
            self.input, self.cache_read, self.cache_write, self.cache_write_1h, self.audio_input, self.image_input
        )

    @property
    def output_dearest(self) -> int:
        """The most an output token can cost."""
        return max(self.output, self.output_thinking, self.image_output)

    @property
    def of_four(self) -> int:
        """One number to compare prices by: what four tokens cost, three of the prompt and one of output."""
        return 3 * self.input + self.output

    @property
    def unknown(self) -> int:
        """A token in a bucket that TokenHub does not know costs the dearer of input and output (T12)."""
        return max(self.input, self.output)

    def times(self, numerator: int, denominator: int) -> "Rates":
        """Multiply every rate; raises InvalidAmount where the result is no whole atto-USD."""
        return replace(self, **{f.name: _times(getattr(self, f.name), numerator, denominator) for f in fields(self)})


@dataclass(frozen=True)
class PriceCard:
    """All prices of an offering at one moment; requests remember it by ``version``."""

    rates: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    """(above_prompt_tokens, rates), ascending: the whole request is billed at the last tier that is exceeded (T13)."""
    units: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Atto-USD of what is not a token: ``image``, ``video``, ``second``, ``second 720p``, ``character``, ``search``."""

    def rates_for(self, prompt_total: int) -> Rates:
        """Return the rates for a request whose prompt, cached parts included, has this many tokens."""
        rates = self.rates
        for above, tier in self.tiers:
            if prompt_total <= above:
                break
            rates = tier
        return rates

    def dearest(self, prompt_most: int) -> tuple[int, int]:
        """Return the most a prompt token and an output token can cost while the prompt has at most this many tokens."""
        prompt, output = self._dearest[0][1:]
        for above, *dearer in self._dearest[1:]:
            if prompt_most <= above:
                break
            prompt, output = dearer
        return prompt, output

    @cached_property
    def dearest_output(self) -> tuple[int, int]:
        """The most an image token and a token of text can cost in the output, whatever the tier."""
        every = (self.rates, *(rates for _, rates in self.tiers))
        return (
            max(rates.image_output for rates in every),
            max(max(rates.output, rates.output_thinking) for rates in every),
        )

    @cached_property
    def _dearest(self) -> list[tuple[int, int, int]]:
        """(above_prompt_tokens, dearest prompt token, dearest output token) of each tier and all below it."""
        prompt = output = 0
        found = []
        for above, rates in ((0, self.rates), *self.tiers):
            prompt, output = max(prompt, rates.prompt_dearest), max(output, rates.output_dearest)
            found.append((above, prompt, output))
        return found

    def unit_price(self, kind: str, variant: str = "") -> int:
        """Return the atto-USD of one unit: the variant's price, else the kind's, else the dearest of the kind.

        A variant of several words (quality, size) may be priced by one of them; the dearest
        such price holds. Compared without regard to case. 0 where the card prices no such
        unit: the offering is billed by tokens then, and its units are only told.
        """
        stated, words = self._units_by_name, variant.lower().split()
        for names in ((" ".join((kind, *words)),), tuple(f"{kind} {word}" for word in words)):
            if found := [stated[name] for name in names if name in stated]:
                return max(found)
        return stated.get(kind, self._dearest_units.get(kind, 0))

    def unit_price_most(self, kind: str, variant: str = "") -> int:
        """Return the most one unit can cost: the variant's price, or the dearest while the variant is not known."""
        return self.unit_price(kind, variant) if variant else self._dearest_units.get(kind, 0)

    def has_unit(self, kind: str) -> bool:
        """Say whether this kind of unit has a price here, were it 0."""
        return kind in self._dearest_units

    @cached_property
    def compared(self) -> int:
        """One number to compare the prices of one model by: of four tokens, and of one unit of each kind at its dearest."""
        return self.rates.of_four + sum(self._dearest_units.values())

    @cached_property
    def _units_by_name(self) -> dict[str, int]:
        return {name.lower(): price for name, price in self.units.items()}

    @cached_property
    def _dearest_units(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, price in self.units.items():
            kind = name.partition(" ")[0]
            found[kind] = max(found.get(kind, 0), price)
        return found

    @cached_property
    def version(self) -> str:
        """A short text that changes when any price on the card does."""
        text = repr((self.rates, self.tiers, sorted(self.units.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def times(self, numerator: int, denominator: int) -> "PriceCard":
        """Multiply every price; raises InvalidAmount where a result is no whole atto-USD."""
        return PriceCard(
            self.rates.times(numerator, denominator),
            tuple((above, tier.times(numerator, denominator)) for above, tier in self.tiers),
            {name: _times(price, numerator, denominator) for name, price in self.units.items()},
        )


@dataclass(frozen=True, slots=True)
class PriceWindow:
    """Hours of some weekdays in which another card holds, such as DeepSeek's peak; times are UTC."""

    label: str
    weekdays: frozenset[int]
    """1 Monday … 7 Sunday."""
    spans: tuple[tuple[int, int], ...]
    """(from, until) in seconds of the day; the end is outside."""
    excluded: frozenset[str]
    """Days (``2026-10-01``) on which the window does not open: public holidays."""
    card: PriceCard

    def holds(self, moment: datetime) -> bool:
        """Say whether the window is open at this UTC moment."""
        second = moment.hour * 3600 + moment.minute * 60 + moment.second
        return (
            moment.isoweekday() in self.weekdays
            and any(start <= second < end for start, end in self.spans)
            and moment.date().isoformat() not in self.excluded
        )


@dataclass(frozen=True, slots=True)
class PricePeriod:
    """The prices of an offering from one moment until the next period begins."""

    from_ms: int
    card: PriceCard
    windows: tuple[PriceWindow, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceSchedule:
    """Every price of an offering, now and as announced; periods ascend and the first has no beginning."""

    periods: tuple[PricePeriod, ...]

    def at(self, now_ms: int) -> PriceCard:
        """Return the card that holds at this moment (milliseconds since 1970)."""
        period = self.periods[0]
        for later in self.periods[1:]:
            if now_ms < later.from_ms:
                break
            period = later
        if period.windows:
            moment = datetime.fromtimestamp(now_ms / 1000, UTC)
            for window in period.windows:
                if window.holds(moment):
                    return window.card
        return period.card

    def multiplied(self, multiplier: str) -> "PriceSchedule":
        """Return the schedule times a decimal such as ``1.1``; raises InvalidAmount where that is not exact."""
        numerator, denominator = parse_decimal(multiplier, 6), 10**6
        if numerator == denominator:
            return self
        return PriceSchedule(
            tuple(
                PricePeriod(
                    period.from_ms,
                    period.card.times(numerator, denominator),
                    tuple(replace(w, card=w.card.times(numerator, denominator)) for w in period.windows),
                )
                for period in self.periods
            )
        )


def _times(price: int, numerator: int, denominator: int) -> int:
    product, rest = divmod(price * numerator, denominator)
    if rest:
        raise InvalidAmount(f"a price of {price} atto-USD times {numerator}/{denominator} is not a whole number")
    return product
