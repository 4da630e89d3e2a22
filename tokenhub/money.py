"""Money as integers: nano-USD for amounts, atto-USD for unit prices, one rounding rule.

An *amount* is an integer number of nano-USD (1 USD = 10**9). A *unit price* is an
integer number of atto-USD (1 USD = 10**18) per unit (token, image, second), so that a
list price of twelve decimals per million tokens is exact. Amounts are rounded up once,
when a price has been multiplied by counts; what is shown is rounded down.
"""

import re

NANO_PER_USD = 10**9
ATTO_PER_NANO = 10**9
ATTO_PER_USD = 10**18
MAX_NANO = 2**62
"""The largest amount kept: two of them still fit a signed 64-bit column."""

BASIS_POINTS = 10_000

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,17})(?:\.([0-9]{1,18}))?", re.ASCII)


class InvalidAmount(ValueError):
    """A text that is not an amount of money as TokenHub accepts it; the message says why."""


def parse_decimal(text: str, scale: int) -> int:
    """Return the integer number of 10**-scale units in a plain decimal such as ``12.50``.

    Only ASCII digits and one point are taken: no sign, exponent, separator or space, so
    that what an operator typed and what is booked cannot differ (T122).
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise InvalidAmount(f"{text[:40]!r} is not a plain decimal number such as 12.50")
    whole, fraction = match.group(1), match.group(2) or ""
    if len(fraction.rstrip("0")) > scale:
        raise InvalidAmount(f"{text[:40]!r} has more than {scale} decimals")
    return int(whole + fraction.ljust(scale, "0")[:scale])


def parse_usd(text: str) -> int:
    """Return the nano-USD in a decimal number of US dollars; at most nine decimals."""
    amount = parse_decimal(text, 9)
    if amount > MAX_NANO:
        raise InvalidAmount(f"{text[:40]!r} is more than TokenHub can hold ({exact(MAX_NANO)} USD)")
    return amount


def parse_price_per_million(text: str) -> int:
    """Return the atto-USD per unit of a price given as US dollars per million units."""
    return parse_decimal(text, 12)


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide and round up, exactly."""
    return -(-numerator // denominator)


def nano_from_atto(atto: int) -> int:
    """Round a cost in atto-USD up to whole nano-USD: the one rounding of a fee."""
    return -(-atto // ATTO_PER_NANO)


def fee(amount: int, basis_points: int) -> int:
    """Return the share of an amount, in nano-USD, rounded up."""
    return -(-amount * basis_points // BASIS_POINTS)


def exact(nano: int) -> str:
    """Render an amount exactly, as a decimal number of USD without trailing zeros."""
    sign, value = ("-", -nano) if nano < 0 else ("", nano)
    whole, fraction = divmod(value, NANO_PER_USD)
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:09d}".rstrip("0")


def exact_or_none(nano: int | None) -> str | None:
    """``exact`` of an amount that may be missing."""
    return None if nano is None else exact(nano)


def exact_price(atto: int) -> str:
    """Render a unit price exactly, as a decimal number of USD per unit."""
    whole, fraction = divmod(atto, ATTO_PER_USD)
    if not fraction:
        return str(whole)
    return f"{whole}.{fraction:018d}".rstrip("0")


def shown(nano: int) -> str:
    """Render an amount for a person, to the cent, rounded down so that it never promises more than there is."""
    cents = nano // (NANO_PER_USD // 100)
    sign, value = ("-", -cents) if cents < 0 else ("", cents)
    whole, fraction = divmod(value, 100)
    return f"{sign}${whole:,}.{fraction:02d}"


def number(nano: int) -> float:
    """Return an amount as the JSON number that OpenRouter's clients read; not exact, for display only."""
    return nano / NANO_PER_USD
