"""A chat request as a Responses request, for models that take tools while they reason only there.

What this API has no word for is left out and named; what would change the answer's meaning
(a second choice, audio) is refused. Nothing is stored at the provider: reasoning comes back
encrypted, travels in ``reasoning_details`` of the assistant's message, and is given back before
the calls it led to, without which a tool loop breaks (OpenAI's reasoning guide, 2026-11).
"""

from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat.parts import items_of, short_id
from tokenhub.wire.chat.request import allowed_tools
from tokenhub.wire.messages.tool_ids import ToolIds
from tokenhub.wire.responses.common import ENCRYPTED, REASONING_FORMAT

MIN_OUTPUT = 16
"""The least ``max_output_tokens`` that is taken (OpenAI's API reference, 2026-11)."""
MAX_CALL_ID = 64
"""The longest ``call_id`` that is taken ("string too long. Expected a string with maximum length 64")."""

_SAME = frozenset(
    {
        "metadata",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "user",
    }
)
_TRANSLATED = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "n",
        "reasoning_effort",
        "response_format",
        "stream",
        "stream_options",
        "tool_choice",
        "tools",
        "verbosity",
    }
)
_TEXT = {"assistant": "output_text"}

Item = dict[str, Any]


def request(body: Mapping[str, Any], output_limit: int | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the Responses request for a chat request, and the names of the fields that were left out.

    The model will reason, and takes no sampling fields while it does.
    Raises InvalidRequest for what this API can never do.
    """
    _refuse(body, output_limit)
    built: dict[str, Any] = {name: body[name] for name in _SAME & body.keys()}
    built |= {"input": _items(body["messages"]), "store": False, "include": [ENCRYPTED]}
    if body.get("stream"):
        built["stream"] = True
    if output_limit is not None:
        built["max_output_tokens"] = output_limit
    if body.get("reasoning_effort") is not None:
        built["reasoning"] = {"effort": body["reasoning_effort"]}
    built["tools"] = [_tool(tool) for tool in body.get("tools") or ()]
    if body.get("tool_choice") is not None:
        built["tool_choice"] = _tool_choice(body["tool_choice"])
    text = _text_of(body)
    if text:
        built["text"] = text
    return built, tuple(sorted(body.keys() - _SAME - _TRANSLATED))


def _refuse(body: Mapping[str, Any], output_limit: int | None) -> None:
    if body.get("n", 1) != 1:
        raise InvalidRequest("n must be 1: this model gives one choice per request that has tools.", param="n")
    if body.get("functions") or body.get("function_call"):
        raise InvalidRequest("functions is not supported by this model: use tools.", param="functions")
    if output_limit is not None and output_limit < MIN_OUTPUT:
        raise InvalidRequest(
            f"max_completion_tokens must be at least {MIN_OUTPUT} for this model where a request has tools.",
            param="max_completion_tokens",
        )


def _tool(tool: Mapping[str, Any]) -> Item:
    """Return a tool with its members beside its type; ``strict`` is said, because it is the default there and not in chat."""
    kind = tool["type"]
    inside = tool.get(kind)
    if not isinstance(inside, Mapping):
        return dict(tool)
    if kind == "function":
        said = {name: value for name, value in inside.items() if value is not None}
        return {"parameters": {"type": "object", "properties": {}}, "strict": False, **said, "type": kind}
    form = inside.get("format")
    grammar = form.get("grammar") if isinstance(form, Mapping) else None
    flat = {"format": {"type": "grammar", **grammar}} if isinstance(grammar, Mapping) else {}
    return {**inside, **flat, "type": kind}


def _tool_choice(choice: Any) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    kind = choice["type"]
    if allowed := allowed_tools(choice):
        return {"type": kind, "mode": allowed.mode, "tools": [_tool_choice(one) for one in allowed.tools]}
    inside = choice.get(kind)
    return {"type": kind, "name": inside["name"]} if isinstance(inside, Mapping) and "name" in inside else dict(choice)


def _text_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of the answer."""
    text: dict[str, Any] = {}
    wanted = body.get("response_format") or {}
    kind = wanted.get("type", "text")
    if kind == "json_schema":
        text["format"] = {**wanted["json_schema"], "type": kind}
    elif kind != "text":
        text["format"] = {"type": kind}
    if body.get("verbosity") is not None:
        text["verbosity"] = body["verbosity"]
    return text


# Messages ----------------------------------------------------------------------------------------


def _items(messages: list[dict[str, Any]]) -> list[Item]:
    items: list[Item] = []
    ids = ToolIds(_short)
    kinds: dict[str, str] = {}
    for position, message in enumerate(messages):
        adder = _ADDERS.get(message["role"])
        if adder is None:
            place, role = f"messages[{position}]", message["role"][:40]
            raise InvalidRequest(f"{place} has the role {role!r}, which this model cannot take.", param=place)
        if message["role"] == "assistant":
            ids.turn()
        items += _answered_by_kind(adder(message, f"messages[{position}]"), ids, kinds)
    return items


def _answered_by_kind(items: list[Item], ids: ToolIds, kinds: dict[str, str]) -> list[Item]:
    """Name each result after its call: chat has one role for both kinds, this API finds no call of another. Ids that repeat are told apart."""
    for item in items:
        if item["type"] == "function_call_output":
            item["call_id"] = ids.answered(item["call_id"])
            item["type"] = kinds.get(item["call_id"], item["type"])
        elif "call_id" in item:
            item["call_id"] = ids.called(item["call_id"])
            kinds[item["call_id"]] = f"{item['type']}_output"
    return items


def _short(id: str) -> str:
    return short_id(id, MAX_CALL_ID)


def _said(message: Mapping[str, Any], place: str) -> list[Item]:
    content = _content(message.get("content"), message["role"], place)
    return [{"type": "message", "role": message["role"], "content": content}] if content else []


def _assistant(message: Mapping[str, Any], place: str) -> list[Item]:
    said = _said(message, place)
    refusal = message.get("refusal")
    if refusal and not said:
        said = [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": refusal}]}]
    calls = [
        _call(call, f"{place}.tool_calls[{position}]") for position, call in enumerate(message.get("tool_calls") or ())
    ]
    return [*_reasoning(message), *said, *calls]


def _call(call: Mapping[str, Any], place: str) -> Item:
    for kind, member, item in (("function", "arguments", "function_call"), ("custom", "input", "custom_tool_call")):
        inside = call.get(kind)
        if isinstance(inside, Mapping) and isinstance(inside.get("name"), str):
            text = inside.get(member)
            told = text if isinstance(text, str) else "{}" if kind == "function" else ""
            return {"type": item, "call_id": str(call.get("id")), "name": inside["name"], member: told}
    raise InvalidRequest(f"{place} must be a call with a name.", param=place)


def _reasoning(message: Mapping[str, Any]) -> list[Item]:
    """Return the reasoning items that OpenAI made; those of other makers mean nothing to it.

    Parts of one item have one id, and its summary stands before what is encrypted.
    """
    items: dict[str, Item] = {}
    for detail in items_of(message.get("reasoning_details")):
        if detail.get("format") != REASONING_FORMAT:
            continue
        id = detail.get("id")
        item = items.setdefault(str(id), {"type": "reasoning", "summary": []})
        if isinstance(id, str):
            item["id"] = id
        if detail.get("type") == "reasoning.encrypted":
            item["encrypted_content"] = detail.get("data")
        elif isinstance(detail.get("summary"), str):
            item["summary"].append({"type": "summary_text", "text": detail["summary"]})
    return [item for item in items.values() if item.get("encrypted_content")]


def _result(message: Mapping[str, Any], place: str) -> list[Item]:
    id = message.get("tool_call_id")
    if not isinstance(id, str) or not id:
        raise InvalidRequest(f"{place} must have a tool_call_id.", param=f"{place}.tool_call_id")
    output = _content(message.get("content"), "tool", place)
    return [{"type": "function_call_output", "call_id": id, "output": output}]


_ADDERS: Mapping[str, Callable[[Mapping[str, Any], str], list[Item]]] = {
    "system": _said,
    "developer": _said,
    "user": _said,
    "assistant": _assistant,
    "tool": _result,
}


def _content(content: Any, role: str, place: str) -> Any:
    """Return content in this API's parts; a text stays a text."""
    if not isinstance(content, list):
        return content or ""
    return [_part(part, _TEXT.get(role, "input_text"), f"{place}.content[{i}]") for i, part in enumerate(content)]


def _part(part: Mapping[str, Any], text: str, place: str) -> Item:
    kind = part["type"]
    kept = {name: part[name] for name in ("prompt_cache_breakpoint",) if part.get(name) is not None}
    if kind == "text":
        return {"type": text, "text": part.get("text"), **kept}
    if kind == "refusal":
        return {"type": "refusal", "refusal": part.get("refusal")}
    inside = part.get(kind)
    if kind == "image_url":
        image = inside if isinstance(inside, Mapping) else {"url": inside}
        detail = image.get("detail") or "auto"
        return {"type": "input_image", "image_url": image.get("url"), "detail": detail, **kept}
    if kind == "file" and isinstance(inside, Mapping):
        names = ("filename", "file_data", "file_url")
        return {"type": "input_file", **{name: inside[name] for name in names if inside.get(name)}, **kept}
    raise InvalidRequest(f"{place} is a part of a kind that this model cannot take with tools.", param=place)
