"""An explanation reads the live state of both databases: scopes, circuits, cool-downs, tool loops."""

import json
from typing import Any

import orjson
import pytest

from tokenhub import clock
from tokenhub.call import Capability, Wire
from tokenhub.errors import InvalidRequest, ModelNotFound, NotFound
from tokenhub.operations import accounts, credentials, explain, hello, keys, preferences, spoken
from tokenhub.operations.credentials import NewCredential
from tokenhub.operations.explain import Question
from tokenhub.operations.hub import Hub
from tokenhub.operations.keys import KeyTerms
from tokenhub.routing import session
from tokenhub.routing.availability import Cooldown
from tokenhub.routing.circuit import Circuit, State
from tokenhub.store import circuits

MODEL = "gpt-4o"
HOUR_MS = 3_600_000
EU, US, JP = (f"openai/{MODEL}@{region}#{number}" for number, region in enumerate(("eu", "us", "jp"), 1))
LOOP = {
    "model": MODEL,
    "session_id": "one",
    "messages": [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
    ],
}  # fmt: skip


@pytest.fixture
def account(hub: Hub) -> int:
    """The only account, with a provider in three regions behind it."""
    for region in ("eu", "us", "jp"):
        credentials.add(hub, NewCredential("openai", "sk-upstream-secret-000001", region))
    return accounts.create(hub, "acme").account.id


def states(found: explain.Explanation) -> dict[str, tuple[str, str]]:
    assert found.decision is not None
    return {
        one.id: (one.verdict, one.exclusion.scope if one.exclusion else one.standing.code)
        for one in found.decision.considered
    }


def test_every_scope_is_seen_with_where_it_is_set(hub: Hub, account: int) -> None:
    key = keys.create(hub, account, KeyTerms(models=("openai/gpt-4o@eu", "openai/gpt-4o@jp"))).state.key
    preferences.change(hub, preferences.Subject(), {"deny_regions": ["cn"]})
    preferences.change(hub, preferences.plan(hub, "starter"), {"max_attempts": 2})
    preferences.change(hub, preferences.account(account), {"regions": ["eu", "us"]})
    preferences.change(hub, preferences.key(key.id), {"deny_providers": ["openai@us"]})
    without = explain.explain(hub, Question(MODEL))
    assert {one: state for one, (state, _) in states(without).items()} == {EU: "try", US: "try", JP: "excluded"}
    assert [one.scope for one in without.chain] == ["installation", "plan", "account"]
    found = explain.explain(hub, Question(MODEL, key=key.id))
    assert [one.scope for one in found.chain] == ["installation", "plan", "account", "key"]
    assert states(found) == {EU: ("try", ""), US: ("excluded", "key"), JP: ("excluded", "account")}
    assert found.decision is not None
    assert (found.decision.max_attempts, found.decision.why_max) == (2, "plan")


def test_what_holds_for_the_data_and_who_says_so_is_seen(hub: Hub, account: int) -> None:
    credentials.set_data_policy(hub, 2, "no_retention")
    preferences.change(hub, preferences.account(account), {"data_policy": "no_retention"})
    found = explain.explain(hub, Question(MODEL))
    assert {one: state for one, (state, _) in states(found).items()} == {EU: "excluded", US: "try", JP: "excluded"}
    policies = {one: (policy.policy, policy.by) for one, policy in found.policies.items()}
    stated = ("no_training", "provider")
    assert policies == {EU: stated, US: ("no_retention", "operator"), JP: stated}


def test_what_is_down_is_seen(hub: Hub, account: int) -> None:
    now_ms = clock.now_ms()
    with hub.database.write():
        circuits.put(hub.database, EU, Circuit(State.OPEN, 5, HOUR_MS, now_ms + HOUR_MS, 0, "timeout", now_ms))
        circuits.put_cooldown(hub.database, 2, Cooldown(now_ms + HOUR_MS, HOUR_MS, "rate"), now_ms)
    found = explain.explain(hub, Question(MODEL))
    assert states(found) == {EU: ("unavailable", "circuit_open"), US: ("unavailable", "cooling_down"), JP: ("try", "")}
    credentials.remove(hub, 3)
    last = explain.explain(hub, Question(MODEL))
    assert states(last)[EU] == ("try", "circuit_open")
    assert last.decision is not None
    assert last.decision.by == "last_resort"
    credentials.remove(hub, 1)
    none = explain.explain(hub, Question(MODEL))
    assert none.refusal is not None
    assert (none.refusal.status, none.refusal.code) == (503, "no_provider_available")


def test_a_tool_loop_is_held_where_it_was_and_never_outside(hub: Hub, account: int) -> None:
    raw = json.dumps(LOOP).encode()
    free = explain.explain(hub, Question(MODEL, body=raw))
    assert free.decision is not None
    assert (free.pinned, free.decision.by) == (None, "session")
    last = [one.id for one in free.decision.considered][-1]
    key = hub.vault.derive(session.KEY_PURPOSE)
    told = session.of(LOOP, None, account_id=account, key=key)
    assert told is not None
    with hub.database.write():
        hub.database.execute(
            "INSERT INTO affinities (session, deployment, expires_at) VALUES (?, ?, ?)",
            (session.pin_key(told, MODEL, key=key), last, clock.now_ms() + HOUR_MS),
        )
    held = explain.explain(hub, Question(MODEL, body=raw))
    assert held.decision is not None
    assert (held.pinned, held.decision.by, held.decision.considered[0].id) == (last, "pin", last)
    preferences.change(hub, preferences.account(account), {"deny_providers": [f"openai@{last[14:16]}"]})
    outside = explain.explain(hub, Question(MODEL, body=raw))
    assert outside.decision is not None
    assert outside.decision.by == "session"
    assert states(outside)[last] == ("excluded", "account")


def test_shares_of_sessions_are_the_weights_of_what_may_be_tried(hub: Hub, account: int) -> None:
    found = explain.explain(hub, Question(MODEL))
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares.keys() == {EU, US, JP} == found.cards.keys()
    firsts = [explain.explain(hub, Question(MODEL, session=f"s{n}")).decision.considered[0].id for n in range(60)]  # type: ignore[union-attr]
    for one, share in found.shares.items():
        assert abs(firsts.count(one) / 60 - share) < 0.25, (one, share, firsts.count(one))


def test_questions_that_cannot_be_asked_are_refused(hub: Hub, account: int) -> None:
    with pytest.raises(ModelNotFound):
        explain.explain(hub, Question("no-such-model"))
    with pytest.raises(InvalidRequest, match="JSON"):
        explain.explain(hub, Question(MODEL, body=b"{"))
    key = keys.create(hub, account).state.key
    accounts.create(hub, "other")
    with pytest.raises(InvalidRequest, match="belongs to account acme"):
        explain.explain(hub, Question(MODEL, account="other", key=key.id))
    with pytest.raises(NotFound, match="no account 'nobody'"):
        explain.explain(hub, Question(MODEL, account="nobody", key=key.id))


@pytest.mark.parametrize("named", ["Größe", "Gro\u0308\u00dfe", "1"])
def test_a_key_s_account_is_named_as_any_account_is(hub: Hub, named: str) -> None:
    account = accounts.create(hub, "Größe").account
    assert account.id == 1
    key = keys.create(hub, account.id).state.key
    found = explain.explain(hub, Question("smollm2-135m", account=named, key=key.id))
    assert found.caller.account.id == account.id


def test_an_embeddings_model_is_asked_in_its_own_way(hub: Hub, account: int) -> None:
    found = explain.explain(hub, Question("text-embedding-3-small"))
    assert found.refusal is None
    assert found.session is None
    assert found.decision is not None
    assert found.decision.considered[0].verdict == "try"


def test_a_model_that_a_key_may_not_call_is_refused_as_that_on_its_own_surface(hub: Hub, account: int) -> None:
    key = keys.create(hub, account, KeyTerms(models=(MODEL,))).state.key
    for body in ({"input": ["a", "b"]}, {"input": [1, 2]}):
        found = explain.explain(hub, Question("text-embedding-3-small", key=key.id, body=orjson.dumps(body)))
        assert found.refusal is not None
        assert found.refusal.code == "permission_denied"


def test_what_all_that_would_be_tried_find_impossible_is_a_refusal(hub: Hub, account: int) -> None:
    credentials.add(hub, NewCredential("google", "sk-upstream-secret-000001"))
    found = explain.explain(hub, Question("gemini-embedding-001", body=b'{"input": [1, 2]}'))
    assert found.refusal is not None
    assert (found.refusal.status, found.refusal.param) == (400, "input")
    assert list(states(found).values()) == [("try", "")]
    assert explain.explain(hub, Question("gemini-embedding-001", body=b'{"input": "a"}')).refusal is None


@pytest.mark.parametrize("capability", list(Capability))
def test_hello_is_a_request_of_the_models_own_kind(capability: Capability) -> None:
    surface, raw = hello.to("some-model", capability, 1_795_000_000)
    call, _ = surface.call(surface.parse(raw), len(raw))
    assert (call.capability, call.model) == (capability, "some-model")


HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"input_schema": {}}}}


def said(**part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}, part]}]}


@pytest.mark.parametrize(
    ("body", "capability", "wire"),
    [
        (HELLO, Capability.CHAT, Wire.CHAT),
        ({**HELLO, "tools": [FUNCTION], "thinking": {"type": "enabled"}, "stop": "x"}, Capability.CHAT, Wire.CHAT),
        (said(type="image_url", image_url={"url": "https://x"}, cache_control={}), Capability.CHAT, Wire.CHAT),
        ({**HELLO, "system": "x"}, Capability.CHAT, Wire.MESSAGES),
        ({**HELLO, "stop_sequences": ["x"]}, Capability.CHAT, Wire.MESSAGES),
        ({**HELLO, "tools": [{"name": "f", "input_schema": {}}]}, Capability.CHAT, Wire.MESSAGES),
        ({**HELLO, "tools": [{"name": "bash", "type": "bash_20250124"}]}, Capability.CHAT, Wire.MESSAGES),
        (said(type="tool_result", tool_use_id="t"), Capability.CHAT, Wire.MESSAGES),
        (said(type="image", source={"type": "url"}), Capability.CHAT, Wire.MESSAGES),
        ({"messages": 7}, Capability.CHAT, Wire.CHAT),
        (said(type=["image"]), Capability.CHAT, Wire.CHAT),
        ({"input": "Hello"}, Capability.CHAT, Wire.RESPONSES),
        ({"input": "Hello"}, Capability.EMBEDDINGS, Wire.EMBEDDINGS),
        ({"prompt": "Hello"}, Capability.CHAT, Wire.COMPLETIONS),
        ({"prompt": "Hello"}, Capability.IMAGES, Wire.IMAGES),
        ({"contents": []}, Capability.CHAT, Wire.GEMINI),
        ({"content": {"parts": []}}, Capability.EMBEDDINGS, Wire.GEMINI),
        ({}, Capability.CHAT, Wire.CHAT),
    ],
)
def test_a_body_tells_which_surface_it_is_for(body: dict[str, Any], capability: Capability, wire: Wire) -> None:
    assert spoken.surface_of(body, "some/model", capability, 0)[0].wire is wire


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("openai/gpt-4o", {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}),
        ("text-embedding-3-small", {"content": {"parts": [{"text": "Hello"}]}}),
        ("text-embedding-3-small", {"requests": [{"content": {"parts": [{"text": "Hello"}]}}]}),
    ],
)
def test_googles_clients_name_the_model_in_the_path(model: str, body: dict[str, Any]) -> None:
    surface, asked = spoken.surface_of(body, model, Capability.EMBEDDINGS, 0)
    assert asked == body
    call, _ = surface.call(surface.parse(orjson.dumps(asked)), 1)
    assert (call.model, call.wire) == (model, Wire.GEMINI)
