"""Which session a call belongs to: the same for all turns of a conversation, another for every other, and never raw."""

import json
import os
import random

import pytest

from tokenhub.errors import InvalidRequest
from tokenhub.routing import session
from tokenhub.routing.session import Session

KEY = bytes(range(32))
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def of(body, header=None, *, account_id=1, key=KEY) -> Session:
    found = session.of(body, header, account_id=account_id, key=key)
    assert found is not None
    return found


def told(one: Session, *, account_id=1, key=KEY) -> str:
    return session.cache_key(one, account_id=account_id, key=key)


def test_every_turn_of_a_conversation_is_the_same_session():
    rng = random.Random(4)
    seen = set()
    for number in range(300):
        body = {
            "tools": TOOLS[: rng.randrange(2)],
            "messages": [*([SYSTEM] * rng.randrange(2)), user(f"question {number}")],
        }
        first = of(body)
        for turn in range(rng.randrange(1, 6)):
            body["messages"] = [*body["messages"], assistant(f"answer {turn}"), user(f"and {rng.random()}?")]
            assert of(body) == first
        seen.add(first.id)
    assert len(seen) == 300


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [SYSTEM, user("another question")]},
        {"messages": [{**SYSTEM, "content": "You are terse."}, user("question")]},
        {"messages": [user("question")]},
        {"messages": [SYSTEM, user("question")], "tools": TOOLS},
        {"messages": [SYSTEM, user("question")], "session_id": "mine"},
    ],
)
def test_another_beginning_is_another_session(other):
    assert of(other).id != of({"messages": [SYSTEM, user("question")]}).id


def test_marks_of_what_is_to_be_cached_and_the_spelling_of_texts_change_nothing():
    plain = {"tools": TOOLS, "messages": [SYSTEM, user("question")]}
    mark = {"cache_control": {"type": "ephemeral"}}
    marked = {
        "tools": [{**TOOLS[0], **mark}],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": SYSTEM["content"], **mark}]},
            {"role": "user", "content": [{"type": "text", "text": "question"}]},
        ],
    }
    assert of(marked) == of(plain)


def test_names_count_in_their_order_and_before_the_conversation():
    turns = {"messages": [user("question")]}
    metadata, id, key = {"metadata": {"user_id": "d"}}, {"session_id": "b"}, {"prompt_cache_key": "a"}
    assert session.name_of(turns | metadata | id | key, "c") == "a"
    assert session.name_of(turns | metadata | id, "c") == "b"
    assert session.name_of(turns | metadata, "c") == "c"
    assert session.name_of(turns | metadata, None) == "d"
    assert session.name_of(turns, None) is None
    assert not of({**turns, "session_id": "", "metadata": {"user_id": 7}}, "").is_named


def test_one_name_is_one_session_whatever_carries_it():
    named = of({"messages": [user("x")], "session_id": "one"})
    assert named.is_named
    assert named == of({"messages": [user("y")], "prompt_cache_key": "one"}) == of({"messages": [user("z")]}, "one")
    assert named.id == session.named("one", account_id=1, key=KEY).id


def test_header_that_is_too_long_is_refused_and_odd_bytes_are_taken():
    with pytest.raises(InvalidRequest) as refused:
        of({"messages": [user("x")]}, "n" * 257)
    assert refused.value.param == "x-session-id"
    assert of({"messages": [user("x")]}, "caf\udce9").is_named


def test_same_name_and_same_words_in_two_accounts_or_installations_are_different_sessions():
    for body in ({"messages": [SYSTEM, user("question")]}, {"messages": [user("x")], "session_id": "one"}):
        found = [of(body), of(body, account_id=2), of(body, account_id=12), of(body, key=os.urandom(32))]
        assert len({one.id for one in found}) == 4


def test_nothing_of_names_and_prompts_is_in_a_session():
    body = {"messages": [{**SYSTEM, "content": "canary-system"}, user("canary-turn")], "session_id": "canary-name"}
    for one in (of(body), of({**body, "session_id": None})):
        assert "canary" not in repr(one)
        assert b"canary" not in one.id + one.shared
        assert len(one.id) == session.ID_BYTES
        assert told(one) not in (one.id.hex(), one.shared.hex())
        assert len(told(one)) == 2 * session.ID_BYTES


def test_upstream_key_is_shared_by_conversations_that_share_tools_and_system_prompt():
    one, two = of({"messages": [SYSTEM, user("one")]}), of({"messages": [SYSTEM, user("two")]})
    assert one.id != two.id
    assert told(one) == told(two)
    assert len({told(one), told(one, account_id=2), told(one, key=os.urandom(32))}) == 3
    bare = of({"messages": [user("one")]}), of({"messages": [user("two")]})
    assert told(bare[0]) != told(bare[1])
    named = of({"messages": [SYSTEM, user("one")], "session_id": "a"})
    assert told(named) == told(of({"messages": [user("another")], "session_id": "a"})) != told(one)


@pytest.mark.parametrize(
    ("messages", "bound"),
    [
        ([user("x")], False),
        ([user("x"), assistant("y"), user("z")], False),
        ([user("x"), {"role": "assistant", "tool_calls": [{}]}, {"role": "tool", "content": "1"}], True),
        (
            [user("x"), {"role": "assistant", "tool_calls": [{}]}, {"role": "tool", "content": "1"}, user("go on")],
            False,
        ),
        ([user("x"), {"role": "function", "name": "f", "content": "1"}], True),
        ([user("x"), {"role": "assistant", "content": "y", "thinking_blocks": [{}]}, user("z")], True),
        ([user("x"), {"role": "assistant", "content": "y", "reasoning_details": [{}]}, user("z")], True),
        ([user("x"), {"role": "assistant", "tool_calls": [{"extra_content": {}}]}, user("z")], True),
        ([user("x"), {"role": "assistant", "content": "y", "reasoning_content": "hm"}, user("z")], False),
        ([{"role": "user", "content": "x", "thinking_blocks": []}], False),
    ],
)
def test_session_is_bound_in_a_tool_loop_and_by_signatures(messages, bound):
    assert of({"messages": messages}).is_bound is bound
    assert of({"messages": messages, "session_id": "one"}).is_bound is bound


def test_what_has_no_conversation_and_no_name_has_no_session():
    assert session.of({"input": "text"}, None, account_id=1, key=KEY) is None
    assert of({"input": "text", "session_id": "one"}).is_named


def test_pin_is_kept_for_each_model_that_is_asked_for():
    one = of({"messages": [user("x")]})
    keys = {session.pin_key(one, model, key=KEY) for model in ("a", "b", "alibaba/a", "a@eu")}
    assert len(keys) == 4
    assert one.id not in keys


def test_odd_conversations_have_a_session_too():
    bodies = [
        {"messages": [SYSTEM]},
        {"messages": [assistant("Hello, how can I help?"), user("question")]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        {"messages": [{"role": "tool", "content": "1"}], "functions": [{"name": "f"}]},
    ]
    assert len({of(body).id for body in bodies}) == len(bodies)
    greeted = bodies[1]
    assert of({"messages": [*greeted["messages"], assistant("a"), user("b")]}) == of(greeted)
    assert of({"messages": [assistant("Hello, how can I help?"), user("other")]}).id != of(greeted).id
    assert json.dumps(greeted) == json.dumps(bodies[1]), "a body is read, never changed"
