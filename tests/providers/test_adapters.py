"""Adapters over a real socket: what arrives at an upstream, and what its replies become."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.fakes import upstream as fakes
from tests.fakes.upstream import FakeUpstream, Reply, json_reply, sse_reply
from tests.providers.made import deployment, provider
from tokenhub.billing import features
from tokenhub.call import INSIDE, Call, Capability, Wire
from tokenhub.catalog import load
from tokenhub.catalog.models import Credential, Deployment
from tokenhub.errors import InvalidRequest
from tokenhub.providers import registry
from tokenhub.providers.adapter import Adapter
from tokenhub.providers.client import UpstreamClient
from tokenhub.wire.chat import request as chat
from tokenhub.wire.embeddings import request as embeddings
from tokenhub.wire.faults import FaultKind, UpstreamFault
from tokenhub.wire.replies import Reply as WireReply
from tokenhub.wire.replies import StreamReader

CHAT = {"model": "asked", "messages": [{"role": "user", "content": "Hi"}]}
AUTHS = {"openai": "bearer", "openai_compatible": "bearer", "anthropic": "x-api-key", "gemini": "x-goog-api-key"}
PATHS = {
    "openai": ("/v1/chat/completions", "/v1/chat/completions"),
    "openai_compatible": ("/v1/chat/completions", "/v1/chat/completions"),
    "anthropic": ("/v1/messages", "/v1/messages"),
    "gemini": ("/v1/models/upstream-model:generateContent", "/v1/models/upstream-model:streamGenerateContent?alt=sse"),
}
SAYS_HELLO: dict[str, tuple[Any, list[bytes]]] = {
    "openai": (fakes.openai_chat(), fakes.openai_stream()),
    "openai_compatible": (fakes.openai_chat(), fakes.openai_stream()),
    "anthropic": (fakes.anthropic_message(), fakes.anthropic_stream()),
    "gemini": (fakes.gemini_reply(), fakes.gemini_stream()),
}


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    made = UpstreamClient("here")
    yield made
    await made.close()


def reach(adapter: str, fake: FakeUpstream, **rest: Any) -> tuple[Adapter, Deployment]:
    by = provider(adapter, auth=AUTHS[adapter])
    target = deployment(by, base_url=fake.url, **rest)
    return registry.adapters_of({by.id: by})[by.id, target.model.capability], target


def call_of(body: dict[str, Any]) -> Call:
    return chat.parse_call(body, len(orjson.dumps(body)), 1_763_800_000)


async def ask(client: UpstreamClient, adapter: Adapter, target: Deployment, body: dict[str, Any]) -> WireReply:
    call = call_of(body)
    response = await client.send(adapter.request(call, body, target, None), stream=False)
    return adapter.reply(call, target, response.status, response.headers, await response.read())


async def ask_streamed(client: UpstreamClient, adapter: Adapter, target: Deployment) -> tuple[StreamReader, bytes]:
    body = {**CHAT, "stream": True}
    call = call_of(body)
    reader = adapter.stream(call, target)
    relayed = b""
    async for data in await client.send(adapter.request(call, body, target, None), stream=True):
        relayed += reader.feed(data)
    reader.close()
    return reader, relayed + reader.ending()


def text_of(frames: bytes) -> str:
    chunks = [orjson.loads(frame[6:]) for frame in frames.split(b"\n\n") if frame.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("name", SAYS_HELLO)
async def test_a_whole_reply_comes_back_in_openais_form(client: UpstreamClient, name: str) -> None:
    async with FakeUpstream([json_reply(SAYS_HELLO[name][0])]) as fake:
        adapter, target = reach(name, fake)
        reply = await ask(client, adapter, target, CHAT)
        assert reply.body["choices"][0]["message"]["content"] == "Hello there"
        assert (reply.finish_reason, reply.has_content) == ("stop", True)
        assert reply.usage is not None
        assert reply.usage.output > 0
        assert fake.received[0].path == PATHS[name][0]


@pytest.mark.parametrize("name", SAYS_HELLO)
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_stream_comes_back_in_openais_form(client: UpstreamClient, name: str, framing: str) -> None:
    async with FakeUpstream([sse_reply(SAYS_HELLO[name][1], framing=framing, pause_s=0.001)]) as fake:
        adapter, target = reach(name, fake)
        reader, frames = await ask_streamed(client, adapter, target)
        assert text_of(frames) == "Hello there"
        assert reader.facts.complete
        assert (reader.facts.failure, reader.facts.finish_reason) == (None, "stop")
        assert reader.facts.usage is not None
        assert b"[DONE]" not in frames
        assert b'"usage":{' not in frames
        assert fake.received[0].path == PATHS[name][1]


@pytest.mark.parametrize("name", SAYS_HELLO)
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_t72_a_stream_that_ends_early_is_a_fault(client: UpstreamClient, name: str, framing: str) -> None:
    whole = SAYS_HELLO[name][1]
    last = next(i for i, frame in enumerate(whole) if b"there" in frame)
    for cut in range(1, last + 1):
        async with FakeUpstream([sse_reply(whole[:cut], framing=framing)]) as fake:
            adapter, target = reach(name, fake)
            reader, _ = await ask_streamed(client, adapter, target)
            assert not reader.facts.complete
            assert reader.facts.failure is not None
            assert reader.facts.failure.kind is FaultKind.PROTOCOL


ERRORS: dict[str, Any] = {
    "openai": fakes.openai_error("The server is overloaded", "service_unavailable_error"),
    "openai_compatible": fakes.openai_error("Insufficient balance", "x"),
    "anthropic": fakes.anthropic_error("overloaded_error", "Overloaded"),
    "gemini": fakes.gemini_error(503, "UNAVAILABLE", "The model is overloaded."),
}
KINDS = {name: FaultKind.BILLING if name == "openai_compatible" else FaultKind.OVERLOAD for name in ERRORS}


@pytest.mark.parametrize("name", ERRORS)
async def test_t74_an_error_with_status_200_is_a_failed_attempt(client: UpstreamClient, name: str) -> None:
    by = "openai" if name == "openai" else "anthropic" if name == "anthropic" else "maker"
    async with FakeUpstream(lambda _: json_reply(ERRORS[name])) as fake:
        made = dataclasses.replace(provider(name, auth=AUTHS[name]), id=by)
        adapter, target = registry.ADAPTERS[name, Wire.CHAT](made), deployment(made, base_url=fake.url)
        with pytest.raises(UpstreamFault) as caught:
            await ask(client, adapter, target, CHAT)
        assert caught.value.failure.kind is KINDS[name]
        reader, frames = await ask_streamed(client, adapter, target)
        assert frames == b""
        assert reader.facts.failure is not None
        assert reader.facts.failure.kind is KINDS[name]


@pytest.mark.parametrize(
    "body", [b"<html>oops</html>", b"", b"[]", b'"text"', b'{"choices": []}', b"{}", b'{"candidates": []}']
)
@pytest.mark.parametrize("name", SAYS_HELLO)
async def test_t74_a_200_that_is_no_reply_is_a_failed_attempt(client: UpstreamClient, name: str, body: bytes) -> None:
    async with FakeUpstream(lambda _: json_reply(body)) as fake:
        adapter, target = reach(name, fake)
        with pytest.raises(UpstreamFault) as caught:
            await ask(client, adapter, target, CHAT)
        assert caught.value.failure.kind in (FaultKind.PROTOCOL, FaultKind.SERVER)
        reader, frames = await ask_streamed(client, adapter, target)
        assert frames == b""
        assert reader.facts.failure is not None


@pytest.mark.parametrize("name", SAYS_HELLO)
async def test_t56_nothing_but_content_type_key_and_version_is_sent(client: UpstreamClient, name: str) -> None:
    async with FakeUpstream(lambda _: json_reply(SAYS_HELLO[name][0])) as fake:
        adapter, target = reach(name, fake, secret="the-hubs-own")
        await ask(client, adapter, target, CHAT)
        headers = dict(fake.received[0].headers)
        own = {
            header: headers.pop(header)
            for header in ("host", "user-agent", "accept-encoding", "x-tokenhub-hop", "content-length")
        }
        assert own["user-agent"] == "tokenhub"
        assert headers.pop("content-type") == headers.pop("accept") == "application/json"
        key = {"bearer": ("authorization", "Bearer the-hubs-own")}.get(AUTHS[name], (AUTHS[name], "the-hubs-own"))
        version = {"anthropic-version": "2023-06-01"} if name == "anthropic" else {}
        assert headers == {key[0]: key[1], **version}


@pytest.mark.parametrize(
    ("auth", "secret", "sent"),
    [
        ("api-key", "s", {"api-key": "s"}),
        ("none", "", {}),
        ("none", "s", {"authorization": "Bearer s"}),
    ],
)
def test_a_key_is_sent_as_the_provider_wants_it(auth: str, secret: str, sent: dict[str, str]) -> None:
    by = provider(auth=auth)
    request = registry.adapters_of({by.id: by})[by.id, Wire.CHAT].request(
        call_of(CHAT), CHAT, deployment(by, secret=secret), None
    )
    assert {name: value for name, value in request.headers.items() if name not in ("content-type", "accept")} == sent


@pytest.mark.parametrize(
    "weapon", ["../../evil", "a/b", "a%2fb", "a?b=c", "a#b", "a b", "a\r\nX: 1", "a:evil", "模型", "@evil.com"]
)
async def test_t52_an_upstream_id_stays_inside_its_path_segment(client: UpstreamClient, weapon: str) -> None:
    async with FakeUpstream(lambda _: json_reply(fakes.gemini_reply())) as fake:
        adapter, target = reach("gemini", fake, upstream_id=weapon)
        await ask(client, adapter, target, CHAT)
        path = fake.received[0].path
        assert path.startswith("/v1/models/")
        assert path.endswith(":generateContent")
        assert not set("/?#: \r\n@") & set(path.removeprefix("/v1/models/").removesuffix(":generateContent"))
        assert len(fake.received[0].headers) == 8


def test_no_secret_shows_in_the_text_form_of_a_request() -> None:
    by = provider()
    request = registry.adapters_of({by.id: by})[by.id, Wire.CHAT].request(
        call_of(CHAT), CHAT, deployment(by, secret="canary"), None
    )
    assert "canary" not in repr(request)
    assert "Hi" not in repr(request)


def test_the_region_is_in_the_body_at_anthropic() -> None:
    by = provider("anthropic", auth="x-api-key")
    target = deployment(by, body_fields={"inference_geo": "us"})
    body = {**CHAT, "inference_geo": "global"}
    request = registry.adapters_of({by.id: by})[by.id, Wire.CHAT].request(call_of(body), body, target, None)
    assert orjson.loads(request.body)["inference_geo"] == "us"


@pytest.mark.parametrize("name", ["anthropic", "gemini"])
@pytest.mark.parametrize(
    ("given", "limit", "most", "sent"), [(50, None, 40, 40), (50, 7, 40, 7), (5, None, 40, 5), (None, 7, 40, 7)]
)
def test_translated_wires_keep_to_the_output_limit(
    name: str, given: int | None, limit: int | None, most: int, sent: int
) -> None:
    by = provider(name, auth=AUTHS[name])
    body = {**CHAT, "max_tokens": given}
    adapter = registry.adapters_of({by.id: by})[by.id, Wire.CHAT]
    got = orjson.loads(adapter.request(call_of(body), body, deployment(by, max_output=most), limit).body)
    assert (got.get("max_tokens") or got["generationConfig"]["maxOutputTokens"]) == sent


# Embeddings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize(
    ("name", "reply", "path"),
    [
        ("openai", json_reply(fakes.openai_embeddings([[0.5, -0.25], [1.0, 2.0]])), "/v1/embeddings"),
        ("openai_compatible", json_reply(fakes.openai_embeddings(["AAAAPwAAgL4=", "AACAPwAAAEA="])), "/v1/embeddings"),
        (
            "gemini",
            json_reply(fakes.gemini_embeddings([[0.5, -0.25], [1.0, 2.0]])),
            "/v1/models/upstream-model:batchEmbedContents",
        ),
    ],
)
async def test_embeddings_come_back_in_the_form_that_was_asked_for(
    client: UpstreamClient, name: str, reply: Reply, path: str, encoding: str
) -> None:
    async with FakeUpstream([reply]) as fake:
        adapter, target = reach(name, fake, capability=Capability.EMBEDDINGS)
        body = {"model": "asked", "input": ["a", "b"], "encoding_format": encoding}
        call = embeddings.parse_call(body, 50)
        response = await client.send(adapter.request(call, body, target, None), stream=False)
        got = adapter.reply(call, target, response.status, response.headers, await response.read())
        vectors = [entry["embedding"] for entry in got.body["data"]]
        assert vectors == ([[0.5, -0.25], [1.0, 2.0]] if encoding == "float" else ["AAAAPwAAgL4=", "AACAPwAAAEA="])
        assert fake.received[0].path == path
        with pytest.raises(InvalidRequest):
            adapter.stream(call, target)


def test_more_inputs_than_the_provider_takes_are_refused() -> None:
    by = provider(embeddings_inputs=1)
    target = deployment(by, capability=Capability.EMBEDDINGS)
    body = {"model": "asked", "input": ["a", "b"]}
    with pytest.raises(InvalidRequest) as caught:
        registry.adapters_of({by.id: by})[by.id, Wire.EMBEDDINGS].request(
            embeddings.parse_call(body, 50), body, target, None
        )
    assert caught.value.param == "input"


# The registry ------------------------------------------------------------------------------------


def test_every_offering_of_the_catalogue_has_an_adapter() -> None:
    catalog = load.load()
    adapters = registry.adapters_of(catalog.providers)
    served = {Capability.CHAT, Capability.EMBEDDINGS}
    offered = {
        (o.provider, INSIDE[m.capability])
        for m in catalog.models.values()
        for o in m.offerings
        if m.capability in served
    }
    assert len(offered) > 8
    assert offered <= adapters.keys()


def test_every_chat_endpoint_of_the_catalogue_takes_a_plain_request() -> None:
    catalog = load.load()
    adapters = registry.adapters_of(catalog.providers)
    body = {**CHAT, "max_tokens": 10, "stream": True}
    urls = set()
    for model in catalog.models.values():
        for endpoint in catalog.endpoints.get(model.id, ()) if model.capability is Capability.CHAT else ():
            credential = Credential(1, endpoint.provider.id, endpoint.region.id, "one", "secret")
            target = endpoint.with_credential(credential)
            request = adapters[endpoint.provider.id, Wire.CHAT].request(call_of(body), body, target, None)
            assert b"Hi" in request.body
            urls.add(request.url)
    assert "https://eu.api.openai.com/v1/chat/completions" in urls
    assert "https://api.anthropic.com/v1/messages" in urls


def test_a_providers_models_are_listed_where_it_lists_them() -> None:
    by = dataclasses.replace(provider(), models_path="/models")
    target = deployment(by)
    request = registry.models_request(by, target.region, target.credential)
    assert request is not None
    assert (request.method, request.url, request.body) == ("GET", "https://api.example.com/v1/models", b"")
    assert request.headers["authorization"] == "Bearer secret"
    own = dataclasses.replace(target.credential, base_url="http://127.0.0.1:1/v1")
    assert registry.models_request(by, target.region, own).url == "http://127.0.0.1:1/v1/models"  # type: ignore[union-attr]
    assert registry.models_request(dataclasses.replace(by, models_path=""), target.region, target.credential) is None


@pytest.mark.parametrize("name", ["openai", "azure"])
def test_metadata_does_not_go_where_it_is_refused_without_store(name: str) -> None:
    """``store`` is left out, so that a chat completion with both, as OpenAI's own guides have it, was a 400 each time."""
    by = load.load().providers[name]
    target = deployment(by)
    body, left_out = features.check({**CHAT, "store": True, "metadata": {"a": "b"}}, Wire.CHAT)
    request = registry.adapters_of({by.id: by})[by.id, Capability.CHAT].request(call_of(body), body, target, None)
    assert isinstance(request.body, bytes)
    assert orjson.loads(request.body).keys() == {"model", "messages"}
    assert {*left_out, *request.dropped} == {"store", "metadata"}
