"""One small request for every path that is routed and billed, and an upstream that can answer all of them."""

import json
from typing import Any

from tests.fakes.sound import form, wav
from tests.fakes.upstream import (
    DONE,
    FakeUpstream,
    Received,
    Reply,
    anthropic_message,
    anthropic_usage,
    head,
    json_reply,
    openai_chat,
    openai_embeddings,
    openai_stream,
    sse,
    sse_reply,
)
from tests.harness import RunningGateway

MODEL = "gpt-4o-mini"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
COMPLETER, EMBEDDER = "gpt-3.5-turbo-instruct", "text-embedding-3-small"
_DOCUMENTS = {"model": "rerank-4-pro", "query": "one", "documents": ["one", "two"]}
_BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": COMPLETER, "prompt": "Hello"},
    "/v1/embeddings": {"model": EMBEDDER, "input": "x"},
    "/v1/messages": {**CHAT, "max_tokens": 50},
    "/v1/messages/count_tokens": CHAT,
    "/v1/responses": {"model": MODEL, "input": "Hello"},
    "/v1/moderations": {"model": "omni-moderation-latest", "input": "x"},
    "/v1/rerank": _DOCUMENTS,
    "/v2/rerank": _DOCUMENTS,
    "/v1/images/generations": {"model": "gpt-image-2", "prompt": "a dot"},
    "/v1/audio/speech": {"model": "tts-1", "input": "Hello", "voice": "alloy"},
    "/v1/videos": {"model": "wan2.7-t2v", "prompt": "a dot"},
}
_FORMS: dict[str, dict[str, object]] = {
    "/v1/images/edits": {"model": "gpt-image-2", "prompt": "a dot"},
    "/v1/audio/transcriptions": {"model": "whisper-1"},
    "/v1/audio/translations": {"model": "whisper-1"},
}
FORMS = frozenset(_FORMS)
PATHS = (*_BODIES, *_FORMS, f"/v1beta/models/{MODEL}:generateContent")
STREAMED = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"})
"""Whose requests can be streamed by the upstream below."""


def request_for(path: str, *, streamed: bool) -> tuple[bytes, str]:
    """Return body and content type of a request that is right in all; an empty object where nothing is asked."""
    if path in _FORMS:
        body, content_type = form(_FORMS[path], wav(1.0))
        if path.endswith("edits"):
            body = body.replace(b'name="file"', b'name="image"').replace(b"audio/wav", b"image/png")
        return body, content_type
    if path.startswith("/v1beta/models/"):
        return json.dumps({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}).encode(), "application/json"
    stream = {"stream": True} if streamed and path in STREAMED else {}
    return json.dumps({**_BODIES.get(path, {}), **stream}).encode(), "application/json"


def add_upstream(gateway: RunningGateway, fake: FakeUpstream) -> None:
    """Let the fake stand in for every provider that these requests go to."""
    gateway.add_credential("openai", fake.url)
    gateway.add_credential("cohere", fake.url)
    gateway.add_credential("alibaba", fake.url, region="cn-beijing")


def answer(request: Received) -> Reply:
    """Answer any of the requests above, by the path that it comes to."""
    path = request.path.partition("?")[0]
    if path.startswith("/api/v1/tasks/"):  # the one answer that ends a video's hold at once
        return json_reply({"output": {"task_id": "t", "task_status": "FAILED", "code": "X", "message": "no"}})
    if "/audio/speech" in path:
        return [head(200, {"Content-Type": "audio/mpeg", "Content-Length": "4"}) + b"\xff\xfb\x90\x00"]
    body = request.json() if (request.header("content-type") or "").startswith("application/json") else {}
    streamed = bool(body.get("stream"))
    for part, reply in _REPLIES.items():
        if path.endswith(part):
            return reply[1]() if streamed and reply[1] else json_reply(reply[0]())
    raise AssertionError(f"nothing answers {path}")


def _completion() -> dict[str, Any]:
    choice = {"text": "there", "index": 0, "logprobs": None, "finish_reason": "stop"}
    return {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": COMPLETER, "choices": [choice]}


def _response() -> dict[str, Any]:
    part = {"type": "output_text", "text": "there", "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    return {
        "id": "resp_1", "object": "response", "created_at": 7, "status": "completed", "model": MODEL, "output": [message], "usage": usage,
    }  # fmt: skip


def _response_events() -> Reply:
    made = _response()
    begun = {**made, "status": "in_progress", "output": [], "usage": None}
    item, part = {**made["output"][0], "content": []}, made["output"][0]["content"][0]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": "there"},
        {"type": "response.output_text.done", **place, "text": "there"},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": made["output"][0]},
        {"type": "response.completed", "response": made},
    ]
    return sse_reply([sse({**one, "sequence_number": at}, one["type"]) for at, one in enumerate(events)])


_REPLIES: dict[str, tuple[Any, Any]] = {
    "/chat/completions": (openai_chat, lambda: sse_reply(openai_stream())),
    "/completions": (_completion, lambda: sse_reply([sse(_completion()), DONE])),
    "/embeddings": (lambda: openai_embeddings(model=EMBEDDER), None),
    "/messages": (lambda: anthropic_message("there", usage=anthropic_usage()), None),
    "/responses": (_response, _response_events),
    "/moderations": (lambda: {"id": "m", "model": "omni", "results": [{"flagged": False}]}, None),
    "/rerank": (
        lambda: {"id": "r", "results": [{"index": 0, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 1}}},
        None,
    ),
    "/images/generations": (lambda: _images(), None),
    "/images/edits": (lambda: _images(), None),
    "/audio/transcriptions": (lambda: {"text": "said"}, None),
    "/audio/translations": (lambda: {"text": "said"}, None),
    "/video-synthesis": (lambda: {"request_id": "r", "output": {"task_id": "t", "task_status": "PENDING"}}, None),
}  # fmt: skip
"""End of the upstream's path to its whole and its streamed reply; the first that fits answers."""


def _images() -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 100, "total_tokens": 105}
    return {"created": 7, "data": [{"b64_json": "aGk="}], "usage": usage}
