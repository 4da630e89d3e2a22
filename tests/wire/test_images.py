"""Requests for images, forms of edits, usage, replies and streams in OpenAI's form."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.upstream import sse
from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Units, Usage
from tokenhub.wire import multipart
from tokenhub.wire.faults import FaultKind, UpstreamFault
from tokenhub.wire.images import over_dashscope as images_over_dashscope
from tokenhub.wire.images import over_gemini as images_over_gemini
from tokenhub.wire.images import reply as images_reply
from tokenhub.wire.images import request as images
from tokenhub.wire.images.reply import ImagesReader, events_of
from tokenhub.wire.images.surface import ImageEditsSurface, ImagesSurface
from tokenhub.wire.multipart import Upload
from tokenhub.wire.replies import StreamFacts
from tokenhub.wire.surface import Arrival, End
from tokenhub.wire.whole_reader import WholeReader

SPEC = Path(__file__).parents[2] / "../shared/specs/openai-openapi.json"
PNG = "iVBORw0KGgo="
PICTURE = Upload("image", "a.png", "image/png", b"\x89PNG")
USAGE = {
    "input_tokens": 431,
    "input_tokens_details": {"image_tokens": 388, "text_tokens": 43},
    "output_tokens": 1364,
    "output_tokens_details": {"image_tokens": 1056, "text_tokens": 308},
    "total_tokens": 1795,
}


def body(**fields: object) -> dict:
    return {"model": "gpt-image-2", "prompt": "a cat", **fields}


def call(**fields: object) -> Call:
    return images.parse_call(body(**fields), 1_795_000_000)


def valid(schema: str, found: object) -> None:
    if SPEC.is_file():
        spec = json.loads(SPEC.read_text(encoding="utf-8"))
        jsonschema_rs.validate({"$ref": f"#/components/schemas/{schema}", "components": spec["components"]}, found)


# Requests


def test_facts_of_a_generation():
    found = call(n=3, size="1024x1536", quality="high", stream=True, partial_images=2, response_format="b64_json")
    assert (found.capability, found.wire, found.stream) == (Capability.IMAGES, Wire.IMAGES, True)
    assert (found.choices, found.output_beyond, found.image_scale, found.encoding) == (3, 200, 1, "b64_json")
    assert found.units == (Units("image", 3, "high 1024x1536"),)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"size": "1024x1024"},
        {"quality": "high"},
        {"size": "auto", "quality": "high"},
        {"size": "1024x1024", "quality": "auto"},
    ],
)
def test_variant_that_is_not_settled_yet_is_held_at_the_dearest(fields):
    assert call(**fields).units == (Units("image", 1, ""),)


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        (None, 1),
        ("auto", 1),
        ("1024x1024", 1),
        ("1536x1024", 1),
        ("2048*2048", 3),
        ("3840x2160", 6),
        ("4K", 11),
        ("1K", 1),
    ],
)
def test_scale_is_the_area_in_usual_images_rounded_up(size, scale):
    assert call(size=size).image_scale == scale


def test_partial_images_cost_nothing_in_a_reply_that_is_not_streamed():
    assert call(partial_images=3).output_beyond == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"model": ""}, "model"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": True}, "n"),
        ({"n": "2"}, "n"),
        ({"n": 1.5}, "n"),
        ({"stream": "true"}, "stream"),
        ({"partial_images": 4}, "partial_images"),
        ({"size": 1024}, "size"),
        ({"size": "1" * 65}, "size"),
        ({"quality": {}}, "quality"),
        ({"quality": "my name is Alice"}, "quality"),
        ({"size": "1024x1024\n"}, "size"),
        ({"size": "x" * 25}, "size"),
        ({"response_format": "png"}, "response_format"),
        ({"api_key": "sk"}, "api_key"),
    ],
)
def test_t51_field_that_is_wrong_is_named(fields, param):
    with pytest.raises(InvalidRequest) as refusal:
        call(**fields)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "image"),
        ({"images": []}, "image"),
        ({"images": "a.png"}, "images"),
        ({"images": [PICTURE] * 17}, "images"),
        ({"images": [Upload("image", "a.png", "image/png", b"")]}, "images[0]"),
        ({"images": [{"file_id": "file-1"}]}, "images[0].file_id"),
        ({"images": [{}]}, "images[0]"),
        ({"images": [{"image_url": "file:///etc/passwd"}]}, "images[0].image_url"),
        ({"images": [{"image_url": "oss://bucket/a.png"}]}, "images[0].image_url"),
        ({"images": [{"image_url": "data:text/html,x"}]}, "images[0].image_url"),
        ({"images": [{"image_url": "https://example.com/film.mp4"}]}, "images[0].image_url"),
        ({"images": [Upload("image", "a.mp4", "Video/mp4", b"\x00")]}, "images[0]"),
        ({"images": [PICTURE], "image": {"file_id": "file-1"}}, "image"),
        ({"images": [PICTURE], "mask": "a"}, "mask"),
    ],
)
def test_t51_edit_without_a_picture_that_can_be_read_is_refused(fields, param):
    with pytest.raises(InvalidRequest) as refusal:
        images.parse_call(body(**fields), edits=True)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"images": 5}, "images"),
        ({"images": "x"}, "images"),
        ({"images": {"a": 1}}, "images"),
        ({"images": [5]}, "images[0]"),
        ({"images": ["https://example.com/a.png"]}, "images[0]"),
        ({"images": []}, "images"),
        ({"images": [{"file_id": "file-1"}]}, "images[0].file_id"),
        ({"images": [{"image_url": "ms://file-1"}]}, "images[0].image_url"),
        ({"mask": {"file_id": "file-1"}}, "mask.file_id"),
        ({"image": 5}, "image"),
        ({"image": [None]}, "image"),
        ({"image": {"file_id": "file-1"}}, "image"),
        ({"image": [{"url": {"file_id": "file-1"}}]}, "image"),
        ({"image": "oss://bucket/a.png"}, "image"),
        ({"image": ["https://example.com/film.mp4"]}, "image"),
        ({"images": [{"image_url": "https://example.com/a.png", "more": {"file_id": "file-1"}}]}, "images"),
        ({"reference_images": [{"file_id": "file-1"}]}, "reference_images"),
        ({"reference_images": ["oss://bucket/a.png"]}, "reference_images"),
    ],
)
def test_t51_pictures_of_a_generation_are_checked_as_an_edits_are(fields, param):
    with pytest.raises(InvalidRequest) as refusal:
        call(**fields)
    assert str(refusal.value.param).startswith(param)


def test_pictures_that_a_generation_may_start_from_are_counted():
    url = "https://example.com/a?signature=x"
    assert call(image=url).images == call(image=[{"url": url}]).images == call(image="iVBORw0KGgo=").images == 1
    assert call(images=[{"image_url": url}], mask={"image_url": url}).images == 2
    assert call(images=None, image=None).images == 0


def test_pictures_are_bounded_as_pictures_and_not_by_their_bytes():
    large = Upload("image", "a.png", "image/png", bytes(1_000_000))
    found = images.parse_call(body(images=[large, large], mask=large), edits=True)
    assert (found.images, found.messages) == (3, 1)
    assert found.input_bytes < 100


def form(fields: dict[str, object]) -> tuple[str, bytes]:
    content_type, pieces = multipart.render(fields)
    return content_type, b"".join(pieces)


def surface(content_type: str, kind: type[ImagesSurface] = ImageEditsSurface) -> ImagesSurface:
    return kind(Arrival("/v1/images/edits", {}, {"Content-Type": content_type}, 1_795_000_000))


def test_form_and_json_of_an_edit_come_to_the_same_fields():
    content_type, raw = form(
        {
            "model": "gpt-image-2",
            "prompt": "a cat",
            "n": 2,
            "stream": False,
            "size": "1024x1024",
            "provider": '{"only": ["openai"]}',
            "image": [PICTURE, PICTURE],
            "mask": PICTURE,
        }
    )
    edits = surface(content_type)
    assert edits.media_type == "multipart/form-data"
    found = edits.parse(raw)
    assert found == {
        "model": "gpt-image-2",
        "prompt": "a cat",
        "n": 2,
        "stream": False,
        "size": "1024x1024",
        "provider": {"only": ["openai"]},
        "images": [PICTURE, PICTURE],
        "mask": Upload("mask", "a.png", "image/png", b"\x89PNG"),
    }
    assert edits.call(found, len(raw))[0].images == 3
    plain = surface("application/json; charset=utf-8")
    assert plain.media_type == "application/json"
    assert plain.parse(b'{"model":"m"}') == {"model": "m"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": PICTURE}, "prompt"),
        ({"provider": "{"}, "provider"),
        ({"n": "two"}, "n"),
        ({"stream": "1"}, "stream"),
    ],
)
def test_t51_form_field_that_is_wrong_is_named(fields, param):
    content_type, raw = form({"model": "m", "prompt": "a", "image": PICTURE} | fields)
    edits = surface(content_type)
    with pytest.raises(InvalidRequest) as refusal:
        edits.call(edits.parse(raw), len(raw))
    assert refusal.value.param == param


# Usage and whole replies


def test_usage_is_read_into_disjoint_buckets():
    assert images_reply.parse_usage(USAGE) == Usage(input=43, image_input=388, output=308, image_output=1056)
    plain = {"input_tokens": 10, "output_tokens": 4160, "total_tokens": 4180}
    assert images_reply.parse_usage(plain) == Usage(input=10, image_output=4160, unknown=10)
    cached = {**USAGE, "input_tokens_details": {"image_tokens": 388, "text_tokens": 43, "cached_tokens": 100}}
    assert images_reply.parse_usage(cached) == Usage(image_input=331, cache_read=100, output=308, image_output=1056)


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {"input_tokens": 5},
        {**USAGE, "input_tokens": -1},
        {**USAGE, "total_tokens": 1},
        {**USAGE, "output_tokens": True},
        {**USAGE, "input_tokens_details": {"image_tokens": 432}},
        {**USAGE, "output_tokens_details": {"image_tokens": 1365}},
        {**USAGE, "input_tokens_details": []},
    ],
)
def test_t9_usage_that_makes_no_sense_is_none(told):
    assert images_reply.parse_usage(told) is None


counts = st.integers(0, 10_000)


@given(st.builds(Usage, input=counts, image_input=counts, output=counts, image_output=counts, cache_read=st.just(0)))
def test_usage_that_is_shown_reads_back_the_same(usage):
    shown = images_reply.render_usage(usage)
    assert images_reply.parse_usage(shown) == usage
    valid("ImageGenUsage", shown)


def test_reply_counts_what_it_really_has():
    raw = {"created": 1, "data": [{"b64_json": PNG}, {"url": "https://x.test/1.png"}, {"revised_prompt": "none"}]}
    reply = images_reply.read(raw, call(n=3), per_image=True)
    assert (reply.usage, reply.estimated, reply.has_content) == (Usage(units=(Units("image", 2),)), False, True)
    shown = ImagesSurface(Arrival("/", {}, {}, 0))
    rendered = shown.reply(reply)
    valid("ImagesResponse", orjson.loads(rendered.with_usage(orjson.dumps(shown.usage(reply.usage, {}, reply)))))


@pytest.mark.parametrize("data", [[], [{}], [{"b64_json": ""}]])
@pytest.mark.parametrize("per_image", [True, False])
def test_t74_reply_without_a_picture_is_the_upstreams_fault_whatever_it_counted(data, per_image):
    with pytest.raises(UpstreamFault) as caught:
        images_reply.read({"created": 1, "data": data, "usage": USAGE}, call(), per_image=per_image)
    assert caught.value.failure.code == "no_images"


def test_t7_tokens_that_are_not_told_are_estimated_where_they_are_what_is_billed():
    raw = {"data": [{"b64_json": PNG}]}
    reply = images_reply.read(raw, call(size="2048x2048"), per_image=False)
    assert reply.estimated
    assert reply.usage.image_output == 3 * images_reply.ESTIMATED_TOKENS
    assert reply.body["created"] == 1_795_000_000


@pytest.mark.parametrize("word", ["1024x1024", "1024*1024", "hd", "2K", "16:9", "square_hd", "RESOLUTION_1024_1024"])
def test_the_words_for_sizes_and_qualities_are_taken(word):
    assert call(size=word, quality=word).image_words == {"quality": word, "size": word}


def test_t112_a_text_that_the_upstream_gives_as_quality_is_not_kept():
    assert (
        images.variant_of({"quality": "My name is Alice", "size": "1024x1024"}, {"quality": "high"}) == "high 1024x1024"
    )


def test_what_the_upstream_says_of_quality_and_size_names_the_price():
    raw = {"data": [{"b64_json": PNG}], "quality": "high", "size": "1024x1024"}
    assert images_reply.read(raw, call(), per_image=True).usage.units == (Units("image", 1, "high 1024x1024"),)


@pytest.mark.parametrize("raw", [{}, {"data": {}}, {"data": ["a"]}, {"error": {"message": "no"}}, {"data": None}])
def test_what_is_no_reply_is_the_upstreams_fault(raw):
    with pytest.raises(UpstreamFault):
        images_reply.read(raw, call(), per_image=True)


def test_siliconflows_word_for_data_is_read():
    reply = images_reply.read({"images": [{"url": "https://x.test/1.png"}]}, call(), per_image=True)
    assert reply.body["data"] == [{"url": "https://x.test/1.png"}]
    assert "images" not in reply.body


# Streams


def partial(index: int = 0) -> bytes:
    return sse(
        {"type": "image_generation.partial_image", "b64_json": PNG, "partial_image_index": index},
        "image_generation.partial_image",
    )


def completed(**fields: object) -> bytes:
    event = {"created_at": 1, "size": "1024x1024", "quality": "high", "background": "opaque", "output_format": "png"}
    whole = {"type": "image_generation.completed", "b64_json": PNG, **event, "usage": USAGE, **fields}
    return sse(whole, "image_generation.completed")


def heard(reader: ImagesReader, stream: bytes, *cuts: int) -> bytes:
    given_bytes, places = b"", [0, *sorted(cuts), len(stream)]
    for start, end in itertools.pairwise(places):
        given_bytes += reader.feed(stream[start:end])
    reader.close()
    return given_bytes


@given(st.data())
def test_partial_images_pass_and_the_whole_one_waits_however_the_stream_is_cut(data):
    stream = partial(0) + partial(1) + completed()
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=4))
    reader = ImagesReader(call(stream=True, partial_images=2), per_image=False)
    assert heard(reader, stream, *cuts) == partial(0) + partial(1)
    assert reader.ending() == completed()
    facts = reader.facts
    assert (facts.content, facts.complete, facts.failure, facts.estimated) == (True, True, None, False)
    assert facts.usage == Usage(
        input=43, image_input=388, output=308, image_output=1056, units=(Units("image", 1, "high 1024x1024"),)
    )


def test_several_whole_images_are_summed():
    reader = ImagesReader(call(stream=True, n=2), per_image=False)
    assert heard(reader, completed() + completed()) == b""
    assert reader.facts.usage.image_output == 2 * 1056
    assert reader.facts.usage.units[0].count == 2


def test_a_stream_that_is_left_halfway_is_known_by_the_images_that_came():
    reader = ImagesReader(call(stream=True, n=4), per_image=True)
    reader.feed(partial() + completed(usage=None) + completed(usage=None))
    assert (reader.facts.complete, reader.facts.usage.units[0].count) == (False, 2)
    told = ImagesReader(call(stream=True, n=4), per_image=False)
    told.feed(partial() + completed() + completed())
    assert (told.facts.usage.image_output, told.facts.usage.input, told.facts.estimated) == (2 * 1056, 2 * 43, False)


def test_fewer_whole_images_than_asked_are_what_is_billed():
    reader = ImagesReader(call(stream=True, n=3), per_image=True)
    heard(reader, completed(usage=None))
    assert (reader.facts.complete, reader.facts.usage.units[0].count) == (True, 1)
    assert reader.facts.usage.image_output == 0


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (partial(), "cut"),
        (b"", "cut"),
        (b"data: [DONE]\n\n", "cut"),
        (b"data: nonsense\n\n", "not_json"),
        (completed(b64_json=""), "no_images"),
        (b'data: ["a"]\n\n', "not_json"),
        (
            partial() + sse({"type": "error", "error": {"code": "moderation_blocked", "message": "no"}}, "error"),
            "moderation_blocked",
        ),
    ],
)
def test_t72_stream_without_a_whole_image_has_failed(stream, code):
    reader = ImagesReader(call(stream=True), per_image=False)
    heard(reader, stream)
    assert reader.facts.failure is not None
    assert reader.facts.failure.code == code
    assert not reader.facts.complete


@pytest.mark.parametrize("indent", [0, orjson.OPT_INDENT_2])
def test_a_whole_reply_in_place_of_a_stream_is_an_event_for_each_picture(indent):
    """Servers that know no streams of images leave ``stream`` unread."""
    raw = {"created": 7, "data": [{"b64_json": PNG}, {"b64_json": PNG}], "usage": USAGE}
    reader = ImagesReader(call(stream=True, n=2), per_image=False)
    assert heard(reader, orjson.dumps(raw, option=indent), 20) == b""
    facts = reader.facts
    assert (facts.content, facts.complete, facts.estimated) == (True, True, False)
    assert facts.usage == replace(images_reply.parse_usage(USAGE), units=(Units("image", 2),))
    shown = surface("application/json", ImagesSurface).ending(reader.ending(), End("req_1", facts.usage, {}, facts))
    events = [json.loads(frame.split(b"data: ")[1]) for frame in shown.split(b"\n\n")[:-1]]
    assert [(one["type"], one["b64_json"]) for one in events] == [("image_generation.completed", PNG)] * 2


@pytest.mark.parametrize(
    ("raw", "code"),
    [({"error": {"code": "busy", "message": "no"}}, "busy"), ({"created": 7, "data": []}, "no_images")],
)
def test_t74_what_is_no_reply_in_place_of_a_stream_is_the_upstreams_fault(raw, code):
    reader = ImagesReader(call(stream=True), per_image=False)
    heard(reader, orjson.dumps(raw))
    assert reader.facts.failure is not None
    assert (reader.facts.failure.code, reader.facts.complete) == (code, False)


def test_end_of_a_stream_shows_usage_and_cost_in_its_last_event():
    shown = surface("application/json", ImagesSurface)
    usage = images_reply.parse_usage(USAGE)
    frames = shown.ending(completed(), End("req_1", usage, {"cost": 0.01}, StreamFacts()))
    assert frames.startswith(b"event: image_generation.completed\ndata: ")
    event = json.loads(frames.split(b"data: ")[1])
    assert event["usage"] == {**USAGE, "cost": 0.01}
    valid("ImageGenCompletedEvent", event)


def test_stream_over_a_whole_reply_is_one_event():
    raw = {
        "candidates": [{"content": {"parts": [picture()]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 5,
            "candidatesTokenCount": 1120,
            "totalTokenCount": 1125,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
        },
    }
    asked = call(stream=True)
    reader = WholeReader(
        lambda data: images_over_gemini.reply(orjson.loads(data), asked, per_image=False),
        lambda reply: events_of(reply, asked),
    )
    assert reader.feed(orjson.dumps(raw)[:20]) == reader.feed(orjson.dumps(raw)[20:]) == b""
    reader.close()
    assert (reader.facts.content, reader.facts.complete) == (True, True)
    assert reader.facts.usage == Usage(input=5, image_output=1120, units=(Units("image", 1),))
    shown = surface("application/json", ImagesSurface)
    frames = shown.ending(reader.ending(), End("req_1", reader.facts.usage, {"cost": 1}, reader.facts))
    valid("ImageGenCompletedEvent", json.loads(frames.split(b"data: ")[1]))


# Gemini


def picture(**fields: object) -> dict:
    return {"inlineData": {"mimeType": "image/png", "data": PNG}, **fields}


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        (None, None),
        ("auto", None),
        ("1024x1024", {"aspectRatio": "1:1"}),
        ("1536x1024", {"aspectRatio": "3:2"}),
        ("1024x1792", {"aspectRatio": "9:16"}),
        ("2048x2048", {"aspectRatio": "1:1", "imageSize": "2K"}),
        ("3840x2160", {"aspectRatio": "16:9", "imageSize": "4K"}),
        ("2K", {"imageSize": "2K"}),
    ],
)
def test_size_becomes_the_nearest_shape_that_gemini_has(size, shape):
    sent, dropped = images_over_gemini.request(body(size=size))
    assert sent["generationConfig"].get("imageConfig") == shape
    assert sent["generationConfig"]["responseModalities"] == ["TEXT", "IMAGE"]
    assert dropped == ()


def test_pictures_of_an_edit_go_before_the_prompt():
    given_body = body(
        images=[PICTURE, {"image_url": "data:image/jpeg;base64,AAAA"}, {"image_url": "https://x.test/a.png"}],
        quality="high",
    )
    sent, dropped = images_over_gemini.request(given_body)
    assert sent["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
        {"inlineData": {"mimeType": "image/jpeg", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://x.test/a.png", "mimeType": "image/png"}},
        {"text": "a cat"},
    ]
    assert dropped == ("quality",)


def test_what_gemini_drew_while_it_thought_is_not_shown():
    raw = {
        "candidates": [{"content": {"parts": [{"text": "so"}, picture(thought=True), picture()]}}],
        "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5},
    }
    reply = images_over_gemini.reply(raw, call(), per_image=False)
    assert reply.body["data"] == [{"b64_json": PNG}]
    assert reply.body["output_format"] == "png"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, FaultKind.FILTER),
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, FaultKind.FILTER),
        ({"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "I cannot."}]}}]}, FaultKind.PROTOCOL),
        ({"candidates": [{"finishReason": "NO_IMAGE"}]}, FaultKind.PROTOCOL),
        ({}, FaultKind.PROTOCOL),
    ],
)
def test_gemini_reply_without_a_picture_is_no_result(raw, kind):
    with pytest.raises(UpstreamFault) as fault:
        images_over_gemini.reply(raw, call(), per_image=False)
    assert fault.value.failure.kind is kind


# DashScope


def test_dashscope_always_hears_how_many_and_its_own_spelling_of_a_size():
    sent, dropped = images_over_dashscope.request(
        body(size="1328x1328", seed=7, quality="high", user="u"), "qwen-image-2.0", "", []
    )
    assert sent == {
        "model": "qwen-image-2.0",
        "input": {"messages": [{"role": "user", "content": [{"text": "a cat"}]}]},
        "parameters": {"n": 1, "size": "1328*1328", "seed": 7},
    }
    assert dropped == ("quality", "user")


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        ("text2image", {"prompt": "a cat"}),
        ("image2image", {"prompt": "a cat", "images": ["data:,"]}),
        ("image-generation", {"messages": [{"role": "user", "content": [{"image": "data:,"}, {"text": "a cat"}]}]}),
    ],
)
def test_each_kind_of_task_has_its_own_input(task, asked):
    pictures = [] if task == "text2image" else ["data:,"]
    assert images_over_dashscope.request(body(n=4), "wan", task, pictures)[0]["input"] == asked


def test_dashscope_results_are_counted_one_by_one():
    raw = {
        "output": {
            "task_status": "SUCCEEDED",
            "results": [{"url": "https://x/1", "actual_prompt": "A cat"}, {"code": "DataInspectionFailed"}],
        },
        "usage": {"image_count": 1},
    }
    reply = images_over_dashscope.reply(raw, call(n=2))
    assert reply.body["data"] == [{"url": "https://x/1", "revised_prompt": "A cat"}]
    assert reply.usage == Usage(units=(Units("image", 1),))
    sync = {
        "output": {
            "choices": [{"message": {"content": [{"image": "https://x/1"}, {"text": "t"}, {"image": "https://x/2"}]}}]
        },
        "usage": {"width": 1536, "height": 1024, "image_count": 2},
    }
    reply = images_over_dashscope.reply(sync, call(n=2))
    assert [one["url"] for one in reply.body["data"]] == ["https://x/1", "https://x/2"]
    assert reply.usage == Usage(units=(Units("image", 2, "1536x1024"),))
    valid("ImagesResponse", {**reply.body, "size": "1024x1024"})


@pytest.mark.parametrize("kind", ["application/octet-stream; charset=utf-8", "Binary/Octet-Stream", ""])
def test_a_file_whose_type_tells_nothing_may_be_a_picture(kind: str) -> None:
    body = {"model": "m", "prompt": "p", "images": [Upload("image", "a", kind, b"\x89PNG")]}
    assert images.parse_call(body, edits=True).images == 1
