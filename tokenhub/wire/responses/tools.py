"""The tools of a Responses request as chat functions, and their names back.

Chat has one flat list of functions. A function inside a ``namespace`` (Codex groups its tools
so) gets both names in one; a ``custom`` tool, which takes free text, becomes a function with
one text. What a reply calls is told again by the names that the client knows.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.errors import InvalidRequest
from tokenhub.values import value
from tokenhub.wire.chat.parts import items_of

_NAME_CHARS = 64
"""The longest name of a function that chat APIs take (OpenAI's schema, 2026-11)."""
_FREE_TEXT = "input"
_CHOICES = ("auto", "none", "required")


@value
class Named:
    """A tool by its client's names."""

    name: str
    namespace: str = ""
    custom: bool = False


class Tools:
    """The tools of one request."""

    def __init__(self) -> None:
        self.chat: list[dict[str, Any]] = []
        """In chat's form."""
        self._named: dict[str, Named] = {}
        self._flat: dict[tuple[str, str], str] = {}

    def add(self, given: Any, place: str) -> None:
        """Add a list of tools; raises InvalidRequest that names the one at fault."""
        if given is not None and not isinstance(given, list):
            raise InvalidRequest(f"{place} must be a list.", param=place)
        for position, tool in enumerate(given or ()):
            self._add(tool, f"{place}[{position}]", "")

    def named(self, flat: str) -> Named:
        """Return what a function of the chat form is to the client."""
        return self._named.get(flat) or Named(flat)

    def flat(self, name: str, namespace: Any = None) -> str:
        """Return the name in the chat form; a tool that is not in the list has one too, for calls of earlier turns."""
        inside = namespace if isinstance(namespace, str) else ""
        return self._flat.get((inside, name)) or _joined(inside, name)

    def _add(self, tool: Any, place: str, namespace: str) -> None:
        kind = tool.get("type", "function") if isinstance(tool, dict) else None
        if not isinstance(kind, str):
            raise InvalidRequest(f"{place} must be an object with a type.", param=place)
        if kind == "namespace" and not namespace:
            for position, inner in enumerate(items_of(tool.get("tools"))):
                self._add(inner, f"{place}.tools[{position}]", _name_of(tool, place))
            return
        if kind not in ("function", "custom"):
            self.chat.append(dict(tool))
            return
        named = Named(_name_of(tool, place), namespace, kind == "custom")
        flat = self._flat[namespace, named.name] = self._unused(_joined(namespace, named.name))
        self._named[flat] = named
        function = _custom(tool) if named.custom else _function(tool, place)
        self.chat.append({"type": "function", "function": {"name": flat, **function}})

    def _unused(self, flat: str) -> str:
        """Two tools of one name, in different namespaces cut to the same length, stay two."""
        return flat if flat not in self._named else _cut(f"{flat}_{len(self._named)}")

    def choice(self, given: Any) -> tuple[list[dict[str, Any]], Any]:
        """Return the tools that may be called and chat's tool_choice.

        A set of allowed tools becomes a shorter list: few chat APIs know such a set.
        """
        if given is None or isinstance(given, str):
            if given is not None and given not in _CHOICES:
                raise _bad_choice()
            return self.chat, given
        kind = given.get("type") if isinstance(given, Mapping) else None
        if kind == "allowed_tools" and given.get("mode") in _CHOICES:
            allowed = {self._chosen(one) for one in items_of(given.get("tools"))}
            return [tool for tool in self.chat if _called(tool) in allowed], given["mode"]
        if kind in ("function", "custom") and isinstance(given.get("name"), str):
            return self.chat, {"type": "function", "function": {"name": self._chosen(given)}}
        if not isinstance(kind, str):
            raise _bad_choice()
        return self.chat, {"type": kind}

    def _chosen(self, one: Mapping[str, Any]) -> str:
        return self.flat(str(one.get("name")), one.get("namespace"))


def free_text(arguments: str) -> str:
    """Return the text of a custom tool's call; what is not in the form that was asked for is the text itself."""
    try:
        found = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    text = found.get(_FREE_TEXT) if isinstance(found, dict) else None
    return text if isinstance(text, str) else arguments


def as_arguments(text: str) -> str:
    """Return a custom tool's text as the arguments of its function."""
    return orjson.dumps({_FREE_TEXT: text}).decode()


def _function(tool: Mapping[str, Any], place: str) -> dict[str, Any]:
    parameters = tool.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidRequest(f"{place}.parameters must be an object.", param=f"{place}.parameters")
    return {name: tool[name] for name in ("description", "parameters", "strict") if tool.get(name) is not None}


def _custom(tool: Mapping[str, Any]) -> dict[str, Any]:
    told = [tool.get("description")]
    form = tool.get("format")
    if isinstance(form, Mapping) and form.get("type") == "grammar":
        told.append(f"The text must follow this {form.get('syntax')} grammar:\n{form.get('definition')}")
    text = {"type": "string", "description": "The whole text for this tool, as it is."}
    return {
        "description": "\n\n".join(words for words in told if isinstance(words, str) and words),
        "parameters": {
            "type": "object",
            "properties": {_FREE_TEXT: text},
            "required": [_FREE_TEXT],
            "additionalProperties": False,
        },
    }


def _name_of(tool: Mapping[str, Any], place: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{place} must have a name.", param=f"{place}.name")
    return name


def _called(tool: Mapping[str, Any]) -> str | None:
    """Return the name of a tool in chat's form; one that is no function may have none."""
    name = (tool["function"] if tool.get("type") == "function" else tool).get("name")
    return name if isinstance(name, str) else None


def _joined(namespace: str, name: str) -> str:
    return _cut(f"{namespace}__{name}") if namespace else name


def _cut(name: str) -> str:
    """Shorten a name that is too long, so that it is still its own."""
    if len(name) <= _NAME_CHARS:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{name[: _NAME_CHARS - 9]}_{digest}"


def _bad_choice() -> InvalidRequest:
    return InvalidRequest(
        "tool_choice must be auto, none, required, a named tool or a set of allowed tools.", param="tool_choice"
    )
