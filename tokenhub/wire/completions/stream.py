"""Relays a stream of legacy completions: the upstream's own frames, but for usage and the end.

As ``chat/relay.py``, with a text where that has a delta. Few speak it, so every frame is read.
"""

from typing import Any

import orjson

from tokenhub.usage import count
from tokenhub.wire import json_text, sse
from tokenhub.wire.chat.parts import choices_of, index_of, text_of
from tokenhub.wire.chat.reply import (
    FAILED_FINISHES,
    Classify,
    error_in,
    finish_reason,
    take_usage,
    unclassified,
)
from tokenhub.wire.chat.usage import take_count
from tokenhub.wire.completions.request import size_of
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.frame_reader import FrameReader
from tokenhub.wire.words import code_word


class CompletionsRelay(FrameReader):
    """A StreamReader for upstreams that have ``/completions``.

    ``choices``: how many will come; the end has begun when all of them have finished.
    """

    def __init__(
        self, *, choices: int = 1, classify: Classify = unclassified, limit_bytes: int = sse.FRAME_LIMIT_BYTES
    ) -> None:
        super().__init__(classify=classify, limit_bytes=limit_bytes)
        self._choices = choices
        self._finished: set[int] = set()

    def _take(self, frame: bytes) -> bytes:
        if self._over:
            return b""
        if frame.startswith((b"{", b"<")):
            return self._take_stray(frame)
        event, data = sse.parse(frame)
        if data is None:
            return b""
        if data == b"[DONE]":
            if not self._finished:
                return self._fail(Failure(FaultKind.PROTOCOL, code="no_choices"))
            self._complete()
            return b""
        payload = json_text.object_of(data)
        if payload is not None and (event == "error" or error_in(payload)):
            return self._fail(self._classify(payload))
        if payload is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="malformed_frame"))
        return self._take_chunk(payload, frame + b"\n\n")

    def _take_chunk(self, payload: dict[str, Any], whole: bytes) -> bytes:
        """Note a chunk's facts, take its usage out, and let it pass, wait, or be kept back."""
        facts, choices = self.facts, choices_of(payload)
        usage = take_usage(payload)
        if any(map(size_of, choices)):
            facts.usage = None  # a count that more follows is none of all (T10)
        if usage is not None:
            take_count(facts, usage)
            whole = sse.encode(orjson.dumps(payload))
        if not choices:
            return b"" if usage is not None else self._gate.put(whole)
        facts.upstream_id = facts.upstream_id or text_of(payload.get("id"))
        facts.created = facts.created or count(payload.get("created")) or 0
        facts.served_model = facts.served_model or text_of(payload.get("model"))
        facts.output_bytes += sum(map(size_of, choices))
        if any(choice.get("finish_reason") in FAILED_FINISHES for choice in choices):
            return self._fail(Failure(FaultKind.SERVER, code=code_word(choices[0].get("finish_reason"))))
        goes_on = any(size_of(choice) and index_of(choice) not in self._finished for choice in choices)
        facts.content = facts.content or goes_on
        self._note_ends(choices)
        released = self._gate.open() if goes_on and not self._gate.is_open else b""
        ended = len(self._finished) >= self._choices
        return released + (self._gate.keep(whole) if ended else self._gate.put(whole))

    def _told(self, reply: dict[str, Any]) -> bytes:
        """Return a whole reply as two chunks: its texts, then its ends."""
        choices = choices_of(reply)
        if not choices or not all(isinstance(choice.get("text"), str) for choice in choices):
            return b""
        texts = [{**choice, "finish_reason": None} for choice in choices]
        ends = [
            {**choice, "text": "", "logprobs": None, "finish_reason": choice.get("finish_reason") or "stop"}
            for choice in choices
        ]
        shared = {name: value for name, value in reply.items() if name != "usage"}
        first, last = {**shared, "choices": texts}, {**reply, "choices": ends}
        return sse.encode(orjson.dumps(first)) + sse.encode(orjson.dumps(last)) + sse.DONE

    def _note_ends(self, choices: list[dict[str, Any]]) -> None:
        for choice in choices:
            native = text_of(choice.get("finish_reason"))
            if native:
                self._finished.add(index_of(choice))
                self.facts.finish_reason, self.facts.native_finish_reason = finish_reason(native), native

    def _may_end(self) -> bool:
        return len(self._finished) >= self._choices
