"""Frames that TokenHub writes itself (T60)."""

import json

import openai
import orjson
import pytest

from tests.fakes.assembler import assemble
from tokenhub.errors import InvalidRequest, UpstreamFailed
from tokenhub.wire import sse
from tokenhub.wire.chat import frames as chat_frames
from tokenhub.wire.chat.frames import ChunkWriter

HOSTILE = "".join(map(chr, range(0x20))) + '"\\/\x7f\u2028\u2029\n\ndata: [DONE]\n\nevent: error\ndata: {}\r\n\r\n海😀'


def only_payload(frame: bytes) -> dict:
    frames = sse.FrameSplitter().feed(frame)
    assert len(frames) == 1
    event, data = sse.parse(frames[0])
    assert event is None
    assert data is not None
    return orjson.loads(data)


@pytest.mark.parametrize("character", [*map(chr, range(0x20)), "\x7f", "\u2028", "\u2029", HOSTILE])
def test_t60_no_character_of_a_text_ends_its_frame(character):
    text = f"a{character}b"
    writer = ChunkWriter(f"id{character}", 7, f"model{character}")
    pieces = [writer.text(text), writer.reasoning(text), writer.tool_arguments(3, text), writer.delta({"x": text})]
    deltas = [only_payload(piece)["choices"][0]["delta"] for piece in pieces]
    assert deltas == [
        {"content": text},
        {"reasoning_content": text},
        {"tool_calls": [{"index": 3, "function": {"arguments": text}}]},
        {"x": text},
    ]
    assert only_payload(pieces[0])["id"] == f"id{character}"
    assert writer.texts([orjson.dumps(text)[1:-1]] * 2) == 2 * pieces[0]


def test_a_written_chunk_is_one_of_openais():
    writer = ChunkWriter("chatcmpl-1", 7, "m")
    for piece in (writer.text("a"), writer.delta({"role": "assistant"}, 2), writer.finish("stop", 1)):
        chunk = openai.types.chat.ChatCompletionChunk.model_validate(only_payload(piece), strict=True)
        assert (chunk.id, chunk.created, chunk.model, chunk.object) == ("chatcmpl-1", 7, "m", "chat.completion.chunk")
    assert only_payload(writer.finish("stop", 1))["choices"] == [{"index": 1, "delta": {}, "finish_reason": "stop"}]


def test_log_probabilities_stand_beside_the_delta():
    chunk = only_payload(ChunkWriter("i", 1, "m").delta({"content": "a"}, 1, logprobs={"content": []}))
    assert chunk["choices"] == [
        {"index": 1, "delta": {"content": "a"}, "logprobs": {"content": []}, "finish_reason": None}
    ]


def test_the_usage_frame_has_an_empty_list_of_choices():
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": 0.1}
    chunk = only_payload(chat_frames.usage_frame("i", 7, "m", usage))
    assert (chunk["choices"], chunk["usage"]) == ([], usage)
    assert openai.types.chat.ChatCompletionChunk.model_validate(chunk).usage.total_tokens == 3


def test_an_error_has_openais_four_fields_and_the_request_id():
    error = InvalidRequest("n must be 1.", param="n", code="invalid_json")
    assert chat_frames.render_error(error, "req_1") == {
        "error": {
            "message": "n must be 1.",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_json",
            "request_id": "req_1",
        }
    }


def test_an_errors_metadata_is_shown_where_there_is_any():
    error = UpstreamFailed("All providers failed.", metadata={"provider": "openai"})
    rendered = chat_frames.render_error(error, "req_1")["error"]
    assert rendered["metadata"] == {"provider": "openai"}
    assert (rendered["type"], rendered["code"], rendered["param"]) == ("upstream_error", "upstream_error", None)


def test_t60_the_error_frame_ends_a_stream_and_nothing_in_it_can_forge_an_end():
    frame = chat_frames.error_frame(UpstreamFailed(HOSTILE), "req_1", 7, "m")
    payload = only_payload(frame)
    assert payload["error"]["message"] == HOSTILE
    assert payload["choices"] == [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]
    assert not assemble(frame).done
    assert json.loads(frame[6:].split(b"\n")[0]) == payload
