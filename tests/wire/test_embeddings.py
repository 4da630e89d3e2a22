"""Embeddings: requests checked, replies in the form the client asked for."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage
from tokenhub.wire.embeddings import request as embeddings
from tokenhub.wire.embeddings.request import Limits
from tokenhub.wire.faults import FaultKind, UpstreamFault


def parse(**fields: Any) -> Call:
    return embeddings.parse_call({"model": "embedder", "input": "text", **fields}, 99, 1_700_000_000)


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def raw(*vectors: Any, **members: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "data": data, "model": "served", "usage": usage, **members}


def call(encoding: str = "float", inputs: int = 1) -> Call:
    return Call(Capability.EMBEDDINGS, "embedder", Wire.EMBEDDINGS, messages=inputs, encoding=encoding)


# requests


@pytest.mark.parametrize(
    ("given_input", "inputs"),
    [("text", 1), (["a"], 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2), (["x"] * 2048, 2048), ([0], 1)],
)
def test_every_form_of_input_is_taken(given_input: Any, inputs: int) -> None:
    assert parse(input=given_input) == Call(
        Capability.EMBEDDINGS,
        "embedder",
        Wire.EMBEDDINGS,
        input_bytes=99,
        messages=inputs,
        encoding="float",
        created_s=1_700_000_000,
    )


@pytest.mark.parametrize(
    "bad",
    [
        *(None, "", [], {}, 7, True, 1.5, [""], ["a", ""], ["a", 1], [1, "a"], [[]], [[1], []], [[1], "a"], [[["a"]]]),
        *([True], [1.0], [-1], [2**31], [None], [[True]], [{}], ["x"] * 2049, [[1]] * 2049),
    ],
    ids=lambda bad: repr(bad)[:40],
)
def test_t51_an_input_that_is_none_is_refused_by_name(bad: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(input=bad)
    assert caught.value.param == "input"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("encoding_format", ["int8", "", 7, True, [], {}]),
        ("dimensions", [0, -1, 1.5, True, "256", [], 2**31, 2**63]),
        ("user", [7, True, [], {}]),
        ("model", [None, "", 7, [], "m" * 300]),
        ("api_base", ["https://elsewhere.example"]),
    ],
)
def test_t51_wrong_types_are_refused_by_name(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InvalidRequest) as caught:
            parse(**{field: value})
        assert caught.value.param == field


def test_null_is_as_good_as_absent() -> None:
    assert parse(encoding_format=None, dimensions=None, user=None) == parse()
    assert parse(encoding_format="base64").encoding == "base64"


def test_a_request_goes_on_with_the_upstreams_name_and_without_the_gateways_fields() -> None:
    body = {
        "model": "m",
        "input": ["a"],
        "encoding_format": "base64",
        "dimensions": 8,
        "provider": {},
        "user": None,
        "new": 1,
    }
    assert embeddings.request(body, "upstream-id") == {
        "model": "upstream-id",
        "input": ["a"],
        "encoding_format": "base64",
        "dimensions": 8,
        "new": 1,
    }
    assert "encoding_format" not in embeddings.request(body, "u", Limits(base64=False))


def test_an_upstreams_limits_are_stated_and_nothing_is_split() -> None:
    assert embeddings.request({"input": ["a"] * 10}, "u", Limits(inputs=10))["input"] == ["a"] * 10
    with pytest.raises(InvalidRequest, match="at most 10 inputs for this model; this request has 11"):
        embeddings.request({"input": ["a"] * 11}, "u", Limits(inputs=10))
    for tokens in ([1, 2], [[1], [2]]):
        assert embeddings.request({"input": tokens}, "u")["input"] == tokens
        with pytest.raises(InvalidRequest, match="no token numbers"):
            embeddings.request({"input": tokens}, "u", Limits(token_lists=False))


# replies


@pytest.mark.parametrize("upstream", ["float", "base64"])
@pytest.mark.parametrize("wanted", ["float", "base64"])
def test_each_form_is_given_whatever_the_upstream_sent(upstream: str, wanted: str) -> None:
    numbers = [0.5, -1.0, 3.0]
    forms: dict[str, Any] = {"float": numbers, "base64": packed(*numbers)}
    reply = embeddings.reply(raw(forms[upstream], forms[upstream]), call(wanted, 2))
    assert reply.body == {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": forms[wanted]} for index in (0, 1)],
        "model": "served",
    }
    assert reply.usage == Usage(input=5)
    assert reply.has_content


def test_vectors_come_in_the_order_of_their_inputs() -> None:
    mixed = raw([1.0], [2.0])
    mixed["data"].reverse()
    reply = embeddings.reply(mixed, call(inputs=2))
    assert [entry["embedding"] for entry in reply.body["data"]] == [[1.0], [2.0]]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_float32_numbers_survive_both_conversions_exactly(numbers: list[float]) -> None:
    text = embeddings.to_base64(numbers)
    assert text == packed(*numbers)
    assert embeddings.from_base64(text) == numbers


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"data": []},
        {"data": "x"},
        {"data": [7]},
        raw([1.0], [2.0]),
        raw(None),
        raw([]),
        raw(""),
        raw(7),
        {"data": [{"embedding": [1.0]}]},
        {"data": [{"embedding": [1.0], "index": True}]},
    ],
    ids=repr,
)
def test_t74_a_reply_that_holds_other_than_a_vector_per_input_is_a_fault(broken: dict[str, Any]) -> None:
    with pytest.raises(UpstreamFault) as caught:
        embeddings.reply(broken, call())
    assert caught.value.failure.kind is FaultKind.PROTOCOL


@pytest.mark.parametrize("text", ["####", "AAA", "AAAA", packed(float("nan")), packed(float("inf"))])
def test_base64_that_is_no_vector_is_a_fault(text: str) -> None:
    with pytest.raises(UpstreamFault):
        embeddings.reply(raw(text), call("float"))


@pytest.mark.parametrize("numbers", [["a"], [None], [[1.0]], [{}], [True], [0.5, None]])
@pytest.mark.parametrize("wanted", ["float", "base64"])
def test_a_vector_of_other_than_numbers_is_a_fault(numbers: list[Any], wanted: str) -> None:
    with pytest.raises(UpstreamFault):
        embeddings.reply(raw(numbers), call(wanted))


@pytest.mark.parametrize("numbers", [[1e300], [float("inf")]])
def test_numbers_that_are_no_float32_are_a_fault(numbers: list[Any]) -> None:
    with pytest.raises(UpstreamFault):
        embeddings.reply(raw(numbers), call("base64"))


@pytest.mark.parametrize(
    "error", [{"error": {"message": "m", "code": "c"}}, {"code": "c", "message": "m", "request_id": "r"}]
)
def test_t74_an_error_in_a_200_is_a_fault(error: dict[str, Any]) -> None:
    with pytest.raises(UpstreamFault) as caught:
        embeddings.reply(error, call())
    assert caught.value.failure.code == "c"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(input=5)),
        ({"prompt_tokens": 0, "total_tokens": 0}, Usage()),
        ({"prompt_tokens": 5}, Usage(input=5)),
        ({"total_tokens": 5}, Usage(input=5)),
        ({"prompt_tokens": 5, "total_tokens": 7}, Usage(input=5, unknown=2)),
        ({"prompt_tokens": 5, "total_tokens": 4}, None),
        (None, None),
        ({}, None),
        *(({"prompt_tokens": bad, "total_tokens": 9}, None) for bad in (-1, 1.5, "5", True, [], 2**63)),
    ],
)
def test_t9_usage_is_read_or_none(usage: Any, expected: Usage | None) -> None:
    assert embeddings.parse_usage(usage) == expected
    assert embeddings.reply(raw([1.0], usage=usage), call()).usage == expected


def test_usage_is_shown_without_an_output() -> None:
    assert embeddings.render_usage(Usage(input=5, unknown=2)) == {"prompt_tokens": 5, "total_tokens": 7}


def test_a_converted_vector_is_plain_json() -> None:
    reply = embeddings.reply(raw(packed(0.1, -2.5)), call("float"))
    assert json.loads(json.dumps(reply.body))["data"][0]["embedding"] == [
        struct.unpack("<f", struct.pack("<f", 0.1))[0],
        -2.5,
    ]
