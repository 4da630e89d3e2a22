"""Legacy text completions at the gateway: passed to who has them, refused for who has not, billed as everything."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest

from tests.fakes.upstream import DONE, Cut, FakeUpstream, json_reply, openai_error, openai_usage, sse, sse_reply
from tests.harness import RunningGateway, start_gateway, temporary_home

MODEL, FIM = "gpt-3.5-turbo-instruct", "deepseek-v4.1-flash"
PROMPT = "I am " * 300
Running = tuple[RunningGateway, FakeUpstream]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("completions")))
    with FakeUpstream([]) as fake:
        for provider in ("openai", "deepseek", "google"):
            gateway.add_credential(provider, fake.url)
        yield gateway, fake
        gateway.stop()


@pytest.fixture(autouse=True)
def _trusting(running: Running) -> None:
    running[0].forget_faults()
    running[1].replies.clear()


@pytest.fixture
def client(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=running[0].base_url, api_key=running[0].key, max_retries=0) as made:
        yield made


def choice(text: str, finish: str | None = "stop", index: int = 0) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def whole(*choices: dict[str, Any], usage: dict[str, Any] | None = None) -> dict[str, Any]:
    made = {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "as-served", "choices": list(choices)}
    return made | ({"usage": openai_usage(1000, 100)} if usage is None else {"usage": usage} if usage else {})


def piece(text: str, finish: str | None = None) -> bytes:
    return sse({**whole(choice(text, finish), usage={})})


def test_a_completion_passes_as_it_is_and_is_billed_to_the_nano_dollar(running: Running, client: openai.OpenAI) -> None:
    gateway, fake = running
    before = gateway.balance()
    fake.add(json_reply(whole(choice(" fine"), choice(" well", index=1))))
    made = client.completions.create(
        model=MODEL, prompt=PROMPT, n=2, max_tokens=50, logprobs=1, suffix="!", stop=["x"], seed=3, user="u"
    )
    assert [one.text for one in made.choices] == [" fine", " well"]
    # 1000 × 1 500 + 100 × 2 000 = 1 700 000 nano-USD; 3 % of it = 51 000
    assert before - gateway.balance() == 1_751_000
    assert made.usage is not None
    assert made.usage.model_dump()["cost"] == 0.001751
    assert fake.received[-1].path == "/v1/completions"
    assert fake.received[-1].json() == {
        "model": MODEL,
        "prompt": PROMPT,
        "n": 2,
        "max_tokens": 50,
        "logprobs": 1,
        "suffix": "!",
        "stop": ["x"],
        "seed": 3,
        "user": "u",
    }


def test_deepseeks_stand_beside_its_base_url(running: Running) -> None:
    gateway, fake = running
    fake.add(json_reply(whole(choice("pass"))))
    answer = gateway.call(
        "POST", "/v1/completions", {"model": FIM, "prompt": "def f():", "suffix": "\n", "user": "u", "max_tokens": 9}
    )
    assert answer.status == 200
    assert fake.received[-1].path == "/beta/completions"
    assert fake.received[-1].json() == {
        "model": "deepseek-flash",
        "prompt": "def f():",
        "suffix": "\n",
        "max_tokens": 9,
    }
    assert answer.headers["x-tokenhub-dropped"] == "user"


@pytest.mark.parametrize("asks", [True, False])
def test_a_stream_passes_and_usage_comes_to_those_who_ask(running: Running, client: openai.OpenAI, asks: bool) -> None:
    gateway, fake = running
    usage = sse(whole(usage=openai_usage(5, 2)))
    fake.add(sse_reply([piece("a"), piece("b"), piece("", "stop"), usage, DONE]))
    options: Any = {"stream_options": {"include_usage": True}} if asks else {}
    made = list(client.completions.create(model=MODEL, prompt="x", stream=True, **options))
    assert "".join(one.choices[0].text for one in made if one.choices) == "ab"
    assert all(one.object == "text_completion" for one in made)
    assert fake.received[-1].json()["stream_options"] == {"include_usage": True}
    rows = gateway.settled()
    assert rows[-1]["charged"] > 0
    counted = [one.usage for one in made if one.usage]
    assert len(counted) == int(asks)
    if asks:
        cost = counted[0].model_dump()["cost_details"]["total"]
        assert Decimal(cost) == Decimal(rows[-1]["charged"]).scaleb(-9)


def test_a_cut_stream_ends_with_an_error_and_is_free(running: Running, client: openai.OpenAI) -> None:
    gateway, fake = running
    fake.add(sse_reply([piece("a"), piece("b"), Cut()], framing="close"))
    with pytest.raises(openai.APIError, match="middle of its reply"):
        list(client.completions.create(model=MODEL, prompt="x", stream=True))
    row = gateway.settled()[-1]
    assert (row["end"], row["charged"]) == ("released", 0)


def test_no_usage_is_an_estimate_and_no_text_is_free(running: Running) -> None:
    gateway, fake = running
    fake.add(json_reply(whole(choice("word " * 40), usage={})))
    answer = gateway.call("POST", "/v1/completions", {"model": MODEL, "prompt": [[1, 2, 3], [4]]})
    row = gateway.settled()[-1]
    assert (row["end"], row["estimated"]) == ("settled", 1)
    assert answer.json()["usage"]["prompt_tokens"] >= 4
    fake.add(json_reply(whole(choice(""), usage=openai_usage(9, 0))))
    gateway.call("POST", "/v1/completions", {"model": MODEL, "prompt": "x"})
    assert gateway.settled()[-1]["charged"] == 0


def test_the_hold_covers_every_prompt_to_its_full_context(running: Running) -> None:
    gateway, fake = running
    prompts = ["word " * 4000] * 3
    fake.add(json_reply(whole(choice("x"), usage=openai_usage(12_000, 3))))
    answer = gateway.call("POST", "/v1/completions", {"model": MODEL, "prompt": prompts, "max_tokens": 5})
    assert answer.status == 200
    row = gateway.settled()[-1]
    # three contexts of 4 096 tokens each at 1.5 USD a million, and three choices of five tokens at 2
    assert row["held"] >= row["charged"] == 12_000 * 1_500 + 3 * 2_000 + (12_000 * 1_500 + 3 * 2_000) * 3 // 100
    assert row["shortfall"] == 0


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gpt-4o-mini"])
def test_who_has_no_such_api_is_left_out_by_wire(running: Running, model: str) -> None:
    gateway, fake = running
    asked = len(fake.received)
    answer = gateway.call("POST", "/v1/completions", {"model": model, "prompt": "x"})
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (403, "no_eligible_provider")
    assert {one["reason"] for one in error["metadata"]["excluded"]} == {"wire"}
    assert len(fake.received) == asked


def test_a_model_that_only_completes_is_not_chatted_with(running: Running) -> None:
    gateway, _ = running
    for body in (gateway.chat(MODEL), gateway.call("POST", "/v1/messages", {
        "model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}],
    })):  # fmt: skip
        assert body.status == 403
        assert b'"wire"' in body.body


def test_errors_are_openais_and_what_has_no_price_is_refused(running: Running) -> None:
    gateway, fake = running
    answer = gateway.call("POST", "/v1/completions", {"model": MODEL, "prompt": "x", "best_of": 3})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "unpriced_feature")
    fake.add(json_reply(openai_error("nope: too long", "invalid_request_error", "context_length_exceeded"), 400))
    answer = gateway.call("POST", "/v1/completions", {"model": MODEL, "prompt": "x"})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert json.loads(answer.body)["error"]["message"].startswith("nope")
