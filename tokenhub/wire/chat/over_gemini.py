"""A chat-completions request as a generateContent request.

What Gemini has no word for is left out and named, so that a client can be told; what it can
never do is refused. The reverse direction is in ``gemini/reply.py`` and ``gemini/stream.py``.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat.request import GATEWAY_FIELDS, allowed_tools
from tokenhub.wire.gemini import contents as gemini_contents
from tokenhub.wire.gemini.models import Thinking, Traits, traits_of

MAX_STOPS = 5
_SEED_MASK = 2**31 - 1
"""Gemini's seed is a signed 32-bit integer; OpenAI's has 64 bits."""

_PLAIN: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "n": "candidateCount",
}
"""Fields that go into generationConfig under another name."""

_READ = (
    GATEWAY_FIELDS
    | _PLAIN.keys()
    | {
        "extra_body",
        "functions",
        "function_call",
        "include_reasoning",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "tool_choice",
        "tools",
        "top_logprobs",
    }
)
"""Fields that are translated below, that the reply's reader honours, or that are the gateway's own."""


def request(
    body: Mapping[str, Any], upstream_id: str, *, output_limit: int | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the upstream's body and the names of the fields that were left out; raises InvalidRequest.

    ``output_limit`` replaces the client's limit. Stream or not is a matter of the path.
    """
    given = {name: value for name, value in body.items() if value is not None}
    traits = traits_of(upstream_id)
    instructions, contents = gemini_contents.parse_messages(given.get("messages"), traits)
    built: dict[str, Any] = {"contents": contents}
    if instructions:
        built["systemInstruction"] = {"parts": instructions}
    built |= _tools(given)
    config = _generation_config(given, output_limit) | _thinking(given, traits)
    if config:
        built["generationConfig"] = config
    dropped = [name for name in given if name not in _READ]
    if traits.thinking is Thinking.NONE and "reasoning_effort" in given:
        dropped.append("reasoning_effort")
    return built, tuple(dropped)


# Tools -------------------------------------------------------------------------------------------


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``tools`` and ``toolConfig``."""
    if body.get("functions") or body.get("function_call"):
        raise InvalidRequest("functions is not taken by this model's provider: use tools.", param="functions")
    tools = body.get("tools")
    if not tools:
        return {}
    if not isinstance(tools, list):
        raise InvalidRequest("tools must be a list.", param="tools")
    declared = [_declaration(tool, f"tools[{position}]") for position, tool in enumerate(tools)]
    mode, names = _choice(body.get("tool_choice", "auto"))
    if names is not None and not set(names) <= {function["name"] for function in declared}:
        raise InvalidRequest("tool_choice names a function that is not among tools.", param="tool_choice")
    calling: dict[str, Any] = {"mode": mode}
    if names is not None and mode == "ANY":
        calling["allowedFunctionNames"] = names
    elif names is not None:
        declared = [function for function in declared if function["name"] in names]
    return {
        "tools": [{"functionDeclarations": declared}],
        "toolConfig": {"functionCallingConfig": calling},
    }


_MODES: Mapping[str, str] = {"auto": "AUTO", "none": "NONE", "required": "ANY", "any": "ANY"}


def _choice(choice: Any) -> tuple[str, list[str] | None]:
    """Return the calling mode, and the functions it is narrowed to: OpenAI's words, a name, or allowed_tools."""
    if isinstance(choice, str) and choice in _MODES:
        return _MODES[choice], None
    if isinstance(choice, dict) and choice.get("type") == "function":
        return "ANY", [_function_name(choice)]
    allowed = allowed_tools(choice) if isinstance(choice, dict) else None
    if allowed and allowed.tools:
        return "ANY" if allowed.mode == "required" else "AUTO", [_function_name(tool) for tool in allowed.tools]
    raise InvalidRequest("tool_choice must be auto, none, required or name a function.", param="tool_choice")


def _function_name(tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise InvalidRequest("tool_choice must name a function.", param="tool_choice")
    return name


def _declaration(tool: Any, param: str) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise InvalidRequest(f"{param} must be a function with a name.", param=f"{param}.type")
    declared: dict[str, Any] = {"name": name}
    if isinstance(function.get("description"), str):
        declared["description"] = function["description"]
    if isinstance(function.get("parameters"), dict):
        declared["parametersJsonSchema"] = function["parameters"]
    return declared


# generationConfig --------------------------------------------------------------------------------


def _generation_config(body: Mapping[str, Any], output_limit: int | None) -> dict[str, Any]:
    config = {gemini: body[openai] for openai, gemini in _PLAIN.items() if openai in body}
    limit = output_limit or body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is not None:
        config["maxOutputTokens"] = limit
    for name, render in _RENDERED.items():
        if name in body:
            config |= render(body)
    return config


def _stop(body: Mapping[str, Any]) -> dict[str, Any]:
    stop = body["stop"]
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise InvalidRequest(f"stop must be a string or at most {MAX_STOPS} strings for this model.", param="stop")
    stops = [entry for entry in stops if entry]
    return {"stopSequences": stops} if stops else {}


def _seed(body: Mapping[str, Any]) -> dict[str, Any]:
    seed = body["seed"]
    return {"seed": seed & _SEED_MASK} if isinstance(seed, int) else {}


def _logprobs(body: Mapping[str, Any]) -> dict[str, Any]:
    if body["logprobs"] is not True:
        return {}
    top = body.get("top_logprobs")
    return {"responseLogprobs": True} | ({"logprobs": top} if top else {})


def _modalities(body: Mapping[str, Any]) -> dict[str, Any]:
    wanted = body["modalities"]
    if not isinstance(wanted, list) or not all(kind in ("text", "image") for kind in wanted):
        raise InvalidRequest("modalities can be text and image for this model.", param="modalities")
    return {"responseModalities": [kind.upper() for kind in wanted]} if "image" in wanted else {}


def _response_format(body: Mapping[str, Any]) -> dict[str, Any]:
    form = body["response_format"]
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"responseMimeType": "application/json"}
    described = form.get("json_schema") if kind == "json_schema" else None
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        raise InvalidRequest(
            "response_format must be text, json_object, or json_schema with a schema.", param="response_format"
        )
    return {"responseMimeType": "application/json", "responseJsonSchema": schema}


_RENDERED: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "stop": _stop,
    "seed": _seed,
    "logprobs": _logprobs,
    "modalities": _modalities,
    "response_format": _response_format,
}


# Thinking ----------------------------------------------------------------------------------------


def _thinking(body: Mapping[str, Any], traits: Traits) -> dict[str, Any]:
    """Return ``thinkingConfig``: how much to think, and whether the thoughts are to be seen.

    Asked for by ``reasoning_effort``, by OpenRouter's ``reasoning`` and ``include_reasoning``,
    or in Google's own words in ``extra_body.google.thinking_config``.
    """
    if traits.thinking is Thinking.NONE:
        return {}
    own = _own_words(body.get("extra_body"))
    asked = body.get("reasoning")
    reasoning = asked if isinstance(asked, dict) else {}
    effort = body.get("reasoning_effort", reasoning.get("effort"))
    config = _amount(effort, reasoning.get("max_tokens"), traits) | own
    shown = own.get("includeThoughts", body.get("include_reasoning"))
    if shown is None:
        shown = bool(config or reasoning) and effort != "none" and reasoning.get("exclude") is not True
    config.pop("includeThoughts", None)
    if shown is True:
        config["includeThoughts"] = True
    return {"thinkingConfig": config} if config else {}


def _amount(effort: Any, budget: Any, traits: Traits) -> dict[str, Any]:
    """Return a level or a budget, never both; an effort nobody knows leaves the choice to the model."""
    if traits.thinking is Thinking.LEVEL:
        level = traits.efforts.get(effort) if isinstance(effort, str) else None
        return {} if level is None else {"thinkingLevel": level}
    if effort is None and type(budget) is int:
        return {"thinkingBudget": max(traits.min_budget, min(budget, traits.max_budget))}
    tokens = traits.efforts.get(effort) if isinstance(effort, str) else None
    return {} if tokens is None else {"thinkingBudget": tokens}


_OWN_WORDS: Mapping[str, tuple[str, type]] = {
    "thinking_budget": ("thinkingBudget", int),
    "thinking_level": ("thinkingLevel", str),
    "include_thoughts": ("includeThoughts", bool),
}


def _own_words(extra_body: Any) -> dict[str, Any]:
    """Return the members of ``extra_body.google.thinking_config``, as Google's OpenAI surface takes them.

    Nothing else in there is passed on: ``cached_content`` would name what another customer of
    the same credential stored.
    """
    holder = extra_body
    for name in ("google", "thinking_config"):
        holder = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(holder, dict):
        return {}
    taken = {name: _OWN_WORDS[name] for name in holder.keys() & _OWN_WORDS.keys()}
    return {renamed: holder[name] for name, (renamed, kind) in taken.items() if type(holder[name]) is kind}
