"""Gemini event streams: own samples, whole and cut at every byte, and hostile ones."""

import json
import os
import random
from pathlib import Path

import pytest

from tests.fakes.openai_reader import Heard, hear
from tokenhub.call import Call, Capability
from tokenhub.usage import Usage
from tokenhub.wire.faults import FaultKind
from tokenhub.wire.gemini.stream import GeminiReader

SAMPLES = Path(__file__).parents[1] / "samples" / "gemini"
MUTATIONS = 50_000 if os.environ.get("TOKENHUB_SOAK") == "1" else 1_500
CALL = Call(Capability.CHAT, "gemini-of-the-client", stream=True, created_s=1_700_000_000)

WHOLE = {
    "text": (
        {
            0: Heard(
                content="Grüß dich, 世界 🌍\n\ndata: [DONE]\r\n",
                reasoning="Thinking of a greeting.",
                signature="c2lnbmVkLXRleHQ=",
                finish="stop",
            )
        },
        Usage(input=9, output=32, reasoning=21),
    ),
    "calls": (
        {
            0: Heard(
                content="Let me look.",
                calls=[
                    {
                        "id": "call_sample-calls-02_0",
                        "name": "weather",
                        "arguments": '{"city":"Zürich","days":2}',
                        "signature": "c2lnbmVkLWNhbGw=",
                    },
                    {"id": "call_sample-calls-02_1", "name": "now", "arguments": "{}", "signature": None},
                    {"id": "given7", "name": "weather", "arguments": '{"city":"北京"}', "signature": None},
                ],
                finish="tool_calls",
            )
        },
        Usage(input=40, output=42, reasoning=12),
    ),
    "partial_arguments": (
        {
            0: Heard(
                calls=[
                    {
                        "id": "call_sample-partial-3_0",
                        "name": "order",
                        "arguments": '{"items":[{"name":"apple","price":0.5}],"to go":true}',
                        "signature": "c2lnbmVkLXBhcnQ=",
                    },
                    {
                        "id": "call_sample-partial-3_1",
                        "name": "note",
                        "arguments": '{"text":"thanks"}',
                        "signature": None,
                    },
                ],
                finish="tool_calls",
            )
        },
        Usage(input=26, output=26, reasoning=3),
    ),
    "two_candidates": (
        {0: Heard(content="Red rose", finish="length"), 1: Heard(content="Blue wine", finish="stop")},
        Usage(input=5, output=4),
    ),
    "blocked_prompt": ({0: Heard(finish="content_filter")}, Usage(input=14)),
    "filtered_late": ({0: Heard(content="Once", finish="content_filter")}, Usage(input=5, output=1)),
}
FAILED = {
    "error_event": ("Half an", FaultKind.OVERLOAD, "UNAVAILABLE"),
    "error_bare": ("Half an answer", FaultKind.SERVER, "INTERNAL"),
    "error_bare_after_line": ("", FaultKind.SERVER, "INTERNAL"),
    "malformed_call": ("", FaultKind.SERVER, "MALFORMED_FUNCTION_CALL"),
}


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.sse").read_bytes()


def read(*pieces: bytes, call: Call = CALL) -> tuple[GeminiReader, bytes]:
    reader = GeminiReader(call)
    shown = b"".join(reader.feed(piece) for piece in pieces)
    reader.close()
    return reader, shown + reader.ending()


def event(parts: list[dict], finish: str | None = None, usage: dict | None = None, **members: object) -> bytes:
    candidate: dict[str, object] = {"content": {"parts": parts, "role": "model"}, **members}
    if finish is not None:
        candidate["finishReason"] = finish
    body: dict[str, object] = {"candidates": [candidate], "responseId": "made-here", "modelVersion": "gemini-x"}
    if usage is not None:
        body["usageMetadata"] = usage
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\r\n\r\n"


@pytest.mark.parametrize("name", WHOLE)
def test_a_sample_becomes_the_choices_a_client_expects(name: str) -> None:
    choices, usage = WHOLE[name]
    reader, shown = read(sample(name))
    assert hear(shown) == choices
    assert reader.facts.complete
    assert reader.facts.failure is None
    assert reader.facts.usage == usage
    assert reader.facts.finish_reason == choices[0].finish
    assert reader.facts.content is bool(choices[0].content or choices[0].calls)


@pytest.mark.parametrize("name", [*WHOLE, *FAILED])
def test_t59_a_cut_at_any_byte_changes_nothing(name: str) -> None:
    data = sample(name)
    whole, shown = read(data)
    for place in range(1, len(data)):
        reader, again = read(data[:place], data[place:])
        assert again == shown
        assert reader.facts == whole.facts


@pytest.mark.parametrize("name", [*WHOLE, *FAILED])
def test_t59_a_stream_that_drips_byte_by_byte_reads_the_same(name: str) -> None:
    data = sample(name)
    assert read(*(data[place : place + 1] for place in range(len(data))))[1] == read(data)[1]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("line_end", [b"\n", b"\r"])
def test_t59_other_line_ends_read_the_same(name: str, line_end: bytes) -> None:
    assert read(sample(name).replace(b"\r\n", line_end))[1] == read(sample(name))[1]


@pytest.mark.parametrize("name", WHOLE)
def test_t72_a_stream_that_ends_early_is_a_cut_at_every_byte(name: str) -> None:
    data = sample(name)
    last_brace = data.rstrip().rindex(b"}") + 1
    for place in range(len(data)):
        reader, shown = read(data[:place])
        assert reader.facts.complete is (place >= last_brace)
        if place < last_brace:
            assert reader.facts.failure is not None
            assert reader.facts.failure.kind is FaultKind.PROTOCOL
            assert all(choice.finish is None for choice in hear(shown).values())


@pytest.mark.parametrize("name", FAILED)
def test_t74_an_error_inside_a_200_is_a_failure_and_never_an_end(name: str) -> None:
    content, kind, code = FAILED[name]
    reader, shown = read(sample(name))
    assert not reader.facts.complete
    assert reader.facts.failure is not None
    assert (reader.facts.failure.kind, reader.facts.failure.code) == (kind, code)
    heard = hear(shown)
    assert "".join(choice.content for choice in heard.values()) == content
    assert reader.facts.content is bool(content)
    assert reader.ending() == b""


def test_t75_nothing_after_an_error_counts() -> None:
    reader = GeminiReader(CALL)
    assert reader.feed(sample("error_event"))
    assert reader.feed(sample("text")) == b""
    reader.close()
    assert reader.facts.failure is not None
    assert reader.facts.failure.kind is FaultKind.OVERLOAD


def test_a_bare_error_fails_at_once_and_not_only_when_the_connection_closes() -> None:
    reader = GeminiReader(CALL)
    reader.feed(sample("error_bare") + b"\r\n")
    assert reader.facts.failure is not None


def test_the_finish_reason_is_kept_back_and_the_content_is_not() -> None:
    reader = GeminiReader(CALL)
    shown = reader.feed(event([{"text": "all of it"}], "STOP"))
    assert hear(shown)[0] == Heard(content="all of it")
    reader.close()
    assert b'"finish_reason":"stop"' in reader.ending()


def test_a_finish_reason_on_every_event_ends_the_stream_once() -> None:
    _, shown = read(event([{"text": "a"}], "STOP") + event([{"text": "b"}], "STOP"))
    assert hear(shown) == {0: Heard(content="ab", finish="stop")}


def test_a_last_event_without_its_blank_line_counts() -> None:
    reader, shown = read(event([{"text": "a"}]) + event([{"text": "b"}], "STOP").rstrip())
    assert reader.facts.complete
    assert hear(shown) == {0: Heard(content="ab", finish="stop")}


def test_a_whole_reply_in_place_of_a_stream_is_read_at_its_end() -> None:
    events = [json.loads(event([{"text": text}], "STOP")[6:]) for text in ("a", "b")]
    for body in (events[0], events):
        reader, shown = read(json.dumps(body, indent=2).replace("\n", "\r\n").encode())
        assert reader.facts.complete
        assert reader.facts.content
        assert hear(shown)[0].content == ("a" if body is events[0] else "ab")


@pytest.mark.parametrize(
    "text", [b"{not json}", b'{"candidates": [', b"[1", b"<html>Bad gateway</html>", b"", b"\r\n\r\n"]
)
def test_t74_what_is_no_stream_is_a_protocol_failure(text: bytes) -> None:
    reader, shown = read(text)
    assert shown == b""
    assert reader.facts.failure is not None
    assert reader.facts.failure.kind is FaultKind.PROTOCOL


@pytest.mark.parametrize("data", ["7", "[]", '"text"', "null", "{", '{"candidates": 1e999}'])
def test_an_event_that_is_no_response_is_a_protocol_failure(data: str) -> None:
    reader, _ = read(event([{"text": "a"}]) + f"data: {data}\r\n\r\n".encode())
    assert reader.facts.failure is not None
    assert reader.facts.failure.kind is FaultKind.PROTOCOL


def test_comments_and_unknown_parts_are_passed_over() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    data = b": keep-alive\r\n\r\n" + event([code, {"text": "x"}, {"new": 1}, 7], "STOP")
    assert hear(read(data)[1]) == {0: Heard(content="x", finish="stop")}


def test_t71_a_frame_above_the_cap_is_a_protocol_failure() -> None:
    for data in (b"data: " + b"x" * 2000, b"{" + b" " * 2000 + b"\n\n", b'{"a":\n\n' * 400):
        reader = GeminiReader(CALL, limit_bytes=1000)
        for place in range(0, len(data), 500):
            reader.feed(data[place : place + 500])
        assert reader.facts.failure is not None
        assert reader.facts.failure.code == "frame_too_large"


def test_images_and_sound_come_as_their_own_deltas() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "aW1n"}, "thoughtSignature": "c2ln"}
    sound = {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "cGNt"}}
    reader, shown = read(event([picture, sound, {"inlineData": {"mimeType": "x/y", "data": ""}}], "STOP"))
    assert hear(shown)[0] == Heard(images=["data:image/png;base64,aW1n"], audio="cGNt", finish="stop")
    assert b'"images":[{"type":"image_url"' in shown
    assert b'"thought_signature":"c2ln"' in shown
    assert reader.facts.content


def test_log_probabilities_come_beside_their_delta() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "tokenId": 5, "logProbability": -0.25}],
        "topCandidates": [
            {"candidates": [{"token": "é", "logProbability": -0.25}, {"token": "e", "logProbability": -3}]}
        ],
    }
    _, shown = read(event([{"text": "é"}], "STOP", logprobsResult=result))
    assert hear(shown)[0].logprobs == [
        {
            "token": "é",
            "logprob": -0.25,
            "bytes": [195, 169],
            "top_logprobs": [
                {"token": "é", "logprob": -0.25, "bytes": [195, 169]},
                {"token": "e", "logprob": -3, "bytes": [101]},
            ],
        }
    ]


def test_parallel_calls_are_cut_to_the_first_where_the_client_wants_one() -> None:
    one = Call(Capability.CHAT, "m", stream=True, one_tool_call=True)
    for name, first in (("calls", "weather"), ("partial_arguments", "order")):
        heard = hear(read(sample(name), call=one)[1])[0]
        assert [call["name"] for call in heard.calls] == [first]
        assert json.loads(heard.calls[0]["arguments"])
        assert heard.finish == "tool_calls"


def test_call_ids_are_unique_across_choices_and_stable_over_readings() -> None:
    call = {"functionCall": {"name": "f"}}
    data = b"".join(event([call, call], "STOP", index=index) for index in (0, 1))
    ids = [made["id"] for choice in hear(read(data)[1]).values() for made in choice.calls]
    assert len(set(ids)) == 4
    assert ids == [made["id"] for choice in hear(read(data)[1]).values() for made in choice.calls]


def test_a_stream_without_an_id_of_its_own_gets_random_ones() -> None:
    data = event([{"functionCall": {"name": "f"}}], "STOP").replace(b'"made-here"', b'""')
    ids = {hear(read(data)[1])[0].calls[0]["id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "NO_IMAGE", "A_REASON_OF_2027"])
def test_a_failing_finish_reason_fails_only_when_nothing_was_shown(reason: str) -> None:
    assert read(event([], reason))[0].facts.failure is not None
    reader, shown = read(event([{"text": "some"}]) + event([], reason))
    assert reader.facts.failure is None
    assert hear(shown)[0] == Heard(content="some", finish="stop")
    assert reader.facts.native_finish_reason == reason


def test_an_empty_answer_that_stopped_is_complete_without_content() -> None:
    reader, shown = read(event([], "STOP", {"promptTokenCount": 3, "totalTokenCount": 3}))
    assert reader.facts.complete
    assert not reader.facts.content
    assert reader.facts.usage == Usage(input=3)
    assert hear(shown) == {0: Heard(finish="stop")}


def test_t10_the_last_usage_counts_and_is_never_summed() -> None:
    usages = [{"promptTokenCount": 5, "candidatesTokenCount": n, "totalTokenCount": 5 + n} for n in (1, 2, 7)]
    data = b"".join(event([{"text": "x"}], None, usage) for usage in usages) + event([], "STOP")
    assert read(data)[0].facts.usage == Usage(input=5, output=7)


def test_t7_a_usage_that_more_content_follows_uncounted_is_no_usage() -> None:
    usage = {"promptTokenCount": 5, "totalTokenCount": 5}
    data = event([{"text": "x"}], None, usage) + event([{"text": "much more"}], "STOP")
    assert read(data)[0].facts.usage is None


def test_t10_an_output_that_was_counted_does_not_fall_and_a_prompt_is_as_it_was_told_last() -> None:
    good = {"promptTokenCount": 102, "candidatesTokenCount": 50, "totalTokenCount": 152}
    less = {"promptTokenCount": 100, "totalTokenCount": 100}
    said = event([{"text": "x"}], None, good)
    assert read(said + event([], "STOP", less))[0].facts.usage == Usage(input=100, output=50)
    after_more = read(said + event([{"text": "much more"}]) + event([], "STOP", less))[0].facts
    assert (after_more.usage, after_more.told) == (None, Usage(input=100, output=50))


def test_t11_usage_after_the_finish_reason_is_read() -> None:
    late = b'data: {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 6}}\r\n\r\n'
    assert read(event([{"text": "x"}], "STOP") + late)[0].facts.usage == Usage(input=5, output=1)


def test_output_bytes_count_text_reasoning_and_calls() -> None:
    parts = [{"text": "é"}, {"text": "mm", "thought": True}, {"functionCall": {"name": "fn", "args": {"a": 1}}}]
    assert read(event(parts, "STOP"))[0].facts.output_bytes == len("é".encode()) + 2 + 2 + len('{"a":1}')
    plain = [event([{"text": "abc"}]), event([{"text": "dé"}]), event([{"text": "f"}], "STOP")]
    assert read(*plain)[0].facts.output_bytes == len("abcdéf".encode())


@pytest.mark.parametrize(
    "pieces",
    [
        [{"jsonPath": "$.a[5]", "numberValue": 1}],
        [{"jsonPath": "$.a", "stringValue": "x"}, {"jsonPath": "$.a.b", "numberValue": 1}],
        [{"jsonPath": "no path", "numberValue": 1}],
        [{"jsonPath": "$" + ".a" * 100, "numberValue": 1}],
        ["text"],
    ],
)
def test_argument_pieces_that_do_not_fit_together_are_a_protocol_failure(pieces: list) -> None:
    reader, _ = read(event([{"functionCall": {"name": "f", "partialArgs": pieces}}], "STOP"))
    assert reader.facts.failure is not None
    assert reader.facts.failure.code == "malformed_arguments"


def test_argument_pieces_hold_every_kind_of_value() -> None:
    pieces = [
        {"jsonPath": "$.list[0]", "stringValue": "a", "willContinue": True},
        {"jsonPath": "$.list[0]", "stringValue": "b"},
        {"jsonPath": "$.list[1]", "nullValue": "NULL_VALUE"},
        {"jsonPath": '$["q.r"].s', "boolValue": False},
        {"jsonPath": "$.n", "numberValue": 2.5},
        {"jsonPath": "$.n", "numberValue": 3},
    ]
    _, shown = read(event([{"functionCall": {"name": "f", "partialArgs": pieces}}], "STOP"))
    assert hear(shown)[0].functions == [("f", {"list": ["ab", None], "q.r": {"s": False}, "n": 3})]


def test_arguments_nested_deeper_than_json_is_written_are_a_protocol_failure() -> None:
    deep = '{"a":' * 300 + "1" + "}" * 300
    data = event([{"functionCall": {"name": "f", "args": {}}}], "STOP").replace(
        b'"args": {}', b'"args": ' + deep.encode()
    )
    assert read(data)[0].facts.failure is not None


@pytest.mark.soak
@pytest.mark.parametrize("name", [*WHOLE, *FAILED])
def test_t74_damaged_streams_end_in_a_reply_or_a_failure_and_never_in_a_crash(name: str) -> None:
    data, dice = sample(name), random.Random(name)
    for _ in range(MUTATIONS // len(WHOLE | FAILED)):
        damaged = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(damaged))
            damaged[place : place + dice.choice((0, 1, 1, 9))] = dice.choice(
                (b"", b"{", b"}", b"null", b"7", b'"', b"[", b"\n", b"\r\n\r\n", bytes([dice.randrange(256)]))
            )
        reader, shown = read(bytes(damaged))
        assert reader.facts.complete is (reader.facts.failure is None)
        hear(shown)
