"""An OpenAI chat body, bent to what one provider takes.

Each kind of quirk in the catalogue has a step here; whatever is not touched goes as the
client sent it. What can be said in other words is said in them; a field without an equivalent is left out and named; what would change the answer's meaning is
refused, so that another deployment may be tried.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenhub.call import Call, Wire
from tokenhub.catalog.models import Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers.adapter import NO_HINTS, CacheHints
from tokenhub.wire.chat.parts import result_of, short_id
from tokenhub.wire.chat.request import GATEWAY_FIELDS

REASONING_MEMBERS = frozenset(
    {"reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "extra_content"}
)
"""Members of an assistant message that carry reasoning or signatures; which of them, if any, a provider takes is a quirk."""

_NINE = re.compile(r"[A-Za-z0-9]{9}", re.ASCII)
_FORTY = 40
_OFF = "none"


@dataclass(slots=True)
class Shaping:
    """One body on its way to one deployment. ``body`` is a copy; what is inside it is shared and never changed."""

    body: dict[str, Any]
    call: Call
    deployment: Deployment
    output_limit: int | None
    quirks: Mapping[str, Any]
    traits: Mapping[str, Any]
    dropped: list[str] = field(default_factory=list)
    thinks: bool = False
    """The model will reason in this request, as far as is known."""
    asked_to_think: bool = False
    hints: CacheHints = field(default_factory=CacheHints)

    def drop(self, name: str) -> None:
        """Leave a field out, and say so if the client had sent it."""
        if self.body.pop(name, None) is not None:
            self.dropped.append(name)

    def refuse(self, param: str, words: str) -> InvalidRequest:
        """Return the refusal of a field, with where and why."""
        where = f"{self.deployment.model.id} at {self.deployment.provider.id}"
        return InvalidRequest(f"{where} {words}", param=param)


Step = Callable[[Shaping], None]


def shape(
    body: Mapping[str, Any],
    call: Call,
    deployment: Deployment,
    output_limit: int | None,
    steps: Sequence[Step],
    hints: CacheHints = NO_HINTS,
) -> Shaping:
    """Return the body for a deployment; raises InvalidRequest for what it can never do."""
    sent = {name: value for name, value in body.items() if value is not None and name not in GATEWAY_FIELDS}
    sent["model"] = deployment.upstream_id
    quirks, traits = deployment.provider.quirks, deployment.model.traits
    shaping = Shaping(sent, call, deployment, output_limit, quirks, traits, hints=hints)
    for step in steps:
        step(shaping)
    return shaping


# Limits and streaming ----------------------------------------------------------------------------


def limit_of(call: Call, deployment: Deployment, output_limit: int | None) -> int | None:
    """Return the output limit to send, if any: TokenHub's or the client's, never above what the model can give."""
    limit, most = output_limit or call.max_output, deployment.max_output
    return min(limit, most) if limit and most else limit


def output_limit(shaping: Shaping) -> None:
    """Say the output limit in the provider's field."""
    body, named = shaping.body, shaping.quirks["max_tokens_field"]
    if named == "as_sent":
        named = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    body.pop("max_tokens", None)
    body.pop("max_completion_tokens", None)
    limit = limit_of(shaping.call, shaping.deployment, shaping.output_limit)
    if limit is not None:
        body[named] = limit


def usage_in_stream(shaping: Shaping) -> None:
    """Ask for the usage of every stream; without ``stream`` OpenAI refuses its options."""
    if not shaping.call.stream:
        shaping.body.pop("stream", None)
        shaping.body.pop("stream_options", None)
    elif shaping.quirks["stream_options"]:
        shaping.body["stream_options"] = {**shaping.body.get("stream_options", {}), "include_usage": True}
    else:
        shaping.body.pop("stream_options", None)


# What the model can take -------------------------------------------------------------------------


def inputs(shaping: Shaping) -> None:
    """Refuse images, files and numbers of choices that would come back as the upstream's own 400."""
    call, images = shaping.call, shaping.quirks["images"]
    if call.images:
        if images == "none" or "image" not in shaping.deployment.model.input_modalities:
            raise shaping.refuse("messages", "takes no images.")
        if images == "data" and any(not url.startswith("data:") for url in _image_urls(shaping.body)):
            raise shaping.refuse("messages", "takes images only as data: URLs.")
    if call.files and not shaping.quirks["file_parts"]:
        raise shaping.refuse("messages", "takes no content parts of type file.")
    if call.choices > shaping.quirks["choices_max"]:
        raise shaping.refuse("n", f"gives at most {shaping.quirks['choices_max']} choices.")


def _image_urls(body: Mapping[str, Any]) -> list[str]:
    parts = [
        part for message in body["messages"] if isinstance(message.get("content"), list) for part in message["content"]
    ]
    images = [part.get("image_url") for part in parts if part.get("type") == "image_url"]
    urls = [image.get("url") if isinstance(image, dict) else image for image in images]
    return [url for url in urls if isinstance(url, str)]


def sampling(shaping: Shaping) -> None:
    """Leave sampling to models that fix it, and keep the temperature within the provider's range; say both."""
    if not shaping.traits["sampling"]:
        shaping.drop("temperature")
        shaping.drop("top_p")
    temperature, most = shaping.body.get("temperature"), float(shaping.quirks["temperature_max"])
    if temperature is not None and temperature > most:
        shaping.body["temperature"] = most
        shaping.dropped.append("temperature")


def response_format(shaping: Shaping) -> None:
    """Refuse a form of answer that the model cannot promise."""
    wanted = (shaping.body.get("response_format") or {}).get("type", "text")
    if wanted == "text":
        return
    if wanted not in shaping.quirks["response_formats"] or (
        wanted == "json_schema" and not shaping.traits["json_schema"]
    ):
        raise shaping.refuse("response_format", f"takes no response_format {wanted}.")


# Reasoning ---------------------------------------------------------------------------------------


def _say_effort(body: dict[str, Any], word: str) -> None:
    body["reasoning_effort"] = word


def _say_thinking(body: dict[str, Any], word: str) -> None:
    given = body.get("thinking")
    body["thinking"] = {**(given if isinstance(given, dict) else {}), "type": "disabled" if word == _OFF else "enabled"}


def _say_thinking_and_effort(body: dict[str, Any], word: str) -> None:
    _say_thinking(body, word)
    if word != _OFF:
        body["reasoning_effort"] = word


def _say_enable_thinking(body: dict[str, Any], word: str) -> None:
    body["enable_thinking"] = word != _OFF


def _say_reasoning_object(body: dict[str, Any], word: str) -> None:
    given = body.get("reasoning")
    body["reasoning"] = {**(given if isinstance(given, dict) else {}), "effort": word}


_SAY: Mapping[str, Callable[[dict[str, Any], str], None]] = {
    "effort": _say_effort,
    "thinking": _say_thinking,
    "thinking_effort": _say_thinking_and_effort,
    "enable_thinking": _say_enable_thinking,
    "reasoning_object": _say_reasoning_object,
}
"""How each kind of provider is told how much to reason (notes of each provider's API page, 2026-11-22)."""

_SWITCHES = ("thinking", "thinking_effort", "enable_thinking")


def reasoning(shaping: Shaping) -> None:
    """Say ``reasoning_effort`` in the provider's way, and find out whether the model will reason."""
    body, style = shaping.body, shaping.quirks["reasoning"]
    word = _asked_effort(body, style)
    if word is None:
        shaping.thinks = _thinks_unasked(shaping)
        return
    if word == _OFF and shaping.traits["reasoning"] and not shaping.traits["reasoning_none"]:
        if shaping.call.wire is not Wire.CHAT:  # there "off" is what everybody says who expects no thoughts
            shaping.thinks = True
            shaping.dropped.append("reasoning_effort")
            return
        raise shaping.refuse(
            "reasoning_effort", "always reasons; send a reasoning_effort such as low, or none of the field."
        )
    if (
        not shaping.traits["reasoning"]
        and shaping.call.wire is not Wire.CHAT
        and not shaping.deployment.provider.custom
    ):
        shaping.dropped.append("reasoning_effort")  # coding agents name an effort whatever the model
        return
    shaping.thinks = shaping.asked_to_think = word != _OFF
    say = _SAY.get(style)
    if say is None or (style in _SWITCHES and not shaping.traits["reasoning"]):
        shaping.dropped.append("reasoning_effort")
        shaping.thinks = False
    else:
        say(body, shaping.quirks["efforts"].get(word, word))


def _asked_effort(body: dict[str, Any], style: str) -> str | None:
    """Take out the effort the client asked for: OpenAI's field, or OpenRouter's object."""
    word = body.pop("reasoning_effort", None)
    given = body.get("reasoning")
    if style != "reasoning_object" and isinstance(given, dict):
        del body["reasoning"]
        word = word or given.get("effort") or (_OFF if given.get("enabled") is False else None)
    return word if isinstance(word, str) else None


def _thinks_unasked(shaping: Shaping) -> bool:
    """Return whether the model reasons in a request without an effort: by the provider's own fields, else by default."""
    thinking, enabled = shaping.body.get("thinking"), shaping.body.get("enable_thinking")
    if isinstance(thinking, dict) and "type" in thinking:
        shaping.asked_to_think = thinking["type"] != "disabled"
        return shaping.asked_to_think
    if isinstance(enabled, bool):
        shaping.asked_to_think = enabled
        return enabled
    return bool(shaping.traits["reasoning"]) and shaping.traits["reasoning_default"] == "on"


def without_reasoning(shaping: Shaping) -> bool:
    """Switch reasoning off if the client did not ask for it and that can be said; return whether it is off."""
    if shaping.asked_to_think or not shaping.traits["reasoning_none"]:
        return False
    say = _SAY.get(shaping.quirks["reasoning"])
    if say is None:
        return False
    say(shaping.body, _OFF)
    shaping.thinks = False
    return True


# Tools -------------------------------------------------------------------------------------------


def tools(shaping: Shaping) -> None:
    """Refuse tools that are not taken; leave ``strict`` out where it is not known."""
    given = shaping.body.get("tools")
    if not given:
        return
    if not shaping.traits["tools"]:
        raise shaping.refuse("tools", "takes no tools.")
    for tool in given:
        if tool["type"] not in shaping.quirks["tool_types"]:
            raise shaping.refuse("tools", f"takes no tools of type {tool['type'][:32]}.")
    if not shaping.quirks["strict_tools"] and any("strict" in (tool.get("function") or {}) for tool in given):
        shaping.body["tools"] = [_lax(tool) for tool in given]
        shaping.dropped.append("tools[].function.strict")


def _lax(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(tool.get("function"), dict):
        return tool
    return {**tool, "function": {name: value for name, value in tool["function"].items() if name != "strict"}}


def allowed_tools(shaping: Shaping) -> None:
    """Say a set of allowed tools as a shorter list to servers that do not know OpenAI's newer words, its custom tools among them."""
    given = shaping.body.get("tool_choice")
    if not isinstance(given, dict) or given["type"] != "allowed_tools" or "custom" in shaping.quirks["tool_types"]:
        return
    allowed = given["allowed_tools"]
    names = {tool["function"]["name"] for tool in allowed["tools"] if tool["type"] == "function"}
    chosen = [tool for tool in shaping.body.get("tools") or () if (tool.get("function") or {}).get("name") in names]
    if not chosen:
        raise shaping.refuse("tool_choice", "cannot call the allowed tools: they are not among tools.")
    shaping.body |= {"tools": chosen, "tool_choice": allowed["mode"]}


def tool_choice(shaping: Shaping) -> None:
    """Keep to the kinds of tool_choice that are taken.

    A forced choice that only reasoning stands against switches reasoning off, if nobody asked
    for it; one that is never taken is refused: calling no tool would be a different answer.
    """
    given = shaping.body.get("tool_choice")
    if given is None:
        return
    kind = "named" if isinstance(given, dict) else "required" if given == "any" else given
    allowed = shaping.quirks["tool_choice_thinking" if shaping.thinks else "tool_choice"]
    if kind in allowed:
        return
    if kind in ("auto", "none"):
        del shaping.body["tool_choice"]
        if kind == "none":
            shaping.body.pop("tools", None)
            shaping.body.pop("parallel_tool_calls", None)
    elif not (kind in shaping.quirks["tool_choice"] and without_reasoning(shaping)):
        state = " while it reasons" if shaping.thinks else ""
        raise shaping.refuse("tool_choice", f"does not take a forced tool_choice{state}; send auto.")


# Messages ----------------------------------------------------------------------------------------


def results(shaping: Shaping) -> None:
    """Show what a Responses client's tools returned beside text as the user's, behind the results of the round.

    OpenAI refuses pictures in ``tool`` messages ("Image URLs are only allowed for messages with role 'user'"), and so do
    servers like it. A chat client knows what its server takes: its messages go as they came.
    """
    given = shaping.body["messages"]
    if shaping.call.wire is not Wire.RESPONSES or not any(map(_returns_media, given)):
        return
    sent: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for message in given:
        if message["role"] != "tool" and shown:
            sent.append({"role": "user", "content": shown})
            shown = []
        if _returns_media(message):
            text, media = result_of(message["tool_call_id"], message["content"])
            message = {**message, "content": text}
            shown += media
        sent.append(message)
    shaping.body["messages"] = [*sent, {"role": "user", "content": shown}] if shown else sent


def _returns_media(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return message["role"] == "tool" and isinstance(content, list) and any(part["type"] != "text" for part in content)


def messages(shaping: Shaping) -> None:
    """Bend each message that needs it; the others go as they came."""
    given, roles = shaping.body["messages"], shaping.quirks["roles"]
    sent = [
        {**message, "role": roles[message["role"]]}
        if message["role"] in roles
        else _bent_reply(message, shaping)
        if message["role"] == "assistant" and (len(message) > 2 or "content" not in message)
        else message
        for message in given
    ]
    if (shorten := _SHORT_IDS.get(shaping.quirks["tool_call_ids"])) is not None:
        sent = [_with_short_ids(message, shorten) for message in sent]
    shaping.body["messages"] = sent


def _bent_reply(message: dict[str, Any], shaping: Shaping) -> dict[str, Any]:
    """Send reasoning back where it is wanted, and leave out members that only other wires know."""
    calls = message.get("tool_calls")
    if calls and any("extra_content" in call for call in calls):
        calls = [{name: value for name, value in call.items() if name != "extra_content"} for call in calls]
        message = {**message, "tool_calls": calls}
    back = shaping.quirks["reasoning_back"]
    # DeepSeek: every turn with tool calls must carry it while thinking, an empty text will do (api-docs.deepseek.com, 2026-11).
    needed = back and bool(calls) and shaping.thinks
    if not needed and REASONING_MEMBERS.isdisjoint(message):
        return message
    bent = {name: value for name, value in message.items() if name not in REASONING_MEMBERS}
    text = message.get("reasoning_content") or message.get("reasoning")
    if back and (needed or text):
        bent[shaping.quirks["reasoning_field"]] = text if isinstance(text, str) else ""
    if back and "reasoning_details" in message and shaping.quirks["reasoning"] == "reasoning_object":
        bent["reasoning_details"] = message["reasoning_details"]  # OpenRouter carries signatures here
    return bent


def _with_short_ids(message: dict[str, Any], shorten: Callable[[str], str]) -> dict[str, Any]:
    if "tool_call_id" not in message and not message.get("tool_calls"):
        return message
    bent = dict(message)
    if isinstance(bent.get("tool_call_id"), str):
        bent["tool_call_id"] = shorten(bent["tool_call_id"])
    if bent.get("tool_calls"):
        bent["tool_calls"] = [
            {**call, "id": shorten(call["id"])} if isinstance(call.get("id"), str) else call
            for call in bent["tool_calls"]
        ]
    return bent


def _nine(id: str) -> str:
    """Mistral takes only ids of nine letters and digits (docs.mistral.ai, function calling, 2026-11)."""
    return id if _NINE.fullmatch(id) else hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:9]


def _forty(id: str) -> str:
    """OpenAI takes no longer ones ("string too long. Expected a string with maximum length 40"); vLLM's have 46 characters."""
    return short_id(id, _FORTY)


_SHORT_IDS: Mapping[str, Callable[[str], str]] = {"nine": _nine, "forty": _forty}


def leading_system(shaping: Shaping) -> None:
    """Join all system messages into one at the start: some chat templates take only that."""
    if shaping.quirks["system_messages"] == "any":
        return
    given = shaping.body["messages"]
    system = [message for message in given if message["role"] in ("system", "developer")]
    if not system or (len(system) == 1 and system[0] is given[0]):
        return
    contents = [message.get("content") for message in system]
    if all(isinstance(content, str) for content in contents):
        joined: Any = "\n\n".join(contents)
    else:
        joined = [part for content in contents for part in _parts(content)]
    rest = [message for message in given if message["role"] not in ("system", "developer")]
    shaping.body["messages"] = [{**system[0], "content": joined}, *rest]


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []


# Fields ------------------------------------------------------------------------------------------


def fields(shaping: Shaping) -> None:
    """Leave out, rename and add fields as the provider's data says."""
    quirks, body = shaping.quirks, shaping.body
    for name in quirks["drop_fields"]:
        shaping.drop(name)
    if quirks["only_fields"]:
        for name in body.keys() - {"model", "messages", *quirks["only_fields"]}:
            shaping.drop(name)
    for name, known_as in quirks["rename_fields"].items():
        if name in body:
            body[known_as] = body.pop(name)
    for name, value in quirks["extra_body"].items():
        body.setdefault(name, value)
    body.update(shaping.deployment.region.body_fields)  # the region is a boundary: never the client's to choose


def cache_key(shaping: Shaping) -> None:
    """Name what shares a cache, for providers that look for it by name; a name that the client gave stays."""
    if shaping.hints.key and shaping.quirks["prompt_cache_key"]:
        shaping.body.setdefault("prompt_cache_key", shaping.hints.key)


STEPS: tuple[Step, ...] = (
    output_limit,
    usage_in_stream,
    inputs,
    sampling,
    response_format,
    reasoning,
    tools,
    allowed_tools,
    tool_choice,
    messages,
    results,
    leading_system,
    fields,
    cache_key,
)
"""In order: whether the model will reason must be known before tools and messages are looked at."""
