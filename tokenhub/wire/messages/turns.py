"""Chat messages as Anthropic's turns: content parts to blocks, tool results gathered, thinking given back.

Turns alternate between user and assistant. Everything that one side says in a row becomes
one turn, so all results of a round of tool calls stand together, before any text, as
Anthropic demands (platform.claude.com, tool use, 2026-11-22).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat.parts import blocks_of, text_of
from tokenhub.wire.messages import over_chat_reply as messages_over_chat_reply
from tokenhub.wire.messages.carry import THINKING, Block
from tokenhub.wire.messages.tool_ids import ToolIds

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,")
_PDF = "application/pdf"

Turn = dict[str, Any]


class Conversation:
    """Builds ``system`` and ``messages`` from chat messages, in order."""

    def __init__(self, *, system_turns: bool) -> None:
        self.system: list[Block] = []
        self.turns: list[Turn] = []
        self._system_turns = system_turns
        self._tool_ids = ToolIds()

    def add(self, message: Mapping[str, Any], place: str) -> None:
        """Add one chat message; ``place`` names it in errors, such as ``messages[3]``."""
        role = message["role"]
        adder = _ADDERS.get(role)
        if adder is None:
            raise InvalidRequest(f"{place} has the role {role[:40]!r}, which this model cannot take.", param=place)
        adder(self, message, place)

    def _add_system(self, message: Mapping[str, Any], place: str) -> None:
        blocks = _blocks(message, place)
        if not self.turns:
            self.system += blocks
        elif blocks:
            self._say("system" if self._system_turns else "user", blocks)

    def _add_user(self, message: Mapping[str, Any], place: str) -> None:
        self._say("user", _blocks(message, place))

    def _add_assistant(self, message: Mapping[str, Any], place: str) -> None:
        self._tool_ids.turn()
        given_back = [block for block in blocks_of(message, "thinking_blocks") if block.get("type") in THINKING]
        calls = [
            self._tool_use(call, f"{place}.tool_calls[{position}]")
            for position, call in enumerate(message.get("tool_calls") or ())
        ]
        said = _blocks(message, place) or _blocks({"content": text_of(message.get("refusal"))}, place)
        self._say("assistant", [*given_back, *said, *calls])

    def _add_tool(self, message: Mapping[str, Any], place: str) -> None:
        id = message.get("tool_call_id")
        if not isinstance(id, str) or not id:
            raise InvalidRequest(f"{place} must have a tool_call_id.", param=f"{place}.tool_call_id")
        result: Block = {"type": "tool_result", "tool_use_id": self._tool_ids.answered(id)}
        content = _blocks(message, place)
        if content:
            result["content"] = content
        for name in ("is_error", "cache_control"):
            if message.get(name) is not None:
                result[name] = message[name]
        self._say("user", [result])

    def _say(self, role: str, blocks: list[Block]) -> None:
        """Append blocks to the turn of this role, a new one if another role spoke last."""
        if not blocks:
            return
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += blocks
        else:
            self.turns.append({"role": role, "content": blocks})

    def _tool_use(self, call: Mapping[str, Any], place: str) -> Block:
        function = call.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise InvalidRequest(f"{place} must be a function call with a name.", param=place)
        id = call.get("id")
        if not isinstance(id, str) or not id:
            raise InvalidRequest(f"{place} must have an id.", param=f"{place}.id")
        return {
            "type": "tool_use",
            "id": self._tool_ids.called(id),
            "name": function["name"],
            "input": _arguments(function.get("arguments"), f"{place}.function.arguments"),
        }


_ADDERS: Mapping[str, Callable[[Conversation, Mapping[str, Any], str], None]] = {
    "system": Conversation._add_system,
    "developer": Conversation._add_system,
    "user": Conversation._add_user,
    "assistant": Conversation._add_assistant,
    "tool": Conversation._add_tool,
}


def _arguments(text: Any, place: str) -> dict[str, Any]:
    """Return a call's arguments as an object: none at all is an empty one, and a call that was cut can be told of too."""
    if not isinstance(text, str | dict | None):
        raise InvalidRequest(f"{place} must be the text of a JSON object.", param=place)
    return messages_over_chat_reply.arguments(text)


def _blocks(message: Mapping[str, Any], place: str) -> list[Block]:
    """Return a message's content as blocks. Texts of nothing but white space are left out: Anthropic refuses them."""
    content = message.get("content")
    if not content:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    blocks = [_block(part, f"{place}.content[{position}]") for position, part in enumerate(content)]
    return [block for block in blocks if block["type"] != "text" or block["text"].strip()]


def _block(part: Mapping[str, Any], place: str) -> Block:
    maker = _PARTS.get(part["type"])
    if maker is None:
        raise InvalidRequest(f"{place} is a part of a kind this model cannot take.", param=place)
    block = maker(part, place)
    if part.get("cache_control") is not None:
        block["cache_control"] = part["cache_control"]
    return block


def _text(part: Mapping[str, Any], place: str) -> Block:
    text = part.get(part["type"])
    if not isinstance(text, str):
        raise InvalidRequest(f"{place} must have a text.", param=place)
    return {"type": "text", "text": text}


def _image(part: Mapping[str, Any], place: str) -> Block:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    return {"type": "image", "source": _source(url, place)}


def _file(part: Mapping[str, Any], place: str) -> Block:
    file = part.get("file")
    if not isinstance(file, Mapping):
        raise InvalidRequest(f"{place} must have a file.", param=place)
    data = file.get("file_data") or file.get("file_url")
    if not data:
        raise InvalidRequest(f"{place}.file must have file_data: a file_id is known to one provider only.", param=place)
    block: Block = {"type": "document", "source": _source(data, place, bare=_PDF)}
    if isinstance(file.get("filename"), str) and file["filename"]:
        block["title"] = file["filename"]
    return block


def _source(url: Any, place: str, bare: str | None = None) -> dict[str, str]:
    """Return an image's or document's source: its data inside the request, or an address Anthropic fetches.

    ``bare`` is the type of data that comes without a data URL around it.
    """
    if not isinstance(url, str) or not url:
        raise InvalidRequest(f"{place} must have a URL.", param=place)
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    match = _DATA_URL.match(url)
    if match is not None:
        return {"type": "base64", "media_type": match.group(1) or bare or "image/png", "data": url[match.end() :]}
    if bare is not None and not url.startswith("data:"):
        return {"type": "base64", "media_type": bare, "data": url}
    raise InvalidRequest(f"{place} must be an https URL or a base64 data URL.", param=place)


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str], Block]] = {
    "text": _text,
    "refusal": _text,
    "image_url": _image,
    "file": _file,
}
