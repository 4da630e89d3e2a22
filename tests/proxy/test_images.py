"""``/v1/images/*`` through the whole gateway: what goes upstream, what comes back, what it costs."""

import base64
import json
from collections.abc import Iterator

import openai
import pytest

from tests.fakes.gallery import PNG, SECRET, Gallery, assert_free, assert_paid, open_gallery, units_of
from tests.fakes.upstream import (
    Cut,
    FakeUpstream,
    Pause,
    Received,
    Reply,
    gemini_error,
    head,
    json_reply,
    openai_error,
    sse,
    sse_reply,
)
from tokenhub.catalog.load import Override
from tokenhub.store import catalog
from tokenhub.wire import multipart
from tokenhub.wire.multipart import Upload

B64 = base64.b64encode(PNG).decode()
USAGE = {
    "input_tokens": 431,
    "input_tokens_details": {"image_tokens": 388, "text_tokens": 43},
    "output_tokens": 1364,
    "output_tokens_details": {"image_tokens": 1056, "text_tokens": 308},
    "total_tokens": 1795,
}
GPT_2_FEE = 43 * 5_000 + 388 * 8_000 + 1364 * 30_000
"""Nano-USD of ``USAGE`` at gpt-image-2: 5, 8 and 30 USD per million."""
SHAPE = {"background": "opaque", "output_format": "png", "quality": "high", "size": "1024x1024"}
DRAWN = {"created": 1_786_572_357, **SHAPE, "data": [{"b64_json": B64}], "usage": USAGE}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    with open_gallery(tmp_path_factory.mktemp("images"), **{"server.max_body_bytes": 2_000_000}) as opened:
        yield opened


def picture(data: bytes = PNG) -> Reply:
    return [head(200, {"Content-Type": "image/png", "Content-Length": str(len(data))}) + data]


# OpenAI


def test_generation_passes_and_is_billed_by_its_tokens(gallery: Gallery) -> None:
    gallery.play(json_reply(DRAWN))
    answer = gallery.ask("gpt-image-2", size="1024x1024", quality="high", background="opaque", user="u-1")
    assert answer.status == 200, answer.body
    found = answer.json()
    assert found["data"] == [{"b64_json": B64}]
    assert {name: found["usage"][name] for name in USAGE} == USAGE
    assert found["usage"]["cost_details"]["total"] == answer.headers["x-tokenhub-cost"]
    (sent,) = gallery.received
    assert (sent.path, sent.header("authorization")) == ("/v1/images/generations", f"Bearer {SECRET}")
    assert sent.json() == {
        "model": "gpt-image-2",
        "prompt": "a cat",
        "size": "1024x1024",
        "quality": "high",
        "background": "opaque",
        "user": "u-1",
    }
    row = gallery.row(answer)
    assert_paid(row, GPT_2_FEE)
    assert (row["capability"], row["provider"], row["estimated"]) == ("images", "openai", 0)
    assert units_of(row) == [{"kind": "image", "count": 1, "variant": "high 1024x1024"}]


def test_openais_own_client_generates_and_edits(gallery: Gallery) -> None:
    with openai.OpenAI(base_url=gallery.gateway.base_url, api_key=gallery.gateway.key, max_retries=0) as client:
        gallery.play(json_reply(DRAWN))
        made = client.images.generate(model="gpt-image-2", prompt="a cat", n=1, size="1024x1024")
        assert made.data is not None
        assert made.data[0].b64_json == B64
        assert made.usage is not None
        assert made.usage.output_tokens == 1364
        edited = client.images.edit(
            model="gpt-image-2",
            prompt="green",
            image=[("a.png", PNG, "image/png"), ("b.png", PNG)],
            mask=("m.png", PNG),
        )
        assert edited.data is not None
        assert edited.data[0].b64_json == B64
    sent = gallery.received[-1]
    assert sent.path == "/v1/images/edits"
    fields = multipart.parse(sent.header("content-type") or "", sent.body)
    assert (fields["model"], fields["prompt"]) == ("gpt-image-2", "green")
    assert [(one.filename, bytes(one.data)) for one in fields["image"]] == [("a.png", PNG), ("b.png", PNG)]
    assert (fields["mask"].filename, bytes(fields["mask"].data)) == ("m.png", PNG)


def test_edit_as_json_goes_upstream_as_json(gallery: Gallery) -> None:
    gallery.play(json_reply(DRAWN))
    given = [{"image_url": f"data:image/png;base64,{B64}"}]
    answer = gallery.ask("gpt-image-1.5", "edits", images=given)
    assert answer.status == 200, answer.body
    assert gallery.received[0].json() == {"model": "gpt-image-1.5", "prompt": "a cat", "images": given}
    assert_paid(gallery.row(answer), 43 * 5_000 + 388 * 8_000 + 308 * 10_000 + 1056 * 32_000)


def test_a_mask_that_is_an_empty_text_is_none(gallery: Gallery) -> None:
    given = [{"image_url": f"data:image/png;base64,{B64}"}]
    gallery.play(json_reply(DRAWN))
    assert gallery.ask("gpt-image-1.5", "edits", images=given, mask="").status == 200
    assert "mask" not in gallery.received[-1].json()
    content_type, pieces = multipart.render(
        {"model": "gpt-image-1.5", "prompt": "green", "image": Upload("image", "a.png", "image/png", PNG), "mask": ""}
    )
    answer = gallery.send("edits", content_type, b"".join(pieces))
    assert answer.status == 200, answer.body
    sent = gallery.received[-1]
    assert "mask" not in multipart.parse(sent.header("content-type") or "", sent.body)


def test_response_format_that_a_model_does_not_know_is_left_out_and_named(gallery: Gallery) -> None:
    gallery.play(json_reply(DRAWN))
    answer = gallery.ask("gpt-image-2", response_format="url")
    assert answer.headers["x-tokenhub-dropped"] == "response_format"
    assert "response_format" not in gallery.received[0].json()
    answer = gallery.ask("gpt-image-2", response_format="b64_json")
    assert "x-tokenhub-dropped" not in answer.headers
    assert "response_format" not in gallery.received[1].json()


@pytest.mark.parametrize(
    ("asked", "told", "fee"),
    [
        ({"quality": "hd", "size": "1024x1792"}, {}, 120_000_000),
        ({"quality": "hd", "size": "1024x1024"}, {}, 80_000_000),
        ({"size": "1024x1024"}, {}, 40_000_000),
        ({}, {"quality": "hd", "size": "1024x1792"}, 120_000_000),
    ],
)
def test_image_is_billed_by_its_quality_and_size(gallery: Gallery, asked: dict, told: dict, fee: int) -> None:
    gallery.play(
        json_reply({"created": 1, "data": [{"url": "https://x.test/1.png"}, {"url": "https://x.test/2.png"}], **told})
    )
    answer = gallery.ask("dall-e-3", n=2, **asked)
    assert [one["url"] for one in answer.json()["data"]] == ["https://x.test/1.png", "https://x.test/2.png"]
    assert answer.json()["usage"]["units"][0]["count"] == 2
    row = gallery.row(answer)
    assert_paid(row, 2 * fee)
    assert row["estimated"] == 0


def test_images_that_did_not_come_are_not_billed(gallery: Gallery) -> None:
    gallery.play(json_reply({"created": 1, "data": [{"b64_json": B64}]}))
    row = gallery.row(gallery.ask("dall-e-2", n=4))
    assert_paid(row, 20_000_000)
    gallery.play(json_reply({"created": 1, "data": []}))
    answer = gallery.ask("dall-e-2", n=4)
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert_free(gallery.row(answer))


def test_t7_usage_that_is_missing_is_estimated_and_said_so(gallery: Gallery) -> None:
    gallery.play(json_reply({"created": 1, "data": [{"b64_json": B64}]}))
    answer = gallery.ask("gpt-image-2")
    row = gallery.row(answer)
    assert (row["end"], row["estimated"]) == ("settled", 1)
    assert answer.json()["usage"]["cost_details"]["estimated"] is True
    assert 1056 * 30_000 < row["model_fee"] < 1056 * 30_000 + 1_000_000
    assert row["charged"] <= row["held"]


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (json_reply(openai_error("Blocked.", code="moderation_blocked"), 400), 400, "content_filter"),
        (json_reply(openai_error("Invalid image data.", code="invalid_image_file"), 400), 400, "invalid_request_error"),
        (json_reply(openai_error("down", type="server_error"), 500), 502, "upstream_error"),
        (json_reply(openai_error("slow", code="rate_limit_exceeded"), 429), 503, "no_provider_available"),
        (json_reply({"error": {"message": "in a 200", "code": "server_error"}}), 502, "upstream_error"),
        (json_reply({"created": 1}), 502, "upstream_error"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", Cut()], 502, "upstream_error"),
    ],
)
def test_request_that_failed_is_free(gallery: Gallery, reply: Reply, status: int, code: str) -> None:
    gallery.play(reply)
    answer = gallery.ask("gpt-image-2")
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert_free(gallery.row(answer))


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"prompt": ""}, "invalid_request_error", "prompt"),
        ({"n": 11}, "invalid_request_error", "n"),
        ({"batch_size": 4}, "unpriced_feature", "batch_size"),
        ({"num_images": 2}, "unpriced_feature", "num_images"),
        ({"sequential_image_generation": "auto"}, "unpriced_feature", "sequential_image_generation"),
    ],
)
def test_request_that_cannot_be_held_for_is_refused(gallery: Gallery, fields: dict, code: str, param: str) -> None:
    answer = gallery.ask("gpt-image-2", **fields)
    assert (answer.status, answer.json()["error"]["code"], answer.json()["error"]["param"]) == (400, code, param)


def test_chat_model_makes_no_images_and_an_image_model_does_not_chat(gallery: Gallery) -> None:
    assert gallery.ask("gpt-5.4-mini").status == 400
    assert gallery.gateway.chat("gpt-image-2").status == 400


def test_form_is_bounded_and_must_be_one(gallery: Gallery) -> None:
    gallery.play(json_reply(DRAWN))
    large = {"model": "gpt-image-2", "prompt": "a", "image": Upload("image", "a.png", "image/png", bytes(2_100_000))}
    content_type, pieces = multipart.render(large)
    assert gallery.send("edits", content_type, b"".join(pieces)).status == 413
    refused = gallery.send("edits", content_type, b"".join(pieces)[:500])
    assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_multipart")
    assert gallery.send("edits", "text/plain", b"x").status == 415
    assert gallery.send("generations", content_type, b"x").status == 415
    assert not gallery.received


# Streams


def partial(index: int) -> bytes:
    kind = "image_generation.partial_image"
    return sse({"type": kind, "b64_json": B64, "partial_image_index": index, "created_at": 1, **SHAPE}, kind)


def completed() -> bytes:
    kind = "image_generation.completed"
    return sse({"type": kind, "b64_json": B64, "created_at": 1, **SHAPE, "usage": USAGE}, kind)


def test_stream_passes_its_partial_images_and_ends_with_usage_and_cost(gallery: Gallery) -> None:
    gallery.play(sse_reply([partial(0), partial(1), completed()]))
    with openai.OpenAI(base_url=gallery.gateway.base_url, api_key=gallery.gateway.key, max_retries=0) as client:
        events = list(
            client.images.generate(model="gpt-image-2", prompt="a cat", stream=True, partial_images=2, size="1024x1024")
        )
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    usage = events[-1].usage.model_dump()
    assert usage["output_tokens"] == 1364
    assert_paid(gallery.gateway.settled()[-1], GPT_2_FEE)
    assert usage["cost"] == gallery.gateway.settled()[-1]["charged"] / 10**9


@pytest.mark.parametrize(
    "end", [Cut(), sse({"type": "error", "error": {"code": "server_error", "message": "x"}}, "error")]
)
def test_stream_that_breaks_is_an_error_event_and_free(gallery: Gallery, end: bytes | Cut) -> None:
    gallery.play(sse_reply([partial(0), Pause(0.05), end]))
    answer = gallery.ask("gpt-image-2", stream=True, partial_images=1)
    assert answer.status == 200
    first, last = answer.body.strip().split(b"\n\n")
    assert first + b"\n\n" == partial(0)
    assert last.startswith(b"event: error\n")
    assert json.loads(last.split(b"data: ")[1])["error"]["code"] == "upstream_error"
    assert_free(gallery.row(answer))


# Gemini


def gemini_picture(*parts: dict, finish: str = "STOP") -> dict:
    return {
        "candidates": [{"content": {"parts": list(parts)}, "finishReason": finish}],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 1140,
            "thoughtsTokenCount": 100,
            "totalTokenCount": 1250,
            "candidatesTokensDetails": [
                {"modality": "IMAGE", "tokenCount": 1120},
                {"modality": "TEXT", "tokenCount": 20},
            ],
        },
    }


INLINE = {"inlineData": {"mimeType": "image/png", "data": B64}}
PRO_FEE = 10 * 2_000 + 120 * 12_000 + 1120 * 120_000


def test_gemini_draws_and_is_billed_by_its_tokens(gallery: Gallery) -> None:
    gallery.play(json_reply(gemini_picture({"text": "Here"}, INLINE)))
    answer = gallery.ask("gemini-3-pro-image", size="1536x1024", quality="high")
    assert answer.json()["data"] == [{"b64_json": B64}]
    assert answer.headers["x-tokenhub-dropped"] == "quality"
    (sent,) = gallery.received
    assert sent.path == "/v1beta/models/gemini-3-pro-image:generateContent"
    assert sent.json()["generationConfig"]["imageConfig"] == {"aspectRatio": "3:2"}
    assert_paid(gallery.row(answer), PRO_FEE)


def test_gemini_edits_and_streams_in_one_event(gallery: Gallery) -> None:
    gallery.play(json_reply(gemini_picture(INLINE)))
    fields = {
        "model": "gemini-3-pro-image",
        "prompt": "green",
        "stream": True,
        "image": Upload("image", "a.png", "image/png", PNG),
    }
    content_type, pieces = multipart.render(fields)
    answer = gallery.send("edits", content_type, b"".join(pieces))
    assert answer.status == 200, answer.body
    event = json.loads(answer.body.split(b"data: ")[1])
    assert (event["type"], event["b64_json"]) == ("image_edit.completed", B64)
    assert event["usage"]["cost"] > 0
    assert gallery.received[0].json()["contents"][0]["parts"] == [INLINE, {"text": "green"}]
    assert_paid(gallery.row(answer), PRO_FEE)


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (json_reply(gemini_picture(finish="IMAGE_SAFETY")), 400, "content_filter"),
        (json_reply({"promptFeedback": {"blockReason": "SAFETY"}}), 400, "content_filter"),
        (json_reply(gemini_picture({"text": "I cannot."})), 502, "upstream_error"),
        (json_reply({"candidates": 5}), 502, "upstream_error"),
        (json_reply({"candidates": True}), 502, "upstream_error"),
        (json_reply({"candidates": [True, {"content": 5}]}), 502, "upstream_error"),
        (json_reply(gemini_error(429, "RESOURCE_EXHAUSTED", "slow"), 429), 503, "no_provider_available"),
    ],
)
def test_gemini_without_a_picture_is_free(gallery: Gallery, reply: Reply, status: int, code: str) -> None:
    gallery.play(reply)
    answer = gallery.ask("gemini-3-pro-image")
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert_free(gallery.row(answer))


@pytest.mark.parametrize(
    "content", [5, True, "https://x.test/1.png", {"image": "https://x.test/1.png"}, [{"image": 5}]]
)
def test_dashscope_without_a_picture_is_free(gallery: Gallery, content: object) -> None:
    gallery.play(json_reply({"output": {"choices": [{"message": {"content": content}}]}, "usage": {"image_count": 1}}))
    answer = gallery.ask("qwen-image-2.0")
    assert (answer.status, answer.json()["data"]) == (200, [])
    assert_free(gallery.row(answer))


@pytest.mark.parametrize("made", [True, 5, ["https://x.test/1.png"], {"url": "https://x.test/1.png"}, ""])
@pytest.mark.parametrize("member", ["url", "b64_json"])
def test_a_picture_that_is_no_text_is_none(gallery: Gallery, member: str, made: object) -> None:
    gallery.play(json_reply({"created": 1, "data": [{member: made}]}))
    answer = gallery.ask("cogview-4")
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert_free(gallery.row(answer))


def test_more_than_a_model_makes_at_once_is_refused_before_it_is_asked(gallery: Gallery) -> None:
    gallery.play(json_reply({}))
    for model in ("gemini-3-pro-image", "cogview-4"):
        answer = gallery.ask(model, n=2)
        assert (answer.status, answer.json()["error"]["param"]) == (400, "n")
    answer = gallery.ask("cogview-4", stream=True)
    assert (answer.status, answer.json()["error"]["param"]) == (400, "stream")
    answer = gallery.ask("cogview-4", "edits", images=[{"image_url": "https://x.test/a.png"}])
    assert (answer.status, answer.json()["error"]["param"]) == (400, "image")
    assert not gallery.received


# DashScope

SYNC = {
    "output": {"choices": [{"finish_reason": "stop", "message": {"content": [{"image": "https://dashscope-result-sz.oss-cn-shenzhen.aliyuncs.com/1.png?Expires=1"}]}}]},
    "usage": {"width": 1536, "height": 1024, "image_count": 1},
    "request_id": "r",
}  # fmt: skip


def test_dashscope_answers_at_once_and_is_billed_per_image(gallery: Gallery) -> None:
    gallery.play(json_reply(SYNC))
    answer = gallery.ask("qwen-image-2.0", size="1536x1024", seed=7)
    assert answer.status == 200, answer.body
    assert answer.json()["data"][0]["url"].startswith("https://dashscope-result-sz.")
    (sent,) = gallery.received
    assert sent.path == "/api/v1/services/aigc/multimodal-generation/generation"
    assert sent.json()["parameters"] == {"seed": 7, "n": 1, "size": "1536*1024"}
    assert sent.header("x-dashscope-async") is None
    row = gallery.row(answer)
    assert_paid(row, 28_653_000)
    assert units_of(row) == [{"kind": "image", "count": 1, "variant": "1536x1024"}]


def task(status: str, **output: object) -> Reply:
    return json_reply({"request_id": "r", "output": {"task_id": "task-1", "task_status": status, **output}})


def test_dashscope_task_is_polled_inside_the_request(gallery: Gallery) -> None:
    done = task("SUCCEEDED", results=[{"url": "https://r.test/1.png"}, {"url": "https://r.test/2.png"}])
    gallery.play(task("PENDING"), task("PENDING"), task("RUNNING"), done)
    answer = gallery.ask("wanx-v1", n=2)
    assert answer.status == 200, answer.body
    assert [one["url"] for one in answer.json()["data"]] == ["https://r.test/1.png", "https://r.test/2.png"]
    made, *polls = gallery.received
    assert (made.method, made.path) == ("POST", "/api/v1/services/aigc/text2image/image-synthesis")
    assert made.header("x-dashscope-async") == "enable"
    assert {(one.method, one.path, one.header("authorization")) for one in polls} == {
        ("GET", "/api/v1/tasks/task-1", f"Bearer {SECRET}")
    }
    assert len(polls) == 3
    assert_paid(gallery.row(answer), 2 * 20_000_000)


def test_poll_that_fails_for_a_moment_does_not_lose_the_task(gallery: Gallery) -> None:
    busy, done = (
        json_reply({"code": "Throttling", "message": "slow"}, 429),
        task("SUCCEEDED", results=[{"url": "https://r.test/1.png"}]),
    )
    gallery.play(task("PENDING"), busy, json_reply({}, 503), [Cut()], task("RUNNING"), done)
    answer = gallery.ask("wanx-v1")
    assert answer.status == 200, answer.body
    assert_paid(gallery.row(answer), 20_000_000)


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (task("FAILED", code="DataInspectionFailed", message="inappropriate"), 400, "content_filter"),
        (task("FAILED", code="InternalError.Algo", message="no"), 502, "upstream_error"),
        (task("FAILED", results=[{"code": "DataInspectionFailed", "message": "inappropriate"}]), 400, "content_filter"),
        (task("CANCELED"), 502, "upstream_error"),
        (task("UNKNOWN"), 502, "upstream_error"),
        (json_reply({"code": "InvalidApiKey", "message": "no"}, 401), 502, "upstream_error"),
        (json_reply({"output": []}), 502, "upstream_error"),
        (json_reply({"code": "Throttling", "message": "slow"}, 429), 503, "no_provider_available"),
    ],
)
def test_task_that_failed_is_free(gallery: Gallery, reply: Reply, status: int, code: str) -> None:
    gallery.play(task("PENDING"), reply)
    answer = gallery.ask("wanx-v1")
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert_free(gallery.row(answer))


def test_task_whose_results_are_empty_is_free(gallery: Gallery) -> None:
    gallery.play(task("PENDING"), task("SUCCEEDED", results=[]))
    answer = gallery.ask("wanx-v1")
    assert (answer.status, answer.json()["data"]) == (200, [])
    assert_free(gallery.row(answer))


def test_task_id_that_could_lead_elsewhere_is_not_followed(gallery: Gallery) -> None:
    gallery.play(json_reply({"output": {"task_status": "PENDING", "task_id": "../../secrets?x="}}))
    answer = gallery.ask("wanx-v1")
    assert answer.status == 502
    assert len(gallery.received) == 1
    assert_free(gallery.row(answer))


def test_client_that_leaves_while_a_task_is_polled_pays_nothing(gallery: Gallery) -> None:
    gallery.play(task("PENDING"), [Pause(0.2), *task("RUNNING")])
    with openai.OpenAI(
        base_url=gallery.gateway.base_url, api_key=gallery.gateway.key, max_retries=0, timeout=0.4
    ) as client:
        before = len(gallery.gateway.settled(0))
        with pytest.raises(openai.APITimeoutError):
            client.images.generate(model="wanx-v1", prompt="a cat")
    row = gallery.gateway.settled(before + 1)[-1]
    assert_free(row)
    assert row["cancelled"] == 1


def test_picture_of_an_edit_goes_to_dashscope_as_data(gallery: Gallery) -> None:
    gallery.play(json_reply(SYNC))
    fields = {"model": "qwen-image-2.0", "prompt": "green", "image": Upload("image", "a.png", "image/png", PNG)}
    content_type, pieces = multipart.render(fields)
    assert gallery.send("edits", content_type, b"".join(pieces)).status == 200
    content = gallery.received[0].json()["input"]["messages"][0]["content"]
    assert content == [{"image": f"data:image/png;base64,{B64}"}, {"text": "green"}]


# Results that stand elsewhere


def at(gallery: Gallery, *names: str) -> Reply:
    return json_reply({"created": 1, "data": [{"url": f"{gallery.fake.origin}/{name}"} for name in names]})


def test_address_passes_as_it_is_unless_the_client_wants_bytes(gallery: Gallery) -> None:
    gallery.play(at(gallery, "1.png"))
    answer = gallery.ask("cogview-4", quality="high", size="1024x1024", user="user-42")
    assert answer.json()["data"] == [{"url": f"{gallery.fake.origin}/1.png"}]
    (sent,) = gallery.received
    assert sent.path == "/api/paas/v4/images/generations"
    assert sent.json() == {
        "model": "cogview-4",
        "prompt": "a cat",
        "quality": "hd",
        "size": "1024x1024",
        "user_id": "user-42",
    }
    assert_paid(gallery.row(answer), 8_596_000)


@pytest.mark.parametrize("stated", ["text/html", "application/json; charset=utf-8", "Text/Plain"])
def test_a_page_in_place_of_a_picture_is_none(gallery: Gallery, stated: str) -> None:
    page = b"<html>gone</html>"
    gallery.play(at(gallery, "1.png"), [head(200, {"Content-Type": stated, "Content-Length": str(len(page))}) + page])
    answer = gallery.ask("cogview-4", response_format="b64_json")
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert_free(gallery.row(answer))


def test_bytes_are_fetched_without_the_credential(gallery: Gallery) -> None:
    gallery.play(at(gallery, "1.png"), picture())
    answer = gallery.ask("cogview-4", response_format="b64_json")
    assert answer.json()["data"] == [{"b64_json": B64}]
    fetched = gallery.received[1]
    assert (fetched.method, fetched.path) == ("GET", "/1.png")
    assert SECRET not in str(fetched.headers)
    assert_paid(gallery.row(answer), 8_596_000)


def test_every_picture_of_a_task_is_fetched(gallery: Gallery) -> None:
    urls = [{"url": f"{gallery.fake.origin}/{n}.png"} for n in (1, 2)]
    gallery.play(
        task("PENDING"), task("SUCCEEDED", results=urls), picture(b"one"), json_reply({}, 503), picture(b"two")
    )
    answer = gallery.ask("wanx-v1", n=2, response_format="b64_json")
    assert answer.status == 200, answer.body
    assert [base64.b64decode(one["b64_json"]) for one in answer.json()["data"]] == [b"one", b"two"]
    assert_paid(gallery.row(answer), 40_000_000)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://evil.test/1.png",
        "https://aliyuncs.com.evil.test/1.png",
        "https://user@sfile.chatglm.cn/1.png",
        "https://sfile.chatglm.cn:8443/1.png",
        "file:///etc/passwd",
        "http://localhost/1.png",
        "//evil.test",
        "",
        "https://sfile.chatglm.cn/a\r\nHost: evil",
    ],
)
def test_t83_address_outside_the_providers_hosts_is_never_fetched(gallery: Gallery, url: str) -> None:
    with FakeUpstream(lambda _: picture()) as other:
        for one in (url, f"http://127.0.0.1:{other.port}/1.png"):
            gallery.play(json_reply({"created": 1, "data": [{"url": one}]}))
            answer = gallery.ask("cogview-4", response_format="b64_json")
            if one:
                assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_error")
            assert_free(gallery.row(answer))
            assert len(gallery.received) == 1
        assert not other.received


@pytest.mark.parametrize(
    "reply",
    [
        json_reply({}, 404),
        picture(b""),
        [head(302, {"Location": "http://127.0.0.1:1/", "Content-Length": "0"})],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Cut()],
    ],
)
def test_picture_that_cannot_be_fetched_is_free(gallery: Gallery, reply: Reply) -> None:
    def script(request: Received) -> Reply:
        return at(gallery, "1.png") if request.method == "POST" else reply

    gallery.play(script)
    answer = gallery.ask("cogview-4", response_format="b64_json")
    assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert_free(gallery.row(answer))


def test_zhipus_refusal_of_a_prompt_is_the_clients_fault_and_free(gallery: Gallery) -> None:
    gallery.play(json_reply({"error": {"code": "1301", "message": "sensitive"}}, 400))
    answer = gallery.ask("cogview-4")
    assert (answer.status, answer.json()["error"]["code"]) == (400, "content_filter")
    assert_free(gallery.row(answer))


def test_free_model_costs_nothing_and_says_so(gallery: Gallery) -> None:
    gallery.play(at(gallery, "1.png"))
    answer = gallery.ask("cogview-3-flash")
    assert (answer.status, answer.headers["x-tokenhub-cost"]) == (200, "0")
    assert gallery.row(answer)["charged"] == 0


def test_balance_that_does_not_cover_the_image_is_told_before_it_is_made(gallery: Gallery) -> None:
    gallery.play(json_reply(DRAWN))
    key = gallery.gateway.add_key(spend_limit_nano=10_000_000)
    answer = gallery.gateway.call(
        "POST",
        "/v1/images/generations",
        {"model": "dall-e-2", "prompt": "a cat"},
        {"Authorization": f"Bearer {key}"},
    )
    assert (answer.status, answer.json()["error"]["code"]) == (402, "insufficient_credits")
    assert not gallery.received


CARDS: list[tuple[dict[str, str], dict[str, str], dict[str, str], int]] = [
    ({"1024x1024": "0.04", "1792x1024": "0.08"}, {"size": "1024x1024"}, {}, 40),
    ({"1024x1024": "0.04", "1792x1024": "0.08"}, {"quality": "hd"}, {"size": "1024x1024"}, 40),
    ({"1024x1024": "0.04", "1792x1024": "0.08"}, {}, {}, 80),
    ({"standard": "0.04", "hd": "0.08"}, {"quality": "standard"}, {}, 40),
    ({"low": "0.01", "high": "0.17"}, {"quality": "low", "size": "auto"}, {}, 10),
    ({"low": "0.01", "high": "0.17"}, {"quality": "auto"}, {"quality": "high"}, 170),
    ({"": "0.04", "hd": "0.08", "hd 1792x1024": "0.12"}, {"quality": "hd"}, {}, 80),
    ({"": "0.04", "hd": "0.08", "hd 1792x1024": "0.12"}, {"size": "1792x1024"}, {"quality": "hd"}, 120),
    ({"": "0.04", "hd": "0.08", "hd 1792x1024": "0.12"}, {"size": "1792x1024"}, {}, 40),
]


@pytest.mark.parametrize(("card", "asked", "told", "due"), CARDS)
def test_a_picture_is_priced_by_what_was_told_of_it_else_by_what_was_asked_for(
    gallery: Gallery, card: dict[str, str], asked: dict[str, str], told: dict[str, str], due: int
) -> None:
    offering = {"provider": "openai", "regions": ["global"], "upstream_id": "draw-1", "per_image": card}
    override = Override("model", "draw-1", {"capability": "images", "offerings": [offering]})
    with gallery.gateway.hub.database.write():
        catalog.put_override(gallery.gateway.hub.database, override, 0)
    gallery.play(json_reply({"created": 1, "data": [{"url": "https://x.test/1.png"}], **told}))
    row = gallery.row(gallery.ask("draw-1", **asked))
    assert (row["model_fee"], row["shortfall"]) == (due * 10**6, 0)
    assert row["held"] >= row["charged"]
