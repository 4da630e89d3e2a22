"""Gemini's usage in disjoint buckets, and nonsense read as none."""

from typing import Any

import pytest

from tokenhub.usage import Usage
from tokenhub.wire.gemini.common import parse_usage


def details(**tokens: int) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": count} for modality, count in tokens.items()]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"promptTokenCount": 9, "totalTokenCount": 9}, Usage(input=9)),
        ({"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}, Usage()),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 6, "totalTokenCount": 20},
            Usage(input=10, output=10, reasoning=6),
        ),
        (
            {
                "promptTokenCount": 2600,
                "cachedContentTokenCount": 2000,
                "candidatesTokenCount": 1,
                "totalTokenCount": 2601,
            },
            Usage(input=600, cache_read=2000, output=1),
        ),
        (
            {"promptTokenCount": 50, "cachedContentTokenCount": 50, "totalTokenCount": 50},
            Usage(cache_read=50),
        ),
        (
            {
                "promptTokenCount": 15,
                "toolUsePromptTokenCount": 770,
                "candidatesTokenCount": 37,
                "totalTokenCount": 822,
            },
            Usage(input=785, output=37),
        ),
        (
            {"promptTokenCount": 100, "promptTokensDetails": details(TEXT=40, AUDIO=25, IMAGE=30, VIDEO=5)},
            Usage(input=45, audio_input=25, image_input=30),
        ),
        (
            {
                "promptTokenCount": 424,
                "cachedContentTokenCount": 287,
                "promptTokensDetails": details(TEXT=166, IMAGE=258),
                "cacheTokensDetails": details(IMAGE=175, TEXT=112),
            },
            Usage(input=54, cache_read=287, image_input=83),
        ),
        (
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 70,
                "promptTokensDetails": details(TEXT=50, IMAGE=50),
            },
            Usage(cache_read=70, image_input=30),
        ),
        (
            {"promptTokenCount": 10, "promptTokensDetails": details(SMELL=4, TEXT=6)},
            Usage(input=6, unknown=4, unknown_input=4),
        ),
        (
            {
                "promptTokenCount": 4,
                "candidatesTokenCount": 1300,
                "candidatesTokensDetails": details(IMAGE=1290, TEXT=10),
            },
            Usage(input=4, output=10, image_output=1290),
        ),
        (
            {"promptTokenCount": 4, "candidatesTokenCount": 111, "candidatesTokensDetails": details(AUDIO=111)},
            Usage(input=4, unknown=111),
        ),
        (
            {"promptTokenCount": 4, "candidatesTokenCount": 5, "totalTokenCount": 12},
            Usage(input=4, output=5, unknown=3),
        ),
        ({"promptTokenCount": 4, "candidatesTokenCount": None, "thoughtsTokenCount": None}, Usage(input=4)),
        ({"promptTokenCount": 521, "promptTokensDetails": [{"modality": 2, "tokenCount": 516}]}, Usage(input=521)),
    ],
)
def test_t12_counts_become_disjoint_buckets_that_add_up(raw: dict[str, Any], expected: Usage) -> None:
    usage = parse_usage(raw)
    assert usage == expected
    counted = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")
    assert usage is not None
    assert usage.total == raw.get("totalTokenCount", sum(raw.get(name) or 0 for name in counted))


HOSTILE = [-1, 1.5, "5", True, False, [], {}, float("nan"), 2**63, 2**41]
FIELDS = [
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "totalTokenCount",
]


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
@pytest.mark.parametrize("field", [*FIELDS, "toolUsePromptTokenCount"])
def test_t9_a_count_that_is_none_makes_the_usage_none(field: str, value: Any) -> None:
    good = {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}
    assert parse_usage({**good, field: value}) is None


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "usage",
        {},
        {"trafficType": "ON_DEMAND"},
        {"totalTokenCount": 9},
        {"promptTokenCount": 9, "totalTokenCount": 8},
        {"promptTokenCount": 9, "cachedContentTokenCount": 10},
        {"promptTokenCount": 9, "promptTokensDetails": details(TEXT=10)},
        {"promptTokenCount": 9, "promptTokensDetails": {"TEXT": 9}},
        {"promptTokenCount": 9, "promptTokensDetails": [9]},
        {"promptTokenCount": 9, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": -9}]},
        {"promptTokenCount": 9, "candidatesTokenCount": 2, "candidatesTokensDetails": details(IMAGE=3)},
        {"promptTokenCount": 9, "cachedContentTokenCount": 2, "cacheTokensDetails": details(TEXT=3)},
    ],
    ids=repr,
)
def test_t9_a_usage_that_makes_no_sense_is_none(raw: Any) -> None:
    assert parse_usage(raw) is None
