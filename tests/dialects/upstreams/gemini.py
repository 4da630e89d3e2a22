"""A provider that speaks Google's generateContent: reads what it is asked, answers, streams and fails in that dialect."""

import json
from typing import Any

from tests.dialects.story import (
    Call,
    Conversation,
    Counts,
    Outcome,
    Part,
    Picture,
    Result,
    Text,
    Thought,
    Tool,
    Turn,
    joined,
    pieces,
)
from tests.fakes.upstream import gemini_error

NAME = "gemini"
TITLE = "Google generateContent"
PROVIDER, MODEL = "google", "gemini-3.1-pro-preview"
FINISHES = {"stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP"}
UNSEALED = "skip_thought_signature_validator"
"""Google's own word for a call that it did not make."""

REFUSALS: dict[str, tuple[int, Any]] = {
    "key refused": (
        400,
        gemini_error(400, "INVALID_ARGUMENT", "Canary: API key not valid", [{"reason": "API_KEY_INVALID"}]),
    ),
    "throttled": (429, gemini_error(429, "RESOURCE_EXHAUSTED", "Canary: slow down")),
    "broken": (503, gemini_error(503, "UNAVAILABLE", "Canary: The model is overloaded")),
    "bad request": (400, gemini_error(400, "INVALID_ARGUMENT", "top_p is odd")),
    "too long": (
        400,
        gemini_error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1048580) exceeds the maximum number of tokens allowed (1048576).",
        ),
    ),
}
BREAKS = [b"data: " + json.dumps(gemini_error(503, "UNAVAILABLE", "Canary: died")).encode() + b"\r\n\r\n"]
"""What a stream says when it fails in the middle."""


def takes(path: str) -> bool:
    return ":generateContent" in path or ":streamGenerateContent" in path


def asked(_path: str, body: dict[str, Any]) -> Conversation:
    """Return the conversation that a request holds."""
    turns = [
        Turn("assistant" if one["role"] == "model" else "user", tuple(map(_part, one["parts"])))
        for one in body["contents"]
    ]
    assert all(turn.parts for turn in turns)
    system = "".join(part["text"] for part in (body.get("systemInstruction") or {}).get("parts", ()))
    declared = [one for tool in body.get("tools") or () for one in tool["functionDeclarations"]]
    tools = tuple(Tool(one["name"], one["description"], one["parametersJsonSchema"]) for one in declared)
    limit = (body.get("generationConfig") or {}).get("maxOutputTokens")
    return Conversation(joined(turns), system, tools, limit)


def _part(part: dict[str, Any]) -> Part:
    if "functionCall" in part:
        call = part["functionCall"]
        return Call(call["id"], call["name"], call.get("args") or {})
    if "functionResponse" in part:
        result = part["functionResponse"]
        assert result["name"]
        response = result["response"]
        return Result(result["id"], response["output"] if response.keys() == {"output"} else json.dumps(response))
    if "inlineData" in part:
        return Picture(part["inlineData"]["data"], part["inlineData"]["mimeType"])
    return Thought(part["text"]) if part.get("thought") else Text(part["text"])


def seals(body: dict[str, Any]) -> list[str]:
    """Return the proofs of thought that came back."""
    parts = [part for content in body["contents"] for part in content["parts"]]
    found = [part["thoughtSignature"] for part in parts if part.get("thoughtSignature")]
    return [seal for seal in found if seal != UNSEALED]


def say(outcome: Outcome) -> dict[str, Any]:
    """Return a whole reply."""
    return _event(_parts(outcome), FINISHES[outcome.finish], outcome.counts)


def _event(parts: list[dict[str, Any]], finish: str | None, counts: Counts) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    head = {"modelVersion": "gemini-3.1-pro-preview", "responseId": "up01"}
    return {"candidates": [candidate], "usageMetadata": usage(counts), **head}


def _parts(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the parts of a reply; the proof stands on the first part that follows the thought, as Google puts it."""
    seal, parts = "", []
    for part in outcome.parts:
        if isinstance(part, Thought):
            seal = part.seal
            parts += [{"text": part.text, "thought": True}] if part.text else []
            continue
        made: dict[str, Any] = {"text": part.text} if isinstance(part, Text) else {"functionCall": _call(part)}
        if seal and (isinstance(part, Call) or not outcome.calls):
            made["thoughtSignature"], seal = seal, ""
        parts.append(made)
    return parts


def _call(part: Part) -> dict[str, Any]:
    assert isinstance(part, Call)
    return {"id": part.id, "name": part.name, "args": part.arguments}


def usage(counts: Counts) -> dict[str, Any]:
    return {
        "promptTokenCount": counts.prompt,
        "cachedContentTokenCount": counts.cached,
        "candidatesTokenCount": counts.output - counts.reasoning,
        "thoughtsTokenCount": counts.reasoning,
        "totalTokenCount": counts.prompt + counts.output,
    }


def stream(outcome: Outcome) -> list[bytes]:
    """Return the frames of a streamed reply, framed with CRLF as Google does; calls come whole."""
    parts: list[dict[str, Any]] = []
    for part in _parts(outcome):
        if "text" in part:
            texts = pieces(part["text"])
            parts += [{**part, "text": text} for text in texts]
            for one in parts[len(parts) - len(texts) : -1]:
                one.pop("thoughtSignature", None)
        else:
            parts.append(part)
    last = len(parts) - 1
    events = [
        _event([part], FINISHES[outcome.finish] if place == last else None, outcome.counts)
        for place, part in enumerate(parts)
    ]
    return [b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events]
