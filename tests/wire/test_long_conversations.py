"""Conversations of many small pieces, within what a body may hold: no translation may take longer for each the more there are.

What is slow here holds the whole process up, and past ``server.watchdog_s`` ends it: one request of 1.7 MB did (T50).
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.providers.made import deployment, provider
from tokenhub.call import Wire
from tokenhub.errors import InvalidRequest
from tokenhub.providers import failures
from tokenhub.providers.openai_compatible import OpenAICompatible
from tokenhub.usage import Usage
from tokenhub.wire import opaque
from tokenhub.wire.chat import over_messages as chat_over_messages
from tokenhub.wire.chat import request as chat
from tokenhub.wire.chat.frames import ChunkWriter
from tokenhub.wire.chat.relay import ChatRelay
from tokenhub.wire.gemini import over_chat_turns as gemini_turns
from tokenhub.wire.gemini import parts as gemini_parts
from tokenhub.wire.gemini import reply as gemini_reply
from tokenhub.wire.gemini import spelling as gemini_spelling
from tokenhub.wire.messages import over_chat as messages_over_chat
from tokenhub.wire.messages.over_chat_stream import EventWriter
from tokenhub.wire.messages.tool_ids import NewIds
from tokenhub.wire.replies import StreamFacts
from tokenhub.wire.responses import over_chat as responses_over_chat
from tokenhub.wire.responses.surface import ResponsesSurface
from tokenhub.wire.surface import Arrival, End

MANY = 10_000
LONG = "a" * 4_000_000
HELLO = {"role": "user", "content": "Hello"}
HEARD = {"role": "user", "parts": [{"text": "Hello"}]}


def _repeated_ids() -> None:
    call = {"id": "read:0", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call] * MANY}
    sent, _ = chat_over_messages.request({"messages": [HELLO, asked]}, "claude-haiku-4-5")
    ids = [block["id"] for block in sent["messages"][1]["content"]]
    assert (ids[0], ids[1], ids[-1]) == ("read_0", "read_0_2", f"read_0_{MANY}")
    assert len(set(ids)) == MANY


def _answers_backwards() -> None:
    calls = [{"functionCall": {"name": f"f{number}", "args": {}}} for number in range(MANY)]
    answers = [{"functionResponse": {"name": f"f{number}", "response": {}}} for number in reversed(range(MANY))]
    made = gemini_turns.messages(None, [{"role": "model", "parts": calls}, {"role": "user", "parts": answers}])
    assert [one["tool_call_id"] for one in made[1:3]] == [f"call_{MANY}", f"call_{MANY - 1}"]


def _pieces_of_a_turn() -> None:
    thoughts = [{"text": LONG, "thought": True}, *[{"text": "b", "thought": True}] * MANY]
    code = [{"text": LONG}, *[{"codeExecutionResult": {"output": "c"}}] * MANY]
    (said, _) = gemini_turns.messages(None, [{"role": "model", "parts": [*thoughts, *code]}, HEARD])
    assert said["reasoning_content"] == LONG + "b" * MANY
    assert said["content"] == LONG + "```\nc\n```\n" * MANY


def _pieces_of_a_reply() -> None:
    joined = gemini_reply.join([{"content": LONG}, *[{"content": "b"}] * MANY])
    assert joined == {"role": "assistant", "content": LONG + "b" * MANY, "refusal": None}


def _reasoning_items() -> None:
    summaries = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]} for text in (LONG, "b")]
    sealed = [{"type": "reasoning", "encrypted_content": "AA"}]
    body = {"model": "m", "input": [summaries[0], *[summaries[1]] * MANY, *sealed * 2 * MANY, HELLO]}
    said, _ = responses_over_chat.request(body).body["messages"]
    assert said["reasoning_content"] == LONG + "\n\nb" * MANY
    assert len(said["reasoning_details"]) == 2 * MANY


def _texts_after_a_call() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    text = {"type": "message", "role": "assistant", "content": "a"}
    said, _ = responses_over_chat.request({"model": "m", "input": [text, call, *[text] * 4 * MANY, HELLO]}).body[
        "messages"
    ]
    assert said["content"] == [{"type": "text", "text": "a"}] * (4 * MANY + 1)


def _carried_members() -> None:
    packed = [opaque.pack({"reasoning_details": [{}], "calls": {f"c{number}": {}}}) for number in range(2 * MANY)]
    blocks = [{"type": "redacted_thinking", "data": data} for data in packed]
    turns = [HELLO, {"role": "assistant", "content": [*blocks, {"type": "text", "text": "x"}]}]
    said = messages_over_chat.request({"model": "m", "max_tokens": 9, "messages": turns})["messages"][1]
    assert len(said["reasoning_details"]) == 2 * MANY


def _escapes_in_a_data_url() -> None:
    with pytest.raises(InvalidRequest, match="send it as base64"):
        gemini_parts.media("data:image/png," + "%41" * 4_000_000, "image_url")


def _a_long_name() -> None:
    assert gemini_spelling.normalised({"_a" * 4_000_000: 1, "system_instruction": None}).keys() >= {"systemInstruction"}


def _empty_lines_and_comments() -> None:
    for nothing in (b"\n", b": x\n\n"):
        relay = ChatRelay()
        assert relay.feed(nothing * (500_000 // len(nothing)) + b'data: {"choices": []}\n\n') == b""
        assert relay.facts.failure is None


def _calls_that_end_together() -> None:
    surface = ResponsesSurface(Arrival("/v1/responses", {}, {}, 0))
    surface.call({"model": "m", "input": "Hi"}, 50)
    chunks = ChunkWriter("chatcmpl-1", 0, "m")
    calls = [
        {"index": place, "id": f"c{place}", "type": "function", "function": {"name": "f", "arguments": text}}
        for place, text in enumerate((LONG, *["{}"] * MANY))
    ]
    surface.feed(chunks.delta({"tool_calls": calls}))
    facts = StreamFacts(upstream_id="chatcmpl-1")
    end = surface.ending(surface.hold_back(chunks.finish("tool_calls")), End("req_1", Usage(), {}, facts))
    assert end.count(b"event: response.output_item.done") == MANY + 1


def _pictures_of_results() -> None:
    picture = {"type": "input_image", "image_url": "https://example.com/a.png"}
    told = [{"type": "function_call_output", "call_id": "a", "output": [picture]}] * (2 * MANY)
    body = responses_over_chat.request({"model": "m", "input": told}).body
    call = replace(chat.parse_call(body, 1), wire=Wire.RESPONSES)
    target = deployment(provider("openai_compatible"), modalities=("text", "image"))
    request = OpenAICompatible(target.provider).request(call, body, target, None)
    assert len(orjson.loads(request.body)["messages"][-1]["content"]) == 4 * MANY


def _entries_of_a_delta() -> None:
    surface = ResponsesSurface(Arrival("/v1/responses", {}, {}, 0))
    surface.call({"model": "m", "input": "Hi"}, 50)
    note = {"type": "url_citation", "url_citation": {"url": "https://example.com", "title": "a"}}
    choice = {"index": 0, "delta": {"annotations": [note] * (2 * MANY)}}
    frame = {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [choice, *[{"index": 0, "delta": {"content": "a"}}] * (2 * MANY)],
    }
    surface.feed(b"data: " + orjson.dumps(frame) + b"\n\n")


def _thoughts_of_a_delta() -> None:
    writer = EventWriter(shows_thinking=True, input_tokens=lambda: 1, model="m", ids=NewIds([]))
    blocks = [{"type": "redacted_thinking", "data": "a" * 9}] * (6 * MANY)
    frame = {"id": "c", "choices": [{"index": 0, "delta": {"thinking_blocks": blocks}}]}
    writer.feed(b"data: " + orjson.dumps(frame) + b"\n\n")


def _calls_of_one_name() -> None:
    ids = NewIds([])
    assert len({ids.of("call_0") for _ in range(4 * MANY)}) == 4 * MANY


def _words_of_an_error() -> None:
    error = {"message": "m", "details": [{"reason": f"word{number}"} for number in range(60 * MANY)]}
    assert failures.of_payload("openai", {"error": error}).code == "word0"


@pytest.mark.parametrize(
    "translate",
    [
        _repeated_ids,
        _answers_backwards,
        _pieces_of_a_turn,
        _pieces_of_a_reply,
        _reasoning_items,
        _texts_after_a_call,
        _carried_members,
        _escapes_in_a_data_url,
        _a_long_name,
        _empty_lines_and_comments,
        _calls_that_end_together,
        _pictures_of_results,
        _entries_of_a_delta,
        _thoughts_of_a_delta,
        _calls_of_one_name,
        _words_of_an_error,
    ],
)
def test_t50_many_small_pieces_hold_nobody_up(translate: Callable[[], Any]) -> None:
    started = time.process_time()
    translate()
    assert time.process_time() - started < 2


def test_t50_a_picture_with_escapes_still_passes() -> None:
    made = gemini_parts.media("data:image/svg+xml;charset=utf-8,%3Csvg%3E", "image_url")
    assert made["inlineData"] == {"mimeType": "image/svg+xml", "data": "PHN2Zz4="}
