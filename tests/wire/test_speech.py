"""Speech: sound as bytes or events, whichever way the upstream sends it; the end kept back, errors not taken for sound."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.cuts import assert_cuts_do_not_show, read
from tokenhub.call import Call
from tokenhub.errors import InvalidRequest, UpstreamFailed
from tokenhub.usage import Units, Usage
from tokenhub.wire.audio import speech
from tokenhub.wire.audio.speech import SpeechBytes, SpeechDecoder, SpeechEvents, SpeechSurface
from tokenhub.wire.faults import FaultKind
from tokenhub.wire.replies import StreamFacts, StreamReader
from tokenhub.wire.surface import Arrival, End

ARRIVAL = Arrival("/v1/audio/speech", {}, {}, 1_700_000_000)
SOUND = bytes(range(256)) * 40
USAGE = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}


def call(**fields: Any) -> Call:
    return speech.parse_call({"model": "tts", "input": "Hello there.", "voice": "alloy", **fields}, 200)


def events(sound: bytes = SOUND, usage: Any = USAGE, size: int = 1_000) -> bytes:
    pieces = [sound[at : at + size] for at in range(0, len(sound), size)]
    made = [{"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()} for piece in pieces]
    done = {"type": "speech.audio.done", **({"usage": usage} if usage else {})}
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in [*made, done])


def heard(frames: bytes) -> bytes:
    """The sound in events."""
    found = [json.loads(frame[6:]) for frame in frames.split(b"\n\n") if frame.startswith(b"data: {")]
    return b"".join(base64.b64decode(one["audio"]) for one in found if one["type"] == "speech.audio.delta")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("input", [None, "", 7, ["a"], "x" * 100_001]),
        ("voice", [7, ["alloy"]]),
        ("speed", [0.2, 4.1, "1", True]),
        ("stream_format", ["wav", "json"]),
        ("response_format", [7]),
        ("instructions", [["slow"]]),
        ("api_key", ["x"]),
    ],
)
def test_a_field_that_is_none_is_refused_by_name(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InvalidRequest) as caught:
            call(**{field: value})
        assert caught.value.param == field


def test_a_text_is_held_by_its_characters_and_by_the_longest_it_can_sound() -> None:
    asked = call(input="你好, wörld")
    assert asked.units == (Units("character", 9),)
    assert asked.max_output is not None
    assert asked.max_output >= len("你好, wörld".encode()) * 24
    assert asked.stream
    assert 0 < asked.tokens_estimate < asked.max_output


READERS: dict[str, tuple[Callable[[Call], StreamReader], bytes, str]] = {
    "bytes to bytes": (lambda one: SpeechBytes(one, by_character=True), SOUND, "audio"),
    "bytes to events": (lambda one: SpeechBytes(one, by_character=True), SOUND, "sse"),
    "events to bytes": (lambda one: SpeechDecoder(one, by_character=False), events(), "audio"),
    "events to events": (lambda one: SpeechEvents(one, by_character=False), events(), "sse"),
}


@pytest.mark.parametrize("way", READERS)
def test_the_sound_arrives_whole_either_way(way: str) -> None:
    make, stream, wanted = READERS[way]
    reader = make(call(stream_format=wanted))
    flowing, ending, facts = read(reader, [stream[at : at + 700] for at in range(0, len(stream), 700)])
    made = flowing + ending
    assert (heard(made) if wanted == "sse" else made) == SOUND
    assert facts["complete"]
    assert facts["content"]
    assert ending, "something is kept back until the charge is committed"
    assert not facts["estimated"]


@pytest.mark.parametrize("way", ["events to bytes", "events to events"])
def test_t59_no_cut_of_events_shows(way: str) -> None:
    make, _, wanted = READERS[way]
    stream = events(SOUND[:300], size=70)
    whole = read(make(call(stream_format=wanted)), [stream])
    for pieces in ([stream[i : i + 1] for i in range(len(stream))], [stream[:101], stream[101:]]):
        flowing, ending, facts = read(make(call(stream_format=wanted)), pieces)
        assert (flowing + ending, facts) == (whole[0] + whole[1], whole[2])
    if wanted == "sse":
        assert_cuts_do_not_show(lambda: make(call(stream_format=wanted)), stream)


def test_events_of_an_upstream_pass_byte_for_byte_but_for_the_done_event() -> None:
    stream = events() + b"data: [DONE]\n\n"
    reader = SpeechEvents(call(stream_format="sse"), by_character=False)
    flowing, ending, facts = read(reader, [stream])
    assert stream.startswith(flowing)
    assert facts["usage"]["output"] == 101
    surface = SpeechSurface(ARRIVAL)
    surface.call({"model": "tts", "input": "Hello", "stream_format": "sse"}, 99)
    usage = Usage(input=14, output=101)
    last = surface.ending(ending, End("req", usage, {"cost": 0.25}, StreamFacts()))
    assert json.loads(last[6:]) == {"type": "speech.audio.done", "usage": {**USAGE, "cost": 0.25}}


def test_sound_given_as_events_ends_with_what_was_charged() -> None:
    surface = SpeechSurface(ARRIVAL)
    asked, _ = surface.call({"model": "tts", "input": "Hello", "stream_format": "sse"}, 99)
    _, ending, _ = read(SpeechBytes(asked, by_character=True), [SOUND])
    last = surface.ending(ending, End("req", Usage(units=asked.units), {"cost": 0.25}, StreamFacts()))
    done = json.loads(last.split(b"\n\n")[-2][6:])
    assert done["type"] == "speech.audio.done"
    assert done["usage"] == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "characters": 5, "cost": 0.25}


@pytest.mark.parametrize(
    ("format", "media_type"), [(None, "audio/mpeg"), ("wav", "audio/wav"), ("pcm", "audio/pcm"), ("new", "application/octet-stream")]
)  # fmt: skip
def test_sound_has_the_media_type_of_its_format_and_no_place_for_comments_or_errors(
    format: str | None, media_type: str
) -> None:
    surface = SpeechSurface(ARRIVAL)
    surface.call({"model": "tts", "input": "Hello", "response_format": format}, 99)
    assert (surface.stream_type, surface.keep_alive) == (media_type, b"")
    assert surface.error_frame(UpstreamFailed("It broke off."), "req") == b""


def test_events_have_a_place_for_an_error() -> None:
    surface = SpeechSurface(ARRIVAL)
    surface.call({"model": "tts", "input": "Hello", "stream_format": "sse"}, 99)
    frame = json.loads(surface.error_frame(UpstreamFailed("It broke off."), "req")[6:])
    assert (frame["type"], frame["error"]["message"]) == ("error", "It broke off.")
    assert surface.keep_alive


BROKEN = {
    "an error in place of sound": (b'{"error": {"code": "server_error", "message": "no"}}', "server_error"),
    "json in place of sound": (b'{"audio": "elsewhere"}', "not_audio"),
    "a page in place of sound": (b"<!DOCTYPE html><p>Bad gateway", "not_audio"),
    "a page after an empty line": (b"\r\n <html><p>Bad gateway", "not_audio"),
    "a page after a mark of its encoding": (b"\xef\xbb\xbf<html>", "not_audio"),
    "an error after an empty line": (b'\n {"error": {"code": "server_error", "message": "no"}}', "server_error"),
    "a list in place of sound": (b'["error"]', "not_audio"),
    "words in place of sound": (b"upstream connect error or disconnect/reset before headers", "not_audio"),
    "words of another language": ("服务繁忙，请稍后再试".encode(), "not_audio"),
    "words without end": (b"busy " * 300_000, "not_audio"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_t74_what_is_no_sound_is_not_taken_for_it(what: str) -> None:
    body, code = BROKEN[what]
    step = 1 if len(body) < 1000 else 9_999
    for pieces in ([body], [body[i : i + step] for i in range(0, len(body), step)]):
        flowing, _, facts = read(SpeechBytes(call(), by_character=True), pieces)
        assert flowing == b""
        assert facts["failure"]["code"] == code
        assert not facts["content"]


@pytest.mark.parametrize("start", [b"{", b"<", b"RIFF", b"fLaC", b"OggS", b"ID3", b" \n"])
def test_sound_that_begins_like_text_is_sound(start: bytes) -> None:
    sound = start + bytes(range(1, 200))
    flowing, ending, facts = read(SpeechBytes(call(response_format="pcm"), by_character=True), [sound[:5], sound[5:]])
    assert flowing + ending == sound
    assert facts["complete"]


BAD_EVENTS = {
    "cut": (events().rpartition(b"data")[0], FaultKind.PROTOCOL, "stream_cut"),
    "error": (events()[:3000].rpartition(b"data")[0] + b'data: {"error": {"code": "overloaded"}}\n\n', FaultKind.SERVER, "overloaded"),
    "error event": (b'event: error\ndata: {"code": "x"}\n\n', FaultKind.SERVER, "x"),
    "no base64": (b'data: {"type": "speech.audio.delta", "audio": "!!!"}\n\n', FaultKind.PROTOCOL, "malformed_audio"),
    "no text": (b'data: {"type": "speech.audio.delta", "audio": 5}\n\n', FaultKind.PROTOCOL, "malformed_audio"),
    "no json": (b"data: words\n\n", FaultKind.PROTOCOL, "malformed_frame"),
    "a page": (b"<html>\n\n", FaultKind.PROTOCOL, "not_an_event_stream"),
    "done at once": (b"data: [DONE]\n\n", FaultKind.PROTOCOL, "stream_cut"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_EVENTS)
def test_t75_events_that_break_off_fail(what: str) -> None:
    stream, kind, code = BAD_EVENTS[what]
    for reader in (SpeechDecoder, SpeechEvents):
        flowing, _, facts = read(reader(call(), by_character=False), [stream])
        assert (facts["failure"]["kind"], facts["failure"]["code"]) == (kind, code)
        assert not facts["complete"]
        assert flowing == b"" or facts["content"]


@pytest.mark.parametrize("by_character", [True, False])
@pytest.mark.parametrize("way", ["bytes", "events"])
def test_what_nobody_counted_is_the_characters_or_an_estimate(way: str, by_character: bool) -> None:
    asked = call()
    reader: StreamReader
    if way == "bytes":
        reader, stream = SpeechBytes(asked, by_character=by_character), SOUND
    else:
        reader, stream = SpeechDecoder(asked, by_character=by_character), events(usage=None)
    _, _, facts = read(reader, [stream])
    assert facts["estimated"] is not by_character
    if by_character:
        assert facts["usage"]["units"] == ({"kind": "character", "count": 12, "variant": ""},)
    else:
        assert 0 < facts["usage"]["output"] <= (asked.max_output or 0)


@pytest.mark.parametrize("nonsense", [{"input_tokens": -1, "output_tokens": 5}, {"output_tokens": "5"}, [], "9"])
def test_t9_nonsense_usage_is_no_usage(nonsense: Any) -> None:
    assert speech.parse_usage(nonsense) is None


@pytest.mark.parametrize("stream", [b"", events(b"", usage=None)])
def test_a_reply_without_sound_counts_nothing_that_was_only_estimated(stream: bytes) -> None:
    reader: StreamReader = (SpeechDecoder if stream else SpeechBytes)(call(), by_character=False)
    _, _, facts = read(reader, [stream] if stream else [])
    assert facts["complete"]
    assert not facts["content"]
    assert facts["usage"]["output"] == 0
