"""Anthropic's usage, errors and models (T9, T10, T12)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.usage import MAX_TOKENS, Usage
from tokenhub.wire.faults import Failure, FaultKind
from tokenhub.wire.messages.common import ForcedTool, InputCount, classify_error, parse_usage, traits_of

GOOD = {"input_tokens": 10, "output_tokens": 5}


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (GOOD, Usage(input=10, output=5)),
        (
            {**GOOD, "cache_read_input_tokens": 2000, "cache_creation_input_tokens": 400},
            Usage(input=10, cache_read=2000, cache_write=400, output=5),
        ),
        (
            {
                **GOOD,
                "cache_creation_input_tokens": 400,
                "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 300},
            },
            Usage(input=10, cache_write=100, cache_write_1h=300, output=5),
        ),
        ({**GOOD, "output_tokens_details": {"thinking_tokens": 4}}, Usage(input=10, output=5, reasoning=4)),
        ({"input_tokens": 0, "output_tokens": 0}, Usage()),
        ({**GOOD, "cache_read_input_tokens": None, "cache_creation": None}, Usage(input=10, output=5)),
    ],
)
def test_t12_anthropics_buckets_are_disjoint_as_they_come(raw, usage):
    assert parse_usage(raw) == usage


COUNTS = st.integers(0, 10**6)


@given(fresh=COUNTS, read=COUNTS, written=COUNTS, one_hour=COUNTS)
def test_t12_where_nobody_says_what_the_input_counts_no_token_is_billed_twice(fresh, read, written, one_hour):
    raw = {
        "input_tokens": fresh,
        "output_tokens": 1,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_1h_input_tokens": one_hour},
    }
    apart, whole, doubtful = (parse_usage(raw, one) for one in InputCount)
    assert apart is not None
    assert apart.prompt_total == fresh + read + written
    if read + written > fresh:  # it cannot be the whole prompt
        assert whole is None
        assert doubtful == apart
    else:
        assert whole == doubtful == replace(apart, input=fresh - read - written)
        assert whole.prompt_total == fresh


NOT_A_COUNT = [-1, 1.5, "5", True, [1], {"a": 1}, MAX_TOKENS + 1, float("nan"), False, "", [], {}, 0.0]


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "x",
        {},
        {"input_tokens": 1},
        {"output_tokens": 1},
        *({**GOOD, "input_tokens": value} for value in NOT_A_COUNT),
        *({**GOOD, "output_tokens": value} for value in NOT_A_COUNT),
        *({**GOOD, "cache_read_input_tokens": value} for value in NOT_A_COUNT),
        *({**GOOD, "cache_creation": {"ephemeral_1h_input_tokens": value}} for value in NOT_A_COUNT),
        *({**GOOD, "output_tokens_details": {"thinking_tokens": value}} for value in NOT_A_COUNT),
    ],
    ids=str,
)
def test_t9_nonsense_is_no_usage(raw):
    assert parse_usage(raw) is None


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("authentication_error", FaultKind.AUTH),
        ("billing_error", FaultKind.BILLING),
        ("rate_limit_error", FaultKind.RATE),
        ("overloaded_error", FaultKind.OVERLOAD),
        ("api_error", FaultKind.SERVER),
        ("timeout_error", FaultKind.TIMEOUT),
        ("invalid_request_error", FaultKind.BAD_REQUEST),
        ("an_error_to_come", FaultKind.SERVER),
    ],
)
def test_an_error_is_sorted_by_its_type(word, kind):
    payload = {"type": "error", "error": {"type": word, "message": "secret words"}}
    assert classify_error(payload) == Failure(kind, code=word)


@pytest.mark.parametrize("payload", [{}, {"error": None}, {"error": "x"}, {"error": {"type": 5}}])
def test_an_error_of_no_known_shape_is_the_upstreams(payload):
    assert classify_error(payload).kind is FaultKind.SERVER


@pytest.mark.parametrize(
    ("upstream_id", "max_output", "sampling", "thinking", "forced"),
    [
        ("claude-fable-5-2", 128_000, False, {"adaptive"}, ForcedTool.REJECTED),
        ("claude-opus-5-5", 128_000, False, {"adaptive"}, ForcedTool.REJECTED),
        ("claude-sonnet-5-5", 128_000, False, {"adaptive", "between_tools"}, ForcedTool.REJECTED),
        ("claude-haiku-5-5", 128_000, False, {"adaptive", "disabled"}, ForcedTool.ALLOWED),
        ("claude-opus-5", 128_000, False, {"adaptive", "disabled"}, ForcedTool.ALLOWED),
        ("claude-opus-4-8", 128_000, False, {"adaptive", "disabled"}, ForcedTool.ALLOWED),
        ("claude-sonnet-4-6", 128_000, True, {"adaptive", "enabled", "disabled"}, ForcedTool.WITHOUT_THINKING),
        ("claude-opus-4-5-20251101", 64_000, True, {"enabled"}, ForcedTool.WITHOUT_THINKING),
        ("claude-haiku-4-5-20251001", 64_000, True, {"enabled"}, ForcedTool.WITHOUT_THINKING),
        ("claude-sonnet-4-20250514", 64_000, True, {"enabled"}, ForcedTool.WITHOUT_THINKING),
        ("claude-opus-4-1-20250805", 32_000, True, {"enabled"}, ForcedTool.WITHOUT_THINKING),
        ("claude-3-7-sonnet-20250219", 64_000, True, {"enabled"}, ForcedTool.WITHOUT_THINKING),
        ("claude-3-5-sonnet-20241022", 8_192, True, set(), ForcedTool.ALLOWED),
        ("claude-3-haiku-20240307", 4_096, True, set(), ForcedTool.ALLOWED),
        ("claude-nova-9", 128_000, False, {"adaptive"}, ForcedTool.REJECTED),
    ],
)
def test_a_models_traits_follow_from_the_longest_prefix_of_its_id(upstream_id, max_output, sampling, thinking, forced):
    traits = traits_of(upstream_id)
    assert (traits.max_output, traits.sampling, traits.thinking) == (max_output, sampling, thinking)
    assert traits.forced_tool is forced
