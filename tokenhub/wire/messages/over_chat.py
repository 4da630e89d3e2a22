"""A Messages request as a chat request, field by field: for upstreams that do not speak Anthropic's wire.

Lenient: what chat has no word for is left out, unknown fields too. Only what cannot be read at all is
refused, under its name in the Messages API (platform.claude.com, Messages, and the anthropic 2.12.0
SDK, read 2026-11-22).
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.wire.messages.over_chat_turns import messages_of

_PLAIN = ("model", "max_tokens", "temperature", "top_p", "top_k", "stream")
"""Fields that are the same in both."""

_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_BUDGETS = ((2_048, "low"), (8_192, "medium"))
"""Thinking tokens up to which a budget is this effort; beyond the last it is high, which all that reason take."""
_FORMAT_NAME = "output"
OFF = ("disabled", None)
"""Values of ``thinking.type`` with which no thinking blocks are expected."""


def request(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chat request for a Messages request; raises InvalidRequest for what is not one."""
    built = {name: body[name] for name in _PLAIN if body.get(name) is not None}
    built["messages"] = messages_of(body)
    return built | _stops(body) | _tools(body) | _reasoning(body) | _format(body) | _user(body)


def shows_thinking(body: Mapping[str, Any]) -> bool:
    """Return whether the client asked for thinking blocks: without, an API client finds text in the first block."""
    thinking = body.get("thinking")
    return isinstance(thinking, Mapping) and thinking.get("type") not in OFF and thinking.get("display") != "omitted"


def _stops(body: Mapping[str, Any]) -> dict[str, Any]:
    stops = body.get("stop_sequences")
    if not stops:
        return {}
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise InvalidRequest("stop_sequences must be a list of strings.", param="stop_sequences")
    return {"stop": stops}


# Tools -------------------------------------------------------------------------------------------


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    given = body.get("tools")
    if not given:
        return {}
    if not isinstance(given, list):
        raise InvalidRequest("tools must be a list.", param="tools")
    made: dict[str, Any] = {"tools": [_tool(tool, f"tools[{position}]") for position, tool in enumerate(given)]}
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping):
        made |= _choice(choice)
    return made


def _tool(tool: Any, place: str) -> dict[str, Any]:
    """Return a tool as a function; one whose schema only Anthropic's models know passes as it is, to be judged upstream."""
    if not isinstance(tool, Mapping) or not isinstance(tool.get("name"), str) or not tool["name"]:
        raise InvalidRequest(f"{place} must be an object with a name.", param=place)
    kind = tool.get("type") or "custom"
    if kind != "custom":
        return dict(tool)
    schema = tool.get("input_schema")
    function: dict[str, Any] = {"name": tool["name"]}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = schema if isinstance(schema, dict) else {"type": "object", "properties": {}}
    if tool.get("strict") is True:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    kind = choice.get("type")
    made: dict[str, Any] = {}
    if kind == "tool" and isinstance(choice.get("name"), str):
        made["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif isinstance(kind, str) and kind in _TOOL_CHOICES:
        made["tool_choice"] = _TOOL_CHOICES[kind]
    else:
        raise InvalidRequest("tool_choice must be auto, any, none or name a tool.", param="tool_choice")
    if choice.get("disable_parallel_tool_use") is True and kind != "none":
        made["parallel_tool_calls"] = False
    return made


# Thinking and output -----------------------------------------------------------------------------


def _reasoning(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the effort: the one that is named, else the one that a budget comes to, else none where thinking is off."""
    thinking, config = body.get("thinking"), body.get("output_config")
    kind = thinking.get("type") if isinstance(thinking, Mapping) else None
    if kind == "disabled":
        return {"reasoning_effort": "none"}
    effort = config.get("effort") if isinstance(config, Mapping) else None
    if isinstance(effort, str):
        return {"reasoning_effort": effort}
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    if kind == "enabled" and isinstance(budget, int):
        return {"reasoning_effort": next((word for most, word in _BUDGETS if budget <= most), "high")}
    return {}


def _format(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response format: ``output_config.format``, or ``output_format``, its name until 2026."""
    config = body.get("output_config")
    wanted = (config.get("format") if isinstance(config, Mapping) else None) or body.get("output_format")
    if not isinstance(wanted, Mapping) or wanted.get("type") != "json_schema":
        return {}
    schema = wanted.get("schema")
    if not isinstance(schema, Mapping):
        raise InvalidRequest("output_config.format must have a schema.", param="output_config.format.schema")
    named = {"name": _FORMAT_NAME, "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _user(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return who asks, as a hash: Claude Code's id is longer than the 64 characters OpenAI takes, and names a person."""
    metadata = body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    if not isinstance(user, str) or not user:
        return {}
    return {"safety_identifier": hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()}
