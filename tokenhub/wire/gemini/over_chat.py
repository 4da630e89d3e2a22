"""A generateContent request as a chat-completions request: the form in which it travels inside.

What Google's API names and OpenAI's does not is left out, as every field of its clients that
is not known here; what it asks of money (how many answers, how long) is checked strictly.
``chat/over_gemini.py`` is the reverse.
"""

from collections.abc import Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat import request as chat
from tokenhub.wire.gemini import over_chat_turns as gemini_over_chat_turns
from tokenhub.wire.gemini.schema import json_schema

_PASSED = ("models", "prompt_cache_key", "provider", "session_id")
"""Fields that speak to the gateway, on every surface alike."""

_CONFIG: Mapping[str, str] = {
    "candidateCount": "n",
    "frequencyPenalty": "frequency_penalty",
    "logprobs": "top_logprobs",
    "maxOutputTokens": "max_completion_tokens",
    "presencePenalty": "presence_penalty",
    "responseLogprobs": "logprobs",
    "seed": "seed",
    "stopSequences": "stop",
    "temperature": "temperature",
    "topK": "top_k",
    "topP": "top_p",
}
"""Members of generationConfig that OpenAI's form has under another name."""

_INTEGERS = frozenset({"topK"})
_BUDGETS = ((0, "none"), (1024, "low"), (8192, "medium"))
"""The most thinking tokens of each effort; more is ``high`` (``gemini/models.py`` has the reverse)."""


def request(body: Mapping[str, Any], model: str, *, stream: bool) -> dict[str, Any]:
    """Return the chat request; raises InvalidRequest that names Google's field.

    ``body`` has its names in camelCase (``gemini/spelling.py``).
    """
    given = {name: value for name, value in body.items() if value is not None}
    made: dict[str, Any] = {name: given[name] for name in _PASSED if name in given}
    made["model"] = model
    made["messages"] = gemini_over_chat_turns.messages(given.get("systemInstruction"), given.get("contents"))
    if stream:
        made["stream"] = True
    return made | _tools(given) | _config(_object(given.get("generationConfig"), "generationConfig"))


def shows_thoughts(body: Mapping[str, Any]) -> bool:
    """Say whether the client wants to see what the model thought: Google's own default is not."""
    config = body.get("generationConfig")
    thinking = config.get("thinkingConfig") if isinstance(config, Mapping) else None
    return isinstance(thinking, Mapping) and thinking.get("includeThoughts") is True


def _object(value: Any, param: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{param} must be an object.", param=param)
    return value


# Tools -------------------------------------------------------------------------------------------


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``tools`` and ``tool_choice``.

    A choice of one function names it; a choice among some leaves the others out, which every provider understands.
    """
    given = body.get("tools") or []
    tools = [tool for tool in (given if isinstance(given, list) else [given]) if isinstance(tool, Mapping)]
    declared = [_declaration(one, "tools") for tool in tools for one in _listed(tool.get("functionDeclarations"))]
    calling = _object(_object(body.get("toolConfig"), "toolConfig").get("functionCallingConfig"), "toolConfig")
    if not declared:
        return {}
    mode, wanted = calling.get("mode"), _listed(calling.get("allowedFunctionNames"))
    if mode not in ("ANY", "VALIDATED") or not wanted:
        choice = {"ANY": "required", "NONE": "none"}.get(mode) if isinstance(mode, str) else None
        return {"tools": declared} | ({"tool_choice": choice} if choice else {})
    allowed = {name for name in wanted if isinstance(name, str)}
    chosen = [one for one in declared if one["function"]["name"] in allowed]
    if not chosen:
        param = "toolConfig.functionCallingConfig.allowedFunctionNames"
        raise InvalidRequest("allowedFunctionNames names no function of tools.", param=param)
    if mode == "VALIDATED":
        return {"tools": chosen}
    if len(chosen) > 1:
        return {"tools": chosen, "tool_choice": "required"}
    named = {"type": "function", "function": {"name": chosen[0]["function"]["name"]}}
    return {"tools": declared, "tool_choice": named}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _declaration(declared: Any, param: str) -> dict[str, Any]:
    name = declared.get("name") if isinstance(declared, Mapping) else None
    if not isinstance(declared, Mapping) or not isinstance(name, str) or not name:
        raise InvalidRequest(f"{param}: every function declaration needs a name.", param=param)
    function: dict[str, Any] = {"name": name}
    if isinstance(declared.get("description"), str):
        function["description"] = declared["description"]
    own, plain = declared.get("parameters"), declared.get("parametersJsonSchema")
    parameters = plain if isinstance(plain, dict) else json_schema(own) if isinstance(own, dict) else None
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


# generationConfig --------------------------------------------------------------------------------


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    made = {
        known_as: _checked(name, known_as, config[name])
        for name, known_as in _CONFIG.items()
        if config.get(name) is not None
    }
    if not made.get("stop"):
        made.pop("stop", None)
    if made.get("logprobs") is not True:
        made.pop("top_logprobs", None)
    effort = _effort(_object(config.get("thinkingConfig"), "generationConfig.thinkingConfig"))
    if effort:
        made["reasoning_effort"] = effort
    return made | _format(config)


def _checked(name: str, known_as: str, value: Any) -> Any:
    """Return a value that OpenAI's form takes under this name; whole numbers may be written with a point (google-genai: topK)."""
    if name in _INTEGERS and isinstance(value, float) and value.is_integer():
        value = int(value)
    rule = chat.RULES[known_as]
    if not rule.holds(value):
        raise InvalidRequest(f"generationConfig.{name} must be {rule.words}.", param=f"generationConfig.{name}")
    return value


def _effort(thinking: Mapping[str, Any]) -> str | None:
    """Return the effort that a level or a budget of thinking tokens comes to; -1 leaves it to the model."""
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if isinstance(level, str) and level and level != "THINKING_LEVEL_UNSPECIFIED":
        return level.lower()
    if type(budget) is not int or budget < 0:
        return None
    return next((effort for most, effort in _BUDGETS if budget <= most), "high")


def _format(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("responseMimeType") != "application/json":
        return {}
    plain, own = config.get("responseJsonSchema"), config.get("responseSchema")
    schema = plain if isinstance(plain, dict) else json_schema(own) if isinstance(own, dict) else None
    if schema is None:
        return {"response_format": {"type": "json_object"}}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}}
