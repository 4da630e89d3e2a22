"""An OpenAI chat body, bent to what one provider takes.

Each kind of quirk in the catalogue has a step, here or in ``chat_reasoning`` and ``chat_messages``;
whatever is not touched goes as the client sent it. What can be said in other words is said in
them; a field without an equivalent is left out and named; what would change the answer's meaning
is refused, so that another deployment may be tried.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenhub.call import Call
from tokenhub.catalog.models import Deployment
from tokenhub.providers.adapter import NO_HINTS, CacheHints
from tokenhub.providers.chat_messages import leading_system, messages, results
from tokenhub.providers.chat_reasoning import reasoning, without_reasoning
from tokenhub.providers.chat_shaping import Shaping
from tokenhub.wire.chat import request
from tokenhub.wire.chat.request import GATEWAY_FIELDS

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
    allowed = request.allowed_tools(given) if isinstance(given, dict) else None
    if allowed is None or "custom" in shaping.quirks["tool_types"]:
        return
    names = allowed.functions
    chosen = [tool for tool in shaping.body.get("tools") or () if (tool.get("function") or {}).get("name") in names]
    if not chosen:
        raise shaping.refuse("tool_choice", "cannot call the allowed tools: they are not among tools.")
    shaping.body |= {"tools": chosen, "tool_choice": allowed.mode}


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
