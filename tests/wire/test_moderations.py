"""Moderations: what is asked, and verdicts that must all be there."""

from typing import Any

import orjson
import pytest

from tokenhub.call import Call, Capability, Wire
from tokenhub.errors import InvalidRequest
from tokenhub.usage import Usage
from tokenhub.wire import moderations
from tokenhub.wire.faults import UpstreamFault
from tokenhub.wire.moderations import ModerationsSurface
from tokenhub.wire.surface import Arrival

ARRIVAL = Arrival("/v1/moderations", {}, {}, 1_700_000_000)
VERDICT = {"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 0.99}}


def call(verdicts: int = 1) -> Call:
    return Call(Capability.MODERATIONS, "omni", Wire.MODERATIONS, messages=verdicts)


@pytest.mark.parametrize(
    ("given", "verdicts", "images"),
    [
        ("a text", 1, 0),
        (["a", "b", "c"], 3, 0),
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}], 1, 1),
    ],
)
def test_every_form_of_input_is_taken(given: Any, verdicts: int, images: int) -> None:
    asked = moderations.parse_call({"model": "omni", "input": given}, 99)
    assert (asked.messages, asked.images, asked.input_bytes, asked.stream) == (verdicts, images, 99, False)


@pytest.mark.parametrize(
    "given", [None, "", [], 7, {}, ["a", 7], ["a", {"type": "text", "text": "b"}], [{"type": "video"}], ["x"] * 2049]
)
def test_an_input_that_is_none_is_refused_by_name(given: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        moderations.parse_call({"model": "omni", "input": given}, 9)
    assert caught.value.param == "input"


def test_a_request_without_a_model_means_openais_default() -> None:
    asked, inside = ModerationsSurface(ARRIVAL).call({"input": "a"}, 9)
    assert asked.model == inside["model"] == "omni-moderation-latest"


def test_a_free_verdict_is_complete_without_usage_and_a_paid_one_is_estimated() -> None:
    raw = {"id": "modr-1", "model": "omni-1", "results": [VERDICT]}
    free = moderations.reply(dict(raw), call(), is_free=True)
    assert (free.usage, free.has_content, free.upstream_id, free.served_model) == (Usage(), True, "modr-1", "omni-1")
    assert moderations.reply(dict(raw), call(), is_free=False).usage is None
    told = moderations.reply({**raw, "usage": {"prompt_tokens": 7, "total_tokens": 7}}, call(), is_free=False)
    assert told.usage == Usage(input=7)
    assert "usage" not in told.body


def test_the_verdicts_pass_as_they_came_with_what_they_cost() -> None:
    surface = ModerationsSurface(ARRIVAL)
    raw = {"id": "modr-1", "model": "omni-1", "results": [{**VERDICT, "new_member": [1]}]}
    reply = moderations.reply(dict(raw), call(), is_free=True)
    shown = orjson.loads(surface.reply(reply).with_usage(orjson.dumps(surface.usage(Usage(), {"cost": 0}, reply))))
    assert shown == {**raw, "usage": {"prompt_tokens": 0, "total_tokens": 0, "cost": 0}}


@pytest.mark.parametrize("results", [None, [], {}, [VERDICT, VERDICT], [{"flagged": "yes"}], [7]])
def test_verdicts_that_are_missing_are_no_reply(results: Any) -> None:
    with pytest.raises(UpstreamFault) as caught:
        moderations.reply({"id": "modr-1", "results": results}, call(), is_free=True)
    assert caught.value.failure.code == "malformed_moderations"


def test_t74_an_error_inside_a_200_is_an_error() -> None:
    with pytest.raises(UpstreamFault) as caught:
        moderations.reply({"error": {"code": "server_error"}}, call(), is_free=True)
    assert caught.value.failure.code == "server_error"
