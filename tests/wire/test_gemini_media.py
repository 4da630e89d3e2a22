"""Media of a Gemini request: all are counted, and none is read with the operator's key."""

from typing import Any

import pytest

from tokenhub.errors import InvalidRequest
from tokenhub.wire.gemini.media import Media, media_of
from tokenhub.wire.gemini.parts import public_url
from tokenhub.wire.gemini.spelling import normalised
from tokenhub.wire.gemini.surface import GenerateSurface
from tokenhub.wire.surface import Arrival


def inline(kind: str) -> dict[str, Any]:
    return {"inline_data": {"mime_type": kind, "data": "AAAA"}}


def fetched(uri: str, kind: str = "image/png") -> dict[str, Any]:
    return {"file_data": {"file_uri": uri, "mime_type": kind}}


PARTS = [
    inline("image/png"),
    inline("IMAGE/WEBP"),
    inline("audio/wav"),
    inline("video/mp4"),
    inline("application/pdf"),
    inline("text/plain"),
    inline("strange"),
    fetched("https://example.com/a.png"),
    fetched("https://example.com/a.mp3", "audio/mp3"),
    {"file_data": {"file_uri": "https://youtu.be/x"}},
    {"text": "x"},
]


@pytest.mark.parametrize("role", ["user", "model", "function", "system"])
def test_every_part_of_every_turn_counts(role: str) -> None:
    body = normalised({"contents": [{"role": role, "parts": PARTS}, {"role": "user", "parts": {"text": "y"}}]})
    assert media_of(body) == Media(images=3, audio_parts=1, files=5)


def test_what_tools_returned_and_instructions_count_as_well() -> None:
    answer = {"function_response": {"name": "f", "response": {}, "parts": PARTS}}
    body = {"system_instruction": {"parts": [inline("image/png")]}, "contents": {"parts": [answer]}}
    assert media_of(normalised(body)) == Media(images=4, audio_parts=1, files=5)


@pytest.mark.parametrize("uri", ["https://example.com/a.mp4", "https://youtu.be/x", "https://example.com/a.pdf?b.png"])
def test_t3_an_address_that_is_no_pictures_is_a_file_whatever_type_it_is_given(uri: str) -> None:
    body = normalised({"contents": [{"role": "user", "parts": [fetched(uri)]}]})
    assert media_of(body) == Media(files=1)


def test_the_call_has_these_counts() -> None:
    surface = GenerateSurface(Arrival("/v1beta/models/m:generateContent", {}, {}, 0))
    body = normalised({"contents": [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": PARTS}]})
    call, _ = surface.call(body, 100)
    assert (call.images, call.audio_parts, call.files) == (3, 1, 5)


@pytest.mark.parametrize("role", ["user", "model", "function"])
@pytest.mark.parametrize(
    "uri",
    [
        "gs://bucket/x",
        "https://generativelanguage.googleapis.com/v1beta/files/x",
        "https://GenerativeLanguage.googleapis.com./v1beta/files/x",
        "https://generativelanguage%2Egoogleapis.com/v1beta/files/x",
        "https://us-generativelanguage.googleapis.com/v1beta/files/x",
        "https://\uff47enerativelanguage.googleapis.com/v1beta/files/x",
        "files/x",
        "file:///etc/passwd",
        7,
        None,
    ],
)
def test_what_only_the_operators_key_can_read_is_refused(role: str, uri: Any) -> None:
    for part in (fetched(uri), {"functionResponse": {"name": "f", "parts": [fetched(uri)]}}):
        with pytest.raises(InvalidRequest) as refused:
            media_of(normalised({"contents": [{"role": role, "parts": [{"text": "x"}, part]}]}))
        assert refused.value.param is not None
        assert refused.value.param.startswith("contents[0].parts[1].")
        assert refused.value.param.endswith("fileData.fileUri")


@pytest.mark.parametrize(
    "address",
    [
        "https://GenerativeLanguage.googleapis.com./v1beta/files/x",
        "https://generativelanguage%2egoogleapis.com/v1beta/files/x",
        "https://generativelanguage.googleapis.com%2e/v1beta/files/x",
        "https://generativelanguage.mtls.googleapis.com/v1beta/files/x",
        "https://us-generativelanguage.googleapis.com:443/v1beta/files/x",
        "https://x@generativelanguage.googleapis.com/v1beta/files/x",
        "https://ｇenerativelanguage.googleapis.com/v1beta/files/x",
        "https://generativelanguage。googleapis.com/v1beta/files/x",
        "https://generativelanguage.googleapis.com\\@example.com/v1beta/files/x",
        "https://autopush-any.sandbox.googleapis.com/v1beta/f%69les/x",
    ],
)
def test_googles_file_store_is_refused_by_every_name_it_has(address: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        public_url(address, "url")
    assert refused.value.param == "url"


@pytest.mark.parametrize(
    "address",
    [
        "https://storage.googleapis.com/bucket/files/a.png?X-Goog-Signature=1",
        "https://firebasestorage.googleapis.com/v0/b/app/o/files%2Fa.png?alt=media",
        "https://example.com/files/a.png",
        "https://xn--bcher-kva.example/a.png",
        "http://[2001:db8::1]:8080/a.png",
        "https://a_b.example./a.png",
        "https://example.com/bücher%20a.png",
        "https://youtu.be/x",
    ],
)
def test_other_addresses_are_googles_to_fetch(address: str) -> None:
    assert public_url(address, "url").netloc


@pytest.mark.parametrize("parts", [[1], [None], 7])
def test_parts_that_are_no_objects_are_refused(parts: Any) -> None:
    with pytest.raises(InvalidRequest, match="list of objects"):
        media_of({"contents": [{"role": "user", "parts": parts}]})
