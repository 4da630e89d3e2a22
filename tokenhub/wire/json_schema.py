"""JSON schemas cut down to what a provider's structured output takes."""

from collections.abc import Mapping
from typing import Any

_UNSUPPORTED = frozenset(
    {
        "discriminator",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "not",
        "pattern",
        "uniqueItems",
    }
)
"""Keywords that Claude's schemas of outputs and strict tools refuse (platform.claude.com, structured outputs, 2026-11-22)."""
_FEWEST_ITEMS = (0, 1)
"""Values of ``minItems`` that are taken all the same."""
_FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"})
"""Formats that are taken (anthropic 2.12.0, ``transform_schema``, as are the rules of ``minItems``, ``oneOf`` and ``discriminator``)."""

_NAMED_SCHEMAS = frozenset({"$defs", "definitions", "properties"})
_LISTED_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE_SCHEMAS = frozenset({"items", "additionalItems", "contains", "if", "then", "else"})


def for_claude(schema: Any) -> Any:
    """Return a schema without the keywords Claude refuses, its objects closed, one of several said as any of them.

    Only keywords are taken out: a property that is called ``pattern`` stays. The request
    was read with bounded depth, so the recursion is bounded too.
    """
    if not isinstance(schema, Mapping):
        return schema
    cut = {name: _inner(name, value) for name, value in schema.items() if _is_taken(name, value)}
    if (one_of := cut.pop("oneOf", None)) is not None:
        cut.setdefault("anyOf", one_of)
    if cut.get("type") == "object" or "properties" in cut:
        cut["additionalProperties"] = False
    return cut


def _is_taken(keyword: str, value: Any) -> bool:
    if keyword == "format":
        return isinstance(value, str) and value in _FORMATS
    return keyword not in _UNSUPPORTED or (keyword == "minItems" and value in _FEWEST_ITEMS)


def _inner(keyword: str, value: Any) -> Any:
    if keyword in _NAMED_SCHEMAS and isinstance(value, Mapping):
        return {name: for_claude(schema) for name, schema in value.items()}
    if keyword in _LISTED_SCHEMAS and isinstance(value, list):
        return [for_claude(schema) for schema in value]
    if keyword in _SINGLE_SCHEMAS:
        return for_claude(value)
    return value
