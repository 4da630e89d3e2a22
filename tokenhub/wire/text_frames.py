"""Finds the frames of a stream that say nothing but a text, and takes it out without reading their JSON.

An upstream writes the text frames of a stream alike, byte for byte, but for the text and perhaps
for *padding* that hides its length. Where a frame was read, and was read once more with another
string in the place of its text, every frame with the same bytes around any JSON string is known
to say that string and nothing else. Such frames are told by their bytes, a block at a time, and
the strings of a block are parsed together; all other frames are read.
"""

import contextlib
import re
import string
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from tokenhub.values import value
from tokenhub.wire import sse

_PROBE = "probe"
_LETTERS = (string.ascii_letters + string.digits).encode()
_PADDINGS = (
    (re.compile(rb'(?<=")[0-9A-Za-z]*("})\Z'), _LETTERS),
    (re.compile(rb" *(})\Z"), b" "),
)
"""Where padding stands at a frame's end, and of which bytes it is made: the last member, as OpenAI's ``obfuscation``
(API reference, chat streaming, 2026-11); spaces before the last brace, as recorded of Anthropic. Others write neither.
"""
_PATIENCE = 4
"""So many envelopes in a row that fitted no other frame show that a stream's frames are not alike."""


@value
class Texts:
    """What a run of frames says: a text for each frame, none of them empty."""

    literals: list[bytes]
    """In JSON as they came, without their quotes."""

    def __iter__(self) -> Iterator[str]:
        """Yield one text after another."""
        return (orjson.loads(b'"%b"' % literal) for literal in self.literals)

    def joined(self) -> str:
        """Return them as one."""
        text: str = orjson.loads(b'"%b"' % b"".join(self.literals))
        return text


class TextFrames:
    """Knows the text frames of one stream; ``member`` is the name under which they hold their text."""

    def __init__(self, member: str) -> None:
        self._text = re.compile(rb'"%b": ?"((?:[^"\\]|\\.)*+)"' % member.encode())
        self._envelope: _Envelope | None = None
        self._fruitless = 0

    def read(self, block: bytes, take: Callable[[bytes], bytes], say: Callable[[Texts], bytes]) -> bytes:
        """Return what is made of a block of whole frames, in its order: by ``say`` of texts, by ``take`` of a frame that has to be read.

        A frame that is read may change what the same bytes mean, so it makes all unknown until ``take``
        calls ``learn``. Where text frames and others are mixed, runs are found by halving and doubling.
        """
        if (texts := self._texts_in(block)) is not None:
            return say(texts)
        made: list[bytes] = []
        start, reach = 0, len(block) // 2
        while start < len(block):
            if self._envelope is None:
                end = _end_of_frame(block, start)
                if frame := block[start:end].strip(b"\n"):
                    made.append(take(frame))
                start = end
                continue
            run = block[start : _end_of_frame(block, start + reach)]
            if (texts := self._texts_in(run)) is not None:
                made.append(say(texts))
                start, reach = start + len(run), 2 * len(run)
            elif (shorter := _half(run)) is not None:
                reach = shorter
            else:
                self._envelope = None
        return b"".join(made)

    def learn(self, frame: bytes, text: str, text_alone: Callable[[Any], str | None]) -> None:
        """Know all frames that are like this one, which was read and says ``text``, if a text is all that they can say.

        ``text_alone`` takes the JSON of a frame and returns its text if it says nothing else to the reader of this stream, else None.
        """
        if self._fruitless == _PATIENCE or text == _PROBE:
            return
        self._fruitless += 1
        envelope = self._envelope_of(frame)
        if envelope is None:
            return
        _, data = sse.parse(envelope.frame(_PROBE.encode()))
        with contextlib.suppress(orjson.JSONDecodeError):
            if text_alone(orjson.loads(data or b"")) == _PROBE:
                self._envelope = envelope

    def _texts_in(self, block: bytes) -> Texts | None:
        """Return the texts of a block of nothing but text frames; None for any other, and where a text is empty or broken.

        Set apart by spaces all literals are one string if each is one: a quote would end it, and a
        space completes no escape, no surrogate pair and no character that a literal has begun.
        """
        literals = None if self._envelope is None else self._envelope.literals_in(block)
        if literals is None or b"" in literals:
            return None
        try:
            orjson.loads(b'"%b"' % b" ".join(literals))
        except orjson.JSONDecodeError:
            return None
        self._fruitless = 0
        return Texts(literals)

    def _envelope_of(self, frame: bytes) -> "_Envelope | None":
        """Return what stands around the first string of the right name in a frame; whether it is the text is yet to be seen."""
        found = self._text.search(frame)
        if found is None:
            return None
        head, rest = frame[: found.start(1)], frame[found.end(1) :]
        for pattern, padding in _PADDINGS:
            if padded := pattern.search(rest):
                return _Envelope(head, rest[: padded.start()], padding, padded[1])
        return None


class _Envelope:
    """What all text frames of a stream have around their text: ``head``, the text, ``tail``, padding, ``end``.

    ``head`` ends with the quote before the text, ``tail`` begins with the one behind it, and ``end``
    ends the frame. Padding is any number of the bytes in ``padding``.
    """

    __slots__ = ("_between", "_close", "_end", "_first", "_head", "_line", "_padding", "_step", "_tail")

    def __init__(self, head: bytes, tail: bytes, padding: bytes, end: bytes) -> None:
        self._head, self._tail, self._padding, self._end = head, tail, padding, end
        self._close = tail + end
        self._between = b"\n\n" + head
        self._first = head.count(b"\n")
        self._step = self._first + 2
        self._line = head[head.rfind(b"\n") + 1 :]

    def frame(self, text: bytes) -> bytes:
        """Return the frame of a text, a JSON string without its quotes, with padding of every kind of byte."""
        return b"".join([self._head, text, self._tail, self._padding, self._end])

    def literals_in(self, block: bytes) -> list[bytes] | None:
        """Return what stands in the place of the text in each frame of a block; None if one has another envelope."""
        behind_head = block.removeprefix(self._head)
        if len(behind_head) == len(block):
            return None
        literal, _, rest = behind_head.partition(self._tail)
        if rest.lstrip(self._padding) == self._end + b"\n\n":
            return [literal]
        return self._many_in(block)

    def _many_in(self, block: bytes) -> list[bytes] | None:
        """Take the lines that may hold a text apart, first as if none had padding; put together again, they show whether they were frames.

        Lines, because splitting at one byte takes a fifth of the time that splitting at two takes.
        """
        lines = block.split(b"\n")[self._first : -1 : self._step]
        behind_head = [line.removeprefix(self._line) for line in lines]
        literals = [rest.removesuffix(self._close) for rest in behind_head]
        if b"%b%b%b\n\n" % (self._head, (self._close + self._between).join(literals), self._close) == block:
            return literals
        if b"%b%b\n\n" % (self._head, self._between.join(behind_head)) != block:
            return None
        parted = [rest.partition(self._tail) for rest in behind_head]
        if {rest.lstrip(self._padding) for _, _, rest in parted} != {self._end}:
            return None
        return [literal for literal, _, _ in parted]


def _end_of_frame(block: bytes, at: int) -> int:
    """Return where the frame ends in which a byte stands, behind its blank line."""
    found = block.find(b"\n\n", at)
    return len(block) if found < 0 else found + 2


def _half(block: bytes) -> int | None:
    """Return where the last frame of a block's first half ends, before its blank line; None for a single frame."""
    found = block.rfind(b"\n\n", 0, len(block) // 2)
    if found < 0:
        found = block.find(b"\n\n")
    return found if 0 <= found < len(block) - 2 else None
