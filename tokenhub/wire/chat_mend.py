"""Fills in what an OpenAI-compatible upstream leaves out.

Client libraries lean on members that self-hosted servers and small providers omit: without
``choices[].index`` OpenAI's own helpers drop text silently, without a tool call's ``id`` or
``index`` five frameworks lose the call, without a finish reason another five hang or raise
(measured with thirteen clients, 2026-11). A mender adds them and changes nothing that is there.
"""

from typing import Any

from tokenhub.wire.chat_frames import ChunkWriter


class Mender:
    """Completes the chunks of one stream, or one whole reply.

    ``id``, ``created`` and ``model`` are what to say where the upstream says nothing.
    """

    def __init__(self, id: str, created: int, model: str) -> None:
        self._defaults = {"id": id, "created": created, "model": model}
        self._shared: dict[str, Any] = {}
        self._begun: set[int] = set()
        self._tools: dict[int, list[str]] = {}

    def chunk(self, payload: dict[str, Any]) -> bool:
        """Complete a chunk in place; return whether anything was missing."""
        changed = self._complete_top(payload, "chat.completion.chunk")
        choices = payload.get("choices")
        if not isinstance(choices, list):
            payload["choices"] = []
            return True
        for position, choice in enumerate(choices):
            if isinstance(choice, dict):
                changed |= self._complete_choice(choice, position)
        return changed

    def reply(self, payload: dict[str, Any]) -> bool:
        """Complete a whole reply in place; return whether anything was missing."""
        changed = self._complete_top(payload, "chat.completion")
        for position, choice in enumerate(payload["choices"]):
            changed |= _default(choice, "index", position)
            message = choice["message"]
            changed |= _default(message, "role", "assistant")
            if "content" not in message:
                message["content"] = None
                changed = True
            for place, call in enumerate(_calls(message)):
                changed |= _default(call, "id", f"call_{self._defaults['id']}_{position}_{place}")
                changed |= _default(call, "type", "function")
            if not choice.get("finish_reason"):
                choice["finish_reason"] = "tool_calls" if _calls(message) else "stop"
                changed = True
        return changed

    def missing_finish(self, index: int) -> str:
        """Return why a choice ended whose upstream never said."""
        return "tool_calls" if self._tools.get(index) else "stop"

    def finish_frame(self, index: int) -> bytes:
        """Return the finish chunk that an upstream never sent."""
        shared = {**self._defaults, **self._shared}
        writer = ChunkWriter(shared["id"], shared["created"], shared["model"])
        return writer.finish(self.missing_finish(index), index)

    def _complete_top(self, payload: dict[str, Any], kind: str) -> bool:
        changed = _default(payload, "object", kind)
        for name, default in self._defaults.items():
            changed |= _default(payload, name, self._shared.get(name, default))
            self._shared[name] = payload[name]
        return changed

    def _complete_choice(self, choice: dict[str, Any], position: int) -> bool:
        changed = _default(choice, "index", position)
        changed |= _default(choice, "delta", {})
        if choice.get("finish_reason", "") == "":
            choice["finish_reason"] = None
            changed = True
        index, delta = choice["index"], choice["delta"]
        if not isinstance(delta, dict):
            return changed
        if index not in self._begun:
            self._begun.add(index)
            changed |= _default(delta, "role", "assistant")
        return self._complete_calls(delta, index) or changed

    def _complete_calls(self, delta: dict[str, Any], choice: int) -> bool:
        """Give every tool call an index, and its first piece an id and a type.

        A piece with a new id or with a name opens a call; any other continues the last one.
        """
        changed = False
        open_calls = self._tools.setdefault(choice, []) if _calls(delta) else []
        for call in _calls(delta):
            index = call.get("index")
            if not isinstance(index, int):
                index = self._place(call, open_calls)
                call["index"] = index
                changed = True
            if index >= len(open_calls):
                open_calls.extend("" for _ in range(index + 1 - len(open_calls)))
            if not open_calls[index]:
                changed |= _default(call, "id", f"call_{self._defaults['id']}_{choice}_{index}")
                changed |= _default(call, "type", "function")
                open_calls[index] = call["id"]
        return changed

    def _place(self, call: dict[str, Any], open_calls: list[str]) -> int:
        """Return the index of a call that has none."""
        id, function = call.get("id"), call.get("function")
        if id and id in open_calls:
            return open_calls.index(id)
        named = isinstance(function, dict) and function.get("name")
        return len(open_calls) if id or named or not open_calls else len(open_calls) - 1


def _default(holder: dict[str, Any], name: str, value: Any) -> bool:
    """Set a member that is absent, null or empty; return whether it was."""
    if holder.get(name) in (None, "") and holder.get(name) != value:
        holder[name] = value
        return True
    return False


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
