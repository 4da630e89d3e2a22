"""The length of a recording, from its header, and what it is bounded by where that says nothing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import sound
from tokenhub.wire.audio import recordings


def most_seconds(data: bytes) -> int:
    return recordings.most_seconds(recordings.seconds_of(data), data)


KNOWN = {
    "wav": (sound.wav(3.5), 3.5),
    "wav 44.1 kHz": (sound.wav(1.25, 44_100), 1.25),
    "mp3": (sound.mp3(100), 100 * 1152 / 44_100),
    "mp3 without a tag": (sound.mp3(100, tag=False), 100 * 1152 / 44_100),
    "mp3 of two bit rates": (sound.mp3(50) + sound.mp3(50, kbits_index=1, tag=False), 100 * 1152 / 44_100),
    "flac": (sound.flac(96_000), 2.0),
    "ogg opus": (sound.ogg(144_000), 3.0),
    "ogg vorbis": (sound.ogg(88_200, b"\x01vorbis\0\0\0\0\x02\x44\xac\0\0"), 2.0),
    "mp4": (sound.mp4(12.5), 12.5),
    "mp4 with long numbers": (sound.mp4(12.5, long=True), 12.5),
    "mp4 whose track is longer": (sound.mp4(12.5, track_seconds=20), 20.0),
    "webm": (sound.webm(7.25), 7.25),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_a_recording_is_as_long_as_its_header_says(kind: str) -> None:
    data, seconds = KNOWN[kind]
    told = recordings.seconds_of(data)
    assert told == pytest.approx(seconds, abs=0.001)
    assert recordings.seconds_of(memoryview(data)) == told
    assert seconds <= most_seconds(data) <= seconds * 1.02 + 2


UNTOLD = {
    "no sound at all": b"some words that are no recording " * 100,
    "webm of a browser": sound.webm(None),
    "mp4 in fragments": sound.mp4(0),
    "flac of unknown length": sound.flac(0),
    "ogg of another codec": sound.ogg(144_000, b"Speex   "),
    "wav of a coded kind": sound.wav(1)[:20] + b"\x11\x00" + sound.wav(1)[22:],
    "one byte": b"\xff",
    "only a tag": b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
}


@pytest.mark.parametrize("kind", UNTOLD)
def test_what_tells_no_length_is_bounded_by_its_size_at_the_lowest_bit_rate(kind: str) -> None:
    data = UNTOLD[kind]
    assert recordings.seconds_of(data) is None
    assert most_seconds(data) >= len(data) * 8 / 6_000


def test_a_wav_that_was_cut_or_left_open_is_as_long_as_what_is_there() -> None:
    whole = sound.wav(10)
    assert recordings.seconds_of(whole[: 44 + 16_000 * 3]) == pytest.approx(3.0)
    opened = whole[:40] + b"\xff\xff\xff\xff" + whole[44:]
    assert recordings.seconds_of(opened) == pytest.approx(10.0)


def test_a_header_cannot_make_much_sound_short() -> None:
    liar = sound.mp4(0.001, body=6_000_000)
    told = recordings.seconds_of(liar)
    assert told is not None
    assert told >= 6_000_000 * 8 / recordings.MOST_BITS_S


@pytest.mark.parametrize("kind", ["mp4", "webm", "flac", "ogg opus", "ogg vorbis"])
def test_a_length_that_is_only_stated_is_held_for_what_its_size_would_usually_be(kind: str) -> None:
    data, seconds = KNOWN[kind]
    longer = data[:300] + bytes(8_000 * 600) + data[300:]
    assert most_seconds(longer) >= max(600, seconds)
    assert most_seconds(b"ID3\x04\0\0\0\0\0\0" + longer) >= 600


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_a_length_that_is_what_it_plays_is_held_for_that(kind: str) -> None:
    data, seconds = KNOWN[kind]
    assert most_seconds(data + bytes(2_000)) <= seconds * 1.02 + 3


def test_sound_that_only_begins_as_mp3_is_bounded_by_its_size() -> None:
    data = sound.mp3(3) + b"\0" * 200_000
    assert recordings.seconds_of(data) is None


def test_an_mp3_of_more_frames_than_are_looked_at_goes_on_as_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MAX_STEPS", 60)
    assert recordings.seconds_of(sound.mp3(200)) == pytest.approx(200 * 1152 / 44_100, rel=0.001)


@given(
    st.sampled_from([data for data, _ in KNOWN.values()] + list(UNTOLD.values())),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=6),
    st.integers(0, 5_000),
)
def test_no_bytes_make_it_raise_or_tell_nonsense(data: bytes, edits: list[tuple[int, bytes]], cut: int) -> None:
    changed = bytearray(data[: max(1, len(data) - cut)])
    for at, new in edits:
        changed[at : at + len(new)] = new
    told = recordings.seconds_of(bytes(changed))
    assert told is None or (math.isfinite(told) and 0 < told < 10**7)
    assert most_seconds(bytes(changed)) >= 1
