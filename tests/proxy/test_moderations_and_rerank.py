"""Moderations and rerank over real sockets, at every kind of provider that has them."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.upstream import FakeUpstream, json_reply, openai_error
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home

VERDICT = {"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 0.99}}
DOCUMENTS = ["Machine learning is part of AI.", {"text": "Python is a language."}, "Networks learn."]
RESULTS = [{"index": 2, "relevance_score": 0.14}, {"index": 0, "relevance_score": 0.74}]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, FakeUpstream]]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("verdicts")))
    with FakeUpstream([]) as fake:
        gateway.add_credential("openai", fake.url, region="global")
        gateway.add_credential("alibaba", fake.origin + "/compatible-mode/v1", region="ap-southeast-1")
        gateway.add_credential("cohere", fake.origin + "/v2")
        gateway.add_credential("zhipu", fake.origin + "/api/paas/v4", region="cn")
        yield gateway, fake
        gateway.stop()


def rerank(gateway: RunningGateway, model: str, path: str = "/v1/rerank", **fields: Any) -> Answer:
    body = {"model": model, "query": "What is machine learning?", "documents": DOCUMENTS, **fields}
    return gateway.call("POST", path, body)


def test_a_verdict_is_free_and_on_record(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(json_reply({"id": "modr-1", "model": "omni-moderation-2024-09-26", "results": [VERDICT]}))
    answer = gateway.call("POST", "/v1/moderations", {"input": "some words"})
    assert answer.status == 200, answer.body
    assert answer.json()["results"] == [VERDICT]
    assert answer.json()["usage"]["cost"] == 0
    assert fake.received[-1].path == "/v1/moderations"
    assert fake.received[-1].json() == {"input": "some words", "model": "omni-moderation-latest"}
    row = gateway.row_of(answer)
    assert (row["end"], row["charged"], row["held"], row["estimated"]) == ("settled", 0, 0, 0)
    assert gateway.balance() == before


def test_an_empty_account_may_ask_for_what_is_free(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    poor = gateway.add_key(spend_limit_nano=1)
    fake.add(json_reply({"id": "modr-1", "model": "omni", "results": [VERDICT, VERDICT]}))
    answer = gateway.call("POST", "/v1/moderations", {"input": ["a", "b"]}, {"Authorization": f"Bearer {poor}"})
    assert answer.status == 200


def test_verdicts_that_are_missing_are_a_failure(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    fake.add(json_reply({"id": "modr-1", "model": "omni", "results": [VERDICT]}))
    answer = gateway.call("POST", "/v1/moderations", {"input": ["a", "b"]})
    assert (answer.status, answer.json()["error"]["type"]) == (502, "upstream_error")
    gateway.forget_faults()


def test_dashscope_is_asked_in_its_own_words_and_billed_by_token(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(json_reply({"output": {"results": RESULTS}, "usage": {"total_tokens": 54}, "request_id": "1fe6"}))
    answer = rerank(gateway, "qwen3-rerank", top_n=2, return_documents=True, max_chunks_per_doc=9)
    assert answer.status == 200, answer.body
    sent = fake.received[-1]
    assert sent.path == "/api/v1/services/rerank/text-rerank/text-rerank"
    texts = [DOCUMENTS[0], "Python is a language.", DOCUMENTS[2]]
    assert sent.json() == {
        "model": "qwen3-rerank",
        "input": {"query": "What is machine learning?", "documents": texts},
        "parameters": {"top_n": 2, "return_documents": True},
    }
    assert answer.headers["x-tokenhub-dropped"] == "max_chunks_per_doc"
    body = answer.json()
    assert [(one["index"], one["document"]["text"]) for one in body["results"]] == [(0, texts[0]), (2, texts[2])]
    # 54 tokens at 0.1 USD a million, 3 % on top
    assert before - gateway.balance() == 5_562
    assert (body["usage"]["total_tokens"], body["usage"]["cost_details"]["total"]) == (54, "0.000005562")
    row = gateway.row_of(answer)
    assert (row["upstream_id"], row["capability"]) == ("1fe6", "rerank")
    assert row["held"] >= row["charged"]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize("told", [True, False])
def test_cohere_is_billed_by_the_search(running: tuple[RunningGateway, FakeUpstream], path: str, told: bool) -> None:
    gateway, fake = running
    before = gateway.balance()
    meta = {"meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}} if told else {}
    fake.add(json_reply({"id": "0773", "results": RESULTS, **meta}))
    answer = rerank(gateway, "rerank-v3.5", path)
    assert answer.status == 200, answer.body
    assert (fake.received[-1].path, fake.received[-1].json()["documents"][1]) == ("/v2/rerank", "Python is a language.")
    body = answer.json()
    assert body.get("meta") == meta.get("meta")
    assert (body["id"], body["usage"]["search_units"]) == ("0773", 1)
    assert before - gateway.balance() == 2_060_000
    assert gateway.row_of(answer)["estimated"] == (0 if told else 1)


def test_zhipu_takes_128_documents_and_no_more(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    fake.add(json_reply({"id": "z", "results": RESULTS, "usage": {"prompt_tokens": 72, "total_tokens": 72}}))
    answer = rerank(gateway, "glm-rerank")
    assert answer.status == 200, answer.body
    assert fake.received[-1].path == "/api/paas/v4/rerank"
    assert fake.received[-1].json()["model"] == "rerank"
    refused = rerank(gateway, "glm-rerank", documents=["d"] * 129)
    assert (refused.status, refused.json()["error"]["param"]) == (400, "documents")
    assert gateway.row_of(refused)["charged"] == 0


def test_a_query_read_beside_every_document_is_held_for(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    documents, query = ["word"] * 400, "w " * 2_000
    counted = 400 * 4_000
    fake.add(json_reply({"output": {"results": RESULTS}, "usage": {"total_tokens": counted}, "request_id": "x"}))
    answer = rerank(gateway, "qwen3-rerank", documents=documents, query=query)
    row = gateway.row_of(answer)
    assert row["charged"] == counted * 100 * 103 // 100
    assert (row["held"] >= row["charged"], row["shortfall"]) == (True, 0)


@pytest.mark.parametrize(
    "reply",
    [
        json_reply({"results": []}),
        json_reply({"results": [{"index": 9, "relevance_score": 1.0}]}),
        json_reply(openai_error("busy", code="server_error"), 500),
    ],
)
def test_what_is_no_ranking_is_free(running: tuple[RunningGateway, FakeUpstream], reply: Any) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(reply)
    answer = rerank(gateway, "rerank-v3.5")
    assert (answer.status, answer.json()["error"]["type"]) == (502, "upstream_error")
    assert gateway.row_of(answer)["end"] == "released"
    assert gateway.balance() == before
    gateway.forget_faults()


def test_a_model_for_something_else_is_refused(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    asked = len(fake.received)
    assert rerank(gateway, "gpt-4o-mini").status in (400, 404)
    assert gateway.call("POST", "/v1/rerank", {"model": "rerank-v3.5", "query": "q", "documents": []}).status == 400
    assert len(fake.received) == asked


@pytest.mark.parametrize("image", [{"image_url": {"url": "file:///etc/passwd"}}, {"file_id": "file-1"}])
def test_pictures_in_the_operators_store_are_not_judged(
    running: tuple[RunningGateway, FakeUpstream], image: dict[str, Any]
) -> None:
    gateway, fake = running
    before = len(fake.received)
    answer = gateway.call("POST", "/v1/moderations", {"input": [{"type": "image_url", **image}]})
    assert answer.status == 400
    assert answer.json()["error"]["param"].startswith("input[0]")
    assert len(fake.received) == before
