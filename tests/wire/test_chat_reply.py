"""Whole replies of OpenAI-compatible providers."""

from copy import deepcopy

import pytest

from tokenhub.usage import Usage
from tokenhub.wire.chat.reply import has_content, parse_body, read_reply, text_bytes
from tokenhub.wire.faults import Failure, FaultKind, UpstreamFault

REPLY = {
    "id": "chatcmpl-own",
    "object": "chat.completion",
    "created": 1790000000,
    "model": "gpt-own",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Grüße", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}


def reply_with(**choice) -> dict:
    return {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop", **choice}]}


def test_a_reply_keeps_everything_but_its_usage():
    reply = read_reply(deepcopy(REPLY))
    assert reply.body == {name: value for name, value in REPLY.items() if name != "usage"}
    assert reply.usage == Usage(input=9, output=3)
    assert (reply.finish_reason, reply.native_finish_reason) == ("stop", "stop")
    assert (reply.upstream_id, reply.served_model) == ("chatcmpl-own", "gpt-own")
    assert reply.has_content
    without = read_reply({name: value for name, value in deepcopy(REPLY).items() if name != "usage"})
    assert without.output_bytes == len("Grüße".encode())


@pytest.mark.parametrize("usage", [None, {}, [], "x", {"prompt_tokens": -5, "completion_tokens": 1}])
def test_t7_t9_usage_that_is_missing_or_nonsense_is_none(usage):
    assert read_reply({**deepcopy(REPLY), "usage": usage}).usage is None


def test_usage_inside_the_choice_is_found_and_taken_out():
    raw = reply_with(usage={"prompt_tokens": 5, "completion_tokens": 1, "cached_tokens": 2})
    reply = read_reply(raw)
    assert reply.usage == Usage(input=3, cache_read=2, output=1)
    assert "usage" not in reply.body["choices"][0]


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("sensitive", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("a_reason_to_come", "a_reason_to_come"),
        ("", None),
        (None, None),
        (7, None),
        ([], None),
    ],
)
def test_ends_are_told_in_openais_words(native, reason):
    reply = read_reply(reply_with(finish_reason=native))
    assert reply.finish_reason == reason
    assert reply.body["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize("native", ["network_error", "insufficient_system_resource", "error"])
def test_t74_an_end_that_means_failure_is_one_even_beside_a_good_choice(native):
    raw = reply_with()
    raw["choices"].insert(0, {"index": 1, "message": {"content": "y"}, "finish_reason": native})
    with pytest.raises(UpstreamFault) as fault:
        read_reply(raw)
    assert fault.value.failure == Failure(FaultKind.SERVER, code=native)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"error": {"message": "x", "code": "busy"}}, FaultKind.SERVER),
        ({"error": "x"}, FaultKind.SERVER),
        ({"code": "Throttling", "message": "x", "request_id": "1"}, FaultKind.SERVER),
        ({}, FaultKind.PROTOCOL),
        ({"choices": []}, FaultKind.PROTOCOL),
        ({"choices": None}, FaultKind.PROTOCOL),
        ({"choices": ["x"]}, FaultKind.PROTOCOL),
        ({"choices": [{"delta": {}}]}, FaultKind.PROTOCOL),
        ({"choices": [{"message": None}]}, FaultKind.PROTOCOL),
        ({"object": "list", "data": []}, FaultKind.PROTOCOL),
    ],
)
def test_t74_a_status_of_200_makes_no_reply_of_it(raw, kind):
    with pytest.raises(UpstreamFault) as fault:
        read_reply(raw)
    assert fault.value.failure.kind is kind


def test_an_error_of_null_is_no_error():
    assert read_reply({**deepcopy(REPLY), "error": None}).has_content


@pytest.mark.parametrize("raw", [b"\n\n\n" + b'{"a":1}', b'{"a":1}\n', b' \r\n{"a":1}'])
def test_blank_lines_before_a_body_are_skipped(raw):
    assert parse_body(raw) == {"a": 1}


@pytest.mark.parametrize("raw", [b"", b"\n\n", b"<html></html>", b"[1]", b'{"a":', b"null", b"\xff"])
def test_t74_a_body_that_is_no_json_object_is_a_protocol_fault(raw):
    with pytest.raises(UpstreamFault) as fault:
        parse_body(raw)
    assert fault.value.failure.kind is FaultKind.PROTOCOL


@pytest.mark.parametrize(
    ("message", "shown", "size"),
    [
        ({"content": "é"}, True, 2),
        ({"content": [{"type": "text", "text": "x"}]}, True, 28),
        ({"content": None, "refusal": "No"}, True, 2),
        ({"content": "", "reasoning_content": "Hm"}, True, 2),
        ({"content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}, True, 3),
        ({"function_call": {"name": "f", "arguments": "{}"}}, True, 3),
        ({"audio": {"id": "a", "data": "AA", "transcript": "x"}}, True, 0),
        ({"content": ""}, False, 0),
        ({"content": None, "tool_calls": [], "audio": None}, False, 0),
        ({}, False, 0),
        (None, False, 0),
    ],
)
def test_content_is_what_shows_something(message, shown, size):
    assert has_content(message) is shown
    assert text_bytes(message) == size
