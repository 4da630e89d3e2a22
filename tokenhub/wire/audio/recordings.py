"""How long a recording is, told from its own header: what a transcription by the second is held, and at times billed, for.

WAV and MP3 are as long as they say, because what plays them goes by the same header; FLAC, Ogg,
MP4 and WebM state a length that could be another, so it is believed within ``MOST_BITS_S`` only, and
held for what its size would usually be.
Nothing here raises, whatever the bytes; no loop is longer than ``MAX_STEPS``.
"""

import struct
from collections.abc import Iterator

MAX_STEPS = 100_000
"""Frames or boxes looked at: 43 minutes of MP3, some 70 ms."""
MOST_BITS_S = 6_000_000
"""Sound of 96 kHz and 24 bits in stereo; a header that claims more bits a second claims too short a time."""
LEAST_BITS_S = 6_000
"""The lowest bit rate that speech is kept at (Opus: RFC 6716, section 2.1.1): what a length is bounded by that no header tells."""
USUAL_BITS_S = 64_000
"""For an estimate of a length that nobody tells, and for the hold of one that is only stated."""

Data = bytes | memoryview


def seconds_of(data: Data) -> float | None:
    """Return the length in seconds; None where the header does not tell it or is of a kind that is not known."""
    view = memoryview(data)
    if bytes(view[:3]) == b"ID3":
        view = view[_id3_size(view) :]
    try:
        found = _told(view)
    except (struct.error, IndexError, ZeroDivisionError, OverflowError):
        return None
    if found is None or not 0 < found < 10**7:
        return None
    return max(found, len(view) * 8 / MOST_BITS_S)


def most_seconds(told: float | None, data: Data) -> int:
    """Return the most seconds a recording can be counted as: what its header told and a little, else its size at ``LEAST_BITS_S``."""
    size_bits = len(data) * 8
    if told is None:
        return size_bits // LEAST_BITS_S + 1
    return max(most_told(told), size_bits // USUAL_BITS_S if _is_only_stated(data) else 0)


def most_told(told: float) -> int:
    """Return the most seconds that a recording is counted as whose header is to be believed."""
    return int(told * 1.02) + 2


def _is_only_stated(data: Data) -> bool:
    """Whether the length stands in the header alone, and nothing that plays the sound goes by it."""
    view = memoryview(data)
    if bytes(view[:3]) == b"ID3":
        view = view[_id3_size(view) :]
    head = bytes(view[:8])
    return head[:4] in (b"fLaC", b"OggS", b"\x1a\x45\xdf\xa3") or head[4:8] == b"ftyp"


def _told(view: memoryview) -> float | None:
    head = bytes(view[:12])
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        return _wav(view)
    if head[:4] == b"fLaC":
        return _flac(view)
    if head[:4] == b"OggS":
        return _ogg(view)
    if head[4:8] == b"ftyp":
        return _mp4(view)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _webm(view)
    return _mp3(view)


def _id3_size(view: memoryview) -> int:
    """Return the size of an ID3v2 tag, header included; its four bytes carry seven bits each."""
    size = 0
    for byte in view[6:10]:
        size = size << 7 | byte & 0x7F
    return size + 10


# WAV -----------------------------------------------------------------------------------------------

_BITS_OF = {6: 8, 7: 8}
"""A-law and µ-law; others say their own."""


def _wav(view: memoryview) -> float | None:
    """Divide the size of the samples by what a second of them takes; a size left open is all there is."""
    place, rate = 12, 0.0
    for _ in range(MAX_STEPS):
        if place + 8 > len(view):
            return None
        name, size = bytes(view[place : place + 4]), struct.unpack_from("<I", view, place + 4)[0]
        place += 8
        if name == b"fmt ":
            kind, channels, samples, _, _, bits = struct.unpack_from("<HHIIHH", view, place)
            if kind not in (1, 3, 6, 7, 0xFFFE):
                return None
            rate = channels * samples * _BITS_OF.get(kind, bits) / 8
        if name == b"data":
            return min(size or len(view), len(view) - place) / rate
        place += size + (size & 1)
    return None


# MP3 -----------------------------------------------------------------------------------------------

_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_V1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""Layer III; kbit/s by index from 1 (ISO 11172-3, 13818-3)."""
_SYNC_BYTES = 4096
"""Looked through for the first frame."""


def _mp3(view: memoryview) -> float | None:
    """Add up the frames; what lies beyond ``MAX_STEPS`` of them goes on as those did."""
    place = next((at for at in range(min(_SYNC_BYTES, len(view) - 4)) if _frame(view, at) and _followed(view, at)), -1)
    if place < 0:
        return None
    start, seconds = place, 0.0
    for _ in range(MAX_STEPS):
        found = _frame(view, place)
        if found is None:
            # Much that is no MP3 may be sound all the same.
            return None if len(view) - place > max(_SYNC_BYTES, len(view) // 10) else seconds
        size, length = found
        seconds += length
        place += size
    return seconds * max(1.0, (len(view) - start) / (place - start))


def _followed(view: memoryview, place: int) -> bool:
    """Say whether another frame comes after this one, or the end: two bytes can look like a frame by chance."""
    found = _frame(view, place)
    return found is not None and (place + found[0] >= len(view) or _frame(view, place + found[0]) is not None)


def _frame(view: memoryview, place: int) -> tuple[int, float] | None:
    """Return size in bytes and length in seconds of the frame here, if one is."""
    if place + 4 > len(view) or view[place] != 0xFF or view[place + 1] & 0xE6 != 0xE2:
        return None
    version, rates = view[place + 1] >> 3 & 3, _RATES.get(view[place + 1] >> 3 & 3)
    bits, rate = view[place + 2] >> 4, view[place + 2] >> 2 & 3
    if rates is None or not 0 < bits < 15 or rate == 3:
        return None
    samples, kbits = (1152, _V1[bits - 1]) if version == 3 else (576, _V2[bits - 1])
    size = samples // 8 * kbits * 1000 // rates[rate] + (view[place + 2] >> 1 & 1)
    return size, samples / rates[rate]


# FLAC and Ogg --------------------------------------------------------------------------------------


def _flac(view: memoryview) -> float | None:
    """Read STREAMINFO: 20 bits of sample rate, 36 of samples, which may be left open (RFC 9639, section 8.2)."""
    packed = int.from_bytes(view[18:26], "big")
    samples = packed & (1 << 36) - 1
    return samples / (packed >> 44) if samples else None


_TAIL_BYTES = 128 * 1024
"""An Ogg page is at most 65,307 bytes."""


def _ogg(view: memoryview) -> float | None:
    """Divide the last page's position by the sample rate, which Opus always counts as 48 kHz (RFC 7845, section 4)."""
    start = bytes(view[:256])
    rate = 48_000
    if (at := start.find(b"\x01vorbis")) >= 0:
        rate = struct.unpack_from("<I", start, at + 12)[0]
    elif b"OpusHead" not in start:
        return None
    tail = bytes(view[-_TAIL_BYTES:])
    position = int(struct.unpack_from("<q", tail, tail.rfind(b"OggS") + 6)[0])
    return position / rate


# MP4 and WebM --------------------------------------------------------------------------------------

_HOLDERS = frozenset({b"moov", b"trak", b"mdia"})
_LENGTHS = frozenset({b"mvhd", b"mdhd"})


def _mp4(view: memoryview) -> float | None:
    """Return the longest that the movie or one of its tracks claims to be (ISO 14496-12, 8.2.2 and 8.4.2)."""
    told = [_header_seconds(view, place) for name, place in _boxes(view) if name in _LENGTHS]
    return max(told, default=None)


def _boxes(view: memoryview) -> Iterator[tuple[bytes, int]]:
    """Yield name and place of content of every box, those inside the holders too."""
    place = 0
    for _ in range(MAX_STEPS):
        if place + 8 > len(view):
            return
        size, name, head = struct.unpack_from(">I", view, place)[0], bytes(view[place + 4 : place + 8]), 8
        if size == 1:
            size, head = struct.unpack_from(">Q", view, place + 8)[0], 16
        if size and size < head:
            return
        yield name, place + head
        if not size and name not in _HOLDERS:
            return
        place += head if name in _HOLDERS else size


def _header_seconds(view: memoryview, place: int) -> float:
    long = view[place] == 1
    scale, length = struct.unpack_from(">IQ" if long else ">II", view, place + (20 if long else 12))
    return 0.0 if length in (0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF) else length / scale


_SEGMENT, _CONTENTS, _SCALE, _LENGTH = 0x18538067, 0x1549A966, 0x2AD7B1, 0x4489


def _webm(view: memoryview) -> float | None:
    """Read Duration in the Segment's Info, counted in TimestampScale nanoseconds (RFC 9559, section 5.1.2)."""
    place, scale, length = 0, 1_000_000, None
    for _ in range(64):
        if place >= len(view):
            break
        name, place = _number(view, place, marked=True)
        size, place = _number(view, place, marked=False)
        if name == _SCALE:
            scale = int.from_bytes(view[place : place + size], "big")
        elif name == _LENGTH:
            length = float(struct.unpack_from(">f" if size == 4 else ">d", view, place)[0])
        place += 0 if name in (_SEGMENT, _CONTENTS) else size
    return None if length is None else length * scale / 1e9


def _number(view: memoryview, place: int, *, marked: bool) -> tuple[int, int]:
    """Return a number of variable length and the place behind it; an element's name keeps its marker bit."""
    first = view[place]
    size = 9 - first.bit_length()
    value = int.from_bytes(view[place : place + size], "big")
    return value if marked else value & (1 << 7 * size) - 1, place + size
