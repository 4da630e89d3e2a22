"""Fields that change the price: left out and said so, refused, or none of our business."""

import pytest

from tokenhub.billing import features
from tokenhub.call import Wire
from tokenhub.errors import InvalidRequest

FUNCTION = {"type": "function", "function": {"name": "weather"}}
SEARCH = {"type": "web_search", "search_context_size": "high"}


def body(**fields: object) -> dict[str, object]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], **fields}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service_tier", "priority"),
        ("service_tier", "flex"),
        ("speed", "fast"),
        ("prediction", {"type": "content", "content": "x"}),
        ("store", True),
        ("inference_geo", "us"),
        ("enable_search", True),
        ("search_options", {"enable_source": True}),
    ],
)
def test_field_that_only_buys_speed_or_another_price_is_left_out_and_said(field, value):
    asked = body(**{field: value}, temperature=0)
    kept, dropped = features.check(asked, Wire.CHAT)
    assert kept == body(temperature=0)
    assert dropped == (field,)
    assert field in asked


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("web_search_options", {"search_context_size": "low"}),
        ("search_options", {"forced_search": True}),
        ("plugins", [{"id": "web"}]),
        ("preset", "house"),
        ("modalities", ["text", "audio"]),
        ("modalities", ["image", "text"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("best_of", 4),
        ("mcp_servers", [{"url": "https://x.example"}]),
        ("prompt_cache_options", {"ttl": "12h"}),
        ("prompt_cache_options", {"ttl": ["30m"]}),
        ("prompt_cache_options", {"prewarm": True}),
        ("moderation", {"model": "gpt-6-sol"}),
        ("access_programs", {"cyber": "daybreak_red"}),
    ],
)
def test_field_that_asks_for_a_paid_service_is_refused_by_name(field, value):
    with pytest.raises(InvalidRequest) as refused:
        features.check(body(**{field: value}), Wire.CHAT)
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "unpriced_feature", field)


def test_a_reply_that_is_not_to_be_made_is_refused():
    """It would be free for being empty, while the provider is paid for the cache that it fills."""
    with pytest.raises(InvalidRequest) as refused:
        features.check({"model": "gpt-6", "input": "Hi", "generate": False}, Wire.RESPONSES)
    assert (refused.value.code, refused.value.param) == ("unpriced_feature", "generate")
    assert features.check({"input": "Hi", "generate": True}, Wire.RESPONSES)[1] == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("access_programs", {"cyber": "standard"}),
        ("moderation", {"model": "omni-moderation-latest"}),
        ("moderation", "low"),
        ("modalities", ["text"]),
        ("modalities", None),
        ("audio", None),
        ("web_search_options", None),
        ("best_of", 1),
        ("prompt_cache_options", {"mode": "explicit", "ttl": "1h"}),
        ("prompt_cache_key", "session"),
        ("reasoning_effort", "high"),
        ("n", 3),
        ("some_field_of_next_year", {"a": 1}),
        ("tools", [FUNCTION]),
        ("tools", [{"type": "custom", "custom": {"name": "sql"}}]),
        ("tools", "nonsense"),
    ],
)
def test_every_other_field_passes_in_the_same_body(field, value):
    asked = body(**{field: value})
    kept, dropped = features.check(asked, Wire.CHAT)
    assert kept is asked
    assert dropped == ()


def test_absent_value_of_a_field_that_is_left_out_is_not_worth_saying():
    assert features.check(body(store=False, service_tier=None), Wire.CHAT) == (body(), ())


@pytest.mark.parametrize(
    "choice", [None, "auto", "required", "none", {"type": "function", "function": {"name": "weather"}}]
)
def test_hosted_tool_that_the_client_does_not_force_is_left_out(choice):
    kept, dropped = features.check(body(tools=[FUNCTION, SEARCH], tool_choice=choice), Wire.CHAT)
    assert kept == body(tools=[FUNCTION], tool_choice=choice)
    assert dropped == ("tools.web_search",)


def test_nothing_about_tools_is_left_when_all_were_hosted():
    kept, dropped = features.check(body(tools=[SEARCH], tool_choice="auto", parallel_tool_calls=False), Wire.CHAT)
    assert kept == body()
    assert dropped == ("tools.web_search",)


@pytest.mark.parametrize(
    ("tools", "choice"),
    [([SEARCH], "required"), ([FUNCTION, SEARCH], {"type": "web_search"}), ([SEARCH], {"type": "web_search"})],
)
def test_hosted_tool_that_the_client_forces_is_refused(tools, choice):
    with pytest.raises(InvalidRequest) as refused:
        features.check(body(tools=tools, tool_choice=choice), Wire.CHAT)
    assert (refused.value.code, refused.value.param) == ("unpriced_feature", "tool_choice")


def test_hosted_tools_are_left_out_of_namespaces_too():
    hosted = [{"type": "mcp", "server_url": "https://evil.example"}, {"type": "web_search"}]
    own = {"type": "function", "name": "f"}
    deep = {"type": "namespace", "name": "in", "tools": [*hosted, own]}
    tools = [{"type": "namespace", "name": "out", "tools": [deep]}, {"type": "namespace", "name": "x", "tools": hosted}]
    left = [{"type": "namespace", "name": "out", "tools": [{"type": "namespace", "name": "in", "tools": [own]}]}]
    said = ("tools.mcp", "tools.web_search")
    assert features.check({"tools": tools}, Wire.RESPONSES) == ({"tools": left}, said)
    item = {"type": "additional_tools", "tools": tools}
    assert features.check({"input": [item]}, Wire.RESPONSES) == ({"input": [{**item, "tools": left}]}, said)
    assert features.check({"tools": left}, Wire.RESPONSES)[0]["tools"] is left
    with pytest.raises(InvalidRequest, match="no price"):
        features.check({"tools": tools[1:], "tool_choice": "required"}, Wire.RESPONSES)


def test_type_of_a_tool_cannot_write_into_a_header():
    _, dropped = features.check(body(tools=[{"type": "x\r\nset-cookie: a"}, {"type": 7}]), Wire.CHAT)
    assert dropped == ("tools.unknown",)


def test_embeddings_are_checked_by_the_same_table():
    asked = {"model": "text-embedding-3-small", "input": "Hi", "service_tier": "flex"}
    assert features.check(asked, Wire.EMBEDDINGS) == (
        {"model": "text-embedding-3-small", "input": "Hi"},
        ("service_tier",),
    )


def test_speed_of_a_voice_is_another_thing_than_speed_of_an_answer():
    asked = {"model": "tts-1", "input": "Hi", "voice": "alloy", "speed": 1.5, "service_tier": "flex"}
    kept, dropped = features.check(asked, Wire.SPEECH)
    assert (kept["speed"], dropped) == (1.5, ("service_tier",))


def test_a_responses_request_keeps_the_tools_its_client_runs_wherever_they_stand() -> None:
    own = [
        {"type": "function", "name": "f"},
        {"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "c"}]},
    ]
    search = {"type": "web_search"}
    item = {"type": "additional_tools", "role": "developer", "tools": [*own, search]}
    user = {"role": "user", "content": "Hi"}
    body = {"model": "m", "tools": [*own, search], "tool_choice": "auto", "input": [item, user]}
    kept, dropped = features.check(body, Wire.RESPONSES)
    assert kept == {**body, "tools": own, "input": [{**item, "tools": own}, user]}
    assert set(dropped) == {"tools.web_search"}
    alone = {"model": "m", "input": [{**item, "tools": [search]}, user]}
    assert features.check(alone, Wire.RESPONSES)[0]["input"][0]["tools"] == []
    with pytest.raises(InvalidRequest) as caught:
        features.check({**alone, "tool_choice": {"type": "web_search"}}, Wire.RESPONSES)
    assert caught.value.code == "unpriced_feature"
    plain = {"model": "m", "tools": own, "input": [{**item, "tools": own}]}
    assert features.check(plain, Wire.RESPONSES)[0] is plain


def test_messages_keep_the_tools_that_their_client_runs_by_anthropics_schema():
    own = [{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]
    hosted = {"type": "web_search_20250305", "name": "web_search"}
    kept, dropped = features.check(body(tools=[*own, hosted]), Wire.MESSAGES)
    assert (kept["tools"], dropped) == (own, ("tools.web_search_20250305",))
    same = body(tools=own)
    assert features.check(same, Wire.MESSAGES) == (same, ())


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "web_search"}, {"type": "any"}])
def test_hosted_tool_that_messages_force_is_refused(choice):
    asked = body(tools=[{"type": "web_search_20250305", "name": "web_search"}], tool_choice=choice)
    with pytest.raises(InvalidRequest) as refused:
        features.check(asked, Wire.MESSAGES)
    assert (refused.value.code, refused.value.param) == ("unpriced_feature", "tool_choice")


@pytest.mark.parametrize(
    "field", ["anthropic_beta", "betas", "billing_policy", "compaction", "fallback_credit_token", "fallbacks"]
)
def test_fields_of_messages_that_change_payer_model_or_length_are_left_out(field):
    assert features.check(body(**{field: ["x"]}), Wire.MESSAGES) == (body(), (field,))
    assert features.check(body(**{field: ["x"]}), Wire.CHAT)[1] == ()


@pytest.mark.parametrize("messages", ["Hi", ["Hi", None], [{"content": None}, {"content": ["Hi"]}]])
def test_turns_of_another_shape_are_left_to_their_wire(messages):
    assert features.check(body(messages=messages), Wire.MESSAGES) == (body(messages=messages), ())


def added(**tool: object) -> dict[str, object]:
    """A request in which a turn adds a tool to those before it."""
    turn = {"role": "system", "content": [{"type": "tool_addition", "tool": tool}]}
    return body(messages=[{"role": "user", "content": "Hi"}, turn])


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "tool_reference", "name": "web_search"},
        {"type": "tool_definition", "definition": {"name": "f", "input_schema": {}}},
        {"type": "tool_definition", "definition": {"type": "bash_20250124", "name": "bash"}},
    ],
)
def test_a_turn_may_add_a_tool_that_its_client_runs(tool):
    asked = added(**tool)
    assert features.check(asked, Wire.MESSAGES) == (asked, ())


def test_hosted_tool_that_a_turn_adds_is_refused():
    asked = added(type="tool_definition", definition={"type": "web_search_20250305", "name": "web_search"})
    with pytest.raises(InvalidRequest) as refused:
        features.check(asked, Wire.MESSAGES)
    assert (refused.value.code, refused.value.param) == ("unpriced_feature", "messages")


def test_extra_body_that_an_upstream_may_unpack_is_held_to_the_same_table():
    asked = body(extra_body={"service_tier": "priority", "google": {"x": 1}})
    kept, dropped = features.check(asked, Wire.CHAT)
    assert kept == body(extra_body={"google": {"x": 1}})
    assert dropped == ("extra_body.service_tier",)
    same = body(extra_body={"google": {"x": 1}})
    assert features.check(same, Wire.CHAT)[0] is same
    with pytest.raises(InvalidRequest) as refused:
        features.check(body(extra_body={"extra_body": {"plugins": [{"id": "web"}]}}), Wire.CHAT)
    assert refused.value.code == "unpriced_feature"
