"""How providers and models deviate: every key that catalogue data may carry, in two tables.

A *quirk* belongs to a provider and tells its adapter how the wire differs from OpenAI's; a
*trait* belongs to a model. Both are data with a default, so that an operator's own provider
needs no code. The loader refuses unknown keys and wrong types, and fills in the defaults.
Sources of the shipped values stand in the data files, beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its default, whose type every value must have, the words allowed if not any, and what it means."""

    default: Any
    meaning: str
    words: tuple[str, ...] = ()


TOOL_CHOICES = ("auto", "none", "required", "named")
RESPONSE_FORMATS = ("text", "json_object", "json_schema")

QUIRKS: Mapping[str, Key] = {
    "max_tokens_field": Key(
        "max_tokens",
        "field that carries the output limit; as_sent: both are taken, max_tokens is sent where the client named neither",
        ("max_tokens", "max_completion_tokens", "as_sent"),
    ),
    "drop_fields": Key((), "body fields that are left out and reported"),
    "only_fields": Key((), "when not empty, all other body fields are left out and reported"),
    "rename_fields": Key({}, "body field to the provider's name for it"),
    "extra_body": Key({}, "fields added to every chat body that lacks them"),
    "roles": Key({}, "message role to the role that is sent instead"),
    "system_messages": Key(
        "any",
        "leading: all system messages are joined into one at the start",
        ("any", "leading"),
    ),
    "stream_options": Key(True, "takes stream_options.include_usage"),
    "stream": Key(
        "mend",
        "relay: frames are OpenAI's and pass as bytes; mend: each is parsed and completed",
        ("relay", "mend"),
    ),
    "tool_choice": Key(TOOL_CHOICES, "kinds of tool_choice taken", TOOL_CHOICES),
    "tool_choice_thinking": Key(TOOL_CHOICES, "the same while the model thinks", TOOL_CHOICES),
    "tool_types": Key(("function",), "types of tools taken"),
    "strict_tools": Key(True, "takes strict in a tool's function; else it is left out"),
    "response_formats": Key(RESPONSE_FORMATS, "types of response_format taken", RESPONSE_FORMATS),
    "choices_max": Key(128, "most choices (n) a request may ask for"),
    "temperature_max": Key("2", "decimal; a higher temperature is lowered to it"),
    "images": Key("any", "how image_url may be given", ("any", "data", "none")),
    "file_parts": Key(True, "takes content parts of type file"),
    "reasoning": Key(
        "effort",
        "how reasoning_effort is said: as it is; thinking.type; both; enable_thinking; reasoning.effort; not at all",
        ("effort", "thinking", "thinking_effort", "enable_thinking", "reasoning_object", "none"),
    ),
    "efforts": Key({}, "reasoning_effort word to the provider's word; words not named pass as they are"),
    "reasoning_field": Key(
        "reasoning_content",
        "member of message and delta that carries reasoning text",
        ("reasoning_content", "reasoning"),
    ),
    "reasoning_back": Key(False, "assistant messages' reasoning text is sent back; else it is left out"),
    "reasoning_beyond_limit": Key(
        0, "most reasoning tokens that can come on top of the output limit, where a model reasons"
    ),
    "tool_call_ids": Key(
        "any",
        "nine: tool call ids must be nine letters and digits; forty: at most 40 characters",
        ("any", "nine", "forty"),
    ),
    "prompt_cache_key": Key(False, "is sent a prompt_cache_key made from the session where the client sent none"),
    "messages_input": Key(
        "in_doubt",
        "whether input_tokens on its Messages surface has cache reads and writes in it; in doubt none is billed twice",
        ("without_cache", "with_cache", "in_doubt"),
    ),
    "image_tokens": Key(50_000, "most prompt tokens one image can become"),
    "result_hosts": Key(
        (), "hosts, beside its own, at which results (images, videos) may be fetched; * stands for part of one label"
    ),
    "poll_ms": Key(2000, "milliseconds between two looks at a task that is waited for"),
    "embeddings_inputs": Key(2048, "most inputs of one embeddings request"),
    "embeddings_base64": Key(True, "takes encoding_format base64"),
    "rerank_documents": Key(10_000, "most documents of one rerank request"),
}
"""Keys of a provider's ``quirks`` table."""

TRAITS: Mapping[str, Key] = {
    "regional_uplift": Key(False, "a region's price_multiplier applies"),
    "dimensions": Key(0, "length of an embedding"),
    "tools": Key(True, "takes function tools"),
    "tools_need_responses_api": Key(False, "refuses function tools on chat completions while it reasons"),
    "json_schema": Key(True, "takes response_format json_schema"),
    "completions_only": Key(False, "knows no conversation: answers legacy text completions alone"),
    "sampling": Key(True, "takes temperature and top_p"),
    "reasoning": Key(False, "can reason before it answers"),
    "reasoning_none": Key(True, "takes reasoning_effort none"),
    "reasoning_default": Key("", "whether it reasons when not told: on, off, or not known", ("", "on", "off")),
    "reasoning_beyond_limit": Key(0, "most reasoning tokens that can come on top of the output limit"),
    "image_tokens": Key(0, "most prompt tokens one image can become; 0: the provider's"),
    "speech_events": Key(False, "speaks in events too (stream_format sse), which tell its usage"),
    "translations": Key(True, "translates recordings, beside transcribing them"),
    "transcript_events": Key(True, "tells a transcript while it is made, if asked for a stream; else whole"),
    "seconds_min": Key(0, "a shorter recording is billed as so many seconds"),
    "image_output_tokens": Key(
        0, "most image tokens of one generated image of usual size, at image_output; max_output is the text beside it"
    ),
    "image_task": Key(
        "",
        "how DashScope makes its images: in the reply, or by a task at text2image/image-synthesis, image2image/…, image-generation/generation",
        ("", "text2image", "image2image", "image-generation"),
    ),
}
"""Keys of a model's ``traits`` table."""


def filled(keys: Mapping[str, Key], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with every missing key at its default; raises ValueError for a key or value that is not allowed."""
    unknown = values.keys() - keys.keys()
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}; known are {', '.join(keys)}")
    return {name: _checked(name, key, values[name]) if name in values else key.default for name, key in keys.items()}


def _checked(name: str, key: Key, value: Any) -> Any:
    if isinstance(key.default, tuple) and isinstance(value, list):
        value = tuple(value)
    if type(value) is not type(key.default):
        raise ValueError(f"{name} must be {_KINDS[type(key.default)]}, not {value!r}")
    words = value if isinstance(value, tuple) else (value,)
    if key.words and not set(words) <= set(key.words):
        raise ValueError(f"{name} is {value!r}; allowed are {', '.join(word or 'nothing' for word in key.words)}")
    return value


_KINDS = {str: "a text", bool: "true or false", int: "a whole number", tuple: "a list of texts", dict: "a table"}
