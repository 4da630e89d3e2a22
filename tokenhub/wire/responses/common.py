"""OpenAI Responses: what bodies of this API have in common, whoever makes them.

Nothing is stored here, so a conversation comes whole with every request: what would refer to
something kept (``previous_response_id``, ``conversation``, a stored prompt, a file's id) is refused.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage, count, count_in
from tokenhub.wire import attached
from tokenhub.wire.chat.parts import items_of

REASONING_FORMAT = "openai-responses-v1"
"""OpenRouter's name for reasoning that OpenAI made (openrouter.ai/docs, reasoning details, 2026-11)."""

ENCRYPTED = "reasoning.encrypted_content"
"""What ``include`` must name for reasoning that can be given back, since nothing is stored."""

_KEPT = {
    "previous_response_id": "nothing is stored here: send the whole conversation as input",
    "conversation": "nothing is stored here: send the whole conversation as input",
    "prompt": "no prompts are stored here: send instructions and input",
}
_SEARCH = "web_search_call"
"""OpenAI's older SDKs give it back with nothing but its id."""
_NOT_MADE = ("failed", "incomplete")
_LATEST_S = 2**40
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
_REASONS = {reason: word for word, reason in _INCOMPLETE.items()}


def refuse_kept(body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for what needs something stored, or a reply that is fetched later."""
    for name, words in _KEPT.items():
        if body.get(name) is not None:
            raise InvalidRequest(f"{name} is not supported, because {words}.", code="unsupported_parameter", param=name)
    if body.get("background"):
        raise InvalidRequest(
            "background is not supported, because no reply is kept here: wait for it, or stream it.",
            code="unsupported_parameter",
            param="background",
        )
    for position, item in enumerate(items_of(body.get("input"))):
        _refuse_reference(item, f"input[{position}]")


def _refuse_reference(item: Mapping[str, Any], place: str) -> None:
    if item.get("type") == "item_reference":
        raise InvalidRequest(
            f"{place} refers to a stored item, and nothing is stored here: send the item itself.",
            code="unsupported_parameter",
            param=place,
        )
    if _is_only_named(item):
        raise InvalidRequest(
            f"{place} says no more than the id of what ran at a provider, and nothing is stored here: leave it out.",
            code="unsupported_parameter",
            param=place,
        )
    for holder in (item, *items_of([item.get("environment")])):
        if holder.get("container_id") is not None:
            raise InvalidRequest(
                f"{place} has a container_id, and no containers are kept here: leave the item out.",
                code="unsupported_parameter",
                param=f"{place}.container_id",
            )
    for part, where in _parts_of(item):
        attached.refuse_stored(part, place + where)


def _is_only_named(item: Mapping[str, Any]) -> bool:
    """Return whether a hosted tool's item holds nothing of what came of it, which would be looked up by its id."""
    kind = item.get("type")
    if kind == "image_generation_call":
        return not (item.get("result") or made_nothing(item))
    hosted = isinstance(kind, str) and kind.endswith("_call") and kind not in (*CALLS, _SEARCH)
    return hosted and item.keys() <= {"id", "status", "type"}


def made_nothing(item: Mapping[str, Any]) -> bool:
    """Return whether an item says of a picture that there is none: it failed, or its client has emptied it.

    Nothing is left of it but its id, which would be looked up.
    """
    if item.get("type") != "image_generation_call":
        return False
    return item.get("result") == "" or (item.get("result") is None and item.get("status") in _NOT_MADE)


def _parts_of(item: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield what an item holds in parts, a single one without a list too, and where."""
    for name in ("content", "output"):
        held = item.get(name)
        if isinstance(held, dict):
            yield held, f".{name}"
        for number, part in enumerate(held if isinstance(held, list) else ()):
            if isinstance(part, dict):
                yield part, f".{name}[{number}]"


def texts_of(value: Any) -> str:
    """Return the text of all parts in a list of them."""
    return "".join(part["text"] for part in items_of(value) if isinstance(part.get("text"), str))


def count_parts(given: Any) -> dict[str, int]:
    """Return the facts of a Call that count what is attached to an input, in items of any kind: what a bound must cover."""
    counts = dict.fromkeys(attached.FACTS, 0)
    for item in items_of(given):
        attached.count([part for part, _ in _parts_of(item)], counts)
        counts[attached.IMAGES] += item.get("type") == "image_generation_call" and not made_nothing(item)
    return counts


# Usage -------------------------------------------------------------------------------------------


def parse_usage(raw: object) -> Usage | None:
    """Return the counts in disjoint buckets; None when there are none, or nonsense (T7, T9, T12).

    ``input_tokens`` includes what was read from and written to a cache, ``output_tokens`` the reasoning.
    """
    if not isinstance(raw, Mapping):
        return None
    inputs, outputs = _details(raw, "input_tokens_details"), _details(raw, "output_tokens_details")
    prompt, output = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    read, written = count_in(inputs, "cached_tokens"), count_in(inputs, "cache_write_tokens")
    reasoning, total = count_in(outputs, "reasoning_tokens"), count_in(raw, "total_tokens")
    if prompt is None or output is None or read is None or written is None or reasoning is None or total is None:
        return None
    if read + written > prompt or reasoning > output:
        return None
    return Usage(
        input=prompt - read - written,
        cache_read=read,
        cache_write=written,
        output=output,
        reasoning=reasoning,
        unknown=max(0, total - prompt - output),
    )


def _details(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return the usage in this API's words."""
    output = usage.output_total + usage.unknown
    return {
        "input_tokens": usage.prompt_total,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt_total + output,
    }


# Ends --------------------------------------------------------------------------------------------

CALLS = ("function_call", "custom_tool_call")


def created_of(response: Mapping[str, Any]) -> int:
    """Return when a response says that it was begun, in seconds since 1970; 0 where it says nothing that can be."""
    created = response.get("created_at")
    return int(created) if isinstance(created, int | float) and 0 < created < _LATEST_S else 0


def finish_of(response: Mapping[str, Any]) -> tuple[str, str]:
    """Return why a response ended, in chat's word and in its own."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        word = details.get("reason") if isinstance(details, Mapping) else None
        native = word if isinstance(word, str) else "incomplete"
        return _INCOMPLETE.get(native, "length"), native
    calls = any(item.get("type") in CALLS for item in items_of(response.get("output")))
    return "tool_calls" if calls else "stop", "completed"


def status_of(finish_reason: str | None) -> tuple[str, dict[str, str] | None]:
    """Return the status and the incomplete_details for chat's word of an end."""
    reason = _REASONS.get(finish_reason or "")
    return ("incomplete", {"reason": reason}) if reason else ("completed", None)


# What an output holds ----------------------------------------------------------------------------


def shows(item: Mapping[str, Any]) -> bool:
    """Return whether an output item is content: text, refusal, reasoning, a call, an image."""
    kind = item.get("type")
    if kind == "message":
        return any(part.get("text") or part.get("refusal") for part in items_of(item.get("content")))
    if kind == "reasoning":
        return bool(item.get("encrypted_content") or texts_of(item.get("summary")) or texts_of(item.get("content")))
    return isinstance(kind, str)


def binds(items: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether an output ties the next request to its maker: a call, or reasoning only its maker can read."""
    return any(item.get("type") in CALLS or item.get("encrypted_content") for item in items)


def text_bytes(items: Iterable[Mapping[str, Any]]) -> int:
    """Return the size of the generated text, for an estimate (T7)."""
    return sum(_item_bytes(item) for item in items)


def _item_bytes(item: Mapping[str, Any]) -> int:
    texts = [item.get("name"), item.get("arguments"), item.get("input")]
    for name in ("content", "summary"):
        for part in items_of(item.get(name)):
            texts += [part.get("text"), part.get("refusal")]
    return sum(len(text.encode("utf-8", "replace")) for text in texts if isinstance(text, str))
