"""Messages upstreams called by Messages clients: address, key, version, flags, limits."""

import dataclasses

import orjson
import pytest

from tests.fakes.upstream import anthropic_message
from tests.providers.made import deployment, provider
from tokenhub.call import Call, Capability, Wire
from tokenhub.catalog import load
from tokenhub.catalog.models import Credential, SpokenWire
from tokenhub.providers import registry
from tokenhub.providers.adapter import CacheHints, TokenCounter
from tokenhub.providers.native_messages import BETAS, NativeMessages
from tokenhub.usage import Usage

CATALOG = load.load()
BODY = {"model": "asked", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
FLAGS = ("context-1m-2025-08-07", "effort-2025-11-24", "files-api-2025-04-14", "interleaved-thinking-2025-05-14")


def call(**facts):
    return Call(Capability.CHAT, "asked", wire=Wire.MESSAGES, max_output=50, **facts)


def anthropic(**more):
    by = provider("anthropic", id="anthropic", auth="x-api-key")
    by = dataclasses.replace(by, wires={Wire.MESSAGES: SpokenWire("messages")})
    return NativeMessages(by), deployment(by, **more)


def other():
    by = provider(id="copy")
    by = dataclasses.replace(by, wires={Wire.MESSAGES: SpokenWire("/anthropic/v1/messages")})
    return NativeMessages(by), deployment(by)


def test_anthropic_gets_its_version_its_key_and_the_flags_that_cost_nothing():
    adapter, target = anthropic()
    request = adapter.request(call(betas=FLAGS), BODY, target, None)
    assert request.url == "https://api.example.com/v1/messages"
    assert request.headers["x-api-key"] == "secret"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["anthropic-beta"] == "effort-2025-11-24,interleaved-thinking-2025-05-14"
    assert request.dropped == ("anthropic-beta.context-1m-2025-08-07", "anthropic-beta.files-api-2025-04-14")
    assert orjson.loads(request.body) == {**BODY, "model": "upstream-model"}


def test_copies_of_the_surface_get_no_flags():
    adapter, target = other()
    request = adapter.request(call(betas=FLAGS), BODY, target, None)
    assert request.url == "https://api.example.com/anthropic/v1/messages"
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in request.headers
    assert request.dropped == ()


@pytest.mark.parametrize(
    "flag", ["context-1m", "fast-mode", "output-", "code-execution", "mcp-", "files-api", "skills"]
)
def test_flags_that_change_price_or_place_are_not_among_those_that_pass(flag):
    assert not [name for name in BETAS if name.startswith(flag)]


@pytest.mark.parametrize(
    ("asked", "limit", "model_max", "sent"),
    [(50, None, None, 50), (50, 20, None, 20), (50_000, None, 8_000, 8_000), (None, None, 8_000, 8_000)],
)
def test_output_limit_is_the_lowest_that_holds(asked, limit, model_max, sent):
    adapter, target = anthropic(max_output=model_max)
    facts = dataclasses.replace(call(), max_output=asked)
    assert orjson.loads(adapter.request(facts, BODY, target, limit).body)["max_tokens"] == sent


def test_region_and_cache_mark_are_the_gateways_to_decide():
    adapter, target = anthropic(body_fields={"inference_geo": "us"})
    body = orjson.loads(adapter.request(call(), BODY, target, None, CacheHints(mark=True)).body)
    assert (body["inference_geo"], body["cache_control"]) == ("us", {"type": "ephemeral"})
    adapter, target = other()
    assert "cache_control" not in orjson.loads(adapter.request(call(), BODY, target, None, CacheHints(mark=True)).body)


def test_only_anthropic_counts_tokens():
    adapter, target = anthropic()
    assert isinstance(adapter, TokenCounter)
    request = adapter.count_request(call(betas=FLAGS), BODY, target)
    assert request is not None
    assert request.url == "https://api.example.com/v1/messages/count_tokens"
    assert orjson.loads(request.body) == {"model": "upstream-model", "messages": BODY["messages"]}
    assert request.headers["anthropic-beta"] == "effort-2025-11-24,interleaved-thinking-2025-05-14"
    assert adapter.count(b'{"input_tokens": 14}') == 14
    adapter, target = other()
    assert adapter.count_request(call(), BODY, target) is None


def test_t103_nothing_is_counted_where_the_body_could_not_say_the_region():
    adapter, target = anthropic(body_fields={"inference_geo": "us"})
    assert adapter.count_request(call(), BODY, target) is None


WHERE = {
    "anthropic": {"https://api.anthropic.com/v1/messages"},
    "deepseek": {"https://api.deepseek.com/anthropic/v1/messages"},
    "moonshot": {"https://api.moonshot.ai/anthropic/v1/messages", "https://api.moonshot.cn/anthropic/v1/messages"},
    "zhipu": {"https://api.z.ai/api/anthropic/v1/messages", "https://open.bigmodel.cn/api/anthropic/v1/messages"},
    "openrouter": {"https://openrouter.ai/api/v1/messages"},
}


@pytest.mark.parametrize("name", WHERE)
def test_providers_are_called_where_they_speak_messages(name):
    by = CATALOG.providers[name]
    assert {by.wires[Wire.MESSAGES].url(region.base_url) for region in by.regions.values()} == WHERE[name]
    assert isinstance(registry.adapters_of(CATALOG.providers)[name, Wire.MESSAGES], NativeMessages)


@pytest.mark.parametrize(
    ("name", "fresh"),
    [("anthropic", 100), ("openrouter", 100), *((n, 60) for n in ("deepseek", "moonshot", "zhipu", "alibaba"))],
)
def test_t12_a_copy_that_does_not_say_what_it_counts_is_not_believed_to_leave_the_cache_out(name, fresh):
    adapter = registry.adapters_of(CATALOG.providers)[name, Wire.MESSAGES]
    usage = {"input_tokens": 100, "cache_read_input_tokens": 40, "output_tokens": 3}
    reply = adapter.reply(
        call(), deployment(CATALOG.providers[name]), 200, {}, orjson.dumps(anthropic_message(usage=usage))
    )
    assert reply.usage == Usage(input=fresh, cache_read=40, output=3)


def test_alibaba_speaks_messages_for_its_own_models_alone():
    by = CATALOG.providers["alibaba"]
    urls = {by.wires[Wire.MESSAGES].url(region.base_url) for region in by.regions.values()}
    assert "https://dashscope-intl.aliyuncs.com/apps/anthropic/v1/messages" in urls
    for upstream_id, spoken in (("qwen3.6-plus", True), ("deepseek-v3.2", False)):
        assert deployment(by, upstream_id=upstream_id).speaks(Wire.MESSAGES) is spoken


def test_openrouter_speaks_messages_for_claude_alone():
    by = CATALOG.providers["openrouter"]
    for upstream_id, spoken in (("anthropic/claude-opus-5.5", True), ("moonshotai/kimi-k3", False)):
        assert deployment(by, upstream_id=upstream_id).speaks(Wire.MESSAGES) is spoken


def test_operators_own_provider_of_anthropics_kind_is_spoken_to_natively():
    table = {
        "id": "mine",
        "name": "Mine",
        "adapter": "anthropic",
        "auth": "x-api-key",
        "regions": [{"base_url": "https://claude.example.com/v1"}],
    }
    own = load.load([load.Override("provider", "mine", {k: v for k, v in table.items() if k != "id"})])
    by = own.providers["mine"]
    one = dataclasses.replace(
        deployment(by), credential=Credential(1, "mine", "default", "x", "s", "https://claude.example.com/v1")
    )
    assert one.url_of(Wire.MESSAGES) == "https://claude.example.com/v1/messages"
