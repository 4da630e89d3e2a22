"""A client of Google's generateContent, as its SDK and Gemini CLI send and read (google-genai 3.4)."""

import json
from typing import Any

from tests.dialects.story import (
    Ask,
    Broken,
    Call,
    Conversation,
    Counts,
    Outcome,
    Part,
    Picture,
    Result,
    Text,
    Thought,
)

NAME = "gemini"
TITLE = "Google generateContent"
ERRORS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "FAILED_PRECONDITION", 404: "NOT_FOUND"}
ERRORS |= {502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
"""The status word of an error, by status."""
_ENDS = {"STOP": "stop", "MAX_TOKENS": "length"}


def ask(conversation: Conversation, model: str, key: str, *, stream: bool = False) -> Ask:
    """Return the request for a conversation."""
    body: dict[str, Any] = {"contents": _contents(conversation)}
    if conversation.system:
        body["systemInstruction"] = {"parts": [{"text": conversation.system}]}
    if conversation.tools:
        declared = [
            {"name": one.name, "description": one.description, "parametersJsonSchema": one.parameters}
            for one in conversation.tools
        ]
        body["tools"] = [{"functionDeclarations": declared}]
    config: dict[str, Any] = {"thinkingConfig": {"includeThoughts": True}}
    if conversation.limit is not None:
        config["maxOutputTokens"] = conversation.limit
    body["generationConfig"] = config
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return Ask(f"/v1beta/models/{model}:{verb}", body, {"x-goog-api-key": key}, stream)


def _contents(conversation: Conversation) -> list[dict[str, Any]]:
    names = {part.id: part.name for turn in conversation.turns for part in turn.parts if isinstance(part, Call)}
    return [
        {
            "role": "model" if turn.role == "assistant" else "user",
            "parts": [_part(part, names) for part in turn.parts],
        }
        for turn in conversation.turns
    ]


def _part(part: Part, names: dict[str, str]) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"text": text}
        case Picture(data, media_type):
            return {"inlineData": {"mimeType": media_type, "data": data}}
        case Call(id, name, arguments):
            return {"functionCall": {"id": id, "name": name, "args": arguments}}
        case Result(id, text):
            return {"functionResponse": {"id": id, "name": names[id], "response": {"output": text}}}
        case Thought(text, _):
            return {"text": text, "thought": True}


def goes_on(asked: Ask, reply: dict[str, Any], results: list[Result]) -> Ask:
    """Return the next request: the content of the reply is given back as it came, with what the tools answered."""
    said = reply["candidates"][0]["content"]
    names = {call.id: call.name for call in hear(reply).calls}
    told = {"role": "user", "parts": [_part(one, names) for one in results]}
    contents = [*asked.body["contents"], said, told]
    return Ask(asked.path, {**asked.body, "contents": contents}, asked.headers, asked.stream)


def from_stream(body: bytes) -> dict[str, Any]:
    """Put a stream together: parts one after another, the last counts; raises Broken for one that ends with an error."""
    frames = [line[6:] for line in body.decode().replace("\r\n", "\n").split("\n") if line.startswith("data: ")]
    events = [json.loads(frame) for frame in frames]
    parts: list[dict[str, Any]] = []
    finish = usage = None
    for event in events:
        if "error" in event:
            assert event is events[-1], "nothing follows an error"
            raise Broken(event["error"], "".join(part["text"] for part in parts if part.get("text") and not part.get("thought")))  # fmt: skip
        candidate = event["candidates"][0]
        parts += (candidate.get("content") or {}).get("parts") or []
        finish = candidate.get("finishReason") or finish
        usage = event.get("usageMetadata") or usage
    assert finish, "a stream ends with a finishReason"
    assert events[-1].get("usageMetadata") == usage
    content = {"role": "model", "parts": parts}
    return {**events[-1], "candidates": [{"index": 0, "content": content, "finishReason": finish}]}


def hear(reply: dict[str, Any]) -> Outcome:
    """Return what a whole reply says."""
    candidate = reply["candidates"][0]
    assert candidate["content"]["role"] == "model"
    thoughts, texts, calls, seals = [], [], [], []
    for part in candidate["content"]["parts"]:
        if part.get("thoughtSignature"):
            seals.append(part["thoughtSignature"])
        if "functionCall" in part:
            call = part["functionCall"]
            calls.append(Call(call.get("id") or f"{call['name']} {len(calls)}", call["name"], call.get("args") or {}))
        elif part.get("thought"):
            thoughts.append(part["text"])
        elif part.get("text"):
            texts.append(part["text"])
    said: list[Part] = [Thought("".join(thoughts), "".join(seals))] if thoughts or seals else []
    said += [Text("".join(texts))] if texts else []
    finish = _ENDS[candidate["finishReason"]]
    return Outcome((*said, *calls), "tools" if calls and finish == "stop" else finish, counts(reply["usageMetadata"]))


def counts(usage: dict[str, Any]) -> Counts:
    cached, thought = usage.get("cachedContentTokenCount") or 0, usage.get("thoughtsTokenCount") or 0
    output = (usage.get("candidatesTokenCount") or 0) + thought
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + output
    return Counts(usage["promptTokenCount"] - cached, cached, output=output, reasoning=thought)


def bill(reply: dict[str, Any]) -> dict[str, Any]:
    """Return the usage object, in which the cost stands."""
    return dict(reply["usageMetadata"])


def error(body: dict[str, Any]) -> tuple[str, str]:
    """Return the status word and the message of an error body."""
    assert isinstance(body["error"]["code"], int)
    return body["error"]["status"], body["error"]["message"]
