"""OpenAI embeddings over batchEmbedContents."""

import math
from typing import Any

import pytest

from tokenhub.call import Call, Capability
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage
from tokenhub.wire.embeddings import over_gemini as embeddings_over_gemini
from tokenhub.wire.embeddings import request as embeddings
from tokenhub.wire.faults import FaultKind, UpstreamFault

OLD, NEW = "gemini-embedding-001", "gemini-embedding-2"


def call(inputs: int = 1, encoding: str = "float") -> Call:
    return Call(Capability.EMBEDDINGS, "embedder", messages=inputs, encoding=encoding)


def raw(*vectors: Any, **members: Any) -> dict[str, Any]:
    return {"embeddings": [{"values": vector} for vector in vectors], **members}


def test_each_input_becomes_a_request_of_the_batch() -> None:
    body = {
        "model": "m",
        "input": ["a", "b"],
        "dimensions": 768,
        "encoding_format": "base64",
        "user": "u",
        "new": 1,
        "x": None,
    }
    built, dropped = embeddings_over_gemini.request(body, NEW)
    assert built == {
        "requests": [
            {"model": f"models/{NEW}", "content": {"parts": [{"text": text}]}, "outputDimensionality": 768}
            for text in ("a", "b")
        ]
    }
    assert dropped == ("user", "new")
    plain = embeddings_over_gemini.request({"input": "a"}, NEW)
    assert plain == ({"requests": [{"model": f"models/{NEW}", "content": {"parts": [{"text": "a"}]}}]}, ())


@pytest.mark.parametrize("bad", [[1, 2], [[1], [2]], ["a"] * 101, "", [""]])
def test_token_numbers_and_oversized_batches_are_refused(bad: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        embeddings_over_gemini.request({"input": bad}, NEW)
    assert caught.value.param == "input"


def test_a_reply_is_openais_in_either_form() -> None:
    reply = embeddings_over_gemini.reply(
        raw([0.5, 1], [2.0, -1.5], usageMetadata={"promptTokenCount": 7}), call(2), NEW
    )
    assert [entry["embedding"] for entry in reply.body["data"]] == [[0.5, 1], [2.0, -1.5]]
    assert [entry["index"] for entry in reply.body["data"]] == [0, 1]
    assert reply.body["model"] == "embedder"
    assert reply.usage == Usage(input=7)
    packed = embeddings_over_gemini.reply(raw([0.5, 1]), call(1, "base64"), NEW)
    assert embeddings.from_base64(packed.body["data"][0]["embedding"]) == [0.5, 1]


def test_short_vectors_of_the_first_model_are_brought_to_length_1() -> None:
    def vector(model: str, values: list[float]) -> list[float]:
        reply = embeddings_over_gemini.reply(raw(values), call(), model)
        return reply.body["data"][0]["embedding"]

    assert vector(OLD, [3.0, 4.0]) == [0.6, 0.8]
    assert math.hypot(*vector(OLD, [0.1] * 768)) == pytest.approx(1)
    assert vector(OLD, [0.0, 0.0]) == [0.0, 0.0]
    assert vector(OLD, [2.0] * 3072) == [2.0] * 3072
    assert vector(NEW, [3.0, 4.0]) == [3.0, 4.0]


@pytest.mark.parametrize(
    "usage", [None, {}, {"promptTokenCount": None}, {"promptTokenCount": -1}, {"promptTokenCount": True}, 7]
)
def test_t7_missing_usage_is_none(usage: Any) -> None:
    assert embeddings_over_gemini.reply(raw([1.0], usageMetadata=usage), call(), NEW).usage is None


def test_t8_a_usage_of_zero_is_zero() -> None:
    assert embeddings_over_gemini.parse_usage({"promptTokenCount": 0}) == Usage()


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"embeddings": None},
        raw(),
        raw([1.0], [2.0]),
        raw([]),
        raw(["a"]),
        raw([True]),
        raw(None),
        {"embeddings": [7]},
    ],
)
def test_t74_a_reply_with_other_than_a_vector_per_input_is_a_fault(broken: dict[str, Any]) -> None:
    with pytest.raises(UpstreamFault) as caught:
        embeddings_over_gemini.reply(broken, call(), OLD)
    assert caught.value.failure.kind is FaultKind.PROTOCOL


def test_t74_an_error_in_a_200_is_a_fault() -> None:
    with pytest.raises(UpstreamFault) as caught:
        embeddings_over_gemini.reply({"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}}, call(), NEW)
    assert caught.value.failure.kind is FaultKind.OVERLOAD
