"""What money buys: minor units of a currency to credit, at the rate that a top-up was made with.

Credit that is bought is floored to whole micro-USD; the rate, in millionths of the currency for
one USD, is frozen on the top-up, so a change of the setting touches no link that is open.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

DECIMALS: Final[Mapping[str, int]] = {"usd": 2, "cny": 2}
"""Digits of each currency's minor unit. No other currency is taken: a yen has none, and would be charged a hundredfold."""

RATE_UNIT: Final = 1_000_000
LARGEST_MINOR: Final = 99_999_999
"""Stripe takes no more digits."""
SMALLEST_MINOR: Final[Mapping[str, int]] = {"usd": 50, "cny": 1000}
"""Stripe's minimum is 0.50 USD after conversion; ten yuan stay above it at any rate of these years."""

_MICRO_PER_MINOR: Final = 10_000
_NANO_PER_MICRO: Final = 1_000


def rate_micro(currency: str, cny_rate: float) -> int:
    """Return the rate to freeze on a top-up: millionths of ``currency`` for one USD of credit."""
    if currency == "usd":
        return RATE_UNIT
    return int((Decimal(str(cny_rate)) * RATE_UNIT).to_integral_value(ROUND_HALF_EVEN))


def bought_nano(amount_minor: int, rate: int) -> int:
    """Return the nano-USD that an amount buys at a rate: whole micro-USD, rounded down."""
    return amount_minor * _MICRO_PER_MINOR * RATE_UNIT // rate * _NANO_PER_MICRO


def major(amount_minor: int, currency: str) -> str:
    """Render minor units as people write them: 2000 US cents are ``20.00``."""
    digits = DECIMALS[currency]
    whole, rest = divmod(amount_minor, 10**digits)
    return f"{whole}.{rest:0{digits}d}"
