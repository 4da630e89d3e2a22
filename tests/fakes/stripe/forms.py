"""Stripe's form encoding: ``a[b][0]=x`` to nested dicts; lists are dicts of digits until a schema says so."""

from typing import Any
from urllib.parse import parse_qsl


def decode(text: str) -> dict[str, Any]:
    """Decode a body or a query; every value is text. ``a[]=x`` counts up by itself."""
    decoded: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head, *rest = name.replace("]", "").split("[")
        place = decoded
        for key in [head, *rest][:-1]:
            place = place.setdefault(key, {})
        last = rest[-1] if rest else head
        place[last if last or not rest else str(len(place))] = value
    return decoded
