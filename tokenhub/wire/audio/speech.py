"""OpenAI speech: a text in, sound out, as bytes or as events.

The sound passes as it comes; its last piece waits until the charge is committed. What an upstream
sends as bytes a client may have as events and the other way round: models that are billed by token
are always asked for events, because only those tell what was used (OpenAI's API reference, create
speech, 2026-11).
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

import orjson

from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import HubError, InvalidRequest
from tokenhub.usage import Units, Usage, count
from tokenhub.wire import estimate, json_text, sse
from tokenhub.wire.audio import events as audio_events
from tokenhub.wire.audio.events import Event, EventReader
from tokenhub.wire.chat import request as chat
from tokenhub.wire.chat.reply import Classify, error_in, unclassified
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.openai_surfaces import OpenAISurface
from tokenhub.wire.replies import StreamFacts
from tokenhub.wire.surface import Arrival, End

DELTA, DONE = "speech.audio.delta", "speech.audio.done"
MEDIA_TYPES: Mapping[str, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""By ``response_format``; as OpenAI sends them (recordings, 2026-11)."""
MAX_CHARACTERS = 100_000
"""OpenAI takes 4 096; others more. The upstream has the last word below this."""
TOKENS_PER_BYTE = 24
"""The most sound tokens a byte of text can become: 21 a second (0.015 USD a minute at 12 USD a million, OpenAI's
pricing page, 2026-11), a digit spoken in 0.3 s, four times as slow if told so."""
SILENCE_TOKENS = 1_024
TOKENS_PER_TEXT_TOKEN = 6
"""For an estimate: 4 bytes of English or one Chinese character are about a quarter of a second."""


class SpeechSurface(OpenAISurface):
    """``/v1/audio/speech``. Sound has no place for a comment or an error: a stream that fails is broken off."""

    wire: ClassVar[Wire] = Wire.SPEECH

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self._as_events = False

    def call(self, body: dict[str, Any], size_bytes: int) -> tuple[Call, dict[str, Any]]:
        call = parse_call(body, size_bytes, self.arrival.now_s)
        self.name(call)
        self._as_events = call.encoding == "sse"
        if not self._as_events:
            self.stream_type = MEDIA_TYPES.get(body.get("response_format") or "mp3", "application/octet-stream")
            self.keep_alive = b""
        return call, body

    def ending(self, held: bytes, end: End) -> bytes:
        if not self._as_events:
            return held
        return audio_events.told(held, DONE, lambda own: {**render_usage(end.usage), **own, **end.cost})

    def error_frame(self, error: HubError, request_id: str) -> bytes:
        if not self._as_events:
            return b""
        return sse.encode(orjson.dumps({"type": "error", **self.error(error, request_id)}))


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return the usage in the words of the done event; characters where those were counted."""
    shown = {"input_tokens": usage.prompt_total, "output_tokens": usage.output_total, "total_tokens": usage.total}
    characters = usage.units_of("character")
    return {**shown, "characters": characters} if characters else shown


# Requests ----------------------------------------------------------------------------------------


def parse_call(body: Mapping[str, Any], size_bytes: int, now_s: int = 0) -> Call:
    """Return the facts of a speech request; raises InvalidRequest that names the field at fault.

    Always a stream: sound passes as it comes. ``units`` are the characters that will be billed where
    a model is sold by those, and ``max_output`` bounds the tokens of sound where it is sold by these.
    """
    chat.refuse_control_fields(body)
    model = chat.parse_model(body)
    text = body.get("input")
    if not isinstance(text, str) or not 0 < len(text) <= MAX_CHARACTERS:
        raise InvalidRequest(f"input must be a text of 1 to {MAX_CHARACTERS} characters.", param="input")
    for name in ("response_format", "stream_format", "instructions"):
        if not isinstance(body.get(name), str | None):
            raise InvalidRequest(f"{name} must be a string.", param=name)
    if not isinstance(body.get("voice"), str | dict | None):
        raise InvalidRequest("voice must be a string or an object with an id.", param="voice")
    speed = body.get("speed")
    if speed is not None and not (type(speed) in (int, float) and 0.25 <= speed <= 4):
        raise InvalidRequest("speed must be a number from 0.25 to 4.", param="speed")
    wanted = body.get("stream_format") or "audio"
    if wanted not in ("audio", "sse"):
        raise InvalidRequest("stream_format must be audio or sse.", param="stream_format")
    return Call(
        capability=Capability.SPEECH,
        model=model,
        wire=Wire.SPEECH,
        stream=True,
        input_bytes=size_bytes,
        messages=1,
        max_output=len(text.encode("utf-8", "replace")) * TOKENS_PER_BYTE + SILENCE_TOKENS,
        units=(Units("character", len(text)),),
        tokens_estimate=estimate.of_text(text) * TOKENS_PER_TEXT_TOKEN,
        encoding=wanted,
        created_s=now_s,
    )


def request(body: Mapping[str, Any], upstream_id: str, *, events: bool) -> dict[str, Any]:
    """Return the body for an upstream; ``events``: it can send events, and is asked to."""
    sent = {name: value for name, value in chat.outgoing(body).items() if value is not None}
    sent.pop("stream_format", None)
    return {**sent, "model": upstream_id, **({"stream_format": "sse"} if events else {})}


# Replies -----------------------------------------------------------------------------------------


def parse_usage(raw: object) -> Usage | None:
    """Read the usage of a done event; None when it is absent or nonsense (T9)."""
    if not isinstance(raw, dict):
        return None
    read, made = count(raw.get("input_tokens")), count(raw.get("output_tokens"))
    return None if read is None or made is None else Usage(input=read, output=made)


def settle_usage(facts: StreamFacts, reported: Usage | None, call: Call, *, by_character: bool) -> None:
    """Put into the facts what is charged: what was told, the characters asked for, or an estimate of the sound."""
    if by_character:
        facts.usage = replace(reported or Usage(), units=call.units)
        return
    facts.estimated = reported is None
    facts.usage = reported or Usage(
        input=estimate.of_bytes(call.input_bytes), output=min(call.tokens_estimate, call.max_output or 0)
    )


def nothing_made(facts: StreamFacts) -> None:
    """Take back an estimate of sound that never came."""
    if facts.estimated and not facts.content:
        facts.usage, facts.estimated = Usage(), False


class SpeechEvents(EventReader):
    """Events from an upstream that sends them, for a client that wants them."""

    done: ClassVar[str] = DONE

    def __init__(self, call: Call, *, by_character: bool, classify: Classify = unclassified) -> None:
        super().__init__(classify=classify)
        self._call, self._by_character = call, by_character
        settle_usage(self.facts, None, call, by_character=by_character)

    def shows(self, event: Event) -> bool:
        return event.get("type") == DELTA and bool(event.get("audio"))

    def _take_event(self, event: Event, whole: bytes) -> bytes:
        if self.shows(event) and not self.facts.content and _sound_of(event) is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="malformed_audio"))
        return super()._take_event(event, whole)

    def ends(self, event: Event) -> None:
        settle_usage(self.facts, parse_usage(event.get("usage")), self._call, by_character=self._by_character)
        nothing_made(self.facts)


def _sound_of(event: Event) -> bytes | None:
    """Return the sound in a delta; None where what stands there is none."""
    try:
        return base64.b64decode(event.get("audio") or b"", validate=True)
    except (binascii.Error, TypeError, ValueError):
        return None


class SpeechDecoder(SpeechEvents):
    """Events from an upstream that sends them, as bytes for a client that wants sound; the last piece is kept back."""

    def __init__(self, call: Call, *, by_character: bool, classify: Classify = unclassified) -> None:
        super().__init__(call, by_character=by_character, classify=classify)
        self._last = b""

    def ending(self) -> bytes:
        return super().ending() + self._last

    def _take_event(self, event: Event, _whole: bytes) -> bytes:
        super()._take_event(event, b"")
        if event.get("type") != DELTA or self._is_done:
            return b""
        sound = _sound_of(event)
        if sound is None:
            return self._fail(Failure(FaultKind.PROTOCOL, code="malformed_audio"))
        if not sound:
            return b""
        released, self._last = self._last, sound
        return released


_TEXT: Final = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xbf\xc2-\xf4]*")
"""Bytes that text may have: no control characters, and none that UTF-8 has no use for."""
_TEXT_LIMIT_BYTES: Final = sse.FRAME_LIMIT_BYTES // 8


class SpeechBytes:
    """Sound from an upstream that sends nothing else; the last piece is kept back.

    A reply that is text to its end, such as JSON or a page, is an error in place of the sound (T74);
    sound of every format has bytes soon that no text has.
    """

    def __init__(self, call: Call, *, by_character: bool, classify: Classify = unclassified) -> None:
        self.facts = StreamFacts()
        self._classify = classify
        self._last = b""
        self._suspect: bytearray | None = bytearray()
        self._as_events = call.encoding == "sse"
        settle_usage(self.facts, None, call, by_character=by_character)

    def feed(self, data: bytes) -> bytes:
        if self.facts.failure is not None or not data:
            return b""
        if self._suspect is not None:
            self._suspect += data
            if _TEXT.fullmatch(data):
                if len(self._suspect) > _TEXT_LIMIT_BYTES:
                    self._judge(bytes(self._suspect))
                return b""
            data, self._suspect = bytes(self._suspect), None
        self.facts.content = True
        released, self._last = self._last, data
        return self._shown(released)

    def close(self) -> None:
        if self._suspect:
            self._judge(bytes(self._suspect))
        nothing_made(self.facts)
        self.facts.complete = self.facts.failure is None

    def ending(self) -> bytes:
        end = sse.encode(orjson.dumps({"type": DONE})) if self._as_events else b""
        return self._shown(self._last) + end

    def _judge(self, body: bytes) -> None:
        payload = json_text.object_of(body)
        if payload is not None and error_in(payload):
            self.facts.failure = self._classify(payload)
        else:
            self.facts.failure = Failure(FaultKind.PROTOCOL, code="not_audio")

    def _shown(self, sound: bytes) -> bytes:
        if not self._as_events or not sound:
            return sound
        return sse.encode(orjson.dumps({"type": DELTA, "audio": base64.b64encode(sound).decode()}))
