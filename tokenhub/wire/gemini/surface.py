"""Google's own API as its clients speak it: generateContent, streamed and not, and embeddings.

The model and what is asked stand in the path: ``/v1beta/models/{model}:{method}``, the same
under ``/v1`` (google-genai asks there, 3.4.0). A name may hold ``/`` and may be written with
percent signs; it is taken apart here and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import unquote

import orjson

from tokenhub.call import Call, Wire
from tokenhub.errors import HubError, NotFound
from tokenhub.usage import Usage
from tokenhub.wire.chat import request as chat
from tokenhub.wire.gemini import frames as gemini_frames
from tokenhub.wire.gemini import native as gemini_native
from tokenhub.wire.gemini import over_chat as gemini_over_chat
from tokenhub.wire.gemini import over_chat_reply as gemini_over_chat_reply
from tokenhub.wire.gemini import spelling as gemini_spelling
from tokenhub.wire.gemini.frames import USAGE, Framing
from tokenhub.wire.gemini.media import media_of
from tokenhub.wire.gemini.over_chat_stream import GeminiEvents
from tokenhub.wire.json_body import parse_object
from tokenhub.wire.replies import Reply
from tokenhub.wire.surface import JSON, KEY_HEADERS, Arrival, End, JsonSurface, Rendered

PREFIXES = ("/v1beta/models/", "/v1/models/")
STREAM, PLAIN, COUNT = "streamGenerateContent", "generateContent", "countTokens"


def target_of(path: str) -> tuple[str, str]:
    """Return model and method of a path; the method is empty where there is none."""
    prefix = next((one for one in PREFIXES if path.startswith(one)), "")
    model, _, method = unquote(path[len(prefix) :]).rpartition(":")
    return model.removeprefix("models/"), method


class GeminiSurface(JsonSurface):
    """What all of Google's methods share: where the model stands, errors, the key."""

    wire: ClassVar[Wire] = Wire.GEMINI
    key_headers: ClassVar[tuple[str, ...]] = ("x-goog-api-key", *KEY_HEADERS)

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self.model, self.method = target_of(arrival.path)
        self.keep_alive = gemini_frames.KEEP_ALIVE

    def parse(self, raw: bytes) -> dict[str, Any]:
        body = gemini_spelling.normalised(parse_object(raw))
        chat.refuse_control_fields(body)
        return body

    def call(self, _body: dict[str, Any], _size_bytes: int) -> tuple[Call, dict[str, Any]]:
        raise NotFound(f"There is no method {self.method[:64]!r} of models here; see docs/http.md.")

    def reply(self, reply: Reply) -> Rendered:
        return Rendered(orjson.dumps({name: one for name, one in reply.body.items() if name != USAGE}), USAGE)

    def usage(self, usage: Usage, cost: Mapping[str, Any], reply: Reply | None) -> Mapping[str, Any]:
        own = reply.body.get(USAGE) if self.native and reply is not None else None
        return gemini_native.usage(own, gemini_frames.render_usage(usage), cost)

    def feed(self, frames: bytes) -> bytes:
        return frames

    def ending(self, held: bytes, _end: End) -> bytes:
        return held

    def error(self, error: HubError, request_id: str) -> Mapping[str, Any]:
        return gemini_frames.render_error(error, request_id)

    def error_frame(self, error: HubError, request_id: str) -> bytes:
        return b"data: %b\n\n" % orjson.dumps(gemini_frames.render_error(error, request_id))


class GenerateSurface(GeminiSurface):
    """``:generateContent`` and ``:streamGenerateContent``."""

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        events = arrival.query.get("alt") == "sse"
        if not events:
            self.stream_type = JSON
        self._framing = Framing(events=events)
        self._events = GeminiEvents(thoughts=False)
        self._thoughts = False

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        stream = self.method == STREAM
        inside = gemini_over_chat.request(body, self.model, stream=stream)
        self._thoughts = gemini_over_chat.shows_thoughts(body)
        self._events = GeminiEvents(thoughts=self._thoughts)
        found, call = media_of(body), chat.parse_call(inside, size_bytes, self.arrival.now_s)
        made = replace(call, wire=Wire.GEMINI, images=found.images, audio_parts=found.audio_parts, files=found.files)
        return made, inside

    def reply(self, reply: Reply) -> Rendered:
        if self.native:
            return super().reply(reply)
        return Rendered(orjson.dumps(gemini_over_chat_reply.response(reply.body, thoughts=self._thoughts)), USAGE)

    def feed(self, frames: bytes) -> bytes:
        if self.native:
            return self._framing.frames(frames)
        return b"".join(map(self._framing.put, self._events.feed(frames)))

    def hold_back(self, frames: bytes) -> bytes:
        return frames if self.native else self.feed(frames)

    def ending(self, held: bytes, end: End) -> bytes:
        counted = gemini_frames.render_usage(end.usage)
        if self.native:
            last = gemini_native.with_usage(held, counted, end.cost, estimated=end.facts.usage is None)
            return self._framing.frames(last) + self._framing.end()
        return held + self._framing.put(self._events.last({**counted, **end.cost})) + self._framing.end()

    def error_frame(self, error: HubError, request_id: str) -> bytes:
        return self._framing.put(orjson.dumps(gemini_frames.render_error(error, request_id))) + self._framing.end()


class CountSurface(GenerateSurface):
    """``:countTokens``: a request as for a reply, bare or wrapped in ``generateContentRequest``."""

    def parse(self, raw: bytes) -> dict[str, Any]:
        body = super().parse(raw)
        wrapped = body.pop("generateContentRequest", None)
        if not isinstance(wrapped, dict):
            return body
        chat.refuse_control_fields(wrapped)
        return {**body, **wrapped}
