"""Keys: their shape, their strength, and what is refused before any query."""

import hashlib
import re

import pytest

from tokenhub.accounts import keys


def test_t31_a_key_carries_256_random_bits() -> None:
    minted = {keys.mint() for _ in range(2000)}
    assert len(minted) == 2000
    assert all(re.fullmatch(r"th-[0-9A-Za-z]{43}", key) for key in minted)
    values = [sum(keys._DIGITS.index(c) * 62**i for i, c in enumerate(reversed(key[3:]))) for key in minted]
    assert max(values) < 2**256
    # Each of the 256 bits is set in about half of 2000 keys; 350 off the middle is 15 standard deviations.
    assert all(650 < sum(value >> bit & 1 for value in values) < 1350 for bit in range(256))


def test_a_minted_key_is_well_formed() -> None:
    assert all(keys.is_well_formed(keys.mint()) for _ in range(100))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "th-",
        "' OR 1=1 --",
        "%",
        "{{7*7}}",
        "th-" + "a" * 42,
        "th-" + "a" * 44,
        "TH-" + "a" * 43,
        " th-" + "a" * 43,
        "th-" + "a" * 43 + "\n",
        "th-" + "a" * 42 + "é",
        "th-" + "a" * 42 + "\udcff",
        "th-" + "a" * 42 + "\x00",
        "th-" + "a" * 42 + "-",
        "th-" + "١" * 43,
        "th-" + "a" * 100_000,
        "sk-" + "a" * 43,
    ],
)
def test_t32_t33_a_text_of_another_shape_is_refused(text: str) -> None:
    assert not keys.is_well_formed(text)


def test_t31_only_the_digest_and_a_short_prefix_are_derived() -> None:
    key = keys.mint()
    assert keys.digest(key) == hashlib.sha256(key.encode()).digest()
    assert key.startswith(keys.shown_prefix(key))
    assert len(keys.shown_prefix(key)) == 9
