"""Fills in what an OpenAI-compatible upstream leaves out.

Client libraries lean on members that self-hosted servers and small providers omit: without
``choices[].index`` OpenAI's own helpers drop text silently, without a tool call's ``id`` or
``index`` five frameworks lose the call, without a finish reason another five hang or raise
(measured with thirteen clients, 2026-11). A mender adds them and changes nothing that is there.
"""

from typing import Any

from tokenhub.wire.chat.frames import ChunkWriter
from tokenhub.wire.chat.parts import calls_of, choices_of


class Mender:
    """Completes the chunks of one stream, or one whole reply.

    ``id``, ``created`` and ``model`` are what to say where the upstream says nothing.
    """

    def __init__(self, id: str, created: int, model: str) -> None:
        self._top: dict[str, Any] = {"id": id, "created": created, "model": model}
        self._call_prefix = f"call_{id}"
        self._begun: set[int] = set()
        self._calls: dict[int, dict[int, str]] = {}

    def chunk(self, payload: dict[str, Any]) -> bool:
        """Complete a chunk in place; return whether anything was missing."""
        changed = self._complete_top(payload, "chat.completion.chunk")
        changed |= _default(payload, "choices", [])
        for position, choice in enumerate(choices_of(payload)):
            changed |= self._complete_choice(choice, position)
        return changed

    def reply(self, payload: dict[str, Any]) -> None:
        """Complete a whole reply in place."""
        self._complete_top(payload, "chat.completion")
        for position, choice in enumerate(choices_of(payload)):
            _default(choice, "index", position)
            message = choice["message"]
            _default(message, "role", "assistant")
            message.setdefault("content", None)
            calls = calls_of(message)
            for place, call in enumerate(calls):
                self._name_call(call, position, place)
            _default(choice, "finish_reason", "tool_calls" if calls else "stop")

    def missing_finish(self, index: int) -> str:
        """Return why a choice ended whose upstream never said."""
        return "tool_calls" if self._calls.get(index) else "stop"

    def finish_frame(self, index: int) -> bytes:
        """Return the finish chunk that an upstream never sent."""
        writer = ChunkWriter(self._top["id"], self._top["created"], self._top["model"])
        return writer.finish(self.missing_finish(index), index)

    def _complete_top(self, payload: dict[str, Any], kind: str) -> bool:
        """Set what is missing; what the upstream has once said is said again."""
        changed = _default(payload, "object", kind)
        for name, known in self._top.items():
            changed |= _default(payload, name, known)
            self._top[name] = payload[name]
        return changed

    def _complete_choice(self, choice: dict[str, Any], position: int) -> bool:
        changed = _default(choice, "index", position)
        changed |= _default(choice, "delta", {})
        if choice.get("finish_reason", "") == "":
            choice["finish_reason"] = None
            changed = True
        index, delta = choice["index"], choice["delta"]
        if index not in self._begun:
            self._begun.add(index)
            changed |= _default(delta, "role", "assistant")
        return self._complete_calls(delta, index) or changed

    def _complete_calls(self, delta: dict[str, Any], choice: int) -> bool:
        """Give every tool call an index, and its first piece an id and a type."""
        changed = False
        for call in calls_of(delta):
            known = self._calls.setdefault(choice, {})
            changed |= _default(call, "index", _place(call, known))
            if call["index"] not in known:
                changed |= self._name_call(call, choice, call["index"])
                known[call["index"]] = call["id"]
        return changed

    def _name_call(self, call: dict[str, Any], choice: int, place: int) -> bool:
        changed = _default(call, "id", f"{self._call_prefix}_{choice}_{place}")
        return _default(call, "type", "function") or changed


def _place(call: dict[str, Any], known: dict[int, str]) -> int:
    """Return where a call without an index belongs: a new id or a name opens one, anything else goes on with the last."""
    for index, id in known.items():
        if call.get("id") == id:
            return index
    last = max(known, default=-1)
    function = call.get("function")
    opens = call.get("id") or (isinstance(function, dict) and function.get("name"))
    return last + 1 if opens or not known else last


def _default(holder: dict[str, Any], name: str, value: Any) -> bool:
    """Set a member that is absent, empty or of another type than it must be; return whether it was."""
    given = holder.get(name)
    if type(given) is type(value) and given != "":
        return False
    holder[name] = value
    return True
