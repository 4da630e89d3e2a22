"""Whole Gemini replies in OpenAI's form."""

from typing import Any

import pytest

from tokenhub.call import Call, Capability
from tokenhub.usage import Usage
from tokenhub.wire.faults import FaultKind, UpstreamFault
from tokenhub.wire.gemini import reply as gemini_reply
from tokenhub.wire.replies import Reply

CALL = Call(Capability.CHAT, "gemini-of-the-client", created_s=1_700_000_000)
USAGE = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}


def candidate(*parts: dict[str, Any], finish: str | None = "STOP", **members: Any) -> dict[str, Any]:
    made = {"content": {"parts": list(parts), "role": "model"}, **members}
    return made if finish is None else {**made, "finishReason": finish}


def read(*candidates: dict[str, Any], call: Call = CALL, **members: Any) -> Reply:
    raw = {"candidates": list(candidates), "responseId": "r1", "modelVersion": "gemini-served", "usageMetadata": USAGE}
    return gemini_reply.reply({**raw, **members}, call)


def fault(raw: dict[str, Any]) -> UpstreamFault:
    with pytest.raises(UpstreamFault) as caught:
        gemini_reply.reply(raw, CALL)
    return caught.value


def test_a_reply_has_all_of_openais_members() -> None:
    reply = read(candidate({"text": "Hel"}, {"text": "lo"}))
    assert reply == Reply(
        body={
            "id": "chatcmpl-r1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "gemini-served",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello", "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
        },
        usage=Usage(input=5, output=3),
        finish_reason="stop",
        native_finish_reason="STOP",
        upstream_id="r1",
        has_content=True,
        output_bytes=5,
        served_model="gemini-served",
    )


def test_thoughts_calls_signatures_and_pictures_have_their_places() -> None:
    message = read(
        candidate(
            {"text": "Hm.", "thought": True},
            {"text": "Here", "thoughtSignature": "T"},
            {"functionCall": {"id": "given", "name": "f", "args": {"a": "ü"}}, "thoughtSignature": "C"},
            {"functionCall": {"name": "g"}},
            {"inlineData": {"mimeType": "image/png", "data": "aQ=="}},
        )
    ).body["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": "Here",
        "refusal": None,
        "reasoning_content": "Hm.",
        "extra_content": {"google": {"thought_signature": "T"}},
        "tool_calls": [
            {
                "id": "given",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a":"ü"}'},
                "extra_content": {"google": {"thought_signature": "C"}},
            },
            {"id": "call_r1_1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
        "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aQ=="}}],
    }


FINISHES = [
    ("STOP", "stop"),
    ("MAX_TOKENS", "length"),
    *(
        (native, "content_filter")
        for native in (
            *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        )
    ),
]
FAILING = [
    *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"),
    *("MISSING_THOUGHT_SIGNATURE", "NO_IMAGE", "OTHER", "SOMETHING_NEW"),
]


@pytest.mark.parametrize(("native", "expected"), FINISHES)
def test_finish_reasons_that_end_well_do_so_with_and_without_content(native: str, expected: str) -> None:
    for parts in ([], [{"text": "x"}]):
        reply = read(candidate(*parts, finish=native))
        assert (reply.finish_reason, reply.native_finish_reason) == (expected, native)
        assert reply.has_content is bool(parts)


@pytest.mark.parametrize("native", FAILING)
def test_failing_finish_reasons_are_a_fault_unless_something_came(native: str) -> None:
    failure = fault({"candidates": [candidate(finish=native)]}).failure
    assert (failure.kind, failure.code) == (FaultKind.SERVER, native)
    assert read(candidate({"text": "x"}, finish=native)).finish_reason == "stop"


def test_stop_with_calls_means_tool_calls_and_a_limit_stays_a_limit() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    assert read(candidate(call)).finish_reason == "tool_calls"
    assert read(candidate(call, finish="MAX_TOKENS")).finish_reason == "length"


def test_a_blocked_prompt_is_a_filtered_reply_without_content() -> None:
    for reason in ("SAFETY", "OTHER", "PROHIBITED_CONTENT", "JAILBREAK"):
        reply = gemini_reply.reply({"promptFeedback": {"blockReason": reason}, "usageMetadata": USAGE}, CALL)
        assert (reply.finish_reason, reply.native_finish_reason, reply.has_content) == ("content_filter", reason, False)
        assert reply.body["choices"][0]["finish_reason"] == "content_filter"
        assert reply.body["choices"][0]["message"]["content"] is None
        assert reply.body["model"] == "gemini-of-the-client"


@pytest.mark.parametrize(
    "bare",
    [
        {"finishReason": "STOP"},
        {"content": {}, "finishReason": "STOP"},
        {"content": {"role": "model"}, "finishReason": "STOP"},
    ],
)
def test_candidates_may_lack_content_and_parts(bare: dict[str, Any]) -> None:
    assert not read(bare).has_content


@pytest.mark.parametrize(
    "raw", [{}, {"candidates": []}, {"candidates": None, "promptFeedback": {}}, {"candidates": "x"}]
)
def test_t74_a_reply_without_candidates_and_without_a_reason_is_a_fault(raw: dict[str, Any]) -> None:
    assert fault(raw).failure.code == "no_candidates"


def test_t74_an_error_in_a_200_is_a_fault() -> None:
    raw = {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}
    assert fault(raw).failure.kind is FaultKind.RATE


def test_several_candidates_come_in_order_and_one_failed_one_spoils_nothing() -> None:
    reply = read(
        candidate({"text": "second"}, index=1),
        candidate({"text": "first"}, index=0),
        candidate(finish="OTHER", index=2),
    )
    choices = reply.body["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["first", "second", None]
    assert [choice["index"] for choice in choices] == [0, 1, 2]


def test_parallel_calls_are_cut_to_the_first_where_the_client_wants_one() -> None:
    parts = [{"functionCall": {"name": name}} for name in "fgh"]
    reply = read(candidate(*parts), call=Call(Capability.CHAT, "m", one_tool_call=True))
    assert [made["function"]["name"] for made in reply.body["choices"][0]["message"]["tool_calls"]] == ["f"]


def test_log_probabilities_are_openais() -> None:
    result = {"chosenCandidates": [{"token": "a", "logProbability": -1}], "topCandidates": []}
    logprobs = read(candidate({"text": "a"}, logprobsResult=result)).body["choices"][0]["logprobs"]
    assert logprobs == {
        "content": [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": []}],
        "refusal": None,
    }


@pytest.mark.parametrize("usage", [None, {}, {"promptTokenCount": -1}, {"promptTokenCount": 5, "totalTokenCount": 1}])
def test_t7_t9_missing_and_senseless_usage_is_none(usage: Any) -> None:
    assert read(candidate({"text": "x"}), usageMetadata=usage).usage is None


@pytest.mark.parametrize("noise", [None, 7, "x", [], {}, [None, 7, "x", [], {}]])
@pytest.mark.parametrize(
    "place", ["candidates", "content", "parts", "text", "functionCall", "args", "inlineData", "index", "logprobsResult"]
)
def test_odd_shapes_are_passed_over_or_a_fault_never_a_crash(place: str, noise: Any) -> None:
    part = {"text": "x", "thoughtSignature": noise}
    made = candidate(part, {"functionCall": {"name": "f", "args": {}}})
    match place:
        case "candidates":
            raw: dict[str, Any] = {"candidates": noise}
        case "content":
            raw = {"candidates": [{**made, "content": noise}]}
        case "parts":
            raw = {"candidates": [{**made, "content": {"parts": noise}}]}
        case "args":
            raw = {"candidates": [candidate({"functionCall": {"name": noise, "args": noise, "id": noise}})]}
        case "index" | "logprobsResult":
            raw = {"candidates": [{**made, place: noise, "finishReason": noise}]}
        case _:
            raw = {"candidates": [candidate({place: noise})]}
    code = ""
    try:
        choices = gemini_reply.reply(raw, CALL).body["choices"]
    except UpstreamFault as fault:
        choices, code = [], fault.failure.code
    assert choices or code
