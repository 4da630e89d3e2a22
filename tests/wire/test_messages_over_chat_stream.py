"""Chat replies and chunks as Anthropic's messages and events."""

import orjson
import pytest

from tests.dialects.clients import messages as client
from tests.fakes.upstream import openai_chat, openai_chunk, openai_stream, openai_tool_call
from tokenhub.usage import Usage
from tokenhub.wire import opaque
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.messages import carry as messages_carry
from tokenhub.wire.messages import over_chat_reply as messages_over_chat_reply
from tokenhub.wire.messages import over_chat_turns as messages_over_chat_turns
from tokenhub.wire.messages.over_chat_stream import EventWriter
from tokenhub.wire.messages.tool_ids import NewIds


def turns_of(messages):
    return messages_over_chat_turns.messages_of({"messages": messages})


USAGE = {"input_tokens": 3, "output_tokens": 5}
EXTRA = {"google": {"thought_signature": "c2ln"}}


def writer(*, shows_thinking=True):
    return EventWriter(shows_thinking=shows_thinking, input_tokens=lambda: 42, model="asked", ids=NewIds([]))


def played(*deltas, reason="stop", shows_thinking=True):
    """Return the events of a stream of these deltas, the end kept back, as the relay plays it."""
    made = writer(shows_thinking=shows_thinking)
    flowing = b"".join(made.feed(openai_chunk(delta)) for delta in ({"role": "assistant", "content": ""}, *deltas))
    return flowing + made.hold_back(openai_chunk({}, reason)) + made.ending(USAGE, "req_1", None)


def message(*deltas, **more):
    return client.from_stream(played(*deltas, **more))


def arguments(index, piece, **first):
    function = {"arguments": piece} | ({"name": first.pop("name")} if first else {})
    return {"tool_calls": [{"index": index, "function": function, **first}]}


def test_text_streams_as_one_block():
    frames = played({"content": "Hel"}, {"content": "lo"})
    made = client.from_stream(frames)
    assert made["content"] == [{"type": "text", "text": "Hello"}]
    assert (made["stop_reason"], made["stop_sequence"]) == ("end_turn", None)
    assert made["usage"] | USAGE == made["usage"]
    assert made["id"] == "chatcmpl-fake00000000000000000000002"
    assert frames.count(b"event: message_start") == 1
    assert orjson.loads(frames.split(b"data: ")[1].split(b"\n")[0])["message"]["usage"]["input_tokens"] == 42


def test_events_of_several_frames_are_those_of_each():
    one, whole = writer(), writer()
    frames = openai_stream(["a", "b", "c"], usage={})[:-2]
    assert b"".join(map(one.feed, frames)) == whole.feed(b"".join(frames))


def test_reasoning_becomes_a_thinking_block_with_our_mark():
    made = message({"reasoning_content": "So "}, {"reasoning_content": "on."}, {"content": "Done."})
    assert made["content"] == [
        {"type": "thinking", "thinking": "So on.", "signature": opaque.MARK},
        {"type": "text", "text": "Done."},
    ]


def test_reasoning_is_hidden_from_who_did_not_ask():
    made = message({"reasoning_content": "So on."}, {"content": "Done."}, shows_thinking=False)
    assert made["content"] == [{"type": "text", "text": "Done."}]


def test_anthropics_own_signature_is_kept():
    whole = {"type": "thinking", "thinking": "So on.", "signature": "c2ln"}
    sealed = {"type": "redacted_thinking", "data": "eHl6"}
    made = message({"reasoning_content": "So on."}, {"thinking_blocks": [whole]}, {"thinking_blocks": [sealed]})
    assert made["content"] == [whole, sealed]


def test_calls_stream_their_arguments():
    made = message(
        arguments(0, "", id="call_1", type="function", name="one"),
        arguments(0, '{"a"'),
        arguments(0, ":1}"),
        arguments(1, "", id="call_2", type="function", name="two"),
        reason="tool_calls",
    )
    assert [(block["id"], block["name"], block["input"]) for block in made["content"]] == [
        ("call_1", "one", {"a": 1}),
        ("call_2", "two", {}),
    ]
    assert made["stop_reason"] == "tool_use"


def test_call_that_is_interrupted_is_finished_before_the_next_begins():
    made = message(
        arguments(0, '{"a"', id="call_1", type="function", name="one"),
        arguments(1, '{"b"', id="call_2", type="function", name="two"),
        {"content": "meanwhile"},
        arguments(0, ":1}"),
        arguments(1, ":2}"),
    )
    assert [(block["type"], block.get("input")) for block in made["content"]] == [
        ("tool_use", {"a": 1}),
        ("tool_use", {"b": 2}),
        ("text", None),
    ]
    assert made["stop_reason"] == "tool_use", "calls count more than the reason given"


def test_calls_that_come_in_turns_are_told_apart():
    made = message(
        arguments(0, "", id="call_1", type="function", name="one"),
        arguments(1, "", id="call_2", type="function", name="two"),
        *(arguments(index, piece) for piece in ('{"a"', ":1", "}") for index in (0, 1)),
        arguments(2, "", id="call_3", type="function", name="three"),
    )
    assert [(block["name"], block["input"]) for block in made["content"]] == [
        ("one", {"a": 1}),
        ("two", {"a": 1}),
        ("three", {}),
    ]


def test_call_that_goes_on_after_its_end_is_a_fault():
    made = writer()
    made.feed(openai_chunk(arguments(0, "{}", id="call_1", type="function", name="one")))
    made.feed(openai_chunk({"content": "text"}))
    with pytest.raises(UpstreamFault):
        made.feed(openai_chunk(arguments(0, "more")))


@pytest.mark.parametrize("shows_thinking", [True, False])
def test_what_other_providers_want_back_travels_before_the_call(shows_thinking):
    details = [{"type": "reasoning.encrypted", "data": "x"}]
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "one", "arguments": "{}"}}
    made = message(
        {"reasoning_details": details},
        {"tool_calls": [{**call, "extra_content": EXTRA}]},
        shows_thinking=shows_thinking,
    )
    assert [block["type"] for block in made["content"]] == ["redacted_thinking", "tool_use"]
    assert messages_carry.opened(made["content"][0]) == {"reasoning_details": details, "calls": {"call_1": EXTRA}}


def test_reasoning_that_is_not_shown_travels_with_a_call():
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "one", "arguments": "{}"}}
    made = message({"reasoning_content": "So "}, {"reasoning": "on."}, {"tool_calls": [call]}, shows_thinking=False)
    assert messages_carry.opened(made["content"][0]) == {"reasoning_content": "So on."}
    made = whole(tool_calls=[openai_tool_call()], reasoning_content="So on.", shows_thinking=False)
    assert messages_carry.opened(made["content"][0]) == {"reasoning_content": "So on."}
    back = turns_of([{"role": "assistant", "content": made["content"]}])
    assert back[0]["reasoning_content"] == "So on."
    assert "thinking_blocks" not in back[0]


def test_signature_of_a_text_follows_it():
    made = message({"content": "Stone."}, {"extra_content": EXTRA})
    assert [block["type"] for block in made["content"]] == ["text", "redacted_thinking"]
    assert messages_carry.opened(made["content"][1]) == {"extra_content": EXTRA}


def test_refusal_is_text_that_ends_so():
    made = message({"refusal": "I can"}, {"refusal": "not."})
    assert (made["content"][0]["text"], made["stop_reason"]) == ("I cannot.", "refusal")


def test_stream_without_any_content_is_still_whole():
    made = client.from_stream(writer().ending(USAGE, "req_7", "content_filter"))
    assert (made["id"], made["model"], made["content"], made["stop_reason"]) == ("req_7", "asked", [], "refusal")


@pytest.mark.parametrize("frame", [b"data: nonsense\n\n", b"data: [1]\n\n"])
def test_frame_that_is_no_chunk_is_a_fault(frame):
    with pytest.raises(UpstreamFault):
        writer().feed(frame)


# --- whole replies


def whole(*, shows_thinking=True, **message):
    body = openai_chat(message.pop("content", None), **message)
    return messages_over_chat_reply.message_of(body, shows_thinking=shows_thinking, ids=NewIds([]))


def test_whole_reply_becomes_a_message():
    made = whole(content="Stone.", reasoning_content="So: stone.")
    assert made["content"] == [
        {"type": "thinking", "thinking": "So: stone.", "signature": opaque.MARK},
        {"type": "text", "text": "Stone."},
    ]
    assert client.hear({**made, "usage": USAGE}).finish == "stop"
    assert whole(content="Stone.", reasoning_content="So.", shows_thinking=False)["content"][0]["type"] == "text"


def test_whole_reply_and_stream_say_the_same():
    call = {**openai_tool_call("one", '{"a":1}', "call_1"), "extra_content": EXTRA}
    made = whole(content="See:", tool_calls=[call], reasoning_content="Hm.")
    streamed = message({"reasoning_content": "Hm."}, {"content": "See:"}, {"tool_calls": [{**call, "index": 0}]})
    assert made["content"] == streamed["content"]
    assert made["stop_reason"] == streamed["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("text", "input"),
    [
        ('{"a":1}', {"a": 1}),
        ("", {}),
        (None, {}),
        ('{"a":', {"INVALID_JSON": '{"a":'}),
        ("[1]", {"INVALID_JSON": "[1]"}),
    ],
)
def test_arguments_become_an_object(text, input):
    assert messages_over_chat_reply.arguments(text) == input


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("tool_calls", "end_turn"),
        ("weird", "end_turn"),
        (None, "end_turn"),
    ],
)
def test_end_without_a_call_is_told_in_anthropics_words(reason, word):
    assert messages_over_chat_reply.stop_reason(reason, calls_tool=False) == word


def test_usage_leaves_the_cache_out_of_the_input():
    rendered = messages_over_chat_reply.render_usage(
        Usage(input=10, cache_read=20, cache_write=3, cache_write_1h=4, output=7, reasoning=2)
    )
    assert rendered == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 2},
    }


@pytest.mark.parametrize("odd", [["x"], "x", 5])
def test_a_delta_that_is_no_object_says_nothing(odd):
    made = client.from_stream(played(odd, {"content": "Hello"}))
    assert made["content"] == [{"type": "text", "text": "Hello"}]
