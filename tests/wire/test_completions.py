"""Legacy text completions: what a request says, whole replies and streams."""

import json
from typing import Any

import pytest

from tests.wire.cuts import assert_cuts_do_not_show, read
from tokenhub.call import Wire
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage
from tokenhub.wire.completions import request as completions
from tokenhub.wire.completions.stream import CompletionsRelay
from tokenhub.wire.faults import FaultKind, UpstreamFault

USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def event(text: str | None = None, finish: str | None = None, index: int = 0, **members: Any) -> bytes:
    choices = [] if text is None else [{"text": text, "index": index, "logprobs": None, "finish_reason": finish}]
    made = {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m", "choices": choices, **members}
    return b"data: %b\n\n" % json.dumps(made).encode()


DONE = b"data: [DONE]\n\n"
STREAM = event("Hel") + event("lo") + event("", "stop") + event(usage=USAGE) + DONE


# Requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "count"),
    [("text", 1), (None, 1), ([1, 2, 3], 1), (["a", "b"], 2), ([[1], [2, 3]], 2)],
)
def test_every_prompt_is_answered_n_times(prompt: Any, count: int) -> None:
    call = completions.parse_call({"model": "m", "prompt": prompt, "n": 3, "max_tokens": 0}, 100, 9)
    assert (call.messages, call.choices, call.max_output, call.wire) == (count, 3 * count, 0, Wire.COMPLETIONS)
    assert (call.input_bytes, call.stream, call.created_s) == (100, False, 9)


def test_a_stream_is_told_of_as_in_chat() -> None:
    call = completions.parse_call({"model": "m", "stream": True, "stream_options": {"include_usage": True}}, 1)
    assert call.stream
    assert call.include_usage


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", []),
        ("prompt", 7),
        ("prompt", ["a", 1]),
        ("prompt", [1, "a"]),
        ("prompt", [True]),
        ("prompt", [[]]),
        ("prompt", ["x"] * 3000),
        ("n", 0),
        ("max_tokens", -1),
        ("max_tokens", "9"),
        ("echo", "yes"),
        ("logprobs", True),
        ("suffix", 1),
        ("stream", "true"),
        ("model", ""),
        ("base_url", "http://evil"),
    ],
)
def test_a_field_at_fault_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        completions.parse_call({"model": "m", "prompt": "x", field: value}, 10)
    assert refused.value.param == field


# Replies -----------------------------------------------------------------------------------------


def whole(text: str, finish: str = "stop", **members: Any) -> dict[str, Any]:
    choice = {"text": text, "index": 0, "logprobs": {"tokens": ["x"]}, "finish_reason": finish}
    return {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m", "choices": [choice], **members}


def test_a_whole_reply_keeps_its_members_but_for_usage() -> None:
    reply = completions.read_reply(whole("Hi", usage=USAGE, future=1))
    assert reply.body == whole("Hi", future=1)
    assert (reply.usage, reply.finish_reason, reply.upstream_id) == (Usage(input=5, output=3), "stop", "cmpl-1")
    assert reply.has_content
    assert not completions.read_reply(whole("")).has_content
    assert completions.read_reply(whole("Grüße")).output_bytes == 7


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"error": {"message": "x", "code": "server_error"}}, FaultKind.SERVER),
        ({"choices": []}, FaultKind.PROTOCOL),
        ({"choices": [{"message": {"content": "chat"}}]}, FaultKind.PROTOCOL),
        (whole("x", "insufficient_system_resource"), FaultKind.SERVER),
    ],
)
def test_what_is_no_completion_is_a_fault(raw: dict[str, Any], kind: FaultKind) -> None:
    with pytest.raises(UpstreamFault) as fault:
        completions.read_reply(raw)
    assert fault.value.failure.kind is kind


# Streams -----------------------------------------------------------------------------------------


def test_frames_pass_as_they_are_and_the_end_waits() -> None:
    flowing, ending, facts = read(CompletionsRelay(), [STREAM])
    assert flowing == event("Hel") + event("lo")
    assert ending == event("", "stop")
    assert (facts["complete"], facts["finish_reason"], facts["output_bytes"]) == (True, "stop", 5)
    assert facts["usage"] == {**facts["usage"], "input": 5, "output": 3}
    assert (facts["upstream_id"], facts["served_model"], facts["created"]) == ("cmpl-1", "m", 7)


def test_where_the_network_cut_a_stream_never_shows() -> None:
    assert_cuts_do_not_show(CompletionsRelay, STREAM)
    assert_cuts_do_not_show(CompletionsRelay, STREAM.replace(b"\n", b"\r\n"))


def test_the_end_of_one_choice_is_not_the_end_of_all() -> None:
    stream = event("a", "stop") + event("b", index=1) + event("c", "length", index=1)
    flowing, ending, facts = read(CompletionsRelay(choices=2), [stream, event(usage=USAGE), DONE])
    assert (flowing, ending) == (event("a", "stop") + event("b", index=1), event("c", "length", index=1))
    assert facts["complete"]


def test_t10_a_usage_that_more_text_follows_counts_nothing() -> None:
    so_far = {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}
    stream = event("a", usage=so_far) + event("word ") + event("", "stop") + b"data: [DONE]\n\n"
    _, _, facts = read(CompletionsRelay(), [stream])
    assert (facts["complete"], facts["usage"]) == (True, None)
    stream = event("a", usage=so_far) + event("word ", usage={}) + event("", "stop") + b"data: [DONE]\n\n"
    _, _, facts = read(CompletionsRelay(), [stream])
    assert (facts["complete"], facts["usage"]) == (True, None)


def test_usage_beside_the_last_choice_is_taken_out() -> None:
    last = event("", "stop", usage=USAGE)
    _, ending, facts = read(CompletionsRelay(), [event("a") + last + DONE])
    assert facts["usage"]["output"] == 3
    assert b"usage" not in ending


@pytest.mark.parametrize("finish", [{}, ["stop"], 5])
def test_a_finish_reason_that_is_no_word_is_none(finish: Any) -> None:
    _, _, facts = read(CompletionsRelay(), [event("a", finish) + event("", "stop") + DONE])
    assert (facts["finish_reason"], facts["complete"]) == ("stop", True)


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (event("Hel"), "stream_cut"),
        (b"", "stream_cut"),
        (DONE, "no_choices"),
        (event("a") + b"data: {nonsense\n\n", "malformed_frame"),
        (b"<html>busy</html>\n\n", "not_an_event_stream"),
        (b'{"choices":[{"text":5}]}\n\n', "not_an_event_stream"),
        (event("a") + json.dumps(whole("x")).encode() + b"\n\n", "not_an_event_stream"),
        (event("a") + b'data: {"error":{"message":"x","code":"busy"}}\n\n', "busy"),
        (event("a") + b"event: error\ndata: {}\n\n", ""),
        (event("a") + event("", "insufficient_system_resource"), "insufficient_system_resource"),
    ],
)
def test_a_broken_stream_has_no_end(stream: bytes, code: str) -> None:
    reader = CompletionsRelay()
    reader.feed(stream)
    reader.close()
    assert reader.facts.failure is not None
    assert reader.facts.failure.code == code
    assert not reader.facts.complete
    assert reader.feed(event("more")) == b""


def test_t74_a_whole_reply_in_place_of_the_stream_becomes_one() -> None:
    given = whole("Hi", "length", usage=USAGE)
    flowing, ending, facts = read(CompletionsRelay(), [json.dumps(given).encode()])
    shown = [json.loads(frame[6:]) for frame in (flowing + ending).split(b"\n\n")[:-1]]
    told = [(one["choices"][0]["text"], one["choices"][0]["finish_reason"]) for one in shown]
    assert told == [("Hi", None), ("", "length")]
    assert all("usage" not in one for one in shown)
    assert (facts["complete"], facts["content"], facts["finish_reason"]) == (True, True, "length")
    assert facts["usage"]["output"] == USAGE["completion_tokens"]
    assert_cuts_do_not_show(CompletionsRelay, json.dumps(given).encode())


def test_a_stream_that_closes_after_its_last_finish_is_whole() -> None:
    flowing, ending, facts = read(CompletionsRelay(), [event("a"), event("", "stop").rstrip(b"\n")])
    assert (flowing, ending, facts["complete"]) == (event("a"), event("", "stop"), True)


def test_a_frame_above_the_cap_is_a_failure() -> None:
    reader = CompletionsRelay(limit_bytes=500)
    assert reader.feed(event("x" * 600)) == b""
    assert reader.facts.failure is not None
    assert reader.facts.failure.code == "frame_too_large"
