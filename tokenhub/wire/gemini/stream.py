"""Gemini event streams, read into OpenAI's chunks.

Every event is a whole GenerateContentResponse with the next parts. There is no ``[DONE]``:
a stream is complete when every candidate has named a finish reason and the connection was
closed after a whole event. Finish reasons can come more than once (``STOP`` on each event),
so they are kept back until the end.

What stands in the stream without ``data:`` is *bare*: an error, printed as JSON after good
events (vercel/ai issue 5217), or a whole reply from a host that does not know ``alt=sse``.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.call import Call
from tokenhub.usage import Usage
from tokenhub.wire import json_text, sse
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat.frames import ChunkWriter
from tokenhub.wire.chat.parts import binds
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.gemini import choice as gemini_choice
from tokenhub.wire.gemini import common as gemini
from tokenhub.wire.gemini import errors as gemini_errors
from tokenhub.wire.gemini.arguments import MalformedArguments
from tokenhub.wire.gemini.choice import Choice
from tokenhub.wire.replies import StreamFacts

_BARE = re.compile(rb"^[ \t]*[\[{]", re.MULTILINE)
_ERROR_BYTES = 16 * 1024
"""Up to here bare text is tried for an error as it grows; beyond it the end of the stream decides."""


class GeminiReader:
    """Reads a ``streamGenerateContent?alt=sse`` stream; see :class:`StreamReader`."""

    def __init__(self, call: Call, limit_bytes: int = sse.FRAME_LIMIT_BYTES) -> None:
        self.facts = StreamFacts()
        self._call = call
        self._limit = limit_bytes
        self._frames = sse.FrameSplitter(limit_bytes)
        self._choices: dict[int, Choice] = {}
        self._writer: ChunkWriter | None = None
        self._ids = ""
        self._usage: Usage | None = None
        self._steady = False
        self.bare = bytearray()
        """What has come without ``data:``; from its beginning on all belongs to it."""
        self._rest: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the stream; return the bytes that can go to the client."""
        if self.facts.failure is not None:
            return b""
        try:
            frames = self._frames.feed(data)
        except sse.FrameTooLarge:
            self._fail("frame_too_large")
            return b""
        return b"".join([chunk for frame in frames for chunk in self._frame(frame)])

    def close(self) -> None:
        """The upstream has ended: decide whether the reply is whole.

        A last event without its blank line counts if it is whole (``ending`` returns its
        chunks); anything else that is left over is a cut, and content that came with it is
        withheld: nothing of it was shown, so another provider may still answer.
        """
        shown = self.facts.content
        for frame in self._frames.rest() if self.facts.failure is None else ():
            self._rest += self._frame(frame)
        if self.bare and self.facts.failure is None:
            self._rest += self._bare_events()
        if self.facts.failure is None:
            self._end()
        if self.facts.failure is not None:
            self.facts.content = shown

    def ending(self) -> bytes:
        """Return the frames that were kept back: what the last bytes completed, and each choice's finish reason."""
        if not self.facts.complete or self._writer is None:
            return b""
        ends = list(self._rest)
        for choice in self._ordered():
            if not choice.started:
                ends.append(self._writer.delta({"role": "assistant", "content": ""}, choice.index))
            ends.append(self._writer.finish(choice.finish_reason, choice.index))
        return b"".join(ends)

    def _frame(self, frame: bytes) -> list[bytes]:
        """Return the chunks of one frame; none once the stream has failed."""
        if self.facts.failure is not None:
            return []
        if self.bare:
            self._take_bare(frame)
            return []
        if frame.startswith(b"data: ") and b"\n" not in frame:
            return self._data(frame[6:])
        found = _BARE.search(frame)
        data = sse.parse(frame if found is None else frame[: found.start()])[1]
        chunks = [] if data is None else self._data(data)
        if found is not None and self.facts.failure is None:
            self._take_bare(frame[found.start() :])
        return chunks

    def _data(self, data: bytes) -> list[bytes]:
        try:
            event = json_text.loads(data)
        except orjson.JSONDecodeError:
            event = None
        return self._event(event)

    # Bare JSON ---------------------------------------------------------------------------------

    def _take_bare(self, text: bytes) -> None:
        self.bare += text + b"\n"
        if len(self.bare) > self._limit:
            self._fail("frame_too_large")
        elif len(self.bare) <= _ERROR_BYTES and (error := gemini_errors.parse_error(self.bare)) is not None:
            self.facts.failure = gemini_errors.classify(error, None)

    def _bare_events(self) -> list[bytes]:
        """Read bare text to its end: one response, or an array of them."""
        try:
            value = json_text.loads(self.bare)
        except orjson.JSONDecodeError:
            self._fail("cut")
            return []
        events = value if isinstance(value, list) else [value]
        return [chunk for event in events for chunk in self._event(event)]

    # Events ------------------------------------------------------------------------------------

    def _event(self, event: object) -> list[bytes]:
        if not isinstance(event, dict):
            self._fail("malformed_event")
            return []
        if "error" in event:
            self.facts.failure = gemini_errors.classify(gemini_errors.parse_error(event), None)
            return []
        writer = self._writer or self._start(event)
        if self._steady and (text := _plain_text(event)) is not None:
            self._note_usage(event.get("usageMetadata"))
            self.facts.output_bytes += len(text) if text.isascii() else len(text.encode())
            return [writer.text(text)]
        candidates = event.get("candidates")
        chunks: list[bytes] = []
        try:
            for position, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
                if isinstance(candidate, dict):
                    self._candidate(candidate, position, writer, chunks)
        except MalformedArguments:
            self._fail("malformed_arguments")
        self._steady = 0 in self._choices and self._choices[0].started and self.facts.content
        self._count(event.get("usageMetadata"), made=bool(chunks))
        if not self._choices and (reason := gemini_choice.blocked(event)) is not None:
            self._choices[0] = gemini_choice.blocked_choice(reason, self._ids)
        return chunks

    def _start(self, event: Mapping[str, Any]) -> ChunkWriter:
        """Take from the first event what every chunk repeats."""
        model = event.get("modelVersion")
        self.facts.served_model = model if isinstance(model, str) and model else None
        self.facts.upstream_id = gemini_choice.response_id(event)
        self._ids = gemini_choice.own_id(self.facts.upstream_id)
        served = self.facts.served_model or self._call.model
        self.facts.shown_id = f"chatcmpl-{self._ids}"
        self._writer = ChunkWriter(self.facts.shown_id, self._call.created_s, served)
        return self._writer

    def _candidate(self, candidate: Mapping[str, Any], position: int, writer: ChunkWriter, chunks: list[bytes]) -> None:
        index = gemini_choice.index_of(candidate, position)
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = Choice(index, self._ids, one_call=self._call.one_tool_call)
        logprobs = gemini_choice.logprobs_of(candidate)
        for delta in choice.take(candidate):
            self.facts.content = self.facts.content or choice.has_content
            self.facts.output_bytes += chat_reply.text_bytes(delta)
            self.facts.binds = self.facts.binds or binds(delta)
            if not choice.started:
                delta = {"role": "assistant", **delta}
                choice.started = True
            chunks.append(writer.delta(delta, index, logprobs=logprobs))
            logprobs = None

    def _count(self, usage: object, *, made: bool) -> None:
        """Keep the last usage: it is cumulative, so one that more content follows uncounted is worth nothing (T10)."""
        if made or (isinstance(usage, dict) and "promptTokenCount" in usage):
            self._note_usage(usage)

    def _note_usage(self, usage: object) -> None:
        """Take a count. One that has fallen keeps the earlier one, and is none of content that came between uncounted (T10)."""
        counted, before = gemini.parse_usage(usage), self.facts.told
        self.facts.tell(counted)
        whole = counted.following(before) if counted is not None and before is not None else counted
        self._usage = whole if self._usage is not None or whole == counted else None

    def _end(self) -> None:
        choices = self._ordered()
        failure = gemini_choice.failure(choices)
        if not choices or any(choice.native is None for choice in choices):
            self._fail("cut")
        elif failure is not None:
            self.facts.failure = failure
        else:
            facts = self.facts
            facts.complete = True
            facts.finish_reason, facts.native_finish_reason = choices[0].finish_reason, choices[0].native
            facts.usage = self._usage

    def _fail(self, code: str) -> None:
        self.facts.failure = Failure(FaultKind.PROTOCOL, code=code)

    def _ordered(self) -> list[Choice]:
        return [self._choices[index] for index in sorted(self._choices)]


def _plain_text(event: Mapping[str, Any]) -> str | None:
    """Return the text of an event that only goes on with the first choice's text: the common case, read cheaply."""
    try:
        (candidate,) = event["candidates"]
        (part,) = candidate["content"]["parts"]
        text = part["text"]
    except (KeyError, TypeError, ValueError):
        return None
    if len(part) != 1 or type(text) is not str or not text:
        return None
    if "finishReason" in candidate or "logprobsResult" in candidate or candidate.get("index"):
        return None
    return text
