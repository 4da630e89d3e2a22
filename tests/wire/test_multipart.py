"""Forms: what common clients send is read, what two readers could read differently is refused."""

import email.parser
import email.policy

import httpx2 as httpx
import pytest
from aiohttp import FormData
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.errors import InvalidRequest
from tokenhub.wire import multipart
from tokenhub.wire.multipart import Upload

TYPE = "multipart/form-data; boundary=XX"
PNG = b"\x89PNG\r\n\x1a\n\r\n--X\r\n\0"


def form(*parts: bytes) -> bytes:
    return b"".join(b"--XX\r\n" + part + b"\r\n" for part in parts) + b"--XX--\r\n"


def text(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def file(name: str, data: bytes, filename: str = "a.png") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: image/png\r\n\r\n'
    return head.encode() + data


def test_texts_and_files_are_told_apart_and_files_are_slices_of_the_body():
    raw = form(text("model", "gpt-image-2"), file("image", PNG), text("empty", ""))
    fields = multipart.parse(TYPE, raw)
    assert fields["model"] == "gpt-image-2"
    assert fields["empty"] == ""
    upload = fields["image"]
    assert (upload.name, upload.filename, upload.content_type, bytes(upload.data)) == (
        "image",
        "a.png",
        "image/png",
        PNG,
    )
    assert upload.data.obj is raw


def test_lists_are_named_so_or_made_of_files_of_one_name():
    fields = multipart.parse(TYPE, form(file("image[]", b"1"), file("image[]", b"2"), text("granularities[]", "word")))
    assert [bytes(one.data) for one in fields["image"]] == [b"1", b"2"]
    assert {one.name for one in fields["image"]} == {"image"}
    assert fields["granularities"] == ["word"]
    fields = multipart.parse(TYPE, form(*(file("image", data) for data in (b"1", b"2", b"3"))))
    assert [bytes(one.data) for one in fields["image"]] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("content_type", "raw"),
    [
        ("application/json", form(text("a", "b"))),
        ("multipart/form-data", form(text("a", "b"))),
        ("multipart/form-data; boundary=", form(text("a", "b"))),
        ("multipart/form-data; boundary=" + "x" * 71, form(text("a", "b"))),
        (TYPE, b""),
        (TYPE, b"preamble\r\n" + form(text("a", "b"))),
        (TYPE, form(text("a", "b"))[:-6]),
        (TYPE, form(text("a", "b"))[:-10]),
        (TYPE, form(text("a", "b")) + b"more"),
        (TYPE, form(text("a", "b"), text("a", "c"))),
        (TYPE, form(text("a", "b"), file("a", b"c"))),
        (TYPE, form(file("a", b"b"), text("a", "c"))),
        (TYPE, form(text("a", "b"), text("a[]", "c"))),
        (TYPE, form(text("a[]", "b"), text("a", "c"))),
        (TYPE, form(text("", "b"))),
        (TYPE, form(text("[]", "b"))),
        (TYPE, form(b"\r\nno headers")),
        (TYPE, form(b'Content-Disposition: form-data; name="a"')),
        (TYPE, form(b'Content-Disposition: attachment; name="a"\r\n\r\nb')),
        (TYPE, form(b'Content-Disposition: form-data; name="a"; name="b"\r\n\r\nb')),
        (TYPE, form(b'Content-Disposition: form-data; name="a\r\n\r\nb')),
        (TYPE, form(b"Content-Disposition: form-data\r\n\r\nb")),
        (TYPE, form(b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"\r\n\r\nb')),
        (TYPE, form(b'Content-Disposition: form-data; name="a"\r\n folded: 1\r\n\r\nb')),
        (TYPE, form(b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\nYg==')),
        (TYPE, form(b'Content-Disposition: form-data; name="a"\r\nX: ' + b"y" * 5000 + b"\r\n\r\nb")),
        (TYPE, form(b'Content-Disposition: form-data; name="a"\r\n\r\n\xff')),
        (TYPE, form(b'Content-Disposition: form-data; name="\xff"\r\n\r\nb')),
        (TYPE, form(*[text(f"a{n}", "b") for n in range(257)])),
        (TYPE, form(text("a", "b")).replace(b"\r\n", b"\n")),
    ],
)
def test_t50_forms_that_can_be_read_in_two_ways_are_refused(content_type, raw):
    with pytest.raises(InvalidRequest) as refusal:
        multipart.parse(content_type, raw)
    assert refusal.value.code == "invalid_multipart"


def test_boundary_may_be_quoted_and_stand_anywhere():
    for content_type in ('multipart/form-data; boundary="XX"', "Multipart/Form-Data; charset=utf-8; BOUNDARY=XX"):
        assert multipart.parse(content_type, form(text("a", "b"))) == {"a": "b"}


def test_text_of_a_part_that_looks_like_a_boundary_is_text():
    tricky = "a --XX is not the start of a line\r\n--X\r\n-XX"
    assert multipart.parse(TYPE, form(text("a", tricky))) == {"a": tricky}


def test_form_that_httpx_renders_is_read():
    request = httpx.Request(
        "POST",
        "http://x.test/",
        data={"model": "m", "prompt": "a “cat”", "n": "2", "size[]": ["1", "2"]},
        files=[("image[]", ('od"d.png', PNG, "image/png")), ("image[]", ("b.png", b"", "image/png"))],
    )
    fields = multipart.parse(request.headers["content-type"], request.read())
    assert {k: v for k, v in fields.items() if k != "image"} == {
        "model": "m",
        "prompt": "a “cat”",
        "n": "2",
        "size": ["1", "2"],
    }
    assert [(one.filename, bytes(one.data)) for one in fields["image"]] == [('od"d.png', PNG), ("b.png", b"")]


def test_form_that_aiohttp_renders_is_read():
    given = FormData(quote_fields=False)
    given.add_field("model", "m")
    given.add_field("image", PNG, filename="a.png", content_type="image/png")
    writer = given()
    pieces: list[bytes] = []

    class Sink:
        async def write(self, data: bytes) -> None:
            pieces.append(bytes(data))

    import asyncio

    asyncio.run(writer.write(Sink()))
    fields = multipart.parse(writer.content_type, b"".join(pieces))
    assert (fields["model"], bytes(fields["image"].data)) == ("m", PNG)


def test_what_is_rendered_is_read_by_the_standard_library_too():
    content_type, pieces = multipart.render(
        {
            "model": "m",
            "n": 2,
            "stream": True,
            "left": None,
            "image": [Upload("image", 'a"\r\nb.png', "image/png", PNG)],
        }
    )
    raw = b"".join(pieces)
    assert any(piece is PNG for piece in pieces)
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + raw
    )
    found = {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in message.iter_parts()
    }
    assert found == {"model": b"m", "n": b"2", "stream": b"true", "image[]": PNG}


names = st.text(st.characters(codec="utf-8", exclude_characters="\0%[]\\"), min_size=1, max_size=20).filter(
    lambda s: s.strip() == s
)


@given(
    st.dictionaries(
        names,
        st.one_of(
            st.text(st.characters(codec="utf-8"), max_size=200),
            st.builds(lambda name, data: (name, data), names, st.binary(max_size=300)),
            st.lists(st.text(st.characters(codec="utf-8"), max_size=50), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_rendered_reads_back_the_same(given_fields):
    fields = {
        name: Upload(name, one[0], "image/png", one[1]) if isinstance(one, tuple) else one
        for name, one in given_fields.items()
    }
    content_type, pieces = multipart.render(fields)
    assert multipart.parse(content_type, b"".join(pieces)) == fields


@given(st.data())
def test_damaged_form_is_read_or_refused_and_nothing_else(data):
    raw = bytearray(form(text("model", "m"), file("image[]", PNG), text("prompt", "hello")))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    fields = parsed_or_refused(bytes(raw))
    assert fields is None or all(isinstance(one, str | Upload | list) for one in fields.values())


def parsed_or_refused(raw: bytes) -> dict | None:
    try:
        return multipart.parse(TYPE, raw)
    except InvalidRequest:
        return None
