"""What is attached to a prompt is counted by what it holds, and none of it lies in the operator's store."""

from typing import Any

import pytest

from tokenhub.call import Call
from tokenhub.errors import InvalidRequest
from tokenhub.wire.chat import request as chat
from tokenhub.wire.messages.surface import MessagesSurface
from tokenhub.wire.responses.surface import ResponsesSurface
from tokenhub.wire.surface import Arrival

TEXT = (0, 0, 0)
IMAGE = (1, 0, 0)
SOUND = (0, 1, 0)
FILE = (0, 0, 1)


def facts(call: Call) -> tuple[int, int, int]:
    return call.images, call.audio_parts, call.files


def call_of(*parts: dict[str, Any], **members: Any) -> Call:
    return chat.parse_call({"model": "m", "messages": [{"role": "user", "content": list(parts), **members}]}, 300)


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def sound(data: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}}


PICTURES = [
    "https://example.com/a.PNG?x=film.mp4",
    "https://bucket.example.com/9f3a?X-Amz-Signature=ab.mp4",
    "https://example.com/picture.tiff",
    "data:image/svg+xml,%3Csvg%3E",
    "DATA:;base64,iVBO",
    "data:application/octet-stream;base64,iVBO",
    "data:binary/octet-stream;base64,iVBO",
    "iVBORw0KGgo=",
    "/9j/4AAQSkZJRg==",
]
NO_PICTURES = [
    "https://example.com/film.mp4",
    "https://example.com/film.MP4?x=a.png",
    " https://example.com/book.pdf#a.png",
    "HTTPS://example.com/a.b/said.mp3",
    "data:application/pdf;base64,JVBE",
    "DATA:Video/MP4;base64,AAAA",
    "data:video/mp4,AAAA",
    "https://www.youtube.com/watch?v=x",
    "https://youtu.be/x",
]


@pytest.mark.parametrize("url", PICTURES)
def test_what_may_be_a_picture_is_one(url: str) -> None:
    assert facts(call_of(image(url))) == facts(call_of({"type": "image_url", "image_url": url})) == IMAGE
    assert facts(call_of({"type": "image", "image": url})) == IMAGE


@pytest.mark.parametrize("url", NO_PICTURES)
def test_t3_what_is_known_to_be_no_picture_is_a_file_whatever_names_it(url: str) -> None:
    assert facts(call_of(image(url))) == facts(call_of({"type": "image_url", "image_url": url})) == FILE
    assert facts(call_of({"type": "image", "image": url})) == FILE
    assert facts(call_of(images=[{"image_url": {"url": url}}])) == FILE


@pytest.mark.parametrize("url", NO_PICTURES)
def test_t3_other_surfaces_count_it_so_too(url: str) -> None:
    source = {"type": "url", "url": url}
    if url.lower().startswith("data:") and ";base64," in url:
        source = {"type": "base64", "media_type": url[5:].partition(";")[0], "data": "AAAA"}
    asked: dict[str, Any] = {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{"type": "image", "source": source}]}],
    }
    call, _ = MessagesSurface(Arrival("/v1/messages", {}, {}, 0)).call({"model": "m", **asked}, 300)
    assert facts(call) == FILE
    call = response({"role": "user", "content": [{"type": "input_image", "image_url": url}]})
    assert facts(call) == FILE


def response(*items: dict[str, Any]) -> Call:
    body = {"model": "m", "input": [*items, {"role": "user", "content": "Hi"}]}
    call, _ = ResponsesSurface(Arrival("/v1/responses", {}, {}, 0)).call(body, 300)
    return call


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "https://example.com/film.mp4"}, TEXT),
        ({"type": "refusal", "refusal": "no"}, TEXT),
        ({"type": "thinking", "thinking": [{"type": "text", "text": "So."}]}, TEXT),
        ({"type": "reasoning", "text": "So."}, TEXT),
        ({"type": "tool_use", "id": "t", "name": "f", "input": {"url": "s3://a/film.mp4"}}, TEXT),
        ({"type": "tool_result", "tool_use_id": "t", "content": "file:///etc/hosts: 127.0.0.1"}, TEXT),
        ({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "42"}]}, TEXT),
        ({"type": "tool_result", "tool_use_id": "t"}, TEXT),
        ({"type": "tool_result", "tool_use_id": "t", "content": [image("https://example.com/a.png")]}, FILE),
        ({"type": "tool_result", "tool_use_id": "t", "content": 5}, FILE),
        (sound("UklG"), SOUND),
        (sound("data:;base64,UklG"), SOUND),
        (sound("data:audio/mp3;base64,UklG"), SOUND),
        (sound("data:video/mp4;base64,UklG"), FILE),
        (sound("https://example.com/a.mp3"), FILE),
        ({"type": "audio_url", "audio_url": {"url": "https://example.com/a.mp3"}}, FILE),
        ({"type": "video", "video": ["https://example.com/1.jpg"] * 4}, FILE),
        ({"type": "image", "image": ["https://example.com/1.jpg"] * 4}, FILE),
        ({"type": "image_url", "image_url": ["iVBO", "iVBO"]}, FILE),
        ({"type": "input_image", "image_url": "https://example.com/1.jpg"}, IMAGE),
        ({"type": "image_embeds", "image_embeds": "AAAA"}, FILE),
        ({"type": "document_url", "document_url": "https://example.com/a"}, FILE),
        ({"type": "hologram"}, FILE),
    ],
)
def test_t3_a_part_that_is_not_known_to_be_text_is_never_uncounted(part: dict[str, Any], expected: Any) -> None:
    assert facts(call_of(part)) == expected


def test_what_only_its_maker_can_read_counts_as_a_text() -> None:
    """Codex gives such parts back in a tool's output and between its agents."""
    sealed = {"type": "encrypted_content", "encrypted_content": "gAAAAB"}
    assert facts(response({"type": "function_call_output", "call_id": "c", "output": [sealed]})) == TEXT


def test_pictures_of_a_reply_that_is_given_back_count() -> None:
    replied = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]
    assert facts(call_of(images=replied)) == IMAGE
    assert facts(call_of(images=None)) == facts(call_of(images="a")) == TEXT


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"role": "user", "content": [{"type": "input_video", "video_url": "https://example.com/a"}]}, FILE),
        ({"role": "user", "content": [sound("https://example.com/a.mp3")]}, FILE),
        ({"role": "user", "content": [sound("UklG")]}, SOUND),
        ({"type": "later_output", "output": [{"type": "input_video"}, {"type": "input_text", "text": "x"}]}, FILE),
        ({"type": "later_output", "output": [{"type": ["odd"]}]}, FILE),
        ({"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "ms://x", "stderr": ""}]}, TEXT),
        ({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO"}, IMAGE),
        ({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": ""}, TEXT),
        ({"type": "image_generation_call", "id": "ig_1", "status": "failed", "result": None}, TEXT),
        ({"type": "web_search_call", "id": "ws_1", "status": "completed"}, TEXT),
        ({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}, TEXT),
        ({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}, TEXT),
        (
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "content": [
                    {
                        "type": "output_text",
                        "text": "See.",
                        "annotations": [{"type": "container_file_citation", "container_id": "c", "file_id": "f"}],
                    }
                ],
            },
            TEXT,
        ),
        ({"type": "computer_call_output", "call_id": "c", "output": {"image_url": "data:image/png,"}}, FILE),
    ],
)
def test_t3_items_of_responses_are_counted_and_those_of_a_reply_come_back(item: dict[str, Any], expected: Any) -> None:
    assert facts(response(item)) == expected


STORED = [
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "file", "file_id": "file-1"},
    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "file_id": "file-1"}},
    {"type": "image_file", "image_file": {"file_id": "file-1"}},
    {"type": "input_file", "file_id": "file-1"},
    {"type": "text", "text": "x", "file_id": "file-1"},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "file_id": "file-1"}},
    {"type": "document", "source": {"type": "file", "file_id": "file-1"}},
    {"type": "video", "video": [{"file_id": "file-1"}]},
    image("ms://file-1"),
    image(" MS://file-1"),
    {"type": "image_url", "image_url": "ms://file-1"},
    {"type": "video_url", "video_url": {"url": "ms://file-1"}},
    {"type": "audio_url", "audio_url": "oss://bucket/a"},
    {"type": "file", "file": {"file_data": "gs://bucket/a"}},
    {"type": "document_url", "document_url": "file:///etc/passwd"},
    sound("s3://bucket/a"),
]


@pytest.mark.parametrize("part", STORED)
def test_what_lies_in_the_operators_store_is_refused(part: dict[str, Any]) -> None:
    for parts, members, place in (
        ([{"type": "text", "text": "x"}, part], {}, "messages[0].content[1]"),
        ([], {"images": [part]}, "messages[0].images[0]"),
    ):
        with pytest.raises(InvalidRequest, match=r"kept here|http, https or data") as refused:
            call_of(*parts, **members)
        assert str(refused.value.param).startswith(place)
    with pytest.raises(InvalidRequest, match=r"kept here|http, https or data") as refused:
        response({"type": "function_call_output", "call_id": "c", "output": [part]})
    assert str(refused.value.param).startswith("input[0].output[0]")


def test_words_that_look_like_addresses_are_words() -> None:
    file = {"filename": "gs://bucket/a.pdf", "file_data": "data:application/pdf;base64,AA", "file_id": None}
    assert facts(call_of({"type": "file", "file": file}, {"type": "text", "text": "ms://file-1"})) == FILE


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (
            {"type": "computer_call_output", "output": {"type": "computer_screenshot", "file_id": "file-1"}},
            "input[0].output.file_id",
        ),
        ({"type": "image_generation_call", "id": "ig_1"}, "input[0]"),
        ({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": None}, "input[0]"),
        ({"type": "file_search_call", "id": "fs_1", "status": "completed"}, "input[0]"),
        (
            {"type": "code_interpreter_call", "id": "ci_1", "code": "x", "container_id": "cntr_1"},
            "input[0].container_id",
        ),
        (
            {"type": "shell_call", "call_id": "c", "environment": {"container_id": "cntr_1"}},
            "input[0].container_id",
        ),
    ],
)
def test_items_that_name_what_a_provider_keeps_are_refused(item: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match=r"stored here|kept here") as refused:
        response(item)
    assert (refused.value.param, refused.value.code) == (param, "unsupported_parameter")
