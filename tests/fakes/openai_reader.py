"""A small reader of OpenAI's chunks, written apart from the program: what a client would make of a stream."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Heard:
    """One choice as a client has put it together."""

    content: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    audio: str = ""
    signature: str | None = None
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish: str | None = None

    @property
    def functions(self) -> list[tuple[str, Any]]:
        return [(call["name"], json.loads(call["arguments"])) for call in self.calls]


def hear(stream: bytes) -> dict[int, Heard]:
    """Read chunks as the official SDKs do, and refuse what breaks one of them."""
    choices: dict[int, Heard] = {}
    heads = set()
    for frame in stream.split(b"\n\n")[:-1]:
        assert frame.startswith(b"data: "), frame
        assert b"\n" not in frame, frame
        chunk = json.loads(frame[6:])
        heads.add((chunk["id"], chunk["object"], chunk["created"], chunk["model"]))
        assert "usage" not in chunk, "usage is the proxy's to write"
        assert chunk["choices"], "a chunk without choices is the proxy's to write"
        for choice in chunk["choices"]:
            _take(choices, choice)
    assert stream == b"" or stream.endswith(b"\n\n")
    assert len(heads) <= 1, "id, created and model stay the same in one stream"
    assert all(head[1] == "chat.completion.chunk" for head in heads)
    return choices


def _take(choices: dict[int, Heard], choice: dict[str, Any]) -> None:
    delta = choice["delta"]
    heard = choices.get(choice["index"])
    if heard is None:
        assert delta["role"] == "assistant", "the first delta of a choice names the role"
        heard = choices[choice["index"]] = Heard()
    assert heard.finish is None, "nothing follows a finish reason"
    assert not (delta.get("content") and delta.get("reasoning_content")), "never both in one delta"
    heard.content += delta.get("content") or ""
    heard.reasoning += delta.get("reasoning_content") or ""
    heard.images += [image["image_url"]["url"] for image in delta.get("images", ())]
    heard.audio += delta.get("audio", {}).get("data", "")
    heard.signature = signature_of(delta) or heard.signature
    heard.logprobs += (choice.get("logprobs") or {}).get("content", [])
    for piece in delta.get("tool_calls", ()):
        _take_call(heard.calls, piece)
    heard.finish = choice["finish_reason"]


def _take_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    if piece["index"] == len(calls):
        assert piece["id"]
        assert piece["type"] == "function"
        calls.append({"id": piece["id"], "name": piece["function"]["name"], "arguments": "", "signature": None})
    call = calls[piece["index"]]
    call["arguments"] += piece["function"]["arguments"]
    call["signature"] = signature_of(piece) or call["signature"]


def signature_of(holder: dict[str, Any]) -> str | None:
    return holder.get("extra_content", {}).get("google", {}).get("thought_signature")
