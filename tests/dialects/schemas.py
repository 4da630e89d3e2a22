"""OpenAI's own description of its replies and events, with the nulls and gaps that its real traffic has.

The description lies beside the project (``../shared/specs``) and is not part of it. As it
stands it does not fit what OpenAI sends: 315 of 323 recorded chunks fail it, every one
because a member is null that may not be, or absent that must be there (its README says which).
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator

SPEC = Path(__file__).parents[2] / "../shared/specs/openai-openapi.json"

REAL_NULLS = frozenset({"usage", "logprobs", "system_fingerprint", "finish_reason", "service_tier", "refusal", "content", "user"})  # fmt: skip
"""Members that OpenAI's recorded replies hold as null."""
REAL_GAPS = frozenset({"logprobs", "refusal", "cache_write_tokens"})
"""Members that the description demands and OpenAI's recorded replies lack."""
_NULL = {"type": "null"}


@cache
def _components() -> Mapping[str, Any]:
    return dict(_as_sent(json.loads(SPEC.read_text(encoding="utf-8"))["components"]))


def _as_sent(schema: Any) -> Any:
    """Return a schema that takes the nulls and gaps of real traffic."""
    if isinstance(schema, list):
        return [_as_sent(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _as_sent(one) for name, one in schema.items()}
    if isinstance(made.get("required"), list):
        made["required"] = [name for name in made["required"] if name not in REAL_GAPS]
    for name, one in made.get("properties", {}).items() if isinstance(made.get("properties"), dict) else ():
        if isinstance(one, dict) and (name in REAL_NULLS or one.get("nullable")):
            made["properties"][name] = {"anyOf": [one, _NULL]}
    return made


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": _components()})


@cache
def _events() -> Mapping[str, str]:
    """The schema of each event of a streamed response, by its type."""
    schemas = _components()["schemas"]
    names = [one["$ref"].rpartition("/")[2] for one in schemas["ResponseStreamEvent"]["anyOf"]]
    return {schemas[name]["properties"]["type"]["enum"][0]: name for name in names}


def faults(name: str, value: Any) -> list[str]:
    """Return what of a value does not fit a schema of OpenAI's, each with its place."""
    errors = _validator(name).iter_errors(value)
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message[:300]}" for error in errors]


def faults_of_event(event: Mapping[str, Any]) -> list[str]:
    """Return what of an event of a streamed response does not fit."""
    return faults(_events()[event["type"]], event)
