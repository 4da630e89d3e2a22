"""What incomplete upstreams leave out is filled in, and nothing else changes."""

import json
from pathlib import Path

import pytest

from tests.fakes.assembler import assemble
from tests.wire.cuts import read
from tokenhub.usage import Usage
from tokenhub.wire.chat.mend import Mender
from tokenhub.wire.chat.relay import ChatRelay
from tokenhub.wire.chat.reply import read_reply

SAMPLES = Path(__file__).parents[1] / "samples" / "chat"


def mended(stream: bytes) -> tuple[list[dict], ChatRelay]:
    relay = ChatRelay(mender=Mender("chatcmpl-here", 77, "asked/for"))
    flowing, ending, _ = read(relay, [stream])
    return assemble(flowing + ending).chunks, relay


def test_a_bare_servers_stream_gets_every_member_that_clients_need():
    chunks, relay = mended((SAMPLES / "bare_server.sse").read_bytes())
    for chunk in chunks:
        assert (chunk["id"], chunk["created"], chunk["model"]) == ("chatcmpl-here", 77, "asked/for")
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["choices"][0]["index"] == 0
        assert "delta" in chunk["choices"][0]
        assert "finish_reason" in chunk["choices"][0]
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks] == ["assistant", None, None, None, None]
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert [(call["index"], call.get("id"), call.get("type")) for call in calls] == [
        (0, "call_chatcmpl-here_0_0", "function"),
        (0, None, None),
        (1, "call_chatcmpl-here_0_1", "function"),
    ]
    assert relay.facts.usage == Usage(input=3, output=5)


def test_a_finish_that_never_came_is_made_from_what_was_there():
    chunks, relay = mended((SAMPLES / "bare_server.sse").read_bytes())
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]
    assert relay.facts.finish_reason == "tool_calls"
    assert relay.facts.native_finish_reason is None
    chunks, _ = mended(b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n')
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_what_the_upstream_once_said_is_said_again():
    stream = (
        b'data: {"id":"up-1","created":5,"model":"real","choices":[{"delta":{"content":"a"}}]}\n\n'
        b'data: {"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    chunks, relay = mended(stream)
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {("up-1", 5, "real")}
    assert relay.facts.upstream_id == "up-1"


def test_a_whole_stream_that_lacks_nothing_is_relayed_as_it_came():
    stream = (SAMPLES / "openai_tools.sse").read_bytes()
    relay = ChatRelay(mender=Mender("id", 1, "m"))
    flowing, ending, _ = read(relay, [stream])
    assert stream.startswith(flowing + ending)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([{"id": "a", "function": {"name": "f"}}, {"function": {"arguments": "{}"}}], [("a", "f", "{}")]),
        (
            [{"id": "a", "function": {"name": "f"}}, {"id": "b", "function": {"name": "g"}}, {"id": "a", "function": {"arguments": "1"}}],
            [("a", "f", "1"), ("b", "g", "")],
        ),
        ([{"function": {"arguments": "x"}}], [("call_chatcmpl-here_0_0", "", "x")]),
        (
            [{"index": 10**9, "function": {"name": "far"}}, {"index": 0, "id": "", "function": {"name": "near"}}],
            [("call_chatcmpl-here_0_0", "near", ""), (f"call_chatcmpl-here_0_{10**9}", "far", "")],
        ),
    ],
)  # fmt: skip
def test_tool_calls_without_an_index_find_their_place(pieces, expected):
    chunk = '{"choices":[{"delta":{"tool_calls":[%s]}}]}'
    stream = "".join(f"data: {chunk % json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
    chunks, _ = mended(stream.encode())
    relayed = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode()
    assert assemble(relayed).first.calls == expected


def test_a_bare_whole_reply_is_completed():
    raw = {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}]}
    reply = read_reply(raw, mender=Mender("chatcmpl-here", 77, "asked/for"))
    assert reply.body == {
        "id": "chatcmpl-here",
        "object": "chat.completion",
        "created": 77,
        "model": "asked/for",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call_chatcmpl-here_0_0",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        }
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
    }


def test_a_whole_reply_that_lacks_nothing_is_not_touched():
    raw = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"}],
    }
    assert read_reply(dict(raw), mender=Mender("other", 2, "other")).body == raw
