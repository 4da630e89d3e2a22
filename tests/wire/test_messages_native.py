"""Messages between a client and an upstream that both speak it: what is changed, and that nothing else is."""

import json
from pathlib import Path

import orjson
import pytest

from tests.fakes.upstream import anthropic_message, anthropic_stream, anthropic_usage, sse
from tests.wire.cuts import assert_cuts_do_not_show, read
from tokenhub.usage import Usage
from tokenhub.wire import opaque
from tokenhub.wire.faults import FaultKind, UpstreamFault
from tokenhub.wire.messages import carry as messages_carry
from tokenhub.wire.messages import native as messages_native
from tokenhub.wire.messages import native_stream as messages_native_stream
from tokenhub.wire.messages.common import InputCount
from tokenhub.wire.messages.native_stream import NativeMessagesReader

SAMPLES = Path(__file__).parents[1] / "samples/anthropic"
RECORDINGS = Path(__file__).parents[2] / "../shared/wire"

HI = [{"role": "user", "content": "Hi"}]
COST = {"cost": 0.5, "is_byok": False, "cost_details": {"total": "0.5"}}
OWN = {"type": "thinking", "thinking": "Hm.", "signature": opaque.MARK}
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}


def sent(body, limit=4_000, **more):
    more = {"checks_signatures": True} | more
    return messages_native.request({"model": "m", "messages": HI, **body}, "upstream", limit, **more)


def test_body_passes_as_it_is_but_for_model_limit_and_what_speaks_to_the_gateway():
    given = {
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [{"role": "assistant", "content": [SIGNED, {"type": "text", "text": "y", "odd": None}]}],
        "thinking": {"type": "adaptive", "odd": 1},
        "unknown": {"a": [1.5, None]},
        "metadata": {"user_id": "u"},
    }
    body, dropped = sent({**given, "provider": {"only": ["anthropic"]}, "session_id": "s", "models": ["x"]})
    assert body == {**given, "model": "upstream", "max_tokens": 4_000}
    assert dropped == ()


def test_thinking_made_here_is_not_sent_to_who_would_refuse_it():
    turn = {"role": "assistant", "content": [OWN, messages_carry.sealed({"calls": {}}), SIGNED]}
    body, _ = sent({"messages": [*HI, turn]})
    assert body["messages"] == [*HI, {"role": "assistant", "content": [SIGNED]}]
    body, _ = sent({"messages": [*HI, turn]}, checks_signatures=False)
    assert body["messages"] == [*HI, turn]


def test_ids_of_another_providers_calls_are_made_legal_and_told_apart():
    def turns(*ids):
        return [
            turn
            for id in ids
            for turn in (
                {"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "x"}]},
            )
        ]

    foreign, own = (
        turns("functions.f:0", "functions.f:0", "toolu_01"),
        turns("functions_f_0", "functions_f_0_2", "toolu_01"),
    )
    assert sent({"messages": [*HI, *foreign]})[0]["messages"] == [*HI, *own]
    assert sent({"messages": [*HI, *foreign]}, checks_signatures=False)[0]["messages"] == [*HI, *foreign]
    assert messages_native.count_request({"messages": [*HI, *foreign]}, "claude-x")["messages"] == [*HI, *own]


def test_what_other_providers_said_without_saying_anything_is_left_out():
    """Texts of white space, which GLM and Qwen write before calls, and a reply of thinking alone, of which nothing is left."""
    call = {"type": "tool_use", "id": "toolu_01", "name": "f", "input": {}}
    blank = {"type": "text", "text": "\n\n"}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": opaque.MARK}
    turns = [*HI, {"role": "assistant", "content": [thought]}, *HI, {"role": "assistant", "content": [blank, call]}]
    told = [*HI, *HI, {"role": "assistant", "content": [call]}]
    assert sent({"messages": turns})[0]["messages"] == told
    assert sent({"messages": turns}, checks_signatures=False)[0]["messages"] == turns
    spoken = [{"role": "user", "content": [blank]}]
    assert sent({"messages": spoken})[0]["messages"] == spoken


@pytest.mark.parametrize(
    ("limit", "thinking", "dropped"),
    [
        (4_000, {"type": "enabled", "budget_tokens": 2_000}, ()),
        (2_000, {"type": "enabled", "budget_tokens": 1_999}, ()),
        (1_024, None, ("thinking",)),
    ],
)
def test_thinking_budget_stays_below_a_lowered_limit(limit, thinking, dropped):
    body, left_out = sent({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, limit)
    assert (body.get("thinking"), left_out) == (thinking, dropped)


def test_context_edits_that_cost_are_left_out():
    clear, compact = {"type": "clear_tool_uses_20250919"}, {"type": "compact_20260112"}
    body, dropped = sent({"context_management": {"edits": [clear, compact]}})
    assert (body["context_management"], dropped) == ({"edits": [clear]}, ("context_management.edits",))
    body, dropped = sent({"context_management": {"edits": [compact]}})
    assert "context_management" not in body
    body, dropped = sent({"context_management": {"edits": [clear]}})
    assert (body["context_management"], dropped) == ({"edits": [clear]}, ())


@pytest.mark.parametrize(
    "marked",
    [
        {"cache_control": {"type": "ephemeral"}},
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
        {"tools": [{"name": "t", "input_schema": {}, "cache_control": {"type": "ephemeral"}}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "t",
                            "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
                        }
                    ],
                }
            ]
        },
    ],
)
def test_prompt_is_marked_for_the_cache_only_where_the_client_placed_no_mark(marked):
    assert sent({}, mark_cache=True)[0]["cache_control"] == {"type": "ephemeral"}
    assert sent(marked, mark_cache=True)[0] == sent(marked)[0]


def test_count_asks_for_the_prompt_alone():
    body = {"model": "m", "messages": HI, "max_tokens": 5, "stream": True, "system": "x", "temperature": 1}
    assert messages_native.count_request(body, "up") == {"model": "up", "messages": HI, "system": "x"}


# --- whole replies


def test_whole_reply_is_the_body_as_it_came():
    raw = anthropic_message(usage=anthropic_usage(12, 6, read=3, write=4))
    reply = messages_native.reply(json.loads(json.dumps(raw)))
    assert reply.body == raw
    assert reply.usage is not None
    assert (reply.usage.input, reply.usage.cache_read, reply.usage.cache_write, reply.usage.output) == (12, 3, 4, 6)
    assert (reply.finish_reason, reply.native_finish_reason) == ("stop", "end_turn")
    assert (reply.has_content, reply.binds, reply.upstream_id) == (True, False, raw["id"])


@pytest.mark.parametrize(
    ("content", "shown", "bound"),
    [
        ([], False, False),
        ([{"type": "text", "text": ""}], False, False),
        ([{"type": "thinking", "thinking": "", "signature": ""}], False, True),
        ([SIGNED], True, True),
        ([{"type": "redacted_thinking", "data": "x"}], True, True),
        ([{"type": "tool_use", "id": "t", "name": "n", "input": {}}], True, True),
        ([{"type": "hologram"}], True, False),
    ],
)
def test_what_counts_as_content_and_what_binds(content, shown, bound):
    reply = messages_native.reply(anthropic_message(content=content))
    assert (reply.has_content, reply.binds) == (shown, bound)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"type": "error", "error": {"type": "overloaded_error"}}, FaultKind.OVERLOAD),
        ({"content": "text"}, FaultKind.PROTOCOL),
        ({}, FaultKind.PROTOCOL),
    ],
)
def test_t74_what_is_no_message_is_a_fault(raw, kind):
    with pytest.raises(UpstreamFault) as caught:
        messages_native.reply(raw)
    assert caught.value.failure.kind is kind


# --- streams


def recorded_streams():
    if not RECORDINGS.is_dir():
        return []
    index = json.loads((RECORDINGS / "index.json").read_text(encoding="utf-8"))
    files = [one["file"] for one in index["exchanges"] if (one["kind"], one["stream"]) == ("messages", True)]
    return [pytest.param(RECORDINGS / file, id=file) for file in files]


def body_of(path):
    if path.suffix == ".sse":
        return path.read_bytes()
    return json.loads(path.read_text(encoding="utf-8"))["response"]["body_text"].encode()


def data_lines(stream):
    """Return the data alone: one recording has no names of events, and they are put in."""
    return [line for line in stream.split(b"\n") if line.startswith(b"data:")]


@pytest.mark.parametrize("path", [*sorted(SAMPLES.glob("*.sse")), *recorded_streams()], ids=lambda path: path.stem)
def test_every_byte_passes_wherever_the_network_cuts(path):
    stream = body_of(path)
    flowing, ending, facts = read(NativeMessagesReader(), [stream])
    assert_cuts_do_not_show(NativeMessagesReader, stream, 150)
    if facts["failure"] is not None:
        assert data_lines(stream)[: len(data_lines(flowing))] == data_lines(flowing)
        assert b"event: error" not in flowing
        return
    assert flowing + ending == stream
    assert facts["complete"]
    assert facts["usage"] is not None
    if facts["content"]:
        assert ending.startswith(b"event: message_delta\n")
        assert b'"stop_reason":"' not in flowing.replace(b" ", b"")


def test_content_passes_unread_once_it_flows():
    reader = NativeMessagesReader()
    frames = anthropic_stream()
    start = next(place for place, frame in enumerate(frames) if b"text_delta" in frame)
    assert reader.feed(b"".join(frames[: start + 1])) != b""
    broken = b'event: content_block_delta\ndata: {"type":"content_block_delta",not JSON at all}\n\n'
    assert reader.feed(broken * 3) == broken * 3
    assert reader.facts.failure is None


@pytest.mark.parametrize(
    ("block", "binds"),
    [
        (b'{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"n"}}', True),
        (b'{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}', True),
        (b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\"tool_use\\""}}', False),
    ],
)
def test_what_binds_is_seen_in_frames_that_pass_unread(block, binds):
    reader = NativeMessagesReader()
    frames = anthropic_stream()
    reader.feed(b"".join(frames[:4]))
    assert reader.facts.content
    kind = orjson.loads(block)["type"]
    reader.feed(f"event: {kind}\n".encode() + b"data: " + block + b"\n\n")
    assert reader.facts.binds is binds


def test_events_without_a_name_get_theirs():
    frames = [frame.split(b"\n", 1)[1] for frame in anthropic_stream()]
    flowing, ending, facts = read(NativeMessagesReader(), frames)
    assert flowing + ending == b"".join(anthropic_stream())
    assert facts["complete"]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (anthropic_stream()[:5], "stream_cut"),
        ([b"<html>"], "not_an_event_stream"),
        ([anthropic_stream()[3]], "no_message_start"),
        ([anthropic_stream()[0], b"data: {\n\n"], "malformed_frame"),
        (
            [anthropic_stream()[0], sse({"type": "error", "error": {"type": "overloaded_error"}}, "error")],
            "overloaded_error",
        ),
        ([b'{"type":"error","error":{"type":"rate_limit_error"}}'], "rate_limit_error"),
        ([frame for frame in anthropic_stream() if b"message_delta" not in frame], "no_stop_reason"),
    ],
)
def test_t72_stream_that_fails_is_a_fault(frames, code):
    _, _, facts = read(NativeMessagesReader(), frames)
    assert not facts["complete"]
    assert facts["failure"]["code"] == code


def test_t71_what_waits_is_bounded():
    reader = NativeMessagesReader(limit_bytes=2_000)
    reader.feed(anthropic_stream()[0])
    for _ in range(100):
        reader.feed(sse({"type": "ping"}, "ping"))
    assert reader.facts.failure is not None
    assert reader.facts.failure.code == "frame_too_large"


def test_cost_is_added_to_the_one_frame_with_the_usage():
    frames = anthropic_stream()
    end = b"".join(frames[-2:])
    told = messages_native_stream.with_usage(end, {"input_tokens": 1}, COST, estimated=False)
    delta, stop = told.split(b"\n\n")[:2]
    assert stop + b"\n\n" == frames[-1]
    before, after = (orjson.loads(frame.split(b"data: ")[1]) for frame in (frames[-2], delta))
    assert after == {**before, "usage": {**before["usage"], **COST}}


@pytest.mark.parametrize(
    ("read_tokens", "counted"), [(4, Usage(input=10, cache_read=4, output=3)), (40, Usage(14, 40, output=3))]
)
def test_t12_counts_of_a_copy_that_come_with_the_end_alone_are_billed_once(read_tokens, counted):
    """Zhipu's copy counts nothing at the start and all at the end (github.com/zai-org/GLM-5/issues/139, 2026-09)."""
    usage = {"input_tokens": 14, "output_tokens": 3, "cache_read_input_tokens": read_tokens}
    frames = anthropic_stream()
    start = {"type": "message_start", "message": anthropic_message(usage={"input_tokens": 0, "output_tokens": 0})}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
    reader = NativeMessagesReader(input_count=InputCount.IN_DOUBT)
    for frame in (sse(start, "message_start"), *frames[1:-2], sse(delta, "message_delta"), frames[-1]):
        reader.feed(frame)
    assert reader.facts.complete
    assert reader.facts.usage == counted
    whole = messages_native.reply(anthropic_message(usage=usage), input_count=InputCount.IN_DOUBT)
    assert whole.usage == counted


@pytest.mark.parametrize("usage", [{}, {"usage": {}}, {"usage": {"output_tokens": None}}])
def test_usage_that_the_upstream_did_not_send_is_the_estimate(usage):
    end = sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **usage}, "message_delta")
    told = messages_native_stream.with_usage(end, {"input_tokens": 1, "output_tokens": 2}, COST, estimated=True)
    assert orjson.loads(told.split(b"data: ")[1])["usage"] == {"input_tokens": 1, "output_tokens": 2, **COST}
