"""OpenAI transcriptions and translations: a recording in, its words out, whole or as events.

Billed by the second or by the token, as the price card says. Seconds are those the provider tells,
else those of the recording's own header; what neither tells is an estimate from its size, marked
so. The form goes upstream as it came, its file uncopied, but for the gateway's own fields and the
model's name (OpenAI's API reference and recordings, 2026-11).
"""

import codecs
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

import orjson

from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import HubError, InvalidRequest
from tokenhub.usage import Units, Usage, count
from tokenhub.wire import estimate, forms, json_text, multipart, sse
from tokenhub.wire.audio import events as audio_events
from tokenhub.wire.audio import recordings
from tokenhub.wire.audio.events import Event, EventReader
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat import request as chat
from tokenhub.wire.chat.parts import text_of
from tokenhub.wire.chat.reply import Classify, unclassified
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.multipart import Upload
from tokenhub.wire.openai_surfaces import OpenAISurface
from tokenhub.wire.replies import Reply
from tokenhub.wire.surface import Arrival, End, Rendered

DELTA, SEGMENT, DONE = "transcript.text.delta", "transcript.text.segment", "transcript.text.done"
SUBTITLES = frozenset({"srt", "vtt"})
"""Forms of reply that no model streams."""
TEXTS = SUBTITLES | {"text"}
"""Forms of reply that are no JSON; they have no place for usage."""
PLAIN_TEXT = "text/plain; charset=utf-8"
TRANSLATIONS = "translations"
_ELSEWHERE = ("file_id", "file_url", "url")
"""Where Groq and Mistral take a recording beside, or for, a file (their API pages, audio transcription, 2026-11)."""
AUDIO_TOKENS_PER_SECOND = 25
"""The most: 10 are recorded (gpt-4o-transcribe, 2026-11), 17 follow from OpenAI's price of a minute."""
USUAL_AUDIO_TOKENS = 10
TEXT_TOKENS_PER_SECOND = 48
"""The most: fast speech is 6, speakers and times of a diarized reply come on top (39 recorded in a short one)."""
MOST_CHARACTERS_S = 40
"""The fastest speech there is, some 400 words a minute, is 35."""
MAX_SECONDS = 10**7
"""More is nonsense (T9)."""
TEXT_TOKENS = 512
"""What a short recording's transcript can have on top."""


class TranscriptionsSurface(OpenAISurface):
    """``/v1/audio/transcriptions``."""

    wire: ClassVar[Wire] = Wire.TRANSCRIPTIONS
    operation: ClassVar[str] = ""

    def __init__(self, arrival: Arrival) -> None:
        super().__init__(arrival)
        self.media_type = multipart.MEDIA_TYPE
        self._format = "json"
        self._own: Mapping[str, Any] = {}

    def parse(self, raw: bytes) -> dict[str, Any]:
        headers = {name.lower(): text for name, text in self.arrival.headers.items()}
        return forms.parse(headers.get("content-type", ""), raw)

    def call(self, body: dict[str, Any], _size_bytes: int) -> tuple[Call, dict[str, Any]]:
        call = parse_call(body, self.operation, self.arrival.now_s)
        self.name(call)
        self._format = call.encoding or "json"
        return call, body

    def reply(self, reply: Reply) -> Rendered:
        if self._format in TEXTS:
            return Rendered(reply.body["text"].encode(), content_type=PLAIN_TEXT)
        own = reply.body.pop("usage", None)
        self._own = own if isinstance(own, dict) else {}
        return Rendered(orjson.dumps(reply.body), "usage")

    def usage(self, usage: Usage, cost: Mapping[str, Any], _reply: Reply | None) -> Mapping[str, Any]:
        return {**render_usage(usage), **self._own, **cost}

    def ending(self, held: bytes, end: End) -> bytes:
        shown = audio_events.told(held, DONE, lambda own: {**render_usage(end.usage), **own, **end.cost})
        return shown + sse.DONE

    def error_frame(self, error: HubError, request_id: str) -> bytes:
        return sse.encode(orjson.dumps({"type": "error", **self.error(error, request_id)}))


class TranslationsSurface(TranscriptionsSurface):
    """``/v1/audio/translations``."""

    operation: ClassVar[str] = TRANSLATIONS


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return the usage as OpenAI words it: tokens where any were counted, else the seconds."""
    if usage.total:
        details = {"text_tokens": usage.input, "audio_tokens": usage.audio_input}
        read, made = usage.prompt_total, usage.output_total
        return {
            "type": "tokens",
            "input_tokens": read,
            "input_token_details": details,
            "output_tokens": made,
            "total_tokens": read + made,
        }
    return {"type": "duration", "seconds": usage.units_of("second")}


# Requests ----------------------------------------------------------------------------------------


def parse_call(form: Mapping[str, Any], operation: str = "", now_s: int = 0) -> Call:
    """Return the facts of a transcription; raises InvalidRequest that names the field at fault.

    ``units`` are the most seconds the recording can be counted as, and the token bounds follow from those.
    """
    chat.refuse_control_fields(form)
    model = chat.parse_model(form)
    file = form.get("file")
    if not isinstance(file, Upload) or not len(file.data):
        raise InvalidRequest("file must be a recording, sent as a file.", param="file")
    for name in _ELSEWHERE:
        if form.get(name):
            raise InvalidRequest(
                f"{name} names a recording that lies elsewhere, whose length nobody here can tell: send it as file alone.",
                code="unsupported_parameter",
                param=name,
            )
    stream = form.get("stream")
    if stream is not None and (not isinstance(stream, str) or stream.lower() not in ("true", "false", "1", "0")):
        raise InvalidRequest("stream must be true or false.", param="stream")
    wanted = form.get("response_format")
    if not isinstance(wanted, str | None):
        raise InvalidRequest("response_format must be a string.", param="response_format")
    told = recordings.seconds_of(file.data)
    most = recordings.most_seconds(told, file.data)
    texts = sum(len(orjson.dumps(value)) for value in form.values() if _is_text(value))
    return Call(
        capability=Capability.TRANSCRIPTIONS,
        model=model,
        wire=Wire.TRANSCRIPTIONS,
        stream=not operation and (stream or "false").lower() in ("true", "1"),
        input_bytes=texts + most * AUDIO_TOKENS_PER_SECOND,
        messages=1,
        max_output=most * TEXT_TOKENS_PER_SECOND + TEXT_TOKENS,
        units=(Units("second", most),),
        encoding=wanted or "json",
        operation=operation,
        seconds=told,
        created_s=now_s,
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def request(form: Mapping[str, Any], upstream_id: str, *, stream: bool) -> dict[str, Any]:
    """Return the fields for an upstream; ``stream`` is left out where nothing is streamed, as not every server knows it.

    The events of a text are those of JSON, which is asked for: a model that knows no streams answers with one, usage and all.
    """
    sent = {name: value for name, value in chat.outgoing(form).items() if name != "stream"}
    if stream and sent.get("response_format") == "text":
        sent["response_format"] = "json"
    return {**sent, "model": upstream_id, **({"stream": "true"} if stream else {})}


# Replies -----------------------------------------------------------------------------------------


def parse_usage(raw: object) -> tuple[Usage | None, float | None]:
    """Read a usage: tokens, and seconds, where it tells any and no nonsense (T9).

    ``type: tokens`` and ``type: duration`` are OpenAI's; ``prompt_audio_seconds`` is Mistral's
    (docs.mistral.ai, audio transcription, 2026-11).
    """
    if not isinstance(raw, dict):
        return None, None
    seconds = _seconds(raw.get("seconds", raw.get("prompt_audio_seconds")))
    read = count(raw.get("input_tokens", raw.get("prompt_tokens")))
    made = count(raw.get("output_tokens", raw.get("completion_tokens", 0)))
    if read is None or made is None:
        return None, seconds
    details = raw.get("input_token_details")
    text = count(details.get("text_tokens")) if isinstance(details, dict) else 0
    # All that is not said to be text is sound, which is never cheaper.
    text = min(text or 0, read)
    return Usage(input=text, audio_input=read - text, output=made), seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < MAX_SECONDS else None


def usage_of(
    raw: Mapping[str, Any], call: Call, text: str, *, by_second: bool, seconds_min: int = 0
) -> tuple[Usage, bool]:
    """Return what a transcript is charged as, and whether that is an estimate.

    ``by_second``: seconds have a price; else tokens have. A begun second counts whole.
    """
    tokens, told = parse_usage(raw.get("usage"))
    seconds = told if told is not None else _seconds(raw.get("duration"))
    is_told = seconds is not None
    if seconds is None and call.seconds is not None:
        heard = _heard_seconds(raw, call, text)
        seconds, is_told = max(call.seconds, heard), heard <= call.seconds
    missing = not is_told if by_second else tokens is None
    if seconds is None:
        seconds = call.units[0].count * recordings.LEAST_BITS_S / recordings.USUAL_BITS_S
    if tokens is None:
        tokens = Usage() if by_second else _estimate(seconds, text)
    billed = max(math.ceil(round(seconds, 3)), seconds_min)
    return replace(tokens, units=(Units("second", billed),)), missing


_MOMENT: Final = re.compile(r"(?:(\d{1,3}):)?(\d\d):(\d\d)[.,](\d{3})", re.ASCII)


def _heard_seconds(raw: Mapping[str, Any], call: Call, text: str) -> float:
    """Return how long a recording is at least by its transcript, which its sender cannot shorten as he can its header.

    That is the end of the last passage, where passages have times (srt, vtt, verbose_json), and
    never fewer than its words take to say. 0 where its size gives no reason to doubt the header.
    """
    most = call.units[0].count
    if call.seconds is None or most <= recordings.most_told(call.seconds):
        return 0.0
    segments = raw.get("segments")
    last = segments[-1] if isinstance(segments, list) and segments else None
    found = [len(text) / MOST_CHARACTERS_S, (_seconds(last.get("end")) or 0.0) if isinstance(last, dict) else 0.0]
    place = text.rfind("-->") if call.encoding in ("srt", "vtt") else -1
    if place >= 0 and (moment := _MOMENT.match(text[place + 3 :].lstrip())):
        hours, minutes, seconds, millis = (int(part or 0) for part in moment.groups())
        found.append(hours * 3600 + minutes * 60 + seconds + millis / 1000)
    return min(max(found), most)


def _estimate(seconds: float, text: str) -> Usage:
    return Usage(audio_input=math.ceil(seconds * USUAL_AUDIO_TOKENS), output=estimate.of_text(text))


def reply(
    content: bytes, call: Call, *, by_second: bool, seconds_min: int = 0, classify: Classify = unclassified
) -> Reply:
    """Read a whole reply, JSON or text as it was asked for; raises UpstreamFault for an error inside a 200 (T74).

    A text travels inside as ``{"text": …}``.
    """
    bare = content.removeprefix(codecs.BOM_UTF8).strip()
    raw = json_text.object_of(bare) if bare.startswith(b"{") else None
    if raw is None and call.encoding in TEXTS:
        raw = {"text": _plain(content, bare, call.encoding)}
    elif raw is not None and chat_reply.error_in(raw):
        raise UpstreamFault(classify(raw))
    if raw is None or not isinstance(raw.get("text"), str):
        raise _malformed()
    text: str = raw["text"]
    usage, estimated = usage_of(raw, call, text, by_second=by_second, seconds_min=seconds_min)
    has_content = bool(text.strip()) and text.strip() != "WEBVTT"
    return Reply(
        body=raw,
        usage=usage if has_content or not estimated else Usage(),
        finish_reason=None,
        native_finish_reason=None,
        upstream_id=text_of(raw.get("id")),
        has_content=has_content,
        output_bytes=len(text.encode("utf-8", "replace")),
        served_model=text_of(raw.get("model")),
        estimated=estimated and has_content,
    )


def _plain(content: bytes, bare: bytes, wanted: str) -> str:
    """Return a transcript that is text as it was asked for; raises UpstreamFault for a page, a list, or words that are no subtitles."""
    is_other = bare[:5].lower() in (b"<html", b"<!doc", b"<?xml") or (bare.startswith(b"[") and _is_json(bare))
    is_unlike = bool(bare) and not {"vtt": bare.startswith(b"WEBVTT"), "srt": b"-->" in bare}.get(wanted, True)
    if is_other or is_unlike:
        raise _malformed()
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _malformed() from None


def _is_json(text: bytes) -> bool:
    try:
        json_text.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _malformed() -> UpstreamFault:
    return UpstreamFault(Failure(FaultKind.PROTOCOL, code="malformed_transcript"))


class TranscriptEvents(EventReader):
    """A transcript as events; a whole reply in their place is one done event (whisper-1 knows no stream)."""

    done: ClassVar[str] = DONE

    def __init__(self, call: Call, *, by_second: bool, seconds_min: int = 0, classify: Classify = unclassified) -> None:
        super().__init__(classify=classify)
        self._call, self._by_second, self._seconds_min = call, by_second, seconds_min
        self._said_bytes = {DELTA: 0, SEGMENT: 0}

    def shows(self, event: Event) -> bool:
        kind = event.get("type")
        piece = event.get("delta") if kind == DELTA else event.get("text")
        if kind not in (DELTA, SEGMENT) or not isinstance(piece, str) or not piece:
            return False
        self._said_bytes[kind] += len(piece.encode("utf-8", "replace"))
        self._count()
        return True

    def _count(self) -> None:
        """Put into the facts what is charged of what has come so far, should nobody be there to read on.

        Segments say once more what the pieces have said.
        """
        facts = self.facts
        facts.output_bytes = max(self._said_bytes.values())
        if facts.usage is None:
            facts.usage, facts.estimated = self._usage({}, "")
        if not self._by_second:
            facts.usage = replace(facts.usage, output=estimate.of_bytes(facts.output_bytes))

    def ends(self, event: Event) -> None:
        text = text_of(event.get("text")) or ""
        facts = self.facts
        facts.content = facts.content or bool(text.strip())
        usage, estimated = self._usage(event, text)
        facts.usage, facts.estimated = (usage, estimated) if facts.content or not estimated else (Usage(), False)

    def takes_whole(self, payload: Event) -> Event:
        if not isinstance(payload.get("text"), str):
            raise _malformed()
        return {**payload, "type": DONE}

    def _usage(self, event: Mapping[str, Any], text: str) -> tuple[Usage, bool]:
        return usage_of(event, self._call, text, by_second=self._by_second, seconds_min=self._seconds_min)


def events_of(reply: Reply) -> bytes:
    """Return the one event that tells a whole transcript: subtitles have no frames that could be made events."""
    return sse.encode(orjson.dumps({"type": DONE, "text": reply.body["text"]}))
