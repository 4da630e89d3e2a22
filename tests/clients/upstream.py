"""Providers with one model behind them: chat completions, Messages, Gemini, Responses and embeddings, by path.

``answer`` is the script of a ``FakeUpstream``. Each dialect is read into an ``Ask`` and its
``Say`` is written as the provider writes it, streamed or whole.
"""

import base64
import json
import struct
from typing import Any

from tests.clients import responses
from tests.clients.brain import Ask, think
from tests.clients.words import CUT, halves, text_of
from tests.fakes.upstream import (
    DONE,
    Cut,
    Pause,
    Received,
    Reply,
    anthropic_event,
    anthropic_message,
    anthropic_stream,
    anthropic_usage,
    gemini_reply,
    gemini_usage,
    json_reply,
    openai_chat,
    openai_chunk,
    openai_embeddings,
    openai_usage,
    sse,
    sse_reply,
)

VECTOR = (0.5, -0.25, 0.125)


SLOW = b"Think long"
"""A request with these words waits for its answer, and for the rest of it."""
SILENCE_S = 0.2


def answer(request: Received) -> Reply:
    """Answer a request in the dialect of its path."""
    reply = _answer(request)
    return [Pause(SILENCE_S), *reply[:3], Pause(SILENCE_S), *reply[3:]] if SLOW in request.body else reply


def _answer(request: Received) -> Reply:
    path, body = request.path.partition("?")[0], request.json()
    if path.endswith("/chat/completions"):
        return _chat(body)
    if path.endswith("/count_tokens"):
        return json_reply({"input_tokens": 12})
    if path.endswith("/messages"):
        return _messages(body)
    if path.endswith("/responses"):
        return responses.reply(body)
    if path.endswith("/embeddings"):
        return _embeddings(body)
    if path.endswith(":countTokens"):
        return json_reply({"totalTokens": 12, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}]})
    if path.endswith((":generateContent", ":streamGenerateContent")):
        return _gemini(body, "stream" in path)
    return json_reply({"error": {"message": f"nothing is scripted for {path}"}}, 404)


# ---- chat completions ------------------------------------------------------------------------


def _chat(body: dict[str, Any]) -> Reply:
    ask = _chat_ask(body)
    if CUT in ask.prompt:
        return sse_reply([openai_chunk({"role": "assistant", "content": "Half"}), Cut()])
    say = think(ask)
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for n, (name, arguments) in enumerate(say.calls)
    ]
    if not body.get("stream"):
        return json_reply(openai_chat(say.text or None, tool_calls=calls or None, model=body["model"]))
    deltas = [{"content": piece} for piece in halves(say.text)] if say.text else []
    for n, call in enumerate(calls):
        whole = call["function"]["arguments"]
        first = {**call, "index": n, "function": {**call["function"], "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        deltas += [{"tool_calls": [{"index": n, "function": {"arguments": half}}]} for half in halves(whole)]
    frames = [openai_chunk({"role": "assistant", "content": ""}), *(openai_chunk(delta) for delta in deltas)]
    frames.append(openai_chunk({}, "tool_calls" if calls else "stop"))
    return sse_reply([*frames, openai_chunk({}, choices=[], usage=openai_usage()), DONE])


def _chat_ask(body: dict[str, Any]) -> Ask:
    messages = body["messages"]
    spoken = max((n for n, one in enumerate(messages) if one["role"] == "user"), default=0)
    tools = {one["function"]["name"]: one["function"].get("parameters") or {} for one in body.get("tools") or ()}
    choice = body.get("tool_choice")
    wanted = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    return Ask(
        prompt=text_of(messages[spoken]["content"]),
        everything="\n".join(text_of(one.get("content")) for one in messages),
        tools=tools,
        results=tuple(text_of(one["content"]) for one in messages[spoken:] if one["role"] == "tool"),
        must_call=choice == "required",
        forced=choice["function"]["name"] if isinstance(choice, dict) else "",
        schema=wanted,
    )


# ---- Messages --------------------------------------------------------------------------------


def _messages(body: dict[str, Any]) -> Reply:
    ask = _messages_ask(body)
    if CUT in ask.prompt:
        return sse_reply([*anthropic_stream(["Half"], stop=False)[:4], Cut()])
    say = think(ask)
    if not say.calls:
        whole = json_reply(anthropic_message(say.text, model=body["model"]))
        return sse_reply(anthropic_stream(halves(say.text), model=body["model"])) if body.get("stream") else whole
    blocks = [
        {"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": arguments}
        for n, (name, arguments) in enumerate(say.calls)
    ]
    if not body.get("stream"):
        return json_reply(anthropic_message(content=blocks, stop_reason="tool_use", model=body["model"]))
    start = anthropic_message(content=[], model=body["model"]) | {"stop_reason": None}
    frames = [anthropic_event("message_start", message=start)]
    for n, block in enumerate(blocks):
        frames.append(anthropic_event("content_block_start", index=n, content_block={**block, "input": {}}))
        for half in halves(json.dumps(block["input"])):
            delta = {"type": "input_json_delta", "partial_json": half}
            frames.append(anthropic_event("content_block_delta", index=n, delta=delta))
        frames.append(anthropic_event("content_block_stop", index=n))
    ended = {"stop_reason": "tool_use", "stop_sequence": None}
    return sse_reply(
        [
            *frames,
            anthropic_event("message_delta", delta=ended, usage=anthropic_usage()),
            anthropic_event("message_stop"),
        ]
    )


def _messages_ask(body: dict[str, Any]) -> Ask:
    """In Messages a tool's result is something the user says."""
    said = [one for one in body["messages"] if one["role"] == "user"]
    parts = [
        one["content"] if isinstance(one["content"], list) else [{"type": "text", "text": one["content"]}]
        for one in said
    ]
    results = [text_of(part.get("content")) for part in parts[-1] if part["type"] == "tool_result"]
    spoken = next(
        (words for turn in reversed(parts) if (words := "\n".join(p["text"] for p in turn if p["type"] == "text"))), ""
    )
    choice = body.get("tool_choice") or {}
    wanted = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    return Ask(
        prompt=spoken,
        everything="\n".join([text_of(body.get("system")), *(text_of(one["content"]) for one in body["messages"])]),
        tools={one["name"]: one.get("input_schema") or {} for one in body.get("tools") or ()},
        results=tuple(results),
        must_call=choice.get("type") == "any",
        forced=choice.get("name", ""),
        schema=wanted,
    )


# ---- Gemini ----------------------------------------------------------------------------------


def _gemini(body: dict[str, Any], stream: bool) -> Reply:
    ask = _gemini_ask(body)
    if CUT in ask.prompt:
        return sse_reply([sse(gemini_reply("Half", finish_reason=None)), Cut()])
    say = think(ask)
    parts = [{"functionCall": {"name": name, "args": arguments}} for name, arguments in say.calls]
    if not stream:
        return json_reply(gemini_reply(say.text, parts=parts or None))
    first, second = halves(say.text)
    if parts:
        return sse_reply([sse(gemini_reply(parts=parts))])
    return sse_reply([sse(gemini_reply(first, finish_reason=None)), sse(gemini_reply(second, usage=gemini_usage()))])


def _gemini_ask(body: dict[str, Any]) -> Ask:
    contents = body["contents"]
    spoken = max(
        (n for n, one in enumerate(contents) if one.get("role") != "model" and any("text" in p for p in one["parts"])),
        default=0,
    )
    results = [
        json.dumps(part["functionResponse"]["response"])
        for one in contents[spoken:]
        for part in one["parts"]
        if "functionResponse" in part
    ]
    declared = [one for tool in body.get("tools") or () for one in tool.get("functionDeclarations") or ()]
    settings = body.get("generationConfig") or {}
    mode = ((body.get("toolConfig") or {}).get("functionCallingConfig") or {}).get("mode", "")
    return Ask(
        prompt=text_of(contents[spoken]["parts"]),
        everything="\n".join(
            text_of(one["parts"]) for one in (body.get("systemInstruction") or {"parts": []}, *contents)
        ),
        tools={one["name"]: one.get("parametersJsonSchema") or one.get("parameters") or {} for one in declared},
        results=tuple(results),
        must_call=mode == "ANY",
        schema=settings.get("responseJsonSchema") or settings.get("responseSchema"),
    )


# ---- embeddings ------------------------------------------------------------------------------


def _embeddings(body: dict[str, Any]) -> Reply:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    packed = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
    vector = packed if body.get("encoding_format") == "base64" else VECTOR
    return json_reply(openai_embeddings([vector] * len(texts), model=body["model"]))
