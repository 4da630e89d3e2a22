"""Server-sent events, cut and framed in every way a network or a server may choose (T59)."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.wire import sse
from tokenhub.wire.sse import BlockSplitter, FrameSplitter, FrameTooLarge

STREAMS = {
    "lf": (b"data: a\n\nevent: x\ndata: b\n\n", [b"data: a", b"event: x\ndata: b"]),
    "crlf": (b"data: a\r\n\r\nevent: x\r\ndata: b\r\n\r\n", [b"data: a", b"event: x\ndata: b"]),
    "cr": (b"data: a\r\revent: x\rdata: b\r\r", [b"data: a", b"event: x\ndata: b"]),
    "mixed line ends": (b"data: a\r\n\ndata: b\r\r\ndata: c\n\r\n", [b"data: a", b"data: b", b"data: c"]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [b"data: a"]),
    "comments": (b": hello\n\n:\ndata: a\n\n", [b": hello", b":\ndata: a"]),
    "blank lines in a row": (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [b"data: a", b"data: b"]),
    "no space after the colon": (b"data:a\n\ndata:{}\n\n", [b"data:a", b"data:{}"]),
    "no last blank line": (b"data: a\n\ndata: b\n", [b"data: a", b"data: b"]),
    "no last line end": (b"data: a\n\ndata: b", [b"data: a", b"data: b"]),
    "split characters": ("data: 海€😀\n\ndata: é\n\n".encode(), ["data: 海€😀".encode(), "data: é".encode()]),
    "nothing": (b"", []),
}


def frames(stream: bytes, cuts: list[int]) -> list[bytes]:
    splitter = FrameSplitter()
    borders = [0, *cuts, len(stream)]
    found = [frame for i, j in itertools.pairwise(borders) for frame in splitter.feed(stream[i:j])]
    return found + splitter.rest()


@pytest.mark.parametrize("name", STREAMS)
def test_t59_a_stream_gives_the_same_frames_wherever_it_is_cut(name):
    stream, expected = STREAMS[name]
    assert frames(stream, []) == expected
    for i in range(len(stream)):
        for j in range(i, len(stream)):
            assert frames(stream, [i, j]) == expected
    assert frames(stream, list(range(1, len(stream)))) == expected


@given(
    st.lists(st.sampled_from([b"data: x", b"\n", b"\r", b"\r\n", b"\n\n", b": c", b"event: e", b"\xef\xbb\xbf"])),
    st.randoms(use_true_random=False),
)
def test_t59_frames_never_depend_on_the_reads(parts, chance: random.Random):
    stream = b"".join(parts)
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(4))
    assert frames(stream, cuts) == frames(stream, [])


def test_t59_frames_of_megabytes_are_read_whole():
    frame = b"data: " + b"x" * 3_000_000
    stream = frame + b"\n\n" + frame + b"\n\n"
    pieces = [stream[i : i + 65_536] for i in range(0, len(stream), 65_536)]
    splitter = FrameSplitter()
    assert [found for piece in pieces for found in splitter.feed(piece)] == [frame, frame]


@pytest.mark.parametrize("piece_bytes", [1, 7, 1_000])
def test_t71_a_frame_above_the_cap_is_refused_however_it_arrives(piece_bytes):
    stream = b"data: ok\n\ndata: " + b"x" * 200 + b"\n\n"
    pieces = [stream[i : i + piece_bytes] for i in range(0, len(stream), piece_bytes)]
    splitter = FrameSplitter(limit_bytes=100)
    with pytest.raises(FrameTooLarge):
        list(map(splitter.feed, pieces))


def test_t71_many_small_frames_in_one_read_are_not_one_large_frame():
    assert len(FrameSplitter(limit_bytes=100).feed(b"data: x\n\n" * 1_000)) == 1_000


def test_an_unfinished_frame_fed_byte_by_byte_costs_no_more_than_its_bytes():
    splitter = BlockSplitter()
    for _ in range(300_000):
        assert splitter.feed(b"x") == b""
    assert len(splitter.rest()) == 300_000


@pytest.mark.parametrize(
    ("frame", "parsed"),
    [
        (b"data: {}", (None, b"{}")),
        (b"data:{}", (None, b"{}")),
        (b"data", (None, b"")),
        (b"data:  two spaces", (None, b" two spaces")),
        (b"data: a\ndata:b\ndata: ", (None, b"a\nb\n")),
        (b"event: error\ndata: {}", ("error", b"{}")),
        (b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:{}", ("result", b"{}")),
        (b": comment", (None, None)),
        (b"event: ping", ("ping", None)),
        (b"unknown: 1\nretry: 5", (None, None)),
        (b"data: a: b", (None, b"a: b")),
    ],
)
def test_t59_a_frame_has_a_name_and_data(frame, parsed):
    assert sse.parse(frame) == parsed


def test_what_is_encoded_is_read_back():
    written = sse.encode(b'{"a":1}') + sse.encode(b"{}", "ping") + sse.KEEP_ALIVE + sse.DONE
    assert [sse.parse(frame) for frame in FrameSplitter().feed(written)] == [
        (None, b'{"a":1}'),
        ("ping", b"{}"),
        (None, None),
        (None, b"[DONE]"),
    ]
