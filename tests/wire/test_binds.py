"""Which replies tie the next request to their maker: those with a tool call or a signature, whole or streamed."""

from pathlib import Path

import orjson
import pytest

from tokenhub.call import Call, Capability
from tokenhub.wire.chat import reply as chat_reply
from tokenhub.wire.chat.parts import binds
from tokenhub.wire.chat.relay import ChatRelay
from tokenhub.wire.gemini.stream import GeminiReader
from tokenhub.wire.messages import reply as messages_reply
from tokenhub.wire.messages.stream import MessagesReader

SAMPLES = Path(__file__).parents[1] / "samples"
CALL = Call(Capability.CHAT, "asked", stream=True)
READERS = {"anthropic": lambda: MessagesReader(CALL), "chat": ChatRelay, "gemini": lambda: GeminiReader(CALL)}


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("anthropic/text", False),
        ("anthropic/json_tool", False),
        ("anthropic/tools", True),
        ("anthropic/thinking", True),
        ("chat/openai_text", False),
        ("chat/deepseek_thinking", False),
        ("chat/openai_tools", True),
        ("chat/zhipu_tools", True),
        ("gemini/text", True),
        ("gemini/two_candidates", False),
        ("gemini/calls", True),
    ],
)
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_stream_binds_when_it_has_a_call_or_a_signature(sample, expected, size):
    reader = READERS[sample.partition("/")[0]]()
    data = (SAMPLES / f"{sample}.sse").read_bytes()
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    reader.close()
    facts = reader.facts
    assert facts.complete
    # Frames that pass unread show nothing but how they end.
    assert (facts.binds or facts.finish_reason == "tool_calls") is expected


def test_whole_reply_binds_when_its_message_does():
    def chat(**message):
        body = {
            "id": "1",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "x", **message}, "finish_reason": "stop"}
            ],
        }
        return chat_reply.read_reply(orjson.loads(orjson.dumps(body)))

    assert not chat().binds
    assert not chat(reasoning_content="hm", tool_calls=[]).binds
    assert chat(tool_calls=[{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]).binds
    thinking = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    said = {
        "id": "m",
        "model": "claude",
        "content": [thinking, {"type": "text", "text": "x"}],
        "stop_reason": "end_turn",
    }
    assert messages_reply.reply(said, CALL).binds
    assert not messages_reply.reply({**said, "content": said["content"][1:]}, CALL).binds


@pytest.mark.parametrize("part", [None, [], "text", {}, {"tool_calls": None}, {"content": "x", "thinking_blocks": []}])
def test_what_is_no_message_binds_nothing(part):
    assert not binds(part)
