"""Gemini's own schemas as JSON Schema: types in lower case, ``nullable`` as a type, counts as numbers.

``parameters`` and ``responseSchema`` hold a subset of OpenAPI 3.0 (ai.google.dev/api/caching,
Schema, 2026-11-22); ``parametersJsonSchema`` and ``responseJsonSchema`` hold JSON Schema
already and pass as they are.
"""

from collections.abc import Mapping
from typing import Any

_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_COUNTS = frozenset({"minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength"})
"""64-bit numbers, which Google's JSON writes as texts."""
_LEFT_OUT = frozenset({"nullable", "propertyOrdering", "example", "property_ordering"})
_SNAKE = {
    "any_of": "anyOf",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "min_length": "minLength",
    "max_length": "maxLength",
}


def json_schema(schema: Any) -> Any:
    """Return a schema of Gemini's as JSON Schema; what is no schema comes back as it is."""
    if not isinstance(schema, Mapping):
        return schema
    named = {_SNAKE.get(str(name), str(name)): one for name, one in schema.items()}
    made = {name: _member(name, one) for name, one in named.items() if name not in _LEFT_OUT}
    if made.get("type") == "type_unspecified":
        del made["type"]
    return _nullable(made) if schema.get("nullable") is True else made


def _member(name: str, value: Any) -> Any:
    if name == "type":
        return _type(value)
    if name in ("items", "additionalProperties"):
        return json_schema(value)
    if name == "anyOf" and isinstance(value, list):
        return [json_schema(one) for one in value]
    if name in ("properties", "$defs") and isinstance(value, Mapping):
        return {key: json_schema(one) for key, one in value.items()}
    if name in _COUNTS and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return value


def _type(value: Any) -> Any:
    if isinstance(value, list):
        return [_type(one) for one in value]
    lower = value.lower() if isinstance(value, str) else ""
    return lower if lower in _TYPES or lower == "type_unspecified" else value


def _nullable(made: dict[str, Any]) -> dict[str, Any]:
    """Let a schema be null as well: as one more type, or as one more of its alternatives."""
    if isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
        if isinstance(made.get("enum"), list) and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
    elif isinstance(made.get("anyOf"), list):
        made["anyOf"] = [*made["anyOf"], {"type": "null"}]
    return made
