"""The official ``openai`` package against the gateway: what it sends is taken, what it gets it understands."""

import asyncio
import base64
import struct
from collections.abc import Iterator

import openai
import pytest

from tests.fakes.upstream import (
    FakeUpstream,
    anthropic_event,
    anthropic_message,
    anthropic_stream,
    gemini_reply,
    gemini_stream,
    json_reply,
    openai_chat,
    openai_chunk,
    openai_embeddings,
    openai_error,
    openai_stream,
    openai_tool_call,
    openai_usage,
    sse,
    sse_reply,
)
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.operations import keys

CHAT = "gpt-4o-mini"
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGateway, FakeUpstream]]:
    gateway = start_gateway(temporary_home(tmp_path_factory.mktemp("sdk")))
    with FakeUpstream([]) as fake:
        gateway.add_credential("openai", fake.url)
        gateway.add_credential("anthropic", fake.url)
        gateway.add_credential("google", fake.url)
        yield gateway, fake
        gateway.stop()


@pytest.fixture
def client(running: tuple[RunningGateway, FakeUpstream]) -> Iterator[openai.OpenAI]:
    gateway, _ = running
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as made:
        yield made


def hello(content: str = "Hello") -> list[dict]:
    return [{"role": "user", "content": content}]


def test_plain_chat(running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI) -> None:
    running[1].add(json_reply(openai_chat("Paris.", usage=openai_usage(12, 3))))
    reply = client.chat.completions.create(model=CHAT, messages=hello())
    assert reply.choices[0].message.content == "Paris."
    assert reply.usage is not None
    assert reply.usage.total_tokens == 15
    assert reply.usage.model_extra["cost_details"]["total"] == "0.000003708"


def test_streamed_chat_with_usage(running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI) -> None:
    running[1].add(sse_reply(openai_stream(["Par", "is."], usage=openai_usage(12, 3))))
    chunks = list(
        client.chat.completions.create(
            model=CHAT, messages=hello(), stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Paris."
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert len({chunk.id for chunk in chunks}) == 1


def test_stream_helper_accumulates(running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI) -> None:
    running[1].add(sse_reply(openai_stream(["Par", "is."])))
    with client.chat.completions.stream(model=CHAT, messages=hello()) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Paris."
    assert final.choices[0].finish_reason == "stop"


def test_async_client(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    for number in range(4):
        fake.add(sse_reply(openai_stream([f"{number}", "!"])))

    async def ask(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(model=CHAT, messages=hello(), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key) as client:
            return await asyncio.gather(*(ask(client) for _ in range(4)))

    assert sorted(asyncio.run(all_of_them())) == ["0!", "1!", "2!", "3!"]


def test_tools_round_trip(running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI) -> None:
    fake = running[1]
    fake.add(json_reply(openai_chat(None, tool_calls=[openai_tool_call()], finish_reason="tool_calls")))
    asked = client.chat.completions.create(model=CHAT, messages=hello("weather?"), tools=[TOOL])
    call = asked.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Paris"}')
    fake.add(json_reply(openai_chat("Sunny.")))
    history = [
        *hello("weather?"),
        asked.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sun"},
    ]
    reply = client.chat.completions.create(model=CHAT, messages=history, tools=[TOOL])
    assert reply.choices[0].message.content == "Sunny."
    assert fake.received[-1].json()["messages"][2] == {"role": "tool", "tool_call_id": call.id, "content": "sun"}


def test_streamed_tool_call(running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI) -> None:
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    frames = [
        openai_chunk({"role": "assistant", "content": None, "tool_calls": [first]}),
        openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}),
        openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]}),
        openai_chunk({}, "tool_calls"),
        b"data: [DONE]\n\n",
    ]
    running[1].add(sse_reply(frames))
    with client.chat.completions.stream(model=CHAT, messages=hello(), tools=[TOOL]) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city":"Paris"}'


def test_stream_helper_accumulates_what_claude_thinks_and_it_comes_back_as_it_was(
    running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI
) -> None:
    fake = running[1]
    thoughts = [{"type": "thinking", "thinking": name, "signature": f"sig-{name}"} for name in ("a", "b")]
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
    opening, *_, ending, stop = anthropic_stream([], stop_reason="tool_use")
    blocks = [
        anthropic_event(f"content_block_{kind}", index=place, **({"content_block": block} if kind == "start" else {}))
        for place, block in enumerate([*thoughts, call])
        for kind in ("start", "stop")
    ]
    fake.add(sse_reply([opening, *blocks, ending, stop]))
    with client.chat.completions.stream(model="claude-sonnet-4.5", messages=hello(), tools=[TOOL]) as stream:
        said = stream.get_final_completion().choices[0].message
    fake.add(json_reply(anthropic_message("Sunny.")))
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "sun"}
    history = [*hello(), said.model_dump(exclude_none=True), result]
    client.chat.completions.create(model="claude-sonnet-4.5", messages=history, tools=[TOOL])
    assert fake.received[-1].json()["messages"][1]["content"] == [*thoughts, call]


def test_stream_helper_accumulates_every_source_seal_and_picture(
    running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI
) -> None:
    fake = running[1]
    opening, begun, _, piece, closed, ending, stop = anthropic_stream(["Yes."])
    cited = [
        anthropic_event(
            "content_block_delta",
            index=0,
            delta={"type": "citations_delta", "citation": {"url": f"https://{host}.example", "title": host}},
        )
        for host in "ab"
    ]
    twice = [begun, piece, cited[0], closed, begun, piece, cited[1], closed]
    fake.add(sse_reply([opening, *twice, ending, stop]))
    with client.chat.completions.stream(model="claude-sonnet-4.5", messages=hello()) as stream:
        notes = stream.get_final_completion().choices[0].message.annotations
    assert [note.url_citation.url for note in notes] == ["https://a.example", "https://b.example"]

    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5.6-sol", "output": []}
    sealed = [{"id": f"rs_{name}", "type": "reasoning", "summary": [], "encrypted_content": name} for name in "ab"]
    counted = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    events = [
        sse({"type": "response.created", "response": {**head, "status": "in_progress"}}),
        *(sse({"type": "response.output_item.done", "output_index": i, "item": item}) for i, item in enumerate(sealed)),
        sse({"type": "response.output_text.delta", "output_index": 2, "delta": "Yes."}),
        sse({"type": "response.completed", "response": {**head, "status": "completed", "usage": counted}}),
    ]
    fake.add(sse_reply(events))
    with client.chat.completions.stream(model="gpt-5.6-sol", messages=hello(), tools=[TOOL]) as stream:
        details = stream.get_final_completion().choices[0].message.model_extra["reasoning_details"]
    assert [(one["id"], one["data"]) for one in details] == [("rs_a", "a"), ("rs_b", "b")]

    pictures = [{"inlineData": {"mimeType": "image/png", "data": data}} for data in ("AAAA", "BBBB")]
    frames = [
        sse(gemini_reply(parts=[one], finish_reason=end)) for one, end in zip(pictures, (None, "STOP"), strict=True)
    ]
    fake.add(sse_reply(frames))
    with client.chat.completions.stream(model="gemini-2.5-flash", messages=hello()) as stream:
        shown = stream.get_final_completion().choices[0].message.model_extra["images"]
    assert [one["image_url"]["url"][-4:] for one in shown] == ["AAAA", "BBBB"]


def test_embeddings_in_both_encodings(running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI) -> None:
    fake = running[1]
    packed = base64.b64encode(struct.pack("<3f", 0.5, -0.25, 0.125)).decode()
    fake.add(json_reply(openai_embeddings([packed, packed], prompt=7)))
    by_default = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert [row.embedding for row in by_default.data] == [[0.5, -0.25, 0.125]] * 2
    fake.add(json_reply(openai_embeddings([(0.5, -0.25, 0.125)], prompt=7)))
    as_floats = client.embeddings.create(model="text-embedding-3-small", input="a", encoding_format="float")
    assert as_floats.data[0].embedding == [0.5, -0.25, 0.125]
    assert as_floats.usage.model_extra["cost_details"]["model_fee"] == "0.00000014"


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"gpt-4o-mini", "claude-sonnet-4.5", "gemini-2.5-flash"} <= listed.keys()
    assert listed["gpt-4o-mini"].model_extra["pricing"]["prompt"] == "0.00000015"
    assert client.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"
    assert client.models.retrieve("openai/gpt-4o-mini").id == "gpt-4o-mini"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-nothing")


def test_claude_and_gemini_answer_in_openai_shape(
    running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI
) -> None:
    fake = running[1]
    fake.add(json_reply(anthropic_message("Bonjour")))
    assert (
        client.chat.completions.create(model="claude-sonnet-4.5", messages=hello()).choices[0].message.content
        == "Bonjour"
    )
    assert fake.received[-1].path.endswith("/messages")
    fake.add(sse_reply(anthropic_stream(["Bon", "jour"])))
    chunks = list(client.chat.completions.create(model="claude-sonnet-4.5", messages=hello(), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Bonjour"
    fake.add(json_reply(gemini_reply("Hallo")))
    assert (
        client.chat.completions.create(model="gemini-2.5-flash", messages=hello()).choices[0].message.content == "Hallo"
    )
    fake.add(sse_reply(gemini_stream(["Hal", "lo"])))
    chunks = list(client.chat.completions.create(model="gemini-2.5-flash", messages=hello(), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hallo"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda c: c.with_options(api_key="th-wrong").models.list(), openai.AuthenticationError),
        (lambda c: c.chat.completions.create(model="gpt-nothing", messages=hello()), openai.NotFoundError),
        (lambda c: c.chat.completions.create(model=CHAT, messages=[]), openai.BadRequestError),
        (lambda c: c.chat.completions.create(model=CHAT, messages=hello(), temperature=9), openai.BadRequestError),
        (lambda c: c.chat.completions.create(model="text-embedding-3-small", messages=hello()), openai.BadRequestError),
    ],
)
def test_refusals_are_the_sdks_typed_errors(
    client: openai.OpenAI, make: object, error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error) as caught:
        make(client)  # type: ignore[operator]
    assert caught.value.body["message"]
    assert caught.value.request_id.startswith("req_")


def test_upstream_failures_are_server_errors(
    running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI
) -> None:
    running[1].add(json_reply(openai_error("boom", "server_error"), status=500))
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=CHAT, messages=hello())
    assert caught.value.status_code == 502
    assert caught.value.body["metadata"]["provider"] == "openai"


def test_broken_stream_raises(running: tuple[RunningGateway, FakeUpstream], client: openai.OpenAI) -> None:
    from tests.fakes.upstream import Cut

    running[1].add(sse_reply([*openai_stream(["One ", "two"])[:3], Cut()]))
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model=CHAT, messages=hello(), stream=True))


def test_sdk_retries_on_429_as_retry_after_says(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    key = gateway.add_key(rpm=1)
    fake.add(json_reply(openai_chat("first")))
    with openai.OpenAI(base_url=gateway.base_url, api_key=key, max_retries=0) as client:
        client.chat.completions.create(model=CHAT, messages=hello())
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model=CHAT, messages=hello())
    wait_s = int(caught.value.response.headers["retry-after"])
    assert 1 <= wait_s <= 61
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"


def test_revoked_key_is_refused_at_once(running: tuple[RunningGateway, FakeUpstream]) -> None:
    gateway, fake = running
    secret = gateway.add_key(name="to be revoked")
    fake.add(json_reply(openai_chat("first")))
    with openai.OpenAI(base_url=gateway.base_url, api_key=secret, max_retries=0) as client:
        client.chat.completions.create(model=CHAT, messages=hello())
        asked = len(fake.received)
        found = [one for one in keys.listing(gateway.hub) if one.key.name == "to be revoked"]
        keys.revoke(gateway.hub, found[0].key.id)
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=CHAT, messages=hello())
    assert len(fake.received) == asked
