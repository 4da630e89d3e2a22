"""Keys: minted, recognised by shape, stored as a digest.

A key is ``th-`` and 256 random bits in 43 base-62 digits. Only its SHA-256 and its first
characters are kept, so what is in the database opens nothing (T31); a random key of this
size needs no salt and no slow hash.
"""

import hashlib
import re
import secrets

PREFIX = "th-"
SHOWN_LENGTH = 9
"""How many characters of a key, ``th-`` included, are kept to tell keys apart: 36 of its 256 bits."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_BITS = 256
_LENGTH = 43
"""62 ** 43 is the first power of 62 above 2 ** 256."""
_SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_LENGTH}}}", re.ASCII)


def mint() -> str:
    """Return a new key. It is shown once and kept nowhere."""
    value = secrets.randbits(_RANDOM_BITS)
    digits = []
    for _ in range(_LENGTH):
        value, digit = divmod(value, 62)
        digits.append(_DIGITS[digit])
    return PREFIX + "".join(reversed(digits))


def is_well_formed(text: str) -> bool:
    """Tell whether a text has the shape of a key; anything else is refused without a query (T32, T33)."""
    return _SHAPE.fullmatch(text) is not None


def digest(key: str) -> bytes:
    """Return the SHA-256 by which a well-formed key is stored and found."""
    return hashlib.sha256(key.encode("ascii")).digest()


def shown_prefix(key: str) -> str:
    """Return the start of a key, kept so that people can tell keys apart."""
    return key[:SHOWN_LENGTH]
