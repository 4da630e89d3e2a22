"""What a client makes of a stream: an independent reading, with nothing of TokenHub in it.

Chunks are put together as OpenAI's SDKs do it: texts are joined, tool calls are gathered by
their index, an empty id or name never overwrites one that was there.
"""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Choice:
    """One choice, put together."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tools: dict[int, dict[str, str]] = field(default_factory=dict)
    thinking_blocks: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    finish: str | None = None

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        return [(call["id"], call["name"], call["arguments"]) for _, call in sorted(self.tools.items())]


@dataclass
class Assembled:
    """A stream, put together."""

    choices: dict[int, Choice] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    usages: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    chunks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def first(self) -> Choice:
        return self.choices.get(0, Choice())


def assemble(stream: bytes) -> Assembled:
    """Put a client-side stream together."""
    made = Assembled()
    for line in stream.decode().replace("\r\n", "\n").split("\n"):
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            made.done = True
            continue
        chunk = json.loads(data)
        made.chunks.append(chunk)
        if chunk.get("error"):
            made.errors.append(chunk["error"])
        _note_usage(made, chunk.get("usage"))
        for position, choice in enumerate(chunk.get("choices") or []):
            _note_usage(made, choice.get("usage"))
            _add(made.choices.setdefault(choice.get("index", position), Choice()), choice)
    return made


def _note_usage(made: Assembled, usage: Any) -> None:
    if usage:
        made.usage = usage
        made.usages += 1


def _add(choice: Choice, piece: dict[str, Any]) -> None:
    delta = piece.get("delta") or {}
    choice.text += delta.get("content") or ""
    choice.reasoning += delta.get("reasoning_content") or ""
    choice.refusal += delta.get("refusal") or ""
    for grown, name in ((choice.thinking_blocks, "thinking_blocks"), (choice.annotations, "annotations")):
        for entry in delta.get(name) or []:
            assert entry["index"] == len(grown), "OpenAI's Python SDK raises"
            grown.append({member: value for member, value in entry.items() if member != "index"})
    choice.logprobs += (piece.get("logprobs") or {}).get("content") or []
    choice.finish = piece.get("finish_reason") or choice.finish
    for call in delta.get("tool_calls") or []:
        known = choice.tools.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
        function = call.get("function") or {}
        known["id"] = call.get("id") or known["id"]
        known["name"] = function.get("name") or known["name"]
        known["arguments"] += function.get("arguments") or ""
