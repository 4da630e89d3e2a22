"""The messages of a chat body, bent to what one provider takes: roles, reasoning, ids of calls, what tools returned."""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.call import Wire
from tokenhub.providers.chat_shaping import Shaping
from tokenhub.wire.chat.parts import parts_of, result_of, short_id

_REASONING_MEMBERS = frozenset(
    {"reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "extra_content"}
)
"""Members of an assistant message that carry reasoning or signatures; which of them, if any, a provider takes is a quirk."""

_NINE = re.compile(r"[A-Za-z0-9]{9}", re.ASCII)
_FORTY = 40


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
    if not needed and _REASONING_MEMBERS.isdisjoint(message):
        return message
    bent = {name: value for name, value in message.items() if name not in _REASONING_MEMBERS}
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
        joined = [part for content in contents for part in parts_of(content)]
    rest = [message for message in given if message["role"] not in ("system", "developer")]
    shaping.body["messages"] = [{**system[0], "content": joined}, *rest]
