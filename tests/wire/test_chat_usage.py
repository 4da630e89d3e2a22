"""Usage of every OpenAI-compatible provider in one form (T8, T9, T12)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.usage import MAX_TOKENS, Usage
from tokenhub.wire.chat.usage import parse_usage, render_usage

VECTORS = {
    "openai": (
        {
            "prompt_tokens": 2600,
            "completion_tokens": 300,
            "total_tokens": 2900,
            "prompt_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 400, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 192, "accepted_prediction_tokens": 9},
        },
        Usage(input=200, cache_read=2000, cache_write=400, output=300, reasoning=192),
    ),
    "openai, fully cached": (
        {"prompt_tokens": 1024, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1024}},
        Usage(cache_read=1024, output=1),
    ),
    "openai, audio and images, partly cached": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 70, "audio_tokens": 20, "image_tokens": 40, "text_tokens": 40},
        },
        Usage(cache_read=70, audio_input=20, image_input=10, output=50),
    ),
    "openai, spoken reply": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 90,
            "total_tokens": 100,
            "completion_tokens_details": {"audio_tokens": 60, "text_tokens": 30, "reasoning_tokens": 0},
        },
        Usage(input=10, output=30, unknown=60),
    ),
    "drawn reply": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 1300,
            "total_tokens": 1310,
            "completion_tokens_details": {"image_tokens": 1290, "reasoning_tokens": 0},
        },
        Usage(input=10, output=10, image_output=1290),
    ),
    "deepseek": (
        {
            "prompt_tokens": 17,
            "completion_tokens": 47,
            "total_tokens": 64,
            "prompt_tokens_details": {"cached_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 34},
            "prompt_cache_hit_tokens": 5,
            "prompt_cache_miss_tokens": 12,
        },
        Usage(input=12, cache_read=5, output=47, reasoning=34),
    ),
    "deepseek, without details": (
        {"prompt_tokens": 17, "completion_tokens": 4, "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 11},
        Usage(input=11, cache_read=6, output=4),
    ),
    "moonshot k2": (
        {"prompt_tokens": 8, "completion_tokens": 11, "total_tokens": 19, "cached_tokens": 8},
        Usage(cache_read=8, output=11),
    ),
    "moonshot k3, told twice": (
        {
            "prompt_tokens": 92,
            "completion_tokens": 30,
            "total_tokens": 122,
            "cached_tokens": 92,
            "prompt_tokens_details": {"cached_tokens": 92},
            "completion_tokens_details": {"reasoning_tokens": 13},
        },
        Usage(cache_read=92, output=30, reasoning=13),
    ),
    "dashscope, explicit cache": (
        {
            "prompt_tokens": 1500,
            "completion_tokens": 20,
            "total_tokens": 1520,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_creation_input_tokens": 1400,
                "cache_type": "ephemeral",
                "cache_creation": {"ephemeral_5m_input_tokens": 1400},
            },
        },
        Usage(input=100, cache_write=1400, output=20),
    ),
    "an hour's cache": (
        {
            "prompt_tokens": 1500,
            "completion_tokens": 20,
            "cache_creation_input_tokens": 1400,
            "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 1000},
        },
        Usage(input=100, cache_write=400, cache_write_1h=1000, output=20),
    ),
    "reasoning beside the output": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "total_tokens": 60,
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
        Usage(input=10, output=50, reasoning=30),
    ),
    "tokens beside everything known": (
        {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 60},
        Usage(input=10, output=20, unknown=30),
    ),
    "a kind of prompt token to come": (
        {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"smell_tokens": 4, "cached_tokens": 3}},
        Usage(input=3, cache_read=3, output=2, unknown=4, unknown_input=4),
    ),
    "total only": ({"prompt_tokens": 10, "total_tokens": 14}, Usage(input=10, output=4)),
    "nulls": (
        {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": None, "prompt_tokens_details": None},
        Usage(input=9, output=1),
    ),
    "t8, zero is a value": ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage()),
}


@pytest.mark.parametrize("name", VECTORS)
def test_t12_usage_comes_out_in_disjoint_buckets(name):
    raw, expected = VECTORS[name]
    assert parse_usage(raw) == expected


@pytest.mark.parametrize("name", [name for name in VECTORS if "total_tokens" in VECTORS[name][0]])
def test_t12_the_buckets_add_up_to_the_total(name):
    raw, _ = VECTORS[name]
    usage = parse_usage(raw)
    assert usage is not None
    if raw["total_tokens"] is not None:
        assert usage.total == raw["total_tokens"]


GOOD = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
NOT_A_COUNT = [-1, 1.0, 1.5, "5", "", True, False, float("nan"), float("inf"), [], [5], {}, {"a": 1}, MAX_TOKENS + 1]
NONSENSE = [
    None,
    [],
    "10",
    7,
    True,
    {},
    {"completion_tokens": 5},
    {"total_tokens": 5},
    *({**GOOD, "prompt_tokens": value} for value in NOT_A_COUNT),
    *({**GOOD, "completion_tokens": value} for value in NOT_A_COUNT),
    *({**GOOD, "total_tokens": value} for value in NOT_A_COUNT),
    *({**GOOD, "prompt_tokens_details": {"cached_tokens": value}} for value in NOT_A_COUNT),
    *({**GOOD, "completion_tokens_details": {"reasoning_tokens": value}} for value in NOT_A_COUNT),
    *({**GOOD, "prompt_tokens_details": value} for value in (1, "x", [1], True)),
    {**GOOD, "total_tokens": 14},
    {**GOOD, "prompt_tokens_details": {"cached_tokens": 11}},
    {**GOOD, "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 5}},
    {**GOOD, "prompt_tokens_details": {"audio_tokens": 11}},
    {**GOOD, "completion_tokens_details": {"reasoning_tokens": 6}},
    {**GOOD, "prompt_cache_hit_tokens": 11},
    {"prompt_tokens": 10, "total_tokens": 9},
    {"prompt_tokens": 10, "total_tokens": 10},
    {"prompt_tokens": 10},
    {"prompt_tokens": 10, "completion_tokens": None},
]


@pytest.mark.parametrize("raw", NONSENSE, ids=lambda raw: str(raw)[:70])
def test_t9_nonsense_is_no_usage(raw):
    assert parse_usage(raw) is None


COUNTS = st.integers(0, 10**6)


@given(
    st.builds(
        Usage,
        input=COUNTS,
        cache_read=COUNTS,
        cache_write=COUNTS,
        audio_input=COUNTS,
        output=st.integers(10**6, 10**7),
        reasoning=COUNTS,
    )
)
def test_t12_what_is_rendered_is_read_back(usage):
    assert parse_usage(render_usage(usage)) == usage


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_t9_no_value_of_a_count_raises(value):
    for name in ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"):
        parse_usage({**GOOD, name: value})


def test_every_token_is_rendered_once():
    usage = Usage(input=1, cache_read=2, cache_write=3, cache_write_1h=4, audio_input=5, image_input=6, output=20)
    rendered = render_usage(Usage(**{name: getattr(usage, name) for name in usage.__slots__} | {"unknown": 7}))
    assert rendered["prompt_tokens"] == 21
    assert rendered["completion_tokens"] == 27
    assert rendered["total_tokens"] == 48
    assert rendered["prompt_tokens_details"] == {"cached_tokens": 2, "cache_write_tokens": 7, "audio_tokens": 5}
