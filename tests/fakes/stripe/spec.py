"""Stripe's description of its API, as the judge of requests and replies (``../shared/specs``, where it is there).

Without it the fake works all the same: parameters are turned into numbers and booleans by
the short list at the end, and nothing is judged.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

SPEC = Path(__file__).parents[4] / "shared/specs/stripe-openapi.json"
API_VERSION = "2026-10-28.endive"

INTEGERS = frozenset({"amount", "unit_amount", "quantity", "expires_at", "created", "limit", "gt", "gte", "lt", "lte"})
BOOLEANS = frozenset({"enabled", "confirm", "off_session", "error_on_requires_action", "delivery_success"})


class UnknownParameter(Exception):
    """A parameter that the operation does not have; its text is the parameter's name."""


class BadParameter(Exception):
    """A value that the operation does not take."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


def is_there() -> bool:
    return SPEC.is_file()


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(SPEC.read_text(encoding="utf-8"))
    return document


@cache
def _schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = _document()["components"]["schemas"]
    return schemas


@cache
def _open_document() -> dict[str, Any]:
    """The description with the enums that Stripe may extend left open: an unknown status is a valid reply."""
    opened: dict[str, Any] = _without_open_enums(_document())
    return opened


def _without_open_enums(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_open_enums(one) for one in node]
    if not isinstance(node, dict):
        return node
    is_open = node.get("x-open-enum") is True
    kept = {key: _without_open_enums(value) for key, value in node.items() if not (is_open and key == "enum")}
    kept.pop("description", None) if isinstance(kept.get("description"), str) else None
    return kept


@cache
def _validator(name: str, *, is_request: bool = False) -> Any:
    import jsonschema_rs

    document = _document() if is_request else _open_document()
    return jsonschema_rs.Draft202012Validator({**document, "$ref": f"#/components/schemas/{name}"})


def faults(name: str, value: Any) -> list[str]:
    """What is wrong with an object, by the schema of that name; nothing when the description is not there."""
    if not is_there():
        return []
    errors = _validator(name).iter_errors(value)
    return [f"{'.'.join(map(str, (name, *error.instance_path)))}: {error.message[:300]}" for error in errors]


def schema_of(method: str, template: str) -> str | None:
    """The schema of an operation's parameters; None where the description does not have the operation."""
    if not is_there():
        return None
    operation = _document()["paths"].get(template, {}).get(method.lower())
    if operation is None:
        return None
    if method == "GET":
        reference = operation["x-query-schema"]["$ref"]
    elif "requestBody" in operation:
        reference = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]["$ref"]
    else:
        return None
    return str(reference).rpartition("/")[2]


def coerce(params: dict[str, Any], schema: str | None) -> dict[str, Any]:
    """Form values (all text) as what the schema says they are; UnknownParameter, BadParameter as Stripe refuses them."""
    if schema is None:
        return {key: _guess(key, value) for key, value in params.items()}
    coerced: dict[str, Any] = _as_object(params, _schemas()[schema], "")
    if wrong := next(_validator(schema, is_request=True).iter_errors(coerced), None):
        path = [str(part) for part in wrong.instance_path]
        param = path[0] + "".join(f"[{part}]" for part in path[1:]) if path else ""
        raise BadParameter(param, f"Invalid {param or 'request'}: {wrong.message[:200]}")
    return coerced


def _as_object(value: dict[str, Any], schema: dict[str, Any], where: str) -> dict[str, Any]:
    known = schema.get("properties", {})
    extra = schema.get("additionalProperties")
    made = {}
    for key, item in value.items():
        inside = f"{where}[{key}]" if where else key
        if key in known:
            made[key] = _as(item, known[key], inside)
        elif isinstance(extra, dict):
            made[key] = _as(item, extra, inside)
        else:
            raise UnknownParameter(inside)
    return made


def _as(value: Any, schema: dict[str, Any], where: str) -> Any:
    for schema_ in _choices(schema):
        kinds = schema_.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if isinstance(value, dict) and "object" in kinds:
            return _as_object(value, schema_, where)
        if isinstance(value, dict) and "array" in kinds and all(key.isdigit() for key in value):
            return [_as(value[key], schema_["items"], f"{where}[{key}]") for key in sorted(value, key=int)]
        if isinstance(value, list) and "array" in kinds:
            return [_as(item, schema_["items"], f"{where}[{index}]") for index, item in enumerate(value)]
        if isinstance(value, str) and "integer" in kinds and value.lstrip("-").isdigit():
            return int(value)
        if isinstance(value, str) and "boolean" in kinds and value in ("true", "false"):
            return value == "true"
    if isinstance(value, str) and any("string" in _kinds(choice) for choice in _choices(schema)):
        return value
    raise BadParameter(where, f"Invalid value for {where}: {value!r}")


def _kinds(schema: dict[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return kinds if isinstance(kinds, list) else [kinds]


def _choices(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The plain schemas that a value may follow: references resolved, alternatives flattened."""
    if "$ref" in schema:
        return _choices(_schemas()[schema["$ref"].rpartition("/")[2]])
    for word in ("anyOf", "allOf", "oneOf"):
        if word in schema:
            return [plain for one in schema[word] for plain in _choices(one)]
    return [schema]


def _guess(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        if value and all(name.isdigit() for name in value):
            return [_guess(key, value[name]) for name in sorted(value, key=int)]
        return {name: value[name] if key == "metadata" else _guess(name, value[name]) for name in value}
    if key in INTEGERS and value.lstrip("-").isdigit():
        return int(value)
    return value == "true" if key in BOOLEANS and value in ("true", "false") else value
