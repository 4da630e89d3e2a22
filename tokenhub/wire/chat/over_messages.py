"""A chat request as an Anthropic Messages request, field by field.

What Anthropic has no word for is left out and named, so that a reply header can say so; what
would change the answer's meaning (a second choice, audio) is refused.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.wire import json_schema
from tokenhub.wire.chat.request import GATEWAY_FIELDS, allowed_tools
from tokenhub.wire.messages.common import JSON_TOOL, MIN_BUDGET, ClaudeTraits, ForcedTool, traits_of
from tokenhub.wire.messages.turns import Conversation

_BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768, "max": 128_000}
"""Thinking tokens for an effort, where a model takes a budget; the upper ends are what the output limit leaves."""
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}

_OWN_FIELDS = frozenset({"cache_control", "thinking", "top_k"})
"""Anthropic's fields that a chat request may carry as they are."""

_TRANSLATED = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "service_tier",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "user",
    }
)
_TOOL_CHOICES = {"auto": "auto", "none": "none", "required": "any", "any": "any"}
_SERVICE_TIERS = {"auto": "auto", "default": "standard_only"}
_JSON_INSTRUCTION = "Respond with one JSON object and nothing else."
_CACHED = {"type": "ephemeral"}


def request(
    body: Mapping[str, Any],
    upstream_id: str,
    *,
    output_limit: int | None = None,
    max_output: int | None = None,
    mark_cache: bool = False,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the Messages request for a chat request, and the names of the fields that were left out.

    ``output_limit`` replaces the client's limit; ``max_output`` is the most the model gives,
    where the catalogue knows it. The limit sent is never above the client's own: thinking
    is part of it, as it is at OpenAI, so that the hold covers the reply. ``mark_cache`` lets Anthropic
    cache the prompt up to its end, as a ``prompt_cache_key`` does, where the client placed no mark itself.
    Raises InvalidRequest for what no Claude model can do.
    """
    traits = traits_of(upstream_id)
    translation = _Translation(body, upstream_id, traits, output_limit, max_output or traits.max_output)
    translation.marks_cache = mark_cache
    return translation.build()


class _Translation:
    """One request on its way; every step writes its fields of ``built`` or a name into ``dropped``."""

    def __init__(
        self, body: Mapping[str, Any], upstream_id: str, traits: ClaudeTraits, output_limit: int | None, max_output: int
    ) -> None:
        self.body = {name: value for name, value in body.items() if value is not None and name not in GATEWAY_FIELDS}
        self.traits = traits
        limit = output_limit or self.body.get("max_completion_tokens") or self.body.get("max_tokens") or max_output
        self.built: dict[str, Any] = {"model": upstream_id, "max_tokens": min(limit, max_output)}
        self.dropped = {name for name in self.body if name not in _TRANSLATED and name not in _OWN_FIELDS}
        self.system_added: list[str] = []
        self.marks_cache = False

    def build(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        self._refuse()
        self._pass_own_fields()
        self._tools()
        self._format()
        self._thinking()
        self._sampling()
        self._rest()
        self._conversation()
        return self.built, tuple(sorted(self.dropped))

    def _refuse(self) -> None:
        body = self.body
        if body.get("n", 1) != 1:
            raise InvalidRequest("n must be 1: this model gives one choice per request.", param="n")
        if body.get("functions") or body.get("function_call"):
            raise InvalidRequest("functions is not supported by this model: use tools.", param="functions")
        if body.get("audio") or "audio" in (body.get("modalities") or ()):
            raise InvalidRequest("This model cannot answer in audio.", param="modalities")

    def _pass_own_fields(self) -> None:
        for name in _OWN_FIELDS & self.body.keys():
            self.built[name] = self.body[name]

    def _tools(self) -> None:
        tools = [self._tool(tool, f"tools[{position}]") for position, tool in enumerate(self.body.get("tools") or ())]
        choice = self.body.get("tool_choice", "auto")
        if isinstance(choice, Mapping) and (allowed := allowed_tools(choice)):
            names = allowed.functions
            tools = [tool for tool in tools if tool["name"] in names]
            choice = allowed.mode
        if not tools:
            if choice == "required":
                raise InvalidRequest("tool_choice requires a call, but no tool may be called.", param="tool_choice")
            return
        self.built["tools"] = tools
        chosen = _tool_choice(choice)
        if self.body.get("parallel_tool_calls") is False and chosen["type"] != "none":
            chosen["disable_parallel_tool_use"] = True
        if chosen != {"type": "auto"}:
            self.built["tool_choice"] = chosen
        if self._forces_tool() and self.traits.forced_tool is ForcedTool.REJECTED:
            raise InvalidRequest(
                "tool_choice must be auto or none: this model cannot be made to call a tool.", param="tool_choice"
            )

    def _tool(self, tool: Mapping[str, Any], place: str) -> dict[str, Any]:
        if tool["type"] != "function":
            raise InvalidRequest(f"{place} must be a function: this model takes no other tools.", param=f"{place}.type")
        function = tool["function"]
        parameters = function.get("parameters") or {"properties": {}}
        made = {"name": function["name"], "input_schema": {"type": "object", **parameters}}
        if function.get("description"):
            made["description"] = function["description"]
        if function.get("strict") and self.traits.output_schema:
            made |= {"input_schema": json_schema.for_claude(made["input_schema"]), "strict": True}
        if tool.get("cache_control") is not None:
            made["cache_control"] = tool["cache_control"]
        return made

    def _forces_tool(self) -> bool:
        return (self.built.get("tool_choice") or {}).get("type") in ("any", "tool")

    def _format(self) -> None:
        wanted = self.body.get("response_format") or {}
        if wanted.get("type") == "json_object":
            self.system_added.append(_JSON_INSTRUCTION)
        if wanted.get("type") != "json_schema":
            return
        schema = json_schema.for_claude(wanted["json_schema"].get("schema") or {"type": "object"})
        if self.traits.output_schema:
            self.built["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
            return
        tools = self.built.setdefault("tools", [])
        self.built["tool_choice"] = {"type": "any"} if tools else {"type": "tool", "name": JSON_TOOL}
        tools.append({"name": JSON_TOOL, "description": "Give the answer by this tool.", "input_schema": schema})

    def _thinking(self) -> None:
        effort = self.body.get("reasoning_effort")
        if "thinking" in self.built:
            return
        if effort is None or effort not in (*_EFFORTS, "none"):
            self._drop_if_given("reasoning_effort")
            return
        if self._forces_tool() and self.traits.forced_tool is ForcedTool.WITHOUT_THINKING:
            if effort != "none":
                self.dropped.add("reasoning_effort")
            return
        if "adaptive" in self.traits.thinking:
            self._adapt(effort)
        elif effort != "none":
            self._spend(effort)

    def _adapt(self, effort: str) -> None:
        """Thinking that finds its own length: the effort goes beside it."""
        kinds = self.traits.thinking
        if effort == "none":
            off = next((kind for kind in ("disabled", "between_tools") if kind in kinds), None)
            if off is not None:
                self.built["thinking"] = {"type": off}
                return
        else:
            self.built["thinking"] = {"type": "adaptive"}
        self.built.setdefault("output_config", {})["effort"] = self._level(_EFFORTS.get(effort, "low"))

    def _level(self, level: str) -> str:
        """Return the effort, or the next one up that the model takes, or its highest."""
        efforts = self.traits.efforts
        if level in efforts:
            return level
        return "max" if "max" in efforts else efforts[-1]

    def _spend(self, effort: str) -> None:
        """Thinking within a budget, which is part of the output limit and leaves room for the answer."""
        budget = min(_BUDGETS[effort], self.built["max_tokens"] - MIN_BUDGET)
        if "enabled" not in self.traits.thinking or budget < MIN_BUDGET:
            self.dropped.add("reasoning_effort")
            return
        self.built["thinking"] = {"type": "enabled", "budget_tokens": budget}

    def _sampling(self) -> None:
        thinks = (self.built.get("thinking") or {}).get("type") in ("adaptive", "enabled")
        if not self.traits.sampling or thinks:
            self.built.pop("top_k", None)
            self._drop_if_given("temperature", "top_p", "top_k")
            return
        if "temperature" in self.body:
            self.built["temperature"] = min(self.body["temperature"], 1)
            if self.body["temperature"] > 1:
                self.dropped.add("temperature")
            self._drop_if_given("top_p")
        elif "top_p" in self.body:
            self.built["top_p"] = self.body["top_p"]

    def _rest(self) -> None:
        body, built = self.body, self.built
        if body.get("stream"):
            built["stream"] = True
        if "stop" in body:
            given = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
            stops = [stop for stop in given if stop.strip()]
            if stops:
                built["stop_sequences"] = stops
            if len(stops) < len(given):
                self.dropped.add("stop")
        user = body.get("safety_identifier") or body.get("user")
        if user:
            built["metadata"] = {"user_id": hashlib.sha256(user.encode()).hexdigest()}
        tier = _SERVICE_TIERS.get(body.get("service_tier", ""))
        if tier is not None:
            built["service_tier"] = tier
        else:
            self._drop_if_given("service_tier")

    def _conversation(self) -> None:
        conversation = Conversation(system_turns=self.traits.system_turns)
        for position, message in enumerate(self.body["messages"]):
            conversation.add(message, f"messages[{position}]")
        system, turns = conversation.system, conversation.turns
        if not turns and system:
            turns, system = [{"role": "user", "content": system}], []
        if not turns or turns[0]["role"] != "user":
            raise InvalidRequest("The first message after the system prompt must be the user's.", param="messages")
        system += [{"type": "text", "text": text} for text in self.system_added]
        if system:
            self.built["system"] = system
        if turns[-1]["role"] == "assistant" and self.body["messages"][-1]["role"] == "user":
            raise InvalidRequest("The last message must have something in it.", param="messages")
        self.built["messages"] = turns
        _trim_prefill(turns[-1])
        if (self.marks_cache or self.body.get("prompt_cache_key")) and not _asks_for_cache(self.built):
            self.built["cache_control"] = dict(_CACHED)

    def _drop_if_given(self, *names: str) -> None:
        self.dropped.update(name for name in names if name in self.body)


def _tool_choice(choice: Any) -> dict[str, Any]:
    if isinstance(choice, Mapping) and choice["type"] == "function":
        return {"type": "tool", "name": choice["function"]["name"]}
    word = _TOOL_CHOICES.get(choice) if isinstance(choice, str) else None
    if word is None:
        raise InvalidRequest("tool_choice must be auto, none, required or a function.", param="tool_choice")
    return {"type": word}


def _trim_prefill(turn: dict[str, Any]) -> None:
    """Cut white space from the end of an answer that the client began: Anthropic refuses it there."""
    last = turn["content"][-1]
    if turn["role"] == "assistant" and last.get("type") == "text":
        last["text"] = last["text"].rstrip()


def _asks_for_cache(built: Mapping[str, Any]) -> bool:
    """Return whether the client placed cache marks itself."""
    if "cache_control" in built:
        return True
    blocks = [*built.get("system", ()), *built.get("tools", ())]
    blocks += [block for turn in built["messages"] for block in turn["content"]]
    return any("cache_control" in block for block in blocks)
