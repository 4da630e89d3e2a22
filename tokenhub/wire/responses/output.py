"""The output of a response while it is made: items that open, grow and close, and the events that say so.

A call stays open until the end of the reply: chat says nothing of a call's own end, and what
is done once must not grow again. What only its maker can read is packed into a reasoning item.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tokenhub.wire import opaque
from tokenhub.wire.responses.common import REASONING_FORMAT
from tokenhub.wire.responses.tools import Tools, free_text
from tokenhub.wire.text_frames import Texts

Item = dict[str, Any]
_PART = {"output_text": "text", "refusal": "refusal"}
_DATA_URL = re.compile(r"data:image/([\w.+-]+)(?:;[\w=.+-]+)*;base64,", re.ASCII)
_NO_ARGUMENTS = "{}"
"""OpenAI's own word for a call without any; chat servers say nothing, which is no JSON."""


@dataclass(slots=True)
class _Open:
    """An item that may still grow."""

    item: Item
    index: int
    pieces: list[str] = field(default_factory=list)
    """Of the text, the refusal, the reasoning or the arguments that are being said."""
    part: str = ""
    """The kind of the content part that is open; empty: none."""
    head: bytes = b""
    """A text delta's event up to the delta."""
    flat: str = ""
    """A call's name in the chat form."""
    opaque: dict[str, list[Any]] = field(default_factory=dict)


class Output:
    """Makes the items of one response; every method returns the events of what it did."""

    def __init__(self, id: str, tools: Tools) -> None:
        self.items: list[Item] = []
        self.sequence = 0
        """The number of the next event."""
        self._digest = hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=20).hexdigest()
        self._tools = tools
        self._message: _Open | None = None
        self._reasoning: _Open | None = None
        self._calls: dict[int, _Open] = {}
        self._signed: dict[str, Any] = {}
        self._signature: dict[str, Any] = {}

    def event(self, kind: str, **members: Any) -> bytes:
        """Return an event with its number."""
        number, self.sequence = self.sequence, self.sequence + 1
        data = orjson.dumps({"type": kind, **members, "sequence_number": number})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    # Text ----------------------------------------------------------------------------------------

    def text(self, text: str, logprobs: list[Any] | None = None) -> bytes:
        """Add to the answer."""
        opened = b"" if self._message is not None and self._message.part == "output_text" else self._say("output_text")
        message = self._message
        assert message is not None
        message.pieces.append(text)
        if logprobs:
            message.item["content"][-1]["logprobs"].extend(logprobs)
        number, self.sequence = self.sequence, self.sequence + 1
        beside = orjson.dumps(logprobs) if logprobs else b"[]"
        return b'%b%b%b,"logprobs":%b,"sequence_number":%d}\n\n' % (
            opened,
            message.head,
            orjson.dumps(text),
            beside,
            number,
        )

    def texts(self, texts: Texts) -> bytes:
        """Add to the answer, which ``text`` has begun, what many frames say, each in an event of its own."""
        message = self._message
        assert message is not None
        message.pieces.append(texts.joined())
        first, self.sequence = self.sequence, self.sequence + len(texts.literals)
        return b"".join(
            [
                b'%b"%b","logprobs":[],"sequence_number":%d}\n\n' % (message.head, literal, number)
                for number, literal in enumerate(texts.literals, first)
            ]
        )

    def refusal(self, text: str) -> bytes:
        """Add to what the model says instead of an answer."""
        opened = b"" if self._message is not None and self._message.part == "refusal" else self._say("refusal")
        assert self._message is not None
        self._message.pieces.append(text)
        return opened + self.event("response.refusal.delta", **self._place(self._message), delta=text)

    def annotate(self, annotation: Mapping[str, Any]) -> bytes:
        """Add a source to the text that is being said; chat nests what a citation says under its type."""
        message, cited = self._message, annotation.get("url_citation")
        if message is None or message.part != "output_text" or not isinstance(cited, dict):
            return b""
        flat = {"type": "url_citation", **cited}
        known = message.item["content"][-1]["annotations"]
        known.append(flat)
        place = {**self._place(message), "annotation_index": len(known) - 1}
        return self.event("response.output_text.annotation.added", **place, annotation=flat)

    def _say(self, part: str) -> bytes:
        """Open a content part, and the message it stands in."""
        events = self._close_reasoning()
        if self._message is None:
            item = {"id": self._id("msg"), "type": "message", "status": "in_progress", "role": "assistant"}
            self._message, added = self._opened({**item, "content": []})
            events += added
        else:
            events += self._close_part(self._message)
        message, content = self._message, self._message.item["content"]
        message.part = part
        begun: Item = {"type": part, _PART[part]: ""}
        if part == "output_text":
            begun |= {"annotations": [], "logprobs": []}
        content.append(begun)
        place = self._place(message)
        message.head = b"event: response.output_text.delta\ndata: %b,%b" % (
            orjson.dumps({"type": "response.output_text.delta", **place})[:-1],
            b'"delta":',
        )
        return events + self.event("response.content_part.added", **place, part=begun)

    def _close_part(self, message: _Open) -> bytes:
        if not message.part:
            return b""
        place, part, text = self._place(message), message.item["content"][-1], "".join(message.pieces)
        part[_PART[message.part]] = text
        beside = {"logprobs": part["logprobs"]} if message.part == "output_text" else {}
        kind = f"response.{message.part}.done"
        events = self.event(kind, **place, **{_PART[message.part]: text}, **beside)
        events += self.event("response.content_part.done", **place, part=part)
        message.pieces, message.part = [], ""
        return events

    def _close_message(self, status: str) -> bytes:
        message, self._message = self._message, None
        if message is None:
            return b""
        events = self._close_part(message)
        message.item["status"] = status
        return events + self._done(message)

    # Reasoning -----------------------------------------------------------------------------------

    def reasoning(self, text: str) -> bytes:
        """Add to the reasoning, as far as it may be read: its summary in this API's words."""
        events = self._open_reasoning()
        reasoning = self._reasoning
        assert reasoning is not None
        place = {"item_id": reasoning.item["id"], "output_index": reasoning.index, "summary_index": 0}
        if not reasoning.pieces:
            part = {"type": "summary_text", "text": ""}
            events += self.event("response.reasoning_summary_part.added", **place, part=part)
        reasoning.pieces.append(text)
        return events + self.event("response.reasoning_summary_text.delta", **place, delta=text)

    def opaque(self, name: str, blocks: list[Any]) -> bytes:
        """Keep blocks that only their maker can read, to be given back with the reasoning they belong to."""
        events = self._open_reasoning()
        assert self._reasoning is not None
        self._reasoning.opaque.setdefault(name, []).extend(blocks)
        return events

    def sign(self, signature: dict[str, Any]) -> None:
        """Keep the signature of the text."""
        self._signature |= signature

    def _open_reasoning(self) -> bytes:
        if self._reasoning is not None:
            return b""
        events = self._close_message("completed")
        self._reasoning, added = self._opened({"id": self._id("rs"), "type": "reasoning", "summary": []})
        return events + added

    def _close_reasoning(self) -> bytes:
        reasoning, self._reasoning = self._reasoning, None
        if reasoning is None:
            return b""
        events = b""
        if reasoning.pieces:
            text = "".join(reasoning.pieces)
            place = {"item_id": reasoning.item["id"], "output_index": reasoning.index, "summary_index": 0}
            part = {"type": "summary_text", "text": text}
            events += self.event("response.reasoning_summary_text.done", **place, text=text)
            events += self.event("response.reasoning_summary_part.done", **place, part=part)
            reasoning.item["summary"] = [part]
        if reasoning.opaque:
            reasoning.item["encrypted_content"] = _sealed(reasoning.opaque)
        return events + self._done(reasoning)

    # Calls ---------------------------------------------------------------------------------------

    def call(self, piece: Mapping[str, Any]) -> bytes:
        """Take a piece of a tool call: its beginning, or more of its arguments."""
        index = piece.get("index")
        position = index if isinstance(index, int) else len(self._calls)
        function = next((one for one in map(piece.get, ("function", "custom")) if isinstance(one, dict)), {})
        events = b""
        call = self._calls.get(position)
        if call is None:
            events = self._close_reasoning() + self._close_message("completed")
            call, added = self._open_call(piece, str(function.get("name") or ""))
            self._calls[position] = call
            events += added
        if piece.get("extra_content"):
            self._signed[call.item["call_id"]] = piece["extra_content"]
        more = function.get("arguments") or function.get("input")
        if not isinstance(more, str) or not more:
            return events
        call.pieces.append(more)
        if call.item["type"] == "custom_tool_call":
            return events
        place = {"item_id": call.item["id"], "output_index": call.index}
        return events + self.event("response.function_call_arguments.delta", **place, delta=more)

    def _open_call(self, piece: Mapping[str, Any], flat: str) -> tuple[_Open, bytes]:
        named = self._tools.named(flat)
        id = str(piece.get("id") or f"call_{self._digest}_{len(self.items)}")
        item: Item = {"id": self._id("ctc" if named.custom else "fc"), "call_id": id, "name": named.name}
        if named.namespace:
            item["namespace"] = named.namespace
        item |= (
            {"type": "custom_tool_call", "input": ""} if named.custom else {"type": "function_call", "arguments": ""}
        )
        item["status"] = "in_progress"
        return self._opened(item)

    def _close_call(self, call: _Open, status: str) -> bytes:
        item, text = call.item, "".join(call.pieces)
        item["status"] = status
        place = {"item_id": item["id"], "output_index": call.index}
        if item["type"] == "custom_tool_call":
            item["input"] = free_text(text)
            events = self.event("response.custom_tool_call_input.delta", **place, delta=item["input"])
            events += self.event("response.custom_tool_call_input.done", **place, input=item["input"])
        else:
            events = b""
            if not text and status == "completed":
                text = _NO_ARGUMENTS
                events = self.event("response.function_call_arguments.delta", **place, delta=text)
            item["arguments"] = text
            told = {"name": item["name"], "arguments": text}
            events += self.event("response.function_call_arguments.done", **place, **told)
        return events + self._done(call)

    # Pictures, and the end -----------------------------------------------------------------------

    def image(self, image: Any) -> bytes:
        """Add a whole picture, given as chat gives it: with a data URL."""
        url = image.get("url") if isinstance(image, dict) else None
        if not isinstance(url, str):
            return b""
        events = self._close_reasoning() + self._close_message("completed")
        item = {"id": self._id("ig"), "type": "image_generation_call", "status": "completed"}
        if found := _DATA_URL.match(url):
            item |= {"output_format": found[1], "result": url[found.end() :]}
        else:
            item["result"] = url
        opened, added = self._opened(item)
        return events + added + self._done(opened)

    def close(self, status: str) -> bytes:
        """Close all that is open; the last of it has the status of the whole."""
        events = self._close_reasoning() + self._close_message(status)
        events += b"".join([self._close_call(call, status) for call in self._calls.values()])
        self._calls = {}
        packed = {"calls": self._signed, "before": {"extra_content": self._signature} if self._signature else {}}
        if self._signed or self._signature:
            item = {"id": self._id("rs"), "type": "reasoning", "summary": []}
            signed, added = self._opened(item)
            signed.item["encrypted_content"] = opaque.pack({k: v for k, v in packed.items() if v})
            events += added + self._done(signed)
        return events

    def _id(self, kind: str) -> str:
        """Return an item's id: OpenAI takes no more than 64 characters back, and only those of the item's kind."""
        return f"{kind}_{self._digest}{len(self.items):04x}"

    def _opened(self, item: Item) -> tuple[_Open, bytes]:
        opened = _Open(item, len(self.items))
        self.items.append(item)
        return opened, self.event("response.output_item.added", output_index=opened.index, item=item)

    def _done(self, opened: _Open) -> bytes:
        return self.event("response.output_item.done", output_index=opened.index, item=opened.item)

    def _place(self, message: _Open) -> dict[str, Any]:
        return {
            "item_id": message.item["id"],
            "output_index": message.index,
            "content_index": len(message.item["content"]) - 1,
        }


def _sealed(members: Mapping[str, list[Any]]) -> str:
    """Return what goes into ``encrypted_content``: OpenAI's own as it is, all else packed."""
    details = members.get("reasoning_details") or []
    own = [one for one in details if isinstance(one, dict) and one.get("format") == REASONING_FORMAT]
    if len(members) == 1 and details and len(own) == len(details):
        data = [one["data"] for one in own if isinstance(one.get("data"), str)]
        if len(data) == 1:
            return str(data[0])
    return opaque.pack({"message": members})
