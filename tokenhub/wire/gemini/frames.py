"""What TokenHub itself writes in Gemini's form: usage, errors, and the two ways a stream is framed."""

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.errors import HubError
from tokenhub.usage import Usage
from tokenhub.wire import sse
from tokenhub.wire.chat import frames as chat_frames

USAGE = "usageMetadata"
KEEP_ALIVE = b"\n"
"""White space, which both framings take anywhere: google-genai 3.4.0 reads an SSE comment as JSON and fails (2026-11-22)."""

_STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "OUT_OF_RANGE",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status to Google's code word (google.rpc.Code); one that is not here is UNKNOWN."""
_TYPE = "type.googleapis.com/google.rpc."


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return ``usageMetadata``: prompt with its cached part inside, thoughts apart from the answer, zeros left out as Google does.

    Tokens of an unknown kind are in the total alone, where ``gemini.parse_usage`` finds them.
    """
    thoughts = min(usage.reasoning, usage.output)
    made = {
        "promptTokenCount": usage.prompt_total,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output_total - thoughts,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": usage.total,
    }
    shown: dict[str, Any] = {
        name: tokens for name, tokens in made.items() if tokens or name in ("promptTokenCount", "totalTokenCount")
    }
    if usage.audio_input or usage.image_input:
        text = usage.prompt_total - usage.audio_input - usage.image_input
        shown["promptTokensDetails"] = _details(TEXT=text, IMAGE=usage.image_input, AUDIO=usage.audio_input)
    if usage.image_output:
        text = usage.output_total - thoughts - usage.image_output
        shown["candidatesTokensDetails"] = _details(TEXT=text, IMAGE=usage.image_output)
    return shown


def _details(**tokens: int) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": count} for modality, count in tokens.items() if count]


def render_error(error: HubError, request_id: str) -> dict[str, Any]:
    """Return a google.rpc.Status in JSON; its details hold what OpenAI's form says in members of its own."""
    said = chat_frames.render_error(error, request_id)["error"]
    metadata = {"code": error.code, **{name: _text(value) for name, value in said.get("metadata", {}).items()}}
    details: list[dict[str, Any]] = [
        {"@type": _TYPE + "ErrorInfo", "reason": error.code.upper(), "domain": "tokenhub", "metadata": metadata},
        {"@type": _TYPE + "RequestInfo", "requestId": request_id},
    ]
    if error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]})
    if error.retry_after_s is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{error.retry_after_s}s"})
    status = _STATUSES.get(error.status, "UNKNOWN")
    return {"error": {"code": error.status, "message": error.message, "status": status, "details": details}}


def _text(value: Any) -> str:
    """Google's metadata are texts: anything else is written as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


class Framing:
    """A stream as the client asked for it: events (``alt=sse``), or one JSON array in pieces."""

    def __init__(self, *, events: bool) -> None:
        self._events = events
        self._begun = False

    def put(self, event: bytes) -> bytes:
        """Return one event, given as JSON on one line."""
        if self._events:
            return sse.encode(event)
        before, self._begun = b",\r\n" if self._begun else b"[", True
        return before + event

    def frames(self, frames: bytes) -> bytes:
        """Return whole events of a stream that is framed as events already."""
        if self._events:
            return frames
        return b"".join(self.put(data) for frame in sse.frames_of(frames) if (data := sse.parse(frame)[1]) is not None)

    def end(self) -> bytes:
        """Return what closes the stream."""
        if self._events:
            return b""
        return b"]" if self._begun else b"[]"
