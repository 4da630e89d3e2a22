"""Chat-completion chunks as Gemini's events: each a whole GenerateContentResponse with the next parts.

``gemini/stream.py`` is the reverse. Text passes piece by piece; function calls are put together
and sent whole in the last event, which has the finish reasons and the usage as well.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from tokenhub.usage import count
from tokenhub.wire import json_text, sse
from tokenhub.wire.chat.parts import blocks_of, calls_of, choices_of, text_of
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.gemini.over_chat_reply import CallMaker, Part, content, finish_reason, logprobs, said, sign
from tokenhub.wire.gemini.signatures import MEMBERS


class _Candidate:
    """What has come of one choice that cannot be sent yet."""

    def __init__(self) -> None:
        self.finish: Any = None
        self._calls: dict[int, CallMaker] = {}
        self._signed: dict[str, list[Any]] = {}

    def take(self, delta: Mapping[str, Any], *, thoughts: bool) -> list[Part]:
        """Take a delta; return the parts that can be sent."""
        for name in MEMBERS:
            if signed := blocks_of(delta, name):
                self._signed.setdefault(name, []).extend(signed)
        for place, call in enumerate(calls_of(delta)):
            given = count(call.get("index"))
            self._calls.setdefault(place if given is None else given, CallMaker()).add(call)
        return list(said(delta, thoughts=thoughts))

    def end(self, index: int) -> dict[str, Any]:
        """Return the candidate as the last event has it: its calls, whole, and why it ended."""
        made = [call.part() for call in self._calls.values()]
        parts = [part for part in made if part is not None]
        sign(parts, self._signed)
        reason = finish_reason(self.finish, lost=len(parts) < len(made))
        return {"content": content(parts), "finishReason": reason, "index": index}


class GeminiEvents:
    """Writes one translated stream. ``thoughts``: the client wants to see what the model thought."""

    def __init__(self, *, thoughts: bool) -> None:
        self._thoughts = thoughts
        self._candidates: dict[int, _Candidate] = {}
        self._named: dict[str, Any] = {}

    def feed(self, frames: bytes) -> list[bytes]:
        """Return the events that whole chat frames make, as JSON; raises UpstreamFault for a frame that cannot be read."""
        events = []
        for frame in sse.frames_of(frames):
            data = sse.parse(frame)[1]
            if data is None or data == b"[DONE]":
                continue
            event = self._event(_object(data))
            if event is not None:
                events.append(event)
        return events

    def last(self, usage: Mapping[str, Any]) -> bytes:
        """Return the last event, with every candidate's end and the usage."""
        last = [candidate.end(index) for index, candidate in sorted(self._candidates.items())]
        return orjson.dumps({"candidates": last, "usageMetadata": usage, **self._named})

    def _event(self, chunk: Mapping[str, Any]) -> bytes | None:
        """Return the event of a chunk; None for one that has nothing to show."""
        for name, known_as in (("model", "modelVersion"), ("id", "responseId")):
            if known_as not in self._named and (value := text_of(chunk.get(name))) is not None:
                self._named[known_as] = value
        made = [one for one in map(self._candidate, choices_of(chunk)) if one is not None]
        return orjson.dumps({"candidates": made, **self._named}) if made else None

    def _candidate(self, choice: Mapping[str, Any]) -> dict[str, Any] | None:
        index = count(choice.get("index")) or 0
        candidate = self._candidates.setdefault(index, _Candidate())
        delta = choice.get("delta")
        parts = candidate.take(delta, thoughts=self._thoughts) if isinstance(delta, Mapping) else []
        candidate.finish = choice.get("finish_reason") or candidate.finish
        found = logprobs(choice.get("logprobs"))
        if not parts and found is None:
            return None
        made: dict[str, Any] = {"content": content(parts), "index": index}
        return made if found is None else {**made, "logprobsResult": found}


def _object(data: bytes) -> dict[str, Any]:
    value = json_text.object_of(data)
    if value is None:
        raise UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_frame"))
    return value
