"""Price tables of an offering to a PriceSchedule.

Prices are decimals in quotes, USD per million tokens; what is not a token (``UNIT_PRICES``)
is USD each, or per million where the name says so. A bucket without a price costs what ``DEFAULTS`` says; an
offering without any price is not sold (T14), and free is an explicit "0".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from tokenhub.call import Capability
from tokenhub.catalog.fields import Fields
from tokenhub.catalog.prices import DAY_S, DEFAULTS, PriceCard, PricePeriod, PriceSchedule, PriceWindow, Rates
from tokenhub.money import InvalidAmount, parse_decimal, parse_price_per_million

Calendars = Mapping[str, frozenset[str]]

_SPAN = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
RATES: Mapping[str, str] = {
    "input": "input",
    "output": "output",
    "cached_input": "cache_read",
    "cache_write": "cache_write",
    "cache_write_1h": "cache_write_1h",
    "audio_input": "audio_input",
    "image_input": "image_input",
    "image_output": "image_output",
    "output_thinking": "output_thinking",
}
"""Names of prices, in the data and as options, to buckets."""
UNIT_PRICES: Mapping[str, tuple[str, Callable[[str], int]]] = {
    "per_image": ("image", lambda text: parse_decimal(text, 18)),
    "per_second": ("second", lambda text: parse_decimal(text, 18)),
    "per_video": ("video", lambda text: parse_decimal(text, 18)),
    "per_search": ("search", lambda text: parse_decimal(text, 18)),
    "per_million_characters": ("character", parse_price_per_million),
}
"""Names of prices in the data to kinds of unit, and how their text is read into atto-USD a unit."""


def schedule(fields: Fields, capability: Capability, calendars: Calendars) -> PriceSchedule | None:
    """Take an offering's prices; None when none is stated (T14)."""
    price = fields.left.pop("price", None)
    units = _units(fields)
    tiers, later = fields.tables("price_tiers"), fields.tables("scheduled_prices")
    windows = fields.tables("price_windows")
    if price is None and not units:
        if tiers or later or windows:
            raise fields.bad("price is missing although other prices are there")
        return None
    if price is None and capability in (Capability.CHAT, Capability.EMBEDDINGS):
        raise fields.bad("price is missing")
    base = Fields(price if price is not None else {"input": "0", "output": "0"}, f"{fields.where}, price")
    rates = _rates(base, capability)
    base.end()
    card = PriceCard(rates, _tiers(fields, tiers, capability), units)
    first = PricePeriod(0, card, tuple(_window(one, capability, calendars, card) for one in windows))
    periods = [first]
    for one in later:
        periods.append(_period(one, capability, periods[-1].card))
    if any(a.from_ms >= b.from_ms for a, b in pairwise(periods)):
        raise fields.bad("scheduled_prices must ascend")
    return PriceSchedule(tuple(periods))


def _rates(fields: Fields, capability: Capability) -> Rates:
    """Take one price of each bucket; chat must state input and output, the rest has defaults."""
    stated = {RATES[name]: _price(fields, name) for name in RATES if name in fields.left}
    if "input" not in stated:
        raise fields.bad("input is missing")
    if "output" not in stated:
        if capability is Capability.CHAT:
            raise fields.bad("output is missing")
        stated["output"] = 0
    for bucket, other in DEFAULTS.items():
        stated.setdefault(bucket, stated[other])
    return Rates(**stated)


def _price(fields: Fields, name: str) -> int:
    try:
        return parse_price_per_million(fields.take(name, str))
    except InvalidAmount as error:
        raise fields.bad(f"{name}: {error}") from None


def _tiers(owner: Fields, tiers: Sequence[Fields], capability: Capability) -> tuple[tuple[int, Rates], ...]:
    found = []
    for tier in tiers:
        above = tier.count("above_prompt_tokens")
        if above is None:
            raise tier.bad("above_prompt_tokens is missing")
        found.append((above, _rates(tier, capability)))
        tier.end()
    if any(a[0] >= b[0] for a, b in pairwise(found)):
        raise owner.bad("price_tiers must ascend")
    return tuple(found)


def _period(fields: Fields, capability: Capability, before: PriceCard) -> PricePeriod:
    day = fields.day("effective_from")
    if day is None:
        raise fields.bad("effective_from is missing")
    tiers = _tiers(fields, fields.tables("price_tiers"), capability)
    card = _changed(fields, capability, before, tiers)
    fields.end()
    return PricePeriod(seconds(day) * 1000, card)


def _changed(
    fields: Fields, capability: Capability, base: PriceCard, tiers: tuple[tuple[int, Rates], ...] = ()
) -> PriceCard:
    """Return a card that takes the place of another; units, and tokens beside them, that it does not name stay."""
    units = _units(fields)
    stays = bool(base.units) and not any(name in fields.left for name in RATES)
    return PriceCard(base.rates if stays else _rates(fields, capability), tiers, units or base.units)


def _window(fields: Fields, capability: Capability, calendars: Calendars, base: PriceCard) -> PriceWindow:
    weekdays = fields.take("weekdays_utc", list)
    calendar = fields.take("excluded", str, "")
    if not weekdays or not set(weekdays) <= set(range(1, 8)):
        raise fields.bad("weekdays_utc must hold numbers from 1 (Monday) to 7")
    if calendar and calendar not in calendars:
        raise fields.bad(f"there is no calendar {calendar[:60]!r}")
    label, spans = fields.take("label", str), tuple(_span(fields, text) for text in fields.texts("utc"))
    card = _changed(fields, capability, base)
    fields.end()
    return PriceWindow(label, frozenset(weekdays), spans, calendars.get(calendar, frozenset()), card)


def _span(fields: Fields, text: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise fields.bad(f"utc is {text[:60]!r}, not hours such as 01:00-04:00")
    hours = [int(part) for part in match.groups()]
    start, end = hours[0] * 3600 + hours[1] * 60, hours[2] * 3600 + hours[3] * 60
    if not start < end <= DAY_S:
        raise fields.bad(f"utc is {text!r}: the end must come after the start, on the same day")
    return start, end


def _units(fields: Fields) -> dict[str, int]:
    """Take prices of images, seconds and the like: a decimal in USD, or a table of them by variant."""
    units = {}
    for name, (kind, read) in UNIT_PRICES.items():
        stated = fields.left.pop(name, None)
        if stated is None:
            continue
        by_size = stated if isinstance(stated, dict) else {"": stated}
        for size, price in by_size.items():
            try:
                units[f"{kind} {size}".strip()] = read(price)
            except (InvalidAmount, TypeError):
                raise fields.bad(f"{name} is {str(price)[:60]!r}, not a decimal in quotes") from None
    return units


def seconds(day: str) -> int:
    """Return the seconds since 1970 at which a day begins, in UTC."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
