"""OpenAI chat completions: what a request says, and what of it goes upstream.

This is also the form in which every chat call travels inside. Fields TokenHub knows are
checked for their type and range before anything is routed or held (T51); fields it does not
know pass, so that a new model's parameter works on the day it appears.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenhub.call import Call, Capability
from tokenhub.errors import InvalidRequest
from tokenhub.wire import attached

MAX_MODEL_CHARS = 256
MAX_OUTPUT = 2**31 - 1
MAX_STOPS = 16
"""OpenAI takes 4, DeepSeek 16 (api-docs.deepseek.com, 2026-11-22): the upstream has the last word below this."""

GATEWAY_FIELDS = frozenset(
    {
        "models",
        "plugins",
        "preset",
        "provider",
        "route",
        "session_id",
        "trace",
        "transforms",
        "usage",
    }
)
"""Fields that speak to a gateway (OpenRouter's spelling), never to a provider: taken out before the call goes upstream."""

FORBIDDEN_FIELDS = frozenset(
    {
        "api_base",
        "api_key",
        "api_type",
        "api_version",
        "allowed_model_region",
        "base_url",
        "client_secret",
        "content_policy_fallbacks",
        "context_window_fallbacks",
        "custom_llm_provider",
        "dataSources",
        "data_sources",
        "default_fallbacks",
        "default_headers",
        "deployment_id",
        "ec_transfer_params",
        "extra_headers",
        "extra_query",
        "fallbacks",
        "headers",
        "http_client",
        "kv_transfer_params",
        "litellm_credential_name",
        "litellm_params",
        "model_list",
        "organization",
        "project",
        "proxy",
        "region_name",
        "tenant_id",
        "user_config",
    }
)
"""Fields by which an upstream (LiteLLM, Azure, vLLM, SGLang: their API pages, 2026-11) lets a caller choose address,
credential, region or another model: refused, whatever their value (T42)."""

_FORBIDDEN_FAMILIES = ("aws_", "azure_", "bootstrap_", "oci_", "vertex_", "watsonx_")
"""Beginnings of the names of more such fields: LiteLLM's by cloud, SGLang's ``bootstrap_host``."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field must be; ``words`` completes "must be …"."""

    holds: Callable[[Any], bool]
    words: str


def _is_number(low: float, high: float) -> Rule:
    return Rule(lambda value: type(value) in (int, float) and low <= value <= high, f"a number from {low} to {high}")


def _is_integer(low: int, high: int) -> Rule:
    return Rule(lambda value: type(value) is int and low <= value <= high, f"an integer from {low} to {high}")


def _is_stop(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= MAX_STOPS and all(isinstance(entry, str) for entry in value)
    return isinstance(value, str)


def _is_tools(value: Any) -> bool:
    return isinstance(value, list) and all(_is_tool(tool) for tool in value)


def _is_tool(tool: Any) -> bool:
    """A function must have a name; what other tools need is theirs to say."""
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        return False
    return tool["type"] != "function" or _is_function(tool.get("function"))


def _is_function(function: Any) -> bool:
    if not isinstance(function, dict):
        return False
    name, parameters = function.get("name"), function.get("parameters")
    return isinstance(name, str) and bool(name) and (parameters is None or isinstance(parameters, dict))


def _is_response_format(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    named = value.get("json_schema")
    return value["type"] != "json_schema" or (isinstance(named, dict) and isinstance(named.get("schema", {}), dict))


def _is_tool_choice(value: Any) -> bool:
    """A word, a named tool, or a set of allowed ones."""
    if not isinstance(value, dict):
        return isinstance(value, str)
    kind = value.get("type")
    if kind == "allowed_tools":
        allowed = value.get("allowed_tools")
        return isinstance(allowed, dict) and isinstance(allowed.get("mode"), str) and _is_tools(allowed.get("tools"))
    return isinstance(kind, str) and (kind != "function" or _is_function(value.get("function")))


def _is_function_call(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("name"), str))


_STRING = Rule(lambda value: isinstance(value, str), "a string")
_BOOLEAN = Rule(lambda value: isinstance(value, bool), "true or false")
_OBJECT = Rule(lambda value: isinstance(value, dict), "an object")
_STRINGS = Rule(lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value), "a list of strings")
_LIMIT = _is_integer(1, MAX_OUTPUT)

RULES: Mapping[str, Rule] = {
    "audio": _OBJECT,
    "cache_control": _OBJECT,
    "frequency_penalty": _is_number(-2, 2),
    "function_call": Rule(_is_function_call, "a string or an object with a name"),
    "functions": Rule(lambda value: isinstance(value, list) and all(map(_is_function, value)), "a list of functions"),
    "logit_bias": _OBJECT,
    "logprobs": _BOOLEAN,
    "max_completion_tokens": _LIMIT,
    "max_tokens": _LIMIT,
    "metadata": _OBJECT,
    "modalities": _STRINGS,
    "models": _STRINGS,
    "n": _is_integer(1, 128),
    "parallel_tool_calls": _BOOLEAN,
    "prediction": _OBJECT,
    "presence_penalty": _is_number(-2, 2),
    "prompt_cache_key": _STRING,
    "provider": _OBJECT,
    "reasoning_effort": _STRING,
    "response_format": Rule(_is_response_format, "an object with a type; json_schema needs the object json_schema"),
    "safety_identifier": _STRING,
    "seed": _is_integer(-(2**63), 2**63 - 1),
    "service_tier": _STRING,
    "session_id": Rule(
        lambda value: isinstance(value, str) and len(value) <= 256, "a string of at most 256 characters"
    ),
    "stop": Rule(_is_stop, f"a string or a list of at most {MAX_STOPS} strings"),
    "store": _BOOLEAN,
    "stream": _BOOLEAN,
    "stream_options": _OBJECT,
    "temperature": _is_number(0, 2),
    "tool_choice": Rule(_is_tool_choice, "a string, a named tool or a set of allowed tools"),
    "thinking": _OBJECT,
    "tools": Rule(_is_tools, "a list of tools, each with a type; a function needs a name"),
    "top_k": _is_integer(-1, 2**31 - 1),
    "top_logprobs": _is_integer(0, 20),
    "top_p": _is_number(0, 1),
    "usage": _OBJECT,
    "user": _STRING,
    "verbosity": _STRING,
    "web_search_options": _OBJECT,
}
"""Every optional field that is checked. null is as good as absent, as it is at OpenAI."""


def parse_call(body: Mapping[str, Any], size_bytes: int, now_s: int = 0) -> Call:
    """Return the facts of a chat request; raises InvalidRequest that names the field at fault.

    ``size_bytes`` is the size of the body as it came: an upper bound of the prompt's tokens,
    data URLs included. ``now_s`` dates the reply where the upstream does not.
    """
    refuse_control_fields(body)
    model = parse_model(body)
    for name, value in body.items():
        rule = RULES.get(name)
        if rule is not None and value is not None and not rule.holds(value):
            raise InvalidRequest(f"{name} must be {rule.words}.", param=name)
    counts = _read_messages(body)
    stream = bool(body.get("stream"))
    return Call(
        capability=Capability.CHAT,
        model=model,
        stream=stream,
        include_usage=stream and wants_usage(body),
        input_bytes=size_bytes,
        messages=len(body["messages"]),
        images=counts["images"],
        audio_parts=counts["audio_parts"],
        files=counts["files"],
        choices=body.get("n") or 1,
        max_output=body.get("max_completion_tokens") or body.get("max_tokens"),
        uses_tools=bool(body.get("tools") or body.get("functions")),
        wants_json_schema=(body.get("response_format") or {}).get("type") == "json_schema",
        effort=asked_effort(body),
        one_tool_call=body.get("parallel_tool_calls") is False,
        created_s=now_s,
    )


def asked_effort(body: Mapping[str, Any]) -> str | None:
    """Return how much reasoning a request asks for: by OpenAI's field, OpenRouter's object, or a switch that is off."""
    word, given = body.get("reasoning_effort"), body.get("reasoning")
    if word is None and isinstance(given, dict):
        word = given.get("effort") or ("none" if given.get("enabled") is False else None)
    switch = body.get("thinking")
    if word is None and isinstance(switch, dict) and switch.get("type") == "disabled":
        word = "none"
    return word if isinstance(word, str) else None


@dataclass(frozen=True, slots=True)
class AllowedTools:
    """The tools that OpenAI's ``allowed_tools`` narrows a request to, and how they may be called: ``auto`` or ``required``."""

    mode: str
    tools: list[dict[str, Any]]

    @property
    def functions(self) -> frozenset[str]:
        """The names of those that are functions."""
        return frozenset(tool["function"]["name"] for tool in self.tools if tool["type"] == "function")


def allowed_tools(choice: Mapping[str, Any]) -> AllowedTools | None:
    """Return what a tool_choice that is an object allows; None where it names one tool."""
    if choice.get("type") != "allowed_tools":
        return None
    return AllowedTools(choice["allowed_tools"]["mode"], choice["allowed_tools"]["tools"])


def outgoing(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a request without the fields that are the gateway's own."""
    return {name: value for name, value in body.items() if name not in GATEWAY_FIELDS}


def parse_model(body: Mapping[str, Any]) -> str:
    """Return the model name of any request body; what it names is the catalogue's to say (T52)."""
    model = body.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_CHARS:
        raise InvalidRequest(f"model must be a string of 1 to {MAX_MODEL_CHARS} characters.", param="model")
    return model


def is_forbidden(name: str) -> bool:
    """Return whether a field of this name would choose an address, a credential, a region or another model."""
    return name in FORBIDDEN_FIELDS or name.startswith(_FORBIDDEN_FAMILIES)


def refuse_control_fields(body: Mapping[str, Any], known: frozenset[str] = frozenset()) -> None:
    """Refuse fields that are the operator's, also where they are put into ``extra_body``; ``known``: the wire has its own rule for these."""
    holder: Any = body
    path = ""
    while isinstance(holder, Mapping):
        for name in holder:
            if is_forbidden(name) and name not in known:
                raise InvalidRequest(
                    f"{path}{name} cannot be set by a request: providers, addresses and credentials are the operator's.",
                    param=f"{path}{name}",
                )
        holder, path = holder.get("extra_body"), f"{path}extra_body."


def _read_messages(body: Mapping[str, Any]) -> dict[str, int]:
    """Look at all messages, and count their parts that are no text."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages must be a list with at least one message.", param="messages")
    counts = dict.fromkeys(attached.FACTS, 0)
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _bad_message(position, "must be an object with a role.")
        content, calls = message.get("content"), message.get("tool_calls")
        if isinstance(content, str) and len(message) == 2:
            continue  # a role and a text, as most are
        if isinstance(content, list):
            _check_parts(content, position)
            attached.count(content, counts)
        elif not (content is None or isinstance(content, str)):
            raise _bad_message(position, "must have a string, a list of parts or null as its content.", "content")
        if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
            raise _bad_message(position, "must have a list of objects as its tool_calls.", "tool_calls")
        attached.count(_pictures_of(message, position), counts)
        _refuse_kept_sound(message, position)
    return counts


def _refuse_kept_sound(message: Mapping[str, Any], position: int) -> None:
    """Refuse an earlier reply's sound by its id: it lies in the operator's store, and is as long as it is."""
    sound = message.get("audio")
    if isinstance(sound, dict) and sound.get("id") not in (None, ""):
        raise InvalidRequest(
            f"messages[{position}].audio has an id, and no sound is kept here: send its transcript as content.",
            code="unsupported_parameter",
            param=f"messages[{position}].audio.id",
        )


def _bad_message(position: int, words: str, member: str | None = None) -> InvalidRequest:
    param = f"messages[{position}]"
    return InvalidRequest(f"{param} {words}", param=f"{param}.{member}" if member else param)


def _check_parts(parts: list[Any], position: int) -> None:
    for number, part in enumerate(parts):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise _bad_message(position, "must have objects with a type as its parts.", "content")
        attached.refuse_stored(part, f"messages[{position}].content[{number}]")


def _pictures_of(message: Mapping[str, Any], position: int) -> list[dict[str, Any]]:
    """Return the pictures that a reply of the model had beside its text, as parts."""
    given = message.get("images")
    found = [
        {**one, "type": "image_url"} for one in (given if isinstance(given, list) else ()) if isinstance(one, dict)
    ]
    for number, one in enumerate(found):
        attached.refuse_stored(one, f"messages[{position}].images[{number}]")
    return found


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Say whether the client asks for a stream's usage: OpenAI's ``stream_options.include_usage``, or OpenRouter's ``usage.include``."""
    options, usage = body.get("stream_options") or {}, body.get("usage") or {}
    for param, wanted in (
        ("stream_options.include_usage", options.get("include_usage")),
        ("usage.include", usage.get("include")),
    ):
        if not isinstance(wanted, bool | None):
            raise InvalidRequest(f"{param} must be true or false.", param=param)
    return bool(options.get("include_usage") or usage.get("include"))
