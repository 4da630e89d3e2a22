"""Request fields that change the price: priced, left out and said so, or refused (DESIGN section 4).

What a price card does not cover cannot be held for, and what cannot be held for is not
sent. A field that only buys speed or storage is left out: the answer is the same. A field
that asks for a paid service is refused with ``unpriced_feature``. Hosted tools are left
out unless the client forces one, since a model that is not forced can answer without.
Fields that are not named here pass, whatever they are.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.call import Wire
from tokenhub.errors import InvalidRequest

OWN_TOOLS = frozenset({"function", "custom"})
"""Tools that the client runs itself; every other type runs, and is billed, at the provider."""
PRICED_CACHE_LIFETIMES = frozenset({"30m", "5m", "1h"})

_ABSENT: tuple[Any, ...] = (None, False, "", [], {})
_TOOL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls")

Body = dict[str, Any]


def _strip(_: Any) -> bool:
    return True


def _needless(*values: Any) -> Callable[[Any], bool]:
    """A field that may only have these values; any other is refused."""

    def check(value: Any) -> bool:
        if value not in values and value not in _ABSENT:
            raise ValueError
        return False

    return check


def _only_null(value: Any) -> bool:
    """An object that asks by being there, even empty (OpenAI's guide to web search sends ``{}``, 2026-11)."""
    if value is not None:
        raise ValueError
    return False


def _text_only(value: Any) -> bool:
    return _needless(["text"])(value)


def _cache_options(value: Any) -> bool:
    """Lifetimes that price cards know pass; a longer one is dearer (12h at 2.5 times, OpenAI, 2026-11)."""
    if isinstance(value, Mapping) and value.get("ttl", "30m") not in PRICED_CACHE_LIFETIMES:
        raise ValueError
    return False


def _search_options(value: Any) -> bool:
    """Search that the model may leave be is left out; forced search is refused (DashScope, 2026-11)."""
    if isinstance(value, Mapping) and value.get("forced_search"):
        raise ValueError
    return True


_RULES: Mapping[str, Callable[[Any], bool]] = {
    # Speed and storage: the same answer without.
    "service_tier": _strip,
    "speed": _strip,
    "prediction": _strip,
    "store": _strip,
    # Another region or another model than the one whose price is held (``models`` and ``provider`` are the route's).
    "inference_geo": _strip,
    "preset": _needless(),
    # Paid services beside the tokens.
    "web_search_options": _only_null,
    "search_parameters": _needless(),
    "plugins": _needless(),
    "mcp_servers": _needless(),
    "container": _needless(),
    "enable_search": _strip,
    "search_options": _search_options,
    # Output that the price card does not know, or more of it than `n` says.
    "modalities": _text_only,
    "audio": _needless(),
    "best_of": _needless(1),
    "prompt_cache_options": _cache_options,
}
"""Field to its rule: True leaves the field out, False lets it pass, ValueError refuses it."""


def check(body: Body, wire: Wire) -> tuple[Body, tuple[str, ...]]:
    """Return the body without what is left out, and the names of that for a header.

    The same body comes back when nothing changes. Raises InvalidRequest with code
    ``unpriced_feature`` and the field as ``param``.
    """
    dropped = [name for name in body if name in _RULES and _leaves_out(name, body[name])]
    kept = {name: value for name, value in body.items() if name not in dropped} if dropped else body
    said = [name for name in dropped if body[name] not in _ABSENT]
    if wire is not Wire.EMBEDDINGS and body.get("tools"):
        kept, hosted = _without_hosted_tools(kept)
        said += hosted
    return kept, tuple(sorted(said))


def _leaves_out(name: str, value: Any) -> bool:
    try:
        return _RULES[name](value)
    except ValueError:
        raise _unpriced(name, f"{name} asks for something that has no price here") from None


def _unpriced(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{problem}; leave it out.", code="unpriced_feature", param=param)


def _without_hosted_tools(body: Body) -> tuple[Body, list[str]]:
    """Leave out tools that run at the provider; refuse them where the client insists."""
    tools = body["tools"]
    if not isinstance(tools, list):
        return body, []
    own = [tool for tool in tools if _type_of(tool) in OWN_TOOLS]
    if len(own) == len(tools):
        return body, []
    choice = body.get("tool_choice")
    forced = _type_of(choice) if isinstance(choice, Mapping) else choice
    hosted = sorted({_type_of(tool) for tool in tools if _type_of(tool) not in OWN_TOOLS})
    if forced in hosted or (forced in ("required", "any", "allowed_tools") and not own):
        raise _unpriced("tool_choice", f"the hosted tool {hosted[0]!r} has no price here and tool_choice asks for it")
    kept = {**body, "tools": own} if own else {k: v for k, v in body.items() if k not in _TOOL_FIELDS}
    return kept, [f"tools.{kind}" for kind in hosted]


def _type_of(tool: Any) -> str:
    """The type of a tool or tool choice, as a word that is safe to say in a header; a tool without one is a function."""
    kind = tool.get("type", "function") if isinstance(tool, Mapping) else "function"
    return kind if isinstance(kind, str) and kind.replace("_", "").isalnum() and kind.isascii() else "unknown"
