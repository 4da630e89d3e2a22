"""Gemini's own bodies on their way through: what a request may carry, a reply and a stream as they came.

A reply is read for its facts by the same code that translates it, and passes as it was. A
stream passes event by event, byte for byte, but for its end: the events from the last finish
reason on are kept back until the charge is committed.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call
from tokenhub.wire import opaque, sse
from tokenhub.wire.chat.request import GATEWAY_FIELDS
from tokenhub.wire.embeddings import over_gemini as embeddings_over_gemini
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.gate import Gate
from tokenhub.wire.gemini import reply as gemini_reply
from tokenhub.wire.gemini import signatures as gemini_signatures
from tokenhub.wire.gemini.frames import USAGE
from tokenhub.wire.gemini.stream import GeminiReader
from tokenhub.wire.replies import Reply

_OURS = GATEWAY_FIELDS | {"model", "prompt_cache_key"}
"""Members that are not sent: the gateway's own, and the model, which stands in the path."""

# Requests ----------------------------------------------------------------------------------------


def request(body: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """Return a generateContent body for an upstream; ``limit`` replaces the output limit.

    Signatures that another provider made mean nothing to Google: a call keeps Google's
    placeholder in their stead, any other part none.
    """
    sent = {name: value for name, value in body.items() if name not in _OURS}
    config = sent.get("generationConfig")
    if limit is not None and not (isinstance(config, Mapping) and config.get("maxOutputTokens") == limit):
        sent["generationConfig"] = {**(config if isinstance(config, Mapping) else {}), "maxOutputTokens": limit}
    contents = sent.get("contents")
    if isinstance(contents, list) and any(map(_has_foreign, contents)):
        sent["contents"] = [_without_foreign(one) if _has_foreign(one) else one for one in contents]
    return sent


def _parts(content: Any) -> list[Any]:
    parts = content.get("parts") if isinstance(content, Mapping) else None
    return parts if isinstance(parts, list) else []


def _is_foreign(part: Any) -> bool:
    return isinstance(part, Mapping) and opaque.is_packed(part.get("thoughtSignature"))


def _has_foreign(content: Any) -> bool:
    return any(map(_is_foreign, _parts(content)))


def _without_foreign(content: Mapping[str, Any]) -> dict[str, Any]:
    return {**content, "parts": [_own(part) if _is_foreign(part) else part for part in _parts(content)]}


def _own(part: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in part.items() if name != "thoughtSignature"}
    return {**kept, "thoughtSignature": gemini_signatures.NO_SIGNATURE} if "functionCall" in part else kept


def count_request(body: Mapping[str, Any], upstream_id: str) -> dict[str, Any]:
    """Return a countTokens body that counts all of a request: instructions and tools as well (ai.google.dev/api/tokens, 2026-11)."""
    return {"generateContentRequest": {"model": f"models/{upstream_id}", **request(body, None)}}


# Replies -----------------------------------------------------------------------------------------


def reply(raw: dict[str, Any], call: Call) -> Reply:
    """Read a whole reply; its body is the provider's own. Raises UpstreamFault."""
    read = gemini_reply.reply(raw, call)
    return Reply(
        body=raw,
        usage=read.usage,
        finish_reason=read.finish_reason,
        native_finish_reason=read.native_finish_reason,
        upstream_id=read.upstream_id,
        has_content=read.has_content,
        output_bytes=read.output_bytes,
        served_model=read.served_model,
        bound=read.binds,
    )


def embeddings(raw: dict[str, Any], call: Call) -> Reply:
    """Read a whole reply of ``embedContent`` or ``batchEmbedContents``; its body is the provider's own.

    Raises UpstreamFault for an error, or for another number of vectors than was asked for.
    """
    batch = {**raw, "embeddings": [raw["embedding"]]} if "embedding" in raw else raw
    read = embeddings_over_gemini.reply(batch, call, "")
    return Reply(
        body=raw,
        usage=read.usage,
        finish_reason=None,
        native_finish_reason=None,
        upstream_id=None,
        has_content=read.has_content,
    )


class GeminiRelay:
    """A StreamReader whose frames are Google's own events.

    ``GeminiReader`` tells the facts; its chunks are not used. A whole reply in place of a
    stream (a host that does not know ``alt=sse``) becomes events here.
    """

    def __init__(self, call: Call, limit_bytes: int = sse.FRAME_LIMIT_BYTES) -> None:
        self._reader = GeminiReader(call, limit_bytes)
        self.facts = self._reader.facts
        self._frames = sse.FrameSplitter(limit_bytes)
        self._gate = Gate(limit_bytes)
        self._shown = 0
        self._finished = False

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the stream; return the events that can go to the client."""
        if self.facts.failure is not None:
            return b""
        try:
            return b"".join([self._take(frame) for frame in self._frames.feed(data)])
        except sse.FrameTooLarge:
            self._fail("frame_too_large")
            return b""

    def close(self) -> None:
        """The upstream has ended: decide whether the reply is whole. Content that came with a broken end was not shown."""
        shown = self.facts.content
        try:
            for frame in self._frames.rest() if self.facts.failure is None else ():
                self._gate.take_back(self._take(frame))
            self._reader.close()
            self.facts.shown_id = self.facts.upstream_id
            if self.facts.complete:
                self._gate.take_back(b"".join(map(sse.encode, self._bare_events())))
        except sse.FrameTooLarge:
            self._fail("frame_too_large")
        if self.facts.failure is not None:
            self.facts.content = shown

    def ending(self) -> bytes:
        """Return the events that were kept back; nothing of a stream that is not whole."""
        return self._gate.ending() if self.facts.complete else b""

    def _take(self, frame: bytes) -> bytes:
        """Let one event pass, wait before the first content, or be kept back.

        From the first finish reason on the last event is, whatever it says: older models name one with each event.
        """
        self._reader.feed(frame + b"\n\n")
        self.facts.shown_id = self.facts.upstream_id
        if self.facts.failure is not None:
            return b""
        data = sse.parse(frame)[1]
        if data is None or self._reader.bare:
            return b""
        event = frame + b"\n\n"
        made, self._shown = self._reader.facts.output_bytes > self._shown, self._reader.facts.output_bytes
        released = self._gate.open() if not self._gate.is_open and (made or self._begins()) else b""
        self._finished = self._finished or b'"finishReason"' in data
        if self._finished:
            return released + self._gate.keep(event)
        return released + self._gate.put(event)

    def _begins(self) -> bool:
        """Say whether the first content has come while events were still waiting for it."""
        return self.facts.content and not self._gate.keeps

    def _bare_events(self) -> list[bytes]:
        if not self._reader.bare:
            return []
        value = orjson.loads(self._reader.bare)
        return [orjson.dumps(one) for one in (value if isinstance(value, list) else [value])]

    def _fail(self, code: str) -> None:
        self.facts.failure = self.facts.failure or Failure(FaultKind.PROTOCOL, code=code)


# The last event ----------------------------------------------------------------------------------


def with_usage(frames: bytes, counted: Mapping[str, Any], cost: Mapping[str, Any], *, estimated: bool) -> bytes:
    """Return the events kept back, the last one that counts with the cost beside its own usage; all others as they are.

    ``counted`` is our usage, which stands where the upstream gave none that makes sense (``estimated``).
    """
    events = sse.frames_of(frames)
    counting = [place for place, event in enumerate(events) if b'"usageMetadata"' in event]
    last = counting[-1] if counting else len(events) - 1
    made = []
    for place, event in enumerate(events):
        if place == last:
            value = orjson.loads(sse.parse(event)[1] or b"{}")
            own = None if estimated else value.get(USAGE)
            made.append(sse.encode(orjson.dumps({**value, USAGE: usage(own, counted, cost)})))
        else:
            made.append(event + b"\n\n")
    return b"".join(made)


def usage(own: Any, counted: Mapping[str, Any], cost: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage of a reply: the provider's own members where it counted, else ours, and the cost."""
    has_own = isinstance(own, Mapping) and "promptTokenCount" in own
    return {**(own if has_own else counted), **cost}
