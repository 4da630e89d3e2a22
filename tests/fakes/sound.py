"""Recordings made by hand: each of a known length, as small as its format allows."""

import io
import struct
import wave


def wav(seconds: float, rate: int = 8_000) -> bytes:
    """PCM, 16 bits, one channel."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\0\0" * round(seconds * rate))
    return made.getvalue()


def mp3(frames: int, *, kbits_index: int = 9, tag: bool = True) -> bytes:
    """MPEG 1 layer III at 44.1 kHz: 1152 samples a frame; index 9 is 128 kbit/s."""
    kbits = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)[kbits_index - 1]
    size = 144 * kbits * 1000 // 44_100
    frame = bytes((0xFF, 0xFB, kbits_index << 4, 0)).ljust(size, b"\0")
    return (b"ID3\x04\0\0\0\0\0\x05junk!" if tag else b"") + frame * frames


def flac(samples: int, rate: int = 48_000, body: int = 4_000) -> bytes:
    packed = (rate << 44 | 1 << 41 | 15 << 36 | samples).to_bytes(8, "big")
    return b"fLaC\x80\0\0\x22" + struct.pack(">HH3s3s", 4096, 4096, b"\0\0\0", b"\0\0\0") + packed + b"\0" * (16 + body)


def ogg(position: int, codec: bytes = b"OpusHead\x01\x01", body: int = 4_000) -> bytes:
    """Two pages: the codec's own, and one with sound that ends at this position."""

    def page(at: int, content: bytes) -> bytes:
        return b"OggS\0\0" + struct.pack("<qIII", at, 1, 0, 0) + b"\x01" + bytes((len(content) % 255,)) + content

    return page(0, codec) + b"\0" * body + page(position, b"sound")


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def mp4(seconds: float, *, track_seconds: float = 0.0, long: bool = False, body: int = 4_000) -> bytes:
    """The sound first, what describes it behind, as phones write it."""
    if long:
        header = b"\x01\0\0\0" + struct.pack(">QQIQ", 0, 0, 1_000, round(seconds * 1000))
    else:
        header = b"\0\0\0\0" + struct.pack(">IIII", 0, 0, 1_000, round(seconds * 1000))
    media = b"\0\0\0\0" + struct.pack(">IIII", 0, 0, 48_000, round(track_seconds * 48_000))
    movie = box(b"mvhd", header) + box(b"trak", box(b"mdia", box(b"mdhd", media)))
    return box(b"ftyp", b"M4A isom") + box(b"mdat", b"\0" * body) + box(b"moov", movie)


def webm(seconds: float | None, *, body: int = 4_000) -> bytes:
    """With a Segment of unknown size, as browsers record it; without a length where none is given."""
    contents = b"\x2a\xd7\xb1\x83\x0f\x42\x40"
    if seconds is not None:
        contents += b"\x44\x89\x88" + struct.pack(">d", seconds * 1000)
    head = b"\x1a\x45\xdf\xa3\x84\x42\x86\x81\x01"
    whole = b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff"
    return (
        head
        + whole
        + b"\x15\x49\xa9\x66"
        + bytes((0x80 | len(contents),))
        + contents
        + b"\x1f\x43\xb6\x75"
        + b"\xff"
        + b"\0" * body
    )


def form(fields: dict[str, object], file: bytes | None, filename: str = "said.wav") -> tuple[bytes, str]:
    """A form as clients write it: body and content type. Lists come as ``name[]``."""
    parts = []
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            key = f"{name}[]" if isinstance(value, list) else name
            parts.append(f'--edge\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{one}\r\n'.encode())
    if file is not None:
        head = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: audio/wav\r\n\r\n'
        parts.append(head.encode() + file + b"\r\n")
    return b"".join(parts) + b"--edge--\r\n", "multipart/form-data; boundary=edge"
