"""Request fields that change the price: priced, left out and said so, or refused.

What a price card does not cover cannot be held for, and what cannot be held for is not
sent. A field that only buys speed or storage is left out: the answer is the same. A field
that asks for a paid service is refused with ``unpriced_feature``. Hosted tools are left
out unless the client forces one, since a model that is not forced can answer without.
Fields that are not named here pass, whatever they are.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.billing import gemini_features
from tokenhub.billing.gemini_features import ABSENT, Body
from tokenhub.call import Wire
from tokenhub.errors import InvalidRequest

OWN_TOOLS = frozenset({"function", "custom"})
"""Tools that the client runs itself; every other type runs, and is billed, at the provider."""
_OWN_BY_WIRE: Mapping[Wire, frozenset[str]] = {
    # Lists of functions, and two whose calls come back to the client (OpenAI's guides to tools, 2026-11).
    Wire.RESPONSES: OWN_TOOLS | {"namespace", "apply_patch", "local_shell"},
    # Tools whose schema Anthropic's models know, run by the client and paid for in tokens (anthropic SDK 2.12.0, 2026-11).
    Wire.MESSAGES: OWN_TOOLS
    | {"bash_20241022", "bash_20250124", "computer_20241022", "computer_20250124", "computer_20251124"}
    | {"memory_20250818", "text_editor_20241022", "text_editor_20250124", "text_editor_20250429"}
    | {"text_editor_20250728"},
}
PRICED_CACHE_LIFETIMES = ("30m", "5m", "1h")
FREE_MODERATIONS = ("omni-moderation", "text-moderation")

_TOOL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls")


def _strip(_: Any) -> bool:
    return True


def _needless(*values: Any) -> Callable[[Any], bool]:
    """A field that may only have these values; any other is refused."""

    def check(value: Any) -> bool:
        if value not in values and value not in ABSENT:
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
    """Lifetimes that price cards know pass; a longer one is dearer (12h at 2.5 times, OpenAI, 2026-11).

    A cache that is only filled is paid for at the provider, and its empty reply is free here (``prewarm``, openai 3.54).
    """
    if isinstance(value, Mapping) and (value.get("prewarm") or value.get("ttl", "30m") not in PRICED_CACHE_LIFETIMES):
        raise ValueError
    return False


def _never_false(value: Any) -> bool:
    """A reply that is not to be made: ``prewarm`` by another name."""
    if value is False:
        raise ValueError
    return False


def _moderation(value: Any) -> bool:
    """OpenAI's moderation models are free; another one beside the reply's is not held for, and is gone for all if it is none."""
    if isinstance(value, Mapping) and not str(value.get("model")).startswith(FREE_MODERATIONS):
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
    "moderation": _moderation,
    "preset": _needless(),
    # What the operator's organisation may do, which it may not do at all: a 403 that would count against the deployment (openai 3.54).
    "access_programs": _needless({"cyber": "standard"}),
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
_MORE_RULES: Mapping[Wire, Mapping[str, Callable[[Any], bool]]] = {
    Wire.RESPONSES: {"generate": _never_false},
    # Other models than the one that is held for, other payers, tokens beside the reply's (anthropic SDK 2.12.0, beta
    # messages, 2026-11).
    Wire.MESSAGES: {
        "anthropic_beta": _strip,  # flags in the body, as Bedrock and Vertex take them: past the header's, some dearer
        "betas": _strip,
        "billing_policy": _strip,
        "compaction": _strip,
        "fallback_credit_token": _strip,
        "fallbacks": _strip,
    },
    # More pictures than `n` says: SiliconFlow, fal-like servers, Volcengine's series (their API pages, 2026-11).
    Wire.IMAGES: {
        "batch_size": _needless(1),
        "num_images": _needless(1),
        "num_outputs": _needless(1),
        "sequential_image_generation": _needless("disabled"),
    },
}
"""Rules for fields that only one wire has."""
_OTHER_MEANING: Mapping[Wire, frozenset[str]] = {
    # How fast the voice speaks, which changes the price by what it makes longer.
    Wire.SPEECH: frozenset({"speed"}),
}
"""Fields that mean something else in a wire, and pass there."""


def check(body: Body, wire: Wire) -> tuple[Body, tuple[str, ...]]:
    """Return the body without what is left out, and the names of that for a header.

    The same body comes back when nothing changes. Raises InvalidRequest with code
    ``unpriced_feature`` and the field as ``param``.
    """
    if wire is Wire.GEMINI:
        return gemini_features.check(body)
    passing = _OTHER_MEANING.get(wire, frozenset())
    rules = {**_RULES, **_MORE_RULES[wire]} if wire in _MORE_RULES else _RULES
    dropped = [
        name for name in body if name in rules and name not in passing and _leaves_out(name, body[name], rules[name])
    ]
    kept = {name: value for name, value in body.items() if name not in dropped} if dropped else body
    said = [name for name in dropped if body[name] not in ABSENT]
    if wire is not Wire.EMBEDDINGS and body.get("tools"):
        kept, hosted = _without_hosted_tools(kept, _OWN_BY_WIRE.get(wire, OWN_TOOLS))
        said += hosted
    if wire is Wire.RESPONSES:
        kept, hosted = _without_hosted_in_items(kept)
        said += hosted
    if wire is Wire.MESSAGES:
        _refuse_hosted_in_turns(body)
    if isinstance(body.get("extra_body"), dict):
        more, left = check(body["extra_body"], wire)
        kept = {**kept, "extra_body": more} if left else kept
        said += [f"extra_body.{name}" for name in left]
    return kept, tuple(sorted(said))


def _refuse_hosted_in_turns(body: Body) -> None:
    """Refuse a hosted tool that a turn of Messages adds by its definition (``inline-tools`` beta, langchain-anthropic 1.5.12, 2026-10)."""
    turns = body.get("messages")
    for turn in turns if isinstance(turns, list) else ():
        content = turn.get("content") if isinstance(turn, Mapping) else None
        for block in content if isinstance(content, list) else ():
            added = block.get("tool") if isinstance(block, Mapping) and block.get("type") == "tool_addition" else None
            if not isinstance(added, Mapping) or "definition" not in added:
                continue
            if hosted := _sorted_out([added["definition"]], _OWN_BY_WIRE[Wire.MESSAGES])[1]:
                raise _unpriced(
                    "messages", f"the hosted tool {_type_of(hosted[0])!r} that a turn adds has no price here"
                )


def _without_hosted_in_items(body: Body) -> tuple[Body, list[str]]:
    """Leave out hosted tools that a Responses request brings inside its input (``additional_tools``: Codex CLI 0.169, 2026-11)."""
    items = body.get("input")
    if not isinstance(items, list) or not any(isinstance(item, dict) and item.get("tools") for item in items):
        return body, []
    kept, said = [], []
    for item in items:
        if isinstance(item, dict) and item.get("tools"):
            forced = {"tools": item["tools"], "tool_choice": body.get("tool_choice")}
            own, hosted = _without_hosted_tools(forced, _OWN_BY_WIRE[Wire.RESPONSES])
            item = {**item, "tools": own.get("tools", [])} if hosted else item
            said += hosted
        kept.append(item)
    return ({**body, "input": kept} if said else body), sorted(set(said))


def _leaves_out(name: str, value: Any, rule: Callable[[Any], bool]) -> bool:
    try:
        return rule(value)
    except ValueError:
        raise _unpriced(name, f"{name} asks for something that has no price here") from None


def _unpriced(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{problem}; leave it out.", code="unpriced_feature", param=param)


def _without_hosted_tools(body: Body, own_types: frozenset[str]) -> tuple[Body, list[str]]:
    """Leave out tools that run at the provider; refuse them where the client insists."""
    tools = body["tools"]
    if not isinstance(tools, list):
        return body, []
    own, left = _sorted_out(tools, own_types)
    if not left:
        return body, []
    choice = body.get("tool_choice")
    forced = _type_of(choice) if isinstance(choice, Mapping) else choice
    hosted = sorted(set(map(_type_of, left)))
    named = choice.get("name") if isinstance(choice, Mapping) else None
    by_name = named is not None and any(tool.get("name") == named for tool in left if isinstance(tool, Mapping))
    if by_name or forced in hosted or (forced in ("required", "any", "allowed_tools") and not own):
        raise _unpriced("tool_choice", f"the hosted tool {hosted[0]!r} has no price here and tool_choice asks for it")
    kept = {**body, "tools": own} if own else {k: v for k, v in body.items() if k not in _TOOL_FIELDS}
    return kept, [f"tools.{kind}" for kind in hosted]


def _sorted_out(tools: list[Any], own_types: frozenset[str]) -> tuple[list[Any], list[Any]]:
    """Return the tools that stay, and those that run at the provider, also out of namespaces; a namespace of these alone goes with them."""
    own: list[Any] = []
    hosted: list[Any] = []
    for tool in tools:
        if _type_of(tool) not in own_types:
            hosted.append(tool)
            continue
        if isinstance(tool, Mapping) and isinstance(tool.get("tools"), list):
            inner, left = _sorted_out(tool["tools"], own_types)
            hosted += left
            if left and not inner:
                continue
            tool = {**tool, "tools": inner} if left else tool
        own.append(tool)
    return own, hosted


def _type_of(tool: Any) -> str:
    """The type of a tool or tool choice, as a word that is safe to say in a header; a tool without one is a function."""
    kind = tool.get("type", "function") if isinstance(tool, Mapping) else "function"
    return kind if isinstance(kind, str) and kind.replace("_", "").isalnum() and kind.isascii() else "unknown"
