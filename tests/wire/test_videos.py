"""OpenAI's Videos API: bodies read, units bounded, objects that fit OpenAI's own schema."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.errors import InvalidRequest
from tokenhub.usage import Units
from tokenhub.wire.multipart import Upload
from tokenhub.wire.videos import request as videos

SPEC = Path(__file__).parents[2] / "../shared/specs/openai-openapi.json"
PLAIN = {"model": "wan", "prompt": "a cat"}


@pytest.mark.parametrize(
    ("size", "tier", "ratio"),
    [
        ("1280x720", "720p", "16:9"),
        ("720x1280", "720p", "9:16"),
        ("1024x1792", "1080p", "9:16"),
        ("1792x1024", "1080p", "16:9"),
        ("1920*1080", "1080p", "16:9"),
        ("832x480", "480p", "16:9"),
        ("1440x1440", "4k", "1:1"),
        ("3840x2160", "4k", "16:9"),
        ("1080P", "1080p", None),
        ("4K", "4k", None),
    ],
)
def test_sizes(size: str, tier: str, ratio: str | None) -> None:
    inside = videos.normalised({**PLAIN, "size": size})
    assert videos.resolution(inside["size"]) == tier
    assert videos.ratio(inside["size"]) == ratio
    assert videos.parse_call(inside, 7).units == (Units("second", 8, tier), Units("video", 1, tier))


def test_the_seconds_asked_for_are_the_most() -> None:
    for stated in ("8", 8):
        inside = videos.normalised({**PLAIN, "seconds": stated})
        assert inside["seconds"] == 8
        assert videos.parse_call(inside, 0).units[0].count == 8


@pytest.mark.parametrize("stated", ["0", 0, -1, "61", "8.0", 8.0, True, "", "٤", [], "9999999999999999999"])
def test_other_seconds_are_refused(stated: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        videos.normalised({**PLAIN, "seconds": stated})
    assert caught.value.param == "seconds"


@pytest.mark.parametrize(
    ("stated", "inside"),
    [
        ("https://example.com/a.png", "https://example.com/a.png"),
        ({"image_url": "https://example.com/a.png"}, "https://example.com/a.png"),
        ({"image_url": {"url": "data:image/jpeg;base64,AAAA"}}, "data:image/jpeg;base64,AAAA"),
        (Upload("input_reference", "a.webp", "image/webp", b"\x01\x02"), "data:image/webp;base64,AQI="),
        (Upload("input_reference", "a", "", memoryview(b"\x01")), "data:image/png;base64,AQ=="),
    ],
)
def test_references(stated: Any, inside: str) -> None:
    assert videos.normalised({**PLAIN, "input_reference": stated})["input_reference"] == inside


@pytest.mark.parametrize(
    "stated",
    [
        5,
        "file:///etc/passwd",
        "data:text/html;base64,AAAA",
        {"file_id": "file-1"},
        {},
        Upload("input_reference", "a.mp4", "video/mp4", b"\x01"),
    ],
)
def test_other_references_are_refused(stated: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        videos.normalised({**PLAIN, "input_reference": stated})
    assert caught.value.param == "input_reference"


def test_unknown_members_stay_for_adapters_to_name_and_nulls_go() -> None:
    inside = videos.normalised({**PLAIN, "loop": True, "seconds": None, "seed": "7", "watermark": "false"})
    assert inside == {**PLAIN, "size": "720x1280", "loop": True, "seed": 7, "watermark": False}


@given(st.dictionaries(st.sampled_from(sorted({"model", "prompt", "seconds", "size", "input_reference", "seed", "fps", "watermark", "aspect_ratio", "quality", "n", "stream"})), st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2))))  # fmt: skip
def test_whatever_is_sent_is_read_or_refused(body: dict[str, Any]) -> None:
    refused = None
    try:
        inside = videos.normalised(body)
    except InvalidRequest as error:
        refused = error
    if refused is not None:
        assert refused.param in body or refused.param in ("model", "prompt")
        return
    seconds = videos.parse_call(inside, 0).units[0]
    assert 1 <= seconds.count <= videos.SECONDS_MOST
    assert videos.normalised(inside) == inside


def test_the_object_has_every_member_of_openais() -> None:
    shown = videos.video_object(
        "video_1", model="wan", status="queued", progress=0, created_s=1, completed_s=None, expires_s=None,
        asked={"seconds": 4, "size": "720x1280"},
    )  # fmt: skip
    assert shown["prompt"] is None
    assert shown["seconds"] == "4"
    if not SPEC.exists():
        return
    schema = json.loads(SPEC.read_text())["components"]["schemas"]["VideoResource"]
    assert set(schema["required"]) <= set(shown)
