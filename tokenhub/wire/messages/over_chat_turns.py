"""Anthropic's turns as chat messages: blocks to parts, tool results to messages of their own, thinking given back.

The results of a turn come first, each as a ``tool`` message, because chat wants them right behind
the calls they answer; what else the turn says follows as the user's. A ``tool`` message holds text
only, so the pictures and files of a result follow there too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat.parts import result_of
from tokenhub.wire.messages import carry as messages_carry

Part = dict[str, Any]
Message = dict[str, Any]

_ATTACHED = ("document", "image")

_HOSTED_ENDS = ("_tool_result", "server_tool_use", "mcp_tool_use")
"""Blocks of tools that ran at Anthropic: encrypted, and of use to nobody else."""
_IGNORED = frozenset({"container_upload", "compaction", "fallback"})


def messages_of(body: Mapping[str, Any]) -> list[Message]:
    """Return the chat messages of a Messages body, its system prompt first; raises InvalidRequest."""
    turns = body.get("messages")
    if not isinstance(turns, list) or not turns:
        raise InvalidRequest("messages must be a list with at least one message.", param="messages")
    made = _system(_blocks(body.get("system") or [], "system"), "system")
    for position, turn in enumerate(turns):
        made += _turn(turn, f"messages[{position}]")
    return made


def _turn(turn: Any, place: str) -> list[Message]:
    if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
        raise InvalidRequest(f"{place} must be an object with a role.", param=place)
    read = _ROLES.get(turn["role"])
    if read is None:
        raise InvalidRequest(f"{place}.role must be user, assistant or system.", param=f"{place}.role")
    return read(_blocks(turn.get("content"), f"{place}.content"), f"{place}.content")


def _blocks(content: Any, place: str) -> list[Part]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise InvalidRequest(f"{place} must be a string or a list of blocks.", param=place)
    for position, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise InvalidRequest(f"{place}[{position}] must be an object with a type.", param=f"{place}[{position}]")
    return content


def _system(blocks: list[Part], place: str) -> list[Message]:
    _refuse_attached(blocks, place)
    text = _text_of(blocks, place, "\n\n")
    return [{"role": "system", "content": text}] if text else []


def _refuse_attached(blocks: list[Part], place: str) -> None:
    """Refuse pictures and documents where only words are read: an upstream of Anthropic's dialect might read them, uncounted."""
    for position, block in enumerate(blocks):
        if block["type"] in _ATTACHED:
            at = f"{place}[{position}]"
            raise InvalidRequest(f"{at}: a block of type {block['type']} belongs into a user's message.", param=at)


def _text_of(blocks: list[Part], place: str, between: str) -> str:
    """Return the text of blocks that hold nothing else worth sending."""
    parts = [part for block in blocks for part in _parts(block, place)]
    return between.join(part["text"] for part in parts if part["type"] == "text")


# The user's turns --------------------------------------------------------------------------------


def _user(blocks: list[Part], place: str) -> list[Message]:
    made: list[Message] = []
    shown: list[Part] = []
    for position, block in enumerate(blocks):
        if block["type"] == "tool_result":
            message, media = _result(block, f"{place}[{position}]")
            made.append(message)
            shown += media
    said = [
        part
        for position, block in enumerate(blocks)
        if block["type"] != "tool_result"
        for part in _parts(block, f"{place}[{position}]")
    ]
    parts = shown + said
    if parts or not made:
        made.append({"role": "user", "content": _plain(parts)})
    return made


def _plain(parts: list[Part]) -> str | list[Part]:
    """Return a content as simply as can be: small servers take a string more surely than parts."""
    if not parts:
        return ""
    only = parts[0]
    return only["text"] if len(parts) == 1 and only.keys() == {"type", "text"} else parts


def _result(block: Part, place: str) -> tuple[Message, list[Part]]:
    """Return a tool's result as a message, and what of it must be shown beside it."""
    id = block.get("tool_use_id")
    if not isinstance(id, str) or not id:
        raise InvalidRequest(f"{place} must have a tool_use_id.", param=f"{place}.tool_use_id")
    inner = _blocks(block.get("content") or [], f"{place}.content")
    parts = [part for one in inner for part in _parts(one, f"{place}.content")]
    text, media = result_of(id, parts)
    if block.get("is_error") is True:
        text = f"Error: {text}"
    return {"role": "tool", "tool_call_id": id, "content": text}, media


# The assistant's turns ---------------------------------------------------------------------------


def _assistant(blocks: list[Part], place: str) -> list[Message]:
    _refuse_attached(blocks, place)
    thinking = [block for block in blocks if block["type"] in messages_carry.THINKING]
    carried: dict[str, Any] = {}
    for block in thinking:
        _merge(carried, messages_carry.opened(block))
    calls = [
        _call(block, carried, f"{place}[{position}]")
        for position, block in enumerate(blocks)
        if block["type"] == "tool_use"
    ]
    text = "".join(block["text"] for block in blocks if _is_text(block))
    message: Message = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        message["tool_calls"] = calls
    return [message | _reasoning(thinking, carried)]


def _is_text(block: Part) -> bool:
    return block["type"] == "text" and isinstance(block.get("text"), str)


def _reasoning(thinking: list[Part], carried: Mapping[str, Any]) -> Message:
    """Return the members that give reasoning back: its text, and what its maker signed or sealed."""
    made: Message = {}
    shown = [block["thinking"] for block in thinking if _is_thought(block)]
    text = "\n".join([*shown, *carried.get("reasoning_content", ())])
    if text:
        made["reasoning_content"] = text
    signed = [block for block in thinking if not messages_carry.is_own(block)]
    if signed:
        made["thinking_blocks"] = signed
    if isinstance(carried.get("reasoning_details"), list):
        made["reasoning_details"] = carried["reasoning_details"]
    if isinstance(carried.get("extra_content"), dict):
        made["extra_content"] = carried["extra_content"]
    return made


def _is_thought(block: Part) -> bool:
    return isinstance(block.get("thinking"), str) and bool(block["thinking"])


def _merge(carried: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Join what several blocks of one turn carry: details in their order, calls by their ids."""
    if isinstance(more.get("reasoning_details"), list):
        carried.setdefault("reasoning_details", []).extend(more["reasoning_details"])
    if isinstance(more.get("reasoning_content"), str):
        carried.setdefault("reasoning_content", []).append(more["reasoning_content"])
    if isinstance(more.get("calls"), dict):
        carried.setdefault("calls", {}).update(more["calls"])
    if isinstance(more.get("extra_content"), dict):
        carried["extra_content"] = more["extra_content"]


def _call(block: Part, carried: Mapping[str, Any], place: str) -> dict[str, Any]:
    id, name = block.get("id"), block.get("name")
    if not isinstance(id, str) or not isinstance(name, str) or not id or not name:
        raise InvalidRequest(f"{place} must have an id and a name.", param=place)
    given = block.get("input")
    arguments = given if isinstance(given, str) else orjson.dumps(given if given is not None else {}).decode()
    call: dict[str, Any] = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}
    extra = carried.get("calls", {}).get(id)
    if isinstance(extra, dict):
        call["extra_content"] = extra
    return call


_ROLES: Mapping[str, Callable[[list[Part], str], list[Message]]] = {
    "user": _user,
    "assistant": _assistant,
    "system": _system,
}


# Blocks ------------------------------------------------------------------------------------------


def _parts(block: Part, place: str) -> list[Part]:
    """Return a block as parts; one of a kind that is not known passes as it is."""
    read = _BLOCKS.get(block["type"])
    if read is not None:
        return read(block, place)
    if block["type"].endswith(_HOSTED_ENDS) or block["type"] in _IGNORED or block["type"] in messages_carry.THINKING:
        return []
    return [block]


def _text(block: Part, place: str) -> list[Part]:
    text = block.get("text")
    if not isinstance(text, str):
        raise InvalidRequest(f"{place} must have a text.", param=place)
    return [{"type": "text", "text": text}] if text else []


def _image(block: Part, place: str) -> list[Part]:
    return [{"type": "image_url", "image_url": {"url": _url(_source(block, place), place, "image/png")}}]


def _document(block: Part, place: str) -> list[Part]:
    """Return a document: text as text, under its title; anything else as a file. What is said about it stands before it."""
    source = _source(block, place)
    title = block.get("title") if isinstance(block.get("title"), str) else ""
    said = block.get("context")
    about: list[Part] = [{"type": "text", "text": said}] if isinstance(said, str) and said else []
    if source.get("type") == "text":
        return _titled(title, [*about, {"type": "text", "text": str(source.get("data") or "")}])
    if source.get("type") == "content":
        inner = _blocks(source.get("content") or [], f"{place}.source.content")
        return _titled(title, [*about, *(part for one in inner for part in _parts(one, place))])
    file = {"filename": title or "document.pdf", "file_data": _url(source, place, "application/pdf")}
    return [*about, {"type": "file", "file": file}]


def _titled(title: Any, parts: list[Part]) -> list[Part]:
    return [{"type": "text", "text": f"# {title}"}, *parts] if title else parts


def _search_result(block: Part, place: str) -> list[Part]:
    """Return what the client's own search has found: where it was found, and the text."""
    inner = _blocks(block.get("content") or [], f"{place}.content")
    head = " ".join(str(block[name]) for name in ("title", "source") if block.get(name))
    return _titled(head, [part for one in inner for part in _parts(one, place)])


def _tool_reference(block: Part, _place: str) -> list[Part]:
    return [{"type": "text", "text": f"The tool {block.get('tool_name')} is available."}]


def _source(block: Part, place: str) -> Mapping[str, Any]:
    source = block.get("source")
    if not isinstance(source, Mapping):
        raise InvalidRequest(f"{place} must have a source.", param=f"{place}.source")
    return source


def _url(source: Mapping[str, Any], place: str, fallback: str) -> str:
    """Return a source as a URL, with its data inside where the client sent it."""
    if source.get("type") == "base64" and isinstance(source.get("data"), str):
        return f"data:{source.get('media_type') or fallback};base64,{source['data']}"
    if source.get("type") == "url" and isinstance(source.get("url"), str):
        return str(source["url"])
    raise InvalidRequest(f"{place}.source must be base64 data or a url.", param=f"{place}.source")


_BLOCKS: Mapping[str, Callable[[Part, str], list[Part]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_reference": _tool_reference,
}
