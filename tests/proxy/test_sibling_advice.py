"""Errors name the provider that failed and the closest model that this key may call instead (P5, P18)."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.upstream import (
    Cut,
    FakeUpstream,
    Pause,
    Reply,
    json_reply,
    openai_chat,
    openai_chunk,
    openai_error,
    sse_reply,
)
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.operations import credentials

BROKEN = json_reply(openai_error("x"), 500)
SILENT: Reply = [Pause(1.5), Cut()]
GONE = json_reply({"error": {"message": "gone", "code": "model_not_found", "type": "invalid_request_error"}}, 404)
COUNTRY = json_reply({"error": {"message": "no", "code": "unsupported_country_region_territory", "type": "request_forbidden"}}, 403)  # fmt: skip
NO_KEY = json_reply({"error": {"message": "no", "code": "invalid_api_key", "type": "invalid_request_error"}}, 401)


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, FakeUpstream]]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("advice")), {"upstream.total_s": 0.8})
    with FakeUpstream([]) as fake:
        gateway.add_credential("openai", fake.url, region="eu")
        yield gateway, fake
        gateway.stop()


def refusal(gateway: RunningGateway, fake: FakeUpstream, reply: Reply, model: str, **fields: Any) -> dict[str, Any]:
    fake.replies.clear()
    fake.add(reply)
    answer = gateway.chat(model, **fields)
    assert answer.status >= 400, answer.body
    error: dict[str, Any] = answer.json()["error"]
    return {**error, "status": answer.status}


@pytest.mark.parametrize(
    ("reply", "status", "code"), [(BROKEN, 502, "upstream_error"), (SILENT, 504, "upstream_timeout")]
)
def test_p18_a_failure_names_the_provider_and_the_sibling(
    running: tuple[RunningGateway, FakeUpstream], reply: Reply, status: int, code: str
) -> None:
    error = refusal(*running, reply, "gpt-4o")
    assert (error["status"], error["code"], error["metadata"]["provider"]) == (status, code, "openai")
    assert error["metadata"]["suggestions"][0] == "gpt-4o-mini"
    assert "openai" in error["message"]
    assert "1, 2, then 4 s" in error["message"]
    assert "'gpt-4o-mini' is of the same family" in error["message"]


def test_a_model_that_is_gone_is_a_404_with_the_provider_and_the_sibling(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    error = refusal(*running, GONE, "gpt-4o")
    assert (error["status"], error["code"]) == (404, "model_not_found")
    assert "openai no longer offers 'gpt-4o'" in error["message"]
    assert error["metadata"]["suggestions"][0] == "gpt-4o-mini"


def test_a_retired_model_says_since_when(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    gateway.add_credential("google", fake.url.removesuffix("/v1"))
    gone = json_reply({"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}, 404)
    error = refusal(gateway, fake, gone, "gemini-2.0-flash")
    assert (error["status"], error["code"]) == (404, "model_not_found"), error
    assert "ended 2026-" in error["message"]
    assert error["metadata"]["suggestions"][0] == "gemini-2.5-flash-lite"


def test_p5_a_refused_country_is_told_with_an_equivalent_elsewhere_and_one_of_the_family(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    error = refusal(gateway, fake, COUNTRY, "gpt-4o")
    assert (error["status"], error["code"], error["metadata"]["reason"]) == (502, "upstream_error", "geo")
    assert error["metadata"]["suggestions"] == ["gpt-4o-mini"]
    gateway.add_credential("anthropic", fake.url.removesuffix("/v1"))
    elsewhere = refusal(gateway, fake, COUNTRY, "gpt-4o")["metadata"]["suggestions"]
    assert elsewhere[0].startswith("claude-sonnet")
    assert elsewhere[-1] == "gpt-4o-mini"


def test_a_credential_that_is_refused_is_not_the_way_to_a_sibling(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    gateway.add_credential("anthropic", fake.url.removesuffix("/v1"))
    suggested = refusal(gateway, fake, NO_KEY, "gpt-4o")["metadata"]["suggestions"]
    assert suggested[0].startswith("claude-")


def test_a_stream_that_breaks_off_names_the_provider_and_the_sibling(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    fake.add(sse_reply([openai_chunk({"role": "assistant", "content": "Half of"}), Cut()]))
    answer = gateway.chat("gpt-4o", stream=True)
    assert answer.status == 200
    assert b"openai failed in the middle of its reply" in answer.body
    assert b"'gpt-4o-mini' is of the same family" in answer.body


@pytest.mark.parametrize(
    ("models", "suggested"),
    [(["gpt-4o"], None), (["gpt-4o", "gpt-4.1"], ["gpt-4.1"]), (["gpt-4o", "openai/gpt-4o-mini@us"], None)],
)
def test_only_what_the_key_may_call_is_suggested(
    running: tuple[RunningGateway, FakeUpstream], models: list[str], suggested: list[str] | None
) -> None:
    gateway, fake = running
    gateway.key = gateway.add_key(models=tuple(models))
    error = refusal(gateway, fake, BROKEN, "gpt-4o")
    assert error["metadata"].get("suggestions") == suggested
    assert ("family" in error["message"]) == bool(suggested)


def test_nothing_is_suggested_that_no_working_credential_opens(
    running: tuple[RunningGateway, FakeUpstream],
) -> None:
    gateway, fake = running
    id = gateway.add_credential("anthropic", fake.url.removesuffix("/v1"))
    gateway.key = gateway.add_key(models=("gpt-4o", "claude-sonnet-5"))
    assert refusal(gateway, fake, BROKEN, "gpt-4o")["metadata"]["suggestions"] == ["claude-sonnet-5"]
    credentials.remove(gateway.hub, id)
    fake.add(json_reply(openai_chat("fine")))
    assert "suggestions" not in refusal(gateway, fake, BROKEN, "gpt-4o")["metadata"]
