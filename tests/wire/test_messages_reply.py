"""Anthropic's replies, whole and streamed, as chat completions."""

from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import openai
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.assembler import Choice, assemble
from tests.wire.cuts import assert_cuts_do_not_show, read
from tokenhub.call import Call, Capability
from tokenhub.usage import Usage
from tokenhub.wire import sse
from tokenhub.wire.chat.over_messages import request
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault
from tokenhub.wire.messages import reply as messages_reply
from tokenhub.wire.messages.native_stream import NativeMessagesReader
from tokenhub.wire.messages.stream import MessagesReader

SAMPLES = Path(__file__).parents[1] / "samples" / "anthropic"
CALL = Call(Capability.CHAT, "asked/for", created_s=77)

THINKING = {"type": "thinking", "thinking": "First the sum.", "signature": "b3duLXNpZ25hdHVyZQ=="}
REDACTED = {"type": "redacted_thinking", "data": "b3BhcXVl"}


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.sse").read_bytes()


def reader() -> MessagesReader:
    return MessagesReader(CALL)


@dataclass
class Expected:
    """What a client is to make of a sample, and what is to be known of it."""

    choice: Choice
    usage: Usage
    native: str
    content: bool = True


def tools(*calls: tuple[str, str, str]) -> dict[int, dict[str, str]]:
    return {place: {"id": id, "name": name, "arguments": text} for place, (id, name, text) in enumerate(calls)}


EXPECTED = {
    "text": Expected(
        Choice(text='Sea "level"\n\ndata: [DONE]\n\n 海', finish="stop"),
        Usage(input=11, cache_read=200, cache_write=100, cache_write_1h=200, output=14),
        "end_turn",
    ),
    "tools": Expected(
        Choice(
            text="Two calls.",
            tools=tools(("toolu_own_a", "now", "{}"), ("toolu_own_b", "weather", '{"city": "Bari"}')),
            finish="tool_calls",
        ),
        Usage(input=55, output=61),
        "tool_use",
    ),
    "thinking": Expected(
        Choice(
            reasoning="First the sum.",
            thinking_blocks=[THINKING, REDACTED],
            tools=tools(("toolu_own_c", "sum", '{"a":1}')),
            finish="tool_calls",
        ),
        Usage(input=30, output=90, reasoning=20),
        "tool_use",
    ),
    "unknown_kinds": Expected(
        Choice(
            text="Found.",
            annotations=[
                {
                    "type": "url_citation",
                    "url_citation": {"start_index": 0, "end_index": 6, "url": "https://example.org/a", "title": "A"},
                }
            ],
            finish="stop",
        ),
        Usage(input=170, output=33),
        "pause_turn",
    ),
    "refusal": Expected(
        Choice(refusal="Not under the policy.", finish="content_filter"), Usage(input=18, output=5), "refusal", False
    ),
    "json_tool": Expected(Choice(text='{"ok":true}', finish="stop"), Usage(input=18, output=12), "tool_use"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_stream_comes_out_as_chat_chunks(name):
    expected = EXPECTED[name]
    stream = reader()
    flowing, ending, _ = read(stream, [sample(name)])
    made = assemble(flowing + ending)
    assert made.choices == {0: expected.choice}
    assert (made.usages, made.done, made.errors) == (0, False, [])
    assert assemble(flowing).first.finish is None
    for chunk in made.chunks:
        openai.types.chat.ChatCompletionChunk.model_validate(chunk)
        assert (chunk["id"], chunk["created"], chunk["model"]) == (stream.facts.upstream_id, 77, "claude-own-1")
    facts = stream.facts
    assert facts.complete
    assert facts.content is expected.content
    assert facts.usage == expected.usage
    assert (facts.finish_reason, facts.native_finish_reason) == (expected.choice.finish, expected.native)
    assert facts.upstream_id is not None
    assert facts.upstream_id.startswith("msg_own0")
    assert (facts.served_model, facts.created) == ("claude-own-1", 77)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.sse")), ids=lambda path: path.stem)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_t59_no_cut_changes_what_is_translated(path, line_end):
    assert_cuts_do_not_show(reader, path.read_bytes().replace(b"\n", line_end), most=700)


def whole(name: str) -> dict:
    """Put a sample's message together as Anthropic would have sent it whole."""
    message: dict = {}
    for frame in sse.FrameSplitter().feed(sample(name)):
        event = orjson.loads(sse.parse(frame)[1] or b"{}")
        if event["type"] == "message_start":
            message = event["message"]
        elif event["type"] == "content_block_start":
            message["content"].append({**event["content_block"], "_input": ""})
        elif event["type"] == "content_block_delta":
            _add_delta(message["content"][event["index"]], event["delta"])
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    for block in message["content"]:
        joined = block.pop("_input")
        if joined:
            block["input"] = orjson.loads(joined)
    return message


def _add_delta(block: dict, delta: dict) -> None:
    for name in ("text", "thinking", "signature"):
        if name in delta:
            block[name] += delta[name]
    block["_input"] += delta.get("partial_json", "")
    if "citation" in delta:
        block["citations"].append(delta["citation"])


@pytest.mark.parametrize("name", EXPECTED)
def test_a_whole_reply_says_what_its_stream_says(name):
    expected = EXPECTED[name]
    reply = messages_reply.reply(whole(name), CALL)
    completion = openai.types.chat.ChatCompletion.model_validate(reply.body)
    assert (completion.created, completion.model, completion.object) == (77, "claude-own-1", "chat.completion")
    message = reply.body["choices"][0]["message"]
    assert (message["content"] or "") == expected.choice.text
    assert message.get("reasoning_content", "") == expected.choice.reasoning
    assert message.get("refusal", "") == expected.choice.refusal
    assert message.get("thinking_blocks", []) == expected.choice.thinking_blocks
    assert message.get("annotations", []) == expected.choice.annotations
    calls = [(call["id"], call["function"]["name"]) for call in message.get("tool_calls", [])]
    assert calls == [(id, name) for id, name, _ in expected.choice.calls]
    arguments = [orjson.loads(call["function"]["arguments"]) for call in message.get("tool_calls", [])]
    assert arguments == [orjson.loads(text) for _, _, text in expected.choice.calls]
    assert reply.usage == expected.usage
    assert (reply.finish_reason, reply.native_finish_reason) == (expected.choice.finish, expected.native)
    assert reply.has_content is expected.content


def test_content_is_null_beside_tool_calls_alone():
    message = messages_reply.reply(whole("thinking"), CALL).body["choices"][0]["message"]
    assert message["content"] is None


def test_thinking_survives_the_round_through_the_client():
    message = messages_reply.reply(whole("thinking"), CALL).body["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": "toolu_own_c", "content": "2"}
    body = {"model": "m", "messages": [{"role": "user", "content": "Sum"}, message, result]}
    built, _ = request(body, "claude-own-1")
    assert built["messages"][1]["content"][:2] == [THINKING, REDACTED]


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("a_reason_to_come", "stop"),
        (None, "stop"),
        (7, "stop"),
    ],
)
def test_an_end_is_told_in_openais_words(native, reason):
    raw = {"content": [{"type": "text", "text": "x"}], "stop_reason": native}
    assert messages_reply.reply(raw, CALL).finish_reason == reason


@pytest.mark.parametrize("stop_reason", ["end_turn", "stop_sequence", "refusal"])
def test_an_empty_content_list_is_a_reply_without_content(stop_reason):
    reply = messages_reply.reply({"content": [], "stop_reason": stop_reason, "usage": None}, CALL)
    assert reply.body["choices"][0]["message"] == {"role": "assistant", "content": ""}
    assert not reply.has_content
    assert reply.usage is None


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, FaultKind.OVERLOAD),
        ({"error": {"type": "api_error"}}, FaultKind.SERVER),
        ({}, FaultKind.PROTOCOL),
        ({"content": None}, FaultKind.PROTOCOL),
        ({"content": "text"}, FaultKind.PROTOCOL),
        ({"content": ["text"]}, FaultKind.PROTOCOL),
        ({"choices": []}, FaultKind.PROTOCOL),
    ],
)
def test_t74_a_status_of_200_makes_no_reply_of_it(raw, kind):
    with pytest.raises(UpstreamFault) as fault:
        messages_reply.reply(raw, CALL)
    assert fault.value.failure.kind is kind


# --- streams that go wrong


def event(**members) -> bytes:
    return sse.encode(orjson.dumps(members), str(members["type"]))


START = event(
    type="message_start", message={"id": "msg_1", "model": "c", "usage": {"input_tokens": 3, "output_tokens": 1}}
)
TEXT = event(type="content_block_start", index=0, content_block={"type": "text", "text": ""})


def piece(text: str, index: int = 0) -> bytes:
    return event(type="content_block_delta", index=index, delta={"type": "text_delta", "text": text})


def end(reason: str | None = "end_turn", **usage) -> bytes:
    return event(type="message_delta", delta={"stop_reason": reason}, usage=usage or {"output_tokens": 2})


STOP = event(type="message_stop")


def test_frames_wait_for_content_and_the_end_waits_for_the_charge():
    stream = reader()
    assert stream.feed(START + TEXT + event(type="ping")) == b""
    assert not stream.facts.content
    assert assemble(stream.feed(piece("Hi"))).chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert stream.facts.content
    assert stream.feed(end()) == b""
    assert stream.facts.usage == Usage(input=3, output=2)
    assert not stream.facts.complete
    assert stream.feed(STOP) == b""
    assert stream.facts.complete
    assert assemble(stream.ending()).first == Choice(finish="stop")


def test_t10_the_last_cumulative_counts_win():
    stream = reader()
    read(stream, [START + TEXT + piece("x") + end(None, output_tokens=5) + end(input_tokens=9, output_tokens=7) + STOP])
    assert stream.facts.usage == Usage(input=9, output=7)


def test_t10_a_count_that_more_content_follows_counts_nothing():
    for stream in (reader(), NativeMessagesReader()):
        counted = START + TEXT + piece("x") + end(None, output_tokens=5)
        read(
            stream,
            [counted + piece(" and on and on") + event(type="message_delta", delta={"stop_reason": "end_turn"}) + STOP],
        )
        assert (stream.facts.complete, stream.facts.usage) == (True, None)
        assert stream.facts.told.output == 5


def test_t10_a_second_stop_reason_is_not_shown():
    stream = reader()
    _, ending, _ = read(stream, [START + TEXT + piece("x") + end("max_tokens") + end("end_turn") + STOP])
    assert [chunk["choices"][0]["finish_reason"] for chunk in assemble(ending).chunks] == ["length"]


def test_t72_an_end_without_a_stop_reason_is_none():
    stream = reader()
    read(stream, [START + TEXT + piece("some text") + STOP])
    assert not stream.facts.complete
    assert stream.facts.failure.code == "no_stop_reason"


def test_t7_the_first_frames_counts_are_not_the_replys():
    stream = reader()
    ended = event(type="message_delta", delta={"stop_reason": "end_turn"})
    read(stream, [START + TEXT + piece("some text") + ended + STOP])
    assert stream.facts.complete
    assert stream.facts.usage is None
    assert stream.facts.output_bytes == len("some text")
    assert assemble(stream.ending()).first.finish == "stop"


@pytest.mark.parametrize("usage", [{"output_tokens": -5}, {"output_tokens": "7"}, {"input_tokens": 1.5}])
def test_t9_nonsense_is_no_usage(usage):
    stream = reader()
    read(stream, [START + TEXT + piece("x") + end("end_turn", **usage) + STOP])
    assert stream.facts.usage is None
    assert stream.facts.complete


def test_t75_an_error_event_ends_the_stream_as_failed():
    stream = reader()
    flowing, ending, _ = read(stream, [sample("overloaded") + end() + STOP])
    assert assemble(flowing + ending).first == Choice(text="Half")
    assert stream.facts.failure == Failure(FaultKind.OVERLOAD, code="overloaded_error")
    assert not stream.facts.complete


def test_t74_an_error_event_before_content_shows_nothing():
    stream = reader()
    broken = event(type="error", error={"type": "rate_limit_error", "message": "x"})
    assert read(stream, [START + TEXT + broken])[0] == b""
    assert stream.facts.failure == Failure(FaultKind.RATE, code="rate_limit_error")


def test_an_error_event_is_sorted_by_the_adapters_words():
    stream = MessagesReader(CALL, classify=lambda payload: Failure(FaultKind.GEO, code=payload["error"]["type"]))
    read(stream, [event(type="error", error={"type": "odd"})])
    assert stream.facts.failure == Failure(FaultKind.GEO, code="odd")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"{",
        b'{"id":"msg","content":[]}',
        b"data: x\n\n",
        b"data: [DONE]\n\n",
        TEXT,
        piece("x"),
        START + b"data: {\n\n",
        START + TEXT,
    ],
)
def test_t74_what_is_no_message_stream_is_a_failed_attempt(body):
    stream = reader()
    assert read(stream, [body])[0] == b""
    assert stream.facts.failure is not None
    assert stream.facts.failure.kind is FaultKind.PROTOCOL


def test_t74_an_error_body_in_place_of_the_stream_is_sorted():
    stream = reader()
    read(stream, [b'{"type":"error","error":{"type":"overloaded_error"}}'])
    assert stream.facts.failure == Failure(FaultKind.OVERLOAD, code="overloaded_error")


def test_t72_a_stream_cut_anywhere_is_never_complete():
    whole_stream = sample("tools")
    last = whole_stream.rindex(b'{"type":"message_stop"}') + len(b'{"type":"message_stop"}')
    for cut in range(last):
        stream = reader()
        stream.feed(whole_stream[:cut])
        stream.close()
        assert not stream.facts.complete, cut
        assert stream.facts.failure is not None


@pytest.mark.parametrize(
    "filler", [b"data: " + b"x" * 999, event(type="message_delta", delta={"stop_reason": "end_turn"})]
)
def test_t71_what_waits_is_bounded(filler):
    stream = MessagesReader(CALL, limit_bytes=5_000)
    stream.feed(START + TEXT)
    for index in range(100):
        stream.feed(filler if filler.startswith(b"data") else piece("x" * 200, index % 2) + filler)
    assert stream.facts.failure == Failure(FaultKind.PROTOCOL, code="frame_too_large")


def test_a_tool_whose_input_comes_whole_keeps_it():
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    stream = reader()
    start = event(type="content_block_start", index=0, content_block=block)
    flowing, ending, _ = read(
        stream, [START + start + event(type="content_block_stop", index=0) + end("tool_use") + STOP]
    )
    assert assemble(flowing + ending).first.calls == [("t", "f", '{"a":1}')]


def test_thinking_without_text_still_gives_its_signature():
    block = {"type": "thinking", "thinking": "", "signature": ""}
    signed = {"type": "signature_delta", "signature": "c2ln"}
    stream = reader()
    frames = [
        event(type="content_block_start", index=0, content_block=block),
        event(type="content_block_delta", index=0, delta=signed),
        event(type="content_block_stop", index=0),
    ]
    flowing, ending, _ = read(stream, [START + b"".join(frames) + end() + STOP])
    made = assemble(flowing + ending).first
    assert made.thinking_blocks == [{"type": "thinking", "thinking": "", "signature": "c2ln"}]
    assert made.reasoning == ""


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["", "x", "text", "tool_use", "thinking", "error"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "text", "input", "name", "id", "usage", "signature"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
KINDS = st.sampled_from(
    ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "x", None]
)


@given(st.lists(st.tuples(KINDS, VALUES, VALUES), max_size=8))
def test_t74_no_event_makes_the_reader_raise(events):
    stream = reader()
    stream.feed(START + TEXT)
    for kind, value, index in events:
        members = dict.fromkeys(("message", "content_block", "delta", "usage", "citation"), value)
        stream.feed(sse.encode(orjson.dumps({"type": kind, "index": index, **members})))
    stream.close()
    assert all(orjson.loads(one[6:]) for one in sse.frames_of(stream.ending()))
    assert stream.facts.failure is not None


@given(VALUES)
def test_t74_no_whole_reply_makes_the_reading_raise_anything_else(value):
    for raw in (value, {"content": value}, {"content": [value], "usage": value, "stop_reason": value}):
        if isinstance(raw, dict):
            with suppress(UpstreamFault):
                orjson.dumps(messages_reply.reply(deepcopy(raw), CALL).body)
