"""How Google's own wire and legacy completions are called: addresses, bodies, who speaks them."""

from typing import Any

import orjson
import pytest

from tests.providers.made import deployment, provider, speaking
from tokenhub.call import Call, Capability, Wire
from tokenhub.catalog import tables
from tokenhub.catalog.models import SpokenWire
from tokenhub.providers.completions import OpenAICompatibleCompletions
from tokenhub.providers.native_gemini import NativeGemini
from tokenhub.providers.registry import adapters_of
from tokenhub.wire.faults import UpstreamFault

GOOGLE = speaking(provider("gemini", id="google", auth="x-goog-api-key"), {Wire.GEMINI: SpokenWire("models")})
BODY: dict[str, Any] = {"contents": [{"parts": [{"text": "x"}]}]}


def call(capability: Capability = Capability.CHAT, **facts: Any) -> Call:
    return Call(capability, "asked", wire=Wire.GEMINI, **facts)


def test_the_model_stands_escaped_in_the_path_and_the_key_in_its_header() -> None:
    made = NativeGemini(GOOGLE).request(call(), BODY, deployment(GOOGLE, upstream_id="tuned/../x?y"), None)
    assert made.url == "https://api.example.com/v1/models/tuned%2F..%2Fx%3Fy:generateContent"
    assert made.headers["x-goog-api-key"] == "secret"
    assert orjson.loads(made.body) == BODY
    streamed = NativeGemini(GOOGLE).request(call(stream=True), BODY, deployment(GOOGLE), None)
    assert streamed.url.endswith(":streamGenerateContent?alt=sse")


@pytest.mark.parametrize(
    ("asked", "hub", "most", "sent"),
    [(None, None, None, None), (None, 50, None, 50), (90, None, 60, 60), (90, 50, None, 50), (40, None, 60, 40)],
)
def test_the_output_limit_is_never_above_what_is_held_for(
    asked: int | None, hub: int | None, most: int | None, sent: int | None
) -> None:
    body = BODY if asked is None else {**BODY, "generationConfig": {"maxOutputTokens": asked, "topK": 1}}
    made = NativeGemini(GOOGLE).request(call(max_output=asked), body, deployment(GOOGLE, max_output=most), hub)
    config = orjson.loads(made.body).get("generationConfig", {})
    assert config.get("maxOutputTokens") == sent
    assert config.get("topK") == (None if asked is None else 1)


def test_embeddings_and_counts_name_the_model_that_serves_them() -> None:
    adapter, at = NativeGemini(GOOGLE), deployment(GOOGLE, upstream_id="real")
    batch = {"requests": [{"model": "models/asked", "content": {"parts": [{"text": "x"}]}, "taskType": "T"}]}
    made = adapter.request(call(Capability.EMBEDDINGS), batch, at, None)
    assert made.url.endswith("models/real:batchEmbedContents")
    assert orjson.loads(made.body)["requests"] == [{**batch["requests"][0], "model": "models/real"}]
    counted = adapter.count_request(call(), BODY, at)
    assert counted is not None
    assert counted.url.endswith("models/real:countTokens")
    assert orjson.loads(counted.body) == {"generateContentRequest": {"model": "models/real", **BODY}}
    assert adapter.count(b'{"totalTokens": 9}') == 9
    for nonsense in (b"{}", b'{"totalTokens": -1}', b'{"totalTokens": "9"}'):
        with pytest.raises(UpstreamFault):
            adapter.count(nonsense)


def custom(adapter: str, **members: Any) -> Any:
    region = {"id": "own", "base_url": "https://own.example/v1beta", "data_region": "us"}
    table = {"id": "own", "name": "Own", "adapter": adapter, "regions": [region], **members}
    return tables.provider(table, "test", custom=True)


def test_a_provider_of_the_operators_own_speaks_what_its_adapter_or_its_data_say() -> None:
    google = custom("gemini")
    assert google.wires[Wire.GEMINI].url("https://own.example/v1beta") == "https://own.example/v1beta/models"
    compatible = custom(
        "openai_compatible", wires={"gemini": {"path": "/gemini/models"}, "completions": {"path": "completions"}}
    )
    found = adapters_of({"google": google, "own": compatible})
    assert isinstance(found["own", Wire.GEMINI], NativeGemini)
    assert isinstance(found["own", Wire.COMPLETIONS], OpenAICompatibleCompletions)
    made = NativeGemini(compatible).request(call(), BODY, deployment(compatible), None)
    assert made.url == "https://api.example.com/gemini/models/upstream-model:generateContent"
    assert not deployment(custom("openai_compatible")).speaks(Wire.GEMINI)


def test_a_completion_is_sent_without_what_its_provider_does_not_know() -> None:
    by = provider(drop_fields=["user"], stream_options=False)
    by = speaking(by, {Wire.COMPLETIONS: SpokenWire("/beta/completions")})
    body = {"model": "m", "prompt": "x", "user": "u", "stream": True, "stream_options": {}, "provider": {}, "n": None}
    asked = Call(Capability.CHAT, "m", wire=Wire.COMPLETIONS, stream=True)
    made = OpenAICompatibleCompletions(by).request(asked, body, deployment(by), 70)
    assert made.url == "https://api.example.com/beta/completions"
    assert orjson.loads(made.body) == {"model": "upstream-model", "prompt": "x", "stream": True, "max_tokens": 70}
    assert made.dropped == ("user",)
