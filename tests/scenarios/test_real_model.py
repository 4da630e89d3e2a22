"""A real model behind the whole gateway: real tokens, real streams, and a bill that is right to the nano-dollar.

The program runs as its first user runs it: a process of its own, a home folder in which nothing
is yet, the embedded model beside it. Prices and the fee are odd on purpose, so that every
amount has to be rounded; the model's own cache makes prompt tokens of two prices.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.serving import MAIN, Serving

CHAT, EMBED = "smollm2-135m", "smollm2-135m-embed"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a very long story about a ship."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

USD_PER_MILLION = {"input": "0.123456789", "cached": "0.0617", "output": "1.000000007"}
FEE_BP = 333
NANO = 10**9
PATIENT_S = 120.0
"""The model writes forty tokens a second on an idle machine, and a few on a busy one."""


@dataclass(frozen=True)
class Installation:
    """A gateway that serves, the command line of its operator, and a client with its first key."""

    serving: Serving
    environment: dict[str, str]
    client: openai.OpenAI

    def tokenhub(self, *arguments: str) -> Any:
        """Run a command, which must succeed; returns its JSON."""
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments, "--json"], env=self.environment,
            capture_output=True, text=True, timeout=PATIENT_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def set_prices(self) -> None:
        given, cached, made = USD_PER_MILLION.values()
        self.tokenhub("models", "price", CHAT, "--input", given, "--cached-input", cached, "--output", made)
        self.tokenhub("models", "price", EMBED, "--input", given)

    def get(self, path: str) -> Any:
        """Return the ``data`` of a page that key holders may read."""
        answer = self.serving.call("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()["data"]

    def receipt(self, request_id: str) -> Any:
        """Wait for the receipt of a request."""
        end = time.monotonic() + PATIENT_S
        while (answer := self.serving.call("GET", f"/v1/generation?id={request_id}")).status == 404:
            assert time.monotonic() < end, "the request never ended"
            time.sleep(0.05)
        return answer.json()["data"]

    def balance(self) -> Fraction:
        return Fraction(self.get("/v1/credits")["balance"])


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    person = tmp_path_factory.mktemp("person")
    environment = {"HOME": str(person), "PATH": os.environ["PATH"]}
    with Serving(environment, person / "log", "--local") as serving:
        serving.key = serving.welcome["key"]
        assert serving.welcome["model"] == CHAT, serving.log.read_text()
        with openai.OpenAI(base_url=serving.base_url, api_key=serving.key, max_retries=0, timeout=PATIENT_S) as client:
            running = Installation(serving, environment, client)
            running.tokenhub("grant", "10")
            running.tokenhub("accounts", "set", "default", "--fee-bp", str(FEE_BP))
            running.set_prices()
            yield running
        assert serving.stop() == 0


def charge(prompt: int, cached: int, output: int) -> tuple[int, int]:
    """Model fee and service fee in nano-dollars, from the list prices alone."""
    tokens = {"input": prompt - cached, "cached": cached, "output": output}
    usd = sum(Fraction(USD_PER_MILLION[bucket]) * count / 1_000_000 for bucket, count in tokens.items())
    model_fee = math.ceil(usd * NANO)
    return model_fee, math.ceil(Fraction(model_fee * FEE_BP, 10_000))


def nano(usd: str) -> int:
    amount = Fraction(usd) * NANO
    assert amount.denominator == 1, usd
    return int(amount)


def check_bill(hub: Installation, request_id: str, before: Fraction, usage: Any = None) -> dict[str, Any]:
    """Hold usage, receipt, credit and the operator's record of one request against each other and the price list."""
    receipt = hub.receipt(request_id)
    fee, service = charge(receipt["tokens_prompt"], receipt["native_tokens_cached"], receipt["tokens_completion"])
    assert fee > 0
    details = receipt["cost_details"]
    assert [nano(details[name]) for name in ("model_fee", "service_fee", "total")] == [fee, service, fee + service]
    assert (receipt["end"], receipt["estimated"], receipt["provider_name"]) == ("settled", False, "local")
    if usage is not None:
        assert usage.prompt_tokens == receipt["tokens_prompt"]
        assert getattr(usage, "completion_tokens", 0) == receipt["tokens_completion"]
        assert usage.cost == float(Fraction(fee + service, NANO))
        assert usage.cost_details["total"] == details["total"]
    assert (before - hub.balance()) * NANO == fee + service
    shown = hub.tokenhub("requests", "show", request_id)
    assert nano(shown["charged_usd"]) == fee + service
    return dict(receipt)


def test_a_plain_chat_is_answered_and_costs_usage_times_price_plus_fee(hub: Installation) -> None:
    before = hub.balance()
    raw = hub.client.chat.completions.with_raw_response.create(model=CHAT, messages=QUESTION)
    reply = raw.parse()
    assert "Paris" in (reply.choices[0].message.content or "")
    assert reply.choices[0].finish_reason == "stop"
    receipt = check_bill(hub, raw.headers["x-request-id"], before, reply.usage)
    assert raw.headers["x-tokenhub-cost"] == receipt["cost_details"]["total"]
    assert raw.headers["x-tokenhub-provider"] == "local"


def test_a_second_time_the_models_cache_makes_tokens_of_two_prices(hub: Installation) -> None:
    hub.client.chat.completions.create(model=CHAT, messages=QUESTION)
    before = hub.balance()
    raw = hub.client.chat.completions.with_raw_response.create(model=CHAT, messages=QUESTION)
    usage = raw.parse().usage
    receipt = check_bill(hub, raw.headers["x-request-id"], before, usage)
    assert 0 < receipt["native_tokens_cached"] < receipt["tokens_prompt"]


def test_a_streamed_chat_flows_while_it_is_made_and_costs_the_same(hub: Installation) -> None:
    before = hub.balance()
    stream = hub.client.chat.completions.create(
        model=CHAT, messages=STORY, max_tokens=48, stream=True, stream_options={"include_usage": True}
    )
    request_id = stream.response.headers["x-request-id"]
    pieces, usage, open_at_first = [], None, None
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            pieces.append(chunk.choices[0].delta.content)
            if open_at_first is None:
                open_at_first = hub.serving.call("GET", f"/v1/generation?id={request_id}").status == 404
        usage = chunk.usage or usage
    assert open_at_first, "the first words came only when the reply was whole"
    assert len(pieces) > 20
    assert usage is not None
    assert 20 < usage.completion_tokens <= 48
    receipt = check_bill(hub, request_id, before, usage)
    assert receipt["streamed"]
    assert receipt["generation_time"] > 0
    assert usage.model_extra["cost_details"]["service_fee"] == receipt["cost_details"]["service_fee"]


def test_a_client_that_leaves_in_the_middle_is_charged_what_was_made(hub: Installation) -> None:
    before = hub.balance()
    stream = hub.client.chat.completions.create(model=CHAT, messages=STORY, max_tokens=24, stream=True)
    request_id = stream.response.headers["x-request-id"]
    seen = 0
    for chunk in stream:
        seen += bool(chunk.choices and chunk.choices[0].delta.content)
        if seen == 3:
            break
    stream.response.close()
    receipt = check_bill(hub, request_id, before)
    assert 3 < receipt["tokens_completion"] <= 24


def test_a_function_is_called_and_its_result_put_into_words(hub: Installation) -> None:
    before = hub.balance()
    question = {"role": "user", "content": "What is the weather in Paris? Use the tool."}
    raw = hub.client.chat.completions.with_raw_response.create(
        model=CHAT, messages=[question], tools=[WEATHER], max_tokens=200
    )
    asked = raw.parse().choices[0]
    assert asked.finish_reason == "tool_calls"
    assert asked.message.tool_calls is not None
    call = asked.message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments).keys() == {"city"}
    check_bill(hub, raw.headers["x-request-id"], before, raw.parse().usage)

    before = hub.balance()
    result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees"}
    history = [question, asked.message.model_dump(exclude_none=True), result]
    raw = hub.client.chat.completions.with_raw_response.create(
        model=CHAT, messages=history, tools=[WEATHER], max_tokens=60
    )
    told = raw.parse().choices[0].message
    assert told.tool_calls is None
    assert told.content
    check_bill(hub, raw.headers["x-request-id"], before, raw.parse().usage)


def test_embeddings_are_made_and_charged(hub: Installation) -> None:
    before = hub.balance()
    raw = hub.client.embeddings.with_raw_response.create(model=EMBED, input=["a cat", "a dog"])
    reply = raw.parse()
    assert [len(row.embedding) for row in reply.data] == [576, 576]
    assert reply.data[0].embedding != reply.data[1].embedding
    receipt = check_bill(hub, raw.headers["x-request-id"], before, reply.usage)
    assert receipt["api_type"] == "embeddings"


def test_a_price_binds_at_the_next_request_while_the_gateway_runs(hub: Installation) -> None:
    hub.tokenhub("models", "price", CHAT, "--reset")
    free = hub.client.chat.completions.create(model=CHAT, messages=QUESTION)
    assert free.usage.model_extra["cost_details"]["total"] == "0"
    hub.set_prices()
    before = hub.balance()
    raw = hub.client.chat.completions.with_raw_response.create(model=CHAT, messages=QUESTION)
    check_bill(hub, raw.headers["x-request-id"], before, raw.parse().usage)


def test_the_ledger_adds_up_and_every_page_says_the_same_sum(hub: Installation) -> None:
    hub.client.chat.completions.create(model=CHAT, messages=QUESTION)
    assert hub.tokenhub("ledger", "verify") == {"ok": True, "discrepancies": []}
    charged = sum(Fraction(one["charged_usd"]) for one in hub.tokenhub("requests", "list", "--limit", "100"))
    assert charged > 0
    credits = hub.get("/v1/credits")
    assert Fraction(credits["total_used"]) == charged == 10 - Fraction(credits["balance"])
    assert Fraction(hub.get("/v1/key")["usage_exact"]) == charged
    assert Fraction(hub.tokenhub("usage", "--by", "model")["total"]["total_usd"]) == charged
    assert Fraction(hub.tokenhub("accounts", "show", "default")["available_usd"]) == 10 - charged


def test_no_prompt_and_no_answer_is_kept(hub: Installation) -> None:
    word = "Zanzibarquokka"
    hub.client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": f"Repeat: {word}"}], max_tokens=8
    )
    files = [file for file in Path(hub.environment["HOME"]).rglob("*") if file.is_file()]
    assert {"tokenhub.db", "tokenhub.db-wal", "log"} <= {file.name for file in files}
    assert [file for file in files if word.encode() in file.read_bytes()] == []
