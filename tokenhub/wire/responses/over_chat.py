"""A Responses request as a chat request, in which form it travels inside."""

from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.values import value
from tokenhub.wire.chat.request import MAX_OUTPUT
from tokenhub.wire.responses import common as responses
from tokenhub.wire.responses import items as responses_items
from tokenhub.wire.responses.tools import Tools

_LOGPROBS = "message.output_text.logprobs"
_NOT_CHATS = frozenset(
    {
        "background",
        "client_metadata",
        "context_management",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "max_tool_calls",
        "messages",
        "metadata",
        "moderation",
        "n",
        "previous_response_id",
        "prompt",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "response_format",
        "store",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)
"""Members that are translated, or that chat has no word for; all others are carried as they are."""
_BRINGS_TOOLS = ("additional_tools", "tool_search_output")
"""Types of items that add to the tools."""
_NEED_TOOLS = ("tool_choice", "parallel_tool_calls")


@value
class Translation:
    """A request in chat's form, and what its reply is told back by."""

    body: dict[str, Any]
    tools: Tools


def request(body: Mapping[str, Any]) -> Translation:
    """Translate a request; raises InvalidRequest that names the field at fault, in this API's words."""
    responses.refuse_kept(body)
    _check(body)
    tools = _tools_of(body)
    chat = {name: value for name, value in body.items() if name not in _NOT_CHATS}
    chat["messages"] = responses_items.messages_of(body.get("instructions"), body.get("input"), tools)
    _say_tools(chat, body, tools)
    _say_format(chat, body.get("text"))
    effort = (body.get("reasoning") or {}).get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    if body.get("top_logprobs") or _LOGPROBS in (body.get("include") or ()):
        chat["logprobs"] = True
    else:
        chat.pop("top_logprobs", None)
    return Translation(chat, tools)


def _tools_of(body: Mapping[str, Any]) -> Tools:
    """Return all tools of a request: Codex brings its own inside an item of the input (Codex CLI 0.169, 2026-11)."""
    tools = Tools()
    tools.add(body.get("tools"), "tools")
    given = body.get("input")
    for position, item in enumerate(given if isinstance(given, list) else ()):
        if isinstance(item, dict) and item.get("type") in _BRINGS_TOOLS:
            tools.add(item.get("tools"), f"input[{position}].tools")
    return tools


def _say_tools(chat: dict[str, Any], body: Mapping[str, Any], tools: Tools) -> None:
    """Say which tools there are and which may be called; without tools nothing about them is said."""
    allowed, choice = tools.choice(body.get("tool_choice"))
    if allowed:
        chat["tools"] = allowed
        if choice is not None:
            chat["tool_choice"] = choice
        return
    for name in _NEED_TOOLS:
        chat.pop(name, None)


def _say_format(chat: dict[str, Any], text: Any) -> None:
    """Say the form of the answer: what chat nests under ``json_schema`` stands here beside the type."""
    given = text or {}
    if given.get("verbosity") is not None:
        chat["verbosity"] = given["verbosity"]
    wanted = given.get("format") or {}
    kind = wanted.get("type", "text")
    if kind == "json_schema":
        named = {name: value for name, value in wanted.items() if name != "type" and value is not None}
        chat["response_format"] = {"type": kind, "json_schema": named}
    elif kind != "text":
        chat["response_format"] = {"type": kind}


# What is checked before anything is translated ------------------------------------------------


def _check(body: Mapping[str, Any]) -> None:
    for name, (holds, words) in _RULES.items():
        if body.get(name) is not None and not holds(body[name]):
            raise InvalidRequest(f"{name} must be {words}.", param=name)
    text = body.get("text") or {}
    wanted = text.get("format")
    if wanted is not None and not (isinstance(wanted, dict) and isinstance(wanted.get("type"), str)):
        raise InvalidRequest("text.format must be an object with a type.", param="text.format")
    schema = wanted.get("schema") if wanted else None
    if wanted and wanted["type"] == "json_schema" and not isinstance(schema, dict):
        raise InvalidRequest("text.format.schema must be an object.", param="text.format.schema")
    effort = (body.get("reasoning") or {}).get("effort")
    if not isinstance(effort, str | None):
        raise InvalidRequest("reasoning.effort must be a string.", param="reasoning.effort")


def _is_limit(given: Any) -> bool:
    return type(given) is int and 1 <= given <= MAX_OUTPUT


def _is_object(given: Any) -> bool:
    return isinstance(given, dict)


_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "include": (lambda given: isinstance(given, list), "a list of strings"),
    "max_output_tokens": (_is_limit, f"an integer from 1 to {MAX_OUTPUT}"),
    "reasoning": (_is_object, "an object"),
    "text": (_is_object, "an object"),
}
"""What chat's own rules do not see, because it has another name there."""
