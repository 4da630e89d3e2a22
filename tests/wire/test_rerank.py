"""Rerank: one question for every shape of provider, and one shape of answer."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.call import Call
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Units, Usage
from tokenhub.wire import rerank
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.rerank import RerankSurface
from tokenhub.wire.surface import Arrival

ARRIVAL = Arrival("/v1/rerank", {}, {}, 1_700_000_000)
BODY: dict[str, Any] = {"model": "ranker", "query": "who?", "documents": ["I", {"text": "you"}, "we"]}
RESULTS = [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]


def call(**fields: Any) -> Call:
    return rerank.parse_call({**BODY, **fields})


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("query", [None, "", 7, [], {}]),
        ("documents", [None, "", [], {}, ["a", 7], [{}], ["x"] * 10_001]),
        ("top_n", [-1, 1.5, "3", True, 2**31]),
        ("return_documents", [1, "true", []]),
        ("model", [None, "", 7]),
        ("base_url", ["https://elsewhere.example"]),
    ],
)
def test_a_field_that_is_none_is_refused_by_name(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InvalidRequest) as caught:
            call(**{field: value})
        assert caught.value.param == field


def test_the_query_counts_once_for_every_document_and_piece() -> None:
    few = rerank.parse_call({"model": "m", "query": "q" * 100, "documents": ["d" * 10] * 50})
    assert few.input_bytes >= 50 * (100 + 10)
    long = rerank.parse_call({"model": "m", "query": "q" * 100, "documents": ["d" * 25_600]})
    assert long.input_bytes >= 25_600 + 100 * 100
    assert (few.messages, few.units) == (50, (Units("search", 1),))


@pytest.mark.parametrize(("documents", "searches"), [(["d"] * 100, 1), (["d"] * 101, 2), (["d" * 60_000], 2)])
def test_searches_are_bounded_as_cohere_counts_them(documents: list[str], searches: int) -> None:
    assert rerank.parse_call({"model": "m", "query": "q", "documents": documents}).units == (Units("search", searches),)


def test_the_body_goes_out_flat_or_nested_without_the_gateways_own_fields() -> None:
    body = {**BODY, "top_n": 2, "return_documents": None, "provider": {"only": ["x"]}, "max_chunks_per_doc": 5}
    flat = rerank.request(body, "upstream", 10)
    assert flat == {
        "model": "upstream",
        "query": "who?",
        "documents": ["I", "you", "we"],
        "top_n": 2,
        "max_chunks_per_doc": 5,
    }
    nested, dropped = rerank.nested(flat)
    assert nested == {
        "model": "upstream",
        "input": {"query": "who?", "documents": ["I", "you", "we"]},
        "parameters": {"top_n": 2},
    }
    assert dropped == ("max_chunks_per_doc",)
    assert "top_n" not in rerank.request({**BODY, "top_n": 0}, "upstream", 10), "0 means all"
    with pytest.raises(InvalidRequest) as caught:
        rerank.request(BODY, "upstream", 2)
    assert caught.value.param == "documents"


SHAPES = {
    "jina": ({"model": "served", "results": RESULTS, "usage": {"total_tokens": 54}}, Usage(input=54)),
    "zhipu": (
        {"id": "x", "results": RESULTS, "usage": {"prompt_tokens": 72, "total_tokens": 72}},
        Usage(input=72),
    ),
    "siliconflow": (
        {"id": "x", "results": RESULTS, "meta": {"tokens": {"input_tokens": 40, "output_tokens": 2}}},
        Usage(input=42),
    ),
    "siliconflow, flat": ({"results": RESULTS, "tokens": {"input_tokens": 40, "output_tokens": 0}}, Usage(input=40)),
    "cohere": (
        {"id": "x", "results": RESULTS, "meta": {"billed_units": {"search_units": 1.0}}},
        Usage(units=(Units("search", 1),)),
    ),
    "openrouter": (
        {"id": "x", "results": RESULTS, "usage": {"cost": 0.1, "search_units": 2, "total_tokens": 9}},
        Usage(input=9, units=(Units("search", 2),)),
    ),
    "dashscope": (
        {"output": {"results": RESULTS}, "usage": {"total_tokens": 54}, "request_id": "x"},
        Usage(input=54),
    ),
    "scores under another name": (
        {"results": [{"index": 0, "score": -1.5}], "usage": {"total_tokens": 1}},
        Usage(input=1),
    ),
    "no usage": ({"results": RESULTS}, None),
    "nonsense": ({"results": RESULTS, "usage": {"total_tokens": -4, "search_units": 1.5}}, None),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_reply_becomes_one(shape: str) -> None:
    raw, usage = SHAPES[shape]
    reply = rerank.reply(raw, call(), by_search=False)
    # Estimated: three documents of one token, each beside a query of one.
    assert reply.usage == (usage or Usage(input=6))
    assert reply.estimated is (usage is None)
    assert reply.has_content
    assert all("relevance_score" in one for one in reply.body["results"])
    assert reply.upstream_id == ("x" if "x" in (raw.get("id"), raw.get("request_id")) else None)
    assert reply.body["model"] == raw.get("model", "ranker")
    assert reply.body.get("meta") == raw.get("meta")


def test_searches_that_nobody_told_are_estimated_where_they_have_a_price() -> None:
    reply = rerank.reply({"results": RESULTS, "usage": {"total_tokens": 9}}, call(), by_search=True)
    assert (reply.usage, reply.estimated) == (Usage(input=9, units=(Units("search", 1),)), True)


@pytest.mark.parametrize(
    "results",
    [
        None,
        [],
        [7],
        [{"index": 0}],
        [{"index": 3, "relevance_score": 1}],
        [{"index": -1, "relevance_score": 1}],
        [{"index": 0, "relevance_score": "1"}],
        [{"index": 0, "relevance_score": True}],
        [{"index": 0, "relevance_score": float("inf")}],
        [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 2}],
    ],
)
def test_results_that_are_none_are_no_reply(results: Any) -> None:
    with pytest.raises(UpstreamFault) as caught:
        rerank.reply({"results": results}, call(), by_search=False)
    assert caught.value.failure.code == "malformed_rerank"


def test_t74_an_error_inside_a_200_is_an_error() -> None:
    with pytest.raises(UpstreamFault) as caught:
        rerank.reply({"code": "Throttling", "message": "slow down"}, call(), by_search=False)
    assert caught.value.failure.code != "malformed_rerank"


def rendered(raw: dict[str, Any], **fields: Any) -> dict[str, Any]:
    surface = RerankSurface(ARRIVAL)
    asked, _ = surface.call({**BODY, **fields}, 99)
    reply = rerank.reply(raw, asked, by_search=False)
    whole = surface.reply(reply)
    shown: dict[str, Any] = orjson.loads(
        whole.with_usage(orjson.dumps(surface.usage(reply.usage or Usage(), {"cost": 0.5}, reply)))
    )
    return shown


@given(st.permutations(range(3)), st.one_of(st.none(), st.integers(0, 5)), st.sampled_from([None, True, False]))
def test_the_best_come_first_and_documents_as_they_were_asked_for(
    order: list[int], top: int | None, shows: bool | None
) -> None:
    raw = {
        "results": [
            {"index": index, "relevance_score": rank, "document": {"text": "theirs"}}
            for rank, index in enumerate(order)
        ],
        "usage": {"total_tokens": 3},
    }
    shown = rendered(raw, top_n=top, return_documents=shows)
    best = list(reversed(order))[: top or None]
    assert [one["index"] for one in shown["results"]] == best
    own = [{"text": "I"}, {"text": "you"}, {"text": "we"}]
    for one in shown["results"]:
        expected = {None: {"text": "theirs"}, True: own[one["index"]], False: None}[shows]
        assert one.get("document") == expected
    assert shown["usage"] == {"prompt_tokens": 3, "total_tokens": 3, "cost": 0.5}
