"""An OpenAI conversation as Gemini's: instructions apart, turns of user and model.

Consecutive turns of one role are merged. The results of a turn's tools make one content of
their own, in the order they came; each names its function, which OpenAI's form does not, so
it is looked up by the call's id. Thought signatures that ``gemini/choice.py`` carried out come
back onto the part they came on; a call that has none because another provider made it gets
the placeholder that Google documents for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenhub.errors import InvalidRequest
from tokenhub.wire import json_text
from tokenhub.wire.gemini import parts as gemini_parts
from tokenhub.wire.gemini.models import Traits
from tokenhub.wire.gemini.parts import Part
from tokenhub.wire.gemini.signatures import NO_SIGNATURE
from tokenhub.wire.messages.tool_ids import ToolIds

_INSTRUCTING = ("system", "developer")


@dataclass(slots=True)
class Conversation:
    """The turns as they are built."""

    traits: Traits
    instructions: list[Part] = field(default_factory=list)
    contents: list[dict[str, Any]] = field(default_factory=list)
    ids: ToolIds = field(default_factory=lambda: ToolIds(str))
    """Each call has its own: some providers repeat ids."""
    names: dict[str, str] = field(default_factory=dict)
    """Function name by call id."""
    kind: str = ""
    """What the last content holds: user, model or results."""

    def add(self, kind: str, parts: list[Part]) -> None:
        """Add parts to the last content if it is of this kind, else begin a new one: Gemini wants the turns to alternate."""
        if not parts:
            return
        if kind == self.kind:
            self.contents[-1]["parts"].extend(parts)
            return
        self.contents.append({"role": "model" if kind == "model" else "user", "parts": parts})
        self.kind = kind


def parse_messages(messages: Any, traits: Traits) -> tuple[list[Part], list[dict[str, Any]]]:
    """Return the parts of ``systemInstruction`` and the contents; raises InvalidRequest.

    Instructions in the middle of a conversation stay where they are, as a marked text of the
    user: Gemini has one place for instructions only. Instructions alone become the user's turn,
    because contents must not be empty.
    """
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages must be a list with at least one message.", param="messages")
    conversation = Conversation(traits)
    for position, message in enumerate(messages):
        _add(conversation, message, f"messages[{position}]")
    if not conversation.contents:
        if not conversation.instructions:
            raise InvalidRequest("messages must hold some content.", param="messages")
        return [], [{"role": "user", "parts": conversation.instructions}]
    return conversation.instructions, conversation.contents


def _add(conversation: Conversation, message: Any, param: str) -> None:
    role = message.get("role") if isinstance(message, dict) else None
    if role in _INSTRUCTING:
        _add_instruction(conversation, message, param)
    elif role == "user":
        conversation.add("user", gemini_parts.parse_content(message.get("content"), f"{param}.content"))
    elif role == "assistant":
        conversation.add("model", _assistant(conversation, message, param))
    elif role == "tool":
        conversation.add("results", _result(conversation, message, param))
    else:
        raise InvalidRequest(f"{param}.role must be system, developer, user, assistant or tool.", param=f"{param}.role")


def _add_instruction(conversation: Conversation, message: Mapping[str, Any], param: str) -> None:
    text = gemini_parts.text_of(message.get("content"), f"{param}.content")
    if not text:
        return
    if conversation.contents:
        conversation.add("user", [{"text": f"<system>\n{text}\n</system>"}])
    else:
        conversation.instructions.append({"text": text})


# What the model said -----------------------------------------------------------------------------


def _assistant(conversation: Conversation, message: Mapping[str, Any], param: str) -> list[Part]:
    """Return the parts of an assistant's message: text, images, then calls. Its reasoning text is not sent back."""
    conversation.ids.turn()
    content = message.get("content")
    parts = gemini_parts.parse_content(content or message.get("refusal"), f"{param}.content")
    signature = _signature(message)
    if signature is not None:
        texts = [part for part in parts if "text" in part]
        if not texts:
            texts.append({"text": ""})
            parts.append(texts[0])
        texts[-1]["thoughtSignature"] = signature
    return parts + _images(message.get("images"), param) + _calls(conversation, message.get("tool_calls"), param)


def _images(images: Any, param: str) -> list[Part]:
    parts = []
    for position, image in enumerate(images if isinstance(images, list) else ()):
        place = f"{param}.images[{position}]"
        url = image.get("image_url") if isinstance(image, dict) else None
        part = gemini_parts.media(url.get("url") if isinstance(url, dict) else url, place)
        parts.append(part | _signed(_signature(image)))
    return parts


def _calls(conversation: Conversation, calls: Any, param: str) -> list[Part]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise InvalidRequest(f"{param}.tool_calls must be a list.", param=f"{param}.tool_calls")
    parts = [_call(conversation, call, f"{param}.tool_calls[{position}]") for position, call in enumerate(calls)]
    if parts and conversation.traits.signed_calls:
        # The first of a parallel set carries the signature for all of it.
        parts[0].setdefault("thoughtSignature", NO_SIGNATURE)
    return parts


def _call(conversation: Conversation, call: Any, param: str) -> Part:
    function = call.get("function") if isinstance(call, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise InvalidRequest(f"{param} must be a function call with a name.", param=param)
    made: dict[str, Any] = {"name": name, "args": _arguments(function.get("arguments"))}
    if isinstance(call.get("id"), str) and call["id"]:
        id = conversation.ids.called(call["id"])
        conversation.names[id] = name
        made = {"id": id, **made}
    return {"functionCall": made} | _signed(_signature(call))


def _arguments(arguments: Any) -> dict[str, Any]:
    """Return a call's arguments as an object. What is none (a call cut by its limit) is shown to the model as text."""
    if not arguments:
        return {}
    value = _object(arguments)
    return {"arguments": arguments} if value is None else value


def _object(text: Any) -> dict[str, Any] | None:
    if isinstance(text, str):
        return json_text.object_of(text)
    return text if isinstance(text, dict) else None


def _signature(holder: Any) -> str | None:
    """Return the thought signature in ``extra_content.google``, wherever a client put it back."""
    for name in ("extra_content", "google"):
        holder = holder.get(name) if isinstance(holder, dict) else None
    signature = holder.get("thought_signature") if isinstance(holder, dict) else None
    return signature if isinstance(signature, str) and signature else None


def _signed(signature: str | None) -> Part:
    return {} if signature is None else {"thoughtSignature": signature}


# What its tools answered -------------------------------------------------------------------------


def _result(conversation: Conversation, message: Mapping[str, Any], param: str) -> list[Part]:
    given = message.get("tool_call_id")
    call_id = conversation.ids.answered(given) if isinstance(given, str) else ""
    name = conversation.names.get(call_id) or message.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(
            f"{param}.tool_call_id must be the id of a call in an earlier message.", param=f"{param}.tool_call_id"
        )
    parts = gemini_parts.parse_content(message.get("content"), f"{param}.content")
    text = "\n".join(part["text"] for part in parts if "text" in part)
    files = [part for part in parts if "text" not in part]
    response: dict[str, Any] = {"name": name, "response": _response(text, failed=message.get("is_error") is True)}
    if call_id:
        response = {"id": call_id, **response}
    if files and conversation.traits.files_in_results:
        response["parts"], files = files, []
    return [{"functionResponse": response}, *files]


def _response(text: str, *, failed: bool) -> dict[str, Any]:
    """Return a tool's answer as the object Gemini wants: a JSON object as it is, anything else wrapped."""
    if failed:
        return {"error": text}
    value = _object(text) if text.lstrip()[:1] == "{" else None
    return {"output": text} if value is None else value
