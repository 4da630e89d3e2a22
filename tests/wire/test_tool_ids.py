"""Ids of calls: each once in a conversation, and in the form that the model's server knows."""

import pytest

from tokenhub.wire.messages.tool_ids import NewIds


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (["call_0", "call_0", "call_0"], ["call_0_2", "call_0_3", "call_0_4"]),
        (["functions.read:0", "functions.read:1"], ["functions.read:1", "functions.read:2"]),
        (["functions.write:0", "functions.write:0"], ["functions.write:0", "functions.write:1"]),
        (["new", None], ["new", None]),
    ],
)
def test_a_call_that_is_named_like_an_earlier_one_gets_the_next_name(given: list[str | None], made: list[str]) -> None:
    earlier = [{"role": "assistant", "tool_calls": [{"id": "call_0"}, {"id": "functions.read:0"}]}]
    ids = NewIds(earlier)
    assert [ids.of(id) for id in given] == made
