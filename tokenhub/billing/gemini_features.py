"""What changes the price in a request of Google's own API: the same rules as in ``features``, in Google's words.

Names are in camelCase (``wire/gemini/spelling.py``). Prices of what is refused: grounding by
search 14 USD for 1 000 queries, cached content by the hour, other modalities than text at
rates of their own (ai.google.dev/gemini-api/docs/pricing, 2026-11).
"""

from collections.abc import Mapping
from typing import Any, NoReturn

from tokenhub.errors import InvalidRequest

OWN_TOOLS = frozenset({"functionDeclarations", "computerUse"})
"""Members of a tool that the client runs itself; every other one runs at Google."""

_LEFT_OUT = ("serviceTier", "store")
"""Speed and storage: the same answer without."""
_OTHER_MODELS = ("modelConfig", "modelSelectionConfig", "routingConfig")
"""Members of generationConfig by which another model answers than the one whose price is held."""
ABSENT: tuple[Any, ...] = (None, False, "", [], {})
"""What asks for nothing."""

Body = dict[str, Any]


def check(body: Body) -> tuple[Body, tuple[str, ...]]:
    """Return the body without what is left out, and the names of that; raises InvalidRequest ``unpriced_feature``."""
    if body.get("cachedContent") not in ABSENT:
        _refuse("cachedContent", "cachedContent names what is stored at the provider, which is not kept here")
    said = [name for name in _LEFT_OUT if body.get(name) not in ABSENT]
    kept = {name: value for name, value in body.items() if name not in _LEFT_OUT}
    config, routed = _config(kept.get("generationConfig"))
    if routed:
        kept["generationConfig"] = config
    kept, hosted = _without_hosted_tools(kept)
    return kept, tuple(sorted([*said, *routed, *hosted]))


def _refuse(param: str, problem: str) -> NoReturn:
    raise InvalidRequest(f"{problem}; leave it out.", code="unpriced_feature", param=param)


def _config(config: Any) -> tuple[Any, list[str]]:
    if not isinstance(config, Mapping):
        return config, []
    modalities = config.get("responseModalities")
    if modalities not in ABSENT and [str(one).upper() for one in _listed(modalities)] != ["TEXT"]:
        _refuse("generationConfig.responseModalities", "Other modalities than TEXT have no price here")
    if config.get("speechConfig") not in ABSENT:
        _refuse("generationConfig.speechConfig", "speechConfig asks for a voice, which has no price here")
    routed = [name for name in _OTHER_MODELS if config.get(name) not in ABSENT]
    return {name: value for name, value in config.items() if name not in routed}, routed


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _without_hosted_tools(body: Body) -> tuple[Body, list[str]]:
    """Leave out tools that run at Google; refuse them where the client insists on a call and has no tool of its own."""
    given = body.get("tools")
    tools = [tool for tool in _listed(given) if isinstance(tool, Mapping)] if given not in ABSENT else []
    hosted = sorted(
        {name for tool in tools for name, value in tool.items() if name not in OWN_TOOLS and value is not None}
    )
    if not hosted:
        return body, []
    own = [made for tool in tools if (made := {name: tool[name] for name in OWN_TOOLS & tool.keys()})]
    if not own and _mode(body) == "ANY":
        _refuse("toolConfig.functionCallingConfig.mode", f"The hosted tool {_word(hosted[0])!r} has no price here")
    kept = {name: value for name, value in body.items() if name not in (("tools",) if own else ("tools", "toolConfig"))}
    return ({**kept, "tools": own} if own else kept), [f"tools.{_word(name)}" for name in hosted]


def _mode(body: Body) -> Any:
    config = body.get("toolConfig")
    calling = config.get("functionCallingConfig") if isinstance(config, Mapping) else None
    return calling.get("mode") if isinstance(calling, Mapping) else None


def _word(name: str) -> str:
    """A tool's name, if it is safe to say in a header."""
    return name if name.isascii() and name.isalnum() and len(name) <= 64 else "unknown"
