"""One spelling for Google's field names: its API takes ``camelCase`` and ``snake_case`` alike.

A request is renamed once, when it arrives, so that no rule about a field can be passed by
spelling it in the other way. Only the API's own names are touched: what a function's
arguments, a tool's answer or a schema name is the client's. google-genai 3.4.0 mixes both
(``functionDeclarations[].parameters_json_schema``, 2026-11-22).
"""

import re
from collections.abc import Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat.request import FORBIDDEN_FIELDS, GATEWAY_FIELDS, is_forbidden

_BORDER = re.compile(r"_([a-z0-9])")
_LONGEST = 256
"""None of the API's names is nearly as long."""


def _camel(name: str) -> str:
    return _BORDER.sub(lambda found: found[1].upper(), name) if len(name) <= _LONGEST else name


_NOT_GOOGLES: Mapping[str, str] = {
    spelled: name
    for name in GATEWAY_FIELDS | FORBIDDEN_FIELDS | {"extra_body", "prompt_cache_key"}
    for spelled in (name, _camel(name))
}
"""Members of a body that speak to the gateway, or are refused, in both spellings: they have the name by which they are read."""


def normalised(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request of this API with its field names in camelCase.

    Raises InvalidRequest where a field is given in both spellings: two readers could see two
    requests. What is not changed is shared with the body that was given.
    """
    made: dict[str, Any] = _renamed(body)
    for name, rename in _INSIDE.items():
        if made.get(name) is not None:
            made[name] = rename(made[name])
    return made


def content(value: Any) -> Any:
    """Return a Content: ``role`` and ``parts``."""
    if not isinstance(value, dict):
        return value
    made = _renamed(value)
    if "parts" in made:
        made["parts"] = _each(made["parts"], _part)
    return made


def _part(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    made = _renamed(value)
    for name in _NAMED_PARTS & made.keys():
        made[name] = _renamed(made[name])
    answer = made.get("functionResponse")
    if isinstance(answer, dict) and "parts" in answer:
        made["functionResponse"] = {**answer, "parts": _each(answer["parts"], _part)}
    return made


_NAMED_PARTS = frozenset(
    {"inlineData", "fileData", "functionCall", "functionResponse", "videoMetadata", "executableCode"}
)


def _tool(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    made = _renamed(value)
    if "functionDeclarations" in made:
        made["functionDeclarations"] = _each(made["functionDeclarations"], _renamed)
    return made


def _tool_config(value: Any) -> Any:
    made = _renamed(value)
    if isinstance(made, dict) and "functionCallingConfig" in made:
        made["functionCallingConfig"] = _renamed(made["functionCallingConfig"])
    return made


def _generation_config(value: Any) -> Any:
    made = _renamed(value)
    if isinstance(made, dict) and "thinkingConfig" in made:
        made["thinkingConfig"] = _renamed(made["thinkingConfig"])
    return made


def _embed_request(value: Any) -> Any:
    return normalised(value) if isinstance(value, dict) else value


def _each(value: Any, rename: Any) -> Any:
    """Rename in every entry of a list; an object alone stands for a list of one, as Google's parser has it."""
    return [rename(one) for one in value] if isinstance(value, list) else rename(value)


def _renamed(value: Any) -> Any:
    """Return a copy of an object with its own names in camelCase; anything else as it is."""
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for name, one in value.items():
        known_as = name if is_forbidden(name) else _NOT_GOOGLES.get(name) or _camel(name)
        if known_as in made:
            raise InvalidRequest(f"{known_as} is given twice, in two spellings.", param=known_as)
        made[known_as] = one
    return made


_INSIDE: Mapping[str, Any] = {
    "content": content,
    "contents": lambda value: _each(value, content),
    "generateContentRequest": _embed_request,
    "generationConfig": _generation_config,
    "requests": lambda value: _each(value, _embed_request),
    "systemInstruction": content,
    "toolConfig": _tool_config,
    "tools": lambda value: _each(value, _tool),
}
"""Members of a request that have names of the API's inside."""
