"""Chat replies and chunks as Google's clients read them."""

import json
from typing import Any

import pytest

from tests.fakes.upstream import openai_chat, openai_chunk, openai_stream, openai_tool_call
from tokenhub.call import Call, Capability
from tokenhub.usage import Usage
from tokenhub.wire import sse
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.gemini import common as gemini
from tokenhub.wire.gemini import frames as gemini_frames
from tokenhub.wire.gemini import over_chat_reply as gemini_over_chat_reply
from tokenhub.wire.gemini import reply as gemini_reply
from tokenhub.wire.gemini import signatures as gemini_signatures
from tokenhub.wire.gemini.over_chat_stream import GeminiEvents

CALL = Call(Capability.CHAT, "asked")
USAGE = {"promptTokenCount": 1, "totalTokenCount": 2}


def parts(body: dict[str, Any], *, thoughts: bool = False) -> tuple[list[dict[str, Any]], str]:
    (candidate,) = gemini_over_chat_reply.response(body, thoughts=thoughts)["candidates"]
    return candidate["content"]["parts"], candidate["finishReason"]


def test_a_reply_with_everything_in_it() -> None:
    signed = {"google": {"thought_signature": "c2ln"}}
    call = {**openai_tool_call("look", '{"at":[1]}', "call_7"), "extra_content": signed}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    body = openai_chat("Hi", reasoning_content="hm", tool_calls=[call], finish_reason="tool_calls")
    body["choices"][0]["message"]["images"] = [image]
    made = gemini_over_chat_reply.response(body, thoughts=True)
    assert made["candidates"] == [
        {
            "content": {
                "parts": [
                    {"text": "hm", "thought": True},
                    {"text": "Hi"},
                    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                    {
                        "functionCall": {"id": "call_7", "name": "look", "args": {"at": [1]}},
                        "thoughtSignature": "c2ln",
                    },
                ],
                "role": "model",
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ]
    assert (made["modelVersion"], made["responseId"]) == (body["model"], body["id"])


@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "STOP"), ("length", "MAX_TOKENS"), ("content_filter", "SAFETY"), ("strange", "OTHER"), (None, "STOP")],
)
def test_why_it_ended(reason: str | None, told: str) -> None:
    body = openai_chat("Hi")
    body["choices"][0]["finish_reason"] = reason
    assert parts(body) == ([{"text": "Hi"}], told)


def test_thoughts_are_shown_to_those_who_ask() -> None:
    body = openai_chat("Hi", reasoning_content="hm")
    assert parts(body)[0] == [{"text": "Hi"}]
    assert parts(body, thoughts=True)[0] == [{"text": "hm", "thought": True}, {"text": "Hi"}]


def test_an_empty_reply_still_has_a_turn() -> None:
    assert parts(openai_chat("", finish_reason="length")) == ([{"text": ""}], "MAX_TOKENS")


@pytest.mark.parametrize(("finish", "told"), [("tool_calls", "MALFORMED_FUNCTION_CALL"), ("length", "MAX_TOKENS")])
def test_a_call_whose_arguments_were_cut_is_not_called(finish: str, told: str) -> None:
    body = openai_chat(None, tool_calls=[openai_tool_call(arguments='{"city":"Par')], finish_reason=finish)
    assert parts(body) == ([{"text": ""}], told)


def test_what_others_signed_is_packed_onto_the_first_call() -> None:
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    body = openai_chat("Hi", tool_calls=[openai_tool_call(id="a"), openai_tool_call(id="b")])
    body["choices"][0]["message"]["thinking_blocks"] = blocks
    made, _ = parts(body)
    assert gemini_signatures.unpacked(made[1]["thoughtSignature"]) == {"thinking_blocks": blocks}
    assert "thoughtSignature" not in made[0]
    assert "thoughtSignature" not in made[2]


def test_log_probabilities() -> None:
    body = openai_chat("Hi")
    top = {"token": "Ho", "logprob": -2.0}
    body["choices"][0]["logprobs"] = {"content": [{"token": "Hi", "logprob": -0.5, "top_logprobs": [top]}]}
    (candidate,) = gemini_over_chat_reply.response(body, thoughts=False)["candidates"]
    assert candidate["logprobsResult"] == {
        "chosenCandidates": [{"token": "Hi", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "Ho", "logProbability": -2.0}]}],
    }


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input=10, output=5),
        Usage(input=10, cache_read=90, output=50, reasoning=20),
        Usage(input=1, audio_input=5, image_input=7, output=9, image_output=3, unknown=4),
    ],
)
def test_usage_is_read_back_as_it_was(usage: Usage) -> None:
    shown = gemini_frames.render_usage(usage)
    assert gemini.parse_usage(shown) == usage
    assert shown["totalTokenCount"] == usage.total


# Streams -----------------------------------------------------------------------------------------


def events(chunks: list[bytes], *, thoughts: bool = False) -> list[dict[str, Any]]:
    """Feed a stream frame by frame, its end kept back as the proxy does."""
    writer = GeminiEvents(thoughts=thoughts)
    made = [event for chunk in chunks[:-1] for event in writer.feed(chunk)]
    return [json.loads(one) for one in [*made, *writer.feed(chunks[-1]), writer.last(USAGE)]]


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> bytes:
    made = openai_chunk(delta, finish_reason=finish)
    if isinstance(made, bytes):
        made = json.loads(made.partition(b"data: ")[2])
    made["choices"][0]["index"] = index
    return sse.encode(json.dumps(made).encode())


def test_text_passes_piece_by_piece_and_the_last_event_counts() -> None:
    made = events(openai_stream(["Hel", "lo"], usage={}, done=False))
    assert [one["candidates"][0]["content"]["parts"] for one in made] == [
        [{"text": "Hel"}],
        [{"text": "lo"}],
        [{"text": ""}],
    ]
    assert [one["candidates"][0].get("finishReason") for one in made] == [None, None, "STOP"]
    assert ["usageMetadata" in one for one in made] == [False, False, True]
    assert all(one["responseId"] == made[0]["responseId"] for one in made)


def test_calls_come_whole_however_their_pieces_interleave() -> None:
    def piece(index: int, **function: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, "function": function}]}

    opened = [
        {
            "tool_calls": [
                {"index": n, "id": f"c{n}", "type": "function", "function": {"name": f"f{n}", "arguments": ""}}
            ]
        }
        for n in (0, 1)
    ]
    pieces = [opened[0], opened[1], piece(0, arguments='{"a"'), piece(1, arguments="{}"), piece(0, arguments=":1}")]
    made = events([*map(chunk, pieces), chunk({}, "tool_calls")])
    assert len(made) == 1
    assert made[0]["candidates"][0] == {
        "content": {
            "parts": [
                {"functionCall": {"id": "c0", "name": "f0", "args": {"a": 1}}},
                {"functionCall": {"id": "c1", "name": "f1", "args": {}}},
            ],
            "role": "model",
        },
        "finishReason": "STOP",
        "index": 0,
    }


def test_signed_reasoning_of_a_stream_is_packed_onto_its_call() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "s"}
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    deltas = [{"reasoning_content": "hm"}, {"thinking_blocks": [block]}, {"tool_calls": [call]}]
    made = events([*map(chunk, deltas), chunk({}, "tool_calls")])
    (part,) = made[-1]["candidates"][0]["content"]["parts"]
    assert gemini_signatures.unpacked(part["thoughtSignature"]) == {"thinking_blocks": [block]}
    assert len(made) == 1, "thoughts nobody asked for are not shown"
    shown = events([*map(chunk, deltas), chunk({}, "tool_calls")], thoughts=True)
    assert shown[0]["candidates"][0]["content"]["parts"] == [{"text": "hm", "thought": True}]


def test_several_candidates_end_together() -> None:
    made = events(
        [chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop"), chunk({}, "length", 1)]
    )
    assert [(one["index"], one["finishReason"]) for one in made[-1]["candidates"]] == [(0, "STOP"), (1, "MAX_TOKENS")]


@pytest.mark.parametrize("frame", [b"data: {nonsense\n\n", b"data: []\n\n"])
def test_a_frame_that_cannot_be_read_is_the_upstreams_fault(frame: bytes) -> None:
    with pytest.raises(UpstreamFault):
        GeminiEvents(thoughts=False).feed(frame)


def test_a_reply_read_by_our_own_reader_is_the_same_reply() -> None:
    body = openai_chat("Hi", reasoning_content="hm", tool_calls=[openai_tool_call("look", '{"at":1}', "call_7")])
    rendered = gemini_over_chat_reply.response(body, thoughts=True)
    back = gemini_reply.reply({**rendered, "usageMetadata": gemini_frames.render_usage(Usage(input=9, output=3))}, CALL)
    sent, read = body["choices"][0]["message"], back.body["choices"][0]["message"]
    for name in ("content", "reasoning_content", "tool_calls"):
        assert read[name] == sent[name]
    assert (back.finish_reason, back.usage) == ("tool_calls", Usage(input=9, output=3))
