"""Sessions over real sockets: a conversation stays where its cache is, a tool loop where its calls were made."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.fakes.upstream import (
    FakeUpstream,
    Received,
    anthropic_message,
    json_reply,
    openai_chat,
    openai_chunk,
    openai_embeddings,
    openai_error,
    openai_stream,
    openai_tool_call,
    openai_usage,
    sse_reply,
)
from tests.harness import RunningGateway, start_gateway, temporary_home
from tokenhub.operations import accounts, credentials, grants, keys, preferences
from tokenhub.routing import affinity

MODEL = "gpt-4o-mini"
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


@dataclass
class House:
    """A gateway with one model at several credentials, each with an upstream of its own."""

    gateway: RunningGateway
    fakes: dict[int, FakeUpstream]

    def ask(self, messages: list[dict], headers: dict | None = None, **fields: object) -> int:
        """Ask; return which credential was called last, or 0 when none was."""
        before = {number: len(fake.received) for number, fake in self.fakes.items()}
        sent = {"Authorization": f"Bearer {self.gateway.key}", **(headers or {})}
        body = {"model": MODEL, "messages": messages, **fields}
        self.answer = self.gateway.call("POST", "/v1/chat/completions", body, sent)
        called = [number for number, fake in self.fakes.items() if len(fake.received) > before[number]]
        self.called = sorted(called, key=lambda number: self.last(number).at)
        return self.called[-1] if called else 0

    def last(self, number: int) -> Received:
        return self.fakes[number].received[-1]

    def pins(self) -> list[dict]:
        return self.gateway.rows("SELECT * FROM affinities")


CALLING = [
    openai_chunk({"role": "assistant", "content": "I look."}),
    openai_chunk({"tool_calls": [{"index": 0, **openai_tool_call()}]}),
    openai_chunk({}, "tool_calls"),
    b"data: [DONE]\n\n",
]


def replies(request: Received) -> list:
    """Call a tool when there are tools and no result yet; else say something."""
    body = request.json()
    calls = bool(body.get("tools")) and body["messages"][-1]["role"] != "tool"
    call = [openai_tool_call()] if calls else None
    if body.get("stream"):
        return sse_reply(CALLING if call else openai_stream())
    return json_reply(openai_chat(None if call else "Hello", tool_calls=call, usage=openai_usage(1000, 10, cached=600)))


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    gateway = start_gateway(temporary_home(tmp_path))
    with ExitStack() as stack:
        fakes = {}
        for number in range(4):
            fake = stack.enter_context(FakeUpstream(replies))
            fakes[gateway.add_credential("openai", fake.url, label=f"c{number}")] = fake
        yield House(gateway, fakes)
        gateway.stop()


def user(text: str) -> dict:
    return {"role": "user", "content": text}


CALLED = {"role": "assistant", "content": None, "tool_calls": [openai_tool_call()]}
RESULT = {"role": "tool", "tool_call_id": "call_fake1", "content": "sunny"}


def outweigh(house: House) -> int:
    """Add a credential that draws all sessions but one in hundreds of millions."""
    fake = FakeUpstream(replies)
    fake.__enter__()
    added = house.gateway.add_credential("openai", fake.url, label="heavy", weight=1_000_000_000)
    house.fakes[added] = fake
    return added


def test_every_turn_of_a_conversation_is_served_by_one_credential(house):
    used = set()
    for number in range(12):
        messages = [user(f"question {number}")]
        first = house.ask(messages)
        for turn in range(3):
            messages = [*messages, {"role": "assistant", "content": "Hello"}, user(f"turn {turn}")]
            assert house.ask(messages, stream=bool(turn % 2)) == first
        used.add(first)
    assert len(used) > 1, "conversations are spread"
    assert house.pins() == [], "nothing is written for what needs no pin"


@pytest.mark.parametrize("how", ["prompt_cache_key", "session_id", "header", "metadata"])
def test_named_session_stays_whatever_is_said_in_it(house, how):
    named = {"header": {}, "metadata": {"metadata": {"user_id": "canary-me"}}}.get(how, {how: "canary-me"})
    headers = {"x-session-id": "canary-me"} if how == "header" else None
    assert len({house.ask([user(f"question {number}")], headers, **named) for number in range(10)}) == 1
    rows = house.gateway.settled(10)
    assert len({bytes(row["session"]) for row in rows}) == 1
    for fake in house.fakes.values():
        for request in fake.received:
            assert request.header("x-session-id") is None
            assert "session_id" not in request.json()
    everything = b"".join(path.read_bytes() for path in house.gateway.hub.home.path.iterdir() if path.is_file())
    assert b"canary-me" not in everything


def test_header_too_long_for_a_session_is_refused(house):
    assert house.ask([user("hi")], {"x-session-id": "x" * 257}) == 0
    assert house.answer.status == 400
    assert house.answer.json()["error"]["param"] == "x-session-id"


def test_openai_is_told_a_cache_key_that_names_nobody(house):
    system = {"role": "system", "content": "canary-system"}
    keys = []
    for text in ("one", "two"):
        number = house.ask([system, user(text)])
        keys.append(house.last(number).json()["prompt_cache_key"])
    assert keys[0] == keys[1]
    assert len(keys[0]) == 32
    assert int(keys[0], 16)
    named = [house.last(house.ask([user(text)], session_id="mine")).json()["prompt_cache_key"] for text in ("a", "b")]
    assert named[0] == named[1] not in keys
    number = house.ask([user("x")], prompt_cache_key="my own")
    body = house.last(number).json()
    own = body.pop("prompt_cache_key")
    assert (len(own), own in (*keys, *named)) == (32, False)
    again = house.last(house.ask([user("y")], session_id="my own")).json()
    assert again["prompt_cache_key"] == own, "a name is the same whichever way it is given"
    assert body == {"model": MODEL, "messages": [user("x")]}, "nothing else is changed"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_two_accounts_that_choose_the_same_name_share_no_cache(house, path):
    other = accounts.create(house.gateway.hub, "beta").account.id
    grants.grant(house.gateway.hub, other, 10**10, expires_at_ms=None)
    told = []
    for key in (house.gateway.key, keys.create(house.gateway.hub, other).secret) * 2:
        body = {"model": MODEL, "messages": [user("x")], "input": "x", "prompt_cache_key": "support-bot"}
        body.pop("input" if path.endswith("completions") else "messages")
        house.gateway.call("POST", path, body, {"Authorization": f"Bearer {key}"})
        (sent,) = {request.json()["prompt_cache_key"] for fake in house.fakes.values() for request in fake.received}
        for fake in house.fakes.values():
            fake.received.clear()
        house.gateway.forget_faults()
        told.append(sent)
    assert told[0] == told[2] != told[1] == told[3]
    assert "support-bot" not in told


@pytest.mark.parametrize(
    ("retention", "stays"), [("24h", False), ("in_memory", True), ("in-memory", True), ("forever", False)]
)
def test_a_cache_that_outlives_memory_is_not_asked_for_where_nothing_may_be_kept(house, retention, stays):
    house.ask([user("x")], prompt_cache_retention=retention)
    assert house.answer.status == 200
    for fake in house.fakes.values():
        assert all(request.json()["prompt_cache_retention"] == retention for request in fake.received)
        fake.received.clear()
    for number in house.fakes:
        credentials.set_data_policy(house.gateway.hub, number, "no_retention")
    sent = house.last(house.ask([user("x")], prompt_cache_retention=retention, provider={"data_collection": "deny"}))
    assert ("prompt_cache_retention" in sent.json()) is stays
    assert house.answer.headers.get("x-tokenhub-dropped") == (None if stays else "prompt_cache_retention")


@pytest.mark.parametrize("stream", [False, True])
def test_tool_loop_stays_where_its_call_was_made_while_others_move(house, stream):
    messages = [user("weather?")]
    first = house.ask(messages, tools=TOOLS, stream=stream)
    plain = [user("no tools here")]
    house.ask(plain)
    heavy = outweigh(house)
    assert house.ask([*messages, CALLED, RESULT], tools=TOOLS, stream=stream) == first
    assert house.ask(plain) == heavy
    (pin,) = house.pins()
    assert pin["deployment"] == f"openai/{MODEL}@global#{first}"
    assert len(bytes(pin["session"])) == 16
    row = house.gateway.settled(4)[2]
    assert '"by":"pin"' in row["decision"]


def test_pin_lives_an_hour_and_a_new_turn_without_results_is_not_bound(house):
    messages = [user("weather?")]
    house.ask(messages, tools=TOOLS)
    (pin,) = house.pins()
    ended = house.gateway.settled(1)[0]["ended_at"]
    assert 0 <= ended + affinity.PIN_LIFE_MS - pin["expires_at"] < 10_000
    heavy = outweigh(house)
    assert (
        house.ask([*messages, CALLED, RESULT, {"role": "assistant", "content": "Sun"}, user("ok")], tools=TOOLS)
        == heavy
    )
    with house.gateway.hub.database.write():
        house.gateway.hub.database.execute("UPDATE affinities SET expires_at = 0")
    assert house.ask([*messages, CALLED, RESULT], tools=TOOLS) == heavy


def test_loop_moves_on_when_its_credential_is_gone(house):
    messages = [user("weather?")]
    first = house.ask(messages, tools=TOOLS)
    credentials.remove(house.gateway.hub, str(first))
    second = house.ask([*messages, CALLED, RESULT], tools=TOOLS)
    assert house.answer.status == 200
    assert second not in (0, first)


def test_loop_that_fails_over_is_bound_to_where_its_next_call_was_made(house):
    messages = [user("weather?")]
    first = house.ask(messages, tools=TOOLS)
    house.fakes[first].script = lambda _: json_reply(openai_error("down", "server_error"), 503)
    turns = [*messages, CALLED, RESULT, {"role": "assistant", "content": "so"}, user("and?")]
    second = house.ask(turns, tools=TOOLS)
    assert house.called == [first, second]
    house.fakes[first].script = replies
    (pin,) = house.pins()
    assert pin["deployment"].endswith(f"#{second}")
    assert house.ask([*turns, CALLED, RESULT], tools=TOOLS) == second


def test_saved_amount_and_cached_tokens_are_on_the_receipt(house):
    house.ask([user("hi")])
    row = house.gateway.settled(1)[0]
    # 600 of 1000 prompt tokens at 0.075 instead of 0.15 USD a million
    assert row["saved"] == 600 * 75
    assert row["cache_read_tokens"] == 600
    receipt = house.gateway.call(
        "GET", f"/v1/generation?id={row['id']}", headers={"Authorization": f"Bearer {house.gateway.key}"}
    )
    shown = receipt.json()["data"]
    assert shown["native_tokens_cached"] == 600
    assert shown["cache_discount"] == 0.000045
    assert shown["cost_details"]["cache_saved"] == "0.000045"


@pytest.fixture
def two(tmp_path) -> Iterator[House]:
    """One model at two providers, each with one credential."""
    gateway = start_gateway(temporary_home(tmp_path))
    with FakeUpstream(replies) as one, FakeUpstream(replies) as other:
        fakes = {
            gateway.add_credential("zhipu", one.url, region="intl"): one,
            gateway.add_credential("alibaba", other.url, region="cn-beijing"): other,
        }
        yield House(gateway, fakes)
        gateway.stop()


def test_excluded_deployment_is_not_revived_by_its_loop(two):
    messages = [user("weather?")]
    first = two.ask(messages, model="glm-4.5", tools=TOOLS)
    (pin,) = two.pins()
    loop = [*messages, CALLED, RESULT]
    assert two.ask(loop, model="glm-4.5", tools=TOOLS) == first
    provider = pin["deployment"].partition("/")[0]
    second = two.ask(loop, model="glm-4.5", tools=TOOLS, provider={"ignore": [provider]})
    assert second not in (0, first)
    assert two.called == [second]
    two.fakes[second].script = lambda _: json_reply(openai_error("down", "server_error"), 503)
    two.ask(loop, model="glm-4.5", tools=TOOLS, provider={"ignore": [provider]})
    assert two.called == [second], "not even when nothing else is left"
    assert two.answer.status >= 500


def test_prompts_go_to_anthropics_paid_cache_where_the_innermost_scope_allows_it(tmp_path):
    gateway = start_gateway(temporary_home(tmp_path))
    with FakeUpstream(lambda _: json_reply(anthropic_message())) as fake:
        gateway.add_credential("anthropic", fake.origin)
        account = preferences.account(gateway.account_id)

        def asked() -> dict:
            assert gateway.chat("claude-haiku-5.5").status == 200
            body = fake.received[-1].json()
            assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
            return body

        assert "cache_control" not in asked()
        preferences.change(gateway.hub, preferences.plan(gateway.hub, "starter"), {"prompt_cache": True})
        assert asked()["cache_control"] == {"type": "ephemeral"}
        preferences.change(gateway.hub, account, {"prompt_cache": False})
        assert "cache_control" not in asked()
        preferences.reset(gateway.hub, account)
        assert asked()["cache_control"] == {"type": "ephemeral"}
        gateway.stop()


def test_embeddings_without_a_name_are_spread_and_with_one_stay(tmp_path):
    gateway = start_gateway(temporary_home(tmp_path))
    with ExitStack() as stack:
        fakes = [stack.enter_context(FakeUpstream(lambda _: json_reply(openai_embeddings()))) for _ in range(2)]
        for number, fake in enumerate(fakes):
            gateway.add_credential("openai", fake.url, label=f"c{number}")
        body = {"model": "text-embedding-3-small", "input": "the same text"}

        def counts(headers: dict | None = None) -> list[int]:
            before = [len(fake.received) for fake in fakes]
            sent = {"Authorization": f"Bearer {gateway.key}", **(headers or {})}
            for _ in range(30):
                assert gateway.call("POST", "/v1/embeddings", body, sent).status == 200
            return [len(fake.received) - count for fake, count in zip(fakes, before, strict=True)]

        assert min(counts()) > 2
        assert sorted(counts({"x-session-id": "one"})) == [0, 30]
        sessions = [row["session"] for row in gateway.settled(60)]
        assert sessions[:30] == [None] * 30
        assert None not in sessions[30:]
        gateway.stop()
