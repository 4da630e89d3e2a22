"""Frames that say nothing but a text: which are told by their bytes, which are read, and that both ways say the same."""

import contextlib
import json
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import at_least
from tests.wire.cuts import read
from tokenhub.call import Call, Capability
from tokenhub.usage import Usage
from tokenhub.wire import sse
from tokenhub.wire.chat.relay import ChatRelay
from tokenhub.wire.chat.text_frames import text_alone
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.messages.over_chat_stream import EventWriter
from tokenhub.wire.messages.stream import MessagesReader
from tokenhub.wire.messages.tool_ids import NewIds
from tokenhub.wire.replies import StreamFacts
from tokenhub.wire.responses.surface import ResponsesSurface
from tokenhub.wire.surface import Arrival, End
from tokenhub.wire.text_frames import TextFrames

SAMPLES = Path(__file__).parents[1] / "samples"

PROVIDERS = {
    "openai": '{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"default",'
    '"system_fingerprint":null,"choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}],"usage":null,'
    '"obfuscation":"#"}',
    "deepseek": '{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp_8_0",'
    '"choices":[{"index":0,"delta":{"content":"@","reasoning_content":null},"logprobs":null,"finish_reason":null}],'
    '"usage":null}',
    "dashscope": '{"model":"m","id":"c-1","choices":[{"delta":{"content":"@","role":null},"index":0}],"created":1,'
    '"object":"chat.completion.chunk","usage":null}',
    "qwen": '{"choices":[{"delta":{"content":"@"},"finish_reason":null,"index":0,"logprobs":null}],"created":1,'
    '"object":"chat.completion.chunk","usage":null,"system_fingerprint":null,"model":"m","id":"c-1"}',
    "moonshot": '{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    '{"content":"@"},"finish_reason":null}],"system_fingerprint":"fpv0_1"}',
    "zhipu": '{"id":"1","created":1,"object":"chat.completion.chunk","model":"glm","choices":[{"index":0,"delta":'
    '{"role":"assistant","content":"@"}}]}',
    "azure": '{"choices":[{"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},"delta":'
    '{"content":"@"},"finish_reason":null,"index":0,"logprobs":null}],"created":1,"id":"c","model":"m","object":"x"}',
    "spaced": '{"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "@", "refusal": null, '
    '"tool_calls": [], "annotations": []}, "finish_reason": null}], "usage": null}',
}
"""Text frames as providers write them: ``@`` stands for the text, ``#`` for padding."""

ODD = {
    "another content before": '{"content":"x","id":"c","choices":[{"delta":{"content":"@"}}]}',
    "another content, which varies": '{"content":"@","id":"c","choices":[{"delta":{"content":"x"}}]}',
    "another content, and the text of a probe": '{"content":"@","id":"c","choices":[{"delta":{"content":"probe"}}]}',
    "content twice": '{"id":"c","choices":[{"delta":{"content":"@","content":"x"}}]}',
    "content twice, the last counts": '{"id":"c","choices":[{"delta":{"content":"x","content":"@"}}]}',
    "choices twice": '{"id":"c","choices":[{"delta":{"content":"@"}}],"choices":[{"delta":{"content":"x"}}]}',
    "a name with a quote": r'{"id":"c","a\"content":"@","choices":[{"delta":{"content":"x"}}]}',
    "padding of other bytes": '{"id":"c","choices":[{"index":0,"delta":{"content":"@"}}],"p":"#-"}',
    "a name that varies": '{"#":1,"id":"c","choices":[{"index":0,"delta":{"content":"@"}}]}',
    "spaces": '{"id":"c","choices":[{"index":0,"delta":{"content":"@"}}]   }',
}
"""Frames that say nothing but a text, and not always where it seems."""

MORE = {
    "another choice": '{"id":"c","choices":[{"index":1,"delta":{"content":"@"}}]}',
    "two choices": '{"id":"c","choices":[{"index":0,"delta":{"content":"@"}},{"index":1,"delta":{"content":"y"}}]}',
    "a choice twice": '{"id":"c","choices":[{"index":0,"delta":{"content":"@"}},{"index":0,"delta":{"content":"y"}}]}',
    "log probabilities": '{"id":"c","choices":[{"index":0,"delta":{"content":"@"},'
    '"logprobs":{"content":[{"token":"a","logprob":-1}]}}]}',
    "an end": '{"id":"c","choices":[{"index":0,"delta":{"content":"@"},"finish_reason":"length"}]}',
    "an empty end": '{"id":"c","choices":[{"index":0,"delta":{"content":"@"},"finish_reason":""}]}',
    "reasoning": '{"id":"c","choices":[{"index":0,"delta":{"content":"@","reasoning_content":"r"}}]}',
    "a refusal": '{"id":"c","choices":[{"index":0,"delta":{"content":"@","refusal":"no"}}]}',
    "a call": '{"id":"c","choices":[{"index":0,"delta":{"content":"@","tool_calls":[{"index":0,"id":"k","function":'
    '{"name":"f","arguments":"{}"}}]}}]}',
    "a signature": '{"id":"c","choices":[{"index":0,"delta":{"content":"@","extra_content":{}}}]}',
    "annotations": '{"id":"c","choices":[{"index":0,"delta":{"content":"@","annotations":'
    '[{"type":"url_citation","url_citation":{"url":"u"}}]}}]}',
}
"""Frames that say more than a text of the first choice."""

OTHERS = [
    b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}',
    b'data: {"id":"c","choices":[{"index":0,"delta":{"reasoning_content":"Hm."}}]}',
    b'data: {"id":"c","choices":[{"index":0,"delta":{"refusal":"No."}}]}',
    b'data: {"id":"c","choices":[{"index":0,"delta":{"annotations":[{"url_citation":{"url":"u"}}]}}]}',
    b'data: {"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"k","function":{"name":"f","arguments":"{"}}]}}]}',
    b'data: {"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}}]}',
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    b'data: {"id":"c","choices":[]}',
    b": keep-alive",
]
BROKEN = [
    rb"\ud800",
    rb"\ude00",
    rb"\x",
    rb"\u12",
    b"\t",
    b"\xff",
    b"\xf0\x9f",
    b"\\",
    b'a"b',
    b'a","b',
    b'a",["b',
    b'c"],"d',
    b'"}}]}',
    b'"}}]}\n\ndata: {"id":"c"}',
]
"""What no JSON string has inside."""
HALVES = [(rb"\ud83d", rb"\ude00"), (b"\xf0\x9f", b"\x98\x80"), (b"a\\", b'"b'), (b"a\\", b'",\n"b'), (rb"\u12", b"34")]
"""What would be strings if it stood together."""

NEEDLES = [
    '"tool_calls":[{"index":0}]',
    '"finish_reason":"stop"',
    '"usage":{"prompt_tokens":1}',
    '"}}]}\n\ndata: {"choices":[{"index":0,"delta":{"content":"',
    '"},"finish_reason":null}],"usage":null}',
    '"content":"x"',
    "\\",
    '"',
    '\\"',
    "\r\n\r\n",
    "\n\n",
    "\u2028\x00\x1f\x7f/",
    "\U0001f600é",
    "probe",
    " }",
]
TEXTS = st.lists(st.sampled_from(NEEDLES) | st.text(max_size=4), min_size=1, max_size=3).map("".join)
SPELLINGS: list[Callable[[str], str]] = [
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: json.dumps(text)[1:-1],
    lambda text: "".join(f"\\u{unit:04X}" for unit in memoryview(text.encode("utf-16-le")).cast("H")),
    lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
]
LITERALS = st.builds(lambda text, spell: spell(text).encode(), TEXTS | st.just(""), st.sampled_from(SPELLINGS))
PADDINGS = st.sampled_from([b"", b"a", b"Zz9", b"0123456789abcdef"])


def written(form: str, literal: bytes, padding: bytes = b"") -> bytes:
    return b"data: " + form.encode().replace(b"#", padding).replace(b"@", literal)


def numbered(frames: Iterable[bytes]) -> list[bytes]:
    """Frames that mean the same and of which no two are alike, so that each is read."""
    return [
        re.sub(rb'^(data: ?\{)(?!"n")', rb'\1"n":%d,' % number, frame, count=1, flags=re.MULTILINE)
        for number, frame in enumerate(frames, 100_000)
    ]


def block(frames: Iterable[bytes]) -> bytes:
    return b"".join(frame + b"\n\n" for frame in frames)


# What is told by its bytes -----------------------------------------------------------------------


class Reader:
    """What a reader of a chat stream makes of its frames: the texts it was told, and the frames it had to read."""

    def __init__(self) -> None:
        self.frames = TextFrames("content")
        self.told: list[str] = []
        self.taken: list[bytes] = []
        self.runs = 0

    def feed(self, data: bytes) -> None:
        self.frames.read(data, self._take, self._say)

    def _take(self, frame: bytes) -> bytes:
        self.taken.append(frame)
        with contextlib.suppress(orjson.JSONDecodeError):
            text = text_alone(orjson.loads(sse.parse(frame)[1] or b""))
            if text is not None:
                self.frames.learn(frame, text, text_alone)
        return b""

    def _say(self, texts: Any) -> bytes:
        self.runs += 1
        self.told += texts
        assert texts.joined() == "".join(texts)
        return b""


@pytest.mark.parametrize("form", PROVIDERS.values(), ids=PROVIDERS)
@pytest.mark.parametrize("many", [1, 3, 50])
def test_text_frames_are_read_once_and_then_told_by_their_bytes(form, many):
    made, texts = Reader(), [f'word {place} \\ " \n 你 {"x" * place}' for place in range(100)]
    frames = [written(form, json.dumps(text)[1:-1].encode(), b"x" * (place % 7)) for place, text in enumerate(texts)]
    made.feed(block(frames[:1]))
    for start in range(1, len(frames), many):
        made.feed(block(frames[start : start + many]))
    assert made.taken == frames[:1]
    assert made.told == texts[1:]


@pytest.mark.parametrize("form", MORE.values(), ids=MORE)
def test_frame_that_says_more_is_read(form):
    frames = [written(form, b"word %d" % place) for place in range(5)]
    assert text_alone(orjson.loads(frames[0][6:])) is None
    made = Reader()
    made.feed(block([*frames, *frames]))
    assert made.told == []


@pytest.mark.parametrize("form", ODD.values(), ids=ODD)
def test_only_what_a_frame_says_is_told(form):
    made = Reader()
    for place in range(20):
        made.feed(block([written(form, b"word %d" % place, b"x" * place)]))
    assert made.told in ([], [f"word {place}" for place in range(1, 20)])


@pytest.mark.parametrize("form", [PROVIDERS["deepseek"], PROVIDERS["openai"]], ids=["unpadded", "padded"])
@pytest.mark.parametrize("many", [1, 3])
def test_bytes_that_differ_anywhere_else_are_read(form, many):
    first, good = written(form, b"first", b"x"), written(form, b"text", b"yz")
    wrong = [good[:at] + b"~" + good[at + 1 :] for at in range(6, len(good)) if good[at : at + 1] not in b"texyz"]
    for bad in (
        *wrong,
        good[good.index(b"text") :],
        good[:-1],
        good + b"}",
        good[:-1] + b',"choices":[]}',
        good.replace(b"text", b""),
    ):
        made = Reader()
        made.feed(block([first]))
        made.feed(block([good] * many + [bad]))
        assert (made.told, made.taken) == (["text"] * many, [first, bad])


@pytest.mark.parametrize("form", [PROVIDERS["deepseek"], PROVIDERS["openai"]], ids=["unpadded", "padded"])
def test_lines_that_are_no_frames_are_read(form):
    first, good = written(form, b"first", b"x"), written(form, b"text", b"yz")
    for between in (b"\n", b"\n: comment\n", b"\nid: 5\n"):
        made = Reader()
        made.feed(block([first]))
        made.feed(block([good + between + good]))
        assert (made.told, made.taken) == ([], [first, good + between + good])


def test_several_lines_of_a_frame_may_stand_around_its_text():
    made, form = Reader(), b'event: message\ndata:{"choices":[{"delta":{"content":"%d"}}]}'
    made.feed(block([form % place for place in range(5)]))
    assert (len(made.taken), made.told) == (1, ["1", "2", "3", "4"])


def test_padding_is_told_from_text_that_looks_like_it():
    made, form = Reader(), PROVIDERS["openai"]
    text = r"\"},\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"abc\"}"
    made.feed(block([written(form, b"first", b"x"), written(form, text.encode(), b"yz"), written(form, b"last")]))
    assert made.told == [json.loads(f'"{text}"'), "last"]


@pytest.mark.parametrize("broken", BROKEN)
def test_frame_with_a_broken_string_is_read(broken):
    made, form = Reader(), PROVIDERS["deepseek"]
    good, rest = [written(form, b"%d" % place) for place in range(5)], [written(form, broken), written(form, b"after")]
    made.feed(block([*good, *rest]))
    assert made.told == ["1", "2", "3", "4"]
    assert block(made.taken) == block([good[0], *rest])


@pytest.mark.parametrize("halves", HALVES)
def test_strings_that_are_one_only_together_are_read(halves):
    made, form = Reader(), PROVIDERS["deepseek"]
    frames = [written(form, one) for one in (b"first", *halves)]
    made.feed(block(frames))
    assert (made.told, made.taken) == ([], frames)


def test_truncated_frame_is_not_taken_for_one_with_an_empty_text():
    made, whole = Reader(), written(PROVIDERS["deepseek"], b"a")
    at = whole.index(b'"a"')
    truncated = whole[: at + 1] + whole[at + 3 :]
    made.feed(block([whole, truncated]))
    assert (made.told, made.taken) == ([], [whole, truncated])


def test_runs_between_other_frames_are_found_in_few_steps():
    made, form = Reader(), PROVIDERS["moonshot"]
    texts = [written(form, b"%d" % place) for place in range(400)]
    made.feed(block([*texts[:200], OTHERS[1], *texts[200:]]))
    assert made.told == [str(place) for place in range(400) if place not in (0, 200)]
    assert made.taken == [texts[0], OTHERS[1], texts[200]]
    assert made.runs < 25


def test_stream_whose_frames_are_never_alike_is_not_looked_at_for_long():
    looked = []

    def alone(chunk: Any) -> str | None:
        looked.append(chunk)
        return text_alone(chunk)

    frames = TextFrames("content")
    for place in range(50):
        frame = b'data: {"id":"%d","choices":[{"delta":{"content":"a"}}]}' % place
        frames.read(
            frame + b"\n\n", lambda one: frames.learn(one, "a", alone) or b"", lambda _: pytest.fail("none is alike")
        )
    assert len(looked) == 4


# That both ways say the same ----------------------------------------------------------------------


FORMS = st.sampled_from([*PROVIDERS.values(), *ODD.values(), *MORE.values()])
MIXED = LITERALS | LITERALS | st.sampled_from(BROKEN) | st.sampled_from([one for pair in HALVES for one in pair])


def runs_of(forms: st.SearchStrategy[str], literals: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    said = st.lists(st.tuples(literals, PADDINGS), min_size=1, max_size=6)
    return st.builds(lambda form, said: [written(form, *one) for one in said], forms, said)


def streams_of(runs: st.SearchStrategy[list[bytes]]) -> st.SearchStrategy[list[bytes]]:
    return st.lists(runs, min_size=1, max_size=6).map(lambda runs: [one for run in runs for one in run])


OTHER = st.sampled_from(OTHERS).map(lambda frame: [frame])
PLAIN = runs_of(st.sampled_from([*PROVIDERS.values()]), LITERALS)
STREAMS = streams_of(PLAIN | runs_of(FORMS, LITERALS) | OTHER)
FAULTY = streams_of(PLAIN | runs_of(FORMS, MIXED) | OTHER)

USAGE = Usage(input=3, output=5)
END = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'


class Writer:
    """A client's side of a chat stream: events of blocks, and of the end."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.responses = ResponsesSurface(Arrival("/v1/responses", {}, {}, 1_800_000_000))
        self.responses.call({"model": "m", "input": "Hi"}, 50)
        self.messages = EventWriter(
            shows_thinking=dialect == "thinking", input_tokens=lambda: 1, model="m", ids=NewIds([])
        )

    def feed(self, frames: bytes) -> bytes:
        return self.responses.feed(frames) if self.dialect == "responses" else self.messages.feed(frames)

    def ending(self, frames: bytes) -> bytes:
        if self.dialect == "responses":
            held = self.responses.hold_back(frames)
            return self.responses.ending(held, End("r", USAGE, {}, StreamFacts(upstream_id="c")))
        return self.messages.hold_back(frames) + self.messages.ending({"output_tokens": 5}, "c", None)

    def told(self, blocks: Iterable[bytes], end: bytes) -> tuple[list[Any], str | None]:
        """Return the events, up to a fault, and the fault."""
        told = b""
        try:
            for frames in blocks:
                told += self.feed(frames)
            told += self.ending(end)
        except UpstreamFault as fault:
            return events(told), fault.failure.code
        return events(told), None


def events(stream: bytes) -> list[Any]:
    found = []
    for frame in stream.split(b"\n\n")[:-1]:
        name, data = sse.parse(frame)
        found.append((name, None if data is None else orjson.loads(data)))
    return found


def cut(frames: list[bytes], sizes: list[int]) -> list[bytes]:
    """Return blocks of so many frames; the last one has the rest."""
    blocks, start = [], 0
    for size in sizes:
        blocks.append(block(frames[start : start + size]))
        start += size
    return [*blocks, block(frames[start:])]


DIALECTS = ["messages", "thinking", "responses"]
SIZES = st.lists(st.integers(0, 9), max_size=5)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("form", [*PROVIDERS.values(), *ODD.values(), *MORE.values()], ids=[*PROVIDERS, *ODD, *MORE])
def test_form_makes_the_events_that_it_makes_when_each_frame_is_read(dialect, form):
    said = [written(form, b"word %d" % place, b"x" * (place % 3)) for place in range(6)]
    frames = [*said[:3], END, *said[3:], *(one for other in OTHERS[:6] for one in (other, *said[:2]))]
    told = Writer(dialect).told([block(frames)], block([END]))
    assert told == Writer(dialect).told([block(numbered(frames))], block([END]))


@pytest.mark.parametrize("dialect", DIALECTS)
@at_least(150)
@given(frames=STREAMS, sizes=SIZES)
def test_stream_makes_the_events_that_it_makes_when_each_frame_is_read(dialect, frames, sizes):
    told = Writer(dialect).told(cut(frames, sizes), block([END]))
    assert told == Writer(dialect).told(cut(numbered(frames), sizes), block([END]))


@pytest.mark.parametrize("dialect", DIALECTS)
@at_least(150)
@given(frames=FAULTY, sizes=SIZES)
def test_stream_with_broken_frames_fails_where_it_fails_when_each_frame_is_read(dialect, frames, sizes):
    told = Writer(dialect).told(cut(frames, sizes), block([END]))
    assert told == Writer(dialect).told(cut(numbered(frames), sizes), block([END]))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@settings(max_examples=60)
@given(runs=st.lists(PLAIN, min_size=1, max_size=4), piece_bytes=st.integers(1, 700))
def test_no_cut_of_the_network_shows_in_the_events(dialect, line_end, runs, piece_bytes):
    frames = [*(frame for run in runs for frame in run), END, b"data: [DONE]"]

    def relayed(frames: list[bytes], piece_bytes: int) -> list[Any]:
        stream, relay, writer = block(frames).replace(b"\n", line_end), ChatRelay(), Writer(dialect)
        pieces = [stream[at : at + piece_bytes] for at in range(0, len(stream), piece_bytes)]
        told, fault = writer.told([given for piece in pieces if (given := relay.feed(piece))], relay.ending())
        assert fault is None
        return told

    assert relayed(frames, piece_bytes) == relayed(numbered(frames), 1_000_000)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("path", sorted((SAMPLES / "chat").glob("*.sse")), ids=lambda path: path.stem)
def test_sample_makes_the_events_that_it_makes_when_each_frame_is_read(dialect, path):
    frames = sse.FrameSplitter().feed(path.read_bytes())
    made = []
    for sent in (frames, numbered(frames)):
        random.seed(1)  # of which an id is made where the sample has none
        flowing, ending, _ = read(ChatRelay(), [block(sent)])
        made.append(Writer(dialect).told([flowing], ending))
    assert made[0] == made[1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_text_passes_as_the_upstream_spelled_it(dialect):
    writer, form = Writer(dialect), PROVIDERS["openai"]
    writer.feed(block([written(form, b"first")]))
    told = writer.feed(block(written(form, spelled, b"x") for spelled in (rb"\u0041\/", "é\\n".encode())))
    assert b'"\\u0041\\/"' in told
    assert '"é\\n"'.encode() in told


# An upstream that speaks Anthropic's wire -----------------------------------------------------------


BEGUN = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"m","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}'
)
STOPPED = [
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}',
    b'event: message_stop\ndata: {"type":"message_stop"}',
]
MARKED = {
    "anthropic": '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"@"}#}',
    "spaced": '{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "@"}#}',
    "delta first": '{"delta":{"text":"@","type":"text_delta"},"index":0,"type":"content_block_delta"}',
    "error": '{"type":"content_block_delta","index":0,"error":null,"delta":{"type":"text_delta","text":"@"}}',
    "no block": '{"type":"content_block_delta","index":7,"delta":{"type":"text_delta","text":"@"}}',
    "another text": '{"text":"@","type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}',
    "thinking": '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"@","text":"x"}}',
}


def event(kind: bytes, rest: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b"%b}' % (kind, kind, rest)


STEPS = [
    event(b"content_block_start", b',"index":0,"content_block":{"type":"text","text":""}'),
    event(b"content_block_start", b',"index":0,"content_block":{"type":"thinking","thinking":"","signature":""}'),
    event(b"content_block_start", b',"index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}'),
    event(b"content_block_delta", b',"index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}'),
    event(
        b"content_block_delta",
        b',"index":0,"delta":{"type":"citations_delta","citation":{"type":"web_search_result_location","url":"u",'
        b'"title":"t","cited_text":"c"}}',
    ),
    event(b"content_block_stop", b',"index":0'),
    event(b"ping", b""),
    event(b"message_delta", b',"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}'),
    event(b"error", b',"error":{"type":"overloaded_error","message":"x"}'),
    b": comment",
]
SPACES = st.integers(0, 4).map(lambda many: b" " * many)


def marked(form: str, literal: bytes, padding: bytes) -> bytes:
    return b"event: content_block_delta\n" + written(form, literal, padding)


MARKED_TEXTS = LITERALS | LITERALS | LITERALS | st.sampled_from(BROKEN)
MARKED_RUNS = st.builds(
    lambda form, said: [marked(form, *one) for one in said],
    st.sampled_from([*MARKED.values(), MARKED["anthropic"], MARKED["anthropic"]]),
    st.lists(st.tuples(MARKED_TEXTS, SPACES), min_size=1, max_size=6),
)
CALL = Call(Capability.CHAT, "m")


def assert_anthropics(frames: list[bytes], piece_bytes: int = 1_000_000) -> None:
    """Assert that a stream makes the chunks and the facts that it makes when each of its events is read."""

    def made(frames: list[bytes], piece_bytes: int) -> tuple[Any, ...]:
        stream = block(frames)
        pieces = [stream[at : at + piece_bytes] for at in range(0, len(stream), piece_bytes)]
        flowing, ending, facts = read(MessagesReader(CALL), pieces)
        return events(flowing), events(ending), facts

    assert made(frames, piece_bytes) == made(numbered(frames), 1_000_000)


@at_least(400)
@given(
    st.lists(MARKED_RUNS | st.sampled_from([*STEPS, STEPS[0], STEPS[0]]).map(lambda one: [one]), max_size=8),
    st.integers(1, 500),
)
def test_anthropics_stream_makes_the_chunks_and_facts_that_it_makes_when_each_event_is_read(runs, piece_bytes):
    assert_anthropics([BEGUN, STEPS[0], *(frame for run in runs for frame in run), *STOPPED], piece_bytes)


def test_anthropics_text_passes_as_it_was_spelled_and_is_counted():
    reader, form = MessagesReader(CALL), MARKED["anthropic"]
    reader.feed(block([BEGUN, STEPS[0], marked(form, b"a", b"   ")]))
    given = reader.feed(block([marked(form, rb"\u0041", b""), marked(form, rb"\u00e9", b"  ")]))
    assert b'{"content":"\\u0041"}' in given
    assert b'{"content":"\\u00e9"}' in given
    assert asdict(reader.facts)["output_bytes"] == len("aAé".encode())


@pytest.mark.parametrize("form", MARKED.values(), ids=MARKED)
@pytest.mark.parametrize("between", range(len(STEPS)))
def test_anthropics_form_makes_the_chunks_that_it_makes_when_each_event_is_read(form, between):
    said = [marked(form, f"wörd {place} ".encode(), b" " * (place % 3)) for place in range(6)]
    assert_anthropics([BEGUN, STEPS[0], *said[:3], STEPS[between], *said[3:], STEPS[4], STEPS[5], *said, *STOPPED])


def test_anthropics_text_after_its_blocks_end_is_not_shown():
    reader, form = MessagesReader(CALL), MARKED["anthropic"]
    reader.feed(block([BEGUN, STEPS[0], marked(form, b"a", b""), marked(form, b"b", b"")]))
    assert reader.feed(block([STEPS[5], marked(form, b"c", b""), marked(form, b"d", b"")])) == b""
    assert reader.facts.output_bytes == 2
