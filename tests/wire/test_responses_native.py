"""Responses that pass as they are: what is learnt on the way, what is kept back, what has failed."""

import json
import re
from typing import Any

import pytest

from tests.wire.cuts import assert_cuts_do_not_show, read
from tests.wire.responses_samples import CALL, CUSTOM, MESSAGE, REASONING, REFUSAL, USAGE, frame, response, stream
from tokenhub.call import Call, Capability
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage
from tokenhub.wire.chat.over_responses_stream import ResponsesReader
from tokenhub.wire.faults import FaultKind, UpstreamFault
from tokenhub.wire.replies import Reply
from tokenhub.wire.responses import common as responses
from tokenhub.wire.responses import native as responses_native
from tokenhub.wire.responses.native import NativeResponses
from tokenhub.wire.responses.surface import ResponsesSurface
from tokenhub.wire.surface import Arrival

CALLED = Call(Capability.CHAT, "m", created_s=1_800_000_000)
COUNTED = Usage(input=50, cache_read=30, cache_write=20, output=40, reasoning=25)
WHOLE = {
    "text": response(MESSAGE),
    "reasoning": response(REASONING, MESSAGE),
    "calls": response(REASONING, CALL, {**CALL, "id": "fc_2", "call_id": "call_3"}, CUSTOM),
    "refusal": response(REFUSAL),
    "cut": response(MESSAGE, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    "filtered": response(status="incomplete", incomplete_details={"reason": "content_filter"}),
    "empty": response(),
    "uncounted": response(MESSAGE, usage=None),
}
FACTS = {
    "text": (True, "stop", "completed", False),
    "reasoning": (True, "stop", "completed", True),
    "calls": (True, "tool_calls", "completed", True),
    "refusal": (True, "stop", "completed", False),
    "cut": (True, "length", "max_output_tokens", False),
    "filtered": (False, "content_filter", "content_filter", False),
    "empty": (False, "stop", "completed", False),
    "uncounted": (True, "stop", "completed", False),
}


def whole(raw: dict[str, Any]) -> Reply:
    return responses_native.reply(json.loads(json.dumps(raw)), CALLED)


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_response_is_read_and_left_as_it_is(kind: str) -> None:
    raw = WHOLE[kind]
    got = whole(raw)
    assert got.body == raw
    assert (got.has_content, got.finish_reason, got.native_finish_reason, got.binds) == FACTS[kind]
    assert got.usage == (None if kind == "uncounted" else COUNTED)
    assert got.output_bytes == (len("Let me see.") if kind == "uncounted" else 0)
    assert (got.upstream_id, got.served_model) == ("resp_1", "gpt-6")


@pytest.mark.parametrize("kind", WHOLE)
def test_a_streams_frames_pass_as_bytes_and_its_last_one_is_kept_back(kind: str) -> None:
    given = stream(WHOLE[kind])
    flowing, kept, facts = read(NativeResponses(), [given])
    assert flowing + kept == given
    last = given[given.rindex(b"event: ") :]
    assert kept.endswith(last)
    assert flowing == (given.removesuffix(last) if facts["content"] else b"")
    assert (facts["content"], facts["finish_reason"], facts["native_finish_reason"], facts["binds"]) == FACTS[kind]
    assert facts["complete"]
    assert facts["failure"] is None
    assert whole(WHOLE[kind]).usage == NativeResponsesUsage.of(given)
    assert (facts["upstream_id"], facts["served_model"], facts["created"]) == ("resp_1", "gpt-6", 1_800_000_000)


class NativeResponsesUsage:
    """The usage of a stream, as the reader has it."""

    @staticmethod
    def of(given: bytes) -> Usage | None:
        reader = NativeResponses()
        reader.feed(given)
        return reader.facts.usage


@pytest.mark.parametrize("kind", WHOLE)
def test_t74_a_whole_response_in_place_of_the_stream_becomes_one(kind: str) -> None:
    given = stream(WHOLE[kind], size=100)
    flowing, kept, facts = read(NativeResponses(), [json.dumps(WHOLE[kind]).encode()])
    assert [one["type"] for one in events(flowing + kept)] == [one["type"] for one in events(given)]
    assert events(kept)[-1]["response"] == WHOLE[kind]
    assert {**facts, "output_bytes": 0} == {**read(NativeResponses(), [given])[2], "output_bytes": 0}


def events(frames: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for data in re.findall(rb"^data: (.*)$", frames, re.MULTILINE)]


@pytest.mark.parametrize("status", ["failed", "cancelled", "queued", "in_progress", "odd"])
def test_t74_a_whole_response_that_is_not_made_is_no_stream(status: str) -> None:
    _, _, facts = read(NativeResponses(), [json.dumps(response(MESSAGE, status=status)).encode()])
    assert facts["failure"] is not None
    assert not facts["complete"]


@pytest.mark.parametrize("kind", ["reasoning", "calls", "empty"])
def test_where_the_network_cuts_a_stream_does_not_show(kind: str) -> None:
    given = stream(WHOLE[kind])

    def read_bytes(pieces: list[bytes]) -> tuple[bytes, dict[str, Any]]:
        flowing, kept, facts = read(NativeResponses(), pieces)
        return flowing + kept, {**facts, "output_bytes": 0}

    expected = read_bytes([given])
    assert read_bytes([given[at : at + 1] for at in range(len(given))]) == expected
    for cut in range(1, len(given), 7):
        assert read_bytes([given[:cut], given[cut:]]) == expected


def test_nothing_is_given_before_the_first_content() -> None:
    given = stream(response(REASONING, MESSAGE))
    reader, at = NativeResponses(), given.index(b"event: response.reasoning_summary_text.delta")
    assert reader.feed(given[:at]) == b""
    assert not reader.facts.content
    assert reader.feed(given[at : at + 300]).startswith(b"event: response.created")
    assert reader.facts.content


@pytest.mark.parametrize("size", [1, 7, 800])
def test_what_was_received_can_be_estimated_when_the_end_is_never_seen(size: int) -> None:
    given = stream(response({**MESSAGE, "content": [{**MESSAGE["content"][0], "text": 'say "x" ' * 100}]}), size)
    given = given[: given.index(b"event: response.output_text.done")]
    for pieces in ([given], [given[:2000], given[2000:]]):
        reader = NativeResponses()
        for piece in pieces:
            reader.feed(piece)
        assert reader.facts.output_bytes == 1000, "as the wire has it, with its escapes"


FAILED = {
    "error event": (frame({"type": "error", "code": "rate_limit_exceeded", "message": "Slow down", "param": None}), "rate_limit_exceeded"),
    "error event of real streams": (frame({"type": "error", "error": {"code": "server_error", "message": "x"}}), "server_error"),
    "failed response": (frame({"type": "response.failed", "response": response(status="failed", error={"code": "server_error", "message": "x"})}), "server_error"),
    "error without a type": (b'data: {"error": {"code": "overloaded", "message": "x"}}\n\n', "overloaded"),
    "error in place of a stream": (b'{"error": {"code": "overloaded", "message": "x"}}', "overloaded"),
    "a web page": (b"<html>Bad gateway</html>", "not_an_event_stream"),
    "an end without a response": (frame({"type": "response.completed"}), "no_response"),
    "an end with another thing": (frame({"type": "response.completed", "response": []}), "no_response"),
    "a broken frame": (b"data: {broken\n\n", "malformed_frame"),
    "nothing more": (b"", "stream_cut"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILED)
@pytest.mark.parametrize("after", ["the beginning", "content"])
def test_a_stream_that_fails(kind: str, after: str) -> None:
    bad, code = FAILED[kind]
    given = stream(response(MESSAGE))
    mark = b"event: response.output_item.added" if after == "the beginning" else b"event: response.output_text.done"
    reader = NativeResponses()
    flowing = reader.feed(given[: given.index(mark)])
    assert bool(flowing) == (after == "content")
    assert reader.feed(bad) == b""
    if reader.facts.failure is None:
        reader.close()
    assert reader.facts.failure is not None
    assert reader.facts.failure.code == code
    assert not reader.facts.complete
    assert reader.feed(stream(response(MESSAGE))) == b"", "nothing counts after a failure"


@pytest.mark.parametrize(
    "raw",
    [
        {"error": {"code": "server_error", "message": "x"}},
        response(status="failed", error={"code": "server_error", "message": "x"}),
        response(status="in_progress"),
        {"id": "resp_1", "status": "completed"},
    ],
)
def test_a_whole_reply_that_is_none_fails(raw: dict[str, Any]) -> None:
    with pytest.raises(UpstreamFault) as caught:
        whole(raw)
    assert caught.value.failure.kind in (FaultKind.SERVER, FaultKind.PROTOCOL)


@pytest.mark.parametrize("created", [2**70, -1, 1e30, "soon", None, True])
def test_a_moment_that_cannot_be_is_none(created: Any) -> None:
    """A number beyond 64 bits cannot be written again."""
    assert responses.created_of({"created_at": created}) in (0, 1)
    reader = ResponsesReader(CALLED)
    body = stream(response(MESSAGE, created_at=created))
    assert b'"created":' in reader.feed(body) + reader.ending()
    assert reader.facts.created in (CALLED.created_s, 1)


def test_an_error_goes_on_behind_a_number_that_cannot_be() -> None:
    surface = ResponsesSurface(Arrival("/v1/responses", {}, {}, 1_800_000_000))
    surface.call({"model": "m", "input": "Hi"}, 50)
    surface.native = True
    surface.feed(frame({"type": "response.output_text.delta", "delta": "x", "sequence_number": 2**70}))
    told = surface.error_frame(InvalidRequest("No."), "req_1")
    numbers = [int(one) for one in re.findall(rb'"sequence_number":(\d+)', told)]
    assert numbers == sorted(numbers)
    assert max(numbers) < 2**63


def test_only_the_last_frame_is_written_anew() -> None:
    given = stream(response(MESSAGE), 3).replace(b'"completed"', b'"completed" ')
    start = given.rindex(b"event: ")
    made = responses_native.with_usage(given, lambda own: {**own, "cost": 0.25})
    assert made[:start] == given[:start]
    assert json.loads(made[start:].partition(b"data: ")[2])["response"]["usage"] == {**USAGE, "cost": 0.25}


NONSENSE = {
    "none": None,
    "a word": "many",
    "no prompt": {**USAGE, "input_tokens": None},
    "more cached than read": {**USAGE, "input_tokens": 10},
    "more reasoning than output": {**USAGE, "output_tokens": 10},
    "a fraction": {**USAGE, "output_tokens": 1.5},
    "less than nothing": {**USAGE, "input_tokens": -1},
    "no total": {**USAGE, "total_tokens": False},
    "no detail": {**USAGE, "input_tokens_details": {"cached_tokens": ""}},
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_no_usage(kind: str) -> None:
    assert responses.parse_usage(NONSENSE[kind]) is None


def test_tokens_beside_the_two_counts_are_of_an_unknown_kind() -> None:
    assert responses.parse_usage({"input_tokens": 5, "output_tokens": 2, "total_tokens": 10}) == Usage(
        input=5, output=2, unknown=3
    )


def test_cuts_do_not_show_in_a_stream_without_content() -> None:
    assert_cuts_do_not_show(NativeResponses, stream(response()), most=300)


@pytest.mark.parametrize("odd", [{}, ["completed"], {"type": "x"}])
def test_a_word_of_another_type_is_none_of_those_that_are_known(odd: Any) -> None:
    assert whole({**response(MESSAGE), "status": odd}).finish_reason == "stop"
    assert whole({**response(MESSAGE), "output": [MESSAGE, {"type": odd}]}).finish_reason == "stop"
    given = frame({"type": "response.created", "response": {}}).replace(b'"response.created"', json.dumps(odd).encode())
    last = frame({"type": "response.completed", "response": response(MESSAGE, {"type": odd})})
    begun = stream(response(MESSAGE))
    flowing, kept, facts = read(NativeResponses(), [given + begun[: begun.rindex(b"event: ")] + last])
    assert ((flowing + kept).startswith(given), kept) == (True, last)
    assert (facts["complete"], facts["finish_reason"]) == (True, "stop")
