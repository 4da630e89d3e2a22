"""The input of a Responses request as chat messages.

All that an assistant did between two turns of others is one chat message: its reasoning,
its text, its calls. Items of tools that run at a provider are left out: what they found is
in the answer that followed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.wire import opaque
from tokenhub.wire.chat.parts import items_of, parts_of
from tokenhub.wire.responses import opaque as responses_opaque
from tokenhub.wire.responses.common import REASONING_FORMAT, texts_of
from tokenhub.wire.responses.tools import Tools, as_arguments

Message = dict[str, Any]
_ROLES = ("user", "assistant", "system", "developer")


def messages_of(instructions: Any, given: Any, tools: Tools) -> list[Message]:
    """Return the messages; raises InvalidRequest that names the item at fault."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise InvalidRequest("input must be a text, or a list with at least one item.", param="input")
    if instructions is not None and not isinstance(instructions, str):
        raise InvalidRequest("instructions must be a string.", param="instructions")
    turns = _Turns(tools)
    if instructions:
        turns.messages.append({"role": "system", "content": instructions})
    for position, item in enumerate(given):
        turns.add(item, f"input[{position}]")
    turns.finish()
    if not turns.messages:
        raise InvalidRequest("input must have a message or a tool's result.", param="input")
    return turns.messages


class _Turns:
    """Messages made so far, and the assistant's that may still grow."""

    def __init__(self, tools: Tools) -> None:
        self.messages: list[Message] = []
        self._tools = tools
        self._said: Message | None = None
        self._thought: list[str] = []
        """The pieces of its reasoning text, joined at its end: each joining copies the whole."""
        self._signed: dict[str, dict[str, Any]] = {}

    def add(self, item: Any, place: str) -> None:
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if not isinstance(kind, str):
            raise InvalidRequest(f"{place} must be an object with a type or a role.", param=place)
        adder = _ADDERS.get(kind)
        if adder is not None:
            adder(self, item, place)

    def finish(self) -> None:
        """End the assistant's message, and give signatures back to the calls they belong to."""
        self._end_said()
        for message in self.messages:
            for call in message.get("tool_calls") or ():
                if call["id"] in self._signed:
                    call["extra_content"] = self._signed[call["id"]]

    def _end_said(self) -> None:
        if self._said is not None:
            thought = {"reasoning_content": "\n\n".join(self._thought)} if self._thought else {}
            self.messages.append({"role": "assistant", "content": None, **self._said, **thought})
            self._said = None
            self._thought = []

    def _speaking(self) -> Message:
        """The assistant's message, begun if need be."""
        if self._said is None:
            self._said = {}
        return self._said

    def _add_message(self, item: Mapping[str, Any], place: str) -> None:
        role = item.get("role")
        if role not in _ROLES:
            raise InvalidRequest(f"{place}.role must be user, assistant, system or developer.", param=f"{place}.role")
        content = _content(item.get("content"), f"{place}.content")
        if role != "assistant":
            self._end_said()
            self.messages.append({"role": role, "content": content})
            return
        said = self._speaking()
        if "content" in said and "tool_calls" not in said:
            self._end_said()
            said = self._speaking()
        if "content" not in said:
            said["content"] = content
            return
        said["content"] = parts = parts_of(said["content"])
        parts += parts_of(content)

    def _add_call(self, item: Mapping[str, Any], place: str) -> None:
        custom = item["type"] == "custom_tool_call"
        name, member = item.get("name"), "input" if custom else "arguments"
        if not isinstance(name, str) or not name:
            raise InvalidRequest(f"{place} must have a name.", param=f"{place}.name")
        text = item.get(member)
        if not isinstance(text, str | None):
            raise InvalidRequest(f"{place}.{member} must be a string.", param=f"{place}.{member}")
        function = {
            "name": self._tools.flat(name, item.get("namespace")),
            "arguments": as_arguments(text or "") if custom else text or "{}",
        }
        call = {"id": _call_id(item, place), "type": "function", "function": function}
        self._speaking().setdefault("tool_calls", []).append(call)

    def _add_output(self, item: Mapping[str, Any], place: str) -> None:
        self._end_said()
        output = _content(item.get("output"), f"{place}.output")
        self.messages.append({"role": "tool", "tool_call_id": _call_id(item, place), "content": output})

    def _add_image(self, item: Mapping[str, Any], _place: str) -> None:
        """Give back a picture that the model made, as chat's own replies have it."""
        made = item.get("result")
        if not isinstance(made, str) or not made:
            return
        form = item.get("output_format")
        kind = form if isinstance(form, str) and form else "png"
        url = made if made.startswith(("data:", "https://", "http://")) else f"data:image/{kind};base64,{made}"
        self._speaking().setdefault("images", []).append({"type": "image_url", "image_url": {"url": url}})

    def _add_reasoning(self, item: Mapping[str, Any], _place: str) -> None:
        sealed = item.get("encrypted_content")
        packed = opaque.unpack(sealed)
        self._sign(packed)
        members = responses_opaque.members_of(packed.get("message"))
        text = texts_of(item.get("content")) or "\n\n".join(texts_of([part]) for part in items_of(item.get("summary")))
        if not opaque.is_packed(sealed) and isinstance(sealed, str) and sealed:
            members["reasoning_details"] = _details(item, sealed)
        if not members and not text:
            return
        if self._said is not None and "content" in self._said and "tool_calls" not in self._said:
            self._end_said()
        said = self._speaking()
        if text:
            self._thought.append(text)
        for name, value in members.items():
            if isinstance(value, list):
                said.setdefault(name, []).extend(value)
            else:
                said[name] = value

    def _sign(self, packed: Mapping[str, Any]) -> None:
        """Keep signatures of calls, and give the text before this item its own."""
        calls = packed.get("calls")
        if isinstance(calls, dict):
            self._signed |= {id: extra for id, extra in calls.items() if isinstance(extra, dict)}
        if self._said is not None:
            self._said |= responses_opaque.members_of(packed.get("before"))


_ADDERS: Mapping[str, Callable[[_Turns, Mapping[str, Any], str], None]] = {
    "message": _Turns._add_message,
    "function_call": _Turns._add_call,
    "custom_tool_call": _Turns._add_call,
    "function_call_output": _Turns._add_output,
    "custom_tool_call_output": _Turns._add_output,
    "image_generation_call": _Turns._add_image,
    "reasoning": _Turns._add_reasoning,
}


def _call_id(item: Mapping[str, Any], place: str) -> str:
    id = item.get("call_id")
    if not isinstance(id, str) or not id:
        raise InvalidRequest(f"{place} must have a call_id.", param=f"{place}.call_id")
    return id


def _details(item: Mapping[str, Any], sealed: str) -> list[dict[str, Any]]:
    """Return OpenAI's own reasoning in OpenRouter's form, which its APIs take back from a chat message."""
    known = {"id": item.get("id"), "format": REASONING_FORMAT}
    summary = [{"type": "reasoning.summary", "summary": texts_of([part])} for part in items_of(item.get("summary"))]
    return [{**part, **known} for part in (*summary, {"type": "reasoning.encrypted", "data": sealed})]


# Content -----------------------------------------------------------------------------------------


def _content(content: Any, place: str) -> Any:
    """Return content in chat's form: a text where there is nothing else, else parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InvalidRequest(f"{place} must be a string or a list of parts.", param=place)
    parts = [_part(part, f"{place}[{position}]") for position, part in enumerate(content)]
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def _part(part: Any, place: str) -> dict[str, Any]:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise InvalidRequest(f"{place} must be an object with a type.", param=place)
    maker = _PARTS.get(part["type"])
    return maker(part, place) if maker is not None else part


def _text(part: Mapping[str, Any], place: str) -> dict[str, Any]:
    if not isinstance(part.get("text"), str):
        raise InvalidRequest(f"{place}.text must be a string.", param=f"{place}.text")
    return {"type": "text", "text": part["text"]}


def _image(part: Mapping[str, Any], place: str) -> dict[str, Any]:
    url = part.get("image_url")
    url = url.get("url") if isinstance(url, dict) else url
    if not isinstance(url, str) or not url:
        raise InvalidRequest(f"{place}.image_url must be a URL.", param=f"{place}.image_url")
    detail = {"detail": part["detail"]} if isinstance(part.get("detail"), str) else {}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _file(part: Mapping[str, Any], _place: str) -> dict[str, Any]:
    names = ("filename", "file_data", "file_url")
    return {"type": "file", "file": {name: part[name] for name in names if part.get(name) is not None}}


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "input_image": _image,
    "input_file": _file,
}
