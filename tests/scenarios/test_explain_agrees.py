"""Explanation and action agree: what ``routing explain`` says would be tried is what a running gateway then tries.

Random boundaries at every scope, circuits, cool-downs, sessions, tool loops, hints and faults;
several upstreams, each behind an address of its own, so that what was tried is what was called.
"""

import asyncio
import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.chains import SOAK
from tests.fakes.upstream import FakeUpstream, Received, Reply, json_reply, openai_chat, openai_error, openai_usage
from tests.harness import Answer, RunningGateway, start_gateway, temporary_home
from tokenhub import clock
from tokenhub.operations import availability, explain, plans
from tokenhub.operations.explain import Explanation, Question
from tokenhub.routing import preferences, session
from tokenhub.routing.availability import Cooldown
from tokenhub.routing.circuit import Circuit, State
from tokenhub.routing.health import RECENT_MS
from tokenhub.routing.short import short
from tokenhub.store import circuits, vault
from tokenhub.store import health as health_store
from tokenhub.store import preferences as preferences_store
from tokenhub.store.database import Database

CASES = 3_000 if SOAK else 75
MOST_CASES = 10 * CASES
HOUR_MS = 3_600_000
PLACES = (
    ("openai", "global"), ("openai", "us"), ("openai", "eu"), ("openai", "jp"), ("alibaba", "cn-beijing"),
    ("openrouter", "default"), ("siliconflow-cn", "default"), ("zhipu", "intl"), ("openai", "eu"), ("alibaba", "cn-beijing"),
)  # fmt: skip
"""Provider and region of every credential; two have two."""
NAMES = ("gpt-4o", "deepseek-v3.2", "glm-4.5", "openai/gpt-4o", "openai/gpt-4o@eu", "alibaba/glm-4.5", "starter/any")
THROTTLE = json_reply(openai_error("x", code="rate_limit_exceeded"), 429, {"Retry-After": "9"})
FAULTS: tuple[Reply, ...] = (
    json_reply(openai_error("x"), 500),
    json_reply(openai_error("x"), 503),
    THROTTLE,
    json_reply({"error": {"message": "no", "code": "model_not_found"}}, 404),
    json_reply(b"<html>"),
)


@dataclass
class World:
    """A gateway in front of an upstream for each credential; ``called`` is who was asked, in order."""

    gateway: RunningGateway
    credentials: dict[int, FakeUpstream] = field(default_factory=dict)
    called: list[int] = field(default_factory=list)
    broken: dict[int, Reply] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    """Key id to key: one may call everything, one only some."""

    @property
    def database(self) -> Database:
        return self.gateway.hub.database

    def add(self, provider: str, region: str) -> None:
        number = len(self.credentials) + 1

        def reply(_: Received) -> Reply:
            self.called.append(number)
            return self.broken.get(number) or json_reply(openai_chat("Yes.", usage=openai_usage()))

        fake = FakeUpstream(reply)
        fake.__enter__()
        assert self.gateway.add_credential(provider, fake.url, region=region) == number
        self.credentials[number] = fake

    def synchronise(self) -> None:
        """Let the gateway know all that the store says, and the store all that the gateway knows."""

        async def both() -> None:
            assert self.gateway.gateway is not None
            runtime = self.gateway.gateway.runtime
            runtime.watch.flush()
            await asyncio.wrap_future(runtime.writer.run(lambda _: None))
            await self.gateway.reread()
            lately = await runtime.read(lambda database: health_store.since(database, clock.now_ms() - RECENT_MS))
            runtime.watch.view.know_speeds(availability.speeds(lately))

        self.gateway.run(both())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:  # a session's place depends on it: one with which few cases show all
        patch.setenv(vault.ENVIRONMENT, base64.b64encode(bytes([4]) * vault.KEY_BYTES).decode())
        gateway = start_gateway(
            temporary_home(tmp_path_factory.mktemp("agree")), {"log.level": "error"}, credit_nano=10**15
        )
    made = World(gateway)
    for provider, region in PLACES:
        made.add(provider, region)
    plans.change(gateway.hub, "starter", {}, model_names={"starter/any": ("gpt-4o", "deepseek-v3.2", "glm-4.5")})
    some = gateway.add_key(models=("openai/gpt-4o", "glm-4.5", "starter/any"))
    rows = gateway.rows("SELECT id, models FROM keys")
    made.keys = {row["id"]: some if row["models"] else gateway.key for row in rows}
    yield made
    gateway.stop()
    for fake in made.credentials.values():
        fake.__exit__()


# --- chance


def draw_preferences(chance: random.Random, *, request: bool = False) -> dict[str, Any]:
    """What a scope sets: mostly little, so that something is left to be tried."""

    def some(*names: str) -> list[str]:
        return chance.sample(names, chance.randint(1, len(names)))

    providers = ("openai", "alibaba", "openrouter", "siliconflow-cn", "zhipu")
    drawn = {
        "regions": lambda: some("us", "eu", "jp", "cn"),
        "deny_regions": lambda: some("us", "cn"),
        "providers": lambda: some(*providers, "openai@eu"),
        "deny_providers": lambda: some("openrouter", "openai@us"),
        "models": lambda: some("gpt-4o", "deepseek-v3.2", "glm-4.5"),
        "deny_models": lambda: some("glm-4.5", "alibaba/deepseek-v3.2"),
        "order": lambda: some(*providers),
        "sort": lambda: chance.choice(("price", "latency", "throughput")),
        "max_price": lambda: {"prompt": chance.choice(("0.5", "1", "3")), "completion": "20"},
        "failover": lambda: chance.random() < 0.5,
        "max_attempts": lambda: chance.randint(1, 3),
    }  # fmt: skip
    if request:
        own = {
            "only": drawn["providers"], "ignore": drawn["deny_providers"], "order": drawn["order"], "sort": drawn["sort"],
            "max_price": drawn["max_price"], "allow_fallbacks": drawn["failover"], "require_parameters": lambda: True,
        }  # fmt: skip
        drawn = own
    return {name: drawn[name]() for name in chance.sample(sorted(drawn), chance.choice((0, 0, 0, 1, 1, 2)))}


def set_boundaries(world: World, chance: random.Random, key_id: str) -> None:
    scopes = (("installation", ""), ("plan", "starter"), ("account", str(world.gateway.account_id)), ("key", key_id))
    with world.database.write():
        for scope, subject in scopes:
            chosen = preferences.parse(draw_preferences(chance))
            preferences_store.write(world.database, scope, subject, chosen, clock.now_ms())


def set_troubles(world: World, chance: random.Random) -> None:
    """Open some circuits and cool some credentials, all until long after the case has ended."""
    deployments = [
        f"{provider}/{model}@{region}#{number}"
        for number, (provider, region) in enumerate(PLACES, 1)
        for model in ("gpt-4o", "deepseek-v3.2", "glm-4.5")
    ]
    now_ms = clock.now_ms()
    share = chance.choice((0.0, 0.2, 0.6, 1.0))
    with world.database.write():
        for table in ("circuits", "cooldowns", "affinities"):
            world.database.execute(f"DELETE FROM {table}")
        for one in deployments:
            if chance.random() < share:
                circuits.put(
                    world.database, one, Circuit(State.OPEN, 5, HOUR_MS, now_ms + HOUR_MS, 0, "server", now_ms)
                )
        for number in world.credentials:
            if chance.random() < share / 2:
                circuits.put_cooldown(world.database, number, Cooldown(now_ms + HOUR_MS, HOUR_MS, "rate"), now_ms)


def draw_body(chance: random.Random) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"Question {chance.randint(1, 50)}"}]
    if chance.random() < 0.4:
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "7"},
        ]
    body: dict[str, Any] = {"model": chance.choice(NAMES), "messages": messages}
    if chance.random() < 0.4:
        body["provider"] = draw_preferences(chance, request=True)
    if chance.random() < 0.2:
        body["models"] = chance.sample(("gpt-4o", "deepseek-v3.2", "glm-4.5"), 2)
    if chance.random() < 0.5:
        body["session_id"] = f"session-{chance.randint(1, 9)}"
    if chance.random() < 0.2:
        body["tools"] = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    return body


def hold_tool_loop(world: World, chance: random.Random, body: dict[str, Any]) -> None:
    """Let the store say that this body's session was answered by one of all deployments."""
    key = world.gateway.hub.vault.derive(session.KEY_PURPOSE)
    told = session.of(body, None, account_id=world.gateway.account_id, key=key)
    if told is None or not told.is_bound or chance.random() < 0.3:
        return
    number = chance.choice(sorted(world.credentials))
    provider, region = PLACES[number - 1]
    held = f"{provider}/{chance.choice(('gpt-4o', 'deepseek-v3.2', 'glm-4.5'))}@{region}#{number}"
    with world.database.write():
        world.database.execute(
            "INSERT INTO affinities (session, deployment, expires_at) VALUES (?, ?, ?)",
            (session.pin_key(told, body["model"], key=key), held, clock.now_ms() + HOUR_MS),
        )


# --- what must hold


def numbers(deployments: list[str]) -> list[int]:
    return [int(one.rpartition("#")[2]) for one in deployments]


def tried(found: Explanation) -> list[str]:
    if found.decision is None or found.refusal is not None:
        return []
    return [one.id for one in found.decision.considered if one.verdict == "try"]


def followed(world: World, said: list[str]) -> list[str | None]:
    """What must be called of what was said: up to the first that answers, else all and None at the end.

    A credential that has just been throttled is not asked a second time, for another model.
    """
    expected: list[str | None] = []
    throttled: set[int] = set()
    for one, number in zip(said, numbers(said), strict=True):
        if number in throttled:
            continue
        expected.append(one)
        if number not in world.broken:
            return expected
        if world.broken[number] is THROTTLE:
            throttled.add(number)
    return [*expected, None]


def assert_agrees(world: World, found: Explanation, answer: Answer) -> str:
    """Hold what was done against what was said; return how it ended."""
    if found.refusal is not None:
        assert world.called == []
        error = answer.json()["error"]
        assert (answer.status, error["code"]) == (found.refusal.status, found.refusal.code), (error, found.refusal)
        if found.decision is not None:
            assert answer.headers["x-tokenhub-route"] == short(found.decision)
            suggested = [one.model.id for one in found.instead]
            assert error["metadata"].get("suggestions", []) == suggested
        return f"refused {found.refusal.code}"
    said = tried(found)
    expected = followed(world, said)
    failed = expected[-1] is None
    expected = [one for one in expected if one is not None]
    assert world.called == numbers(expected)
    assert 0 < len(expected) <= 3
    assert found.decision is not None
    assert answer.headers["x-tokenhub-route"] == short(found.decision)
    row = world.gateway.row_of(answer)
    assert json.loads(row["decision"]) == json.loads(found.decision.dump())
    assert [one["id"] for one in json.loads(row["decision"])["d"] if one["v"] == "try"] == said
    assert [one["deployment"] for one in json.loads(row["attempts"])] == expected
    assert (answer.status == 200) != failed, answer.body
    return f"{found.decision.by} {len(expected)}{' failed' if failed else ''}"


SEEN = frozenset(
    {
        "session 1",
        "session 2",
        "session 3",
        "pin 1",
        "order 1",
        "last_resort 1",
        "refused no_eligible_provider",
        "refused no_provider_available",
    }
)
"""Ends that must have been seen: drawn until they are."""


@pytest.mark.soak
def test_what_is_explained_is_what_is_then_done(world: World) -> None:
    ends: dict[str, int] = {}
    case = 0
    while case < CASES or not ends.keys() >= SEEN:
        assert case < MOST_CASES, f"never seen: {SEEN - ends.keys()}"
        chance = random.Random(case)
        key_id = chance.choice(sorted(world.keys))
        set_boundaries(world, chance, key_id)
        set_troubles(world, chance)
        body = draw_body(chance)
        hold_tool_loop(world, chance, body)
        world.broken = {one: chance.choice(FAULTS) for one in world.credentials if chance.random() < 0.5}
        world.synchronise()
        world.called.clear()
        raw = json.dumps(body).encode()
        before = world.gateway.rows("SELECT COUNT(*) AS n FROM requests")[0]["n"]
        found = explain.explain(world.gateway.hub, Question(body["model"], key=key_id, body=raw))
        headers = {"Authorization": f"Bearer {world.keys[key_id]}", "x-tokenhub-explain": "1"}
        answer = world.gateway.call("POST", "/v1/chat/completions", raw, headers)
        if found.refusal is None:
            world.gateway.settled(before + 1)
        try:
            end = assert_agrees(world, found, answer)
        except AssertionError as error:
            raise AssertionError(f"case {case}: {body}, {answer.status} {answer.body[:400]!r}, {found}") from error
        ends[end] = ends.get(end, 0) + 1
        case += 1
    print(f"{case} cases: {dict(sorted(ends.items()))}")


CALL = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "7"}
LOOK = {"name": "look", "input_schema": {"type": "object"}}
BODIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", "messages", {}),
    ("/v1/messages", "messages", {"max_tokens": 9}),
    ("/v1/messages", "messages", {"max_tokens": 9, "system": "Be brief."}),
    ("/v1/messages", "messages", {"max_tokens": 9, "system": [{"type": "text", "text": "Be brief."}]}),
    ("/v1/messages", "messages", {"max_tokens": 9, "tools": [LOOK], "tool_choice": {"type": "auto"}}),
    ("/v1/messages", "messages", {"max_tokens": 9, "then": [("assistant", [CALL]), ("user", [RESULT])]}),
    ("/v1/responses", "input", {"instructions": "Be brief."}),
    ("/v1beta/models/gpt-4o:generateContent", "contents", {}),
    ("/v1/completions", "prompt", {}),
)


def body_of(member: str, more: dict[str, Any], text: str) -> dict[str, Any]:
    """A request that begins with this text, as its surface spells it."""
    turns = [{"role": role, "content": content} for role, content in more.get("then", [])]
    begun = {
        "messages": [{"role": "user", "content": text}, *turns],
        "contents": [{"role": "user", "parts": [{"text": text}]}],
    }
    rest = {name: value for name, value in more.items() if name != "then"}
    named = {} if member == "contents" else {"model": "gpt-4o"}
    return {**named, member: begun.get(member, text), **rest}


@pytest.mark.parametrize(("path", "member", "more"), BODIES)
def test_a_body_of_any_surface_is_explained_as_the_request_that_it_is(
    world: World, path: str, member: str, more: dict[str, Any]
) -> None:
    with world.database.write():
        for table in ("preferences", "circuits", "cooldowns", "affinities"):
            world.database.execute(f"DELETE FROM {table}")
    world.broken = {}
    for number in range(5):
        world.gateway.forget_faults()
        world.synchronise()
        world.called.clear()
        raw = json.dumps(body_of(member, more, f"Question {number}")).encode()
        found = explain.explain(world.gateway.hub, Question("gpt-4o", body=raw))
        answer = world.gateway.call("POST", path, raw, {"Authorization": f"Bearer {world.gateway.key}"})
        if found.refusal is not None:
            assert answer.status == found.refusal.status, (answer.body, found.refusal)
            assert world.called == []
        else:  # without a session every request draws anew
            first = tried(found)[: 1 if found.session is not None else None]
            assert world.called[0] in numbers(first), answer.body


def test_an_explanation_sends_nothing_and_changes_nothing(world: World, tmp_path: Path) -> None:
    def state() -> list[Any]:
        tables = ("requests", "holds", "circuits", "cooldowns", "affinities", "accounts", "keys")
        return [world.gateway.rows(f"SELECT * FROM {table}") for table in tables]

    world.called.clear()
    before = state()
    for name in NAMES:
        explain.explain(world.gateway.hub, Question(name, account="acme", session="one"))
    assert world.called == []
    assert state() == before
