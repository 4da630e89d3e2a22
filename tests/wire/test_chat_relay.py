"""Streams of OpenAI-compatible providers, relayed: own samples of every dialect, cut everywhere, and broken."""

import json
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.assembler import Choice, assemble
from tests.wire.cuts import assert_cuts_do_not_show, read
from tokenhub.usage import Usage
from tokenhub.wire import sse
from tokenhub.wire.chat.mend import Mender
from tokenhub.wire.chat.relay import ChatRelay
from tokenhub.wire.faults import Failure, FaultKind

SAMPLES = Path(__file__).parents[1] / "samples" / "chat"

ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.sse").read_bytes()


def frame(payload: object) -> bytes:
    return sse.encode(orjson.dumps(payload))


def said(text: str, **members: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return frame({"id": "x", "model": "m", "choices": [choice | members]})


def finish(reason: str = "stop", **top: object) -> bytes:
    return frame({"id": "x", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], **top})


@dataclass
class Expected:
    """What a client is to make of a sample, and what is to be known of it."""

    choices: dict[int, Choice]
    usage: Usage | None = None
    native: str | None = None


def tools(*calls: tuple[str, str, str]) -> dict[int, dict[str, str]]:
    return {place: {"id": id, "name": name, "arguments": text} for place, (id, name, text) in enumerate(calls)}


OPENAI = Usage(input=21, output=7)
EXPECTED = {
    "openai_text": Expected({0: Choice(text='Grüße aus "Kiel" – \\ 你好\n\ndata: [DONE]\n\n', finish="stop")}, OPENAI),
    "openai_tools": Expected(
        {
            0: Choice(
                tools=tools(("call_own_a", "weather", '{"city": "Turin"}'), ("call_own_b", "clock", '{"zone":"CET"}')),
                finish="tool_calls",
            )
        },
        Usage(input=21, output=31),
    ),
    "openai_two_choices": Expected(
        {0: Choice(text="One, two", finish="stop"), 1: Choice(text="Uno, due", finish="length")}, OPENAI
    ),
    "openai_choices_in_turn": Expected({0: Choice(text="One", finish="stop"), 1: Choice(text="Uno", finish="stop")}),
    "openai_refusal": Expected({0: Choice(refusal="I cannot help.", finish="stop")}),
    "spaced_json": Expected({0: Choice(text="spaced out é", finish="stop")}, OPENAI),
    "deepseek_thinking": Expected(
        {0: Choice(reasoning="Half of ten.", text="5", finish="stop")},
        Usage(input=4, cache_read=8, output=9, reasoning=6),
    ),
    "zhipu_tools": Expected(
        {
            0: Choice(
                reasoning="Both tools.",
                text="\nRight.",
                tools=tools(("call_-77", "add", '{"a":1}'), ("call_-78", "mul", '{"a":2}')),
                finish="tool_calls",
            )
        },
        Usage(input=36, cache_read=4, output=25, reasoning=5),
    ),
    "zhipu_sensitive": Expected({0: Choice(text="Well", finish="content_filter")}, native="sensitive"),
    "moonshot_text": Expected({0: Choice(text="Hao de.", finish="stop")}, Usage(input=3, cache_read=16, output=4)),
    "moonshot_usage_twice": Expected(
        {0: Choice(reasoning="Hm", text="Hao.", finish="stop")}, Usage(input=3, cache_read=16, output=4)
    ),
    "dashscope_tools": Expected(
        {0: Choice(tools=tools(("call_q1", "sum", '{"x": [1, 2]}')), finish="tool_calls")},
        Usage(input=50, output=12),
    ),
    "usage_on_every_chunk": Expected({0: Choice(text="abc", finish="stop")}, Usage(input=10, output=3)),
    "azure_first_chunk": Expected({0: Choice(text="Sky.", finish="stop")}, OPENAI),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_client_gets_the_whole_answer_and_no_usage(name):
    expected = EXPECTED[name]
    relay = ChatRelay()
    flowing, ending, _ = read(relay, [sample(name)])
    made = assemble(flowing + ending)
    assert made.choices == expected.choices
    assert (made.usage, made.usages, made.done, made.errors) == (None, 0, False, [])
    facts = relay.facts
    assert facts.complete
    assert facts.content
    assert facts.failure is None
    assert facts.usage == expected.usage
    last = expected.choices[max(expected.choices)].finish
    assert (facts.finish_reason, facts.native_finish_reason) == (last, expected.native or last)


@pytest.mark.parametrize("name", EXPECTED)
def test_nothing_before_the_ending_says_that_the_answer_is_over(name):
    relay = ChatRelay()
    flowing, ending, _ = read(relay, [sample(name)])
    made = assemble(flowing)
    unfinished = [choice for choice in made.choices.values() if choice.finish is None]
    assert unfinished
    assert assemble(ending).choices


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.sse")), ids=lambda path: path.stem)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_t59_no_cut_changes_what_is_relayed(path, line_end):
    stream = path.read_bytes().replace(b"\n", line_end)
    assert_cuts_do_not_show(ChatRelay, stream, most=700)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.sse")), ids=lambda path: path.stem)
def test_t59_no_cut_changes_what_is_mended(path):
    assert_cuts_do_not_show(lambda: ChatRelay(mender=Mender("id", 1, "m")), path.read_bytes(), most=700)


def test_a_plain_chunk_is_relayed_byte_by_byte_as_it_came():
    relay = ChatRelay()
    chunk = (
        b'data: {"choices":[{"index":0,"delta":{"content":"\xe6\xb5\xb7 \\u00e9"},"finish_reason":null}],"x":1.50}\n\n'
    )
    assert relay.feed(frame(ROLE)) == b""
    assert relay.feed(chunk) == frame(ROLE) + chunk
    assert relay.feed(chunk * 3 + chunk[:50]) == chunk * 3
    assert relay.feed(chunk[50:]) == chunk


def test_the_frames_before_the_first_content_come_with_it():
    relay = ChatRelay()
    assert relay.feed(frame(ROLE)) == b""
    assert relay.feed(b": waiting\n\n") == b""
    assert relay.feed(frame({"choices": [], "prompt_filter_results": []})) == b""
    assert not relay.facts.content
    assert relay.feed(said("Hi")) == frame(ROLE) + frame({"choices": [], "prompt_filter_results": []}) + said("Hi")
    assert relay.facts.content


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"content": " "},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"refusal": "x"},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f", "arguments": ""}},
        {"audio": {"id": "a", "data": "AA"}},
        {"images": [{"type": "image_url"}]},
    ],
)
def test_first_content_is_anything_that_a_client_would_miss(delta):
    relay = ChatRelay()
    relay.feed(frame(ROLE))
    chunk = frame({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    assert relay.feed(chunk) == frame(ROLE) + chunk
    assert relay.facts.content


@pytest.mark.parametrize(
    "delta",
    [
        {},
        None,
        {"role": "assistant"},
        {"content": ""},
        {"content": None},
        {"tool_calls": []},
        {"reasoning_content": ""},
    ],
)
def test_a_role_or_an_empty_delta_is_no_content(delta):
    relay = ChatRelay()
    chunk = frame({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    assert relay.feed(chunk) == b""
    assert not relay.facts.content


def test_an_answer_of_a_single_frame_commits_and_is_kept_back():
    relay = ChatRelay()
    only = frame({"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]})
    assert relay.feed(frame(ROLE) + only) == frame(ROLE)
    assert relay.facts.content
    assert relay.ending() == only


def test_an_answer_without_content_is_complete_and_comes_out_whole_at_the_end():
    relay = ChatRelay()
    flowing, ending, _ = read(relay, [sample("openai_empty_length")])
    assert flowing == b""
    assert assemble(ending).first == Choice(finish="length")
    assert relay.facts.complete
    assert not relay.facts.content
    assert relay.facts.usage == Usage(input=21, output=64, reasoning=64)


def test_the_end_is_kept_back_from_the_last_finish_reason_on_in_any_packing():
    usage = frame({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}})
    frames = [frame(ROLE), said("Hi"), finish(), usage, sse.DONE]
    for split in range(1, len(frames) + 1):
        relay = ChatRelay()
        flowing = relay.feed(b"".join(frames[:split])) + relay.feed(b"".join(frames[split:]))
        assert flowing == frame(ROLE) + said("Hi")
        assert relay.ending() == finish()
        assert relay.facts.usage == Usage(input=3, output=1)
        assert relay.facts.complete


def test_one_choice_that_ends_does_not_hold_up_the_other():
    relay = ChatRelay()
    frames = sse.frames_of(sample("openai_choices_in_turn"))
    given = [relay.feed(one + b"\n\n") for one in frames]
    assert given[2] == b""
    assert assemble(given[4]).choices[0].finish == "stop"
    assert assemble(relay.ending()).choices == {1: Choice(finish="stop")}


def test_t10_text_after_the_finish_stays_with_the_end():
    relay = ChatRelay()
    flowing, ending, _ = read(
        relay, [frame(ROLE) + said("a") + finish("stop") + said("b") + finish("length") + sse.DONE]
    )
    assert assemble(flowing).first.text == "a"
    assert assemble(ending).first == Choice(text="b", finish="length")
    assert relay.facts.finish_reason == "length"


@pytest.mark.parametrize("last", [{}, {"usage": {"prompt_tokens": 5, "completion_tokens": -5, "total_tokens": 0}}])
@pytest.mark.parametrize("unread", [True, False])
def test_t10_a_usage_that_more_text_follows_counts_nothing(last, unread):
    relay, so_far = ChatRelay(), {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}
    text = b"".join(said("word ") for _ in range(20))
    texts = [text] if unread else [one + b"\n\n" for one in sse.frames_of(text)]
    read(
        relay,
        [frame(ROLE | {"usage": so_far}) + said("a"), *texts, finish() + frame({"choices": [], **last}) + sse.DONE],
    )
    assert (relay.facts.complete, relay.facts.usage, relay.facts.output_bytes) == (True, None, 101)


@pytest.mark.parametrize(
    "none", [{}, {"prompt_tokens": 5}, {"prompt_tokens": -1}, {"prompt_tokens": 0, "completion_tokens": 0}]
)
def test_t10_a_text_whose_own_usage_counts_nothing_is_not_counted_by_an_earlier_one(none):
    relay, so_far = ChatRelay(), {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    texts = b"".join(said("word ", usage=none) for _ in range(20))
    read(relay, [frame(ROLE) + said("a", usage=so_far) + texts + finish(usage=none) + sse.DONE])
    assert (relay.facts.complete, relay.facts.usage, relay.facts.output_bytes) == (True, None, 101)
    assert relay.facts.told == Usage(input=5, output=1)


def test_t10_the_last_usage_counts_once():
    relay = ChatRelay()
    u = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    later = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    closing = frame({"choices": [], "usage": later})
    read(relay, [frame(ROLE) + said("a", usage=u) + finish(usage=u) + closing + closing + sse.DONE])
    assert relay.facts.usage == Usage(input=5, output=4)


COUNTS = {
    "nothing": ((100, 50), (0, 0), Usage(input=80, cache_read=20, output=50)),
    "no prompt": ((100, 50), (0, 60), Usage(input=80, cache_read=20, output=60)),
    "less of both": ((100, 50), (90, 40), Usage(input=90, output=50)),
    "a corrected prompt": ((100, 50), (90, 60), Usage(input=90, output=60)),
    "more of both": ((100, 50), (110, 60), Usage(input=110, output=60)),
    "the same, divided otherwise": ((100, 50), (100, 50), Usage(input=100, output=50)),
}


@pytest.mark.parametrize("name", COUNTS)
def test_t10_a_cumulative_count_cannot_fall(name):
    (prompt, made), (later_prompt, later_made), counted = COUNTS[name]
    first = {"prompt_tokens": prompt, "completion_tokens": made, "prompt_tokens_details": {"cached_tokens": 20}}
    later = {"prompt_tokens": later_prompt, "completion_tokens": later_made}
    closing = frame({"choices": [], "usage": later})
    relay = ChatRelay()
    read(relay, [said("a") + finish(usage=first) + closing + sse.DONE])
    assert relay.facts.usage == counted
    after_more = ChatRelay()
    read(after_more, [said("a", usage=first) + said("much more") + finish() + closing + sse.DONE])
    assert after_more.facts.usage == (counted if counted == Usage(input=later_prompt, output=later_made) else None)
    assert after_more.facts.told == counted


def test_t10_a_count_without_an_output_tells_the_prompt_alone():
    relay = ChatRelay()
    read(relay, [said("a") + finish() + frame({"choices": [], "usage": {"prompt_tokens": 900}}) + sse.DONE])
    assert (relay.facts.usage, relay.facts.told) == (None, Usage(input=900))


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1}, {"prompt_tokens": "x", "completion_tokens": 1}])
def test_t9_nonsense_never_replaces_a_usage_that_was_good(usage):
    good = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    relay = ChatRelay()
    read(relay, [said("a") + finish(usage=good) + frame({"choices": [], "usage": usage}) + sse.DONE])
    assert relay.facts.usage == Usage(input=5, output=1)
    assert relay.facts.complete


@pytest.mark.parametrize("tail", [finish() + sse.DONE, finish(usage=None) + sse.DONE])
def test_t7_a_stream_without_usage_says_how_much_was_made(tail):
    text = "The quick brown fox. " * 4
    relay = ChatRelay()
    read(relay, [frame(ROLE)] + [said(word + " ") for word in text.split()] + [tail])
    assert relay.facts.usage is None
    assert len(text) - 8 <= relay.facts.output_bytes <= len(text) + 8


def test_t11_usage_behind_an_empty_frame_is_still_seen():
    usage = frame({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}})
    relay = ChatRelay()
    relay.feed(said("a") + finish())
    assert not relay.facts.complete
    relay.feed(frame({"choices": []}) + b": still here\n\n")
    relay.feed(usage + sse.DONE)
    assert relay.facts.usage == Usage(input=3, output=1)


def test_t74_an_error_before_content_shows_nothing():
    relay = ChatRelay()
    flowing, _, _ = read(relay, [sample("error_before_content")])
    assert flowing == b""
    assert not relay.facts.content
    assert not relay.facts.complete
    assert relay.facts.failure == Failure(FaultKind.SERVER, code="overloaded")


@pytest.mark.parametrize("name", ["error_after_content", "error_event", "error_bare", "zhipu_network_error"])
def test_t75_an_error_after_content_ends_the_stream_as_failed(name):
    relay = ChatRelay()
    flowing, ending, _ = read(relay, [sample(name) + b"\n\n" + finish() + sse.DONE])
    assert assemble(flowing + ending).first.finish is None
    assert "boom" not in (flowing + ending).decode()
    assert relay.facts.content
    assert not relay.facts.complete
    assert relay.facts.failure is not None
    assert relay.facts.failure.kind is FaultKind.SERVER


def test_an_error_is_sorted_by_the_providers_own_words():
    def classify(payload):
        return Failure(FaultKind.RATE, code=payload["error"]["code"])

    relay = ChatRelay(classify=classify)
    read(relay, [sample("error_before_content")])
    assert relay.facts.failure == Failure(FaultKind.RATE, code="overloaded")


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n",
        b"<html>\n\n<body>Bad\n\nGateway</body>\n\n</html>",
        b"{not json}\n",
        b'{"object":"list","data":[]}',
        b'{"choices":[]}',
        b"data: {\n\n",
        b"data: nonsense\n\n",
        b"data: [1]\n\n",
        b"data: [DONE]\n\n",
        b": only a comment\n\n",
        b"",
    ],
)
def test_t74_what_is_no_chat_stream_is_a_failed_attempt(body):
    relay = ChatRelay()
    flowing, _, _ = read(relay, [body])
    assert flowing == b""
    assert not relay.facts.complete
    assert relay.facts.failure is not None
    assert relay.facts.failure.kind is FaultKind.PROTOCOL


@pytest.mark.parametrize(
    "body", [b'{"error":{"message":"no","code":"busy"}}', b'\n\n{"code":"busy","message":"no","request_id":"1"}\n']
)
def test_t74_an_error_in_place_of_the_stream_is_sorted(body):
    relay = ChatRelay()
    read(relay, [body])
    assert relay.facts.failure == Failure(FaultKind.SERVER, code="busy")


@pytest.mark.parametrize("framing", [b"%b", b"\n\n%b\n\n", b"%b\n"])
def test_t74_a_whole_reply_in_place_of_the_stream_becomes_one(framing):
    reply = {
        "id": "x",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hi",
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    relay = ChatRelay()
    flowing, ending, _ = read(relay, [framing % orjson.dumps(reply)])
    made = assemble(flowing + ending)
    assert made.first == Choice(text="Hi", tools=tools(("a", "f", "{}")), finish="tool_calls")
    assert made.usages == 0
    assert made.chunks[0]["object"] == "chat.completion.chunk"
    assert made.chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert relay.facts.complete
    assert relay.facts.content
    assert relay.facts.usage == Usage(input=3, output=2)
    assert (relay.facts.upstream_id, relay.facts.created, relay.facts.served_model) == ("x", 7, "m")


def test_t72_a_stream_cut_anywhere_is_never_complete():
    stream = sample("openai_text")
    end = stream.index(b"data: [DONE]\n\n", stream.index(b'"usage":{'))
    for cut in range(end + len(b"data: [DONE]")):
        relay = ChatRelay()
        relay.feed(stream[:cut])
        relay.close()
        assert not relay.facts.complete, cut
        assert relay.facts.failure is not None
        assert relay.facts.failure.kind is FaultKind.PROTOCOL


def test_t59_the_end_needs_no_blank_line():
    relay = ChatRelay()
    relay.feed(said("a") + finish() + b"data: [DONE]")
    relay.close()
    assert relay.facts.complete


def test_t72_a_provider_known_to_close_after_the_finish_is_complete_then():
    stream = frame(ROLE) + said("a") + finish()
    strict, lenient, cut = ChatRelay(), ChatRelay(ends_with_close=True), ChatRelay(ends_with_close=True)
    assert not read(strict, [stream])[2]["complete"]
    assert read(lenient, [stream])[2]["complete"]
    assert not read(cut, [frame(ROLE) + said("a")])[2]["complete"]
    assert not lenient.feed(said("late"))


def test_nothing_after_done_counts():
    relay = ChatRelay()
    relay.feed(said("a") + finish() + sse.DONE)
    assert relay.feed(said("b") + frame({"error": {"message": "x"}})) == b""
    relay.close()
    assert relay.facts.complete
    assert relay.facts.failure is None


@pytest.mark.parametrize("held", [frame(ROLE), said("x"), b": c\n\n" + frame({"choices": [], "x": "y" * 80})])
def test_t71_what_waits_is_bounded(held):
    relay = ChatRelay(limit_bytes=2_000)
    start = finish() if held == said("x") else b""
    for _ in range(1_000):
        relay.feed(start + held)
    assert relay.facts.failure == Failure(FaultKind.PROTOCOL, code="frame_too_large")


def test_t71_a_frame_without_end_is_a_failed_attempt():
    relay = ChatRelay(limit_bytes=10_000)
    given = [relay.feed(b"data: " + b"x" * 1_000) for _ in range(20)]
    assert b"".join(given) == b""
    assert relay.facts.failure == Failure(FaultKind.PROTOCOL, code="frame_too_large")


NEEDLES = [
    '"finish_reason":"stop"',
    '"finish_reason": "stop"',
    '"usage":{"prompt_tokens":1}',
    '"usage": {}',
    '{"error": {"message": "x"}}',
    '"error"',
    "\n\ndata: [DONE]\n\n",
    "data: [DONE]",
    "\n\nevent: error\ndata: {}\n\n",
    '"choices":[',
    "\\",
    '"',
    "\r\n\r\n",
    "\u2028",
    "\x00\x1f\x7f",
]
TEXTS = st.lists(st.sampled_from(NEEDLES) | st.text(max_size=5), min_size=1, max_size=6).map("".join)


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=8), st.booleans(), st.booleans(), st.integers(1, 400))
def test_t60_text_that_looks_like_a_frame_stays_text(texts, spaced, escaped, piece_bytes):
    def chunk(text: str) -> bytes:
        payload = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        separators = (", ", ": ") if spaced else (",", ":")
        return sse.encode(json.dumps(payload, ensure_ascii=escaped, separators=separators).encode())

    stream = b"".join(map(chunk, texts)) + finish() + sse.DONE
    relay = ChatRelay()
    flowing, ending, _ = read(relay, [stream[i : i + piece_bytes] for i in range(0, len(stream), piece_bytes)])
    assert assemble_text(flowing) == "".join(texts)
    assert ending == finish()
    assert relay.facts.complete
    assert relay.facts.failure is None


def assemble_text(stream: bytes) -> str:
    """Join the texts of a stream that may hold any character, so that lines are split at LF alone."""
    lines = [line[6:] for line in stream.decode().split("\n") if line.startswith("data: ")]
    return "".join(json.loads(line)["choices"][0]["delta"]["content"] for line in lines)


def test_t75_a_flat_error_after_content_is_seen():
    relay = ChatRelay()
    relay.feed(said("a"))
    assert relay.feed(said("b") + frame({"code": "Throttling", "message": "own words"})) == said("b")
    assert relay.facts.failure == Failure(FaultKind.SERVER, code="Throttling")


@pytest.mark.parametrize("compact_first", [True, False])
def test_json_that_changes_its_spacing_midway_is_still_understood(compact_first):
    def spaced(one: bytes) -> bytes:
        return sse.encode(json.dumps(orjson.loads(one[6:])).encode())

    usage = frame({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
    before, after = [said("a"), said("b")], [said("c"), finish(), usage]
    before, after = (before, list(map(spaced, after))) if compact_first else (list(map(spaced, before)), after)
    relay = ChatRelay()
    flowing, ending, _ = read(relay, [*before, *after, sse.DONE])
    assert assemble(flowing).first == Choice(text="abc")
    assert assemble(ending).first == Choice(finish="stop")
    assert relay.facts.usage == Usage(input=3, output=2)


@pytest.mark.parametrize("style", ['"finish_reason" : "stop"', '"finish_reason":\t"stop"'])
def test_json_spaced_in_an_unknown_style_is_read_frame_by_frame(style):
    text = b'data: {"choices" : [{"index":0,"delta":{"content":"a"},"finish_reason" : null}]}\n\n'
    end = b'data: {"choices" : [{"index":0,"delta":{},' + style.encode() + b"}]}\n\n"
    relay = ChatRelay()
    flowing, ending, _ = read(relay, [text, text, end + sse.DONE])
    assert (flowing, ending) == (text + text, end)


def test_an_empty_finish_reason_is_none():
    relay = ChatRelay()
    chunk = said("a", finish_reason="")
    assert relay.feed(chunk + chunk) == chunk + chunk
    assert relay.facts.finish_reason is None


PAYLOADS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "model",
                    "choices",
                    "index",
                    "delta",
                    "content",
                    "tool_calls",
                    "function",
                    "arguments",
                    "usage",
                    "finish_reason",
                    "message",
                    "code",
                    "x_groq",
                    "prompt_tokens",
                    "completion_tokens",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(PAYLOADS, max_size=5), st.booleans())
def test_t74_no_payload_makes_a_reader_raise(payloads, mends):
    relay = ChatRelay(mender=Mender("id", 1, "m") if mends else None)
    for payload in payloads:
        relay.feed(frame(payload))
        relay.feed(frame({"choices": [payload]}))
        relay.feed(frame({"choices": [{"delta": payload, "index": 0}]}))
    relay.close()
    relay.ending()
    assert relay.facts.complete or relay.facts.failure is not None


@given(PAYLOADS, st.booleans())
def test_t74_no_whole_reply_in_place_of_a_stream_makes_a_reader_raise(payload, mends):
    for reply in (payload, {"choices": [{"message": payload}]}, {"choices": [{"message": {"tool_calls": payload}}]}):
        relay = ChatRelay(mender=Mender("id", 1, "m") if mends else None)
        relay.feed(orjson.dumps(reply))
        relay.close()
        assert all(orjson.loads(one[6:]) for one in sse.frames_of(relay.ending()))
        assert relay.facts.complete or relay.facts.failure is not None
