"""A price card as JSON and back: how the prices of the moment a hold was placed outlive the process and the catalogue.

A job is charged by the card its hold was placed with, hours later, in another process, whatever
the catalogue says by then.
"""

from dataclasses import asdict
from typing import Any

import orjson

from tokenhub.catalog.prices import PriceCard, Rates


def dump(card: PriceCard) -> str:
    """Return a card as JSON: rates, tiers and units, integers of atto-USD as texts (they can exceed 64 bits)."""
    data = {
        "rates": _texts(asdict(card.rates)),
        "tiers": [[above, _texts(asdict(rates))] for above, rates in card.tiers],
        "units": _texts(card.units),
    }
    return orjson.dumps(data).decode()


def load(text: str) -> PriceCard:
    """Return the card that ``dump`` wrote; raises ValueError or KeyError for any other text."""
    data: dict[str, Any] = orjson.loads(text)
    tiers = tuple((int(above), Rates(**_numbers(rates))) for above, rates in data["tiers"])
    return PriceCard(Rates(**_numbers(data["rates"])), tiers, _numbers(data["units"]))


def _texts(prices: Any) -> dict[str, str]:
    return {name: str(price) for name, price in prices.items()}


def _numbers(prices: dict[str, str]) -> dict[str, int]:
    return {name: int(price) for name, price in prices.items()}
