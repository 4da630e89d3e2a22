"""Transcriptions: forms, replies of every kind, and how many seconds or tokens they are charged as."""

import json
from typing import Any

import pytest

from tests.fakes import sound
from tests.wire.cuts import assert_cuts_do_not_show, read
from tokenhub.call import Call
from tokenhub.errors import InvalidRequest, UpstreamFailed
from tokenhub.usage import Units, Usage
from tokenhub.wire import estimate, forms, multipart
from tokenhub.wire.audio import transcriptions
from tokenhub.wire.audio.transcriptions import TranscriptEvents, TranscriptionsSurface, TranslationsSurface
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.multipart import Upload
from tokenhub.wire.replies import StreamFacts
from tokenhub.wire.surface import Arrival, End

FILE = Upload("file", "said.wav", "audio/wav", sound.wav(3.5))
UNKNOWN = Upload("file", "said.amr", "audio/amr", b"#!AMR\n" + b"\x04" * 6_000)
TOKENS = {
    "type": "tokens",
    "input_tokens": 37,
    "input_token_details": {"text_tokens": 2, "audio_tokens": 35},
    "output_tokens": 12,
    "total_tokens": 49,
}
COUNTED = Usage(input=2, audio_input=35, output=12)


def call(file: Any = FILE, operation: str = "", **fields: Any) -> Call:
    return transcriptions.parse_call({"model": "whisper", "file": file, **fields}, operation)


def surface(kind: type[TranscriptionsSurface] = TranscriptionsSurface, content_type: str = "") -> TranscriptionsSurface:
    return kind(Arrival("/v1/audio/transcriptions", {}, {"Content-Type": content_type}, 1_700_000_000))


def seconds(count: int) -> tuple[Units, ...]:
    return (Units("second", count),)


# requests


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("file", [None, "words", Upload("file", "a", "b", b""), [FILE, FILE]]),
        ("model", [None, "", ["a"]]),
        ("stream", ["maybe", ["true"]]),
        ("response_format", [["json"]]),
        ("api_base", ["https://elsewhere.example"]),
    ],
)
def test_a_field_that_is_none_is_refused_by_name(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InvalidRequest) as caught:
            call(**{field: value}) if field != "file" else call(value)
        assert caught.value.param == field


@pytest.mark.parametrize(
    ("stream", "streams"), [(None, False), ("true", True), ("True", True), ("1", True), ("0", False)]
)
def test_stream_is_a_text_in_a_form(stream: str | None, streams: bool) -> None:
    assert call(stream=stream).stream is streams
    assert not call(stream=stream, operation="translations").stream


def test_a_recording_is_held_by_its_length() -> None:
    asked = call(prompt="names: Zoë")
    assert asked.seconds == pytest.approx(3.5)
    assert asked.units == seconds(5)
    assert asked.input_bytes >= 5 * 25 + len("names: Zoë".encode())
    assert asked.max_output is not None
    assert asked.max_output >= 5 * 39
    blind = call(UNKNOWN)
    assert blind.seconds is None
    assert blind.units[0].count >= len(UNKNOWN.data) * 8 // 6_000


def test_a_form_comes_and_goes_with_its_file_untouched() -> None:
    fields = {"model": "whisper", "include": ["logprobs"], "language": "de", "stream": "false", "provider": '{"only": ["openai"]}'}  # fmt: skip
    body, content_type = sound.form(fields, sound.wav(1))
    parsed = surface(content_type=content_type).parse(body)
    assert parsed["provider"] == {"only": ["openai"]}
    sent = transcriptions.request(parsed, "upstream", stream=False)
    assert sent.keys() == {"model", "include", "language", "file"}
    kind, pieces = multipart.render(sent)
    assert any(piece is sent["file"].data for piece in pieces), "not copied"
    again = multipart.parse(kind, b"".join(pieces))
    assert (again["model"], again["include"], again["language"]) == ("upstream", ["logprobs"], "de")
    assert bytes(again["file"].data) == sound.wav(1)
    assert transcriptions.request(parsed, "upstream", stream=True)["stream"] == "true"
    with pytest.raises(InvalidRequest) as caught:
        forms.parse(content_type, sound.form({"model": "m", "provider": "{"}, b"x")[0])
    assert caught.value.param == "provider"


# what it is charged as

CHARGED: dict[str, tuple[dict[str, Any], Call, bool, Usage, bool]] = {
    "seconds told": ({"usage": {"type": "duration", "seconds": 4}}, call(), True, Usage(units=seconds(4)), False),
    "a begun second is whole": ({"usage": {"seconds": 3.2}}, call(), True, Usage(units=seconds(4)), False),
    "as mistral tells": ({"usage": {"prompt_audio_seconds": 9, "prompt_tokens": 4, "completion_tokens": 8}}, call(), True, Usage(audio_input=4, output=8, units=seconds(9)), False),
    "of a verbose reply": ({"duration": 8.47}, call(), True, Usage(units=seconds(9)), False),
    "of the header": ({}, call(), True, Usage(units=seconds(4)), False),
    "of the size": ({}, call(UNKNOWN), True, Usage(units=seconds(1)), True),
    "tokens": ({"usage": TOKENS}, call(), False, Usage(input=2, audio_input=35, output=12, units=seconds(4)), False),
    "tokens without details": ({"usage": {"input_tokens": 7, "output_tokens": 3}}, call(), False, Usage(audio_input=7, output=3, units=seconds(4)), False),
    "no tokens": ({}, call(), False, Usage(audio_input=35, output=2, units=seconds(4)), True),
    "nonsense": ({"usage": {"input_tokens": -7, "output_tokens": 3, "seconds": "4"}}, call(), False, Usage(audio_input=35, output=2, units=seconds(4)), True),
    "nonsense seconds": ({"usage": {"seconds": float("nan")}, "duration": True}, call(), True, Usage(units=seconds(4)), False),
}  # fmt: skip


@pytest.mark.parametrize("how", CHARGED)
def test_a_transcript_is_charged_by_what_is_surest(how: str) -> None:
    raw, asked, by_second, usage, estimated = CHARGED[how]
    assert transcriptions.usage_of(raw, asked, "ca. two", by_second=by_second) == (usage, estimated)


SHORT = Upload("file", "said.ogg", "audio/ogg", sound.ogg(48, body=1_000_000))
"""Two minutes of sound, at the usual bit rate, that its header calls a thousandth of a second."""
WORDS = "word " * 800
HEARD: dict[str, tuple[dict[str, Any], Call, str, int, bool]] = {
    "its words": ({}, call(SHORT), WORDS, 100, True),
    "its words, and no more than was held": ({}, call(SHORT), WORDS * 9, 125, True),
    "the end of the last passage": ({}, call(SHORT, response_format="srt"), "1\n00:00:01,000 --> 00:01:30,400\nHi.\n", 91, True),
    "the end of the last passage, without hours": ({}, call(SHORT, response_format="vtt"), "WEBVTT\n\n00:01.000 --> 01:10.000\nHi.\n", 70, True),
    "an arrow in a text": ({}, call(SHORT, response_format="text"), "A --> 00:01:30,400", 2, False),
    "the last segment": ({"segments": [{"end": 3}, {"end": 61.5}]}, call(SHORT), "Hi.", 62, True),
    "segments of nonsense": ({"segments": [5]}, call(SHORT), "", 2, False),
    "what the provider tells": ({"usage": {"seconds": 7}}, call(SHORT), WORDS, 7, False),
    "a header that its size bears out": ({}, call(), WORDS, 4, False),
}  # fmt: skip


@pytest.mark.parametrize("how", HEARD)
def test_a_header_that_its_size_does_not_bear_out_is_not_believed_against_the_transcript(how: str) -> None:
    raw, asked, text, count, estimated = HEARD[how]
    usage, is_estimate = transcriptions.usage_of(raw, asked, text, by_second=True)
    assert (usage.units_of("second"), is_estimate) == (count, estimated)
    assert usage.units_of("second") <= asked.units[0].count


@pytest.mark.parametrize("how", CHARGED)
def test_no_charge_is_beyond_what_was_held(how: str) -> None:
    raw, asked, by_second, _, _ = CHARGED[how]
    if raw.get("usage"):
        return  # what an upstream says of itself is its own
    usage, _ = transcriptions.usage_of(raw, asked, "ca. two", by_second=by_second)
    assert usage.units_of("second") <= asked.units[0].count or "duration" in raw
    assert usage.prompt_total <= asked.input_bytes
    assert usage.output <= (asked.max_output or 0)


def test_a_short_recording_is_billed_as_the_least() -> None:
    usage, _ = transcriptions.usage_of({}, call(), "", by_second=True, seconds_min=10)
    assert usage.units == seconds(10)


# replies


def rendered(body: bytes, wanted: str = "json") -> tuple[bytes, str]:
    speaks = surface()
    asked, _ = speaks.call({"model": "whisper", "file": FILE, "response_format": wanted}, 99)
    reply = transcriptions.reply(body, asked, by_second=True)
    whole = speaks.reply(reply)
    assert reply.usage is not None
    return whole.with_usage(json.dumps(speaks.usage(reply.usage, {"cost": 0.5}, reply)).encode()), whole.content_type


@pytest.mark.parametrize(
    "own",
    [
        {"text": "Hello.", "usage": {"type": "duration", "seconds": 4}},
        {"text": "Hello.", "usage": TOKENS, "logprobs": [{"token": "Hello", "logprob": -0.1, "bytes": [72]}]},
        {"task": "transcribe", "duration": 3.5, "text": "Hello.", "segments": [{"id": 0, "end": 3.3}]},
    ],
)
def test_a_json_transcript_passes_as_it_came_with_what_it_cost(own: dict[str, Any]) -> None:
    body, content_type = rendered(json.dumps(own).encode(), "verbose_json")
    usage = own.get("usage") or {"type": "duration", "seconds": 4}
    assert json.loads(body) == {**own, "usage": {**usage, "cost": 0.5}}
    assert content_type == "application/json"


@pytest.mark.parametrize(
    ("wanted", "text"),
    [("text", "Hello.\n"), ("srt", "1\n00:00:00,000 --> 00:00:03,300\nHello.\n\n"), ("vtt", "WEBVTT\n\n00:00.000 --> 00:03.300\nHello.\n")],
)  # fmt: skip
def test_a_transcript_that_is_text_passes_byte_for_byte(wanted: str, text: str) -> None:
    assert rendered(text.encode(), wanted) == (text.encode(), "text/plain; charset=utf-8")


def test_text_that_an_upstream_wraps_in_json_is_given_as_text() -> None:
    assert rendered(b'{"text": "Hello."}', "text")[0] == b"Hello."


@pytest.mark.parametrize(
    ("body", "wanted", "has_content"),
    [(b'{"text": ""}', "json", False), (b'{"text": "a"}', "json", True), (b"WEBVTT\n\n", "vtt", False), (b"\n", "srt", False)],
)  # fmt: skip
def test_silence_is_an_empty_reply(body: bytes, wanted: str, has_content: bool) -> None:
    reply = transcriptions.reply(body, call(response_format=wanted), by_second=True)
    assert reply.has_content is has_content


@pytest.mark.parametrize(
    ("body", "wanted"),
    [(b"words", "json"), (b"[]", "json"), (b'{"text": 7}', "json"), (b"{}", "text"), (b"\xff\xfe", "srt"), (b"", "verbose_json"),
     *((b"\n <!DOCTYPE html><p>Bad gateway", wanted) for wanted in ("text", "srt", "vtt")), (b"\xef\xbb\xbf<html>", "text"),
     *((b'["error"]', wanted) for wanted in ("text", "srt", "vtt")), (b"upstream request timeout", "srt"), (b"upstream request timeout", "vtt")],
)  # fmt: skip
def test_what_is_no_transcript_is_no_reply(body: bytes, wanted: str) -> None:
    with pytest.raises(UpstreamFault) as caught:
        transcriptions.reply(body, call(response_format=wanted), by_second=True)
    assert caught.value.failure.code == "malformed_transcript"


@pytest.mark.parametrize("text", ["[Music]", '"Hello."', "<laughs> Hello.", "{smiles}"])
def test_words_that_look_like_something_else_are_words(text: str) -> None:
    assert rendered(text.encode(), "text")[0] == text.encode()


@pytest.mark.parametrize("start", [b"", b"\r\n ", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("wanted", ["json", "text", "srt", "vtt"])
def test_t74_an_error_inside_a_200_is_an_error(wanted: str, start: bytes) -> None:
    with pytest.raises(UpstreamFault) as caught:
        transcriptions.reply(start + b'{"error": {"code": "busy"}}', call(response_format=wanted), by_second=True)
    assert caught.value.failure.code == "busy"


# streams


def stream(*events: dict[str, Any], done: bool = True) -> bytes:
    frames = b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in events)
    return frames + (b"data: [DONE]\r\n\r\n" if done else b"")


DELTAS = [{"type": "transcript.text.delta", "delta": piece} for piece in ("Ruby", " is", " here.")]
LAST = {"type": "transcript.text.done", "text": "Ruby is here.", "usage": TOKENS}
SEGMENT = {"type": "transcript.text.segment", "text": " Ruby", "speaker": "A", "start": 0.0, "end": 3.25, "id": "s"}


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("events", [DELTAS, [SEGMENT]])
def test_events_pass_as_they_came_and_the_last_waits(events: list[dict[str, Any]], end: bool) -> None:
    reader = TranscriptEvents(call(stream="true"), by_second=False)
    flowing, ending, facts = read(reader, [stream(*events, LAST, done=end)])
    assert flowing == stream(*events, done=False).replace(b"\r", b"")
    assert facts["complete"]
    assert facts["usage"]["output"] == 12
    assert not facts["estimated"]
    speaks = surface()
    shown = speaks.ending(ending, End("req", COUNTED, {"cost": 0.5}, StreamFacts()))
    last, done, rest = shown.split(b"\n\n")
    assert json.loads(last[6:]) == {**LAST, "usage": {**TOKENS, "cost": 0.5}}
    assert (done, rest) == (b"data: [DONE]", b"")


def test_t59_no_cut_of_a_stream_shows() -> None:
    assert_cuts_do_not_show(
        lambda: TranscriptEvents(call(stream="true"), by_second=False), stream(*DELTAS, SEGMENT, LAST)
    )


def test_a_whole_reply_in_place_of_a_stream_is_one_done_event() -> None:
    reader = TranscriptEvents(call(stream="true"), by_second=True)
    body = json.dumps({"text": "Hello.", "usage": {"type": "duration", "seconds": 4}}).encode()
    flowing, ending, facts = read(reader, [body])
    assert flowing == b""
    assert json.loads(ending[6:]) == {"type": "transcript.text.done", "text": "Hello.", "usage": {"type": "duration", "seconds": 4}}  # fmt: skip
    assert facts["complete"]
    assert facts["content"]
    assert facts["usage"]["units"] == ({"kind": "second", "count": 4, "variant": ""},)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (stream(*DELTAS, done=False), "stream_cut"),
        (stream(*DELTAS), "stream_cut"),
        (stream(*DELTAS, {"type": "error", "error": {"code": "busy"}}), "busy"),
        (stream(*DELTAS, {"error": {"code": "busy"}}), "busy"),
        (b'{"error": {"code": "busy"}}', "busy"),
        (b'{"words": 7}', "malformed_transcript"),
        (b"<html>", "not_an_event_stream"),
        (b"data: {\n\n", "malformed_frame"),
        (b"data: " + b"x" * (9 << 20), "frame_too_large"),
    ],
)
def test_t75_a_stream_that_breaks_off_fails(body: bytes, code: str) -> None:
    _, _, facts = read(TranscriptEvents(call(stream="true"), by_second=True), [body])
    assert facts["failure"]["code"] == code
    assert not facts["complete"]


def test_a_stream_that_is_left_halfway_is_known_by_its_seconds() -> None:
    reader = TranscriptEvents(call(stream="true"), by_second=True)
    reader.feed(stream(*DELTAS[:2], done=False))
    assert reader.facts.usage == Usage(units=seconds(4))


@pytest.mark.parametrize("events", [DELTAS, [*DELTAS, SEGMENT]])
def test_a_stream_that_is_left_halfway_is_estimated_by_its_sound_and_what_was_said(
    events: list[dict[str, Any]],
) -> None:
    reader = TranscriptEvents(call(stream="true"), by_second=False)
    reader.feed(stream(*events, done=False))
    usage = reader.facts.usage
    assert usage is not None
    assert reader.facts.estimated
    assert usage.audio_input > 0
    assert usage.output == estimate.of_bytes(len("Ruby is here."))


def test_a_stream_that_shows_nothing_is_empty() -> None:
    _, _, facts = read(
        TranscriptEvents(call(stream="true"), by_second=False),
        [stream({"type": "transcript.text.done", "text": ""})],
    )
    assert facts["complete"]
    assert not facts["content"]
    assert facts["usage"]["output"] == 0


def test_a_stream_that_fails_ends_with_an_error_event() -> None:
    frame = json.loads(surface().error_frame(UpstreamFailed("It broke off."), "req")[6:])
    assert (frame["type"], frame["error"]["message"]) == ("error", "It broke off.")


def test_translations_are_an_operation_of_their_own() -> None:
    asked, _ = surface(TranslationsSurface).call({"model": "whisper", "file": FILE, "stream": "true"}, 9)
    assert (asked.operation, asked.stream) == ("translations", False)
